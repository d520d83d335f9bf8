"""What the commands print: results on stdout, everything else on stderr.

Any text can be printed in any terminal: what its encoding lacks is replaced, never
an error. Colour is for a terminal only, and never where NO_COLOR is set
(https://no-color.org).
"""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TextIO

PROGRAM: Final = "llmring-lite"

_ASCII: Final[Mapping[str, str]] = {
    "→": "->",
    "✓": "ok",
    "✗": "x",
    "⚠": "!",
    "…": "...",
    "–": "-",
    "—": "-",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
}
"""Characters with a usual spelling in ASCII; the others become `\\u20ac`."""

_COLOURS: Final[Mapping[str, str]] = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
}


def _replace_unencodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    replaced = []
    for at in range(error.start, error.end):
        one = UnicodeEncodeError(error.encoding, error.object, at, at + 1, error.reason)
        plain = _ASCII.get(error.object[at])
        replaced.append(plain or str(codecs.backslashreplace_errors(one)[0]))
    return "".join(replaced), error.end


def prepare_streams() -> None:
    """Let stdout and stderr replace what their encoding can't express."""
    codecs.register_error("llmring_lite.replace", _replace_unencodable)
    for stream in (sys.stdout, sys.stderr):
        # Closed (`>&-`) it is None; a program that calls main() may have put in
        # something that isn't a TextIOWrapper.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="llmring_lite.replace")


def say(text: str = "") -> None:
    """A line of the result."""
    print(text)


def note(text: str) -> None:
    """A line for the person at the terminal, not part of the result."""
    print(text, file=sys.stderr)


def complain(message: str, *, kind: str = "") -> None:
    """An error (or, with `kind`, a warning) on stderr, with the program's name."""
    prefix = f"{PROGRAM}: {kind}: " if kind else f"{PROGRAM}: "
    colour = "yellow" if kind else "red"
    note(f"{paint(prefix, colour, sys.stderr)}{message}")


def say_json(value: Any) -> None:
    """The result as JSON. Every other encoding than UTF-8 gets pure ASCII."""
    import json  # 2 ms that only --json pays

    say(json.dumps(value, indent=2, ensure_ascii=not wants_utf8(), default=str))


def wants_utf8() -> bool:
    """True if stdout takes any character as it is."""
    encoding = str(getattr(sys.stdout, "encoding", ""))
    return encoding.lower().replace("-", "") == "utf8"


def paint(text: str, colour: str, stream: TextIO | None = None) -> str:
    """The text in colour if the stream (default: stdout) is a terminal.

    `colour`: `bold`, `dim`, `red`, `green` or `yellow`.
    """
    if not text or not _wants_colour(sys.stdout if stream is None else stream):
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def _wants_colour(stream: TextIO | None) -> bool:
    if stream is None or os.environ.get("NO_COLOR"):
        return False
    return os.environ.get("TERM") != "dumb" and stream.isatty()


def say_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Rows in aligned columns under their headings."""
    lines = [list(headings), *(list(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        padded = "  ".join(map(str.ljust, line, widths)).rstrip()
        say(paint(padded, "bold") if number == 0 else padded)


def plural(count: int, noun: str) -> str:
    """`1 alias`, `2 aliases`."""
    ending = "es" if noun.endswith("s") else "s"
    return f"{count} {noun}" if count == 1 else f"{count} {noun}{ending}"
