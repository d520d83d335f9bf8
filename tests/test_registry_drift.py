"""Between two versions every change of a fact is found, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmring_lite import RegistryModel
from llmring_lite.registry import Catalogue
from llmring_lite.registry_drift import COMPARED, compare
from llmring_lite.registry_parse import parse_document

REGISTRY = Path(__file__).resolve().parents[1].parent / "shared" / "registry"


def versions() -> list[tuple[str, int]]:
    """Each provider with each version that has a successor."""
    return [
        (provider.name, number)
        for provider in sorted(REGISTRY.glob("*"))
        if provider.is_dir()
        for number in range(1, len(list((provider / "v").iterdir())))
    ]


def raw(provider: str, number: int) -> dict[str, Any]:
    path = REGISTRY / provider / "v" / str(number) / "models.json"
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document["models"]  # type: ignore[no-any-return]


def parsed(provider: str, number: int) -> Catalogue:
    path = REGISTRY / provider / "v" / str(number) / "models.json"
    return parse_document(path.read_bytes(), provider, source=str(path))


# Written out, so that a field that the code forgets is missed here.
FACTS = """
    dollars_per_million_tokens_input dollars_per_million_tokens_output
    dollars_per_million_tokens_cached_input dollars_per_million_tokens_cache_read
    dollars_per_million_tokens_cache_write_5m
    dollars_per_million_tokens_cache_write_1h
    dollars_per_million_tokens_output_thinking
    dollars_per_million_tokens_input_long_context
    dollars_per_million_tokens_output_long_context
    cache_storage_cost_per_million_tokens_per_hour
    long_context_threshold_tokens max_input_tokens max_output_tokens
    min_recommended_reasoning_tokens
    supports_vision supports_function_calling supports_json_mode
    supports_parallel_tool_calls supports_streaming supports_audio
    supports_documents supports_json_schema supports_logprobs
    supports_multiple_responses supports_caching is_reasoning_model
    supports_temperature supports_system_message supports_pdf_input
    supports_tool_choice supports_thinking supports_long_context_pricing
    api_endpoint is_active deprecated_date requires_waitlist
"""


def value_of(model: dict[str, Any], field: str) -> Any:
    value = model.get(field)
    if field == "max_input_tokens" and value is None:
        value = model.get("context_window_tokens")  # the first documents' word
    # A limit of nothing is one that nobody looked up.
    return None if value == 0 and field.endswith("_tokens") else value


@pytest.mark.skipif(not REGISTRY.exists(), reason="needs the registry's data")
@pytest.mark.parametrize(("provider", "number"), versions())
def test_every_drift_is_found_and_nothing_else(provider: str, number: int) -> None:
    old, new = raw(provider, number), raw(provider, number + 1)
    expected = set()
    for ref in old.keys() | new.keys():
        name = ref.partition(":")[2]
        if ref not in old or ref not in new:
            expected.add((name, "listed", ref in old, ref in new))
            continue
        for field in FACTS.split():
            before, after = value_of(old[ref], field), value_of(new[ref], field)
            if before != after:
                expected.add((name, field, before, after))
    drift = compare(parsed(provider, number), parsed(provider, number + 1))
    assert {(c.model, c.field, c.before, c.after) for c in drift.changes} == expected
    assert len(drift.changes) == len(expected)
    assert (drift.before, drift.after) == (number, number + 1)
    assert all(change.provider == provider for change in drift.changes)


@pytest.mark.skipif(not REGISTRY.exists(), reason="needs the registry's data")
@pytest.mark.parametrize(("provider", "number"), versions())
def test_nothing_drifts_from_a_version_to_itself(provider: str, number: int) -> None:
    assert compare(parsed(provider, number), parsed(provider, number)).changes == ()


@pytest.mark.skipif(not REGISTRY.exists(), reason="needs the registry's data")
def test_only_the_models_asked_for_count() -> None:
    old, new = parsed("anthropic", 6), parsed("anthropic", 9)
    drift = compare(old, new, ["claude-opus-4-1", "claude-haiku-4-5-20251001"])
    # By the name that was asked for, here an alias.
    assert {change.model for change in drift.changes} == {
        "claude-opus-4-1",
        "claude-haiku-4-5-20251001",
    }
    assert {
        (change.field, change.after)
        for change in drift.changes
        if change.model == "claude-opus-4-1"
    } == {("is_active", False), ("deprecated_date", "2026-08-05")}


def state(version: int, **facts: Any) -> Catalogue:
    return Catalogue(
        "openai", [RegistryModel("openai", "gpt-4o", **facts)], version=version
    )


INPUT = "dollars_per_million_tokens_input"


@pytest.mark.parametrize(
    ("field", "before", "after", "kind", "text"),
    [
        (INPUT, 5.0, 2.5, "price", "gpt-4o input $5.00 → $2.50 per million"),
        (INPUT, None, 0.075, "price", "gpt-4o input unknown → $0.075 per million"),
        (INPUT, 10.0, 0.0, "price", "gpt-4o input $10.00 → $0.00 per million"),
        (
            "max_input_tokens",
            128000,
            None,
            "limit",
            "gpt-4o longest input 128,000 → unknown tokens",
        ),
        (
            "long_context_threshold_tokens",
            None,
            200000,
            "price",
            "gpt-4o long-context threshold unknown → 200,000 tokens",
        ),
        ("supports_vision", True, False, "capability", "gpt-4o vision yes → no"),
        (
            "supports_thinking",
            None,
            True,
            "capability",
            "gpt-4o thinking unknown → yes",
        ),
        (
            "api_endpoint",
            "chat",
            "responses",
            "capability",
            "gpt-4o API chat → responses",
        ),
        ("is_active", True, False, "status", "gpt-4o active yes → no"),
        (
            "deprecated_date",
            None,
            "2026-01-01",
            "status",
            "gpt-4o deprecated no → 2026-01-01",
        ),
    ],
)
def test_a_change_reads_like_a_sentence(
    field: str, before: Any, after: Any, kind: str, text: str
) -> None:
    drift = compare(state(5, **{field: before}), state(7, **{field: after}))
    assert drift.title == "openai v5 → v7"
    (change,) = drift.changes
    assert str(change) == text
    assert change.kind == kind
    assert drift.to_dict() == {
        "provider": "openai",
        "before": 5,
        "after": 7,
        "changes": [
            {
                "provider": "openai",
                "model": "gpt-4o",
                "field": field,
                "before": before,
                "after": after,
                "kind": kind,
            }
        ],
    }


def test_models_come_and_go() -> None:
    empty = Catalogue("openai", [], version=6)
    (gone,) = compare(state(5), empty).changes
    assert str(gone) == "gpt-4o listed yes → no"
    assert gone.kind == "status"
    (came,) = compare(empty, state(7)).changes
    assert str(came) == "gpt-4o listed no → yes"
    assert compare(empty, empty, ["gpt-4o"]).changes == ()


def test_names_and_ranks_are_no_drift() -> None:
    old = state(5, display_name="A", speed_tier="slow", model_aliases=("x",))
    assert compare(old, state(6, model_family="gpt", release_date="2024-05-13")) == (
        "openai",
        5,
        6,
        (),
    )


def test_every_compared_field_can_be_said() -> None:
    for field in COMPARED:
        (change,) = compare(state(1), state(2, **{field: 1})).changes
        assert str(change).startswith("gpt-4o ")
