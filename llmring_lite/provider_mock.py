"""Mock models in process: the stand-in for the transport of kind `mock`.

Requests and replies are OpenAI's Chat Completions in bytes, so that a call goes the
same way as with a real provider (mapping, errors, retries, streams, deadline); only
the network is missing. See `mock` for models and options.
"""

from __future__ import annotations

import json
import os
import threading
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Final

from llmring_lite import provider_openai
from llmring_lite.deadline import Deadline
from llmring_lite.exceptions import (
    InvalidRequestError,
    ProviderConnectionError,
    ProviderError,
    ProviderResponseError,
    ProviderTimeoutError,
)
from llmring_lite.mock import Mock, MockAnswer, MockModel
from llmring_lite.provider import Endpoint, HTTPRequest, WireFormat
from llmring_lite.schemas import LLMRequest

_KEPT_REQUESTS: Final = 100

_BROKEN: Final[Mapping[str, str]] = {
    "close": "was closed",
    "reset": "was reset",
    "hang": "was hung up by the caller",
}
"""Ending of an answer -> what became of the connection."""


def _build_request(request: LLMRequest, endpoint: Endpoint) -> HTTPRequest:
    """The request for OpenAI, and the options of the mock beside it."""
    built = provider_openai.WIRE.build_request(request, endpoint)
    options = request.extra_params.get("mock")
    if options is None:
        return built
    MockModel().override(options)
    return built._replace(body={**built.body, "mock": options})


WIRE: Final = WireFormat(
    framing=provider_openai.WIRE.framing,
    build_request=_build_request,
    parse_response=provider_openai.WIRE.parse_response,
    parse_stream=provider_openai.WIRE.parse_stream,
)


class StreamReply:
    """An answer that is arriving; what `transport.StreamReply` is to a socket."""

    def __init__(
        self, answer: MockAnswer, endpoint: Endpoint, deadline: Deadline
    ) -> None:
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers
        self._answer = answer
        self._endpoint = endpoint
        self._deadline = deadline
        self._hung_up = threading.Event()
        deadline.on_cancel(self._hung_up.set)

    def chunks(self) -> Iterator[bytes]:
        """The body as it arrives.

        Raises:
            ProviderTimeoutError: The deadline passed.
            ProviderResponseError: The connection broke, or was hung up.
        """
        # What a connection takes out of the body before anyone sees it.
        zipped = self.headers.get("content-encoding") == "gzip"
        unzip = zlib.decompressobj(wbits=31).decompress if zipped else bytes
        for delay, data in self._answer.pieces():
            self._wait(delay)
            data = unzip(data)
            if data:
                yield data
        if self._answer.ending == "hang":
            self._wait()
        if self._answer.ending in _BROKEN:
            raise self._broken_off(self._answer.ending)

    def read(self) -> bytes:
        """The rest of the body. Raises as `chunks` does, with `.partial`."""
        pieces: list[bytes] = []
        try:
            pieces.extend(self.chunks())
        except ProviderError as error:
            error.partial = b"".join(pieces).decode("utf-8", "replace")
            raise
        return b"".join(pieces)

    def finish(self) -> None:
        """After the last event. There is no connection to keep."""
        self.close()

    def close(self) -> None:
        """Hang up. May be called from another thread."""
        self._hung_up.set()

    def start(self) -> None:
        """Wait for the answer to begin.

        Raises:
            ProviderTimeoutError, ProviderConnectionError: It doesn't.
        """
        self._wait(self._answer.delay)
        if self._answer.status:
            return
        if self._answer.ending == "hang":
            self._wait()
        raise ProviderConnectionError(
            f"no reply from the mock (the connection {_BROKEN[self._answer.ending]})",
            provider=self._endpoint.name,
        )

    def _wait(self, seconds: float = inf) -> None:
        """Wait, unless the deadline or a hang-up comes first."""
        left = self._deadline.remaining()
        pause = max(0.0, min(seconds, left))
        if self._hung_up.wait(None if pause == inf else pause):
            raise self._broken_off("hang")
        if seconds >= left:
            raise ProviderTimeoutError(
                "the deadline passed before the mock's reply was complete",
                provider=self._endpoint.name,
            )

    def _broken_off(self, ending: str) -> ProviderResponseError:
        return ProviderResponseError(
            f"the reply from the mock broke off (the connection {_BROKEN[ending]})",
            provider=self._endpoint.name,
        )


@dataclass(slots=True)
class Reply:
    """A complete answer: status, headers, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class MockProvider:
    """The endpoint of kind `mock`; takes the place of `transport.Provider`.

    Attributes:
        models: Name -> `MockModel`: your own models, as in
            `ring.get_provider("mock").models["agent"] = MockModel(script=[...])`.
        faults: What goes wrong with the next calls; see `mock.Mock`.
        requests: Bodies of the last 100 requests.
        session, client: None, as there is no network.

    Calls are counted for scripts and failures by model and options. It may serve any
    number of threads; a pickled or forked one counts anew.
    """

    session = None
    client = None

    def __init__(
        self, endpoint: Endpoint, models: Mapping[str, MockModel] | None = None
    ) -> None:
        self.endpoint = endpoint
        self.requests: deque[dict[str, Any]] = deque(maxlen=_KEPT_REQUESTS)
        self._mock = Mock(models)
        self._pid = os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        return MockProvider, (self.endpoint, self.models)

    @property
    def models(self) -> dict[str, MockModel]:
        return self._current().models

    @property
    def faults(self) -> deque[Any]:
        return self._current().faults

    def _current(self) -> Mock:
        if self._pid != os.getpid():
            # The parent's lock may have been held at the moment of the fork.
            self._mock = Mock(self._mock.models)
            self._pid = os.getpid()
        return self._mock

    def send(self, request: HTTPRequest, key: object, deadline: Deadline) -> Reply:
        """The whole answer, whatever its status.

        Raises:
            ProviderTimeoutError: Its latency passes the deadline.
            ProviderConnectionError, ProviderResponseError: A fault that was asked
                for.
            InvalidRequestError: The body can't be written as JSON.
        """
        reply = self.stream(request, key, deadline)
        return Reply(reply.status, reply.headers, reply.read())

    def stream(
        self, request: HTTPRequest, key: object, deadline: Deadline
    ) -> StreamReply:
        """The answer as soon as it begins. Raises as `send`."""
        try:
            body = json.dumps(request.body, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidRequestError(
                f"the request can't be written as JSON: {error}"
            ) from error
        self.requests.append(json.loads(body))
        answer = self._current().answer("mock", "/chat/completions", {}, body)
        reply = StreamReply(answer, self.endpoint, deadline)
        reply.start()
        if 300 <= reply.status < 400:
            raise ProviderResponseError(
                "the mock answered with a redirect, which is not followed",
                provider=self.endpoint.name,
                status_code=reply.status,
            )
        return reply

    def close(self) -> None:
        """Nothing to close."""
