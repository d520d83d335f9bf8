"""The first good answer of several calls that run at the same time.

Daemon threads and a queue: an executor would hold up the interpreter's exit for the
slowest loser.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class Race(Generic[T]):
    """Calls that compete; the first to return wins.

    Args:
        calls: In order of preference; each may raise.
        cancel: Called with the index of a call that has lost, while it still runs.
        discard: Called with what a loser returned after all.
        may_follow: Called with the index of a call not yet started and the error of
            one that failed: may it be started in its stead?

    Attributes:
        started: The indices of the calls that were started, in that order.
    """

    def __init__(
        self,
        calls: Sequence[Callable[[], T]],
        *,
        cancel: Callable[[int], None],
        discard: Callable[[T], None],
        may_follow: Callable[[int, Exception], bool],
    ) -> None:
        self._calls = calls
        self._cancel = cancel
        self._discard = discard
        self._may_follow = may_follow
        self._ended: SimpleQueue[tuple[int, T | None, Exception | None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._over = False
        self._waiting = list(range(len(calls)))
        self._running: set[int] = set()
        self.started: list[int] = []

    def run(
        self, hedge_after: float | None, may_hedge: Callable[[], bool]
    ) -> tuple[int, T]:
        """The winner's index and what it returned.

        Args:
            hedge_after: Seconds after which the next call is started beside the
                running ones; 0 starts all at once, None only replaces failed ones.
            may_hedge: Asked before each such start.

        Raises:
            The last error, if all that were started failed.
        """
        if hedge_after is not None and hedge_after > threading.TIMEOUT_MAX:
            hedge_after = None
        try:
            self._start_next()
            while hedge_after == 0 and self._waiting:
                self._start_next()
            return self._wait(hedge_after, may_hedge)
        finally:
            self._finish()

    def _wait(
        self, hedge_after: float | None, may_hedge: Callable[[], bool]
    ) -> tuple[int, T]:
        while True:
            try:
                index, value, error = self._ended.get(
                    timeout=hedge_after if self._waiting else None
                )
            except Empty:
                if may_hedge():
                    self._start_next()
                else:
                    hedge_after = None
                continue
            self._running.discard(index)
            if error is None:
                return index, value  # type: ignore[return-value]
            self._waiting = [i for i in self._waiting if self._may_follow(i, error)]
            if self._waiting:
                self._start_next()
            elif not self._running:
                raise error

    def _start_next(self) -> None:
        index = self._waiting.pop(0)
        self._running.add(index)
        self.started.append(index)
        threading.Thread(
            target=self._work, args=(index,), name=f"llmring-race-{index}", daemon=True
        ).start()

    def _work(self, index: int) -> None:
        value: T | None = None
        error: Exception | None = None
        try:
            value = self._calls[index]()
        except Exception as failure:  # noqa: BLE001 - goes to the waiting thread
            error = failure
        with self._lock:
            if not self._over:
                self._ended.put((index, value, error))
                return
        if error is None:
            self._discard(value)  # type: ignore[arg-type]

    def _finish(self) -> None:
        """End the losers: those still running, and those just back."""
        with self._lock:
            self._over = True
        for index in self._running:
            self._cancel(index)
        while not self._ended.empty():
            _, value, error = self._ended.get()
            if error is None:
                self._discard(value)  # type: ignore[arg-type]
