"""A mock's answers on a socket: one HTTP/1.1 connection, byte by byte as wanted.

`http.server` reads the requests; answers are written here, for its methods can't
break off, reset, stall or lie about the length.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import responses as reasons
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

from llmring_lite.mock_faults import MockAnswer

_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, with no time: closing sends a reset."""


@dataclass(frozen=True, slots=True)
class MockRequest:
    """A request as it came.

    Attributes:
        path: With the query.
        headers: Names in lower case; not in the repr, for one may be a key.
        json: The decoded body, None if it is no JSON.
        body: The same in bytes.
    """

    method: str
    path: str
    headers: dict[str, str] = field(repr=False)
    json: Any
    body: bytes = field(repr=False)


class Connection(BaseHTTPRequestHandler):
    """One connection: requests in a row, each with its answer.

    Making one serves it to its end.

    Args:
        connection: The socket. Whoever opened it closes it.
        respond: Finds the answer to a request.
        give_up: Called for a reply that the client didn't wait for.

    Raises:
        OSError: The connection broke between two requests.
    """

    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # what is written at once should be one packet

    def __init__(
        self,
        connection: socket.socket,
        respond: Callable[[MockRequest], MockAnswer],
        give_up: Callable[[], None],
    ) -> None:
        self._respond = respond
        self._give_up = give_up
        nobody: Any = None  # the server, of which nothing is wanted
        super().__init__(connection, ("", 0), nobody)

    def log_message(self, *_: Any) -> None:
        """Nothing: who wants to know keeps the requests."""

    def do_GET(self) -> None:
        try:
            body = self._read_body()
        except ValueError:  # a length that is no number
            self.close_connection = True
            return
        try:
            decoded = json.loads(body)
        except (ValueError, RecursionError):
            decoded = None
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = MockRequest(self.command, self.path, headers, decoded, body)
        try:
            self._send(self._respond(request))
        except (ConnectionError, TimeoutError):
            self.close_connection = True
            self._give_up()

    do_POST = do_GET  # noqa: N815 - the name that the base class calls

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers
            pass
        return b"".join(pieces)

    def _send(self, answer: MockAnswer) -> None:
        self._wait(answer.delay)
        if answer.status:
            self.wfile.write(self._head(answer))
        for delay, data in answer.pieces():
            if delay:
                self.wfile.flush()
                self._wait(delay)
            if answer.framing == "chunked" and data:
                data = b"%x\r\n%b\r\n" % (len(data), data)
            self.wfile.write(data)
            if not isinstance(answer.body, bytes):
                self.wfile.flush()
        if answer.framing == "chunked" and answer.ending in ("complete", "stale"):
            self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()
        if answer.framing == "close" or answer.ending != "complete":
            self.close_connection = True
        if answer.ending == "hang":
            self._wait(None)
        elif answer.ending == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def _head(self, answer: MockAnswer) -> bytes:
        headers = {**answer.headers, "date": self.date_time_string()}
        if answer.framing == "chunked":
            headers["transfer-encoding"] = "chunked"
        elif answer.framing == "close":
            headers["connection"] = "close"
        else:
            length = answer.announced
            if length is None:
                length = sum(len(data) for _, data in answer.pieces())
            headers["content-length"] = str(length)
        lines = [f"HTTP/1.1 {answer.status} {reasons.get(answer.status, 'Mock')}"]
        lines.extend(f"{name}: {value}" for name, value in headers.items())
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _wait(self, seconds: float | None) -> None:
        """Do nothing for some seconds (None: for ever), but notice a hang-up.

        Raises:
            ConnectionError: The client hung up, or the server is being stopped.
        """
        if seconds == 0:
            return
        end = time.monotonic() + (seconds or 0)
        self.connection.settimeout(seconds)
        try:
            if not self.connection.recv(1, socket.MSG_PEEK):
                raise ConnectionError("the client hung up")
        except TimeoutError:
            return
        finally:
            self.connection.settimeout(None)
        # The client has sent its next request already: there is no hang-up to notice.
        time.sleep(max(0.0, end - time.monotonic()))
