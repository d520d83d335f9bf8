"""The forms in which bindings have been written, seen as one.

    [[profiles.P.bindings]]    alias, models = [...]        llmring 1.1 and later
    [[profiles.P.bindings]]    alias, provider, model       llmring 0.3 to 1.0
    [aliases.P]                name = "provider:model"      llmring's first notes
    [[bindings]]               without a profile            llmring's web page

`iter_bindings` yields the bindings of all of them with the place of each. It looks at
shapes only: what a form can't explain is passed on as it is, for `lockfile_check` to
complain about.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from llmring_lite.lockfile_model import KeyPath

OLD_KEYS: Final = ("aliases", "bindings", "registry_versions")
"""Top-level keys of the older forms."""


class Source(NamedTuple):
    """A binding in the document.

    Attributes:
        profile: The profile that it belongs to.
        path: Its place in the document.
        table: Its table in the current form; anything else where the document holds
            something that can't be a binding.
    """

    profile: str
    path: KeyPath
    table: Any

    @property
    def alias(self) -> Any:
        return self.table.get("alias") if isinstance(self.table, dict) else None


def default_profile(document: dict[str, Any]) -> str:
    """The profile that counts if nobody names one."""
    name = document.get("default_profile")
    return name if isinstance(name, str) and name else "default"


def iter_bindings(document: dict[str, Any]) -> Iterator[Source]:
    """Every binding of a document, in the order of the forms above."""
    for profile, table in _pairs(document.get("profiles")):
        if isinstance(table, dict):
            for index, item in _items(table.get("bindings")):
                path = ("profiles", profile, "bindings", index)
                yield Source(profile, path, _with_models(item))
    default = default_profile(document)
    for key, value in _pairs(document.get("aliases")):
        if isinstance(value, dict):
            for alias, models in value.items():
                yield Source(key, ("aliases", key, alias), _from_pair(alias, models))
        else:
            yield Source(default, ("aliases", key), _from_pair(key, value))
    for index, item in _items(document.get("bindings")):
        yield Source(default, ("bindings", index), _with_models(item))


def iter_profiles(document: dict[str, Any]) -> Iterator[str]:
    """The name of every profile, maybe more than once; at least the default's."""
    count = 0
    for name, table in (
        *_pairs(document.get("profiles")),
        *_pairs(document.get("aliases")),
    ):
        if isinstance(table, dict):
            yield name
            count += 1
    if not count or any(document.get(key) for key in ("bindings", "registry_versions")):
        yield default_profile(document)


def _with_models(table: Any) -> Any:
    """A binding's table with `models` for `provider` and `model`."""
    if not isinstance(table, dict) or "models" in table:
        return table
    provider, model = table.get("provider"), table.get("model")
    if not isinstance(model, str) or not isinstance(provider, str | None):
        return table
    reference = f"{provider}:{model}" if provider else model
    renamed = {("models" if key == "model" else key): table[key] for key in table}
    renamed.pop("provider", None)
    return {**renamed, "models": [reference]}


def _from_pair(alias: str, models: Any) -> dict[str, Any]:
    """The binding of `alias = "provider:model"`; an array is several models."""
    return {"alias": alias, "models": [models] if isinstance(models, str) else models}


def without_nulls(value: Any) -> Any:
    """A copy without the nulls that llmring 1.4 writes to JSON: a key is not set."""
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return list(map(without_nulls, value)) if isinstance(value, list) else value


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    return iter(value.items() if isinstance(value, dict) else ())


def _items(value: Any) -> Iterator[tuple[int, Any]]:
    return enumerate(value if isinstance(value, list) else ())
