"""Parameters of a request, as every wire format reads them.

What an API has no place for is an error that names it, or left out where the request
says `extra_params={"drop_unsupported": True}`. Two things are hints, and left out
without a word, for the reply is as good without them: prompt caching (`cache` and
`cache_control` marks), and the `detail` with which an image is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from llmring_lite.exceptions import InvalidRequestError, UnsupportedParameterError
from llmring_lite.provider import JSON, Endpoint
from llmring_lite.schemas import LLMRequest

_CONTROL_PARAMS: Final = frozenset({"drop_unsupported", "mock"})


def extra_body(request: LLMRequest) -> JSON:
    """`extra_params` that belong into the provider's body."""
    return {k: v for k, v in request.extra_params.items() if k not in _CONTROL_PARAMS}


def without_unsupported(
    request: LLMRequest, endpoint: Endpoint, unsupported: Mapping[str, str]
) -> LLMRequest:
    """The request without the parameters that the provider can't take.

    `unsupported` maps field names of LLMRequest to the reason, a clause such as
    `"the Messages API has no seed"`. Fields that are None are not at issue.

    Raises:
        UnsupportedParameterError: One is set, and the request doesn't say
            `extra_params={"drop_unsupported": True}`.
    """
    given = [name for name in unsupported if getattr(request, name) is not None]
    if not given:
        return request
    if not request.extra_params.get("drop_unsupported"):
        name = given[0]
        raise UnsupportedParameterError(
            f"{name} can't be used: {unsupported[name]}. Leave it out, or pass "
            'extra_params={"drop_unsupported": True}',
            parameter=name,
            provider=endpoint.name,
            model=request.model,
        )
    cleared: dict[str, Any] = dict.fromkeys(given)
    return replace(request, **cleared)


def stop_sequences(request: LLMRequest) -> list[str]:
    """`stop` as a list; empty if there is none."""
    stop = request.stop
    return [stop] if isinstance(stop, str) else list(stop or ())


EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""What `reasoning_effort` may say on every provider, weakest first."""

_EFFORT_BUDGETS: Final = ((0, "none"), (2_048, "low"), (8_192, "medium"))


def requested_effort(request: LLMRequest) -> str | None:
    """The reasoning effort for an API that takes a word but no number of tokens.

    `reasoning_effort` itself, or the word for a budget of `reasoning_tokens`: low up
    to 2,048 tokens, medium up to 8,192, high above. None if neither is set, or if the
    budget is negative, which leaves it to the model.
    """
    budget = request.reasoning_tokens
    if request.reasoning_effort is not None or budget is None or budget < 0:
        return request.reasoning_effort
    return next((word for most, word in _EFFORT_BUDGETS if budget <= most), "high")


def nearest_effort(effort: str, levels: Sequence[str]) -> str:
    """The level of an API, weakest first, that is nearest to an effort.

    A word that is no known effort, for the newest models, is returned as it is.
    """
    if effort in levels or effort not in EFFORTS:
        return effort
    wanted = EFFORTS.index(effort)
    return min(levels, key=lambda level: abs(EFFORTS.index(level) - wanted))


class CacheHint(NamedTuple):
    """What `LLMRequest.cache` says of the prompt of this request.

    Attributes:
        key: Of requests that have the beginning of their prompt in common.
        ttl: How long to keep it, `"5m"` or `"1h"`; None: as long as the API likes.
    """

    key: str | None
    ttl: str | None


def cache_hint(request: LLMRequest) -> CacheHint | None:
    """What the request asks of prompt caching; None if nothing.

    `cache` is True, a key, or a dict with `key`, `ttl` or both, and perhaps a `type` as
    the mark of a message has. It is a hint: what an API has no place for is left out.

    Raises:
        InvalidRequestError: It is none of these.
    """
    cache = request.cache
    if cache is None or cache is False:
        return None
    if cache is True:
        return CacheHint(None, None)
    given = {"key": cache} if isinstance(cache, str) else cache
    if isinstance(given, Mapping) and not given.keys() - {"type", "key", "ttl"}:
        key, ttl = given.get("key"), given.get("ttl")
        if (key is None or (isinstance(key, str) and key)) and ttl in _CACHE_TTLS:
            return CacheHint(key, ttl)
    raise InvalidRequestError(
        f'cache is {cache!r}; it can be True, a key, or a dict of "key" (a text) and '
        '"ttl" ("5m" or "1h")'
    )


_CACHE_TTLS: Final = (None, "5m", "1h")
