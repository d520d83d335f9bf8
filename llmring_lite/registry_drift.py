"""What changed between two versions of a registry's data.

Compared are the facts that a user of a model depends on: prices, limits,
capabilities, status. How a model is called, described or ranked is not drift.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from llmring_lite.registry import FLAGS, Catalogue, RegistryModel

Kind: TypeAlias = Literal["price", "limit", "capability", "status"]

_PRICES: Final[Mapping[str, str]] = {
    "dollars_per_million_tokens_input": "input",
    "dollars_per_million_tokens_output": "output",
    "dollars_per_million_tokens_cached_input": "cached input",
    "dollars_per_million_tokens_cache_read": "cache read",
    "dollars_per_million_tokens_cache_write_5m": "cache write (5 minutes)",
    "dollars_per_million_tokens_cache_write_1h": "cache write (1 hour)",
    "dollars_per_million_tokens_output_thinking": "thinking",
    "dollars_per_million_tokens_input_long_context": "long-context input",
    "dollars_per_million_tokens_output_long_context": "long-context output",
    "cache_storage_cost_per_million_tokens_per_hour": "cache storage per hour",
}
_TOKENS: Final[Mapping[str, tuple[Kind, str]]] = {
    "long_context_threshold_tokens": ("price", "long-context threshold"),
    "max_input_tokens": ("limit", "longest input"),
    "max_output_tokens": ("limit", "longest output"),
    "min_recommended_reasoning_tokens": ("limit", "least reasoning budget"),
}
_STATUS: Final[Mapping[str, str]] = {
    "is_active": "active",
    "requires_waitlist": "waiting list",
    "deprecated_date": "deprecated",
    "listed": "listed",
}
_CAPABILITIES: Final[Mapping[str, str]] = {
    "api_endpoint": "API",
    **{
        name: name.removeprefix("supports_").removeprefix("is_").replace("_", " ")
        for name in FLAGS
        if name not in _STATUS
    },
}

COMPARED: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(_PRICES, "price"),
    **{name: kind for name, (kind, _) in _TOKENS.items()},
    **dict.fromkeys(_CAPABILITIES, "capability"),
    **{name: "status" for name in _STATUS if name != "listed"},
}
"""Fields of `RegistryModel` that are compared -> what kind of change theirs is."""


class Change(NamedTuple):
    """One fact that is different.

    Attributes:
        model: The name that was looked up, without the provider.
        field: A key of `COMPARED`; `listed` for a model that came or went.
        before, after: The values; None is unknown.
    """

    provider: str
    model: str
    field: str
    before: Any
    after: Any

    @property
    def kind(self) -> Kind:
        return COMPARED.get(self.field, "status")

    def __str__(self) -> str:
        """Such as `gpt-4o input $5.00 → $2.50 per million`."""
        before, after = self.before, self.after
        if self.field in _PRICES:
            was, now = _price(before), _price(after)
            what = f"{_PRICES[self.field]} {was} → {now} per million"
        elif self.field in _TOKENS:
            was, now = _tokens(before), _tokens(after)
            what = f"{_TOKENS[self.field][1]} {was} → {now} tokens"
        else:
            name = _STATUS.get(self.field) or _CAPABILITIES[self.field]
            what = f"{name} {_word(before)} → {_word(after)}"
            if self.field == "deprecated_date":
                what = what.replace("unknown", "no")
        return f"{self.model} {what}"

    def to_dict(self) -> dict[str, Any]:
        return {**self._asdict(), "kind": self.kind}


class Drift(NamedTuple):
    """How a provider's data moved from one version to another.

    Attributes:
        before, after: The versions, None where the registry gave none.
        changes: Empty if nothing that is used changed.
    """

    provider: str
    before: int | None
    after: int | None
    changes: tuple[Change, ...]

    @property
    def title(self) -> str:
        """Such as `openai v5 → v7`."""
        return f"{self.provider} v{self.before} → v{self.after}"

    def to_dict(self) -> dict[str, Any]:
        changes = [change.to_dict() for change in self.changes]
        return {
            "provider": self.provider,
            "before": self.before,
            "after": self.after,
            "changes": changes,
        }


def compare(
    old: Catalogue, new: Catalogue, names: Iterable[str] | None = None
) -> Drift:
    """The changes from an older state of a provider's data to a newer one.

    Args:
        names: Which models count, by names as a lockfile has them: aliases and dated
            forms resolve in each state. Default: all that either of them lists.
    """
    pairs: Iterable[tuple[str, RegistryModel | None, RegistryModel | None]]
    if names is None:
        listed = dict.fromkeys([*old.models, *new.models])
        pairs = ((n, old.models.get(n), new.models.get(n)) for n in listed)
    else:
        pairs = ((n, old.find(n), new.find(n)) for n in dict.fromkeys(names))
    changes = [
        change
        for name, was, now in pairs
        for change in _compare_models(new.provider, name, was, now)
    ]
    return Drift(new.provider, old.version, new.version, tuple(changes))


def _compare_models(
    provider: str, name: str, old: RegistryModel | None, new: RegistryModel | None
) -> Iterable[Change]:
    if old is None or new is None:
        if old is not new:
            yield Change(provider, name, "listed", old is not None, new is not None)
        return
    for field in COMPARED:
        before, after = getattr(old, field), getattr(new, field)
        if before != after:
            yield Change(provider, name, field, before, after)


def _price(value: float | None) -> str:
    """Dollars with at least two decimals, and as many more as there are."""
    if value is None:
        return "unknown"
    text = f"{value:.9f}".rstrip("0")
    whole, _, cents = text.partition(".")
    return f"${whole}.{cents:<02}"


def _tokens(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "unknown" if value is None else str(value)
