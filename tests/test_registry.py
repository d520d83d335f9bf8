"""Models as facts: the snapshot, and how a name finds its model."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import llmring_lite
from llmring_lite import RegistryModel
from llmring_lite.registry import (
    SNAPSHOT_PROVIDERS,
    Catalogue,
    load_snapshot,
    snapshot_date,
    without_date,
)
from llmring_lite.registry_client import Registry

PACKAGE = Path(llmring_lite.__file__).parent
REGISTRY = Path(__file__).resolve().parents[1].parent / "shared" / "registry"
find = Registry("https://none.example", environ={"LLMRING_CACHE_DIR": "/none"}).find
needs_data = pytest.mark.skipif(
    not REGISTRY.exists(), reason="needs the registry's data"
)


def current(provider: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        (REGISTRY / provider / "models.json").read_text(encoding="utf-8")
    )
    return document


# The snapshot --------------------------------------------------------------------


def test_the_snapshot_is_small() -> None:
    assert (PACKAGE / "registry_snapshot.json").stat().st_size < 60_000


@needs_data
@pytest.mark.parametrize("provider", SNAPSHOT_PROVIDERS)
def test_the_snapshot_says_what_the_registry_says(provider: str) -> None:
    document = current(provider)
    catalogue = load_snapshot(provider)
    assert catalogue is not None
    assert catalogue.version == document["version"]
    assert catalogue.updated_at == document["updated_at"]
    assert list(catalogue.models) == [k.partition(":")[2] for k in document["models"]]
    for key, raw in document["models"].items():
        model = catalogue.models[key.partition(":")[2]]
        for name, value in raw.items():
            if not hasattr(RegistryModel, name) or name == "model_aliases":
                continue
            # Nobody looked up a limit of nothing.
            expected = None if value == 0 and name.startswith("max_") else value
            assert getattr(model, name) == expected, (key, name)
        assert list(model.model_aliases) == (raw.get("model_aliases") or [])


@needs_data
@pytest.mark.parametrize("provider", SNAPSHOT_PROVIDERS)
def test_every_fact_of_the_registry_but_words_and_ranks_is_kept(provider: str) -> None:
    left_out = {
        *("provider", "description", "recommended_use_cases", "added_date"),
        *("requires_tier", "requires_flat_input", "tool_call_format", "max_tools"),
        *("temperature_values", "max_temperature", "min_temperature"),
    }
    for raw in current(provider)["models"].values():
        facts = raw.keys() - left_out
        assert all(name in RegistryModel.__annotations__ for name in facts)


def test_the_snapshot_knows_its_day_and_versions() -> None:
    newest = ""
    for provider in SNAPSHOT_PROVIDERS:
        catalogue = load_snapshot(provider)
        assert catalogue is not None
        assert (catalogue.version or 0) >= 1
        newest = max(newest, (catalogue.updated_at or "")[:10])
    assert snapshot_date() == newest


@needs_data
def test_the_script_builds_the_snapshot_that_ships(tmp_path: Path) -> None:
    out = tmp_path / "snapshot.json"
    done = subprocess.run(
        [
            sys.executable,
            str(PACKAGE.parent / ".ci" / "build_snapshot.py"),
            str(REGISTRY),
            "--out",
            str(out),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.read_bytes() == (PACKAGE / "registry_snapshot.json").read_bytes()
    for provider in SNAPSHOT_PROVIDERS:
        assert f"{provider}: version {current(provider)['version']} of" in done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import llmring_lite; llmring_lite.RegistryModel",
        "from llmring_lite import LLMRing; LLMRing().has_alias('advisor')",
        "from llmring_lite import LLMRing; LLMRing().chat('mock:echo', 'hi').usage",
        "from llmring_lite import LLMRing; LLMRing().registry.find('ollama', 'x')",
        "from llmring_lite.cli import main; main(['aliases'])",
    ],
)
def test_who_needs_no_price_does_not_read_the_snapshot(code: str) -> None:
    check = "import sys; r = sys.modules.get('llmring_lite.registry'); "
    check += "assert r is None or (not r._loaded and not r._catalogues)"
    subprocess.run(
        [sys.executable, "-c", f"{code}\n{check}"],
        check=True,
        capture_output=True,
        cwd=PACKAGE.parent,
    )


# Names ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "name", "found"),
    [
        ("anthropic", "claude-opus-4-1-20250805", "claude-opus-4-1-20250805"),
        ("anthropic", "claude-opus-4-1", "claude-opus-4-1-20250805"),
        ("anthropic", "claude-haiku-4-5", "claude-haiku-4-5-20251001"),
        ("anthropic", "claude-3-7-sonnet-latest", "claude-3-7-sonnet-20250219"),
        ("anthropic", "claude-opus-5-20260801", "claude-opus-5"),
        # A model's own entry counts more than another's alias: this one is dearer.
        ("openai", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("openai", "gpt-4o-2024-11-20", "gpt-4o-2024-08-06"),
        ("openai", "gpt-5.4-2026-03-05", "gpt-5.4"),
        ("openai", "gpt-4.1", "gpt-4.1"),
        ("google", "gemini-2.0-flash-001", "gemini-2.0-flash"),
        ("openai", "gpt-6", None),
        ("openai", "", None),
        # A fine-tuned model has a price of its own.
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::x", None),
        ("openai", "gpt-4.1-", None),
        ("ollama", "llama3.2", None),
        ("mock", "echo", None),
    ],
)
def test_a_name_finds_its_model(provider: str, name: str, found: str | None) -> None:
    model = find(provider, name)
    assert (None if model is None else model.model_name) == found


def catalogue(*models: RegistryModel) -> Catalogue:
    return Catalogue("p", models, version=1)


def test_an_undated_name_means_the_latest_dated_one() -> None:
    known = catalogue(
        RegistryModel("p", "m-1-20250101"),
        RegistryModel("p", "m-1-20260101"),
        RegistryModel("p", "m-1-20251231"),
    )
    for name in ("m-1", "m-1-latest", "m-1-20270101"):
        found = known.find(name)
        assert found is not None
        assert found.model_name == "m-1-20260101", name


def test_of_two_models_with_an_alias_the_active_one_has_it() -> None:
    old = RegistryModel("p", "m-1", model_aliases=("m",), is_active=False)
    new = RegistryModel("p", "m-2", model_aliases=("m",), is_active=True)
    assert catalogue(old, new).find("m") == new
    assert catalogue(new, old).find("m") == new


@pytest.mark.parametrize(
    ("name", "undated"),
    [
        ("claude-opus-4-1-20250805", "claude-opus-4-1"),
        ("gpt-5-2025-08-07", "gpt-5"),
        ("gpt-5", None),
        ("gpt-5-2025", None),
        ("gemini-2.5-flash-preview-09-2025", None),
        ("20250805", None),
        ("-20250805", None),
        ("-2025-08-05", None),
        ("x-2025x08x05", None),
        ("x-20a5-08-05", None),
    ],
)
def test_the_date_at_the_end_of_a_name(name: str, undated: str | None) -> None:
    assert without_date(name) == undated


# The value -----------------------------------------------------------------------


def test_facts_can_not_be_changed_and_travel() -> None:
    model = find("anthropic", "claude-opus-4-1")
    assert model is not None
    with pytest.raises(AttributeError):
        model.is_active = True
    with pytest.raises(AttributeError):
        del model.provider
    assert pickle.loads(pickle.dumps(model)) == model
    assert len({model, pickle.loads(pickle.dumps(model))}) == 1
    assert model != "claude-opus-4-1"
    assert repr(model) == "<RegistryModel anthropic:claude-opus-4-1-20250805>"
    assert model.to_dict()["ref"] == "anthropic:claude-opus-4-1-20250805"
    assert json.loads(json.dumps(model.to_dict()))["model_aliases"] == [
        "claude-opus-4-1"
    ]


def test_a_misspelt_fact_is_an_error() -> None:
    with pytest.raises(TypeError, match="max_tokens"):
        RegistryModel("p", "m", max_tokens=3)
