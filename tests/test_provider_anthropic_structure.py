"""Structured output on Anthropic: native, by a forced tool, by a prompt."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from llmring_lite.exceptions import InvalidRequestError
from llmring_lite.provider import BUILTIN, StreamEvent
from llmring_lite.provider_anthropic import WIRE
from llmring_lite.provider_anthropic_structure import native_schema
from llmring_lite.schemas import LLMRequest, LLMResponse, Message

ANTHROPIC = BUILTIN["anthropic"]
NATIVE = "claude-haiku-4-5"
OLD = "claude-sonnet-4-20250514"  # no native format
UNFORCED = "claude-opus-5-5"  # native format, no forced tools

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}
CLOSED = SCHEMA | {"additionalProperties": False}
OPEN = {"type": "object", "additionalProperties": {"type": "number"}}
TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "kids": {"type": "array", "items": {"$ref": "#/$defs/node"}}
            },
        }
    },
}
LIST = {"type": "array", "items": {"type": "string"}}
OBJECT = {"type": "json_object"}


def wanted(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    spec = {"name": "person", "schema": schema, **more}
    return {"type": "json_schema", "json_schema": spec}


def ask(model: str, response_format: dict[str, Any], **fields: Any) -> LLMRequest:
    fields.setdefault("messages", "Hi")
    return LLMRequest(model=model, response_format=response_format, **fields)


def body(model: str, response_format: Any, **fields: Any) -> dict[str, Any]:
    return WIRE.build_request(ask(model, response_format, **fields), ANTHROPIC).body


def tool(name: str = "search") -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {}}}


def mode_of(sent: dict[str, Any]) -> str:
    if "format" in sent.get("output_config", {}):
        return "native"
    names = [t["name"] for t in sent.get("tools", [])]
    if any(name.startswith("respond_with_structure") for name in names):
        return "tool"
    return "prompt" if "JSON" in sent.get("system", "") else "none"


@pytest.mark.parametrize(
    ("model", "response_format", "fields", "mode"),
    [
        (NATIVE, wanted(SCHEMA), {}, "native"),
        (NATIVE, wanted(LIST), {}, "native"),
        (NATIVE, wanted(SCHEMA), {"tools": [tool()]}, "native"),
        (NATIVE, wanted(SCHEMA), {"reasoning_tokens": 2000}, "native"),
        (UNFORCED, wanted(SCHEMA), {}, "native"),
        (NATIVE, OBJECT, {}, "tool"),
        (NATIVE, wanted(OPEN), {}, "tool"),
        (NATIVE, wanted(TREE), {}, "tool"),
        (OLD, wanted(SCHEMA), {}, "tool"),
        (OLD, wanted({"properties": {"a": {}}}), {}, "tool"),
        ("claude-sonnet-5", OBJECT, {}, "tool"),
        ("claude-sonnet-5", OBJECT, {"reasoning_effort": "none"}, "tool"),
        # A forced call skips thinking, or is refused with it, or always.
        ("claude-sonnet-5", OBJECT, {"reasoning_effort": "low"}, "prompt"),
        (NATIVE, OBJECT, {"reasoning_tokens": 2000}, "prompt"),
        (NATIVE, OBJECT, {"reasoning_effort": "low"}, "prompt"),
        (UNFORCED, OBJECT, {}, "prompt"),
        (UNFORCED, wanted(OPEN), {}, "prompt"),
        # Arguments of a tool are an object.
        (OLD, wanted(LIST), {}, "prompt"),
        (OLD, wanted({"enum": ["a", "b"]}), {}, "prompt"),
        (OLD, wanted({"anyOf": [SCHEMA, LIST]}), {}, "prompt"),
        # The reply has to be a call of the caller's tool.
        (OLD, wanted(SCHEMA), {"tools": [tool()], "tool_choice": "required"}, "prompt"),
        ("claude-2.1", OBJECT, {}, "prompt"),
        (NATIVE, {"type": "text"}, {}, "none"),
        (NATIVE, None, {}, "none"),
    ],
)
def test_mode(model: str, response_format: Any, fields: Any, mode: str) -> None:
    assert mode_of(body(model, response_format, **fields)) == mode


def test_native_format() -> None:
    sent = body(NATIVE, wanted(SCHEMA), tools=[tool()])
    assert sent["output_config"] == {
        "format": {"type": "json_schema", "schema": CLOSED}
    }
    assert [t["name"] for t in sent["tools"]] == ["search"]
    assert "tool_choice" not in sent


def test_native_format_joins_the_effort() -> None:
    sent = body("claude-opus-5", wanted(SCHEMA), reasoning_effort="low")
    assert sent["output_config"].keys() == {"effort", "format"}


def test_forced_tool() -> None:
    sent = body(OLD, wanted(SCHEMA, description="A person."))
    (emulation,) = sent["tools"]
    assert emulation["name"] == "respond_with_structure"
    assert emulation["input_schema"] == SCHEMA
    assert "A person." in emulation["description"]
    assert sent["tool_choice"] == {
        "type": "tool",
        "name": "respond_with_structure",
        "disable_parallel_tool_use": True,
    }


def test_forced_tool_for_json_without_a_schema_takes_any_object() -> None:
    (emulation,) = body(NATIVE, OBJECT)["tools"]
    assert emulation["input_schema"] == {
        "type": "object",
        "additionalProperties": True,
    }


@pytest.mark.parametrize(
    ("choice", "sent_choice"), [(None, "any"), ("auto", "any"), ("none", "tool")]
)
def test_forced_tool_beside_the_callers_tools(
    choice: str | None, sent_choice: str
) -> None:
    sent = body(OLD, wanted(SCHEMA), tools=[tool()], tool_choice=choice)
    assert [t["name"] for t in sent["tools"]] == ["search", "respond_with_structure"]
    assert sent["tool_choice"]["type"] == sent_choice


def test_forced_tool_and_no_parallel_calls() -> None:
    sent = body(OLD, wanted(SCHEMA), tools=[tool()], parallel_tool_calls=False)
    assert sent["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}


def test_prompt_follows_the_system_prompt() -> None:
    messages = [Message("system", "S"), Message("user", "u")]
    sent = body(UNFORCED, OBJECT, messages=messages)
    first, second = sent["system"].split("\n\n")
    assert first == "S"
    assert "JSON object" in second
    sent = body(UNFORCED, wanted(OPEN), messages=messages)
    assert json.dumps(OPEN) in sent["system"]


def test_malformed_format_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="response_format"):
        body(NATIVE, {"type": "xml"})


# Schemas -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "native"),
    [
        (SCHEMA, CLOSED),
        (CLOSED, CLOSED),
        ({"type": "object", "properties": {}, "title": "T"}, None),
        ({"type": "object", "additionalProperties": False}, None),
        ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
        ({"enum": ["a", 1, None]}, {"enum": ["a", 1, None]}),
        ({"const": "a"}, {"const": "a"}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
        ),
        (
            {"oneOf": [{"type": "string"}, {"type": "null"}], "default": None},
            {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        ),
        (
            {"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"type": "string"}}},
            {"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}},
        ),
        (
            {"type": "string", "examples": ["x"], "$comment": "c"},
            {"type": "string"},
        ),
    ],
)
def test_native_schema(schema: dict[str, Any], native: dict[str, Any] | None) -> None:
    if native is None:
        native = {"properties": {}} | schema | {"additionalProperties": False}
    before = copy.deepcopy(schema)
    assert native_schema(schema) == native
    assert schema == before


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 9}, ["minimum", "maximum"]),
        ({"type": "string", "maxLength": 3, "pattern": "^a"}, ["maxLength", "pattern"]),
        ({"type": "string", "format": "color"}, ["format"]),
        ({"type": "array", "items": {"type": "null"}, "minItems": 2}, ["minItems"]),
        ({"type": "string", "not": {"const": "a"}}, ["not"]),
        ({"type": "string", "enum": [{"a": 1}]}, ["enum"]),
    ],
)
def test_what_the_api_does_not_know_is_told_in_words(
    schema: dict[str, Any], told: list[str]
) -> None:
    native = native_schema({**schema, "description": "D"})
    assert native is not None
    assert not native.keys() & set(told)
    text, _, rest = native["description"].partition("\n")
    assert text == "D"
    assert json.loads(rest.partition(": ")[2]) == {k: schema[k] for k in told}


@pytest.mark.parametrize(
    "schema",
    [
        OPEN,
        TREE,
        {},
        {"type": "object"},
        {"type": "object", "properties": {"a": True}},
        {"type": "object", "properties": {"a": {}}},
        {"type": "object", "properties": {}, "additionalProperties": True},
        {"type": "object", "properties": {}, "patternProperties": {"a": {}}},
        {"type": "array", "items": {}},
        {"allOf": [{"type": "string"}, {"maxLength": 3}]},
        {"$ref": "#/properties/a", "properties": {"a": {"type": "string"}}},
        {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/a"}},
            "$defs": {
                "a": {"anyOf": [{"$ref": "#/$defs/b"}, {"type": "null"}]},
                "b": {"type": "array", "items": {"$ref": "#/$defs/a"}},
            },
        },
    ],
)
def test_schema_that_cannot_be_said(schema: dict[str, Any]) -> None:
    assert native_schema(schema) is None


def test_one_definition_used_twice_is_no_recursion() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/x"}, "b": {"$ref": "#/$defs/x"}},
        "$defs": {"x": {"type": "string"}},
    }
    assert native_schema(schema) == schema | {"additionalProperties": False}


# Replies -------------------------------------------------------------------------

REQUEST = ask(OLD, wanted(SCHEMA), tools=[tool()])
DATA = {"name": "Ann", "age": 7}
TEXT = {"type": "text", "text": "Here it is:"}
SEARCH = {"type": "tool_use", "id": "t1", "name": "search", "input": {"q": "x"}}


def structure(value: Any, name: str = "respond_with_structure") -> dict[str, Any]:
    return {"type": "tool_use", "id": "t0", "name": name, "input": value}


def parse(blocks: list[Any], request: LLMRequest, stop: str) -> LLMResponse:
    reply = {"model": "m", "content": blocks, "stop_reason": stop}
    return WIRE.parse_response(reply, request)


def stream(blocks: list[Any], request: LLMRequest, stop: str) -> LLMResponse:
    """The same reply, streamed in small pieces."""
    chunks = list(WIRE.parse_stream(events(blocks, stop), request))
    last = chunks[-1]
    return LLMResponse(
        content="".join(chunk.delta for chunk in chunks),
        model=last.model or "",
        finish_reason=last.finish_reason,
        tool_calls=[c for chunk in chunks for c in chunk.tool_calls or ()] or None,
        provider_data=last.provider_data,
    )


def events(blocks: list[Any], stop: str) -> Iterator[StreamEvent]:
    def event(kind: str, **rest: Any) -> StreamEvent:
        return StreamEvent(kind, json.dumps({"type": kind, **rest}))

    yield event("message_start", message={"model": "m", "content": []})
    for index, block in enumerate(blocks):
        if block["type"] == "text":
            empty, kind, word, text = {"text": ""}, "text_delta", "text", block["text"]
        else:
            text = json.dumps(block["input"]) if block["input"] else ""
            empty, kind, word = {"input": {}}, "input_json_delta", "partial_json"
        yield event("content_block_start", index=index, content_block=block | empty)
        for start in range(0, len(text), 3):
            delta = {"type": kind, word: text[start : start + 3]}
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    yield event("message_delta", delta={"stop_reason": stop}, usage={})
    yield event("message_stop")


@pytest.mark.parametrize("read", [parse, stream])
@pytest.mark.parametrize(
    ("blocks", "stop", "content", "calls", "reason"),
    [
        ([structure(DATA)], "tool_use", DATA, [], "stop"),
        ([structure({})], "tool_use", {}, [], "stop"),
        ([TEXT, structure(DATA), TEXT], "tool_use", DATA, [], "stop"),
        ([structure(DATA), structure({"name": "B"})], "tool_use", DATA, [], "stop"),
        ([structure(DATA)], "max_tokens", DATA, [], "length"),
        ([TEXT, SEARCH], "tool_use", "Here it is:", ["search"], "tool_calls"),
        ([SEARCH, structure(DATA)], "tool_use", DATA, ["search"], "tool_calls"),
        ([TEXT], "end_turn", "Here it is:", [], "stop"),
        ([TEXT], "refusal", "Here it is:", [], "content_filter"),
    ],
)
def test_structure_becomes_the_content(
    read: Any, blocks: list[Any], stop: str, content: Any, calls: list[str], reason: str
) -> None:
    reply = read(blocks, REQUEST, stop)
    got = reply.content if isinstance(content, str) else json.loads(reply.content)
    assert got == content
    assert [c["function"]["name"] for c in reply.tool_calls or ()] == calls
    assert reply.finish_reason == reason


@pytest.mark.parametrize("read", [parse, stream])
def test_next_turn_after_a_structure_says_it_as_text(read: Any) -> None:
    thinking = {"type": "redacted_thinking", "data": "x"}
    reply = read([structure(DATA)], REQUEST, "tool_use")
    assert reply.provider_data is None
    reply = parse([thinking, TEXT, structure(DATA), SEARCH], REQUEST, "tool_use")
    message = reply.message
    assert message.provider_data is not None
    message.provider_data["provider"] = "anthropic"
    messages = [Message("user", "q"), message, Message("tool", "r", None, "t1")]
    sent = body(OLD, None, messages=messages)["messages"][1]["content"]
    assert sent == [thinking, {"type": "text", "text": reply.content}, SEARCH]


@pytest.mark.parametrize("read", [parse, stream])
def test_callers_tool_of_the_same_name_stays_a_tool(read: Any) -> None:
    taken = [tool("respond_with_structure"), tool("respond_with_structure_")]
    request = ask(OLD, wanted(SCHEMA), tools=taken)
    sent = WIRE.build_request(request, ANTHROPIC).body
    assert sent["tools"][-1]["name"] == "respond_with_structure__"
    reply = read([structure(DATA)], request, "tool_use")
    assert reply.tool_calls is not None
    reply = read([structure(DATA, "respond_with_structure__")], request, "tool_use")
    assert reply.tool_calls is None


def test_call_is_no_structure_if_none_was_asked_for() -> None:
    reply = parse([structure(DATA)], LLMRequest(OLD, "x"), "tool_use")
    assert reply.tool_calls is not None
    assert reply.content == ""


def test_native_structure_streams_as_it_comes() -> None:
    request = ask(NATIVE, wanted(SCHEMA))
    block = {"type": "text", "text": json.dumps(DATA)}
    chunks = list(WIRE.parse_stream(events([block], "end_turn"), request))
    assert len([chunk for chunk in chunks if chunk.delta]) > 3
    assert json.loads("".join(chunk.delta for chunk in chunks)) == DATA


def test_emulated_structure_streams_as_it_comes() -> None:
    chunks = list(WIRE.parse_stream(events([structure(DATA)], "tool_use"), REQUEST))
    assert len([chunk for chunk in chunks if chunk.delta]) > 3
