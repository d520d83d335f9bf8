"""Requests leave whole: head and body, whatever the body's size and form."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from loopback import Loopback, answering, reply

from llmring_lite.deadline import Deadline
from llmring_lite.provider import Endpoint, HTTPRequest
from llmring_lite.transport import Provider

OK = reply({"ok": True})


def provider_for(url: str) -> Provider:
    return Provider(Endpoint(name="test", kind="openai", base_url=url))


def test_head_and_body_leave_together() -> None:
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                received.append(sock.recv(65536))
                sock.sendall(OK)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        provider = provider_for(url)
        request = HTTPRequest(url=f"{url}/chat", body={"text": "hi"})
        assert provider.send(request, None, Deadline(5)).status == 200
        thread.join(5)
        provider.close()
    assert received[0].startswith(b"POST /chat HTTP/1.1\r\n")
    assert received[0].endswith(b'\r\n\r\n{"text":"hi"}')


@pytest.mark.parametrize("size", [0, 1, 65_000, 65_536, 70_000, 3_000_000])
def test_bodies_of_any_size_arrive(size: int) -> None:
    with Loopback(answering(OK)) as server:
        provider = provider_for(server.url)
        for _ in range(2):  # on a new connection, and on a kept one
            request = HTTPRequest(url=f"{server.url}/chat", body={"t": "x" * size})
            assert provider.send(request, None, Deadline(10)).status == 200
        provider.close()
    assert [len(r.json["t"]) for r in server.requests] == [size, size]
    assert server.connections == 1


def blocks() -> Iterator[bytes]:
    yield b"a" * 10
    yield b"b" * 100_000


BODIES: dict[str, Callable[[], object]] = {
    "none": lambda: None,
    "bytes": lambda: b"abc",
    "text": lambda: "abc",
    "bytearray": lambda: bytearray(b"abc"),
    "large": lambda: b"x" * 200_000,
    "empty": lambda: b"",
}


@pytest.mark.parametrize("form", BODIES)
def test_raw_calls_send_any_form_of_body(form: str) -> None:
    body = BODIES[form]()
    expected = body.encode() if isinstance(body, str) else bytes(body or b"")  # type: ignore[call-overload]
    with Loopback(answering(OK)) as server:
        provider = provider_for(server.url)
        assert provider.session.post(f"{server.url}/x", data=body, timeout=5).ok
        assert provider.session.get(f"{server.url}/y", timeout=5).ok
        provider.close()
    assert [(r.path, r.body) for r in server.requests] == [
        ("/x", expected),
        ("/y", b""),
    ]
    assert server.connections == 1


def test_raw_calls_send_a_body_in_pieces() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        received = bytearray()

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                while not received.endswith(b"0\r\n\r\n"):
                    received.extend(sock.recv(65536))
                sock.sendall(OK)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        provider = provider_for(url)
        assert provider.session.post(f"{url}/x", data=blocks(), timeout=5).ok
        thread.join(5)
        provider.close()
    pieces = [b"a\r\n" + b"a" * 10, b"186a0\r\n" + b"b" * 100_000, b"0\r\n\r\n"]
    assert bytes(received).partition(b"\r\n\r\n")[2] == b"\r\n".join(pieces)
