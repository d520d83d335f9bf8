"""Chat Completions, receiving: streams."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmring_lite.exceptions import (
    ProviderOverloadedError,
    ProviderRateLimitError,
    ProviderResponseError,
)
from llmring_lite.provider import StreamEvent
from llmring_lite.provider_openai import parse_response, parse_stream
from llmring_lite.schemas import LLMRequest

REQUEST = LLMRequest("gpt-4o", "hi")
DONE = StreamEvent("", "[DONE]")
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def event(payload, name=""):
    return StreamEvent(name, json.dumps(payload))


def envelope(**more):
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1741569952,
        "model": "gpt-4o-2024-08-06",
        **more,
    }


def piece(delta, finish_reason=None, index=0, **more):
    choice = {"index": index, "delta": delta, "finish_reason": finish_reason}
    return event(envelope(choices=[choice], **more))


def text(content):
    return piece({"content": content})


def end(finish_reason="stop", **more):
    return piece({}, finish_reason, **more)


def chunks_of(*events):
    return list(parse_stream(iter(events), REQUEST))


def last_of(*events):
    *_, last = chunks_of(*events)
    assert last.finish_reason
    return last


def content_of(*events):
    return "".join(chunk.delta for chunk in chunks_of(*events))


def calls_of(*events):
    return [call for chunk in chunks_of(*events) for call in chunk.tool_calls or []]


def test_a_stream_as_openai_documents_it():
    chunks = chunks_of(
        piece({"role": "assistant", "content": "", "refusal": None}, usage=None),
        piece({"content": "Hel"}, usage=None),
        piece({"content": "lo"}, usage=None),
        end(usage=None),
        event(envelope(choices=[], usage=USAGE)),
        DONE,
    )
    assert [chunk.delta for chunk in chunks] == ["Hel", "lo", ""]
    assert [chunk.finish_reason for chunk in chunks] == [None, None, "stop"]
    assert [chunk.usage for chunk in chunks] == [None, None, USAGE]
    assert chunks[-1].model == "gpt-4o-2024-08-06"
    assert chunks[-1].tool_calls is None
    assert chunks[-1].provider_data is None


def test_the_last_chunk_has_the_envelope_of_a_reply_without_its_text():
    raw = last_of(
        text("Hello"),
        end("stop", system_fingerprint="fp_1"),
        event(envelope(choices=[], usage=USAGE)),
        DONE,
    ).raw
    assert raw["id"] == "chatcmpl-1"
    assert raw["usage"] == USAGE
    assert raw["system_fingerprint"] == "fp_1"
    assert raw["choices"][0]["finish_reason"] == "stop"
    assert "Hello" not in json.dumps(raw)


# Where a stream ends -------------------------------------------------------------


@pytest.mark.parametrize(
    "events",
    [
        [text("a"), end(), DONE],
        [text("a"), end()],
        [text("a"), end(), event(envelope(choices=[], usage=USAGE))],
        [text("a"), DONE],
        [piece({"content": "a"}, "stop")],
        [text("a"), end(), end(), DONE],
        [text("a"), piece({}, ""), DONE],
        [text("a"), end(), StreamEvent("", "[DONE] ")],
        [text("a"), end(), DONE, text("b")],
    ],
)
def test_a_finish_reason_or_the_marker_completes_a_stream(events):
    assert content_of(*events) == "a"
    assert last_of(*events).finish_reason == "stop"


@pytest.mark.parametrize(
    "events",
    [
        [],
        [text("a")],
        [text("a"), event(envelope(choices=[], usage=USAGE))],
        [piece({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f"}}]})],
    ],
)
def test_a_stream_that_was_cut_has_no_last_chunk_and_no_calls(events):
    chunks = chunks_of(*events)
    assert not any(chunk.finish_reason or chunk.tool_calls for chunk in chunks)


def test_blank_events_say_nothing():
    blank = [StreamEvent("", ""), StreamEvent("ping", "  ")]
    assert content_of(*blank, text("a"), *blank, end(), DONE) == "a"


def test_a_finish_reason_after_each_call_completes_nothing():
    first, second = (
        [
            piece({"tool_calls": [{"index": n, "id": f"c{n}", "function": begun}]}),
            piece({"tool_calls": [{"index": n, "function": rest}]}, "tool_calls"),
        ]
        for n, begun, rest in (
            (0, {"name": "f", "arguments": '{"a"'}, {"arguments": ":1}"}),
            (1, {"name": "g", "arguments": '{"b"'}, {"arguments": ":2}"}),
        )
    )
    cut = chunks_of(*first, second[0])
    assert not any(chunk.finish_reason or chunk.tool_calls for chunk in cut)
    for marker in ((), (DONE,)):
        chunks = chunks_of(*first, *second, *marker)
        names = [c["function"]["name"] for x in chunks for c in x.tool_calls or ()]
        assert names == ["f", "g"]
        assert chunks[-1].finish_reason == "tool_calls"


@pytest.mark.parametrize("delta", [{}, {"role": "assistant", "content": ""}, None])
def test_an_empty_event_after_the_finish_reason_is_no_continuation(delta):
    assert last_of(text("a"), end("length"), piece(delta)).finish_reason == "length"


@pytest.mark.parametrize(
    ("word", "reason"),
    [("length", "length"), ("eos", "stop"), ("content_filter", "content_filter")],
)
def test_the_finish_reason_is_one_of_four_words(word, reason):
    assert last_of(text("a"), end(word), DONE).finish_reason == reason


# Usage ---------------------------------------------------------------------------


def counts(total):
    return {**USAGE, "completion_tokens": total - 3, "total_tokens": total}


@pytest.mark.parametrize(
    "events",
    [
        [text("a"), end(), event(envelope(choices=[], usage=USAGE)), DONE],
        [text("a"), end(usage=USAGE), DONE],
        [
            piece({"content": "a"}, usage=counts(4)),
            end(usage=USAGE),
            event(envelope(choices=[], usage=None)),
            DONE,
        ],
        [piece({"content": "a"}, usage=counts(4)), end(), end(usage=USAGE)],
        [event(envelope(choices=[], usage=counts(3))), text("a"), end(usage=USAGE)],
        [text("a"), end(x_groq={"usage": USAGE}), DONE],
    ],
)
def test_usage_is_the_last_that_came_wherever_it_came(events):
    assert last_of(*events).usage == USAGE
    assert [chunk.usage for chunk in chunks_of(*events)[:-1]] == [None]


def test_a_server_may_send_no_usage():
    assert last_of(text("a"), end(), DONE).usage == {}


# Content -------------------------------------------------------------------------


def test_only_the_first_candidate_is_the_reply():
    events = [
        piece({"content": "a"}),
        piece({"content": "x"}, index=1),
        piece({"content": "b"}),
        piece({}, "length", index=1),
        end(),
        DONE,
    ]
    assert content_of(*events) == "ab"
    assert last_of(*events).finish_reason == "stop"


def test_candidates_may_share_an_event():
    choices = [{"index": 1, "delta": {"content": "x"}}, {"delta": {"content": "a"}}]
    assert content_of(event(envelope(choices=choices)), end()) == "a"


def test_a_refusal_is_kept_apart():
    events = [piece({"refusal": "N"}), piece({"refusal": "o."}), end(), DONE]
    last = last_of(*events)
    assert content_of(*events) == ""
    assert last.refusal == "No."
    assert last.provider_data == {"refusal": "No."}


def thinking(words):
    return {"type": "thinking", "thinking": [{"type": "text", "text": words}]}


def test_mistrals_typed_chunks_are_read_and_joined_for_the_next_turn():
    chunks = chunks_of(
        piece({"content": [thinking("Hm")]}),
        piece({"content": [thinking(", yes."), {"type": "text", "text": "1"}]}),
        text("2"),
        end(),
        DONE,
    )
    assert [c.reasoning for c in chunks] == ["Hm", ", yes.", None, None, None]
    assert "".join(chunk.delta for chunk in chunks) == "12"
    assert chunks[-1].provider_data == {"thinking": [thinking("Hm, yes.")]}


def test_chunks_of_reasoning_of_databricks_are_read():
    part = {"type": "summary_text", "text": "Hm.", "signature": ""}
    chunks = chunks_of(
        piece({"content": [{"type": "reasoning", "summary": [part]}]}),
        piece({"content": [{"type": "text", "text": "x"}]}),
        end(),
        DONE,
    )
    assert [c.reasoning for c in chunks] == ["Hm.", None, None]
    assert "".join(chunk.delta for chunk in chunks) == "x"
    assert chunks[-1].provider_data is None


def test_an_object_in_the_place_of_its_text_becomes_text():
    chunks = chunks_of(piece({"content": {"title": "Äpfel"}}), end(), DONE)
    assert "".join(chunk.delta for chunk in chunks) == '{"title": "Äpfel"}'


def test_signed_thoughts_of_mistrals_stay_apart_and_keep_their_signature():
    first, second = thinking("Hm, yes."), thinking("Or no.")
    last = last_of(
        piece({"content": [thinking("Hm"), thinking(", yes.")]}),
        piece({"content": [{"type": "thinking", "thinking": [], "signature": "s1"}]}),
        text("1"),
        piece({"content": [second | {"signature": "s2", "closed": True}]}),
        end(),
        DONE,
    )
    assert last.provider_data == {
        "thinking": [
            first | {"signature": "s1"},
            second | {"signature": "s2", "closed": True},
        ]
    }


def test_what_mistral_says_to_tools_that_it_runs_is_not_the_reply():
    # https://docs.mistral.ai/cookbooks/mistral-connectors-05-connectors-in-completions
    def call(id_, name):
        function = {"name": name, "arguments": "{}"}
        return {"index": 0, "id": id_, "function": function}

    def counts(number):
        return {"prompt_tokens": number, "completion_tokens": 1}

    events = [
        piece({"role": "assistant", "index": 0, "content": "Let me see. "}),
        piece({"index": 0, "tool_calls": [call("a", "web_search")]}),
        piece({"index": 0, "content": ""}, "tool_calls", usage=counts(5)),
        piece({"role": "tool", "index": 1, "tool_call_id": "a", "content": "Fo"}),
        piece({"index": 1, "content": "und"}),
        piece({"role": "assistant", "index": 2, "content": "Yes."}, id="2"),
        piece({"index": 2, "tool_calls": [call("b", "mine")]}, id="2"),
        piece({"index": 2, "content": ""}, "tool_calls", id="2", usage=counts(20)),
        DONE,
    ]
    assert content_of(*events) == "Let me see. Yes."
    assert [call["id"] for call in calls_of(*events)] == ["b"]
    last = last_of(*events)
    assert last.finish_reason == "tool_calls"
    assert last.usage == {
        "prompt_tokens": 25,
        "completion_tokens": 2,
        "total_tokens": 27,
    }


def test_a_spoken_reply_has_its_transcript_as_text_and_its_sound_in_raw():
    events = [
        piece({"audio": {"id": "a1"}}),
        piece({"audio": {"transcript": "Hel"}}),
        piece({"audio": {"data": "UklG"}}),
        piece({"audio": {"transcript": "lo"}}),
        piece({"audio": {"data": "RgAA"}}),
        piece({"audio": {"expires_at": 9}}),
        end(),
        DONE,
    ]
    assert content_of(*events) == "Hello"
    audio = last_of(*events).raw["choices"][0]["message"]["audio"]
    assert audio == {"id": "a1", "expires_at": 9, "data": "UklGRgAA"}


def test_what_else_a_delta_holds_is_gathered_in_raw():
    raw = last_of(
        piece({"content": "a", "annotations": [1]}),
        piece({"annotations": [2], "provider_metadata": {"x": 1}}),
        piece({}, "stop", native_finish_reason="STOP"),
        DONE,
    ).raw
    message = raw["choices"][0]["message"]
    assert message == {"annotations": [1, 2], "provider_metadata": {"x": 1}}
    assert raw["native_finish_reason"] == "STOP"


# Reasoning -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_comes_before_the_text_and_goes_back_next_turn(name):
    chunks = chunks_of(
        piece({"role": "assistant", "content": None, name: ""}),
        piece({"content": None, name: "H"}),
        piece({name: "m."}),
        piece({name: None, "content": "Yes."}),
        end(),
        DONE,
    )
    assert [c.reasoning for c in chunks] == ["H", "m.", None, None]
    assert [c.delta for c in chunks] == ["", "", "Yes.", ""]
    assert chunks[-1].provider_data == {name: "Hm."}


def test_reasoning_under_two_names_is_read_once():
    delta = {"reasoning": "Hm.", "reasoning_content": "Hm."}
    chunks = chunks_of(piece(delta), end(), DONE)
    assert [chunk.reasoning for chunk in chunks] == ["Hm.", None]


def test_reasoning_before_text_in_one_event_comes_first():
    chunks = chunks_of(piece({"content": "Yes.", "reasoning": "Hm."}), end(), DONE)
    assert [(c.reasoning, c.delta) for c in chunks[:2]] == [("Hm.", ""), (None, "Yes.")]


def test_reasoning_details_are_joined_with_their_signature():
    def detail(**fields):
        return {"reasoning_details": [{"format": "f", **fields}]}

    last = last_of(
        piece(detail(type="reasoning.text", text="H", index=0)),
        piece(detail(type="reasoning.text", text="m.", index=0, signature=None)),
        piece(detail(type="reasoning.text", signature="s", index=0)),
        piece(detail(type="reasoning.encrypted", data="x", id="r", index=1)),
        piece(detail(type="reasoning.summary", summary="A", index=2)),
        piece(detail(type="reasoning.summary", summary="B", index=2)),
        end(),
        DONE,
    )
    assert last.provider_data["reasoning_details"] == [
        {
            "type": "reasoning.text",
            "text": "Hm.",
            "format": "f",
            "index": 0,
            "signature": "s",
        },
        {
            "type": "reasoning.encrypted",
            "data": "x",
            "id": "r",
            "format": "f",
            "index": 1,
        },
        {"type": "reasoning.summary", "summary": "AB", "format": "f", "index": 2},
    ]


# Tool calls ----------------------------------------------------------------------


def fragment(arguments="", *, index=0, name=None, **more):
    function = {"arguments": arguments} | ({"name": name} if name else {})
    place = {} if index is None else {"index": index}
    return {**place, "function": function, **more}


def tools(*fragments):
    return piece({"tool_calls": list(fragments)})


def made(call_id, name, arguments):
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


A = made("a", "f", '{"x":1}')
B = made("b", "g", "{}")


@pytest.mark.parametrize(
    "events",
    [
        # As OpenAI sends them, one after the other or interleaved.
        [
            tools(fragment(name="f", id="a", type="function")),
            tools(fragment('{"x"')),
            tools(fragment(":1}")),
            tools(fragment(name="g", id="b", index=1)),
            tools(fragment("{}", index=1)),
        ],
        [
            tools(fragment(name="f", id="a"), fragment(name="g", id="b", index=1)),
            tools(fragment('{"x"'), fragment("{", index=1)),
            tools(fragment("}", index=1), fragment(":1}")),
        ],
        # Whole calls in one event or two.
        [
            tools(
                fragment('{"x":1}', name="f", id="a"),
                fragment("{}", name="g", id="b", index=1),
            )
        ],
        # All under the same index, told apart by id, or by being whole.
        [
            tools(fragment('{"x":1}', name="f", id="a")),
            tools(fragment("{}", name="g", id="b")),
        ],
        # Without an index.
        [
            tools(fragment(name="f", id="a", index=None)),
            tools(fragment('{"x":1}', index=None)),
            tools(fragment(name="g", id="b", index=None)),
        ],
        [
            tools(
                fragment('{"x":1}', name="f", id="a", index=None),
                fragment("", name="g", id="b", index=None),
            )
        ],
        # Id and name again in every fragment; arguments as an object or null.
        [
            tools(fragment('{"x"', name="f", id="a")),
            tools(fragment(":1}", name="f", id="a")),
            tools(fragment({}, name="g", id="b", index=1)),
        ],
        [
            tools(fragment({"x": 1}, name="f", id="a")),
            tools(fragment("null", name="g", id="b", index=1)),
        ],
        [
            tools(fragment(None, name="f", id="a")),
            tools(fragment('{"x":1}', id=None)),
            tools(fragment(None, name="g", id="b", index=1)),
        ],
        # A name in pieces.
        [
            tools(fragment('{"x":1}', name="f", id="a")),
            tools(fragment(name="g", id="b", index=1)),
        ],
    ],
)
def test_fragments_become_whole_calls_however_they_come(events):
    assert calls_of(*events, end("tool_calls"), DONE) == [A, B]


def test_calls_come_once_complete_before_the_last_chunk():
    chunks = chunks_of(
        text("Let me see."),
        tools(fragment(name="f", id="a")),
        tools(fragment('{"x":1}')),
        end("tool_calls"),
        event(envelope(choices=[], usage=USAGE)),
        DONE,
    )
    assert [chunk.tool_calls for chunk in chunks] == [None, [A], None]
    assert chunks[-1].finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("word", "reason"),
    [("stop", "tool_calls"), (None, "tool_calls"), ("length", "length")],
)
def test_calls_decide_the_finish_reason_unless_they_were_cut(word, reason):
    whole = tools(fragment('{"x":', name="f", id="a"))
    events = [whole, end(word) if word else text(""), DONE]
    assert last_of(*events).finish_reason == reason
    assert calls_of(*events)[0]["function"]["arguments"] == '{"x":'


def test_white_space_in_arguments_survives():
    events = [
        tools(fragment('{"x":', name="f", id="a")),
        tools(fragment(" ")),
        tools(fragment('" null "}')),
        end(),
    ]
    assert calls_of(*events)[0]["function"]["arguments"] == '{"x": " null "}'


def test_a_name_may_come_in_pieces():
    events = [tools(fragment(name="get_", id="a")), tools(fragment(name="time")), end()]
    assert calls_of(*events)[0]["function"]["name"] == "get_time"


def test_whole_calls_without_ids_under_one_index_are_told_apart():
    events = [
        tools(fragment('{"x":1}', name="f", id="")),
        tools(fragment('{"x":2}', name="f", id="")),
        end(),
    ]
    first, second = calls_of(*events)
    assert [first["function"]["arguments"], second["function"]["arguments"]] == [
        '{"x":1}',
        '{"x":2}',
    ]
    assert first["id"] != second["id"]


def test_whole_calls_with_neither_id_nor_index_are_told_apart():
    fragments = [fragment("{}", name="f", index=None) for _ in range(2)]
    first, second = calls_of(tools(*fragments), end())
    assert first["id"] != second["id"]


def test_a_legacy_function_call_is_a_tool_call():
    events = [
        piece({"function_call": {"name": "f", "arguments": ""}}),
        piece({"function_call": {"arguments": '{"x":1}'}}),
        end("function_call"),
        DONE,
    ]
    (call,) = calls_of(*events)
    assert call["function"] == A["function"]
    assert last_of(*events).finish_reason == "tool_calls"


def test_custom_calls_and_signatures_are_left_for_the_next_turn():
    extra = {"google": {"thought_signature": "s"}}
    custom = {"index": 1, "id": "c", "type": "custom"}
    last = last_of(
        tools(fragment("{}", name="f", id="a", extra_content=extra)),
        tools({**custom, "custom": {"name": "sql", "input": "sel"}}),
        tools({"index": 1, "custom": {"input": "ect"}}),
        end("tool_calls"),
        DONE,
    )
    assert last.provider_data == {
        "call_extras": {"a": {"extra_content": extra}},
        "tool_calls": [
            {"id": "c", "type": "custom", "custom": {"name": "sql", "input": "select"}}
        ],
    }


# Errors in a 200 -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "error_class"),
    [
        (event({"error": {"message": "no", "code": 429}}), ProviderRateLimitError),
        (event({"error": "no"}), ProviderResponseError),
        (event({"message": "no"}, "error"), ProviderResponseError),
        (StreamEvent("error", "no more"), ProviderResponseError),
        (event({"object": "error", "message": "no"}), ProviderResponseError),
        (event({"detail": "no"}), ProviderResponseError),
        (event(envelope(choices=[], x_groq={"error": "no"})), ProviderResponseError),
        (piece({}, "stop", x_groq={"error": "no"}), ProviderResponseError),
        (
            piece({"content": ""}, "error", error={"code": 503, "message": "no"}),
            ProviderOverloadedError,
        ),
    ],
)
@pytest.mark.parametrize("before", [[], [text("a")], [text("a"), end()]])
def test_an_error_event_is_raised_after_what_came_before(failure, error_class, before):
    stream = parse_stream(iter([*before, failure, DONE]), REQUEST)
    for _ in before[:1]:
        assert next(stream).delta == "a"
    with pytest.raises(error_class, match="no"):
        list(stream)


@pytest.mark.parametrize(
    ("word", "error_class"),
    [
        ("error", ProviderResponseError),
        ("insufficient_system_resource", ProviderOverloadedError),
    ],
)
def test_a_reply_that_the_server_broke_off_is_an_error(word, error_class):
    with pytest.raises(error_class, match=word):
        chunks_of(text("a"), end(word), DONE)


def test_an_event_that_is_no_json_raises_what_the_caller_expects():
    with pytest.raises(ValueError, match="Expecting value"):
        chunks_of(text("a"), StreamEvent("", "<html>"))


# A stream and a reply say the same -----------------------------------------------


WORDS = st.text(min_size=1, max_size=8)
CALLS = st.lists(
    st.builds(
        made,
        st.from_regex(r"[a-z0-9]{4,8}", fullmatch=True),
        st.from_regex(r"[a-z_]{1,8}", fullmatch=True),
        st.dictionaries(WORDS, WORDS | st.integers(), max_size=3).map(json.dumps),
    ),
    max_size=3,
    unique_by=lambda call: call["id"],
)


def cut(data, whole):
    """A text in pieces."""
    pieces = []
    while whole:
        size = data.draw(st.integers(1, len(whole)))
        pieces.append(whole[:size])
        whole = whole[size:]
    return pieces


@given(WORDS, WORDS, CALLS, st.data())
def test_a_stream_says_what_the_whole_reply_says(words, thought, calls, data):
    message = {"content": words, "reasoning_content": thought, "tool_calls": calls}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = envelope(choices=[choice], usage=USAGE)
    whole = parse_response(deepcopy(body), REQUEST)
    events = [piece({"reasoning_content": part}) for part in cut(data, thought)]
    events += [text(part) for part in cut(data, words)]
    for index, call in enumerate(calls):
        function = call["function"]
        start = fragment(name=function["name"], id=call["id"], index=index)
        events.append(tools(start))
        events += [
            tools(fragment(part, index=index))
            for part in cut(data, function["arguments"])
        ]
    chunks = chunks_of(*events, end(usage=USAGE), DONE)
    last = chunks[-1]
    assert "".join(chunk.delta for chunk in chunks) == whole.content
    assert "".join(chunk.reasoning or "" for chunk in chunks) == whole.reasoning
    streamed = [call for chunk in chunks for call in chunk.tool_calls or []]
    assert streamed == (whole.tool_calls or [])
    assert last.finish_reason == whole.finish_reason
    assert last.usage == whole.usage
    assert last.provider_data == whole.provider_data
