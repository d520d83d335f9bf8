"""A lockfile against the registry: models, rules, and what changed since it was pinned.

Reads, and decides nothing: what a finding means for an exit code is up to the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from llmring_lite.exceptions import RegistryError
from llmring_lite.lockfile import AliasBinding, Lockfile, ProfileConfig
from llmring_lite.provider import BUILTIN
from llmring_lite.registry import Catalogue
from llmring_lite.registry_client import Registry
from llmring_lite.registry_drift import Drift, compare
from llmring_lite.registry_select import (
    Rule,
    check_needs,
    deprecation,
    is_pattern,
    resolve,
    rule_of,
    shortcomings,
)

Kind: TypeAlias = Literal[
    "unknown_model", "broken_rule", "deprecated", "unpriced", "better", "unchecked"
]

PROBLEMS: Final = frozenset({"unknown_model", "broken_rule"})
"""Kinds that make a lockfile wrong; the others are worth knowing."""


class Finding(NamedTuple):
    """Something about a lockfile, a sentence.

    Attributes:
        profile, alias, model: Where; None if it is about the registry.
    """

    kind: Kind
    text: str
    profile: str | None = None
    alias: str | None = None
    model: str | None = None


class Report(NamedTuple):
    """What an audit found.

    Attributes:
        findings: In the lockfile's order.
        drift: For each profile that pins versions, what moved; also where nothing that
            is bound changed.
        checked: What it was compared with.
    """

    findings: list[Finding]
    drift: list[tuple[str, Drift]]
    checked: list[Catalogue]

    @property
    def changes(self) -> int:
        """How many facts of bound models are not what they were."""
        return sum(len(drift.changes) for _, drift in self.drift)


def audit(
    lockfile: Lockfile,
    registry: Registry,
    *,
    profiles: Iterable[str] | None = None,
    online: bool = False,
) -> Report:
    """Check the bound models of some or all profiles.

    Args:
        online: Fetch the registry's current data first. What can't be fetched is
            checked against what is here, and a finding says so.

    Raises:
        LockfileValidationError: No such profile.
    """
    names = list(lockfile.profiles if profiles is None else profiles)
    configs = [lockfile.get_profile(name) for name in names]
    used = dict.fromkeys(
        provider for config in configs for provider in bound_models(lockfile, config)
    )
    current, findings = current_data(registry, used, online=online)
    drifts: list[tuple[str, Drift]] = []
    for config in configs:
        for alias, binding in config.bindings.items():
            for kind, text, model in _check_binding(lockfile, binding, current):
                text = f"{alias}: {text}"
                findings.append(Finding(kind, text, config.name, alias, model))
        pinned, unchecked = _drift(lockfile, config, registry, current)
        drifts += [(config.name, drift) for drift in pinned]
        findings += unchecked
    return Report(findings, drifts, list(current.values()))


def bound_models(lockfile: Lockfile, profile: ProfileConfig) -> dict[str, list[str]]:
    """Provider -> the names of its models that a profile's aliases may end at.

    Built-in providers whose address the lockfile changes are left out: what is served
    there is not the registry's business.
    """
    found: dict[str, list[str]] = {}
    refs = [lockfile.flatten(alias, profile.name) for alias in profile.bindings]
    for ref in dict.fromkeys(chain.from_iterable(refs)):
        provider, _, name = ref.partition(":")
        if not _is_elsewhere(lockfile, provider):
            found.setdefault(provider, []).append(name)
    return found


def _is_elsewhere(lockfile: Lockfile, provider: str) -> bool:
    row = lockfile.providers.get(provider)
    return row is not None and row.base_url is not None and provider in BUILTIN


def current_data(
    registry: Registry, providers: Iterable[str], *, online: bool
) -> tuple[dict[str, Catalogue], list[Finding]]:
    """Provider -> the newest data on it; and what could not be fetched.

    Providers that the registry doesn't have are left out.
    """
    known = set(registry.providers())
    current: dict[str, Catalogue] = {}
    findings: list[Finding] = []
    for provider in providers:
        if provider not in known:
            continue
        if online and not findings:
            try:
                registry.fetch(provider)
            except RegistryError as error:
                findings.append(Finding("unchecked", str(error)))
        catalogue = registry.catalogue(provider)
        if catalogue is not None:
            current[provider] = catalogue
    return current, findings


# Models and rules ----------------------------------------------------------------


_Said: TypeAlias = tuple[Kind, str, str | None]
"""Kind of a finding, what follows its alias, the model that it is about."""


def _check_binding(
    lockfile: Lockfile, binding: AliasBinding, current: Mapping[str, Catalogue]
) -> Iterator[_Said]:
    rule = rule_of(binding.constraints)
    if rule is not None:
        try:
            check_needs(rule.needs)
        except RegistryError as error:
            yield "broken_rule", str(error), None
            rule = None
    for ref in binding.models:
        provider, _, name = ref.partition(":")
        catalogue = current.get(provider)
        if catalogue is not None and not _is_elsewhere(lockfile, provider):
            for kind, text in _check_model(name, rule, catalogue):
                yield kind, f"{ref} {text}", ref
    if rule is None or not any(map(is_pattern, rule.select)):
        return
    # Would the rule choose the same models today?
    try:
        choices = resolve(rule, current.get)
    except RegistryError as error:
        yield "broken_rule", str(error), None
        return
    for ref, choice in zip(binding.models, choices, strict=False):
        if choice.ref != ref:
            text = f"{choice.select} now means {choice.ref} rather than {ref}; "
            text += f"`llmring-lite lock upgrade {binding.alias}` binds it"
            yield "better", text, ref


def _check_model(
    name: str, rule: Rule | None, catalogue: Catalogue
) -> Iterator[tuple[Kind, str]]:
    """What is to be said of a bound model, each the end of a sentence."""
    model = catalogue.find(name)
    if model is None and name.startswith("ft:"):
        yield "unchecked", "is fine-tuned, which no registry knows"
    elif model is None:
        from difflib import get_close_matches  # only for a misspelt name

        near = " or ".join(get_close_matches(name, catalogue.models, n=2))
        hint = f"; did you mean {near}?" if near else ""
        yield "unknown_model", f"is not in the registry{hint}"
    if model is None:
        return
    going = deprecation(model, catalogue)
    if going is not None:
        # A rule selects active models only.
        broken = rule is not None and rule.select and model.is_active is False
        yield "broken_rule" if broken else "deprecated", going
    if rule is not None and (lacks := shortcomings(model, rule)):
        yield "broken_rule", f"no longer satisfies its rule: {', '.join(lacks)}"
    if (
        model.dollars_per_million_tokens_input is None
        or model.dollars_per_million_tokens_output is None
    ):
        yield "unpriced", "has no price in the registry: its cost will be unknown"


# Drift ---------------------------------------------------------------------------


def _drift(
    lockfile: Lockfile,
    profile: ProfileConfig,
    registry: Registry,
    current: Mapping[str, Catalogue],
) -> tuple[list[Drift], list[Finding]]:
    """What became of a profile's models since its versions were pinned."""
    drifts: list[Drift] = []
    unknown: list[str] = []
    bound = bound_models(lockfile, profile)
    for provider, pinned in profile.registry_versions.items():
        now = current.get(provider)
        if now is None or now.version == pinned:
            continue
        if now.version is not None and now.version < pinned:
            unknown.append(
                f"{provider} is pinned at version {pinned}, but only version "
                f"{now.version} is known here"
            )
            continue
        try:
            old = registry.version(provider, pinned)
        except RegistryError as error:
            text = f"what changed since version {pinned} of {provider} is unknown"
            unknown.append(f"{text}: {error}")
        else:
            drifts.append(compare(old, now, bound.get(provider, [])))
    return drifts, [Finding("unchecked", text, profile.name) for text in unknown]


def to_dict(report: Report) -> dict[str, Any]:
    """The report for JSON."""
    return {
        "findings": [finding._asdict() for finding in report.findings],
        "drift": [
            {"profile": profile, **drift.to_dict()} for profile, drift in report.drift
        ],
        "registry": {
            catalogue.provider: {
                name: getattr(catalogue, name)
                for name in ("version", "updated_at", "source")
            }
            for catalogue in report.checked
        },
    }
