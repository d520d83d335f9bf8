"""`records.dataclass` does what the standard library's does, for less."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmring_lite import records


def declare(module: Any) -> SimpleNamespace:
    """The same classes, declared with one module or the other."""

    @module.dataclass
    class Point:
        """A point."""

        x: int
        y: int = 2
        tags: list[str] = module.field(default_factory=list)
        note: str = module.field(default="n", compare=False, repr=False)

        def __post_init__(self) -> None:
            self.x = int(self.x)

        @property
        def total(self) -> int:
            return self.x + self.y

    @module.dataclass(frozen=True, kw_only=True)
    class Fact:
        """A fact."""

        name: str
        size: int | None = None
        extra: dict[str, int] = module.field(default_factory=dict, compare=False)

    return SimpleNamespace(Point=Point, Fact=Fact, dataclass=module.dataclass)


BOTH = {"ours": records, "theirs": dataclasses}


@pytest.fixture(params=BOTH)
def classes(request: pytest.FixtureRequest) -> SimpleNamespace:
    """Every test here must hold for both: then they are alike."""
    return declare(BOTH[request.param])


def test_arguments_and_defaults(classes: SimpleNamespace) -> None:
    point = classes.Point("1", tags=["a"])
    assert (point.x, point.y, point.tags, point.note) == (1, 2, ["a"], "n")
    assert classes.Point(1).tags is not classes.Point(1).tags
    assert classes.Point.y == 2
    assert not hasattr(classes.Point, "tags")
    assert point.total == 3


@pytest.mark.parametrize(
    ("cls", "args", "kwargs"),
    [
        ("Point", (), {}),
        ("Point", (1, 2, [], "n", 5), {}),
        ("Point", (1,), {"z": 1}),
        ("Fact", ("a",), {}),
        ("Fact", (), {"size": 1}),
    ],
)
def test_wrong_arguments_are_refused(
    classes: SimpleNamespace, cls: str, args: Any, kwargs: Any
) -> None:
    with pytest.raises(TypeError, match="__init__"):
        getattr(classes, cls)(*args, **kwargs)


def test_a_field_without_default_may_not_follow_one_with(
    classes: SimpleNamespace,
) -> None:
    with pytest.raises(TypeError, match="default"):

        @classes.dataclass
        class Wrong:
            a: int = 1
            b: int


def test_repr_shows_the_fields_that_it_should(classes: SimpleNamespace) -> None:
    assert repr(classes.Point(1)).endswith("Point(x=1, y=2, tags=[])")
    assert repr(classes.Fact(name="a")).endswith("Fact(name='a', size=None, extra={})")


def test_equality_is_by_class_and_compared_fields(classes: SimpleNamespace) -> None:
    point = classes.Point(1)
    assert point == classes.Point(1, note="other")
    assert point != classes.Point(2)
    assert point != (1, 2, [])
    assert classes.Fact(name="a") == classes.Fact(name="a", extra={"b": 1})
    assert classes.Fact(name="a") != classes.Fact(name="a", size=1)


def test_only_frozen_ones_have_a_hash(classes: SimpleNamespace) -> None:
    fact = classes.Fact(name="a")
    assert hash(fact) == hash(classes.Fact(name="a", extra={"b": 1}))
    assert {fact: 1}[classes.Fact(name="a")] == 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(classes.Point(1))


def test_frozen_ones_stay_as_they_are(classes: SimpleNamespace) -> None:
    fact = classes.Fact(name="a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        fact.name = "b"
    with pytest.raises(dataclasses.FrozenInstanceError):
        del fact.name
    assert fact.name == "a"


def test_positional_patterns_match(classes: SimpleNamespace) -> None:
    match classes.Point(1, 5):
        case classes.Point(x, y):
            assert (x, y) == (1, 5)
    assert classes.Fact.__match_args__ == ()


def test_the_standard_functions_work(classes: SimpleNamespace) -> None:
    point = classes.Point(1, tags=["a"])
    assert dataclasses.is_dataclass(classes.Point)
    assert dataclasses.is_dataclass(point)
    assert dataclasses.asdict(point) == {"x": 1, "y": 2, "tags": ["a"], "note": "n"}
    assert dataclasses.replace(point, y=9) == classes.Point(1, 9, ["a"])
    facts = {field.name: field for field in dataclasses.fields(classes.Point)}
    assert list(facts) == ["x", "y", "tags", "note"]
    assert facts["x"].default is dataclasses.MISSING
    assert facts["y"].default == 2
    assert facts["tags"].default_factory is list
    assert not facts["note"].compare
    assert not facts["note"].repr


def test_our_replace_does_as_theirs(classes: SimpleNamespace) -> None:
    point = classes.Point(1, tags=["a"], note="m")
    changed = records.replace(point, y=9)
    assert (changed.x, changed.y, changed.tags, changed.note) == (1, 9, ["a"], "m")
    assert point.y == 2
    with pytest.raises(TypeError, match="z"):
        records.replace(point, z=1)
    dataclasses.fields(point)  # makes what was left out
    assert records.replace(point, y=9) == changed


def test_a_dataclass_may_inherit(classes: SimpleNamespace) -> None:
    @dataclasses.dataclass
    class Named(classes.Point):  # type: ignore[misc]
        name: str = "origin"

    named = Named(1, name="here")
    assert (named.x, named.y, named.tags, named.name) == (1, 2, [], "here")
    assert records.replace(named, x=5) == Named(5, name="here")
    assert "name='here'" in repr(named)


def test_a_plain_subclass_keeps_its_class(classes: SimpleNamespace) -> None:
    class Special(classes.Point):  # type: ignore[misc]
        pass

    special = Special(1)
    assert type(records.replace(special, y=3)) is Special
    assert special != classes.Point(1)
    assert repr(special).endswith("Special(x=1, y=2, tags=[])")


def test_the_signature_tells_names_and_types(classes: SimpleNamespace) -> None:
    parameters = inspect.signature(classes.Point).parameters
    assert list(parameters) == ["x", "y", "tags", "note"]
    assert parameters["x"].annotation == "int"
    assert parameters["y"].default == 2
    kinds = {p.kind for p in inspect.signature(classes.Fact).parameters.values()}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}


def test_instances_copy_and_pickle() -> None:
    from llmring_lite import Message
    from llmring_lite.provider import BUILTIN

    for value in (Message("user", "hi"), BUILTIN["openai"]):
        assert copy.copy(value) == value
        assert copy.deepcopy(value) == value
        assert pickle.loads(pickle.dumps(value)) == value


def test_a_program_that_chats_loads_no_dataclasses() -> None:
    code = (
        "import sys, llmring_lite.service, llmring_lite.transport\n"
        "import llmring_lite.provider_openai\n"
        "print(*{'dataclasses', 'inspect'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[1],
    )
    assert done.stdout.split() == []
