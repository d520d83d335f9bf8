"""Structured replies end to end: parsed, checked, and refused when they lie."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import LAST_CHUNK, Loopback, Received, chunk, reply, stream_head

from llmring_lite import LLMRing, ProviderResponseError

SCHEMA = {
    "type": "object",
    "properties": {"year": {"type": "integer"}, "city": {"type": "string"}},
    "required": ["year", "city"],
    "additionalProperties": False,
}


def wanted(strict: bool) -> dict[str, Any]:
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": SCHEMA},
        "strict": strict,
    }


def answering(text: str) -> Any:
    """A server that replies with this text, streamed if asked to."""

    def handler(sock: Any, request: Received, _: int) -> bool:
        if not request.json.get("stream"):
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            sock.sendall(reply({"model": "m", "choices": [choice]}))
            return True
        deltas = [{"content": piece} for piece in text]
        choices = [{"index": 0, "delta": d, "finish_reason": None} for d in deltas]
        choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
        events = [f"data: {json.dumps({'choices': [c]})}\n\n" for c in choices]
        body = "".join(events) + "data: [DONE]\n\n"
        sock.sendall(stream_head() + chunk(body) + LAST_CHUNK)
        return True

    return handler


@pytest.fixture
def ring_to(tmp_path: Path) -> Iterator[Any]:
    rings: list[LLMRing] = []

    def make(server: Loopback) -> LLMRing:
        path = tmp_path / "llmring.lock"
        path.write_text(
            f'version = "1.0"\n[providers.p]\nkind = "openai"\n'
            f'base_url = "{server.url}/v1"\n'
        )
        rings.append(LLMRing(lockfile_path=path))
        return rings[-1]

    yield make
    for ring in rings:
        ring.close()


GOOD = '{"year": 1040, "city": "Oslo é"}'


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("stream", [True, False])
def test_a_reply_that_keeps_the_schema_is_parsed(
    ring_to: Any, stream: bool, strict: bool
) -> None:
    asked = wanted(strict)
    before = copy.deepcopy(asked)
    with Loopback(answering(GOOD)) as server:
        ring = ring_to(server)
        if stream:
            chunks = ring.chat_stream("p:m", "When?", response_format=asked)
            assert "".join(c.delta for c in chunks) == GOOD
            response = chunks.response
        else:
            response = ring.chat("p:m", "When?", response_format=asked)
        sent = server.requests[0].json["response_format"]
    assert response.parsed == {"year": 1040, "city": "Oslo é"}
    assert response.content == GOOD
    assert asked == before
    assert sent["json_schema"]["schema"]["required"] == ["year", "city"]


BAD = {
    "wrong type": '{"year": "1040", "city": "Oslo"}',
    "missing": '{"year": 1040}',
    "too much": '{"year": 1040, "city": "Oslo", "mayor": "?"}',
    "no JSON": "It was founded in 1040.",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
@pytest.mark.parametrize("stream", [True, False])
def test_a_strict_reply_that_violates_it_raises_with_the_reply(
    ring_to: Any, stream: bool, text: str
) -> None:
    with Loopback(answering(text)) as server:
        ring = ring_to(server)
        if stream:
            chunks = ring.chat_stream("p:m", "When?", response_format=wanted(True))
            with pytest.raises(ProviderResponseError) as caught:
                list(chunks)
        else:
            with pytest.raises(ProviderResponseError) as caught:
                ring.chat("p:m", "When?", response_format=wanted(True))
    error = caught.value
    assert error.response.content == text
    assert error.partial == text
    assert (error.provider, error.model) == ("p", "m")


@pytest.mark.parametrize("stream", [True, False])
def test_without_strict_it_is_returned_as_it_is(ring_to: Any, stream: bool) -> None:
    with Loopback(answering("It was founded in 1040.")) as server:
        ring = ring_to(server)
        reply_ = ring.chat("p:m", "When?", response_format=wanted(False), stream=stream)
        if stream:
            list(reply_)
            reply_ = reply_.response
    assert reply_.parsed is None
    assert reply_.content == "It was founded in 1040."
