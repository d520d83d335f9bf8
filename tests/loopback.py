"""A server on 127.0.0.1 whose every byte a test decides."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple


class Received(NamedTuple):
    """A request as it came off the wire; header names are lower-case."""

    path: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Handler = Callable[[socket.socket, Received, int], Any]


class Loopback:
    """Calls `handler(connection, request, number)` for each request.

    The handler writes whatever it likes to the socket. Returning True keeps the
    connection open for the next request; anything else closes it.

    Attributes:
        requests: What came in, in order.
        connections: How many connections were accepted.
    """

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.requests: list[Received] = []
        self.connections = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Loopback:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        # Closing does not wake an accept; a connection does.
        with self._lock:
            self._closing = True
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port)).close()
        self._listener.close()
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    _closing = False

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if self._closing:
                    sock.close()
                    return
                self.connections += 1
                self._open.add(sock)
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with sock, contextlib.suppress(OSError), sock.makefile("rb") as file:
            while (request := _read_request(file)) is not None:
                with self._lock:
                    self.requests.append(request)
                    number = len(self.requests)
                if self.handler(sock, request, number) is not True:
                    break
        with self._lock:
            self._open.discard(sock)


def _read_request(file: Any) -> Received | None:
    words = file.readline().split()
    if len(words) != 3 or not words[2].startswith(b"HTTP/"):  # closed, or no HTTP
        return None
    path = words[1].decode()
    headers: dict[str, str] = {}
    while (line := file.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    length = int(headers.get("content-length", 0))
    body = file.read(length)
    if len(body) < length:  # the client hung up: no server would act on it
        return None
    return Received(path, headers, body, words[0].decode())


def reply(
    body: bytes | str | object,
    status: str = "200 OK",
    headers: str = "",
    content_type: str = "application/json",
) -> bytes:
    """A whole HTTP answer; an object is written as JSON."""
    if not isinstance(body, (bytes, str)):
        body = json.dumps(body)
    data = body.encode() if isinstance(body, str) else body
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(data)}\r\n{headers}\r\n"
    )
    return head.encode() + data


def stream_head(content_type: str = "text/event-stream", extra: str = "") -> bytes:
    return (
        f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n"
        f"Transfer-Encoding: chunked\r\n{extra}\r\n"
    ).encode()


def chunk(data: bytes | str) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return b"%x\r\n%s\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def answering(*answers: bytes) -> Handler:
    """A handler that gives these answers in turn, the last one for ever."""

    def handler(sock: socket.socket, _: Received, number: int) -> bool:
        sock.sendall(answers[min(number, len(answers)) - 1])
        return True

    return handler


@contextlib.contextmanager
def serving(*answers: bytes) -> Iterator[Loopback]:
    with Loopback(answering(*answers)) as server:
        yield server


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Poll until true; for what another thread is about to do."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
