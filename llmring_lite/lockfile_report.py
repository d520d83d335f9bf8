"""What was found in a lockfile, right and wrong, while it is being checked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
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
        word, choices: A word that isn't known, and those that are.
    """

    path: KeyPath
    text: str
    first: KeyPath | None = None
    word: str = ""
    choices: Collection[str] = ()


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

    def problem(
        self,
        path: KeyPath,
        text: str,
        *,
        first: KeyPath | None = None,
        word: str = "",
        choices: Collection[str] = (),
    ) -> None:
        self.problems.append(Problem(path, text, first, word, choices))

    def warn(self, path: KeyPath, text: str) -> None:
        self.warnings.append(Problem(path, text))

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
                self.warnings.append(
                    Problem((*path, key), text, word=key, choices=tuple(spec))
                )
                if extra is not None:
                    extra[key] = value
                continue
            try:
                values[key] = checker(value)
            except Invalid as error:
                self.problem(
                    (*path, key),
                    f"{subject}{key} {error}",
                    word=error.word,
                    choices=error.choices,
                )
        return values
