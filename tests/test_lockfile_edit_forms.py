"""Files in other forms: llmring's, old and new, inline tables, JSON."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmring_lite.lockfile import Lockfile
from llmring_lite.lockfile_edit import bind, pin_registry_versions, unbind

ALIASES = (
    '[aliases.default]\nfast = "openai:x" # c\n\n[aliases.prod]\nfast = "mock:p"\n'
)
TOP_LEVEL = (
    "[registry_versions]\nopenai = 3 # three\n\n"
    '[[bindings]]\nalias = "a"\nprovider = "openai"\nmodel = "gpt-4"\n'
)
INLINE = (
    "[profiles.default]\nbindings = [ # bs\n"
    '  { alias = "a", models = ["mock:x"] }, # a\n'
    '  { alias = "b", models = ["mock:x"] } # b\n]\n'
)

IN_THEIR_OWN_FORM = [
    (
        ALIASES,
        lambda p: bind(p, "fast", "mock:y"),
        '"openai:x"',
        '"mock:y"',
    ),
    (
        ALIASES,
        lambda p: bind(p, "new.one", ["fast", "mock:y"]),
        "# c\n",
        '# c\n"new.one" = ["fast", "mock:y"]\n',
    ),
    (
        ALIASES,
        lambda p: unbind(p, "fast", profile="prod"),
        'fast = "mock:p"\n',
        "",
    ),
    (
        '[[profiles.default.bindings]]\nalias = "a"\nprovider = "openai" # p\n'
        'model = "gpt-4" # m\n',
        lambda p: bind(p, "a", "mock:y"),
        '"openai" # p\nmodel = "gpt-4"',
        '"mock" # p\nmodel = "y"',
    ),
    (
        '[[profiles.default.bindings]]\nalias = "a" # a\nprovider = "openai"\n'
        'model = "gpt-4"\n\n[other]\n',
        lambda p: bind(p, "a", ["mock:y", "mock:z"]),
        'provider = "openai"\nmodel = "gpt-4"\n',
        'models = ["mock:y", "mock:z"]\n',
    ),
    (
        TOP_LEVEL,
        lambda p: bind(p, "b", "a", strategy="race"),
        'model = "gpt-4"\n',
        'model = "gpt-4"\n\n[[bindings]]\nalias = "b"\nmodels = ["a"]\n'
        'strategy = "race"\n',
    ),
    (
        TOP_LEVEL,
        lambda p: pin_registry_versions(p, {"openai": 4}),
        "3 # three",
        "4 # three",
    ),
    (
        "[profiles.default]\n[profiles.default.registry_versions] # none\n\n[x]\n",
        lambda p: pin_registry_versions(p, {"openai": 4}),
        "# none\n",
        "# none\nopenai = 4\n",
    ),
    (
        '[[profiles.default.bindings]] # none\nalias = "a"\nmodels = ["mock:x"]\n',
        lambda p: pin_registry_versions(p, {"openai": 4}),
        "[[profiles.default.bindings]] # none",
        "[profiles.default]\nregistry_versions = { openai = 4 }\n\n"
        "[[profiles.default.bindings]] # none",
    ),
    (
        'profiles = { default = { bindings = [ { alias = "a", models = ["mock:x"] },'
        ' {alias="b",models=["a"]} ] } } # all\n',
        lambda p: bind(p, "b", "mock:y", strategy="race"),
        '{alias="b",models=["a"]}',
        '{alias="b",models=["mock:y"], strategy = "race"}',
    ),
    (
        INLINE,
        lambda p: bind(p, "c", "mock:y"),
        "} # b\n",
        '}, # b\n  { alias = "c", models = ["mock:y"] },\n',
    ),
    (
        INLINE,
        lambda p: unbind(p, "a"),
        '  { alias = "a", models = ["mock:x"] }, # a\n',
        "",
    ),
    (
        '[profiles.default]\nbindings = [{ alias = "a", models = ["mock:x"] }]\n',
        lambda p: unbind(p, "a"),
        '[{ alias = "a", models = ["mock:x"] }]',
        "[]",
    ),
    (
        'profiles = { default = { name = "default" } } # all\n',
        lambda p: bind(p, "a", "mock:x"),
        '"default" }',
        '"default", bindings = [{ alias = "a", models = ["mock:x"] }] }',
    ),
    (
        'profiles.default.name = "default"\nmetadata.x = 1\n',
        lambda p: bind(p, "a", "mock:x"),
        "x = 1\n",
        'x = 1\n\n[[profiles.default.bindings]]\nalias = "a"\nmodels = ["mock:x"]\n',
    ),
]


@pytest.mark.parametrize(("text", "edit", "old", "new"), IN_THEIR_OWN_FORM)
def test_other_forms_are_edited_in_place(
    text: str, edit: Callable[[Path], Any], old: str, new: str, tmp_path: Path
) -> None:
    path = tmp_path / "llmring.lock"
    path.write_text(text)
    assert text.count(old) == 1
    result = edit(path)
    assert path.read_text() in (text.replace(old, new), text.replace(old, new).lstrip())
    assert result.notices == ()


def test_what_an_older_form_cannot_say_makes_it_a_new_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "llmring.lock"
    path.write_text(
        '# mine\nunknown = "stays"\n[aliases.default]\nfast = "mock:x"\n'
        '[aliases.prod]\nfast = ["mock:p", "mock:q"]\n[registry_versions]\nopenai = 3\n'
    )
    result = bind(path, "slow", "mock:y", strategy="race")
    assert "comments are lost" in result.notices[0]
    document = tomllib.loads(path.read_text())
    assert document["unknown"] == "stays"
    assert document["profiles"] == {
        "default": {
            "name": "default",
            "bindings": [
                {"alias": "fast", "models": ["mock:x"]},
                {"alias": "slow", "models": ["mock:y"], "strategy": "race"},
            ],
            "registry_versions": {"openai": 3},
        },
        "prod": {
            "name": "prod",
            "bindings": [{"alias": "fast", "models": ["mock:p", "mock:q"]}],
        },
    }


def test_writing_anew_keeps_line_ends_and_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "llmring.lock"
    path.write_bytes('\ufeff[aliases.default]\r\nfast = "mock:x"\r\n'.encode())
    bind(path, "fast", "mock:x", strategy="race")
    data = path.read_bytes()
    assert data.startswith("\ufeff".encode())
    assert data.count(b"\n") == data.count(b"\r\n") > 2


def test_json_keeps_indentation_order_and_unknown_keys(tmp_path: Path) -> None:
    path = tmp_path / "llmring.lock.json"
    document = {
        "unknown": {"é": None},
        "version": "1.0",
        "profiles": {
            "default": {
                "name": "default",
                "bindings": [
                    {"alias": "a", "models": ["mock:x"], "constraints": None},
                    {"alias": "b", "models": ["a"], "mine": [1, 2.5, True]},
                ],
            }
        },
    }
    path.write_text(json.dumps(document, indent=4) + "\n")
    result = bind(path, "a", "mock:y", strategy="race")
    unbind(path, "b")
    bind(path, "c", "mock:c", profile="prod")
    expected = json.loads(json.dumps(document))
    bound = {"alias": "a", "models": ["mock:y"], "constraints": None}
    expected["profiles"]["default"]["bindings"] = [{**bound, "strategy": "race"}]
    expected["profiles"]["prod"] = {
        "name": "prod",
        "bindings": [{"alias": "c", "models": ["mock:c"]}],
    }
    assert result.notices == ()
    assert path.read_text() == json.dumps(expected, indent=4) + "\n"


def test_json_with_nulls_is_edited(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"profiles": null, "aliases": null}')
    bind(path, "a", "mock:x")
    assert Lockfile.load(path).flatten("a") == ("mock:x",)


# llmring 1.4 ---------------------------------------------------------------------

WRITTEN_BY_LLMRING = """\
version = "1.0"
created_at = "2026-11-20T15:49:01.201187+00:00"
updated_at = "2026-11-20T15:49:01.201190+00:00"
default_profile = "default"

[metadata]

[profiles.default]
name = "default"
[[profiles.default.bindings]]
alias = "fast"
models = [ "openai:gpt-4o-mini", "anthropic:claude-3-haiku",]

[[profiles.default.bindings]]
alias = "con"
models = [ "openai:gpt-4o",]

[profiles.default.bindings.constraints]
max_cost = 1

[profiles.prod]
name = "prod"
bindings = []

[profiles.default.registry_versions]
openai = 3

[profiles.prod.registry_versions]
"""


def test_llmring_reads_what_we_make_of_its_file(tmp_path: Path) -> None:
    toml = pytest.importorskip("toml", reason="the parser that llmring 1.4 uses")
    path = tmp_path / "llmring.lock"
    path.write_text(WRITTEN_BY_LLMRING)
    bind(path, "con", "openai:gpt-5")
    bind(
        path,
        "new",
        "fast,mock:x",
        strategy="split",
        weights=[99.5, 0.5],
        conditions={"mock:x": ["timeout", "any"]},
        parameters={"temperature": 0.2, "stop": ["a # b", "[c]"]},
        guardrails={"max_latency": "5s", "content_filters": [{"type": "profanity"}]},
    )
    bind(path, "only", "mock:y", profile="prod")
    pin_registry_versions(path, {"google": 5})
    pinned = pin_registry_versions(path, {"google": 5}, profile="prod")
    assert pinned.notices == ()
    document = toml.loads(path.read_text())
    assert document == tomllib.loads(path.read_text())
    bound = {
        (profile, binding["alias"]): binding["models"]
        for profile, table in document["profiles"].items()
        for binding in table["bindings"]
    }
    assert bound == {
        ("default", "fast"): ["openai:gpt-4o-mini", "anthropic:claude-3-haiku"],
        ("default", "con"): ["openai:gpt-5"],
        ("default", "new"): ["fast", "mock:x"],
        ("prod", "only"): ["mock:y"],
    }
    assert document["profiles"]["default"]["registry_versions"] == {
        "openai": 3,
        "google": 5,
    }
    assert all("name" in table for table in document["profiles"].values())
    anew = toml.loads(Lockfile.load(path).dumps())
    assert anew == tomllib.loads(Lockfile.load(path).dumps())
    assert anew["profiles"].keys() == document["profiles"].keys()
