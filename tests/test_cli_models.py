"""`aliases`: what it lists, and how fast the process is allowed to be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llmring_lite.cli import main

LOCKFILE = """
version = "1.0"
default_profile = "default"

[profiles.default]
name = "default"

[[profiles.default.bindings]]
alias = "summarizer"
models = ["anthropic:claude-haiku-4-5", "openai:gpt-5-mini", "drafts"]
conditions = { "openai:gpt-5-mini" = ["rate_limit", "timeout"] }
parameters = { temperature = 0.2, max_tokens = 800 }

[[profiles.default.bindings]]
alias = "drafts"
models = ["ollama:llama3.2", "openai:gpt-5-mini"]

[[profiles.default.bindings]]
alias = "single"
models = ["mock:echo"]

[[profiles.default.bindings]]
alias = "canary"
models = ["openai:gpt-5-mini", "mock:echo"]
strategy = "split"
weights = [90, 10]

[profiles.prod]
name = "prod"

[[profiles.prod.bindings]]
alias = "summarizer"
models = ["openai:gpt-5-mini"]

[profiles.empty]
name = "empty"
"""


@pytest.fixture(autouse=True)
def lockfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "llmring.lock"
    path.write_text(LOCKFILE)
    return path


def test_each_alias_is_a_line_with_its_first_model(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["aliases"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "summarizer → anthropic:claude-haiku-4-5 (+ 2 fallbacks)",
        "drafts → ollama:llama3.2 (+ 1 fallback)",
        "single → mock:echo",
        "canary → openai:gpt-5-mini (+ 1 more, split)",
    ]
    assert err == ""


def test_verbose_tells_everything_about_an_alias(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["aliases", "--verbose"]) == 0
    out = capsys.readouterr().out
    for text in (
        "models: anthropic:claude-haiku-4-5, openai:gpt-5-mini, drafts",
        "resolves to: anthropic:claude-haiku-4-5, openai:gpt-5-mini, ollama:llama3.2",
        "condition: openai:gpt-5-mini on rate_limit, timeout",
        "parameters: temperature = 0.2, max_tokens = 800",
        "strategy: split",
        "weights: 90, 10",
    ):
        assert f"    {text}\n" in out


def test_json_is_a_list_of_bindings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["aliases", "--json"]) == 0
    rows = {row["alias"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == ["summarizer", "drafts", "single", "canary"]
    assert rows["summarizer"]["models"][-1] == "drafts"
    assert rows["summarizer"]["resolves_to"][-1] == "ollama:llama3.2"
    assert rows["summarizer"]["parameters"] == {"temperature": 0.2, "max_tokens": 800}
    assert rows["canary"]["weights"] == [90, 10]


@pytest.mark.parametrize(
    "argv",
    [
        ["aliases", "--profile", "prod"],
        ["aliases", "--profile=prod"],
        ["--profile", "prod", "aliases"],
        ["--profile=prod", "aliases"],
    ],
)
def test_the_profile_may_be_named_before_and_after(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 0
    assert capsys.readouterr().out == "summarizer → openai:gpt-5-mini\n"


def test_the_environment_chooses_the_profile_and_the_option_overrides_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMRING_PROFILE", "prod")
    assert main(["aliases"]) == 0
    assert capsys.readouterr().out == "summarizer → openai:gpt-5-mini\n"
    assert main(["aliases", "--profile", "default"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_an_unknown_profile_lists_the_profiles(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["aliases", "--profile", "pord"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "'pord'" in err
    assert "'prod'" in err


def test_an_empty_profile_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["aliases", "--profile", "empty"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "no aliases" in err
    assert main(["aliases", "--profile", "empty", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize("before", [True, False])
def test_another_lockfile_may_be_named(
    before: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.lock"
    other.write_text(LOCKFILE.replace("mock:echo", "mock:other"))
    option = ["--lockfile", str(other)]
    assert main([*option, "aliases"] if before else ["aliases", *option]) == 0
    assert "single → mock:other" in capsys.readouterr().out


def test_a_missing_lockfile_is_a_wrong_argument(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["aliases", "--lockfile", "nowhere.lock"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "nowhere.lock" in err
    assert "lock init" in err


@pytest.mark.parametrize(
    ("text", "said"),
    [("version = ", "line 1"), ('[profiles.default]\nname = "d"\nbindings = 3', "3")],
)
def test_a_lockfile_that_is_none_exits_2(
    text: str, said: str, lockfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lockfile.write_text(text)
    assert main(["aliases"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert "Traceback" not in err


def test_warnings_go_to_stderr(
    lockfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lockfile.write_text(LOCKFILE + '\n[profils]\nx = "y"\n')
    assert main(["aliases"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 4
    assert "warning: " in err
    assert "profils" in err


def test_the_bundled_lockfile_is_said_to_be_bundled(
    lockfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lockfile.unlink()
    assert main(["aliases"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("advisor → ")
    assert "lock init" in err


def test_a_terminal_without_utf8_gets_an_ascii_arrow(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "llmring_lite", "aliases"],
        cwd=tmp_path,
        env={"PYTHONIOENCODING": "ascii", "PATH": "", "PYTHONPATH": _package_folder()},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"single -> mock:echo\n" in done.stdout.replace(b"\r", b"")


def test_plain_aliases_loads_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from llmring_lite.cli import main\n"
        "code = main(['aliases'])\n"
        "heavy = {'requests', 'json', 'difflib', 'logging', 'urllib3',\n"
        "    'llmring_lite.service', 'llmring_lite.transport',\n"
        "    'llmring_lite.lockfile_edit', 'llmring_lite.provider_openai'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": _package_folder()},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0
    assert done.stderr.decode().strip() == "[]"


def _package_folder() -> str:
    return str(Path(__file__).resolve().parents[1])
