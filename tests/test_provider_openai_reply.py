"""Chat Completions, receiving: whole replies and their token counts."""

from __future__ import annotations

import json
from contextlib import suppress
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmring_lite.exceptions import (
    ProviderError,
    ProviderOverloadedError,
    ProviderRateLimitError,
    ProviderResponseError,
)
from llmring_lite.provider_openai import parse_response
from llmring_lite.provider_openai_reply import parse_usage
from llmring_lite.schemas import LLMRequest

REQUEST = LLMRequest("gpt-4o", "hi")


def answer(message, finish_reason="stop", **more):
    """A body as the API's reference shows it."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", **message},
        "logprobs": None,
        "finish_reason": finish_reason,
    }
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1741569952,
        "model": "gpt-4o-2024-08-06",
        "choices": [choice],
        **more,
    }


def parse(message, finish_reason="stop", **more):
    return parse_response(answer(message, finish_reason, **more), REQUEST)


def call(arguments, **more):
    function = {"name": "weather", "arguments": arguments}
    return {"id": "call_1", "type": "function", "function": function, **more}


def test_a_reply_has_text_model_reason_usage_and_the_whole_body():
    body = answer({"content": "Hello!", "refusal": None, "annotations": []})
    body["usage"] = {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29}
    before = deepcopy(body)
    reply = parse_response(body, REQUEST)
    assert reply.content == "Hello!"
    assert reply.model == "gpt-4o-2024-08-06"
    assert reply.finish_reason == "stop"
    assert reply.usage == body["usage"]
    assert reply.raw is body
    assert body == before
    assert (reply.tool_calls, reply.reasoning, reply.refusal) == (None, None, None)
    assert reply.provider_data is None


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("eos", "stop"),
        ("", "stop"),
        (None, "stop"),
        ("model_length", "length"),
        ("MAX_TOKENS", "length"),
        ("sensitive", "content_filter"),
        ("SAFETY", "content_filter"),
        ("end_turn", "stop"),
        ("a new word", "stop"),
    ],
)
def test_the_finish_reason_is_one_of_four_words(word, reason):
    assert parse({"content": "x"}, word).finish_reason == reason


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", "tool_calls"),
        ("", "tool_calls"),
        (None, "tool_calls"),
        ("tool_calls", "tool_calls"),
        ("length", "length"),
        ("content_filter", "content_filter"),
    ],
)
def test_a_reply_with_calls_says_so_unless_it_was_cut_or_filtered(word, reason):
    assert parse({"content": None, "tool_calls": [call("{}")]}, word).finish_reason == (
        reason
    )


def test_the_first_vision_models_gave_the_reason_in_details():
    body = answer({"content": "x"})
    del body["choices"][0]["finish_reason"]
    body["choices"][0]["finish_details"] = {"type": "max_tokens"}
    assert parse_response(body, REQUEST).finish_reason == "length"


@pytest.mark.parametrize(
    ("content", "text", "reasoning"),
    [
        ("x", "x", None),
        ("", "", None),
        (None, "", None),
        ("<think>a</think>x", "<think>a</think>x", None),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab", None),
        (
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
                {"type": "text", "text": "x"},
                {"type": "reference", "reference_ids": [1]},
            ],
            "x",
            "Hm.",
        ),
        ([{"type": "thinking", "thinking": "Hm."}], "", "Hm."),
        ([], "", None),
        # Databricks, for Claude and gpt-oss.
        (
            [
                {
                    "type": "reasoning",
                    "summary": [
                        {"type": "summary_text", "text": "Hm.", "signature": "s"}
                    ],
                },
                {"type": "text", "text": "x"},
            ],
            "x",
            "Hm.",
        ),
        # Cloudflare's answer to a schema is the object itself, not its text.
        ({"title": "Äpfel"}, '{"title": "Äpfel"}', None),
    ],
)
def test_content_comes_in_several_forms(content, text, reasoning):
    reply = parse({"content": content})
    assert (reply.content, reply.reasoning) == (text, reasoning)


def test_a_message_may_come_without_content():
    assert parse({}).content == ""


def test_a_spoken_reply_has_its_transcript_as_text():
    audio = {"id": "a1", "data": "UklGRg==", "expires_at": 1, "transcript": "Hello."}
    reply = parse({"content": None, "audio": audio})
    assert reply.content == "Hello."
    assert reply.raw["choices"][0]["message"]["audio"] == audio


def test_tools_that_mistral_runs_itself_are_no_calls_and_their_results_no_text():
    # https://docs.mistral.ai/cookbooks/mistral-connectors-05-connectors-in-completions
    def call(id_, name):
        return {"id": id_, "function": {"name": name, "arguments": "{}"}}

    searched = [
        {"role": "assistant", "content": "", "tool_calls": [call("a", "web_search")]},
        {"role": "tool", "tool_call_id": "a", "content": "Found"},
    ]
    said = [{"type": "text", "text": "Yes."}, {"type": "reference", "ids": [0]}]
    usage = {"prompt_tokens": 3, "completion_tokens": 2}

    def reply_with(last):
        choice = {"index": 0, "finish_reason": "stop", "messages": [*searched, last]}
        return parse_response({"choices": [choice], "usage": usage}, REQUEST)

    done = reply_with({"role": "assistant", "content": said})
    assert (done.content, done.tool_calls, done.finish_reason) == ("Yes.", None, "stop")
    assert done.usage["total_tokens"] == 5
    mine = {"role": "assistant", "content": "I ask.", "tool_calls": [call("b", "mine")]}
    asking = reply_with(mine)
    assert asking.content == "I ask."
    assert [call["id"] for call in asking.tool_calls] == ["b"]
    assert asking.finish_reason == "tool_calls"


def test_an_answer_that_a_filter_took_whole_has_no_message():
    body = answer({}, "content_filter")
    del body["choices"][0]["message"]
    reply = parse_response(body, REQUEST)
    assert (reply.content, reply.finish_reason) == ("", "content_filter")


def test_a_refusal_is_kept_apart_and_goes_back_next_turn():
    reply = parse({"content": None, "refusal": "No."})
    assert (reply.content, reply.refusal) == ("", "No.")
    assert reply.provider_data == {"refusal": "No."}


def test_of_several_candidates_the_first_is_the_reply_and_all_are_in_raw():
    body = answer({"content": "a"})
    other = deepcopy(body["choices"][0]) | {"index": 1}
    other["message"]["content"] = "b"
    body["choices"].append(other)
    reply = parse_response(body, REQUEST)
    assert reply.content == "a"
    assert len(reply.raw["choices"]) == 2


# Reasoning -----------------------------------------------------------------------


DETAILS = [{"type": "reasoning.encrypted", "data": "abc", "index": 0}]


@pytest.mark.parametrize(
    ("fields", "reasoning", "kept"),
    [
        ({"reasoning_content": "Hm."}, "Hm.", {"reasoning_content": "Hm."}),
        ({"reasoning": "Hm."}, "Hm.", {"reasoning": "Hm."}),
        ({"reasoning": None, "reasoning_content": None}, None, None),
        ({"reasoning_content": ""}, None, {"reasoning_content": ""}),
        (
            {"reasoning_content": "Hm.", "reasoning": "Hm."},
            "Hm.",
            {"reasoning_content": "Hm."},
        ),
        (
            {"reasoning": "Hm.", "reasoning_details": DETAILS},
            "Hm.",
            {"reasoning_details": DETAILS},
        ),
        ({"reasoning_details": DETAILS}, None, {"reasoning_details": DETAILS}),
        ({"extra_content": {"a": 1}}, None, {"extra_content": {"a": 1}}),
    ],
)
def test_reasoning_is_read_under_its_names_and_kept_for_the_provider(
    fields, reasoning, kept
):
    reply = parse({"content": "x", **fields})
    assert reply.reasoning == reasoning
    assert reply.provider_data == kept
    assert reply.content == "x"


def test_thinking_chunks_are_kept_as_they_came():
    chunk = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    reply = parse({"content": [chunk, {"type": "text", "text": "x"}]})
    assert reply.provider_data == {"thinking": [chunk]}


# Tool calls ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        ('{"a": 1}', '{"a": 1}'),
        ("", "{}"),
        ("  ", "{}"),
        ("null", "{}"),
        (None, "{}"),
        ({}, "{}"),
        ({"a": "ü"}, '{"a":"ü"}'),
        ('{"a": [1, ', '{"a": [1, '),
    ],
)
def test_arguments_are_json_text_whatever_the_server_sends(sent, text):
    (made,) = parse({"tool_calls": [call(sent, index=0)]}).tool_calls
    function = {"name": "weather", "arguments": text}
    assert made == {"id": "call_1", "type": "function", "function": function}


def test_a_call_may_come_without_arguments_or_type():
    sent = {"id": "c", "function": {"name": "now"}}
    (made,) = parse({"tool_calls": [sent]}).tool_calls
    function = {"name": "now", "arguments": "{}"}
    assert made == {"id": "c", "type": "function", "function": function}


@pytest.mark.parametrize("calls", [None, []])
def test_no_calls_are_none(calls):
    assert parse({"content": "x", "tool_calls": calls}).tool_calls is None


def test_calls_without_ids_get_unique_ones_that_stay_the_same():
    body = answer({"tool_calls": [call("{}", id=id_) for id_ in (None, "", "null")]})
    later = LLMRequest("m", ["hi", "ho"])
    first, second, third = parse_response(body, REQUEST).tool_calls
    again, *_ = parse_response(deepcopy(body), REQUEST).tool_calls
    next_turn, *_ = parse_response(body, later).tool_calls
    assert first["id"] == again["id"]
    ids = {first["id"], second["id"], third["id"], next_turn["id"]}
    assert len(ids - {"null"}) == 4


def test_a_legacy_function_call_is_a_tool_call():
    legacy = {"name": "weather", "arguments": '{"a": 1}'}
    reply = parse({"content": None, "function_call": legacy}, "function_call")
    (made,) = reply.tool_calls
    assert made["function"] == legacy
    assert made["id"]
    assert reply.finish_reason == "tool_calls"


def test_an_empty_legacy_call_beside_a_reply_is_none():
    legacy = {"name": "", "arguments": ""}
    assert parse({"content": "x", "function_call": legacy}).tool_calls is None


def test_a_custom_call_is_left_to_raw_and_the_next_turn():
    custom = {"id": "c", "type": "custom", "custom": {"name": "sql", "input": "x"}}
    reply = parse({"content": None, "tool_calls": [call("{}"), custom]}, "tool_calls")
    assert [made["id"] for made in reply.tool_calls] == ["call_1"]
    assert reply.provider_data == {"tool_calls": [custom]}


def test_an_empty_custom_field_beside_a_function_is_ignored():
    sent = call("{}", custom={"name": "", "input": ""})
    assert len(parse({"tool_calls": [sent]}).tool_calls) == 1


def test_a_thought_signature_is_kept_with_its_call():
    extra = {"google": {"thought_signature": "s"}}
    reply = parse({"tool_calls": [call("{}", extra_content=extra)]})
    assert reply.provider_data == {"call_extras": {"call_1": {"extra_content": extra}}}


# Errors in a 200 -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "error_class", "message"),
    [
        ({"error": {"message": "no", "code": 429}}, ProviderRateLimitError, "no"),
        ({"error": "no"}, ProviderResponseError, "no"),
        ({"object": "error", "message": "no"}, ProviderResponseError, "no"),
        ({"detail": "no"}, ProviderResponseError, "no"),
        ([{"error": {"message": "no"}}], ProviderResponseError, "no"),
        (
            answer({"content": "x"}) | {"error": {"message": "no"}},
            ProviderResponseError,
            "no",
        ),
    ],
)
def test_an_error_in_a_good_answer_is_raised(body, error_class, message):
    with pytest.raises(error_class, match=message):
        parse_response(body, REQUEST)


@pytest.mark.parametrize(
    ("word", "error_class"),
    [
        ("insufficient_system_resource", ProviderOverloadedError),
        ("error", ProviderResponseError),
        ("network_error", ProviderResponseError),
        ("abort", ProviderResponseError),
    ],
)
def test_a_reply_that_the_server_broke_off_is_an_error_with_the_text(word, error_class):
    with pytest.raises(error_class, match=word) as caught:
        parse({"content": "Once upon"}, word)
    assert caught.value.partial == "Once upon"


def test_openrouter_names_the_cause_beside_the_choice():
    body = answer({"content": "Once upon"}, "error")
    body["choices"][0]["error"] = {"code": 502, "message": "upstream fell over"}
    with pytest.raises(ProviderResponseError, match="upstream fell over") as caught:
        parse_response(body, REQUEST)
    assert caught.value.partial == "Once upon"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choices": []},
        {"choices": None},
        {"choices": [{}]},
        {"choices": [{"message": None, "finish_reason": "stop"}]},
        {"choices": [{"message": {"tool_calls": [{}]}, "finish_reason": "stop"}]},
        {"choices": [{"message": {"content": [{}]}, "finish_reason": "stop"}]},
        "text",
        None,
    ],
)
def test_a_body_of_another_shape_raises_what_the_caller_expects(body):
    with pytest.raises((LookupError, TypeError, ProviderError, AttributeError)):
        parse_response(body, REQUEST)


# Token counts --------------------------------------------------------------------


def usage(prompt, completion, total=None, *, read=None, write=None, reasoning=None):
    """Counts in the contract's words; the total is the sum unless given."""
    counts = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion if total is None else total,
        "cached_tokens": read,
        "cache_creation_input_tokens": write,
        "reasoning_tokens": reasoning,
    }
    return {key: count for key, count in counts.items() if count is not None}


def raw(prompt, completion, total, **more):
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
        **more,
    }


def thought(count):
    return {"completion_tokens_details": {"reasoning_tokens": count}}


@pytest.mark.parametrize(
    ("sent", "counts"),
    [
        (raw(19, 10, 29), usage(19, 10)),
        # Cached and reasoning tokens are parts, as OpenAI defines them.
        (
            raw(2006, 300, 2306, prompt_tokens_details={"cached_tokens": 1920}),
            usage(2006, 300, read=1920),
        ),
        (raw(75, 1186, 1261, **thought(1024)), usage(75, 1186, reasoning=1024)),
        (
            raw(
                100,
                5,
                105,
                prompt_tokens_details={"cached_tokens": 10, "cache_write_tokens": 80},
            ),
            usage(100, 5, read=10, write=80),
        ),
        # Other names.
        (
            raw(50, 5, 55, prompt_cache_hit_tokens=30, prompt_cache_miss_tokens=20),
            usage(50, 5, read=30),
        ),
        (raw(50, 5, 55, cached_tokens=30), usage(50, 5, read=30)),
        (raw(50, 5, 55, num_cached_tokens=30), usage(50, 5, read=30)),
        (
            raw(50, 5, 55, cache_read_input_tokens=30, cache_creation_input_tokens=9),
            usage(50, 5, read=30, write=9),
        ),
        (raw(50, 25, 75, reasoning_tokens=20), usage(50, 25, reasoning=20)),
        # Details may be null.
        (
            raw(9, 1, 10, prompt_tokens_details=None, completion_tokens_details=None),
            usage(9, 1),
        ),
        # Reasoning outside the completion: the total tells, or the counts themselves.
        (raw(429, 44, 975, **thought(502)), usage(429, 546, reasoning=502)),
        (raw(429, 44, 483, **thought(10)), usage(429, 54, reasoning=10)),
        (raw(57, 10, 67, **thought(37)), usage(57, 47, reasoning=37)),
        # A total that nothing explains gives way to its parts.
        (raw(9, 201, 585), usage(9, 201)),
        (raw(9, 201, None), usage(9, 201)),
        # More read from the cache than there is: both are the server's word.
        (
            raw(250, 4, 254, prompt_tokens_details={"cached_tokens": 376}),
            usage(250, 4, read=376),
        ),
        ({"total_tokens": 5}, {}),
        ({}, {}),
        (None, {}),
    ],
)
def test_token_counts_mean_the_same_whatever_the_server_leaves_out(sent, counts):
    assert parse_usage(sent) == counts


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["type", "text", "function", "name", "arguments", "id"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
FIELDS = st.dictionaries(
    st.sampled_from(
        ["content", "tool_calls", "reasoning", "refusal", "function_call", "audio"]
    ),
    JSON_VALUES,
)


@given(FIELDS, JSON_VALUES, JSON_VALUES)
def test_any_body_is_read_or_raises_what_the_caller_expects(message, word, counts):
    body = json.loads(json.dumps(answer(message, word, usage=counts)))
    with suppress(ProviderError, LookupError, TypeError, ValueError, AttributeError):
        reply = parse_response(body, REQUEST)
        assert isinstance(reply.content, str)
