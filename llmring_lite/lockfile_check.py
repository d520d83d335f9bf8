"""Plain data of a lockfile -> checked values, and everything that is wrong with it.

`check(document)` reads on after a problem, so that one run shows them all. What a
single key may hold is in `lockfile_fields` and `lockfile_providers`.

The work grows with the size of the file: each name is looked up, never searched for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from llmring_lite.lockfile_dialects import (
    Source,
    default_profile,
    iter_bindings,
    iter_profiles,
    without_nulls,
)
from llmring_lite.lockfile_fields import (
    BINDING,
    DOCUMENT,
    EXTENDS,
    NESTED,
    PROFILE,
    is_alias_name,
    is_package_name,
    plain_package_name,
    registry_version,
)
from llmring_lite.lockfile_model import (
    WEIGHTED_STRATEGIES,
    AliasBinding,
    KeyPath,
    ProfileConfig,
    expand,
)
from llmring_lite.lockfile_report import Checked, FindLine, Problem


def check(document: dict[str, Any], find_line: FindLine | None = None) -> Checked:
    """Everything that a document says.

    Args:
        document: Plain data in any of the forms; left as it is.
        find_line: For the `line` of bindings and providers.

    Raises nothing: see `.problems`.
    """
    find_line = find_line or no_line
    document = without_nulls(document)
    found = Checked()
    found.values = found.read(document, DOCUMENT, (), "", found.extra)
    if found.values.get("providers"):
        from llmring_lite.lockfile_providers import read_providers  # few files do

        read_providers(found, find_line)
    _read_extends(found)
    _read_profiles(found)
    _read_registry_versions(
        found,
        default_profile(document),
        ("registry_versions",),
        found.values.get("registry_versions"),
    )
    for source in iter_bindings(document):
        _read_binding(found, source, find_line)
    for name in iter_profiles(document):
        found.profiles.setdefault(name, ProfileConfig(name=name))
    _check_default_profile(found)
    for name in found.models:
        _check_references(found, name)
        _check_cycles(found, name)
        _check_conditions(found, name)
    return found


def no_line(path: KeyPath) -> None:
    """For data that no text stands behind."""


# The parts of a file -------------------------------------------------------------


def _read_extends(found: Checked) -> None:
    table = found.values.get("extends", {})
    found.extends = found.read(table, EXTENDS, ("extends",), "extends: ").get(
        "packages", ()
    )
    for index, name in enumerate(found.extends):
        path: KeyPath = ("extends", "packages", index)
        if not is_package_name(name):
            found.problem(path, f"extends: {name!r} is not a package name")
        elif name in found.provider_names:
            found.warn(
                path,
                f"extends: {name!r} is a provider too, and provider names win: no "
                "alias of that package can be reached",
            )
    found.packages = {plain_package_name(name) for name in found.extends}


def _read_profiles(found: Checked) -> None:
    for name, table in found.values.get("profiles", {}).items():
        path: KeyPath = ("profiles", name)
        subject = f"profile {name!r}: "
        if not isinstance(table, dict):
            found.problem(path, f"{subject}must be a table")
            continue
        profile = ProfileConfig(name=name)
        found.profiles[name] = profile
        values = found.read(table, PROFILE, path, subject, profile.extra)
        if values.get("name", name) != name:
            found.warn(
                (*path, "name"),
                f"{subject}is called {values['name']!r} inside; the name in brackets "
                "counts",
            )
        _read_registry_versions(
            found, name, (*path, "registry_versions"), values.get("registry_versions")
        )


def _read_registry_versions(
    found: Checked, name: str, path: KeyPath, versions: Mapping[str, Any] | None
) -> None:
    if not versions:
        return
    profile = found.profiles.setdefault(name, ProfileConfig(name=name))
    spec = dict.fromkeys(versions, registry_version)
    subject = f"profile {name!r}: registry_versions: "
    for provider, version in found.read(versions, spec, path, subject).items():
        profile.registry_versions.setdefault(provider, version)


def _check_default_profile(found: Checked) -> None:
    name = found.values.get("default_profile")
    if name is not None and name not in found.profiles:
        found.problem(
            ("default_profile",),
            f"default_profile {name!r} is not among the profiles "
            f"({', '.join(found.profiles)})",
            name,
            found.profiles,
        )


def _read_binding(found: Checked, source: Source, find_line: FindLine) -> None:
    profile_name, path, table = source
    if not isinstance(table, dict):
        found.problem(path, f"profile {profile_name!r}: a binding must be a table")
        return
    alias = source.alias
    subject = f"profile {profile_name!r}, "
    subject += f"alias {alias!r}: " if isinstance(alias, str) else "a binding: "
    profile = found.profiles.setdefault(profile_name, ProfileConfig(name=profile_name))
    extra: dict[str, Any] = {}
    before = len(found.problems)
    values = found.read(table, BINDING, path, subject, extra)
    for key in NESTED:
        if values.get(key):
            _read_nested(found, values, key, (*path, key), subject)
    for key in ("alias", "models"):
        if key not in table:
            found.problem(path, f"{subject}{key} is missing")
    if "alias" in values:
        _check_alias(found, (profile_name, values["alias"]), path, subject)
        models = found.models.setdefault(profile_name, {})
        models.setdefault(values["alias"], values.get("models", ()))
    if len(found.problems) == before:
        binding = AliasBinding(
            extra=extra, find_line=partial(find_line, path), **values
        )
        profile.bindings[binding.alias] = binding
        _check_strategy(found, binding, path, subject)


def _read_nested(
    found: Checked, values: dict[str, Any], key: str, path: KeyPath, subject: str
) -> None:
    extra: dict[str, Any] = {}
    table = found.read(values[key], NESTED[key], path, f"{subject}{key}: ", extra)
    if extra and key == "guardrails":
        # Elsewhere a warning will do; a misspelt guardrail would guard nothing.
        while found.warnings and found.warnings[-1].path[:-1] == path:
            found.problems.append(found.warnings.pop())
    values[key] = {**table, **extra}


def _check_alias(
    found: Checked, name: tuple[str, str], path: KeyPath, subject: str
) -> None:
    package, colon, _ = name[1].rpartition(":")
    if colon and package in found.provider_names:
        found.problem(
            path,
            f"{subject}provider names win, so an alias can't begin with {package!r} "
            "and a colon",
        )
    first = found.places.setdefault(name, path)
    if first != path:
        text = f"{subject}the alias is bound twice in this profile"
        found.problems.append(Problem(path, text, first=first))


def _check_strategy(
    found: Checked, binding: AliasBinding, path: KeyPath, subject: str
) -> None:
    needs_weights = binding.strategy in WEIGHTED_STRATEGIES
    if binding.weights is None:
        if needs_weights:
            found.problem(
                path,
                f"{subject}strategy {binding.strategy!r} needs weights: one for each "
                f"of the {len(binding.models)} models, with a sum of 100",
            )
    elif len(binding.weights) != len(binding.models):
        found.problem(
            (*path, "weights"),
            f"{subject}weights and models differ in number "
            f"({len(binding.weights)} and {len(binding.models)})",
        )
    elif not needs_weights:
        found.warn(
            (*path, "weights"),
            f"{subject}weights count for {' and '.join(WEIGHTED_STRATEGIES)} only",
        )
    if binding.hedge_after is not None and binding.strategy != "race":
        found.warn((*path, "hedge_after"), f"{subject}hedge_after counts for race only")


# What refers to what ------------------------------------------------------------


def _check_references(found: Checked, profile: str) -> None:
    """Report references to what is not there."""
    aliases = found.models[profile]
    for alias, models in aliases.items():
        for index, reference in enumerate(models):
            if reference in aliases:
                continue
            text, word, choices = _wrong_reference(found, reference, profile)
            if text:
                path = (*found.places[profile, alias], "models", index)
                text = f"profile {profile!r}, alias {alias!r}: {text}"
                found.problem(path, text, word, choices)


def _wrong_reference(
    found: Checked, reference: str, profile: str
) -> tuple[str, str, Collection[str]]:
    """What is wrong with a reference, the word to look up, and where; "" if nothing."""
    prefix, colon, rest = reference.partition(":")
    if reference != reference.strip() or not reference.isprintable():
        text = f"{reference!r} has blanks around it or control characters inside"
        return text, "", ()
    if not colon:
        text = f"there is no alias {reference!r} (a model is written 'provider:model')"
        return text, reference, found.models[profile]
    if prefix in found.provider_names:
        return ("" if rest else f"{reference!r} names no model after the colon"), "", ()
    if plain_package_name(prefix) in found.packages:
        fine = is_alias_name(reference)
        return ("" if fine else f"{reference!r} names no alias of a package"), "", ()
    lower = prefix.strip().lower()
    if lower in found.provider_names:
        right = f"{lower}:{rest.strip()}"
        text = f"{reference!r}: provider names are lower-case, write {right!r}"
        return text, "", ()
    text = (
        f"{reference!r}: undefined provider {prefix!r} (a provider of your own needs a "
        f"table [providers.{prefix}], a package a place in [extends])"
    )
    return text, prefix, found.provider_names


def _check_cycles(found: Checked, profile: str) -> None:
    """Report aliases that lead back to themselves.

    Depth first with a stack of our own: a chain may be longer than Python's.
    """
    aliases = found.models[profile]
    done: set[str] = set()
    for start in aliases:
        if start in done:
            continue
        trail = {start: iter(aliases[start])}
        while trail:
            alias, references = next(reversed(trail.items()))
            for reference in references:
                if reference in trail:
                    names = list(trail)
                    cycle = [*names[names.index(reference) :], reference]
                    found.problem(
                        (*found.places[profile, alias], "models"),
                        f"profile {profile!r}, alias {alias!r}: the alias leads back "
                        f"to itself: {' -> '.join(cycle)}",
                    )
                elif reference in aliases and reference not in done:
                    trail[reference] = iter(aliases[reference])
                    break
            else:
                done.add(alias)
                del trail[alias]


def _check_conditions(found: Checked, profile: str) -> None:
    """Report conditions of what the alias never leads to."""
    aliases = found.models[profile]
    for alias, binding in found.profiles[profile].bindings.items():
        if set(binding.conditions) <= set(binding.models):
            continue
        reachable = {*expand(alias, aliases.get), *binding.models}
        for reference in binding.conditions:
            if reference not in reachable:
                found.problem(
                    (*found.places[profile, alias], "conditions", reference),
                    f"profile {profile!r}, alias {alias!r}: conditions name "
                    f"{reference!r}, which is not among the models",
                    reference,
                    sorted(reachable),
                )
