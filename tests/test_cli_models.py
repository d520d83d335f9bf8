"""`aliases`: what it lists, and how fast the process is allowed to be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Run

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
def lockfile(folder: Path) -> Path:
    path = folder / "llmring.lock"
    path.write_text(LOCKFILE)
    return path


def test_each_alias_is_a_line_with_its_first_model(
    run: Run,
) -> None:
    out, err = run("aliases")
    assert out.splitlines() == [
        "summarizer → anthropic:claude-haiku-4-5 (+ 2 fallbacks)",
        "drafts → ollama:llama3.2 (+ 1 fallback)",
        "single → mock:echo",
        "canary → openai:gpt-5-mini (+ 1 more, split)",
    ]
    assert err == ""


def test_verbose_tells_everything_about_an_alias(
    run: Run,
) -> None:
    out = run("aliases --verbose").out
    for text in (
        "models: anthropic:claude-haiku-4-5, openai:gpt-5-mini, drafts",
        "resolves to: anthropic:claude-haiku-4-5, openai:gpt-5-mini, ollama:llama3.2",
        "condition: openai:gpt-5-mini on rate_limit, timeout",
        "parameters: temperature = 0.2, max_tokens = 800",
        "strategy: split",
        "weights: 90, 10",
    ):
        assert f"    {text}\n" in out


def test_json_is_a_list_of_bindings(run: Run) -> None:
    rows = {row["alias"]: row for row in run("aliases --json").json}
    assert list(rows) == ["summarizer", "drafts", "single", "canary"]
    assert rows["summarizer"]["models"][-1] == "drafts"
    assert rows["summarizer"]["resolves_to"][-1] == "ollama:llama3.2"
    assert rows["summarizer"]["parameters"] == {"temperature": 0.2, "max_tokens": 800}
    assert rows["canary"]["weights"] == [90, 10]


@pytest.mark.parametrize(
    "command",
    [
        "aliases --profile prod",
        "aliases --profile=prod",
        "--profile prod aliases",
        "--profile=prod aliases",
    ],
)
def test_the_profile_may_be_named_before_and_after(command: str, run: Run) -> None:
    assert run(command).out == "summarizer → openai:gpt-5-mini\n"


def test_the_environment_chooses_the_profile_and_the_option_overrides_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMRING_PROFILE", "prod")
    assert run("aliases").out == "summarizer → openai:gpt-5-mini\n"
    assert len(run("aliases --profile default").out.splitlines()) == 4


def test_an_unknown_profile_lists_the_profiles(
    run: Run,
) -> None:
    out, err = run("aliases --profile pord", code=2)
    assert out == ""
    assert "'pord'" in err
    assert "'prod'" in err


def test_an_empty_profile_is_no_failure(run: Run) -> None:
    out, err = run("aliases --profile empty")
    assert out == ""
    assert "no aliases" in err
    assert json.loads(run("aliases --profile empty --json").out) == []


@pytest.mark.parametrize(
    "command", ["aliases --lockfile other.lock", "--lockfile other.lock aliases"]
)
def test_another_lockfile_may_be_named(command: str, run: Run) -> None:
    Path("other.lock").write_text(LOCKFILE.replace("mock:echo", "mock:other"))
    assert "single → mock:other" in run(command).out


def test_a_missing_lockfile_is_a_wrong_argument(
    run: Run,
) -> None:
    out, err = run("aliases --lockfile nowhere.lock", code=2)
    assert out == ""
    assert "nowhere.lock" in err
    assert "lock init" in err


@pytest.mark.parametrize(
    ("text", "said"),
    [("version = ", "line 1"), ('[profiles.default]\nname = "d"\nbindings = 3', "3")],
)
def test_a_lockfile_that_is_none_exits_2(
    text: str, said: str, lockfile: Path, run: Run
) -> None:
    lockfile.write_text(text)
    out, err = run("aliases", code=2)
    assert out == ""
    assert said in err
    assert "Traceback" not in err


def test_warnings_go_to_stderr(lockfile: Path, run: Run) -> None:
    lockfile.write_text(LOCKFILE + '\n[profils]\nx = "y"\n')
    out, err = run("aliases")
    assert len(out.splitlines()) == 4
    assert "warning: " in err
    assert "profils" in err


def test_the_bundled_lockfile_is_said_to_be_bundled(lockfile: Path, run: Run) -> None:
    lockfile.unlink()
    out, err = run("aliases")
    assert out.startswith("advisor → ")
    assert "lock init" in err


def test_a_terminal_without_utf8_gets_an_ascii_arrow(tmp_path: Path, run: Run) -> None:
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


def test_plain_aliases_loads_nothing_that_it_does_not_need(
    tmp_path: Path, run: Run
) -> None:
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
