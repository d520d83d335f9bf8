"""What a `[providers.NAME]` table of a lockfile may hold, and what it never may.

The table comes with a repository that someone cloned, so it can name the variable that
holds a key, but neither hold the key nor set headers, proxies or TLS. Messages never
show a value from such a table where it might be a secret by mistake.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llmring_lite.lockfile_fields import (
    Checker,
    Invalid,
    boolean,
    one_of,
    text,
    type_name,
)
from llmring_lite.lockfile_model import AUTH_PREFIXES
from llmring_lite.provider import WIRE_FORMATS

_LOWER: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-_")
_VARIABLE: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


def is_provider_name(name: str) -> bool:
    return bool(name) and _LOWER.issuperset(name)


def variable_names(value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, tuple | list):
        raise Invalid(f"must be a string or an array, not {type_name(value)}")
    for name in names:
        if not isinstance(name, str):
            raise Invalid(f"must be an array of strings, but holds {type_name(name)}")
        # Never show the value: people put the key itself there. Lower case is out
        # because a key nearly always has some.
        if not name or name[0].isdigit() or not _VARIABLE.issuperset(name):
            raise Invalid(
                "must be the name of an environment variable in capital letters, such "
                'as "POOL_KEY", never the key itself (what is there is not shown)'
            )
    return tuple(names)


_HOST: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
)


def base_url(value: Any) -> str:
    """An http(s) URL that every URL parser in the world reads alike."""
    scheme, _, rest = text(value).partition("://")
    if scheme not in ("http", "https") or not rest:
        raise Invalid('must begin with "https://" or "http://" and have a host')
    if not value.isascii() or not value.isprintable() or " " in value:
        raise Invalid("must be plain ASCII without spaces and control characters")
    for character, name in (
        ("@", "a user name or password"),
        ("\\", "a backslash"),
        ("?", "a query"),
        ("#", "a fragment"),
    ):
        if character in value:
            raise Invalid(f"must not hold {name} (what is there is not shown)")
    authority = rest.partition("/")[0]
    host, bracket, port = authority.rpartition("]")
    if bracket:
        literal = host[1:] if host[:1] == "[" else ""
        fine = bool(literal) and set(literal) <= set("0123456789abcdefABCDEF:.")
        fine = fine and (not port or port[0] == ":")
        port = port[1:]
    else:
        host, colon, port = authority.partition(":")
        fine = bool(host) and _HOST.issuperset(host) and (bool(port) or not colon)
    if not fine or (port and not (port.isdecimal() and 0 < int(port[:6]) < 65536)):
        raise Invalid("must have a plain host name, and a port number if any")
    return str(value)


def auth_header(value: Any) -> str:
    names = {name.lower(): name for name in AUTH_PREFIXES}
    if text(value).lower() not in names:
        raise Invalid(f"must be one of {', '.join(AUTH_PREFIXES)}")
    return names[value.lower()]


def api_version(value: Any) -> str:
    if not _HOST.issuperset(text(value)):
        raise Invalid("may hold letters, digits, '.', '-' and '_' only")
    return str(value)


PROVIDER: Final[Mapping[str, Checker]] = {
    "kind": one_of(*WIRE_FORMATS),
    "base_url": base_url,
    "api_key_env": variable_names,
    "key_optional": boolean,
    "auth_header": auth_header,
    "api_version": api_version,
    "max_tokens_field": one_of("max_tokens", "max_completion_tokens"),
    "stream_options": boolean,
}

_SECRET_WORDS: Final = ("key", "token", "secret", "password", "credential", "auth")
_FORBIDDEN_WORDS: Final = ("header", "verify", "ssl", "tls", "cert", "proxy", "proxies")


def forbidden_provider_key(key: str) -> str | None:
    """Why a key must not stand in `[providers.NAME]`; None if it may (ignored)."""
    word = key.lower()
    if any(part in word for part in _SECRET_WORDS):
        return (
            "is not allowed: a lockfile never holds a key. Put the key in an "
            "environment variable and its name in api_key_env"
        )
    if any(part in word for part in _FORBIDDEN_WORDS):
        return "is not allowed: a lockfile can't set headers, proxies or TLS"
    return None
