"""The values of a lockfile: bindings and profiles; for endpoints, `lockfile_providers`.

They hold what `lockfile_check` has checked. Each knows its own table in the form that
llmring 1.4 writes (`to_dict`), keys that nobody knows included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

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


def expand(
    alias: str, models_of: Callable[[str], Sequence[str] | None]
) -> tuple[str, ...]:
    """The references that an alias stands for, each once, aliases put in place.

    What `models_of` returns None for is a reference and stands for itself. An alias
    that leads back to itself adds nothing.
    """
    seen = {alias}
    found: dict[str, None] = {}
    todo = [iter(models_of(alias) or ())]
    while todo:
        for reference in todo[-1]:
            models = models_of(reference)
            if models is None:
                found.setdefault(reference)
            elif reference not in seen:
                seen.add(reference)
                todo.append(iter(models))
                break
        else:
            todo.pop()
    return tuple(found)
