"""A file from the public web, for an API that takes bytes where others take a URL.

The URL comes from a message, so from anyone. What is guarded against is a request
into the network that this program runs in (its cloud's metadata service, a router, a
database on loopback):

- https only, no user info, no credential, no cookie, nothing but GET.
- Every address that the host's name resolves to must be public (`is_public`). The
  connection goes to an address that was checked: the name isn't looked up a second
  time, when it might give another answer. TLS is verified for the name all the same.
- A redirect is a new URL and passes the same checks; there are at most 3.
- The whole keeps to its deadline, a dripping server included; the body has
  at most `max_bytes`, and comes uncompressed.

Proxies and CA bundles from the environment count, as for `requests`. Behind a proxy
the name must resolve here nevertheless, and the proxy is asked for the address.
"""

from __future__ import annotations

import contextlib
import ipaddress
import queue
import socket
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import urljoin, urlsplit

import requests
from requests.structures import CaseInsensitiveDict
from requests.utils import requote_uri

from llmring_lite._version import __version__
from llmring_lite.deadline import Deadline
from llmring_lite.exceptions import (
    InvalidRequestError,
    ProviderConnectionError,
    ProviderResponseError,
    ProviderTimeoutError,
)
from llmring_lite.transport_deadline import (
    Adapter,
    Exchange,
    opening,
    read_at_most,
    settings_for,
)
from llmring_lite.transport_errors import NETWORK_ERRORS, description

Resolve: TypeAlias = Callable[[str, int], Sequence[str]]

MAX_REDIRECTS: Final = 3

_UNTOLD: Final = ("application/octet-stream", "binary/octet-stream")

ALLOWED_TYPES: Final[Mapping[str, Collection[str]]] = {
    "image": ("image/*", *_UNTOLD),
    "pdf": ("application/pdf", "application/x-pdf", *_UNTOLD),
}
"""Types to allow for what is wanted: storage services often don't say more."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

# Addresses that Python's tables call global, now or in its older versions.
_NOT_PUBLIC: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            "168.63.129.16/32",  # Azure's host: metadata, DNS, health probes
            "192.0.0.0/24",  # IETF protocol assignments; Oracle's metadata service
            "192.88.99.0/24",  # the relay of 6to4
            "100.64.0.0/10",  # carriers' networks; Alibaba's metadata service
        ),
    )
)
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


def fetch_public(
    url: str,
    *,
    max_bytes: int,
    deadline: Deadline,
    allowed_types: Collection[str],
    resolve: Resolve | None = None,
    is_allowed: Callable[[str], bool] | None = None,
) -> tuple[str, bytes]:
    """Get a file by its public https URL.

    Args:
        url: What a message holds.
        max_bytes: Size of the largest body that is taken.
        deadline: For all of it: names, redirects, body.
        allowed_types: Media types, such as `image/png` or `image/*`.
        resolve: Host and port to IP addresses, or OSError. Default: the system's.
        is_allowed: Whether an IP address may be connected to. Default: `is_public`.

    Returns:
        The media type, in lower case and without parameters, and the body.

    Raises:
        InvalidRequestError: The URL or its answer isn't acceptable: another scheme, an
            address that isn't public, a wrong type, too large, HTTP 4xx.
        ProviderTimeoutError: It took too long.
        ProviderConnectionError: No answer.
        ProviderResponseError: The answer broke off, or is an HTTP 5xx.
    """
    for _ in range(MAX_REDIRECTS + 1):
        target = _parse(url)
        addresses = _addresses(target, resolve or _resolve, deadline)
        for address in addresses:
            if not (is_allowed or is_public)(address):
                raise InvalidRequestError(
                    f"{target.shown} is not fetched: {target.host} has the address "
                    f"{address}, which is not public"
                )
        with _Download(target, deadline) as download:
            response = download.open(addresses)
            if response.status_code not in _REDIRECTS:
                return download.read(response, max_bytes, allowed_types)
            location = response.headers.get("Location")
            if not location:
                raise InvalidRequestError(f"{target.shown} redirects to nowhere")
            url = urljoin(url, location)
    raise InvalidRequestError(
        f"{target.shown} redirects more than {MAX_REDIRECTS} times"
    )


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet.

    Addresses that only wrap an IPv4 address are judged by it.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip.is_site_local:
            return False
    return (
        ip.is_global
        and not ip.is_multicast
        and not ip.is_reserved
        and not any(ip in network for network in _NOT_PUBLIC)
    )


class _Target(NamedTuple):
    """Where a URL leads; `shown` is the URL without its query, which may be secret."""

    host: str
    port: int
    path: str
    shown: str


def _parse(url: str) -> _Target:
    shown = url.partition("?")[0][:200]
    # urlsplit drops some of these, and parsers disagree about the others.
    if any(char <= " " or char in "\\\x7f" for char in url):
        raise InvalidRequestError(f"{shown!r} holds white space or a backslash")
    try:
        parts = urlsplit(url)
        port = parts.port or 443
        host = (parts.hostname or "").rstrip(".").encode("idna").decode("ascii")
    except ValueError as error:
        raise InvalidRequestError(f"{shown!r} is no URL: {error}") from None
    if parts.scheme != "https":
        raise InvalidRequestError(f"{shown!r} is not fetched: only https URLs are")
    if "@" in parts.netloc:
        raise InvalidRequestError("a URL with user name or password is not fetched")
    if not host:
        raise InvalidRequestError(f"{shown!r} names no host")
    path = parts.path or "/"
    if parts.query:
        path += f"?{parts.query}"
    return _Target(host, port, requote_uri(path), shown)


def _resolve(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def _addresses(target: _Target, resolve: Resolve, deadline: Deadline) -> list[str]:
    """The addresses of a host, in the order to try them."""
    # The system's resolver knows no timeout. It is left behind if it takes too long.
    answers: queue.SimpleQueue[Sequence[str] | Exception] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(resolve(target.host, target.port))
        except (OSError, ValueError) as error:
            answers.put(error)

    threading.Thread(target=look_up, daemon=True).start()
    try:
        found = answers.get(timeout=deadline.timeout())
    except queue.Empty:
        raise _timed_out(target) from None
    if isinstance(found, Exception):
        raise ProviderConnectionError(
            f"{target.shown} can't be fetched: the name {target.host} can't be "
            f"resolved ({found})"
        ) from found
    if not found:
        raise ProviderConnectionError(f"the name {target.host} has no address")
    return list(dict.fromkeys(found))


class _PinnedAdapter(Adapter):
    """Verifies TLS for a host's name on connections to its address."""

    def __init__(self, host: str) -> None:
        self._tls = {"server_hostname": host, "assert_hostname": host}
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, **self._tls)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, **kwargs, **self._tls)


class _Download:
    """One GET and its answer. Leaving the `with` closes the connection."""

    def __init__(self, target: _Target, deadline: Deadline) -> None:
        self._target = target
        self._deadline = deadline
        self._exchange = Exchange(deadline)
        self._open = contextlib.ExitStack()

    def __enter__(self) -> _Download:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def open(self, addresses: Sequence[str]) -> requests.Response:
        """Status and headers, from the first address that answers."""
        target = self._target
        url = f"https://{target.host}:{target.port}"
        session = self._open.enter_context(requests.Session())
        settings = settings_for(session, url)
        adapter = _PinnedAdapter(target.host)
        self._open.callback(adapter.close)
        failure: Exception = _timed_out(target)
        for index, address in enumerate(addresses):
            # An address that doesn't answer must leave time for the others.
            seconds = self._deadline.remaining() / (len(addresses) - index)
            if seconds <= 0 or self._exchange.received:
                break
            part = self._deadline.within(seconds)
            self._exchange = Exchange(part)
            try:
                with opening(self._exchange):
                    response = adapter.send(
                        self._request(address), timeout=part.timeout(), **settings
                    )
            except NETWORK_ERRORS as error:
                failure = self._translate(error)
            else:
                # urllib3 leaves a closed pool's connections to the garbage collector.
                self._open.callback(part.cancel)
                self._open.callback(response.close)
                self._exchange.deadline = self._deadline
                return response
        raise failure

    def _request(self, address: str) -> requests.PreparedRequest:
        target = self._target
        prepared = requests.PreparedRequest()
        prepared.method = "GET"
        place = f"[{address}]" if ":" in address else address
        prepared.url = f"https://{place}:{target.port}{target.path}"
        host = f"[{target.host}]" if ":" in target.host else target.host
        prepared.headers = CaseInsensitiveDict(
            {
                "Host": host if target.port == 443 else f"{host}:{target.port}",
                "User-Agent": f"llmring-lite/{__version__}",
                "Accept": "*/*",
                "Accept-Encoding": "identity",
                "Connection": "close",
            }
        )
        return prepared

    def read(
        self,
        response: requests.Response,
        max_bytes: int,
        allowed_types: Collection[str],
    ) -> tuple[str, bytes]:
        """Media type and body of an acceptable answer."""
        shown = self._target.shown
        status = response.status_code
        if status >= 500:
            raise ProviderResponseError(
                f"{shown} can't be fetched: HTTP {status}", status_code=status
            )
        if status != 200:
            raise InvalidRequestError(f"{shown} can't be fetched: HTTP {status}")
        declared = response.headers.get("Content-Type") or "application/octet-stream"
        media_type = declared.partition(";")[0].strip().lower()
        family = media_type.partition("/")[0] + "/*"
        if media_type not in allowed_types and family not in allowed_types:
            raise InvalidRequestError(
                f"{shown} has the type {media_type}; allowed are "
                + ", ".join(sorted(allowed_types))
            )
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.strip().lower() != "identity":
            raise InvalidRequestError(
                f"{shown} comes compressed ({encoding}), though asked not to"
            )
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > max_bytes:
            raise _too_large(shown, max_bytes)
        return media_type, self._body(response, max_bytes)

    def _body(self, response: requests.Response, max_bytes: int) -> bytes:
        try:
            body = read_at_most(response, max_bytes, decode=False)
        except NETWORK_ERRORS as error:
            raise self._translate(error) from error
        if self._deadline.cancelled:  # our hanging up looks like the body's end
            raise _timed_out(self._target)
        if body is None:
            raise _too_large(self._target.shown, max_bytes)
        return body

    def _translate(self, error: BaseException) -> Exception:
        if self._deadline.expired() or isinstance(error, requests.Timeout):
            return _timed_out(self._target)
        text = f"{self._target.shown} can't be fetched ({description(error)})"
        if self._exchange.received:
            return ProviderResponseError(text)
        return ProviderConnectionError(text)


def _timed_out(target: _Target) -> ProviderTimeoutError:
    return ProviderTimeoutError(f"{target.shown} could not be fetched in time")


def _too_large(shown: str, max_bytes: int) -> InvalidRequestError:
    return InvalidRequestError(f"{shown} is larger than {max_bytes} bytes")
