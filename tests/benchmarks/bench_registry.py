"""Facts and prices: reading the snapshot, looking a price up, pricing a reply.

Shares are of one small chat over keep-alive, measured in the same run. Programs that
need no price must not read the snapshot at all; that is counted, not timed.

Run: python tests/benchmarks/bench_registry.py [--runs N]
"""

from __future__ import annotations

import statistics

from bench_server import serving
from bench_tools import (
    Row,
    absolute,
    binding,
    compared,
    folder_with_lockfile,
    in_turn,
    lockfile_text,
    run_python,
    script,
)

from llmring_lite import LLMRing, cost, registry
from llmring_lite.facts import Facts

CALLS = 100
LOOK_UPS = 10_000
MODEL = "openai:gpt-5-mini"
USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 100,
    "total_tokens": 1100,
    "cached_tokens": 900,
    "reasoning_tokens": 50,
}

_WATCH = (
    "import sys; r = sys.modules.get('llmring_lite.registry'); "
    "print(int(bool(r and (r._loaded or r._catalogues))))"
)
PRICELESS = {
    "import": "import llmring_lite, llmring_lite.service",
    "resolve": "from llmring_lite import LLMRing; LLMRing().has_alias('advisor')",
    "mock chat": "from llmring_lite import LLMRing; LLMRing().chat('mock:echo', 'hi')",
}
"""Programs that need no price."""


def load() -> None:
    """Read and decode the snapshot, and make the models of all its providers."""
    registry._loaded.clear()
    registry._catalogues.clear()
    for provider in registry.SNAPSHOT_PROVIDERS:
        registry.load_snapshot(provider)


def measure(runs: int) -> list[Row]:
    facts = Facts()
    facts.of(MODEL)

    def look_up() -> None:
        for _ in range(LOOK_UPS):
            facts.find("openai:gpt-5-mini")

    def look_up_dated() -> None:
        for _ in range(LOOK_UPS):
            facts.find("openai:gpt-5-mini-2031-01-01")

    def price() -> None:
        for _ in range(LOOK_UPS):
            cost.apply(facts.of(MODEL).rates, dict(USAGE))

    with serving() as server:
        url = server.base_url("small")
        text = lockfile_text({"bench": url}, binding("fast", "bench:m"))
        with folder_with_lockfile(text) as folder:
            with LLMRing(lockfile_path=folder / "llmring.lock") as ring:

                def chat() -> None:
                    for _ in range(CALLS):
                        ring.chat("fast", "What is the capital of France?")

                chat()
                taken = in_turn(
                    {
                        "load": load,
                        "look up": look_up,
                        "look up dated": look_up_dated,
                        "price": price,
                        "chat": chat,
                    },
                    runs,
                )
            readers = sum(
                int(run_python(["-c", f"{code}\n{_WATCH}"], folder)[2])
                for code in PRICELESS.values()
            )
    per_chat = [seconds / CALLS for seconds in taken["chat"].cpu]
    looked_up = [_each(taken[name].cpu) for name in ("look up", "look up dated")]
    priced = _each(taken["price"].cpu)
    return [
        compared(
            "load the snapshot / chat",
            taken["load"].cpu,
            per_chat,
            scale=1e6,
            unit="us",
        ),
        absolute("look up a model", looked_up[0] * 1e6, "us"),
        absolute("look up a dated form", looked_up[1] * 1e6, "us"),
        absolute("price a reply", priced * 1e6, "us"),
        absolute(
            "  its share of a chat", priced / statistics.median(per_chat) * 100, "%", 5
        ),
        absolute("programs without prices that read it", readers, "of 3", 0),
    ]


def _each(seconds: list[float]) -> float:
    return statistics.median(seconds) / LOOK_UPS


if __name__ == "__main__":
    script(measure, __doc__, 20)
