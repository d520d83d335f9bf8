"""What is known of Claude models by their names."""

from __future__ import annotations

import pytest

from llmring_lite.provider_anthropic_models import describe, effort_levels


@pytest.mark.parametrize(
    ("model", "like"),
    [
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("claude-sonnet-4-20250514", "claude-sonnet-4-0"),
        ("claude-4-opus-20250514", "claude-opus-4-0"),
        ("claude-3-5-sonnet-20241022", "claude-3-5-sonnet-latest"),
        ("us.anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
        ("anthropic.claude-3-5-haiku-20241022-v1:0", "claude-3-5-haiku-latest"),
        ("anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("claude-haiku-4-5@20251001", "claude-haiku-4-5"),
        ("Claude-Opus-5", "claude-opus-5"),
        ("claude-fable-5-20260609", "claude-fable-5"),
        # Not listed yet: taken for the newest that came before.
        ("claude-opus-5-9", "claude-opus-5-5"),
        ("claude-haiku-6", "claude-haiku-5-5"),
        ("claude-sonnet-latest", "claude-sonnet-5-5"),
        ("claude-saga-6", "claude-fable-5-1"),
        ("claude-instant-1.2", "claude-2.1"),
    ],
)
def test_names_of_one_model_mean_the_same(model: str, like: str) -> None:
    assert describe(model) == describe(like)


# From the tables of https://platform.claude.com/docs/en/build-with-claude/
# thinking-troubleshooting and thinking, and the notes on each model.
@pytest.mark.parametrize(
    ("model", "limit", "has", "lacks"),
    [
        ("claude-2.1", 4096, "sampling both", "budget forced format"),
        ("claude-3-opus-20240229", 4096, "sampling both forced", "budget format"),
        ("claude-3-7-sonnet-20250219", 64000, "budget both", "adaptive format"),
        ("claude-opus-4-1-20250805", 32000, "budget sampling", "both effort"),
        ("claude-haiku-4-5", 64000, "budget format sampling", "adaptive effort both"),
        ("claude-opus-4-5", 64000, "budget effort format", "adaptive xhigh max"),
        ("claude-sonnet-4-6", 128000, "budget adaptive max sampling", "on xhigh"),
        ("claude-opus-4-7", 128000, "adaptive xhigh", "budget sampling on system"),
        ("claude-opus-4-8", 128000, "adaptive system forced", "budget sampling on"),
        ("claude-sonnet-5", 128000, "adaptive on off forced", "budget system"),
        ("claude-opus-5", 128000, "adaptive on off forced system", "budget"),
        ("claude-fable-5", 128000, "adaptive on forced system", "off budget"),
        ("claude-fable-5-1", 128000, "adaptive on system", "off forced budget"),
        ("claude-mythos-5-1", 128000, "adaptive on", "off forced budget"),
        ("claude-opus-5-5", 128000, "adaptive on system", "off forced sampling"),
        ("claude-sonnet-5-5", 128000, "adaptive on between", "off forced"),
        ("claude-haiku-5-5", 128000, "adaptive on off forced", "budget sampling"),
        ("claude-mythos-preview", 128000, "adaptive budget on", "off sampling"),
        ("glm-4.6", 8192, "sampling both budget forced", "adaptive format system"),
    ],
)
def test_what_a_model_takes(model: str, limit: int, has: str, lacks: str) -> None:
    tokens, traits = describe(model)
    assert tokens == limit
    assert traits >= set(has.split())
    assert not traits & set(lacks.split())


@pytest.mark.parametrize(
    ("model", "levels"),
    [
        ("claude-haiku-4-5", ""),
        ("claude-opus-4-5", "low medium high"),
        ("claude-opus-4-6", "low medium high max"),
        ("claude-opus-4-7", "low medium high xhigh max"),
    ],
)
def test_effort_levels(model: str, levels: str) -> None:
    assert effort_levels(describe(model)[1]) == tuple(levels.split())
