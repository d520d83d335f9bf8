"""One HTTP exchange against servers that behave, and servers that don't."""

from __future__ import annotations

import contextlib
import gzip
import io
import multiprocessing
import pickle
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
from loopback import (
    LAST_CHUNK,
    Handler,
    Loopback,
    Received,
    chunk,
    eventually,
    reply,
    serving,
    stream_head,
)

from llmring_lite import keys, transport
from llmring_lite.deadline import Deadline
from llmring_lite.exceptions import (
    InvalidRequestError,
    ProviderConnectionError,
    ProviderError,
    ProviderResponseError,
    ProviderTimeoutError,
)
from llmring_lite.provider import Endpoint, HTTPRequest
from llmring_lite.transport import Provider

SECRET = "sk-do-not-show-me"
KEY = keys.Secret(SECRET, "TEST_KEY")


def provider_for(url: str, **traits: Any) -> Provider:
    return Provider(Endpoint(name="test", kind="openai", base_url=url, **traits))


def post(
    provider: Provider,
    body: dict[str, Any] | None = None,
    key: keys.Secret | None = None,
    seconds: float | None = 5.0,
) -> transport.Reply:
    url = f"{provider.endpoint.base_url}/chat"
    request = HTTPRequest(url=url, body=body or {})
    return provider.send(request, key, Deadline(seconds))


def open_stream(provider: Provider, seconds: float = 5.0) -> transport.StreamReply:
    url = f"{provider.endpoint.base_url}/chat"
    return provider.stream(HTTPRequest(url=url, body={}), None, Deadline(seconds))


@pytest.fixture
def opened() -> Iterator[Callable[[str], Provider]]:
    """Providers that are closed when the test ends."""
    providers: list[Provider] = []

    def make(url: str, **traits: Any) -> Provider:
        providers.append(provider_for(url, **traits))
        return providers[-1]

    yield make
    for provider in providers:
        provider.close()


Opened = Callable[..., Provider]


def reset(sock: socket.socket) -> None:
    """Close with RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


# What goes out --------------------------------------------------------------------


def test_json_headers_and_key_go_out(opened: Opened) -> None:
    with serving(reply({"ok": True})) as server:
        answer = post(opened(server.url), {"text": "漢 é"}, KEY)
        assert answer.status == 200
        assert answer.body == b'{"ok": true}'
        (request,) = server.requests
    assert request.path == "/chat"
    assert request.json == {"text": "漢 é"}
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("llmring-lite/")
    assert "cookie" not in request.headers


def test_the_key_travels_in_the_header_of_the_endpoint(opened: Opened) -> None:
    with serving(reply({})) as server:
        provider = opened(server.url, auth_header="x-api-key", auth_prefix="")
        post(provider, key=KEY)
        assert server.requests[0].headers["x-api-key"] == SECRET
        assert "authorization" not in server.requests[0].headers


def test_netrc_does_not_replace_the_key(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login eve password evil\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with serving(reply({})) as server:
        post(opened(server.url), key=KEY)
        assert server.requests[0].headers["authorization"] == f"Bearer {SECRET}"
        post(opened(server.url))
        assert "authorization" not in server.requests[1].headers


def test_loopback_is_reached_without_the_proxy(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with serving(reply({})) as server:
        assert post(opened(server.url)).status == 200


def test_a_proxy_of_the_environment_is_used_also_when_set_later(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(reply({"from": "proxy"})) as proxy:
        provider = opened("http://api.invalid/v1")
        with pytest.raises(ProviderConnectionError):
            post(provider)
        monkeypatch.setenv("http_proxy", proxy.url)
        assert post(provider).body == b'{"from": "proxy"}'
        assert proxy.requests[0].path == "http://api.invalid/v1/chat"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"x": float("nan")}, "JSON"),
        ({"x": {1, 2}}, "JSON"),
        ({"x": "\ud800"}, "surrogate"),
    ],
)
def test_what_is_no_json_is_the_callers_error(
    opened: Opened, body: dict[str, Any], says: str
) -> None:
    with serving(reply({})) as server:
        with pytest.raises(InvalidRequestError, match=says):
            post(opened(server.url), body)
        assert server.connections == 0


def test_a_request_outside_of_the_base_url_is_not_sent(opened: Opened) -> None:
    with serving(reply({})) as server:
        provider = opened(f"{server.url}/v1")
        request = HTTPRequest(url=f"{server.url}/other", body={})
        with pytest.raises(InvalidRequestError, match="base URL"):
            provider.send(request, KEY, Deadline(5))
        assert server.connections == 0


# What comes back ------------------------------------------------------------------


def test_an_error_answer_is_returned_whole(opened: Opened) -> None:
    answer = reply({"error": "no"}, "429 Too Many", "Retry-After: 7\r\n")
    with serving(answer) as server:
        got = post(opened(server.url))
    assert (got.status, got.headers["retry-after"]) == (429, "7")
    assert got.body == b'{"error": "no"}'


def test_gzip_is_asked_for_and_undone(opened: Opened) -> None:
    body = gzip.compress(b'{"a": 1}')
    with serving(reply(body, headers="Content-Encoding: gzip\r\n")) as server:
        assert post(opened(server.url)).body == b'{"a": 1}'
        assert "gzip" in server.requests[0].headers["accept-encoding"]


def test_a_stream_is_asked_for_uncompressed(opened: Opened) -> None:
    with serving(stream_head() + chunk("data: a\n\n") + LAST_CHUNK) as server:
        assert open_stream(opened(server.url)).read() == b"data: a\n\n"
        assert server.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary"])
def test_a_redirect_is_an_error_and_the_key_stays(opened: Opened, status: str) -> None:
    with serving(reply({})) as target:
        there = reply({}, status, f"Location: {target.url}/x\r\n")
        with serving(there) as server:
            with pytest.raises(ProviderResponseError, match="redirect") as caught:
                post(opened(server.url), key=KEY)
            assert caught.value.status_code == int(status[:3])
            assert server.url in str(caught.value)
        assert target.connections == 0


def test_a_reply_above_the_limit_is_refused(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_REPLY_BYTES", 1000)
    bomb = gzip.compress(bytes(10_000_000))
    with serving(
        reply(b"x" * 1001),
        reply(bomb, headers="Content-Encoding: gzip\r\n"),
        reply(b"x" * 1000),
    ) as server:
        for _ in range(2):
            with pytest.raises(ProviderResponseError, match="larger than 1000"):
                post(opened(server.url))
        assert len(post(opened(server.url)).body) == 1000


def test_works_under_the_responses_library(opened: Opened) -> None:
    with responses.RequestsMock() as mocked:
        mocked.post("http://api.invalid/v1/chat", json={"mocked": True})
        answer = post(opened("http://api.invalid/v1"), {"a": 1}, KEY)
        assert answer.body == b'{"mocked": true}'
        sent = mocked.calls[0].request
        assert sent.headers["Authorization"] == f"Bearer {SECRET}"
        assert sent.body == b'{"a":1}'


# Deadlines ------------------------------------------------------------------------


def hang(sock: socket.socket, *_: Any) -> None:
    sock.recv(1)


def drip(head: bytes, body: bytes) -> Handler:
    def handler(sock: socket.socket, *_: Any) -> None:
        sock.sendall(head)
        for byte in body * 100:
            sock.sendall(bytes([byte]))
            time.sleep(0.05)

    return handler


SLOW = {
    "hang before headers": hang,
    "dripping status line": drip(b"", b"HTTP/1.1 200 OK" + b" " * 1000),
    "dripping headers": drip(b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 1000),
    "dripping body": drip(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"x"),
    "dripping chunks": drip(stream_head(), chunk("x")),
    "dripping until close": drip(b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
}


@pytest.mark.parametrize("handler", SLOW.values(), ids=SLOW)
def test_the_deadline_is_wall_clock_time(opened: Opened, handler: Handler) -> None:
    with Loopback(handler) as server:
        started = time.monotonic()
        with pytest.raises(ProviderTimeoutError) as caught:
            post(opened(server.url), seconds=0.4)
        assert 0.35 < time.monotonic() - started < 1.5
        assert caught.value.provider == "test"


def test_a_stream_times_out_with_what_had_come(opened: Opened) -> None:
    def handler(sock: socket.socket, *_: Any) -> None:
        sock.sendall(stream_head() + chunk("data: a\n\n"))
        hang(sock)

    with Loopback(handler) as server:
        stream = open_stream(opened(server.url), 0.3)
        with pytest.raises(ProviderTimeoutError) as caught:
            stream.read()
        assert caught.value.partial == "data: a\n\n"


def test_no_answer_to_a_connect_times_out(opened: Opened) -> None:
    # A full backlog: the kernel completes no further handshake.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        started = time.monotonic()
        with pytest.raises(ProviderTimeoutError):
            post(opened(f"http://127.0.0.1:{address[1]}"), seconds=0.4)
        assert time.monotonic() - started < 1.5
        for filler in fillers:
            filler.close()


class Endless:
    """A body that can be read for as long as anyone likes."""

    def read(self, size: int, /) -> bytes:
        return bytes(size)

    def tell(self) -> int:
        return 0

    def seek(self, position: int, /) -> int:
        return position


def send_endlessly(provider: Provider, deadline: Deadline) -> None:
    headers = {"Content-Length": str(10**9)}
    url = f"{provider.endpoint.base_url}/files"
    provider.exchange("POST", url, headers, Endless(), KEY, deadline)


@pytest.fixture
def unread() -> Iterator[str]:
    """The address of a server that takes connections and reads nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_the_deadline_counts_while_a_body_is_sent(opened: Opened, unread: str) -> None:
    began = time.monotonic()
    with pytest.raises(ProviderTimeoutError):
        send_endlessly(opened(unread), Deadline(0.4))
    assert time.monotonic() - began < 1.0


def test_another_thread_can_end_an_exchange_while_its_body_is_sent(
    opened: Opened, unread: str
) -> None:
    deadline = Deadline(30)
    timer = threading.Timer(0.3, deadline.cancel)
    timer.start()
    began = time.monotonic()
    with pytest.raises(ProviderTimeoutError):
        send_endlessly(opened(unread), deadline)
    assert time.monotonic() - began < 5
    timer.join()


def test_a_body_is_sent_again_from_its_start_on_a_fresh_connection(
    opened: Opened,
) -> None:
    def handler(sock: socket.socket, _: Received, number: int) -> bool:
        sock.sendall(reply({"number": number}))
        return number != 1  # the first connection is closed while it is idle

    with Loopback(handler) as server:
        provider = opened(server.url)
        post(provider)
        body = io.BytesIO(b"the whole body")
        stream = provider.exchange(
            "POST",
            f"{server.url}/files",
            {"Content-Length": "14"},
            body,
            None,
            Deadline(5),
        )
        assert stream.read() == b'{"number": 2}'
        assert server.requests[1].body == b"the whole body"


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1.evil.example/files", "https://127.0.0.1/files", "ftp://x/", ""],
)
def test_an_exchange_leads_to_no_other_host(opened: Opened, url: str) -> None:
    provider = opened("http://127.0.0.1")
    with pytest.raises(ValueError, match=r"host|URL"):
        provider.exchange("GET", url, {}, None, KEY, Deadline(5))


def test_no_limit_is_possible(opened: Opened) -> None:
    with serving(reply({})) as server:
        assert post(opened(server.url), seconds=None).status == 200


# Faults ---------------------------------------------------------------------------


def test_a_refused_connection(opened: Opened) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ProviderConnectionError) as caught:
        post(opened(f"http://127.0.0.1:{port}"), key=KEY)
    assert "127.0.0.1" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_an_unknown_host(opened: Opened) -> None:
    with pytest.raises(ProviderConnectionError, match=r"nowhere\.invalid"):
        post(opened("https://nowhere.invalid/v1"))


def test_a_server_that_speaks_no_tls(opened: Opened) -> None:
    with serving(reply({})) as server:
        url = server.url.replace("http:", "https:")
        with pytest.raises(ProviderConnectionError):
            post(opened(url))


CUT: dict[str, tuple[Callable[[socket.socket], object], str]] = {
    "content-length": (
        lambda s: s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf"),
        "half",
    ),
    "chunk": (lambda s: s.sendall(stream_head() + b"10\r\nhalf"), "half"),
    "between chunks": (lambda s: s.sendall(stream_head() + chunk("half")), "half"),
    "no chunk": (lambda s: s.sendall(stream_head()), ""),
    "bad chunk size": (
        lambda s: s.sendall(stream_head() + chunk("half") + b"zz\r\n"),
        "half",
    ),
    "reset in the body": (
        lambda s: (
            s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf"),
            time.sleep(0.1),
            reset(s),
        ),
        "half",
    ),
}


@pytest.mark.parametrize(("write", "partial"), CUT.values(), ids=CUT)
def test_a_cut_body_is_an_error_that_holds_what_had_come(
    opened: Opened, write: Callable[[socket.socket], object], partial: str
) -> None:
    def handler(sock: socket.socket, *_: Any) -> None:
        write(sock)

    with Loopback(handler) as server:
        with pytest.raises(ProviderResponseError) as caught:
            post(opened(server.url))
        assert caught.value.partial == partial
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer", [b"garbage\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 20"]
)
def test_what_is_no_http_is_an_error(opened: Opened, answer: bytes) -> None:
    with (
        Loopback(lambda sock, *_: sock.sendall(answer)) as server,
        pytest.raises(ProviderError),
    ):
        post(opened(server.url))


@pytest.mark.parametrize("framing", ["chunked", "length", "end of connection"])
def test_a_stream_may_come_compressed_though_nobody_asked(
    opened: Opened, framing: str
) -> None:
    events = b"data: 1\n\ndata: [DONE]\n\n"
    body = gzip.compress(events)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
    answer = {
        "chunked": head + b"Transfer-Encoding: chunked\r\n\r\n"
        b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body),
        "length": head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body),
        "end of connection": head + b"\r\n" + body,
    }[framing]
    with serving(answer) as server:
        stream = open_stream(opened(server.url))
        chunks = stream.chunks()
        got = b""
        while got != events:  # and no further: what is left is for `finish`
            got += next(chunks)
        stream.finish()


def test_a_corrupt_gzip_body_is_an_error(opened: Opened) -> None:
    with (
        serving(reply(b"not gzip", headers="Content-Encoding: gzip\r\n")) as server,
        pytest.raises(ProviderResponseError),
    ):
        post(opened(server.url))


# Connections ----------------------------------------------------------------------


def test_calls_share_a_connection(opened: Opened) -> None:
    with serving(reply({})) as server:
        provider = opened(server.url)
        for _ in range(5):
            post(provider)
        assert server.connections == 1


def test_a_finished_stream_frees_its_connection(opened: Opened) -> None:
    with serving(stream_head() + chunk("data: [DONE]\n\n") + LAST_CHUNK) as server:
        provider = opened(server.url)
        for _ in range(3):
            stream = open_stream(provider)
            next(stream.chunks())
            stream.finish()
        assert server.connections == 1


def test_a_stream_left_early_is_hung_up_on(opened: Opened) -> None:
    gone = threading.Event()

    def handler(sock: socket.socket, *_: Any) -> None:
        sock.sendall(stream_head() + chunk("data: a\n\n"))
        if not sock.recv(1):
            gone.set()

    with Loopback(handler) as server:
        stream = open_stream(opened(server.url))
        next(stream.chunks())
        stream.close()
        assert gone.wait(5)


def stale_after_first(sock: socket.socket, _: Received, number: int) -> bool | None:
    """Answer the first request; drop the connection on the second, unread."""
    if number == 2:
        reset(sock)
        return None
    sock.sendall(reply({"number": number}))
    return True


def test_a_stale_connection_is_replaced_once(opened: Opened) -> None:
    with Loopback(stale_after_first) as server:
        provider = opened(server.url)
        assert post(provider).body == b'{"number": 1}'
        assert post(provider).body == b'{"number": 3}'
        assert server.connections == 2


def test_a_fresh_connection_that_dies_is_not_retried(opened: Opened) -> None:
    with Loopback(lambda sock, *_: reset(sock)) as server:
        with pytest.raises(ProviderConnectionError):
            post(opened(server.url))
        assert len(server.requests) == 1


def test_a_reused_connection_that_answers_half_is_not_retried(opened: Opened) -> None:
    def handler(sock: socket.socket, _: Received, number: int) -> bool | None:
        if number == 1:
            sock.sendall(reply({}))
            return True
        sock.sendall(b"HTTP/1.")
        return None

    with Loopback(handler) as server:
        provider = opened(server.url)
        post(provider)
        with pytest.raises(ProviderResponseError):
            post(provider)
        assert len(server.requests) == 2


def test_threads_that_start_together_open_one_connection_each(opened: Opened) -> None:
    threads_n = 32
    with serving(reply({})) as server:
        provider = opened(server.url)
        barrier = threading.Barrier(threads_n)

        def work() -> None:
            barrier.wait()
            for _ in range(10):
                post(provider)

        threads = [threading.Thread(target=work) for _ in range(threads_n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(server.requests) == 320
        assert server.connections <= threads_n


def test_another_thread_can_end_an_exchange(opened: Opened) -> None:
    gone = threading.Event()

    def handler(sock: socket.socket, *_: Any) -> None:
        if not sock.recv(1):
            gone.set()

    with Loopback(handler) as server:
        deadline = Deadline(30)
        ended: list[BaseException] = []

        def work() -> None:
            request = HTTPRequest(url=f"{server.url}/chat", body={})
            try:
                opened(server.url).send(request, None, deadline)
            except ProviderError as error:
                ended.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        assert eventually(lambda: len(server.requests) == 1)
        deadline.cancel()
        thread.join(5)
        assert not thread.is_alive()
        assert len(ended) == 1
        assert gone.wait(5)


def test_a_provider_pickles_without_its_connections(opened: Opened) -> None:
    with serving(reply({})) as server:
        provider = opened(server.url)
        post(provider)
        copy = pickle.loads(pickle.dumps(provider))
        assert post(copy).status == 200
        copy.close()
        assert server.connections == 2


def _post_in_child(provider: Provider, results: Any) -> None:
    results.put(post(provider).body)
    provider.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_opens_its_own_connection(opened: Opened) -> None:
    context = multiprocessing.get_context("fork")
    with serving(reply({})) as server:
        provider = opened(server.url)
        post(provider)
        results = context.Queue()
        child = context.Process(target=_post_in_child, args=(provider, results))
        child.start()
        assert results.get(timeout=20) == b"{}"
        child.join(20)
        post(provider)
        assert server.connections == 2


# The session for raw calls --------------------------------------------------------


def test_raw_calls_carry_the_key_to_the_endpoint_only(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", SECRET)
    with serving(reply({})) as other, serving(reply({})) as server:
        provider = opened(
            server.url, api_key_env=("TEST_KEY",), auth_header="x-api-key"
        )
        provider.session.get(f"{server.url}/models")
        provider.client.get(f"{other.url}/models")
        assert SECRET in server.requests[0].headers["x-api-key"]
        assert "x-api-key" not in other.requests[0].headers


def test_raw_calls_to_many_hosts_leave_the_endpoint_reachable(opened: Opened) -> None:
    answer = reply("{}")
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(serving(answer)) for _ in range(8)]
        provider = opened(servers[0].url)
        for _ in range(2):
            for number, server in enumerate(servers):
                raw = provider.session.get(f"{server.url}/{number}", timeout=5)
                assert raw.status_code == 200
            assert post(provider).status == 200
        paths = [[request.path for request in server.requests] for server in servers]
        assert paths[0] == ["/0", "/chat"] * 2
        assert paths[1:] == [[f"/{number}"] * 2 for number in range(1, 8)]


def test_raw_calls_have_the_timeout_that_they_give(opened: Opened, unread: str) -> None:
    began = time.monotonic()
    with pytest.raises(requests.Timeout):
        opened(unread, key_optional=True).session.get(f"{unread}/models", timeout=0.3)
    assert time.monotonic() - began < 5


def test_raw_calls_leave_the_key_behind_when_redirected(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", SECRET)
    with serving(reply({})) as other:
        there = reply({}, "302 Found", f"Location: {other.url}/x\r\n")
        with serving(there) as server:
            provider = opened(
                server.url, api_key_env=("TEST_KEY",), auth_header="x-api-key"
            )
            provider.session.get(f"{server.url}/models")
            assert "x-api-key" in server.requests[0].headers
            assert "x-api-key" not in other.requests[0].headers


# Latency --------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["chunked", "until close"])
def test_a_chunk_is_handed_out_before_the_next_one_is_sent(
    opened: Opened, framing: str
) -> None:
    got_first = threading.Event()

    def handler(sock: socket.socket, *_: Any) -> None:
        if framing == "chunked":
            sock.sendall(stream_head() + chunk("data: a\n\n"))
            assert got_first.wait(5)
            sock.sendall(chunk("data: b\n\n") + LAST_CHUNK)
        else:
            sock.sendall(b"HTTP/1.1 200 OK\r\n\r\ndata: a\n\n")
            assert got_first.wait(5)
            sock.sendall(b"data: b\n\n")

    with Loopback(handler) as server:
        chunks = open_stream(opened(server.url)).chunks()
        assert next(chunks) == b"data: a\n\n"
        got_first.set()
        assert b"".join(chunks) == b"data: b\n\n"
