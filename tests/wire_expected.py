"""What a caller must see of a recorded exchange.

A record says what the provider's own SDK made of the answer, in that provider's
words. Here these become the words that this package promises. The tables are written
from that promise and from the providers' documentation, not from the mappers.
"""

from __future__ import annotations

import re
from typing import Any

from wire import Record

from llmring_lite import exceptions

JSON = dict[str, Any]

FINISH = {
    # Chat Completions, and servers that speak it
    "stop": "stop",
    "eos": "stop",
    "length": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    # Responses: the status, or the reason of an incomplete one
    "completed": "stop",
    "max_output_tokens": "length",
    # Messages
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
    # Gemini
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    # Tools were called although none, or not these, were offered.
    "UNEXPECTED_TOOL_CALL": "tool_calls",
    # Ollama
    "load": "stop",
    "unload": "stop",
}


def finish_reason(expected: JSON) -> str | None:
    """None if the provider gave none, which leaves it open.

    `stop` beside calls is a habit of compatible servers, and Gemini's only word.
    """
    word = expected.get("incomplete_reason") or expected["finish_reason_raw"]
    reason = FINISH[word] if word else None
    if reason in (None, "stop") and tool_calls(expected):
        return "tool_calls"
    return reason


def refusal(expected: JSON) -> str | None:
    """Gemini's own words about what it withheld are a refusal, too."""
    withheld = finish_reason(expected) == "content_filter"
    words = expected.get("finish_message") if withheld else None
    return expected["refusal"] or words or None


def tool_calls(expected: JSON) -> list[JSON]:
    """Calls with their arguments as values; an id of None stands for any.

    Arguments that were cut off stay the text that they are.
    """
    sent = expected["tool_calls"]
    legacy = expected.get("legacy_function_call") or {}
    if legacy.get("name"):
        # The form of a call before there were tools. It has no id.
        sent = [legacy]
    calls = []
    for call in sent:
        state = call.get("arguments_state")
        if state in ("empty", "null"):
            arguments: Any = {}
        elif state:
            arguments = call["arguments_raw"]
        else:
            arguments = call["arguments"]
        calls.append({"id": call["id"], "name": call["name"], "arguments": arguments})
    return calls


_READ = ("cached_tokens", "num_cached_tokens", "prompt_cache_hit_tokens")
_WRITTEN = ("cache_creation_input_tokens",)
"""Compatible servers' names for cached tokens, for which the SDKs have no field."""


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def usage(record: Record) -> JSON:
    """Token counts by the names and in the meaning of the contract."""
    sent = record["expected"]["usage"]
    if sent is None:
        return {}
    inputs, outputs = sent["input_tokens"], sent["output_tokens"]
    reasoning, raw = sent["reasoning_tokens"], sent["raw"]
    read = _first(sent["cache_read_tokens"], *map(raw.get, _READ))
    written = _first(sent["cache_write_tokens"], *map(raw.get, _WRITTEN))
    api = record["api"]
    if inputs is not None and api == "anthropic-messages":
        inputs += (read or 0) + (written or 0)
    if inputs is not None and api == "google-generatecontent":
        inputs += raw.get("tool_use_prompt_token_count") or 0
    if api == "google-generatecontent" and reasoning is not None:
        outputs = (outputs or 0) + reasoning
    elif reasoning and outputs is not None:
        outside = sent["total_tokens"] == (inputs or 0) + outputs + reasoning
        # What includes the reasoning can't be less.
        outputs += reasoning if outside or reasoning > outputs else 0
    total = None if inputs is None or outputs is None else inputs + outputs
    by_lifetime = raw.get("cache_creation") or {}
    found = {
        "prompt_tokens": inputs,
        "completion_tokens": outputs,
        "total_tokens": total,
        "cached_tokens": read,
        "cache_creation_input_tokens": written,
        "cache_creation_5m_tokens": by_lifetime.get("ephemeral_5m_input_tokens"),
        "cache_creation_1h_tokens": by_lifetime.get("ephemeral_1h_input_tokens"),
        "reasoning_tokens": reasoning,
    }
    return {key: value for key, value in found.items() if value is not None}


_BY_STATUS = {
    401: exceptions.ProviderAuthenticationError,
    403: exceptions.ProviderAuthenticationError,
    404: exceptions.ModelNotFoundError,
    408: exceptions.ProviderTimeoutError,
    429: exceptions.ProviderRateLimitError,
    503: exceptions.ProviderOverloadedError,
    529: exceptions.ProviderOverloadedError,
}

_BY_MEANING = (
    ("api key not valid|invalid api key", exceptions.ProviderAuthenticationError),
    (
        "model.*not exist|model not found|model names are .* but you passed",
        exceptions.ModelNotFoundError,
    ),
    (
        "context window|context size|context length|messages is too long",
        exceptions.ContextLengthError,
    ),
)
"""Where a 400 says something better."""


def error_class(expected: JSON) -> type[exceptions.ProviderError]:
    error = expected["error"]
    status = error["http_status"]
    if status == 400:
        for pattern, found in _BY_MEANING:
            if re.search(pattern, error["message"], re.IGNORECASE):
                return found
    return _BY_STATUS.get(status, exceptions.ProviderResponseError)
