"""All network I/O of a call: one HTTP exchange, within its deadline.

`Provider` sends what a mapper built and returns status, headers and bytes. It knows
no payload and no policy: what a reply means is the mapper's business, and whether to
try again is the caller's.

`requests` is used through its public adapter interface: a request prepared here goes
straight to `HTTPAdapter.send`, which leaves out what `Session.request` does anew for
every call (cookies, netrc, URL parsing, redirects). Redirects are never followed.

The connections that hold a deadline are in `transport_deadline`.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

import requests

from llmring_lite._version import __version__
from llmring_lite.deadline import Deadline
from llmring_lite.exceptions import (
    InvalidRequestError,
    ProviderError,
    ProviderResponseError,
    ProviderTimeoutError,
)
from llmring_lite.keys import Secret, lookup, parse_origin, state_of_env
from llmring_lite.provider import Endpoint, HTTPRequest
from llmring_lite.transport_deadline import Adapter, Exchange, opening, settings_for
from llmring_lite.transport_errors import NETWORK_ERRORS, translated

MAX_REPLY_BYTES: Final = 64 * 1024 * 1024
"""A larger reply is refused: no model writes that much, but a server may."""

_READ_SIZE: Final = 65536
_USER_AGENT: Final = f"llmring-lite/{__version__}"


class Reply:
    """A complete answer: status, headers (names in any case), body."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


class SupportsRead(Protocol):
    """A body that is read while it is sent."""

    def read(self, size: int, /) -> bytes: ...
    def tell(self) -> int: ...
    def seek(self, position: int, /) -> int: ...


class _Session(requests.Session):
    """The session for raw calls: the credential goes to the endpoint's host only."""

    def rebuild_auth(self, prepared_request: Any, response: Any) -> None:
        """Called for a redirect: leave the credential behind, whatever its header.

        `requests` itself strips only `Authorization`.
        """
        for header in ("Authorization", "x-api-key", "x-goog-api-key", "api-key"):
            prepared_request.headers.pop(header, None)


class StreamReply:
    """An answer whose body is still arriving."""

    def __init__(
        self, provider: Provider, response: requests.Response, exchange: Exchange
    ) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._provider = provider
        self._response = response
        self.exchange = exchange
        self._finished = False

    def chunks(self) -> Iterator[bytes]:
        """The body as it arrives.

        Raises:
            ProviderTimeoutError: The deadline passed.
            ProviderResponseError: The connection broke, or the body is too large.
        """
        read1 = self._response.raw.read1
        total = 0
        while True:
            try:
                data = read1(_READ_SIZE, decode_content=True)
            except NETWORK_ERRORS as error:
                self.close()
                raise self._provider.translate(error, self.exchange) from error
            if not data:
                self._finished = True
                self._response.close()
                return
            total += len(data)
            if total > MAX_REPLY_BYTES:
                self.close()
                raise self._provider.too_large()
            yield data

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
        """After the last event: free the connection for the next call.

        What may be left is the end of the chunked body, which is already here or
        will be in an instant; a server that keeps the stream open is hung up on.
        """
        if not self._finished:
            self.exchange.deadline = self.exchange.deadline.within(0.1)
            with contextlib.suppress(*NETWORK_ERRORS):
                rest = self._response.raw.read1(_READ_SIZE, decode_content=True)
                self._finished = not rest
        self.close()

    def close(self) -> None:
        """Hang up, unless the body has been read to its end."""
        if not self._finished:
            self._finished = True
            # Without a connection the body is here, and the socket may be another's.
            if self._response.raw.connection is not None:
                self.exchange.hang_up()
            self._response.raw.close()
        self._response.close()


class Provider:
    """An endpoint and the connections to it.

    One may serve any number of threads. It pickles without its connections and
    opens its own after a fork.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._origin = parse_origin(endpoint.base_url)
        # By process id: a forked child must neither use nor close its parent's
        # sockets. `setdefault` of a dict is atomic, so threads that start together
        # share one session without a lock, which a fork might leave locked.
        self._sessions: dict[int, _Session] = {}
        self._settings: tuple[tuple[Any, ...], dict[str, Any]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"endpoint": self.endpoint}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["endpoint"])  # type: ignore[misc]

    @property
    def session(self) -> requests.Session:
        """The live `requests.Session`, for raw calls to the provider.

        Calls to the endpoint's own host carry the key; no other host gets it.
        """
        pid = os.getpid()
        session = self._sessions.get(pid)
        if session is None:
            session = self._sessions.setdefault(pid, self._new_session())
            for other in self._sessions.keys() - {pid}:
                self._sessions.pop(other, None)
        return session

    client = session

    def _new_session(self) -> _Session:
        session = _Session()
        adapter = Adapter()
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        session.auth = self._authorize_raw
        session.headers["User-Agent"] = _USER_AGENT
        return session

    def close(self) -> None:
        """Close idle connections; a later call opens new ones."""
        session = self._sessions.pop(os.getpid(), None)
        if session is not None:
            session.close()

    def send(
        self,
        request: HTTPRequest,
        key: Secret | None,
        deadline: Deadline,
    ) -> Reply:
        """POST a request and read the whole answer, whatever its status.

        Raises:
            ProviderTimeoutError, ProviderConnectionError, ProviderResponseError,
            InvalidRequestError: see `stream`.
        """
        stream = self._open(request, key, deadline, "application/json")
        return Reply(stream.status, stream.headers, stream.read())

    def stream(
        self,
        request: HTTPRequest,
        key: Secret | None,
        deadline: Deadline,
    ) -> StreamReply:
        """POST a request and return as soon as status and headers are in.

        Args:
            request: From a mapper; its URL must be below the endpoint's base URL.
            key: From `keys.lookup`; None sends no credential.
            deadline: Bounds connecting, sending, and every read of the answer;
                cancelling it from another thread ends the exchange.

        Raises:
            ProviderTimeoutError: The deadline passed.
            ProviderConnectionError: No byte of an answer came.
            ProviderResponseError: The answer is no HTTP, or a redirect.
            InvalidRequestError: The body can't be written as JSON.
        """
        return self._open(request, key, deadline, "text/event-stream")

    def _open(
        self,
        request: HTTPRequest,
        key: Secret | None,
        deadline: Deadline,
        accept: str,
    ) -> StreamReply:
        if not request.url.startswith(self.endpoint.base_url):
            raise InvalidRequestError(
                f"the request for {self.endpoint.name} leads outside of its base URL"
            )
        body = _encode(request.body)
        headers = {
            "Accept": accept,
            # A compressed stream is held back until a block is full.
            "Accept-Encoding": "gzip, deflate"
            if accept == "application/json"
            else "identity",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **request.headers,
        }
        return self.exchange("POST", request.url, headers, body, key, deadline)

    def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | SupportsRead | None,
        key: Secret | None,
        deadline: Deadline,
    ) -> StreamReply:
        """Any request to the endpoint; returns when status and headers are in.

        Args:
            url: On the endpoint's host.
            body: What can be read must have its length in `headers`, and can be
                read a second time after `seek(0)`.

        Raises as `stream`.
        """
        inside = url.startswith(f"{self.endpoint.base_url}/")
        if not inside and parse_origin(url.partition("?")[0]) != self._origin:
            raise InvalidRequestError(
                f"the request for {self.endpoint.name} leads to another host"
            )
        prepared = self._prepare(method, url, headers, body, key)
        exchange = Exchange(deadline)
        try:
            response = self._sent(prepared, exchange)
        except NETWORK_ERRORS as error:
            raise self.translate(error, exchange) from error
        stream = StreamReply(self, response, exchange)
        if 300 <= stream.status < 400:
            stream.close()
            raise ProviderResponseError(
                "the server answered with a redirect, which is not followed: check "
                f"the base URL {self.endpoint.base_url}",
                provider=self.endpoint.name,
                status_code=stream.status,
            )
        return stream

    def _sent(
        self, prepared: requests.PreparedRequest, exchange: Exchange
    ) -> requests.Response:
        """Status and headers of the answer. May raise `NETWORK_ERRORS`."""
        session = self.session
        adapter = session.get_adapter(prepared.url or "")
        settings = self._environment_settings(session)
        body, deadline = prepared.body, exchange.deadline
        for may_be_stale in (True, False):
            if deadline.expired():
                break
            if body is not None and not isinstance(body, (bytes, str)):
                body.seek(0)
            try:
                with opening(exchange):
                    return adapter.send(
                        prepared, timeout=deadline.timeout(), **settings
                    )
            except NETWORK_ERRORS:
                # The server may close an idle connection at the moment it is used
                # again. That says nothing about the request.
                stale = exchange.reused and not exchange.received
                if not (may_be_stale and stale):
                    raise
        raise ProviderTimeoutError(
            "the deadline passed before the request was sent",
            provider=self.endpoint.name,
        )

    def _prepare(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | SupportsRead | None,
        key: Secret | None,
    ) -> requests.PreparedRequest:
        prepared = requests.PreparedRequest()
        prepared.method = method
        prepared.url = url
        prepared.body = body  # type: ignore[assignment]
        # A plain dict: nobody will look for them in another case.
        prepared.headers = {"User-Agent": _USER_AGENT, **headers}  # type: ignore[assignment]
        if key is not None:
            # Not through a local variable: tracebacks with locals are logged.
            prepared.headers[self.endpoint.auth_header] = (
                self.endpoint.auth_prefix + key.reveal()
            )
        return prepared

    def _authorize_raw(
        self, prepared: requests.PreparedRequest
    ) -> requests.PreparedRequest:
        """`auth=` of the session; being set, it also keeps `.netrc` out."""
        try:
            same = parse_origin((prepared.url or "").split("?")[0]) == self._origin
        except ValueError:
            same = False
        if same:
            key = lookup(self.endpoint)
            if key is not None:
                prepared.headers[self.endpoint.auth_header] = (
                    self.endpoint.auth_prefix + key.reveal()
                )
        return prepared

    def _environment_settings(self, session: requests.Session) -> dict[str, Any]:
        """As `settings_for`, but worked out anew only when something has changed."""
        facts = (
            *state_of_env(_SETTINGS_VARIABLES),
            session.verify,
            session.cert,
            session.trust_env,
            *session.proxies.items(),
        )
        if self._settings is None or self._settings[0] != facts:
            settings = settings_for(
                session, self.endpoint.base_url, is_loopback=self._origin.is_loopback
            )
            self._settings = (facts, settings)
        return self._settings[1]

    def translate(self, error: BaseException, exchange: Exchange) -> ProviderError:
        failure = translated(error, exchange, self._origin.host)
        failure.provider = self.endpoint.name
        return failure

    def too_large(self) -> ProviderResponseError:
        return ProviderResponseError(
            f"the reply is larger than {MAX_REPLY_BYTES} bytes and was refused",
            provider=self.endpoint.name,
        )


_SETTINGS_VARIABLES: Final = (
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)

_to_json: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":")
).encode


def _encode(body: Mapping[str, Any]) -> bytes:
    """The body as UTF-8 JSON.

    Raises:
        InvalidRequestError: It holds NaN, a lone surrogate, or no JSON type.
    """
    try:
        return _to_json(body).encode()
    except UnicodeEncodeError as error:
        found = error.object[error.start]
        raise InvalidRequestError(
            f"the request holds the lone surrogate {found!r}, which is no text: was "
            "it cut inside a character, or decoded with surrogateescape?"
        ) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(
            f"the request can't be written as JSON: {error}"
        ) from error
