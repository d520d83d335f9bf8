"""What changed between two versions of a registry's data.

Compared are the facts that a user of a model depends on: prices, limits,
capabilities, status. How a model is called, described or ranked is not drift.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from llmring_lite.registry import FLAGS, Catalogue, RegistryModel

Kind: TypeAlias = Literal["price", "limit", "capability", "status"]

COMPARED: Final[Mapping[str, tuple[Kind, str]]] = {
    "dollars_per_million_tokens_input": ("price", "input"),
    "dollars_per_million_tokens_output": ("price", "output"),
    "dollars_per_million_tokens_cached_input": ("price", "cached input"),
    "dollars_per_million_tokens_cache_read": ("price", "cache read"),
    "dollars_per_million_tokens_cache_write_5m": ("price", "cache write (5 minutes)"),
    "dollars_per_million_tokens_cache_write_1h": ("price", "cache write (1 hour)"),
    "dollars_per_million_tokens_output_thinking": ("price", "thinking"),
    "dollars_per_million_tokens_input_long_context": ("price", "long-context input"),
    "dollars_per_million_tokens_output_long_context": ("price", "long-context output"),
    "cache_storage_cost_per_million_tokens_per_hour": (
        "price",
        "cache storage per hour",
    ),
    "long_context_threshold_tokens": ("price", "long-context threshold"),
    "max_input_tokens": ("limit", "longest input"),
    "max_output_tokens": ("limit", "longest output"),
    "min_recommended_reasoning_tokens": ("limit", "least reasoning budget"),
    "api_endpoint": ("capability", "API"),
    **{
        name: (
            "capability",
            name.removeprefix("supports_").removeprefix("is_").replace("_", " "),
        )
        for name in FLAGS
        if name not in ("is_active", "requires_waitlist")
    },
    "is_active": ("status", "active"),
    "requires_waitlist": ("status", "waiting list"),
    "deprecated_date": ("status", "deprecated"),
}
"""Fields of `RegistryModel` that are compared -> the kind of a change, and its name."""


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
        return COMPARED.get(self.field, ("status", ""))[0]

    def __str__(self) -> str:
        """Such as `gpt-4o input $5.00 → $2.50 per million`."""
        name = COMPARED.get(self.field, ("status", "listed"))[1]
        unit = ""
        if _is_price(self.field):
            unit = " per million"
        elif self.field.endswith("_tokens"):
            unit = " tokens"
        before, after = _said(self.field, self.before), _said(self.field, self.after)
        return f"{self.model} {name} {before} → {after}{unit}"

    def to_dict(self) -> dict[str, Any]:
        return {**self._asdict(), "kind": self.kind}


def _is_price(field: str) -> bool:
    return field.startswith(("dollars_", "cache_storage_"))


def _said(field: str, value: Any) -> str:
    if value is None:
        return "no" if field == "deprecated_date" else "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if _is_price(field):
        return dollars(value)
    return f"{value:,}" if field.endswith("_tokens") else str(value)


def dollars(price: float) -> str:
    """With at least two decimals, and as many more as there are."""
    whole, _, cents = f"{price:.9f}".rstrip("0").partition(".")
    return f"${whole}.{cents:<02}"


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
        return {**self._asdict(), "changes": changes}


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
