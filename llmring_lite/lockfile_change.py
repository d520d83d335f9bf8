"""Changes of a document: planned on the data, made on the data and in the text.

A change is a value. `apply_to_data` says what the document should be afterwards,
`apply_to_text` makes the same change in the text, and `same` tells whether the two
agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from llmring_lite.lockfile_model import KeyPath
from llmring_lite.lockfile_splice import CannotEdit, append_table, remove, set_value


class Change(NamedTuple):
    """One step.

    Attributes:
        kind: `set` a key, `remove` a key or an element, `append` a table to an array
            that is made if it isn't there, with its parent.
        path: The key, the element, or the array.
        value: What to set or append.
        parent: What the array's parent says if it has to be made.
    """

    kind: Literal["set", "remove", "append"]
    path: KeyPath
    value: Any = None
    parent: Mapping[str, Any] = {}


def difference(path: KeyPath, old: Any, new: Any) -> list[Change]:
    """The changes that turn one value into another, as deep inside as possible."""
    if not isinstance(old, dict) or not isinstance(new, Mapping) or not new:
        return [] if same(old, new) else [Change("set", path, new)]
    changes: list[Change] = []
    for key, value in new.items():
        if key in old:
            changes += difference((*path, key), old[key], value)
        else:
            changes.append(Change("set", (*path, key), value))
    changes += [Change("remove", (*path, key)) for key in old if key not in new]
    return changes


def apply_to_data(
    document: dict[str, Any], changes: Iterable[Change]
) -> dict[str, Any]:
    """The document after the changes; the argument is left as it is.

    Raises:
        CannotEdit: A path leads through something that is no table or array.
    """
    for change in changes:
        document = _changed(document, change.path, change)
    return document


def _changed(place: Any, path: KeyPath, change: Change) -> Any:
    """A copy of what stands at the path's first key, changed at its last."""
    key, rest = path[0], path[1:]
    if not isinstance(place, dict if isinstance(key, str) else list):
        raise CannotEdit
    new: Any = place.copy()
    if change.kind == "append" and isinstance(new, dict):
        missing: Any = {} if len(rest) > 1 else dict(change.parent) if rest else []
        new.setdefault(key, missing)
    if rest:
        if isinstance(new, dict) and key not in new:
            raise CannotEdit
        new[key] = _changed(new[key], rest, change)
    elif change.kind == "set":
        new[key] = change.value
    elif change.kind == "remove":
        del new[key]
    elif isinstance(new[key], list):
        new[key] = [*new[key], change.value]
    else:
        raise CannotEdit
    return new


def apply_to_text(text: str, changes: Iterable[Change]) -> str:
    """The TOML text after the changes.

    Raises:
        CannotEdit: One of them can't be made in place.
    """
    for change in changes:
        if change.kind == "set":
            text = set_value(text, change.path, change.value)
        elif change.kind == "remove":
            text = remove(text, change.path)
        else:
            text = append_table(text, change.path, change.value, change.parent)
    return text


def same(one: Any, other: Any) -> bool:
    """Equal in value and type, nan included: 1, 1.0 and true are three things."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            same(value, other[key]) for key, value in one.items()
        )
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) or (one != one and other != other)


def without_empty_arrays(document: dict[str, Any]) -> dict[str, Any]:
    """The document without `bindings = []`: the last `[[bindings]]` takes it along."""
    document = {k: v for k, v in document.items() if k != "bindings" or v != []}
    profiles = document.get("profiles")
    if isinstance(profiles, dict):
        document["profiles"] = {
            name: {k: v for k, v in table.items() if k != "bindings" or v != []}
            if isinstance(table, dict)
            else table
            for name, table in profiles.items()
        }
    return document
