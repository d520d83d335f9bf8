"""Patterns and constraints choose models; deprecated ones have successors."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmring_lite import RegistryError, RegistryModel
from llmring_lite.registry import SNAPSHOT_PROVIDERS, Catalogue, load_snapshot
from llmring_lite.registry_select import (
    NEEDS,
    Rule,
    by_age,
    can_chat,
    deprecation,
    is_offered,
    line_and_version,
    pin,
    resolve,
    rule_of,
    shortcomings,
    successor,
)


def model(name: str, given: float | None = 1.0, **facts: Any) -> RegistryModel:
    facts.setdefault("is_active", True)
    facts.setdefault("dollars_per_million_tokens_output", given)
    return RegistryModel("p", name, dollars_per_million_tokens_input=given, **facts)


def choose(rule: Rule, *models: RegistryModel) -> list[str]:
    """The first choice and its runners-up, without the provider."""
    (choice,) = resolve(rule, {"p": Catalogue("p", models)}.get)
    return [choice.ref, *(other.ref for other in choice.runners_up)]


ALL = Rule(("p:*",))


# What is chosen ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("models", "order"),
    [
        ([model("b", 2.0), model("a", 1.0)], "a b"),
        (
            [model("b", 1.0, dollars_per_million_tokens_output=2.0), model("a", 1.0)],
            "a b",
        ),
        ([model("b", None), model("a", 9.0)], "a b"),
        ([model("m-1"), model("m-2")], "m-2 m-1"),
        ([model("m-1-9"), model("m-1-10")], "m-1-10 m-1-9"),
        ([model("m-1-20250101"), model("m-1-20260101")], "m-1-20260101 m-1-20250101"),
        (
            [model("m-1-20250101", release_date="2027-01-01"), model("m-1-20260101")],
            "m-1-20260101 m-1-20250101",
        ),
        (
            [
                model("a", release_date="2025-01-01"),
                model("b", release_date="2026-01-01"),
            ],
            "b a",
        ),
        ([model("m-2-preview"), model("m-1")], "m-1 m-2-preview"),
        ([model("m-2-preview", 0.5), model("m-1")], "m-2-preview m-1"),
        # A model and its dated self: the one that can't change under the name.
        ([model("m-1"), model("m-1-20250101")], "m-1-20250101 m-1"),
    ],
)
def test_cheapest_first_then_newest(models: list[RegistryModel], order: str) -> None:
    expected = [f"p:{name}" for name in order.split()]
    assert choose(ALL, *models) == expected
    assert choose(ALL, *reversed(models)) == expected


@pytest.mark.parametrize(
    "other",
    [
        model("x", 0.1, is_active=False),
        model("x", 0.1, deprecated_date="2099-01-01"),
        model("x", 0.1, requires_waitlist=True),
        model("x", 0.1, api_endpoint="embeddings"),
        model("x-embedding-3", 0.1),
        model("x-tts", 0.1),
        model("x-realtime-preview", 0.1),
        model("x-image-1", 0.1),
        model("M", 0.1),  # how people write m
    ],
)
def test_what_nobody_should_start_with_is_not_chosen(other: RegistryModel) -> None:
    assert choose(ALL, other, model("m")) == ["p:m"]


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("p:*", "p:a-1 p:a-2 p:b-1"),
        ("p:a-*", "p:a-1 p:a-2"),
        ("p:?-1", "p:a-1 p:b-1"),
        ("p:[b]*", "p:b-1"),
    ],
)
def test_patterns_match_names(pattern: str, chosen: str) -> None:
    models = [model("a-1", 1.0), model("a-2", 2.0), model("b-1", 3.0)]
    assert choose(Rule((pattern,)), *models) == chosen.split()


@pytest.mark.parametrize(
    ("rule", "bad", "why"),
    [
        (
            Rule(("p:*",), min_context=100),
            model("x", 0.1, max_input_tokens=99),
            "takes 99 tokens of input, not 100",
        ),
        (Rule(("p:*",), min_context=100), model("x", 0.1), "takes is unknown"),
        (
            Rule(("p:*",), max_cost=1.0),
            model("x", 1.01, max_input_tokens=100),
            "costs $1.01 per million input tokens, more than $1",
        ),
        (Rule(("p:*",), max_cost=1.0), model("x", None), "price is unknown"),
        (Rule(("p:*",), needs=("vision",)), model("x", 0.1), "lacks vision"),
        (
            Rule(("p:*",), needs=("vision",)),
            model("x", 0.1, supports_vision=False),
            "lacks vision",
        ),
    ],
)
def test_constraints_hold(rule: Rule, bad: RegistryModel, why: str) -> None:
    good = model("m", 1.0, max_input_tokens=100, supports_vision=True)
    assert choose(rule, bad, good) == ["p:m"]
    assert why in "; ".join(shortcomings(bad, rule))
    assert shortcomings(good, rule) == []
    with pytest.raises(RegistryError) as caught:
        choose(rule, bad)
    assert why in str(caught.value)
    assert "p:x" in str(caught.value)


def test_reasoning_goes_by_two_names() -> None:
    rule = Rule(("p:*",), needs=("reasoning",))
    thinks = model("a", 1.0, is_reasoning_model=False, supports_thinking=True)
    reasons = model("b", 2.0, is_reasoning_model=True, supports_thinking=False)
    assert choose(rule, thinks, reasons, model("c", 0.1)) == ["p:a", "p:b"]


def test_several_patterns_give_several_models() -> None:
    known = {
        "p": Catalogue("p", [model("m-1"), model("m-2")]),
        "q": Catalogue("q", [model("n").replace(provider="q")]),
    }
    choices = resolve(Rule(("p:*", "q:*", "p:*", "r:x", "drafts")), known.get)
    assert [c.ref for c in choices] == ["p:m-2", "q:n", "p:m-1", "r:x", "drafts"]
    assert [c.select for c in choices] == ["p:*", "q:*", "p:*", "r:x", "drafts"]


def test_a_model_that_is_named_must_satisfy_the_constraints() -> None:
    known = {"p": Catalogue("p", [model("m", 5.0, max_input_tokens=10)])}
    rule = Rule(("p:m",), max_cost=5.0)
    assert [c.ref for c in resolve(rule, known.get)] == ["p:m"]
    with pytest.raises(RegistryError, match=r"p:m costs \$5"):
        resolve(Rule(("p:m",), max_cost=4.0), known.get)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("nobody:*", "knows nothing of a provider 'nobody'"),
        ("*", "anthropic:"),
        ("p:z*", "no active model that chats matches 'p:z\\*'"),
        ("*:m", "knows nothing"),
    ],
)
def test_a_pattern_that_means_nothing_is_an_error(entry: str, said: str) -> None:
    with pytest.raises(RegistryError, match=said):
        resolve(Rule((entry,)), {"p": Catalogue("p", [model("m")])}.get)


def test_a_need_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(RegistryError, match=r"'sight'.*vision"):
        choose(Rule(("p:*",), needs=("sight",)), model("m"))


# On the real data ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "chosen"),
    [
        (
            Rule(("anthropic:*",), min_context=100_000, max_cost=10.0),
            "anthropic:claude-haiku-4-5-20251001",
        ),
        (Rule(("anthropic:*",), min_context=500_000), "anthropic:claude-sonnet-5"),
        (Rule(("anthropic:claude-opus-*",)), "anthropic:claude-opus-5"),
        (Rule(("openai:*",), needs=("vision", "json_schema")), "openai:gpt-5-nano"),
    ],
)
def test_the_snapshot_is_chosen_from(rule: Rule, chosen: str) -> None:
    assert resolve(rule, load_snapshot)[0].ref == chosen


@given(
    st.sampled_from(SNAPSHOT_PROVIDERS),
    st.none() | st.integers(1, 1_000_000),
    st.none() | st.floats(0, 20),
    st.sets(st.sampled_from(sorted(NEEDS)), max_size=3),
)
def test_the_choice_is_the_cheapest_that_does(
    provider: str, least: int | None, most: float | None, needs: set[str]
) -> None:
    rule = Rule((f"{provider}:*",), least, most, tuple(sorted(needs)))
    catalogue = load_snapshot(provider)
    assert catalogue is not None
    fitting = [
        other.dollars_per_million_tokens_input
        for other in catalogue
        if is_offered(other)
        and can_chat(other)
        and other.model_name == other.model_name.lower()
        and (least is None or (other.max_input_tokens or 0) >= least)
        and (most is None or (other.dollars_per_million_tokens_input or 0) <= most)
        and all(any(getattr(other, f) for f in NEEDS[need]) for need in needs)
    ]
    try:
        (choice,) = resolve(rule, load_snapshot)
    except RegistryError:
        assert not fitting
        return
    assert choice.model is not None
    assert choice.model.dollars_per_million_tokens_input == min(fitting)  # type: ignore[type-var]
    assert len(choice.runners_up) == len(fitting) - 1


# The rule in the lockfile --------------------------------------------------------


@pytest.mark.parametrize(
    "rule",
    [
        Rule(("anthropic:*",)),
        Rule(("anthropic:*", "openai:gpt-5*"), 100_000, 10.0, ("vision", "tools")),
        Rule(("p:m", "drafts"), max_cost=0),
    ],
)
def test_a_rule_survives_the_lockfile(rule: Rule) -> None:
    assert rule_of(rule.to_constraints()) == rule


@pytest.mark.parametrize("constraints", [{}, {"other": 3}, {"select": None}])
def test_constraints_without_a_rule(constraints: dict[str, Any]) -> None:
    assert rule_of(constraints) is None


def test_constraints_by_hand_need_no_pattern() -> None:
    assert rule_of({"max_cost": 3}) == Rule((), max_cost=3)


def test_pinning_keeps_what_else_the_constraints_say() -> None:
    known = {"p": Catalogue("p", [model("m", max_input_tokens=50)])}
    refs, constraints = pin(["p:*", "x:y"], {"min_context": 9, "own": 1}, known.get)
    assert refs == ["p:m", "x:y"]
    assert constraints == {"select": "p:*, x:y", "min_context": 9, "own": 1}


# Lines and successors ------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words", "numbers"),
    [
        ("claude-3-5-haiku-20241022", "claude haiku", (3, 5)),
        ("claude-haiku-4-5", "claude haiku", (4, 5)),
        ("claude-3-7-sonnet-latest", "claude sonnet", (3, 7)),
        ("gemini-2.0-flash-001", "gemini flash", (2, 0)),
        ("gemini-2.5-flash-lite", "gemini flash lite", (2, 5)),
        ("gpt-4o-mini-2024-07-18", "gpt o mini", (4,)),
        ("o4-mini", "o mini", (4,)),
        ("whatever", "whatever", ()),
    ],
)
def test_a_name_has_words_and_a_version(
    name: str, words: str, numbers: tuple[int, ...]
) -> None:
    found, version = line_and_version(name)
    assert found == frozenset(words.split())
    # "2.0" is 2: a zero in front counts builds.
    assert version == tuple(n for n in numbers if n)


@pytest.mark.parametrize(
    ("old", "heir"),
    [
        ("anthropic:claude-opus-4-1-20250805", "claude-opus-5"),
        ("anthropic:claude-3-haiku-20240307", "claude-haiku-4-5-20251001"),
        ("anthropic:claude-3-7-sonnet-20250219", "claude-sonnet-5"),
        ("google:gemini-2.0-flash", "gemini-3.7-flash"),
        ("google:gemini-2.0-flash-lite", "gemini-3.5-flash-lite"),
    ],
)
def test_the_successor_is_the_newest_of_the_line(old: str, heir: str) -> None:
    provider, _, name = old.partition(":")
    catalogue = load_snapshot(provider)
    assert catalogue is not None
    gone = catalogue.models[name]
    found = successor(gone, catalogue)
    assert found is not None
    assert found.model_name == heir
    text = deprecation(gone, catalogue)
    assert text is not None
    assert f"use {provider}:{heir} instead" in text


def test_every_deprecated_model_of_the_snapshot_has_a_successor() -> None:
    for provider in SNAPSHOT_PROVIDERS:
        catalogue = load_snapshot(provider)
        assert catalogue is not None
        for each in catalogue:
            text = deprecation(each, catalogue)
            assert (text is None) == (each.is_active is not False)
            assert text is None or "use " in text


def test_without_its_line_the_nearest_in_price_takes_over() -> None:
    gone = model("ada-1", 4.0, is_active=False)
    known = Catalogue("p", [gone, model("bob-1", 1.0), model("eve-2", 5.0)])
    found = successor(gone, known)
    assert found is not None
    assert found.model_name == "eve-2"
    assert successor(gone, Catalogue("p", [gone])) is None
    assert deprecation(gone, Catalogue("p", [gone])) == "is no longer active"


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"is_active": False}, "is no longer active"),
        (
            {"is_active": False, "deprecated_date": "2026-01-01"},
            "is no longer active (deprecated 2026-01-01)",
        ),
        ({"deprecated_date": "2026-01-01"}, "is deprecated as of 2026-01-01"),
    ],
)
def test_deprecation_is_said(facts: dict[str, Any], text: str) -> None:
    gone = model("m-1", **facts)
    said = deprecation(gone, Catalogue("p", [gone, model("m-2")]))
    assert said == f"{text}; use p:m-2 instead"


def test_the_newer_model_sorts_last() -> None:
    names = ["m-1-20240101", "m-1-20250101", "m-1-1", "m-2", "m-10"]
    assert sorted(map(model, reversed(names)), key=by_age) == list(map(model, names))
