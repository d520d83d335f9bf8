"""What was found in a lockfile while it was checked, and on which line it stands.

Most files have no problems, and nobody asks for a line: the index of a text, and the
code that makes it, are loaded when the first question comes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from llmring_lite.exceptions import LockfileValidationError
from llmring_lite.lockfile_fields import Checker, Invalid
from llmring_lite.lockfile_file import BOM, Format
from llmring_lite.lockfile_model import KeyPath, ProfileConfig
from llmring_lite.provider import BUILTIN

FindLine: TypeAlias = Callable[[KeyPath], int | None]
"""Path -> line."""

# difflib compares with every name there is; a file with thousands of mistakes must
# not take minutes to say so.
_MOST_SUGGESTIONS: Final = 20


class Problem(NamedTuple):
    """Something wrong: `"profile 'prod', alias 'x': models is empty"`.

    Attributes:
        path: Its place in the document.
        text: What is wrong and how to mend it, without the line.
        word, choices: A word that isn't known, and those that are.
        first: Place of what it collides with; None if it is wrong by itself.
    """

    path: KeyPath
    text: str
    word: str = ""
    choices: Collection[str] = ()
    first: KeyPath | None = None


def messages(problems: Iterable[Problem], find_line: FindLine) -> list[str]:
    """The problems in words, in the order of their lines."""
    texts = []
    suggestions = _MOST_SUGGESTIONS
    for problem in sorted(problems, key=lambda p: find_line(p.path) or 0):
        line = find_line(problem.path)
        text = problem.text if line is None else f"line {line}: {problem.text}"
        first = None if problem.first is None else find_line(problem.first)
        if first is not None:
            text += f" (see line {first})"
        if problem.word and suggestions:
            suggestions -= 1
            near = near_words(problem.word, problem.choices)
            text += f"; did you mean {near[0]!r}?" if near else ""
        texts.append(text)
    return texts


def validation_error(
    problems: list[str], path: str | None = None, head: str | None = None
) -> LockfileValidationError:
    """The error that lists them all."""
    count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
    head = head or f"{path or 'the lockfile'} has {count}"
    return LockfileValidationError(
        "\n  ".join([f"{head}:", *problems]), path=path, problems=problems
    )


def near_words(word: str, choices: Iterable[str]) -> list[str]:
    """Up to three of the choices that look like the word, the nearest first."""
    from difflib import get_close_matches  # only for what has gone wrong

    lower = {choice.lower(): choice for choice in choices}
    return [lower[match] for match in get_close_matches(word.lower(), lower)]


class Checked:
    """What `check` found: values, problems, warnings."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.extra: dict[str, Any] = {}
        self.extends: tuple[str, ...] = ()
        self.profiles: dict[str, ProfileConfig] = {}
        self.providers: dict[str, Any] = {}  # of `lockfile_providers`, rarely loaded
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        # Names that the file defines, also those whose table is wrong: one mistake
        # is reported once.
        self.provider_names: set[str] = set(BUILTIN)
        self.packages: set[str] = set()
        self.places: dict[tuple[str, str], KeyPath] = {}
        # Profile -> alias -> models, of every binding whose models make sense.
        self.models: dict[str, dict[str, tuple[str, ...]]] = {}

    def problem(
        self, path: KeyPath, text: str, word: str = "", choices: Collection[str] = ()
    ) -> None:
        self.problems.append(Problem(path, text, word, choices))

    def warn(
        self, path: KeyPath, text: str, word: str = "", choices: Collection[str] = ()
    ) -> None:
        self.warnings.append(Problem(path, text, word, choices))

    def read(
        self,
        table: Mapping[str, Any],
        spec: Mapping[str, Checker],
        path: KeyPath,
        subject: str,
        extra: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The checked values of a table's known keys; unknown ones go to `extra`."""
        values = {}
        for key, value in table.items():
            checker = spec.get(key)
            if checker is None:
                text = f"{subject}unknown key {key!r}"
                self.warn((*path, key), text, key, tuple(spec))
                if extra is not None:
                    extra[key] = value
                continue
            try:
                values[key] = checker(value)
            except Invalid as error:
                text = f"{subject}{key} {error}"
                self.problem((*path, key), text, error.word, error.choices)
        return values


class LineFinder:
    """Path -> line."""

    def __init__(self, text: str, format: Format) -> None:
        self._text = text.removeprefix(BOM)
        self._format = format
        self._line_ends: list[int] = []
        # Path -> its offset, and that of its value; -1 where there is none.
        self._places: dict[KeyPath, tuple[int, int]] = {}

    def __call__(self, path: KeyPath) -> int | None:
        """The 1-based line on which a path, or what it would stand in, begins."""
        from bisect import bisect_right

        from llmring_lite.lockfile_text import descend, read_value

        if not self._line_ends:
            self._index()
        for length in range(len(path), -1, -1):
            if path[:length] in self._places:
                offset, value_start = self._places[path[:length]]
                if value_start >= 0:
                    value = read_value(self._text, value_start)
                    holder, index, *_ = descend(value, path[length:])
                    offset = holder.items[index].start if holder else offset
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
                self._places[()] = (start, start)
            return
        # A table without a header of its own is where it is mentioned first.
        mentions: dict[KeyPath, tuple[int, int]] = {}
        for statement in scan(text):
            path, start = statement.path, statement.start
            self._places.setdefault(path, (start, statement.value_start))
            for length in range(1, len(path)):
                mentions.setdefault(path[:length], (start, -1))
        self._places = {**mentions, **self._places}
