"""The package's imports go downwards only, and start-up stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "llmring_lite"

# Lowest first. A module may import from the layers below its own, and from modules of
# its own layer that share its prefix (a family) or are named in SIBLINGS.
LAYERS = (
    # words: what everyone speaks
    ("_version", "exceptions", "schemas", "deadline"),
    # facts and pure policies
    (
        "provider",
        "provider_errors",
        "framing",
        "lockfile*",
        "structured*",
        "registry*",
        "content*",
        "cost",
        "receipts*",
        *("breaker", "retry", "race", "balance"),
    ),
    # pure mappers
    ("provider_*",),
    ("keys", "mock*", "packages*"),
    ("routing", "files_wire", "files_facts", "audit", "proposal", "receipts_place"),
    # edge: the network
    ("transport*", "provider_mock"),
    ("attempt*", "dispatch*", "parts", "files*", "usage_log"),
    ("senders", "facts", "explain"),
    ("chat_stream",),
    ("recorder",),
    ("service*",),
    # front doors
    ("quickstart",),
    ("cli*",),
    ("__init__", "__main__"),
)
SIBLINGS = {
    "schemas": {"exceptions"},
    "deadline": {"exceptions"},
    "provider_errors": set(),
    "framing": {"provider"},
    "provider": {"exceptions"},
    "lockfile": {"provider"},
    "cost": {"registry"},
    "parts": {"files"},
    "receipts": {"lockfile_write"},
}


def layer_of(module: str) -> int:
    for number, names in enumerate(LAYERS):
        if module in names:
            return number
    for number, names in enumerate(LAYERS):
        for name in names:
            if name.endswith("*") and module.startswith(name[:-1]):
                return number
    raise AssertionError(f"{module} has no place in the layer picture")


def imports_of(path: Path) -> set[str]:
    """Modules of the package that a module imports, wherever in its text."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            package, _, module = node.module.partition(".")
            if package == "llmring_lite":
                found |= {module} if module else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.partition(".")[2]
                for alias in node.names
                if alias.name.startswith("llmring_lite.")
            }
    modules = {file.stem for file in PACKAGE.glob("*.py")}
    return found & modules


MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_below(module: str) -> None:
    if module == "__init__":
        return
    own = layer_of(module)
    family = module.partition("_")[0]
    for other in imports_of(PACKAGE / f"{module}.py") - {"__init__"}:
        below = layer_of(other) < own
        kin = layer_of(other) == own and (
            other.partition("_")[0] == family
            or other in SIBLINGS.get(family, set())
            or other in SIBLINGS.get(module, set())
        )
        assert below or kin, f"{module} may not import {other}"


def test_imports_have_no_cycle() -> None:
    graph = {m: imports_of(PACKAGE / f"{m}.py") - {"__init__"} for m in MODULES}
    del graph["__init__"]
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for other in graph[module]:
                visit(other, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_only_the_transport_imports_requests() -> None:
    for path in PACKAGE.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "import requests" in text or "from requests" in text:
            assert path.stem.startswith("transport"), path.name


def loaded_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGE.parent,
    )
    return set(done.stdout.split())


MAPPERS = {
    "llmring_lite.provider_openai",
    "llmring_lite.provider_openai_responses",
    "llmring_lite.provider_anthropic",
    "llmring_lite.provider_google",
    "llmring_lite.provider_ollama",
}


def test_import_loads_neither_requests_nor_a_mapper() -> None:
    loaded = loaded_after("import llmring_lite")
    ours = {name for name in loaded if name.startswith("llmring_lite")}
    assert ours == {"llmring_lite"}
    assert "requests" not in loaded
    assert "dataclasses" not in loaded


def test_resolving_an_alias_loads_neither_requests_nor_a_mapper() -> None:
    loaded = loaded_after(
        "from llmring_lite import LLMRing\nLLMRing().has_alias('advisor')"
    )
    assert "requests" not in loaded
    assert not loaded & MAPPERS


def test_a_chat_loads_only_the_mapper_it_needs() -> None:
    loaded = loaded_after(
        "from llmring_lite import LLMRing\nLLMRing().chat('mock:echo', 'hi')"
    )
    assert "requests" not in loaded
    assert loaded & MAPPERS == {"llmring_lite.provider_openai"}


def test_a_plain_chat_loads_nothing_that_only_others_need() -> None:
    loaded = loaded_after(
        "import os\n"
        "os.environ |= {'OPENAI_BASE_URL': 'http://127.0.0.1:1/v1',"
        " 'OPENAI_API_KEY': 'k'}\n"
        "from llmring_lite import LLMRing, ProviderError\n"
        "try:\n    LLMRing(max_retries=0).chat('openai:gpt-4o-mini', 'hi')\n"
        "except ProviderError:\n    pass"
    )
    ours = {name.partition(".")[2] for name in loaded if name.startswith("llmring_")}
    assert {"transport", "provider_openai"} <= ours
    for prefix in (
        *("attempt_stream", "chat_stream", "framing", "provider_openai_stream"),
        *("race", "structured", "content", "files", "receipts", "recorder", "usage"),
        *("lockfile_edit", "lockfile_providers", "lockfile_write", "lockfile_text"),
        *("packages", "explain", "cli", "mock"),
        *("transport_", "registry_drift", "registry_select"),
    ):
        named = {name for name in ours if name.startswith(prefix)}
        assert named <= {"transport_deadline", "transport_errors", "files_facts"}, (
            prefix
        )


def test_values_are_the_standard_librarys_dataclasses() -> None:
    """No own substitute, however fast: what everyone knows needs no reading."""
    assert "records" not in MODULES
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module != "dataclasses":
                assert "dataclass" not in {alias.name for alias in node.names}
