"""Faults over real HTTP: the exact outcome, in time, with nothing left behind."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from loopback import (
    LAST_CHUNK,
    Handler,
    Loopback,
    Received,
    chunk,
    eventually,
    reply,
    serving,
    stream_head,
)

from llmring_lite import (
    AllModelsFailedError,
    LLMRing,
    ModelNotFoundError,
    ProviderConnectionError,
    ProviderError,
    ProviderOverloadedError,
    ProviderRateLimitError,
    ProviderResponseError,
    ProviderTimeoutError,
)

GOOD = {
    "id": "1",
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "good"},
            "finish_reason": "stop",
        }
    ],
}


def event(content: str | None, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice]})}\n\n".encode()


GOOD_STREAM = (
    stream_head() + chunk(event("good") + event(None, "stop") + b"data: [DONE]\n\n")
) + LAST_CHUNK


def good(sock: socket.socket, request: Received, _: int = 0) -> bool:
    wants_stream = request.json.get("stream", False)
    sock.sendall(GOOD_STREAM if wants_stream else reply(GOOD))
    return True


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def hang(sock: socket.socket, *_: Any) -> None:
    sock.recv(1)


def writing(
    *pieces: bytes, then: Callable[[socket.socket], object] | None = None
) -> Handler:
    def handler(sock: socket.socket, *_: Any) -> None:
        for piece in pieces:
            sock.sendall(piece)
        if then is not None:
            time.sleep(0.05)  # so that the pieces arrive before what follows
            then(sock)

    return handler


def dripping(head: bytes, piece: bytes) -> Handler:
    def handler(sock: socket.socket, *_: Any) -> None:
        sock.sendall(head)
        for _ in range(200):
            sock.sendall(piece)
            time.sleep(0.05)

    return handler


def failure(status: str, headers: str = "") -> bytes:
    return reply({"error": {"message": "no"}}, status, headers)


def http_date(seconds: float) -> str:
    when = datetime.now(UTC) + timedelta(seconds=seconds)
    return format_datetime(when, usegmt=True)


class Case(NamedTuple):
    """A fault and what a caller gets: without, and with a good fallback."""

    handler: Handler
    error: type[ProviderError]
    requests: int = 1  # that reach the faulty server when there is no fallback
    partial: str | None = None  # kept in the error
    falls_back: bool = True


JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BODY = json.dumps(GOOD).encode()

PLAIN = {
    "reset before a byte": Case(
        writing(then=reset), ProviderConnectionError, requests=3
    ),
    "closed before a byte": Case(writing(), ProviderConnectionError, requests=3),
    "reset in the body": Case(
        writing(JSON_HEAD + b"Content-Length: 999\r\n\r\n" + BODY[:40], then=reset),
        ProviderResponseError,
        partial=BODY[:40].decode(),
    ),
    "hang before headers": Case(hang, ProviderTimeoutError),
    "dripping headers": Case(
        dripping(b"HTTP/1.1 200 OK\r\nX: ", b"x"), ProviderTimeoutError
    ),
    "dripping body": Case(
        dripping(JSON_HEAD + b"Content-Length: 999\r\n\r\n", b" "), ProviderTimeoutError
    ),
    "cut body": Case(
        writing(JSON_HEAD + b"Content-Length: 999\r\n\r\n" + BODY[:40]),
        ProviderResponseError,
        partial=BODY[:40].decode(),
    ),
    "cut body without length": Case(
        writing(JSON_HEAD + b"\r\n" + BODY[:40]),
        ProviderResponseError,
        partial=BODY[:40].decode(),
    ),
    "429": Case(writing(failure("429 T")), ProviderRateLimitError, requests=3),
    "429, seconds": Case(
        writing(failure("429 T", "Retry-After: 60\r\n")), ProviderRateLimitError
    ),
    "429, milliseconds": Case(
        writing(failure("429 T", "retry-after-ms: 20\r\n")),
        ProviderRateLimitError,
        requests=3,
    ),
    "429, date": Case(
        lambda sock, *_: sock.sendall(
            failure("429 T", f"Retry-After: {http_date(60)}\r\n")
        ),
        ProviderRateLimitError,
    ),
    "429, told not to": Case(
        writing(failure("429 T", "x-should-retry: false\r\n")), ProviderRateLimitError
    ),
    "500": Case(writing(failure("500 I")), ProviderResponseError, requests=3),
    "503": Case(writing(failure("503 S")), ProviderOverloadedError, requests=3),
    "529": Case(writing(failure("529 O")), ProviderOverloadedError, requests=3),
    "404": Case(
        writing(
            reply(
                {"error": {"message": "no model m", "code": "model_not_found"}}, "404 N"
            )
        ),
        ModelNotFoundError,
    ),
    "400": Case(writing(failure("400 B")), ProviderResponseError, falls_back=False),
    "garbage": Case(writing(reply("garbage{")), ProviderResponseError),
    "HTML with 200": Case(
        writing(reply("<html>hi</html>", content_type="text/html")),
        ProviderResponseError,
    ),
    "HTML with 502": Case(
        writing(reply("<html>Bad gateway</html>", "502 B", content_type="text/html")),
        ProviderResponseError,
        requests=3,
    ),
}

STREAM_ONLY = {
    "cut before the first event": Case(
        writing(stream_head() + chunk(b"data: {")), ProviderResponseError
    ),
    "hang after the head": Case(
        writing(stream_head(), then=hang), ProviderTimeoutError
    ),
    "error event first": Case(
        writing(
            stream_head()
            + chunk(b'data: {"error": {"message": "x", "code": 503}}\n\n')
            + LAST_CHUNK
        ),
        ProviderOverloadedError,
    ),
    "end without a word": Case(
        writing(stream_head() + chunk(b"data: [DONE]\n\n") + LAST_CHUNK),
        ProviderResponseError,
    ),
}

# After the first chunk: never retried, never switched.
BROKEN_STREAMS = {
    "cut": Case(writing(stream_head() + chunk(event("half "))), ProviderResponseError),
    "cut inside an event": Case(
        writing(stream_head() + chunk(event("half ") + b'data: {"cho')),
        ProviderResponseError,
    ),
    "ended without a finish": Case(
        writing(stream_head() + chunk(event("half ")) + LAST_CHUNK),
        ProviderResponseError,
    ),
    "reset": Case(
        writing(stream_head() + chunk(event("half ")), then=reset),
        ProviderResponseError,
    ),
    "hang": Case(
        writing(stream_head() + chunk(event("half ")), then=hang),
        ProviderTimeoutError,
    ),
    "late error": Case(
        writing(
            stream_head()
            + chunk(
                event("half ") + b'data: {"error": {"message": "x", "code": 529}}\n\n'
            )
            + LAST_CHUNK
        ),
        ProviderOverloadedError,
    ),
}

TIMEOUT_S = 0.6


@pytest.fixture
def make_ring(tmp_path: Path) -> Iterator[Callable[..., LLMRing]]:
    rings: list[LLMRing] = []

    def make(*urls: str, more: str = "", **options: Any) -> LLMRing:
        path = tmp_path / f"{len(rings)}.lock"
        names = [f"p{i}" for i in range(len(urls))]
        providers = "".join(
            f'[providers.{name}]\nkind = "openai"\nbase_url = "{url}/v1"\n'
            for name, url in zip(names, urls, strict=True)
        )
        models = json.dumps([f"{name}:m" for name in names])
        path.write_text(
            f'version = "1.0"\n{providers}[profiles.default]\nname = "default"\n'
            f'[[profiles.default.bindings]]\nalias = "x"\nmodels = {models}\n{more}\n'
        )
        rings.append(LLMRing(lockfile_path=path, **options))
        return rings[-1]

    yield make
    for ring in rings:
        ring.close()


@pytest.fixture
def nothing_left_behind() -> Iterator[None]:
    """Threads and open files, counted before and after."""

    def sockets() -> int:
        count = 0
        for name in os.listdir("/proc/self/fd"):
            try:
                count += "socket:" in os.readlink(f"/proc/self/fd/{name}")
            except OSError:
                continue
        return count

    threads, before = threading.active_count(), sockets()
    yield
    assert eventually(lambda: threading.active_count() <= threads)
    assert eventually(lambda: sockets() <= before)


pytestmark = pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="counts sockets through /proc"
)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("case", PLAIN.values(), ids=PLAIN)
def test_a_fault_without_fallback(
    case: Case, stream: bool, make_ring: Any, nothing_left_behind: None
) -> None:
    with Loopback(case.handler) as server:
        ring = make_ring(server.url, timeout=TIMEOUT_S, retry_base_s=0.01)
        started = time.monotonic()
        with pytest.raises(case.error) as caught:
            ring.chat("x", "hi", stream=stream)
        assert time.monotonic() - started < TIMEOUT_S + 0.5
        assert type(caught.value) is case.error
        assert len(server.requests) == case.requests
        if case.partial is not None:
            assert caught.value.partial == case.partial
        ring.close()


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("case", PLAIN.values(), ids=PLAIN)
def test_a_fault_with_a_fallback(
    case: Case, stream: bool, make_ring: Any, nothing_left_behind: None
) -> None:
    with Loopback(case.handler) as bad, Loopback(good) as other:
        ring = make_ring(bad.url, other.url, timeout=TIMEOUT_S, retry_base_s=0.01)
        if not case.falls_back:
            with pytest.raises(case.error):
                ring.chat("x", "hi", stream=stream)
            assert other.connections == 0
        elif stream:
            chunks = list(ring.chat_stream("x", "hi"))
            assert "".join(c.delta for c in chunks) == "good"
        else:
            assert ring.chat("x", "hi").content == "good"
        ring.close()


@pytest.mark.parametrize("case", STREAM_ONLY.values(), ids=STREAM_ONLY)
def test_a_stream_may_change_candidates_before_its_first_chunk(
    case: Case, make_ring: Any, nothing_left_behind: None
) -> None:
    with Loopback(case.handler) as bad, Loopback(good) as other:
        alone = make_ring(bad.url, timeout=TIMEOUT_S)
        with pytest.raises(case.error):
            alone.chat_stream("x", "hi")
        assert len(bad.requests) == 1
        ring = make_ring(bad.url, other.url, timeout=TIMEOUT_S)
        stream = ring.chat_stream("x", "hi")
        assert "".join(c.delta for c in stream) == "good"
        assert len(stream.response.attempts) == 2
        alone.close()
        ring.close()


@pytest.mark.parametrize("case", BROKEN_STREAMS.values(), ids=BROKEN_STREAMS)
def test_a_stream_that_has_begun_is_never_switched(
    case: Case, make_ring: Any, nothing_left_behind: None
) -> None:
    with Loopback(case.handler) as bad, Loopback(good) as other:
        ring = make_ring(bad.url, other.url, timeout=TIMEOUT_S)
        started = time.monotonic()
        stream = ring.chat_stream("x", "hi")
        assert next(stream).delta == "half "
        with pytest.raises(case.error) as caught:
            next(stream)
        assert time.monotonic() - started < TIMEOUT_S + 0.5
        assert caught.value.partial == "half "
        assert other.connections == 0
        assert len(bad.requests) == 1
        ring.close()


def test_a_refused_connection_is_tried_again_then_left(
    make_ring: Any, nothing_left_behind: None
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with Loopback(good) as other:
        alone = make_ring(url, retry_base_s=0.01)
        with pytest.raises(ProviderConnectionError):
            alone.chat("x", "hi")
        ring = make_ring(url, other.url, retry_base_s=0.01)
        assert ring.chat("x", "hi").content == "good"
        ring.close()


def test_retry_after_is_obeyed(make_ring: Any) -> None:
    times: list[float] = []

    def handler(sock: socket.socket, request: Received, number: int) -> bool:
        times.append(time.monotonic())
        if number == 1:
            sock.sendall(failure("429 T", "retry-after-ms: 300\r\n"))
            return True
        return good(sock, request)

    with Loopback(handler) as server:
        assert make_ring(server.url).chat("x", "hi").content == "good"
    assert 0.29 < times[1] - times[0] < 2


def test_max_latency_bounds_the_whole_call(make_ring: Any) -> None:
    with Loopback(hang) as one, Loopback(hang) as two:
        ring = make_ring(
            one.url, two.url, more='guardrails = { max_latency = "500ms" }', timeout=0.4
        )
        started = time.monotonic()
        with pytest.raises(ProviderError):
            ring.chat("x", "hi")
        assert time.monotonic() - started < 1.5


# Racing ---------------------------------------------------------------------------


def watched(gone: threading.Event, *pieces: bytes) -> Handler:
    """Writes, then waits to be hung up on."""

    def handler(sock: socket.socket, *_: Any) -> None:
        for piece in pieces:
            sock.sendall(piece)
        if not sock.recv(1):
            gone.set()

    return handler


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(
    "pieces",
    [(), (JSON_HEAD + b"Content-Length: 999\r\n\r\n{",), (stream_head(),)],
    ids=["before headers", "in the body", "in the stream"],
)
def test_a_loser_is_hung_up_on_at_once(
    pieces: tuple[bytes, ...], stream: bool, make_ring: Any, nothing_left_behind: None
) -> None:
    gone = threading.Event()
    with Loopback(watched(gone, *pieces)) as slow:

        def quick(sock: socket.socket, request: Received, _: int) -> bool:
            assert eventually(lambda: len(slow.requests) == 1)
            return good(sock, request)

        with Loopback(quick) as fast:
            ring = make_ring(
                slow.url, fast.url, more='strategy = "race"\nhedge_after = 0'
            )
            started = time.monotonic()
            if stream:
                chunks = ring.chat_stream("x", "hi")
                assert "".join(c.delta for c in chunks) == "good"
                response = chunks.response
            else:
                response = ring.chat("x", "hi")
            assert response.content == "good"
            assert response.model == "p1:m"
            assert gone.wait(5)
            assert time.monotonic() - started < 5
            ring.close()


def test_a_hedge_is_sent_after_its_delay_and_wins(make_ring: Any) -> None:
    gone = threading.Event()
    with Loopback(watched(gone)) as slow, Loopback(good) as fast:
        ring = make_ring(
            slow.url, fast.url, more='strategy = "race"\nhedge_after = 0.2'
        )
        started = time.monotonic()
        assert ring.chat("x", "hi").content == "good"
        assert 0.19 < time.monotonic() - started < 2
        assert gone.wait(5)


def test_a_race_that_all_lose_raises_in_time(make_ring: Any) -> None:
    with Loopback(hang) as one, serving(failure("503 S")) as two:
        ring = make_ring(
            one.url,
            two.url,
            more='strategy = "race"\nhedge_after = 0',
            timeout=TIMEOUT_S,
        )
        started = time.monotonic()
        with pytest.raises(AllModelsFailedError) as caught:
            ring.chat("x", "hi")
        assert time.monotonic() - started < TIMEOUT_S + 0.5
        assert {type(a["error"]) for a in caught.value.attempts} == {
            ProviderTimeoutError,
            ProviderOverloadedError,
        }


# The breaker ----------------------------------------------------------------------


def test_a_failing_endpoint_is_spared(make_ring: Any) -> None:
    with serving(failure("503 S")) as bad, Loopback(good) as other:
        ring = make_ring(bad.url, other.url, max_retries=0)
        for _ in range(20):
            assert ring.chat("x", "hi").content == "good"
        assert len(bad.requests) == 3
        assert len(other.requests) == 20


def test_streams_that_break_off_open_the_breaker(make_ring: Any) -> None:
    with Loopback(BROKEN_STREAMS["cut"].handler) as bad, Loopback(good) as other:
        ring = make_ring(bad.url, other.url, max_retries=0)
        for _ in range(3):
            with pytest.raises(ProviderResponseError):
                list(ring.chat_stream("x", "hi"))
        assert "".join(c.delta for c in ring.chat_stream("x", "hi")) == "good"
        assert len(bad.requests) == 3
