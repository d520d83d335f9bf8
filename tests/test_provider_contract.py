"""What holds for every wire format, on every recorded reply.

The same reply in another spelling: servers differ in line ends, comments, nulls, the
order of keys, and fields that nobody knows yet. None of that may change what a caller
is given. And whatever is parsed is left as it was.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import wire
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import Record
from wire_attempt import CannedReply, ask, ask_recorded, request_of
from wire_fakes import FAKES, Call, Text, Thought

from llmring_lite import LLMRequest, LLMResponse, Message
from llmring_lite.exceptions import ProviderError, ProviderRateLimitError
from llmring_lite.provider import BUILTIN, Endpoint, load_wire_format

Spelling = Callable[[str], str]


def outcome(record: Record, body: str, **more: Any) -> tuple[Any, ...]:
    """What a caller is told: the reply's content, or the error."""
    try:
        response = ask_recorded(record, body.encode(), **more)
    except ProviderError as error:
        return (type(error), error.message, error.partial)
    given = [call["id"] for call in record["expected"]["tool_calls"]]
    # Where the API has no ids, ours may depend on all that it says of a call.
    return said(response, with_ids=None not in given)


def said(response: LLMResponse, *, with_ids: bool) -> tuple[Any, ...]:
    calls = [dict(call) for call in response.tool_calls or ()]
    for call in calls:
        call["id"] = call["id"] if with_ids else "made"
    return (
        response.content,
        calls,
        response.finish_reason,
        response.usage,
        response.reasoning,
        response.refusal,
        response.parsed,
    )


# Spellings ------------------------------------------------------------------------

# What a caller's tools are called with is not the provider's to respell.
_ARGUMENTS = frozenset({"arguments", "input", "args", "partial_json", "parsed"})


def each_object(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Spelling:
    """Changes every object of a body, or of its events."""

    def changed(value: Any) -> Any:
        if isinstance(value, list):
            return [changed(item) for item in value]
        if not isinstance(value, dict):
            return value
        return change(
            {k: v if k in _ARGUMENTS else changed(v) for k, v in value.items()}
        )

    def respell(text: str) -> str:
        try:
            return json.dumps(changed(json.loads(text)), ensure_ascii=False)
        except ValueError:
            return "\n".join(map(line, text.split("\n")))

    def line(text: str) -> str:
        match = re.fullmatch(r"((?:data: ?)?)([\[{].*?)(\r?)", text, re.DOTALL)
        if match is None:
            return text
        try:
            value = json.loads(match[2])
        except ValueError:
            return text
        return match[1] + json.dumps(changed(value), ensure_ascii=False) + match[3]

    return respell


def in_sse(change: Spelling) -> Spelling:
    def respell(text: str) -> str:
        return change(text) if re.search("^data:", text, re.MULTILINE) else text

    return respell


def before_data(inserted: str) -> Spelling:
    return in_sse(lambda text: re.sub("^data:", f"{inserted}data:", text, flags=re.M))


SPELLINGS: dict[str, Spelling] = {
    "nulls left out": each_object(
        lambda value: {k: v for k, v in value.items() if v is not None}
    ),
    "unknown fields": each_object(lambda value: {**value, "x_new": {"a": [None, 1]}}),
    "keys in reverse": each_object(lambda value: dict(reversed(value.items()))),
    "CRLF": in_sse(lambda text: text.replace("\r", "").replace("\n", "\r\n")),
    "CR": in_sse(lambda text: text.replace("\r", "").replace("\n", "\r")),
    "no blank after data": lambda text: re.sub("^data: ", "data:", text, flags=re.M),
    "comments": before_data(": keep-alive\n\n"),
    "ids and retry": before_data("id: 1\nretry: 10\n"),
    "unknown lines": before_data("x-new: 1\nalone\n"),
    "byte order mark": in_sse(lambda text: "\ufeff" + text),
    "white space in front": lambda text: "\n\n \t\n" + text,
    "no event names": lambda text: re.sub(r"^event:.*\r?\n", "", text, flags=re.M),
}


@wire.needs_recordings
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_another_spelling_says_the_same(spelling: str) -> None:
    respell = SPELLINGS[spelling]
    for record in wire.every():
        body = record["response"]["body_text"]
        other = respell(body)
        if other == body or "no-finish-reason" in record["features"]:
            continue
        assert outcome(record, other) == outcome(record, body), record["id"]


@wire.needs_recordings
def test_a_server_that_does_not_stream_says_the_same() -> None:
    """A stream was asked for, and a whole reply came."""
    for record in wire.every():
        is_whole = not record["streaming"] and record["response"]["status"] == 200
        if is_whole:
            body = record["response"]["body_text"]
            assert outcome(record, body, stream=True) == outcome(record, body), record[
                "id"
            ]


@wire.needs_recordings
def test_parsing_changes_nothing_and_gives_the_same_again() -> None:
    for record in wire.every():
        if record["response"]["status"] != 200 or record["streaming"]:
            continue
        format_, request = load_wire_format(wire.kind_of(record)), request_of(record)
        body = json.loads(record["response"]["body_text"].partition("\n: ")[0])
        before = copy.deepcopy((body, request))
        first = format_.parse_response(body, request)
        kept = copy.deepcopy(first.provider_data)
        assert (body, request) == before, record["id"]
        assert format_.parse_response(body, request) == first, record["id"]
        following = replace(request, messages=[*request.messages, first.message])
        endpoint = Endpoint(
            name="other", kind=wire.kind_of(record), base_url="http://x"
        )
        format_.build_request(following, endpoint)
        assert first.provider_data == kept, record["id"]


BLOCKS = [
    Thought("Hm.", "s"),
    Text("Hello "),
    Text("é"),
    Call("c1", "f", {"a": 1}, "s"),
]
MEDIA_TYPES = [
    {},
    {"content-type": "application/json; charset=utf-8"},
    {"content-type": "text/event-stream"},
    {"content-type": "text/plain"},
]


@pytest.mark.parametrize("headers", MEDIA_TYPES, ids=str)
@pytest.mark.parametrize("form", ["events", "whole", "whole after comments"])
@pytest.mark.parametrize("kind", [kind for kind in FAKES if kind != "ollama"])
def test_what_comes_counts_more_than_its_media_type(
    kind: str, form: str, headers: dict[str, str]
) -> None:
    fake = FAKES[kind]
    body = json.dumps(fake.reply(BLOCKS))
    if form == "events":
        events = (
            e if isinstance(e, str) else json.dumps(e) for e in fake.events(BLOCKS)
        )
        body = "".join(f"data: {event}\n\n" for event in events)
    elif form == "whole after comments":
        body = f": working\n\n: still {' ' * 2000}\n\n  {body}"
    reply = CannedReply(200, headers, body.encode())
    response = ask(kind, LLMRequest("m", "?", stream=True), reply)
    assert response.content == "Hello é"
    assert [call["id"] for call in response.tool_calls or ()] == ["c1"]
    assert response.finish_reason == "tool_calls"


def test_an_error_in_a_stream_may_come_as_plain_json() -> None:
    body = {"error": {"message": "Slow down", "code": "rate_limit_exceeded"}}
    headers = {"content-type": "text/event-stream"}
    reply = CannedReply(200, headers, json.dumps(body).encode())
    with pytest.raises(ProviderRateLimitError, match="Slow down"):
        ask("openai", LLMRequest("m", "?", stream=True), reply)


# Ids ------------------------------------------------------------------------------

ENDPOINTS = {
    **{
        kind: Endpoint(name=kind, kind=kind, base_url="http://127.0.0.1:9")
        for kind in FAKES
    },
    **{name: BUILTIN[name] for name in ("openai", "mistral", "groq", "azure")},
}


@pytest.mark.parametrize("name", ENDPOINTS)
@settings(max_examples=50, deadline=None)
@given(
    tails=st.lists(st.text(st.characters(codec="ascii"), max_size=90), min_size=1),
    turned=st.booleans(),
)
def test_ids_of_any_origin_keep_a_call_and_its_result_together(
    name: str, tails: list[str], turned: bool
) -> None:
    """Providers limit the length and the characters of ids, each in its own way."""
    ids = [f"{number}_{tail}" for number, tail in enumerate(tails)]
    calls = [
        {
            "id": id_,
            "type": "function",
            "function": {"name": "f", "arguments": json.dumps({"n": number})},
        }
        for number, id_ in enumerate(ids)
    ]
    results = [
        Message("tool", json.dumps({"n": number}), tool_call_id=id_)
        for number, id_ in enumerate(ids)
    ]
    if turned:
        results.reverse()
    turn = Message("assistant", "", tool_calls=calls)
    request = LLMRequest("model", [Message("user", "?"), turn, *results])
    endpoint = ENDPOINTS[name]
    body = load_wire_format(endpoint.kind).build_request(request, endpoint).body
    facts = FAKES[endpoint.kind].read(body)
    called = {id_: value["n"] for fact in facts[1:2] for id_, _, value in fact[2]}
    answered = {id_: value["n"] for _, id_, value in facts[2:]}
    assert called == answered
    assert sorted(called.values()) == list(range(len(ids)))
