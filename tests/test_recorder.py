"""What calls leave behind, and that recording never gets in their way."""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from loopback import LAST_CHUNK, chunk, reply, serving, stream_head
from receipt_files import START, counting, records_of, ticking
from rfc8785 import dumps

from llmring_lite import (
    AllModelsFailedError,
    ChatStream,
    InvalidRequestError,
    LLMRing,
    Message,
    ProviderError,
    ProviderOverloadedError,
    ProviderResponseError,
)
from llmring_lite.receipts import ReceiptFile
from llmring_lite.receipts_line import FIELDS
from llmring_lite.receipts_sign import make_key
from llmring_lite.receipts_verify import verify
from llmring_lite.recorder import Recorder

MODEL = "gpt-4.1"
PROMPT = "the-prompt-in-its-own-words"
ANSWER = "the-answer-in-its-own-words"

USAGE = {
    "prompt_tokens": 1234,
    "completion_tokens": 57,
    "total_tokens": 1291,
    "prompt_tokens_details": {"cached_tokens": 1000},
    "completion_tokens_details": {"reasoning_tokens": 7},
}


def completion(content: str = ANSWER, finish_reason: str = "stop") -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "gpt-4.1-2025-04-14",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content},
                "finish_reason": finish_reason,
            }
        ],
        "usage": USAGE,
    }


def answer(body: object = None, status: str = "200 OK") -> bytes:
    return reply(body or completion(), status, "X-Request-Id: req-77\r\n")


FAILURE = answer({"error": {"message": PROMPT}}, "500 Oops")


def streamed(*events: object, end: bytes = LAST_CHUNK) -> bytes:
    data = b"".join(
        chunk(f"data: {e if isinstance(e, str) else json.dumps(e)}\n\n") for e in events
    )
    return stream_head(extra="X-Request-Id: req-78\r\n") + data + end


def delta(content: str | None, finish_reason: str | None = None) -> dict[str, Any]:
    return {
        "model": "gpt-4.1-2025-04-14",
        "choices": [
            {"index": 0, "delta": {"content": content}, "finish_reason": finish_reason}
        ],
    }


STREAM = (
    delta("the-answer-"),
    delta("in-its-own-words"),
    delta(None, "stop"),
    {"model": "gpt-4.1-2025-04-14", "choices": [], "usage": USAGE},
    "[DONE]",
)

LOCKFILE = f"""
version = "1.0"
[providers.spare]
kind = "openai"
base_url = "{{url}}/v1"
[profiles.default]
name = "default"
[[profiles.default.bindings]]
alias = "summarizer"
models = ["openai:{MODEL}"]
[[profiles.default.bindings]]
alias = "two"
models = ["openai:{MODEL}", "spare:{MODEL}"]
"""

Make = Callable[..., AbstractContextManager[LLMRing]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "receipts.jsonl"


@pytest.fixture
def make(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A ring whose providers are both at a loopback server with these answers."""

    @contextmanager
    def ring(*bodies: bytes, **options: Any) -> Iterator[LLMRing]:
        with serving(*bodies) as server:
            monkeypatch.setenv("OPENAI_API_KEY", "sk-do-not-show-me")
            monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
            lockfile = tmp_path / "llmring.lock"
            lockfile.write_text(LOCKFILE.format(url=server.url))
            options = {"receipts": path, "retry_base_s": 0.0, **options}
            with LLMRing("tests", lockfile_path=lockfile, **options) as made:
                yield made

    return ring


def receipts_of(path: Path) -> list[dict[str, Any]]:
    assert verify(path).ok
    return [r for r in records_of(path) if r["kind"] == "receipt"]


def only(path: Path) -> dict[str, Any]:
    (receipt,) = receipts_of(path)
    return receipt


# What is written ------------------------------------------------------------------


def test_a_receipt_to_the_last_detail(make: Make, path: Path) -> None:
    with make(answer()) as ring:
        ring.recorder = Recorder(
            origin="tests",
            facts=ring._facts,
            file=ReceiptFile(path, now=ticking(), make_id=counting("file")),
            server=None,
            now=lambda: START,
            make_id=counting("receipt"),
            clock=iter((10.0, 10.8123456)).__next__,
        )
        response = ring.chat("summarizer", PROMPT, metadata={"customer": 7})
        version = ring.registry.catalogue("openai").version  # type: ignore[union-attr]
        digest = ring.lockfile.calculate_digest()
    receipt = only(path)
    (attempt,) = receipt.pop("attempts")
    for name in ("seq", "prev", "hash", "kind"):
        del receipt[name]
    # https://developers.openai.com/api/docs/pricing: 2 USD per million tokens of
    # input, 0.50 of cached input, 8 of output.
    assert receipt == {
        "receipt_id": "receipt-0",
        "timestamp": "2026-11-01T12:00:00.000000Z",
        "origin": "tests",
        "alias": "summarizer",
        "profile": "default",
        "provider": "openai",
        "model": "openai:gpt-4.1",
        "model_answered": "gpt-4.1-2025-04-14",
        "request_id": "req-77",
        "lock_digest": digest,
        "registry_version": version,
        "prompt_tokens": 1234,
        "completion_tokens": 57,
        "total_tokens": 1291,
        "cached_tokens": 1000,
        "cache_creation_input_tokens": None,
        "reasoning_tokens": 7,
        "input_cost": "0.000968",
        "output_cost": "0.000456",
        "total_cost": "0.001424",
        "cost_status": "priced",
        "duration_ms": 812.346,
        "finish_reason": "stop",
        "streaming": False,
        "error_class": None,
        "metadata": {"customer": 7},
    }
    assert set(receipt) | {"attempts"} <= set(FIELDS)
    assert (attempt.pop("duration_ms") > 0, attempt) == (
        True,
        {"model": "openai:gpt-4.1", "error_class": None},
    )
    assert response.request_id == "req-77"


def test_a_stream_has_the_receipt_of_a_chat(make: Make, path: Path) -> None:
    with make(answer(), streamed(*STREAM)) as ring:
        ring.chat("summarizer", PROMPT)
        stream = ring.chat_stream("summarizer", PROMPT)
        assert len(receipts_of(path)) == 1
        list(stream)
    one, two = receipts_of(path)
    assert (one.pop("streaming"), two.pop("streaming")) == (False, True)
    assert (one.pop("request_id"), two.pop("request_id")) == ("req-77", "req-78")
    differing = {name for name in one if one[name] != two[name]}
    assert differing == {
        *("attempts", "duration_ms", "hash", "prev", "receipt_id", "seq", "timestamp")
    }


def test_a_direct_model_has_no_alias(make: Make, path: Path) -> None:
    with make(answer()) as ring:
        ring.chat(f"openai:{MODEL}", PROMPT)
    assert only(path)["alias"] is None


def test_no_word_of_prompt_reply_or_error_is_written(make: Make, path: Path) -> None:
    bodies = (answer(), streamed(*STREAM), FAILURE, FAILURE, FAILURE)
    with make(*bodies) as ring:
        ring.chat("summarizer", PROMPT)
        list(ring.chat_stream("summarizer", PROMPT))
        with pytest.raises(ProviderError):
            ring.chat("summarizer", PROMPT)
    assert len(receipts_of(path)) == 3
    text = path.read_text()
    for secret in (PROMPT, ANSWER, "own-words", "sk-do-not-show-me"):
        assert secret not in text
    assert "sha256" not in text


def test_digests_of_the_contents_on_request(make: Make, path: Path) -> None:
    messages = [Message("system", "be brief"), Message("user", PROMPT)]
    with make(answer(), receipts_hash_content=True) as ring:
        ring.chat("summarizer", messages)
    plain = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": PROMPT},
    ]
    receipt = only(path)
    assert receipt["prompt_sha256"] == hashlib.sha256(dumps(plain)).hexdigest()
    assert receipt["reply_sha256"] == hashlib.sha256(ANSWER.encode()).hexdigest()
    assert PROMPT not in path.read_text()


def test_the_digest_of_a_prompt_covers_tools_and_names(make: Make, path: Path) -> None:
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
    }
    messages = [
        Message("user", "go", name="ann"),
        Message("assistant", None, tool_calls=[call]),
        Message("tool", "42", tool_call_id="c1"),
    ]
    with make(answer(), receipts_hash_content=True) as ring:
        ring.chat("summarizer", messages)
    plain = [
        {"role": "user", "content": "go", "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
    ]
    assert only(path)["prompt_sha256"] == hashlib.sha256(dumps(plain)).hexdigest()


def test_a_changed_lockfile_has_another_digest(make: Make, path: Path) -> None:
    with make(answer()) as ring:
        ring.chat("summarizer", PROMPT)
        ring.bind_alias("another", f"openai:{MODEL}")
        ring.chat("summarizer", PROMPT)
        digest = ring.lockfile.calculate_digest()
    one, two = (receipt["lock_digest"] for receipt in receipts_of(path))
    assert one != two == digest


def test_metadata_that_is_no_json_costs_itself_only(make: Make, path: Path) -> None:
    with make(answer()) as ring:
        ring.chat("summarizer", PROMPT, metadata={"thing": object()})
        assert ring.recorder is not None
        assert ring.recorder.failed == 0
    assert only(path)["metadata"] is None


def test_what_a_provider_calls_itself_is_written_whatever_it_is(
    make: Make, path: Path
) -> None:
    odd = completion()
    odd["model"] = "\ud800" + "x" * 5000
    with make(answer(odd)) as ring:
        ring.chat("summarizer", PROMPT)
    name = only(path)["model_answered"]
    assert name.startswith("?xxx")
    assert len(name) == 200


# Calls that fail ------------------------------------------------------------------


def test_a_failed_call_has_its_error_and_every_try(make: Make, path: Path) -> None:
    with make(FAILURE) as ring, pytest.raises(ProviderResponseError):
        ring.chat("summarizer", PROMPT)
    receipt = only(path)
    assert receipt["error_class"] == "ProviderResponseError"
    assert receipt["model"] == f"openai:{MODEL}"
    assert receipt["request_id"] == "req-77"
    assert [(a["model"], a["error_class"]) for a in receipt["attempts"]] == [
        (f"openai:{MODEL}", "ProviderResponseError")
    ] * 3
    for name in ("prompt_tokens", "total_cost", "finish_reason", "model_answered"):
        assert receipt[name] is None


def test_a_fallback_has_all_attempts_and_who_answered(make: Make, path: Path) -> None:
    busy = answer({"error": {"message": "busy"}}, "503 Busy")
    with make(busy, answer(), max_retries=0) as ring:
        ring.chat("two", PROMPT)
    receipt = only(path)
    assert (receipt["error_class"], receipt["model"]) == (None, f"spare:{MODEL}")
    assert [(a["model"], a["error_class"]) for a in receipt["attempts"]] == [
        (f"openai:{MODEL}", "ProviderOverloadedError"),
        (f"spare:{MODEL}", None),
    ]


def test_a_call_that_nobody_answered_has_all_attempts(make: Make, path: Path) -> None:
    with make(FAILURE, max_retries=0) as ring, pytest.raises(AllModelsFailedError):
        list(ring.chat_stream("two", PROMPT))
    receipt = only(path)
    assert receipt["error_class"] == "AllModelsFailedError"
    assert receipt["streaming"] is True
    assert [a["model"] for a in receipt["attempts"]] == [
        f"openai:{MODEL}",
        f"spare:{MODEL}",
    ]


def test_a_call_without_a_key_has_a_receipt(
    make: Make, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make(answer()) as ring:
        monkeypatch.delenv("OPENAI_API_KEY")
        with pytest.raises(ProviderError):
            ring.chat("summarizer", PROMPT)
    receipt = only(path)
    assert receipt["error_class"] == "ProviderAuthenticationError"
    assert receipt["provider"] == "openai"
    assert receipt["attempts"] == []


def test_a_name_that_means_nothing_is_no_call(make: Make, path: Path) -> None:
    with make(answer()) as ring, pytest.raises(ProviderError):
        ring.chat("nobody", PROMPT)
    assert not path.exists()


SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "number",
        "schema": {
            "type": "object",
            "properties": {"n": {"type": "integer"}},
            "required": ["n"],
            "additionalProperties": False,
        },
    },
    "strict": True,
}


def read(result: Any) -> None:
    """A stream to its end; there is nothing to do about a reply."""
    if isinstance(result, ChatStream):
        list(result)


@pytest.mark.parametrize("stream", [False, True])
def test_a_reply_against_its_schema_is_an_error_with_its_price(
    make: Make, path: Path, stream: bool
) -> None:
    body = streamed(*STREAM) if stream else answer()
    with make(body) as ring, pytest.raises(ProviderResponseError):
        read(ring.chat("summarizer", PROMPT, response_format=SCHEMA, stream=stream))
    receipt = only(path)
    assert receipt["error_class"] == "ProviderResponseError"
    assert receipt["total_cost"] == "0.001424"
    assert receipt["completion_tokens"] == 57
    (attempt,) = receipt["attempts"]
    assert attempt["error_class"] == "ProviderResponseError"
    assert "total_cost" not in attempt


def test_a_withheld_reply_shows_its_price_beside_the_one_used(
    make: Make, path: Path
) -> None:
    withheld = answer(completion("", "content_filter"))
    with make(withheld, answer()) as ring:
        lockfile = ring.lockfile_path
        lockfile.write_text(
            lockfile.read_text()
            + f'conditions = {{ "spare:{MODEL}" = ["content_filter"] }}\n'
        )
        ring.clear_alias_cache()
        ring.chat("two", PROMPT)
    receipt = only(path)
    first, second = receipt["attempts"]
    assert (first["error_class"], first["total_cost"]) == (
        "ContentFilterError",
        "0.001424",
    )
    assert (second["error_class"], "total_cost" in second) == (None, False)
    assert receipt["model"] == f"spare:{MODEL}"


# Streams that end otherwise -------------------------------------------------------


def test_a_stream_that_breaks_off_is_an_error(make: Make, path: Path) -> None:
    broken = streamed(delta("the-"), end=LAST_CHUNK)
    with make(broken) as ring, pytest.raises(ProviderResponseError):
        list(ring.chat_stream("summarizer", PROMPT))
    receipt = only(path)
    assert (receipt["error_class"], receipt["finish_reason"]) == (
        "ProviderResponseError",
        None,
    )
    assert receipt["model"] == f"openai:{MODEL}"
    assert [a["error_class"] for a in receipt["attempts"]] == ["ProviderResponseError"]


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize("how", ["close", "with", "forget", "break"])
def test_a_stream_left_early_has_neither_error_nor_finish_reason(
    make: Make, path: Path, how: str
) -> None:
    with make(streamed(*STREAM)) as ring:
        stream = ring.chat_stream("summarizer", PROMPT)
        if how == "with":
            with stream:
                next(stream)
        elif how == "break":
            for _ in stream:
                break
        else:
            next(stream)
        if how == "close":
            stream.close()
            stream.close()
        del stream
        gc.collect()
    receipt = only(path)
    assert (receipt["error_class"], receipt["finish_reason"]) == (None, None)
    assert (receipt["streaming"], receipt["model"]) == (True, f"openai:{MODEL}")
    assert receipt["prompt_tokens"] is None


# On and off -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "variable", "written"),
    [
        (None, None, None),
        (None, "", None),
        (None, "0", None),
        (None, "off", None),
        (None, "1", "state"),
        (None, "true", "state"),
        (None, "r.jsonl", "r.jsonl"),
        (None, "~/r.jsonl", "home"),
        (True, None, "state"),
        ("1", None, "state"),
        (False, "1", None),
        (False, "r.jsonl", None),
        ("0", "1", None),
        ("r.jsonl", "other.jsonl", "r.jsonl"),
        (Path("r.jsonl"), None, "r.jsonl"),
    ],
)
def test_where_receipts_go(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    argument: Any,
    variable: str | None,
    written: str | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    if variable is not None:
        monkeypatch.setenv("LLMRING_RECEIPTS", variable)
    with LLMRing(receipts=argument) as ring:
        monkeypatch.chdir("/")  # a path is what it was when the ring was made
        ring.chat("mock:echo", PROMPT)
    state = tmp_path / "home" / "state" / "llmring_lite" / "receipts.jsonl"
    places = {
        "r.jsonl": tmp_path / "r.jsonl",
        "home": tmp_path / "home" / "r.jsonl",
        "state": state,
    }
    found = [name for name, place in places.items() if place.exists()]
    assert found == ([] if written is None else [written])
    assert not (tmp_path / "other.jsonl").exists()


@pytest.mark.parametrize(
    ("argument", "variable", "hashed"),
    [(None, None, False), (None, "1", True), (None, "0", False), (False, "1", False)],
)
def test_whether_contents_are_hashed(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    argument: bool | None,
    variable: str | None,
    hashed: bool,
) -> None:
    if variable is not None:
        monkeypatch.setenv("LLMRING_RECEIPTS_HASH_CONTENT", variable)
    with LLMRing(receipts=path, receipts_hash_content=argument) as ring:
        ring.chat("mock:echo", PROMPT)
    assert ("prompt_sha256" in only(path)) == hashed


@pytest.mark.parametrize("named", [False, True])
def test_receipts_are_signed_with_the_key_that_is_there(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    key = tmp_path / "home" / "state" / "llmring_lite" / "receipts.key"
    if named:
        key = tmp_path / "key"
        monkeypatch.setenv("LLMRING_RECEIPTS_KEY", str(key))
    public = make_key(key).public_key
    with LLMRing(receipts=path) as ring:
        ring.chat("mock:echo", PROMPT)
    assert verify(path, public_key=public).ok


def test_nothing_is_loaded_where_nothing_is_recorded() -> None:
    code = (
        "import sys\nfrom llmring_lite import LLMRing\n"
        "LLMRing().chat('mock:echo', 'hi')\nprint(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert "llmring_lite.service" in loaded
    assert not {m for m in loaded if "receipt" in m or "recorder" in m or "usage" in m}


# Never in the way -----------------------------------------------------------------


def test_receipts_that_cannot_be_written_are_one_warning_and_a_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    diary = tmp_path / "diary.txt"
    diary.write_text("Dear diary,\n")
    with LLMRing(receipts=diary) as ring:
        for _ in range(3):
            assert ring.chat("mock:echo", PROMPT).content == PROMPT
            assert list(ring.chat_stream("mock:echo", PROMPT))
        assert ring.recorder is not None
        assert (ring.recorder.written, ring.recorder.failed) == (0, 6)
    warnings = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "diary.txt" in warnings[0].getMessage()
    assert diary.read_text() == "Dear diary,\n"


@pytest.mark.parametrize("place", ["/proc/none/r.jsonl", "/dev/full", "/dev/null/x"])
def test_a_place_that_takes_nothing_fails_no_call(place: str) -> None:
    with LLMRing(receipts=place) as ring:
        assert ring.chat("mock:echo", PROMPT).content == PROMPT
        assert ring.recorder is not None
        assert ring.recorder.failed == 1


def test_a_failed_receipt_does_not_hide_the_error_of_a_call(make: Make) -> None:
    with (
        make(FAILURE, receipts="/dev/full") as ring,
        pytest.raises(ProviderResponseError),
    ):
        ring.chat("summarizer", PROMPT)


def test_writing_is_taken_up_again(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text("something else\n")
    with LLMRing(receipts=path) as ring:
        ring.chat("mock:echo", PROMPT)
        path.unlink()
        ring.chat("mock:echo", PROMPT)
        assert ring.recorder is not None
        assert (ring.recorder.written, ring.recorder.failed) == (1, 1)
    assert verify(path).receipts == 1


def test_a_request_that_makes_no_sense_is_an_error_as_before(path: Path) -> None:
    with LLMRing(receipts=path) as ring, pytest.raises(InvalidRequestError):
        ring.chat("mock:echo", PROMPT, extra_params={"mock": {"nonsense": 1}})
    assert only(path)["error_class"] == "InvalidRequestError"


# Threads and processes ------------------------------------------------------------


def test_threads_share_a_recorder(path: Path) -> None:
    with LLMRing(receipts=path) as ring:

        def work(_: int) -> None:
            for _ in range(25):
                ring.chat("mock:echo", PROMPT)
                list(ring.chat_stream("mock:echo", PROMPT))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        assert ring.recorder is not None
        assert (ring.recorder.written, ring.recorder.failed) == (400, 0)
    assert len({r["receipt_id"] for r in receipts_of(path)}) == 400


def chat_elsewhere(ring: LLMRing) -> None:
    ring.chat("mock:echo", PROMPT)
    assert ring.recorder is not None
    assert ring.recorder.written == 1


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_ring_records_in_other_processes(path: Path, method: str) -> None:
    with LLMRing(receipts=path) as ring:
        ring.chat("mock:echo", PROMPT)
        context = multiprocessing.get_context(method)
        children = [
            context.Process(target=chat_elsewhere, args=(ring,)) for _ in range(2)
        ]
        for child in children:
            child.start()
        for child in children:
            child.join(30)
        assert [child.exitcode for child in children] == [0, 0]
        ring.chat("mock:echo", PROMPT)
        assert ring.recorder is not None
        assert ring.recorder.written == 2
    assert len(receipts_of(path)) == 4


def test_a_pickled_ring_goes_on_recording_in_the_same_file(path: Path) -> None:
    with LLMRing(receipts=path) as ring:
        ring.chat("mock:echo", PROMPT)
        with pickle.loads(pickle.dumps(ring)) as copy:
            copy.chat("mock:echo", PROMPT)
            assert copy.recorder.written == 1
    assert len(receipts_of(path)) == 2


def test_an_overloaded_provider_is_recorded_in_a_stream(make: Make, path: Path) -> None:
    busy = answer({"error": {"message": "busy"}}, "503 Busy")
    with make(busy, max_retries=1) as ring, pytest.raises(ProviderOverloadedError):
        ring.chat_stream("summarizer", PROMPT)
    receipt = only(path)
    assert receipt["error_class"] == "ProviderOverloadedError"
    assert len(receipt["attempts"]) == 2
