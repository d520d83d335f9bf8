"""`lock init`, `lock validate`, `bind`, `unbind`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmring_lite.cli import main
from llmring_lite.lockfile import AliasBinding, Lockfile, bundled_path

LOCKFILE = """\
# The team's models.
version = "1.0"
default_profile = "default"

[profiles.default]
name = "default"

[[profiles.default.bindings]]
alias = "summarizer"   # keep it cheap
models = ["openai:gpt-5-mini"]

[profiles.prod]
name = "prod"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def lockfile(folder: Path) -> Path:
    path = folder / "llmring.lock"
    path.write_text(LOCKFILE)
    return path


def binding(path: Path, alias: str, profile: str = "default") -> AliasBinding:
    found = Lockfile.load(path).get_binding(alias, profile)
    assert found is not None
    return found


# lock init -----------------------------------------------------------------------


def test_init_uses_the_providers_whose_keys_are_set(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    monkeypatch.setenv("GOOGLE_API_KEY", "x")
    assert main(["lock", "init"]) == 0
    out = capsys.readouterr().out
    assert "summarizer → openai:" in out
    models = binding(folder / "llmring.lock", "summarizer").models
    assert {model.partition(":")[0] for model in models} == {"openai", "google"}


def test_init_without_a_key_writes_a_skeleton_and_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lock", "init"]) == 0
    err = capsys.readouterr().err
    assert "OPENAI_API_KEY" in err
    assert "bind" in err
    assert Lockfile.load(folder / "llmring.lock").get_profile().bindings == {}


def test_init_never_overwrites_without_force(
    lockfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lock", "init"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "--force" in err
    assert lockfile.read_text() == LOCKFILE
    assert main(["lock", "init", "--force"]) == 0
    assert lockfile.read_text() != LOCKFILE


@pytest.mark.parametrize("option", ["--file", "--lockfile"])
def test_init_writes_where_it_is_told(option: str, folder: Path) -> None:
    assert main(["lock", "init", option, "other.lock"]) == 0
    assert Lockfile.load(folder / "other.lock").profiles
    assert not (folder / "llmring.lock").exists()


def test_init_writes_json_where_the_name_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    assert main(["lock", "init", "--file", "llmring.lock.json"]) == 0
    json.loads((folder / "llmring.lock.json").read_text())
    assert binding(folder / "llmring.lock.json", "fast").models


def test_init_into_a_missing_folder_is_one_clear_message(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lock", "init", "--file", "nowhere/llmring.lock"]) == 1
    assert "nowhere" in capsys.readouterr().err


# lock validate -------------------------------------------------------------------


def test_a_valid_file_is_said_to_be_valid(
    lockfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lock", "validate"]) == 0
    out, err = capsys.readouterr()
    assert "valid, 1 alias in 2 profiles" in out
    assert "compared with openai version" in err
    assert main(["lock", "validate", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["valid"] is True
    assert report["problems"] == []
    assert report["lockfile"] == str(lockfile)


BROKEN = (
    LOCKFILE
    + """
[[profiles.prod.bindings]]
alias = "split"
models = ["openai:a", "openai:b"]
strategy = "split"
weights = [80, 15]

[[profiles.prod.bindings]]
alias = "nowhere"
models = ["nosuch:model"]
"""
)


def test_every_problem_is_a_line_on_stdout_with_exit_1(
    lockfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lockfile.write_text(BROKEN)
    assert main(["lock", "validate", "--file", str(lockfile)]) == 1
    out, err = capsys.readouterr()
    assert err == ""
    weights, reference, summary = out.splitlines()
    assert "'split'" in weights
    assert "line 1" in weights
    assert "nosuch" in reference
    assert "line 2" in reference
    assert summary.endswith("2 problems")
    assert main(["lock", "validate", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["valid"] is False
    assert len(report["problems"]) == 2


def test_a_file_that_cannot_be_parsed_exits_2(
    lockfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lockfile.write_text("version = 1.0.0\n")
    assert main(["lock", "validate"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "line 1" in err
    assert main(["lock", "validate", "--json"]) == 2
    report = json.loads(capsys.readouterr().out)
    assert report["valid"] is False
    assert "line 1" in report["problems"][0]


def test_a_missing_file_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lock", "validate", "--file", "nowhere.lock"]) == 2
    assert "nowhere.lock" in capsys.readouterr().err


def test_a_warning_alone_is_no_failure(
    lockfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lockfile.write_text(LOCKFILE + "\n[profils]\nx = 1\n")
    assert main(["lock", "validate"]) == 0
    out = capsys.readouterr().out
    assert "warning: " in out
    assert "profils" in out


def test_a_profile_that_is_not_there_is_a_problem(
    lockfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lock", "validate", "--profile", "pord"]) == 1
    assert "'pord'" in capsys.readouterr().out


# bind ----------------------------------------------------------------------------


def test_bind_changes_the_models_and_nothing_else(
    lockfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bind", "summarizer", "mock:echo, openai:gpt-5-mini"]) == 0
    out, err = capsys.readouterr()
    assert out == "summarizer → mock:echo (+ 1 fallback)\n"
    assert "before: openai:gpt-5-mini" in err
    assert binding(lockfile, "summarizer").models == ("mock:echo", "openai:gpt-5-mini")
    text = lockfile.read_text()
    assert text.startswith("# The team's models.\n")
    assert "# keep it cheap" in text


def test_a_new_profile_is_said_once(
    lockfile: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert main(["bind", "a", "mock:x", "--profile", "prd"]) == 0
    assert capsys.readouterr().err.count("the profile 'prd' is new") == 1
    assert caplog.text == ""  # without a handler, Python prints warnings on stderr


def test_bind_takes_every_option_of_the_format(lockfile: Path) -> None:
    assert main(["bind", "a", "mock:x,mock:y", "--strategy", "split",
                 "--weights", "80,20", "--sticky-by", "user",
                 "--condition", "mock:y=rate_limit,timeout",
                 "--param", "temperature=0.2", "--param", "stop=END"]) == 0  # fmt: skip
    bound = binding(lockfile, "a")
    assert bound.strategy == "split"
    assert bound.weights == (80, 20)
    assert bound.sticky_by == "user"
    assert bound.conditions == {"mock:y": ("rate_limit", "timeout")}
    assert bound.parameters == {"temperature": 0.2, "stop": "END"}


@pytest.mark.parametrize(("given", "stored"), [("1.5", 1.5), ("0", 0), ("p95", "p95")])
def test_bind_takes_a_hedge_delay(
    given: str, stored: float | str, lockfile: Path
) -> None:
    argv = ["bind", "a", "mock:x,mock:y", "--strategy", "race"]
    assert main([*argv, "--hedge-after", given]) == 0
    assert binding(lockfile, "a").hedge_after == stored


def test_bind_takes_the_profile(
    lockfile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["bind", "a", "mock:x", "--profile", "prod"]) == 0
    monkeypatch.setenv("LLMRING_PROFILE", "prod")
    assert main(["bind", "b", "mock:x"]) == 0
    assert set(Lockfile.load(lockfile).get_profile("prod").bindings) == {"a", "b"}
    assert set(Lockfile.load(lockfile).get_profile("default").bindings) == {
        "summarizer"
    }


def test_bind_without_a_lockfile_makes_one_here(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundled = bundled_path().read_bytes()
    assert main(["bind", "a", "mock:x"]) == 0
    out, err = capsys.readouterr()
    assert out == "a → mock:x\n"
    assert str(folder / "llmring.lock") in err
    assert binding(folder / "llmring.lock", "a").models == ("mock:x",)
    assert bundled_path().read_bytes() == bundled


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["a", "mock:x,,mock:y"], "empty item"),
        (["a", "nosuch:model"], "nosuch"),
        (["bad name", "mock:x"], "bad name"),
        (["a", "mock:x", "--strategy", "fastest"], "fastest"),
        (["a", "mock:x,mock:y", "--strategy", "split", "--weights", "80,30"], "100"),
        (["a", "mock:x", "--weights", "many"], "many"),
        (["a", "mock:x", "--hedge-after", "soon"], "soon"),
        (["a", "mock:x", "--condition", "rate_limit"], "MODEL=CONDITION"),
        (["a", "mock:x", "--condition", "mock:x=monday"], "monday"),
        (["a", "mock:x", "--param", "temperature"], "NAME=VALUE"),
    ],
)
def test_bind_refuses_what_makes_no_sense_and_writes_nothing(
    argv: list[str], said: str, lockfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bind", *argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert "Traceback" not in err
    assert lockfile.read_text() == LOCKFILE


def test_bind_says_what_is_lost(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "llmring.lock"
    # A binding without a table of its own can't take a strategy in place.
    path.write_text('# mine\n[aliases.default]\nfast = "mock:x"\n')
    assert main(["bind", "fast", "mock:x,mock:y", "--strategy", "race"]) == 0
    assert binding(path, "fast").strategy == "race"
    if "# mine" not in path.read_text():
        assert "comments" in capsys.readouterr().err


def test_binding_the_same_again_says_so(
    lockfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bind", "summarizer", "openai:gpt-5-mini"]) == 0
    assert "unchanged" in capsys.readouterr().err
    assert lockfile.read_text() == LOCKFILE


# unbind --------------------------------------------------------------------------


def test_unbind_removes_the_alias_only(
    lockfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["unbind", "summarizer"]) == 0
    assert capsys.readouterr().out == "removed summarizer\n"
    assert Lockfile.load(lockfile).get_profile().bindings == {}
    assert lockfile.read_text().startswith("# The team's models.\n")


def test_unbind_of_an_unknown_alias_fails(
    lockfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["unbind", "sumarizer"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "summarizer" in err
    assert lockfile.read_text() == LOCKFILE


def test_unbind_without_a_lockfile_leaves_the_package_alone(folder: Path) -> None:
    bundled = bundled_path().read_bytes()
    assert main(["unbind", "advisor"]) != 0
    assert bundled_path().read_bytes() == bundled
    assert not (folder / "llmring.lock").exists()
