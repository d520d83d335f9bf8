"""Racing against a server with a heavy tail: 1 % of its replies are 50 times slower.

After Dean and Barroso, The Tail at Scale (2013): a second request after a short wait
takes the tail away at little cost. Extra requests are counted by the server.

A run is a thousand calls of each strategy.

Run: python tests/benchmarks/bench_tail.py [--runs N]
"""

from __future__ import annotations

import threading
import time

from bench_server import Server, serving
from bench_tools import (
    Row,
    binding,
    folder_with_lockfile,
    lockfile_text,
    percentile,
    script,
)

from llmring_lite import LLMRing

BASE_MS = 8
SHARE = 0.01
TIMES = 50
THREADS = 4

STRATEGIES = {
    "plain": "",
    "race, all at once": 'strategy = "race"\nhedge_after = 0',
    "race after 20 ms": 'strategy = "race"\nhedge_after = 0.02',
    'race after "p95"': 'strategy = "race"\nhedge_after = "p95"',
}


def latencies(ring: LLMRing, alias: str, calls: int) -> list[float]:
    taken: list[float] = []

    def work() -> None:
        for _ in range(calls // THREADS):
            began = time.perf_counter()
            ring.chat(alias, "hi")
            taken.append(time.perf_counter() - began)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken


def rows_of(
    ring: LLMRing,
    server: Server,
    name: str,
    alias: str,
    calls: int,
    plain: float | None,
) -> tuple[list[Row], float]:
    """The rows of a strategy, and its p99.9; `plain` is that of no strategy."""
    latencies(ring, alias, 32 * THREADS)  # connections, and what "p95" is drawn from
    server.counters()
    taken = latencies(ring, alias, calls)
    extra = server.counters()["requests"] / len(taken) - 1
    p50, p99, p999 = (percentile(taken, share) for share in (0.5, 0.99, 0.999))
    hedged = "after" in name
    return [
        Row(f"tail, {name}: p50", f"{p50 * 1000:.1f} ms"),
        Row("  p99", f"{p99 * 1000:.1f} ms"),
        Row(
            "  p99.9 (plain / this)",
            f"{p999 * 1000:.1f} ms",
            "" if plain is None else f"{plain * 1000:.1f} ms",
            ratio=None if plain is None else plain / p999,
            aim=10.0 if hedged else None,
            at_least=True,
        ),
        Row(
            "  extra requests",
            f"{extra:.1%}",
            aim=5.0 if hedged else None,
            value=extra * 100,
            unit="%",
        ),
    ], p999


def measure(runs: int) -> list[Row]:
    rows: list[Row] = []
    with serving() as server:
        url = server.base_url(f"tail/{BASE_MS}/{SHARE}/{TIMES}")
        names = {name: f"tail-{i}" for i, name in enumerate(STRATEGIES)}
        text = lockfile_text(
            {"a": url, "b": url},
            "".join(
                binding(names[name], f"a:m{i}", f"b:m{i}", options=options)
                for i, (name, options) in enumerate(STRATEGIES.items())
            ),
        )
        with folder_with_lockfile(text) as folder:
            ring = LLMRing(lockfile_path=folder / "llmring.lock")
            plain = None
            for name in STRATEGIES:
                found, p999 = rows_of(
                    ring, server, name, names[name], runs * 1000, plain
                )
                rows += found
                plain = plain or p999
            ring.close()
    return rows


if __name__ == "__main__":
    script(measure, __doc__, 6)
