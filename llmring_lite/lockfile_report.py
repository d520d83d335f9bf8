"""What was found in a lockfile, right and wrong, while it is being checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from llmring_lite.lockfile_fields import Checker, Invalid
from llmring_lite.lockfile_model import KeyPath, ProfileConfig, ProviderConfig
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
        first: Place of what it collides with; None if it is wrong by itself.
    """

    path: KeyPath
    text: str
    first: KeyPath | None = None

    def message(self, find_line: FindLine) -> str:
        line = find_line(self.path)
        start = "" if line is None else f"line {line}: "
        first = None if self.first is None else find_line(self.first)
        return start + self.text + ("" if first is None else f" (see line {first})")


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
        self.providers: dict[str, ProviderConfig] = {}
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        # Names that the file defines, also those whose table is wrong: one mistake
        # is reported once.
        self.provider_names: set[str] = set(BUILTIN)
        self.packages: set[str] = set()
        self.places: dict[tuple[str, str], KeyPath] = {}
        # Profile -> alias -> models, of every binding whose models make sense.
        self.models: dict[str, dict[str, tuple[str, ...]]] = {}
        self._suggestions = 0

    def problem(
        self, path: KeyPath, text: str, *, first: KeyPath | None = None
    ) -> None:
        self.problems.append(Problem(path, text, first))

    def warn(self, path: KeyPath, text: str) -> None:
        self.warnings.append(Problem(path, text))

    def hint(self, word: str, choices: Iterable[str]) -> str:
        """`"; did you mean 'x'?"`, or nothing."""
        if self._suggestions >= _MOST_SUGGESTIONS:
            return ""
        self._suggestions += 1
        near = near_words(word, choices)
        return f"; did you mean {near[0]!r}?" if near else ""

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
                hint = self.hint(key, spec)
                self.warn((*path, key), f"{subject}unknown key {key!r}{hint}")
                if extra is not None:
                    extra[key] = value
                continue
            try:
                values[key] = checker(value)
            except Invalid as error:
                hint = self.hint(error.word, error.choices) if error.word else ""
                self.problem((*path, key), f"{subject}{key} {error}{hint}")
        return values
