"""What is sent to Gemini: URL, parameters, tools, structured replies."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from llmring_lite.exceptions import InvalidRequestError, UnsupportedParameterError
from llmring_lite.provider import BUILTIN, HTTPRequest
from llmring_lite.provider_google import WIRE
from llmring_lite.schemas import LLMRequest

GOOGLE = BUILTIN["google"]


def build(
    model: str = "gemini-2.5-flash", base_url: str | None = None, **fields: Any
) -> HTTPRequest:
    fields.setdefault("messages", "Hi")
    endpoint = GOOGLE._replace(base_url=base_url or GOOGLE.base_url)
    return WIRE.build_request(LLMRequest(model=model, **fields), endpoint)


def config(**fields: Any) -> dict[str, Any]:
    return build(**fields).body.get("generationConfig", {})


def weather(**more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "get_weather", **more}}


# URL -----------------------------------------------------------------------------

HOST = "https://generativelanguage.googleapis.com"
VERTEX = (
    "https://aiplatform.googleapis.com/v1beta1/projects/p/locations/global"
    "/publishers/google"
)


@pytest.mark.parametrize(
    ("base_url", "model", "url"),
    [
        (HOST, "gemini-2.5-flash", f"{HOST}/v1beta/models/gemini-2.5-flash"),
        (
            f"{HOST}/v1beta",
            "gemini-2.5-flash",
            f"{HOST}/v1beta/models/gemini-2.5-flash",
        ),
        (f"{HOST}/v1", "gemini-2.5-flash", f"{HOST}/v1/models/gemini-2.5-flash"),
        ("http://127.0.0.1:9/gemini", "x", "http://127.0.0.1:9/gemini/v1beta/models/x"),
        (VERTEX, "gemini-2.5-pro", f"{VERTEX}/models/gemini-2.5-pro"),
        (HOST, "models/gemini-2.5-pro", f"{HOST}/v1beta/models/gemini-2.5-pro"),
        (HOST, "tunedModels/mine-1", f"{HOST}/v1beta/tunedModels/mine-1"),
        (HOST, "a/b?c#d e", f"{HOST}/v1beta/models/a%2Fb%3Fc%23d%20e"),
    ],
)
def test_url_names_the_model_under_the_version(
    base_url: str, model: str, url: str
) -> None:
    assert build(model, base_url).url == f"{url}:generateContent"


def test_a_stream_is_asked_for_as_server_sent_events() -> None:
    url = build(stream=True).url
    assert url.endswith("/models/gemini-2.5-flash:streamGenerateContent?alt=sse")


# Parameters ----------------------------------------------------------------------


def test_a_plain_request_has_nothing_but_the_text() -> None:
    assert build().body == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


def test_sampling_parameters_go_into_the_generation_config() -> None:
    assert config(
        temperature=0.0, max_tokens=50, top_p=0.9, stop=["a", "b"], seed=7
    ) == {
        "temperature": 0.0,
        "maxOutputTokens": 50,
        "topP": 0.9,
        "stopSequences": ["a", "b"],
        "seed": 7,
    }


def test_one_stop_text_is_a_list_of_one() -> None:
    assert config(stop="END") == {"stopSequences": ["END"]}


THINKING = [
    ("gemini-2.5-flash", {"reasoning_tokens": 512}, {"thinkingBudget": 512}),
    ("gemini-2.5-flash", {"reasoning_tokens": -1}, {"thinkingBudget": -1}),
    ("gemini-2.5-flash", {"reasoning_effort": "low"}, {"thinkingBudget": 1024}),
    ("gemini-2.5-flash", {"reasoning_effort": "minimal"}, {"thinkingBudget": 1024}),
    ("gemini-2.5-pro", {"reasoning_effort": "medium"}, {"thinkingBudget": 8192}),
    ("gemini-2.5-pro", {"reasoning_effort": "high"}, {"thinkingBudget": 24576}),
    (
        "gemini-2.5-flash",
        {"reasoning_effort": "high", "reasoning_tokens": 99},
        {"thinkingBudget": 99},
    ),
    ("gemini-3-flash-preview", {"reasoning_effort": "high"}, {"thinkingLevel": "high"}),
    ("gemini-3.5-flash", {"reasoning_effort": "minimal"}, {"thinkingLevel": "minimal"}),
    (
        "gemini-3.1-pro-preview",
        {"reasoning_effort": "minimal"},
        {"thinkingLevel": "low"},
    ),
    (
        "gemini-flash-latest",
        {"reasoning_effort": "medium"},
        {"thinkingLevel": "medium"},
    ),
    ("gemini-flash-latest", {"reasoning_effort": "minimal"}, {"thinkingLevel": "low"}),
    ("gemini-3.8-flash", {"reasoning_effort": "minimal"}, {"thinkingLevel": "low"}),
    (
        "gemini-3.7-flash-lite",
        {"reasoning_effort": "minimal"},
        {"thinkingLevel": "minimal"},
    ),
    ("gemma-4-31b-it", {"reasoning_effort": "minimal"}, {"thinkingLevel": "minimal"}),
    ("gemini-3.5-flash", {"reasoning_effort": "xhigh"}, {"thinkingLevel": "high"}),
    ("gemini-2.5-flash", {"reasoning_effort": "max"}, {"thinkingBudget": 24576}),
    ("gemini-3-pro-preview", {"reasoning_tokens": 6400}, {"thinkingBudget": 6400}),
    (
        "gemini-3-flash-preview",
        {"reasoning_effort": "low", "reasoning_tokens": 99},
        {"thinkingLevel": "low"},
    ),
]


@pytest.mark.parametrize(("model", "asked", "sent"), THINKING)
def test_reasoning_is_a_budget_before_gemini_3_and_a_level_since(
    model: str, asked: dict[str, Any], sent: dict[str, Any]
) -> None:
    expected = {"thinkingConfig": {**sent, "includeThoughts": True}}
    assert config(model=model, **asked) == expected


@pytest.mark.parametrize(
    "asked", [{"reasoning_effort": "none"}, {"reasoning_tokens": 0}]
)
def test_reasoning_can_be_turned_off(asked: dict[str, Any]) -> None:
    assert config(model="gemini-2.5-flash", **asked) == {
        "thinkingConfig": {"thinkingBudget": 0}
    }


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("gemini-2.5-pro", {"reasoning_effort": "none"}),
        ("gemini-2.5-pro", {"reasoning_tokens": 0}),
        ("gemini-3-flash-preview", {"reasoning_effort": "none"}),
        ("gemini-pro-latest", {"reasoning_effort": "none"}),
        ("gemini-3.5-flash", {"reasoning_effort": "boundless"}),
        ("gemini-2.0-flash", {"reasoning_effort": "low"}),
        ("gemini-2.0-flash", {"reasoning_tokens": 900}),
        ("gemini-2.5-flash", {"tools": [weather()], "parallel_tool_calls": False}),
        (
            "gemini-2.5-flash",
            {"tools": [weather()], "response_format": {"type": "json_object"}},
        ),
    ],
)
def test_what_the_model_cannot_take_is_an_error_or_is_dropped_on_demand(
    model: str, asked: dict[str, Any]
) -> None:
    name = list(asked)[-1]
    with pytest.raises(UnsupportedParameterError, match=name) as caught:
        build(model, **asked)
    assert caught.value.parameter == name
    body = build(model, **asked, extra_params={"drop_unsupported": True}).body
    assert "generationConfig" not in body


def test_parallel_calls_are_the_default_and_may_be_asked_for() -> None:
    assert build(parallel_tool_calls=True).body == build().body


@pytest.mark.parametrize(
    "asked", [{"reasoning_effort": "none"}, {"reasoning_tokens": 0}]
)
def test_a_model_that_does_not_think_need_not_be_told(asked: dict[str, Any]) -> None:
    assert config(model="gemini-2.0-flash", **asked) == {}


@pytest.mark.parametrize("cache", [True, False, "abc", {"ttl": "1h"}])
def test_caching_is_implicit(cache: Any) -> None:
    assert build(cache=cache).body == build().body


def test_extra_params_reach_the_body_and_join_the_configs() -> None:
    body = build(
        temperature=1.0,
        tools=[weather()],
        tool_choice="auto",
        extra_params={
            "safetySettings": [{"category": "C", "threshold": "OFF"}],
            "generationConfig": {"topK": 3, "temperature": 0.5},
            "toolConfig": {"includeServerSideToolInvocations": True},
        },
    ).body
    assert body["safetySettings"] == [{"category": "C", "threshold": "OFF"}]
    assert body["generationConfig"] == {"temperature": 0.5, "topK": 3}
    assert body["toolConfig"] == {
        "functionCallingConfig": {"mode": "AUTO"},
        "includeServerSideToolInvocations": True,
    }


# Structured replies --------------------------------------------------------------

SCHEMA = {
    "type": "object",
    "properties": {"n": {"$ref": "#/$defs/n"}},
    "$defs": {"n": {"type": "integer"}},
    "additionalProperties": False,
}


def test_a_schema_is_sent_as_json_schema() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    assert config(response_format=wanted) == {
        "responseMimeType": "application/json",
        "responseJsonSchema": SCHEMA,
    }


def test_a_description_of_the_format_describes_the_schema() -> None:
    spec = {"name": "x", "schema": SCHEMA, "description": "A number."}
    sent = config(response_format={"type": "json_schema", "json_schema": spec})
    assert sent["responseJsonSchema"] == {**SCHEMA, "description": "A number."}
    assert "description" not in SCHEMA


def test_json_mode_is_a_mime_type() -> None:
    sent = config(response_format={"type": "json_object"})
    assert sent == {"responseMimeType": "application/json"}


def test_text_format_needs_nothing() -> None:
    assert config(response_format={"type": "text"}) == {}


def test_gemini_3_takes_a_schema_beside_tools() -> None:
    body = build(
        "gemini-3-flash-preview",
        tools=[weather()],
        response_format={"type": "json_object"},
    ).body
    assert body["generationConfig"] == {"responseMimeType": "application/json"}
    assert body["tools"]


def test_a_forced_call_is_asked_for_without_a_format_for_the_text_that_it_lacks() -> (
    None
):
    body = build(
        "gemini-3.8-flash",
        tools=[weather()],
        tool_choice="required",
        response_format={"type": "json_object"},
    ).body
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}
    assert "generationConfig" not in body


# Tools ---------------------------------------------------------------------------


def test_functions_are_declared_with_their_json_schema() -> None:
    body = build(
        tools=[
            weather(description="The weather.", parameters=SCHEMA),
            {"type": "function", "function": {"name": "now", "parameters": {}}},
        ]
    ).body
    assert body["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "get_weather",
                    "description": "The weather.",
                    "parametersJsonSchema": SCHEMA,
                },
                {"name": "now"},
            ]
        }
    ]
    assert "toolConfig" not in body


def test_googles_own_tools_stand_beside_functions() -> None:
    body = build(tools=[{"googleSearch": {}}, weather()]).body
    assert body["tools"] == [
        {"functionDeclarations": [{"name": "get_weather"}]},
        {"googleSearch": {}},
    ]
    assert build(tools=[{"codeExecution": {}}]).body["tools"] == [{"codeExecution": {}}]


@pytest.mark.parametrize(
    ("tool", "error"),
    [
        ({"type": "web_search"}, UnsupportedParameterError),
        ({"type": "function", "function": {"description": "?"}}, InvalidRequestError),
        ({"type": "function"}, InvalidRequestError),
    ],
)
def test_a_tool_that_cannot_be_declared_is_named(
    tool: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=r"tools\[1\]"):
        build(tools=[weather(), tool])


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        (
            {"type": "function", "function": {"name": "get_weather"}},
            {"mode": "ANY", "allowedFunctionNames": ["get_weather"]},
        ),
    ],
)
def test_tool_choice_is_a_calling_mode(choice: Any, sent: dict[str, Any]) -> None:
    body = build(tools=[weather()], tool_choice=choice).body
    assert body["toolConfig"] == {"functionCallingConfig": sent}


@pytest.mark.parametrize(
    ("choice", "mode"),
    [(None, "VALIDATED"), ("auto", "VALIDATED"), ("required", "ANY"), ("none", "NONE")],
)
def test_strict_functions_are_validated_unless_the_mode_says_more(
    choice: str | None, mode: str
) -> None:
    body = build(tools=[weather(strict=True)], tool_choice=choice).body
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": mode}}


@pytest.mark.parametrize(
    "choice", ["some", {"type": "function"}, {"function": {"name": ""}}, 1]
)
def test_an_unknown_tool_choice_is_refused(choice: Any) -> None:
    with pytest.raises(InvalidRequestError, match="tool_choice"):
        build(tools=[weather()], tool_choice=choice)


# All of it -----------------------------------------------------------------------


def test_nothing_that_was_handed_in_changes() -> None:
    request = LLMRequest(
        model="gemini-3-flash-preview",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "?"}]},
            {
                "role": "assistant",
                "content": "Looking.",
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "get_weather", "arguments": '{"a": 1}'},
                    }
                ],
                "provider_data": {
                    "provider": "google",
                    "parts": [
                        {"chars": 8},
                        {"part": {"executableCode": {"code": "1"}}},
                        {"call": "c1", "thoughtSignature": "s"},
                    ],
                },
            },
            {"role": "tool", "tool_call_id": "c1", "content": '{"t": 20}'},
        ],
        tools=[weather(parameters=SCHEMA), {"googleSearch": {}}],
        tool_choice="auto",
        stop=["x"],
        extra_params={"generationConfig": {"topK": 1}, "toolConfig": {"a": {}}},
    )
    before = copy.deepcopy(request)
    first = WIRE.build_request(request, GOOGLE)
    second = WIRE.build_request(request, GOOGLE)
    assert request == before
    assert json.dumps(first.body) == json.dumps(second.body)
