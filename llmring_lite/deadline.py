"""Seconds: how many a call may take, and how many are left."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf
from typing import Any, Final

from llmring_lite.exceptions import InvalidRequestError


class _DefaultTimeout(float):
    """A timeout that nobody asked for, so that the environment may say otherwise."""


DEFAULT_TIMEOUT: Final = _DefaultTimeout(60.0)
"""Seconds for one attempt."""


def check_timeout(seconds: Any) -> float | None:
    """The argument, if it can be a timeout: positive seconds, or None for no limit.

    Raises:
        InvalidRequestError: It can't.
    """
    if seconds is None:
        return None
    if (
        isinstance(seconds, (int, float))
        and not isinstance(seconds, bool)
        and seconds > 0
    ):
        return seconds
    raise InvalidRequestError(
        f"timeout must be a positive number of seconds or None, not {seconds!r}"
    )


def parse_timeout(variable: str, given: str | None) -> float | None:
    """A timeout as an environment variable gives it: seconds, or a word for no limit.

    None and the empty text mean the default.

    Raises:
        InvalidRequestError: It is neither.
    """
    text = (given or "").strip().lower()
    if not text:
        return float(DEFAULT_TIMEOUT)
    if text in ("none", "off", "disable", "disabled", "infinite"):
        return None
    try:
        return check_timeout(float(text))
    except ValueError:
        raise InvalidRequestError(
            f"{variable} is {given!r}: give a positive number of seconds or 'none'"
        ) from None


_FOREVER_S: Final = 1e9
"""Thirty years. Sockets and locks refuse to wait for ten times as long."""


class Deadline:
    """A point in time that a piece of work must not pass.

    One is made where a wait begins and handed down, so that every step of an
    attempt (connect, send, headers, body) draws on the same seconds.
    """

    __slots__ = ("_clock", "_interrupt", "cancelled", "expires_at")

    def __init__(
        self,
        seconds: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin now; `seconds=None` never expires."""
        self._clock = clock
        self._interrupt: Callable[[], None] | None = None
        self.cancelled = False
        lasts = seconds is None or seconds > _FOREVER_S
        self.expires_at = inf if lasts else clock() + (seconds or 0.0)

    def within(self, seconds: float | None) -> Deadline:
        """A deadline for a part of the work: `seconds` from now, or this one.

        The latest part is cancelled with the whole.
        """
        part = Deadline(seconds, self._clock)
        part.expires_at = min(part.expires_at, self.expires_at)
        self.on_cancel(part.cancel)
        return part

    def shorten(self, other: Deadline) -> None:
        """End with the other one, if that is sooner."""
        self.expires_at = min(self.expires_at, other.expires_at)
        if self.cancelled:  # from another thread, between reading and writing
            self.expires_at = -inf

    def remaining(self) -> float:
        """Seconds left: negative once expired, `inf` if there is no limit."""
        return self.expires_at - self._clock()

    def timeout(self) -> float | None:
        """Seconds left as a wait takes them: None for no limit, and at least 1 ms.

        Zero means "don't block" to a socket, and is a mistake to urllib3.
        """
        left = self.remaining()
        return None if left == inf else max(0.001, left)

    def expired(self) -> bool:
        return self._clock() >= self.expires_at

    def cancel(self) -> None:
        """Bring the deadline forward to now, from any thread.

        Whatever is waiting under it is woken, if it said how (`on_cancel`).
        """
        self.cancelled = True
        self.expires_at = -inf
        if self._interrupt is not None:
            self._interrupt()

    def on_cancel(self, interrupt: Callable[[], None]) -> None:
        """Have `interrupt` called on `cancel`; at once if that has happened."""
        self._interrupt = interrupt
        if self.cancelled:
            interrupt()
