"""A registry's document is taken as it should be, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmring_lite import RegistryError
from llmring_lite.registry import MAX_BYTES
from llmring_lite.registry_cache import Cache
from llmring_lite.registry_parse import parse_document, parse_manifest

REGISTRY = Path(__file__).resolve().parents[1].parent / "shared" / "registry"
DOCUMENTS = sorted(
    [*REGISTRY.glob("*/models.json"), *REGISTRY.glob("*/v/*/models.json")]
)


def document(**model: Any) -> dict[str, Any]:
    return {
        "provider": "openai",
        "version": 3,
        "updated_at": "2026-01-02T03:04:05",
        "models": {"openai:m": {"model_name": "m", **model}},
    }


def parse(value: Any) -> Any:
    data = value if isinstance(value, str | bytes) else json.dumps(value)
    return parse_document(data, "openai", source="there")


@pytest.mark.skipif(not DOCUMENTS, reason="needs the registry's data")
@pytest.mark.parametrize(
    "path", DOCUMENTS, ids=lambda path: "-".join(path.parts[-4:-1])
)
def test_every_real_version_is_taken(path: Path) -> None:
    raw = json.loads(path.read_bytes())
    catalogue = parse_document(path.read_bytes(), raw["provider"], source=str(path))
    assert len(catalogue.models) == len(raw["models"]) > 0
    for model in catalogue:
        assert model.dollars_per_million_tokens_input is not None
        assert model.dollars_per_million_tokens_output is not None


@pytest.mark.skipif(not DOCUMENTS, reason="needs the registry's data")
@pytest.mark.parametrize(
    "path", DOCUMENTS, ids=lambda path: "-".join(path.parts[-4:-1])
)
def test_what_is_kept_says_the_same(path: Path, tmp_path: Path) -> None:
    provider = json.loads(path.read_bytes())["provider"]
    whole = parse_document(path.read_bytes(), provider, source="", fetched_at=3.5)
    cache = Cache(str(tmp_path), "https://registry.example")
    cache.write(whole)
    again = cache.read(provider)
    assert again is not None
    assert again.models == whole.models
    for name in ("version", "updated_at", "fetched_at"):
        assert getattr(again, name) == getattr(whole, name)


# What may be missing, null or new -------------------------------------------------


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"max_input_tokens": None, "supports_vision": None, "model_aliases": None},
        {"a_fact_of_tomorrow": {"deep": [1, 2]}},
        {"max_output_tokens": 0},
        {"dollars_per_million_tokens_input": 2},
        {"max_input_tokens": 128000.0},
    ],
)
def test_fields_may_be_missing_null_or_new(facts: dict[str, Any]) -> None:
    model = parse(document(**facts)).models["m"]
    assert model.max_output_tokens is None
    assert model.supports_vision is None


def test_the_head_may_say_nothing() -> None:
    catalogue = parse({"models": {"openai:m": {}}})
    assert (catalogue.version, catalogue.updated_at) == (None, None)
    assert list(catalogue.models) == ["m"]


def test_the_first_documents_had_another_word_for_the_limit() -> None:
    facts = {"context_window_tokens": 200_000, "max_input_tokens": None}
    assert parse(document(**facts)).models["m"].max_input_tokens == 200_000
    both = {"context_window_tokens": 200_000, "max_input_tokens": 100_000}
    assert parse(document(**both)).models["m"].max_input_tokens == 100_000


# What is refused ------------------------------------------------------------------


def change(**keys: Any) -> dict[str, Any]:
    return {**document(), **keys}


GARBAGE: list[tuple[Any, str]] = [
    ("", "no JSON"),
    ("<html>404</html>", "no JSON"),
    (b"\xff\xfe", "no JSON"),
    ("[" * 100_000, "no JSON"),
    ('{"models": {"openai:m": {"max_input_tokens": NaN}}}', "NaN"),
    ('{"models": {"openai:m": {"max_input_tokens": -Infinity}}}', "Infinity"),
    ("9" * 5000, "no JSON"),
    ([], "must be a JSON object, not an array"),
    ("null", "not null"),
    ("{}", "models must be an object, not null"),
    (change(models=[{"model_name": "m"}]), "models must be an object, not an array"),
    (change(models="none"), "not a string"),
    (change(models={"openai:m": []}), "openai:m must be an object, not an array"),
    (change(models={"m": {}}), "keyed openai:MODEL"),
    (change(models={"anthropic:m": {}}), "keyed openai:MODEL"),
    (change(models={"openai:": {}}), "printable"),
    (change(models={"openai:\x1b[2J": {}}), "printable"),
    (change(models={"openai:a\nb": {}}), "printable"),
    (change(models={f"openai:{'x' * 201}": {}}), "printable"),
    (change(models={f"openai:{n}": {} for n in range(10_001)}), "10001 entries"),
    (change(provider="anthropic"), "about 'anthropic'"),
    (change(version="7"), "version must be a number"),
    (change(version=-1), "version must not be negative"),
    (change(version=1.5), "version must be a whole number"),
    (change(version=True), "version must be a number"),
    (change(updated_at="yesterday"), "updated_at must be a date and time"),
    (change(updated_at=17), "updated_at must be a string"),
    (document(dollars_per_million_tokens_input=-1.0), "must not be negative"),
    (document(dollars_per_million_tokens_input="free"), "must be a number"),
    (document(dollars_per_million_tokens_input=True), "not a boolean"),
    (document(dollars_per_million_tokens_output=1e7), "at most 1e+06"),
    ('{"models": {"openai:m": {"max_input_tokens": 1e999}}}', "finite"),
    (document(max_input_tokens=1.5), "whole number"),
    (document(max_input_tokens=10**15), "ordinary size"),
    (document(max_input_tokens="many"), "max_input_tokens of openai:m must be"),
    (document(context_window_tokens=-5), "context_window_tokens"),
    (document(supports_vision="yes"), "supports_vision of openai:m must be true or"),
    (document(is_active=1), "is_active"),
    (document(model_aliases="m"), "must be an array"),
    (document(model_aliases=[3]), "must be a string"),
    (document(model_aliases=["\x07"]), "printable"),
    (document(model_aliases=["x"] * 201), "201 entries"),
    (document(deprecated_date="soon"), "YYYY-MM-DD"),
    (document(deprecated_date="20260101xx"), "YYYY-MM-DD"),
    (document(deprecated_date="2026-aa-01"), "YYYY-MM-DD"),
    (document(api_endpoint=["chat"]), "api_endpoint"),
    (document(display_name="\x1b]0;title\x07"), "display_name"),
]


@pytest.mark.parametrize(("value", "said"), GARBAGE, ids=range(len(GARBAGE)))
def test_a_document_that_can_not_be_used_is_refused(value: Any, said: str) -> None:
    with pytest.raises(RegistryError) as caught:
        parse(value)
    message = str(caught.value)
    assert said in message
    assert "there" in message  # where it came from
    assert len(message) < 500
    assert message.isprintable()


def test_a_huge_document_is_refused_unread() -> None:
    with pytest.raises(RegistryError, match="larger than"):
        parse(b" " * (MAX_BYTES + 1))


def test_another_version_than_the_one_asked_for_is_refused() -> None:
    with pytest.raises(RegistryError, match="version 3, not 4"):
        parse_document(json.dumps(document()), "openai", source="x", version=4)


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([*sorted(document()), "model"]), st.data())
def test_whatever_comes_is_taken_or_refused(key: str, data: st.DataObject) -> None:
    value = data.draw(_values)
    whole = document()
    if key == "model":
        whole["models"]["openai:m"] = {
            name: data.draw(_values)
            for name in ("max_input_tokens", "model_aliases", "supports_vision")
        }
    else:
        whole[key] = value
    try:
        catalogue = parse(whole)
    except RegistryError:
        return
    for model in catalogue:
        assert model.max_input_tokens is None or model.max_input_tokens > 0


# The cache's form and the manifest ------------------------------------------------


def test_a_manifest_lists_providers() -> None:
    text = json.dumps({"providers": {"openai": {}, "acme-2": {}}})
    assert parse_manifest(text, "x") == ["openai", "acme-2"]


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"providers": ["openai"]},
        {"providers": {"../../etc": {}}},
        {"providers": {"": {}}},
        {"providers": {"a/b": {}}},
        {"providers": {"x" * 65: {}}},
        {"providers": {f"p{n}": {} for n in range(201)}},
    ],
)
def test_an_odd_manifest_is_refused(value: Any) -> None:
    with pytest.raises(RegistryError):
        parse_manifest(json.dumps(value), "x")
