"""Streams: time against the shortest loop with requests, memory, first chunk.

The first chunk's delay is between the server's note of the time in the chunk and the
same clock in the caller's hands. Memory counts what stays allocated while a stream is
read, its text apart, which the stream keeps for `.response`.

Run: python tests/benchmarks/bench_stream.py [--runs N]
"""

from __future__ import annotations

import json
import statistics
import time
import tracemalloc
from collections.abc import Callable

import requests
from bench_server import Server, serving
from bench_tools import (
    KEY,
    Row,
    absolute,
    binding,
    compared,
    folder_with_lockfile,
    in_turn,
    lockfile_text,
    percentile,
    script,
)

from llmring_lite import LLMRing

CHUNKS = 20_000
PACED = "20/10"
"""Chunks, and milliseconds between them."""


def bare_stream(session: requests.Session, url: str) -> int:
    """The shortest loop; its count of events."""
    count = 0
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
    }
    with session.post(f"{url}/chat/completions", json=body, stream=True) as reply:
        for line in reply.iter_lines():
            if line.startswith(b"data: ") and line != b"data: [DONE]":
                json.loads(line[6:])
                count += 1
    return count


def bare_delays(session: requests.Session, url: str) -> list[float]:
    delays = []
    body = {"model": "m", "messages": [], "stream": True}
    with session.post(f"{url}/chat/completions", json=body, stream=True) as reply:
        # One byte at a time: with a larger size requests waits for it to fill where
        # the end of the connection is the end of the body.
        for line in reply.iter_lines(chunk_size=1):
            if line.startswith(b"data: ") and line != b"data: [DONE]":
                now = time.monotonic()
                delta = json.loads(line[6:])["choices"][0]["delta"]
                if delta:
                    delays.append(now - float(delta["content"]))
    return delays


def our_delays(ring: LLMRing, alias: str) -> list[float]:
    delays = []
    for chunk in ring.chat_stream(alias, "hi"):
        now = time.monotonic()
        if chunk.delta:
            delays.append(now - float(chunk.delta))
    return delays


def kept_bytes(ring: LLMRing, alias: str, text_bytes: int) -> float:
    """Growth of memory from the 100th chunk to the last, without the text."""
    tracemalloc.start()
    try:
        with ring.chat_stream(alias, "hi") as stream:
            for number, chunk in enumerate(stream, 1):
                if number == 100:
                    before = tracemalloc.get_traced_memory()[0]
                    tracemalloc.reset_peak()
                if chunk.finish_reason is None and number % 1000 == 0:
                    after = tracemalloc.get_traced_memory()[0]
        return after - before - text_bytes
    finally:
        tracemalloc.stop()


def delay_rows(
    name: str, ours: Callable[[], list[float]], bare: Callable[[], list[float]]
) -> list[Row]:
    """First chunks and all of them, of a few streams each, in turn."""
    mine: list[list[float]] = []
    theirs: list[list[float]] = []
    for _ in range(5):
        mine.append(ours())
        theirs.append(bare())
    first = statistics.median(delays[0] for delays in mine) * 1000
    every = [delay for delays in mine for delay in delays]
    return [
        absolute(f"first chunk, {name}", first, "ms", 2.0),
        compared(
            "  every chunk / requests",
            every,
            [delay for delays in theirs for delay in delays],
        ),
        absolute("  99th percentile", percentile(every, 0.99) * 1000, "ms"),
    ]


def measure(runs: int) -> list[Row]:
    with serving() as server:
        behaviours = {
            "chunked": f"stream/{CHUNKS}",
            "close": f"close/{CHUNKS}",
            "short": f"stream/{CHUNKS // 10}",
            "paced": f"paced/{PACED}",
            "pacedclose": f"pacedclose/{PACED}",
        }
        urls = {name: server.base_url(path) for name, path in behaviours.items()}
        text = lockfile_text(
            urls, "".join(binding(name, f"{name}:m") for name in behaviours)
        )
        with folder_with_lockfile(text) as folder:
            return rows_of(server, urls, str(folder / "llmring.lock"), runs)


def rows_of(server: Server, urls: dict[str, str], lock: str, runs: int) -> list[Row]:
    rows: list[Row] = []
    with requests.Session() as session, LLMRing(lockfile_path=lock) as ring:
        session.headers["Authorization"] = f"Bearer {KEY}"

        def read(alias: str) -> int:
            return sum(1 for _ in ring.chat_stream(alias, "hi"))

        assert read("short") == bare_stream(session, urls["short"])
        for name in ("chunked", "close"):
            taken = in_turn(
                {
                    "ours": lambda name=name: read(name),
                    "bare": lambda name=name: bare_stream(session, urls[name]),
                },
                runs,
            )
            title = f"stream of {CHUNKS:,} chunks, {name} / requests"
            for unit, which in (("wall", 0), ("CPU", 1)):
                rows.append(
                    compared(
                        f"{title}, {unit}",
                        taken["ours"][which],
                        taken["bare"][which],
                        2.0 if name == "chunked" else None,
                    )
                )
        grown = kept_bytes(ring, "chunked", text_size(ring, "chunked"))
        rows.append(absolute("memory kept of 20,000 chunks", grown / 1024, "KB", 64))
        for name, alias in (("chunked", "paced"), ("close-delimited", "pacedclose")):
            rows += delay_rows(
                name,
                lambda alias=alias: our_delays(ring, alias),
                lambda alias=alias: bare_delays(session, urls[alias]),
            )
    return rows


def text_size(ring: LLMRing, alias: str) -> int:
    """What the deltas of a stream take as the strings that it keeps, in a list."""
    deltas: list[str] = []
    for chunk in ring.chat_stream(alias, "hi"):
        deltas.append(chunk.delta)
    return sum(map(str.__sizeof__, deltas)) + deltas.__sizeof__()


if __name__ == "__main__":
    script(measure, __doc__, 7)
