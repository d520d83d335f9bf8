"""What Anthropic replies, whole and streamed."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from llmring_lite.exceptions import (
    ContextLengthError,
    ProviderAuthenticationError,
    ProviderError,
    ProviderOverloadedError,
    ProviderRateLimitError,
    ProviderResponseError,
)
from llmring_lite.provider import StreamEvent
from llmring_lite.provider_anthropic import WIRE
from llmring_lite.schemas import LLMRequest, LLMResponse, StreamChunk

REQUEST = LLMRequest("claude-opus-5", "Hi")

TEXT = {"type": "text", "text": "Hello 👋"}
THINKING = {"type": "thinking", "thinking": "Let me see.", "signature": "sig"}
OMITTED = {"type": "thinking", "thinking": "", "signature": "sig"}
REDACTED = {"type": "redacted_thinking", "data": "xyz"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": [1, "é"]}}
NO_ARGUMENTS = {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}}
SERVER_CALL = {
    "type": "server_tool_use",
    "id": "srvtoolu_1",
    "name": "web_search",
    "input": {"query": "q"},
}
FOUND = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [{"type": "web_search_result", "url": "u", "encrypted_content": "e"}],
}
CITED = {
    "type": "text",
    "text": "It is so.",
    "citations": [{"type": "char_location", "cited_text": "so"}, {"type": "x"}],
}
USAGE = {"input_tokens": 10, "output_tokens": 5}


def whole(blocks: Iterable[Any], stop: str = "end_turn", **more: Any) -> LLMResponse:
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5",
        "content": list(blocks),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": USAGE,
        **more,
    }
    return WIRE.parse_response(body, REQUEST)


def event(kind: str, **rest: Any) -> StreamEvent:
    return StreamEvent(kind, json.dumps({"type": kind, **rest}))


def delta(index: int, kind: str, **fields: Any) -> StreamEvent:
    return event("content_block_delta", index=index, delta={"type": kind, **fields})


def block_events(index: int, block: dict[str, Any]) -> Iterator[StreamEvent]:
    """A block as the API streams it, its texts in pieces of four characters."""
    start = dict(block)
    deltas: list[tuple[str, str, Any]] = []
    for kind, word in (("text_delta", "text"), ("thinking_delta", "thinking")):
        if word in block:
            text, start[word] = block[word], ""
            pieces = [text[i : i + 4] for i in range(0, len(text), 4)]
            deltas += [(kind, word, piece) for piece in pieces]
    if "input" in block:
        text, start["input"] = json.dumps(block["input"]), {}
        pieces = ["", *(text[i : i + 4] for i in range(0, len(text), 4))]
        pieces = pieces if block["input"] else [""]
        deltas += [("input_json_delta", "partial_json", piece) for piece in pieces]
    for citation in block.get("citations") or ():
        start["citations"] = []
        deltas.append(("citations_delta", "citation", citation))
    if "signature" in block:
        start["signature"] = ""
        deltas.append(("signature_delta", "signature", block["signature"]))
    yield event("content_block_start", index=index, content_block=start)
    for kind, word, value in deltas:
        yield delta(index, kind, **{word: value})
    yield event("content_block_stop", index=index)


def events(
    blocks: Iterable[Any], stop: str = "end_turn", **more: Any
) -> list[StreamEvent]:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 1},
    }
    found = [event("message_start", message=message), event("ping")]
    for index, block in enumerate(blocks):
        found.extend(block_events(index, block))
    usage = more.pop("usage", USAGE)
    change = {"stop_reason": stop, "stop_sequence": None, **more}
    found.append(event("message_delta", delta=change, usage=usage))
    return [*found, event("message_stop")]


def assemble(chunks: Iterable[StreamChunk]) -> LLMResponse:
    *chunks, last = chunks
    assert all(c.finish_reason is None and c.usage is None for c in chunks)
    return LLMResponse(
        content="".join(c.delta for c in (*chunks, last)),
        model=last.model or "",
        usage=last.usage or {},
        finish_reason=last.finish_reason,
        tool_calls=[call for c in chunks for call in c.tool_calls or ()] or None,
        reasoning="".join(c.reasoning or "" for c in chunks) or None,
        raw=last.raw,
        refusal=last.refusal,
        provider_data=last.provider_data,
    )


def streamed(blocks: Iterable[Any], stop: str = "end_turn", **more: Any) -> LLMResponse:
    return assemble(WIRE.parse_stream(events(blocks, stop, **more), REQUEST))


def calls_of(reply: LLMResponse) -> list[tuple[str, str, Any]]:
    return [
        (
            call["id"],
            call["function"]["name"],
            json.loads(call["function"]["arguments"]),
        )
        for call in reply.tool_calls or ()
    ]


both = pytest.mark.parametrize("read", [whole, streamed])


@both
@pytest.mark.parametrize(
    ("blocks", "content", "reasoning", "calls", "keeps"),
    [
        ([], "", None, [], False),
        ([TEXT], "Hello 👋", None, [], False),
        ([TEXT, TEXT], "Hello 👋Hello 👋", None, [], False),
        ([TEXT | {"citations": None}], "Hello 👋", None, [], False),
        ([CALL], "", None, [("toolu_1", "f", {"x": [1, "é"]})], False),
        (
            [TEXT, CALL, NO_ARGUMENTS],
            "Hello 👋",
            None,
            [("toolu_1", "f", {"x": [1, "é"]}), ("toolu_2", "g", {})],
            False,
        ),
        ([THINKING, TEXT], "Hello 👋", "Let me see.", [], True),
        ([THINKING, THINKING], "", "Let me see.Let me see.", [], True),
        ([OMITTED, TEXT], "Hello 👋", None, [], True),
        ([REDACTED, TEXT], "Hello 👋", None, [], True),
        ([SERVER_CALL, FOUND, CITED], "It is so.", None, [], True),
        (
            [NO_ARGUMENTS | {"caller": {"type": "direct"}}],
            "",
            None,
            [("toolu_2", "g", {})],
            True,
        ),
    ],
)
def test_blocks(
    read: Any,
    blocks: list[Any],
    content: str,
    reasoning: str | None,
    calls: list[Any],
    keeps: bool,
) -> None:
    reply = read(blocks)
    assert reply.content == content
    assert reply.reasoning == reasoning
    assert calls_of(reply) == calls
    assert reply.tool_calls != []
    assert (reply.provider_data is not None) is keeps
    assert reply.model == "claude-opus-5"


MIXED = [THINKING, TEXT, SERVER_CALL, FOUND, CITED, REDACTED, CALL, NO_ARGUMENTS]


def test_whole_and_streamed_replies_keep_the_same() -> None:
    one, other = whole(MIXED), streamed(MIXED)
    assert one.provider_data == other.provider_data
    assert json.loads(json.dumps(one.provider_data)) == one.provider_data
    assert calls_of(one) == calls_of(other)


@both
@pytest.mark.parametrize(
    ("stop", "blocks", "reason"),
    [
        ("end_turn", [TEXT], "stop"),
        ("stop_sequence", [TEXT], "stop"),
        ("pause_turn", [SERVER_CALL, FOUND], "stop"),
        ("tool_use", [CALL], "tool_calls"),
        ("end_turn", [CALL], "tool_calls"),
        ("max_tokens", [TEXT], "length"),
        ("max_tokens", [CALL], "length"),
        ("model_context_window_exceeded", [TEXT], "length"),
        ("refusal", [], "content_filter"),
        ("refusal", [CALL], "content_filter"),
        ("a_word_of_tomorrow", [TEXT], "stop"),
        ("a_word_of_tomorrow", [CALL], "tool_calls"),
    ],
)
def test_finish_reason(read: Any, stop: str, blocks: list[Any], reason: str) -> None:
    reply = read(blocks, stop)
    assert reply.finish_reason == reason
    assert reply.raw["stop_reason"] == stop


@both
def test_refusal_is_explained(read: Any) -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "No malware."}
    reply = read([], "refusal", stop_details=details)
    assert reply.refusal == "No malware."
    assert reply.raw["stop_details"]["category"] == "cyber"
    assert read([], "refusal", stop_details=None).refusal is None
    assert read(
        [], "refusal", stop_details=details | {"explanation": None}
    ).refusal is (None)


@both
@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            USAGE,
            {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        ),
        # Input leaves cache reads and writes out; thinking is part of the output.
        (
            {
                "input_tokens": 10,
                "cache_read_input_tokens": 100,
                "cache_creation_input_tokens": 30,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": 20,
                    "ephemeral_1h_input_tokens": 10,
                },
                "output_tokens": 50,
                "output_tokens_details": {"thinking_tokens": 40},
            },
            {
                "prompt_tokens": 140,
                "completion_tokens": 50,
                "total_tokens": 190,
                "cached_tokens": 100,
                "cache_creation_input_tokens": 30,
                "cache_creation_5m_tokens": 20,
                "cache_creation_1h_tokens": 10,
                "reasoning_tokens": 40,
            },
        ),
        (
            {
                "input_tokens": 1,
                "output_tokens": 2,
                "cache_creation": {"ephemeral_5m_input_tokens": 7},
            },
            {
                "prompt_tokens": 8,
                "completion_tokens": 2,
                "total_tokens": 10,
                "cache_creation_input_tokens": 7,
                "cache_creation_5m_tokens": 7,
            },
        ),
        (
            {
                "input_tokens": 1,
                "output_tokens": 2,
                "output_tokens_details": {"thinking_tokens": 3},
            },
            {
                "prompt_tokens": 1,
                "completion_tokens": 2,
                "total_tokens": 3,
                "reasoning_tokens": 2,
            },
        ),
    ],
)
def test_usage(read: Any, usage: dict[str, Any], expected: dict[str, int]) -> None:
    assert read([TEXT], usage=usage).usage == expected


def test_no_usage() -> None:
    assert whole([TEXT], usage=None).usage == {}
    bare = [
        event("message_start", message={"model": "m", "content": []}),
        event("message_delta", delta={"stop_reason": "end_turn"}),
        event("message_stop"),
    ]
    assert [c.usage for c in WIRE.parse_stream(bare, REQUEST)] == [None]


@pytest.mark.parametrize(
    ("late", "prompt_tokens"),
    [
        ({"output_tokens": 5}, 10),
        ({"output_tokens": 5, "input_tokens": None}, 10),
        ({"output_tokens": 5, "input_tokens": 2049}, 2049),
        ({"output_tokens": 5, "input_tokens": 4, "cache_read_input_tokens": 90}, 94),
    ],
)
def test_last_counts_of_a_stream_correct_the_first(
    late: dict[str, Any], prompt_tokens: int
) -> None:
    usage = streamed([TEXT], usage=late).usage
    assert usage["prompt_tokens"] == prompt_tokens
    assert usage["completion_tokens"] == 5


def test_raw_of_a_whole_reply_is_the_body() -> None:
    assert whole(MIXED, container={"id": "c"}).raw["content"] == MIXED
    assert whole([TEXT], container={"id": "c"}).raw["container"] == {"id": "c"}


def test_raw_of_a_stream_is_the_envelope_without_its_text() -> None:
    raw = streamed([TEXT, FOUND, CALL], "tool_use", container={"id": "c"}).raw
    assert raw == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5",
        "content": [
            {"type": "text", "length": 7},
            FOUND,
            {"type": "tool_use", "id": "toolu_1", "name": "f"},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": USAGE,
        "container": {"id": "c"},
    }


# Streams -------------------------------------------------------------------------


def chunks_of(*stream: StreamEvent) -> list[StreamChunk]:
    return list(WIRE.parse_stream(stream, REQUEST))


START = event("message_start", message={"model": "m", "content": []})
TEXT_START = event(
    "content_block_start", index=0, content_block={"type": "text", "text": ""}
)


def test_text_comes_as_it_is_sent_and_calls_once() -> None:
    chunks = list(
        WIRE.parse_stream(events([THINKING, TEXT, CALL], "tool_use"), REQUEST)
    )
    assert [c.reasoning for c in chunks if c.reasoning] == ["Let ", "me s", "ee."]
    assert [c.delta for c in chunks if c.delta] == ["Hell", "o 👋"]
    assert [len(c.tool_calls) for c in chunks if c.tool_calls] == [1]
    assert all(
        c.delta or c.reasoning or c.tool_calls or c.finish_reason for c in chunks
    )


def test_blocks_may_arrive_interleaved() -> None:
    start = event(
        "content_block_start", index=1, content_block=CALL | {"input": {}, "id": "b"}
    )
    chunks = chunks_of(
        START,
        TEXT_START,
        start,
        delta(1, "input_json_delta", partial_json='{"x"'),
        delta(0, "text_delta", text="A"),
        delta(1, "input_json_delta", partial_json=": 1}"),
        event("content_block_stop", index=0),
        event("content_block_stop", index=1),
        event("message_stop"),
    )
    reply = assemble(chunks)
    assert reply.content == "A"
    assert calls_of(reply) == [("b", "f", {"x": 1})]
    assert reply.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("given", "pieces", "arguments"),
    [
        ({}, [], "{}"),
        ({}, [""], "{}"),
        ({}, ["null"], "{}"),
        ({"x": 1}, [], '{"x":1}'),
        ({"x": "é"}, [""], '{"x":"é"}'),
        ("", [], "{}"),
        (None, [], "{}"),
        ({}, ["{\n", ' "x" : 1.0}'], '{\n "x" : 1.0}'),
        # Cut off by the token limit: as it came.
        ({}, ['{"x": "ab'], '{"x": "ab'),
    ],
)
def test_arguments_of_a_streamed_call(
    given: Any, pieces: list[str], arguments: str
) -> None:
    block = {"type": "tool_use", "id": "t", "name": "f", "input": given}
    chunks = chunks_of(
        START,
        event("content_block_start", index=0, content_block=block),
        *(delta(0, "input_json_delta", partial_json=piece) for piece in pieces),
        event("content_block_stop", index=0),
        event("message_stop"),
    )
    (call,) = assemble(chunks).tool_calls or ()
    assert call["function"]["arguments"] == arguments


def test_input_that_is_text_stays_text() -> None:
    (call,) = whole([CALL | {"input": '{"x":1}'}]).tool_calls or ()
    assert call["function"]["arguments"] == '{"x":1}'


def test_call_without_its_stop_event_is_not_lost() -> None:
    start = event("content_block_start", index=0, content_block=NO_ARGUMENTS)
    reply = assemble(chunks_of(START, start, event("message_stop")))
    assert calls_of(reply) == [("toolu_2", "g", {})]
    assert reply.finish_reason == "tool_calls"


def test_server_call_cut_off_by_the_limit_is_kept_without_input() -> None:
    start = event("content_block_start", index=0, content_block=SERVER_CALL)
    reply = assemble(
        chunks_of(
            START,
            start,
            delta(0, "input_json_delta", partial_json='{"que'),
            event("content_block_stop", index=0),
            event("message_stop"),
        )
    )
    assert reply.provider_data == {"blocks": [SERVER_CALL | {"input": {}}]}


def test_text_in_the_start_of_a_block_counts() -> None:
    start = event("content_block_start", index=0, content_block=TEXT)
    thought = event("content_block_start", index=1, content_block=THINKING)
    reply = assemble(
        chunks_of(
            START,
            start,
            delta(0, "text_delta", text="!"),
            thought,
            delta(1, "thinking_delta", thinking="!"),
            event("content_block_stop", index=0),
            event("content_block_stop", index=1),
            event("message_stop"),
        )
    )
    assert (reply.content, reply.reasoning) == ("Hello 👋!", "Let me see.!")
    assert reply.provider_data == {
        "blocks": [
            {"type": "text", "length": 8},
            THINKING | {"thinking": "Let me see.!"},
        ]
    }


def test_unknown_events_and_deltas_do_no_harm() -> None:
    compaction = {"type": "compaction", "content": None}
    chunks = chunks_of(
        event("vertex_event"),
        START,
        event("content_block_start", index=0, content_block=compaction),
        delta(0, "compaction_delta", content="Summary"),
        event("content_block_stop", index=0),
        event("content_block_stop", index=9),
        event(
            "message_delta",
            delta={"stop_reason": "end_turn"},
            usage=USAGE,
            context_management={"applied_edits": []},
        ),
        event("message_stop"),
    )
    (last,) = chunks
    assert last.provider_data == {
        "blocks": [{"type": "compaction", "content": "Summary"}]
    }
    assert last.raw["context_management"] == {"applied_edits": []}


def test_events_may_be_empty_or_have_their_type_as_name_only() -> None:
    untyped = [
        StreamEvent(
            name, json.dumps({k: v for k, v in json.loads(data).items() if k != "type"})
        )
        for name, data in events([TEXT, CALL], "tool_use")
    ]
    silent = [StreamEvent("ping", "still here"), StreamEvent("", "")]
    response = assemble(chunks_of(*silent, *untyped, *silent))
    assert response.content == TEXT["text"]
    assert response.finish_reason == "tool_calls"


def test_blocks_in_the_start_of_a_message_count() -> None:
    # https://platform.claude.com/docs/en/agents-and-tools/tool-use/programmatic-tool-calling
    blocks = [FOUND, TEXT, THINKING, CALL | {"caller": {"type": "x", "tool_id": "s"}}]
    message = {
        "model": "claude-opus-5",
        "content": blocks,
        "stop_reason": "tool_use",
        "usage": USAGE,
    }
    start = event("message_start", message=message)
    streamed = assemble(chunks_of(start, start, event("message_stop")))
    plain = whole(blocks, "tool_use")
    assert streamed.tool_calls == plain.tool_calls
    assert streamed.content == plain.content == TEXT["text"]
    assert streamed.reasoning == plain.reasoning
    assert streamed.provider_data == plain.provider_data
    assert (streamed.finish_reason, streamed.usage) == ("tool_calls", plain.usage)


def test_a_stream_names_the_model_that_took_over() -> None:
    # https://platform.claude.com/docs/en/build-with-claude/refusals-and-fallback
    hop = {"from": {"model": "claude-opus-5"}, "to": {"model": "claude-opus-4-8"}}
    response = streamed([{"type": "fallback", **hop}, TEXT])
    assert response.model == "claude-opus-4-8"
    assert response.raw is not None
    assert response.raw["model"] == "claude-opus-4-8"


def test_the_end_of_a_stream_takes_back_a_refusal_of_its_start() -> None:
    details = {"type": "refusal", "explanation": "No."}
    message = {"model": "m", "content": [], "stop_details": details}
    change = {"stop_reason": "end_turn", "stop_details": None}
    response = assemble(
        chunks_of(
            event("message_start", message=message),
            event("message_delta", delta=change),
            event("message_stop"),
        )
    )
    assert (response.finish_reason, response.refusal) == ("stop", None)


def test_a_body_without_a_model_is_a_reply() -> None:
    body = {"type": "message", "content": [TEXT], "stop_reason": "end_turn"}
    response = WIRE.parse_response(body, REQUEST)
    assert (response.content, response.model) == (TEXT["text"], "")


@pytest.mark.parametrize("data", ["upstream gone", '{"error": "upstream gone"}'])
def test_an_error_event_needs_no_form(data: str) -> None:
    with pytest.raises(ProviderResponseError, match="upstream gone"):
        chunks_of(START, StreamEvent("error", data))


def test_only_message_stop_ends_a_stream() -> None:
    complete = events(MIXED, "tool_use")
    for end in range(len(complete)):
        chunks = WIRE.parse_stream(complete[:end], REQUEST)
        assert all(chunk.finish_reason is None for chunk in chunks)


def test_memory_does_not_grow_with_the_text() -> None:
    def endless(count: int) -> Iterator[StreamEvent]:
        yield START
        yield TEXT_START
        piece = delta(0, "text_delta", text="x" * 100)
        for _ in range(count):
            yield piece
        yield event("content_block_stop", index=0)
        yield event("message_stop")

    peaks = []
    for count in (10, 5000):
        tracemalloc.start()
        for _ in WIRE.parse_stream(endless(count), REQUEST):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 50_000


# Errors --------------------------------------------------------------------------

ERRORS: list[tuple[str, str, type[ProviderError]]] = [
    ("overloaded_error", "Overloaded", ProviderOverloadedError),
    ("rate_limit_error", "Slow down", ProviderRateLimitError),
    ("authentication_error", "invalid x-api-key", ProviderAuthenticationError),
    ("api_error", "Internal server error", ProviderResponseError),
    (
        "invalid_request_error",
        "prompt is too long: 210000 tokens > 200000 maximum",
        ContextLengthError,
    ),
    (
        "invalid_request_error",
        "input length and `max_tokens` exceed context limit: 199000 + 8192 > 200000",
        ContextLengthError,
    ),
]


@pytest.mark.parametrize(("kind", "message", "error_class"), ERRORS)
def test_error_event_in_a_stream(
    kind: str, message: str, error_class: type[ProviderError]
) -> None:
    failure = event("error", error={"type": kind, "message": message})
    stream = WIRE.parse_stream(
        [START, TEXT_START, delta(0, "text_delta", text="Hal"), failure], REQUEST
    )
    assert next(stream).delta == "Hal"
    with pytest.raises(error_class) as caught:
        next(stream)
    assert caught.value.message == message
    assert type(caught.value) is error_class


@pytest.mark.parametrize(("kind", "message", "error_class"), ERRORS)
def test_error_in_a_body(
    kind: str, message: str, error_class: type[ProviderError]
) -> None:
    body = {"type": "error", "error": {"type": kind, "message": message}}
    with pytest.raises(error_class) as caught:
        WIRE.parse_response(body, REQUEST)
    assert caught.value.message == message


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"content": []},
        {"content": [{}], "model": "m", "stop_reason": "end_turn"},
        {"content": [{"type": "text"}], "model": "m", "stop_reason": "end_turn"},
        {"content": "text", "model": "m", "stop_reason": "end_turn"},
        {"content": [CALL | {"id": None}, None], "model": "m", "stop_reason": "x"},
    ],
)
def test_body_of_another_shape_raises_what_the_caller_expects(body: Any) -> None:
    with pytest.raises((LookupError, TypeError, ValueError, AttributeError)):
        WIRE.parse_response(body, REQUEST)


@pytest.mark.parametrize(
    "data",
    [
        "{",
        "[]",
        '{"type": "content_block_delta", "index": 7, "delta": {"type": "text_delta"}}',
        '{"type": "content_block_delta", "index": 0, "delta": '
        '{"type": "text_delta", "text": ["x"]}}',
        '{"type": "content_block_start", "index": 0}',
        '{"type": "message_delta"}',
        '{"type": "message_start"}',
    ],
)
def test_event_of_another_shape_raises_what_the_caller_expects(data: str) -> None:
    with pytest.raises((LookupError, TypeError, ValueError, AttributeError)):
        chunks_of(START, TEXT_START, StreamEvent("", data))
