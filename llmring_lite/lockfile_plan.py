"""What a document says after a change: bindings and pins, in any of the forms.

These functions change the plain data that they are given; what the user should know
goes to `notices`. They raise `CannotEdit` if the form of the document can't hold what
is wanted; the current form (`modernise`) always can.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from llmring_lite.lockfile_dialects import (
    OLD_KEYS,
    Source,
    default_profile,
    iter_bindings,
    iter_profiles,
)
from llmring_lite.lockfile_report import near_words
from llmring_lite.lockfile_splice import CannotEdit

Document: TypeAlias = dict[str, Any]


def modernise(document: Document) -> Document:
    """A valid document in the current form."""
    profiles: dict[str, Document] = {}
    for name, table in document.get("profiles", {}).items():
        profiles[name] = {"name": name, **table, "bindings": []}
    for name, _, table in iter_bindings(document):
        profile = profiles.setdefault(name, {"name": name, "bindings": []})
        profile["bindings"].append(table)
    for name in iter_profiles(document):
        profiles.setdefault(name, {"name": name, "bindings": []})
    versions = document.get("registry_versions")
    if versions:
        profile = profiles[default_profile(document)]
        profile["registry_versions"] = versions | profile.get("registry_versions", {})
    others = {key: value for key, value in document.items() if key not in OLD_KEYS}
    return {**others, "profiles": profiles}


def find_binding(document: Document, profile: str, alias: str) -> Source | None:
    """Where an alias is bound; None if the profile doesn't bind it."""
    for source in iter_bindings(document):
        if source.alias == alias and source.profile == profile:
            return source
    return None


def put_binding(
    document: Document,
    profile: str,
    alias: str,
    models: list[str],
    options: Mapping[str, Any],
    notices: list[str],
) -> None:
    """Bind an alias.

    Args:
        document: Plain data; any form.
        profile, alias: Which; neither needs to be there.
        models: References.
        options: The other keys of a binding; None leaves one as it is, empty values
            remove it.
        notices: Gets what the user should know.

    Raises:
        CannotEdit: The document's form can't hold it.
    """
    source = find_binding(document, profile, alias)
    if source is None:
        table = {"alias": alias, "models": models, **_said(options)}
        _add_binding(document, profile, table, notices)
        return
    old = source.table.get("models")
    if source.path[0] == "aliases":
        if _said(options):
            raise CannotEdit
        if old != models:
            _holder(document, source)[source.path[-1]] = _one_or_many(models)
        return
    table = _holder(document, source)[source.path[-1]]
    if old != models:
        _put_models(table, models)
    if options["conditions"] is None and isinstance(table.get("conditions"), dict):
        was = old if isinstance(old, list) else []
        left = {
            name: words
            for name, words in table["conditions"].items()
            if name in models or name not in was
        }
        if len(left) < len(table["conditions"]):
            options = {**options, "conditions": left}
            notices.append("conditions of models that are no longer bound are removed")
    for key, value in options.items():
        if value in ("", [], {}):
            table.pop(key, None)
        elif value is not None and (key in table or not _is_default(key, value)):
            table[key] = value


def drop_binding(document: Document, source: Source) -> None:
    """Remove what `find_binding` found."""
    del _holder(document, source)[source.path[-1]]


def put_pins(document: Document, profile: str, versions: Mapping[str, int]) -> None:
    """Record versions of the registry's data.

    Raises:
        CannotEdit: The profile has no table that could hold them.
    """
    if not versions:
        return
    profiles = document.get("profiles")
    if isinstance(profiles, dict) and profile in profiles:
        table = _child(profiles, profile, {})
    elif profile == default_profile(document) and "registry_versions" in document:
        table = document
    else:
        raise CannotEdit
    _child(table, "registry_versions", {}).update(versions)


def _add_binding(
    document: Document, profile: str, table: Document, notices: list[str]
) -> None:
    profiles = document.get("profiles")
    if not isinstance(profiles, dict) or profile not in profiles:
        aliases = document.get("aliases")
        if isinstance(aliases, dict) and isinstance(aliases.get(profile), dict):
            if len(table) > 2:
                raise CannotEdit
            aliases[profile][table["alias"]] = _one_or_many(table["models"])
            return
        if profile == default_profile(document) and "bindings" in document:
            _child(document, "bindings", []).append(table)
            return
        known = list(dict.fromkeys(iter_profiles(document)))
        if profile not in known:
            near = near_words(profile, known)
            notices.append(
                f"the profile {profile!r} is new; there was {', '.join(known)}"
                + (f" (did you mean {near[0]!r}?)" if near else "")
            )
    profiles = _child(document, "profiles", {})
    _child(_child(profiles, profile, {"name": profile}), "bindings", []).append(table)


def _put_models(table: Document, models: list[str]) -> None:
    provider, _, model = models[0].partition(":")
    if "models" not in table and "provider" in table and model and len(models) == 1:
        table |= {"provider": provider, "model": model}
        return
    if "models" not in table:
        table.pop("provider", None)
        table.pop("model", None)
    table["models"] = models


def _said(options: Mapping[str, Any]) -> Document:
    """The options that say something."""
    return {
        key: value
        for key, value in options.items()
        if value not in (None, "", [], {}) and not _is_default(key, value)
    }


def _is_default(key: str, value: Any) -> bool:
    return (key, value) == ("strategy", "fallback")


def _one_or_many(models: list[str]) -> Any:
    """How `[aliases.PROFILE]` has its models."""
    return models[0] if len(models) == 1 else models


def _holder(document: Any, source: Source) -> Any:
    """The table or array that holds a binding."""
    for key in source.path[:-1]:
        document = document[key]
    return document


def _child(table: Document, key: str, empty: Any) -> Any:
    """The table or array of a key, made if it isn't there.

    Raises:
        CannotEdit: Something else stands there.
    """
    child = table.setdefault(key, empty)
    if type(child) is not type(empty):
        raise CannotEdit
    return child
