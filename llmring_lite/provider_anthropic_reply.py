"""Replies of Anthropic's Messages API.

- https://platform.claude.com/docs/en/api/messages/create
- https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons

A reply is a list of blocks. Texts make up the content, thinking the reasoning, and
`tool_use` blocks the tool calls. All others (redacted thinking, tools that the
provider runs itself and their results) wait in `provider_data` for the next turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from llmring_lite.provider import JSON, make_usage
from llmring_lite.provider_anthropic_messages import store_block
from llmring_lite.provider_anthropic_structure import tool_name
from llmring_lite.provider_errors import parse_error
from llmring_lite.provider_tools import arguments_text, finish_reason, make_call
from llmring_lite.schemas import LLMRequest, LLMResponse
from llmring_lite.structured import is_json

FINISH_REASONS: Final[Mapping[str, str]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    # Without calls of the caller's tools: the emulation of structured output.
    "tool_use": "stop",
    # A long turn of the provider's tools, continued by sending it back as it is.
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
# A stored block with no other keys says nothing beyond the message's text and calls.
_PLAIN: Final[Mapping[str, frozenset[str]]] = {
    "text": frozenset({"type", "length"}),
    "tool_use": frozenset({"type", "id", "name"}),
}


class Block:
    """A block of a reply, and how much of the reply's text came from it."""

    __slots__ = ("length", "role", "wire")

    def __init__(self, wire: JSON, structure_name: str | None) -> None:
        """`structure_name`: see `structure_name`."""
        self.wire = wire
        self.length = 0
        self.role: str = wire["type"]
        """The block's type, or `structure`: a call whose arguments are the reply."""
        if self.role == "tool_use" and wire["name"] == structure_name:
            self.role = "structure"

    def stored(self) -> JSON:
        """What `provider_data` keeps of it."""
        if self.role == "structure":
            return {"type": "text", "length": self.length}
        return store_block(self.wire, self.length if self.role == "text" else None)


def structure_name(request: LLMRequest) -> str | None:
    """Name of the tool whose call is the reply itself; None if there is none."""
    return tool_name(request) if is_json(request.response_format) else None


def parse_response(body: JSON, request: LLMRequest) -> LLMResponse:
    """See `provider`."""
    if body.get("error"):
        raise parse_error(body)
    name = structure_name(request)
    blocks = [Block(wire, name) for wire in body["content"]]
    if any(block.role == "structure" for block in blocks):
        blocks = without_preamble(blocks)
    texts: list[str] = []
    calls: list[JSON] = []
    for block in blocks:
        if block.role in ("text", "structure"):
            text = (
                block.wire["text"]
                if block.role == "text"
                else arguments_text(block.wire.get("input"))
            )
            block.length = len(text)
            texts.append(text)
        elif block.role == "tool_use":
            arguments = arguments_text(block.wire.get("input"))
            calls.append(make_call(block.wire["id"], block.wire["name"], arguments))
    thinking = (b.wire["thinking"] for b in blocks if b.role == "thinking")
    return LLMResponse(
        content="".join(texts),
        model=body.get("model") or "",
        usage=parse_usage(body.get("usage")),
        finish_reason=finish_reason(FINISH_REASONS, body["stop_reason"], bool(calls)),
        tool_calls=calls or None,
        reasoning="".join(thinking) or None,
        raw=body,
        refusal=refusal(body),
        provider_data=provider_data(blocks),
    )


def without_preamble(blocks: Sequence[Block]) -> list[Block]:
    """The blocks with one structure as their only text.

    Words beside a structure, or a second one, would spoil the reply's JSON.
    """
    first = next(block for block in blocks if block.role == "structure")
    return [b for b in blocks if b is first or b.role not in ("text", "structure")]


def refusal(message: Mapping[str, Any]) -> str | None:
    """The provider's explanation of a refusal, where it gives one."""
    details = message.get("stop_details") or {}
    explanation = details.get("explanation")
    return explanation if isinstance(explanation, str) and explanation else None


def provider_data(blocks: Sequence[Block]) -> JSON | None:
    """What the next turn needs beyond the text and the calls, if anything."""
    stored = [block.stored() for block in blocks]
    for block in stored:
        said = {key for key, value in block.items() if value is not None}
        if not said <= _PLAIN.get(block["type"], frozenset()):
            return {"blocks": stored}
    return None


def parse_usage(usage: Mapping[str, Any] | None) -> dict[str, Any]:
    """Token counts.

    `input_tokens` leaves cache reads and writes out; `output_tokens` includes
    thinking, of which newer models tell the part.
    https://platform.claude.com/docs/en/build-with-claude/prompt-caching
    """
    if not usage:
        return {}
    by_lifetime = usage.get("cache_creation") or {}
    short = by_lifetime.get("ephemeral_5m_input_tokens")
    long = by_lifetime.get("ephemeral_1h_input_tokens")
    written = usage.get("cache_creation_input_tokens")
    if written is None and by_lifetime:
        written = (short or 0) + (long or 0)
    output = usage.get("output_tokens")
    details = usage.get("output_tokens_details") or {}
    thinking = details.get("thinking_tokens")
    if output is not None and thinking is not None:
        thinking = min(thinking, output)
        output -= thinking
    return make_usage(
        fresh=usage.get("input_tokens"),
        cache_read=usage.get("cache_read_input_tokens"),
        cache_write=written,
        cache_write_5m=short,
        cache_write_1h=long,
        output=output,
        reasoning=thinking,
    )
