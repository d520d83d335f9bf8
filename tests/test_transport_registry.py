"""A registry over the network: loopback servers that behave, and others."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest
from loopback import Loopback, Received, reply, serving

from llmring_lite import RegistryError
from llmring_lite.transport_registry import fetch

LIMIT = 1000


def test_a_document_comes_whole_and_nothing_is_told() -> None:
    with serving(reply(b'{"models": {}}')) as server:
        assert fetch(f"{server.url}/openai/models.json", LIMIT) == b'{"models": {}}'
        (request,) = server.requests
    assert (request.method, request.path) == ("GET", "/openai/models.json")
    assert request.body == b""
    assert not {"authorization", "cookie", "x-api-key"} & request.headers.keys()


def test_netrc_is_not_used(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with serving(reply(b"{}")) as server:
        fetch(f"{server.url}/x", LIMIT)
        assert "authorization" not in server.requests[0].headers


@pytest.mark.parametrize("status", ["404 Not Found", "410 Gone"])
def test_nothing_there_is_none(status: str) -> None:
    with serving(reply(b"<html>", status)) as server:
        assert fetch(f"{server.url}/x", LIMIT) is None


@pytest.mark.parametrize("status", ["403 Forbidden", "500 Oops", "204 No Content"])
def test_another_status_is_an_error(status: str) -> None:
    with (
        serving(reply(b"", status)) as server,
        pytest.raises(RegistryError, match=status[:3]),
    ):
        fetch(f"{server.url}/x", LIMIT)


def test_a_large_document_is_refused_before_it_is_here() -> None:
    sent = 0

    def flood(sock: socket.socket, _: Received, __: int) -> None:
        nonlocal sent
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(10_000):
            sock.sendall(b"x" * 65536)
            sent += 65536

    with Loopback(flood) as server, pytest.raises(RegistryError, match="than 1000"):
        fetch(f"{server.url}/x", LIMIT)
    assert sent < 100 * 65536


def test_a_compressed_bomb_is_refused() -> None:
    import gzip

    data = gzip.compress(b"0" * 10_000_000)
    answer = reply(data, headers="Content-Encoding: gzip\r\n")
    with serving(answer) as server, pytest.raises(RegistryError, match="larger"):
        fetch(f"{server.url}/x", LIMIT)


def test_a_dripping_server_is_left_in_time() -> None:
    def drip(sock: socket.socket, _: Received, __: int) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            sock.sendall(b"x")
            time.sleep(0.05)

    with Loopback(drip) as server:
        began = time.monotonic()
        with pytest.raises(RegistryError, match="in time"):
            fetch(f"{server.url}/x", LIMIT, timeout_s=0.5)
        assert time.monotonic() - began < 3


def test_a_body_that_is_cut_off_is_an_error() -> None:
    def cut(sock: socket.socket, _: Received, __: int) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")

    with Loopback(cut) as server, pytest.raises(RegistryError, match="can't be read"):
        fetch(f"{server.url}/x", LIMIT)


def test_nobody_listening_is_an_error() -> None:
    with pytest.raises(RegistryError, match="can't be read"):
        fetch("http://127.0.0.1:1/x", LIMIT)


def test_a_redirect_is_followed_to_the_same_kind_of_place() -> None:
    with serving(reply(b"{}")) as target:
        moved = reply(b"", "301 Moved", f"Location: {target.url}/new?sig=1\r\n")
        with serving(moved) as server:
            assert fetch(f"{server.url}/x", LIMIT) == b"{}"
        assert target.requests[0].path == "/new?sig=1"


def test_a_relative_redirect_is_followed() -> None:
    moved = reply(b"", "302 Found", "Location: /other\r\n")
    with serving(moved, reply(b"{}")) as server:
        assert fetch(f"{server.url}/a/b", LIMIT) == b"{}"
        assert server.requests[1].path == "/other"


def test_redirects_come_to_an_end() -> None:
    moved = reply(b"", "302 Found", "Location: /again\r\n")
    with serving(moved) as server:
        with pytest.raises(RegistryError, match="more than 3 times"):
            fetch(f"{server.url}/x", LIMIT)
        assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("file:///etc/passwd", "not a plain http"),
        ("ftp://127.0.0.1/x", "not a plain http"),
        ("http://registry.example/x", "use https"),
        ("http://user:secret@127.0.0.1/x", "not a plain http"),
        ("//169.254.169.254/latest", "use https"),
    ],
)
def test_a_redirect_elsewhere_is_not_followed(location: str, said: str) -> None:
    moved = reply(b"", "302 Found", f"Location: {location}\r\n")
    with serving(moved) as server:
        with pytest.raises(RegistryError, match=said) as caught:
            fetch(f"{server.url}/x", LIMIT)
        assert "secret" not in str(caught.value)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://registry.example/openai/models.json",
        "http://127.0.0.1.evil.example/x",
        "http://localhost.evil.example/x",
        "http://2130706433/x",
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "https://user:secret@registry.example/x",
        "https://registry.example\\@127.0.0.1/x",
        "javascript:alert(1)",
        "",
    ],
)
def test_only_https_or_loopback(url: str) -> None:
    # `only_loopback` would fail the test if a connection were tried.
    with pytest.raises(RegistryError) as caught:
        fetch(url, LIMIT)
    assert "secret" not in str(caught.value)


def test_proxies_are_for_others_than_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(reply(b"{}")) as server, serving(reply(b"no")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert fetch(f"{server.url}/x", LIMIT) == b"{}"
        assert proxy.requests == []
        with pytest.raises(RegistryError):  # the proxy doesn't know CONNECT
            fetch("https://registry.example/x", LIMIT)
        assert proxy.requests[0].method == "CONNECT"
        assert proxy.requests[0].path == "registry.example:443"
