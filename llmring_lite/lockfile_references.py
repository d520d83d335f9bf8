"""What the bindings of a profile refer to: models, other aliases, packages.

`expand` turns an alias into the references it stands for; the `check_` functions
report references that lead nowhere and aliases that lead back to themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from llmring_lite.lockfile_fields import is_alias_name
from llmring_lite.lockfile_report import Checked


def plain_package_name(name: str) -> str:
    """One spelling for `My-Lib`, `my_lib` and `my.lib`."""
    return name.lower().replace("_", "-").replace(".", "-")


def check_references(found: Checked, profile: str) -> None:
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
                found.problem(path, text, word=word, choices=choices)


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


def check_cycles(found: Checked, profile: str) -> None:
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


def check_conditions(found: Checked, profile: str) -> None:
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
                    word=reference,
                    choices=sorted(reachable),
                )


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
