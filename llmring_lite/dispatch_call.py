"""A call to dispatch, its answer, and what the calls of a process share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from llmring_lite import balance
from llmring_lite.breaker import CircuitBreaker
from llmring_lite.deadline import Deadline
from llmring_lite.exceptions import (
    AllModelsFailedError,
    ContextLengthError,
    ProviderError,
)
from llmring_lite.routing import Candidate, Route

T = TypeVar("T")


class Call(NamedTuple, Generic[T]):
    """What to do, and what is known about it.

    Attributes:
        route: Where it may go.
        attempt: Tries one candidate within a deadline.
        discard: Ends what an attempt returned too late to be used.
        is_filtered: Was the answer withheld by a content filter?
        timeout: Seconds for one attempt, None for no limit.
        deadline: Bounds the whole call.
        metadata: The request's, for `sticky_by`.
        prompt_tokens: About how long the prompt is; None: not worth a thought.
        window_of: Tokens that fit into a candidate, None if unknown.
    """

    route: Route
    attempt: Callable[[Candidate, Deadline], T]
    discard: Callable[[T], None]
    is_filtered: Callable[[T], bool]
    timeout: float | None
    deadline: Deadline
    metadata: Mapping[str, Any] = {}
    prompt_tokens: int | None = None
    window_of: Callable[[Candidate], int | None] = lambda candidate: None


class Answer(NamedTuple, Generic[T]):
    """What came of a call.

    Attributes:
        value: What the attempt returned.
        attempts: Every attempt, in the order they ended: `model`, `error` (None for
            the one that answered), `seconds`; where a reply came, used or not, its
            `usage` and `cost`; `skipped` where the prompt didn't fit, and nothing
            was sent.
        lease: Held on the candidate; the caller ends it when it is done with `value`.
    """

    value: T
    attempts: list[dict[str, Any]]
    lease: Lease


class Shared:
    """What the calls of a process share, by candidate or alias."""

    def __init__(self) -> None:
        self.breakers: dict[str, CircuitBreaker] = {}
        self.turns: dict[tuple[str, str], balance.Turns] = {}
        self.latencies: dict[str, balance.Latency] = {}
        self.in_flight = balance.InFlight()
        self.hedges = balance.HedgeBudget()


class Lease:
    """A call under way on a candidate, until its answer has been used up."""

    __slots__ = ("_breaker", "_in_flight", "_name")

    def __init__(
        self, in_flight: balance.InFlight, name: str, breaker: CircuitBreaker
    ) -> None:
        self._in_flight: balance.InFlight | None = in_flight
        self._name = name
        self._breaker = breaker
        in_flight.begin(name)

    def end(self, error: BaseException | None = None) -> None:
        """Done, or failed after the first chunk. A second time does nothing."""
        if not self._give_back():
            return
        if isinstance(error, ProviderError) and error.fault == "provider":
            self._breaker.failed()
        elif error is None:
            self._breaker.succeeded()

    def drop(self) -> None:
        """Over, without a word on how the provider did."""
        self._give_back()

    def _give_back(self) -> bool:
        in_flight, self._in_flight = self._in_flight, None
        if in_flight is not None:
            in_flight.end(self._name)
        return in_flight is not None


def note_usage(record: dict[str, Any], usage: Mapping[str, Any] | None) -> None:
    """Put what an attempt used, and cost, on its record; None: no reply came."""
    if usage is not None:
        record["usage"] = usage
        record["cost"] = usage.get("cost")


def usage_of(outcome: Any) -> Mapping[str, Any] | None:
    """What a reply used, or the reply that an error holds; None if nothing came."""
    reply = getattr(outcome, "response", outcome)
    usage = getattr(reply, "usage", None)
    return usage if isinstance(usage, dict) else None


def fitting(
    order: Sequence[Candidate],
    prompt_tokens: int,
    window_of: Callable[[Candidate], int | None],
) -> tuple[list[Candidate], list[dict[str, Any]]]:
    """The candidates that a prompt may fit into, and records of the others.

    A candidate is left out only for the sake of a later one that has the room, and
    that may be used when a prompt is too long.

    Args:
        prompt_tokens: An estimate.
        window_of: Tokens that fit into a candidate, None if unknown.
    """
    kept: list[Candidate] = []
    skipped: list[dict[str, Any]] = []
    for index, candidate in enumerate(order):
        window = window_of(candidate)
        if window is None or window >= prompt_tokens:
            kept.append(candidate)
            continue
        error = ContextLengthError(
            f"not asked: the prompt has about {prompt_tokens:,} tokens, and "
            f"{window:,} fit",
            provider=candidate.endpoint.name,
            model=candidate.model,
        )
        if any(
            (window_of(other) or 0) >= prompt_tokens and other.may_follow(error)
            for other in order[index + 1 :]
        ):
            skipped.append(
                {
                    "model": candidate.ref,
                    "error": error,
                    "seconds": 0.0,
                    "skipped": True,
                }
            )
        else:
            kept.append(candidate)
    return kept, skipped


def failure_of(
    route: Route, attempts: list[dict[str, Any]], error: ProviderError | None
) -> ProviderError:
    """The error of a call that nothing answered."""
    assert error is not None  # an order has at least one candidate
    if len({a["model"] for a in attempts if not a.get("skipped")}) < 2:
        error.tries = tuple(
            {**record, "error": type(record["error"]).__name__} for record in attempts
        )
        # Frames of the error's own traceback hold this list: no need for a cycle.
        attempts.clear()
        return error
    failure = AllModelsFailedError(
        f"no candidate of {route.name!r} answered: "
        + "; ".join(str(record["error"]) for record in attempts),
        attempts=attempts,
    )
    failure.__cause__ = error
    return failure
