"""Seconds left, on a clock that is turned by hand."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from conftest import Clock

from llmring_lite.deadline import Deadline


@pytest.mark.parametrize(
    ("whole", "part", "left"), [(10, 3, 3), (3, 10, 3), (None, 3, 3), (3, None, 3)]
)
def test_a_part_ends_with_the_whole_at_the_latest(
    clock: Clock, whole: float | None, part: float | None, left: float
) -> None:
    assert Deadline(whole, clock).within(part).remaining() == left


def test_without_a_limit_it_never_expires(clock: Clock) -> None:
    deadline = Deadline(None, clock)
    clock.now += 1e9
    assert deadline.remaining() == inf
    assert not deadline.expired()


def test_cancelling_expires_it_and_wakes_who_waits(clock: Clock) -> None:
    deadline = Deadline(10, clock)
    woken: list[str] = []
    deadline.on_cancel(lambda: woken.append("early"))
    deadline.cancel()
    deadline.on_cancel(lambda: woken.append("late"))
    assert woken == ["early", "late"]
    assert deadline.expired()
    assert deadline.cancelled


def test_a_part_is_cancelled_with_the_whole(clock: Clock) -> None:
    deadline = Deadline(10, clock)
    part = deadline.within(5)
    woken: list[str] = []
    part.on_cancel(lambda: woken.append("part"))
    deadline.cancel()
    assert part.expired()
    assert woken == ["part"]
    assert deadline.within(5).cancelled


def test_expiring_is_not_being_cancelled(clock: Clock) -> None:
    deadline = Deadline(1, clock)
    clock.now += 2
    assert deadline.expired()
    assert not deadline.cancelled


def test_a_cancellation_is_not_lost_while_the_deadline_is_shortened(
    clock: Clock,
) -> None:
    deadline = Deadline(10, clock)

    class Other:
        @property
        def expires_at(self) -> float:
            deadline.cancel()  # as another thread may, just now
            return clock.now + 5

    other: Any = Other()
    deadline.shorten(other)
    assert deadline.expired()


@pytest.mark.parametrize(("seconds", "wait"), [(None, None), (3, 3), (0.0, 0.001)])
def test_seconds_as_a_socket_takes_them(
    clock: Clock, seconds: float | None, wait: float | None
) -> None:
    assert Deadline(seconds, clock).timeout() == wait
