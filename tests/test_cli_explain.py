"""`explain` and `providers`: why what is used is used, and no key in sight."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmring_lite.cli import main

SECRET = "sk-very-secret-0123456789"

LOCKFILE = """
version = "1.0"
default_profile = "default"

[providers.pool]
kind = "openai"
base_url = "https://pool.example.com:8443/v1"
api_key_env = "POOL_KEY"

[providers.near]
kind = "openai"
base_url = "http://127.0.0.1:8080/v1"
api_key_env = "NEAR_KEY"

[profiles.default]
name = "default"

[[profiles.default.bindings]]
alias = "summarizer"
models = ["anthropic:claude-haiku-4-5", "openai:gpt-5-mini", "drafts"]
conditions = { "openai:gpt-5-mini" = ["rate_limit", "timeout"] }
parameters = { temperature = 0.2 }

[[profiles.default.bindings]]
alias = "drafts"
models = ["ollama:llama3.2"]

[[profiles.default.bindings]]
alias = "remote"
models = ["pool:big"]

[[profiles.default.bindings]]
alias = "shared"
models = ["openai:gpt-5-mini", "mock:echo"]
strategy = "split"
weights = [90, 10]

[profiles.prod]
name = "prod"

[[profiles.prod.bindings]]
alias = "only-prod"
models = ["mock:echo"]
"""


@pytest.fixture(autouse=True)
def lockfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "llmring.lock"
    path.write_text(LOCKFILE)
    return path


def explain(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    main(["explain", *argv, "--json"])
    return json.loads(capsys.readouterr().out)


def test_candidates_without_a_key_are_skipped_and_the_variables_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    assert main(["explain", "summarizer"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    first, second, third = out.split("candidates\n")[1].splitlines()
    assert "1. anthropic:claude-haiku-4-5" in first
    assert "skipped: no key: set ANTHROPIC_API_KEY" in first
    assert "2. openai:gpt-5-mini" in second
    assert "used: OPENAI_API_KEY is set, at api.openai.com" in second
    assert "on rate_limit, timeout" in second
    assert "3. ollama:llama3.2" in third
    assert "fallback: needs no key, at 127.0.0.1:11434" in third
    assert "temperature = 0.2" in out
    assert SECRET not in out


def test_json_has_the_same_facts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    facts = explain(capsys, "summarizer")
    assert facts["name"] == "summarizer"
    assert facts["profile"] == "default"
    assert facts["binding"]["parameters"] == {"temperature": 0.2}
    assert [
        (candidate["model"], candidate["usable"], candidate["verdict"])
        for candidate in facts["candidates"]
    ] == [
        ("anthropic:claude-haiku-4-5", False, "skipped"),
        ("openai:gpt-5-mini", True, "used"),
        ("ollama:llama3.2", True, "fallback"),
    ]
    assert SECRET not in json.dumps(facts)


@pytest.mark.parametrize(
    ("argv", "variable", "source"),
    [
        ([], None, "the lockfile's default_profile"),
        ([], "default", "LLMRING_PROFILE"),
        (["--profile", "default"], "prod", "--profile"),
    ],
)
def test_it_tells_where_the_profile_came_from(
    argv: list[str],
    variable: str | None,
    source: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if variable:
        monkeypatch.setenv("LLMRING_PROFILE", variable)
    facts = explain(capsys, "drafts", *argv)
    assert (facts["profile"], facts["profile_source"]) == ("default", source)


def test_it_tells_where_the_lockfile_came_from(
    lockfile: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    facts = explain(capsys, "drafts")
    assert facts["lockfile"] == str(lockfile)
    assert "current folder" in facts["lockfile_source"]
    monkeypatch.setenv("LLMRING_LOCKFILE_PATH", str(lockfile))
    assert explain(capsys, "drafts")["lockfile_source"] == "LLMRING_LOCKFILE_PATH"
    facts = explain(capsys, "drafts", "--lockfile", str(lockfile))
    assert facts["lockfile_source"] == "--lockfile"
    monkeypatch.delenv("LLMRING_LOCKFILE_PATH")
    lockfile.unlink()
    assert "bundled" in explain(capsys, "mock:echo")["lockfile_source"]


def test_a_name_without_a_usable_candidate_fails(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["explain", "remote"]) == 1
    out, err = capsys.readouterr()
    assert "skipped: no key: set POOL_KEY" in out
    assert "no candidate of 'remote' can be used" in err


def test_a_key_that_must_not_go_there_is_explained(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POOL_KEY", SECRET)
    assert main(["explain", "remote"]) == 1
    out, err = capsys.readouterr()
    assert "fails: " in out
    assert "LLMRING_TRUSTED_HOSTS=pool.example.com" in out
    assert SECRET not in out + err
    monkeypatch.setenv("LLMRING_TRUSTED_HOSTS", "pool.example.com")
    assert main(["explain", "remote"]) == 0
    assert "used: POOL_KEY is set, at pool.example.com:8443" in capsys.readouterr().out


def test_a_split_shows_each_share(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    assert main(["explain", "shared"]) == 0
    out = capsys.readouterr().out
    assert "shares: OPENAI_API_KEY is set, at api.openai.com, 90 %" in out
    assert "shares: needs no key, 10 %" in out


def test_a_model_needs_no_alias(capsys: pytest.CaptureFixture[str]) -> None:
    facts = explain(capsys, "mock:echo")
    assert facts["binding"] is None
    assert facts["candidates"][0]["verdict"] == "used"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sumarizer", "summarizer"),
        ("only-prod", "prod"),
        ("opanai:gpt-5-mini", "openai"),
    ],
)
def test_an_unknown_name_fails_with_what_comes_near(
    name: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", name]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err


def test_an_address_that_is_missing_is_explained(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", SECRET)
    assert main(["explain", "azure:my-deployment"]) == 1
    assert "set AZURE_OPENAI_ENDPOINT" in capsys.readouterr().out


# providers -----------------------------------------------------------------------


def providers(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["providers", "--json"]) == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)}


def test_providers_are_the_built_in_ones_and_the_lockfile_s(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = providers(capsys)
    assert {"openai", "anthropic", "google", "ollama", "mock", "groq"} <= set(rows)
    assert rows["openai"]["source"] == "built in"
    assert rows["openai"]["host"] == "api.openai.com"
    assert rows["pool"]["source"] == "lockfile"
    assert rows["pool"]["host"] == "pool.example.com:8443"
    assert rows["pool"]["kind"] == "openai"
    assert rows["pool"]["key_variables"] == ["POOL_KEY"]
    assert rows["mock"]["usable"]


def test_providers_tell_which_variable_is_set_and_nothing_of_its_value(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", SECRET)
    monkeypatch.setenv("NEAR_KEY", SECRET)
    rows = providers(capsys)
    assert rows["google"]["key_set"] == "GOOGLE_API_KEY"
    assert rows["near"]["usable"]
    assert rows["openai"]["key_set"] is None
    assert not rows["openai"]["usable"]
    assert main(["providers"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    table = {line.split()[0]: line for line in out.splitlines()}
    assert table["google"].endswith("GOOGLE_API_KEY is set")
    assert table["openai"].endswith("no key: set OPENAI_API_KEY")
    assert table["ollama"].endswith("needs no key")
    assert SECRET not in out + json.dumps(rows)
    assert str(len(SECRET)) not in out.split()


def test_a_password_in_a_base_url_is_not_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_BASE_URL", "https://user:hunter2@proxy.example.com/v1")
    assert main(["providers"]) == 0
    assert "hunter2" not in "".join(capsys.readouterr())
