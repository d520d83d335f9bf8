"""Text of a lockfile -> plain data, or an error that gives the place.

`parse(text, format)` returns what TOML (or JSON) says, nothing checked beyond syntax.
Raises only `LockfileParseError`.
"""

from __future__ import annotations

import tomllib
from typing import Any, Final, Literal, NoReturn, TypeAlias

from llmring_lite.exceptions import LockfileParseError

Format: TypeAlias = Literal["toml", "json"]

MAX_BYTES: Final = 16 * 2**20
"""Larger files are refused unread: 10,000 bindings take about 1 MB."""

_MAX_DEPTH: Final = 100

BOM: Final = "\ufeff"


def format_of(path: str) -> Format:
    """JSON for a name that ends in `.json`, else TOML."""
    return "json" if path.lower().endswith(".json") else "toml"


def decode(data: bytes, path: str | None = None) -> str:
    """UTF-8 text, line ends and byte order mark untouched."""
    if len(data) > MAX_BYTES:
        raise LockfileParseError(
            f"{path or 'the lockfile'} is larger than {MAX_BYTES // 2**20} MiB",
            path=path,
        )
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = len(before[before.rfind(b"\n") + 1 :].decode()) + 1
        _fail("not UTF-8 text", path, before.count(b"\n") + 1, column)


def parse(
    text: str, *, format: Format = "toml", path: str | None = None
) -> dict[str, Any]:
    """The document as plain data."""
    text = text.removeprefix(BOM)
    try:
        data = _parse_json(text, path) if format == "json" else tomllib.loads(text)
    except RecursionError:
        _fail("values are nested too deeply", path)
    except tomllib.TOMLDecodeError as error:
        _fail_toml(str(error), text, path)
    except ValueError as error:
        # Integers beyond sys.get_int_max_str_digits(), impossible dates.
        _fail(str(error), path)
    _check_depth(data, path)
    return data


def _parse_json(text: str, path: str | None) -> dict[str, Any]:
    import json  # only lockfiles named .json need it

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"the key {twice!r} stands twice in one object")
        return table

    def no_constant(word: str) -> NoReturn:
        raise ValueError(f"{word} is not JSON")

    try:
        data = json.loads(text, object_pairs_hook=unique, parse_constant=no_constant)
    except json.JSONDecodeError as error:
        _fail(_lower(error.msg), path, error.lineno, error.colno)
    if not isinstance(data, dict):
        _fail("the document must be a JSON object", path, 1, 1)
    return data


def _fail_toml(message: str, text: str, path: str | None) -> NoReturn:
    """tomllib puts the place at the end of its message."""
    what, _, place = message.rpartition(" (at ")
    words = place.rstrip(")").replace(",", "").split()
    if words[:1] == ["line"] and len(words) == 4:
        _fail(_lower(what), path, int(words[1]), int(words[3]))
    lines = text.split("\n")
    _fail(_lower(what or message), path, len(lines), len(lines[-1]) + 1)


def _lower(message: str) -> str:
    """A parser's message as a part of ours."""
    return message[:1].lower() + message[1:]


def _fail(
    message: str,
    path: str | None,
    line: int | None = None,
    column: int | None = None,
) -> NoReturn:
    place = "" if line is None else f", line {line}, column {column}"
    raise LockfileParseError(
        f"{path or 'the lockfile'}{place}: {message}",
        path=path,
        line=line,
        column=column,
    ) from None


def _check_depth(data: dict[str, Any], path: str | None) -> None:
    """Dotted keys nest without recursion in the parser; later steps do recurse."""
    level: list[Any] = [data]
    for _ in range(_MAX_DEPTH):
        level = [
            item
            for container in level
            for item in (container.values() if type(container) is dict else container)
            if type(item) is dict or type(item) is list
        ]
        if not level:
            return
    _fail(f"values are nested more than {_MAX_DEPTH} levels deep", path)
