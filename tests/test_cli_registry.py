"""`list`, `info`, `registry refresh`, `cache info`, `cache clear`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback, Received, reply, serving

from llmring_lite.cli import main
from llmring_lite.registry import SNAPSHOT_PROVIDERS, load_snapshot, snapshot_date


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


Output = pytest.CaptureFixture[str]


def run_json(capsys: Output, *argv: str, code: int = 0) -> Any:
    assert main([*argv, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def document(provider: str = "openai", version: int = 99, **facts: Any) -> bytes:
    facts.setdefault("dollars_per_million_tokens_input", 1.5)
    facts.setdefault("dollars_per_million_tokens_output", 6)
    return json.dumps(
        {
            "provider": provider,
            "version": version,
            "updated_at": "2026-01-02T03:04:05",
            "models": {f"{provider}:house": facts},
        }
    ).encode()


def registry_of(**documents: bytes) -> Loopback:
    """A registry on loopback: `openai=...` is served as openai/models.json."""

    def answer(sock: Any, request: Received, _: int) -> bool:
        provider = request.path.split("/")[-2]
        body = documents.get(provider)
        sock.sendall(reply(body) if body else reply(b"", "404 Not Found"))
        return True

    return Loopback(answer)


# list ----------------------------------------------------------------------------


def test_list_shows_every_model_with_prices(capsys: Output) -> None:
    assert main(["list"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split()[:3] == ["MODEL", "INPUT", "OUTPUT"]
    rows = {line.split()[0]: line for line in lines[1:]}
    known = [
        model
        for provider in SNAPSHOT_PROVIDERS
        if (catalogue := load_snapshot(provider)) is not None
        for model in catalogue
    ]
    assert rows.keys() == {model.ref for model in known}
    haiku = rows["anthropic:claude-haiku-4-5-20251001"]
    assert haiku.split()[1:4] == ["$1.00", "$5.00", "136,000"]
    assert haiku.endswith("active")
    assert rows["anthropic:claude-opus-4-1-20250805"].endswith("inactive")
    assert "days old" in err
    assert "snapshot" in err


def test_list_narrows_down(capsys: Output) -> None:
    everyone = run_json(capsys, "list", "--provider", "google")
    assert {model["provider"] for model in everyone} == {"google"}
    able = run_json(
        capsys, "list", "--provider", "google", "--needs", "vision, reasoning"
    )
    assert 0 < len(able) < len(everyone)
    for model in able:
        assert model["supports_vision"]
        assert model["supports_thinking"] or model["is_reasoning_model"]
    active = run_json(capsys, "list", "--provider", "google", "--active")
    assert {m["ref"] for m in everyone} - {m["ref"] for m in active} == {
        "google:gemini-2.0-flash",
        "google:gemini-2.0-flash-lite",
    }


def test_list_without_any_match_says_so(capsys: Output) -> None:
    assert main(["list", "--provider", "openai", "--needs", "audio"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "no model" in err
    assert run_json(capsys, "list", "--provider", "openai", "--needs", "audio") == []


def test_list_of_a_need_that_nobody_knows_is_misuse(capsys: Output) -> None:
    assert main(["list", "--needs", "sight"]) == 2
    assert "'sight'" in capsys.readouterr().err


def test_list_of_an_unknown_provider_fails(capsys: Output) -> None:
    assert main(["list", "--provider", "acme"]) == 1
    err = capsys.readouterr().err
    assert "'acme'" in err
    assert "openai" in err


def test_list_refreshes_when_asked(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    with registry_of(openai=document()) as server:
        monkeypatch.setenv("LLMRING_REGISTRY_URL", server.url)
        main(["list", "--provider", "openai"])
        assert "openai:house" not in capsys.readouterr().out
        assert server.requests == []
        assert main(["list", "--provider", "openai", "--refresh"]) == 0
        assert "openai:house" in capsys.readouterr().out


def test_list_that_can_not_refresh_shows_the_old_and_fails(capsys: Output) -> None:
    assert main(["list", "--provider", "openai", "--refresh"]) == 1
    out, err = capsys.readouterr()
    assert "openai:gpt-4.1" in out
    assert "kept: openai version" in err


# info ----------------------------------------------------------------------------


def test_info_tells_what_is_known(capsys: Output) -> None:
    assert main(["info", "anthropic:claude-opus-4-1"]) == 0
    out = capsys.readouterr().out
    assert "anthropic:claude-opus-4-1-20250805" in out
    assert "168,000 tokens" in out
    assert "$15.00 per million" in out
    assert "$18.75 per million" in out
    assert "use anthropic:claude-opus-5 instead" in out
    assert "anthropic version 9 of 2026-08-18" in out


def test_info_tells_of_long_context_prices(capsys: Output) -> None:
    assert main(["info", "google:gemini-2.5-pro"]) == 0
    out = capsys.readouterr().out
    assert "$2.50 per million" in out
    assert "long means above" in out
    assert "200,000" in out


def test_info_of_an_alias_tells_of_each_model(folder: Path, capsys: Output) -> None:
    assert main(["bind", "smart", "anthropic:claude-haiku-4-5,openai:gpt-4.1"]) == 0
    capsys.readouterr()
    assert main(["info", "smart"]) == 0
    out = capsys.readouterr().out
    assert "anthropic:claude-haiku-4-5-20251001" in out
    assert "openai:gpt-4.1" in out
    models = run_json(capsys, "info", "smart")
    assert [model["model"] for model in models] == [
        "anthropic:claude-haiku-4-5",
        "openai:gpt-4.1",
    ]


def test_info_of_one_model_is_one_object(capsys: Output) -> None:
    about = run_json(capsys, "info", "openai:gpt-4.1")
    assert about["ref"] == about["model"] == "openai:gpt-4.1"
    assert about["dollars_per_million_tokens_input"] == 2
    assert about["registry_version"] == 7


@pytest.mark.parametrize("name", ["openai:gpt-9", "mock:echo"])
def test_info_of_a_model_nobody_knows_fails(name: str, capsys: Output) -> None:
    assert main(["info", name]) == 1
    assert name in capsys.readouterr().err


def test_info_of_no_alias_fails(capsys: Output) -> None:
    assert main(["info", "nothing"]) == 1
    assert "nothing" in capsys.readouterr().err


# registry refresh ----------------------------------------------------------------


def test_refresh_fetches_what_the_registry_has(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    with registry_of(openai=document()) as server:
        monkeypatch.setenv("LLMRING_REGISTRY_URL", server.url)
        assert main(["registry", "refresh"]) == 0
        out = capsys.readouterr().out
        assert out.startswith("openai version 99 of 2026-01-02, 1 model, before: vers")
        assert main(["registry", "refresh", "openai"]) == 0
        assert "as before" in capsys.readouterr().out
    assert main(["info", "openai:house"]) == 0


def test_refresh_that_fails_keeps_the_old_and_says_how_old(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    with registry_of(openai=document()) as server:
        monkeypatch.setenv("LLMRING_REGISTRY_URL", server.url)
        assert main(["registry", "refresh", "openai"]) == 0
        server.handler = lambda sock, *_: sock.sendall(reply(b'{"models": []}'))
        capsys.readouterr()
        assert main(["registry", "refresh", "openai"]) == 1
        out, err = capsys.readouterr()
    assert out == ""
    assert "models must be an object, not an array" in err
    assert "kept: openai version 99 of 2026-01-02" in err
    assert "days old" in err
    assert main(["info", "openai:house"]) == 0


def test_refresh_of_nobody_listening_fails_for_each(capsys: Output) -> None:
    rows = run_json(capsys, "registry", "refresh", code=1)
    assert {row["provider"] for row in rows} == set(SNAPSHOT_PROVIDERS)
    assert all(row["error"] and row["version_before"] for row in rows)
    assert all(row["version"] is None for row in rows)


def test_refresh_of_an_empty_registry_fails(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    with registry_of() as server:
        monkeypatch.setenv("LLMRING_REGISTRY_URL", server.url)
        assert main(["registry", "refresh"]) == 1
    assert "nothing on any provider" in capsys.readouterr().err


def test_refresh_over_plain_http_elsewhere_is_refused(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMRING_REGISTRY_URL", "http://registry.example")
    assert main(["registry", "refresh"]) == 1
    assert "use https" in capsys.readouterr().err


# cache ---------------------------------------------------------------------------


def test_cache_info_shows_folder_snapshot_and_files(
    capsys: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMRING_CACHE_DIR", str(tmp_path / "c"))
    assert main(["cache", "info"]) == 0
    out, err = capsys.readouterr()
    assert str(tmp_path / "c") in out
    assert f"snapshot  {snapshot_date()}: anthropic version 9, google version 5" in out
    assert "nothing is cached" in err
    with registry_of(openai=document()) as server:
        monkeypatch.setenv("LLMRING_REGISTRY_URL", server.url)
        assert main(["registry", "refresh"]) == 0
        capsys.readouterr()
        assert main(["cache", "info"]) == 0
        out = capsys.readouterr().out
        assert f"openai version 99 of 2026-01-02, 1 model, from {server.url}" in out
        facts = run_json(capsys, "cache", "info")
        assert facts["registry"] == server.url
    assert facts["snapshot"]["versions"] == {"anthropic": 9, "google": 5, "openai": 7}
    (entry,) = facts["entries"]
    assert (entry["provider"], entry["version"], entry["pinned"]) == (
        "openai",
        99,
        False,
    )
    assert Path(entry["path"]).is_file()


def test_cache_clear_forgets_what_was_fetched(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    with registry_of(openai=document()) as server:
        monkeypatch.setenv("LLMRING_REGISTRY_URL", server.url)
        main(["registry", "refresh"])
        capsys.readouterr()
        assert main(["cache", "clear"]) == 0
        assert capsys.readouterr().out == "removed 1 file\n"
        assert main(["info", "openai:house"]) == 1
        assert main(["info", "openai:gpt-4.1"]) == 0  # the snapshot stays
    capsys.readouterr()
    assert main(["cache", "clear"]) == 0
    assert capsys.readouterr().out == "removed 0 files\n"


def test_a_registry_that_speaks_nonsense_prints_no_escapes(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = document(display_name="\x1b]0;gotcha\x07")
    with serving(reply(evil)) as server:
        monkeypatch.setenv("LLMRING_REGISTRY_URL", server.url)
        assert main(["registry", "refresh", "openai"]) == 1
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
