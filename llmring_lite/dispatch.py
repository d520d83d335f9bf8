"""Which candidate is called when: one layer around an attempt.

Retries, circuit breakers, fallback, racing and balancing are decided here and in the
policy modules that this one combines; an attempt knows nothing of them. Streams get
the same treatment until their first chunk.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from llmring_lite import balance, keys
from llmring_lite.breaker import CircuitBreaker
from llmring_lite.deadline import Deadline
from llmring_lite.dispatch_call import (
    Answer,
    Call,
    Lease,
    Shared,
    failure_of,
    fitting,
    note_usage,
    usage_of,
)
from llmring_lite.exceptions import (
    CircuitBreakerError,
    ContentFilterError,
    ProviderError,
)
from llmring_lite.retry import RetryPolicy
from llmring_lite.routing import Candidate, Route, no_usable_candidate

T = TypeVar("T")

log = logging.getLogger("llmring_lite")

MOMENT_S: Final = 1.0
"""A longer wait is not spent on a candidate while another one is left."""


class _Lost(Exception):
    """An attempt was cancelled because another candidate answered first."""


class Dispatcher:
    """Carries calls to candidates. One serves any number of threads."""

    def __init__(
        self,
        retry: RetryPolicy | None = None,
        *,
        make_breaker: Callable[[], CircuitBreaker] = CircuitBreaker,
        rng: Callable[[], float] = random.random,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._retry = retry or RetryPolicy()
        self._make_breaker = make_breaker
        self._rng = rng
        self._sleep = sleep
        self._clock = clock
        # By process: a lock that another thread held during a fork stays locked.
        self._shared: dict[int, Shared] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shared": {}}

    @property
    def shared(self) -> Shared:
        pid = os.getpid()
        found = self._shared.get(pid)
        return found or self._shared.setdefault(pid, Shared())

    def breaker(self, candidate: Candidate) -> CircuitBreaker:
        """The breaker of a candidate's endpoint and model."""
        breakers = self.shared.breakers
        name = candidate.ref
        return breakers.get(name) or breakers.setdefault(name, self._make_breaker())

    def run(self, call: Call[T]) -> Answer[T]:
        """The first answer that counts.

        Raises:
            ProviderError: One candidate was tried; its own error.
            AllModelsFailedError: Two or more were, and none answered.
            ProviderAuthenticationError: No candidate has a key.
        """
        binding = call.route.binding
        order = self.order(call.route, call.metadata)
        skipped: list[dict[str, Any]] = []
        if call.prompt_tokens is not None and len(order) > 1:
            order, skipped = fitting(order, call.prompt_tokens, call.window_of)
        if binding is not None and binding.strategy == "race" and len(order) > 1:
            answer = self._race(call, order, skipped)
        else:
            answer = self._in_turn(call, order, skipped)
        if len(answer.attempts) > 1 and log.isEnabledFor(logging.INFO):
            log.info(
                "%s: %s",
                call.route.name,
                "; ".join(
                    f"{a['model']} {a['error'] or 'answered'}" for a in answer.attempts
                ),
            )
        return answer

    # The order -------------------------------------------------------------------

    def order(
        self, route: Route, metadata: Mapping[str, Any] | None = None
    ) -> list[Candidate]:
        """The candidates with a key, in the order in which this call tries them."""
        usable = [
            (index, group)
            for index, entry in enumerate(route.groups)
            if (group := [c for c in entry if keys.has_key(c.endpoint)])
        ]
        if not usable:
            raise no_usable_candidate(route)
        groups = [group for _, group in usable]
        if len(groups) > 1:
            first = self._first(route, [index for index, _ in usable], metadata or {})
            groups = balance.moved_to_front(groups, first)
        return [candidate for group in groups for candidate in group]

    def _first(
        self, route: Route, entries: Sequence[int], metadata: Mapping[str, Any]
    ) -> int:
        """Which of the usable entries a strategy chooses."""
        binding = route.binding
        if binding is None or binding.strategy in ("fallback", "race"):
            return 0
        names = [binding.models[index] for index in entries]
        if binding.strategy == "least_connections":
            in_flight = self.shared.in_flight
            loads = [
                sum(in_flight.count(c.ref) for c in route.groups[index])
                for index in entries
            ]
            return loads.index(min(loads))
        turns = self.shared.turns.setdefault(
            (route.profile, route.name), balance.Turns()
        )
        if binding.strategy == "round_robin":
            return turns.next(len(names))
        weights = [(binding.weights or ())[index] for index in entries]
        if not any(weights):
            return 0  # only entries of weight 0 have a key
        if binding.strategy == "weighted":
            return turns.next_weighted(weights, names)
        sticky = metadata.get(binding.sticky_by) if binding.sticky_by else None
        if sticky is not None:
            return balance.draw_sticky(weights, names, str(sticky))
        return balance.draw(weights, self._rng())

    # In turn ---------------------------------------------------------------------

    def _in_turn(
        self,
        call: Call[T],
        order: Sequence[Candidate],
        attempts: list[dict[str, Any]],
    ) -> Answer[T]:
        """`attempts` holds who was skipped, and gets who is tried."""
        error: ProviderError | None = None
        for index, candidate in enumerate(order):
            if error is not None:
                if call.deadline.expired():
                    break
                if not candidate.may_follow(error):
                    continue
                # Kept on the record, without the frames it came through.
                error.__traceback__ = None
            try:
                return self._try(call, candidate, order[index + 1 :], attempts)
            except ProviderError as failure:
                error = failure
        asked = [record for record in attempts if not record.get("skipped")]
        if all(isinstance(a["error"], CircuitBreakerError) for a in asked):
            # Better a probe before its time than failing blind.
            tried = {record["model"] for record in asked}
            soonest = min(
                (c for c in order if c.ref in tried),
                key=lambda c: self.breaker(c).retry_after(),
            )
            try:
                return self._try(call, soonest, (), attempts, early=True)
            except ProviderError as failure:
                error = failure
        raise failure_of(call.route, attempts, error)

    def _try(
        self,
        call: Call[T],
        candidate: Candidate,
        rest: Sequence[Candidate],
        attempts: list[dict[str, Any]],
        *,
        early: bool = False,
        policy: RetryPolicy | None = None,
        deadline: Deadline | None = None,
    ) -> Answer[T]:
        """One candidate, with its retries. `rest` may be tried after it."""
        began = self._clock()
        retries = 0
        while True:
            try:
                return self._once(
                    call,
                    candidate,
                    rest,
                    attempts,
                    early,
                    deadline or call.deadline.within(call.timeout),
                )
            except ProviderError as error:
                wait = (policy or self._retry).wait(error, retries, self._rng)
                if wait is None:
                    raise
                another = any(other.may_follow(error) for other in rest)
                spent = self._clock() - began
                if (
                    self.breaker(candidate).state != "closed"
                    or (another and wait > MOMENT_S)
                    or wait >= call.deadline.remaining()
                    or (call.timeout is not None and spent + wait >= call.timeout)
                ):
                    raise
                error.__traceback__ = None
            self._sleep(wait)
            retries += 1

    def _once(
        self,
        call: Call[T],
        candidate: Candidate,
        rest: Sequence[Candidate],
        attempts: list[dict[str, Any]],
        early: bool,
        deadline: Deadline,
    ) -> Answer[T]:
        """One attempt, on the record."""
        breaker = self.breaker(candidate)
        began = self._clock()
        record: dict[str, Any] = {"model": candidate.ref, "error": None}
        lease: Lease | None = None
        try:
            with breaker.admit(early=early) as admission:
                admission.deferred = True
                lease = Lease(self.shared.in_flight, candidate.ref, breaker)
                value = self._answer(call, candidate, rest, deadline)
                note_usage(record, usage_of(value))
        except BaseException as error:
            if lease is not None:
                lease.drop()
            if isinstance(error, ProviderError):
                error.provider = candidate.endpoint.name
                error.model = candidate.model
            record["error"] = error
            note_usage(record, usage_of(error))
            raise
        finally:
            record["seconds"] = self._clock() - began
            attempts.append(record)
            del record  # the error's traceback holds this frame, the record the error
        return Answer(value=value, attempts=attempts, lease=lease)

    def _answer(
        self,
        call: Call[T],
        candidate: Candidate,
        rest: Sequence[Candidate],
        deadline: Deadline,
    ) -> T:
        try:
            value = call.attempt(candidate, deadline)
        except ProviderError:
            if deadline.cancelled:
                # Hung up on by us: no fault of the provider's.
                raise _Lost from None
            raise
        if rest and call.is_filtered(value):
            withheld = ContentFilterError("the answer was withheld by a content filter")
            if any(other.may_follow(withheld) for other in rest):
                withheld.response = value
                call.discard(value)
                raise withheld
        return value

    # Racing ----------------------------------------------------------------------

    def _race(
        self,
        call: Call[T],
        order: Sequence[Candidate],
        skipped: list[dict[str, Any]],
    ) -> Answer[T]:
        records: list[list[dict[str, Any]]] = [[] for _ in order]
        began = self._clock()
        deadlines = [call.deadline.within(None) for _ in order]
        once = RetryPolicy(max_retries=0)

        def runner(index: int) -> Callable[[], Answer[T]]:
            candidate, deadline = order[index], deadlines[index]

            def run() -> Answer[T]:
                started = self._clock()
                # The time of an attempt begins when it is started.
                deadline.shorten(call.deadline.within(call.timeout))
                answer = self._try(
                    call, candidate, (), records[index], policy=once, deadline=deadline
                )
                self._latency(candidate).observe(self._clock() - started)
                return answer

            return run

        def discard(answer: Answer[T]) -> None:
            call.discard(answer.value)
            answer.lease.drop()

        def may_follow(index: int, error: Exception) -> bool:
            return isinstance(error, ProviderError) and order[index].may_follow(error)

        hedges = self.shared.hedges
        hedges.earn()
        from llmring_lite.race import Race  # for those who race

        race = Race(
            [runner(index) for index in range(len(order))],
            cancel=lambda index: deadlines[index].cancel(),
            discard=discard,
            may_follow=may_follow,
        )
        try:
            winner, answer = race.run(
                self._hedge_after(call.route, order[0]), hedges.spend
            )
        except ProviderError as error:
            attempts = [
                *skipped,
                *(record for index in race.started for record in records[index]),
            ]
            failure = failure_of(call.route, attempts, error)
            raise failure from failure.__cause__
        attempts = skipped
        for index in race.started:
            if index != winner:
                attempts += _loser(order[index], records[index], self._clock() - began)
        attempts += records[winner]
        return Answer(value=answer.value, attempts=attempts, lease=answer.lease)

    def _latency(self, candidate: Candidate) -> balance.Latency:
        return self.shared.latencies.setdefault(candidate.ref, balance.Latency())

    def _hedge_after(self, route: Route, first: Candidate) -> float | None:
        """Seconds; None while a percentile is asked for and too little is known."""
        given = route.binding.hedge_after if route.binding is not None else None
        if isinstance(given, str):
            return self._latency(first).quantile(float(given.removeprefix("p")) / 100)
        return 0.0 if given is None else given


def _loser(
    candidate: Candidate, records: Sequence[dict[str, Any]], seconds: float
) -> list[dict[str, Any]]:
    """What is on record of a racer that failed or was cancelled (and maybe billed)."""
    failed = [r for r in records if isinstance(r["error"], ProviderError)]
    lost = ProviderError(
        "cancelled: another candidate answered first",
        provider=candidate.endpoint.name,
        model=candidate.model,
    )
    if failed:
        return failed
    # It may have answered, a moment too late.
    record = {"model": candidate.ref, "error": lost, "seconds": seconds}
    for own in records:
        note_usage(record, own.get("usage"))
    return [record]
