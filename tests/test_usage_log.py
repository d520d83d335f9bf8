"""Usage for an llmring-server: a stand-in of its endpoint, and servers that fail."""

from __future__ import annotations

import importlib.util
import json
import logging
import multiprocessing
import os
import pickle
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback, Received, eventually, reply
from receipt_files import receipt

from llmring_lite import InvalidRequestError, LLMRing
from llmring_lite.exceptions import (
    ProviderConnectionError,
    ProviderError,
    ProviderResponseError,
)
from llmring_lite.retry import RetryPolicy
from llmring_lite.usage_log import UsageLog, build_record, open_post

KEY = "lr-do-not-show-me-0123456789"

# `UsageLogRequest` in llmring_server/models/usage.py of the package llmring-server
# 0.1.3: types, and whether None will do.
REQUIRED = {"model": str, "provider": str, "input_tokens": int, "output_tokens": int}
OPTIONAL = {
    "cached_input_tokens": (int, False),
    "alias": (str, True),
    "profile": (str, True),
    "cost": (float, True),
    "latency_ms": (int, True),
    "origin": (str, True),
    "id_at_origin": (str, True),
    "metadata": (dict, False),
}
# The columns of its table `usage_logs`, in migrations/001_complete.sql.
LENGTHS = {
    "model": 255,
    "provider": 50,
    "alias": 128,
    "profile": 64,
    "origin": 255,
    "id_at_origin": 255,
}


def problems_of(record: Mapping[str, Any]) -> list[str]:
    """What the server's schema and table would not take."""
    found = [f"unknown {name}" for name in record.keys() - REQUIRED - OPTIONAL.keys()]
    for name, kind in REQUIRED.items():
        if type(record.get(name)) is not kind:
            found.append(f"{name}: {record.get(name)!r}")
    for name, (kind, may_be_none) in OPTIONAL.items():
        value = record.get(name, kind())
        if type(value) is not kind and not (may_be_none and value is None):
            found.append(f"{name}: {value!r}")
    found += [n for n, size in LENGTHS.items() if len(record.get(n) or "") > size]
    return found


class Server(Loopback):
    """The endpoint, with the checks of the real one's dependencies.py and schema.

    Attributes:
        records: What it took.
        failures: Answers to give before that, in turn.
    """

    def __init__(self) -> None:
        super().__init__(self.handle)
        self.records: list[dict[str, Any]] = []
        self.failures: list[bytes] = []
        self.gate = threading.Event()
        self.gate.set()

    def handle(self, sock: socket.socket, request: Received, _: int) -> bool:
        self.gate.wait(20)
        sock.sendall(self.failures.pop(0) if self.failures else self.answer(request))
        return True

    def answer(self, request: Received) -> bytes:
        if request.path != "/api/v1/log":
            return reply({"detail": "Not Found"}, "404 Not Found")
        if request.headers.get("x-api-key") != KEY:
            return reply({"detail": "Invalid API key"}, "401 Unauthorized")
        problems = problems_of(request.json)
        if problems:
            return reply({"detail": problems}, "422 Unprocessable Entity")
        self.records.append(request.json)
        return reply({"log_id": "1", "cost": 0.0, "timestamp": "2026-11-01T12:00:00"})


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server
        server.gate.set()


QUICK = RetryPolicy(max_retries=4, base_s=0.001)


# The record -----------------------------------------------------------------------


def test_a_record_is_what_the_server_takes() -> None:
    given = receipt(
        model="ollama:llama3.2:3b",
        provider="ollama",
        receipt_id="r-1",
        cached_tokens=4,
        model_answered="llama3.2:3b",
        metadata={"customer": "not for the server"},
    )
    record = build_record(given)
    assert problems_of(record) == []
    assert record == {
        "model": "llama3.2:3b",
        "provider": "ollama",
        "input_tokens": 10,
        "output_tokens": 5,
        "cached_input_tokens": 4,
        "alias": "summarizer",
        "profile": "default",
        "cost": 0.000015,
        "latency_ms": 800,
        "origin": "tests",
        "id_at_origin": "r-1",
        "metadata": {
            "model_answered": "llama3.2:3b",
            "finish_reason": "stop",
            "streaming": False,
            "cost_status": "priced",
        },
    }


def test_what_is_unknown_is_left_to_the_server() -> None:
    record = build_record(
        receipt(
            prompt_tokens=None,
            completion_tokens=None,
            total_cost=None,
            alias=None,
            cost_status="model_not_in_registry",
        )
    )
    assert problems_of(record) == []
    assert (record["cost"], record["alias"]) == (None, None)
    assert (record["input_tokens"], record["output_tokens"]) == (0, 0)


def test_a_name_too_long_for_the_server_is_cut() -> None:
    record = build_record(
        receipt(**dict.fromkeys(("alias", "profile", "origin", "provider"), "x" * 999))
    )
    assert problems_of(record) == []


def real_model() -> Any:
    """`UsageLogRequest` itself, where the package and pydantic are installed."""
    found = importlib.util.find_spec("llmring_server")
    if found is None or found.origin is None:
        pytest.skip("the package llmring-server is not installed")
    pytest.importorskip("pydantic")
    path = Path(found.origin).with_name("models") / "usage.py"
    spec = importlib.util.spec_from_file_location("llmring_server_usage", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.UsageLogRequest


def test_the_real_server_has_the_schema_of_the_stand_in() -> None:
    model = real_model()
    fields = model.model_fields
    assert set(fields) == {*REQUIRED, *OPTIONAL}
    assert {n for n, field in fields.items() if field.is_required()} == set(REQUIRED)


@pytest.mark.parametrize(
    "changes",
    [{}, {"total_cost": None, "alias": None}, {"prompt_tokens": None}],
)
def test_the_real_server_takes_a_record(changes: dict[str, Any]) -> None:
    record = build_record(receipt(**changes))
    taken = real_model().model_validate_json(json.dumps(record), strict=True)
    assert taken.model_dump() == record


# Sending --------------------------------------------------------------------------


def test_calls_of_a_ring_are_logged(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with LLMRing(
        "billing", server_url=f"{server.url}/", api_key=KEY, receipts=path
    ) as ring:
        ring.chat("mock:echo", "the prompt")
        list(ring.chat_stream("mock:echo", "the prompt"))
        with pytest.raises(ProviderError):
            ring.chat(
                "mock:echo",
                "the prompt",
                extra_params={"mock": {"status": 400}},
            )
        next(ring.chat_stream("mock:echo", "left early"))
    ids = [
        json.loads(line).get("receipt_id") for line in path.read_bytes().splitlines()
    ]
    assert [record["id_at_origin"] for record in server.records] == ids[1:3]
    assert {record["origin"] for record in server.records} == {"billing"}
    assert [r["metadata"]["streaming"] for r in server.records] == [False, True]
    assert all(b"the prompt" not in request.body for request in server.requests)
    assert server.connections == 1


def test_the_environment_names_the_server(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMRING_SERVER_URL", server.url)
    monkeypatch.setenv("LLMRING_API_KEY", f"{KEY}\n")
    with LLMRing() as ring:
        ring.chat("mock:echo", "hi")
    assert len(server.records) == 1
    with LLMRing(server_url="") as ring:
        assert ring.recorder is None


def test_logging_needs_no_receipts(server: Server) -> None:
    with LLMRing(server_url=server.url, api_key=KEY) as ring:
        ring.chat("mock:echo", "hi")
        assert ring.recorder is not None
        assert ring.recorder.file is None
    assert len(server.records) == 1


def test_a_call_does_not_wait_for_the_server(server: Server) -> None:
    server.gate.clear()
    with LLMRing(server_url=server.url, api_key=KEY) as ring:
        began = time.perf_counter()
        for _ in range(20):
            ring.chat("mock:echo", "hi")
        assert time.perf_counter() - began < 2
        assert server.records == []
        server.gate.set()
    assert len(server.records) == 20


@pytest.mark.parametrize(
    "failure",
    [
        reply("busy", "503 Service Unavailable"),
        reply("slow down", "429 Too Many Requests", "Retry-After: 0\r\n"),
        reply("oops", "500 Internal Server Error"),
    ],
)
def test_a_passing_failure_is_tried_again(server: Server, failure: bytes) -> None:
    server.failures = [failure] * 3
    log = UsageLog(server.url, KEY, retries=QUICK)
    log.put(receipt())
    assert eventually(lambda: log.sent == 1)
    assert (len(server.records), log.dropped) == (1, 0)
    log.close()


def test_a_server_that_comes_back_gets_the_record(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    tries: list[float] = []

    def open_flaky(url: str, key: str | None) -> Callable[..., None]:
        post_really = open_post(url, key)

        def post(record: Mapping[str, Any], timeout_s: float) -> None:
            tries.append(timeout_s)
            if len(tries) < 3:
                post_really(record, timeout_s)

        return post

    log = UsageLog(f"http://127.0.0.1:{port}", KEY, open_post=open_flaky, retries=QUICK)
    log.put(receipt())
    assert eventually(lambda: log.sent == 1)
    assert len(tries) == 3
    log.close()
    assert caplog.text == ""


# Losing ---------------------------------------------------------------------------


def test_a_refusal_is_dropped_counted_and_reported(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    log = UsageLog(server.url, "wrong-key-0123456789", retries=QUICK)
    for _ in range(3):
        log.put(receipt())
    assert log.flush()
    assert (log.sent, log.dropped, len(server.requests)) == (0, 3, 3)
    log.close()
    first, last = (r.getMessage() for r in caplog.records)
    assert "401" in first
    assert "further ones are only counted" in first
    assert "3 usage records were not delivered" in last
    assert "wrong-key" not in caplog.text


def test_a_server_that_echoes_the_key_does_not_get_it_into_the_log(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.failures = [reply({"detail": f"bad key {KEY}"}, "400 Bad Request")]
    log = UsageLog(server.url, KEY)
    log.put(receipt())
    log.close()
    assert "bad key" in caplog.text
    assert KEY not in caplog.text
    assert KEY not in repr(log)


def test_a_full_queue_drops_what_comes_then(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.gate.clear()
    log = UsageLog(server.url, KEY, max_queued=5)
    log.put(receipt(0))
    assert eventually(lambda: len(server.requests) == 1)
    for number in range(1, 11):
        log.put(receipt(number))
    assert log.dropped == 5
    server.gate.set()
    log.close()
    assert [r["id_at_origin"] for r in server.records] == [f"r-{n}" for n in range(6)]
    assert "the queue is full" in caplog.text
    assert "5 usage records" in caplog.text


def test_closing_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from llmring_lite import usage_log

    monkeypatch.setattr(usage_log, "FLUSH_S", 0.2)
    gate = threading.Event()
    with Loopback(lambda sock, request, number: gate.wait(20)) as server:
        log = UsageLog(server.url, KEY)
        for _ in range(50):
            log.put(receipt())
        began = time.monotonic()
        log.close()
        assert time.monotonic() - began < 1.2
        gate.set()
    assert "50 usage records were not delivered" in caplog.text


def test_closing_does_not_wait_between_tries(server: Server) -> None:
    server.failures = [reply("busy", "503 Busy", "Retry-After: 20\r\n")]
    log = UsageLog(server.url, KEY)
    log.put(receipt())
    assert eventually(lambda: len(server.requests) == 1)
    began = time.monotonic()
    log.close()
    assert time.monotonic() - began < 2
    assert len(server.records) == 1


def test_an_unforeseen_error_does_not_end_the_thread() -> None:
    calls: list[Any] = []

    def post(record: Mapping[str, Any], timeout_s: float) -> None:
        calls.append(record)
        if len(calls) == 1:
            raise RuntimeError("a bug")

    log = UsageLog("http://localhost", KEY, open_post=lambda url, key: post)
    log.put(receipt())
    log.put(receipt())
    assert log.flush()
    assert (log.sent, log.dropped) == (1, 1)
    log.close()


@pytest.mark.parametrize(
    ("error", "tries"),
    [(ProviderConnectionError("x"), 5), (ProviderResponseError("x"), 1)],
)
def test_tries_are_bounded(error: ProviderError, tries: int) -> None:
    calls: list[float] = []

    def post(record: Mapping[str, Any], timeout_s: float) -> None:
        calls.append(timeout_s)
        raise error

    log = UsageLog(
        "http://localhost", KEY, open_post=lambda url, key: post, retries=QUICK
    )
    log.put(receipt())
    assert eventually(lambda: log.dropped == 1)
    log.close()
    assert len(calls) == tries
    assert all(0 < timeout <= 10 for timeout in calls)


# Arguments ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://server.example",
        "ftp://server.example",
        "server.example",
        "https://user:pass@server.example",
        "https://server.example/?a=b",
    ],
)
def test_a_url_that_a_key_must_not_go_to_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequestError, match="server_url") as caught:
        LLMRing(server_url=url, api_key=KEY)
    assert "pass" not in str(caught.value)


@pytest.mark.parametrize("key", ["a\nb", "é", "a\x00"])
def test_a_key_that_no_header_carries_is_refused_unseen(key: str) -> None:
    with pytest.raises(InvalidRequestError, match="api_key") as caught:
        UsageLog("https://server.example", key)
    assert key not in str(caught.value)


# Threads and processes ------------------------------------------------------------


def threads_of_the_log() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "llmring-usage"]


def test_there_is_one_thread_and_it_ends(server: Server) -> None:
    assert eventually(lambda: not threads_of_the_log())
    log = UsageLog(server.url, KEY)
    assert not threads_of_the_log()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: log.put(receipt(number)), range(160)))
    assert len(threads_of_the_log()) == 1
    log.close()
    assert len(server.records) == 160
    assert eventually(lambda: not threads_of_the_log())


def test_the_thread_of_a_forgotten_log_ends_when_all_is_sent(server: Server) -> None:
    log = UsageLog(server.url, KEY)
    for _ in range(5):
        log.put(receipt())
    del log
    assert eventually(lambda: not threads_of_the_log())
    assert len(server.records) == 5


def test_a_closed_log_can_be_used_again(server: Server) -> None:
    log = UsageLog(server.url, KEY)
    for _ in range(2):
        log.put(receipt())
        log.close()
        log.close()
    assert len(server.records) == log.sent == 2


def put_one(log: UsageLog) -> None:
    log.put(receipt())
    log.close()
    os._exit(0 if log.dropped == 0 else 1)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_another_process_has_its_own_thread(server: Server, method: str) -> None:
    log = UsageLog(server.url, KEY)
    log.put(receipt())
    assert log.flush()
    context = multiprocessing.get_context(method)
    child = context.Process(target=put_one, args=(log,))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    log.put(receipt())
    log.close()
    assert len(server.records) == 3


def test_it_pickles(server: Server) -> None:
    log = UsageLog(server.url, KEY)
    log.put(receipt())
    copy = pickle.loads(pickle.dumps(log))
    copy.put(receipt())
    copy.close()
    log.close()
    assert len(server.records) == 2


FORGETFUL = """
import sys
from llmring_lite import LLMRing
ring = LLMRing(server_url=sys.argv[1], api_key=sys.argv[2])
for _ in range(3):
    ring.chat("mock:echo", "hi")
"""


def run_forgetful(url: str) -> str:
    """What the program says on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", FORGETFUL, url, KEY],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout == ""
    return done.stderr


def test_a_program_that_forgets_to_close_loses_nothing(server: Server) -> None:
    said = run_forgetful(server.url)
    assert said == ""
    assert len(server.records) == 3


def test_a_program_ends_though_its_server_is_silent() -> None:
    gate = threading.Event()
    with Loopback(lambda sock, request, number: gate.wait(20)) as server:
        began = time.monotonic()
        said = run_forgetful(server.url)
        took = time.monotonic() - began
        gate.set()
    assert took < 6
    assert "3 usage records were not delivered" in said
    assert KEY not in said


def test_closing_while_others_put_loses_no_count(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    log = UsageLog(server.url, KEY)
    rng = random.Random(3)
    stop = threading.Event()

    def close_often() -> None:
        while not stop.wait(rng.random() * 0.01):
            log.close()

    closer = threading.Thread(target=close_often)
    closer.start()
    for _ in range(200):
        log.put(receipt())
    stop.set()
    closer.join()
    log.close()
    with caplog.at_level(logging.WARNING):
        assert len(server.records) == 200
