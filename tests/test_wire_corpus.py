"""Every recorded exchange, replayed over real HTTP, gives what its record expects.

Uploads, whose records expect nothing, are in `test_wire_files`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import wire
import wire_expected
from wire import Record
from wire_requests import Inexpressible, to_request

from llmring_lite import LLMRequest, LLMResponse, LLMRing, Message
from llmring_lite.exceptions import ProviderError, ProviderResponseError

pytestmark = wire.needs_recordings

EXCEPTIONS: dict[str, str] = {}
"""Records that can't pass: id -> why."""

Difference = tuple[str, object, object]
"""What differs, what was expected, what came."""


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """Answers with any record, streams cut at random, also inside characters."""
    records = {record["id"]: record for record in wire.every()}
    with wire.replay().ReplayServer(records, split="random") as running:
        yield running


@pytest.mark.parametrize("name", wire.files())
def test_replayed_exchanges_give_what_the_providers_own_sdk_made_of_them(
    name: str, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(wire.KEY_VARIABLE, "sk-of-the-test")
    records = wire.load(name)
    path = tmp_path / "llmring.lock"
    path.write_text(wire.lockfile(records, server))
    failed = []
    with LLMRing(lockfile_path=path, max_retries=0) as ring:
        for record in records:
            differences = list(compare(record, ring))
            if bool(differences) != (record["id"] in EXCEPTIONS):
                failed.append(report(record, differences))
    assert not failed, f"{len(failed)} of {len(records)} differ:\n" + "\n".join(failed)


def test_exceptions_are_few() -> None:
    assert len(EXCEPTIONS) <= 10
    assert EXCEPTIONS.keys() <= {record["id"] for record in wire.every()}


def report(record: Record, differences: list[Difference]) -> str:
    lines = [f"{record['id']} ({record['main_feature']})"]
    if not differences:
        lines.append("  is listed as an exception but passes")
    for what, expected, found in differences:
        lines += [f"  {what}: expected {expected!r:.400}", f"  {'':>{len(what)}}  "]
        lines[-1] += f"found    {found!r:.400}"
    return "\n".join(lines)


# One exchange ---------------------------------------------------------------------


def compare(record: Record, ring: LLMRing) -> Iterator[Difference]:
    """What differs between what a caller sees and what the record expects."""
    expected = record["expected"]
    request = _request(record)
    try:
        if record["streaming"]:
            response = yield from _read_stream(ring, request, expected)
        else:
            response = ring.chat(request)
    except ProviderError as error:
        response = _kept_by(error)
        if response is None:
            yield from _compare_error(error, expected)
            return
    if expected["outcome"] != "ok":
        yield "outcome", expected["outcome"], response
        return
    yield from _compare_reply(response, record)


def _request(record: Record) -> LLMRequest:
    """The recorded request, or one that asks for the same kind of answer.

    What a provider can't take is left out: providers that serve compatible models
    are in the lockfile without the traits of the one that was recorded. Files are
    left out, too: in the records they are cut off, or their bytes replaced.
    """
    try:
        request = to_request(record)
    except Inexpressible:
        request = LLMRequest("model", "?")
    if any(isinstance(message.content, list) for message in request.messages):
        request.messages = [_only_text(message) for message in request.messages]
    return replace(
        request,
        model=f"{record['id']}:{request.model}",
        stream=record["streaming"],
        extra_params={**request.extra_params, "drop_unsupported": True},
    )


def _only_text(message: Message) -> Message:
    if not isinstance(message.content, list):
        return message
    texts = [part for part in message.content if part["type"] == "text"]
    return replace(message, content=texts or "?")


def _kept_by(error: ProviderError) -> LLMResponse | None:
    """The reply of an error that says that it is complete but not as asked for.

    A strict schema makes an error of what the SDKs hand out; the reply is in it.
    """
    return error.response if isinstance(error, ProviderResponseError) else None


def _read_stream(
    ring: LLMRing, request: LLMRequest, expected: dict[str, Any]
) -> Iterator[Difference]:
    """Iterates a stream and returns the assembled response."""
    stream = ring.chat_stream(request)
    chunks = list(stream)
    response = stream.response
    text = "".join(chunk.delta for chunk in chunks)
    if text != response.content:
        yield "concatenated deltas", response.content, text
    pieces = [chunk.delta for chunk in chunks if chunk.delta]
    if expected["outcome"] == "ok" and pieces != expected.get("deltas", []):
        yield "deltas", expected["deltas"], pieces
    reasoning = "".join(chunk.reasoning or "" for chunk in chunks)
    if reasoning != (response.reasoning or ""):
        yield "concatenated reasoning", response.reasoning, reasoning
    calls = [call for chunk in chunks for call in chunk.tool_calls or ()]
    if calls != (response.tool_calls or []):
        yield "streamed tool calls", response.tool_calls, calls
    early = [chunk for chunk in chunks[:-1] if chunk.finish_reason or chunk.usage]
    if early:
        yield "finish reason or usage before the end", [], early
    if _counts(chunks[-1].usage or {}) != _counts(response.usage):
        yield "streamed usage", response.usage, chunks[-1].usage
    return response


def _compare_reply(response: LLMResponse, record: Record) -> Iterator[Difference]:
    expected = record["expected"]
    pairs = {
        "content": (expected["content"], response.content),
        "usage": (wire_expected.usage(record), _counts(response.usage)),
        "reasoning": (expected["reasoning"] or "", response.reasoning or ""),
        "refusal": (wire_expected.refusal(expected), response.refusal),
        "provider": (record["id"], response.provider),
        "alias": (None, response.alias),
    }
    for what, (wanted, found) in pairs.items():
        if wanted != found:
            yield what, wanted, found
    reason = wire_expected.finish_reason(expected)
    allowed = [reason] if reason else ["stop", "length"]
    if response.finish_reason not in allowed:
        yield "finish_reason", reason, response.finish_reason
    yield from _compare_calls(expected, response.tool_calls)
    if not response.raw:
        yield "raw", "the provider's own reply", response.raw


def _counts(usage: dict[str, Any]) -> dict[str, Any]:
    """Usage without what we add to it: the price."""
    return {key: value for key, value in usage.items() if not key.startswith("cost")}


def _compare_calls(
    expected: dict[str, Any], found: list[dict[str, Any]] | None
) -> Iterator[Difference]:
    wanted = wire_expected.tool_calls(expected)
    if found is not None and not found:
        yield "tool_calls", "None if there are none", found
    found = found or []
    if len(found) != len(wanted):
        yield "tool_calls", wanted, found
        return
    ids = [call["id"] for call in found]
    if len(set(ids)) != len(ids) or not all(ids):
        sent = [call["id"] for call in wanted]
        if len(set(sent)) == len(sent):
            yield "ids of tool calls", "unique ones", ids
    for number, (want, call) in enumerate(zip(wanted, found, strict=True)):
        text = call["function"]["arguments"]
        arguments = text
        if not isinstance(want["arguments"], str):
            arguments = json.loads(text)
        got = {
            "id": want["id"] and call["id"],
            "name": call["function"]["name"],
            "arguments": arguments,
        }
        if got != want or call["type"] != "function":
            yield f"tool_calls[{number}]", want, call


def _compare_error(
    error: ProviderError, expected: dict[str, Any]
) -> Iterator[Difference]:
    if expected["outcome"] == "ok":
        yield "outcome", "ok", error
        return
    wanted = expected["error"]
    pairs = {
        "class": (wire_expected.error_class(expected), type(error)),
        "message": (wanted["message"], error.message),
        "partial": (expected["content"] or "", error.partial),
    }
    if expected["outcome"] == "error":
        pairs["status"] = (wanted["http_status"], error.status_code)
    for what, (want, found) in pairs.items():
        if want != found:
            yield f"error {what}", want, found
