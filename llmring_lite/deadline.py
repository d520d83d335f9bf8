"""Seconds left on a given clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf


class Deadline:
    """A point in time that a piece of work must not pass.

    One is made where a wait begins and handed down, so that every step of an
    attempt (connect, send, headers, body) draws on the same seconds.
    """

    __slots__ = ("_clock", "expires_at")

    def __init__(
        self,
        seconds: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin now; `seconds=None` never expires."""
        self._clock = clock
        self.expires_at = inf if seconds is None else clock() + seconds

    def remaining(self) -> float:
        """Seconds left: negative once expired, `inf` if there is no limit."""
        return self.expires_at - self._clock()

    def expired(self) -> bool:
        return self._clock() >= self.expires_at
