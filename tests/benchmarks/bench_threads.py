"""32 threads on one ring: 50 calls each of 50 ms, and how many connections they open.

The ideal is 50 calls of 50 ms one after the other in each thread: 2.5 seconds. The
same with one `requests.Session` a thread tells what the machine gives today.

Run: python tests/benchmarks/bench_threads.py [--runs N]
"""

from __future__ import annotations

import threading
import time
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
    lockfile_text,
    script,
)

from llmring_lite import LLMRing

THREADS = 32
CALLS = 50
LATENCY_MS = 50
IDEAL_S = CALLS * LATENCY_MS / 1000


def all_at_once(function: Callable[[int], object], calls: int) -> float:
    """Seconds until every thread has made its calls; all begin together."""
    barrier = threading.Barrier(THREADS + 1)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        barrier.wait()
        try:
            for _ in range(calls):
                function(number)
        except Exception as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(i,)) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    barrier.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if failures:
        raise failures[0]
    return seconds


def cold_and_warm(lock: str, server: Server) -> tuple[float, float, int]:
    """Seconds of a first and a second round of a new ring; connections it opened."""
    server.counters()
    with LLMRing(lockfile_path=lock) as ring:
        cold = all_at_once(lambda _: ring.chat("fast", "hi"), CALLS)
        warm = all_at_once(lambda _: ring.chat("fast", "hi"), CALLS)
    return cold, warm, server.counters()["connections"]


def bare(url: str) -> float:
    sessions = [requests.Session() for _ in range(THREADS)]
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}

    def call(number: int) -> None:
        session = sessions[number]
        session.post(
            f"{url}/chat/completions",
            json=body,
            headers={"Authorization": f"Bearer {KEY}"},
        ).json()

    all_at_once(call, 1)
    seconds = all_at_once(call, CALLS)
    for session in sessions:
        session.close()
    return seconds


def measure(runs: int) -> list[Row]:
    with serving() as server:
        url = server.base_url(f"late/{LATENCY_MS}")
        text = lockfile_text({"bench": url}, binding("fast", "bench:m", "bench:m2"))
        with folder_with_lockfile(text) as folder:
            rounds, theirs = [], []
            for _ in range(runs):
                rounds.append(cold_and_warm(str(folder / "llmring.lock"), server))
                theirs.append(bare(url))
    cold, warm = ([r[i] for r in rounds] for i in (0, 1))
    ideal = [IDEAL_S] * runs
    connections = max(r[2] for r in rounds)
    title = f"{THREADS} threads x {CALLS} calls of {LATENCY_MS} ms / ideal"
    return [
        compared(f"{title}, warm", warm, ideal, 1.04, scale=1, unit="s"),
        compared("  all start at once, cold", cold, ideal, scale=1, unit="s"),
        compared(
            "  requests, a session a thread",
            theirs,
            ideal,
            scale=1,
            unit="s",
        ),
        absolute("connections of 32 threads", connections, "", THREADS),
    ]


if __name__ == "__main__":
    script(measure, __doc__, 3)
