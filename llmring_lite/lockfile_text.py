"""Where things stand in the text of a lockfile, and how values are written there.

`scan` lists the statements of a TOML text (headers and key/value pairs) with the full
path and the span of each; `read_value` takes the value of one apart, in JSON too.

Both expect a text that a parser has accepted, without a byte order mark. So they need
to tell only where strings, comments and brackets end, not whether they are right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from llmring_lite.lockfile_model import KeyPath

# Possessive quantifiers, so that nothing here can backtrack. A multi-line string may
# end with up to two quotes of its own before the three that close it.
_STRING: Final = (
    r'"""(?:[^"\\]++|\\[\s\S]|"(?!""))*+"""(?:"{0,2})'
    r"|'''(?:[^']++|'(?!''))*+'''(?:'{0,2})"
    r'|"(?:[^"\\\n]++|\\.)*+"'
    r"|'[^'\n]*+'"
)
_BLANK: Final = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*+")
_KEY_PART: Final = re.compile(rf"[ \t]*({_STRING}|[^\s.=\]\"']++)[ \t]*")
_PLAIN: Final = re.compile(rf"{_STRING}|[^\[\]{{}},#\n\r\"']++")
_TO_BRACKET: Final = re.compile(rf"(?:{_STRING}|#[^\n]*+|[^\[\]{{}}\"'#]++)*+")


class Statement(NamedTuple):
    """A header or a key/value pair.

    Attributes:
        kind: `table` for `[a]`, `array` for `[[a]]`, `pair` for `a = 1`.
        path: From the top of the document; an element of an array of tables has its
            index in it: `("profiles", "default", "bindings", 0, "models")`.
        table: The path of the header above a pair; of a header its own.
        start: Offset of the beginning of its line.
        end: Offset behind its line end.
        value_start, value_end: Span of the value of a pair, else -1.
    """

    kind: Literal["table", "array", "pair"]
    path: KeyPath
    table: KeyPath
    start: int
    end: int
    value_start: int = -1
    value_end: int = -1


class Value(NamedTuple):
    """A value taken apart; `items` is empty for a scalar."""

    kind: Literal["array", "table", "scalar"]
    start: int
    end: int
    items: tuple[Item, ...] = ()


class Item(NamedTuple):
    """An element of an array, or an entry of an inline table.

    Attributes:
        key: The index, or the parts of the (maybe dotted) key.
        start: Offset of the key, or of the value in an array.
        value: What stands there.
    """

    key: KeyPath
    start: int
    value: Value


def scan(text: str) -> list[Statement]:
    """The statements of a TOML text, in their order."""
    statements: list[Statement] = []
    table: KeyPath = ()
    counts: dict[KeyPath, int] = {}  # array of tables -> elements so far
    position = skip_blank(text, 0)
    while position < len(text):
        start = text.rfind("\n", 0, position) + 1
        if text[position] != "[":
            keys, position = _read_key(text, position)
            value_start = skip_blank(text, position + 1)
            value_end = _skip_value(text, value_start)
            end = _line_end(text, value_end)
            statements.append(
                Statement(
                    "pair", table + keys, table, start, end, value_start, value_end
                )
            )
        else:
            is_array = text[position + 1] == "["
            keys, position = _read_key(text, position + 1 + is_array)
            table = _resolve(keys, counts, is_array)
            end = _line_end(text, position)
            kind: Literal["table", "array"] = "array" if is_array else "table"
            statements.append(Statement(kind, table, table, start, end))
        position = skip_blank(text, end)
    return statements


def read_value(text: str, start: int) -> Value:
    """The value that begins at an offset, taken apart; TOML or JSON."""
    opening = text[start]
    if opening not in "[{":
        return Value("scalar", start, _skip_value(text, start))
    closing = "]" if opening == "[" else "}"
    items: list[Item] = []
    position = skip_blank(text, start + 1)
    while text[position] != closing:
        item_start = position
        key: KeyPath = (len(items),)
        if opening == "{":
            key, position = _read_key(text, position)
            position = skip_blank(text, position + 1)
        value = read_value(text, position)
        items.append(Item(key, item_start, value))
        position = skip_blank(text, value.end)
        if text[position] == ",":
            position = skip_blank(text, position + 1)
    kind: Literal["array", "table"] = "array" if opening == "[" else "table"
    return Value(kind, start, position + 1, tuple(items))


def descend(value: Value, path: KeyPath) -> tuple[Value | None, int, Value, KeyPath]:
    """As far into a value as a path leads.

    Returns:
        What holds the last item on the way (None: no item was found), the item's
        index there, its value, and the rest of the path.
    """
    holder, at = None, 0
    while path:
        for index, (key, _, inner) in enumerate(value.items):
            if path[: len(key)] == key:
                holder, at, value, path = value, index, inner, path[len(key) :]
                break
        else:
            break
    return holder, at, value, path


def _resolve(keys: KeyPath, counts: dict[KeyPath, int], is_array: bool) -> KeyPath:
    """The full path of a header: names that mean an array stand for its last table."""
    path: KeyPath = ()
    for key in keys[:-1]:
        path = (*path, key)
        if path in counts:
            path = (*path, counts[path] - 1)
    path = (*path, keys[-1])
    if is_array:
        counts[path] = counts.get(path, 0) + 1
        path = (*path, counts[path] - 1)
    return path


def _read_key(text: str, start: int) -> tuple[KeyPath, int]:
    """The parts of a key, and the offset of what comes behind it and its blanks."""
    parts: list[str] = []
    position = start - 1
    while True:
        match = _KEY_PART.match(text, position + 1)
        assert match is not None
        parts.append(_unquote(match[1]))
        position = match.end()
        if text[position] != ".":
            return tuple(parts), position


def _unquote(key: str) -> str:
    if key[0] not in "\"'":
        return key
    if "\\" not in key or key[0] == "'":
        return key[1:-1]
    return _unescape(key)


def _unescape(key: str) -> str:
    import json  # escapes in a key are rare

    try:
        # The same rules for everything that both formats have.
        return str(json.loads(key))
    except ValueError:
        import tomllib

        return str(tomllib.loads(f"k = {key}")["k"])


def skip_blank(text: str, position: int) -> int:
    """The offset behind blanks, line ends and comments."""
    match = _BLANK.match(text, position)
    assert match is not None
    return match.end()


def _skip_value(text: str, start: int) -> int:
    """The offset behind the value that begins at `start`."""
    if text[start] not in "[{":
        match = _PLAIN.match(text, start)
        assert match is not None
        return start + len(match[0].rstrip())
    depth, position = 0, start
    while True:
        depth += 1 if text[position] in "[{" else -1
        if not depth:
            return position + 1
        match = _TO_BRACKET.match(text, position + 1)
        assert match is not None
        position = match.end()


def _line_end(text: str, position: int) -> int:
    return text.find("\n", position) + 1 or len(text)


# Lines -------------------------------------------------------------------------


def line_start(text: str, offset: int) -> int:
    return text.rfind("\n", 0, offset) + 1


def begins_line(text: str, offset: int) -> bool:
    return not text[line_start(text, offset) : offset].strip()


def has_own_lines(text: str, item: Item) -> bool:
    """Do an element, its comma and its comment share no line with others?"""
    end = text.find("\n", item.value.end)
    rest = text[item.value.end : end].partition("#")[0]
    return begins_line(text, item.start) and end >= 0 and rest.strip() in ("", ",")


def newline_of(text: str) -> str:
    """The line end of a text, that of its first line."""
    end = text.find("\n")
    return "\r\n" if end > 0 and text[end - 1] == "\r" else "\n"


# Writing -------------------------------------------------------------------------


def format_value(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Mapping):
        pairs = (f"{format_key((k,))} = {format_value(v)}" for k, v in value.items())
        inside = ", ".join(pairs)
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(format_value, value))}]"
    import tomli_w  # most programs only read lockfiles

    return tomli_w.dumps({"k": value}).removeprefix("k = ").removesuffix("\n")


def format_key(path: KeyPath) -> str:
    """A dotted key; indices of arrays are left out, as headers do."""
    return ".".join(
        part if re.fullmatch("[A-Za-z0-9_-]+", part) else format_value(part)
        for part in path
        if isinstance(part, str)
    )


def relist(text: str, place: Value, value: list[Any]) -> str:
    """The text of an array with other elements.

    One that has a line for each element keeps that, and elements that stay keep their
    lines with the comments in them and above them.
    """
    lines = _lines_of(text, place)
    if lines is None or not value:
        return format_value(value)
    head, kept, tail = lines
    first = place.items[0].start
    indent = text[line_start(text, first) : first]
    body = [
        kept.pop(element, f"{indent}{element},{newline_of(text)}")
        for element in map(format_value, value)
    ]
    return "".join([head, *body, tail])


def _lines_of(text: str, place: Value) -> tuple[str, dict[str, str], str] | None:
    """An array cut at line ends: head, element -> its lines, tail.

    The lines of an element begin behind those of the one before. None if elements
    share lines with each other or with a bracket.
    """
    import tomllib

    start = text.find("\n", place.start, place.end) + 1
    if not start or not place.items:
        return None
    head, kept = text[place.start : start], {}
    for item in place.items:
        value_end = item.value.end
        end = text.find("\n", value_end, place.end) + 1
        if line_start(text, item.start) < start or not has_own_lines(text, item):
            return None
        rest = text[value_end:end]
        comma = "" if rest.lstrip().startswith(",") else ","
        value = tomllib.loads(f"k = {text[item.start : value_end]}")["k"]
        kept[format_value(value)] = text[start:value_end] + comma + rest
        start = end
    return head, kept, text[start : place.end]
