"""Changes to a TOML text that leave everything else as it is.

`rewrite` compares what a text says with what it should say, and changes a statement, or
a value inside one, for each difference. The rest is copied: comments, order, blank
lines, odd spacing. What can't be expressed in the text as it stands is refused with
`CannotEdit`. The caller reads the new text again, so that nothing here need know every
rule of TOML about what may be defined where.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llmring_lite.lockfile_model import KeyPath
from llmring_lite.lockfile_text import (
    Statement,
    Value,
    begins_line,
    descend,
    format_key,
    format_value,
    has_own_lines,
    line_start,
    newline_of,
    read_value,
    relist,
    scan,
)

_BINDINGS: Final = ("profiles", "bindings")


class CannotEdit(Exception):
    """The change can't be made in the document or text as it stands."""


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


def rewrite(text: str, old: Any, new: Any, path: KeyPath = ()) -> str:
    """A text that says something else at a path.

    Args:
        text: TOML, without a byte order mark.
        old: What it says at the path.
        new: What it should say.
        path: From the top of the document.

    Raises:
        CannotEdit: A difference can't be made in place.
    """
    if same(old, new):
        return text
    if isinstance(old, dict) and isinstance(new, dict):
        for key, value in new.items():
            if key in old:
                text = rewrite(text, old[key], value, (*path, key))
            else:
                text = _add(text, (*path, key), value)
        for key in old:
            if key not in new:
                text = _remove(text, (*path, key))
        return text
    if _are_tables(old) and _are_tables(new):
        if len(old) == len(new):
            for index, value in enumerate(new):
                text = rewrite(text, old[index], value, (*path, index))
            return text
        if same(old, new[:-1]):
            return _append(text, path, new[-1])
        pairs = enumerate(zip(old, new, strict=False))
        index = next((i for i, pair in pairs if not same(*pair)), len(new))
        if same([*old[:index], *old[index + 1 :]], new):
            return _remove(text, (*path, index))
    return _set(text, path, new)


def _are_tables(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


# Finding -------------------------------------------------------------------------


def _owner(statements: list[Statement], path: KeyPath) -> Statement | None:
    """The pair that is the path, or whose value has the path's place in it."""
    for statement in statements:
        if statement.kind == "pair" and statement.path == path[: len(statement.path)]:
            return statement
    return None


def _below(statements: list[Statement], path: KeyPath) -> list[int]:
    """Indices of the statements at a path and below it."""
    length = len(path)
    return [i for i, found in enumerate(statements) if found.path[:length] == path]


def _inside(
    text: str, owner: Statement, path: KeyPath
) -> tuple[Value | None, int, Value, KeyPath]:
    """As far into a pair's value as the path leads: see `descend`."""
    return descend(read_value(text, owner.value_start), path[len(owner.path) :])


# Setting -------------------------------------------------------------------------


def _add(text: str, path: KeyPath, value: Any) -> str:
    """Give a key that isn't there a value; profiles and bindings get headers."""
    statements = scan(text)
    if _owner(statements, path):
        return _set(text, path, value)
    if path == ("profiles",):
        for name, profile in value.items():
            text = _add(text, (*path, name), profile)
        return text
    if len(path) == 2 and path[0] == "profiles":
        pairs = {key: item for key, item in value.items() if key != "bindings"}
        text = _insert_table(text, len(text), f"[{format_key(path)}]", pairs)
        return _add(text, (*path, "bindings"), value.get("bindings", []))
    if path == ("bindings",) or (len(path) == 3 and path[::2] == _BINDINGS):
        for table in value:
            text = _append(text, path, table)
        return text
    return _set(text, path, value)


def _set(text: str, path: KeyPath, value: Any) -> str:
    """Give a key a value, whether it is there or not."""
    statements = scan(text)
    owner = _owner(statements, path)
    if owner is None:
        if _below(statements, path):
            raise CannotEdit  # a table with a header of its own
        return _insert_pair(text, statements, path, value)
    _, _, place, rest = _inside(text, owner, path)
    if rest:
        if place.kind != "table":
            raise CannotEdit
        return _insert_item(text, place, f"{format_key(rest)} = {format_value(value)}")
    is_list = place.kind == "array" and isinstance(value, list)
    new = relist(text, place, value) if is_list else format_value(value)
    return text[: place.start] + new + text[place.end :]


def _insert_item(text: str, place: Value, entry: str) -> str:
    """Put an entry behind the last one of an inline table or array."""
    if not place.items:
        inside = f" {entry} " if place.kind == "table" else entry
        opening, closing = text[place.start], text[place.end - 1]
        return text[: place.start] + opening + inside + closing + text[place.end :]
    last = place.items[-1]
    line_end = text.find("\n", last.value.end, place.end) + 1
    if place.kind == "table" or not line_end or not begins_line(text, last.start):
        at = last.value.end
        return f"{text[:at]}, {entry}{text[at:]}"
    if "," not in text[last.value.end : line_end].partition("#")[0]:
        text = f"{text[: last.value.end]},{text[last.value.end :]}"
        line_end += 1
    indent = text[line_start(text, last.start) : last.start]
    line = f"{indent}{entry},{newline_of(text)}"
    return text[:line_end] + line + text[line_end:]


def _insert_pair(
    text: str, statements: list[Statement], path: KeyPath, value: Any
) -> str:
    """Write `key = value` where the parent table has its other pairs."""
    parent = path[:-1]
    after = _last_pair_of(statements, parent)
    if after is not None:
        key = format_key(path[len(after.table) :])
        line = text[after.start : after.end]
        indent = line[: len(line) - len(line.lstrip(" \t"))]
        block = f"{indent}{key} = {format_value(value)}{newline_of(text)}"
        return _insert_block(text, after.end, block)
    below = _below(statements, parent)
    if not parent or not below:
        raise CannotEdit
    # The table exists only because others are inside it.
    pair = f"{format_key(path[-1:])} = {format_value(value)}"
    lines = [f"[{format_key(parent)}]", pair, "", ""]
    at = statements[below[0]].start
    return text[:at] + newline_of(text).join(lines) + text[at:]


def _last_pair_of(statements: list[Statement], table: KeyPath) -> Statement | None:
    """The last pair under a table's header, else the header.

    Without a header: the last pair whose dotted key begins with the table.
    """
    own = [found for found in statements if found.table == table]
    dotted = [
        statements[index]
        for index in _below(statements, table)
        if len(statements[index].table) < len(table)
    ]
    return next(reversed(own or dotted), None)


def _insert_block(text: str, at: int, block: str) -> str:
    """Insert whole lines; the last line of the text may lack its end."""
    if at and text[at - 1] != "\n":
        block = newline_of(text) + block
    return text[:at] + block + text[at:]


# Removing ------------------------------------------------------------------------


def _remove(text: str, path: KeyPath) -> str:
    """Take a key, a table with all that is in it, or an element out of the text."""
    statements = scan(text)
    owner = _owner(statements, path)
    if owner and owner.path != path:
        holder, index, _, rest = _inside(text, owner, path)
        if holder is None or rest:
            raise CannotEdit
        return _remove_item(text, holder, index)
    below = _below(statements, path)
    if not below:
        raise CannotEdit
    header = ""
    is_element = statements[below[0]].kind == "array" and len(path) > 2
    if is_element and len(_below(statements, path[:-2])) == len(below):
        # The array was all that made its parent exist.
        header = f"[{format_key(path[:-2])}]{newline_of(text)}"
    # From the back, so that the offsets of what is still to go stay true.
    while below:
        last = first = below.pop()
        while below and below[-1] == first - 1:
            first = below.pop()
        start, end = statements[first].start, statements[last].end
        if header and not below:
            text = text[:start] + header + text[end:]
        else:
            text = _cut(text, start, end, statements[first].kind != "pair")
    return text


def _cut(text: str, start: int, end: int, is_table: bool) -> str:
    """Take lines out; of a table one of the blank lines around it, too."""
    before, after = text[:start], text[end:]
    if is_table and not after.partition("\n")[0].strip():
        for blank in ("\n\n", "\n\r\n"):
            if before.endswith(blank):
                before = before[: 1 - len(blank)]
                break
    return before + after


def _remove_item(text: str, place: Value, index: int) -> str:
    item = place.items[index]
    if place.kind == "array" and has_own_lines(text, item):
        start = line_start(text, item.start)
        end = text.index("\n", item.value.end) + 1
    elif index:
        start, end = place.items[index - 1].value.end, item.value.end
    elif len(place.items) > 1:
        start, end = item.start, place.items[1].start
    else:
        start, end = place.start + 1, place.end - 1
    return text[:start] + text[end:]


# Appending -----------------------------------------------------------------------


def _append(text: str, path: KeyPath, table: Mapping[str, Any]) -> str:
    """Add a table to an array of tables, under a header or as the others are."""
    statements = scan(text)
    owner = _owner(statements, path)
    if owner:
        _, _, place, rest = _inside(text, owner, path)
        if rest or place.kind != "array":
            raise CannotEdit
        if place.items or owner.path != path:
            return _insert_item(text, place, format_value(table))
        return _append(text[: owner.start] + text[owner.end :], path, table)
    anchor = _anchor(statements, path)
    at = len(text) if anchor is None else _end_of_remarks(text, anchor.end)
    return _insert_table(text, at, f"[[{format_key(path)}]]", table)


def _insert_table(text: str, at: int, header: str, table: Mapping[str, Any]) -> str:
    """Write a table of its own, with blank lines around it."""
    newline = newline_of(text)
    pairs = (f"{format_key((k,))} = {format_value(v)}" for k, v in table.items())
    block = newline.join([header, *pairs, ""])
    if text[:at].strip():
        block = newline + block
    if text[at:].partition("\n")[0].strip():
        block += newline
    return _insert_block(text, at, block)


def _anchor(statements: list[Statement], path: KeyPath) -> Statement | None:
    """The statement behind which a new table of an array belongs.

    That is the end of the array; if there is none, of its parent. None: there is no
    parent either.
    """
    below = _below(statements, path)
    if not below:
        below = _below(statements, path[:-1])
        headers = [i for i in below if statements[i].path == path[:-1]]
        below = headers or below
    if not below:
        return None
    index = below[-1]
    # A header in the midst of pairs would take the rest of them for its own.
    while index + 1 < len(statements) and statements[index + 1].kind == "pair":
        index += 1
    return statements[index]


def _end_of_remarks(text: str, position: int) -> int:
    """Behind the comments that follow a statement, if a blank line follows them.

    Comments right above the next header belong to that one.
    """
    end = position
    for line in text[position:].splitlines(keepends=True):
        if not line.lstrip().startswith("#"):
            return end if not line.strip() else position
        end += len(line)
    return end
