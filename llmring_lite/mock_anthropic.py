"""Anthropic's Messages API as its server speaks it.

Shapes: https://docs.claude.com/en/api/messages,
https://docs.claude.com/en/docs/build-with-claude/streaming and
https://docs.claude.com/en/api/errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from llmring_lite.mock_model import Failure, MockRefusal
from llmring_lite.mock_reply import (
    Event,
    MockFormat,
    MockReply,
    Prompt,
    Turn,
    check_tool_results,
    fragments,
    retry_headers,
    split_words,
    sse,
    text_of,
    to_json,
)

_STOP_REASONS: Final[Mapping[str, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}

_ERRORS: Final[Mapping[int, str]] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def parse_prompt(_path: str, body: Mapping[str, Any]) -> Prompt:
    if "max_tokens" not in body:
        raise MockRefusal(400, "max_tokens: Field required")
    system = text_of(body.get("system"))
    turns = [Turn("system", system)] if system else []
    turns.extend(_turn(number, item) for number, item in enumerate(body["messages"]))
    if not any(turn.role == "user" for turn in turns):
        raise MockRefusal(400, "messages: at least one message is required")
    check_tool_results(turns)
    choice = body.get("tool_choice") or {"type": "auto"}
    # Those with another type are run by the provider.
    tools = [
        (tool["name"], tool["input_schema"])
        for tool in body.get("tools") or ()
        if tool.get("type", "custom") == "custom"
    ]
    format_ = (body.get("output_config") or {}).get("format")
    return Prompt(
        model=body["model"],
        turns=turns,
        tools=[] if choice["type"] == "none" else tools,
        forced={"any": "", "tool": choice.get("name")}.get(choice["type"]),
        schema=format_["schema"] if format_ else None,
        max_tokens=body["max_tokens"],
        stop=tuple(body.get("stop_sequences") or ()),
        stream=bool(body.get("stream")),
    )


def _turn(number: int, message: Mapping[str, Any]) -> Turn:
    role, content = message["role"], message["content"]
    where = f"messages.{number}"
    if role not in ("user", "assistant"):
        raise MockRefusal(400, f"{where}.role: Input should be 'user' or 'assistant'")
    blocks = [] if isinstance(content, str) else content
    for place, block in enumerate(blocks):
        if block["type"] == "text" and not block["text"]:
            raise MockRefusal(
                400, f"{where}.content.{place}: text content blocks must be non-empty"
            )
    return Turn(
        role,
        text_of(content),
        tuple(b["id"] for b in blocks if b["type"] == "tool_use"),
        tuple(b["tool_use_id"] for b in blocks if b["type"] == "tool_result"),
    )


def build_reply(prompt: Prompt, reply: MockReply) -> dict[str, Any]:
    return {
        "model": prompt.model,
        "id": f"msg_{prompt.key}",
        "type": "message",
        "role": "assistant",
        "content": _blocks(prompt, reply),
        **_stop(reply),
        "usage": _usage(reply),
    }


def _stop(reply: MockReply) -> dict[str, Any]:
    reason = _STOP_REASONS[reply.finish_reason]
    if reply.stop_sequence is not None and reason == "end_turn":
        reason = "stop_sequence"
    return {"stop_reason": reason, "stop_sequence": reply.stop_sequence}


def _usage(reply: MockReply) -> dict[str, Any]:
    # Input excludes cache reads and writes; output includes thinking.
    usage = reply.usage
    return {
        "input_tokens": usage.fresh,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write,
            "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": usage.completion,
        "service_tier": "standard",
    }


def _blocks(prompt: Prompt, reply: MockReply) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if reply.reasoning:
        thinking = {"type": "thinking", "thinking": reply.reasoning}
        blocks.append({**thinking, "signature": f"mock-{prompt.key}"})
    if reply.text:
        blocks.append({"type": "text", "text": reply.text})
    for call in reply.calls:
        used = {"type": "tool_use", "id": call.id("toolu_"), "name": call.name}
        blocks.append({**used, "input": call.arguments})
    return blocks


# Type of a block -> what differs in it when it starts.
_BEGUN: Final[Mapping[str, Mapping[str, Any]]] = {
    "thinking": {"thinking": "", "signature": ""},
    "text": {"text": ""},
    "tool_use": {"input": {}},
}


def iter_events(prompt: Prompt, reply: MockReply) -> Iterator[Event]:
    def event(kind: str, tokens: int = 0, **fields: Any) -> Event:
        return Event(tokens, sse({"type": kind, **fields}))

    whole = build_reply(prompt, reply)
    begun: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None}
    usage = {**whole["usage"], "output_tokens": 1}
    yield event("message_start", message={**whole, **begun, "usage": usage})
    for index, block in enumerate(whole["content"]):
        empty = {**block, **_BEGUN[block["type"]]}
        yield event("content_block_start", index=index, content_block=empty)
        if index == 0:
            yield event("ping")
        for tokens, delta in _deltas(block):
            yield event("content_block_delta", tokens, index=index, delta=delta)
        yield event("content_block_stop", index=index)
    kept = {name: n for name, n in whole["usage"].items() if name.endswith("_tokens")}
    yield event("message_delta", delta=_stop(reply), usage=kept)
    yield event("message_stop")


def _deltas(block: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The tokens that each brings, and the delta."""
    kind = block["type"]
    if kind == "tool_use":
        # The first fragment is empty, and the only one if there are no arguments.
        yield 1, {"type": "input_json_delta", "partial_json": ""}
        for piece in fragments(to_json(block["input"])) if block["input"] else ():
            yield 0, {"type": "input_json_delta", "partial_json": piece}
        return
    for piece in split_words(block[kind]):
        yield 1, {"type": f"{kind}_delta", kind: piece}
    if kind == "thinking":
        yield 0, {"type": "signature_delta", "signature": block["signature"]}


def build_error(failure: Failure) -> dict[str, Any]:
    other = "api_error" if failure.status >= 500 else "invalid_request_error"
    kind = failure.code or _ERRORS.get(failure.status, other)
    return {
        "type": "error",
        "error": {"type": kind, "message": failure.message},
        "request_id": f"req_{failure.key}",
    }


def _error_headers(failure: Failure) -> dict[str, str]:
    again = failure.status in (408, 409, 429) or failure.status >= 500
    said = {"x-should-retry": "true" if again else "false"}
    return said | retry_headers(failure)


FORMAT: Final = MockFormat(
    parse_prompt=parse_prompt,
    build_reply=build_reply,
    iter_events=iter_events,
    build_error=build_error,
    build_error_event=lambda failure: sse(build_error(failure)),
    unknown_model=(404, "model: {}"),
    bad_key=(401, "invalid x-api-key"),
    headers={"request-id": "req_{}"},
    error_headers=_error_headers,
    indent=None,
    broken_event=b'event: content_block_delta\ndata: {"broken": \n\n',
)
