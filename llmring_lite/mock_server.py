"""Mock models as a real HTTP server on loopback, in all five wire formats.

    with MockServer() as server:
        requests.post(server.base_url("openai") + "/chat/completions", json=...)

For tests and demos of anything that talks to a provider: point its base URL here.
`python -m llmring_lite.mock_server` runs one beside other programs.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from llmring_lite.mock import FaultEntry, Mock, MockAnswer, MockModel, load_format
from llmring_lite.mock_http import Connection, MockRequest
from llmring_lite.mock_model import Failure
from llmring_lite.mock_reply import CREATED, to_json

__all__ = ["MockModel", "MockRequest", "MockServer", "main"]

HOST: Final = "127.0.0.1"

_BASE_PATHS: Final[Mapping[str, str]] = {
    "openai": "/v1",
    "openai-responses": "/v1",
    "anthropic": "",
    "google": "",
    "ollama": "",
}


class MockServer:
    """A server on 127.0.0.1 that answers as the providers do.

    Args:
        model: Options of every model whose name isn't known otherwise, so that
            programs can keep their model names. None refuses unknown names (404).
        models: Name -> options.
        port: 0 takes a free one.
        faults: What goes wrong with the first requests; see `mock.Mock`.
        api_key: What requests must carry, in the provider's own header.

    Attributes:
        url: `http://127.0.0.1:PORT`.
        mock: The models; `mock.faults.append("cut")` breaks the next reply.
        requests: Every request so far.
        connections: How many connections were accepted so far.
        abandoned: How many replies were given up by the client.

    As a context manager it starts and stops; stopping ends every connection and
    thread.
    """

    def __init__(
        self,
        model: MockModel | None = MockModel(),  # noqa: B008 - it is immutable
        *,
        models: Mapping[str, MockModel] | None = None,
        port: int = 0,
        faults: Iterable[FaultEntry] = (),
        api_key: str | None = None,
    ) -> None:
        self.mock = Mock(models, default=model, api_key=api_key, faults=faults)
        self.requests: list[MockRequest] = []
        self.connections = 0
        self.abandoned = 0
        self._port = port
        self._listener: socket.socket | None = None
        self._acceptor = threading.Thread()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        """The port; 0 before the first start, if it is to be a free one."""
        return self._port

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}"

    def base_url(self, kind: str = "openai") -> str:
        """What to give as the base URL of an endpoint of a kind.

        Raises:
            ValueError: No such kind.
        """
        if kind not in _BASE_PATHS:
            raise ValueError(
                f"unknown kind {kind!r}; known are {', '.join(_BASE_PATHS)}"
            )
        return self.url + _BASE_PATHS[kind]

    def start(self) -> MockServer:
        """Listen. After `stop` the same port is used again.

        Raises:
            OSError: The port is taken.
            OverflowError: There is no such port.
        """
        if not 0 <= self._port <= 65535:
            raise OverflowError(f"a port is from 0 to 65535, not {self._port}")
        listener = socket.create_server((HOST, self._port), backlog=512)
        self._port = listener.getsockname()[1]
        self._listener = listener
        self._acceptor = threading.Thread(
            target=self._accept, args=(listener,), daemon=True
        )
        self._acceptor.start()
        return self

    def stop(self) -> None:
        """Refuse new connections, end those that are open, wait for their threads."""
        if self._listener is None:
            return
        listener, self._listener = self._listener, None
        # Closing a socket doesn't wake a thread that accepts on it; a connection does.
        with contextlib.suppress(OSError), socket.create_connection((HOST, self._port)):
            pass
        self._acceptor.join()
        listener.close()
        with self._lock:
            threads = list(self._open.values())
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()

    def __enter__(self) -> MockServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            if self._listener is not listener:
                connection.close()
                return
            thread = threading.Thread(
                target=self._serve, args=(connection,), daemon=True
            )
            with self._lock:
                self.connections += 1
                self._open[connection] = thread
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        # The client may hang up at any moment.
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            Connection(connection, self._respond, self._give_up)
        with self._lock:
            del self._open[connection]
            connection.close()

    def _respond(self, request: MockRequest) -> MockAnswer:
        with self._lock:
            self.requests.append(request)
        return route(self.mock, request)

    def _give_up(self) -> None:
        """Count a reply that the client didn't wait for."""
        with self._lock:
            self.abandoned += 1


_WIRES: Final[Mapping[str, str]] = {
    "/chat/completions": "openai",
    "/responses": "openai-responses",
    "/messages": "anthropic",
    ":generateContent": "google",
    ":streamGenerateContent": "google",
    "/api/chat": "ollama",
}
"""End of the path of a POST -> wire format."""

# Start of the path -> the shape of errors on paths that are none of these.
_PREFIXES: Final[Mapping[str, str]] = {
    "/v1beta/": "google",
    "/api/": "ollama",
    "/v1/messages/": "anthropic",
}


def route(mock: Mock, request: MockRequest) -> MockAnswer:
    """The answer to a request; to an unknown path it is a 404."""
    path = request.path.partition("?")[0]
    if request.method == "GET" and path in _LISTINGS:
        listing = _LISTINGS[path](mock.names(), request.headers)
        headers = {"content-type": "application/json"}
        return MockAnswer(200, headers, to_json(listing).encode())
    if request.method == "POST":
        for end, wire in _WIRES.items():
            if path.endswith(end):
                return mock.answer(wire, request.path, request.headers, request.body)
    wire = next((w for p, w in _PREFIXES.items() if path.startswith(p)), "openai")
    format_ = load_format(wire)
    failure = Failure(404, f"Invalid URL ({request.method} {path})")
    headers = {"content-type": format_.content_type}
    return MockAnswer(404, headers, format_.encode(format_.build_error(failure)))


def _list_models(names: list[str], headers: Mapping[str, str]) -> Any:
    """The path is three providers' own; their headers tell which is meant."""
    if "x-goog-api-key" in headers:
        return _list_google(names, headers)
    if "anthropic-version" in headers:
        created = {"created_at": "2025-01-01T00:00:00Z"}
        return {
            "data": [
                {"type": "model", "id": name, "display_name": name, **created}
                for name in names
            ],
            "has_more": False,
            "first_id": names[0],
            "last_id": names[-1],
        }
    row = {"object": "model", "created": CREATED, "owned_by": "mock"}
    return {"object": "list", "data": [{"id": name, **row} for name in names]}


def _list_google(names: list[str], _headers: Mapping[str, str]) -> Any:
    row = {
        "version": "1",
        "inputTokenLimit": 1048576,
        "outputTokenLimit": 65536,
        "supportedGenerationMethods": ["generateContent"],
    }
    return {
        "models": [
            {"name": f"models/{name}", "displayName": name, **row} for name in names
        ]
    }


def _list_ollama(names: list[str], _headers: Mapping[str, str]) -> Any:
    row = {
        "modified_at": "2025-01-01T00:00:00Z",
        "size": 0,
        "digest": "0" * 64,
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": "mock",
            "families": ["mock"],
            "parameter_size": "0B",
            "quantization_level": "F16",
        },
    }
    tags = [f"{name}:latest" for name in names]
    return {"models": [{"name": tag, "model": tag, **row} for tag in tags]}


_LISTINGS: Final[Mapping[str, Callable[[list[str], Mapping[str, str]], Any]]] = {
    "/v1/models": _list_models,
    "/v1beta/models": _list_google,
    "/api/tags": _list_ollama,
    "/api/version": lambda _names, _headers: {"version": "0.0.0"},
}


def main(arguments: list[str] | None = None) -> int:
    """Run a server until Ctrl-C. Prints its base URLs. Returns the exit code."""
    from argparse import ArgumentParser  # a test that uses the server doesn't pay

    parser = ArgumentParser(
        prog="python -m llmring_lite.mock_server",
        description="An LLM provider for tests and demos, on 127.0.0.1: answers with "
        "the last user message, in every provider's own format.",
    )
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--reply", help="answer with this text instead")
    parser.add_argument(
        "--latency", type=float, default=0.0, help="seconds until an answer begins"
    )
    parser.add_argument("--tokens-per-second", type=float, help="pace of streams")
    parser.add_argument("--api-key", help="refuse requests without this key")
    given = parser.parse_args(arguments)
    try:
        model = MockModel(
            reply=given.reply,
            latency=given.latency,
            tokens_per_second=given.tokens_per_second,
        )
        server = MockServer(model, port=given.port, api_key=given.api_key).start()
    except (ValueError, OverflowError) as error:
        parser.error(str(error))
    except OSError as error:
        sys.stderr.write(f"port {given.port}: {error.strerror}\n")
        return 1
    for kind in _BASE_PATHS:
        sys.stdout.write(f"{kind:<17} {server.base_url(kind)}\n")
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
    server.stop()
    return 130


if __name__ == "__main__":
    sys.exit(main())
