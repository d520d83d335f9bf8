"""A provider's refusal -> the exception that says what it means.

One table of status codes, one of machine-readable codes, and, for the few cases in
which a provider gives neither, the wording of its message. This is the only place
that reads the words of an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

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
    403: ProviderAuthenticationError,
    404: ModelNotFoundError,
    408: ProviderTimeoutError,
    429: ProviderRateLimitError,
    503: ProviderOverloadedError,
    529: ProviderOverloadedError,
}

# Codes and types that say more than the status, or come in a 200 stream.
_BY_CODE: Final[Mapping[str, type[ProviderError]]] = {
    # OpenAI: https://platform.openai.com/docs/guides/error-codes
    "invalid_api_key": ProviderAuthenticationError,
    "model_not_found": ModelNotFoundError,
    "context_length_exceeded": ContextLengthError,
    "content_filter": ContentFilterError,
    "content_policy_violation": ContentFilterError,
    "rate_limit_exceeded": ProviderRateLimitError,
    "insufficient_quota": ProviderRateLimitError,
    # Anthropic: https://docs.claude.com/en/api/errors
    "authentication_error": ProviderAuthenticationError,
    "permission_error": ProviderAuthenticationError,
    "rate_limit_error": ProviderRateLimitError,
    "overloaded_error": ProviderOverloadedError,
    "timeout_error": ProviderTimeoutError,
    # Google: https://ai.google.dev/gemini-api/docs/troubleshooting
    "API_KEY_INVALID": ProviderAuthenticationError,
    "UNAUTHENTICATED": ProviderAuthenticationError,
    "PERMISSION_DENIED": ProviderAuthenticationError,
    "RESOURCE_EXHAUSTED": ProviderRateLimitError,
    "UNAVAILABLE": ProviderOverloadedError,
    "DEADLINE_EXCEEDED": ProviderTimeoutError,
}

# Last resort, and only for a 400 (or an error without a status): providers whose
# code for these is a mere "invalid request".
_BY_WORDS: Final[tuple[tuple[re.Pattern[str], type[ProviderError]], ...]] = (
    (
        re.compile(
            r"prompt is too long|context (length|window)|maximum context|"
            r"input token count .* exceeds|too many (input )?tokens",
            re.IGNORECASE,
        ),
        ContextLengthError,
    ),
    (re.compile(r"api[ _-]?key", re.IGNORECASE), ProviderAuthenticationError),
    (
        re.compile(
            r"model\b.{0,80}\b(not found|does not exist|not exist|unknown|invalid)|"
            r"\b(unknown|invalid|no such) model",
            re.IGNORECASE | re.DOTALL,
        ),
        ModelNotFoundError,
    ),
)

_REQUEST_ID_HEADERS: Final = (
    "x-request-id",
    "request-id",
    "apim-request-id",
    "cf-ray",
)

_MESSAGE_LIMIT: Final = 2000


def parse_error(
    body: Any,
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    now: datetime | None = None,
) -> ProviderError:
    """The exception for a provider's error answer or error event.

    Args:
        body: The decoded JSON, or text where it isn't JSON; any shape.
        status: HTTP status; None for an error event in a 2xx stream.
        headers: Reply headers, names in any case.
        now: The time that an HTTP date in `Retry-After` is compared with.

    The caller fills in provider and model.
    """
    message, codes = _describe(body)
    lower = {name.lower(): value for name, value in (headers or {}).items()}
    error_class = _classify(status, codes, message)
    if not message:
        message = f"error without a message ({', '.join(codes) or 'no code'})"
    return error_class(
        message[:_MESSAGE_LIMIT],
        status_code=status,
        code=codes[0] if codes else None,
        request_id=next(
            (lower[name] for name in _REQUEST_ID_HEADERS if lower.get(name)), None
        ),
        retry_after=parse_retry_after(lower, now),
        should_retry={"true": True, "false": False}.get(
            lower.get("x-should-retry", "").lower()
        ),
    )


def _classify(
    status: int | None, codes: list[str], message: str
) -> type[ProviderError]:
    for code in codes:
        if code in _BY_CODE:
            return _BY_CODE[code]
    if status in (None, 400, 404, 413, 422):
        for pattern, error_class in _BY_WORDS:
            if pattern.search(message):
                return error_class
    if status is None:
        # An event in a 200 stream may carry the status as its code.
        status = next((int(code) for code in codes if code.isdecimal()), None)
    return _BY_STATUS.get(status or 0, ProviderResponseError)


def _describe(body: Any) -> tuple[str, list[str]]:
    """Message and codes (most telling first) of an error of any shape."""
    message, codes = "", []
    todo = [body]
    while todo:
        item = todo.pop(0)
        if isinstance(item, str):
            message = message or item.strip()
        elif isinstance(item, list):
            todo[:0] = item
        elif isinstance(item, Mapping):
            for key in ("reason", "code", "status", "type"):
                value = item.get(key)
                if isinstance(value, (str, int)) and not isinstance(value, bool):
                    codes.append(str(value))
            text = next(
                (
                    item[key]
                    for key in ("message", "msg", "error_description")
                    if isinstance(item.get(key), str) and item[key].strip()
                ),
                "",
            )
            message = message or text.strip()
            todo[:0] = [
                item[key]
                for key in ("error", "errors", "detail", "details", "innererror")
                if item.get(key) and not (message and isinstance(item[key], str))
            ]
    return message, codes


def parse_retry_after(
    headers: Mapping[str, str], now: datetime | None = None
) -> float | None:
    """Seconds to wait from `retry-after-ms` or `Retry-After` (RFC 9110, 10.2.3).

    `headers` have lower-case names. None if there is no usable value; a date in the
    past is 0.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or not value:
        return seconds
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())


def _number(text: str | None) -> float | None:
    """A finite number that is not negative, else None."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
