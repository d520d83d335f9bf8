"""The first lockfile: valid, current, and a fallback wherever there is one."""

from __future__ import annotations

import json
from itertools import chain, combinations
from pathlib import Path

import pytest

from llmring_lite.lockfile import Lockfile
from llmring_lite.lockfile_init import lockfile_text, provider_names

REGISTRY = Path(__file__).resolve().parents[1].parent / "shared" / "registry"

NAMES = provider_names()
SUBSETS = list(
    chain.from_iterable(combinations(NAMES, count) for count in range(len(NAMES) + 1))
)


def references(text: str) -> dict[str, list[str]]:
    lockfile = Lockfile.loads(text)
    assert lockfile.warnings == ()
    bindings = lockfile.get_profile().bindings
    return {alias: list(lockfile.flatten(alias)) for alias in bindings}


@pytest.mark.parametrize("usable", SUBSETS, ids="+".join)
def test_it_is_valid_and_uses_only_providers_with_a_key(
    usable: tuple[str, ...],
) -> None:
    bound = references(lockfile_text(usable))
    used = {ref.partition(":")[0] for refs in bound.values() for ref in refs}
    assert used == set(usable)
    assert bool(bound) == bool(usable)


@pytest.mark.parametrize("usable", [s for s in SUBSETS if len(s) > 1], ids="+".join)
def test_each_alias_falls_back_to_another_provider(usable: tuple[str, ...]) -> None:
    for refs in references(lockfile_text(usable)).values():
        providers = [ref.partition(":")[0] for ref in refs]
        assert len(providers) >= 2
        assert len(set(providers)) == len(providers)


def test_a_single_provider_is_told_which_fallback_would_help() -> None:
    text = lockfile_text(["openai"])
    assert text.count("A fallback from another provider would help") == len(
        references(text)
    )


def test_without_any_key_it_names_the_variables_and_shows_an_example() -> None:
    text = lockfile_text([])
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        assert variable in text
    assert "# [[profiles.default.bindings]]" in text


@pytest.mark.parametrize("usable", [(), tuple(NAMES)])
def test_its_commented_examples_work(usable: tuple[str, ...]) -> None:
    text = lockfile_text(usable)
    start = text.index("# [[profiles.default.bindings]]")
    lines = text[start:].splitlines()
    example = "\n".join(
        line.removeprefix("#").strip() for line in lines if "needs no key" not in line
    )
    assert set(references(lockfile_text([]) + example)) == {"summarizer", "local"}


def test_each_alias_has_a_comment_that_says_what_it_is_for() -> None:
    text = lockfile_text(NAMES)
    for alias in references(text):
        assert f"\n# {alias}: " in text


def test_providers_that_the_table_does_not_know_count_for_nothing() -> None:
    assert lockfile_text(["groq"]) == lockfile_text([])


@pytest.mark.skipif(not REGISTRY.exists(), reason="needs the registry's data")
def test_the_models_are_current_ones() -> None:
    for provider in NAMES:
        models = json.loads((REGISTRY / provider / "models.json").read_text())["models"]
        for alias, refs in references(lockfile_text([provider])).items():
            for ref in refs:
                assert models[ref]["is_active"], ref
                # Without it a plain request would be refused.
                assert models[ref]["api_endpoint"] in ("chat", "generateContent", None)
                if alias == "vision":
                    assert models[ref]["supports_vision"], ref
