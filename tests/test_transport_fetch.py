"""Fetching from the public web: what is refused, and that names stay pinned."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback, Received, chunk, reply, stream_head

from llmring_lite.deadline import Deadline
from llmring_lite.exceptions import (
    InvalidRequestError,
    ProviderConnectionError,
    ProviderResponseError,
    ProviderTimeoutError,
)
from llmring_lite.transport_fetch import ALLOWED_TYPES, fetch_public, is_public

# For images.example and other.example, signed by a CA whose key was thrown away.
CA = """\
-----BEGIN CERTIFICATE-----
MIIBeDCCAR2gAwIBAgIBATAKBggqhkjOPQQDAjAiMSAwHgYDVQQDDBdsbG1yaW5n
LWxpdGUgdGVzdHMgb25seTAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAw
MFowIjEgMB4GA1UEAwwXbGxtcmluZy1saXRlIHRlc3RzIG9ubHkwWTATBgcqhkjO
PQIBBggqhkjOPQMBBwNCAATN7EFno3NB2dw2EpawpK0SArLIUmNtHWhjALvvFnUE
KUEBZ0aCpBZZ8quU/TVAkQNrYHfmUcRVyvQ071mdPfR2o0IwQDAPBgNVHRMBAf8E
BTADAQH/MA4GA1UdDwEB/wQEAwIBBjAdBgNVHQ4EFgQUQM4vD8kdouqokJLuc7aO
kkUdlhYwCgYIKoZIzj0EAwIDSQAwRgIhAKFOGEaCiwpjVAwVsRA3lFD3mo+PdouJ
OEJOvJxqDBhCAiEA1faVyCRvKBO1ymqGXpogNQcQYHzbr5swMlt+1Ie92NQ=
-----END CERTIFICATE-----
"""
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBzjCCAXOgAwIBAgIBAjAKBggqhkjOPQQDAjAiMSAwHgYDVQQDDBdsbG1yaW5n
LWxpdGUgdGVzdHMgb25seTAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAw
MFowGTEXMBUGA1UEAwwOaW1hZ2VzLmV4YW1wbGUwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQfv5bM5EEJ20NgLQajlCqmRYwmk43G7ekxc6qXwP0vzcIHztXHkUvc
BV5awXQ6d0qwd5YFweERWq2uOv1iL94Oo4GgMIGdMCgGA1UdEQQhMB+CDmltYWdl
cy5leGFtcGxlgg1vdGhlci5leGFtcGxlMAwGA1UdEwEB/wQCMAAwDgYDVR0PAQH/
BAQDAgeAMBMGA1UdJQQMMAoGCCsGAQUFBwMBMB0GA1UdDgQWBBQxsP95I2TWyj+E
bI/NUU8o/+c14DAfBgNVHSMEGDAWgBRAzi8PyR2i6qiQku5zto6SRR2WFjAKBggq
hkjOPQQDAgNJADBGAiEA3BlHGfjsoxGGU04lywfAF0jHJD+QB2poKFnO20mnIuIC
IQCknGB2x0QRnELbj1o/Xhcws4VXJBvak+Y0gqmqMXbVzQ==
-----END CERTIFICATE-----
"""
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgnHcEFg0dWn6fQoo0
xaCr4aUBdb4K09zJnMwZzJOicTyhRANCAAQfv5bM5EEJ20NgLQajlCqmRYwmk43G
7ekxc6qXwP0vzcIHztXHkUvcBV5awXQ6d0qwd5YFweERWq2uOv1iL94O
-----END PRIVATE KEY-----
"""

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100


class TLSLoopback(Loopback):
    """A loopback server that speaks TLS as images.example and other.example."""

    def __init__(self, handler: Any, context: ssl.SSLContext) -> None:
        super().__init__(handler)
        self.context = context
        self.names: list[str | None] = []
        context.sni_callback = lambda _sock, name, _context: self.names.append(name)

    def _serve(self, sock: socket.socket) -> None:
        try:
            secure = self.context.wrap_socket(sock, server_side=True)
        except OSError:
            sock.close()
            return
        super()._serve(secure)


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Starts servers whose CA the fetching side trusts."""
    (tmp_path / "ca.pem").write_text(CA)
    (tmp_path / "server.pem").write_text(KEY + CERTIFICATE)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    servers = []

    def start(*answers: bytes | Callable[..., Any]) -> TLSLoopback:
        def handler(sock: socket.socket, request: Received, number: int) -> bool:
            answer = answers[min(number, len(answers)) - 1]
            if callable(answer):
                answer(sock)
                return False
            sock.sendall(answer)
            return True

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "server.pem")
        server = TLSLoopback(handler, context)
        servers.append(server)
        return server.__enter__()

    yield start
    for server in servers:
        server.__exit__()


class Resolver:
    """Every name is this machine; remembers what was asked."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses or ("127.0.0.1",)
        self.names: list[str] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.names.append(host)
        return list(self.addresses)


def fetch(url: str, **options: Any) -> tuple[str, bytes]:
    defaults: dict[str, Any] = {
        "max_bytes": 10_000,
        "deadline": Deadline(10),
        "allowed_types": ALLOWED_TYPES["image"],
        "resolve": Resolver(),
        "is_allowed": lambda address: address.startswith("127."),
    }
    return fetch_public(url, **{**defaults, **options})


def image(**options: Any) -> bytes:
    return reply(PNG, **{"content_type": "image/png", **options})


# Which addresses --------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        *("8.8.8.8", "93.184.215.14", "172.32.0.1", "2606:4700::6810:84e5"),
        *("::ffff:8.8.8.8", "2002:808:808::1", "64:ff9b::808:808"),
    ],
)
def test_public_addresses(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        # this machine, this network
        *("127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "::1", "::"),
        *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
        *("169.254.1.1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1"),
        # metadata services of clouds
        *("169.254.169.254", "169.254.170.2", "fd00:ec2::254", "100.100.100.200"),
        *("192.0.0.192", "168.63.129.16"),
        # shared, reserved, test, multicast, broadcast
        *("100.64.0.1", "192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.1"),
        *("203.0.113.1", "192.88.99.1", "224.0.0.1", "239.1.1.1", "240.0.0.1"),
        *("255.255.255.255", "ff02::1", "2001:db8::1", "100::1"),
        # private ones in disguise
        *("::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1", "2002:7f00:1::"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1"),
        # no addresses
        *("", "localhost", "127.1", "2130706433", "0x7f000001"),
    ],
)
def test_addresses_that_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["169.254.169.254"], ["::1", "8.8.8.8"]],
)
def test_a_host_with_any_address_that_is_not_public_is_refused(addresses):
    with pytest.raises(InvalidRequestError, match="is not public"):
        fetch("https://images.example/a", resolve=Resolver(*addresses), is_allowed=None)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433", "0x7f.1"],
)
def test_addresses_in_a_url_are_refused_however_they_are_spelt(host):
    with pytest.raises(InvalidRequestError, match="not public"):
        fetch(f"https://{host}/a", resolve=None, is_allowed=None)


# Which URLs -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://images.example/a", "only https"),
        ("ftp://images.example/a", "only https"),
        ("file:///etc/passwd", "only https"),
        ("images.example/a", "only https"),
        ("https:///a", "names no host"),
        ("https://me:secret@images.example/a", "user name or password"),
        ("https://images.example\\@127.0.0.1/a", "backslash"),
        ("https://images.example/a b", "white space"),
        ("https://images.example/\r\nHost: x", "white space"),
        ("https://images.example:99999/a", "is no URL"),
        ("https://[::1/a", "is no URL"),
        ("https://" + "a" * 80 + ".example/", "is no URL"),
    ],
)
def test_urls_that_are_refused_before_anything_is_looked_up(url, said):
    resolver = Resolver()
    with pytest.raises(InvalidRequestError) as caught:
        fetch(url, resolve=resolver)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    assert resolver.names == []


# What is sent, and how the name is held ---------------------------------------------


def test_a_file_is_fetched_over_tls_for_its_name(serve, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("default login me password secret")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server = serve(image(content_type="Image/PNG; charset=x"))
    resolver = Resolver()
    url = f"https://Images.Example:{server.port}/ä b?q=1&r=ü#part".replace(" ", "%20")

    assert fetch(url, resolve=resolver) == ("image/png", PNG)

    (request,) = server.requests
    assert request.path == "/%C3%A4%20b?q=1&r=%C3%BC"
    assert request.headers["host"] == f"images.example:{server.port}"
    assert request.headers["accept-encoding"] == "identity"
    assert not {"authorization", "cookie", "referer"} & request.headers.keys()
    assert server.names == ["images.example"]
    assert resolver.names == ["images.example"]  # once: no second, other answer


def test_a_certificate_for_another_name_is_refused(serve):
    server = serve(image())
    with pytest.raises(ProviderConnectionError, match=r"wrong\.example"):
        fetch(f"https://wrong.example:{server.port}/a?token=secret")
    assert server.requests == []


def test_a_certificate_is_verified(serve, monkeypatch):
    server = serve(image())
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(ProviderConnectionError, match="certificate") as caught:
        fetch(f"https://images.example:{server.port}/a?token=secret")
    assert "secret" not in str(caught.value)
    assert server.requests == []


def test_the_next_address_is_tried_if_one_does_not_answer(serve):
    server = serve(image())
    resolver = Resolver("127.0.0.2", "127.0.0.1")
    found = fetch(f"https://images.example:{server.port}/a", resolve=resolver)
    assert found == ("image/png", PNG)


def test_no_answer_is_a_connection_error(serve):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(ProviderConnectionError) as caught:
        fetch(f"https://images.example:{port}/a?token=secret")
    assert "secret" not in str(caught.value)
    assert f"https://images.example:{port}/a can't be fetched" in str(caught.value)


@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), UnicodeError("x")])
def test_a_name_that_does_not_resolve_is_a_connection_error(error):
    def resolve(host: str, port: int) -> list[str]:
        raise error

    with pytest.raises(ProviderConnectionError, match=r"images\.example can't be"):
        fetch("https://images.example/a", resolve=resolve)


def test_a_name_without_addresses_is_a_connection_error():
    with pytest.raises(ProviderConnectionError, match="has no address"):
        fetch("https://images.example/a", resolve=lambda host, port: [])


# Redirects --------------------------------------------------------------------------


def moved(location: str, status: str = "302 Found") -> bytes:
    return reply(b"", status, f"Location: {location}\r\n")


@pytest.mark.parametrize("status", ["301 x", "302 x", "303 x", "307 x", "308 x"])
def test_a_redirect_is_followed_with_all_checks(serve, status):
    server = serve(moved("//other.example:PORT/b".replace("PORT", "0"), status))
    server.handler = lambda sock, request, number: sock.sendall(
        moved(f"//other.example:{server.port}/b?c", status) if number == 1 else image()
    )
    resolver = Resolver()
    found = fetch(f"https://images.example:{server.port}/a", resolve=resolver)
    assert found == ("image/png", PNG)
    assert resolver.names == ["images.example", "other.example"]
    assert [request.path for request in server.requests] == ["/a", "/b?c"]
    assert server.names == ["images.example", "other.example"]


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("http://images.example/b", "only https"),
        ("file:///etc/passwd", "only https"),
        ("https://me@images.example/b", "user name"),
        ("https://inside.example/b", "is not public"),
    ],
)
def test_a_redirect_cannot_lead_where_a_url_may_not(serve, location, said):
    server = serve(moved(location))
    inside = {"images.example": "127.0.0.1", "inside.example": "10.0.0.1"}
    with pytest.raises(InvalidRequestError, match=said):
        fetch(
            f"https://images.example:{server.port}/a",
            resolve=lambda host, port: [inside[host]],
        )
    assert len(server.requests) == 1


def test_a_name_that_changes_its_address_between_redirects_is_caught(serve):
    server = serve(moved("/again"))
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    with pytest.raises(InvalidRequestError, match=r"169\.254\.169\.254"):
        fetch(
            f"https://images.example:{server.port}/a",
            resolve=lambda host, port: next(answers),
        )


def test_endless_redirects_end(serve):
    server = serve(moved("/a"))
    with pytest.raises(InvalidRequestError, match="more than 3 times"):
        fetch(f"https://images.example:{server.port}/a")
    assert len(server.requests) == 4


def test_a_redirect_to_nowhere_is_refused(serve):
    server = serve(reply(b"", "302 Found"))
    with pytest.raises(InvalidRequestError, match="redirects to nowhere"):
        fetch(f"https://images.example:{server.port}/a")


# Answers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (reply(b"<html>", content_type="text/html"), "has the type text/html"),
        (reply(b"x", "404 Not Found"), "HTTP 404"),
        (reply(b"x", "204 No Content"), "HTTP 204"),
        (image(headers="Content-Encoding: gzip\r\n"), "comes compressed (gzip)"),
        (reply(b"x" * 10_001, content_type="image/png"), "larger than 10000 bytes"),
        (
            stream_head("image/png") + chunk(b"x" * 9000) + chunk(b"x" * 1001),
            "larger than 10000 bytes",
        ),
    ],
)
def test_answers_that_are_refused(serve, answer, said):
    server = serve(answer)
    with pytest.raises(InvalidRequestError) as caught:
        fetch(f"https://images.example:{server.port}/a?token=secret")
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", "application/octet-stream"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: image/webp\r\n\r\n", "image/webp"),
    ],
)
def test_a_body_may_end_with_the_connection_and_have_no_type(serve, head, media_type):
    server = serve(lambda sock: sock.sendall(head + PNG))
    found = fetch(f"https://images.example:{server.port}/a")
    assert found == (media_type, PNG)


def test_a_body_of_exactly_the_limit_is_taken(serve):
    server = serve(image())
    url = f"https://images.example:{server.port}/a"
    assert fetch(url, max_bytes=len(PNG))[1] == PNG


def test_a_failing_server_is_them_not_you(serve):
    server = serve(reply(b"x", "503 Busy"))
    with pytest.raises(ProviderResponseError) as caught:
        fetch(f"https://images.example:{server.port}/a")
    assert caught.value.status_code == 503


@pytest.mark.parametrize(
    "answer", [image()[:-20], stream_head("image/png") + b"5\r\nab"]
)
def test_an_answer_that_breaks_off_is_never_taken_for_whole(serve, answer):
    server = serve(lambda sock: sock.sendall(answer))
    with pytest.raises(ProviderResponseError, match="can't be fetched"):
        fetch(f"https://images.example:{server.port}/a")


def test_a_dripping_server_does_not_outlast_the_timeout(serve):
    def drip(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n")
        for _ in range(1000):
            sock.sendall(b"x")
            time.sleep(0.05)

    server = serve(drip)
    began = time.monotonic()
    with pytest.raises(ProviderTimeoutError, match="in time"):
        fetch(f"https://images.example:{server.port}/a", deadline=Deadline(0.4))
    assert time.monotonic() - began < 10


def test_a_silent_server_does_not_outlast_the_timeout(serve):
    server = serve(lambda sock: sock.recv(1))
    with pytest.raises(ProviderTimeoutError):
        fetch(f"https://images.example:{server.port}/a", deadline=Deadline(0.3))


def test_a_cancelled_fetch_hangs_up(serve):
    deadline = Deadline(None)

    def cancel_and_wait(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\nx")
        deadline.cancel()
        sock.settimeout(10)
        sock.recv(1)  # until the other end closes

    server = serve(cancel_and_wait)
    with pytest.raises(ProviderTimeoutError):
        fetch(f"https://images.example:{server.port}/a", deadline=deadline)


def test_a_slow_resolver_does_not_outlast_the_timeout():
    done = threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        done.wait(30)
        return ["127.0.0.1"]

    began = time.monotonic()
    with pytest.raises(ProviderTimeoutError):
        fetch("https://images.example/a", deadline=Deadline(0.2), resolve=resolve)
    assert time.monotonic() - began < 10
    done.set()


# Proxies ----------------------------------------------------------------------------


def test_a_proxy_is_asked_for_the_checked_address(serve, monkeypatch):
    server = serve(image())
    asked = []

    def tunnel(sock: socket.socket, request: Received, _: int) -> bool:
        asked.append(request.path)
        sock.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
        with socket.create_connection(("127.0.0.1", server.port)) as onward:
            _pump_both(sock, onward)
        return False

    with Loopback(tunnel) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        found = fetch(f"https://images.example:{server.port}/a")
    assert found == ("image/png", PNG)
    assert asked == [f"127.0.0.1:{server.port}"]
    assert server.names == ["images.example"]


def _pump_both(one: socket.socket, other: socket.socket) -> None:
    while True:
        for ready in select.select([one, other], [], [], 5)[0]:
            data = ready.recv(65536)
            if not data:
                return
            (other if ready is one else one).sendall(data)
