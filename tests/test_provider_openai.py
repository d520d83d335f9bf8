"""Chat Completions, sending: the body, address and headers of a request."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmring_lite.exceptions import InvalidRequestError, UnsupportedParameterError
from llmring_lite.provider import BUILTIN, Endpoint, load_wire_format
from llmring_lite.provider_openai import WIRE, build_request
from llmring_lite.schemas import LLMRequest, Message

OPENAI = BUILTIN["openai"]
POOL = Endpoint(name="pool", kind="openai", base_url="https://pool.example/v1")
"""An endpoint of a user's own: any compatible server."""

PIXEL = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0="
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Bonn"}'},
}


def body(*messages, endpoint=OPENAI, model="gpt-4o", **fields):
    request = LLMRequest(model, list(messages) or ["hi"], **fields)
    return build_request(request, endpoint).body


def sent(*messages, **options):
    return body(*messages, **options)["messages"]


def test_the_kind_loads_this_mapper():
    assert load_wire_format("openai") is WIRE
    assert WIRE.framing == "sse"


def test_a_text_is_one_user_message():
    assert body() == {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "hi"}],
    }


# Addresses -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base_url", "api_version", "url"),
    [
        ("https://api.openai.com/v1", None, "https://api.openai.com/v1"),
        ("http://127.0.0.1:8000/v1", None, "http://127.0.0.1:8000/v1"),
        (
            "https://r.openai.azure.com",
            "2024-10-21",
            "https://r.openai.azure.com/openai/deployments/my%20gpt%2F4",
        ),
        (
            "https://r.openai.azure.com/openai",
            "2024-10-21",
            "https://r.openai.azure.com/openai/deployments/my%20gpt%2F4",
        ),
        (
            "https://r.openai.azure.com/openai/deployments/other",
            "2024-10-21",
            "https://r.openai.azure.com/openai/deployments/other",
        ),
        (
            "https://r.openai.azure.com/openai/v1",
            "2024-10-21",
            "https://r.openai.azure.com/openai/v1",
        ),
        (
            "https://r.services.ai.azure.com/models",
            "2024-05-01-preview",
            "https://r.services.ai.azure.com/models",
        ),
    ],
)
def test_the_address_is_what_the_endpoint_says(base_url, api_version, url):
    endpoint = OPENAI._replace(base_url=base_url, api_version=api_version)
    request = build_request(LLMRequest("my gpt/4", "hi"), endpoint)
    versioned = api_version and "/openai/v1" not in base_url
    query = f"?api-version={api_version}" if versioned else ""
    assert request.url == f"{url}/chat/completions{query}"


# Parameters ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "on_the_wire"),
    [
        ({"temperature": 0.0}, {"temperature": 0.0}),
        ({"top_p": 0.5}, {"top_p": 0.5}),
        ({"stop": "."}, {"stop": "."}),
        ({"stop": ["a", "b"]}, {"stop": ["a", "b"]}),
        ({"seed": 0}, {"seed": 0}),
        ({"max_tokens": 9}, {"max_tokens": 9}),
        ({"tools": [WEATHER]}, {"tools": [WEATHER]}),
        ({"tools": []}, {}),
        # Where there are no tools, nothing is to be chosen.
        ({"tool_choice": "none"}, {}),
        ({"parallel_tool_calls": False}, {}),
        ({"tool_choice": {"type": "custom"}}, {"tool_choice": {"type": "custom"}}),
        ({"metadata": {"user": 1}, "timeout": 3}, {}),
        (
            {"extra_params": {"n": 2, "logprobs": True, "drop_unsupported": True}},
            {"n": 2, "logprobs": True},
        ),
        ({"temperature": 1.0, "extra_params": {"temperature": 2}}, {"temperature": 2}),
        ({"reasoning_effort": "none"}, {}),
    ],
)
def test_a_parameter_travels_under_its_name(fields, on_the_wire):
    plain = body()
    assert body(**fields) == plain | on_the_wire


@pytest.mark.parametrize(
    ("model", "endpoint", "field"),
    [
        ("gpt-4o", OPENAI, "max_tokens"),
        ("gpt-4.1-mini", OPENAI, "max_tokens"),
        ("o1", OPENAI, "max_completion_tokens"),
        ("o3-mini", OPENAI, "max_completion_tokens"),
        ("o4-mini-2025-04-16", OPENAI, "max_completion_tokens"),
        ("ft:o4-mini-2025-04-16:org::id", OPENAI, "max_completion_tokens"),
        ("gpt-5", OPENAI, "max_completion_tokens"),
        ("gpt-5.1-codex-max", OPENAI, "max_completion_tokens"),
        ("gpt-6", OPENAI, "max_completion_tokens"),
        ("codex-mini-latest", OPENAI, "max_completion_tokens"),
        ("openai/gpt-5-mini", POOL, "max_completion_tokens"),
        ("llama-3.3-70b", POOL, "max_tokens"),
        ("gpt-oss-120b", POOL, "max_tokens"),
        ("o3", POOL._replace(max_tokens_field="max_tokens"), "max_tokens"),
        ("openai/o3", BUILTIN["openrouter"], "max_tokens"),
        ("llama", BUILTIN["cerebras"], "max_completion_tokens"),
        ("my-deployment", BUILTIN["azure"], "max_tokens"),
    ],
)
def test_the_limit_has_the_name_that_the_model_knows(model, endpoint, field):
    assert body(model=model, endpoint=endpoint, max_tokens=7)[field] == 7


def test_a_deployment_asked_for_effort_is_taken_for_a_reasoning_model():
    made = body(
        model="mine",
        endpoint=BUILTIN["azure"],
        max_tokens=7,
        reasoning_effort="low",
    )
    assert made["max_completion_tokens"] == 7


@pytest.mark.parametrize(
    ("model", "fields", "parameter"),
    [
        ("o3", {"temperature": 0.2}, "temperature"),
        ("o1-mini", {"top_p": 0.2}, "top_p"),
        ("gpt-5-mini-2025-08-07", {"temperature": 0}, "temperature"),
        ("o3", {"stop": "x"}, "stop"),
        ("o4-mini", {"stop": ["x"]}, "stop"),
        ("gpt-4o", {"reasoning_effort": "low"}, "reasoning_effort"),
        ("gpt-4o", {"reasoning_tokens": 100}, "reasoning_tokens"),
    ],
)
def test_a_parameter_that_the_model_refuses_is_an_error_or_dropped(
    model, fields, parameter
):
    with pytest.raises(UnsupportedParameterError, match=parameter) as caught:
        body(model=model, **fields)
    assert caught.value.parameter == parameter
    assert caught.value.provider == "openai"
    dropped = body(model=model, **fields, extra_params={"drop_unsupported": True})
    assert dropped.keys() == {"model", "messages"}


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("gpt-5", {"temperature": 1, "top_p": 1.0}),
        ("gpt-5-chat-latest", {"temperature": 0.3}),
        ("gpt-5.1", {"temperature": 0.3, "reasoning_effort": "none"}),
        ("o3-mini", {"stop": "x"}),
        ("gpt-4o", {"temperature": 0.3, "stop": "x"}),
    ],
)
def test_a_parameter_that_the_model_takes_is_sent(model, fields):
    assert body(model=model, **fields) == body(model=model) | fields


def test_rules_about_openais_models_do_not_bind_other_servers():
    fields = {"temperature": 0.3, "stop": "x"}
    made = body(model="openai/o3", endpoint=BUILTIN["openrouter"], **fields)
    assert made.items() >= fields.items()


@pytest.mark.parametrize("choice", ["sometimes", "", 3, ["auto"]])
def test_an_unknown_tool_choice_is_an_error(choice):
    with pytest.raises(InvalidRequestError, match="tool_choice"):
        body(tool_choice=choice)


@pytest.mark.parametrize(
    ("endpoint", "fields", "on_the_wire"),
    [
        (OPENAI, {"reasoning_effort": "high"}, {"reasoning_effort": "high"}),
        (OPENAI, {"reasoning_tokens": 1000}, {"reasoning_effort": "low"}),
        (OPENAI, {"reasoning_tokens": 50_000}, {"reasoning_effort": "high"}),
        (
            OPENAI,
            {"reasoning_tokens": 50_000, "reasoning_effort": "low"},
            {"reasoning_effort": "low"},
        ),
        (BUILTIN["groq"], {"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
        (
            BUILTIN["openrouter"],
            {"reasoning_effort": "low"},
            {"reasoning": {"effort": "low"}},
        ),
        (
            BUILTIN["openrouter"],
            {"reasoning_tokens": 2000},
            {"reasoning": {"max_tokens": 2000}},
        ),
        (
            BUILTIN["openrouter"],
            {"reasoning_tokens": 0},
            {"reasoning": {"effort": "none"}},
        ),
    ],
)
def test_reasoning_is_asked_for_in_the_servers_words(endpoint, fields, on_the_wire):
    plain = body(model="gpt-5", endpoint=endpoint)
    assert body(model="gpt-5", endpoint=endpoint, **fields) == plain | on_the_wire


@pytest.mark.parametrize(
    ("endpoint", "extra", "options"),
    [
        (OPENAI, {}, {"include_usage": True}),
        (
            OPENAI,
            {"stream_options": {"include_obfuscation": False}},
            {"include_usage": True, "include_obfuscation": False},
        ),
        (
            OPENAI,
            {"stream_options": {"include_usage": False}},
            {"include_usage": False},
        ),
        (BUILTIN["mistral"], {}, None),
        (POOL._replace(stream_options=False), {}, None),
    ],
)
def test_a_stream_asks_for_usage_where_the_server_knows_that(endpoint, extra, options):
    made = body(endpoint=endpoint, stream=True, extra_params=extra)
    assert made["stream"] is True
    assert made.get("stream_options") == options


def test_a_complete_reply_is_asked_for_without_a_word_about_streams():
    assert not {"stream", "stream_options"} & body().keys()


# Prompt caching ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "cache", "on_the_wire"),
    [
        (OPENAI, True, {}),
        (OPENAI, False, {}),
        (OPENAI, {"ttl": "1h"}, {}),
        (OPENAI, "team", {"prompt_cache_key": "team"}),
        (OPENAI, {"key": "team", "ttl": "5m"}, {"prompt_cache_key": "team"}),
        (POOL, "team", {"prompt_cache_key": "team"}),
        (POOL, True, {}),
        (BUILTIN["groq"], True, {}),
        (BUILTIN["mistral"], "team", {}),
        (BUILTIN["openrouter"], True, {"cache_control": {"type": "ephemeral"}}),
        (
            BUILTIN["openrouter"],
            {"ttl": "1h"},
            {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
        ),
        (BUILTIN["openrouter"], False, {}),
    ],
)
def test_caching_of_a_whole_request(endpoint, cache, on_the_wire):
    plain = body(endpoint=endpoint)
    assert body(endpoint=endpoint, cache=cache) == plain | on_the_wire


@pytest.mark.parametrize(
    ("choice", "on_the_wire"),
    [
        ("none", "none"),
        ("required", "required"),
        ("any", "required"),
        (
            {"type": "function", "function": {"name": "weather"}},
            {"type": "function", "function": {"name": "weather"}},
        ),
    ],
)
def test_a_tool_can_be_chosen(choice, on_the_wire):
    made = body(tools=[WEATHER], tool_choice=choice, parallel_tool_calls=False)
    assert made["tool_choice"] == on_the_wire
    assert made["parallel_tool_calls"] is False


def test_xai_takes_the_cache_key_in_a_header():
    request = build_request(LLMRequest("grok-4", "hi", cache="c1"), BUILTIN["xai"])
    assert request.headers == {"x-grok-conv-id": "c1"}
    assert "prompt_cache_key" not in request.body
    assert build_request(LLMRequest("grok-4", "hi"), BUILTIN["xai"]).headers == {}


@pytest.mark.parametrize("cache", [3, ["key"], "", {"retention": "24h"}, {"ttl": "2h"}])
def test_a_cache_of_another_kind_is_an_error(cache):
    with pytest.raises(InvalidRequestError, match="cache"):
        body(cache=cache)


MARK = {"type": "ephemeral"}


def marked(role="system"):
    return Message(role, "long text", metadata={"cache_control": MARK})


@pytest.mark.parametrize(
    ("endpoint", "model", "fields"),
    [
        (BUILTIN["openrouter"], "anthropic/claude", {"cache_control": MARK}),
        (POOL, "anthropic/claude", {"cache_control": MARK}),
        (OPENAI, "gpt-5.6-sol", {"prompt_cache_breakpoint": {"mode": "explicit"}}),
        (OPENAI, "gpt-6", {"prompt_cache_breakpoint": {"mode": "explicit"}}),
    ],
)
def test_a_mark_becomes_what_the_server_understands(endpoint, model, fields):
    text = {"type": "text", "text": "long text"}
    part = {**text, "cache_control": MARK}
    parts = Message("user", [text, part, {"type": "text", "text": "more"}])
    messages = sent(marked(), parts, endpoint=endpoint, model=model)
    assert messages[0] == {"role": "system", "content": [text | fields]}
    assert messages[1]["content"] == [text, text | fields, {**text, "text": "more"}]


@pytest.mark.parametrize(
    ("endpoint", "model"),
    [(OPENAI, "gpt-5.5"), (OPENAI, "gpt-4o"), (BUILTIN["groq"], "anything")],
)
def test_a_mark_is_left_out_where_the_server_caches_by_itself(endpoint, model):
    messages = sent(marked(), endpoint=endpoint, model=model)
    assert messages == [{"role": "system", "content": "long text"}]


def test_a_reply_bears_no_breakpoint_and_an_empty_text_no_mark():
    assistant = Message("assistant", "Yes.", metadata={"cache_control": MARK})
    empty = Message("user", "", metadata={"cache_control": MARK})
    messages = sent(assistant, empty, model="gpt-5.6")
    assert "prompt_cache_breakpoint" not in json.dumps(messages)
    assert messages[1]["content"] == ""


# Structured output ---------------------------------------------------------------


SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "size": {"type": "integer"}},
    "required": ["city"],
}
WANTED = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}


def test_a_schema_that_is_not_strict_is_sent_as_it_is():
    made = body(response_format=WANTED)["response_format"]
    spec = {"name": "place", "schema": SCHEMA, "strict": False}
    assert made == {"type": "json_schema", "json_schema": spec}


@pytest.mark.parametrize("outside", [True, False])
def test_a_strict_schema_obeys_openais_rules_and_the_callers_stays(outside):
    wanted = deepcopy(WANTED)
    (wanted if outside else wanted["json_schema"])["strict"] = True
    wanted["json_schema"]["description"] = "A place"
    before = deepcopy(wanted)
    spec = body(response_format=wanted)["response_format"]["json_schema"]
    assert wanted == before
    assert spec["strict"] is True
    assert spec["description"] == "A place"
    assert spec["schema"]["additionalProperties"] is False
    assert set(spec["schema"]["required"]) == {"city", "size"}


@pytest.mark.parametrize("kind", ["json_object", "text"])
def test_formats_without_a_schema(kind):
    assert body(response_format={"type": kind})["response_format"] == {"type": kind}


def test_deepseek_is_told_the_schema_in_a_system_message():
    made = body(
        Message("system", "Be brief."),
        Message("user", "Where?"),
        endpoint=BUILTIN["deepseek"],
        response_format=WANTED,
    )
    assert made["response_format"] == {"type": "json_object"}
    assert [m["role"] for m in made["messages"]] == ["system", "system", "user"]
    assert json.dumps(SCHEMA) in made["messages"][1]["content"]


@pytest.mark.parametrize("name", ["perplexity", "lmstudio"])
def test_servers_without_json_mode_get_a_schema_for_any_object(name):
    made = body(endpoint=BUILTIN[name], response_format={"type": "json_object"})
    assert made["response_format"]["type"] == "json_schema"
    assert made["response_format"]["json_schema"]["schema"] == {"type": "object"}


@pytest.mark.parametrize(
    "wanted",
    [{"type": "yaml"}, {"type": "json_schema"}, {"type": "json_schema", "x": 1}],
)
def test_a_malformed_response_format_is_an_error(wanted):
    with pytest.raises(InvalidRequestError, match="response_format"):
        body(response_format=wanted)


# Messages ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "role"),
    [
        (OPENAI, "developer"),
        (POOL, "developer"),
        (BUILTIN["openrouter"], "developer"),
        *((BUILTIN[name], "system") for name in ("azure", "groq", "deepseek", "vllm")),
    ],
)
def test_developer_is_system_for_servers_that_only_know_that(endpoint, role):
    messages = sent(
        Message("developer", "a"), Message("system", "b"), endpoint=endpoint
    )
    assert [message["role"] for message in messages] == [role, "system"]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": "hi"},
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}},
        {"type": "text", "text": "hi", "prompt_cache_breakpoint": {"mode": "explicit"}},
    ],
)
def test_parts_travel_as_they_are(part):
    message = Message("user", [{"type": "text", "text": "See:"}, part])
    assert sent(message)[0]["content"][1] == part


@pytest.mark.parametrize(
    ("part", "on_the_wire"),
    [
        (
            {"type": "image_url", "image_url": PIXEL},
            {"type": "image_url", "image_url": {"url": PIXEL}},
        ),
        (
            {"type": "file", "file": {"file_data": PDF}},
            {"type": "file", "file": {"file_data": PDF, "filename": "document.pdf"}},
        ),
        (
            {"type": "text", "text": "hi", "image_url": None},
            {"type": "text", "text": "hi"},
        ),
    ],
)
def test_parts_are_completed(part, on_the_wire):
    assert sent(Message("user", [part]))[0]["content"] == [on_the_wire]


@pytest.mark.parametrize(
    ("file", "on_the_wire"),
    [
        (
            {"filename": "a.pdf", "file_data": PDF},
            {
                "type": "document_url",
                "document_url": PDF,
                "document_name": "a.pdf",
            },
        ),
        ({"file_id": "f1"}, {"type": "file", "file_id": "f1"}),
    ],
)
def test_mistral_gets_documents_in_its_own_part(file, on_the_wire):
    message = Message("user", [{"type": "file", "file": file}])
    assert sent(message, endpoint=BUILTIN["mistral"])[0]["content"] == [on_the_wire]


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (Message("user", [{"type": "hologram"}]), r"messages\[0\].content\[0\].*holog"),
        (Message("user", [{"text": "hi"}]), "unknown type"),
        (Message("user", [{"type": "text"}]), r"content\[0\].*malformed"),
        (Message("user", [{"type": "file", "file": {}}]), "file_data"),
        (Message("user", None), r"messages\[0\] has no content"),
        (Message("tool", "42"), "tool_call_id"),
        (Message("assistant", tool_calls=[{"id": "a"}]), r"tool_calls\[0\]"),
        (
            Message("assistant", tool_calls=[{"function": {"name": "f"}}]),
            r"tool_calls\[0\]",
        ),
    ],
)
def test_a_malformed_message_is_an_error_that_says_where(message, problem):
    with pytest.raises(InvalidRequestError, match=problem):
        sent(message)


def test_a_function_without_parameters_gets_an_empty_schema_where_one_is_required():
    tool = {"type": "function", "function": {"name": "now"}}
    own = {"type": "web_search"}
    assert body("hi", tools=[tool, own])["tools"] == [tool, own]
    filled, kept = body("hi", endpoint=BUILTIN["mistral"], tools=[tool, own])["tools"]
    assert filled["function"] == {
        "name": "now",
        "parameters": {"type": "object", "properties": {}},
    }
    assert kept == own


def test_a_turn_with_tools_goes_both_ways():
    messages = sent(
        Message("user", "Weather?"),
        Message("assistant", "", tool_calls=[CALL]),
        Message("tool", "rain", tool_call_id="call_1", name="weather"),
        tools=[WEATHER],
    )
    assert messages[1:] == [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {
            "role": "tool",
            "tool_call_id": "call_1",
            "content": "rain",
            "name": "weather",
        },
    ]


def test_files_in_results_follow_them_as_a_users():
    image = {"type": "image_url", "image_url": {"url": PIXEL}}
    turn = [
        Message("assistant", "", tool_calls=[CALL, {**CALL, "id": "call_2"}]),
        Message("tool", [{"type": "text", "text": "a"}, image], tool_call_id="call_1"),
        Message("tool", [image], tool_call_id="call_2"),
        Message("user", "And?"),
    ]
    _, first, second, files, last = sent(*turn)
    assert first["content"] == [{"type": "text", "text": "a"}]
    assert isinstance(second["content"], str)
    assert files["role"] == "user"
    assert [part["type"] for part in files["content"]] == ["text", "image_url"] * 2
    assert "call_1" in files["content"][0]["text"]
    assert "call_2" in files["content"][2]["text"]
    assert last["content"] == "And?"
    assert sent(*turn[:-1])[-1] == files


@pytest.mark.parametrize("name", ["openrouter", "mistral"])
def test_files_stay_in_results_where_they_may(name):
    image = {"type": "image_url", "image_url": {"url": PIXEL}}
    messages = sent(
        Message("tool", [image], tool_call_id="call12345"), endpoint=BUILTIN[name]
    )
    assert [message["content"] for message in messages] == [[image]]


def test_participants_keep_their_names():
    messages = sent(
        Message("user", "hi", name="ann"), Message("assistant", "ho", name="b")
    )
    assert [message["name"] for message in messages] == ["ann", "b"]


@pytest.mark.parametrize(
    ("content", "on_the_wire"),
    [
        ("rain", "rain"),
        (None, ""),
        ({"c": 3, "ü": 1}, '{"c": 3, "ü": 1}'),
        ([1, 2], "[1, 2]"),
        ([], "[]"),
        (3.5, "3.5"),
        (True, "true"),
        ([{"type": "text", "text": "rain"}], [{"type": "text", "text": "rain"}]),
        ([{"type": "storm"}], '[{"type": "storm"}]'),
    ],
)
def test_a_tool_may_return_any_json_value(content, on_the_wire):
    message = Message("tool", content, tool_call_id="call_1")
    assert sent(message)[0]["content"] == on_the_wire


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"a": 1}', '{"a": 1}'),
        ("", "{}"),
        ("null", "{}"),
        (None, "{}"),
        ({"a": "ü"}, '{"a":"ü"}'),
        ('{"a": ', '{"a": '),
    ],
)
def test_arguments_are_json_text(arguments, text):
    call = {"id": "c", "function": {"name": "f", "arguments": arguments}, "index": 0}
    made = sent(Message("assistant", None, tool_calls=[call]))[0]["tool_calls"]
    function = {"name": "f", "arguments": text}
    assert made == [{"id": "c", "type": "function", "function": function}]


@pytest.mark.parametrize(
    ("endpoint", "pattern"),
    [
        (BUILTIN["mistral"], r"[a-zA-Z0-9]{9}"),
        (OPENAI, r"\w{1,40}"),
        (BUILTIN["azure"], r"\w{1,40}"),
        (POOL, r"chatcmpl-tool-0+"),
    ],
)
def test_ids_of_other_providers_are_made_to_fit(endpoint, pattern):
    long = "chatcmpl-tool-" + "0" * 32
    messages = sent(
        Message("assistant", None, tool_calls=[{**CALL, "id": long}]),
        Message("tool", "rain", tool_call_id=long),
        endpoint=endpoint,
    )
    (call,) = messages[0]["tool_calls"]
    assert re.fullmatch(pattern, call["id"])
    assert messages[1]["tool_call_id"] == call["id"]


@pytest.mark.parametrize(
    ("endpoint", "call_id"),
    [
        (BUILTIN["mistral"], "abcDEF123"),
        (OPENAI, "call_" + "a" * 35),
        (POOL, "a:b" * 30),
    ],
)
def test_ids_that_the_server_takes_stay(endpoint, call_id):
    message = Message("tool", "rain", tool_call_id=call_id)
    assert sent(message, endpoint=endpoint)[0]["tool_call_id"] == call_id


# What a provider gets back -------------------------------------------------------


def own(**data):
    return {"provider": "openai", **data}


DETAILS = [{"type": "reasoning.text", "text": "Hm.", "signature": "s", "index": 0}]


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        ({"reasoning_content": "Hm."}, {"reasoning_content": "Hm."}),
        ({"reasoning": "Hm."}, {"reasoning": "Hm."}),
        ({"reasoning_details": DETAILS}, {"reasoning_details": DETAILS}),
        ({"extra_content": {"google": {}}}, {"extra_content": {"google": {}}}),
        (
            {"thinking": [{"type": "thinking", "thinking": []}]},
            {
                "content": [
                    {"type": "thinking", "thinking": []},
                    {"type": "text", "text": "Yes."},
                ]
            },
        ),
    ],
)
def test_a_provider_gets_its_own_reasoning_back_and_no_other(data, fields):
    plain = {"role": "assistant", "content": "Yes."}
    mine = Message("assistant", "Yes.", provider_data=own(**data))
    foreign = replace(mine, provider_data={**own(**data), "provider": "other"})
    assert sent(mine)[0] == plain | fields
    assert sent(foreign)[0] == plain


def test_groq_gets_no_reasoning_back_because_most_of_its_models_refuse_it():
    data = {"provider": "groq", "reasoning": "Hm."}
    message = Message("assistant", "Yes.", provider_data=data)
    plain = {"role": "assistant", "content": "Yes."}
    assert sent(message, endpoint=BUILTIN["groq"]) == [plain]


def test_a_refusal_goes_back_in_its_own_field():
    message = Message("assistant", "", provider_data=own(refusal="No."))
    assert sent(message)[0] == {
        "role": "assistant",
        "content": None,
        "refusal": "No.",
    }


def test_a_signature_goes_back_with_its_call_and_custom_calls_behind():
    custom = {"id": "c2", "type": "custom", "custom": {"name": "sql", "input": "x"}}
    extras = {"call_1": {"extra_content": {"google": {"thought_signature": "s"}}}}
    message = Message(
        "assistant",
        "",
        tool_calls=[CALL],
        provider_data=own(tool_calls=[custom], call_extras=extras),
    )
    assert sent(message)[0]["tool_calls"] == [{**CALL, **extras["call_1"]}, custom]


@pytest.mark.parametrize(
    ("model", "extra", "echoed"),
    [
        ("deepseek-v4-pro", {}, True),
        ("deepseek-v4-pro", {"thinking": {"type": "disabled"}}, False),
        ("deepseek-chat", {}, False),
    ],
)
def test_deepseek_gets_reasoning_with_every_call_while_it_thinks(model, extra, echoed):
    foreign = Message("assistant", "", tool_calls=[CALL])
    mine = replace(
        foreign, provider_data={"provider": "deepseek", "reasoning_content": "Hm."}
    )
    plain = Message("assistant", "Yes.")
    messages = sent(
        foreign,
        mine,
        plain,
        endpoint=BUILTIN["deepseek"],
        model=model,
        extra_params=extra,
    )
    assert messages[0].get("reasoning_content") == ("" if echoed else None)
    assert messages[1]["reasoning_content"] == "Hm."
    assert "reasoning_content" not in messages[2]


# Any conversation ----------------------------------------------------------------


TEXTS = st.text(max_size=30)
NAMES = st.from_regex(r"[a-zA-Z0-9_-]{1,20}", fullmatch=True)
CALLS = st.builds(
    lambda call_id, name, arguments: {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": json.dumps(arguments)},
    },
    NAMES,
    NAMES,
    st.dictionaries(TEXTS, TEXTS | st.integers() | st.none(), max_size=3),
)
TURNS = st.one_of(
    st.builds(Message, st.sampled_from(["system", "developer", "user"]), TEXTS),
    st.builds(
        Message,
        st.just("user"),
        st.lists(
            st.builds(lambda text: {"type": "text", "text": text}, TEXTS), min_size=1
        ),
    ),
    st.builds(
        Message,
        st.just("assistant"),
        TEXTS,
        tool_calls=st.none() | st.lists(CALLS, min_size=1, max_size=3),
    ),
    st.builds(Message, st.just("tool"), TEXTS, tool_call_id=NAMES),
)


def texts_of(content):
    if isinstance(content, list):
        return [part["text"] for part in content]
    return [content] if content else []


@given(
    st.lists(TURNS, min_size=1, max_size=6),
    st.sampled_from([OPENAI, POOL, BUILTIN["deepseek"], BUILTIN["azure"]]),
)
def test_every_text_call_id_and_argument_of_a_conversation_is_sent(turns, endpoint):
    before = deepcopy(turns)
    messages = sent(*turns, endpoint=endpoint, model="m")
    assert turns == before
    assert len(messages) == len(turns)
    for message, turn in zip(messages, turns, strict=True):
        assert texts_of(message["content"]) == texts_of(turn.content)
        assert message.get("tool_calls", []) == (turn.tool_calls or [])
        assert message.get("tool_call_id") == turn.tool_call_id
    json.dumps(messages)


def test_nothing_that_was_passed_in_is_changed():
    request = LLMRequest(
        "gpt-5.6",
        [
            marked(),
            Message("user", [{"type": "image_url", "image_url": {"url": PIXEL}}]),
            Message("assistant", "", tool_calls=[CALL], provider_data=own(thinking=[])),
            Message("tool", {"a": 1}, tool_call_id="call_1"),
        ],
        tools=[WEATHER],
        response_format={**WANTED, "strict": True},
        cache={"key": "k"},
        stream=True,
        extra_params={"stream_options": {"x": 1}, "n": 2},
    )
    before = deepcopy(request)
    for endpoint in BUILTIN.values():
        if endpoint.kind == "openai" and "automatic_cache" not in endpoint.quirks:
            build_request(request, endpoint)
    assert request == before
