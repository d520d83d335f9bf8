"""Ollama's native chat API as its server speaks it.

Shapes: https://docs.ollama.com/api/chat and https://docs.ollama.com/api/errors.
Durations are nanoseconds, made up at a millisecond a token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from llmring_lite.mock_model import MockRefusal
from llmring_lite.mock_openai import as_stop, tools_of
from llmring_lite.mock_reply import (
    Event,
    MockFormat,
    MockReply,
    Prompt,
    Turn,
    split_words,
    to_json,
)

_CREATED: Final = "2025-01-01T00:00:00.000000Z"

# Calls and filters have no word of their own.
_DONE_REASONS: Final[Mapping[str, str]] = {"length": "length"}

_ROLES: Final = ("system", "user", "assistant", "tool")

_TOKEN_NS: Final = 1_000_000


def parse_prompt(_path: str, body: Mapping[str, Any]) -> Prompt:
    turns = [_turn(message) for message in body["messages"]]
    options = body.get("options") or {}
    limit = options.get("num_predict", -1)
    format_ = body.get("format")
    return Prompt(
        model=body["model"],
        turns=turns,
        tools=tools_of(body),
        schema={} if format_ == "json" else format_ or None,
        # -1 is no limit, -2 the rest of the context.
        max_tokens=limit if limit >= 0 else None,
        stop=as_stop(options.get("stop")),
        stream=body.get("stream", True) is not False,
    )


def _turn(message: Mapping[str, Any]) -> Turn:
    role = message["role"]
    if role not in _ROLES:
        raise MockRefusal(400, f"invalid role: {role}")
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    if not all(isinstance(call["arguments"], Mapping) for call in calls):
        raise MockRefusal(
            400,
            "json: cannot unmarshal string into Go struct field "
            ".messages.tool_calls.function.arguments",
        )
    # Ids came late and stayed optional: which result answers which call isn't checked.
    names = tuple(call["name"] for call in calls)
    return Turn(role, message.get("content") or "", names)


def _body(prompt: Prompt, message: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "model": prompt.model,
        "created_at": _CREATED,
        "message": {"role": "assistant", "content": "", **message},
        "done": False,
        **more,
    }


def _summary(reply: MockReply) -> dict[str, Any]:
    # Reasoning is part of what was evaluated, and has no count of its own.
    prompt, completion = reply.usage.prompt, reply.usage.completion
    return {
        "done": True,
        "done_reason": _DONE_REASONS.get(reply.finish_reason, "stop"),
        "total_duration": (prompt + completion) * _TOKEN_NS,
        "load_duration": 0,
        "prompt_eval_count": prompt,
        "prompt_eval_duration": prompt * _TOKEN_NS,
        "eval_count": completion,
        "eval_duration": completion * _TOKEN_NS,
    }


def _calls(reply: MockReply) -> list[dict[str, Any]]:
    calls = []
    for index, call in enumerate(reply.calls):
        function = {"index": index, "name": call.name, "arguments": call.arguments}
        calls.append({"id": call.id("call_"), "function": function})
    return calls


def build_reply(prompt: Prompt, reply: MockReply) -> dict[str, Any]:
    message: dict[str, Any] = {"content": reply.text}
    if reply.reasoning:
        message["thinking"] = reply.reasoning
    if reply.calls:
        message["tool_calls"] = _calls(reply)
    return _body(prompt, message, **_summary(reply))


def iter_events(prompt: Prompt, reply: MockReply) -> Iterator[Event]:
    messages: list[dict[str, Any]] = [
        *({"thinking": piece} for piece in split_words(reply.reasoning)),
        *({"content": piece} for piece in split_words(reply.text)),
        *({"tool_calls": [call]} for call in _calls(reply)),
    ]
    for message in messages:
        yield Event(1, _line(_body(prompt, message)))
    yield Event(0, _line(_body(prompt, {}, **_summary(reply))))


def _line(value: dict[str, Any]) -> bytes:
    return f"{to_json(value)}\n".encode()


FORMAT: Final = MockFormat(
    parse_prompt=parse_prompt,
    build_reply=build_reply,
    iter_events=iter_events,
    build_error=lambda failure: {"error": failure.message},
    build_error_event=lambda failure: _line({"error": failure.message}),
    unknown_model=(404, "model '{}' not found"),
    bad_key=(401, "unauthorized"),
    content_type="application/json; charset=utf-8",
    stream_type="application/x-ndjson",
    indent=None,
    broken_event=b'{"broken": \n',
)
