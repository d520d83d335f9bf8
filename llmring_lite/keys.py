"""Which key goes to which host: reading, checking and hiding credentials.

A lockfile comes with a repository that someone cloned, so it never decides where a
secret goes. A key is sent only

- to the host that the built-in table pairs with its variable,
- to the host of a base URL that the environment gives for that variable's provider,
- to loopback,
- to a host listed in `LLMRING_TRUSTED_HOSTS`,

and over https only, loopback aside. Everything else is refused before a connection
is made.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from llmring_lite.exceptions import ProviderAuthenticationError
from llmring_lite.provider import BUILTIN, Endpoint

TRUSTED_HOSTS_VARIABLE: Final = "LLMRING_TRUSTED_HOSTS"


def read_env(name: str) -> str | None:
    """`os.environ.get(name)`, in a tenth of the time where CPython allows it.

    `os.environ` encodes the name and, for an absent variable, raises and catches an
    exception: 0.7 microseconds, which resolving an alias can't spare.
    """
    environ = os.environ
    data = getattr(environ, "_data", None)
    if data is None or os.name == "nt":
        return environ.get(name)
    value = data.get(os.fsencode(name) if not name.isascii() else name.encode())
    return None if value is None else os.fsdecode(value)


SWITCHES: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("", "0", "false", "no", "off"), False),
}
"""Words by which a variable switches something on or off."""


def is_on(word: str | None) -> bool:
    """Does a variable say yes?"""
    return SWITCHES.get((word or "").strip().lower(), False)


def state_of_env(names: tuple[str, ...]) -> tuple[object, ...]:
    """Something that changes when one of these variables does."""
    environ = os.environ
    data = getattr(environ, "_data", None)
    if data is None or os.name == "nt":
        return tuple(map(environ.get, names))
    return tuple(map(data.get, _encoded(names)))


@lru_cache(maxsize=4)
def _encoded(names: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(map(os.fsencode, names))


class Secret:
    """A key that no repr, format or traceback shows."""

    __slots__ = ("_value", "variable")

    def __init__(self, value: str, variable: str) -> None:
        self._value = value
        self.variable = variable

    def reveal(self) -> str:
        return self._value

    def redact(self, text: str) -> str:
        """The text with the key replaced, for words that a server echoes."""
        return text.replace(self._value, "[redacted]")

    def __repr__(self) -> str:
        return f"<key from {self.variable}>"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a key can't be pickled; the other process reads its own")


class Origin(NamedTuple):
    """Scheme, lower-case host (IPv6 without brackets) and port of a URL."""

    scheme: str
    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        # Spelt out rather than asked of `ipaddress`: 127.1, 2130706433 or
        # ::ffff:127.0.0.1 are names that parsers disagree about, and resolvers
        # look up 127.0.0.08 or 127.0.0.256 as they do any other name.
        return (
            self.host in ("localhost", "::1")
            or re.fullmatch(_LOOPBACK, self.host) is not None
        )


_LOOPBACK: Final = r"127(\.(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}"

# Deliberately narrower than RFC 3986: user information, backslashes, white space,
# percent signs, underscores-as-dots, non-ASCII and trailing dots in the host are what
# URL parsers read differently from each other.
_URL: Final = re.compile(
    r"(?P<scheme>https?)://"
    r"(?:(?P<host>[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?)|\[(?P<ipv6>[0-9a-f:.]+)\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[^\s\\#?]*)?",
    re.IGNORECASE | re.ASCII,
)


@lru_cache(maxsize=256)
def parse_origin(url: str) -> Origin:
    """Where a base URL leads.

    Raises:
        ValueError: It is not a plain http(s) URL with a host.
    """
    match = _URL.fullmatch(url)
    if match is None or ".." in (match["host"] or ""):
        raise ValueError(
            f"{_shown(url)} is not a plain http(s) base URL (scheme, host, optional "
            "port and path; no user info, query, backslash or trailing dot)"
        )
    scheme = match["scheme"].lower()
    port = int(match["port"] or (443 if scheme == "https" else 80))
    return Origin(scheme, (match["host"] or match["ipv6"]).lower(), port)


def _shown(url: str) -> str:
    """The URL for a message, without what may be a password."""
    return repr(re.sub(r"//[^/]*@", "//[redacted]@", url))


@lru_cache(maxsize=256)
def parse_ollama_host(value: str) -> str:
    """The base URL that `OLLAMA_HOST` means to Ollama's own clients.

    Scheme http and port 11434 may be left out; with a scheme, its own port is meant;
    a bare `:port` is on this machine.
    """
    scheme, separator, rest = value.strip().rpartition("://")
    default_port = {"http": 80, "https": 443}.get(scheme.lower(), 11434)
    authority, slash, path = rest.partition("/")
    host, port = authority, ""
    match = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d*))?", authority)
    if match:
        host, port = match[1], match[2] or ""
    elif ":" in authority:  # an IPv6 address without brackets
        host = f"[{authority}]"
    scheme = scheme if separator else "http"
    path = (slash + path).rstrip("/")
    return f"{scheme}://{host or '127.0.0.1'}:{port or default_port}{path}"


def base_url(endpoint: Endpoint) -> str:
    """The endpoint's base URL, taken from the environment where that gives one."""
    for variable in endpoint.base_url_env:
        value = read_env(variable)
        if value and value.strip():
            if variable == "OLLAMA_HOST":
                return parse_ollama_host(value)
            return value.strip().rstrip("/")
    return endpoint.base_url


def key_variable(endpoint: Endpoint) -> str | None:
    """The first variable of the endpoint that holds a key, None if none does."""
    for variable in endpoint.api_key_env:
        value = read_env(variable)
        if value and not value.isspace():
            return variable
    return None


def has_key(endpoint: Endpoint) -> bool:
    """True if the endpoint needs no key, or a variable holds one."""
    return (
        endpoint.key_optional
        or not endpoint.api_key_env
        or key_variable(endpoint) is not None
    )


def lookup(endpoint: Endpoint) -> Secret | None:
    """The key to send to the endpoint; None if it needs none.

    `endpoint.base_url` is the address that will really be used.

    Raises:
        ProviderAuthenticationError: No key is set, it can't be sent in a header, or
            it must not go to that host.
    """
    variable = key_variable(endpoint)
    if variable is None:
        if endpoint.key_optional or not endpoint.api_key_env:
            return None
        raise ProviderAuthenticationError(
            f"no API key: set {' or '.join(endpoint.api_key_env)}",
            provider=endpoint.name,
        )
    _check_host(endpoint, variable)
    # A key read from a file often ends in a newline, which `requests` would refuse
    # with a message that prints the header.
    secret = Secret((read_env(variable) or "").strip(), variable)
    if not (secret.reveal().isascii() and secret.reveal().isprintable()):
        raise ProviderAuthenticationError(
            f"the value of {variable} can't be an API key: it holds characters that "
            "an HTTP header can't carry",
            provider=endpoint.name,
        )
    return secret


def _check_host(endpoint: Endpoint, variable: str) -> None:
    """Raise unless the key in `variable` may go to the endpoint's host."""
    try:
        origin = parse_origin(endpoint.base_url)
    except ValueError as error:
        raise ProviderAuthenticationError(
            f"{variable} is not sent anywhere: {error}", provider=endpoint.name
        ) from None
    if origin.is_loopback:
        return
    if origin.scheme != "https":
        raise ProviderAuthenticationError(
            f"{variable} is not sent to {origin.host} over plain http: use an https "
            "base URL",
            provider=endpoint.name,
        )
    if origin.host in _paired_hosts(variable) or _is_trusted(origin.host):
        return
    raise ProviderAuthenticationError(
        f"{variable} is not sent to {origin.host}: the lockfile alone can't decide "
        f"where a key goes. If you trust that host, set "
        f"{TRUSTED_HOSTS_VARIABLE}={origin.host}",
        provider=endpoint.name,
    )


def _paired_hosts(variable: str) -> Iterator[str]:
    """Hosts that the built-in table or the environment pairs with a variable."""
    for row in BUILTIN.values():
        if variable in row.api_key_env:
            for url in (row.base_url, base_url(row)):
                try:
                    yield parse_origin(url).host
                except ValueError:
                    continue


def _is_trusted(host: str) -> bool:
    for pattern in (read_env(TRUSTED_HOSTS_VARIABLE) or "").lower().split(","):
        pattern = pattern.strip()
        if pattern.startswith("*.") and len(pattern) > 2:
            if host.endswith(pattern[1:]):
                return True
        elif pattern and pattern == host:
            return True
    return False
