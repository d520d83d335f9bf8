"""What mock models answer, by options and prompt; and the mock in process."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import threading
from dataclasses import fields
from math import inf
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmring_lite.deadline import Deadline
from llmring_lite.exceptions import (
    InvalidRequestError,
    ProviderConnectionError,
    ProviderResponseError,
    ProviderTimeoutError,
)
from llmring_lite.framing import iter_sse
from llmring_lite.mock import FORMATS, MODELS, Mock, MockModel, named_model
from llmring_lite.mock_faults import FAULTS
from llmring_lite.mock_reply import count_words, first_words, split_words
from llmring_lite.mock_sample import sample
from llmring_lite.provider import BUILTIN, load_wire_format
from llmring_lite.provider_mock import MockProvider
from llmring_lite.schemas import LLMRequest, Message

TEXTS = st.text(alphabet=st.characters(codec="utf-8"))

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    },
}


# Options --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"latncy": 1}, "did you mean 'latency'?"),
        ({"zzzzzzzz": 1}, "Known are code, cut_at"),
        ({"latency": -1}, "latency must be seconds, 0 or more, not -1"),
        ({"latency": True}, "latency must be"),
        ({"latency": inf}, "latency must be"),
        ({"tokens_per_second": 0}, "above 0"),
        ({"status": 200}, "from 400 to 599"),
        ({"status": "503"}, "from 400 to 599"),
        ({"fault": "rest"}, "did you mean 'reset'?"),
        ({"fail_first": 2}, "need status or fault"),
        ({"fail_first": -1, "status": 500}, "a count"),
        ({"script": "text"}, "a list of texts"),
        ({"script": ["ok", 200]}, "a list of texts"),
        ({"script": ["ok", {"rply": "x"}]}, "answer 2: unknown mock option 'rply'"),
        ({"script": [{"script": ["x"]}]}, "answer 1: a script can't hold a script"),
        ({"tool_calls": [{"nam": "f"}]}, "tool_calls must be a list"),
        ({"tool_calls": [{"name": "f", "arguments": "{}"}]}, "tool_calls must be"),
        ({"finish_reason": "done"}, "one of stop, length"),
        ({"usage": {"input": 1}}, "counts of prompt_tokens"),
        ({"mode": "ech"}, "one of echo, json, tools"),
        ({"headers": {"x": "a\r\nb: c"}}, "printable ASCII"),
        ({"cut_at": 1.5}, "from 0 to 1"),
        ("echo", "must be a table"),
    ],
)
def test_bad_option_is_refused_with_name_and_remedy(options, complaint):
    with pytest.raises(InvalidRequestError) as caught:
        MockModel().override(options)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("echo", MockModel()),
        ("fail-529", MockModel(status=529)),
        ("fault-reset", MockModel(fault="reset")),
        ("slow-0.25", MockModel(latency=0.25)),
        ("fail-200", None),
        ("fail-x", None),
        ("fault-nothing", None),
        ("slow-nan", None),
        ("slow-", None),
        ("gpt", None),
    ],
)
def test_name_stands_for_a_model(name, expected):
    assert named_model(name) == expected


@pytest.mark.parametrize(
    ("model", "outcomes"),
    [
        (MockModel(status=503), [503, 503, 503]),
        (MockModel(status=503, fail_first=2), [503, 503, "hi", "hi"]),
        (MockModel(status=429, fail_after=1), ["hi", 429, 429]),
        (MockModel(status=500, fail_first=1, fail_after=2), [500, "hi", 500]),
        (MockModel(script=["one", 503, "two"]), ["one", 503, "two"]),
        (MockModel(script=["one", {"reply": "two"}]), ["one", "two"]),
        (MockModel(script=["one"], status=503, fail_first=1), [503, "one"]),
    ],
)
def test_calls_fail_and_play_in_turn(model, outcomes):
    mock = Mock({"m": model})
    assert [outcome(mock, "m") for _ in outcomes] == outcomes


def test_call_beyond_the_script_is_refused():
    mock = Mock({"m": MockModel(script=["only"])})
    assert outcome(mock, "m") == "only"
    answer = ask(mock, {"model": "m"})
    assert answer.status == 400
    assert b"the script has 1 answers, and this is call 2" in answer.body


def test_calls_are_counted_for_each_set_of_options_by_itself():
    mock = Mock()
    first = {"mock": {"script": ["a", "b"]}}
    assert outcome(mock, "echo", **first) == "a"
    assert outcome(mock, "echo", mock={"script": ["x", "y"]}) == "x"
    assert outcome(mock, "echo", **first) == "b"


def test_fault_entry_leaves_the_script_alone():
    mock = Mock({"m": MockModel(script=["one", "two"])}, faults=[503, None, 429])
    assert [outcome(mock, "m") for _ in range(4)] == [503, "one", 429, "two"]


def test_bad_fault_entry_is_refused_when_it_is_given():
    with pytest.raises(InvalidRequestError, match="did you mean 'cut'"):
        Mock(faults=["cutt"])


def test_request_options_replace_a_script():
    mock = Mock({"m": MockModel(script=["one"])})
    assert outcome(mock, "m", mock={"reply": "mine"}) == "mine"


def test_unknown_model_gets_a_404_with_the_nearest_name():
    answer = ask(Mock({"agent": MockModel()}), {"model": "agnet"})
    assert answer.status == 404
    assert b"Did you mean 'agent'?" in answer.body


def test_default_answers_for_unknown_names_but_not_for_misspelt_families():
    mock = Mock(default=MockModel(reply="yes"))
    assert outcome(mock, "gpt-4o") == "yes"
    assert outcome(mock, "fail-5o3") == 404


def ask(mock: Mock, body: dict) -> object:
    body = {"messages": [{"role": "user", "content": "hi"}], **body}
    return mock.answer("openai", "/v1/chat/completions", {}, json.dumps(body).encode())


def reply(mock: Mock, model: str, **fields: object) -> dict:
    answer = ask(mock, {"model": model, **fields})
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def outcome(endpoint: Mock, model: str, **fields: object) -> object:
    answer = ask(endpoint, {"model": model, **fields})
    if answer.status != 200:
        return answer.status
    return json.loads(answer.body)["choices"][0]["message"]["content"]


# Replies --------------------------------------------------------------------------


@given(TEXTS)
def test_echo_is_exactly_the_last_user_text(text):
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "before"},
        {"role": "assistant", "content": "answer"},
        {"role": "user", "content": text},
    ]
    assert outcome(Mock(), "echo", messages=messages) == text


@given(TEXTS)
def test_split_words_joined_are_the_text(text):
    pieces = split_words(text)
    assert "".join(pieces) == text
    assert len(pieces) == max(count_words(text), 1 if text else 0)


@given(TEXTS, st.integers(0, 5))
def test_first_words_are_a_prefix_with_so_many_words(text, count):
    cut = first_words(text, count)
    assert text.startswith(cut)
    assert count_words(cut) == min(count, count_words(text))


@pytest.mark.parametrize(
    ("limit", "text", "reason"),
    [
        (1, "one", "length"),
        (2, "one  two", "length"),
        (3, "one  two\nthree ", "stop"),
        (9, "one  two\nthree ", "stop"),
    ],
)
def test_max_tokens_cuts_after_so_many_words(limit, text, reason):
    messages = [{"role": "user", "content": "one  two\nthree "}]
    body = reply(Mock(), "echo", messages=messages, max_tokens=limit)
    choice = body["choices"][0]
    assert choice["message"]["content"] == text
    assert choice["finish_reason"] == reason
    assert body["usage"]["completion_tokens"] == len(text.split())


def test_stop_sequence_ends_the_reply_in_front_of_it():
    messages = [{"role": "user", "content": "alpha bravo charlie"}]
    body = reply(Mock(), "echo", messages=messages, stop=["charlie", "bravo"])
    assert body["choices"][0]["message"]["content"] == "alpha "
    assert body["choices"][0]["finish_reason"] == "stop"


def test_tokens_are_words_of_the_whole_conversation():
    messages = [
        {"role": "system", "content": "one two"},
        {"role": "user", "content": [{"type": "text", "text": "three"}]},
        {"role": "assistant", "content": "four five"},
        {"role": "user", "content": "six seven"},
    ]
    usage = reply(Mock(), "echo", messages=messages)["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (7, 2)


def test_same_call_gets_the_same_bytes():
    body = {"model": "tools", "tools": [WEATHER]}
    assert ask(Mock(), body) == ask(Mock(), body)


def test_ids_of_calls_differ_within_a_reply_and_between_replies():
    calls = [{"name": "f"}, {"name": "f"}]
    mock = Mock({"m": MockModel(tool_calls=calls)})
    ids = [
        call["id"]
        for _ in range(3)
        for call in reply(mock, "m")["choices"][0]["message"]["tool_calls"]
    ]
    assert len(set(ids)) == 6


def test_given_id_of_a_call_is_kept():
    mock = Mock({"m": MockModel(tool_calls=[{"name": "f", "id": "mine"}])})
    message = reply(mock, "m")["choices"][0]["message"]
    assert message["tool_calls"][0]["id"] == "mine"
    assert message["content"] is None


def test_tools_model_calls_the_first_tool_and_then_tells_the_result():
    mock = Mock()
    user = {"role": "user", "content": "Rain?"}
    first = reply(mock, "tools", messages=[user], tools=[WEATHER])["choices"][0]
    call = first["message"]["tool_calls"][0]
    assert first["finish_reason"] == "tool_calls"
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"]).keys() == {"city", "days"}
    result = {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}
    messages = [user, first["message"], result]
    last = reply(mock, "tools", messages=messages, tools=[WEATHER])["choices"][0]
    assert last["message"]["content"] == "sunny"
    assert last["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("auto", None),
        ("none", None),
        ("required", "first"),
        ({"type": "function", "function": {"name": "second"}}, "second"),
    ],
)
def test_forced_tool_is_called_by_every_model(choice, called):
    tools = [
        {"type": "function", "function": {"name": name}} for name in ("first", "second")
    ]
    message = reply(Mock(), "echo", tools=tools, tool_choice=choice)["choices"][0][
        "message"
    ]
    names = [call["function"]["name"] for call in message.get("tool_calls", ())]
    assert names == ([called] if called else [])


def test_forced_tool_takes_its_arguments_from_a_reply_that_is_an_object():
    mock = Mock({"m": MockModel(reply='{"city": "Rome"}')})
    choice = reply(mock, "m", tools=[WEATHER], tool_choice="required")["choices"][0]
    arguments = choice["message"]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"city": "Rome"}


def test_forced_tool_that_is_not_offered_is_refused():
    choice = {"type": "function", "function": {"name": "other"}}
    answer = ask(Mock(), {"model": "echo", "tools": [WEATHER], "tool_choice": choice})
    assert answer.status == 400
    assert b"'other' is not among the tools" in answer.body


def test_json_model_fits_the_schema():
    schema = {"type": "object", "properties": {"n": {"enum": [3]}}, "required": ["n"]}
    format_ = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert outcome(Mock(), "json", response_format=format_) == '{"n":3}'


def test_json_model_without_a_schema_answers_an_object():
    text = outcome(Mock(), "json", response_format={"type": "json_object"})
    assert json.loads(text) == {"echo": "hi"}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"const": 7}, 7),
        ({"type": ["null", "boolean"]}, True),
        ({"type": "null"}, None),
        ({"type": "STRING"}, "text"),
        ({"type": "string", "minLength": 6}, "textxx"),
        ({"type": "string", "maxLength": 2}, "te"),
        ({"type": "string", "format": "date"}, "2025-01-01"),
        ({"type": "integer"}, 0),
        ({"type": "integer", "minimum": 5, "multipleOf": 3}, 6),
        ({"type": "integer", "exclusiveMinimum": 5}, 6),
        ({"type": "integer", "maximum": -2}, -2),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"type": "number", "minimum": 0.25}, 0.25),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [0, 0]),
        ({"type": "array", "items": {"const": 1}, "maxItems": 0}, []),
        ({"type": "array", "prefixItems": [{"const": 1}], "items": {}}, [1]),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 0),
        ({"properties": {"a": {"const": 1}}}, {"a": 1}),
        (
            {
                "allOf": [
                    {"properties": {"a": {"const": 1}}},
                    {"properties": {"b": {"const": 2}}, "type": "object"},
                ]
            },
            {"a": 1, "b": 2},
        ),
        ({"$defs": {"x": {"const": 1}}, "$ref": "#/$defs/x"}, 1),
        (True, None),
    ],
)
def test_sample_fits_its_schema(schema, value):
    assert sample(schema) == value


def test_sample_of_a_recursive_schema_ends():
    node = {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["next"],
    }
    value = sample(node)
    while value is not None:
        value = value["next"]


def test_malformed_conversations_are_refused():
    call = {"id": "c1", "type": "function", "function": {"name": "f"}}
    for messages, complaint in [
        ([], b"at least one message"),
        ([{"role": "robot", "content": "x"}], b"unknown role 'robot'"),
        ([{"role": "assistant", "tool_calls": [call]}], b"'c1' has no result"),
        (
            [{"role": "tool", "tool_call_id": "c1", "content": "x"}],
            b"'c1' answers no call",
        ),
        ("hello", b"malformed"),
        ([{"content": "x"}], b"malformed (KeyError: 'role')"),
    ]:
        answer = ask(Mock(), {"model": "echo", "messages": messages})
        assert answer.status == 400
        assert complaint in answer.body


@pytest.mark.parametrize("wire", sorted(FORMATS))
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"model": 3}', b"\xff", b"[" * 100_000],
    ids=["empty", "cut", "list", "null", "no messages", "no text", "deep"],
)
def test_no_request_is_bad_enough_to_get_no_answer(wire, body):
    answer = Mock().answer(wire, "/v1beta/models/echo:generateContent", {}, body)
    assert answer.status == 400
    assert json.loads(answer.body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=3),
    lambda item: (
        st.lists(item, max_size=2)
        | st.dictionaries(st.sampled_from(["type", "text", "name"]), item, max_size=2)
    ),
    max_leaves=4,
)

# A request that is right in every wire format.
RIGHT = {
    "model": "tools",
    "max_tokens": 9,
    "stream": True,
    "stop": ["x"],
    "messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}],
    "contents": [{"role": "user", "parts": [{"text": "q"}]}],
    "generationConfig": {"maxOutputTokens": 9, "stopSequences": ["x"]},
    "input": [{"role": "user", "content": [{"type": "input_text", "text": "q"}]}],
    "options": {"num_predict": 9},
    "response_format": {"type": "json_schema", "json_schema": {"schema": {}}},
    "text": {"format": {"type": "json_schema", "schema": {"type": "array"}}},
    "mock": {"script": ["one", {"reply": "two"}], "usage": {"prompt_tokens": 3}},
}


def replaced(value: object, place: int, new: object) -> object:
    """A copy in which the node at a place, counted in depth first order, is new."""
    count = iter(range(1_000_000))

    def copy(node: object) -> object:
        if next(count) == place:
            return new
        if isinstance(node, dict):
            return {name: copy(item) for name, item in node.items()}
        if isinstance(node, list):
            return [copy(item) for item in node]
        return node

    return copy(value)


@given(
    wire=st.sampled_from(sorted(FORMATS)),
    place=st.integers(1, 60),
    new=JSON,
    tool=JSON,
    choice=st.sampled_from(["required", {"type": "any"}, None]),
)
def test_request_with_anything_anywhere_gets_an_answer(wire, place, new, tool, choice):
    function = {"name": "f", "parameters": tool}
    tools = {
        "anthropic": {"name": "f", "input_schema": tool},
        "google": {"functionDeclarations": [function]},
        "openai-responses": {"type": "function", **function},
    }.get(wire, {"type": "function", "function": function})
    request = replaced({**RIGHT, "tools": [tools], "tool_choice": choice}, place, new)
    answer = Mock(default=MockModel()).answer(
        wire,
        "/v1beta/models/tools:streamGenerateContent?alt=sse",
        {},
        json.dumps(request).encode(),
    )
    assert answer.status in (200, 400, 404)
    assert b"".join(data for _, data in answer.pieces())


@given(wire=st.sampled_from(sorted(FORMATS)), fault=st.sampled_from(sorted(FAULTS)))
def test_every_fault_applies_to_every_format_whole_and_streamed(wire, fault):
    mock = Mock(default=MockModel(fault=fault, reply="some words here"))
    for stream in (False, True):
        method = "streamGenerateContent" if stream else "generateContent"
        answer = mock.answer(
            wire,
            f"/v1beta/models/m:{method}?alt=sse",
            {},
            json.dumps(
                {
                    "model": "m",
                    "max_tokens": 9,
                    "messages": [{"role": "user", "content": "q"}],
                    "contents": [{"parts": [{"text": "q"}]}],
                    "input": "q",
                    "stream": stream,
                }
            ).encode(),
        )
        assert all(delay >= 0 for delay, _ in answer.pieces())


# The documentation -----------------------------------------------------------------


DOCS = Path(__file__).resolve().parents[1] / "docs" / "mock.md"


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("Models", {*MODELS, "slow-SECONDS", "fail-STATUS", "fault-NAME"}),
        ("Options", {option.name for option in fields(MockModel)}),
        ("Faults", set(FAULTS)),
    ],
)
def test_documentation_has_a_row_for_everything_and_no_more(heading, names):
    text = DOCS.read_text(encoding="utf-8")
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?`) \|", section, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(.+?)`", row)} == names


@pytest.mark.parametrize(
    "example",
    re.findall(r"^```python\n(.+?)^```", DOCS.read_text("utf-8"), re.DOTALL | re.M),
    ids=lambda text: text.strip().splitlines()[-1].strip(),
)
def test_example_of_the_documentation_runs(example):
    exec(compile(example, "docs/mock.md", "exec"), {})


# In process -----------------------------------------------------------------------


@pytest.fixture
def provider():
    return MockProvider(BUILTIN["mock"])


def chat(provider, model="echo", text="hello there", *, seconds=5.0, **fields):
    request = LLMRequest(model=model, messages=[Message("user", text)], **fields)
    wire = load_wire_format("mock")
    built = wire.build_request(request, provider.endpoint)
    if request.stream:
        opened = provider.stream(built, None, Deadline(seconds))
        assert opened.status == 200, opened.read()
        return list(wire.parse_stream(iter_sse(opened.chunks()), request))
    answer = provider.send(built, None, Deadline(seconds))
    assert answer.status == 200, answer.body
    return wire.parse_response(json.loads(answer.body), request)


def test_mock_answers_in_process_through_the_mapper(provider):
    response = chat(provider)
    assert response.content == "hello there"
    assert response.finish_reason == "stop"
    assert response.usage["total_tokens"] == 4


def test_mock_streams_in_process_through_the_mapper(provider):
    chunks = chat(provider, stream=True)
    assert [chunk.delta for chunk in chunks if chunk.delta] == ["hello", " there"]
    assert chunks[-1].finish_reason == "stop"
    assert chunks[-1].usage["completion_tokens"] == 2


def test_options_come_with_the_request(provider):
    extra = {"mock": {"reply": "mine", "reasoning": "hm"}}
    response = chat(provider, extra_params=extra)
    assert (response.content, response.reasoning) == ("mine", "hm")


def test_misspelt_option_of_a_request_is_refused_before_it_is_sent(provider):
    with pytest.raises(InvalidRequestError, match="did you mean 'reply'"):
        chat(provider, extra_params={"mock": {"repy": "mine"}})
    assert not provider.requests


def test_own_models_are_added_on_the_provider(provider):
    provider.models["agent"] = MockModel(script=["one", "two"])
    assert [chat(provider, "agent").content for _ in range(2)] == ["one", "two"]
    assert provider.requests[0]["model"] == "agent"


def test_latency_beyond_the_deadline_is_a_timeout(provider):
    with pytest.raises(ProviderTimeoutError):
        chat(provider, "slow-60", seconds=0.01)


def test_slow_stream_runs_into_the_deadline(provider):
    options = {"tokens_per_second": 0.1}
    with pytest.raises(ProviderTimeoutError):
        chat(provider, stream=True, seconds=0.01, extra_params={"mock": options})


@pytest.mark.parametrize(
    ("fault", "stream", "error"),
    [
        ("close", False, ProviderConnectionError),
        ("reset", True, ProviderConnectionError),
        ("hang", False, ProviderTimeoutError),
        ("cut", False, ProviderResponseError),
        ("cut", True, ProviderResponseError),
        ("cut-reset", True, ProviderResponseError),
        ("cut-hang", True, ProviderTimeoutError),
        ("redirect", False, ProviderResponseError),
        ("late-error", True, ProviderResponseError),
    ],
)
def test_fault_in_process_raises_what_the_transport_would(
    provider, fault, stream, error
):
    with pytest.raises(error):
        chat(provider, f"fault-{fault}", stream=stream, seconds=0.05)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "fault", ["split", "drip", "gzip", "close-delimited", "stale", "wrong-type"]
)
def test_odd_but_good_reply_is_complete_in_process(provider, fault, stream):
    extra = {"mock": {"drip": 1e-6}}
    reply = chat(provider, f"fault-{fault}", stream=stream, extra_params=extra)
    if stream:
        assert "".join(chunk.delta for chunk in reply) == "hello there"
    else:
        assert reply.content == "hello there"


def test_cut_reply_holds_what_had_arrived(provider):
    with pytest.raises(ProviderResponseError) as caught:
        chat(provider, "fault-cut")
    assert caught.value.partial.startswith('{\n  "id": "chatcmpl-')


def test_hang_without_a_timeout_ends_when_the_call_is_cancelled(provider):
    deadline = Deadline(None)
    request = LLMRequest(model="fault-hang", messages="x")
    built = load_wire_format("mock").build_request(request, provider.endpoint)
    threading.Timer(0.01, deadline.cancel).start()
    with pytest.raises(ProviderResponseError, match="hung up by the caller"):
        provider.send(built, None, deadline)


def test_closed_stream_yields_no_more(provider):
    request = LLMRequest(model="echo", messages="a b c", stream=True)
    built = load_wire_format("mock").build_request(request, provider.endpoint)
    opened = provider.stream(built, None, Deadline(5))
    chunks = opened.chunks()
    next(chunks)
    opened.close()
    with pytest.raises(ProviderResponseError):
        next(chunks)


def test_body_that_is_no_json_is_refused(provider):
    extra = {"extra_body": float("nan")}
    with pytest.raises(InvalidRequestError, match="can't be written as JSON"):
        chat(provider, extra_params=extra)


def test_provider_pickles_with_its_models(provider):
    provider.models["agent"] = MockModel(reply="yes")
    copy = pickle.loads(pickle.dumps(provider))
    assert chat(copy, "agent").content == "yes"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_process_has_a_lock_of_its_own(provider):
    with provider._mock._lock:
        child = os.fork()
        if child == 0:
            os._exit(0 if chat(provider).content == "hello there" else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_import_of_the_provider_table_loads_no_mock():
    code = (
        "import sys, llmring_lite.provider, llmring_lite.schemas\n"
        "sys.exit(any('mock' in name for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
