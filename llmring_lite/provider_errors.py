"""A provider's refusal -> the exception that says what it means.

The machine-readable code counts first, then, where a provider's code is a mere
"invalid request", the words of its message, then the HTTP status. This is the only
place that reads the words of an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from llmring_lite.exceptions import (
    ContentFilterError,
    ContextLengthError,
    ModelNotFoundError,
    ProviderAuthenticationError,
    ProviderError,
    ProviderOverloadedError,
    ProviderRateLimitError,
    ProviderResponseError,
    ProviderTimeoutError,
)

_BY_STATUS: Final[Mapping[int, type[ProviderError]]] = {
    401: ProviderAuthenticationError,
    402: ProviderRateLimitError,  # no credit left: DeepSeek, OpenRouter
    403: ProviderAuthenticationError,
    404: ModelNotFoundError,
    408: ProviderTimeoutError,
    413: ContextLengthError,
    429: ProviderRateLimitError,
    498: ProviderOverloadedError,  # Groq's flex tier
    503: ProviderOverloadedError,
    529: ProviderOverloadedError,
}

# Lower case. Codes and types that say more than the status, or come in a 200 stream.
_BY_CODE: Final[Mapping[str, type[ProviderError]]] = {
    # OpenAI: https://platform.openai.com/docs/guides/error-codes
    "invalid_api_key": ProviderAuthenticationError,
    "model_not_found": ModelNotFoundError,
    "context_length_exceeded": ContextLengthError,
    "content_filter": ContentFilterError,
    "content_policy_violation": ContentFilterError,
    "invalid_prompt": ContentFilterError,
    "bio_policy": ContentFilterError,
    "misalignment_policy_violation": ContentFilterError,
    "image_content_policy_violation": ContentFilterError,
    # A 404, but of no model.
    "previous_response_not_found": ProviderResponseError,
    "rate_limit_exceeded": ProviderRateLimitError,
    "insufficient_quota": ProviderRateLimitError,
    "server_is_overloaded": ProviderOverloadedError,
    "slow_down": ProviderOverloadedError,
    # Azure: https://learn.microsoft.com/azure/ai-foundry/openai/how-to/content-filters
    "responsibleaipolicyviolation": ContentFilterError,
    "deploymentnotfound": ModelNotFoundError,
    "ratelimitreached": ProviderRateLimitError,
    # Anthropic: https://docs.claude.com/en/api/errors
    "authentication_error": ProviderAuthenticationError,
    "permission_error": ProviderAuthenticationError,
    "billing_error": ProviderRateLimitError,
    "rate_limit_error": ProviderRateLimitError,
    "request_too_large": ContextLengthError,
    "overloaded_error": ProviderOverloadedError,
    "organization_on_hold": ProviderAuthenticationError,
    "timeout_error": ProviderTimeoutError,
    # Google: https://ai.google.dev/gemini-api/docs/troubleshooting
    "api_key_invalid": ProviderAuthenticationError,
    "unauthenticated": ProviderAuthenticationError,
    "permission_denied": ProviderAuthenticationError,
    "resource_exhausted": ProviderRateLimitError,
    "unavailable": ProviderOverloadedError,
    "deadline_exceeded": ProviderTimeoutError,
    # Perplexity, llama.cpp, Groq, Alibaba, and names that several servers use
    "too_many_prompt_tokens": ContextLengthError,
    "exceed_context_size_error": ContextLengthError,
    "model_decommissioned": ModelNotFoundError,
    "data_inspection_failed": ContentFilterError,
    "insufficient_balance": ProviderRateLimitError,
    "too_many_requests": ProviderRateLimitError,
    "engine_overloaded": ProviderOverloadedError,
    "overloaded": ProviderOverloadedError,
}

# A spent quota looks like a rate limit, but waiting doesn't help.
_SPENT_CODES: Final = frozenset(
    {
        "insufficient_quota",
        "insufficient_balance",
        "billing_error",
        "billing_hard_limit_reached",
        "contract_spend_limit_reached",
        "enforced_spend_limit_reached",
        "exceeded_current_quota_error",  # Moonshot
    }
)
# The patterns below are compiled on their first use: most programs never need them.
_SPENT_WORDS: Final = (
    r"credit balance is too low|insufficient (balance|credits?|funds|quota)"
    r"|used all available credits"
)

_BY_WORDS: Final[tuple[tuple[str, type[ProviderError]], ...]] = (
    (
        r"prompt (is )?too long|input is too long|messages is too long"
        r"|context (length|window|limit|size)|maximum (context|prompt length)"
        r"|longer than the (maximum )?model|too many (input|prompt) tokens"
        r"|input token count .*exceeds|tokens.{0,60} must (be|have) (<|less)"
        r"|must have less than \d+ tokens|range of input length|prompt exceeds"
        r"|payload size exceeds",
        ContextLengthError,
    ),
    (
        r"content exists risk|content (filter|management polic|polic)"
        r"|(prompt|input|content|request|it) (was|has been|were) flagged"
        r"|violat\w+.{0,60}(usage|safety|acceptable use) (polic|guideline)"
        r"|potentially unsafe",
        ContentFilterError,
    ),
    (
        r"(incorrect|invalid|missing|expired|wrong|revoked|no) (x-)?api[ _-]?key"
        r"|api[ _-]?key\W.{0,60}(not valid|invalid|incorrect|missing|expired"
        r"|not found|required|not provided|revoked)"
        r"|authentication (fail|header)",
        ProviderAuthenticationError,
    ),
    (
        r"\bmodel\b.{0,100}?(not found|not exist|n't exist|not a valid model"
        r"|not available|you do not have access)"
        r"|not a valid model|(unknown|invalid|no such|unsupported) model\b"
        r"|model identifier is invalid"
        r"|model names? (is|are) .{0,400}but you passed|no endpoints found",
        ModelNotFoundError,
    ),
    (_SPENT_WORDS, ProviderRateLimitError),
)
"""In order of precedence. Looked at where `_WORDS_COUNT` says so."""

_WORDS_COUNT: Final = frozenset({None, 400, 403, 413, 422})
"""Statuses that leave open what is meant; None is an event of a 200 stream."""

_WRONG_ADDRESS: Final = (
    r"^(<|404 page not found|(resource )?not found\W*$)"
    r"|\b(unknown request url|invalid url)\b"
)
"""A 404 that isn't about a model: a proxy's or web framework's own page."""

_REQUEST_ID_HEADERS: Final = (
    "x-request-id",
    "request-id",
    "apim-request-id",
    "mistral-correlation-id",
    "cf-ray",
)

_MESSAGE_LIMIT: Final = 2000


class _Facts(NamedTuple):
    """What an error says of itself; `codes` and types as sent, outermost first."""

    message: str
    codes: list[str]
    request_id: str | None
    retry_delay_s: float | None


def parse_error(
    body: Any,
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    now: datetime | None = None,
) -> ProviderError:
    """The exception for a provider's error answer or error event.

    Args:
        body: Text, or decoded JSON; any shape.
        status: HTTP status; None for an error event in a 2xx stream.
        headers: Reply headers, names in any case.
        now: The time that an HTTP date in `Retry-After` is compared with.

    The caller fills in provider and model.
    """
    value = _value(body)
    facts = _read(value)
    lower = {name.lower(): value for name, value in (headers or {}).items()}
    error_class = _classify(status, facts)
    retry_after = parse_retry_after(lower, now)
    return error_class(
        (facts.message or _stand_in(status, facts, value))[:_MESSAGE_LIMIT],
        status_code=status,
        code=_telling_code(facts.codes),
        request_id=find_request_id(lower) or facts.request_id,
        retry_after=facts.retry_delay_s if retry_after is None else retry_after,
        should_retry=_should_retry(status, lower, facts),
    )


def find_request_id(headers: Mapping[str, str]) -> str | None:
    """The provider's id of a request, from the headers of its reply.

    Args:
        headers: Names in any case if the mapping takes any, else in lower case.
    """
    for name in _REQUEST_ID_HEADERS:
        found = headers.get(name)
        if found:
            return found
    return None


def _classify(status: int | None, facts: _Facts) -> type[ProviderError]:
    for code in facts.codes:
        error_class = _BY_CODE.get(code.lower())
        if error_class is not None:
            return error_class
    if status in _WORDS_COUNT:
        for pattern, error_class in _BY_WORDS:
            if _says(facts, pattern):
                return error_class
    if status is None:
        # An event of a 200 stream may carry the status as its code.
        status = next((int(c) for c in facts.codes if re.fullmatch("[45]..", c)), None)
    if status == 404 and _says(facts, _WRONG_ADDRESS):
        return ProviderResponseError
    return _BY_STATUS.get(status or 0, ProviderResponseError)


def _says(facts: _Facts, pattern: str) -> bool:
    return bool(re.search(pattern, facts.message, re.IGNORECASE | re.DOTALL))


def _telling_code(codes: list[str]) -> str | None:
    """A word rather than a number; `"error"` (Anthropic's outer type) says nothing."""
    words = [code for code in codes if code != "error"]
    return next((code for code in words if not code.isdecimal()), None) or next(
        iter(words), None
    )


def _should_retry(
    status: int | None, headers: Mapping[str, str], facts: _Facts
) -> bool | None:
    """The provider's word, or False for a spent quota, else None."""
    said = {"true": True, "false": False}.get(headers.get("x-should-retry", "").lower())
    if said is None and (
        # OpenRouter may ask for a short wait with it.
        (status == 402 and "retry-after" not in headers)
        or not _SPENT_CODES.isdisjoint(facts.codes)
        or _says(facts, _SPENT_WORDS)
    ):
        return False
    return said


def _stand_in(status: int | None, facts: _Facts, value: Any) -> str:
    """For an error without a message; one of unknown form is quoted."""
    known = [*([f"HTTP {status}"] if status else []), *facts.codes]
    text = f"the provider sent an error without a message ({', '.join(known) or '?'})"
    return (
        f"{text}: {json.dumps(value, default=str)}"
        if value and not facts.codes
        else text
    )


# Reading an error of any shape ---------------------------------------------------


def _read(body: Any) -> _Facts:
    """Message, codes and hints, wherever in the body they are."""
    message, codes = "", []
    request_id: str | None = None
    retry_delay_s: float | None = None
    for item in _walk(body):
        if isinstance(item, str):
            message = message or _plain(item)
            continue
        for key in ("code", "status", "type", "reason", "status_code"):
            value = item.get(key)
            if isinstance(value, (str, int)) and not isinstance(value, bool):
                codes.append(str(value))
        if isinstance(item.get("error_code"), str):  # Anthropic's most exact word
            codes.insert(0, item["error_code"])
        for key in ("message", "Message", "msg", "error_description"):
            if isinstance(item.get(key), str):
                message = message or _place(item) + _plain(item[key])
        if isinstance(item.get("request_id"), str):
            request_id = request_id or item["request_id"]
        if isinstance(item.get("retryDelay"), str):  # Google's RetryInfo: "37.5s"
            retry_delay_s = _number(item["retryDelay"].removesuffix("s"))
        metadata = item.get("metadata")
        if isinstance(metadata, Mapping):  # OpenRouter's
            told = _read(_value(metadata.get("raw")))
            message = ": ".join(filter(None, (message, told.message)))
            codes += told.codes
            retry_delay_s = _number(metadata.get("retry_after_seconds"))
    return _Facts(message, codes, request_id, retry_delay_s)


def _value(raw: Any) -> Any:
    """What JSON text says; anything else as it is."""
    try:
        return json.loads(raw) if isinstance(raw, str) else raw
    except (ValueError, RecursionError):
        return raw


def _place(item: Mapping[str, Any]) -> str:
    """Where in the request a validation error is (FastAPI, Mistral)."""
    loc = item.get("loc")
    return f"{'.'.join(map(str, loc))}: " if isinstance(loc, list) and loc else ""


def _walk(body: Any) -> Iterator[Any]:
    """The objects and texts of an error, outermost first.

    Seen: `error` as an object or a text, beside a text in `code` or with
    `innererror`; `detail` or `message` as a text, an object or a list of objects;
    `errors`; a list around it all; no JSON at all.
    """
    todo = [body]
    while todo:
        item = todo.pop(0)
        if isinstance(item, list):
            todo[:0] = item
        elif isinstance(item, Mapping):
            yield item
            todo += [
                item[key]
                for key in (
                    "error",
                    "message",
                    "errors",
                    "detail",
                    "details",
                    "innererror",
                )
                if isinstance(item.get(key), (str, list, Mapping))
                and not (key == "message" and isinstance(item[key], str))
            ]
        elif isinstance(item, str):
            yield item


def _plain(text: str) -> str:
    """A message without surrounding blanks; of a web page its title."""
    text = text.strip()
    if text.startswith("<"):
        title = re.search(r"<title>\s*(.*?)\s*</title>", text, re.I | re.S)
        return f"<{title[1]}>" if title and title[1] else text
    return text


def parse_retry_after(
    headers: Mapping[str, str], now: datetime | None = None
) -> float | None:
    """Seconds to wait from `retry-after-ms` or `Retry-After` (RFC 9110, 10.2.3).

    `headers` have lower-case names. None if there is no usable value; a date in the
    past is 0.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds:  # Azure may say 0 here and 1 second in the other
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or not value:
        return milliseconds if seconds is None else seconds
    # Nearly all send a number; the module that reads dates costs start-up time.
    from email.utils import parsedate_to_datetime

    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())


def _number(text: Any) -> float | None:
    """A finite number that is not negative, else None."""
    try:
        number = float(text or "")
    except (ValueError, TypeError):
        return None
    return number if 0 <= number < float("inf") else None
