"""What a `[providers.NAME]` table of a lockfile may hold, and what it never may.

The table comes with a repository that someone cloned, so it can name the variable that
holds a key, but neither hold the key nor set headers, proxies or TLS. Messages never
show a value from such a table where it might be a secret by mistake.

Loaded for lockfiles that have such a table: most have none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from llmring_lite.lockfile_fields import (
    NAME_CHARACTERS,
    Checker,
    Invalid,
    boolean,
    one_of,
    text,
    type_name,
)
from llmring_lite.lockfile_model import KeyPath
from llmring_lite.lockfile_report import Checked, FindLine
from llmring_lite.provider import BUILTIN, WIRE_FORMATS, Endpoint

AUTH_PREFIXES: Final[Mapping[str, str]] = {
    "Authorization": "Bearer ",
    "api-key": "",
    "x-api-key": "",
    "x-goog-api-key": "",
}
"""Headers that a lockfile may choose for the key, and what stands before the key."""

_VARIABLE: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


@dataclass(kw_only=True)
class ProviderConfig:
    """A `[providers.NAME]` table: an endpoint of the user's own.

    None means that the table doesn't say: the built-in endpoint of the same name
    decides, or else the kind. There is no field for a key, a header's value or a TLS
    switch, because a lockfile comes with a repository that someone cloned.

    Attributes:
        name: What stands before the colon of a reference.
        kind: Wire format, a key of `provider.WIRE_FORMATS`.
        base_url: http(s) URL in the meaning of `provider.Endpoint.base_url`.
        api_key_env: Variables that may hold the key; `()`: it needs none.
        key_optional: True if calls without a key make sense.
        auth_header: A key of `AUTH_PREFIXES`.
        api_version: Azure's `api-version` query parameter.
        max_tokens_field: What the server calls the limit of a reply.
        stream_options: False if the server rejects OpenAI's `stream_options`.
        extra: Keys that are not ours; never sent anywhere.
        line: 1-based line of the file; None if it came from elsewhere.
    """

    name: str
    kind: str | None = None
    base_url: str | None = None
    api_key_env: tuple[str, ...] | None = None
    key_optional: bool | None = None
    auth_header: str | None = None
    api_version: str | None = None
    max_tokens_field: str | None = None
    stream_options: bool | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    find_line: Callable[[], int | None] | None = field(
        default=None, compare=False, repr=False
    )

    @property
    def line(self) -> int | None:
        return self.find_line() if self.find_line else None

    def _said(self) -> dict[str, Any]:
        """What the table says of the keys that we know."""
        return {
            key: value for key in PROVIDER if (value := getattr(self, key)) is not None
        }

    def endpoint(self) -> Endpoint:
        """The endpoint: what the table says, on top of built-in name and kind."""
        own = BUILTIN.get(self.name)
        kind = self.kind or (own.kind if own else "openai")
        if own is None or _family(own.kind) != _family(kind):
            # Another wire format authenticates in another way.
            like = BUILTIN[_family(kind)]
            base = like._replace(
                name=self.name,
                base_url=like.base_url if kind == "mock" else "",
                base_url_env=(),
                api_key_env=own.api_key_env if own else (),
                key_optional=False,
            )
        else:
            base = own
        said = {**self._said(), "kind": kind}
        if self.base_url is not None:
            said["base_url"] = self.base_url.rstrip("/")
            said["base_url_env"] = ()
        if self.auth_header is not None:
            said["auth_prefix"] = AUTH_PREFIXES[self.auth_header]
        return base._replace(**said)

    def to_dict(self) -> dict[str, Any]:
        table = self._said()
        if self.api_key_env is not None:
            names = list(self.api_key_env)
            table["api_key_env"] = names[0] if len(names) == 1 else names
        return {**table, **self.extra}


def _family(kind: str) -> str:
    """The built-in endpoint whose manners a kind has."""
    return "openai" if kind == "openai-responses" else kind


# Keys ----------------------------------------------------------------------------


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
    plain = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?"
    match = re.fullmatch(plain, rest.partition("/")[0])
    if match is None or not 0 < int(match[1] or 443) < 65536:
        raise Invalid("must have a plain host name, and a port number if any")
    return str(value)


def auth_header(value: Any) -> str:
    names = {name.lower(): name for name in AUTH_PREFIXES}
    if text(value).lower() not in names:
        raise Invalid(f"must be one of {', '.join(AUTH_PREFIXES)}")
    return names[value.lower()]


def api_version(value: Any) -> str:
    if not NAME_CHARACTERS.issuperset(text(value)):
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

_FORBIDDEN: Final = (
    (
        ("key", "token", "secret", "password", "credential", "auth"),
        "is not allowed: a lockfile never holds a key. Put the key in an environment "
        "variable and its name in api_key_env",
    ),
    (
        ("header", "verify", "ssl", "tls", "cert", "proxy", "proxies"),
        "is not allowed: a lockfile can't set headers, proxies or TLS",
    ),
)
"""Parts of the names of keys that must not stand in a table, and why."""


# Tables --------------------------------------------------------------------------


def is_provider_name(name: str) -> bool:
    return bool(name) and NAME_CHARACTERS.issuperset(name) and name == name.lower()


def read_providers(found: Checked, find_line: FindLine) -> None:
    """Check the tables in `found.values`; the endpoints go to `found.providers`."""
    for name, table in found.values["providers"].items():
        found.provider_names.add(name)
        extra: dict[str, Any] = {}
        before = len(found.problems)
        values = _read_table(found, name, table, extra)
        if len(found.problems) == before:
            line = partial(find_line, ("providers", name))
            found.providers[name] = ProviderConfig(
                name=name, extra=extra, find_line=line, **values
            )


def _read_table(
    found: Checked, name: str, table: Any, extra: dict[str, Any]
) -> dict[str, Any]:
    path: KeyPath = ("providers", name)
    subject = f"provider {name!r}: "
    if not is_provider_name(name):
        found.problem(
            path,
            f"{subject}a provider's name has lower-case letters, digits, '.', '-' and "
            "'_' only",
        )
        return {}
    if not isinstance(table, dict):
        found.problem(path, f"{subject}must be a table")
        return {}
    allowed = {}
    for key, value in table.items():
        reason = None if key in PROVIDER else _why_forbidden(key)
        if reason:
            found.problem((*path, key), f"{subject}{key} {reason}")
        else:
            allowed[key] = value
    if name not in BUILTIN:
        if "kind" not in table:
            found.problem(path, f"{subject}kind is missing: it says the wire format")
        elif "base_url" not in table and table["kind"] != "mock":
            found.problem(path, f"{subject}base_url is missing")
    return found.read(allowed, PROVIDER, path, subject, extra)


def _why_forbidden(key: str) -> str | None:
    for parts, reason in _FORBIDDEN:
        if any(part in key.lower() for part in parts):
            return reason
    return None
