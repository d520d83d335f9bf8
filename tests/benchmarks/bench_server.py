"""A loopback server for measurements, in a process of its own.

It answers from bytes made beforehand, so that it costs neither the client's CPU nor
much of the machine's. What it does is the first word of the path; the rest (a base
URL's `/v1/chat/completions`) is ignored:

    /small/...        a small chat reply, at once
    /stream/N/...     N small chunks of Chat Completions, as fast as they are read
    /close/N/...      the same, the end of the body being the end of the connection
    /paced/N/MS/...   N chunks, MS milliseconds apart, each holding the server's
                      `time.monotonic()` of its departure
    /pacedclose/...   the same, ended by closing the connection
    /late/MS/...      a small reply after MS milliseconds
    /tail/MS/SHARE/TIMES/...  a reply after MS, but after TIMES as long for a SHARE
    /status/N/...     an error of status N
    /counters         requests, connections accepted since the last look, open ones

Run by itself it prints its port; `serving()` starts it for a benchmark.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import selectors
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

REPLY = json.dumps(
    {
        "id": "chatcmpl-8f3b2c",
        "object": "chat.completion",
        "created": 1754000000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Paris is the capital of France.",
                    "refusal": None,
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 14,
            "completion_tokens": 8,
            "total_tokens": 22,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
    }
).encode()

ERROR = json.dumps(
    {"error": {"message": "not now", "type": "server_error", "code": None}}
).encode()

BLOCK = 65536
"""Bytes of a stream handed to the socket at once."""


def answer(body: bytes, status: str = "200 OK") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nX-Request-Id: req-1\r\n\r\n"
    )
    return head.encode() + body


def head_of_stream(chunked: bool) -> bytes:
    end = "Transfer-Encoding: chunked" if chunked else "Connection: close"
    return (
        f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{end}\r\n\r\n".encode()
    )


def event(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    payload = {
        "id": "chatcmpl-8f3b2c",
        "object": "chat.completion.chunk",
        "created": 1754000000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def framed(data: bytes, chunked: bool) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data) if chunked else data


def end_of_stream(chunked: bool) -> bytes:
    last = framed(event({}, "stop"), chunked) + framed(b"data: [DONE]\n\n", chunked)
    return last + (b"0\r\n\r\n" if chunked else b"")


def whole_stream(count: int, chunked: bool) -> bytes:
    words = [framed(event({"content": f" word{i % 7}"}), chunked) for i in range(7)]
    body = b"".join(words[i % 7] for i in range(count))
    return head_of_stream(chunked) + body + end_of_stream(chunked)


class Counters:
    """What `/counters` tells."""

    requests = 0
    connections = 0
    open = 0


class Connection(asyncio.Protocol):
    """One connection; requests are answered one after the other."""

    streams: dict[tuple[int, bool], bytes] = {}  # noqa: RUF012 - shared on purpose
    rng = random.Random(20130201)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.received = bytearray()
        self.writable = asyncio.Event()
        self.writable.set()
        self.task: asyncio.Task[None] | None = None
        Counters.connections += 1
        Counters.open += 1

    def connection_lost(self, exc: Exception | None) -> None:
        Counters.open -= 1
        self.writable.set()
        if self.task is not None:
            self.task.cancel()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self.received[:end])
        mark = head.lower().find(b"\r\ncontent-length:")
        length = int(head[mark + 17 :].split(b"\r\n", 1)[0]) if mark >= 0 else 0
        if len(self.received) < end + 4 + length:
            return
        del self.received[: end + 4 + length]
        Counters.requests += 1
        self.respond(head.split(b" ", 2)[1].decode().strip("/").split("/"))

    def respond(self, path: list[str]) -> None:
        write = self.transport.write
        loop = asyncio.get_running_loop()
        match path:
            case ["small", *_]:
                write(SMALL)
            case ["late", ms, *_]:
                loop.call_later(float(ms) / 1000, write, SMALL)
            case ["tail", ms, share, times, *_]:
                slow = self.rng.random() < float(share)
                seconds = float(ms) / 1000 * (float(times) if slow else 1)
                loop.call_later(seconds, self.write_if_open)
            case ["status", code, *_]:
                write(answer(ERROR, f"{code} Whatever"))
            case ["stream" | "close" as kind, count, *_]:
                self.task = loop.create_task(self.pour(int(count), kind == "stream"))
            case ["paced" | "pacedclose" as kind, count, ms, *_]:
                self.task = loop.create_task(
                    self.drip(int(count), float(ms) / 1000, kind == "paced")
                )
            case ["counters", *_]:
                facts = {k: getattr(Counters, k) for k in COUNTED}
                Counters.requests = Counters.connections = 0
                write(answer(json.dumps(facts).encode()))
            case _:
                write(answer(ERROR, "404 Not Found"))

    def write_if_open(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(SMALL)

    async def pour(self, count: int, chunked: bool) -> None:
        key = (count, chunked)
        if key not in self.streams:
            self.streams[key] = whole_stream(count, chunked)
        data = memoryview(self.streams[key])
        for start in range(0, len(data), BLOCK):
            await self.writable.wait()
            self.transport.write(data[start : start + BLOCK])
        if not chunked:
            self.transport.close()

    async def drip(self, count: int, seconds: float, chunked: bool) -> None:
        self.transport.write(head_of_stream(chunked))
        for _ in range(count):
            await asyncio.sleep(seconds)
            now = event({"content": f"{time.monotonic():.6f}"})
            self.transport.write(framed(now, chunked))
        self.transport.write(end_of_stream(chunked))
        if not chunked:
            self.transport.close()


SMALL = answer(REPLY)
COUNTED = ("requests", "connections", "open")


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    # The other end of stdin is the benchmark: the server ends with it.
    await loop.run_in_executor(None, sys.stdin.read)


class Server:
    """What a benchmark knows of the server: its addresses and its counters."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def base_url(self, behaviour: str) -> str:
        return f"{self.url}/{behaviour}/v1"

    def counters(self) -> dict[str, int]:
        """And begins counting anew. This look's own connection is not in it."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.url}/counters") as reply:
            facts: dict[str, int] = json.load(reply)
        return {
            "requests": facts["requests"] - 1,
            "connections": facts["connections"] - 1,
            "open": facts["open"] - 1,
        }


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """The server in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Server(int(process.stdout.readline()))
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


if __name__ == "__main__":
    # `select` sleeps to the microsecond; `epoll` rounds up to a whole millisecond,
    # which would count as the client's.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    with contextlib.suppress(KeyboardInterrupt):
        loop.run_until_complete(main())
