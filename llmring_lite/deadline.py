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


def parse_timeout(text: str) -> float | None:
    """A timeout as an environment variable gives it: seconds, or a word for no limit.

    The empty text means the default.

    Raises:
        InvalidRequestError: It is neither.
    """
    text = text.strip().lower()
    if not text:
        return float(DEFAULT_TIMEOUT)
    if text in ("none", "off", "disable", "disabled", "infinite"):
        return None
    try:
        return check_timeout(float(text))
    except ValueError:
        raise InvalidRequestError(
            f"invalid timeout {text!r}: give a positive number of seconds or 'none'"
        ) from None


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
