"""The documentation: links lead somewhere, examples are valid, nothing is left out."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import llmring_lite

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
SOURCE = "".join(
    path.read_text(encoding="utf-8") for path in (ROOT / "llmring_lite").glob("*.py")
)
DOCS = "".join(path.read_text(encoding="utf-8") for path in PAGES)


def blocks(language: str) -> list[object]:
    return list(_blocks(language))


def _blocks(language: str) -> Iterator[object]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for number, match in enumerate(
            re.finditer(rf"^( *)```{language}\n(.*?)^ *```$", text, re.S | re.M)
        ):
            indent = len(match[1])
            body = "".join(
                line[indent:] if line.strip() else line
                for line in match[2].splitlines(keepends=True)
            )
            yield pytest.param(body, id=f"{page.name}-{number}")


@pytest.mark.parametrize("code", blocks("python"))
def test_python_examples_compile(code: str) -> None:
    compile(code, "example", "exec")


@pytest.mark.parametrize("text", blocks("toml"))
def test_toml_examples_parse(text: str) -> None:
    assert tomllib.loads(text)


def links() -> Iterator[object]:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                yield pytest.param(page, target, id=f"{page.name}-{target}")


def anchors(page: Path) -> set[str]:
    """Heading anchors as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }


@pytest.mark.parametrize(("page", "target"), list(links()))
def test_links_lead_somewhere(page: Path, target: str) -> None:
    name, _, anchor = target.partition("#")
    file = (page.parent / name) if name else page
    assert file.exists()
    if anchor:
        assert anchor in anchors(file)


@pytest.mark.parametrize(
    "variable", sorted(set(re.findall(r"LLMRING_[A-Z_]*[A-Z]", SOURCE)))
)
def test_every_variable_is_documented(variable: str) -> None:
    assert variable in DOCS


@pytest.mark.parametrize(
    "name", [n for n in llmring_lite.__all__ if n.endswith("Error")]
)
def test_every_error_is_documented(name: str) -> None:
    assert name in DOCS


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f"docs/{page.name}" in readme, page.name
