"""A first lockfile: by the keys, the registry and a running Ollama."""

from __future__ import annotations

import json
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback, Received, reply, serving

from llmring_lite import LLMRing, LockfileError
from llmring_lite.cli import main
from llmring_lite.lockfile import Lockfile
from llmring_lite.proposal import LocalModels, lockfile_text, provider_names
from llmring_lite.registry import Catalogue, load_snapshot
from llmring_lite.registry_parse import parse_document

Output = pytest.CaptureFixture[str]

REGISTRY = Path(__file__).resolve().parents[1].parent / "shared" / "registry"
NAMES = provider_names()
SUBSETS = list(
    chain.from_iterable(combinations(NAMES, count) for count in range(len(NAMES) + 1))
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # Nobody listens there.
    monkeypatch.setenv("OLLAMA_BASE_URL", "http://127.0.0.1:1")
    return tmp_path


def tags(*models: Any) -> dict[str, Any]:
    """What Ollama answers: names, or (name, size), or whole models."""
    rows = []
    for model in models:
        if isinstance(model, str):
            model = {"name": model, "size": 5}
        rows.append(model)
    return {"models": rows}


def bindings(path: str = "llmring.lock") -> dict[str, tuple[str, ...]]:
    profile = Lockfile.load(path).get_profile()
    return {alias: binding.models for alias, binding in profile.bindings.items()}


# Ollama ----------------------------------------------------------------------------


def test_a_running_ollama_serves_without_any_key(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = {"name": "qwen3:30b", "size": 30}
    small = {"name": "llama3.2:1b", "size": 1, "details": {"family": "llama"}}
    embed = {"name": "nomic-embed-text", "size": 0}
    bert = {"name": "minilm", "size": 0, "details": {"family": "bert"}}
    with serving(reply(tags(embed, big, bert, small))) as ollama:
        monkeypatch.setenv("OLLAMA_BASE_URL", ollama.url)
        assert main(["lock", "init"]) == 0
        assert [r.path for r in ollama.requests] == ["/api/tags"]
    assert bindings() == {
        "default": ("ollama:qwen3:30b",),
        "fast": ("ollama:llama3.2:1b",),
        "summarizer": ("ollama:qwen3:30b",),
        "local": ("ollama:qwen3:30b",),
    }
    text = Path("llmring.lock").read_text()
    assert "runs on this machine" in text
    assert "Only ollama can be used" in capsys.readouterr().err


def test_a_running_ollama_is_the_fallback_of_a_single_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with serving(reply(tags("llama3.2"))) as ollama:
        monkeypatch.setenv("OLLAMA_BASE_URL", ollama.url)
        assert main(["lock", "init"]) == 0
    bound = bindings()
    for alias in ("default", "fast", "summarizer"):
        assert [m.partition(":")[0] for m in bound[alias]] == ["openai", "ollama"]
    assert len(bound["vision"]) == 1  # nobody knows whether it sees
    assert bound["local"] == ("ollama:llama3.2",)


@pytest.mark.parametrize(
    "answer",
    [
        reply(b"garbage"),
        reply({"models": []}),
        reply({"models": [{"size": 3}]}),
        reply({"models": [{"name": 'x"]\nmodels = ["evil:y', "size": 3}]}),
        reply({"models": 3}),
        reply([]),
        reply(b"", "500 Oops"),
        reply(b"", "404 Not Found"),
    ],
)
def test_an_ollama_that_speaks_nonsense_is_none(
    answer: bytes, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(answer) as ollama:
        monkeypatch.setenv("OLLAMA_BASE_URL", ollama.url)
        assert main(["lock", "init"]) == 0
    assert bindings() == {}
    assert "no key is set" in capsys.readouterr().err


# The registry ------------------------------------------------------------------------


def test_versions_are_pinned_and_choices_explained(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    assert main(["lock", "init"]) == 0
    err = capsys.readouterr().err
    profile = Lockfile.load("llmring.lock").get_profile()
    assert profile.registry_versions == {"anthropic": 9, "openai": 7}
    assert "newest data could not be had" in err
    assert "openai version 7 of 2026-08-18" in err
    text = Path("llmring.lock").read_text()
    for models in bindings().values():
        for ref in models:
            assert f"# - {ref}: " in text
    assert "1 USD in, 5 USD out per million tokens; up to 136,000 tokens" in text
    assert main(["lock", "validate", "--offline", "--strict"]) == 0


def test_the_newest_data_is_asked_for_and_counts(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = load_snapshot("openai")
    assert shipped is not None
    models = {}
    for model in shipped:
        # The middle model goes away, and a newer one of its line comes.
        gone = model.model_name == "gpt-5.6-terra"
        raw = {**model.to_dict(), "is_active": not gone}
        models[model.ref] = raw
    models["openai:gpt-6-terra"] = {**models["openai:gpt-5.6-terra"], "is_active": True}
    body = {"provider": "openai", "version": 50, "models": models}

    def answer(sock: Any, request: Received, _: int) -> bool:
        found = request.path == "/openai/models.json"
        sock.sendall(reply(body) if found else reply(b"", "404 Not Found"))
        return True

    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with Loopback(answer) as server:
        monkeypatch.setenv("LLMRING_REGISTRY_URL", server.url)
        assert main(["lock", "init"]) == 0
    assert "could not be had" not in capsys.readouterr().err
    assert bindings()["default"] == ("openai:gpt-6-terra",)
    profile = Lockfile.load("llmring.lock").get_profile()
    assert profile.registry_versions == {"openai": 50}


def test_a_registry_that_knows_nothing_of_them_does_not_stop_it() -> None:
    text = lockfile_text(["openai"], lambda provider: None)
    assert "the registry has no facts on it" in text
    assert "registry_versions" not in text
    assert Lockfile.loads(text).get_profile().bindings


def test_facts_that_are_missing_are_left_out() -> None:
    models = {
        "openai:gpt-5.6-luna": {},
        "openai:gpt-5.6-terra": {"max_input_tokens": 9},
    }
    document = json.dumps({"models": models})
    catalogue = parse_document(document, "openai", source="x")
    text = lockfile_text(["openai"], {"openai": catalogue}.get)
    assert "# - openai:gpt-5.6-luna: price unknown." in text
    assert "# - openai:gpt-5.6-terra: up to 9 tokens of input." in text
    assert "registry_versions" not in text  # it has no number


def test_a_name_that_nobody_lists_any_more_is_replaced_by_its_line() -> None:
    document = json.dumps({"models": {"openai:gpt-7-luna": {"is_active": True}}})
    catalogue: Catalogue = parse_document(document, "openai", source="x")
    text = lockfile_text(["openai"], {"openai": catalogue}.get)
    fast = Lockfile.loads(text).get_profile().bindings["fast"]
    assert fast.models == ("openai:gpt-7-luna",)


def test_without_a_key_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(reply(b"{}")) as server:
        monkeypatch.setenv("LLMRING_REGISTRY_URL", server.url)
        assert main(["lock", "init"]) == 0
        assert server.requests == []


def test_a_file_that_is_there_is_not_replaced_and_nobody_is_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "llmring.lock").write_text("# mine\n")
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with serving(reply(b"{}")) as server:
        monkeypatch.setenv("LLMRING_REGISTRY_URL", server.url)
        with LLMRing() as ring, pytest.raises(LockfileError, match="force"):
            ring.init_lockfile()
        assert server.requests == []
    assert (folder / "llmring.lock").read_text() == "# mine\n"


def test_the_ring_makes_one_and_uses_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with LLMRing() as ring:
        path = ring.init_lockfile()
        assert path == folder / "llmring.lock"
        assert ring.has_alias("summarizer")
        assert ring.resolve_alias("fast").startswith("openai:")


def test_json_is_written_where_the_name_asks_for_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert main(["lock", "init", "--file", "lock.json"]) == 0
    data = json.loads((folder / "lock.json").read_text())
    assert data["profiles"]["default"]["registry_versions"] == {"openai": 7}
    assert bindings("lock.json")["fast"]


def test_local_models_alone_make_a_valid_file() -> None:
    text = lockfile_text([], load_snapshot, LocalModels("a:1b", "b"))
    assert set(Lockfile.loads(text).get_profile().bindings) == {
        *("default", "fast", "summarizer", "local")
    }


# The text ----------------------------------------------------------------------------


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
