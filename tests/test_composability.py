"""Real packages with lockfiles, built, installed, extended by an application.

Everything happens in fresh processes of a fresh virtual environment, so that what is
found there is found as anybody would have it. Needs the package index for the build
backends.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from package_trees import POISON, extending, lock

ROOT = Path(__file__).resolve().parents[1]

SUMMARIES = """
import os
from pathlib import Path

from llmring_lite import LLMRing

if log := os.environ.get("IMPORT_LOG"):
    Path(log).open("a").write(__name__ + "\\n")


class Summaries:
    def __init__(self, lockfile_path=None):
        default = Path(__file__).with_name("llmring.lock")
        self.ring = LLMRing(lockfile_path=lockfile_path or default)
        self.ring.require_aliases(["summarizer"], context="text-tools")

    def summarize(self, text):
        return self.ring.chat("summarizer", text)
"""

REPORTS = """
from pathlib import Path

from llmring_lite import LLMRing
from texttools import Summaries


class Reports:
    def __init__(self, lockfile_path=None):
        lockfile_path = lockfile_path or Path(__file__).with_name("llmring.lock")
        self.summaries = Summaries(lockfile_path=lockfile_path)
        self.ring = LLMRing(lockfile_path=lockfile_path)
        self.ring.require_aliases(["analyst"], context="acme-reports")

    def report(self, text):
        return self.summaries.summarize(text), self.ring.chat("analyst", text)
"""

SETUPTOOLS = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"
[project]
name = "{name}"
version = "{version}"
[tool.setuptools]
packages = ["{package}"]
package-dir = {{ "{package}" = "{folder}" }}
[tool.setuptools.package-data]
{package} = ["llmring.lock"]
"""

HATCHLING = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "{name}"
version = "{version}"
[tool.hatch.build.targets.wheel]
packages = ["{folder}"]
"""


def make_project(
    project: Path, pyproject: str, place: str, files: Mapping[str, str], **names: str
) -> Path:
    """A project with the files of its package; `names` fill the pyproject.toml."""
    names = {"version": "1.0", "folder": place, **names}
    package = project / place
    package.mkdir(parents=True)
    (project / "pyproject.toml").write_text(pyproject.format(**names))
    for file, text in files.items():
        (package / file).write_text(text)
    return project


def text_tools(project: Path, version: str, model: str) -> Path:
    files = {
        "__init__.py": SUMMARIES,
        "llmring.lock": lock({"summarizer": ["drafts"], "drafts": model}),
    }
    names = {"name": "text-tools", "package": "texttools", "version": version}
    return make_project(project, SETUPTOOLS, "src/texttools", files, **names)


def acme_reports(project: Path) -> Path:
    """In the namespace `acme`, which is no package of its own."""
    text = lock(
        {"analyst": "mock:echo", "summarizer": "mock:echo", "judge": "evil:x"},
        head=extending("text-tools")
        + '\n[providers.evil]\nkind = "openai"\nbase_url = "https://evil.example"',
        tail='[[profiles.prod.bindings]]\nalias = "analyst"\nmodels = ["mock:echo"]',
    )
    files = {"__init__.py": REPORTS, "llmring.lock": text}
    names = {"name": "acme-reports", "folder": "src/acme"}
    return make_project(project, HATCHLING, "src/acme/reports", files, **names)


@dataclass
class World:
    """The virtual environment, the application in it, and the wheels."""

    python: Path
    app: Path
    wheels: dict[str, Path]

    def run(self, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.python), *argv],
            cwd=self.app,
            env={"PATH": os.defpath, "HOME": str(self.app), **env},
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )

    def python_says(self, code: str, **env: str) -> Any:
        done = self.run("-c", f"import json\n{code}\nprint(json.dumps(said))", **env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def cli(self, *argv: str) -> subprocess.CompletedProcess[str]:
        script = self.python.with_name("llmring-lite")
        done = subprocess.run(
            [str(script), *argv],
            cwd=self.app,
            env={"PATH": os.defpath, "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done


def pip(python: Path | str, *argv: str) -> None:
    done = subprocess.run(
        [str(python), "-m", "pip", *argv, "--quiet", "--disable-pip-version-check"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    offline = ("No matching distribution", "Failed to establish", "Could not fetch")
    if done.returncode and any(words in done.stderr for words in offline):
        pytest.skip(f"the package index is out of reach: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr


APP = lock(
    {"mine": ["text-tools:summarizer"], "acme.reports:summarizer": "mock:echo"},
    head=extending("text-tools", "acme.reports"),
    tail="[profiles.prod]",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    base = tmp_path_factory.mktemp("composability")
    source = base / "llmring_lite"
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        source.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source)
    # A build leaves folders behind, so not in the checkout.
    shutil.copytree(
        ROOT / "llmring_lite",
        source / "llmring_lite",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    projects = {
        "text-tools": text_tools(base / "tools", "1.0", "mock:echo"),
        "text-tools 2": text_tools(base / "tools-2", "2.0", "mock:template"),
        "acme-reports": acme_reports(base / "reports"),
        "llmring-lite": source,
    }
    venv = base / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    python = venv / ("Scripts" if os.name == "nt" else "bin") / "python"
    wheels = {}
    for name, project in projects.items():
        out = base / "dist" / name
        pip(python, "wheel", "--no-deps", "-w", str(out), str(project))
        (wheels[name],) = out.iterdir()
    first = [str(wheels[name]) for name in projects if name != "text-tools 2"]
    pip(python, "install", *first)
    app = base / "app"
    app.mkdir()
    (app / "llmring.lock").write_text(APP)
    return World(python, app, wheels)


@pytest.mark.parametrize("name", ["text-tools", "acme-reports"])
def test_the_wheel_holds_the_lockfile(world: World, name: str) -> None:
    with zipfile.ZipFile(world.wheels[name]) as wheel:
        assert [n for n in wheel.namelist() if n.endswith("/llmring.lock")]


def test_an_application_uses_both_without_importing_either(world: World) -> None:
    said = world.python_says(
        """
import sys
imported = []
sys.addaudithook(lambda event, args: event == "import" and imported.append(args[0]))
from llmring_lite import LLMRing
with LLMRing() as ring:
    ring.require_aliases(["mine", "text-tools:summarizer", "acme.reports:analyst"])
    said = {
        "chat": ring.chat("text-tools:summarizer", "hello").content,
        "stream": [c.delta for c in ring.chat_stream("mine", "hello")],
        "by import name": ring.resolve_alias("texttools:drafts"),
        "by distribution": ring.has_alias("acme-reports:analyst"),
        "aliases": ring.list_aliases(),
        "ignored": ring.has_alias("acme.reports:judge"),
        "not recursive": ring.has_alias("acme.reports:drafts"),
    }
names = {name.partition(".")[0] for name in [*imported, *sys.modules]}
said["imported"] = sorted(names & {"texttools", "acme"})
"""
    )
    assert "".join(said.pop("stream")) == "hello"
    assert said == {
        "chat": "hello",
        "by import name": "mock:echo",
        "by distribution": True,
        "aliases": {"mine": "mock:echo", "acme.reports:summarizer": "mock:echo"},
        "ignored": False,
        "not recursive": False,
        "imported": [],
    }


def test_the_command_line_finds_the_same(world: World, tmp_path: Path) -> None:
    log = tmp_path / "imported"
    done = world.run("-m", "llmring_lite", "lock", "check", IMPORT_LOG=str(log))
    assert "✓ text-tools: found" in done.stdout
    assert "✓ acme.reports: found" in done.stdout
    assert "Aliases: summarizer, drafts" in done.stdout
    assert "Ignored: [extends] and [providers]" in done.stdout
    assert "acme.reports:summarizer → mock:echo" in done.stdout
    # `judge` relies on a provider that a package can't bring.
    assert "'acme.reports:judge' leads to 'evil:x'" in done.stdout
    assert done.returncode == 1
    assert done.stderr == ""
    assert not log.exists()
    assert world.cli("lock", "check").stdout == done.stdout


def test_explain_and_chat_from_the_command_line(world: World) -> None:
    done = world.cli("explain", "text-tools:summarizer", "--profile", "prod", "--json")
    facts = json.loads(done.stdout)
    assert facts["package"]["name"] == "text-tools"
    assert facts["package"]["from_default_profile"] is True
    done = world.cli("explain", "acme.reports:analyst", "--profile", "prod", "--json")
    assert json.loads(done.stdout)["package"]["profile"] == "prod"
    assert world.cli("chat", "--model", "mine", "hello").stdout == "hello\n"


def test_a_library_works_out_of_the_box_and_takes_another_lockfile(
    world: World, tmp_path: Path
) -> None:
    other = tmp_path / "other.lock"
    other.write_text(lock({"summarizer": "mock:json", "analyst": "mock:json"}))
    said = world.python_says(
        f"""
from acme.reports import Reports
said = [[r.model for r in reports.report("hello")]
        for reports in (Reports(), Reports({str(other)!r}))]
"""
    )
    assert said == [["mock:echo"] * 2, ["mock:json"] * 2]


def test_a_lockfile_without_what_a_library_needs_says_so(
    world: World, tmp_path: Path
) -> None:
    other = tmp_path / "other.lock"
    other.write_text(lock({"summary": "mock:echo"}))
    done = world.run("-c", f"import texttools; texttools.Summaries({str(other)!r})")
    assert "missing required aliases for text-tools" in done.stderr
    assert "did you mean 'summary'" in done.stderr
    assert str(other) in done.stderr


def test_wheels_on_the_path_need_no_installation(world: World, tmp_path: Path) -> None:
    wheel = tmp_path / "tools.whl"
    shutil.copy(world.wheels["text-tools 2"], wheel)
    said = world.python_says(
        """
from llmring_lite import LLMRing
said = LLMRing().resolve_alias("text-tools:drafts")
""",
        PYTHONPATH=str(wheel),
    )
    assert said == "mock:template"


def test_an_upgrade_is_seen_once_the_cache_is_cleared(world: World) -> None:
    wheels = [str(world.wheels[name]) for name in ("text-tools 2", "text-tools")]
    said = world.python_says(
        f"""
import subprocess, sys
from llmring_lite import LLMRing

def install(wheel):
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps",
                    "--no-index", "--force-reinstall", wheel], check=True)

ring = LLMRing()
said = [ring.resolve_alias("mine")]
try:
    install({wheels[0]!r})
    said.append(ring.resolve_alias("mine"))
    ring.clear_alias_cache()
    said.append(ring.resolve_alias("mine"))
finally:
    install({wheels[1]!r})
"""
    )
    assert said == ["mock:echo", "mock:echo", "mock:template"]


def test_editable_installs(world: World, tmp_path: Path) -> None:
    files = {"__init__.py": POISON, "llmring.lock": lock({"a": "mock:echo"})}
    # No search path can express that place: setuptools writes a finder module.
    names = {"name": "edit-mapped", "package": "edit_mapped"}
    mapped = make_project(tmp_path / "map", SETUPTOOLS, "lib/core", files, **names)
    names = {"name": "edit-listed"}
    place = "src/edit_listed"
    listed = make_project(tmp_path / "list", HATCHLING, place, files, **names)
    pip(world.python, "install", "--no-deps", "-e", str(mapped), "-e", str(listed))
    app = tmp_path / "editable.lock"
    app.write_text(lock(head=extending("edit-mapped", "edit_listed")))
    said = world.python_says(
        f"""
from llmring_lite import LLMRing
ring = LLMRing(lockfile_path={str(app)!r})
said = [ring.resolve_alias(f"{{name}}:a")
        for name in ("edit-mapped", "edit_mapped", "edit-listed", "edit_listed")]
"""
    )
    assert said == ["mock:echo"] * 4
    pip(world.python, "uninstall", "-y", "edit-mapped", "edit-listed")
