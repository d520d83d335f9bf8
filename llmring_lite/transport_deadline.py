"""Connections that keep to a deadline and can be hung up on from another thread.

urllib3 applies a timeout to every single read, so a server that drips a byte a
second can hold a call for ever, and it gives every address of a host the whole
connect timeout. The connections made here ask the deadline before each connect and
each read, of headers and body alike.

urllib3's documented points of extension are used: `ConnectionCls` of a pool,
`pool_classes_by_scheme` of a pool manager, `response_class` of a connection.
"""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import Any, Final

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from llmring_lite.deadline import Deadline

# requests is content with older versions, and nothing else here depends on urllib3.
if not hasattr(urllib3.HTTPResponse, "read1"):
    from importlib.metadata import version

    raise ImportError(
        "llmring_lite needs urllib3 2.2 or newer, which requests brings along, but "
        f"{version('urllib3')} is installed: pip install --upgrade urllib3"
    )
from urllib3.exceptions import NameResolutionError

POOL_SIZE: Final = 64
"""Idle connections kept for one endpoint: one for each of as many threads."""

_POOLS_KEPT: Final = 4
"""Hosts whose connections are kept: one, and what raw calls may lead to."""

_BUFFER_SIZE: Final = 65536


class Exchange:
    """One request and its reply on one connection.

    Attributes:
        deadline: Checked before every read.
        reused: The connection had served another request before.
        received: A byte of the reply has arrived.
    """

    __slots__ = ("_sock", "deadline", "received", "reused")

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self.reused = False
        self.received = False
        self._sock: socket.socket | None = None

    def attach(self, sock: socket.socket) -> None:
        """This is the socket that is sent and waited on."""
        self._sock = sock
        self.deadline.on_cancel(self.hang_up)

    def hang_up(self) -> None:
        """End it, and wake the thread that waits for it."""
        if self._sock is not None:
            # Closing would not wake a thread that is blocked in a read.
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)


class _Current(threading.local):
    """The exchange that this thread is opening: urllib3 has no place to pass it."""

    exchange = Exchange(Deadline(None))


_current = _Current()


@contextlib.contextmanager
def opening(exchange: Exchange) -> Iterator[None]:
    """Connections that this thread opens or reuses inside serve the exchange."""
    _current.exchange = exchange
    try:
        yield
    finally:
        del _current.exchange


def _allow(sock: socket.socket, seconds: float) -> None:
    """Have the next wait of a socket end after so many seconds.

    A socket that was told so a moment ago isn't told again: that takes a system call,
    at which other threads get their turn. Without a deadline it keeps the timeout of a
    raw call.
    """
    if seconds == float("inf"):
        return
    given = sock.gettimeout()
    if given is None or abs(given - seconds) > 0.001:
        sock.settimeout(seconds)


class _TimedReader(io.RawIOBase):
    """Reads a socket, giving it only the time that the deadline has left.

    While `waits` is False there is nothing to read beyond what is buffered.
    """

    def __init__(self, sock: socket.socket, exchange: Exchange) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._exchange = exchange
        self.waits = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if not self.waits:
            return None
        left = self._exchange.deadline.remaining()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        _allow(self._sock, left)
        count = self._raw.readinto(buffer) or 0
        if count:
            self._exchange.received = True
        return count

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _TimedSocket:
    """What `http.client.HTTPResponse` wants of a socket: a file to read."""

    def __init__(self, sock: socket.socket, exchange: Exchange) -> None:
        self._sock = sock
        self._exchange = exchange

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._sock, self._exchange), _BUFFER_SIZE)


class _TimedResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        timed: Any = _TimedSocket(sock, _current.exchange)
        super().__init__(timed, *args, **kwargs)

    def read1(self, n: int = -1) -> bytes:
        """What has arrived, across the borders of chunks.

        http.client gives one chunk a call. Providers send one for every few letters,
        and passing each through the layers above costs more than all that is done
        with it afterwards.
        """
        data = super().read1(n)
        if not data or not self.chunked or self.chunk_left:
            return data
        return data + self._whole_chunks(n - len(data) if n >= 0 else _BUFFER_SIZE)

    def _whole_chunks(self, limit: int) -> bytes:
        """The chunks that are complete in the buffer, consumed."""
        file: Any = self.fp
        file.raw.waits = False
        try:
            arrived: bytes = file.peek()
        finally:
            file.raw.waits = True
        pieces = []
        at = 0  # the end of a chunk's data, before its line end
        while (line_end := arrived.find(b"\r\n", at + 2)) > 0:
            try:
                size = int(arrived[at + 2 : line_end].partition(b";")[0], 16)
            except ValueError:
                break  # http.client will say so
            start = line_end + 2
            end = start + size
            if size <= 0 or end > len(arrived) or size > limit:
                break
            pieces.append(arrived[start:end])
            limit -= size
            at = end
        file.read(at)
        return b"".join(pieces)


class _TimedConnection(HTTPConnection):
    """A connection that keeps to the current exchange's deadline."""

    response_class = _TimedResponse
    _served = False
    _expects_head = False
    _head = b""

    def _new_conn(self) -> socket.socket:
        # urllib3 gives every address of the host the whole timeout.
        exchange = _current.exchange
        error: OSError | None = None
        try:
            addresses = socket.getaddrinfo(
                self._dns_host, self.port, 0, socket.SOCK_STREAM
            )
        except (OSError, UnicodeError) as failure:
            cause = failure if isinstance(failure, socket.gaierror) else None
            raise NameResolutionError(
                self.host, self, cause or socket.gaierror(str(failure))
            ) from failure
        for family, kind, protocol, _, address in addresses:
            if exchange.deadline.expired():
                break
            sock = socket.socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                sock.settimeout(exchange.deadline.timeout())
                sock.connect(address)
            except OSError as failure:
                sock.close()
                error = failure
            else:
                return sock
        if error is None or isinstance(error, TimeoutError):
            raise ConnectTimeoutError(self, "the connection timed out")
        raise NewConnectionError(self, str(error)) from error

    def connect(self) -> None:
        self._served = False
        super().connect()

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        _current.exchange.reused = self._served
        super().putrequest(*args, **kwargs)

    def request(self, *args: Any, **kwargs: Any) -> None:
        # http.client sends the head by itself: twice the system calls and packets.
        self._expects_head = True
        self._head = b""
        try:
            super().request(*args, **kwargs)
            if self._head:
                self.send(b"")
        finally:
            self._expects_head = False
            # The head holds the key, and tracebacks with locals are logged.
            self._head = b""
            del args, kwargs

    def send(self, data: Any) -> None:
        """Send the next piece of a request, the head with the body's beginning."""
        if self._expects_head:
            self._expects_head = False
            self._head = data
            return
        head, self._head = self._head, b""
        try:
            if head and isinstance(data, bytes) and len(data) <= _BUFFER_SIZE:
                data = head + data
            elif head:
                self._send(head)
            self._send(data)
        finally:
            del head, data

    def _send(self, data: Any) -> None:
        # A large body goes in pieces, each in the time that is left.
        exchange = _current.exchange
        left = exchange.deadline.remaining()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        if self.sock is not None:
            _allow(self.sock, left)
            exchange.attach(self.sock)
        try:
            super().send(data)
        finally:
            del data

    def getresponse(self) -> Any:
        if self.sock is not None:
            _current.exchange.attach(self.sock)
        response = super().getresponse()
        self._served = True
        return response


class _TimedHTTPSConnection(_TimedConnection, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _TimedConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _TimedHTTPSConnection


_POOLS: Final = {"http": _HTTPPool, "https": _HTTPSPool}


def settings_for(
    session: requests.Session, url: str, *, is_loopback: bool = False
) -> dict[str, Any]:
    """Proxies, CA bundle and client certificate, as `requests` finds them.

    For `Adapter.send`, which is to leave the body for later.
    """
    settings: dict[str, Any] = {
        **session.merge_environment_settings(url, {}, True, None, None)
    }
    if is_loopback and not session.proxies:
        # `requests` sends even 127.0.0.1 through HTTP_PROXY.
        settings["proxies"] = {}
    return settings


def read_at_most(
    response: requests.Response, max_bytes: int, *, decode: bool
) -> bytes | None:
    """The body, decompressed or not; None, and the connection closed, if larger."""
    pieces: list[bytes] = []
    left = max_bytes
    while piece := response.raw.read1(_BUFFER_SIZE, decode_content=decode):
        pieces.append(piece)
        left -= len(piece)
        if left < 0:
            response.raw.close()
            return None
    return b"".join(pieces)


class Adapter(HTTPAdapter):
    """requests' adapter on connections that keep to a deadline.

    What it works out for a call from the URL and the settings is remembered: a tenth
    of the time that a small call takes.
    """

    def __init__(self) -> None:
        self._pools: dict[tuple[Any, ...], Any] = {}
        # max_retries=0: whether to try again is decided in one other place.
        super().__init__(
            pool_connections=_POOLS_KEPT, pool_maxsize=POOL_SIZE, max_retries=0
        )

    def get_connection_with_tls_context(
        self, request: Any, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        origin = request.url.split("/", 3)[:3]
        place = (*origin, verify, str(cert), *(proxies or {}).items())
        pool = self._pools.get(place)
        if pool is None:
            pool = super().get_connection_with_tls_context(
                request, verify, proxies, cert
            )
            if len(self._pools) >= _POOLS_KEPT:
                self._pools.clear()
            self._pools[place] = pool
        return pool

    def request_url(self, request: Any, proxies: Any) -> str:
        path: str = request.path_url
        if not proxies and not path.startswith("//"):
            return path
        return super().request_url(request, proxies)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def close(self) -> None:
        """Close idle connections now.

        urllib3 2 leaves that to the collection of its pools, which a traceback that
        someone keeps may put off for long.
        """
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118 - no dict, not iterable
                pool = manager.pools.get(key)
                if pool is not None:
                    pool.close()
        self._pools.clear()
        super().close()

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager
