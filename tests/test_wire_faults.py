"""Broken replies: cut, damaged, of another shape. None passes for a whole one."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wire
from wire import Record
from wire_attempt import CannedReply, ask, ask_recorded

from llmring_lite import LLMRequest, LLMResponse, LLMRing, StreamChunk
from llmring_lite.exceptions import (
    LLMRingError,
    ProviderError,
    ProviderResponseError,
)

CUTS = 20
FLIPS = 12
CHANGES = 8

FINISH_REASONS = {"stop", "length", "tool_calls", "content_filter"}


def said(response: LLMResponse) -> tuple[Any, ...]:
    """What makes two replies the same. Usage may come after their end."""
    return (
        response.content,
        response.tool_calls,
        response.finish_reason,
        response.reasoning,
        response.refusal,
    )


def is_typed(response: LLMResponse) -> bool:
    """Whether the values have the types that the contract gives them."""
    texts = [response.content, response.reasoning or "", response.refusal or ""]
    for call in response.tool_calls or ():
        function = call["function"]
        texts += [call["id"], call["type"], function["name"], function["arguments"]]
    return (
        all(isinstance(text, str) for text in texts)
        and response.finish_reason in FINISH_REASONS
        and all(type(count) is int for count in response.usage.values())
    )


# Cut ------------------------------------------------------------------------------


@wire.needs_recordings
@pytest.mark.parametrize("name", wire.files())
@pytest.mark.parametrize("ending", ["silent", "broken"])
def test_a_stream_that_was_cut_never_passes_for_a_whole_reply(
    name: str, ending: str
) -> None:
    """`silent`: the connection just closes; `broken`: the transport notices."""
    for record in filter(wire.is_stream, wire.load(name)):
        body = record["response"]["body_text"].encode()
        try:
            whole: LLMResponse | None = ask_recorded(record, body)
        except ProviderError:
            whole = None
        rng = random.Random(record["id"])
        for _ in range(CUTS):
            cut = rng.randrange(len(body))
            broken = ProviderResponseError("broken") if ending == "broken" else None
            found = outcome(record, body[:cut], broken)
            where = f"{record['id']} cut at {cut}"
            if isinstance(found, LLMResponse):
                assert whole is not None, where
                assert said(found) == said(whole), where
            elif whole is not None and "json-array-stream" not in record["features"]:
                assert whole.content.startswith(found.partial), where


def outcome(
    record: Record, body: bytes, broken: ProviderError | None
) -> LLMResponse | ProviderResponseError:
    try:
        return ask_recorded(record, body, broken)
    except ProviderResponseError as error:
        return error


@wire.needs_recordings
@pytest.mark.parametrize("kind", sorted(set(wire.KINDS.values())))
def test_a_connection_that_breaks_is_an_error_with_the_text_so_far(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(wire.KEY_VARIABLE, "sk-of-the-test")
    streams = [
        record
        for record in filter(wire.is_stream, wire.every())
        if wire.kind_of(record) == kind
        and "json-array-stream" not in record["features"]
    ]
    records = random.Random(kind).sample(streams, 15)
    faults = {r["id"]: {"cut_at": (n + 1) / 17} for n, r in enumerate(records)}
    path = tmp_path / "llmring.lock"
    with wire.replay().ReplayServer(records, faults=faults) as server:
        path.write_text(wire.lockfile(records, server))
        with LLMRing(lockfile_path=path, max_retries=0) as ring:
            for record in records:
                texts: list[str] = []
                with pytest.raises(ProviderResponseError) as caught:
                    read(ring.chat_stream(f"{record['id']}:model", "?"), texts)
                assert caught.value.partial == "".join(texts)
                content = record["expected"]["content"] or ""
                assert content.startswith(caught.value.partial)


def read(chunks: Iterable[StreamChunk], texts: list[str]) -> None:
    for chunk in chunks:
        texts.append(chunk.delta)


# Damaged --------------------------------------------------------------------------


@wire.needs_recordings
@pytest.mark.parametrize("name", wire.files())
def test_a_flipped_byte_gives_a_typed_result_or_an_error_of_ours(name: str) -> None:
    for record in wire.load(name):
        rng = random.Random(record["id"])
        body = record["response"]["body_text"].encode()
        for _ in range(FLIPS if body else 0):
            place, bits = rng.randrange(len(body)), rng.randrange(1, 256)
            damaged = bytearray(body)
            damaged[place] ^= bits
            check_typed(record, bytes(damaged))


@wire.needs_recordings
@pytest.mark.parametrize("name", wire.files())
def test_a_changed_value_gives_a_typed_result_or_an_error_of_ours(name: str) -> None:
    for record in wire.load(name):
        rng = random.Random(record["id"])
        for _ in range(CHANGES):
            check_typed(record, changed(record["response"]["body_text"], rng))


def check_typed(record: Record, body: bytes) -> None:
    try:
        response = ask_recorded(record, body)
    except LLMRingError:
        return
    except Exception as error:
        raise AssertionError(f"{record['id']}: {body!r}") from error
    assert is_typed(response), f"{record['id']}: {body!r}"


VALUES = [None, 0, -1, 1.5, "", "x", True, False, [], {}, [None], [{}], ["x"], {"a": 1}]


def changed(text: str, rng: random.Random) -> bytes:
    """The body with one value of its JSON, or of an event's, replaced or taken out."""
    lines = [text]
    if _json(text) is None:
        lines = text.split("\n")
    places = [n for n, line in enumerate(lines) if _json(_payload(line)) is not None]
    if not places:
        return text.encode()
    number = rng.choice(places)
    payload = _payload(lines[number])
    value = _json(payload)
    *way, last = rng.choice(list(_ways(value)) or [(None,)])
    if last is None:
        return text.encode()
    inner = value
    for key in way:
        inner = inner[key]
    if rng.random() < 0.2:
        del inner[last]
    else:
        inner[last] = rng.choice(VALUES)
    begun = lines[number].removesuffix(payload)
    lines[number] = begun + json.dumps(value)
    return "\n".join(lines).encode()


def _payload(line: str) -> str:
    return line.removeprefix("data:").strip() if line.startswith("data:") else line


def _json(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, (dict, list)) else None


def _ways(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside a JSON value."""
    if way:
        yield way
    if isinstance(value, (dict, list)):
        keys = value if isinstance(value, dict) else range(len(value))
        for key in keys:
            yield from _ways(value[key], (*way, key))


# Of another shape -----------------------------------------------------------------

# A reply whose text is no text, in the form of each provider's reference.
NO_TEXT: dict[str, Any] = {
    "openai": {"choices": [{"message": {"content": 5}, "finish_reason": "stop"}]},
    "openai-responses": {
        "status": "completed",
        "output": [
            {"type": "message", "content": [{"type": "output_text", "text": 5}]}
        ],
    },
    "anthropic": {
        "model": "m",
        "content": [{"type": "text", "text": 5}],
        "stop_reason": "end_turn",
    },
    "google": {
        "candidates": [{"content": {"parts": [{"text": 5}]}, "finishReason": "STOP"}]
    },
    "ollama": {"message": {"content": 5}, "done": True, "done_reason": "stop"},
}
JSON_TYPE = {"content-type": "application/json"}
STREAM_TYPE = {"content-type": "text/event-stream"}

NO_TEXT_EVENTS: dict[str, list[Any]] = {
    "openai": [{"choices": [{"delta": {"content": 5}}]}, "[DONE]"],
    "openai-responses": [
        {"type": "response.output_text.delta", "delta": 5, "output_index": 0},
        {"type": "response.completed", "response": {"output": []}},
    ],
    "anthropic": [
        {"type": "message_start", "message": {"content": []}},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": ""},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": 5},
        },
        {"type": "message_stop"},
    ],
    "google": [NO_TEXT["google"]],
    "ollama": [NO_TEXT["ollama"]],
}


@pytest.mark.parametrize("kind", NO_TEXT)
def test_a_text_that_is_no_text_is_an_error(kind: str) -> None:
    reply = CannedReply(200, JSON_TYPE, json.dumps(NO_TEXT[kind]).encode())
    with pytest.raises(ProviderResponseError, match="unexpected shape"):
        ask(kind, LLMRequest("m", "?"), reply)


@pytest.mark.parametrize("kind", NO_TEXT_EVENTS)
def test_a_streamed_text_that_is_no_text_is_an_error(kind: str) -> None:
    events = [
        event if isinstance(event, str) else json.dumps(event)
        for event in NO_TEXT_EVENTS[kind]
    ]
    if kind == "ollama":
        body = "\n".join(events)
    else:
        body = "".join(f"data: {event}\n\n" for event in events)
    reply = CannedReply(200, STREAM_TYPE, body.encode())
    with pytest.raises(ProviderResponseError, match="unexpected shape"):
        ask(kind, LLMRequest("m", "?", stream=True), reply)


def test_a_call_whose_name_is_no_text_is_an_error() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": 7, "arguments": "{}"}}
    message = {"content": None, "tool_calls": [call]}
    body = {"choices": [{"message": message, "finish_reason": "tool_calls"}]}
    with pytest.raises(ProviderResponseError, match="unexpected shape"):
        ask(
            "openai",
            LLMRequest("m", "?"),
            CannedReply(200, JSON_TYPE, json.dumps(body).encode()),
        )


@pytest.mark.parametrize(
    ("count", "tokens"), [(7, 7), (7.0, 7), (7.5, None), ("7", None), (True, None)]
)
def test_counts_that_are_no_whole_numbers_are_left_out(
    count: Any, tokens: int | None
) -> None:
    body = {
        "message": {"content": "x"},
        "done": True,
        "prompt_eval_count": 3,
        "eval_count": count,
    }
    reply = CannedReply(200, JSON_TYPE, json.dumps(body).encode())
    usage = ask("ollama", LLMRequest("m", "?"), reply).usage
    assert usage.get("completion_tokens") == tokens
    assert usage["prompt_tokens"] == 3
