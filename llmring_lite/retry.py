"""Whether the same candidate is tried again, and after how many seconds.

Full-jitter exponential backoff: a random wait between nothing and a bound that
doubles (https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/).
A wait that the provider asks for is obeyed instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from llmring_lite.exceptions import ProviderConnectionError, ProviderError

_LONGEST_S: Final = 1e9
"""Thirty years; `time.sleep` fails for what some servers ask for."""

RETRYABLE_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504, 529})


class RetryPolicy(NamedTuple):
    """How often and how patiently a candidate is tried again.

    Attributes:
        max_retries: After the first attempt.
        base_s: Bound of the first wait, in seconds.
        cap_s: Bound of any wait that we choose, in seconds.
    """

    max_retries: int = 2
    base_s: float = 0.5
    cap_s: float = 8.0

    def wait(
        self, error: ProviderError, retries: int, random: Callable[[], float]
    ) -> float | None:
        """Seconds to wait before the next attempt; None if there is to be none.

        Args:
            error: What the last attempt ended in.
            retries: How many there have been already.
            random: Gives a number from 0 to 1.
        """
        if retries >= self.max_retries or not is_retryable(error):
            return None
        if error.retry_after is not None:
            return error.retry_after if error.retry_after < _LONGEST_S else None
        return float(min(self.cap_s, self.base_s * 2**retries) * random())


def is_retryable(error: ProviderError) -> bool:
    """May the same candidate be asked again?

    Only when no byte of a reply came, or a whole refusal that says "not now". A
    timeout or a cut reply may have been billed, and is not repeated.
    """
    if error.should_retry is not None:  # the server's word, or a spent quota
        return error.should_retry
    if isinstance(error, ProviderConnectionError):
        return True
    return error.status_code in RETRYABLE_STATUSES
