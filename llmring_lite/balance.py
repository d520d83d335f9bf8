"""In which order the candidates of a call are tried: the strategies of an alias.

The first of the order is the choice; the rest stays the fallback order. What calls
share (counters, calls in flight, latencies) is in small objects with a lock each.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Sequence
from hashlib import blake2b
from math import inf, log
from typing import Final, TypeVar

T = TypeVar("T")


def moved_to_front(items: Sequence[T], first: int) -> list[T]:
    return [items[first], *items[:first], *items[first + 1 :]]


def draw(weights: Sequence[float], point: float) -> int:
    """The index that a point from 0 to 1 falls on, in proportion to the weights."""
    total = 0.0
    bounds = [total := total + weight for weight in weights]
    # A weight of 0 is never drawn, not even by a point of 0 or of nearly 1.
    index = bisect_right(bounds, point * total)
    while index >= len(weights) or weights[index] <= 0:
        index = index - 1 if index > 0 else len(weights) - 1
    return index


def draw_sticky(weights: Sequence[float], names: Sequence[str], key: str) -> int:
    """The index that a key always falls on, in proportion to the weights.

    Weighted rendezvous hashing (Schindelhauer and Schomaker 2005): when weights
    change, only keys move whose side lost or gained weight.
    """
    best, choice = inf, 0
    for index, (weight, name) in enumerate(zip(weights, names, strict=True)):
        if weight <= 0:
            continue
        digest = blake2b(f"{key}\0{name}".encode(), digest_size=8).digest()
        # The middle of one of 2**64 slices, never 0 or 1.
        score = -log((int.from_bytes(digest) + 0.5) / 2**64) / weight
        if score < best:
            best, choice = score, index
    return choice


class Turns:
    """Whose turn it is: round robin, and its weighted form, for one alias."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._credit: dict[str, float] = {}

    def next(self, count: int) -> int:
        """0, 1, ..., count - 1, 0, ..."""
        with self._lock:
            turn = self._count % count
            self._count = turn + 1
            return turn

    def next_weighted(self, weights: Sequence[float], names: Sequence[str]) -> int:
        """Smooth weighted round robin: even over any stretch of calls.

        Each earns its weight, the richest has its turn and pays the sum of all
        (nginx commit 52327e0627f4, "Upstream: smooth weighted round-robin").
        """
        with self._lock:
            credit = self._credit
            for name, weight in zip(names, weights, strict=True):
                credit[name] = credit.get(name, 0.0) + weight
            choice = max(range(len(names)), key=lambda i: credit[names[i]])
            credit[names[choice]] -= sum(weights)
            return choice


class InFlight:
    """Calls under way, by candidate."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}

    def begin(self, name: str) -> None:
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + 1

    def end(self, name: str) -> None:
        with self._lock:
            self._counts[name] -= 1

    def count(self, name: str) -> int:
        return self._counts.get(name, 0)

    def least(self, names: Sequence[str]) -> int:
        """The index of the name with the fewest; the first of equals."""
        return min(range(len(names)), key=lambda i: self.count(names[i]))


# Buckets a fifth of an octave wide: a quantile is off by at most 15 %.
_BOUNDS: Final = [0.001 * 2 ** (step / 5) for step in range(101)]
_MEMORY: Final = 2000
_MIN_SAMPLES: Final = 20


class Latency:
    """A running estimate of a model's latencies, in constant memory.

    A histogram of logarithmic buckets from 1 ms to 1,000 s. Old observations fade:
    counts are halved whenever `_MEMORY` have come in.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = [0.0] * (len(_BOUNDS) + 1)
        self._total = 0.0

    def observe(self, seconds: float) -> None:
        with self._lock:
            self._counts[bisect_right(_BOUNDS, seconds)] += 1
            self._total += 1
            if self._total >= _MEMORY:
                self._counts = [count / 2 for count in self._counts]
                self._total /= 2

    def quantile(self, share: float) -> float | None:
        """Seconds that this share of calls stayed below; None if too few are known."""
        with self._lock:
            if self._total < _MIN_SAMPLES:
                return None
            left = share * self._total
            for index, count in enumerate(self._counts):
                left -= count
                if left <= 0:
                    return _BOUNDS[min(index, len(_BOUNDS) - 1)]
        return _BOUNDS[-1]


# A tenth is no binary fraction: ten of them fall short of one.
_DUST: Final = 1e-9


class HedgeBudget:
    """Keeps extra requests a small share of the calls.

    Every call earns a tenth of a hedge; savings are capped, so that an outage after a
    long calm doesn't double the load. A first hedge is allowed on credit.
    """

    def __init__(self, share: float = 0.1, savings: float = 10.0) -> None:
        """Args:
        share: Hedges a call earns.
        savings: Most hedges that can be saved up.
        """
        self._share = share
        self._savings = savings
        self._lock = threading.Lock()
        self._balance = 1.0
        self._debt = 1.0

    def earn(self) -> None:
        """Count a call."""
        with self._lock:
            if self._debt > _DUST:
                self._debt -= self._share
            else:
                self._balance = min(self._savings, self._balance + self._share)

    def spend(self) -> bool:
        """Take one hedge; False if there is none."""
        with self._lock:
            if self._balance < 1 - _DUST:
                return False
            self._balance -= 1
            return True
