"""OpenAI's Responses API as its server speaks it.

Shapes: https://platform.openai.com/docs/api-reference/responses and
https://platform.openai.com/docs/api-reference/responses-streaming.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, Final

from llmring_lite import mock_openai
from llmring_lite.mock_model import Failure, MockRefusal
from llmring_lite.mock_openai import forced_tool, role_of, schema_of, tools_of
from llmring_lite.mock_reply import (
    CREATED,
    Event,
    MockReply,
    Prompt,
    Turn,
    check_tool_results,
    fragments,
    split_words,
    sse,
    text_of,
)

# The API has a status, and a reason where that is `incomplete`.
_INCOMPLETE: Final[Mapping[str, str]] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}

# What a response repeats of its request, and the defaults.
_ECHOED: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("instructions", "max_output_tokens", "max_tool_calls", "user")),
    **dict.fromkeys(("previous_response_id", "prompt_cache_key", "safety_identifier")),
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
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
    turns += [Turn("user", given)] if isinstance(given, str) else _turns(given)
    check_tool_results(turns)
    return Prompt(
        model=body["model"],
        turns=turns,
        tools=tools_of(body),
        forced=forced_tool(body.get("tool_choice")),
        schema=schema_of((body.get("text") or {}).get("format")),
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
            yield Turn(role_of(item), text_of(item["content"]))
        elif kind == "function_call_output":
            yield Turn("tool", text_of(item["output"]), (), (item["call_id"],))
    if calls:
        yield Turn("assistant", "", tuple(calls))


def build_reply(prompt: Prompt, reply: MockReply) -> dict[str, Any]:
    status = _status(reply)
    reason = _INCOMPLETE.get(reply.finish_reason)
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
        "output": _items(prompt, reply),
        **given,
        "service_tier": "default",
        "usage": _usage(reply),
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
    item: dict[str, Any]
    if reply.reasoning:
        summary = [{"type": "summary_text", "text": reply.reasoning}]
        item = {"id": f"rs_{prompt.key}", "type": "reasoning", "summary": summary}
        if "reasoning.encrypted_content" in (prompt.body.get("include") or ()):
            item["encrypted_content"] = f"mock-{prompt.key}"
        items.append(item)
    if reply.text or not reply.calls:
        part = {"type": "output_text", "annotations": [], "logprobs": []}
        message = {"id": f"msg_{prompt.key}", "type": "message", "role": "assistant"}
        content = [{**part, "text": reply.text}]
        items.append({**message, "status": _status(reply), "content": content})
    for call in reply.calls:
        function = {"name": call.name, "arguments": call.arguments_text()}
        item = {"id": f"fc_{call.key}", "type": "function_call", **function}
        items.append({**item, "status": "completed", "call_id": call.id("call_")})
    return items


# Type of an item -> what differs in it when it is announced.
_BEGUN: Final[Mapping[str, Mapping[str, Any]]] = {
    "message": {"status": "in_progress", "content": []},
    "reasoning": {"summary": []},
    "function_call": {"status": "in_progress", "arguments": ""},
}


def iter_events(prompt: Prompt, reply: MockReply) -> Iterator[Event]:
    numbers = count()

    def event(kind: str, tokens: int = 0, **fields: Any) -> Event:
        data = {"type": f"response.{kind}", **fields, "sequence_number": next(numbers)}
        return Event(tokens, sse(data))

    done = build_reply(prompt, reply)
    begun = {
        **done,
        "status": "in_progress",
        "completed_at": None,
        "incomplete_details": None,
        "output": [],
        "usage": None,
    }
    yield event("created", response=begun)
    yield event("in_progress", response=begun)
    for index, item in enumerate(done["output"]):
        empty = {**item, **_BEGUN[item["type"]]}
        yield event("output_item.added", item=empty, output_index=index)
        for kind, tokens, fields in _steps(item):
            yield event(kind, tokens, item_id=item["id"], output_index=index, **fields)
        yield event("output_item.done", item=item, output_index=index)
    yield event(done["status"], response=done)


def _steps(item: dict[str, Any]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Kind, tokens, fields of the events between an item's first and its last."""
    if item["type"] == "function_call":
        kind, text = "function_call_arguments", item["arguments"]
        for number, piece in enumerate(fragments(text)):
            yield f"{kind}.delta", 0 if number else 1, {"delta": piece}
        yield f"{kind}.done", 0, {"arguments": text}
        return
    at: dict[str, Any]
    if item["type"] == "message":
        [part] = item["content"]
        part_kind, kind, at = "content_part", "output_text", {"content_index": 0}
        more: dict[str, Any] = {"logprobs": []}
    else:
        [part] = item["summary"]
        part_kind, kind = "reasoning_summary_part", "reasoning_summary_text"
        at, more = {"summary_index": 0}, {}
    yield f"{part_kind}.added", 0, {**at, "part": {**part, "text": ""}}
    for piece in split_words(part["text"]):
        yield f"{kind}.delta", 1, {**at, "delta": piece, **more}
    yield f"{kind}.done", 0, {**at, "text": part["text"], **more}
    yield f"{part_kind}.done", 0, {**at, "part": part}


def _build_error_event(failure: Failure) -> bytes:
    error = mock_openai.build_error(failure)["error"]
    code = error["code"] or error["type"]
    return sse({**error, "type": "error", "code": code, "sequence_number": 0})


FORMAT: Final = mock_openai.FORMAT._replace(
    parse_prompt=parse_prompt,
    build_reply=build_reply,
    iter_events=iter_events,
    build_error_event=_build_error_event,
    # 400, where Chat Completions has 404.
    unknown_model=(400, "The requested model '{}' does not exist."),
)
