"""`list`, `info`, `registry refresh`, `cache info`, `cache clear`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from commands import Run
from loopback import Loopback, Received, reply

from llmring_lite.registry import SNAPSHOT_PROVIDERS, load_snapshot, snapshot_date


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


Serve = Callable[..., AbstractContextManager[Loopback]]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    """A registry on loopback: `openai=...` is served as openai/models.json."""

    @contextmanager
    def serving(**documents: bytes) -> Iterator[Loopback]:
        def answer(sock: Any, request: Received, _: int) -> bool:
            body = documents.get(request.path.split("/")[-2])
            sock.sendall(reply(body) if body else reply(b"", "404 Not Found"))
            return True

        with Loopback(answer) as server:
            monkeypatch.setenv("LLMRING_REGISTRY_URL", server.url)
            yield server

    return serving


# list ----------------------------------------------------------------------------


def test_list_shows_every_model_with_prices(run: Run) -> None:
    out, err = run("list")
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


def test_list_narrows_down(run: Run) -> None:
    everyone = run("list --provider google --json").json
    assert {model["provider"] for model in everyone} == {"google"}
    able = run("list --provider google --needs 'vision, reasoning' --json").json
    assert 0 < len(able) < len(everyone)
    for model in able:
        assert model["supports_vision"]
        assert model["supports_thinking"] or model["is_reasoning_model"]
    active = run("list --provider google --active --json").json
    assert {m["ref"] for m in everyone} - {m["ref"] for m in active} == {
        "google:gemini-2.0-flash",
        "google:gemini-2.0-flash-lite",
    }


def test_list_without_any_match_says_so(run: Run) -> None:
    out, err = run("list --provider openai --needs audio")
    assert out == ""
    assert "no model" in err
    assert run("list --provider openai --needs audio --json").json == []


def test_list_of_a_need_that_nobody_knows_is_misuse(run: Run) -> None:
    assert "'sight'" in run("list --needs sight", code=2).err


def test_list_of_an_unknown_provider_fails(run: Run) -> None:
    err = run("list --provider acme", code=1).err
    assert "'acme'" in err
    assert "openai" in err


def test_list_refreshes_when_asked(run: Run, serve: Serve) -> None:
    with serve(openai=document()) as server:
        assert "openai:house" not in run("list --provider openai").out
        assert server.requests == []
        assert "openai:house" in run("list --provider openai --refresh").out


def test_list_that_can_not_refresh_shows_the_old_and_fails(run: Run) -> None:
    out, err = run("list --provider openai --refresh", code=1)
    assert "openai:gpt-4.1" in out
    assert "kept: openai version" in err


# info ----------------------------------------------------------------------------


def test_info_tells_what_is_known(run: Run) -> None:
    out = run("info anthropic:claude-opus-4-1").out
    assert "anthropic:claude-opus-4-1-20250805" in out
    assert "168,000 tokens" in out
    assert "$15.00 per million" in out
    assert "$18.75 per million" in out
    assert "use anthropic:claude-opus-5 instead" in out
    assert "anthropic version 9 of 2026-08-18" in out


def test_info_tells_of_long_context_prices(run: Run) -> None:
    out = run("info google:gemini-2.5-pro").out
    assert "$2.50 per million" in out
    assert "long means above" in out
    assert "200,000" in out


def test_info_of_an_alias_tells_of_each_model(folder: Path, run: Run) -> None:
    run("bind smart", "anthropic:claude-haiku-4-5,openai:gpt-4.1")
    out = run("info smart").out
    assert "anthropic:claude-haiku-4-5-20251001" in out
    assert "openai:gpt-4.1" in out
    models = run("info smart --json").json
    assert [model["model"] for model in models] == [
        "anthropic:claude-haiku-4-5",
        "openai:gpt-4.1",
    ]


def test_info_of_one_model_is_one_object(run: Run) -> None:
    about = run("info openai:gpt-4.1 --json").json
    assert about["ref"] == about["model"] == "openai:gpt-4.1"
    assert about["dollars_per_million_tokens_input"] == 2
    assert about["registry_version"] == 7


@pytest.mark.parametrize("name", ["openai:gpt-9", "mock:echo"])
def test_info_of_a_model_nobody_knows_fails(name: str, run: Run) -> None:
    assert name in run("info", name, code=1).err


def test_info_of_no_alias_fails(run: Run) -> None:
    assert "nothing" in run("info nothing", code=1).err


# registry refresh ----------------------------------------------------------------


def test_refresh_fetches_what_the_registry_has(run: Run, serve: Serve) -> None:
    with serve(openai=document()):
        out = run("registry refresh").out
        assert out.startswith("openai version 99 of 2026-01-02, 1 model, before: vers")
        assert "as before" in run("registry refresh openai").out
    run("info openai:house")


def test_refresh_that_fails_keeps_the_old_and_says_how_old(
    run: Run, serve: Serve
) -> None:
    with serve(openai=document()) as server:
        run("registry refresh openai")
        server.handler = lambda sock, *_: sock.sendall(reply(b'{"models": []}'))
        out, err = run("registry refresh openai", code=1)
    assert out == ""
    assert "models must be an object, not an array" in err
    assert "kept: openai version 99 of 2026-01-02" in err
    assert "days old" in err
    run("info openai:house")


def test_refresh_of_nobody_listening_fails_for_each(run: Run) -> None:
    rows = run("registry refresh --json", code=1).json
    assert {row["provider"] for row in rows} == set(SNAPSHOT_PROVIDERS)
    assert all(row["error"] and row["version_before"] for row in rows)
    assert all(row["version"] is None for row in rows)


def test_refresh_of_an_empty_registry_fails(run: Run, serve: Serve) -> None:
    with serve():
        assert "nothing on any provider" in run("registry refresh", code=1).err


def test_refresh_over_plain_http_elsewhere_is_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMRING_REGISTRY_URL", "http://registry.example")
    assert "use https" in run("registry refresh", code=1).err


# cache ---------------------------------------------------------------------------


def test_cache_info_shows_folder_snapshot_and_files(
    run: Run, tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMRING_CACHE_DIR", str(tmp_path / "c"))
    out, err = run("cache info")
    assert str(tmp_path / "c") in out
    assert f"snapshot  {snapshot_date()}: anthropic version 9, google version 5" in out
    assert "nothing is cached" in err
    with serve(openai=document()) as server:
        run("registry refresh")
        out = run("cache info").out
        assert f"openai version 99 of 2026-01-02, 1 model, from {server.url}" in out
        facts = run("cache info --json").json
        assert facts["registry"] == server.url
    assert facts["snapshot"]["versions"] == {"anthropic": 9, "google": 5, "openai": 7}
    (entry,) = facts["entries"]
    assert (entry["provider"], entry["version"], entry["pinned"]) == (
        "openai",
        99,
        False,
    )
    assert Path(entry["path"]).is_file()


def test_cache_clear_forgets_what_was_fetched(run: Run, serve: Serve) -> None:
    with serve(openai=document()):
        run("registry refresh")
        assert run("cache clear").out == "removed 1 file\n"
        run("info openai:house", code=1)
        run("info openai:gpt-4.1")  # the snapshot stays
    assert run("cache clear").out == "removed 0 files\n"


def test_a_registry_that_speaks_nonsense_prints_no_escapes(
    run: Run, serve: Serve
) -> None:
    with serve(openai=document(display_name="\x1b]0;gotcha\x07")):
        out, err = run("registry refresh openai", code=1)
    assert "\x1b" not in out + err
