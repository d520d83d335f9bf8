"""Retries, breakers, conditions, racing and balancing around an attempt."""

from __future__ import annotations

import json
import logging
import pickle
import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Clock
from loopback import eventually

from llmring_lite.balance import Latency
from llmring_lite.breaker import CircuitBreaker
from llmring_lite.deadline import Deadline
from llmring_lite.dispatch import Dispatcher
from llmring_lite.dispatch_call import Answer, Call
from llmring_lite.exceptions import (
    AllModelsFailedError,
    CircuitBreakerError,
    ContentFilterError,
    ContextLengthError,
    ModelNotFoundError,
    ProviderAuthenticationError,
    ProviderConnectionError,
    ProviderError,
    ProviderOverloadedError,
    ProviderRateLimitError,
    ProviderResponseError,
    ProviderTimeoutError,
    UnsupportedParameterError,
)
from llmring_lite.lockfile import Lockfile
from llmring_lite.retry import RetryPolicy
from llmring_lite.routing import Candidate, Router


def busy(**facts: Any) -> ProviderError:
    return ProviderOverloadedError("busy", status_code=503, **facts)


def limited(**facts: Any) -> ProviderError:
    return ProviderRateLimitError("slow down", status_code=429, **facts)


def bad_request() -> ProviderError:
    return ProviderResponseError("bad", status_code=400)


FILTERED = "(withheld)"


class Bench:
    """A dispatcher on a clock turned by hand, and models whose answers are scripted.

    `script["mock:a"]` is a list of what the model does in turn: an exception to
    raise, a number of seconds to take, else the answer. The last one is repeated.
    """

    def __init__(self, clock: Clock, **binding: Any) -> None:
        self.clock = clock
        self.script: dict[str, list[Any]] = {}
        self.calls: list[str] = []
        self.deadlines: list[float] = []
        self.discarded: list[Any] = []
        self.dispatcher = Dispatcher(
            binding.pop("retry", RetryPolicy()),
            make_breaker=lambda: CircuitBreaker(clock=clock),
            rng=binding.pop("rng", lambda: 1.0),
            sleep=clock.sleep,
            clock=clock,
        )
        table = {"alias": "x", "models": ["mock:a", "mock:b"], **binding}
        document = {"profiles": {"default": {"name": "default", "bindings": [table]}}}
        self.router = Router(Lockfile.loads(json.dumps(document), format="json"))

    def attempt(self, candidate: Candidate, deadline: Deadline) -> Any:
        self.calls.append(candidate.ref)
        self.deadlines.append(deadline.remaining())
        steps = self.script.get(candidate.ref, ["ok"])
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        if isinstance(step, BaseException):
            raise step
        return step

    def run(
        self,
        timeout: float | None = 60.0,
        limit: float | None = None,
        attempt: Callable[[Candidate, Deadline], Any] | None = None,
        **metadata: Any,
    ) -> Answer[Any]:
        return self.dispatcher.run(
            Call(
                route=self.router.route("x"),
                attempt=attempt or self.attempt,
                discard=self.discarded.append,
                is_filtered=lambda value: value == FILTERED,
                timeout=timeout,
                deadline=Deadline(limit, self.clock),
                metadata=metadata,
            )
        )

    def fails(self, **arguments: Any) -> ProviderError:
        with pytest.raises(ProviderError) as caught:
            self.run(**arguments)
        return caught.value


Make = Callable[..., Bench]


@pytest.fixture
def make(clock: Clock) -> Make:
    return lambda **binding: Bench(clock, **binding)


# Retries --------------------------------------------------------------------------


def test_a_passing_failure_is_tried_again_after_a_jittered_wait(make: Make) -> None:
    bench = make(models=["mock:a"])
    bench.script["mock:a"] = [busy(), busy(), "ok"]
    answer = bench.run()
    assert answer.value == "ok"
    assert bench.clock.slept == [0.5, 1.0]
    assert [type(a["error"]) for a in answer.attempts] == [
        ProviderOverloadedError,
        ProviderOverloadedError,
        type(None),
    ]


def test_after_two_retries_the_error_itself_is_raised(make: Make) -> None:
    bench = make(models=["mock:a"], retry=RetryPolicy())
    bench.script["mock:a"] = [busy(request_id="r1"), busy(), busy(request_id="r3")]
    error = bench.fails()
    assert isinstance(error, ProviderOverloadedError)
    assert error.request_id == "r3"
    assert (error.provider, error.model) == ("mock", "a")
    assert len(bench.calls) == 3


@pytest.mark.parametrize("error", [bad_request(), ProviderTimeoutError("deadline")])
def test_other_failures_are_not_retried(make: Make, error: ProviderError) -> None:
    bench = make(models=["mock:a"])
    bench.script["mock:a"] = [error]
    bench.fails()
    assert bench.calls == ["mock:a"]
    assert bench.clock.slept == []


def test_retry_after_is_obeyed_when_it_fits(make: Make) -> None:
    bench = make(models=["mock:a"])
    bench.script["mock:a"] = [limited(retry_after=30.0), "ok"]
    assert bench.run(timeout=60).value == "ok"
    assert bench.clock.slept == [30.0]


@pytest.mark.parametrize(
    ("timeout", "limit"), [(20.0, None), (None, 20.0), (60.0, 20.0), (30.0, None)]
)
def test_retry_after_beyond_the_time_left_is_not_waited_for(
    make: Make, timeout: float | None, limit: float | None
) -> None:
    bench = make(models=["mock:a"])
    bench.script["mock:a"] = [limited(retry_after=30.0), "ok"]
    error = bench.fails(timeout=timeout, limit=limit)
    assert error.retry_after == 30.0
    assert bench.clock.slept == []


def test_a_long_wait_is_not_spent_while_another_candidate_is_left(make: Make) -> None:
    bench = make()
    bench.script["mock:a"] = [limited(retry_after=5.0), "ok"]
    assert bench.run().attempts[-1]["model"] == "mock:b"
    assert bench.clock.slept == []


def test_a_short_wait_is_spent_even_then(make: Make) -> None:
    bench = make()
    bench.script["mock:a"] = [busy(), "ok"]
    assert bench.run().attempts[-1]["model"] == "mock:a"


def test_a_wait_is_spent_when_no_candidate_may_follow(make: Make) -> None:
    bench = make(conditions={"mock:b": ["context_length"]})
    bench.script["mock:a"] = [limited(retry_after=5.0), "ok"]
    assert bench.run().attempts[-1]["model"] == "mock:a"
    assert bench.clock.slept == [5.0]


def test_every_attempt_has_its_timeout_within_the_calls_deadline(make: Make) -> None:
    bench = make(models=["mock:a"])
    bench.script["mock:a"] = [busy(), busy(), "ok"]
    bench.run(timeout=10.0, limit=11.0)
    assert bench.deadlines == [10.0, 10.0, 9.5]  # after waits of 0.5 and 1.0 s


# Fallback and conditions ----------------------------------------------------------


FALLS_BACK = [
    busy(),
    limited(),
    ProviderTimeoutError("x"),
    ProviderConnectionError("x"),
    ProviderResponseError("cut off", status_code=200),
    ModelNotFoundError("x", status_code=404),
    ContextLengthError("x", status_code=400),
    ContentFilterError("x", status_code=400),
    ProviderResponseError("gone", status_code=410),
    ProviderResponseError("conflict", status_code=409),
    ProviderResponseError("unknown field", status_code=422),
]
STOPS = [
    bad_request(),
    ProviderAuthenticationError("x", status_code=401),
    UnsupportedParameterError("x", parameter="seed"),
]


@pytest.mark.parametrize("error", FALLS_BACK, ids=lambda e: type(e).__name__)
def test_a_fallback_is_used_on_nearly_everything(
    make: Make, error: ProviderError
) -> None:
    bench = make(retry=RetryPolicy(max_retries=0))
    bench.script["mock:a"] = [error]
    answer = bench.run()
    assert [a["model"] for a in answer.attempts] == ["mock:a", "mock:b"]
    assert answer.attempts[0]["error"] is error


@pytest.mark.parametrize("error", STOPS, ids=lambda e: type(e).__name__)
def test_but_not_on_a_refused_key_or_a_plain_400(
    make: Make, error: ProviderError
) -> None:
    bench = make()
    bench.script["mock:a"] = [error]
    assert bench.fails() is error
    assert bench.calls == ["mock:a"]


# (condition, what meets it, what doesn't)
CONDITIONS = [
    ("rate_limit", limited(), busy()),
    ("quota_exceeded", limited(code="insufficient_quota"), busy()),
    ("timeout", ProviderTimeoutError("x"), busy()),
    ("unavailable", ProviderResponseError("x", status_code=500), limited()),
    ("unavailable", ProviderConnectionError("x"), ProviderTimeoutError("x")),
    ("unavailable", busy(), bad_request()),
    ("overloaded", busy(), ProviderResponseError("x", status_code=500)),
    ("model_not_found", ModelNotFoundError("x"), busy()),
    ("context_length", ContextLengthError("x"), bad_request()),
    ("content_filter", ContentFilterError("x"), bad_request()),
    ("auth", ProviderAuthenticationError("x"), busy()),
    ("any", bad_request(), None),
    ("any", ProviderAuthenticationError("x"), None),
    ("primary_and_first_fallback_failed", bad_request(), None),
]


@pytest.mark.parametrize(("word", "meets", "misses"), CONDITIONS)
def test_a_condition_decides_whether_a_fallback_is_used(
    make: Make, word: str, meets: ProviderError, misses: ProviderError | None
) -> None:
    bench = make(conditions={"mock:b": [word]}, retry=RetryPolicy(max_retries=0))
    bench.script["mock:a"] = [meets]
    assert bench.run().attempts[-1]["model"] == "mock:b"
    if misses is not None:
        bench.script["mock:a"] = [misses]
        assert bench.fails() is misses


def test_a_candidate_whose_condition_is_not_met_is_passed_over(make: Make) -> None:
    bench = make(
        models=["mock:a", "mock:b", "mock:c"],
        conditions={"mock:b": ["context_length"]},
        retry=RetryPolicy(max_retries=0),
    )
    bench.script["mock:a"] = [busy()]
    bench.run()
    assert bench.calls == ["mock:a", "mock:c"]


def test_all_failed_lists_every_attempt(make: Make) -> None:
    bench = make(retry=RetryPolicy(max_retries=0))
    bench.script |= {"mock:a": [busy()], "mock:b": [limited()]}
    error = bench.fails()
    assert isinstance(error, AllModelsFailedError)
    assert [(a["model"], type(a["error"])) for a in error.attempts] == [
        ("mock:a", ProviderOverloadedError),
        ("mock:b", ProviderRateLimitError),
    ]
    assert isinstance(error.__cause__, ProviderRateLimitError)


def test_no_candidate_is_begun_after_the_deadline(make: Make) -> None:
    bench = make(retry=RetryPolicy(max_retries=0))

    def slow(candidate: Candidate, deadline: Deadline) -> Any:
        bench.calls.append(candidate.ref)
        bench.clock.now += 6
        raise ProviderTimeoutError("x")

    error = bench.fails(limit=5.0, attempt=slow)
    assert isinstance(error, ProviderTimeoutError)
    assert bench.calls == ["mock:a"]


def test_a_withheld_answer_moves_on_if_another_may_give_one(make: Make) -> None:
    bench = make()
    bench.script["mock:a"] = [FILTERED]
    answer = bench.run()
    assert answer.value == "ok"
    assert isinstance(answer.attempts[0]["error"], ContentFilterError)
    assert bench.discarded == [FILTERED]


@pytest.mark.parametrize(
    "binding",
    [{"models": ["mock:a"]}, {"conditions": {"mock:b": ["rate_limit"]}}],
)
def test_else_it_is_returned_as_it_is(make: Make, binding: dict[str, Any]) -> None:
    bench = make(**binding)
    bench.script["mock:a"] = [FILTERED]
    assert bench.run().value == FILTERED


def test_one_log_line_tells_the_story(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "llmring_lite")
    bench = make(retry=RetryPolicy(max_retries=0))
    bench.run()
    assert caplog.records == []
    bench.script["mock:a"] = [busy()]
    bench.run()
    (record,) = caplog.records
    for fact in ("x", "mock:a", "busy", "mock:b", "answered"):
        assert fact in record.getMessage()


# The circuit breaker --------------------------------------------------------------


def test_an_open_breaker_skips_to_the_next_candidate(make: Make) -> None:
    bench = make(retry=RetryPolicy(max_retries=0))
    bench.script["mock:a"] = [busy()]
    for _ in range(3):
        bench.run()
    bench.calls.clear()
    answer = bench.run()
    assert bench.calls == ["mock:b"]
    assert isinstance(answer.attempts[0]["error"], CircuitBreakerError)


def test_one_probe_goes_to_it_after_the_reset_time(make: Make) -> None:
    bench = make(retry=RetryPolicy(max_retries=0))
    bench.script["mock:a"] = [busy(), busy(), busy(), "ok"]
    for _ in range(3):
        bench.run()
    bench.clock.now += 10
    assert bench.run().attempts[-1]["model"] == "mock:a"


def test_when_all_are_open_the_soonest_is_probed(make: Make) -> None:
    bench = make(retry=RetryPolicy(max_retries=0))
    bench.script |= {"mock:a": [busy()], "mock:b": [busy()]}
    for _ in range(2):
        bench.fails()
    bench.clock.now += 1
    bench.script["mock:b"] = ["ok", busy()]  # b's count starts anew
    bench.run()  # opens a
    bench.clock.now += 1
    for _ in range(3):
        bench.fails()  # opens b, two seconds after a
    bench.calls.clear()
    bench.fails()
    assert bench.calls == ["mock:a"]
    bench.script["mock:a"] = ["ok"]
    assert bench.run().value == "ok"


def test_the_error_names_the_reset_times(make: Make) -> None:
    bench = make(retry=RetryPolicy(max_retries=0))
    bench.script |= {"mock:a": [busy()], "mock:b": [busy()]}
    for _ in range(3):
        bench.fails()
    bench.clock.now += 4
    error = bench.fails()
    assert "next try in 6.0 s" in str(error)


def test_retries_stop_when_the_breaker_opens(make: Make) -> None:
    bench = make(models=["mock:a"], retry=RetryPolicy(max_retries=9))
    bench.script["mock:a"] = [busy()]
    error = bench.fails()
    assert isinstance(error, ProviderOverloadedError)
    assert len(bench.calls) == 3


def test_models_and_endpoints_have_their_own_breakers(make: Make) -> None:
    bench = make(models=["mock:a", "mock:b"], retry=RetryPolicy(max_retries=0))
    bench.script["mock:a"] = [busy()]
    for _ in range(5):
        bench.run()
    states = {
        c.ref: bench.dispatcher.breaker(c).state
        for c in bench.router.route("x").candidates
    }
    assert states == {"mock:a": "open", "mock:b": "closed"}


def test_a_stream_that_breaks_off_counts(make: Make) -> None:
    bench = make(models=["mock:a"])
    for _ in range(3):
        bench.run().lease.end(ProviderResponseError("cut off", status_code=200))
    candidate = bench.router.route("x").candidates[0]
    assert bench.dispatcher.breaker(candidate).state == "open"


# Strategies -----------------------------------------------------------------------


def firsts(bench: Bench, n: int, **metadata: Any) -> list[str]:
    out = []
    for _ in range(n):
        answer = bench.run(**metadata)
        answer.lease.end()
        out.append(answer.attempts[0]["model"])
    return out


def test_split_draws_by_weight(make: Make) -> None:
    bench = make(strategy="split", weights=[80, 20], rng=random.Random(5).random)
    counts = Counter(firsts(bench, 2000))
    assert abs(counts["mock:a"] - 1600) < 5 * (2000 * 0.8 * 0.2) ** 0.5


def test_the_rest_of_the_list_stays_the_fallback_order(make: Make) -> None:
    bench = make(
        models=["mock:a", "mock:b", "mock:c"],
        strategy="split",
        weights=[0, 0, 100],
        retry=RetryPolicy(max_retries=0),
    )
    bench.script |= {"mock:c": [busy()], "mock:a": [busy()]}
    bench.run()
    assert bench.calls == ["mock:c", "mock:a", "mock:b"]


def test_sticky_by_keeps_a_user_on_one_side(make: Make) -> None:
    bench = make(
        strategy="split",
        weights=[50, 50],
        sticky_by="user",
        rng=random.Random(5).random,
    )
    sides = {user: set(firsts(bench, 5, user=user)) for user in range(50)}
    assert all(len(side) == 1 for side in sides.values())
    assert {"mock:a", "mock:b"} == set().union(*sides.values())
    assert len(set(firsts(bench, 50))) == 2  # without the key: drawn


def test_round_robin_and_weighted_take_turns(make: Make) -> None:
    assert firsts(make(strategy="round_robin"), 4) == ["mock:a", "mock:b"] * 2
    counts = Counter(firsts(make(strategy="weighted", weights=[75, 25]), 100))
    assert counts == {"mock:a": 75, "mock:b": 25}


def test_least_connections_goes_to_the_idle_one(make: Make) -> None:
    bench = make(strategy="least_connections")
    first, second = bench.run(), bench.run()
    assert [a.attempts[0]["model"] for a in (first, second)] == ["mock:a", "mock:b"]
    first.lease.end()
    first.lease.end()  # twice is once
    assert bench.run().attempts[0]["model"] == "mock:a"


def test_failures_give_their_place_back(make: Make) -> None:
    bench = make(strategy="least_connections", retry=RetryPolicy(max_retries=0))
    bench.script["mock:a"] = [busy(), "ok"]
    bench.run().lease.end()
    assert bench.dispatcher.shared.in_flight.count("mock:a") == 0
    assert bench.run().attempts[0]["model"] == "mock:a"


def test_an_entry_without_a_key_leaves_its_share_to_the_others(make: Make) -> None:
    bench = make(
        models=["openai:gpt", "mock:a", "mock:b"],
        strategy="split",
        weights=[90, 5, 5],
        rng=random.Random(5).random,
    )
    counts = Counter(firsts(bench, 400))
    assert set(counts) == {"mock:a", "mock:b"}
    assert abs(counts["mock:a"] - 200) < 50


def test_turns_are_taken_fairly_by_threads(make: Make) -> None:
    bench = make(strategy="round_robin")
    models: list[str] = []

    def work() -> None:
        models.extend(firsts(bench, 50))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(models) == {"mock:a": 200, "mock:b": 200}


# Racing ---------------------------------------------------------------------------


class Track:
    """Models that answer when a test says so; a cancelled one raises."""

    def __init__(self) -> None:
        self.started: dict[str, threading.Event] = {}
        self.go: dict[str, threading.Event] = {}
        self.cancelled: list[str] = []
        for ref in ("mock:a", "mock:b", "mock:c"):
            self.started[ref] = threading.Event()
            self.go[ref] = threading.Event()

    def __call__(self, candidate: Candidate, deadline: Deadline) -> str:
        ref = candidate.ref
        deadline.on_cancel(lambda: (self.cancelled.append(ref), self.go[ref].set()))
        self.started[ref].set()
        self.go[ref].wait(10)
        if ref in self.cancelled:
            raise ProviderTimeoutError("cancelled")
        return ref


def in_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(work()))
    thread.start()
    return thread, result


def test_the_first_answer_wins_and_the_losers_are_cancelled(make: Make) -> None:
    bench = make(models=["mock:a", "mock:b", "mock:c"], strategy="race", hedge_after=0)
    track = Track()
    thread, result = in_thread(lambda: bench.run(attempt=track))
    assert all(track.started[ref].wait(5) for ref in track.started)
    track.go["mock:b"].set()
    thread.join(5)
    assert result[0].value == "mock:b"
    assert sorted(track.cancelled) == ["mock:a", "mock:c"]
    attempts = result[0].attempts
    assert [a["model"] for a in attempts] == ["mock:a", "mock:c", "mock:b"]
    assert ["cancelled" in str(a["error"]) for a in attempts] == [True, True, False]
    in_flight = bench.dispatcher.shared.in_flight
    assert eventually(lambda: in_flight.count("mock:a") == 0)
    assert in_flight.count("mock:b") == 1
    result[0].lease.end()
    assert in_flight.count("mock:b") == 0


def test_a_failed_racer_is_replaced_at_once(make: Make) -> None:
    bench = make(strategy="race", hedge_after=30)
    bench.script["mock:a"] = [busy()]
    answer = bench.run()
    assert [a["model"] for a in answer.attempts] == ["mock:a", "mock:b"]


def test_a_race_that_all_lose_lists_them(make: Make) -> None:
    bench = make(strategy="race", hedge_after=0)
    bench.script |= {"mock:a": [busy()], "mock:b": [limited()]}
    error = bench.fails()
    assert isinstance(error, AllModelsFailedError)
    assert len(error.attempts) == 2
    assert error.__cause__ in [attempt["error"] for attempt in error.attempts]


def test_the_callers_fault_ends_a_race(make: Make) -> None:
    bench = make(strategy="race", hedge_after=30)
    error = bad_request()
    bench.script["mock:a"] = [error]
    assert bench.fails() is error
    assert bench.calls == ["mock:a"]


def test_p95_hedges_only_once_it_knows_the_latency(make: Make) -> None:
    bench = make(strategy="race", hedge_after="p95")
    track = Track()
    thread, _ = in_thread(lambda: bench.run(attempt=track))
    assert track.started["mock:a"].wait(5)
    assert not track.started["mock:b"].wait(0.1)
    track.go["mock:a"].set()
    thread.join(5)
    latency = bench.dispatcher.shared.latencies.setdefault("mock:a", Latency())
    for _ in range(50):
        latency.observe(0.01)
    slow = Track()
    thread, result = in_thread(lambda: bench.run(attempt=slow))
    assert slow.started["mock:b"].wait(5)
    slow.go["mock:b"].set()
    thread.join(5)
    assert result[0].value == "mock:b"


def test_cancelled_losers_do_not_open_their_breakers(make: Make) -> None:
    bench = make(strategy="race", hedge_after=0)
    for _ in range(5):
        track = Track()
        thread, result = in_thread(lambda track=track: bench.run(attempt=track))
        assert track.started["mock:a"].wait(5)
        assert track.started["mock:b"].wait(5)
        track.go["mock:b"].set()
        thread.join(5)
        result[0].lease.end()
        assert eventually(
            lambda: bench.dispatcher.shared.in_flight.count("mock:a") == 0
        )
    candidate = bench.router.route("x").candidates[0]
    assert bench.dispatcher.breaker(candidate).state == "closed"


# Aliases of aliases ---------------------------------------------------------------


def test_an_alias_within_a_split_is_one_side(clock: Clock) -> None:
    bench = Bench(clock)
    tables = [
        {"alias": "pair", "models": ["mock:a", "mock:b"]},
        {
            "alias": "x",
            "models": ["pair", "mock:c"],
            "strategy": "split",
            "weights": [0, 100],
            "conditions": {"pair": ["rate_limit"]},
        },
    ]
    document = {"profiles": {"default": {"name": "default", "bindings": tables}}}
    bench.router = Router(Lockfile.loads(json.dumps(document), format="json"))
    bench.script |= {
        "mock:c": [limited(retry_after=9)],
        "mock:a": [limited(retry_after=9)],
    }
    bench.run()
    assert bench.calls == ["mock:c", "mock:a", "mock:b"]


def test_a_dispatcher_pickles_without_its_state(clock: Clock) -> None:
    dispatcher = Dispatcher(RetryPolicy(max_retries=5))
    assert dispatcher.shared is dispatcher.shared
    again = pickle.loads(pickle.dumps(dispatcher))
    assert again.shared is not dispatcher.shared
