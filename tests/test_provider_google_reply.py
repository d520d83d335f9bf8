"""What Gemini's replies and streams become."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from llmring_lite.exceptions import (
    ProviderAuthenticationError,
    ProviderOverloadedError,
    ProviderResponseError,
)
from llmring_lite.provider import StreamEvent
from llmring_lite.provider_google import WIRE
from llmring_lite.schemas import LLMRequest, LLMResponse, StreamChunk

REQUEST = LLMRequest(model="gemini-2.5-flash", messages="Hi")


def reply(*parts: dict[str, Any], finish: str | None = "STOP", **more: Any) -> Any:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}}
    if finish:
        candidate["finishReason"] = finish
    return {
        "candidates": [{**candidate, **more.pop("candidate", {})}],
        "modelVersion": "gemini-2.5-flash",
        "responseId": "r1",
        **more,
    }


def parse(body: Any, request: LLMRequest = REQUEST) -> LLMResponse:
    return WIRE.parse_response(body, request)


def stream(*bodies: Any) -> list[StreamChunk]:
    events: Iterator[StreamEvent] = (StreamEvent("", json.dumps(b)) for b in bodies)
    return list(WIRE.parse_stream(events, REQUEST))


def call(name: str = "get_weather", **more: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, **more}}


def names_and_arguments(response: LLMResponse) -> list[tuple[str, str]]:
    return [
        (c["function"]["name"], c["function"]["arguments"])
        for c in response.tool_calls or ()
    ]


# Complete replies ----------------------------------------------------------------


def test_text_parts_are_the_content_and_the_body_stays_whole() -> None:
    body = reply({"text": "Hello"}, {"text": ", you"})
    response = parse(body)
    assert response.content == "Hello, you"
    assert response.model == "gemini-2.5-flash"
    assert response.finish_reason == "stop"
    assert response.raw is body
    assert (response.tool_calls, response.reasoning, response.refusal) == (None,) * 3
    assert response.usage == {}
    assert response.provider_data is None


def test_thoughts_are_reasoning_and_no_content() -> None:
    response = parse(
        reply(
            {"text": "Hm. ", "thought": True},
            {"text": "Yes.", "thought": False},
            {"text": "So.", "thought": True},
        )
    )
    assert response.content == "Yes."
    assert response.reasoning == "Hm. So."


def test_the_first_candidate_is_the_reply() -> None:
    body = reply({"text": "one"})
    body["candidates"].append({**reply({"text": "two"})["candidates"][0], "index": 1})
    assert parse(body).content == "one"


def test_what_googles_own_tools_did_is_no_content() -> None:
    response = parse(
        reply(
            {"executableCode": {"language": "PYTHON", "code": "print(1)"}},
            {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1\n"}},
            {"text": "One."},
        )
    )
    assert (response.content, response.tool_calls) == ("One.", None)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("LANGUAGE", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("MODEL_ARMOR", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("IMAGE_PROHIBITED_CONTENT", "content_filter"),
        ("IMAGE_RECITATION", "content_filter"),
        ("ESCALATION", "content_filter"),
        ("PUP_LIMITED_DISABLED", "content_filter"),
        ("CONTINUATION", "length"),
        ("NO_IMAGE", "stop"),
        ("SOMETHING_NEW", "stop"),
    ],
)
def test_finish_reasons(word: str, reason: str) -> None:
    assert parse(reply({"text": "x"}, finish=word)).finish_reason == reason
    assert stream(reply({"text": "x"}, finish=word))[-1].finish_reason == reason


@pytest.mark.parametrize("candidate", [{}, {"content": {}}, {"content": {"parts": []}}])
def test_a_withheld_reply_without_content_says_why(candidate: dict[str, Any]) -> None:
    candidate = {**candidate, "finishReason": "SAFETY", "finishMessage": "Violent."}
    response = parse({"candidates": [candidate]})
    assert response.content == ""
    assert response.finish_reason == "content_filter"
    assert response.refusal == "Violent."


def test_a_withheld_reply_without_words_names_the_reason() -> None:
    refusal = parse({"candidates": [{"finishReason": "RECITATION"}]}).refusal
    assert refusal is not None
    assert "RECITATION" in refusal


BLOCKED = {
    "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
    "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9},
    "modelVersion": "gemini-2.5-flash",
}


def test_a_blocked_prompt_is_a_readable_empty_reply() -> None:
    response = parse(BLOCKED)
    assert response.content == ""
    assert response.finish_reason == "content_filter"
    assert response.refusal is not None
    assert "PROHIBITED_CONTENT" in response.refusal
    assert response.usage == {
        "prompt_tokens": 9,
        "completion_tokens": 0,
        "total_tokens": 9,
    }
    (chunk,) = stream(BLOCKED)
    assert (chunk.finish_reason, chunk.refusal) == ("content_filter", response.refusal)
    assert chunk.raw["promptFeedback"] == {"blockReason": "PROHIBITED_CONTENT"}


def test_the_providers_own_words_about_a_block_come_first() -> None:
    feedback = {"blockReason": "OTHER", "blockReasonMessage": "No such luck."}
    assert parse({"promptFeedback": feedback}).refusal == "No such luck."


def test_a_reply_cut_while_thinking_is_empty() -> None:
    response = parse({"candidates": [{"finishReason": "MAX_TOKENS"}]})
    assert (response.content, response.finish_reason) == ("", "length")


@pytest.mark.parametrize(
    "word",
    [
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "OTHER",
        "IMAGE_OTHER",
    ],
)
def test_a_reply_that_broke_off_is_an_error(word: str) -> None:
    with pytest.raises(ProviderResponseError, match=word) as caught:
        parse({"candidates": [{"finishReason": word}]})
    assert caught.value.code == word
    with pytest.raises(ProviderResponseError) as caught:
        parse(reply({"text": "Let me"}, finish=word))
    assert caught.value.partial == "Let me"
    with pytest.raises(ProviderResponseError, match="print"):
        stream(
            reply({"text": "Let"}, finish=None),
            reply(finish=word, candidate={"finishMessage": "Malformed: print("}),
        )


def test_calls_that_came_through_are_the_reply_whatever_the_reason() -> None:
    response = parse(reply(call(), finish="UNEXPECTED_TOOL_CALL"))
    assert response.finish_reason == "tool_calls"
    assert names_and_arguments(response) == [("get_weather", "{}")]


@pytest.mark.parametrize("body", [{}, {"candidates": []}, {"usageMetadata": {}}])
def test_a_body_without_candidates_is_an_error(body: dict[str, Any]) -> None:
    with pytest.raises(ProviderResponseError, match="candidate"):
        parse(body)


def test_a_complete_body_needs_no_finish_reason() -> None:
    assert parse(reply({"text": "x"}, finish=None)).finish_reason == "stop"
    assert parse(reply(call(), finish=None)).finish_reason == "tool_calls"


ERROR = {"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}}


def test_fields_that_say_nothing_do_no_harm() -> None:
    part = {"text": "x", "functionCall": None, "thought": None}
    body = reply(part, error=None, promptFeedback=None)
    assert parse(body).content == "x"
    assert "".join(chunk.delta for chunk in stream(body)) == "x"


def test_an_error_in_a_good_reply_is_raised_alone_or_in_an_array() -> None:
    for body in (ERROR, [ERROR]):
        with pytest.raises(ProviderOverloadedError, match="Overloaded"):
            parse(body)
        with pytest.raises(ProviderOverloadedError, match="Overloaded"):
            stream(reply({"text": "x"}, finish=None), body)
    details = [{"reason": "API_KEY_INVALID", "domain": "googleapis.com"}]
    with pytest.raises(ProviderAuthenticationError):
        parse({"error": {"code": 400, "message": "No.", "details": details}})


# Calls ---------------------------------------------------------------------------


def test_calls_become_tool_calls_though_the_reason_is_stop() -> None:
    response = parse(
        reply(
            {"text": "Looking."},
            call(args={"city": "Köln", "n": 1.5}, id="x1"),
            call("now"),
            call("later", args=None),
        )
    )
    assert response.content == "Looking."
    assert response.finish_reason == "tool_calls"
    assert names_and_arguments(response) == [
        ("get_weather", '{"city":"Köln","n":1.5}'),
        ("now", "{}"),
        ("later", "{}"),
    ]
    assert response.tool_calls is not None
    assert response.tool_calls[0]["id"] == "x1"
    assert {c["type"] for c in response.tool_calls} == {"function"}


def test_a_cut_reply_stays_cut_though_it_has_calls() -> None:
    assert parse(reply(call(), finish="MAX_TOKENS")).finish_reason == "length"


def test_made_ids_differ_within_a_reply_between_turns_and_between_replies() -> None:
    body = reply(call(args={"a": 1}), call(args={"a": 1}))
    again = LLMRequest(model="m", messages=["Hi", {"role": "assistant"}, "Hi"])
    other = {**body, "responseId": "r2"}
    ids = [
        c["id"]
        for response in (parse(body), parse(body, again), parse(other))
        for c in response.tool_calls or ()
    ]
    assert len(set(ids)) == 6
    assert all(len(i) <= 40 for i in ids)  # OpenAI's limit, should it get them


def test_made_ids_are_the_same_for_the_same_reply() -> None:
    body = reply(call(args={"text": "\ud800"}))
    assert parse(body).tool_calls == parse(body).tool_calls


def test_calls_in_pieces_are_refused_rather_than_misread() -> None:
    piece = call(willContinue=True)
    with pytest.raises(ProviderResponseError, match="streamFunctionCallArguments"):
        stream(reply(piece, finish=None), reply(finish="STOP"))


# Usage ---------------------------------------------------------------------------

USAGE = [
    (
        {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    ),
    (  # thoughts are not in candidatesTokenCount, cached tokens are in the prompt's
        {
            "promptTokenCount": 100,
            "cachedContentTokenCount": 90,
            "candidatesTokenCount": 5,
            "thoughtsTokenCount": 7,
            "totalTokenCount": 112,
        },
        {
            "prompt_tokens": 100,
            "cached_tokens": 90,
            "completion_tokens": 12,
            "reasoning_tokens": 7,
            "total_tokens": 112,
        },
    ),
    (  # results of Google's own tools are input
        {
            "promptTokenCount": 32,
            "toolUsePromptTokenCount": 720,
            "candidatesTokenCount": 341,
            "thoughtsTokenCount": 103,
            "totalTokenCount": 1196,
        },
        {
            "prompt_tokens": 752,
            "completion_tokens": 444,
            "reasoning_tokens": 103,
            "total_tokens": 1196,
        },
    ),
    (  # a total that contradicts its parts
        {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 99},
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    ),
    (  # only the total tells the output
        {"promptTokenCount": 10, "thoughtsTokenCount": 2, "totalTokenCount": 20},
        {
            "prompt_tokens": 10,
            "completion_tokens": 10,
            "reasoning_tokens": 2,
            "total_tokens": 20,
        },
    ),
    (  # the total says that thoughts are all that was written
        {"promptTokenCount": 12, "thoughtsTokenCount": 84, "totalTokenCount": 96},
        {
            "prompt_tokens": 12,
            "completion_tokens": 84,
            "reasoning_tokens": 84,
            "total_tokens": 96,
        },
    ),
    # nothing tells it
    ({"promptTokenCount": 10, "totalTokenCount": 10}, {"prompt_tokens": 10}),
    ({"candidatesTokenCount": 5}, {"completion_tokens": 5}),
    ({"trafficType": "ON_DEMAND"}, {}),
    ({}, {}),
]


@pytest.mark.parametrize(("counts", "usage"), USAGE)
def test_usage_counts_everything_once(
    counts: dict[str, Any], usage: dict[str, int]
) -> None:
    assert parse(reply({"text": "x"}, usageMetadata=counts)).usage == usage


def test_a_missing_output_count_is_zero_if_there_was_no_output() -> None:
    counts = {"promptTokenCount": 15, "thoughtsTokenCount": 60, "totalTokenCount": 75}
    thought = {"text": "Hm", "thought": True}
    response = parse(reply(thought, finish="MAX_TOKENS", usageMetadata=counts))
    assert response.usage["completion_tokens"] == 60
    assert response.usage["total_tokens"] == 75


# Streams -------------------------------------------------------------------------


def test_a_stream_yields_text_and_thoughts_as_they_come_and_ends_with_the_rest() -> (
    None
):
    chunks = stream(
        reply({"text": "Hm.", "thought": True}, finish=None),
        reply({"text": "Hel"}, finish=None, usageMetadata={"promptTokenCount": 3}),
        reply({"text": "lo"}, {"text": ""}, finish=None),
        reply(
            {"text": ""},
            usageMetadata={"promptTokenCount": 3, "candidatesTokenCount": 2},
            candidate={"groundingMetadata": {"webSearchQueries": ["q"]}},
        ),
    )
    assert [c.reasoning for c in chunks] == ["Hm.", None, None, None]
    assert [c.delta for c in chunks] == ["", "Hel", "lo", ""]
    assert all(c.finish_reason is None and c.usage is None for c in chunks[:-1])
    last = chunks[-1]
    assert last.finish_reason == "stop"
    assert last.model == "gemini-2.5-flash"
    assert last.usage == {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "total_tokens": 5,
    }
    assert last.raw["responseId"] == "r1"
    assert last.raw["candidates"] == [
        {"finishReason": "STOP", "groundingMetadata": {"webSearchQueries": ["q"]}}
    ]


def test_a_stream_yields_each_call_once() -> None:
    chunks = stream(
        reply(call(args={"a": 1}, id="x1"), finish=None),
        reply(call("now")),
    )
    calls = [c for chunk in chunks for c in chunk.tool_calls or ()]
    assert [c["function"]["name"] for c in calls] == ["get_weather", "now"]
    assert chunks[-1].finish_reason == "tool_calls"


def test_the_last_of_several_finish_reasons_counts() -> None:
    chunks = stream(
        reply({"text": "a"}, finish="STOP"), reply({"text": "b"}, finish="MAX_TOKENS")
    )
    assert [c.finish_reason for c in chunks] == [None, None, "length"]


def test_usage_may_follow_the_finish_reason() -> None:
    counts = {"promptTokenCount": 3, "candidatesTokenCount": 2}
    chunks = stream(reply({"text": "a"}), {"usageMetadata": counts})
    assert chunks[-1].usage is not None
    assert chunks[-1].usage["total_tokens"] == 5


@pytest.mark.parametrize("finish", [None, "FINISH_REASON_UNSPECIFIED"])
def test_a_stream_that_was_cut_has_no_finish_reason(finish: str | None) -> None:
    chunks = stream(reply({"text": "a"}, finish=finish))
    assert [c.finish_reason for c in chunks] == [None]
    assert stream() == []


def test_other_candidates_of_a_stream_are_not_mixed_in() -> None:
    second = {"index": 1}
    chunks = stream(
        reply({"text": "a"}, finish=None),
        reply({"text": "b"}, finish=None, candidate=second),
        reply({"text": "c"}),
        reply({"text": "d"}, candidate=second),
    )
    assert "".join(c.delta for c in chunks) == "ac"


def test_a_stream_in_one_json_array_is_read_as_well() -> None:
    chunks = stream([reply({"text": "a"}, finish=None), reply({"text": "b"})])
    assert "".join(c.delta for c in chunks) == "ab"
    assert chunks[-1].finish_reason == "stop"


def test_a_stream_holds_the_same_as_the_complete_reply() -> None:
    parts = [
        {"text": "Hm", "thought": True},
        {"text": "A"},
        {"text": "B", "thoughtSignature": "s1"},
        call(args={"a": 1}),
        {**call(id="x"), "thoughtSignature": "s2"},
        {"text": "", "thoughtSignature": "s3"},
    ]
    whole = parse(reply(*parts))
    chunks = stream(
        *(reply(part, finish=None) for part in parts[:-1]), reply(parts[-1])
    )
    assert "".join(c.delta for c in chunks) == whole.content
    assert "".join(c.reasoning or "" for c in chunks) == whole.reasoning
    assert [x for c in chunks for x in c.tool_calls or ()] == whole.tool_calls
    assert chunks[-1].provider_data == whole.provider_data


def test_what_is_kept_does_not_grow_with_the_text() -> None:
    def kept(pieces: int) -> str:
        bodies = [reply({"text": "word "}, finish=None)] * pieces
        last = stream(*bodies, reply({"text": "", "thoughtSignature": "s"}))[-1]
        return json.dumps([last.provider_data, last.raw])

    assert len(kept(5000)) < len(kept(5)) + 10
