"""One attempt at one candidate: map, send, map back.

Everything around an attempt (which candidate, how often, how long) is decided by the
caller; everything inside a payload by the mapper. Here the two directions of mapping
meet the transport, and whatever goes wrong becomes a typed error that names provider
and model and shows no key.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Protocol

from llmring_lite import keys
from llmring_lite.deadline import Deadline
from llmring_lite.exceptions import ProviderError, ProviderResponseError
from llmring_lite.provider import Endpoint, HTTPRequest, WireFormat
from llmring_lite.provider_errors import find_request_id, parse_error
from llmring_lite.routing import Candidate
from llmring_lite.schemas import LLMRequest, LLMResponse, StreamChunk

# What a mapper may raise for a body of a shape it doesn't expect.
SHAPE_ERRORS = (LookupError, TypeError, ValueError, AttributeError, RecursionError)


class Reply(Protocol):
    """A complete answer of an endpoint."""

    status: int
    headers: Any
    body: bytes


class StreamReply(Protocol):
    """An answer whose body is still arriving."""

    status: int
    headers: Any

    def chunks(self) -> Iterator[bytes]: ...
    def read(self) -> bytes: ...
    def finish(self) -> None: ...
    def close(self) -> None: ...


class Sender(Protocol):
    """What an attempt needs of `transport.Provider` or its stand-in."""

    endpoint: Endpoint

    def send(
        self, request: HTTPRequest, key: keys.Secret | None, deadline: Deadline
    ) -> Reply: ...

    def stream(
        self, request: HTTPRequest, key: keys.Secret | None, deadline: Deadline
    ) -> StreamReply: ...

    def close(self) -> None: ...


def complete(
    sender: Sender,
    wire: WireFormat,
    candidate: Candidate,
    request: LLMRequest,
    deadline: Deadline,
) -> LLMResponse:
    """Ask a candidate for a complete reply.

    Args:
        request: In neutral form, its `model` the candidate's bare model name.

    Raises:
        ProviderError: One of its subclasses; provider and model are filled in.
        InvalidRequestError: The request can't be written down for any provider.
    """
    key = None
    try:
        key = keys.lookup(sender.endpoint)
        reply = sender.send(wire.build_request(request, sender.endpoint), key, deadline)
        if not 200 <= reply.status < 300:
            raise refusal_of(reply.status, reply.headers, reply.body)
        response = parse_reply(wire, reply.body, reply.status, request)
        response.provider = candidate.endpoint.name
        response.model = candidate.ref
        response.request_id = find_request_id(reply.headers)
        if response.provider_data is not None:
            response.provider_data["provider"] = candidate.endpoint.name
        check_structure(response, request)
        return response
    except ProviderError as error:
        raise named(error, candidate, key)  # noqa: B904 - the same error, filled in


def check_structure(response: LLMResponse, request: LLMRequest) -> None:
    """Fill in the value of a structured reply. Raises as `structured.apply`."""
    if request.response_format is not None:
        from llmring_lite import structured  # five modules that most calls never need

        structured.apply(response, request.response_format)


def is_filtered(response: LLMResponse) -> bool:
    """Was the reply withheld by a content filter?"""
    return response.finish_reason == "content_filter" and not response.content


def parse_reply(
    wire: WireFormat, data: bytes, status: int, request: LLMRequest
) -> LLMResponse:
    try:
        body = json.loads(without_comments(data))
    except (ValueError, RecursionError) as error:
        text = data.decode("utf-8", "replace")
        raise ProviderResponseError(
            f"the reply is no JSON ({error}): {_excerpt(text)}",
            status_code=status,
            partial=text,
        ) from error
    try:
        response = wire.parse_response(body, request)
        check_types(response.content, response)
        return response
    except SHAPE_ERRORS as error:
        raise ProviderResponseError(
            f"the reply has an unexpected shape ({type(error).__name__}: {error}): "
            f"{_excerpt(data.decode('utf-8', 'replace'))}",
            status_code=status,
        ) from error


def check_types(text: Any, reply: LLMResponse | StreamChunk) -> None:
    """Raise for a value that a mapper passed on from a body that breaks its format.

    Here for all of them: they test what they need to know, not every text.
    """
    texts = [text, reply.reasoning or "", reply.refusal or ""]
    for call in reply.tool_calls or ():
        texts += [call["id"], call["function"]["name"], call["function"]["arguments"]]
    for value in texts:
        if not isinstance(value, str):
            raise TypeError(f"a {type(value).__name__} where text belongs")


def without_comments(data: bytes) -> bytes:
    """The body without the SSE comments that some gateways send to keep alive."""
    data = data.lstrip()
    while data.startswith(b":"):
        data = data.partition(b"\n")[2].lstrip()
    return data


def refusal_of(status: int, headers: Any, body: bytes) -> ProviderError:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = _excerpt(body.decode("utf-8", "replace"))
    return parse_error(answer, status=status, headers=headers)


def _excerpt(text: str, limit: int = 300) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[:limit]}..."


def named(
    error: ProviderError, candidate: Candidate, key: keys.Secret | None
) -> ProviderError:
    """The error with provider and model filled in, and without the key.

    Some servers repeat a key that they refuse. Then the frames that the error came
    through, and its cause, hold the body with the key.
    """
    error.provider = candidate.endpoint.name
    error.model = candidate.model
    if key is not None:
        told = (error.message, error.partial)
        error.message, error.partial = map(key.redact, told)
        error.args = (error.message,)
        if told != (error.message, error.partial):
            error.__traceback__ = error.__cause__ = error.__context__ = None
    return error
