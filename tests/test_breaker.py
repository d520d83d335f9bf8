"""The circuit breaker as a state machine."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest
from conftest import Clock
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llmring_lite.breaker import Admission, CircuitBreaker
from llmring_lite.exceptions import (
    CircuitBreakerError,
    ContextLengthError,
    ModelNotFoundError,
    ProviderAuthenticationError,
    ProviderConnectionError,
    ProviderError,
    ProviderOverloadedError,
    ProviderRateLimitError,
    ProviderResponseError,
    ProviderTimeoutError,
)

FAULTS = [
    ProviderOverloadedError("x", status_code=503),
    ProviderRateLimitError("x", status_code=429),
    ProviderTimeoutError("x"),
    ProviderConnectionError("x"),
    ProviderResponseError("cut off", status_code=200),
    ProviderResponseError("x", status_code=500),
]
NO_FAULTS = [
    ProviderResponseError("x", status_code=400),
    ProviderAuthenticationError("x", status_code=401),
    ModelNotFoundError("x", status_code=404),
    ContextLengthError("x", status_code=400),
]


def call(breaker: CircuitBreaker, error: BaseException | None = None) -> None:
    with suppress(ProviderError, KeyboardInterrupt), breaker.admit():
        if error is not None:
            raise error


def opened(clock: Clock) -> CircuitBreaker:
    breaker = CircuitBreaker(clock=clock)
    for _ in range(3):
        call(breaker, FAULTS[0])
    assert breaker.state == "open"
    return breaker


@pytest.mark.parametrize("error", FAULTS, ids=lambda e: type(e).__name__)
def test_three_faults_in_a_row_open_it(clock: Clock, error: ProviderError) -> None:
    breaker = CircuitBreaker(clock=clock)
    for _ in range(2):
        call(breaker, error)
        assert breaker.state == "closed"
    call(breaker, error)
    assert breaker.state == "open"
    with pytest.raises(CircuitBreakerError) as caught:
        breaker.admit()
    assert caught.value.retry_after == 10.0


@pytest.mark.parametrize("error", NO_FAULTS, ids=lambda e: type(e).__name__)
def test_the_callers_faults_show_that_the_endpoint_is_well(
    clock: Clock, error: ProviderError
) -> None:
    breaker = CircuitBreaker(clock=clock)
    for between in (error, None):
        for _ in range(2):
            call(breaker, FAULTS[0])
        call(breaker, between)
    for _ in range(10):
        call(breaker, error)
    assert breaker.state == "closed"


def test_one_probe_goes_through_after_the_reset_time(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now += 9.9
    with pytest.raises(CircuitBreakerError):
        breaker.admit()
    clock.now += 0.2
    probe = breaker.admit()
    assert breaker.state == "half-open"
    with pytest.raises(CircuitBreakerError, match="probing"):
        breaker.admit()
    with probe:
        pass
    assert breaker.state == "closed"


def test_a_failed_probe_opens_it_for_the_whole_time_again(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now += 10
    call(breaker, FAULTS[0])
    assert breaker.state == "open"
    assert breaker.retry_after() == 10


def test_a_probe_refused_by_the_callers_fault_closes_it(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now += 10
    call(breaker, NO_FAULTS[0])
    assert breaker.state == "closed"


def test_an_interrupted_probe_lets_another_one_through(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now += 10
    call(breaker, KeyboardInterrupt())
    assert breaker.state == "open"
    call(breaker)
    assert breaker.state == "closed"


def test_an_early_probe_is_possible_but_only_one(clock: Clock) -> None:
    breaker = opened(clock)
    probe = breaker.admit(early=True)
    with pytest.raises(CircuitBreakerError):
        breaker.admit(early=True)
    with probe:
        pass
    assert breaker.state == "closed"


def test_calls_from_before_it_opened_change_nothing(clock: Clock) -> None:
    breaker = CircuitBreaker(clock=clock)
    good, bad = breaker.admit(), breaker.admit()
    for _ in range(3):
        call(breaker, FAULTS[0])
    clock.now += 5
    with good:
        pass
    assert breaker.state == "open"
    with suppress(ProviderError), bad:
        raise FAULTS[0]
    assert breaker.retry_after() == 5


def test_a_fault_after_the_answer_began_counts(clock: Clock) -> None:
    breaker = CircuitBreaker(clock=clock)
    for _ in range(3):
        breaker.failed()
    assert breaker.state == "open"
    breaker.succeeded()
    assert breaker.state == "open"


def test_threads_get_one_probe_between_them(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now += 10
    admitted: list[Admission] = []
    barrier = threading.Barrier(16)

    def work() -> None:
        barrier.wait()
        with suppress(CircuitBreakerError):
            admitted.append(breaker.admit())

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(admitted) == 1


class BreakerMachine(RuleBasedStateMachine):
    """Random calls that overlap; the transitions must be the legal ones."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.breaker = CircuitBreaker(3, 10.0, self.clock)
        self.running: list[Admission] = []
        self.before = "closed"

    def moved(self, *legal: tuple[str, str]) -> None:
        after = self.breaker.state
        if after != self.before:
            assert (self.before, after) in legal
        self.before = after

    @rule(early=st.booleans())
    def begin(self, early: bool) -> None:
        due = self.breaker.retry_after() <= 0
        was = self.breaker.state
        try:
            self.running.append(self.breaker.admit(early=early))
        except CircuitBreakerError:
            assert was == "half-open" or not (due or early)
        else:
            assert was == "closed" or (was == "open" and (due or early))
        self.moved(("open", "half-open"))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), outcome=st.sampled_from(["ok", "fault", "caller", "ctrl-c"]))
    def end(self, data: st.DataObject, outcome: str) -> None:
        index = data.draw(st.integers(0, len(self.running) - 1))
        error = {
            "ok": None,
            "fault": FAULTS[0],
            "caller": NO_FAULTS[0],
            "ctrl-c": KeyboardInterrupt(),
        }[outcome]
        with suppress(ProviderError, KeyboardInterrupt), self.running.pop(index):
            if error is not None:
                raise error
        self.moved(
            ("closed", "open"),
            ("half-open", "closed"),
            ("half-open", "open"),
        )

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        self.moved()

    @invariant()
    def a_probe_can_always_be_had_or_is_running(self) -> None:
        if self.breaker.state == "half-open":
            assert self.running
        if self.breaker.state == "open":
            assert self.breaker.retry_after() <= 10


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=60, deadline=None)
