"""The first good answer of several calls."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from loopback import eventually

from llmring_lite.balance import HedgeBudget
from llmring_lite.race import Race


class Lane:
    """A call whose end a test decides."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.cancelled = threading.Event()
        self._release = threading.Event()
        self._outcome: Any = None

    def end(self, outcome: Any) -> None:
        self._outcome = outcome
        self._release.set()

    def __call__(self) -> Any:
        self.started.set()
        self._release.wait(10)
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


class Runner:
    """A race in a thread of its own."""

    def __init__(self, count: int, may_follow: bool = True) -> None:
        self.lanes = [Lane() for _ in range(count)]
        self.discarded: list[Any] = []
        self.result: Any = None
        self.race: Race[Any] = Race(
            self.lanes,
            cancel=lambda index: self.lanes[index].cancelled.set(),
            discard=self.discarded.append,
            may_follow=lambda index, error: may_follow,
        )

    def go(self, hedge_after: float | None, may_hedge: bool = True) -> Runner:
        def work() -> None:
            try:
                self.result = self.race.run(hedge_after, lambda: may_hedge)
            except Exception as error:  # noqa: BLE001 - looked at by the test
                self.result = error

        self.thread = threading.Thread(target=work)
        self.thread.start()
        return self

    def join(self) -> Any:
        self.thread.join(10)
        assert not self.thread.is_alive()
        return self.result


def test_all_start_at_once_and_the_first_answer_wins() -> None:
    runner = Runner(3).go(0)
    assert all(lane.started.wait(5) for lane in runner.lanes)
    runner.lanes[1].end("one")
    assert runner.join() == (1, "one")
    assert runner.lanes[0].cancelled.is_set()
    assert runner.lanes[2].cancelled.is_set()
    assert not runner.lanes[1].cancelled.is_set()


def test_a_loser_that_returns_after_all_is_discarded() -> None:
    runner = Runner(2).go(0)
    assert all(lane.started.wait(5) for lane in runner.lanes)
    runner.lanes[0].end("winner")
    runner.join()
    runner.lanes[1].end("late")
    assert eventually(lambda: runner.discarded == ["late"])


def test_the_next_starts_only_after_the_hedge_delay() -> None:
    runner = Runner(2).go(0.2)
    assert runner.lanes[0].started.wait(5)
    assert not runner.lanes[1].started.wait(0.05)
    assert runner.lanes[1].started.wait(5)
    runner.lanes[1].end("hedge")
    assert runner.join() == (1, "hedge")


@pytest.mark.parametrize("hedge_after", [30, 1e300])
def test_a_quick_answer_needs_no_hedge(hedge_after: float) -> None:
    runner = Runner(2).go(hedge_after)
    runner.lanes[0].end("quick")
    assert runner.join() == (0, "quick")
    assert not runner.lanes[1].started.is_set()


def test_without_budget_there_is_no_hedge() -> None:
    runner = Runner(2).go(0.02, may_hedge=False)
    assert not runner.lanes[1].started.wait(0.2)
    runner.lanes[0].end("slow")
    assert runner.join() == (0, "slow")


def test_a_failure_starts_the_next_at_once_budget_or_not() -> None:
    runner = Runner(2).go(30, may_hedge=False)
    assert runner.lanes[0].started.wait(5)
    runner.lanes[0].end(ValueError("down"))
    assert runner.lanes[1].started.wait(5)
    runner.lanes[1].end("spare")
    assert runner.join() == (1, "spare")


def test_a_failure_that_nothing_may_follow_ends_the_race() -> None:
    runner = Runner(2, may_follow=False).go(None)
    runner.lanes[0].end(ValueError("your own fault"))
    assert str(runner.join()) == "your own fault"
    assert not runner.lanes[1].started.is_set()


def test_the_last_failure_is_raised_when_all_fail() -> None:
    runner = Runner(3).go(0)
    assert all(lane.started.wait(5) for lane in runner.lanes)
    for index, lane in enumerate(runner.lanes):
        lane.end(ValueError(str(index)))
        time.sleep(0.02)  # so that they end in this order
    assert str(runner.join()) == "2"


def test_the_interpreter_does_not_wait_for_a_loser() -> None:
    code = (
        "import time\n"
        "from llmring_lite.race import Race\n"
        "race = Race([lambda: time.sleep(60), lambda: 'quick'], cancel=print,\n"
        "            discard=print, may_follow=lambda i, e: True)\n"
        "assert race.run(0, lambda: True) == (1, 'quick')\n"
    )
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    assert time.monotonic() - started < 20


def test_hedges_stay_a_tenth_of_the_calls() -> None:
    budget = HedgeBudget()
    hedges = 0
    for calls in range(1, 1001):
        budget.earn()
        hedges += budget.spend()
        assert hedges <= max(1, calls / 10)
    assert hedges == 100


def test_the_first_hedge_is_on_credit() -> None:
    budget = HedgeBudget()
    budget.earn()
    assert budget.spend()
    assert not budget.spend()


def test_a_long_calm_saves_up_ten_hedges_at_most() -> None:
    budget = HedgeBudget()
    for _ in range(10_000):
        budget.earn()
    assert sum(budget.spend() for _ in range(1000)) == 10


@pytest.mark.parametrize("count", [2, 5])
def test_every_thread_ends(count: int) -> None:
    before = threading.active_count()
    runner = Runner(count).go(0)
    runner.lanes[0].end("done")
    runner.join()
    for lane in runner.lanes[1:]:
        lane.end("late")
    assert eventually(lambda: threading.active_count() <= before)
