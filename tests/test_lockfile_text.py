"""The text index: every statement found, every value where it says."""

from __future__ import annotations

import json
import tomllib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from toml_texts import documents, sorted_deep

from llmring_lite.lockfile_model import KeyPath
from llmring_lite.lockfile_report import LineFinder
from llmring_lite.lockfile_text import Value, read_value, scan


def at(document: Any, path: KeyPath) -> Any:
    for key in path:
        document = document[key]
    return document


def put(document: Any, path: KeyPath, value: Any) -> None:
    """Store a value, and make the tables and arrays on the way."""
    for key, following in pairwise(path):
        empty: Any = [] if isinstance(following, int) else {}
        if isinstance(key, int):
            if key == len(document):
                document.append(empty)
            document = document[key]
        else:
            document = document.setdefault(key, empty)
    last = path[-1]
    if isinstance(last, int) and last == len(document):
        document.append(value)
    elif isinstance(last, int) or last not in document:
        document[last] = value


def plain(text: str, value: Value) -> Any:
    """A value put together from its parts."""
    if value.kind == "scalar":
        return tomllib.loads(f"k = {text[value.start : value.end]}")["k"]
    result: Any = [] if value.kind == "array" else {}
    for item in value.items:
        put(result, item.key, plain(text, item.value))
    return result


@settings(max_examples=150, deadline=None)
@given(documents())
def test_the_statements_say_what_the_text_says(text: str) -> None:
    rebuilt: dict[str, Any] = {}
    for statement in scan(text):
        if statement.kind != "pair":
            put(rebuilt, statement.path, {})
            continue
        value = read_value(text, statement.value_start)
        assert value.end == statement.value_end
        put(rebuilt, statement.path, plain(text, value))
    assert repr(sorted_deep(rebuilt)) == repr(sorted_deep(tomllib.loads(text)))


@settings(max_examples=100, deadline=None)
@given(documents())
def test_what_lies_between_statements_is_blank_or_comment(text: str) -> None:
    position = 0
    for statement in scan(text):
        between = text[position : statement.start]
        assert all(
            not line.strip() or line.lstrip().startswith("#")
            for line in between.split("\n")
        )
        position = statement.end
    assert tomllib.loads(text[position:]) == {}


TEXT = """\
# comment
version = "1.0"

[profiles]
dev.name = "dev"
[profiles.default]
registry_versions = { openai = 7,
# TOML 1.0 has no line ends here, and that is not our business
}
[[profiles.default.bindings]]
alias = "a"
models = [
    "openai:x",   # first
    "nosuch:y",
]

  [profiles.default.bindings.constraints]
  max_cost = 1
[[profiles.default.bindings]]
alias = "b"
[[ profiles . "prod" . bindings ]]
alias = '''
x'''
models = []
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("version",), 2),
        (("profiles",), 4),
        (("profiles", "dev", "name"), 5),
        (("profiles", "dev"), 5),
        (("profiles", "default"), 6),
        (("profiles", "default", "registry_versions", "openai"), 7),
        (("profiles", "default", "bindings", 0), 10),
        (("profiles", "default", "bindings", 0, "alias"), 11),
        (("profiles", "default", "bindings", 0, "models"), 12),
        (("profiles", "default", "bindings", 0, "models", 0), 13),
        (("profiles", "default", "bindings", 0, "models", 1), 14),
        (("profiles", "default", "bindings", 0, "models", 9), 12),
        (("profiles", "default", "bindings", 0, "constraints", "max_cost"), 18),
        (("profiles", "default", "bindings", 1), 19),
        (("profiles", "default", "bindings", 1, "models"), 19),
        (("profiles", "prod", "bindings", 0, "models"), 24),
        (("profiles", "prod"), 21),
        (("nowhere",), None),
    ],
)
def test_a_path_is_found_on_its_line(path: KeyPath, line: int | None) -> None:
    assert LineFinder(TEXT, "toml")(path) == line
    assert LineFinder("\ufeff" + TEXT.replace("\n", "\r\n"), "toml")(path) == line


def test_a_path_is_found_in_json() -> None:
    document = {
        "version": "1.0",
        'odd "key" \ud83d\ude00': [],
        "profiles": {"default": {"bindings": [{"alias": "a", "models": ["x", "y"]}]}},
    }
    text = json.dumps(document, indent=2)
    lines = text.split("\n")
    find = LineFinder(text, "json")
    for path, shown in [
        (("version",), '"version"'),
        (("profiles", "default", "bindings", 0), "{"),
        (("profiles", "default", "bindings", 0, "alias"), '"alias"'),
        (("profiles", "default", "bindings", 0, "models", 1), '"y"'),
        (("profiles", "default", "nothing"), '"default"'),
    ]:
        line = find(path)
        assert line is not None
        assert lines[line - 1].strip().startswith(shown)
    assert find(("profiles", "default", "bindings", 0)) == 7


def test_an_empty_text_has_no_lines_to_find() -> None:
    assert LineFinder("", "toml")(("version",)) is None
    assert LineFinder("", "json")(("version",)) is None


def test_scanning_takes_time_in_proportion_to_the_text() -> None:
    import time

    def seconds(text: str) -> float:
        start = time.perf_counter()
        scan(text)
        return time.perf_counter() - start

    for make in (
        lambda n: "".join(f"[[a.b]]\nk = {i}\n" for i in range(n)),
        lambda n: 'k = """' + 'x"' * n * 10 + '\n"""\n',
        lambda n: "k = [" + "[1], " * n + "]\n",
        lambda n: "#" * n * 20 + "\n",
    ):
        small = min(seconds(make(1000)) for _ in range(3))
        large = min(seconds(make(10_000)) for _ in range(3))
        # Quadratic would be 100 times.
        assert large < 40 * small + 0.01
