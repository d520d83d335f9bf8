"""One chat over keep-alive: ours with alias, mapping and usage, against bare requests.

Run: python tests/benchmarks/bench_call.py [--runs N]
"""

from __future__ import annotations

from collections.abc import Callable

import requests
from bench_server import serving
from bench_tools import (
    KEY,
    Row,
    binding,
    compared,
    folder_with_lockfile,
    in_turn,
    lockfile_text,
    script,
)

from llmring_lite import LLMRing

CALLS = 100
"""Calls of one run: long enough for the clock, short enough to take turns often."""

PROMPTS = {
    "small chat": "What is the capital of France?",
    "200 KB prompt": "What is the capital of France?\n" * (200_000 // 31),
}


def repeated(count: int, function: Callable[[], object]) -> Callable[[], None]:
    def repeat() -> None:
        for _ in range(count):
            function()

    return repeat


def measure(runs: int) -> list[Row]:
    rows = []
    with serving() as server:
        url = server.base_url("small")
        text = lockfile_text({"bench": url}, binding("fast", "bench:m", "bench:m2"))
        with folder_with_lockfile(text) as folder:
            session = requests.Session()
            session.headers["Authorization"] = f"Bearer {KEY}"
            ring = LLMRing(lockfile_path=folder / "llmring.lock")
            for name, prompt in PROMPTS.items():

                def bare(prompt: str = prompt) -> str:
                    reply = session.post(
                        f"{url}/chat/completions",
                        json={
                            "model": "m",
                            "messages": [{"role": "user", "content": prompt}],
                        },
                    ).json()
                    content: str = reply["choices"][0]["message"]["content"]
                    return content

                def ours(prompt: str = prompt) -> str:
                    return ring.chat("fast", prompt).content

                assert bare() == ours()
                taken = in_turn(
                    {"ours": repeated(CALLS, ours), "bare": repeated(CALLS, bare)}, runs
                )
                per_call = 1e6 / CALLS
                for unit, which in (("wall", 0), ("CPU", 1)):
                    rows.append(
                        compared(
                            f"{name} / requests, {unit}",
                            taken["ours"][which],
                            taken["bare"][which],
                            1.0,
                            scale=per_call,
                            unit="us",
                        )
                    )
            ring.close()
            session.close()
    return rows


if __name__ == "__main__":
    script(measure, __doc__, 20)
