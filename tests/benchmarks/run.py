"""All benchmarks, one table.

Run: python tests/benchmarks/run.py [--runs-percent N] [NAME ...]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import bench_call
import bench_failover
import bench_receipts
import bench_registry
import bench_resolve
import bench_startup
import bench_stream
import bench_tail
import bench_threads
from bench_tools import Row, print_table

BENCHMARKS: dict[str, tuple[Callable[[int], list[Row]], int]] = {
    "startup": (bench_startup.measure, 30),
    "call": (bench_call.measure, 20),
    "stream": (bench_stream.measure, 7),
    "threads": (bench_threads.measure, 3),
    "resolve": (bench_resolve.measure, 20),
    "registry": (bench_registry.measure, 20),
    "failover": (bench_failover.measure, 15),
    "receipts": (bench_receipts.measure, 20),
    "tail": (bench_tail.measure, 6),
}
"""Name -> what measures it, and how many runs it makes."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure, and print one table.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument(
        "--runs-percent", type=int, default=100, help="of each one's runs (100)"
    )
    args = parser.parse_args()
    unknown = set(args.names) - BENCHMARKS.keys()
    if unknown:
        parser.error(
            f"no benchmark {', '.join(unknown)}; known: {', '.join(BENCHMARKS)}"
        )
    rows: list[Row] = []
    for name in args.names or BENCHMARKS:
        measure, runs = BENCHMARKS[name]
        rows += measure(max(1, runs * args.runs_percent // 100))
    print_table(rows)


if __name__ == "__main__":
    main()
