"""One attempt at one candidate, streaming: until the first chunk, and after it.

The same as `attempt` otherwise, whose parts it uses.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from llmring_lite import keys
from llmring_lite.attempt import (
    SHAPE_ERRORS,
    Sender,
    StreamReply,
    check_types,
    named,
    parse_reply,
    refusal_of,
    without_comments,
)
from llmring_lite.deadline import Deadline
from llmring_lite.exceptions import ProviderError, ProviderResponseError
from llmring_lite.framing import iter_ndjson, iter_sse
from llmring_lite.provider import StreamEvent, WireFormat
from llmring_lite.provider_errors import find_request_id
from llmring_lite.routing import Candidate
from llmring_lite.schemas import LLMRequest, LLMResponse, StreamChunk


class OpenStream:
    """A stream whose first chunk has arrived.

    Until then another candidate may take over; from then on the caller is committed.
    """

    def __init__(
        self,
        reply: StreamReply,
        chunks: Iterator[StreamChunk],
        candidate: Candidate,
        key: keys.Secret | None,
    ) -> None:
        self.candidate = candidate
        self._reply = reply
        self._key = key
        self._chunks = self._guarded(chunks)
        self._first: list[StreamChunk] = []

    @property
    def request_id(self) -> str | None:
        """The provider's id of the request."""
        return find_request_id(self._reply.headers)

    def fetch_first(self) -> None:
        """Wait for the first chunk.

        Raises:
            ProviderError: What ended the stream before it.
        """
        first = next(self._chunks, None)
        if first is None:
            raise self._cut_off()
        self._first.append(first)

    def chunks(self) -> Iterator[StreamChunk]:
        """All chunks, the first one included; the last has a finish reason.

        Raises:
            ProviderError: The stream broke off; the caller adds the partial text.
        """
        for chunk in chain(self._first, self._chunks):
            if chunk.finish_reason is not None:
                self._reply.finish()
                yield chunk
                return
            yield chunk
        raise self._cut_off()

    def is_filtered(self) -> bool:
        """Does it end at once, withheld by a content filter?"""
        first = self._first[0]
        return first.finish_reason == "content_filter" and not first.delta

    def close(self) -> None:
        """Hang up. May be called from another thread, and twice."""
        self._reply.close()

    def _guarded(self, chunks: Iterator[StreamChunk]) -> Iterator[StreamChunk]:
        try:
            for chunk in chunks:
                # Of nearly all chunks there is nothing but the text to check.
                if chunk.delta.__class__ is not str or chunk.delta == "":
                    check_types(chunk.delta, chunk)
                yield chunk
        except ProviderError as error:
            self.close()
            raise named(error, self.candidate, self._key)  # noqa: B904
        except SHAPE_ERRORS as error:
            self.close()
            failure = ProviderResponseError(
                "the stream holds an event of unexpected shape "
                f"({type(error).__name__}: {error})",
                status_code=self._reply.status,
            )
            raise named(failure, self.candidate, self._key) from error

    def _cut_off(self) -> ProviderError:
        self.close()
        return named(
            ProviderResponseError(
                "the stream ended before the reply was complete",
                status_code=self._reply.status,
            ),
            self.candidate,
            self._key,
        )


def open_stream(
    sender: Sender,
    wire: WireFormat,
    candidate: Candidate,
    request: LLMRequest,
    deadline: Deadline,
) -> OpenStream:
    """Ask a candidate for a stream, and wait for its first chunk.

    Raises as `complete`.
    """
    key = None
    try:
        key = keys.lookup(sender.endpoint)
        reply = sender.stream(
            wire.build_request(request, sender.endpoint), key, deadline
        )
        if not 200 <= reply.status < 300:
            raise refusal_of(reply.status, reply.headers, reply.read())
    except ProviderError as error:
        raise named(error, candidate, key)  # noqa: B904
    stream = OpenStream(reply, _parse_stream(wire, reply, request), candidate, key)
    stream.fetch_first()
    return stream


def _parse_stream(
    wire: WireFormat, reply: StreamReply, request: LLMRequest
) -> Iterator[StreamChunk]:
    if wire.framing == "ndjson":
        yield from wire.parse_stream(iter_ndjson(reply.chunks()), request)
        return
    # By what comes rather than by its media type, which not all servers get right.
    start, chunks = _peek(reply.chunks())
    if start not in (b"{", b"["):
        yield from wire.parse_stream(iter_sse(chunks), request)
        return
    # A server that can't stream answers whole; Gemini without `alt=sse` sends its
    # events as one array.
    body = _read(chunks)
    if start == b"[":
        yield from wire.parse_stream([StreamEvent("", body.decode())], request)
    else:
        yield from _as_chunks(parse_reply(wire, body, reply.status, request))


def _peek(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first byte that is neither white space nor of a comment, and all chunks."""
    head = b""
    for chunk in chunks:
        head += chunk
        start = without_comments(head)[:1]
        if start:
            return start, chain([head], chunks)
    return b"", iter([head])


def _read(chunks: Iterator[bytes]) -> bytes:
    pieces: list[bytes] = []
    try:
        pieces.extend(chunks)
    except ProviderError as error:
        error.partial = b"".join(pieces).decode("utf-8", "replace")
        raise
    return b"".join(pieces)


def _as_chunks(response: LLMResponse) -> Iterator[StreamChunk]:
    """A whole reply as the stream it would have been."""
    if response.reasoning:
        yield StreamChunk(reasoning=response.reasoning)
    if response.content:
        yield StreamChunk(response.content)
    if response.tool_calls:
        yield StreamChunk(tool_calls=response.tool_calls)
    yield StreamChunk(
        finish_reason=response.finish_reason,
        usage=response.usage,
        refusal=response.refusal,
        raw=response.raw,
        provider_data=response.provider_data,
    )
