"""Change a lockfile on the disk: bind and unbind aliases, pin versions, make the file.

Comments, order and formatting of everything else stay byte for byte. Under a lock that
keeps other writers out, a change is planned on the data, made in the text, and the new
text is read again: only if it says exactly what was planned does it replace the file.
Where the text can't take the change in place, the file is written anew in the form of
llmring 1.4, and the result says that comments were lost.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from llmring_lite.exceptions import (
    LockfileError,
    LockfileNotFoundError,
    LockfileParseError,
    LockfileValidationError,
)
from llmring_lite.lockfile import Lockfile
from llmring_lite.lockfile_check import check
from llmring_lite.lockfile_dialects import default_profile, without_nulls
from llmring_lite.lockfile_fields import Invalid
from llmring_lite.lockfile_fields import models as checked_models
from llmring_lite.lockfile_file import BOM, format_of, parse, read_text
from llmring_lite.lockfile_plan import (
    Document,
    drop_binding,
    find_binding,
    modernise,
    put_binding,
    put_pins,
)
from llmring_lite.lockfile_report import LineFinder, messages, validation_error
from llmring_lite.lockfile_splice import CannotEdit, rewrite, same
from llmring_lite.lockfile_text import newline_of
from llmring_lite.lockfile_write import locked, write_atomic

__all__ = [
    "EditResult",
    "bind",
    "create",
    "pin_registry_versions",
    "refuse_existing",
    "unbind",
]

_Plan: TypeAlias = Callable[[Document, list[str]], None]
"""Changes a document; what the user should know goes to the list."""


class EditResult(NamedTuple):
    """What an edit did.

    Attributes:
        path: The file.
        changed: False if the file said so already and was left alone.
        lockfile: The file as it is now.
        notices: What the user should know, such as comments that were lost.
    """

    path: Path
    changed: bool
    lockfile: Lockfile
    notices: tuple[str, ...] = ()


# What users call -----------------------------------------------------------------


def bind(
    path: str | os.PathLike[str],
    alias: str,
    models: str | Iterable[str],
    *,
    profile: str | None = None,
    strategy: str | None = None,
    weights: Sequence[float] | None = None,
    hedge_after: float | str | None = None,
    sticky_by: str | None = None,
    conditions: Mapping[str, Sequence[str]] | None = None,
    parameters: Mapping[str, Any] | None = None,
    constraints: Mapping[str, Any] | None = None,
    guardrails: Mapping[str, Any] | None = None,
) -> EditResult:
    """Bind an alias, new or not.

    The models are replaced. An option that is None stays as it is in the file; an
    empty one is removed. Conditions of models that are no longer bound go with them.

    Args:
        path: The lockfile; it is made if it isn't there.
        alias: The name.
        models: References in order of preference; a str may hold several, separated
            by commas.
        profile: Default: the file's default profile. A new one is made.
        strategy, weights, hedge_after, sticky_by, conditions, parameters,
        constraints, guardrails: As in `AliasBinding`.

    Raises:
        LockfileValidationError: The file would say something impossible. It is left
            as it was.
        LockfileParseError: The file is not TOML (or JSON).
        LockfileError: The file can't be written.
    """
    references = _references(alias, models)
    options: dict[str, Any] = {
        "strategy": strategy,
        "weights": None if weights is None else _weights(weights),
        "hedge_after": hedge_after,
        "sticky_by": sticky_by,
        "conditions": _plain(conditions),
        "parameters": _plain(parameters),
        "constraints": _plain(constraints),
        "guardrails": _plain(guardrails),
    }

    def plan(document: Document, notices: list[str]) -> None:
        name = profile or default_profile(document)
        put_binding(document, name, alias, references, options, notices)

    return _edit(path, plan, f"bind {alias!r}", make=True)


def unbind(
    path: str | os.PathLike[str], alias: str, *, profile: str | None = None
) -> EditResult:
    """Remove an alias.

    Args:
        path: The lockfile.
        alias: The name.
        profile: Default: the file's default profile.

    Raises:
        AliasNotFoundError: The profile doesn't bind it.
        LockfileNotFoundError: There is no such file.
        LockfileValidationError: There is no such profile, or another alias needs this
            one; the file is left as it was.
        LockfileParseError: The file is not TOML (or JSON).
        LockfileError: The file can't be written.
    """

    def plan(document: Document, notices: list[str]) -> None:
        name = profile or default_profile(document)
        source = find_binding(document, name, alias)
        if source is None:
            lockfile = Lockfile.load(path)
            lockfile.get_profile(name)
            raise lockfile.alias_not_found(alias, name)
        drop_binding(document, source)

    return _edit(path, plan, f"unbind {alias!r}")


def pin_registry_versions(
    path: str | os.PathLike[str],
    versions: Mapping[str, int],
    *,
    profile: str | None = None,
) -> EditResult:
    """Record which versions of the registry's data the bindings were made with.

    Args:
        path: The lockfile.
        versions: Provider -> version; providers that are not named keep theirs.
        profile: Default: the file's default profile.

    Raises:
        LockfileNotFoundError: There is no such file.
        LockfileValidationError: There is no such profile, or a version is impossible.
        LockfileParseError: The file is not TOML (or JSON).
        LockfileError: The file can't be written.
    """

    def plan(document: Document, notices: list[str]) -> None:
        name = profile or default_profile(document)
        Lockfile.load(path).get_profile(name)
        put_pins(document, name, versions)

    return _edit(path, plan, "pin registry versions")


def create(
    path: str | os.PathLike[str], text: str, *, force: bool = False
) -> EditResult:
    """Write a new lockfile.

    Args:
        path: Where; a name that ends in `.json` takes JSON.
        text: What; it is checked first.
        force: True replaces a file that is there.

    Raises:
        LockfileError: It is there already, or can't be written.
        LockfileParseError, LockfileValidationError: The text is no lockfile.
    """
    name = os.fspath(path)
    lockfile = Lockfile.loads(text, path=name, format=format_of(name))
    with locked(name):
        if not force:
            refuse_existing(name)
        write_atomic(name, text)
    return EditResult(Path(name), True, lockfile)


def refuse_existing(path: str | os.PathLike[str]) -> None:
    """Raise LockfileError if a file is there."""
    name = os.fspath(path)
    if os.path.exists(name):
        raise LockfileError(
            f"{name} is there already; to replace it, use --force (force=True)",
            path=name,
        )


# Arguments -----------------------------------------------------------------------


def _references(alias: str, models: str | Iterable[str]) -> list[str]:
    names = models.split(",") if isinstance(models, str) else list(models)
    names = [name.strip() if isinstance(name, str) else name for name in names]
    problems = []
    try:
        checked_models(names)
        problems = [
            f"{name!r} is a pattern; a binding names its models one by one"
            for name in names
            if "*" in name.partition(":")[2]
        ]
    except Invalid as error:
        problems = [f"models {error}"]
    if problems:
        raise validation_error(problems, None, f"can't bind {alias!r}")
    return names


def _weights(weights: Sequence[float]) -> list[float]:
    """All of one type: the reader of llmring 1.4 wants it so."""
    if any(isinstance(weight, float) for weight in weights):
        return [float(w) if type(w) is int else w for w in weights]
    return list(weights)


def _plain(value: Any) -> Any:
    """Mappings and sequences as the types that TOML's reader gives."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return list(map(_plain, value)) if isinstance(value, list | tuple) else value


# Carrying out --------------------------------------------------------------------


class _Version(NamedTuple):
    """A text and what it says."""

    text: str
    document: Document


def _edit(
    path: str | os.PathLike[str], plan: _Plan, task: str, make: bool = False
) -> EditResult:
    name = os.fspath(path)
    format = format_of(name)
    notices: list[str] = []
    with locked(name):
        try:
            text = read_text(name)
        except LockfileNotFoundError:
            if not make:
                raise
            text = Lockfile().dumps(format)
        old = _Version(text, parse(text, format=format, path=name))
        new = _carry_out(old, name, plan, notices)
        lockfile = _checked(new, old, name, task)
        if new.text != text:
            write_atomic(name, new.text)
    return EditResult(Path(name), new.text != text, lockfile, tuple(notices))


def _carry_out(old: _Version, name: str, plan: _Plan, notices: list[str]) -> _Version:
    """The version after what the plan says."""
    format = format_of(name)
    intended = deepcopy(old.document)
    try:
        plan(intended, notices)
        if same(intended, old.document):
            return old
        if format == "json":
            return _Version(_json_text(old.text, intended), intended)
        return _in_place(old, intended)
    except CannotEdit:
        notices.clear()
    # What is wrong with the file as it is has to be said first.
    Lockfile.from_document(old.document, text=old.text, path=name, format=format)
    intended = modernise(without_nulls(old.document))
    plan(intended, notices)
    if format == "json":
        return _Version(_json_text(old.text, intended), intended)
    notices.append(
        "the change could not be made in place, so the file was written anew"
        + ("; its comments are lost" if "#" in old.text else "")
    )
    import tomli_w  # rare

    return _Version(_in_style(tomli_w.dumps(intended), old.text), intended)


def _in_place(old: _Version, intended: Document) -> _Version:
    bom = BOM if old.text.startswith(BOM) else ""
    text = bom + rewrite(old.text.removeprefix(BOM), old.document, intended)
    try:
        said = parse(text)
    except LockfileParseError:
        raise CannotEdit from None
    if not same(_without_empty_arrays(said), _without_empty_arrays(intended)):
        raise CannotEdit
    return _Version(text, said)


def _without_empty_arrays(document: Document) -> Document:
    """The document without `bindings = []`: the last `[[bindings]]` takes it along."""

    def strip(table: Any) -> Any:
        if not isinstance(table, dict):
            return table
        return {k: v for k, v in table.items() if (k, v) != ("bindings", [])}

    profiles = document.get("profiles")
    if isinstance(profiles, dict):
        profiles = {name: strip(table) for name, table in profiles.items()}
        document = {**document, "profiles": profiles}
    return dict(strip(document))


def _json_text(text: str, intended: Document) -> str:
    """JSON with the old text's indentation, line ends and way with non-ASCII."""
    import json  # only lockfiles named .json need it

    second = text.partition("\n")[2]
    blanks = second[: len(second) - len(second.lstrip(" \t"))]
    indent = blanks or (2 if second else None)
    new = json.dumps(intended, indent=indent, ensure_ascii=text.isascii())
    return _in_style(new + "\n" if text.endswith("\n") else new, text)


def _in_style(new: str, old: str) -> str:
    """A new text with the old one's line ends and byte order mark."""
    return (BOM if old.startswith(BOM) else "") + new.replace("\n", newline_of(old))


def _checked(new: _Version, old: _Version, name: str, task: str) -> Lockfile:
    """The new version as a lockfile."""
    try:
        return Lockfile.from_document(
            new.document, text=new.text, path=name, format=format_of(name)
        )
    except LockfileValidationError:
        pass
    # The lines of a text that nobody gets to see would not help; those of the old one
    # do, if it has the same problem.
    known = {problem.path for problem in check(old.document).problems}
    find_line = LineFinder(old.text, format_of(name))
    problems = messages(
        check(new.document).problems,
        lambda path: find_line(path) if path in known else None,
    )
    raise validation_error(problems, name, f"can't {task}; {name} is left as it was")
