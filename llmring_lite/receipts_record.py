"""A call -> what its receipt says. No text of a prompt or a reply is in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

from llmring_lite.receipts_canonical import canonicalize
from llmring_lite.schemas import LLMResponse, Message

_TOKENS: Final = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "cache_creation_input_tokens",
    "reasoning_tokens",
)
_COSTS: Final = ("input_cost", "output_cost", "total_cost")
_COST_DECIMALS: Final = 15
"""Costs are counted in units of 1e-15 USD."""

_MAX_WORD: Final = 200
"""Characters of what a provider calls a model or a request."""


class CallFacts(NamedTuple):
    """What is known of a call whatever became of it.

    Attributes:
        receipt_id, timestamp: Of the receipt; the time is that of the call's end.
        origin: The program, as it names itself.
        alias: What was asked for, None for a direct model.
        profile: In which the alias was looked up.
        lock_digest: Of the lockfile, SHA-256 in hex.
        registry_version: Of the data that the cost was worked out with, if known.
        duration_s: From the call to the end of the reply.
        streaming: Was a stream asked for?
        metadata: The request's own, None if it has none.
    """

    receipt_id: str
    timestamp: str
    origin: str
    alias: str | None
    profile: str
    lock_digest: str
    registry_version: int | None
    duration_s: float
    streaming: bool
    metadata: dict[str, Any] | None


class Outcome(NamedTuple):
    """What became of a call.

    Attributes:
        response: The reply, also one that came but can't be used. None: there is none,
            or not all of it.
        error: Why the call failed, None if it didn't.
        tried: Every attempt, as in `LLMResponse.attempts`.
    """

    response: LLMResponse | None
    error: BaseException | None
    tried: Sequence[Mapping[str, Any]]

    @property
    def is_answer(self) -> bool:
        return self.response is not None and self.error is None


def build_receipt(facts: CallFacts, outcome: Outcome) -> dict[str, Any]:
    """The receipt of a call."""
    response, error, tried = outcome
    usage = {} if response is None else response.usage
    breakdown = usage.get("cost_breakdown") or {}
    model = _model(outcome)
    receipt: dict[str, Any] = {
        "receipt_id": facts.receipt_id,
        "timestamp": facts.timestamp,
        "origin": facts.origin,
        "alias": facts.alias,
        "profile": facts.profile,
        "provider": None if model is None else model.partition(":")[0],
        "model": model,
        "model_answered": _word(_answering_model(response)),
        "request_id": _word(getattr(response or error, "request_id", None)),
        "lock_digest": facts.lock_digest,
        "registry_version": facts.registry_version,
        **{name: usage.get(name) for name in _TOKENS},
        **{name: decimal(breakdown.get(name)) for name in _COSTS},
        "cost_status": usage.get("cost_status"),
        "duration_ms": _milliseconds(facts.duration_s),
        "attempts": [_attempt(record, error, usage) for record in tried],
        "finish_reason": None if response is None else response.finish_reason,
        "streaming": facts.streaming,
        "error_class": None if error is None else type(error).__name__,
    }
    if facts.metadata:
        receipt["metadata"] = _if_writable(facts.metadata)
    return receipt


def _if_writable(value: dict[str, Any]) -> dict[str, Any] | None:
    """None for what would keep the whole receipt from being written."""
    try:
        canonicalize(value)
    except (ValueError, TypeError):
        return None
    return value


def prompt_digest(messages: Iterable[Message]) -> str | None:
    """SHA-256 of a conversation: of its messages in canonical JSON.

    Each is an object with `role` and `content`, and with `name`, `tool_call_id` and
    `tool_calls` where they are set. None if it can't be written as JSON.
    """
    plain = []
    for message in messages:
        item: dict[str, Any] = {"role": message.role, "content": message.content}
        for name in ("name", "tool_call_id", "tool_calls"):
            if getattr(message, name):
                item[name] = getattr(message, name)
        plain.append(item)
    try:
        return sha256(canonicalize(plain)).hexdigest()
    except (ValueError, TypeError):
        return None


def reply_digest(response: LLMResponse) -> str:
    """SHA-256 of a reply's visible text in UTF-8."""
    return sha256(response.content.encode("utf-8", "surrogatepass")).hexdigest()


def decimal(dollars: Any) -> str | None:
    """A cost as a decimal string, None if it is unknown."""
    if not isinstance(dollars, (int, float)):
        return None
    return f"{dollars:.{_COST_DECIMALS}f}".rstrip("0").rstrip(".")


def _model(outcome: Outcome) -> str | None:
    """`provider:model` that answered, or else the one that was asked last."""
    response, error, tried = outcome
    if response is not None:
        return response.model
    answering = [r["model"] for r in tried if r["error"] is None]
    if tried:
        return str(answering[0] if answering else tried[-1]["model"])
    provider, model = getattr(error, "provider", None), getattr(error, "model", None)
    return f"{provider}:{model}" if provider and model else None


def _answering_model(response: LLMResponse | None) -> Any:
    """The provider's own name for the model that answered."""
    raw = None if response is None else response.raw
    if not isinstance(raw, dict):
        return None
    return raw.get("model") or raw.get("modelVersion")  # the latter is Google's


def _word(value: Any) -> str | None:
    """What a provider says, fit for the file whatever it sends."""
    if not isinstance(value, str) or not value:
        return None
    return value[:_MAX_WORD].encode("utf-8", "replace").decode()


def _attempt(
    record: Mapping[str, Any], error: BaseException | None, usage: Mapping[str, Any]
) -> dict[str, Any]:
    """An attempt; with its cost if a reply came that is not the receipt's own."""
    # A stream that broke off had answered before.
    failure = record["error"] or error
    attempt: dict[str, Any] = {
        "model": record["model"],
        "error_class": failure if failure is None else _class_name(failure),
        "duration_ms": _milliseconds(record.get("seconds")),
    }
    if "cost" in record and record.get("usage") is not usage:
        attempt["total_cost"] = decimal(record["cost"])
    if record.get("skipped"):
        attempt["skipped"] = True
    return attempt


def _class_name(error: Any) -> str:
    return error if isinstance(error, str) else type(error).__name__


def _milliseconds(seconds: Any) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
