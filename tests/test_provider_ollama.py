"""Ollama's own API: requests, replies and streams of JSON lines."""

from __future__ import annotations

import base64
import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmring_lite.exceptions import (
    InvalidRequestError,
    ProviderError,
    ProviderResponseError,
    UnsupportedParameterError,
)
from llmring_lite.provider import BUILTIN, Endpoint, StreamEvent, load_wire_format
from llmring_lite.schemas import LLMRequest, LLMResponse, Message, StreamChunk

WIRE = load_wire_format("ollama")
OLLAMA = BUILTIN["ollama"]
REQUEST = LLMRequest("qwen3:4b", "hi")


def body_of(request: LLMRequest, endpoint: Endpoint = OLLAMA) -> dict[str, Any]:
    before = copy.deepcopy(request)
    body = WIRE.build_request(request, endpoint).body
    assert request == before
    json.dumps(body)
    return body


def ask(*messages: Any, **fields: Any) -> dict[str, Any]:
    fields.setdefault("model", "qwen3:4b")
    return body_of(LLMRequest(messages=list(messages) or ["hi"], **fields))


def call(id_: str, name: str = "f", arguments: str = "{}") -> dict[str, Any]:
    return {
        "id": id_,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def data_url(data: bytes, mime: str = "image/png") -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


# Requests -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "base_url",
    [
        "http://127.0.0.1:11434",
        "http://127.0.0.1:11434/api",
        "http://127.0.0.1:11434/v1",
    ],
)
def test_addresses(base_url: str) -> None:
    request = WIRE.build_request(REQUEST, OLLAMA._replace(base_url=base_url))
    assert request.url == "http://127.0.0.1:11434/api/chat"


TOOL = {
    "type": "function",
    "function": {
        "name": "f",
        "description": "does f",
        "parameters": {"type": "object", "properties": {"a": {"type": "string"}}},
    },
}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
STRICT_TOOL = {"type": "function", "function": {**TOOL["function"], "strict": True}}
JSON_SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
}


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({}, {}),
        ({"stream": True}, {"stream": True}),
        ({"temperature": 0.0}, {"options": {"temperature": 0.0}}),
        ({"top_p": 0.5, "seed": 7}, {"options": {"top_p": 0.5, "seed": 7}}),
        ({"max_tokens": 99}, {"options": {"num_predict": 99}}),
        ({"stop": "END"}, {"options": {"stop": ["END"]}}),
        ({"stop": ["a", "b"]}, {"options": {"stop": ["a", "b"]}}),
        ({"reasoning_effort": "none"}, {"think": False}),
        ({"reasoning_effort": "low"}, {"think": True}),
        ({"reasoning_tokens": 0}, {"think": False}),
        ({"reasoning_tokens": 900}, {"think": True}),
        ({"response_format": {"type": "json_object"}}, {"format": "json"}),
        ({"response_format": JSON_SCHEMA}, {"format": SCHEMA}),
        ({"response_format": {"type": "text"}}, {}),
        ({"tools": [TOOL]}, {"tools": [TOOL]}),
        ({"tools": [TOOL], "tool_choice": "auto"}, {"tools": [TOOL]}),
        ({"tools": [TOOL], "tool_choice": "none"}, {}),
        ({"parallel_tool_calls": True}, {}),
        ({"cache": True, "metadata": {"user": "u"}}, {}),
        (
            {"extra_params": {"keep_alive": "5m", "num_ctx": 8192, "think": "max"}},
            {"keep_alive": "5m", "think": "max", "options": {"num_ctx": 8192}},
        ),
        (
            {"extra_params": {"options": {"top_k": 3, "seed": 2}}, "seed": 1},
            {"options": {"top_k": 3, "seed": 2}},
        ),
    ],
)
def test_parameters(fields: dict[str, Any], sent: dict[str, Any]) -> None:
    assert ask(**fields) == {
        "model": "qwen3:4b",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": False,
        **sent,
    }


@pytest.mark.parametrize(
    ("effort", "think"),
    [
        ("minimal", "low"),
        ("low", "low"),
        ("medium", "medium"),
        ("high", "high"),
        ("xhigh", "high"),
    ],
)
def test_gpt_oss_gets_a_level(effort: str, think: Any) -> None:
    assert ask(model="gpt-oss:20b", reasoning_effort=effort)["think"] == think


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
        (
            {
                "tools": [TOOL],
                "tool_choice": {"type": "function", "function": {"name": "f"}},
            },
            "tool_choice",
        ),
        ({"tools": [TOOL], "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"tools": [TOOL], "response_format": JSON_SCHEMA}, "response_format"),
        ({"tools": [STRICT_TOOL]}, "tools[0].function.strict"),
        ({"model": "gpt-oss", "reasoning_effort": "none"}, "reasoning_effort"),
        ({"messages": [Message("user", "hi", name="ann")]}, "messages[0].name"),
    ],
)
def test_what_the_api_lacks_is_an_error_unless_it_may_be_dropped(
    fields: dict[str, Any], name: str
) -> None:
    request = LLMRequest(**{"model": "qwen3:4b", "messages": ["hi"], **fields})
    with pytest.raises(UnsupportedParameterError) as caught:
        body_of(request)
    assert caught.value.parameter == name

    body = body_of(replace(request, extra_params={"drop_unsupported": True}))
    assert body["messages"] == [{"role": "user", "content": "hi"}]


def test_a_tool_without_parameters_has_none() -> None:
    tools = ask(tools=[{"type": "function", "function": {"name": "f"}}])["tools"]
    assert tools[0]["function"] == {
        "name": "f",
        "parameters": {"type": "object", "properties": {}},
    }


def test_a_function_without_a_name_is_an_error() -> None:
    with pytest.raises(InvalidRequestError, match=r"tools\[1\]"):
        ask(tools=[TOOL, {"type": "function", "function": {}}])


def test_another_providers_own_tool_is_an_error() -> None:
    with pytest.raises(UnsupportedParameterError, match=r"tools\[0\]"):
        ask(tools=[{"type": "web_search"}])


# Messages -------------------------------------------------------------------------


def test_roles() -> None:
    assert ask(
        Message("system", "one"),
        Message("developer", "two"),
        Message("user", "three"),
        Message("assistant", "four"),
    )["messages"] == [
        {"role": "system", "content": "one"},
        {"role": "system", "content": "two"},
        {"role": "user", "content": "three"},
        {"role": "assistant", "content": "four"},
    ]


def test_calls_and_results_find_each_other() -> None:
    assert ask(
        Message("user", "weather?"),
        Message(
            "assistant",
            None,
            tool_calls=[call("c1", "w", '{"a": 1}'), call("c2", "v", "")],
        ),
        Message("tool", "rain", tool_call_id="c1"),
        Message("tool", "sun", tool_call_id="c2", name="v"),
        Message("tool", "wind", tool_call_id="c0"),
    )["messages"][1:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "w", "arguments": {"a": 1}},
                },
                {
                    "id": "c2",
                    "type": "function",
                    "function": {"name": "v", "arguments": {}},
                },
            ],
        },
        {"role": "tool", "content": "rain", "tool_name": "w", "tool_call_id": "c1"},
        {"role": "tool", "content": "sun", "tool_name": "v", "tool_call_id": "c2"},
        {"role": "tool", "content": "wind", "tool_call_id": "c0"},
    ]


@pytest.mark.parametrize(
    ("parts", "content", "images"),
    [
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\n\nb", []),
        (
            [
                {"type": "text", "text": "see"},
                {"type": "image_url", "image_url": {"url": data_url(b"one")}},
                {"type": "image_url", "image_url": data_url(b"two", "image/jpeg")},
            ],
            "see",
            [b"one", b"two"],
        ),
    ],
)
def test_parts(parts: list[dict[str, Any]], content: str, images: list[bytes]) -> None:
    sent = ask(Message("user", parts))["messages"][0]
    assert sent["content"] == content
    assert [base64.b64decode(image) for image in sent.get("images", [])] == images


def test_remote_images_are_to_be_fetched_before() -> None:
    assert "image_url" in WIRE.fetched_parts(OLLAMA)


@pytest.mark.parametrize(
    ("message", "error", "where"),
    [
        (
            Message("user", [{"type": "input_audio", "input_audio": {}}]),
            UnsupportedParameterError,
            r"messages\[0\].content\[0\] \(input_audio\)",
        ),
        (
            Message(
                "user",
                [{"type": "image_url", "image_url": {"url": "https://x.org/a.png"}}],
            ),
            UnsupportedParameterError,
            r"messages\[0\].content\[0\] \(image_url\)",
        ),
        (
            Message(
                "user",
                [
                    {
                        "type": "file",
                        "file": {"file_data": data_url(b"%PDF-", "application/pdf")},
                    }
                ],
            ),
            UnsupportedParameterError,
            r"messages\[0\].content\[0\] \(file\)",
        ),
        (
            Message("user", [{"type": "file", "file": {"file_id": "file-1"}}]),
            UnsupportedParameterError,
            r"messages\[0\].content\[0\] \(file\)",
        ),
        (
            Message("user", [{"type": "video"}]),
            InvalidRequestError,
            r"messages\[0\].content\[0\].*'video'",
        ),
        (
            Message("user", [{"type": "image_url"}]),
            InvalidRequestError,
            r"messages\[0\].content\[0\].*image_url",
        ),
        (
            Message(
                "user",
                [
                    {
                        "type": "image_url",
                        "image_url": {"url": "data:image/png,?"},
                    }
                ],
            ),
            InvalidRequestError,
            r"messages\[0\].content\[0\].*base64",
        ),
        (Message("tool", "42"), InvalidRequestError, r"messages\[0\].*tool_call_id"),
        (
            Message("assistant", None, tool_calls=[{"id": "c"}]),
            InvalidRequestError,
            r"messages\[0\].tool_calls\[0\].*function",
        ),
        (
            Message("assistant", None, tool_calls=[call("c", "f", '{"cut')]),
            InvalidRequestError,
            r"messages\[0\].tool_calls\[0\].*JSON object",
        ),
        (
            Message("assistant", None, tool_calls=[call("c", "f", "[1]")]),
            InvalidRequestError,
            r"messages\[0\].tool_calls\[0\].*JSON object",
        ),
    ],
)
def test_what_cannot_be_sent_is_an_error_that_says_where(
    message: Message, error: type[Exception], where: str
) -> None:
    with pytest.raises(error, match=where):
        ask(message)


# Replies --------------------------------------------------------------------------


def line(content: str = "", **fields: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, **fields.pop("message", {})}
    return {
        "model": "qwen3:4b",
        "created_at": "2025-07-29T20:10:19.12491Z",
        "message": message,
        "done": False,
        **fields,
    }


END = {
    "done": True,
    "done_reason": "stop",
    "total_duration": 5191566416,
    "prompt_eval_count": 26,
    "eval_count": 298,
}


def native_call(arguments: Any = None, name: str = "f", **fields: Any) -> Any:
    return {"function": {"name": name, "arguments": arguments}, **fields}


def parse(body: dict[str, Any], request: LLMRequest = REQUEST) -> LLMResponse:
    before = copy.deepcopy(body)
    response = WIRE.parse_response(body, request)
    assert body == before
    assert response.raw is body
    return response


def test_a_reply() -> None:
    response = parse(line("Hello", message={"thinking": "Hm."}, **END))
    assert response.content == "Hello"
    assert response.reasoning == "Hm."
    assert response.model == "qwen3:4b"
    assert response.finish_reason == "stop"
    assert response.tool_calls is None
    assert response.usage == {
        "prompt_tokens": 26,
        "completion_tokens": 298,
        "total_tokens": 324,
    }
    assert response.provider_data is None


@pytest.mark.parametrize(
    ("word", "calls", "finish_reason"),
    [
        ("stop", [], "stop"),
        ("length", [], "length"),
        ("load", [], "stop"),
        ("unload", [], "stop"),
        (None, [], "stop"),
        ("something new", [], "stop"),
        ("stop", [native_call()], "tool_calls"),
        ("length", [native_call()], "length"),
    ],
)
def test_finish_reasons(word: Any, calls: list[Any], finish_reason: str) -> None:
    body = line(message={"tool_calls": calls}, **{**END, "done_reason": word})
    assert parse(body).finish_reason == finish_reason


@pytest.mark.parametrize(
    ("sent", "arguments"),
    [
        ({"a": 1, "b": ["ä"]}, '{"a":1,"b":["ä"]}'),
        ({}, "{}"),
        (None, "{}"),
        ("", "{}"),
        ('{"a": 1}', '{"a": 1}'),
    ],
)
def test_arguments(sent: Any, arguments: str) -> None:
    body = line(message={"tool_calls": [native_call(sent, id="call_1")]}, **END)
    assert parse(body).tool_calls == [call("call_1", "f", arguments)]


def test_made_ids_differ_and_are_the_same_each_time() -> None:
    def ids(created_at: str, messages: int) -> list[str]:
        body = line(message={"tool_calls": [native_call({})] * 2}, **END)
        request = LLMRequest("m", ["hi"] * messages)
        calls = parse({**body, "created_at": created_at}, request).tool_calls
        return [call["id"] for call in calls or ()]

    assert ids("1", 1) == ids("1", 1)
    every = ids("1", 1) + ids("2", 1) + ids("1", 3)
    assert len(set(every)) == 6


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ({}, {}),
        ({"eval_count": 3}, {"completion_tokens": 3}),
        (
            {
                "prompt_eval_count": 29,
                "prompt_eval_cached_count": 20,
                "eval_count": 3,
            },
            {
                "prompt_tokens": 29,
                "cached_tokens": 20,
                "completion_tokens": 3,
                "total_tokens": 32,
            },
        ),
    ],
)
def test_usage(counts: dict[str, int], usage: dict[str, int]) -> None:
    assert parse(line("x", done=True, **counts)).usage == usage


def test_an_error_in_a_200_body_raises() -> None:
    with pytest.raises(ProviderError, match="out of memory"):
        parse({"error": "out of memory"})


def test_a_reply_that_is_not_done_raises() -> None:
    with pytest.raises(ProviderResponseError, match="not complete"):
        parse(line("Hel"))


# Streams --------------------------------------------------------------------------


def stream(*lines: dict[str, Any]) -> list[StreamChunk]:
    events = [StreamEvent("", json.dumps(line)) for line in lines]
    chunks = list(WIRE.parse_stream(iter(events), REQUEST))
    assert all(
        chunk.delta or chunk.reasoning or chunk.tool_calls or chunk.finish_reason
        for chunk in chunks
    )
    return chunks


def test_a_stream_of_thinking_and_text() -> None:
    chunks = stream(
        line(message={"thinking": "H"}),
        line(message={"thinking": "m"}),
        line("Hel"),
        line("lo", message={"thinking": None}),
        line("", **END),
    )
    assert [chunk.reasoning for chunk in chunks] == ["H", "m", None, None, None]
    assert [chunk.delta for chunk in chunks] == ["", "", "Hel", "lo", ""]
    last = chunks[-1]
    assert last.finish_reason == "stop"
    assert last.model == "qwen3:4b"
    assert last.usage is not None
    assert last.usage["total_tokens"] == 324
    assert last.raw["done_reason"] == "stop"
    assert last.raw["total_duration"] == 5191566416
    assert last.provider_data is None


def test_text_on_the_last_line_is_not_lost() -> None:
    chunks = stream(line("Hello", **END))
    assert [chunk.delta for chunk in chunks] == ["Hello", ""]
    assert "Hello" not in json.dumps(chunks[-1].raw)


def test_streamed_calls_come_once_each_with_ids_that_differ() -> None:
    calls = [native_call({"a": 1}), native_call({"a": 1})]
    chunks = stream(
        line("I will."),
        line(message={"tool_calls": calls}),
        line(message={"tool_calls": calls[:1]}),
        line("", **END),
    )
    told = [call for chunk in chunks for call in chunk.tool_calls or ()]
    assert [call["function"]["arguments"] for call in told] == ['{"a":1}'] * 3
    assert len({call["id"] for call in told}) == 3
    assert chunks[-1].finish_reason == "tool_calls"


def test_an_error_that_is_none_does_no_harm() -> None:
    assert stream(line("a", error=None), line(done=True))[0].delta == "a"


def test_an_error_line_raises() -> None:
    events = [line("Hel"), {"error": "an error was encountered"}]
    chunks = WIRE.parse_stream(
        (StreamEvent("", json.dumps(event)) for event in events), REQUEST
    )
    assert next(chunks).delta == "Hel"
    with pytest.raises(ProviderError, match="an error was encountered"):
        next(chunks)


def test_a_stream_without_its_end_has_no_finish_reason() -> None:
    assert [chunk.finish_reason for chunk in stream(line("Hel"))] == [None]


# The next turn --------------------------------------------------------------------


@pytest.mark.parametrize("provider", ["ollama", "elsewhere"])
def test_thinking_goes_back_with_the_calls_it_led_to(provider: str) -> None:
    message = {"thinking": "Hm.", "tool_calls": [native_call({})]}
    plain = parse(line(message=message, **END)).provider_data
    assert stream(line(message=message), line("", **END))[-1].provider_data == plain
    assert plain is not None
    sent = ask(
        Message(
            "assistant",
            "",
            tool_calls=[call("c")],
            provider_data={**plain, "provider": provider},
        )
    )["messages"][0]
    assert sent.get("thinking") == ("Hm." if provider == "ollama" else None)


words = st.text(min_size=1, max_size=20)
arguments = st.dictionaries(words, st.integers() | words, max_size=3)
turns = st.one_of(
    st.tuples(st.sampled_from(["system", "user", "assistant"]), words),
    st.tuples(
        st.just("calls"), st.lists(st.tuples(words, arguments), min_size=1, max_size=3)
    ),
)


@given(st.lists(turns, min_size=1, max_size=6))
def test_any_conversation_keeps_every_text_call_id_and_argument(
    spoken: list[Any],
) -> None:
    messages: list[Message] = []
    said: list[Any] = []
    for number, (role, what) in enumerate(spoken):
        if role != "calls":
            messages.append(Message(role, what))
            said.append((role, what))
            continue
        made = [
            call(f"call_{number}_{i}", name, json.dumps(given))
            for i, (name, given) in enumerate(what)
        ]
        messages.append(Message("assistant", None, tool_calls=made))
        said += [
            (c["id"], name, given) for c, (name, given) in zip(made, what, strict=True)
        ]
        for c, (name, _) in zip(made, what, strict=True):
            messages.append(Message("tool", f"of {c['id']}", tool_call_id=c["id"]))
            said.append((c["id"], name, f"of {c['id']}"))
    heard: list[Any] = []
    for item in ask(*messages)["messages"]:
        if item["role"] == "tool":
            heard.append((item["tool_call_id"], item["tool_name"], item["content"]))
        elif "tool_calls" in item:
            heard += [
                (c["id"], c["function"]["name"], c["function"]["arguments"])
                for c in item["tool_calls"]
            ]
        else:
            heard.append((item["role"], item["content"]))
    assert heard == said


@given(st.lists(st.tuples(words, arguments), min_size=1, max_size=4))
def test_any_calls_come_back_as_they_went(calls: list[Any]) -> None:
    native = [native_call(given, name) for name, given in calls]
    response = parse(line(message={"tool_calls": native}, **END))
    sent = ask("q", response.message)["messages"][1]["tool_calls"]
    assert [c["function"] for c in sent] == [c["function"] for c in native]
    assert len({c["id"] for c in sent}) == len(calls)
