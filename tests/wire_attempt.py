"""Bodies read in process: the path of a call from an attempt on, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import wire
from wire import Record
from wire_requests import Inexpressible, to_request

from llmring_lite import LLMRequest, LLMResponse, attempt, attempt_stream
from llmring_lite.chat_stream import ChatStream
from llmring_lite.deadline import Deadline
from llmring_lite.exceptions import ProviderError
from llmring_lite.provider import Endpoint, WireFormat, load_wire_format
from llmring_lite.routing import Candidate


class CannedReply:
    """An answer with this body; `broken` is raised where it ends."""

    def __init__(
        self,
        status: int,
        headers: dict[str, str],
        body: bytes,
        broken: ProviderError | None = None,
    ) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.body = body
        self._broken = broken

    def chunks(self) -> Iterator[bytes]:
        for start in range(0, len(self.body), 1000):
            yield self.body[start : start + 1000]
        if self._broken is not None:
            raise self._broken

    def read(self) -> bytes:
        return b"".join(self.chunks())

    def finish(self) -> None: ...

    def close(self) -> None: ...


class CannedSender:
    """Answers every request with the same reply."""

    def __init__(self, endpoint: Endpoint, reply: CannedReply) -> None:
        self.endpoint = endpoint
        self._reply = reply

    def send(self, *_: Any) -> CannedReply:
        return self._reply

    def stream(self, *_: Any) -> CannedReply:
        return self._reply

    def close(self) -> None: ...


def endpoint(kind: str) -> Endpoint:
    """One that needs no key."""
    return Endpoint(name="canned", kind=kind, base_url="http://127.0.0.1:9/v1")


def ask(kind: str, request: LLMRequest, reply: CannedReply) -> LLMResponse:
    """What a caller of `chat`, or of `chat_stream` who reads to the end, is given."""
    at = endpoint(kind)
    return _ask(at, load_wire_format(kind), request, reply)


def _ask(
    at: Endpoint, format_: WireFormat, request: LLMRequest, reply: CannedReply
) -> LLMResponse:
    sender = CannedSender(at, reply)
    candidate = Candidate(at, request.model, f"{at.name}:{request.model}")
    rest = (candidate, request, Deadline(None))
    if not request.stream:
        return attempt.complete(sender, format_, *rest)
    stream = ChatStream(
        attempt_stream.open_stream(sender, format_, *rest),
        request,
        lambda response: None,
    )
    for _ in stream:
        pass
    return stream.response


def ask_recorded(
    record: Record,
    body: bytes,
    broken: ProviderError | None = None,
    stream: bool | None = None,
) -> LLMResponse:
    """The reply to a recorded request, if the answer has this body.

    `stream`: ask for a stream or not, whatever was recorded.
    """
    sent = record["response"]
    reply = CannedReply(sent["status"], sent["headers"], body, broken)
    request = request_of(record)
    if stream is not None:
        request = replace(request, stream=stream)
    return ask(wire.kind_of(record), request, reply)


def request_of(record: Record) -> LLMRequest:
    """The recorded request, or a minimal one where it can't be expressed."""
    return _request(record["id"])


@cache
def _request(record_id: str) -> LLMRequest:
    record = _by_id()[record_id]
    try:
        request = to_request(record)
    except Inexpressible:
        request = LLMRequest("model", "?")
    return replace(
        request,
        stream=record["streaming"],
        extra_params={**request.extra_params, "drop_unsupported": True},
    )


@cache
def _by_id() -> dict[str, Record]:
    return {record["id"]: record for record in wire.every()}
