"""docs/providers.md says what the code does: its tables are those of `parity`."""

from __future__ import annotations

import re
from pathlib import Path

import parity
import pytest

from llmring_lite import (
    provider_anthropic_reply,
    provider_google_reply,
    provider_ollama,
    provider_openai,
    provider_openai_reply,
    provider_openai_responses_reply,
)
from llmring_lite.provider import BUILTIN, WIRE_FORMATS

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "providers.md").read_text(
    encoding="utf-8"
)


def section(title: str) -> str:
    found = re.search(rf"^(#+) {re.escape(title)}$(.*?)(?=^#|\Z)", TEXT, re.M | re.S)
    assert found, f"docs/providers.md has no section {title!r}"
    return found[2]


def table(title: str) -> list[list[str]]:
    """The cells of the first table of a section, its head first."""
    rows = re.findall(r"^\|(.*)\|$", section(title), re.M)
    cells = [[cell.strip() for cell in row.split("|")] for row in rows]
    return [row for row in cells if not row[-1].startswith("---")]


@pytest.mark.parametrize("title", parity.SECTIONS)
def test_the_table_of_features_is_what_is_tested(title: str) -> None:
    wanted = [["", *parity.COLUMNS]] + [
        [row.name, *(row.cells[name].word for name in parity.COLUMNS)]
        for row in parity.SECTIONS[title]
    ]
    shown = "\n".join("| " + " | ".join(row) + " |" for row in wanted)
    assert table(title) == wanted, f"it should be:\n{shown}"


FINISH_REASONS = {
    "openai": provider_openai_reply._FINISH,
    "openai-responses": provider_openai_responses_reply._INCOMPLETE,
    "anthropic": provider_anthropic_reply.FINISH_REASONS,
    "google": provider_google_reply._FINISH_REASONS,
    "ollama": provider_ollama._FINISH,
}


@pytest.mark.parametrize("kind", FINISH_REASONS)
def test_each_finish_reason_is_where_it_belongs(kind: str) -> None:
    head, *rows = table("Finish reasons")
    documented = {row[0].strip("`"): row[head.index(kind)] for row in rows}
    for word, reason in FINISH_REASONS[kind].items():
        # Emulated structured output is a call for the API only.
        if (kind, word) != ("anthropic", "tool_use"):
            assert f"`{word}`" in documented[reason], word


@pytest.mark.parametrize("name", [name for name in BUILTIN if name != "mock"])
def test_each_provider_has_its_variables_and_address(name: str) -> None:
    rows = {row[0].strip("`"): row for row in table("Addresses and keys")[1:]}
    endpoint = BUILTIN[name]
    _, kind, keys, bases, address = rows[name]
    assert kind == f"`{endpoint.kind}`"
    assert re.findall(r"`(\w+)`", keys) == list(endpoint.api_key_env)
    assert re.findall(r"`(\w+)`", bases) == list(endpoint.base_url_env)
    if endpoint.base_url:
        assert address.strip("`") == endpoint.base_url


def test_no_provider_is_documented_that_is_not_there() -> None:
    rows = table("Addresses and keys")[1:]
    assert [row[0].strip("`") for row in rows] == [n for n in BUILTIN if n != "mock"]


@pytest.mark.parametrize("kind", WIRE_FORMATS)
def test_each_wire_format_is_named(kind: str) -> None:
    assert f"`{kind}`" in TEXT


QUIRKS = sorted({quirk for row in BUILTIN.values() for quirk in row.quirks})


@pytest.mark.parametrize("quirk", QUIRKS)
def test_each_quirk_is_explained_where_it_is_used(quirk: str) -> None:
    assert provider_openai.__doc__ is not None
    assert f"`{quirk}`" in provider_openai.__doc__
