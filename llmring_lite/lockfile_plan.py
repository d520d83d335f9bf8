"""What has to change in a document so that it says what somebody wants.

Pure: document and wishes in, changes out; what the user should know goes to `notices`.
A plan raises `CannotEdit` if the form of the document can't hold what is wanted; the
current form always can.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from llmring_lite.lockfile_change import Change, difference, same
from llmring_lite.lockfile_dialects import (
    Source,
    default_profile,
    iter_bindings,
    iter_profiles,
)
from llmring_lite.lockfile_model import KeyPath
from llmring_lite.lockfile_report import near_words
from llmring_lite.lockfile_splice import CannotEdit

Document: TypeAlias = dict[str, Any]


def find_binding(document: Document, profile: str, alias: str) -> Source | None:
    """Where an alias is bound; None if the profile doesn't bind it."""
    for source in iter_bindings(document):
        if source.alias == alias and source.profile == profile:
            return source
    return None


def plan_bind(
    document: Document,
    profile: str,
    alias: str,
    models: list[str],
    options: Mapping[str, Any],
    notices: list[str],
) -> list[Change]:
    """The changes that bind an alias.

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
        return _new_binding(document, profile, table, notices)
    if source.path[0] == "aliases":
        if _said(options):
            raise CannotEdit
        if same(source.table["models"], models):
            return []
        return [Change("set", source.path, _one_or_many(models))]
    table = _at(document, source.path)
    old = source.table.get("models")
    changes = _model_changes(source.path, table, old, models)
    if options["conditions"] is None and isinstance(table.get("conditions"), dict):
        conditions = _conditions_left(table["conditions"], old, models)
        if len(conditions) < len(table["conditions"]):
            options = {**options, "conditions": conditions}
            notices.append("conditions of models that are no longer bound are removed")
    for key, value in options.items():
        changes += _option_changes((*source.path, key), table, key, value)
    return changes


def plan_pins(
    document: Document, profile: str, versions: Mapping[str, int]
) -> list[Change]:
    """The changes that record versions of the registry's data.

    Raises:
        CannotEdit: The profile has no table that could hold them.
    """
    path: KeyPath = ("registry_versions",)
    table: Any = document
    if profile in _profiles(document):
        path = ("profiles", profile, *path)
        table = document["profiles"][profile]
    elif profile != default_profile(document) or path[0] not in document:
        raise CannotEdit
    old = table.get("registry_versions")
    return difference(path, old, {**(old or {}), **versions}) if versions else []


def _new_binding(
    document: Document, profile: str, table: Document, notices: list[str]
) -> list[Change]:
    where: KeyPath = ("profiles", profile, "bindings")
    append = Change("append", where, table, {"name": profile})
    if profile in _profiles(document):
        return [append]
    aliases = document.get("aliases")
    if isinstance(aliases, dict) and isinstance(aliases.get(profile), dict):
        if len(table) > 2:
            raise CannotEdit
        path = ("aliases", profile, table["alias"])
        return [Change("set", path, _one_or_many(table["models"]))]
    if profile == default_profile(document) and "bindings" in document:
        return [Change("append", ("bindings",), table)]
    known = list(dict.fromkeys(iter_profiles(document)))
    if profile not in known:
        near = near_words(profile, known)
        notices.append(
            f"the profile {profile!r} is new; there was {', '.join(known)}"
            + (f" (did you mean {near[0]!r}?)" if near else "")
        )
    return [append]


def _model_changes(
    path: KeyPath, table: Document, old: Any, models: list[str]
) -> list[Change]:
    if same(old, models):
        return []
    if "models" in table:
        return [Change("set", (*path, "models"), models)]
    provider, _, model = models[0].partition(":")
    if len(models) == 1 and model and "provider" in table:
        return difference(path, table, {**table, "provider": provider, "model": model})
    return [
        Change("set", (*path, "models"), models),
        *(Change("remove", (*path, k)) for k in ("provider", "model") if k in table),
    ]


def _option_changes(
    path: KeyPath, table: Document, key: str, value: Any
) -> list[Change]:
    if value is None:
        return []
    if value in ("", [], {}):
        return [Change("remove", path)] if key in table else []
    if key not in table and (key, value) == ("strategy", "fallback"):
        return []  # the default
    return difference(path, table.get(key), value)


def _conditions_left(
    conditions: Mapping[str, Any], old: Any, models: list[str]
) -> dict[str, Any]:
    """Without those of models that the alias had and no longer has."""
    names = [name for name in old if isinstance(name, str)] if old else []
    gone = set(names) - set(models)
    return {name: value for name, value in conditions.items() if name not in gone}


def _said(options: Mapping[str, Any]) -> Document:
    """The options that say something."""
    return {
        key: value
        for key, value in options.items()
        if value not in (None, "", [], {}) and (key, value) != ("strategy", "fallback")
    }


def _one_or_many(models: list[str]) -> Any:
    """How `[aliases.PROFILE]` has its models."""
    return models[0] if len(models) == 1 else models


def _profiles(document: Document) -> Document:
    profiles = document.get("profiles")
    return profiles if isinstance(profiles, dict) else {}


def _at(document: Any, path: KeyPath) -> Any:
    for key in path:
        document = document[key]
    return document
