"""What the bindings of a profile refer to: models, other aliases, packages.

`expand` turns an alias into the references it stands for; the `check_` functions
report references that lead nowhere and aliases that lead back to themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

from llmring_lite.lockfile_fields import is_alias_name
from llmring_lite.lockfile_model import AliasBinding, ProfileConfig
from llmring_lite.lockfile_report import Checked


def plain_package_name(name: str) -> str:
    """One spelling for `My-Lib`, `my_lib` and `my.lib`."""
    return name.lower().replace("_", "-").replace(".", "-")


def check_references(found: Checked, profile: ProfileConfig) -> None:
    names = {alias for owner, alias in found.places if owner == profile.name}
    for binding in profile.bindings.values():
        for index, reference in enumerate(binding.models):
            problem = _wrong_reference(found, reference, names, profile.name)
            if problem:
                path = found.places[profile.name, binding.alias]
                found.problem(
                    (*path, "models", index),
                    f"profile {profile.name!r}, alias {binding.alias!r}: {problem}",
                )


def _wrong_reference(
    found: Checked, reference: str, names: set[str], profile: str
) -> str | None:
    """What is wrong with a reference; None if nothing."""
    if reference in names:
        return None
    prefix, colon, rest = reference.partition(":")
    if reference != reference.strip() or not reference.isprintable():
        return f"{reference!r} has blanks around it or control characters inside"
    if not colon:
        hint = found.hint(reference, names) or "; a model is written 'provider:model'"
        return f"profile {profile!r} has no alias {reference!r}{hint}"
    if prefix in found.provider_names:
        return None if rest else f"{reference!r} names no model after the colon"
    if plain_package_name(prefix) in found.packages:
        if is_alias_name(reference):
            return None
        return f"{reference!r} names no alias of the package {prefix!r}"
    lower = prefix.strip().lower()
    if lower in found.provider_names:
        right = f"{lower}:{rest.strip()}"
        return f"{reference!r}: provider names are lower-case, write {right!r}"
    hint = found.hint(prefix, found.provider_names)
    return (
        f"{reference!r}: undefined provider {prefix!r}{hint or '; add'}"
        f"{' Or add' if hint else ''} [providers.{prefix}], or list the package in "
        "[extends]"
    )


def check_cycles(found: Checked, profile: ProfileConfig) -> None:
    """Depth first with a stack of our own: a chain may be longer than Python's."""
    bindings = profile.bindings
    done: set[str] = set()
    for start in bindings:
        if start in done:
            continue
        trail = {start: iter(bindings[start].models)}
        while trail:
            alias, references = next(reversed(trail.items()))
            for reference in references:
                if reference in trail:
                    names = list(trail)
                    cycle = [*names[names.index(reference) :], reference]
                    found.problem(
                        (*found.places[profile.name, alias], "models"),
                        f"profile {profile.name!r}, alias {alias!r}: the alias leads "
                        f"back to itself: {' -> '.join(cycle)}",
                    )
                elif reference in bindings and reference not in done:
                    trail[reference] = iter(bindings[reference].models)
                    break
            else:
                done.add(alias)
                del trail[alias]


def check_conditions(found: Checked, profile: ProfileConfig) -> None:
    for binding in profile.bindings.values():
        if not binding.conditions or set(binding.conditions) <= set(binding.models):
            continue
        reachable = set(expand(profile.bindings, binding.alias)) | set(binding.models)
        for reference in binding.conditions:
            if reference not in reachable:
                path = found.places[profile.name, binding.alias]
                hint = found.hint(reference, sorted(reachable))
                found.problem(
                    (*path, "conditions", reference),
                    f"profile {profile.name!r}, alias {binding.alias!r}: conditions "
                    f"name {reference!r}, which is not among the models{hint}",
                )


def expand(bindings: Mapping[str, AliasBinding], name: str) -> list[str]:
    """The references that an alias stands for, each once, aliases put in place.

    What `bindings` doesn't have is a reference and stands for itself. An alias that
    leads back to itself adds nothing.
    """
    seen = {name}
    found: dict[str, None] = {}
    todo = [iter((name,))] if name not in bindings else [iter(bindings[name].models)]
    while todo:
        for reference in todo[-1]:
            if reference not in bindings:
                found.setdefault(reference)
            elif reference not in seen:
                seen.add(reference)
                todo.append(iter(bindings[reference].models))
                break
        else:
            todo.pop()
    return list(found)
