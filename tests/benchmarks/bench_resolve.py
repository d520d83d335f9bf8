"""Resolution of an alias: warm, and the same for small and large lockfiles.

Run: python tests/benchmarks/bench_resolve.py [--runs N]
"""

from __future__ import annotations

import statistics

from bench_tools import (
    Row,
    absolute,
    binding,
    compared,
    folder_with_lockfile,
    in_turn,
    lockfile_text,
    script,
)

from llmring_lite import LLMRing

CALLS = 20_000
SIZES = (10, 10_000)


def measure(runs: int) -> list[Row]:
    rings = {}
    for size in SIZES:
        bindings = (
            binding(f"alias-{n}", "bench:m", "openai:gpt-5-mini") for n in range(size)
        )
        text = lockfile_text({"bench": "https://127.0.0.1/v1"}, "".join(bindings))
        with folder_with_lockfile(text) as folder:
            rings[size] = LLMRing(lockfile_path=folder / "llmring.lock")

    def resolve(size: int) -> None:
        resolve_alias = rings[size].resolve_alias
        name = f"alias-{size - 1}"
        for _ in range(CALLS):
            resolve_alias(name)

    def look_up() -> None:
        known = {"alias-9": "bench:m"}
        for _ in range(CALLS):
            known["alias-9"]

    functions = {str(size): (lambda size=size: resolve(size)) for size in SIZES}
    taken = in_turn({**functions, "dict": look_up}, runs)
    # Processor time: a thread that waits for its turn resolves nothing.
    per_call_us = 1e6 / CALLS
    medians = {
        n: statistics.median(times.cpu) * per_call_us for n, times in taken.items()
    }
    small, large = (str(size) for size in SIZES)
    return [
        absolute(f"resolve, {small} aliases", medians[small], "us", 1.0),
        absolute(f"resolve, {SIZES[1]:,} aliases", medians[large], "us", 1.0),
        compared(
            f"  {SIZES[1]:,} aliases / {small}",
            taken[large].cpu,
            taken[small].cpu,
            scale=per_call_us,
            unit="us",
        ),
        absolute("  a lookup in a dict", medians["dict"], "us"),
    ]


if __name__ == "__main__":
    script(measure, __doc__, 20)
