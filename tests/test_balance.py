"""Weights, turns and estimates."""

from __future__ import annotations

import random
from collections import Counter
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmring_lite import balance

NAMES = ["a", "b", "c"]


@pytest.mark.parametrize("weights", [[80, 15, 5], [50, 50, 0], [99.5, 0.5, 0]])
def test_draws_keep_to_the_weights(weights: list[float]) -> None:
    rng = random.Random(7)
    n = 100_000
    counts = Counter(balance.draw(weights, rng.random()) for _ in range(n))
    for index, weight in enumerate(weights):
        share = weight / 100
        bound = 5 * sqrt(n * share * (1 - share))  # five standard deviations
        assert abs(counts[index] - n * share) <= bound


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=8).filter(any),
    st.floats(0, 1),
)
def test_a_weight_of_zero_is_never_drawn(weights: list[float], point: float) -> None:
    if sum(weights) > 1e-300:
        assert weights[balance.draw(weights, point)] > 0


def test_sticky_keys_keep_to_the_weights_and_to_their_side() -> None:
    weights = [80, 15, 5]
    n = 20_000
    sides = [balance.draw_sticky(weights, NAMES, f"user-{i}") for i in range(n)]
    again = [balance.draw_sticky(weights, NAMES, f"user-{i}") for i in range(n)]
    assert sides == again
    counts = Counter(sides)
    for index, weight in enumerate(weights):
        share = weight / 100
        assert abs(counts[index] - n * share) <= 5 * sqrt(n * share * (1 - share))


@pytest.mark.parametrize(
    ("before", "after"),
    [([80, 20], [70, 30]), ([50, 50], [0, 100]), ([90, 10], [90, 10])],
)
def test_changed_weights_move_only_the_share_they_must(
    before: list[float], after: list[float]
) -> None:
    n = 20_000
    names = NAMES[:2]
    moved = 0
    for i in range(n):
        old = balance.draw_sticky(before, names, f"user-{i}")
        new = balance.draw_sticky(after, names, f"user-{i}")
        if old != new:
            moved += 1
            assert after[new] > before[new]  # only towards the side that gained
    must = abs(after[0] - before[0]) / 100
    assert abs(moved - n * must) <= 5 * sqrt(n * must * (1 - must))


def test_round_robin_takes_turns() -> None:
    turns = balance.Turns()
    assert [turns.next(3) for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_weighted_turns_are_exact_and_even() -> None:
    turns = balance.Turns()
    picks = [turns.next_weighted([50, 30, 20], NAMES) for _ in range(100)]
    assert Counter(picks) == {0: 50, 1: 30, 2: 20}
    for start in range(90):
        assert Counter(picks[start : start + 10])[0] in (4, 5, 6)


def test_least_connections_prefers_the_idle_and_then_the_first() -> None:
    load = balance.InFlight()
    assert load.least(NAMES) == 0
    load.begin("a")
    assert load.least(NAMES) == 1
    load.begin("b")
    assert load.least(NAMES) == 2
    load.end("a")
    assert load.least(NAMES) == 0


def test_a_quantile_is_close_and_needs_evidence() -> None:
    latency = balance.Latency()
    assert latency.quantile(0.95) is None
    rng = random.Random(3)
    samples = [rng.lognormvariate(-2, 0.5) for _ in range(5000)]
    for sample in samples:
        latency.observe(sample)
    true = sorted(samples)[int(0.95 * len(samples))]
    estimate = latency.quantile(0.95)
    assert estimate is not None
    assert 0.8 * true < estimate < 1.25 * true


def test_an_estimate_follows_a_change() -> None:
    latency = balance.Latency()
    for _ in range(2000):
        latency.observe(0.1)
    for _ in range(4000):
        latency.observe(2.0)
    estimate = latency.quantile(0.5)
    assert estimate is not None
    assert estimate > 1


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 5000.0])
def test_extremes_have_a_bucket(seconds: float) -> None:
    latency = balance.Latency()
    for _ in range(30):
        latency.observe(seconds)
    assert latency.quantile(0.95) is not None
