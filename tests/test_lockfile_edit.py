"""Editing in place: the target changes, everything else stays byte for byte."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toml_texts import blanks, documents, noise, sorted_deep

from llmring_lite.exceptions import (
    AliasNotFoundError,
    LockfileNotFoundError,
    LockfileParseError,
    LockfileValidationError,
)
from llmring_lite.lockfile import Lockfile
from llmring_lite.lockfile_edit import bind, pin_registry_versions, unbind

TEXT = """\
# The team's models.
version = "1.0"

[profiles.default]
name = "default"

# Cheap and quick.
[[profiles.default.bindings]]
alias = "fast"
models = ["openai:gpt-5-mini"]   # was gpt-4o-mini

[[profiles.default.bindings]]
alias = "deep"
models = [
    # first choice
    "anthropic:claude-opus-5",  # slow, good
    "openai:gpt-5",
]
conditions = { "openai:gpt-5" = ["timeout"] }

  [profiles.default.bindings.constraints]
  max_cost = 10.0   # USD
  note = "kept"

# The rest.
[profiles.prod]
name = "prod"
bindings = []

[tool.other]
x = 1
"""

DEEP = ["anthropic:claude-opus-5", "openai:gpt-5"]


@pytest.fixture
def lockfile(tmp_path: Path) -> Path:
    path = tmp_path / "llmring.lock"
    path.write_text(TEXT)
    return path


# In place ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "old", "new"),
    [
        (
            lambda p: bind(p, "fast", "mock:a, mock:b"),
            '["openai:gpt-5-mini"]',
            '["mock:a", "mock:b"]',
        ),
        (
            lambda p: bind(p, "deep", ["openai:gpt-5", "mock:a"]),
            """\
    # first choice
    "anthropic:claude-opus-5",  # slow, good
    "openai:gpt-5",
]""",
            """\
    "openai:gpt-5",
    "mock:a",
]""",
        ),
        (
            lambda p: bind(p, "deep", ["mock:a", *DEEP]),
            "models = [\n    # first choice",
            'models = [\n    "mock:a",\n    # first choice',
        ),
        (
            lambda p: bind(p, "fast", "openai:gpt-5-mini", strategy="race"),
            "# was gpt-4o-mini\n",
            '# was gpt-4o-mini\nstrategy = "race"\n',
        ),
        (
            lambda p: bind(
                p,
                "deep",
                DEEP,
                constraints={"max_cost": 2.5, "note": "kept", "min_context": 9},
            ),
            '  max_cost = 10.0   # USD\n  note = "kept"\n',
            '  max_cost = 2.5   # USD\n  note = "kept"\n  min_context = 9\n',
        ),
        (
            lambda p: bind(
                p, "deep", DEEP, conditions={"openai:gpt-5": ["timeout", "any"]}
            ),
            '["timeout"]',
            '["timeout", "any"]',
        ),
        (
            lambda p: bind(p, "deep", DEEP, conditions={}),
            'conditions = { "openai:gpt-5" = ["timeout"] }\n',
            "",
        ),
        (
            lambda p: bind(p, "deep", DEEP, constraints={}),
            """\

  [profiles.default.bindings.constraints]
  max_cost = 10.0   # USD
  note = "kept"
""",
            "",
        ),
        (
            lambda p: bind(p, "new", "fast"),
            '  note = "kept"\n',
            """\
  note = "kept"

[[profiles.default.bindings]]
alias = "new"
models = ["fast"]
""",
        ),
        (
            lambda p: bind(p, "new", "mock:a", profile="prod"),
            "bindings = []\n",
            '\n[[profiles.prod.bindings]]\nalias = "new"\nmodels = ["mock:a"]\n',
        ),
        (
            lambda p: unbind(p, "fast"),
            """\
[[profiles.default.bindings]]
alias = "fast"
models = ["openai:gpt-5-mini"]   # was gpt-4o-mini
""",
            "",
        ),
        (
            lambda p: pin_registry_versions(p, {"openai": 7}),
            'name = "default"\n',
            'name = "default"\nregistry_versions = { openai = 7 }\n',
        ),
    ],
)
def test_only_the_target_changes(
    edit: Callable[[Path], Any], old: str, new: str, lockfile: Path
) -> None:
    assert TEXT.count(old) == 1
    for newline in ("\n", "\r\n"):
        for bom in ("", "\ufeff"):
            text = bom + TEXT.replace("\n", newline)
            lockfile.write_bytes(text.encode())
            result = edit(lockfile)
            expected = bom + TEXT.replace(old, new).replace("\n", newline)
            assert lockfile.read_bytes().decode() == expected
            assert result.notices == ()
            assert result.changed


def test_all_options_are_written_and_read_back(lockfile: Path) -> None:
    bind(
        lockfile,
        "all",
        ["mock:a", "mock:b"],
        strategy="split",
        weights=[80, 20],
        sticky_by="user",
        conditions={"mock:b": ["timeout"]},
        parameters={"temperature": 0.2, "stop": ["x"]},
        constraints={"select": "mock:*"},
        guardrails={"max_latency": "5s", "content_filters": [{"type": "profanity"}]},
    )
    binding = Lockfile.load(lockfile).get_profile().bindings["all"]
    assert binding.strategy == "split"
    assert binding.weights == (80, 20)
    assert binding.sticky_by == "user"
    assert binding.conditions == {"mock:b": ("timeout",)}
    assert binding.parameters == {"temperature": 0.2, "stop": ["x"]}
    assert binding.constraints == {"select": "mock:*"}
    assert binding.guardrails == {
        "max_latency": "5s",
        "content_filters": [{"type": "profanity"}],
    }


def test_rebinding_keeps_the_options_that_are_not_given(lockfile: Path) -> None:
    bind(lockfile, "fast", "mock:a,mock:b", strategy="race", hedge_after="p95")
    bind(lockfile, "fast", "mock:c,mock:d", hedge_after=0)
    binding = Lockfile.load(lockfile).get_profile().bindings["fast"]
    assert (binding.strategy, binding.hedge_after) == ("race", 0)
    assert binding.models == ("mock:c", "mock:d")


def test_conditions_of_models_that_go_go_with_them(lockfile: Path) -> None:
    result = bind(lockfile, "deep", "mock:a")
    binding = Lockfile.load(lockfile).get_profile().bindings["deep"]
    assert binding.conditions == {}
    assert "conditions" in result.notices[0]


def test_mixed_weights_become_numbers_of_one_type(lockfile: Path) -> None:
    # The reader of llmring 1.4 refuses arrays of two types.
    bind(lockfile, "w", "mock:a,mock:b", strategy="split", weights=[80, 20.0])
    assert "weights = [80.0, 20.0]" in lockfile.read_text()


def test_binding_the_same_again_leaves_the_file_alone(lockfile: Path) -> None:
    before = lockfile.stat()
    result = bind(lockfile, "fast", "openai:gpt-5-mini", strategy="fallback")
    assert not result.changed
    assert lockfile.stat().st_ino == before.st_ino
    assert lockfile.read_text() == TEXT


def test_unbinding_undoes_binding(lockfile: Path) -> None:
    bind(lockfile, "one", "mock:a", strategy="race")
    bind(lockfile, "two", "mock:b", profile="staging")
    unbind(lockfile, "one")
    unbind(lockfile, "two", profile="staging")
    assert lockfile.read_text() == TEXT + '\n[profiles.staging]\nname = "staging"\n'


def test_the_last_binding_does_not_take_its_profile_along(lockfile: Path) -> None:
    lockfile.write_text(
        '[[profiles.p.bindings]]\nalias = "a"\nmodels = ["mock:x"]\n'
        '[[profiles.q.bindings]]\nalias = "a"\nmodels = ["mock:x"]\n'
    )
    result = unbind(lockfile, "a", profile="p")
    assert result.notices == ()
    assert set(result.lockfile.profiles) == {"p", "q"}
    assert lockfile.read_text() == (
        '[profiles.p]\n[[profiles.q.bindings]]\nalias = "a"\nmodels = ["mock:x"]\n'
    )
    assert Lockfile.load(lockfile).get_profile("p").bindings == {}


def test_a_new_profile_is_made_and_said(lockfile: Path) -> None:
    result = bind(lockfile, "a", "mock:x", profile="prd")
    assert result.lockfile.flatten("a", "prd") == ("mock:x",)
    assert "did you mean 'prod'?" in result.notices[0]


@pytest.mark.parametrize("name", ["llmring.lock", "llmring.lock.json"])
def test_a_missing_file_is_made(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    bind(path, "a", "mock:x")
    bind(path, "b", "a", profile="default")
    assert Lockfile.load(path).flatten("b") == ("mock:x",)
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == [name]


# Refusals ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda p: bind(p, "a", "nosuch:x"), "undefined provider 'nosuch'"),
        (lambda p: bind(p, "a", "mock:x,,mock:y"), "empty string"),
        (lambda p: bind(p, "a", []), "is empty"),
        (lambda p: bind(p, "a", [1]), "array of strings, but holds an integer"),
        (lambda p: bind(p, "a", "anthropic:claude-*"), "is a pattern"),
        (lambda p: bind(p, "a b", "mock:x"), "'a b' is not an alias name"),
        (lambda p: bind(p, "openai:a", "mock:x"), "provider names win"),
        (lambda p: bind(p, "a", "a"), "a -> a"),
        (lambda p: bind(p, "a", "mock:x", strategy="fastest"), "'fastest'"),
        (lambda p: bind(p, "a", "mock:x", strategy="split"), "needs weights"),
        (lambda p: bind(p, "a", "mock:x", weights=[99]), "sum to 100"),
        (lambda p: bind(p, "a", "mock:x", guardrails={"max_latncy": "1s"}), "latncy"),
        (lambda p: bind(p, "a", "mock:x", conditions={"mock:y": ["any"]}), "mock:y"),
        (lambda p: pin_registry_versions(p, {"openai": True}), "not a boolean"),
        (lambda p: pin_registry_versions(p, {}, profile="prd"), "'prd'"),
        (lambda p: unbind(p, "fast", profile="prd"), "did you mean 'prod'"),
    ],
)
def test_nonsense_is_refused_and_nothing_is_written(
    edit: Callable[[Path], Any], said: str, lockfile: Path
) -> None:
    with pytest.raises(LockfileValidationError) as caught:
        edit(lockfile)
    assert said in str(caught.value)
    assert lockfile.read_text() == TEXT


def test_an_alias_that_others_name_stays(lockfile: Path) -> None:
    bind(lockfile, "both", "fast,deep")
    before = lockfile.read_text()
    with pytest.raises(LockfileValidationError, match="alias 'both'") as caught:
        unbind(lockfile, "fast")
    assert "can't unbind 'fast'" in str(caught.value)
    assert lockfile.read_text() == before


def test_unbinding_what_is_not_bound_names_what_is_near(lockfile: Path) -> None:
    with pytest.raises(AliasNotFoundError, match="did you mean 'fast'") as caught:
        unbind(lockfile, "fats")
    assert caught.value.alias == "fats"
    with pytest.raises(AliasNotFoundError, match="it is in 'default'"):
        unbind(lockfile, "fast", profile="prod")
    assert lockfile.read_text() == TEXT


def test_unbinding_without_a_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(LockfileNotFoundError, match="lock init"):
        unbind(tmp_path / "llmring.lock", "a")
    assert not any(path.is_file() for path in tmp_path.iterdir())


def test_a_file_that_is_no_toml_is_left_alone(lockfile: Path) -> None:
    lockfile.write_text("x = [\n")
    with pytest.raises(LockfileParseError):
        bind(lockfile, "a", "mock:x")
    assert lockfile.read_text() == "x = [\n"


def test_binding_mends_a_broken_binding(lockfile: Path) -> None:
    lockfile.write_text(TEXT.replace('"openai:gpt-5-mini"', '"opnai:gpt-5-mini"'))
    bind(lockfile, "fast", "openai:gpt-5-mini")
    assert lockfile.read_text() == TEXT


def test_what_else_is_wrong_is_shown_with_its_line(lockfile: Path) -> None:
    lockfile.write_text(TEXT.replace('"openai:gpt-5-mini"', '"opnai:gpt-5-mini"'))
    with pytest.raises(LockfileValidationError, match=r"line 10: .*alias 'fast'"):
        bind(lockfile, "deep", "mock:x")


@pytest.mark.parametrize(
    "text",
    ['profiles = "x"', "profiles = 3", "profiles.default = 3", "aliases = 3",
     '[profiles.default]\nbindings = "x"', "[profiles.default]\nbindings = [3]",
     "bindings = 3", "[profiles]\ndefault = []"],
)  # fmt: skip
@pytest.mark.parametrize(
    "edit",
    [
        lambda p: bind(p, "a", "mock:x"),
        lambda p: unbind(p, "a"),
        lambda p: pin_registry_versions(p, {"openai": 1}),
    ],
)
def test_a_file_of_the_wrong_shape_is_reported(
    text: str, edit: Callable[[Path], Any], lockfile: Path
) -> None:
    lockfile.write_text(text)
    with pytest.raises(LockfileValidationError):
        edit(lockfile)
    assert lockfile.read_text() == text


# Property: any lockfile, any edit -------------------------------------------------


class Sample(NamedTuple):
    """A lockfile cut into segments, each the text of one binding or of none."""

    segments: list[tuple[tuple[str, str] | None, str]]

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.segments)

    @property
    def names(self) -> list[tuple[str, str]]:
        return [name for name, _ in self.segments if name]


@st.composite
def bindings(draw: Callable[..., Any], profile: str, alias: str, serial: int) -> str:
    name = draw(st.sampled_from(["profiles.{}.bindings", 'profiles . "{}".bindings ']))
    text = f"{draw(blanks)}[[{draw(blanks)}{name.format(profile)}]] # [[x]]\n"
    text += draw(noise(f"b{serial}_", 2))
    quote = draw(st.sampled_from(["'", '"', '"""', "'''"]))
    texts = [f"alias ={draw(blanks)}{quote}{alias}{quote}  # the alias"]
    refs = draw(st.lists(st.sampled_from(["mock:a", "openai:b"]), min_size=1))
    layout = draw(st.sampled_from(["[{}]", "[ {},]", "[\n  # c\n    {}, # d\n]"]))
    texts.append("models= " + layout.format(", ".join(f"'{ref}'" for ref in refs)))
    constraints = draw(st.sampled_from(["", "inline", "dotted", "table"]))
    if constraints == "inline":
        texts.append("constraints = {max_cost=1.5 , select = 'x' }")
    elif constraints == "dotted":
        texts.append("constraints . max_cost = 1.5 # dotted")
    for line in draw(st.permutations(texts)):
        text += draw(blanks) + line + "\n" + draw(st.sampled_from(["", "\n", "# e\n"]))
    if constraints == "table":
        text += f"[profiles.{profile}.bindings.constraints]\n"
        text += draw(noise(f"c{serial}_", 2)) + "max_cost = 1.5 # t\n"
    return text.rstrip("\n#e ") + "\n"


@st.composite
def samples(draw: Callable[..., Any]) -> Sample:
    parts: list[tuple[tuple[str, str] | None, str]] = []
    for number, profile in enumerate(("default", "prod")):
        header = f'[profiles.{profile}]\nname = "{profile}"\n'
        parts.append((None, header + draw(noise(f"n{number}_", 2))))
        for alias in draw(st.lists(st.sampled_from("abc"), unique=True)):
            serial = len(parts)
            parts.append(((profile, alias), draw(bindings(profile, alias, serial))))
    parts.append((None, "[other.x]\n" + draw(noise("o", 2))))
    head = (None, draw(noise("top", 2)) + 'version = "1.0"\n')
    segments = [head, *draw(st.permutations(parts))]
    spaced = []
    for name, text in segments:
        spaced.append((name, text))
        spaced.append((None, draw(st.sampled_from(["", "\n", "# s\n", "\n\n# u\n\n"]))))
    if draw(st.booleans()):
        spaced = [(name, text.replace("\n", "\r\n")) for name, text in spaced]
    return Sample(spaced)


def data_of(text: str) -> dict[tuple[str, str], Any]:
    """(profile, alias) -> binding, and everything else under ("", "")."""
    document = tomllib.loads(text)
    found: dict[tuple[str, str], Any] = {}
    for profile, table in document["profiles"].items():
        for binding in table.pop("bindings", []):
            found[profile, binding["alias"]] = repr(sorted_deep(binding))
    found["", ""] = repr(sorted_deep(document))
    return found


def written(path: Path, sample: Sample) -> str:
    path.write_bytes(sample.text.encode())
    return sample.text


@settings(max_examples=120, deadline=None)
@given(samples(), st.data())
def test_binding_changes_the_target_only(
    tmp_path_factory: pytest.TempPathFactory, sample: Sample, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("any") / "llmring.lock"
    old = written(path, sample)
    profile = data.draw(st.sampled_from(["default", "prod"]))
    alias = data.draw(st.sampled_from("abcd"))
    options = data.draw(
        st.fixed_dictionaries(
            {},
            optional={
                "strategy": st.just("race"),
                "constraints": st.sampled_from([{}, {"max_cost": 2.5}]),
                "parameters": st.just({"temperature": 0.5, "stop": ["]"]}),
            },
        )
    )
    result = bind(path, alias, ["mock:new", "openai:b"], profile=profile, **options)
    new = path.read_bytes().decode()
    assert result.notices == ()
    before, after = data_of(old), data_of(new)
    assert after.pop((profile, alias)) != before.pop((profile, alias), None)
    assert after == before
    assert result.lockfile.flatten(alias, profile) == ("mock:new", "openai:b")
    assert_others_stand(sample, new, (profile, alias))
    if (profile, alias) not in sample.names:
        added = len(new) - len(old)
        assert any(
            new[:at] == old[:at] and new[at + added :] == old[at:]
            for at in range(len(old) + 1)
        )


@settings(max_examples=120, deadline=None)
@given(samples(), st.data())
def test_unbinding_removes_the_target_only(
    tmp_path_factory: pytest.TempPathFactory, sample: Sample, data: st.DataObject
) -> None:
    if not sample.names:
        return
    path = tmp_path_factory.mktemp("any") / "llmring.lock"
    old = written(path, sample)
    target = data.draw(st.sampled_from(sample.names))
    result = unbind(path, target[1], profile=target[0])
    new = path.read_bytes().decode()
    assert result.notices == ()
    before, after = data_of(old), data_of(new)
    del before[target]
    assert after == before
    assert_others_stand(sample, new, target)


@settings(max_examples=100, deadline=None)
@given(documents())
def test_any_toml_file_survives(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "llmring.lock"
    path.write_bytes(text.encode())
    result = bind(path, "a", "mock:x", profile="new", parameters={"seed": 7})
    new = path.read_bytes().decode()
    assert len(result.notices) == 1  # the profile is new
    assert new.startswith(text)
    bind(path, "b", "a", profile="new", strategy="race", hedge_after=0.5)
    assert path.read_bytes().decode().startswith(new)
    unbind(path, "b", profile="new")
    assert path.read_bytes().decode() == new
    unbind(path, "a", profile="new")
    left = path.read_bytes().decode()
    assert left.startswith(text)
    assert left[len(text) :].split() == ["[profiles.new]", "name", "=", '"new"']


def assert_others_stand(sample: Sample, text: str, target: tuple[str, str]) -> None:
    """All lines of the other segments are there, in their order."""
    position = 0
    for name, segment in sample.segments:
        for line in segment.split("\n") if name != target else ():
            if line.strip():
                assert line in text[position:]
                position = text.index(line, position) + len(line)
