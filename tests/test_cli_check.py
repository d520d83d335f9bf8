"""`lock check`, and what other commands say of aliases of packages."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from package_trees import extending, lock, make_metadata, make_package

from llmring_lite.cli import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write the application's lockfile and go where it is."""

    def write(*args: Any, **options: Any) -> Path:
        folder = tmp_path / "app"
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        path = folder / "llmring.lock"
        path.write_text(lock(*args, **options))
        return path

    return write


App = Callable[..., Path]


def check(capsys: Capture, *argv: str) -> tuple[int, dict[str, Any]]:
    code = main(["lock", "check", "--json", *argv])
    return code, json.loads(capsys.readouterr().out)


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines()]


def test_a_report_of_all_there_is(site: Path, app: App, capsys: Capture) -> None:
    a = make_package(site, "libA", lock({"summarizer": "mock:a", "analyst": "mock:a"}))
    make_package(site, "libB", lock({"summarizer": "mock:b"}))
    path = app(
        {"libB:summarizer": "mock:own", "mine": ["libA:analyst"]},
        head=extending("libA", "libB"),
    )
    assert main(["lock", "check"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    said = lines(out)
    assert said[0] == f"Checking {path} (profile default)"
    assert f"✓ libA: found {a / 'llmring.lock'}" in said
    assert "Aliases: summarizer, analyst" in said
    assert "⚠ 'summarizer' is defined in libA and libB" in said
    assert any("Use libA:summarizer or libB:summarizer" in line for line in said)
    assert said[said.index("Overrides:") + 1] == "libB:summarizer → mock:own"
    assert said[said.index("Local aliases:") + 1] == "mine → mock:a"
    assert said[-1] == (
        "Summary: 2/2 packages OK, 3 extended aliases, 1 override, 1 local alias"
    )


def test_json_has_the_same_facts(site: Path, app: App, capsys: Capture) -> None:
    folder = make_package(site, "libA", lock({"a": "mock:a"}))
    make_package(site, "libB", lock({"a": "mock:b"}))
    path = app(
        {"a": "mock:own", "libB:a": "mock:own"}, head=extending("libA", "libB", "libC")
    )
    code, report = check(capsys)
    assert code == 1
    assert report["lockfile"] == str(path)
    assert (report["profile"], report["ok"]) == ("default", False)
    first, _, last = report["packages"]
    assert first == {
        "name": "libA",
        "status": "found",
        "lockfile": str(folder / "llmring.lock"),
        "problem": None,
        "aliases": {"a": "default"},
        "unusable": {},
        "ignored": [],
    }
    assert (last["name"], last["status"], last["lockfile"]) == ("libC", "missing", None)
    assert "not installed" in last["problem"]
    assert report["conflicts"] == [
        {"alias": "a", "packages": ["libA", "libB"], "local": True}
    ]
    assert report["overrides"] == {"libB:a": "mock:own"}
    assert report["local_aliases"] == {"a": "mock:own"}
    assert report["summary"] == {
        "packages": 3,
        "found": 2,
        "extended_aliases": 2,
        "overrides": 1,
        "local_aliases": 1,
    }


def test_a_missing_package_is_marked_and_fails(
    site: Path, app: App, capsys: Capture
) -> None:
    folder = make_package(site, "libEmpty")
    app(head=extending("libEmpty", "libGone"))
    assert main(["lock", "check"]) == 1
    said = lines(capsys.readouterr().out)
    assert any(
        line.startswith("✗ libEmpty: ") and f"{folder} has no llmring.lock" in line
        for line in said
    )
    assert any(
        line.startswith("✗ libGone: ") and "not installed" in line for line in said
    )
    assert said[-1].startswith("Summary: 0/2 packages OK")


@pytest.mark.parametrize(
    ("text", "code", "fact"),
    [
        ("[profiles.default]\nname = ", 2, "line 2"),
        ("#" * (16 * 2**20 + 1), 2, "larger than 16 MiB"),
        (lock({"a": "b", "b": "a"}), 1, "leads back to itself"),
        (lock({"a": "opnai:gpt"}), 1, "did you mean 'openai'"),
    ],
    ids=["syntax", "size", "cycle", "provider"],
)
def test_a_broken_lockfile_of_a_package(
    site: Path, app: App, capsys: Capture, text: str, code: int, fact: str
) -> None:
    folder = make_package(site, "libBad", text)
    make_package(site, "libA", lock({"a": "mock:a"}))
    app(head=extending("libBad", "libA"))
    assert main(["lock", "check"]) == code
    out = capsys.readouterr().out
    assert "✗ libBad: " in out
    assert "✓ libA: " in out
    assert str(folder / "llmring.lock") in out
    assert fact in out
    assert check(capsys)[0] == code
    assert check(capsys)[1]["packages"][0]["status"] == "broken"


def test_an_own_lockfile_that_is_broken_or_missing(app: App, capsys: Capture) -> None:
    path = app()
    path.write_text("x = ")
    assert main(["lock", "check"]) == 2
    path.write_text(lock({"a": "b", "b": "a"}))
    assert main(["lock", "check"]) == 2
    path.unlink()
    assert main(["lock", "check"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "lock init" in err


def test_a_lockfile_that_extends_nothing_is_fine(app: App, capsys: Capture) -> None:
    app({"mine": "mock:echo"})
    assert main(["lock", "check"]) == 0
    out = capsys.readouterr().out
    assert "Extended packages" not in out
    assert "extends no package" in out
    assert "mine → mock:echo" in out


def test_tables_that_are_ignored_are_said(
    site: Path, app: App, capsys: Capture
) -> None:
    head = (
        extending("libCore")
        + '\n[providers.openai]\nbase_url = "https://evil.example/v1"'
    )
    make_package(site, "libA", lock({"a": "openai:gpt-5"}, head=head))
    app(head=extending("libA"))
    assert main(["lock", "check"]) == 0
    assert "Ignored: [extends] and [providers]" in capsys.readouterr().out


def test_an_alias_that_relies_on_what_is_ignored_fails_until_overridden(
    site: Path, app: App, capsys: Capture
) -> None:
    head = '[providers.pool]\nkind = "mock"'
    make_package(site, "libA", lock({"a": "pool:x", "b": "mock:echo"}, head=head))
    app(head=extending("libA"))
    code, report = check(capsys)
    assert code == 1
    (package,) = report["packages"]
    assert package["status"] == "found"
    assert list(package["unusable"]) == ["a"]
    assert "pool:x" in package["unusable"]["a"]
    app({"libA:a": "mock:echo"}, head=extending("libA"))
    assert check(capsys)[0] == 0


def test_a_model_that_no_package_has_fails_in_any_profile(
    site: Path, app: App, capsys: Capture
) -> None:
    make_package(site, "libA", lock({"a": "mock:a"}))
    app(
        head=extending("libA"),
        tail='[[profiles.prod.bindings]]\nalias = "mine"\nmodels = ["libA:b"]',
    )
    code, report = check(capsys)
    assert code == 1
    (problem,) = report["problems"]
    for fact in ("profile 'prod'", "alias 'mine'", "'libA:b'", "available in libA: a"):
        assert fact in problem
    assert main(["lock", "check"]) == 1
    assert f"✗ {problem}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("bound", "extended", "said"),
    [
        ({"libA:zzz": "mock:x"}, ["libA"], "has no 'zzz'"),
        ({"libZ:a": "mock:x"}, ["libA"], "'libZ' is not in [extends]"),
        ({}, ["libA", "dist-of-a"], "are the same package"),
        ({}, ["libA", "mock"], "provider names win"),
    ],
)
def test_what_is_odd_is_a_warning(
    site: Path,
    app: App,
    capsys: Capture,
    bound: dict[str, str],
    extended: list[str],
    said: str,
) -> None:
    make_package(site, "libA", lock({"a": "mock:a"}))
    make_package(site, "mock", lock({"a": "mock:a"}))
    make_metadata(site, "dist-of-a", ["libA/llmring.lock"])
    app(bound, head=extending(*extended))
    assert main(["lock", "check"]) == 0
    out = capsys.readouterr().out
    (warning,) = (line for line in lines(out) if line.startswith("⚠") and said in line)
    assert warning.removeprefix("⚠ ") in check(capsys)[1]["warnings"]


def test_the_profile_in_force_counts(site: Path, app: App, capsys: Capture) -> None:
    make_package(
        site,
        "libA",
        lock(
            {"a": "mock:a"},
            tail='[[profiles.prod.bindings]]\nalias = "b"\nmodels = ["mock:b"]',
        ),
    )
    app(
        head=extending("libA"),
        tail='[[profiles.prod.bindings]]\nalias = "libA:a"\nmodels = ["mock:c"]',
    )
    assert check(capsys)[1]["packages"][0]["aliases"] == {"a": "default"}
    _, report = check(capsys, "--profile", "prod")
    assert report["packages"][0]["aliases"] == {"b": "prod", "a": "default"}
    assert report["overrides"] == {"libA:a": "mock:c"}
    main(["lock", "check", "--profile", "prod"])
    assert "Aliases: b, a (from its profile default)" in capsys.readouterr().out
    assert main(["lock", "check", "--profile", "prd"]) == 2


@pytest.mark.parametrize("option", ["--lockfile", "-f"])
def test_another_lockfile(site: Path, app: App, capsys: Capture, option: str) -> None:
    path = app({"mine": "mock:echo"})
    other = path.rename(path.with_name("other.lock"))
    assert check(capsys, option, str(other))[1]["lockfile"] == str(other)


def test_a_terminal_without_utf_8(site: Path, app: App) -> None:
    make_package(site, "libA", lock({"a": "mock:a"}))
    path = app(head=extending("libA", "libGone"))
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "llmring_lite", "lock", "check"],
        cwd=path.parent,
        env={"PYTHONIOENCODING": "ascii", "PYTHONPATH": f"{root}:{site}", "PATH": ""},
        capture_output=True,
        check=False,
    )
    said = lines(done.stdout.decode("ascii"))
    assert done.returncode == 1
    assert any(line.startswith("ok libA: ") for line in said)
    assert any(line.startswith("x libGone: ") for line in said)


# Other commands -------------------------------------------------------------------


def explain(capsys: Capture, *argv: str) -> Any:
    assert main(["explain", *argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_explain_says_whose_lockfile_binds_an_alias(
    site: Path, app: App, capsys: Capture
) -> None:
    folder = make_package(site, "libA", lock({"a": "mock:a", "b": "mock:b"}))
    app({"libA:b": "mock:own"}, head=extending("libA"), tail="[profiles.prod]")
    package = {
        "name": "libA",
        "lockfile": str(folder / "llmring.lock"),
        "overridden": False,
        "profile": "default",
        "from_default_profile": False,
    }
    assert explain(capsys, "libA:a")["package"] == package
    facts = explain(capsys, "libA:a", "--profile", "prod")
    assert facts["package"] == {**package, "from_default_profile": True}
    facts = explain(capsys, "libA:b")
    assert facts["package"] == {**package, "overridden": True, "profile": None}
    assert explain(capsys, "mock:echo")["package"] is None


def test_explain_says_it_in_words(site: Path, app: App, capsys: Capture) -> None:
    folder = make_package(site, "libA", lock({"a": "mock:a", "b": "mock:b"}))
    app({"libA:b": "mock:own"}, head=extending("libA"), tail="[profiles.prod]")
    main(["explain", "libA:a", "--profile", "prod"])
    out = capsys.readouterr().out
    assert f"libA ({folder / 'llmring.lock'})" in out
    assert "profile default, its default: it binds no such alias in prod" in out
    main(["explain", "libA:b"])
    overrides = next(
        line
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("overrides")
    )
    assert f"libA ({folder / 'llmring.lock'})" in overrides


def test_aliases_shows_the_models_behind_packages(
    site: Path, app: App, capsys: Capture
) -> None:
    make_package(site, "libA", lock({"a": ["mock:a", "mock:b"]}))
    app({"mine": "libA:a", "gone": "libGone:x"}, head=extending("libA", "libGone"))
    assert main(["aliases"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "mine → mock:a (+ 1 fallback)",
        "gone → libGone:x",
    ]


def test_bind_shows_the_models_behind_packages(
    site: Path, app: App, capsys: Capture
) -> None:
    make_package(site, "libA", lock({"a": "mock:a"}))
    app(head=extending("libA"))
    assert main(["bind", "mine", "libA:a"]) == 0
    assert capsys.readouterr().out.splitlines() == ["mine → mock:a"]
    assert main(["bind", "libA:a", "mock:echo"]) == 0
    assert main(["chat", "--model", "mine", "hi"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "hi"
