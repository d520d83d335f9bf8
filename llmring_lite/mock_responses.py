"""OpenAI's Responses API as its server speaks it.

Shapes: https://platform.openai.com/docs/api-reference/responses and
https://platform.openai.com/docs/api-reference/responses-streaming.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, Final

from llmring_lite.mock_model import MockRefusal
from llmring_lite.mock_openai import (
    BAD_KEY,
    build_error,
    error_headers,
    error_object,
    forced_tool,
    headers,
    text_of,
)
from llmring_lite.mock_reply import (
    CREATED,
    Event,
    Failure,
    MockFormat,
    MockReply,
    Prompt,
    Turn,
    check_tool_results,
    fragments,
    split_words,
    to_json,
)

# The API has a status, and a reason where that is `incomplete`.
_INCOMPLETE: Final[Mapping[str, str]] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}

# What a response repeats of its request, and the defaults.
_ECHOED: Final[Mapping[str, Any]] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
    "metadata": {},
}


def parse_prompt(_path: str, body: Mapping[str, Any]) -> Prompt:
    if body.get("previous_response_id"):
        raise MockRefusal(
            400,
            f"Previous response with id '{body['previous_response_id']}' not found: "
            "the mock keeps none",
            code="previous_response_not_found",
        )
    given = body["input"]
    turns = [Turn("system", body["instructions"])] if body.get("instructions") else []
    if isinstance(given, str):
        turns.append(Turn("user", given))
    else:
        turns.extend(_turns(given))
    check_tool_results(turns)
    tools = [
        (tool["name"], tool.get("parameters", {}))
        for tool in body.get("tools") or ()
        if tool["type"] == "function"
    ]
    choice = body.get("tool_choice")
    format_ = (body.get("text") or {}).get("format") or {"type": "text"}
    return Prompt(
        model=body["model"],
        turns=turns,
        tools=[] if choice == "none" else tools,
        forced=forced_tool(choice),
        schema={"json_object": {}, "json_schema": format_.get("schema", {})}.get(
            format_["type"]
        ),
        max_tokens=body.get("max_output_tokens"),
        stream=bool(body.get("stream")),
    )


def _turns(items: list[Mapping[str, Any]]) -> Iterator[Turn]:
    """A turn an item, but one for all calls of a row: results may follow them all."""
    calls: list[str] = []
    for item in items:
        kind = item.get("type", "message")
        if kind == "function_call":
            calls.append(item["call_id"])
            continue
        if calls and kind != "reasoning":
            yield Turn("assistant", "", tuple(calls))
            calls = []
        if kind == "message":
            role = item["role"]
            text = text_of(item["content"])
            yield Turn("system" if role == "developer" else role, text)
        elif kind == "function_call_output":
            text = text_of(item["output"])
            yield Turn("tool", text, (), (item["call_id"],))
    if calls:
        yield Turn("assistant", "", tuple(calls))


def _response(prompt: Prompt, reply: MockReply, status: str) -> dict[str, Any]:
    done = status != "in_progress"
    reason = _INCOMPLETE.get(reply.finish_reason) if done else None
    given = {
        name: default if prompt.body.get(name) is None else prompt.body[name]
        for name, default in _ECHOED.items()
    }
    return {
        "id": f"resp_{prompt.key}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "background": False,
        "completed_at": CREATED if status == "completed" else None,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "model": prompt.model,
        "output": _items(prompt, reply) if done else [],
        **given,
        "service_tier": "default",
        "usage": _usage(reply) if done else None,
    }


def _usage(reply: MockReply) -> dict[str, Any]:
    # Cached tokens are part of the input's, reasoning part of the output's.
    usage = reply.usage
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cache_read},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt + usage.completion,
    }


def _status(reply: MockReply) -> str:
    return "incomplete" if reply.finish_reason in _INCOMPLETE else "completed"


def _items(prompt: Prompt, reply: MockReply) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if reply.reasoning:
        item = {
            "id": f"rs_{prompt.key}",
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": reply.reasoning}],
        }
        if "reasoning.encrypted_content" in (prompt.body.get("include") or ()):
            item["encrypted_content"] = f"mock-{prompt.key}"
        items.append(item)
    if reply.text or not reply.calls:
        items.append(
            {
                "id": f"msg_{prompt.key}",
                "type": "message",
                "status": _status(reply),
                "content": [_part(reply.text)],
                "role": "assistant",
            }
        )
    items.extend(
        {
            "id": f"fc_{call.key}",
            "type": "function_call",
            "status": "completed",
            "arguments": call.arguments_text(),
            "call_id": call.id("call_"),
            "name": call.name,
        }
        for call in reply.calls
    )
    return items


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def build_reply(prompt: Prompt, reply: MockReply) -> bytes:
    body = _response(prompt, reply, _status(reply))
    return f"{to_json(body, indent=2)}\n".encode()


def iter_events(prompt: Prompt, reply: MockReply) -> Iterator[Event]:
    numbers = count()

    def event(kind: str, tokens: int = 0, **fields: Any) -> Event:
        data = to_json({"type": kind, **fields, "sequence_number": next(numbers)})
        return Event(tokens, f"event: {kind}\ndata: {data}\n\n".encode())

    begun = _response(prompt, reply, "in_progress")
    yield event("response.created", response=begun)
    yield event("response.in_progress", response=begun)
    for index, item in enumerate(_items(prompt, reply)):
        empty, steps = _STEPS[item["type"]](item)
        yield event("response.output_item.added", item=empty, output_index=index)
        for kind, tokens, fields in steps:
            yield event(kind, tokens, item_id=item["id"], output_index=index, **fields)
        yield event("response.output_item.done", item=item, output_index=index)
    status = _status(reply)
    yield event(f"response.{status}", response=_response(prompt, reply, status))


_Steps = Iterator[tuple[str, int, dict[str, Any]]]


def _message_steps(item: dict[str, Any]) -> tuple[dict[str, Any], _Steps]:
    """The item as it is first announced; then kind, tokens, fields of its events."""

    def steps() -> _Steps:
        text = item["content"][0]["text"]
        at = {"content_index": 0}
        yield "response.content_part.added", 0, {**at, "part": _part("")}
        for piece in split_words(text):
            delta = {**at, "delta": piece, "logprobs": []}
            yield "response.output_text.delta", 1, delta
        done = {**at, "text": text, "logprobs": []}
        yield "response.output_text.done", 0, done
        yield "response.content_part.done", 0, {**at, "part": _part(text)}

    return {**item, "status": "in_progress", "content": []}, steps()


def _reasoning_steps(item: dict[str, Any]) -> tuple[dict[str, Any], _Steps]:
    def steps() -> _Steps:
        part = item["summary"][0]
        at = {"summary_index": 0}
        prefix = "response.reasoning_summary"
        yield f"{prefix}_part.added", 0, {**at, "part": {**part, "text": ""}}
        for piece in split_words(part["text"]):
            yield f"{prefix}_text.delta", 1, {**at, "delta": piece}
        yield f"{prefix}_text.done", 0, {**at, "text": part["text"]}
        yield f"{prefix}_part.done", 0, {**at, "part": part}

    return {**item, "summary": []}, steps()


def _call_steps(item: dict[str, Any]) -> tuple[dict[str, Any], _Steps]:
    def steps() -> _Steps:
        prefix = "response.function_call_arguments"
        for number, piece in enumerate(fragments(item["arguments"])):
            yield f"{prefix}.delta", 0 if number else 1, {"delta": piece}
        yield f"{prefix}.done", 0, {"arguments": item["arguments"]}

    return {**item, "status": "in_progress", "arguments": ""}, steps()


_STEPS: Final = {
    "message": _message_steps,
    "reasoning": _reasoning_steps,
    "function_call": _call_steps,
}


def build_error_event(failure: Failure) -> bytes:
    error = error_object(failure)
    data = {
        "type": "error",
        "code": error["code"] or error["type"],
        "message": failure.message,
        "param": None,
        "sequence_number": 0,
    }
    return f"event: error\ndata: {to_json(data)}\n\n".encode()


FORMAT: Final = MockFormat(
    parse_prompt=parse_prompt,
    build_reply=build_reply,
    iter_events=iter_events,
    build_error=build_error,
    build_error_event=build_error_event,
    headers=headers,
    error_headers=error_headers,
    # 400, where Chat Completions has 404.
    unknown_model=(400, "The requested model '{}' does not exist."),
    bad_key=BAD_KEY,
)
