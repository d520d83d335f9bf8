"""The mock server over real HTTP, in each provider's own format."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from llmring_lite.mock_faults import FAULTS
from llmring_lite.mock_http import MockRequest
from llmring_lite.mock_server import MockModel, MockServer, main

WIRE = Path(__file__).resolve().parents[1].parent / "shared" / "wire"
KINDS = ("openai", "openai-responses", "anthropic", "google", "ollama")
QUESTION = "héllo  wörld 三 "

WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
CALLS = [{"name": "weather", "arguments": {"city": "Zürich"}}, {"name": "ping"}]

MODELS = {
    "think": MockModel(reasoning="let me see", reply="well then"),
    "call": MockModel(reply="I look.", tool_calls=CALLS),
    "counted": MockModel(
        usage={
            "prompt_tokens": 100,
            "cached_tokens": 40,
            "cache_creation_input_tokens": 10,
            "completion_tokens": 30,
            "reasoning_tokens": 12,
        }
    ),
    "limited": MockModel(status=429, retry_after=1.5, message="Slow down"),
    "filtered": MockModel(reply="no", finish_reason="content_filter"),
}


@pytest.fixture(scope="module")
def server():
    with MockServer(models=MODELS) as running:
        yield running


@pytest.fixture
def http():
    with requests.Session() as session:
        session.trust_env = False
        yield session


# One request in five formats -------------------------------------------------------


def url_and_body(
    server: MockServer,
    kind: str,
    model: str = "m",
    *,
    stream: bool = False,
    **more: Any,
) -> tuple[str, dict[str, Any]]:
    """`more`: text, max_tokens, tools (True offers one)."""
    text, limit = more.get("text", QUESTION), more.get("max_tokens")
    chat = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "stream": stream,
    }
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    function = {"name": "weather", "parameters": WEATHER}
    path, body, limited, tool = {
        "openai": (
            "/chat/completions",
            chat | ({"stream_options": {"include_usage": True}} if stream else {}),
            {"max_tokens": limit},
            {"type": "function", "function": function},
        ),
        "openai-responses": (
            "/responses",
            {"model": model, "input": text, "stream": stream},
            {"max_output_tokens": limit},
            {"type": "function", **function},
        ),
        "anthropic": (
            "/v1/messages",
            chat | {"max_tokens": 1000},
            {"max_tokens": limit},
            {"name": "weather", "input_schema": WEATHER},
        ),
        "google": (
            f"/v1beta/models/{model}:{method}",
            {"contents": [{"role": "user", "parts": [{"text": text}]}]},
            {"generationConfig": {"maxOutputTokens": limit}},
            {"functionDeclarations": [function]},
        ),
        "ollama": (
            "/api/chat",
            chat,
            {"options": {"num_predict": limit}},
            {"type": "function", "function": function},
        ),
    }[kind]
    body |= limited if limit else {}
    body |= {"tools": [tool]} if more.get("tools") else {}
    return server.base_url(kind) + path, body


def post(http, server, kind, model="m", *, stream=False, headers=None, **more):
    url, body = url_and_body(server, kind, model, stream=stream, **more)
    return http.post(url, json=body, headers=headers, timeout=10)


def events_of(response: requests.Response) -> list[Any]:
    """Decoded payloads of an SSE or NDJSON body."""
    text = response.content.decode()
    if "ndjson" in response.headers["content-type"]:
        return [json.loads(line) for line in text.split("\n") if line]
    lines = [line.rstrip("\r") for line in text.split("\n")]
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [json.loads(item) for item in data if item != "[DONE]"]


def at(value: Any, path: str) -> Any:
    """What stands at a path such as `choices.0.message`."""
    for name in path.split("."):
        value = value[int(name) if name.isdigit() else name]
    return value


TEXT = {
    "openai": "choices.0.message.content",
    "openai-responses": "output.0.content.0.text",
    "anthropic": "content.0.text",
    "google": "candidates.0.content.parts.0.text",
    "ollama": "message.content",
}


# Plain replies ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        (
            "openai",
            {
                "object": "chat.completion",
                "choices.0.finish_reason": "stop",
                "usage.prompt_tokens": 3,
                "usage.total_tokens": 6,
            },
        ),
        ("openai-responses", {"status": "completed", "usage.total_tokens": 6}),
        (
            "anthropic",
            {
                "content": [{"type": "text", "text": QUESTION}],
                "stop_reason": "end_turn",
                "usage.input_tokens": 3,
                "usage.output_tokens": 3,
            },
        ),
        (
            "google",
            {
                "candidates.0.content.parts": [{"text": QUESTION}],
                "candidates.0.finishReason": "STOP",
                "usageMetadata.totalTokenCount": 6,
                "modelVersion": "m",
            },
        ),
        (
            "ollama",
            {
                "done": True,
                "done_reason": "stop",
                "prompt_eval_count": 3,
                "eval_count": 3,
            },
        ),
    ],
)
def test_reply_has_the_providers_shape(http, server, kind, facts):
    body = post(http, server, kind).json()
    assert at(body, TEXT[kind]) == QUESTION
    assert {path: at(body, path) for path in facts} == facts


@pytest.mark.parametrize(
    ("kind", "header"), [("openai", "x-request-id"), ("anthropic", "request-id")]
)
def test_request_id_is_in_the_providers_header(http, server, kind, header):
    response = post(http, server, kind)
    assert response.headers["content-type"] == "application/json"
    assert response.headers[header].startswith("req_")


FINISH = {
    "openai": lambda b: b["choices"][0]["finish_reason"],
    "openai-responses": lambda b: (b["incomplete_details"] or {}).get("reason"),
    "anthropic": lambda b: b["stop_reason"],
    "google": lambda b: b["candidates"][0]["finishReason"],
    "ollama": lambda b: b["done_reason"],
}


@pytest.mark.parametrize(
    ("kind", "cut", "called", "filtered"),
    [
        ("openai", "length", "tool_calls", "content_filter"),
        ("openai-responses", "max_output_tokens", None, "content_filter"),
        ("anthropic", "max_tokens", "tool_use", "refusal"),
        ("google", "MAX_TOKENS", "STOP", "SAFETY"),
        ("ollama", "length", "stop", "stop"),
    ],
)
def test_finish_reason_is_the_providers_word(http, server, kind, cut, called, filtered):
    finish = FINISH[kind]
    assert finish(post(http, server, kind, max_tokens=1).json()) == cut
    assert finish(post(http, server, kind, "call", tools=True).json()) == called
    assert finish(post(http, server, kind, "filtered").json()) == filtered


@pytest.mark.parametrize(
    ("kind", "usage"),
    [
        ("openai", {"prompt_tokens": 100, "completion_tokens": 30}),
        ("openai-responses", {"input_tokens": 100, "output_tokens": 30}),
        (
            "anthropic",
            {
                "input_tokens": 50,
                "cache_read_input_tokens": 40,
                "cache_creation_input_tokens": 10,
                "output_tokens": 30,
            },
        ),
        (
            "google",
            {
                "promptTokenCount": 100,
                "cachedContentTokenCount": 40,
                "candidatesTokenCount": 18,
                "thoughtsTokenCount": 12,
                "totalTokenCount": 130,
            },
        ),
        ("ollama", {"prompt_eval_count": 100, "eval_count": 30}),
    ],
)
def test_usage_counts_as_the_provider_does(http, server, kind, usage):
    body = post(http, server, kind, "counted").json()
    told = body.get("usage") or body.get("usageMetadata") or body
    assert {name: told[name] for name in usage} == usage


def test_anthropic_tells_which_stop_sequence_it_was(http, server):
    url, body = url_and_body(server, "anthropic")
    body["stop_sequences"] = ["wör"]
    reply = http.post(url, json=body).json()
    assert (reply["stop_reason"], reply["stop_sequence"]) == ("stop_sequence", "wör")


# Streams ---------------------------------------------------------------------------


def test_openai_stream(http, server):
    response = post(http, server, "openai", stream=True)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.content.endswith(b"data: [DONE]\n\n")
    *chunks, finish, usage = events_of(response)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": "", "refusal": None}
    assert "".join(delta["content"] for delta in deltas) == QUESTION
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 6)
    assert {chunk["usage"] for chunk in chunks} == {None}


def test_openai_stream_without_the_option_has_no_usage(http, server):
    url, body = url_and_body(server, "openai", stream=True)
    del body["stream_options"]
    events = events_of(http.post(url, json=body))
    assert not any("usage" in event for event in events)


def test_openai_stream_of_tool_calls(http, server):
    events = events_of(post(http, server, "openai", "call", stream=True))
    deltas = [e["choices"][0]["delta"] for e in events if e["choices"]]
    parts = [part for d in deltas for part in d.get("tool_calls", ())]
    assert [p["function"]["name"] for p in parts if "id" in p] == ["weather", "ping"]
    first = [p["function"]["arguments"] for p in parts if p["index"] == 0]
    assert first[0] == ""
    assert json.loads("".join(first)) == {"city": "Zürich"}


def test_responses_stream(http, server):
    events = events_of(post(http, server, "openai-responses", "call", stream=True))
    kinds = [event["type"] for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert kinds[:5] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
    ]
    assert kinds[-1] == "response.completed"
    text = [e["delta"] for e in events if e["type"] == "response.output_text.delta"]
    assert "".join(text) == "I look."
    done = [e["item"] for e in events if e["type"] == "response.output_item.done"]
    assert done == events[-1]["response"]["output"]
    assert json.loads(done[1]["arguments"]) == {"city": "Zürich"}


def test_anthropic_stream(http, server):
    response = post(http, server, "anthropic", "call", stream=True)
    events = events_of(response)
    kinds = [event["type"] for event in events]
    names = [
        line.removeprefix("event: ")
        for line in response.text.split("\n")
        if line.startswith("event: ")
    ]
    assert names == kinds
    assert kinds[:3] == ["message_start", "content_block_start", "ping"]
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert events[-2]["delta"]["stop_reason"] == "tool_use"
    deltas = [e for e in events if e["type"] == "content_block_delta"]
    arguments = [e["delta"]["partial_json"] for e in deltas if e["index"] == 1]
    assert json.loads("".join(arguments)) == {"city": "Zürich"}
    # A call without arguments has a fragment all the same, an empty one.
    assert [e["delta"]["partial_json"] for e in deltas if e["index"] == 2] == [""]


def test_google_stream(http, server):
    response = post(http, server, "google", stream=True)
    assert response.headers["content-type"] == "text/event-stream"
    assert response.content.endswith(b"\r\n\r\n")
    events = events_of(response)
    parts = [e["candidates"][0]["content"]["parts"][0]["text"] for e in events]
    assert "".join(parts) == QUESTION
    reasons = [e["candidates"][0].get("finishReason") for e in events]
    assert reasons == [None, None, "STOP"]
    counts = [e["usageMetadata"]["candidatesTokenCount"] for e in events]
    assert counts == [1, 2, 3]


def test_google_stream_without_sse_is_one_json_array(http, server):
    url, body = url_and_body(server, "google", stream=True)
    items = http.post(url.removesuffix("?alt=sse"), json=body).json()
    texts = [item["candidates"][0]["content"]["parts"][0]["text"] for item in items]
    assert "".join(texts) == QUESTION


def test_google_takes_snake_case_field_names(http, server):
    body = {
        "contents": [{"parts": [{"text": "one two"}]}],
        "generation_config": {"max_output_tokens": 1},
    }
    url, _ = url_and_body(server, "google")
    candidate = http.post(url, json=body).json()["candidates"][0]
    assert candidate["finishReason"] == "MAX_TOKENS"


def test_ollama_streams_unless_told_otherwise(http, server):
    url, body = url_and_body(server, "ollama")
    del body["stream"]
    response = http.post(url, json=body)
    assert response.headers["content-type"] == "application/x-ndjson"
    *lines, last = events_of(response)
    assert "".join(line["message"]["content"] for line in lines) == QUESTION
    assert (last["done"], last["eval_count"]) == (True, 3)


def test_ollama_calls_have_arguments_as_an_object(http, server):
    body = post(http, server, "ollama", "call").json()
    functions = [call["function"] for call in body["message"]["tool_calls"]]
    assert [f["arguments"] for f in functions] == [{"city": "Zürich"}, {}]


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("openai", "choices.0.message.reasoning_content"),
        ("openai-responses", "output.0.summary.0.text"),
        ("anthropic", "content.0.thinking"),
        ("google", "candidates.0.content.parts.0.text"),
        ("ollama", "message.thinking"),
    ],
)
def test_reasoning_is_where_the_provider_puts_it(http, server, kind, path):
    body = post(http, server, kind, "think").json()
    assert at(body, path) == "let me see"
    if kind == "google":
        assert at(body, "candidates.0.content.parts.0.thought") is True


def test_stream_comes_at_its_pace(http):
    model = MockModel(tokens_per_second=20, reply="a b c d e f")
    with MockServer(model) as server:
        url, body = url_and_body(server, "openai", stream=True)
        arrivals = []
        begun = time.monotonic()
        with http.post(url, json=body, stream=True) as response:
            while response.raw.read1():
                arrivals.append(time.monotonic() - begun)
        assert arrivals[0] < 6 / 20 <= arrivals[-1]


def test_latency_comes_before_the_headers(http):
    with MockServer(MockModel(latency=0.05)) as server:
        begun = time.monotonic()
        url, body = url_and_body(server, "openai", stream=True)
        http.post(url, json=body, stream=True).close()
        assert time.monotonic() - begun >= 0.05


# As recorded -----------------------------------------------------------------------


def paths_of(value: Any, path: str = "") -> set[str]:
    """Every field of a JSON value, lists entered, such as `.choices[].index`."""
    if isinstance(value, dict):
        found = {path} if path.endswith(("input", "args", "arguments")) else set()
        if found:  # the caller's own fields
            return found
        for name, item in value.items():
            found |= {f"{path}.{name}"} | paths_of(item, f"{path}.{name}")
        return found
    if isinstance(value, list):
        return {p for item in value for p in paths_of(item, f"{path}[]")}
    return set()


def recorded_bodies(file: str, *, stream: bool, error: bool = False) -> list[Any]:
    bodies = []
    with (WIRE / f"{file}.jsonl").open(encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            response = record["response"]
            good = response["status"] == 200
            if good == error or (good and record["streaming"] != stream):
                continue
            text = response["body_text"]
            if not (good and stream):
                bodies.append(json.loads(text))
                continue
            if text.startswith("["):
                bodies.extend(json.loads(text))
                continue
            for line in text.split("\n"):
                line = line.strip().removeprefix("data:").strip()
                if line.startswith("{"):
                    bodies.append(json.loads(line))
    return bodies


# DeepSeek named the field of readable reasoning; OpenAI itself sends none.
RECORDINGS = {
    "openai": ("openai", "deepseek"),
    "openai-responses": ("openai-responses",),
    "anthropic": ("anthropic",),
    "google": ("google",),
    "ollama": ("ollama",),
}


@pytest.mark.skipif(not WIRE.is_dir(), reason="the recordings are not here")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("kind", KINDS)
def test_replies_have_the_fields_of_recorded_ones(http, server, kind, stream):
    recorded: set[str] = set()
    for file in RECORDINGS[kind]:
        for body in recorded_bodies(file, stream=stream):
            recorded |= paths_of(body)
    ours: set[str] = set()
    for model in ("m", "think", "call"):
        response = post(http, server, kind, model, stream=stream, tools=True)
        for body in events_of(response) if stream else [response.json()]:
            ours |= paths_of(body)
    # A schema's own fields come back in the echo of the tools.
    ours = {path for path in ours if ".parameters." not in path}
    assert ours - recorded == set()


@pytest.mark.skipif(not WIRE.is_dir(), reason="the recordings are not here")
@pytest.mark.parametrize("kind", ["openai", "openai-responses", "anthropic", "google"])
def test_errors_have_the_fields_of_recorded_ones(http, server, kind):
    recorded = {
        path
        for body in recorded_bodies(RECORDINGS[kind][0], stream=False, error=True)
        for path in paths_of(body)
    }
    for model in ("fail-500", "fail-x"):
        ours = paths_of(post(http, server, kind, model).json())
        assert ours - recorded == set()


# Errors ----------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        ("openai", {"error.type": "requests", "error.code": "rate_limit_exceeded"}),
        ("anthropic", {"type": "error", "error.type": "rate_limit_error"}),
        ("google", {"error.code": 429, "error.status": "RESOURCE_EXHAUSTED"}),
        ("ollama", {"error": "Slow down"}),
    ],
)
def test_rate_limit_looks_like_the_providers(http, server, kind, facts, stream):
    response = post(http, server, kind, "limited", stream=stream)
    assert response.status_code == 429
    body = response.json()
    assert {path: at(body, path) for path in facts} == facts
    if kind == "google":
        delays = [d.get("retryDelay") for d in body["error"]["details"]]
        assert delays == ["1.5s"]
    else:
        assert response.headers["retry-after"] == "1.5"


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("openai", 404),
        ("openai-responses", 400),
        ("anthropic", 404),
        ("google", 404),
        ("ollama", 404),
    ],
)
def test_unknown_model_is_refused_as_the_provider_does(http, kind, status):
    with MockServer(None, models={"known": MockModel()}) as server:
        response = post(http, server, kind, "knwon")
        assert response.status_code == status
        assert "'known'" in response.text
        assert post(http, server, kind, "known").status_code == 200


@pytest.mark.parametrize(
    ("kind", "header", "status"),
    [
        ("openai", "Authorization", 401),
        ("openai-responses", "Authorization", 401),
        ("openai", "api-key", 401),
        ("anthropic", "x-api-key", 401),
        ("google", "x-goog-api-key", 400),
        ("ollama", "Authorization", 401),
    ],
)
def test_key_is_asked_for_in_the_providers_header(http, kind, header, status):
    prefix = "Bearer " if header == "Authorization" else ""
    with MockServer(api_key="right") as server:
        for key, expected in (("right", 200), ("wrong", status)):
            response = post(http, server, kind, headers={header: prefix + key})
            assert response.status_code == expected
        assert post(http, server, kind).status_code == status
        assert "right" not in repr(server.requests)


@pytest.mark.parametrize(
    ("kind", "change", "complaint"),
    [
        ("openai", {"model": None}, "must provide a model"),
        ("openai-responses", {"previous_response_id": "x"}, "not found"),
        (
            "openai-responses",
            {"input": [{"role": "robot", "content": "x"}]},
            "unknown role 'robot'",
        ),
        ("anthropic", {"max_tokens": None}, "malformed"),
        ("anthropic", {"messages": []}, "at least one message"),
        (
            "anthropic",
            {"messages": [{"role": "system", "content": "x"}]},
            "messages.0.role",
        ),
        (
            "anthropic",
            {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]},
            "non-empty",
        ),
        ("google", {"contents": [{"role": "x", "parts": []}]}, "valid role"),
        (
            "google",
            {"contents": [{"role": "model", "parts": [{"text": "x"}]}]},
            "ends with a user turn",
        ),
        ("ollama", {"messages": [{"role": "x"}]}, "invalid role: x"),
        ("ollama", {"options": {"num_predict": "many"}}, "malformed"),
        ("openai", {"max_tokens": -1}, "must not be negative"),
    ],
)
def test_bad_request_is_refused(http, server, kind, change, complaint):
    url, body = url_and_body(server, kind)
    body |= change
    if change.get("max_tokens", 0) is None:
        complaint = "max_tokens"
        del body["max_tokens"]
    response = http.post(url, json=body)
    assert response.status_code == 400
    assert complaint in response.text


@pytest.mark.parametrize(
    ("kind", "field", "result"),
    [
        ("openai", "messages", {"role": "tool", "tool_call_id": "c9", "content": "r"}),
        (
            "openai-responses",
            "input",
            {"type": "function_call_output", "call_id": "c9", "output": ""},
        ),
        (
            "anthropic",
            "messages",
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c9"}]},
        ),
        (
            "google",
            "contents",
            {"parts": [{"functionResponse": {"name": "c9", "response": {}}}]},
        ),
    ],
)
def test_result_without_a_call_is_refused(http, server, kind, field, result):
    url, body = url_and_body(server, kind)
    response = http.post(url, json=body | {field: [result]})
    assert response.status_code == 400
    assert "'c9' answers no call" in response.text


def test_unknown_path_gets_a_404_in_the_shape_of_its_api(http, server):
    for path, message in [
        ("/v1/embeddings", lambda b: b["error"]["message"]),
        ("/v1/messages/count_tokens", lambda b: b["error"]["message"]),
        ("/v1beta/x", lambda b: b["error"]["message"]),
        ("/api/generate", lambda b: b["error"]),
    ]:
        response = http.post(server.url + path, json={})
        assert response.status_code == 404
        assert path in message(response.json())


def test_models_are_listed_in_each_format(http, server):
    def names(path, key, name, headers=None):
        body = http.get(server.url + path, headers=headers).json()
        return [row[name] for row in body[key]]

    anthropic = {"anthropic-version": "2023-06-01"}
    assert names("/v1/models", "data", "id")[: len(MODELS)] == list(MODELS)
    assert "echo" in names("/v1/models", "data", "id", anthropic)
    assert "models/echo" in names(
        "/v1/models", "models", "name", {"x-goog-api-key": ""}
    )
    assert "models/echo" in names("/v1beta/models", "models", "name")
    assert "echo:latest" in names("/api/tags", "models", "name")
    assert "version" in http.get(server.url + "/api/version").json()


# Several turns ---------------------------------------------------------------------


def continued(kind: str, body: Any, reply: Any, result: str) -> Any:
    """A request with the reply to it, a tool call, and the result of that call."""
    if kind == "openai":
        message = reply["choices"][0]["message"]
        call_id = message["tool_calls"][0]["id"]
        told = {"role": "tool", "tool_call_id": call_id, "content": result}
        return body | {"messages": [*body["messages"], message, told]}
    if kind == "openai-responses":
        [call] = reply["output"]
        told = {"call_id": call["call_id"], "output": result}
        question = {"role": "user", "content": body["input"]}
        return body | {
            "input": [question, call, {"type": f"{call['type']}_output"} | told]
        }
    if kind == "anthropic":
        told = {
            "type": "tool_result",
            "tool_use_id": reply["content"][0]["id"],
            "content": [{"type": "text", "text": result}],
        }
        turns = [
            {"role": "assistant", "content": reply["content"]},
            {"role": "user", "content": [told]},
        ]
        return body | {"messages": body["messages"] + turns}
    if kind == "google":
        response = {"name": "weather", "response": {"result": result}}
        told = {"parts": [{"functionResponse": response}]}
        content = reply["candidates"][0]["content"]
        return body | {"contents": [*body["contents"], content, told]}
    told = {"role": "tool", "tool_name": "weather", "content": result}
    return body | {"messages": [*body["messages"], reply["message"], told]}


@pytest.mark.parametrize("kind", KINDS)
def test_tool_loop(http, server, kind):
    url, body = url_and_body(server, kind, "tools", tools=True)
    body = continued(kind, body, http.post(url, json=body).json(), "sunny")
    assert at(http.post(url, json=body).json(), TEXT[kind]) == "sunny"


# Faults ----------------------------------------------------------------------------


def raw_exchange(server: MockServer, kind: str, model: str, *, stream: bool) -> bytes:
    """Every byte that comes back, up to the end of the connection."""
    url, body = url_and_body(server, kind, model, stream=stream)
    data = json.dumps(body).encode()
    path = url.removeprefix(server.url)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
        sock.sendall(head.encode() + data)
        while piece := sock.recv(65536):
            received += piece
    return received


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_a_model_name(http, server, name):
    url, body = url_and_body(server, "openai", f"fault-{name}")
    errors = {
        "close": requests.ConnectionError,
        "reset": requests.ConnectionError,
        "hang": requests.Timeout,
        "cut": requests.exceptions.ChunkedEncodingError,
        # Which one depends on whether the headers were read before the reset.
        "cut-reset": requests.RequestException,
        "cut-hang": requests.ConnectionError,
    }
    if name in errors:
        with pytest.raises(errors[name]):
            http.post(url, json=body, timeout=0.1)
    else:
        http.post(url, json=body, timeout=(5, 5), stream=True).close()


def test_close_sends_no_byte_and_then_the_end(server):
    assert raw_exchange(server, "openai", "fault-close", stream=False) == b""


@pytest.mark.parametrize("name", ["reset", "cut-reset"])
def test_reset_is_a_reset(server, name):
    with pytest.raises(ConnectionResetError):
        raw_exchange(server, "openai", f"fault-{name}", stream=True)


def test_cut_promises_more_than_it_sends(server):
    raw = raw_exchange(server, "openai", "fault-cut", stream=False)
    head, _, body = raw.partition(b"\r\n\r\n")
    promised = int(head.lower().partition(b"content-length: ")[2].split()[0])
    assert len(body) == promised // 2


def test_cut_stream_has_no_last_chunk(server):
    raw = raw_exchange(server, "openai", "fault-cut", stream=True)
    assert b"data: " in raw
    assert not raw.endswith(b"0\r\n\r\n")


def test_place_of_the_cut_can_be_set(server):
    sizes = []
    for part in (0.1, 0.9):
        with MockServer(MockModel(fault="cut", cut_at=part)) as other:
            sizes.append(len(raw_exchange(other, "openai", "m", stream=True)))
    assert sizes[0] < sizes[1] / 2


@pytest.mark.parametrize("kind", KINDS)
def test_clean_cut_is_a_well_formed_stream_without_its_end(http, server, kind):
    response = post(http, server, kind, "fault-cut-clean", stream=True)
    whole = post(http, server, kind, stream=True)
    assert response.status_code == 200
    assert 0 < len(response.content) < len(whole.content)


@pytest.mark.parametrize("kind", KINDS)
def test_late_error_is_an_event_in_the_providers_shape(http, server, kind):
    response = post(http, server, kind, "fault-late-error", stream=True)
    assert response.status_code == 200
    last = events_of(response)[-1]
    assert "error" in (last, last.get("type")) or "error" in last


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_garbage_is_no_json(http, server, kind, stream):
    response = post(http, server, kind, "fault-garbage", stream=stream)
    assert response.status_code == 200
    with pytest.raises(ValueError):  # noqa: PT011 - of JSON or of UTF-8
        events_of(response) if stream else response.json()


@pytest.mark.parametrize(
    ("name", "status", "content_type"),
    [
        ("html", 502, "text/html; charset=utf-8"),
        ("html-200", 200, "text/html; charset=utf-8"),
        ("wrong-type", 200, "text/plain"),
        ("empty", 200, "application/json"),
    ],
)
def test_answers_that_are_not_what_they_should_be(
    http, server, name, status, content_type
):
    response = post(http, server, "openai", f"fault-{name}")
    assert response.status_code == status
    assert response.headers["content-type"] == content_type
    assert (response.content == b"") == (name == "empty")


def test_redirect_leads_elsewhere(http, server):
    url, body = url_and_body(server, "openai", "fault-redirect")
    response = http.post(url, json=body, allow_redirects=False)
    assert response.status_code == 307
    assert response.headers["location"] == "/redirected"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["split", "drip", "gzip", "close-delimited", "stale"])
def test_odd_but_good_replies_are_complete(http, name, stream):
    with MockServer(MockModel(fault=name, drip=0.00001, reply="ünï")) as server:
        response = post(http, server, "ollama", stream=stream)
        lines = events_of(response) if stream else [response.json()]
        assert "".join(line["message"]["content"] for line in lines) == "ünï"
        assert lines[-1]["done"]
        assert ("content-encoding" in response.headers) == (name == "gzip")
        assert (response.headers.get("connection") == "close") == (
            name == "close-delimited"
        )


def test_drip_takes_its_time_for_each_byte(http):
    with MockServer(MockModel(fault="drip", drip=0.0001)) as server:
        begun = time.monotonic()
        response = post(http, server, "ollama")
        assert time.monotonic() - begun >= len(response.content) * 0.0001


def test_stale_connection_is_closed_without_notice(server):
    raw = raw_exchange(server, "openai", "fault-stale", stream=False)
    assert b"connection: close" not in raw.lower()
    assert raw.endswith(b"}\n")


def test_faults_of_the_server_come_in_turn(http):
    with MockServer(faults=[503, None, {"reply": "other"}, "html"]) as server:
        answers = [post(http, server, "openai") for _ in range(5)]
        statuses = [answer.status_code for answer in answers]
        assert statuses == [503, 200, 200, 502, 200]
        texts = [at(answers[n].json(), TEXT["openai"]) for n in (1, 2)]
        assert texts == [QUESTION, "other"]


def test_options_come_in_the_body_of_a_request(http, server):
    url, body = url_and_body(server, "anthropic")
    reply = http.post(url, json=body | {"mock": {"reply": "mine"}}).json()
    assert reply["content"][0]["text"] == "mine"
    refused = http.post(url, json=body | {"mock": {"repl": "mine"}})
    assert refused.status_code == 400
    assert "did you mean 'reply'" in refused.json()["error"]["message"]


# The server itself -----------------------------------------------------------------


def test_requests_are_recorded(http):
    with MockServer() as server:
        post(http, server, "google", headers={"X-Goog-Api-Key": "k"}, stream=True)
        recorded = server.requests[0]
    assert isinstance(recorded, MockRequest)
    assert recorded.path == "/v1beta/models/m:streamGenerateContent?alt=sse"
    assert recorded.headers["x-goog-api-key"] == "k"
    assert recorded.json["contents"][0]["parts"][0]["text"] == QUESTION


def test_chunked_request_is_read(http, server):
    url, body = url_and_body(server, "openai")
    data = json.dumps(body).encode()
    response = http.post(url, data=iter([data[:9], data[9:]]))
    assert at(response.json(), TEXT["openai"]) == QUESTION


def test_connection_is_kept_for_the_next_request(http):
    with MockServer() as server:
        for kind in KINDS:
            for stream in (False, True):
                post(http, server, kind, stream=stream)
                post(http, server, kind, "fail-500", stream=stream)
        assert server.connections == 1


def test_many_clients_are_served_at_once():
    with MockServer(MockModel(latency=0.2)) as server:
        url, body = url_and_body(server, "openai")
        threads = [
            threading.Thread(target=lambda: requests.post(url, json=body, timeout=10))
            for _ in range(8)
        ]
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - begun < 8 * 0.2
        assert len(server.requests) == 8


def test_client_that_hangs_up_is_noticed(http):
    with MockServer(MockModel(fault="hang")) as server:
        url, body = url_and_body(server, "openai")
        with pytest.raises(requests.Timeout):
            http.post(url, json=body, timeout=0.05)
        end = time.monotonic() + 5
        while not server.abandoned and time.monotonic() < end:
            time.sleep(0.005)
        assert server.abandoned == 1


def test_stopped_server_refuses_and_may_start_again(http):
    server = MockServer().start()
    url = server.url
    post(http, server, "openai")
    server.stop()
    server.stop()
    with pytest.raises(requests.ConnectionError):
        http.get(f"{url}/v1/models")
    with server:
        assert server.url == url
        assert http.get(f"{url}/v1/models").status_code == 200


def test_stopping_leaves_no_thread_and_waits_for_nobody():
    before = set(threading.enumerate())
    with MockServer(MockModel(fault="hang")) as server:
        url, body = url_and_body(server, "openai")
        errors = []

        def call():
            try:
                requests.post(url, json=body, timeout=10)
            except requests.ConnectionError as error:
                errors.append(error)

        client = threading.Thread(target=call)
        client.start()
        while not server.requests:
            time.sleep(0.005)
        begun = time.monotonic()
    assert time.monotonic() - begun < 2
    client.join()
    assert len(errors) == 1
    # Others may have ended meanwhile: those of the server that all tests share.
    assert set(threading.enumerate()) <= before


def test_port_that_is_taken_is_an_error(server):
    with pytest.raises(OSError, match="in use"):
        MockServer(port=server.port).start()


def test_base_url_of_an_unknown_kind_is_an_error(server):
    with pytest.raises(ValueError, match="known are openai, "):
        server.base_url("bedrock")


@pytest.mark.parametrize(
    "data",
    [b"\r\n\r\n", b"GET\r\n\r\n", b"POST /v1/x HTTP/1.1\r\nContent-Length: x\r\n\r\n"],
)
def test_broken_http_ends_the_connection_and_nothing_else(http, server, data):
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass
    assert post(http, server, "openai").status_code == 200


def test_command_prints_where_it_listens_and_ends_on_interrupt(http):
    command = [sys.executable, "-m", "llmring_lite.mock_server", "--reply", "hi"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[1],
    ) as process:
        lines = [process.stdout.readline().split() for _ in KINDS]
        assert [line[0] for line in lines] == list(KINDS)
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
        reply = http.post(f"{lines[0][1]}/chat/completions", json=body).json()
        assert reply["choices"][0]["message"]["content"] == "hi"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr.read() == ""


def test_command_refuses_bad_options(capsys, server):
    with pytest.raises(SystemExit) as caught:
        main(["--latency", "-1"])
    assert caught.value.code == 2
    assert "latency must be" in capsys.readouterr().err
    assert main(["--port", str(server.port)]) == 1
    assert "in use" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--port", "99999"])
    assert "0 to 65535, not 99999" in capsys.readouterr().err
