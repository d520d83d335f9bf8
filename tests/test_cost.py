"""What a reply cost: worked bills, by hand from the providers' own pages."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmring_lite import CostTrackingError, RegistryModel
from llmring_lite.cost import Rates, apply, calculate, check, find_rates
from llmring_lite.provider import make_usage
from llmring_lite.registry import SNAPSHOT_PROVIDERS, load_snapshot
from llmring_lite.registry_client import Registry

find = Registry("https://none.example", environ={"LLMRING_CACHE_DIR": "/none"}).find

PAGES = {
    "anthropic": "https://platform.claude.com/docs/en/about-claude/pricing",
    "google": "https://ai.google.dev/gemini-api/docs/pricing",
    "openai": "https://developers.openai.com/api/docs/pricing",
}

# The bill in millionths of a dollar, as tokens x dollars per million: what is asserted
# is worked out on paper from the page, never by the code under test.
BILLS: list[tuple[str, str, dict[str, int], list[tuple[int, str]]]] = [
    (
        "plain call",
        "anthropic:claude-haiku-4-5-20251001",
        {"fresh": 2_000, "output": 300},
        [(2_000, "1"), (300, "5")],
    ),
    (
        "cached call",
        "anthropic:claude-haiku-4-5",
        {"fresh": 1_000, "cache_read": 48_000, "output": 500},
        [(1_000, "1"), (48_000, "0.10"), (500, "5")],
    ),
    (
        "cache write for five minutes",
        "anthropic:claude-sonnet-4-5",
        {"fresh": 3_000, "cache_write": 20_000, "cache_write_5m": 20_000}
        | {"output": 1_000},
        [(3_000, "3"), (20_000, "3.75"), (1_000, "15")],
    ),
    (
        "cache write for an hour",
        "anthropic:claude-opus-5",
        {"fresh": 100, "cache_write": 10_000, "cache_write_1h": 10_000, "output": 400},
        [(100, "5"), (10_000, "10"), (400, "25")],
    ),
    (
        "both lifetimes, and a read",
        "anthropic:claude-sonnet-4-6",
        {"fresh": 50, "cache_read": 7_000, "cache_write": 3_000, "output": 10}
        | {"cache_write_5m": 1_000, "cache_write_1h": 2_000},
        [(50, "3"), (7_000, "0.30"), (1_000, "3.75"), (2_000, "6"), (10, "15")],
    ),
    (
        # The usage that the page shows under "Web search tool".
        "a write whose lifetime is not said lives five minutes",
        "anthropic:claude-sonnet-4-5",
        {"fresh": 105, "cache_read": 7_123, "cache_write": 7_345, "output": 6_039},
        [(105, "3"), (7_123, "0.30"), (7_345, "3.75"), (6_039, "15")],
    ),
    (
        "an older model's cache",
        "anthropic:claude-3-5-haiku-latest",
        {"fresh": 10, "cache_read": 1_000, "cache_write": 500, "output": 20},
        [(10, "0.80"), (1_000, "0.08"), (500, "1"), (20, "4")],
    ),
    (
        # The usage that the page shows under "Long context pricing".
        "long context: all tokens, output too",
        "anthropic:claude-sonnet-4-5",
        {"fresh": 250_000, "output": 500},
        [(250_000, "6"), (500, "22.50")],
    ),
    (
        "at the threshold the usual prices hold",
        "anthropic:claude-sonnet-4-5",
        {"fresh": 200_000, "output": 500},
        [(200_000, "3"), (500, "15")],
    ),
    (
        "one token more, and they don't",
        "anthropic:claude-sonnet-4-5",
        {"fresh": 200_001, "output": 500},
        [(200_001, "6"), (500, "22.50")],
    ),
    (
        # "The 200K threshold is based solely on input tokens (including cache
        # reads/writes)"; "Prompt caching multipliers apply on top".
        "cache reads and writes count for the threshold, and rise",
        "anthropic:claude-sonnet-4-5",
        {"fresh": 1_000, "cache_read": 198_000, "cache_write": 2_000, "output": 100}
        | {"cache_write_1h": 2_000},
        [(1_000, "6"), (198_000, "0.60"), (2_000, "12"), (100, "22.50")],
    ),
    (
        "output does not count for the threshold",
        "anthropic:claude-sonnet-4-5",
        {"fresh": 199_000, "output": 60_000},
        [(199_000, "3"), (60_000, "15")],
    ),
    (
        "no surcharge where the page has none",
        "anthropic:claude-opus-4-6",
        {"fresh": 700_000, "output": 500},
        [(700_000, "5"), (500, "25")],
    ),
    (
        "thinking is output",
        "google:gemini-2.5-pro",
        {"fresh": 1_500, "cache_read": 10_000, "output": 1_000, "reasoning": 10_000},
        [(1_500, "1.25"), (10_000, "0.125"), (11_000, "10")],
    ),
    (
        "above 200k",
        "google:gemini-2.5-pro",
        {"fresh": 300_000, "output": 400, "reasoning": 600},
        [(300_000, "2.50"), (1_000, "15")],
    ),
    (
        "above 200k with a cache",
        "google:gemini-2.5-pro",
        {"fresh": 200_000, "cache_read": 100_000, "output": 1_000},
        [(200_000, "2.50"), (100_000, "0.25"), (1_000, "15")],
    ),
    (
        "above 200k on another model",
        "google:gemini-3-pro-preview",
        {"fresh": 100_000, "cache_read": 100_001, "output": 10},
        [(100_000, "4"), (100_001, "0.40"), (10, "18")],
    ),
    (
        "one price at any length",
        "google:gemini-2.5-flash",
        {"fresh": 500_000, "cache_read": 100_000, "output": 10},
        [(500_000, "0.30"), (100_000, "0.03"), (10, "2.50")],
    ),
    (
        "cached input",
        "openai:gpt-4.1",
        {"fresh": 100, "cache_read": 900, "output": 10},
        [(100, "2"), (900, "0.50"), (10, "8")],
    ),
    (
        "cached input of a tiny price",
        "openai:gpt-5-nano",
        {"fresh": 1, "cache_read": 1, "output": 1},
        [(1, "0.05"), (1, "0.005"), (1, "0.40")],
    ),
    (
        "a dated model has the price of its name",
        "openai:gpt-5-mini-2025-08-07",
        {"fresh": 1_000, "cache_read": 9_000, "output": 10},
        [(1_000, "0.25"), (9_000, "0.025"), (10, "2")],
    ),
    (
        "reasoning is output",
        "openai:o4-mini",
        {"fresh": 100, "output": 100, "reasoning": 1_000},
        [(100, "1.10"), (1_100, "4.40")],
    ),
    (
        # The page has "-" in its column.
        "no discount where there is none",
        "openai:gpt-5-pro",
        {"fresh": 100, "cache_read": 1_000, "output": 10},
        [(1_100, "15"), (10, "120")],
    ),
    (
        "input alone",
        "openai:text-embedding-3-small",
        {"fresh": 1_000, "output": 0},
        [(1_000, "0.02"), (0, "0")],
    ),
]


def exact(rows: list[tuple[int, str]]) -> Fraction:
    """The bill in dollars, with nothing rounded."""
    return sum((count * Fraction(usd) for count, usd in rows), Fraction()) / 1_000_000


def bill_of(ref: str, usage: dict[str, Any]) -> dict[str, Any]:
    return calculate(find_rates(ref, find), usage)


@pytest.mark.parametrize(
    ("what", "ref", "counts", "rows"), BILLS, ids=[b[0] for b in BILLS]
)
def test_a_worked_bill(
    what: str, ref: str, counts: dict[str, int], rows: list[tuple[int, str]]
) -> None:
    bill = bill_of(ref, make_usage(**counts))
    assert bill["cost_status"] == "priced"
    # The nearest float to the exact sum: not a digit is lost.
    assert bill["total_cost"] == float(exact(rows)), (what, PAGES[ref.split(":")[0]])
    assert bill["input_cost"] == float(exact(rows[:-1]))
    assert bill["output_cost"] == float(exact(rows[-1:]))


@pytest.mark.parametrize("provider", SNAPSHOT_PROVIDERS)
def test_every_model_of_the_snapshot_has_a_price(provider: str) -> None:
    catalogue = load_snapshot(provider)
    assert catalogue is not None
    usage = make_usage(fresh=1_000_000, output=1_000)
    for model in catalogue:
        bill = bill_of(model.ref, usage)
        assert bill["cost_status"] == "priced", model
        assert bill["total_cost"] > 0, model


def test_the_parts_are_told_apart() -> None:
    usage = make_usage(
        fresh=50,
        cache_read=7_000,
        cache_write=3_000,
        cache_write_5m=1_000,
        cache_write_1h=2_000,
        output=10,
        reasoning=20,
    )
    bill = bill_of("anthropic:claude-sonnet-4-6", usage)
    assert bill == {
        "fresh_input_cost": 0.00015,
        "cache_read_cost": 0.0021,
        "cache_write_cost_5m": 0.00375,
        "cache_write_cost_1h": 0.012,
        "input_cost": 0.018,
        "reasoning_cost": 0.0003,
        "output_cost": 0.00045,
        "total_cost": 0.01845,
        "long_context": False,
        "cost_status": "priced",
    }


# Unknown -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ref", "usage", "status"),
    [
        ("openai:gpt-4.1", {}, "no_usage"),
        ("openai:gpt-4.1", {"prompt_tokens": 5}, "no_usage"),
        ("openai:gpt-4.1", {"completion_tokens": 5}, "no_usage"),
        ("openai:gpt-4.1", {"prompt_tokens": None, "completion_tokens": 1}, "no_usage"),
        ("openai:gpt-4.1", {"prompt_tokens": -5, "completion_tokens": 1}, "no_usage"),
        ("openai:gpt-4.1", {"prompt_tokens": "5", "completion_tokens": 1}, "no_usage"),
        ("openai:gpt-4.1", {"prompt_tokens": True, "completion_tokens": 1}, "no_usage"),
        ("openai:gpt-9", make_usage(fresh=1, output=1), "model_not_in_registry"),
        ("openai:gpt-9", {}, "no_usage"),
        ("mock:echo", make_usage(fresh=1, output=1), "model_not_in_registry"),
        ("nonsense", make_usage(fresh=1, output=1), "model_not_in_registry"),
    ],
)
def test_unknown_is_none_with_a_status_and_never_zero(
    ref: str, usage: dict[str, Any], status: str
) -> None:
    bill = bill_of(ref, usage)
    assert bill == {
        "input_cost": None,
        "output_cost": None,
        "total_cost": None,
        "cost_status": status,
    }
    told = dict(usage)
    apply(find_rates(ref, find), told)
    assert told == {**usage, "cost": None, "cost_status": status}


def model(**facts: Any) -> RegistryModel:
    names = {
        "given": "dollars_per_million_tokens_input",
        "output": "dollars_per_million_tokens_output",
        "cached": "dollars_per_million_tokens_cached_input",
        "read": "dollars_per_million_tokens_cache_read",
        "write_5m": "dollars_per_million_tokens_cache_write_5m",
        "write_1h": "dollars_per_million_tokens_cache_write_1h",
        "thinking": "dollars_per_million_tokens_output_thinking",
        "long_input": "dollars_per_million_tokens_input_long_context",
        "long_output": "dollars_per_million_tokens_output_long_context",
        "threshold": "long_context_threshold_tokens",
    }
    return RegistryModel("p", "m", **{names.get(k, k): v for k, v in facts.items()})


@pytest.mark.parametrize("facts", [{}, {"given": 1.0}, {"output": 1.0}])
def test_half_a_price_is_none(facts: dict[str, Any]) -> None:
    known = model(**facts)
    rates = find_rates("p:m", lambda provider, name: known)
    assert rates == "no_pricing_in_registry"


def total_of(known: RegistryModel, usage: dict[str, Any]) -> float:
    """In dollars."""
    bill = calculate(find_rates("p:m", lambda provider, name: known), usage)
    total: float = bill["total_cost"]
    return total


def test_a_free_model_costs_nothing() -> None:
    assert total_of(model(given=0.0, output=0.0), make_usage(fresh=5, output=5)) == 0


@pytest.mark.parametrize(
    ("facts", "counts", "expected"),
    [
        # `cache_read` is the more exact word where a registry has both.
        ({"read": 1.0, "cached": 2.0}, {"fresh": 0, "cache_read": 5}, 5),
        ({"cached": 2.0}, {"fresh": 0, "cache_read": 5}, 10),
        ({}, {"fresh": 0, "cache_read": 5}, 50),
        ({}, {"fresh": 0, "cache_write": 5}, 50),
        ({"write_5m": 3.0}, {"fresh": 0, "cache_write": 5}, 15),
        ({"write_5m": 3.0}, {"fresh": 0, "cache_write": 5, "cache_write_1h": 5}, 15),
        ({"write_1h": 4.0}, {"fresh": 0, "cache_write": 5}, 20),
        ({"thinking": 7.0}, {"fresh": 0, "reasoning": 5}, 35),
        ({"threshold": 10, "long_input": 20.0}, {"fresh": 11}, 220),
        ({"threshold": 10, "long_input": 20.0}, {"fresh": 10}, 100),
        ({"threshold": 10, "long_output": 200.0}, {"fresh": 11, "output": 1}, 310),
        # A threshold without prices, and prices that are switched off.
        ({"threshold": 10}, {"fresh": 11}, 110),
        (
            {"threshold": 10, "long_input": 20.0}
            | {"supports_long_context_pricing": False},
            {"fresh": 11},
            110,
        ),
        # A thinking price rises with the output's.
        (
            {"threshold": 10, "long_output": 200.0, "thinking": 7.0},
            {"fresh": 11, "reasoning": 1},
            124,
        ),
    ],
)
def test_what_a_registry_does_not_say(
    facts: dict[str, Any], counts: dict[str, int], expected: float
) -> None:
    known = model(given=10.0, output=100.0, **facts)
    usage = make_usage(**{"output": 0, **counts})
    assert total_of(known, usage) == pytest.approx(expected / 1e6)


def test_a_free_input_with_a_long_price_is_no_division_by_zero() -> None:
    known = model(given=0.0, output=0.0, threshold=1, long_input=1.0, read=0.0)
    usage = make_usage(fresh=2, cache_read=2, output=0)
    assert total_of(known, usage) == pytest.approx(2e-6)


def test_more_tokens_read_than_sent_are_billed_as_they_are_said() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 0, "cached_tokens": 15}
    known = model(given=10.0, output=1.0, read=1.0)
    assert total_of(known, usage) == pytest.approx(15e-6)


def test_counts_that_are_no_counts_are_left_out() -> None:
    usage: dict[str, Any] = {"prompt_tokens": 10, "completion_tokens": 5}
    usage |= {"cached_tokens": "many", "reasoning_tokens": None}
    usage |= {"cache_creation_input_tokens": -3}
    known = model(given=1.0, output=1.0)
    assert total_of(known, usage) == pytest.approx(15e-6)


@given(
    st.integers(0, 10**7),
    st.integers(0, 10**7),
    st.integers(0, 10**6),
    st.decimals(0, 1000, places=6),
    st.decimals(0, 1000, places=6),
)
def test_sums_are_exact(
    fresh: int, read: int, output: int, given_usd: Any, read_usd: Any
) -> None:
    known = model(given=float(given_usd), output=3.3, read=float(read_usd))
    usage = make_usage(fresh=fresh, cache_read=read, output=output)
    expected = exact([(fresh, str(given_usd)), (read, str(read_usd)), (output, "3.3")])
    assert total_of(known, usage) == float(expected)


# Dated models whose price the registry knows in part ------------------------------


def test_a_dated_model_that_costs_otherwise_is_another_model() -> None:
    undated = model(given=1.0, output=1.0, read=0.1).replace(model_name="m")
    dated = model(given=2.0, output=1.0).replace(model_name="m-20250101")
    by_name = {"m": undated, "m-20250101": dated}
    rates = find_rates("p:m-20250101", lambda provider, name: by_name.get(name))
    assert isinstance(rates, Rates)
    assert rates.cache_read == rates.input


# Strict --------------------------------------------------------------------------


def test_strict_tracking_names_model_and_reason() -> None:
    with pytest.raises(CostTrackingError) as caught:
        check("model_not_in_registry", "openai:gpt-9")
    assert caught.value.model == "openai:gpt-9"
    assert caught.value.cost_status == "model_not_in_registry"
    assert "openai:gpt-9" in str(caught.value)
    check(find_rates("openai:gpt-4.1", find), "openai:gpt-4.1")
