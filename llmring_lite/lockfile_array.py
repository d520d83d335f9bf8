"""TOML values as text, and arrays that keep the lines their writer gave them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llmring_lite.lockfile_model import KeyPath
from llmring_lite.lockfile_text import Value

_BARE: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
)


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
        part if part and _BARE.issuperset(part) else format_value(part)
        for part in path
        if isinstance(part, str)
    )


def newline_of(text: str) -> str:
    """The line end of a text, that of its first line."""
    end = text.find("\n")
    return "\r\n" if end > 0 and text[end - 1] == "\r" else "\n"


def relist(text: str, place: Value, value: list[Any]) -> str:
    """The text of an array with other elements.

    One that has a line for each element keeps that, and elements that stay keep their
    lines with the comments in them and above them.

    Args:
        text: The text that the old array stands in.
        place: Where it stands.
        value: The new elements.
    """
    lines = _lines_of(text, place)
    if lines is None or not value:
        return format_value(value)
    head, kept, tail = lines
    newline = newline_of(text)
    first = place.items[0].start
    indent = text[text.rfind("\n", 0, first) + 1 : first]
    body = [
        kept.pop(element, f"{indent}{element},{newline}")
        for element in map(format_value, value)
    ]
    return "".join([head, *body, tail])


def _lines_of(text: str, place: Value) -> tuple[str, dict[str, str], str] | None:
    """An array cut at line ends: head, element -> its lines, tail.

    The lines of an element begin behind those of the one before. None if elements
    share lines with each other or with a bracket.
    """
    start = text.find("\n", place.start, place.end) + 1
    if not start or not place.items:
        return None
    head, kept = text[place.start : start], {}
    for item in place.items:
        end = text.find("\n", item.value.end, place.end) + 1
        line_start = text.rfind("\n", 0, item.start) + 1
        if line_start < start or text[line_start : item.start].strip() or not end:
            return None
        value_end = item.value.end
        rest = text[value_end:end]
        code = rest.partition("#")[0].strip()
        if code not in ("", ","):
            return None
        comma = "" if code else ","
        element = format_value(_parse(text[item.start : value_end]))
        kept[element] = text[start:value_end] + comma + rest
        start = end
    return head, kept, text[start : place.end]


def _parse(value: str) -> Any:
    import tomllib

    return tomllib.loads(f"k = {value}")["k"]
