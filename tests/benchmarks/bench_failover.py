"""Failover: a first candidate that always refuses, then a good one.

With the breaker open a call must cost what a direct one costs; with it closed, what
two bare requests cost. Retries are off there, for they wait on purpose.

Run: python tests/benchmarks/bench_failover.py [--runs N]
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
from llmring_lite.breaker import CircuitBreaker
from llmring_lite.dispatch import Dispatcher
from llmring_lite.retry import RetryPolicy

CALLS = 100


def repeated(function: Callable[[], object]) -> Callable[[], None]:
    def repeat() -> None:
        for _ in range(CALLS):
            function()

    return repeat


def patient_ring(lock: str) -> LLMRing:
    """A ring whose breakers never open."""
    ring = LLMRing(lockfile_path=lock)
    ring._dispatcher = Dispatcher(
        RetryPolicy(max_retries=0), make_breaker=lambda: CircuitBreaker(10**9)
    )
    return ring


def measure(runs: int) -> list[Row]:
    rows = []
    with serving() as server:
        urls = {
            "good": server.base_url("small"),
            "overloaded": server.base_url("status/503"),
            "limited": server.base_url("status/429"),
        }
        text = lockfile_text(
            urls,
            binding("direct", "good:m")
            + binding("on-503", "overloaded:m", "good:m")
            + binding("on-429", "limited:m", "good:m"),
        )
        with folder_with_lockfile(text) as folder, requests.Session() as session:
            lock = str(folder / "llmring.lock")
            session.headers["Authorization"] = f"Bearer {KEY}"
            body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}

            def bare_pair(first: str) -> None:
                reply = session.post(f"{urls[first]}/chat/completions", json=body)
                if not reply.ok:
                    reply = session.post(f"{urls['good']}/chat/completions", json=body)
                reply.json()

            def bare_good() -> None:
                session.post(f"{urls['good']}/chat/completions", json=body).json()

            with (
                LLMRing(lockfile_path=lock, max_retries=0) as ring,
                patient_ring(lock) as patient,
            ):
                for alias in ("on-503", "on-429"):
                    for _ in range(5):  # opens the breaker
                        ring.chat(alias, "hi")

                def chat(ring: LLMRing, alias: str) -> Callable[[], None]:
                    return repeated(lambda: ring.chat(alias, "hi"))

                taken = in_turn(
                    {
                        "direct": chat(ring, "direct"),
                        "bare": repeated(bare_good),
                        "open 503": chat(ring, "on-503"),
                        "open 429": chat(ring, "on-429"),
                        "closed 503": chat(patient, "on-503"),
                        "bare 503": repeated(lambda: bare_pair("overloaded")),
                        "closed 429": chat(patient, "on-429"),
                        "bare 429": repeated(lambda: bare_pair("limited")),
                    },
                    runs,
                )
    seconds = {name: times.wall for name, times in taken.items()}
    for status in ("503", "429"):
        rows += [
            compared(
                f"{status}, breaker open / direct call",
                seconds[f"open {status}"],
                seconds["direct"],
                1.1,
                scale=1e6 / CALLS,
                unit="us",
            ),
            compared(
                "  / one bare request",
                seconds[f"open {status}"],
                seconds["bare"],
                scale=1e6 / CALLS,
                unit="us",
            ),
            compared(
                f"{status}, breaker closed / two bare requests",
                seconds[f"closed {status}"],
                seconds[f"bare {status}"],
                1.1,
                scale=1e6 / CALLS,
                unit="us",
            ),
        ]
    return rows


if __name__ == "__main__":
    script(measure, __doc__, 15)
