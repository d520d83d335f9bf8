"""The values of a lockfile: bindings, profiles, endpoints beyond the built-in ones.

They hold what `lockfile_check` has checked. Each knows its own table in the form that
llmring 1.4 writes (`to_dict`), keys that nobody knows included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from llmring_lite.provider import BUILTIN, Endpoint

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys and array indices from the top of a document to a value."""

STRATEGIES: Final = (
    "fallback",
    "race",
    "split",
    "round_robin",
    "least_connections",
    "weighted",
)
"""How the next candidate of an alias is chosen."""

WEIGHTED_STRATEGIES: Final = ("split", "weighted")
"""Strategies that need `weights`; the others have no use for them."""

CONDITIONS: Final = (
    "rate_limit",
    "quota_exceeded",
    "timeout",
    "unavailable",
    "overloaded",
    "model_not_found",
    "context_length",
    "content_filter",
    "auth",
    "circuit_open",
    "any",
    "primary_and_first_fallback_failed",
)
"""What may have gone wrong before a fallback is used."""


@dataclass(frozen=True, kw_only=True)
class AliasBinding:
    """Which models serve an alias, and how.

    Attributes:
        alias: The name that code uses; `package:alias` overrides a package's alias.
        models: References in order of preference: `provider:model`,
            `package:alias`, or the name of another alias of the profile.
        strategy: One of `STRATEGIES`.
        weights: Per cent, one a model; None where the strategy has no use for them.
        hedge_after: Race: seconds before the next model is started too, or `"p95"`
            for that percentile of the latencies seen; None if not said.
        sticky_by: What keeps a caller on the same model; None if nothing does.
        conditions: Reference -> the failures it is used on.
        parameters: Defaults of `LLMRequest` fields.
        constraints: How `models` was chosen.
        guardrails: What may go out and come back.
        extra: Keys that are not ours, kept when the file is written.
        line: 1-based line of the file; None if it came from elsewhere.
    """

    alias: str
    models: tuple[str, ...]
    strategy: str = "fallback"
    weights: tuple[float, ...] | None = None
    hedge_after: float | str | None = None
    sticky_by: str | None = None
    conditions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    constraints: Mapping[str, Any] = field(default_factory=dict)
    guardrails: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    # Finding lines takes as long as reading the file and is rarely wanted.
    find_line: Callable[[], int | None] | None = field(
        default=None, compare=False, repr=False
    )

    @property
    def line(self) -> int | None:
        return self.find_line() if self.find_line else None

    def to_dict(self) -> dict[str, Any]:
        """The binding's table; what says nothing is left out."""
        table: dict[str, Any] = {"alias": self.alias, "models": list(self.models)}
        if self.strategy != "fallback":
            table["strategy"] = self.strategy
        if self.weights is not None:
            table["weights"] = list(self.weights)
        for key in ("hedge_after", "sticky_by"):
            if getattr(self, key) is not None:
                table[key] = getattr(self, key)
        table.update(self.extra)
        if self.conditions:
            table["conditions"] = {k: list(v) for k, v in self.conditions.items()}
        for key in ("parameters", "constraints", "guardrails"):
            if getattr(self, key):
                table[key] = dict(getattr(self, key))
        return table


@dataclass(kw_only=True)
class ProfileConfig:
    """The bindings of one environment.

    Attributes:
        name: The profile's key in the file.
        bindings: Alias -> binding, in the file's order.
        registry_versions: Provider -> version of the registry's data that the
            bindings were made with.
        extra: Keys that are not ours.
    """

    name: str
    bindings: dict[str, AliasBinding] = field(default_factory=dict)
    registry_versions: dict[str, int] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        table: dict[str, Any] = {"name": self.name, **self.extra}
        table["bindings"] = [b.to_dict() for b in self.bindings.values()]
        if self.registry_versions:
            table["registry_versions"] = dict(self.registry_versions)
        return table


AUTH_PREFIXES: Final[Mapping[str, str]] = {
    "Authorization": "Bearer ",
    "api-key": "",
    "x-api-key": "",
    "x-goog-api-key": "",
}
"""Headers that a lockfile may choose for the key, and what stands before the key."""

_PROVIDER_KEYS: Final = (
    "kind",
    "base_url",
    "api_key_env",
    "key_optional",
    "auth_header",
    "api_version",
    "max_tokens_field",
    "stream_options",
)


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
        said: dict[str, Any] = {
            key: getattr(self, key)
            for key in _PROVIDER_KEYS
            if getattr(self, key) is not None
        }
        said["kind"] = kind
        if self.base_url is not None:
            said["base_url"] = self.base_url.rstrip("/")
            said["base_url_env"] = ()
        if self.auth_header is not None:
            said["auth_prefix"] = AUTH_PREFIXES[self.auth_header]
        return base._replace(**said)

    def to_dict(self) -> dict[str, Any]:
        table: dict[str, Any] = {}
        for key in _PROVIDER_KEYS:
            value = getattr(self, key)
            if value is not None:
                table[key] = value
        if self.api_key_env is not None:
            names = list(self.api_key_env)
            table["api_key_env"] = names[0] if len(names) == 1 else names
        return {**table, **self.extra}


def _family(kind: str) -> str:
    """The built-in endpoint whose manners a kind has."""
    return "openai" if kind == "openai-responses" else kind
