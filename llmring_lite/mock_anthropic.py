"""Anthropic's Messages API as its server speaks it.

Shapes: https://docs.claude.com/en/api/messages,
https://docs.claude.com/en/docs/build-with-claude/streaming and
https://docs.claude.com/en/api/errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from llmring_lite.mock_model import MockRefusal
from llmring_lite.mock_reply import (
    Event,
    Failure,
    MockFormat,
    MockReply,
    Prompt,
    Turn,
    check_tool_results,
    fragments,
    retry_headers,
    split_words,
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
    if role not in ("user", "assistant"):
        raise MockRefusal(
            400, f"messages.{number}.role: Input should be 'user' or 'assistant'"
        )
    blocks = [] if isinstance(content, str) else content
    for place, block in enumerate(blocks):
        if block["type"] == "text" and not block["text"]:
            raise MockRefusal(
                400,
                f"messages.{number}.content.{place}: text content blocks must be "
                "non-empty",
            )
    return Turn(
        role,
        text_of(content),
        tuple(block["id"] for block in blocks if block["type"] == "tool_use"),
        tuple(
            block["tool_use_id"] for block in blocks if block["type"] == "tool_result"
        ),
    )


def text_of(content: Any) -> str:
    """The texts of blocks, those in tool results included, a line each."""
    if isinstance(content, str) or content is None:
        return content or ""
    texts = (
        text_of(block.get("content"))
        if block["type"] == "tool_result"
        else block.get("text", "")
        for block in content
    )
    return "\n".join(text for text in texts if text)


def _message(prompt: Prompt, reply: MockReply | None) -> dict[str, Any]:
    """The message; without a reply as it stands at the start of a stream."""
    return {
        "model": prompt.model,
        "id": f"msg_{prompt.key}",
        "type": "message",
        "role": "assistant",
        "content": _blocks(prompt, reply) if reply else [],
        "stop_reason": _stop(reply)["stop_reason"] if reply else None,
        "stop_sequence": reply.stop_sequence if reply else None,
    }


def _stop(reply: MockReply) -> dict[str, Any]:
    reason = _STOP_REASONS[reply.finish_reason]
    if reply.stop_sequence is not None and reason == "end_turn":
        reason = "stop_sequence"
    return {"stop_reason": reason, "stop_sequence": reply.stop_sequence}


def _usage(reply: MockReply, output: int) -> dict[str, Any]:
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
        "output_tokens": output,
        "service_tier": "standard",
    }


def _blocks(prompt: Prompt, reply: MockReply) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if reply.reasoning:
        signature = f"mock-{prompt.key}"
        blocks.append(
            {"type": "thinking", "thinking": reply.reasoning, "signature": signature}
        )
    if reply.text:
        blocks.append({"type": "text", "text": reply.text})
    blocks.extend(
        {
            "type": "tool_use",
            "id": call.id("toolu_"),
            "name": call.name,
            "input": call.arguments,
        }
        for call in reply.calls
    )
    return blocks


def build_reply(prompt: Prompt, reply: MockReply) -> bytes:
    usage = _usage(reply, reply.usage.completion)
    return to_json({**_message(prompt, reply), "usage": usage}).encode()


def iter_events(prompt: Prompt, reply: MockReply) -> Iterator[Event]:
    start = {**_message(prompt, None), "usage": _usage(reply, 1)}
    yield _event("message_start", message=start)
    for index, block in enumerate(_blocks(prompt, reply)):
        empty, deltas = _deltas(block)
        yield _event("content_block_start", index=index, content_block=empty)
        if index == 0:
            yield Event(0, b'event: ping\ndata: {"type": "ping"}\n\n')
        for tokens, delta in deltas:
            yield _event("content_block_delta", tokens, index=index, delta=delta)
        yield _event("content_block_stop", index=index)
    usage = _usage(reply, reply.usage.completion)
    kept = {name: usage[name] for name in usage if name.endswith("_tokens")}
    yield _event("message_delta", delta=_stop(reply), usage=kept)
    yield _event("message_stop")


def _deltas(
    block: dict[str, Any],
) -> tuple[dict[str, Any], list[tuple[int, dict[str, Any]]]]:
    """A block as it starts, and its deltas with the tokens that each brings."""
    if block["type"] == "text":
        pieces = split_words(block["text"])
        return {**block, "text": ""}, [
            (1, {"type": "text_delta", "text": piece}) for piece in pieces
        ]
    if block["type"] == "thinking":
        pieces = split_words(block["thinking"])
        signature = {"type": "signature_delta", "signature": block["signature"]}
        return {**block, "thinking": "", "signature": ""}, [
            *((1, {"type": "thinking_delta", "thinking": piece}) for piece in pieces),
            (0, signature),
        ]
    # The first fragment is empty, and the only one if there are no arguments.
    pieces = ["", *(fragments(to_json(block["input"])) if block["input"] else ())]
    return {**block, "input": {}}, [
        (0 if place else 1, {"type": "input_json_delta", "partial_json": piece})
        for place, piece in enumerate(pieces)
    ]


def _event(kind: str, tokens: int = 0, **fields: Any) -> Event:
    data = to_json({"type": kind, **fields})
    return Event(tokens, f"event: {kind}\ndata: {data}\n\n".encode())


def _error(failure: Failure) -> dict[str, Any]:
    kind = failure.code or _ERRORS.get(
        failure.status,
        "api_error" if failure.status >= 500 else "invalid_request_error",
    )
    return {
        "type": "error",
        "error": {"type": kind, "message": failure.message},
        "request_id": f"req_{failure.key}",
    }


def build_error(failure: Failure) -> bytes:
    return to_json(_error(failure)).encode()


def build_error_event(failure: Failure) -> bytes:
    return f"event: error\ndata: {to_json(_error(failure))}\n\n".encode()


def headers(key: str) -> dict[str, str]:
    return {"request-id": f"req_{key}"}


def error_headers(failure: Failure) -> dict[str, str]:
    again = failure.status in (408, 409, 429) or failure.status >= 500
    said = {"x-should-retry": "true" if again else "false"}
    return said | retry_headers(failure)


FORMAT: Final = MockFormat(
    parse_prompt=parse_prompt,
    build_reply=build_reply,
    iter_events=iter_events,
    build_error=build_error,
    build_error_event=build_error_event,
    headers=headers,
    error_headers=error_headers,
    unknown_model=(404, "model: {}"),
    bad_key=(401, "invalid x-api-key"),
    broken_event=b'event: content_block_delta\ndata: {"broken": \n\n',
)
