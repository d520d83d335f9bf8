"""On which line a path stands.

Reading a lockfile makes a `LineFinder` for the bindings and problems that may ask it.
Most files have no problems and nobody asks: so the index, and the code that makes it,
are loaded when the first question comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from llmring_lite.lockfile_model import KeyPath

if TYPE_CHECKING:
    from llmring_lite.lockfile_text import Value


class LineFinder:
    """Path -> line."""

    def __init__(self, text: str, format: Literal["toml", "json"]) -> None:
        self._text = text.removeprefix("\ufeff")
        self._format = format
        self._line_ends: list[int] = []
        # Statements (and JSON's document) by path, and the first mention of tables
        # that have no header of their own.
        self._values: dict[KeyPath, tuple[int, int]] = {}
        self._mentions: dict[KeyPath, int] = {}

    def __call__(self, path: KeyPath) -> int | None:
        """The 1-based line on which a path, or what it would stand in, begins."""
        from bisect import bisect_right

        if not self._line_ends:
            self._index()
        for length in range(len(path), -1, -1):
            if path[:length] in self._values:
                start, value_start = self._values[path[:length]]
                offset = self._inside(value_start, path[length:]) or start
            elif path[:length] in self._mentions:
                offset = self._mentions[path[:length]]
            else:
                continue
            return bisect_right(self._line_ends, offset) + 1
        return None

    def _index(self) -> None:
        import re

        from llmring_lite.lockfile_text import scan, skip_blank

        text = self._text
        self._line_ends = [match.end() for match in re.finditer("\n", text)]
        self._line_ends.append(len(text) + 1)
        if self._format == "json":
            if text.strip():
                start = skip_blank(text, 0)
                self._values[()] = (start, start)
            return
        for statement in scan(text):
            path, start = statement.path, statement.start
            self._values.setdefault(path, (start, statement.value_start))
            for length in range(1, len(path)):
                self._mentions.setdefault(path[:length], start)

    def _inside(self, value_start: int, path: KeyPath) -> int | None:
        """The offset of a path inside a value, or of what comes nearest to it."""
        from llmring_lite.lockfile_text import read_value

        if value_start < 0 or not path:
            return None
        offset = None
        value: Value | None = read_value(self._text, value_start)
        while value is not None and path:
            for key, start, inner in value.items:
                length = len(key)
                if path[:length] == key:
                    offset, value, path = start, inner, path[length:]
                    break
            else:
                value = None
        return offset
