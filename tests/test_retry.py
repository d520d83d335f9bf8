"""Whether a candidate is tried again, and when."""

from __future__ import annotations

import pytest

from llmring_lite.exceptions import (
    ProviderConnectionError,
    ProviderError,
    ProviderRateLimitError,
    ProviderResponseError,
    ProviderTimeoutError,
)
from llmring_lite.provider_errors import parse_error
from llmring_lite.retry import RetryPolicy, is_retryable


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
def test_passing_failures_are_retryable(status: int) -> None:
    assert is_retryable(parse_error({"error": "x"}, status=status))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 501, 505])
def test_other_refusals_are_not(status: int) -> None:
    assert not is_retryable(parse_error({"error": "x"}, status=status))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ProviderConnectionError("refused"), True),
        (ProviderTimeoutError("deadline"), False),
        (ProviderResponseError("cut off", status_code=200), False),
        (ProviderResponseError("cut off"), False),
        (ProviderRateLimitError("in a stream"), False),
        (ProviderRateLimitError("x", status_code=429, should_retry=False), False),
        (ProviderResponseError("x", status_code=409, should_retry=True), True),
    ],
)
def test_what_may_have_been_billed_is_not_repeated(
    error: ProviderError, expected: bool
) -> None:
    assert is_retryable(error) is expected


@pytest.mark.parametrize(
    "code",
    [
        "insufficient_quota",
        "billing_hard_limit_reached",
        "enforced_spend_limit_reached",
    ],
)
def test_a_spent_quota_is_not_waited_for(code: str) -> None:
    error = parse_error({"error": {"message": "x", "code": code}}, status=429)
    assert isinstance(error, ProviderRateLimitError)
    assert not is_retryable(error)


def test_a_wait_longer_than_the_clock_can_count_is_not_begun() -> None:
    error = parse_error({}, status=503, headers={"Retry-After": "9" * 20})
    assert RetryPolicy().wait(error, 0, lambda: 1.0) is None


def test_full_jitter_under_a_bound_that_doubles() -> None:
    policy = RetryPolicy(max_retries=7)
    error = ProviderConnectionError("x")
    bounds = [policy.wait(error, n, lambda: 1.0) for n in range(7)]
    assert bounds == [0.5, 1, 2, 4, 8, 8, 8]
    assert policy.wait(error, 3, lambda: 0.0) == 0
    assert policy.wait(error, 3, lambda: 0.25) == 1


def test_two_retries_by_default() -> None:
    error = ProviderConnectionError("x")
    waits = [RetryPolicy().wait(error, n, lambda: 0.5) for n in range(3)]
    assert waits == [0.25, 0.5, None]


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"Retry-After": "Sat, 01 Jan 2000 00:00:00 GMT"}, 0.0),
        ({"Retry-After": "soon"}, 0.5),
        ({"Retry-After": "-3"}, 0.5),
        ({"Retry-After": "nan"}, 0.5),
    ],
)
def test_the_providers_wish_counts_more_than_ours(
    headers: dict[str, str], wait: float
) -> None:
    error = parse_error({}, status=503, headers=headers)
    assert RetryPolicy().wait(error, 0, lambda: 1.0) == wait
