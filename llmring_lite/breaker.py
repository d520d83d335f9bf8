"""Sparing an endpoint that keeps failing: the circuit breaker.

    closed     calls go through; `threshold` provider faults in a row open it
    open       calls are refused until `reset_s` seconds have passed
    half-open  one call, the probe, goes through: success closes, failure opens again

What counts as a fault is said by the errors themselves (`ProviderError.fault`); a
refusal that is the caller's fault shows that the endpoint is well. The lock is held
for the bookkeeping only, never during a call.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Literal, TypeAlias

from llmring_lite.exceptions import CircuitBreakerError, ProviderError

State: TypeAlias = Literal["closed", "open", "half-open"]

THRESHOLD: Final = 3
RESET_S: Final = 10.0


class CircuitBreaker:
    """The breaker of one model at one endpoint, shared by all threads."""

    def __init__(
        self,
        threshold: int = THRESHOLD,
        reset_s: float = RESET_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        threshold: Faults in a row that open it.
        reset_s: Seconds after which it lets a probe through.
        """
        self._threshold = threshold
        self._reset_s = reset_s
        self._clock = clock
        self._lock = threading.Lock()
        self._faults = 0
        self._opened_at: float | None = None
        self._probe: Admission | None = None

    @property
    def state(self) -> State:
        if self._opened_at is None:
            return "closed"
        return "open" if self._probe is None else "half-open"

    def retry_after(self) -> float:
        """Seconds until a probe may go through; 0 if a call may go now."""
        opened_at = self._opened_at
        if opened_at is None:
            return 0.0
        return max(0.0, opened_at + self._reset_s - self._clock())

    def admit(self, *, early: bool = False) -> Admission:
        """Ask to make a call; make it within `with`.

        Args:
            early: Probe an open breaker before its time, because nothing else is
                left to try. There is never more than one probe.

        Raises:
            CircuitBreakerError: It is open; `retry_after` says for how long.
        """
        admission = Admission(self)
        if self._opened_at is None:  # read without the lock: the common case
            return admission
        with self._lock:
            if self._opened_at is None:
                return admission
            wait = self.retry_after()
            if self._probe is None and (early or wait <= 0):
                self._probe = admission
                return admission
        raise CircuitBreakerError(
            f"left alone after {self._faults} failures in a row"
            + (
                "; another call is probing it"
                if wait <= 0
                else f"; next try in {wait:.1f} s"
            ),
            retry_after=round(wait, 3),
        )

    def succeeded(self, admission: Admission | None = None) -> None:
        """A call went well, or failed by the caller's own fault."""
        if self._faults == 0:
            return
        with self._lock:
            is_probe = admission is not None and self._probe is admission
            # A call from before it opened proves nothing about now.
            if self._opened_at is None or is_probe:
                self._faults = 0
                self._opened_at = None
                self._probe = None

    def failed(self, admission: Admission | None = None) -> None:
        """A call failed by the provider's fault."""
        with self._lock:
            is_probe = admission is not None and self._probe is admission
            if self._opened_at is not None and not is_probe:
                return
            self._faults += 1
            if is_probe or self._faults >= self._threshold:
                self._opened_at = self._clock()
                self._probe = None

    def abandoned(self, admission: Admission) -> None:
        """A call ended without a verdict; another may probe instead."""
        with self._lock:
            if self._probe is admission:
                self._probe = None


class Admission:
    """Leave for one call. Every exit from `with` counts, so no probe gets stuck.

    With `deferred` set, a success is not the last word (a stream has only begun) and
    is told later by `succeeded` or `failed`; only a probe's counts at once, so that
    others need not wait for the end of its stream.
    """

    __slots__ = ("_breaker", "deferred")

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self.deferred = False

    def __enter__(self) -> Admission:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None:
            if not self.deferred or self._breaker.state != "closed":
                self._breaker.succeeded(self)
        elif not isinstance(exc, ProviderError):
            self._breaker.abandoned(self)
        elif exc.fault == "provider":
            self._breaker.failed(self)
        else:
            self._breaker.succeeded(self)
