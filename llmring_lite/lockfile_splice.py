"""Changes to a TOML text that leave everything else as it is.

`set_value`, `remove` and `append_table` take a text and a path and return the new text.
They work on one statement, or on one value inside it, and copy the rest: comments,
order, blank lines, odd spacing. What they can't express they refuse with `CannotEdit`.
The caller compares what the new text says with what it should say, so these functions
need not know every rule of TOML about what may be defined where.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmring_lite.lockfile_array import format_key, format_value, newline_of, relist
from llmring_lite.lockfile_model import KeyPath
from llmring_lite.lockfile_text import Item, Statement, Value, read_value, scan


class CannotEdit(Exception):
    """The change can't be made in the text as it stands."""


# Setting -------------------------------------------------------------------------


def set_value(text: str, path: KeyPath, value: Any) -> str:
    """Give a key a value, whether it is there or not.

    Raises:
        CannotEdit: The key is a table with a header of its own, or its parent is not
            there.
    """
    statements = scan(text)
    owner = _owner(statements, path)
    if owner:
        return _set_inside(text, owner, path[len(owner.path) :], value)
    if _below(statements, path):
        raise CannotEdit
    return _insert_pair(text, statements, path, value)


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


def _set_inside(text: str, owner: Statement, path: KeyPath, value: Any) -> str:
    """Replace a value, or a value inside it, or add an entry to an inline table."""
    place = read_value(text, owner.value_start)
    while path:
        index = _index(place, path)
        if index is None:
            if place.kind != "table":
                raise CannotEdit
            return _insert_item(
                text, place, f"{format_key(path)} = {format_value(value)}"
            )
        item = place.items[index]
        place, path = item.value, path[len(item.key) :]
    if place.kind == "array" and isinstance(value, list):
        new = relist(text, place, value)
    else:
        new = format_value(value)
    return text[: place.start] + new + text[place.end :]


def _index(place: Value, path: KeyPath) -> int | None:
    """Which item of an array or inline table a path leads into."""
    for index, item in enumerate(place.items):
        if path[: len(item.key)] == item.key:
            return index
    return None


def _insert_item(text: str, place: Value, entry: str) -> str:
    """Put an entry behind the last one of an inline table or array."""
    if not place.items:
        inside = f" {entry} " if place.kind == "table" else entry
        opening, closing = text[place.start], text[place.end - 1]
        return text[: place.start] + opening + inside + closing + text[place.end :]
    last = place.items[-1]
    line_end = text.find("\n", last.value.end, place.end) + 1
    if place.kind == "table" or not line_end or not _begins_line(text, last.start):
        at = last.value.end
        return f"{text[:at]}, {entry}{text[at:]}"
    if "," not in text[last.value.end : line_end].partition("#")[0]:
        text = f"{text[: last.value.end]},{text[last.value.end :]}"
        line_end += 1
    indent = text[text.rfind("\n", 0, last.start) + 1 : last.start]
    line = f"{indent}{entry},{newline_of(text)}"
    return text[:line_end] + line + text[line_end:]


def _begins_line(text: str, offset: int) -> bool:
    return not text[text.rfind("\n", 0, offset) + 1 : offset].strip()


def _insert_pair(
    text: str, statements: list[Statement], path: KeyPath, value: Any
) -> str:
    """Write `key = value` where the parent table has its other pairs."""
    parent = path[:-1]
    after = _last_pair_of(statements, parent)
    if after is not None:
        table = after.path[: -after.parts] if after.kind == "pair" else after.path
        pair = f"{format_key(path[len(table) :])} = {format_value(value)}"
        line = text[after.start : after.end]
        indent = line[: len(line) - len(line.lstrip(" \t"))]
        return _insert_block(text, after.end, indent + pair + newline_of(text))
    below = _below(statements, parent)
    pair = f"{format_key(path[-1:])} = {format_value(value)}{newline_of(text)}"
    if parent and below:
        # The table exists only because others are inside it.
        header = f"[{format_key(parent)}]{newline_of(text)}"
        at = statements[below[0]].start
        return text[:at] + header + pair + newline_of(text) + text[at:]
    raise CannotEdit


def _last_pair_of(statements: list[Statement], table: KeyPath) -> Statement | None:
    """The last pair under a table's header, else the header.

    Without a header: the last pair whose dotted key begins with the table.
    """
    found: Statement | None = None
    inside = not table
    for statement in statements:
        if statement.kind != "pair":
            inside = statement.path == table
        if inside:
            found = statement
    if found:
        return found
    for index in _below(statements, table):
        pair = statements[index]
        if pair.kind == "pair" and len(pair.path) - pair.parts < len(table):
            found = pair
    return found


# Removing ------------------------------------------------------------------------


def remove(text: str, path: KeyPath) -> str:
    """Take a key, a table with all that is in it, or an element out of the text.

    Raises:
        CannotEdit: There is nothing at this path.
    """
    statements = scan(text)
    owner = _owner(statements, path)
    if owner and owner.path != path:
        return _remove_inside(text, owner, path[len(owner.path) :])
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


def _remove_inside(text: str, owner: Statement, path: KeyPath) -> str:
    place = read_value(text, owner.value_start)
    while True:
        index = _index(place, path)
        if index is None:
            raise CannotEdit
        item = place.items[index]
        if item.key == path:
            return _remove_item(text, place, index)
        place, path = item.value, path[len(item.key) :]


def _remove_item(text: str, place: Value, index: int) -> str:
    item = place.items[index]
    if place.kind == "array" and _has_lines_of_its_own(text, item):
        start = text.rfind("\n", 0, item.start) + 1
        return text[:start] + text[text.index("\n", item.value.end) + 1 :]
    if index:
        start, end = place.items[index - 1].value.end, item.value.end
    elif len(place.items) > 1:
        start, end = item.start, place.items[1].start
    else:
        start, end = place.start + 1, place.end - 1
    return text[:start] + text[end:]


def _has_lines_of_its_own(text: str, item: Item) -> bool:
    end = text.find("\n", item.value.end)
    rest = text[item.value.end : end].partition("#")[0]
    return _begins_line(text, item.start) and end >= 0 and rest.strip() in ("", ",")


# Appending -----------------------------------------------------------------------


def append_table(
    text: str,
    path: KeyPath,
    table: Mapping[str, Any],
    parent_pairs: Mapping[str, Any],
) -> str:
    """Add a table to an array of tables, and the array if it isn't there.

    Args:
        text: TOML.
        path: The array's.
        table: What the new table says; it is written under a `[[header]]`, or as an
            inline table where the others are.
        parent_pairs: What the array's parent says if it has to be made, too.

    Raises:
        CannotEdit: Something else is at this path.
    """
    statements = scan(text)
    owner = _owner(statements, path)
    if owner:
        place = read_value(text, owner.value_start)
        if owner.path == path and place.kind == "array" and not place.items:
            return append_table(
                text[: owner.start] + text[owner.end :], path, table, parent_pairs
            )
        return _append_inside(text, place, path[len(owner.path) :], table)
    newline = newline_of(text)
    lines = [f"[[{format_key(path)}]]", *_pair_lines(table)]
    anchor = _anchor(statements, path)
    if anchor is None:
        header = f"[{format_key(path[:-1])}]"
        lines = [header, *_pair_lines(parent_pairs), "", *lines]
    block = newline.join(lines) + newline
    at = len(text) if anchor is None else _end_of_remarks(text, anchor.end)
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


def _pair_lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{format_key((k,))} = {format_value(v)}" for k, v in table.items()]


def _append_inside(
    text: str, place: Value, path: KeyPath, table: Mapping[str, Any]
) -> str:
    while path:
        index = _index(place, path)
        if index is None:
            if place.kind != "table":
                raise CannotEdit
            entry = f"{format_key(path)} = [{format_value(table)}]"
            return _insert_item(text, place, entry)
        item = place.items[index]
        place, path = item.value, path[len(item.key) :]
    if place.kind != "array":
        raise CannotEdit
    return _insert_item(text, place, format_value(table))


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


def _insert_block(text: str, at: int, block: str) -> str:
    """Insert whole lines; the last line of the text may lack its end."""
    if at and text[at - 1] != "\n":
        block = newline_of(text) + block
    return text[:at] + block + text[at:]
