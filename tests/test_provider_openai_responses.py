"""OpenAI's Responses API: requests, replies, streams, and what the next turn needs."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmring_lite.exceptions import (
    ContentFilterError,
    InvalidRequestError,
    ProviderError,
    ProviderRateLimitError,
    ProviderResponseError,
    UnsupportedParameterError,
)
from llmring_lite.provider import BUILTIN, Endpoint, StreamEvent, load_wire_format
from llmring_lite.schemas import LLMRequest, LLMResponse, Message, StreamChunk

WIRE = load_wire_format("openai-responses")
OPENAI = BUILTIN["openai"]._replace(kind="openai-responses")
REQUEST = LLMRequest("gpt-4.1", "hi")
PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0="


def body_of(request: LLMRequest, endpoint: Endpoint = OPENAI) -> dict[str, Any]:
    before = copy.deepcopy(request)
    body = WIRE.build_request(request, endpoint).body
    assert request == before
    json.dumps(body)
    return body


def ask(*messages: Any, **fields: Any) -> dict[str, Any]:
    fields.setdefault("model", "gpt-4.1")
    return body_of(LLMRequest(messages=list(messages) or ["hi"], **fields))


def call(id_: str, name: str = "f", arguments: str = "{}") -> dict[str, Any]:
    return {
        "id": id_,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


# Requests -------------------------------------------------------------------------


AZURE = "https://me.openai.azure.com"


@pytest.mark.parametrize(
    ("base_url", "version", "url"),
    [
        ("https://api.x.ai/v1", None, "https://api.x.ai/v1/responses"),
        (
            AZURE,
            "2025-03-01-preview",
            f"{AZURE}/openai/responses?api-version=2025-03-01-preview",
        ),
        (
            f"{AZURE}/openai",
            "2025-04-01-preview",
            f"{AZURE}/openai/responses?api-version=2025-04-01-preview",
        ),
        (f"{AZURE}/openai/v1", None, f"{AZURE}/openai/v1/responses"),
        (f"{AZURE}/openai/v1", "2024-10-21", f"{AZURE}/openai/v1/responses"),
        (
            f"{AZURE}/openai/v1",
            "preview",
            f"{AZURE}/openai/v1/responses?api-version=preview",
        ),
    ],
)
def test_addresses(base_url: str, version: str | None, url: str) -> None:
    endpoint = OPENAI._replace(base_url=base_url, api_version=version)
    assert WIRE.build_request(REQUEST, endpoint).url == url


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"temperature": 0.0}, {"temperature": 0.0}),
        ({"top_p": 0.5}, {"top_p": 0.5}),
        ({"max_tokens": 99}, {"max_output_tokens": 99}),
        ({"stream": True}, {"stream": True}),
        # Where there are no tools, nothing is to be chosen.
        ({"parallel_tool_calls": False, "tool_choice": "none"}, {}),
        ({"reasoning_effort": "none"}, {}),
        (
            {"tool_choice": {"type": "web_search"}},
            {"tool_choice": {"type": "web_search"}},
        ),
        ({"cache": "tenant-7"}, {"prompt_cache_key": "tenant-7"}),
        ({"cache": {"key": "tenant-7"}}, {"prompt_cache_key": "tenant-7"}),
        ({"cache": True}, {}),
        ({"metadata": {"user": "u"}}, {}),
        ({"response_format": {"type": "text"}}, {}),
        (
            {"response_format": {"type": "json_object"}},
            {"text": {"format": {"type": "json_object"}}},
        ),
        ({"extra_params": {"top_logprobs": 2}}, {"top_logprobs": 2}),
    ],
)
def test_parameters(fields: dict[str, Any], sent: dict[str, Any]) -> None:
    assert ask(**fields) == {
        "model": "gpt-4.1",
        "input": [{"role": "user", "content": "hi"}],
        "store": False,
        **sent,
    }


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({"reasoning_effort": "minimal"}, "minimal"),
        ({"reasoning_tokens": 0}, "none"),
        ({"reasoning_tokens": 2000}, "low"),
        ({"reasoning_tokens": 8000}, "medium"),
        ({"reasoning_tokens": 50000}, "high"),
        ({"reasoning_tokens": 50000, "reasoning_effort": "low"}, "low"),
    ],
)
def test_an_effort_or_the_word_for_a_budget(
    fields: dict[str, Any], effort: str
) -> None:
    assert ask(model="gpt-5.2", **fields)["reasoning"] == {"effort": effort}


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", "auto"),
        ("required", "required"),
        ("any", "required"),
        (
            {"type": "function", "function": {"name": "f"}},
            {"type": "function", "name": "f"},
        ),
        ({"type": "function", "name": "f"}, {"type": "function", "name": "f"}),
    ],
)
def test_a_tool_can_be_chosen(choice: Any, sent: Any) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    body = ask(tools=tools, tool_choice=choice, parallel_tool_calls=False)
    assert body["tool_choice"] == sent
    assert body["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"stop": "x"}, "stop"),
        ({"seed": 1}, "seed"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"reasoning_tokens": 900}, "reasoning_tokens"),
        ({"model": "o3", "temperature": 0.2}, "temperature"),
        ({"model": "openai/gpt-5-mini", "top_p": 0.2}, "top_p"),
        ({"messages": [Message("user", "hi", name="ann")]}, "messages[0].name"),
    ],
)
def test_what_the_api_lacks_is_an_error_unless_it_may_be_dropped(
    fields: dict[str, Any], name: str
) -> None:
    request = LLMRequest(**{"model": "gpt-4.1", "messages": ["hi"], **fields})
    with pytest.raises(UnsupportedParameterError) as caught:
        body_of(request)
    assert caught.value.parameter == name

    body = body_of(replace(request, extra_params={"drop_unsupported": True}))
    assert body["input"] == [{"role": "user", "content": "hi"}]
    assert not body.keys() & {"stop", "seed", "temperature", "top_p"}


def test_default_sampling_is_no_obstacle_for_reasoning_models() -> None:
    assert ask(model="gpt-5", temperature=1)["temperature"] == 1
    assert ask(model="gpt-5.2", temperature=0.5)["temperature"] == 0.5


def test_an_unknown_tool_choice_names_the_known_ones() -> None:
    with pytest.raises(InvalidRequestError, match=r"'some'.*auto, none, required"):
        ask(tool_choice="some")


@pytest.mark.parametrize(
    ("model", "endpoint", "effort", "asks"),
    [
        ("gpt-5", OPENAI, None, True),
        ("openai/o4-mini", OPENAI, None, True),
        ("ft:gpt-5-mini:me::1", OPENAI, None, True),
        ("grok-4.3", OPENAI, None, True),
        ("gpt-4o", OPENAI, None, False),
        ("gpt-5-chat-latest", OPENAI, None, False),
        ("grok-4-fast-non-reasoning", OPENAI, None, False),
        ("deepseek-v4-flash", OPENAI, "high", False),
        ("my-deployment", OPENAI._replace(base_url=AZURE), None, False),
        ("my-deployment", OPENAI._replace(base_url=AZURE), "none", False),
        ("my-deployment", OPENAI._replace(base_url=AZURE), "low", True),
    ],
)
def test_encrypted_reasoning_is_asked_of_models_that_have_it(
    model: str, endpoint: Endpoint, effort: str | None, asks: bool
) -> None:
    body = body_of(LLMRequest(model, "hi", reasoning_effort=effort), endpoint)
    assert ("include" in body) is asks


@pytest.mark.parametrize(
    "extra", [{"previous_response_id": "resp_1"}, {"background": True}]
)
def test_who_wants_state_on_the_server_gets_it(extra: dict[str, Any]) -> None:
    assert "store" not in ask(extra_params=extra)
    assert ask(extra_params={"store": True})["store"] is True


def test_extra_params_complete_what_we_send() -> None:
    body = ask(
        model="gpt-5",
        reasoning_effort="low",
        response_format={"type": "json_object"},
        extra_params={
            "reasoning": {"summary": "auto"},
            "text": {"verbosity": "low"},
            "include": ["message.output_text.logprobs"],
            "drop_unsupported": False,
        },
    )
    assert body["reasoning"] == {"effort": "low", "summary": "auto"}
    assert body["text"] == {"format": {"type": "json_object"}, "verbosity": "low"}
    assert set(body["include"]) == {
        "message.output_text.logprobs",
        "reasoning.encrypted_content",
    }
    assert "drop_unsupported" not in body
    assert ask(model="gpt-5", extra_params={"include": []})["include"] == []


def test_tools_are_flattened_and_no_stricter_than_asked_for() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    tools = [
        {"type": "function", "function": {"name": "f", "parameters": schema}},
        {"type": "function", "function": {"name": "g", "strict": True}},
        {"type": "web_search"},
    ]
    assert ask(tools=tools)["tools"] == [
        {"type": "function", "name": "f", "parameters": schema, "strict": False},
        {
            "type": "function",
            "name": "g",
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {},
                "required": [],
                "additionalProperties": False,
            },
        },
        {"type": "web_search"},
    ]


def test_a_tool_without_a_name_is_an_error_that_says_which() -> None:
    with pytest.raises(InvalidRequestError, match=r"tools\[0\]"):
        ask(tools=[{"type": "function", "function": {}}])


@pytest.mark.parametrize("strict", [True, False])
def test_a_schema_becomes_the_text_format(strict: bool) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    spec = {"name": "answer", "schema": schema, "description": "What I want"}
    sent = ask(
        response_format={"type": "json_schema", "json_schema": spec, "strict": strict}
    )["text"]["format"]
    assert sent["type"] == "json_schema"
    assert sent["name"] == "answer"
    assert sent["description"] == "What I want"
    assert sent["strict"] is strict
    if strict:
        assert sent["schema"]["additionalProperties"] is False
        assert sent["schema"]["required"] == ["a"]
    else:
        assert sent["schema"] == schema


# Messages -------------------------------------------------------------------------


def test_system_messages_keep_their_place_and_role() -> None:
    assert ask(
        Message("system", "one"),
        Message("developer", "two"),
        Message("user", "three"),
        Message("system", "four"),
    )["input"] == [
        {"role": "system", "content": "one"},
        {"role": "developer", "content": "two"},
        {"role": "user", "content": "three"},
        {"role": "system", "content": "four"},
    ]


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        ({"type": "text", "text": "t"}, {"type": "input_text", "text": "t"}),
        (
            {"type": "image_url", "image_url": {"url": PNG}},
            {"type": "input_image", "image_url": PNG},
        ),
        (
            {"type": "image_url", "image_url": "https://x.org/a.png"},
            {"type": "input_image", "image_url": "https://x.org/a.png"},
        ),
        (
            {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
            {"type": "input_image", "image_url": PNG, "detail": "low"},
        ),
        (
            {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}},
            {"type": "input_file", "filename": "a.pdf", "file_data": PDF},
        ),
        (
            {"type": "file", "file": {"file_data": PDF}},
            {"type": "input_file", "filename": "document.pdf", "file_data": PDF},
        ),
        (
            {"type": "file", "file": {"file_data": "https://x.org/a.pdf"}},
            {"type": "input_file", "file_url": "https://x.org/a.pdf"},
        ),
        (
            {"type": "file", "file": {"file_id": "file-1"}},
            {"type": "input_file", "file_id": "file-1"},
        ),
        (
            {"type": "text", "text": "t", "cache_control": {"type": "ephemeral"}},
            {"type": "input_text", "text": "t"},
        ),
    ],
)
def test_parts(part: dict[str, Any], sent: dict[str, Any]) -> None:
    assert ask(Message("user", [part]))["input"] == [
        {"role": "user", "content": [sent]}
    ]


def test_marks_become_breakpoints_for_models_that_know_them() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    part = {"type": "text", "text": "t"}
    messages = [
        Message("system", "s", metadata=mark),
        Message("user", [{**part, **mark}, part]),
    ]
    point = {"prompt_cache_breakpoint": {"mode": "explicit"}}
    text = {"type": "input_text", "text": "t"}
    system, user = ask(*messages, model="gpt-5.6")["input"]
    assert system["content"] == [{"type": "input_text", "text": "s", **point}]
    assert user["content"] == [{**text, **point}, text]
    assert "breakpoint" not in repr(ask(*messages, model="gpt-5.5"))


@pytest.mark.parametrize(
    ("message", "error", "where"),
    [
        (
            Message("user", [{"type": "input_audio", "input_audio": {}}]),
            UnsupportedParameterError,
            r"messages\[0\].content\[0\] \(input_audio\)",
        ),
        (
            Message("assistant", [{"type": "image_url", "image_url": {"url": PNG}}]),
            UnsupportedParameterError,
            r"messages\[0\].content\[0\] \(image_url\)",
        ),
        (
            Message("user", [{"type": "video"}]),
            InvalidRequestError,
            r"messages\[0\].content\[0\].*'video'",
        ),
        (
            Message("assistant", [{"type": "video"}]),
            InvalidRequestError,
            r"messages\[0\].content\[0\].*'video'",
        ),
        (
            Message("user", [{"type": "file", "file": {}}]),
            InvalidRequestError,
            r"messages\[0\].content\[0\].*file_data",
        ),
        (
            Message("tool", "42"),
            InvalidRequestError,
            r"messages\[0\].*tool_call_id",
        ),
        (
            Message("assistant", None, tool_calls=[{"id": "c"}]),
            InvalidRequestError,
            r"messages\[0\].tool_calls\[0\].*function",
        ),
    ],
)
def test_what_cannot_be_sent_is_an_error_that_says_where(
    message: Message, error: type[Exception], where: str
) -> None:
    with pytest.raises(error, match=where):
        ask(message)


def test_a_tool_turn_becomes_items() -> None:
    assert ask(
        Message("user", "weather?"),
        Message("assistant", "Let me see.", tool_calls=[call("c1", "w", '{"a":1}')]),
        Message("tool", "rain", tool_call_id="c1", name="w"),
        Message(
            "tool",
            [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            tool_call_id="c2",
        ),
        Message(
            "tool",
            [{"type": "image_url", "image_url": {"url": PNG}}],
            tool_call_id="c3",
        ),
        Message("assistant", None, tool_calls=[call("c4", "w", "")]),
        Message("tool", None, tool_call_id="c4"),
    )["input"] == [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": "Let me see."},
        {
            "type": "function_call",
            "call_id": "c1",
            "name": "w",
            "arguments": '{"a":1}',
        },
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
        {"type": "function_call_output", "call_id": "c2", "output": "a\n\nb"},
        {
            "type": "function_call_output",
            "call_id": "c3",
            "output": [{"type": "input_image", "image_url": PNG}],
        },
        {"type": "function_call", "call_id": "c4", "name": "w", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c4", "output": ""},
    ]


def test_another_providers_long_call_id_is_shortened_the_same_way_twice() -> None:
    long, other = "x" * 300, "x" * 299 + "y"
    items = ask(
        Message("assistant", None, tool_calls=[call(long), call(other)]),
        Message("tool", "1", tool_call_id=long),
        Message("tool", "2", tool_call_id=other),
    )["input"]
    ids = [item["call_id"] for item in items]
    assert ids[:2] == ids[2:]
    assert ids[0] != ids[1]
    assert all(len(id_) <= 64 for id_ in ids)


# Replies --------------------------------------------------------------------------


def text_item(*texts: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [
            {"type": "output_text", "text": text, "annotations": []} for text in texts
        ],
        **fields,
    }


def call_item(id_: str, arguments: Any = "{}", **fields: Any) -> dict[str, Any]:
    return {
        "type": "function_call",
        "id": f"fc_{id_}",
        "call_id": id_,
        "name": "f",
        "arguments": arguments,
        "status": "completed",
        **fields,
    }


def reasoning_item(**fields: Any) -> dict[str, Any]:
    return {"type": "reasoning", "id": "rs_1", "summary": [], **fields}


SEALED = reasoning_item(encrypted_content="gAAA")


def reply_body(*output: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "model": "gpt-4.1-2025-04-14",
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "store": False,
        "output": list(output),
        "usage": {
            "input_tokens": 36,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 87,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 123,
        },
        **fields,
    }


def parse(*output: dict[str, Any], **fields: Any) -> LLMResponse:
    body = reply_body(*output, **fields)
    before = copy.deepcopy(body)
    response = WIRE.parse_response(body, REQUEST)
    assert body == before
    assert response.raw is body
    return response


def test_a_reply() -> None:
    response = parse(
        reasoning_item(
            summary=[
                {"type": "summary_text", "text": "First "},
                {"type": "summary_text", "text": "this."},
            ]
        ),
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        text_item("There ", "you "),
        text_item("are."),
    )
    assert response.content == "There you are."
    assert response.reasoning == "First this."
    assert response.model == "gpt-4.1-2025-04-14"
    assert response.finish_reason == "stop"
    assert response.tool_calls is None
    assert response.refusal is None
    assert response.usage["prompt_tokens"] == 36
    assert response.usage["completion_tokens"] == 87
    assert response.usage["total_tokens"] == 123


def test_reasoning_that_a_server_shows_openly() -> None:
    item = reasoning_item(content=[{"type": "reasoning_text", "text": "Hm."}])
    assert parse(item, text_item("x")).reasoning == "Hm."


def test_a_refusal_is_kept_apart_from_the_text() -> None:
    item = text_item(content=[{"type": "refusal", "refusal": "I won't."}])
    response = parse(item)
    assert response.content == ""
    assert response.refusal == "I won't."
    assert response.finish_reason == "stop"


def test_no_output_is_an_empty_reply() -> None:
    response = parse(usage=None)
    assert response.content == ""
    assert response.usage == {}
    assert response.finish_reason == "stop"


@pytest.mark.parametrize(
    ("sent", "arguments"),
    [
        ('{"a": 1}', '{"a": 1}'),
        ("", "{}"),
        (None, "{}"),
        ("null", "{}"),
        ({"a": "ä"}, '{"a":"ä"}'),
        ('{"cut', '{"cut'),
    ],
)
def test_arguments(sent: Any, arguments: str) -> None:
    response = parse(call_item("call_1", sent))
    assert response.tool_calls == [call("call_1", "f", arguments)]
    assert response.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("fields", "finish_reason"),
    [
        ({}, "tool_calls"),
        ({"status": None}, "tool_calls"),
        (
            {
                "status": "incomplete",
                "incomplete_details": {"reason": "max_output_tokens"},
            },
            "length",
        ),
        (
            {
                "status": "incomplete",
                "incomplete_details": {"reason": "content_filter"},
            },
            "content_filter",
        ),
        ({"status": "incomplete", "incomplete_details": None}, "length"),
    ],
)
def test_finish_reasons(fields: dict[str, Any], finish_reason: str) -> None:
    assert parse(call_item("c"), **fields).finish_reason == finish_reason


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        (
            {
                "status": "failed",
                "error": {"code": "rate_limit_exceeded", "message": "Slow down"},
            },
            ProviderRateLimitError,
            "Slow down",
        ),
        (
            {
                "status": "failed",
                "error": {"code": "server_error", "message": "Oops"},
            },
            ProviderResponseError,
            "Oops",
        ),
        ({"status": "failed"}, ProviderError, "failed"),
        ({"status": "cancelled"}, ProviderResponseError, "cancelled"),
        ({"status": "queued"}, ProviderResponseError, "queued"),
    ],
)
def test_a_reply_that_is_none_raises(
    fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        parse(**fields)


def test_an_error_in_a_200_body_raises() -> None:
    with pytest.raises(ProviderError, match="Nope"):
        WIRE.parse_response({"error": {"message": "Nope"}}, REQUEST)


@pytest.mark.parametrize(
    ("sent", "usage"),
    [
        (
            {
                "input_tokens": 100,
                "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
                "output_tokens": 50,
                "output_tokens_details": {"reasoning_tokens": 20},
                "total_tokens": 150,
            },
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "total_tokens": 150,
                "cached_tokens": 60,
                "cache_creation_input_tokens": 30,
                "reasoning_tokens": 20,
            },
        ),
        # No details: nothing is known about them.
        (
            {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
            {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
        ),
        # Reasoning beside the output, as the total tells.
        (
            {
                "input_tokens": 10,
                "output_tokens": 50,
                "output_tokens_details": {"reasoning_tokens": 20},
                "total_tokens": 80,
            },
            {
                "prompt_tokens": 10,
                "completion_tokens": 70,
                "total_tokens": 80,
                "reasoning_tokens": 20,
            },
        ),
        # More reasoning than output: beside it. More cached than input: a prefix
        # that the server doesn't count, which is no reason to count it.
        (
            {
                "input_tokens": 10,
                "input_tokens_details": {"cached_tokens": 40},
                "output_tokens": 5,
                "output_tokens_details": {"reasoning_tokens": 20},
            },
            {
                "prompt_tokens": 10,
                "completion_tokens": 25,
                "total_tokens": 35,
                "cached_tokens": 40,
                "reasoning_tokens": 20,
            },
        ),
        # A total that contradicts its parts stays in `raw`.
        (
            {"input_tokens": 10, "output_tokens": 5, "total_tokens": 99},
            {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        ),
    ],
)
def test_usage(sent: dict[str, Any], usage: dict[str, Any]) -> None:
    assert parse(text_item("x"), usage=sent).usage == usage


# Streams --------------------------------------------------------------------------


def event(kind: str, **data: Any) -> StreamEvent:
    return StreamEvent(kind, json.dumps({"type": kind, **data}))


def text_delta(delta: str, index: int = 0) -> StreamEvent:
    return event("response.output_text.delta", output_index=index, delta=delta)


def item_done(item: dict[str, Any], index: int = 0) -> StreamEvent:
    return event("response.output_item.done", output_index=index, item=item)


def completed(*output: dict[str, Any], **fields: Any) -> StreamEvent:
    return event("response.completed", response=reply_body(*output, **fields))


def stream(*events: StreamEvent) -> list[StreamChunk]:
    chunks = list(WIRE.parse_stream(iter(events), REQUEST))
    assert all(
        chunk.delta or chunk.reasoning or chunk.tool_calls or chunk.finish_reason
        for chunk in chunks
    )
    return chunks


def assembled(chunks: list[StreamChunk]) -> tuple[str, str, list[Any]]:
    return (
        "".join(chunk.delta for chunk in chunks),
        "".join(chunk.reasoning or "" for chunk in chunks),
        [call for chunk in chunks for call in chunk.tool_calls or ()],
    )


def test_a_stream_of_text() -> None:
    chunks = stream(
        event("response.created", response=reply_body(status="in_progress")),
        event("response.output_item.added", output_index=0, item=text_item()),
        event("response.content_part.added", output_index=0, part={}),
        text_delta("Hel"),
        text_delta(""),
        text_delta("lo"),
        event("response.output_text.done", output_index=0, text="Hello"),
        item_done(text_item("Hello")),
        completed(text_item("Hello")),
    )
    assert [chunk.delta for chunk in chunks] == ["Hel", "lo", ""]
    last = chunks[-1]
    assert last.finish_reason == "stop"
    assert last.model == "gpt-4.1-2025-04-14"
    assert last.usage is not None
    assert last.usage["total_tokens"] == 123
    assert last.provider_data is None
    assert last.raw["id"] == "resp_1"
    assert last.raw["usage"]["total_tokens"] == 123
    assert "Hello" not in json.dumps(last.raw)


def test_a_stream_of_reasoning_and_calls() -> None:
    reasoned = {
        **SEALED,
        "summary": [{"type": "summary_text", "text": "Hmm."}],
    }
    first, second = call_item("c1", '{"a":1}'), call_item("c2", "")
    chunks = stream(
        event("response.output_item.added", output_index=0, item=SEALED),
        event("response.reasoning_summary_text.delta", output_index=0, delta="Hm"),
        event("response.reasoning_summary_text.delta", output_index=0, delta="m."),
        item_done(reasoned, 0),
        event(
            "response.output_item.added",
            output_index=1,
            item=call_item("c1", "", status="in_progress"),
        ),
        event(
            "response.function_call_arguments.delta", output_index=1, delta='{"a":1}'
        ),
        event(
            "response.function_call_arguments.done", output_index=1, arguments='{"a":1}'
        ),
        item_done(first, 1),
        item_done(second, 2),
        completed(reasoned, first, second),
    )
    text, reasoning, calls = assembled(chunks)
    assert text == ""
    assert reasoning == "Hmm."
    assert calls == [call("c1", "f", '{"a":1}'), call("c2", "f", "{}")]
    assert chunks[-1].finish_reason == "tool_calls"
    assert chunks[-1].provider_data is not None
    assert reasoned in chunks[-1].provider_data["output"]


def test_a_streamed_refusal() -> None:
    item = text_item(content=[{"type": "refusal", "refusal": "I won't."}])
    events = [
        event("response.refusal.delta", delta="I "),
        event("response.refusal.delta", delta="won't."),
    ]
    assert stream(*events, item_done(item), completed(item))[-1].refusal == "I won't."
    assert stream(*events, completed())[-1].refusal == "I won't."


@pytest.mark.parametrize(
    "events",
    [
        # Whole items instead of deltas.
        [
            item_done(reasoning_item(content=[{"type": "x", "text": "Hm"}]), 0),
            item_done(text_item("Hello"), 1),
            item_done(call_item("c"), 2),
            completed(),
        ],
        # Nothing but the end.
        [
            completed(
                reasoning_item(summary=[{"type": "x", "text": "Hm"}]),
                text_item("Hello"),
                call_item("c"),
            )
        ],
        # Messages with and without deltas, and calls that nobody completes.
        [
            event("response.reasoning_text.delta", delta="Hm"),
            item_done(text_item("Hel"), 1),
            text_delta("l", 2),
            item_done(text_item("l"), 2),
            item_done(text_item("o"), 3),
            event("response.output_item.added", item=call_item("c", "")),
            event("response.function_call_arguments.delta", item_id="fc_c", delta="{"),
            event("response.function_call_arguments.delta", item_id="fc_c", delta="}"),
            completed(),
            StreamEvent("", "[DONE]"),
        ],
        # The type in the SSE event only, keep-alive events, unknown events.
        [
            StreamEvent("response.reasoning_text.delta", '{"delta": "Hm"}'),
            event("keepalive"),
            event("response.web_search_call.searching", item_id="ws_1"),
            StreamEvent("response.output_text.delta", '{"delta": "Hello"}'),
            StreamEvent("", "[DONE]"),
            completed(
                reasoning_item(summary=[{"type": "x", "text": "Hm"}]),
                text_item("Hello"),
                call_item("c"),
            ),
        ],
        # Texts and arguments in the events that begin and fill an item only.
        [
            event("response.reasoning_text.delta", delta="Hm"),
            text_delta("Hello", 1),
            event(
                "response.output_item.done", output_index=1, item={"type": "message"}
            ),
            event(
                "response.output_item.added", output_index=2, item=call_item("c", "")
            ),
            event("response.function_call_arguments.delta", output_index=2, delta="{}"),
            event("response.function_call_arguments.done", output_index=2),
            item_done(call_item("c", None), 2),
            completed(),
        ],
        # The place in the output told of deltas only, and events without data.
        [
            event("response.reasoning_text.delta", delta="Hm"),
            StreamEvent("", ""),
            text_delta("Hello", 1),
            event("response.output_item.done", item=text_item("Hello")),
            completed(call_item("c")),
        ],
    ],
    ids=["items", "end", "unfinished-calls", "event-names", "pieces", "places"],
)
def test_habits_of_other_servers(events: list[StreamEvent]) -> None:
    chunks = stream(*events)
    assert assembled(chunks) == ("Hello", "Hm", [call("c")])
    assert chunks[-1].finish_reason == "tool_calls"


def test_arguments_that_came_in_pieces_need_not_be_repeated() -> None:
    piece = event("response.function_call_arguments.delta", output_index=0, delta="{1")
    chunks = stream(
        event("response.output_item.added", output_index=0, item=call_item("c", "")),
        piece,
        event("response.function_call_arguments.done", output_index=0),
        item_done(call_item("c", None), 0),
        completed(),
    )
    assert assembled(chunks)[2] == [call("c", "f", "{1")]


def test_a_stream_cut_at_the_limit_hands_out_the_unfinished_call() -> None:
    item = call_item("c", '{"a": "lo', status="incomplete")
    body = reply_body(
        item,
        status="incomplete",
        incomplete_details={"reason": "max_output_tokens"},
    )
    chunks = stream(item_done(item), event("response.incomplete", response=body))
    assert assembled(chunks)[2] == [call("c", "f", '{"a": "lo')]
    assert chunks[-1].finish_reason == "length"


@pytest.mark.parametrize(
    ("last", "error", "message"),
    [
        (
            event("error", code="rate_limit_exceeded", message="Slow down", param=None),
            ProviderRateLimitError,
            "Slow down",
        ),
        (
            StreamEvent("error", '{"error": {"message": "Broken"}}'),
            ProviderError,
            "Broken",
        ),
        (
            StreamEvent("", '{"error": {"message": "Broken"}}'),
            ProviderError,
            "Broken",
        ),
        (
            event("gateway.trouble", error={"message": "Broken"}),
            ProviderError,
            "Broken",
        ),
        (
            event(
                "response.failed",
                response=reply_body(
                    status="failed",
                    error={"code": "invalid_prompt", "message": "Flagged"},
                ),
            ),
            ContentFilterError,
            "Flagged",
        ),
        # Perplexity's has no `response`, see its `ResponseFailedEvent`.
        (
            event("response.failed", error={"message": "No sandbox", "type": "tool"}),
            ProviderError,
            "No sandbox",
        ),
        (event("response.failed"), ProviderError, "failed"),
    ],
)
def test_an_error_event_raises(
    last: StreamEvent, error: type[Exception], message: str
) -> None:
    chunks = WIRE.parse_stream(iter([text_delta("Hel"), last]), REQUEST)
    assert next(chunks).delta == "Hel"
    with pytest.raises(error, match=message):
        next(chunks)


@pytest.mark.parametrize(
    ("kind", "finish_reason"),
    [("response.completed", "stop"), ("response.incomplete", "length")],
)
def test_the_response_may_be_the_last_event_itself(
    kind: str, finish_reason: str
) -> None:
    usage = {"input_tokens": 4, "output_tokens": 2, "total_tokens": 6}
    last = event(kind, model="sonar", usage=usage, output=[text_item("Hello")])
    *_, end = chunks = stream(text_delta("Hello"), last)
    assert assembled(chunks)[0] == "Hello"
    assert (end.model, end.finish_reason) == ("sonar", finish_reason)
    assert end.usage == {
        "prompt_tokens": 4,
        "completion_tokens": 2,
        "total_tokens": 6,
    }
    assert stream(text_delta("Hi"), event(kind))[-1].finish_reason == finish_reason


def test_a_stream_without_its_end_has_no_finish_reason() -> None:
    chunks = stream(text_delta("Hel"), item_done(text_item("Hel")))
    assert all(chunk.finish_reason is None for chunk in chunks)


# The next turn --------------------------------------------------------------------


def next_items(
    response: LLMResponse,
    *,
    by: str = "openai",
    to: Endpoint = OPENAI,
    model: str = "gpt-5",
    **changes: Any,
) -> list[dict[str, Any]]:
    """What the reply has become in the next request, which starts with a question."""
    data = response.provider_data
    if data is not None:
        # As `response.message` arrives from a file where a conversation was saved.
        data = json.loads(json.dumps({**data, "provider": by}))
    message = replace(response.message, provider_data=data, **changes)
    request = LLMRequest(model, [Message("user", "q"), message])
    return list(body_of(request, to)["input"][1:])


REASONED = (
    SEALED,
    {"type": "web_search_call", "id": "ws_1", "status": "completed"},
    text_item("One ", "two", phase="commentary"),
    call_item("c1", '{"a":1}', namespace="n"),
    call_item("c2"),
)


def test_a_reply_goes_back_as_it_came() -> None:
    items = next_items(parse(*REASONED))
    assert items[:2] == list(REASONED[:2])
    assert items[3:] == list(REASONED[3:])
    assert items[2]["id"] == "msg_1"
    assert items[2]["phase"] == "commentary"
    assert [part["text"] for part in items[2]["content"]] == ["One ", "two"]


def test_a_streamed_reply_goes_back_like_a_plain_one() -> None:
    chunks = stream(text_delta("One two"), completed(*REASONED))
    text, _, calls = assembled(chunks)
    streamed = LLMResponse(
        text, "m", tool_calls=calls, provider_data=chunks[-1].provider_data
    )
    assert next_items(streamed) == next_items(parse(*REASONED))


def test_a_refusal_goes_back_although_the_message_has_no_text() -> None:
    refusal = {"type": "refusal", "refusal": "I won't."}
    assert next_items(parse(text_item(content=[refusal])))[0]["content"] == [refusal]


PLAIN = [
    {"role": "assistant", "content": "One two"},
    {
        "type": "function_call",
        "call_id": "c1",
        "name": "f",
        "arguments": '{"a":1}',
    },
    {"type": "function_call", "call_id": "c2", "name": "f", "arguments": "{}"},
]


def test_another_provider_gets_text_and_calls_only() -> None:
    assert next_items(parse(*REASONED), by="elsewhere") == PLAIN


def test_an_edited_reply_goes_back_as_edited() -> None:
    response = parse(*REASONED)
    assert next_items(response, content="Three") == [
        {"role": "assistant", "content": "Three"},
        *PLAIN[1:],
    ]
    assert next_items(response, tool_calls=[call("c1")]) == [
        PLAIN[0],
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
    ]
    texts = [p["text"] for p in next_items(response, content="TWO ONE")[2]["content"]]
    assert "".join(texts) == "TWO ONE"


def test_a_model_that_does_not_reason_gets_no_reasoning() -> None:
    items = next_items(parse(SEALED, text_item("x"), call_item("c")), model="gpt-4o")
    assert [item["type"] for item in items] == ["message", "function_call"]
    assert not any("id" in item for item in items)


def test_reasoning_that_nobody_kept_does_not_go_back() -> None:
    lost = reasoning_item()
    output = (lost, text_item("x"), call_item("c", namespace="n"))
    items = next_items(parse(*output))
    assert [item["type"] for item in items] == ["message", "function_call"]
    assert not any("id" in item for item in items)
    assert parse(lost, text_item("x")).provider_data is None


@pytest.mark.parametrize(
    ("item", "store"),
    [
        (reasoning_item(), True),
        (reasoning_item(content=[{"type": "reasoning_text", "text": "Hm"}]), False),
        (SEALED, False),
    ],
    ids=["stored", "open", "sealed"],
)
def test_reasoning_that_can_be_found_goes_back(
    item: dict[str, Any], store: bool
) -> None:
    assert next_items(parse(item, text_item("x"), store=store))[0] == item


@pytest.mark.parametrize(
    "fields",
    [
        {"async": True},
        {"caller": {"type": "program", "caller_id": "call_p"}},
        {"namespace": "n"},
    ],
)
def test_what_a_call_says_of_itself_goes_back(fields: dict[str, Any]) -> None:
    output = call_item("c", **fields)
    assert next_items(parse(output)) == [output]


def test_a_plain_reply_carries_nothing() -> None:
    assert parse(text_item("x"), call_item("c")).provider_data is None


def test_the_result_of_a_custom_tool_is_sent_as_such() -> None:
    custom = {
        "type": "custom_tool_call",
        "id": "ctc_1",
        "call_id": "c1",
        "name": "sql",
        "input": "select 1",
    }
    response = parse(custom)
    assert response.tool_calls is None
    data = {**(response.provider_data or {}), "provider": "openai"}
    items = ask(
        replace(response.message, provider_data=data),
        Message("tool", "1", tool_call_id="c1"),
    )["input"]
    assert items == [
        custom,
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "1"},
    ]


# Any conversation -----------------------------------------------------------------

words = st.text(min_size=1, max_size=20)
arguments = st.dictionaries(words, st.integers() | words, max_size=3).map(json.dumps)
tool_calls = st.lists(st.tuples(words, arguments), min_size=1, max_size=3)
turns = st.one_of(
    st.tuples(st.sampled_from(["system", "developer", "user", "assistant"]), words),
    st.tuples(st.just("parts"), st.lists(words, min_size=1, max_size=3)),
    st.tuples(st.just("calls"), tool_calls),
)


def conversation(spoken: list[Any]) -> list[Message]:
    messages = []
    for number, (role, what) in enumerate(spoken):
        if role == "calls":
            ids = [f"call_{number}_{i}" for i in range(len(what))]
            made = [call(i, *c) for i, c in zip(ids, what, strict=True)]
            messages.append(Message("assistant", None, tool_calls=made))
            messages += [Message("tool", f"of {i}", tool_call_id=i) for i in ids]
        elif role == "parts":
            parts = [{"type": "text", "text": text} for text in what]
            messages.append(Message("user", parts))
        else:
            messages.append(Message(role, what))
    return messages


@given(st.lists(turns, min_size=1, max_size=6))
def test_any_conversation_keeps_every_text_call_id_and_argument(
    spoken: list[Any],
) -> None:
    messages = conversation(spoken)
    heard: list[Any] = []
    for item in body_of(LLMRequest("gpt-5", messages))["input"]:
        if item.get("type") == "function_call":
            heard.append((item["call_id"], item["name"], item["arguments"]))
        elif item.get("type") == "function_call_output":
            heard.append((item["call_id"], item["output"]))
        elif isinstance(item["content"], str):
            heard.append((item["role"], item["content"]))
        else:
            heard += [(item["role"], part["text"]) for part in item["content"]]
    said: list[Any] = []
    for message in messages:
        if message.role == "tool":
            said.append((message.tool_call_id, message.content))
            continue
        if isinstance(message.content, str):
            said.append((message.role, message.content))
        elif message.content:
            said += [(message.role, part["text"]) for part in message.content]
        said += [
            (c["id"], c["function"]["name"], c["function"]["arguments"])
            for c in message.tool_calls or ()
        ]
    assert heard == said


outputs = st.lists(
    st.one_of(
        st.just(SEALED),
        st.lists(words, max_size=3).map(lambda texts: text_item(*texts)),
        st.tuples(words, arguments).map(lambda c: call_item(*c)),
        st.just({"type": "web_search_call", "id": "ws_1"}),
    ),
    max_size=6,
)


@given(outputs)
def test_any_reply_comes_back_the_same(output: list[dict[str, Any]]) -> None:
    """Replayed and read again, it says what it said."""
    response = parse(*output)
    items = next_items(response)
    again = parse(
        *(
            text_item(item["content"]) if item.get("type") is None else item
            for item in items
        )
    )
    assert again.content == response.content
    assert again.tool_calls == response.tool_calls
    if response.provider_data:
        assert [item["type"] for item in items] == [item["type"] for item in output]


@given(outputs)
def test_any_reply_streamed_says_the_same(output: list[dict[str, Any]]) -> None:
    deltas = [
        text_delta(letter, index)
        for index, item in enumerate(output)
        for letter in parse(item).content
    ]
    chunks = stream(*deltas, *map(item_done, output, range(9)), completed(*output))
    plain = parse(*output)
    text, _, calls = assembled(chunks)
    assert text == plain.content
    assert calls == (plain.tool_calls or [])
    assert chunks[-1].provider_data == plain.provider_data
    assert chunks[-1].finish_reason == plain.finish_reason
