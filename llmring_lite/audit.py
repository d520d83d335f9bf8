"""A lockfile against the registry: models, rules, and what changed since it was pinned.

Reads, and decides nothing: what a finding means for an exit code is up to the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from llmring_lite.exceptions import RegistryError
from llmring_lite.lockfile import AliasBinding, Lockfile, ProfileConfig
from llmring_lite.provider import BUILTIN
from llmring_lite.registry import Catalogue, RegistryModel
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
        for binding in config.bindings.values():
            found = _check_binding(lockfile, binding, current)
            findings += [f._replace(profile=config.name) for f in found]
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
    for alias in profile.bindings:
        for ref in lockfile.flatten(alias, profile.name):
            provider, _, name = ref.partition(":")
            if not _is_elsewhere(lockfile, provider):
                names = found.setdefault(provider, [])
                if name not in names:
                    names.append(name)
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


def _check_binding(
    lockfile: Lockfile, binding: AliasBinding, current: Mapping[str, Catalogue]
) -> Iterator[Finding]:
    alias = binding.alias
    rule = rule_of(binding.constraints)
    if rule is not None:
        try:
            check_needs(rule.needs)
        except RegistryError as error:
            yield Finding("broken_rule", f"{alias}: {error}", alias=alias)
            rule = None
    for ref in binding.models:
        provider, _, name = ref.partition(":")
        catalogue = current.get(provider)
        if catalogue is not None and not _is_elsewhere(lockfile, provider):
            model = catalogue.find(name)
            for kind, text in _check_model(ref, model, rule, catalogue):
                yield Finding(kind, f"{alias}: {ref} {text}", alias=alias, model=ref)
    if rule is not None and any(map(is_pattern, rule.select)):
        yield from _check_choice(binding, rule, current)


def _check_model(
    ref: str, model: RegistryModel | None, rule: Rule | None, catalogue: Catalogue
) -> Iterator[tuple[Kind, str]]:
    """What is to be said of a bound model, each the end of a sentence."""
    name = ref.partition(":")[2]
    if model is None:
        if name.startswith("ft:"):
            yield "unchecked", "is fine-tuned, which no registry knows"
        else:
            yield "unknown_model", f"is not in the registry{_near(name, catalogue)}"
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


def _near(name: str, catalogue: Catalogue) -> str:
    from difflib import get_close_matches  # only for a misspelt name

    near = get_close_matches(name, catalogue.models, n=2)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _check_choice(
    binding: AliasBinding, rule: Rule, current: Mapping[str, Catalogue]
) -> Iterator[Finding]:
    """Would the rule choose the same models today?"""
    alias = binding.alias
    try:
        choices = resolve(rule, current.get)
    except RegistryError as error:
        yield Finding("broken_rule", f"{alias}: {error}", alias=alias)
        return
    for ref, choice in zip(binding.models, choices, strict=False):
        if choice.ref != ref:
            yield Finding(
                "better",
                f"{alias}: {choice.select} now means {choice.ref} rather than {ref}; "
                f"`llmring-lite lock upgrade {alias}` binds it",
                alias=alias,
                model=ref,
            )


# Drift ---------------------------------------------------------------------------


def _drift(
    lockfile: Lockfile,
    profile: ProfileConfig,
    registry: Registry,
    current: Mapping[str, Catalogue],
) -> tuple[list[Drift], list[Finding]]:
    """What became of a profile's models since its versions were pinned."""
    drifts: list[Drift] = []
    findings: list[Finding] = []
    bound = bound_models(lockfile, profile)
    for provider, pinned in profile.registry_versions.items():
        now = current.get(provider)
        if now is None or now.version == pinned:
            continue
        if now.version is not None and now.version < pinned:
            reason = f"{provider} is pinned at version {pinned}, but only version "
            reason += f"{now.version} is known here"
            findings.append(Finding("unchecked", reason, profile.name))
            continue
        try:
            old = registry.version(provider, pinned)
        except RegistryError as error:
            text = f"what changed since version {pinned} of {provider} is unknown: "
            findings.append(Finding("unchecked", f"{text}{error}", profile.name))
            continue
        drifts.append(compare(old, now, bound.get(provider, [])))
    return drifts, findings


def to_dict(report: Report) -> dict[str, Any]:
    """The report for JSON."""
    return {
        "findings": [finding._asdict() for finding in report.findings],
        "drift": [
            {"profile": profile, **drift.to_dict()} for profile, drift in report.drift
        ],
        "registry": {
            catalogue.provider: {
                "version": catalogue.version,
                "updated_at": catalogue.updated_at,
                "source": catalogue.source,
            }
            for catalogue in report.checked
        },
    }
