"""What is sent to Anthropic: URL, headers, parameters, tools, caching."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from llmring_lite.exceptions import InvalidRequestError, UnsupportedParameterError
from llmring_lite.provider import BUILTIN, HTTPRequest
from llmring_lite.provider_anthropic import WIRE
from llmring_lite.schemas import LLMRequest, Message

ANTHROPIC = BUILTIN["anthropic"]

OLD = "claude-3-5-haiku-20241022"  # no thinking
BUDGET = "claude-haiku-4-5-20251001"  # thinking by budget only
BOTH = "claude-sonnet-4-6"  # budget or adaptive, off by default
ADAPTIVE = "claude-opus-4-8"  # adaptive, off by default
DEFAULT_ON = "claude-opus-5"  # adaptive, on by default
ALWAYS_ON = "claude-opus-5-5"  # adaptive, can't be turned off, no forced tools


def build(
    model: str = BUDGET, base_url: str = ANTHROPIC.base_url, **fields: Any
) -> HTTPRequest:
    fields.setdefault("messages", "Hi")
    endpoint = ANTHROPIC._replace(base_url=base_url)
    return WIRE.build_request(LLMRequest(model=model, **fields), endpoint)


def body(model: str = BUDGET, **fields: Any) -> dict[str, Any]:
    return build(model, **fields).body


def tool(name: str = "get_weather", **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **more}}


# URL, headers, the smallest body -------------------------------------------------


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
        ("https://api.anthropic.com/v1", "https://api.anthropic.com/v1/messages"),
        ("http://127.0.0.1:8/x", "http://127.0.0.1:8/x/v1/messages"),
    ],
)
def test_url(base_url: str, url: str) -> None:
    assert build(base_url=base_url).url == url


def test_version_header_and_no_beta_without_need() -> None:
    assert build().headers == {"anthropic-version": "2023-06-01"}


def test_smallest_body() -> None:
    assert body() == {
        "model": BUDGET,
        "max_tokens": 16384,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    }


def test_stream_is_asked_for() -> None:
    assert body(stream=True)["stream"] is True


def test_uploaded_file_needs_its_beta_header() -> None:
    part = {"type": "file", "file": {"file_id": "file_1"}}
    request = build(messages=[Message("user", [part])])
    assert request.headers["anthropic-beta"] == "files-api-2025-04-14"
    result = Message("tool", [part], tool_call_id="toolu_1")
    assert "anthropic-beta" in build(messages=[result]).headers


@pytest.mark.parametrize("betas", [["a-1", "b-2"], "a-1, b-2"])
def test_betas_of_the_caller_become_a_header(betas: Any) -> None:
    request = build(extra_params={"betas": betas})
    assert request.headers["anthropic-beta"] == "a-1,b-2"
    assert "betas" not in request.body


def test_extra_params_reach_the_body_last() -> None:
    extra = {"top_k": 5, "max_tokens": 7, "drop_unsupported": True}
    sent = body(max_tokens=9, extra_params=extra)
    assert (sent["top_k"], sent["max_tokens"]) == (5, 7)
    assert "drop_unsupported" not in sent


def test_extra_output_config_joins_ours() -> None:
    sent = body(
        ADAPTIVE,
        reasoning_effort="low",
        extra_params={"output_config": {"task_budget": {"type": "tokens"}}},
    )
    assert sent["output_config"] == {
        "effort": "low",
        "task_budget": {"type": "tokens"},
    }


def test_request_is_left_as_it_was() -> None:
    request = LLMRequest(
        model=BOTH,
        messages=[
            Message("system", "S"),
            Message("user", [{"type": "text", "text": "a"}]),
            Message("assistant", "b", metadata={"cache_control": {"type": "x"}}),
            Message("user", "c"),
        ],
        tools=[tool(parameters={"properties": {"a": {"minimum": 1}}}, strict=True)],
        tool_choice="auto",
        parallel_tool_calls=False,
        cache=True,
        extra_params={"output_config": {"x": 1}, "betas": ["b"]},
    )
    before = copy.deepcopy(request)
    WIRE.build_request(request, ANTHROPIC)
    assert request == before


# Limits and sampling -------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"model": OLD}, 8192),
        ({"model": "claude-3-opus-20240229"}, 4096),
        ({"model": ALWAYS_ON}, 16384),
        ({"model": OLD, "max_tokens": 5}, 5),
        ({"model": BUDGET, "reasoning_tokens": 2000}, 18384),
        ({"model": BUDGET, "reasoning_tokens": 60000}, 64000),
        (
            {
                "model": BUDGET,
                "extra_params": {
                    "thinking": {"type": "enabled", "budget_tokens": 4000}
                },
            },
            20384,
        ),
    ],
)
def test_max_tokens_is_always_there(fields: dict[str, Any], limit: int) -> None:
    assert body(**fields)["max_tokens"] == limit


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"temperature": 0}, {"temperature": 0}),
        ({"top_p": 0.5}, {"top_p": 0.5}),
        ({"model": OLD, "temperature": 0.1, "top_p": 0.5}, None),
        ({"temperature": 1, "top_p": 0.5}, {"top_p": 0.5}),
        ({"temperature": 0.3, "top_p": 1}, {"temperature": 0.3}),
        # 1 is the default of both, which is all that newer models take.
        ({"model": ADAPTIVE, "temperature": 1, "top_p": 1.0}, {}),
        (
            {"model": BOTH, "temperature": 1, "reasoning_effort": "low"},
            {"temperature": 1},
        ),
        ({"model": BOTH, "top_p": 0.96, "reasoning_tokens": 1024}, {"top_p": 0.96}),
    ],
)
def test_sampling(fields: dict[str, Any], sent: dict[str, Any] | None) -> None:
    if sent is None:
        sent = {k: v for k, v in fields.items() if k != "model"}
    given = body(**fields)
    assert {k: given[k] for k in ("temperature", "top_p") if k in given} == sent


@pytest.mark.parametrize(
    ("stop", "sent"), [("END", ["END"]), (["a", "b"], ["a", "b"]), ([], None)]
)
def test_stop_sequences(stop: Any, sent: Any) -> None:
    assert body(stop=stop).get("stop_sequences") == sent


UNSUPPORTED = [
    ("seed", BUDGET, {"seed": 0}),
    ("temperature", ADAPTIVE, {"temperature": 0.5}),
    ("temperature", BUDGET, {"temperature": 1.5}),
    ("temperature", BUDGET, {"temperature": 0.5, "reasoning_tokens": 1024}),
    ("temperature", BOTH, {"temperature": 0.5, "reasoning_effort": "low"}),
    ("top_p", ALWAYS_ON, {"top_p": 0.5}),
    ("top_p", BUDGET, {"temperature": 0.5, "top_p": 0.5}),
    ("top_p", BUDGET, {"top_p": 0.9, "reasoning_tokens": 1024}),
    ("reasoning_tokens", OLD, {"reasoning_tokens": 2000}),
    ("reasoning_tokens", BUDGET, {"reasoning_tokens": 1000}),
    ("reasoning_tokens", BUDGET, {"reasoning_tokens": 2000, "max_tokens": 2000}),
    ("reasoning_tokens", BUDGET, {"reasoning_tokens": 64000}),
    ("reasoning_tokens", ALWAYS_ON, {"reasoning_tokens": 0}),
    ("reasoning_tokens", "claude-mythos-preview", {"reasoning_tokens": 0}),
    ("reasoning_effort", OLD, {"reasoning_effort": "low"}),
    ("reasoning_effort", ALWAYS_ON, {"reasoning_effort": "none"}),
    ("reasoning_effort", BUDGET, {"reasoning_effort": "enormous"}),
    ("reasoning_effort", ADAPTIVE, {"reasoning_effort": "enormous"}),
    ("reasoning_effort", BUDGET, {"reasoning_effort": "low", "max_tokens": 1024}),
    ("tool_choice", ALWAYS_ON, {"tool_choice": "required", "tools": [tool()]}),
    (
        "tool_choice",
        BUDGET,
        {"tool_choice": "required", "tools": [tool()], "reasoning_tokens": 1024},
    ),
    ("tool_choice", BUDGET, {"tool_choice": {"type": "allowed_tools"}}),
]


@pytest.mark.parametrize(("field", "model", "fields"), UNSUPPORTED)
def test_what_a_model_cannot_take_is_refused_by_name(
    field: str, model: str, fields: dict[str, Any]
) -> None:
    with pytest.raises(UnsupportedParameterError) as caught:
        body(model, **fields)
    assert caught.value.parameter == field
    assert (caught.value.provider, caught.value.model) == ("anthropic", model)
    assert field in str(caught.value)


@pytest.mark.parametrize(("field", "model", "fields"), UNSUPPORTED)
def test_what_a_model_cannot_take_is_left_out_on_request(
    field: str, model: str, fields: dict[str, Any]
) -> None:
    rest = {key: value for key, value in fields.items() if key != field}
    sent = body(model, extra_params={"drop_unsupported": True}, **fields)
    assert sent == body(model, **rest)


# Reasoning -----------------------------------------------------------------------

SUMMARY = {"type": "adaptive", "display": "summarized"}


@pytest.mark.parametrize(
    ("model", "fields", "thinking", "effort"),
    [
        (BUDGET, {}, None, None),
        (BUDGET, {"reasoning_tokens": 2048}, 2048, None),
        (BUDGET, {"reasoning_tokens": 0}, None, None),
        (BUDGET, {"reasoning_effort": "none"}, None, None),
        (BUDGET, {"reasoning_effort": "minimal"}, 1024, None),
        (BUDGET, {"reasoning_effort": "medium"}, 8192, None),
        (BUDGET, {"reasoning_effort": "max"}, 32000, None),
        # Half of a small limit is left for the answer.
        (BUDGET, {"reasoning_effort": "high", "max_tokens": 6000}, 3000, None),
        (BUDGET, {"reasoning_effort": "high", "max_tokens": 1500}, 1024, None),
        (BOTH, {"reasoning_tokens": 4096}, 4096, None),
        (BOTH, {"reasoning_effort": "medium"}, SUMMARY, "medium"),
        (BOTH, {"reasoning_effort": "minimal"}, SUMMARY, "low"),
        (BOTH, {"reasoning_effort": "low", "reasoning_tokens": 2000}, 2000, "low"),
        # The nearest that the model knows, the weaker of two.
        (BOTH, {"reasoning_effort": "xhigh"}, SUMMARY, "high"),
        # A budget in the words of a model that takes no other.
        (ADAPTIVE, {"reasoning_tokens": 2000}, SUMMARY, "low"),
        (ADAPTIVE, {"reasoning_tokens": 9000}, SUMMARY, "high"),
        (BUDGET, {"reasoning_tokens": -1}, None, None),
        (ADAPTIVE, {"reasoning_tokens": -1}, None, None),
        (ADAPTIVE, {"reasoning_effort": "xhigh"}, SUMMARY, "xhigh"),
        (ADAPTIVE, {"reasoning_effort": "none"}, None, None),
        (ADAPTIVE, {"reasoning_tokens": 0}, None, None),
        (DEFAULT_ON, {}, None, None),
        (DEFAULT_ON, {"reasoning_effort": "none"}, {"type": "disabled"}, None),
        (DEFAULT_ON, {"reasoning_tokens": 0}, {"type": "disabled"}, None),
        (
            "claude-sonnet-5-5",
            {"reasoning_effort": "none"},
            {"type": "between_tools"},
            None,
        ),
        (ALWAYS_ON, {"reasoning_effort": "max"}, SUMMARY, "max"),
        ("claude-opus-4-5", {"reasoning_effort": "low"}, 2048, "low"),
        ("claude-opus-4-5", {"reasoning_effort": "low", "max_tokens": 9}, None, "low"),
        # Both set: each model gets the one that it takes.
        (BUDGET, {"reasoning_effort": "low", "reasoning_tokens": 4000}, 4000, None),
        (
            ADAPTIVE,
            {"reasoning_effort": "low", "reasoning_tokens": 4000},
            SUMMARY,
            "low",
        ),
    ],
)
def test_reasoning(
    model: str, fields: dict[str, Any], thinking: Any, effort: str | None
) -> None:
    if isinstance(thinking, int):
        thinking = {"type": "enabled", "budget_tokens": thinking}
    sent = body(model, **fields)
    assert sent.get("thinking") == thinking
    assert sent.get("output_config") == (effort and {"effort": effort})


@pytest.mark.parametrize(
    "model", ["claude-opus-4-20250514", "claude-3-7-sonnet-latest", BUDGET]
)
@pytest.mark.parametrize("effort", ["minimal", "low", "medium", "high", "xhigh"])
@pytest.mark.parametrize("max_tokens", [None, 1025, 20000])
def test_budget_of_an_effort_is_one_the_api_takes(
    model: str, effort: str, max_tokens: int | None
) -> None:
    sent = body(model, reasoning_effort=effort, max_tokens=max_tokens)
    assert 1024 <= sent["thinking"]["budget_tokens"] < sent["max_tokens"]


# Tools ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (
            tool(description="D", parameters={"type": "object", "properties": {}}),
            {
                "name": "get_weather",
                "description": "D",
                "input_schema": {"type": "object", "properties": {}},
            },
        ),
        (
            tool(),
            {
                "name": "get_weather",
                "input_schema": {"type": "object", "properties": {}},
            },
        ),
        (
            tool(parameters={"properties": {"a": {}}}),
            {
                "name": "get_weather",
                "input_schema": {"type": "object", "properties": {"a": {}}},
            },
        ),
        (
            tool() | {"cache_control": {"type": "ephemeral"}, "defer_loading": True},
            {
                "name": "get_weather",
                "input_schema": {"type": "object", "properties": {}},
                "cache_control": {"type": "ephemeral"},
                "defer_loading": True,
            },
        ),
        (
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 2},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 2},
        ),
    ],
)
def test_tool(given: dict[str, Any], sent: dict[str, Any]) -> None:
    assert body(tools=[given])["tools"] == [sent]


def test_strict_tool_gets_the_schema_that_strictness_demands() -> None:
    properties = {"n": {"type": "integer", "minimum": 1}}
    schema = {"type": "object", "properties": properties, "required": ["n"]}
    (sent,) = body(tools=[tool(parameters=schema, strict=True)])["tools"]
    assert sent["strict"] is True
    assert sent["input_schema"]["additionalProperties"] is False
    number = sent["input_schema"]["properties"]["n"]
    assert number.keys() == {"type", "description"}
    assert '"minimum": 1' in number["description"]


@pytest.mark.parametrize("wrong", [{}, {"function": {}}, {"type": "function"}])
def test_malformed_tool_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match=r"tools\[1\]"):
        body(tools=[tool(), wrong])


NAMED = {"type": "function", "function": {"name": "get_weather"}}


@pytest.mark.parametrize(
    ("choice", "parallel", "sent"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("auto", None, {"type": "auto"}),
        ("none", None, {"type": "none"}),
        ("none", False, {"type": "none"}),
        ("required", None, {"type": "any"}),
        ("any", None, {"type": "any"}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
        (NAMED, None, {"type": "tool", "name": "get_weather"}),
    ],
)
def test_tool_choice(choice: Any, parallel: bool | None, sent: Any) -> None:
    request = body(tools=[tool()], tool_choice=choice, parallel_tool_calls=parallel)
    assert request.get("tool_choice") == sent


def test_adaptive_thinking_allows_a_forced_tool() -> None:
    sent = body(BOTH, tools=[tool()], tool_choice="required", reasoning_effort="low")
    assert sent["tool_choice"] == {"type": "any"}


@pytest.mark.parametrize("choice", ["always", {"type": "function"}, {"name": ""}, 3])
def test_unknown_tool_choice_is_refused(choice: Any) -> None:
    with pytest.raises(InvalidRequestError, match="tool_choice"):
        body(tools=[tool()], tool_choice=choice)


def test_tool_choice_without_tools() -> None:
    for harmless in ("auto", "none"):
        assert "tool_choice" not in body(tool_choice=harmless)
    assert "tool_choice" not in body(parallel_tool_calls=False)
    with pytest.raises(InvalidRequestError, match="needs tools"):
        body(tool_choice="required")
    native = {"tools": [{"type": "bash_20250124", "name": "bash"}]}
    sent = body(tool_choice="required", extra_params=native)
    assert sent["tool_choice"] == {"type": "any"}


# Caching -------------------------------------------------------------------------

MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def breakpoints(sent: dict[str, Any]) -> list[str]:
    """Where the request has a cache_control: place and time to live."""
    found = []
    system = sent.get("system", [])
    places = [("tools", block) for block in sent.get("tools", [])]
    places += [("system", b) for b in (system if isinstance(system, list) else [])]
    for number, turn in enumerate(sent["messages"]):
        for block in turn["content"]:
            places.append((f"{number}:{block['type']}", block))
    for place, block in places:
        if "cache_control" in block:
            found.append(f"{place} {block['cache_control'].get('ttl', '')}".strip())
    return found


CHAT = [
    Message("system", "S"),
    Message("user", "a"),
    Message("assistant", "b"),
    Message("user", "c"),
]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"messages": CHAT}, []),
        ({"messages": CHAT, "cache": False}, []),
        ({"messages": CHAT, "cache": True}, ["system", "2:text"]),
        ({"messages": CHAT, "cache": {"ttl": "1h"}}, ["system 1h", "2:text 1h"]),
        ({"messages": CHAT, "cache": {"key": "other's"}}, ["system", "2:text"]),
        ({"messages": CHAT, "cache": "a key"}, ["system", "2:text"]),
        ({"messages": CHAT[1:], "cache": True}, ["2:text"]),
        (
            {"messages": CHAT[1:], "cache": True, "tools": [tool("a"), tool("b")]},
            ["tools", "2:text"],
        ),
    ],
)
def test_cache_sets_breakpoints(fields: dict[str, Any], expected: list[str]) -> None:
    assert breakpoints(body(**fields)) == expected


def test_messages_and_parts_carry_breakpoints() -> None:
    messages = [
        Message("system", "S", metadata={"cache_control": HOUR}),
        Message("user", [{"type": "text", "text": "a", "cache_control": MARK}]),
        Message(
            "assistant",
            "b",
            tool_calls=[{"id": "t1", "function": {"name": "f", "arguments": "{}"}}],
        ),
        Message(
            "tool", "r", tool_call_id="t1", metadata={"cache_control": {"ttl": "5m"}}
        ),
    ]
    sent = body(messages=messages)
    assert breakpoints(sent) == ["system 1h", "0:text", "2:tool_result 5m"]
    assert sent["system"] == [{"type": "text", "text": "S", "cache_control": HOUR}]


def test_own_breakpoints_stay_and_leave_room_for_the_rest() -> None:
    marked = [{"type": "text", "text": t, "cache_control": HOUR} for t in "abc"]
    messages = [Message("system", "S"), Message("user", marked), Message("user", "d")]
    sent = body(messages=messages, cache=True)
    # The fourth and last one goes to the end of the conversation.
    assert breakpoints(sent) == ["0:text 1h"] * 3 + ["0:text"]
    messages = [Message("system", "S"), Message("user", marked)]
    assert breakpoints(body(messages=messages, cache=True)) == [
        "system",
        *["0:text 1h"] * 3,
    ]


def test_of_more_than_four_breakpoints_the_last_count() -> None:
    turn = Message("user", "a", metadata={"cache_control": MARK})
    answer = Message("assistant", "b")
    system = Message("system", "S", metadata={"cache_control": HOUR})
    sent = body(messages=[system, *[turn, answer] * 5, turn], tools=[tool()])
    assert breakpoints(sent) == ["system 1h", "6:text", "8:text", "10:text"]
    parts = [{"type": "text", "text": "x", "cache_control": MARK} for _ in range(5)]
    result = Message("tool", parts, tool_call_id="t1")
    sent = body(messages=[result, turn])
    (marked, _) = sent["messages"][0]["content"]
    assert ["cache_control" in part for part in marked["content"]] == [
        *[False] * 2,
        *[True] * 3,
    ]


def test_thinking_blocks_carry_no_breakpoint() -> None:
    blocks = [
        {"type": "text", "length": 1},
        {"type": "thinking", "thinking": "t", "signature": "s"},
    ]
    answer = Message(
        "assistant",
        "b",
        provider_data={"provider": "anthropic", "blocks": blocks},
        metadata={"cache_control": MARK},
    )
    sent = body(messages=[Message("user", "a"), answer, Message("user", "c")])
    assert breakpoints(sent) == ["1:text"]


def test_breakpoint_of_an_empty_message_goes_with_it() -> None:
    empty = Message("assistant", "", metadata={"cache_control": MARK})
    sent = body(messages=[Message("user", "a"), empty, Message("user", "c")])
    assert breakpoints(sent) == []


@pytest.mark.parametrize("cache", [{"ttl": "2h"}, {"keys": "a"}, 3])
def test_unknown_cache_is_refused(cache: Any) -> None:
    with pytest.raises(InvalidRequestError, match="cache is"):
        body(cache=cache)
