"""docs/cli.md documents every command and every option there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llmring_lite import cli

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "cli.md").read_text("utf-8")


def section(name: str) -> str:
    found = re.search(rf"^## {re.escape(name)}$(.*?)(?=^## |\Z)", TEXT, re.M | re.S)
    assert found, f"docs/cli.md has no section {name!r}"
    return found[1]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_has_a_section_with_all_its_options(name: str) -> None:
    text = section(name)
    parser, _ = cli.load_command(name)
    for action in parser._actions:
        if action.dest == "help":
            continue
        for option in action.option_strings:
            assert re.search(rf"{option}\b", text), f"{name} {option}"
        if not action.option_strings:
            assert str(action.metavar) in text, f"{name} {action.metavar}"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_no_section_documents_an_option_that_is_not_there(name: str) -> None:
    parser, _ = cli.load_command(name)
    known = {option for action in parser._actions for option in action.option_strings}
    assert set(re.findall(r"--[a-z][a-z0-9-]*", section(name))) <= known


def test_each_command_is_in_the_table_of_contents() -> None:
    contents = TEXT.partition("## ")[0]
    for name in cli.COMMANDS:
        assert f"[`{name}`](#{name.replace(' ', '-')})" in contents


@pytest.mark.parametrize(
    "word", ["NO_COLOR", "LLMRING_DEBUG", "LLMRING_LOCKFILE_PATH", "LLMRING_PROFILE"]
)
def test_the_variables_of_the_command_line_are_documented(word: str) -> None:
    assert word in TEXT
