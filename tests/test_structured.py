"""Structured replies: response formats, strict schemas, the validator, `apply`."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmring_lite import structured_schema
from llmring_lite.exceptions import (
    InvalidRequestError,
    ProviderResponseError,
    UnsupportedParameterError,
)
from llmring_lite.schemas import LLMResponse
from llmring_lite.structured import (
    apply,
    check_schema,
    is_json,
    parse_json,
    response_schema,
    strict_schema,
    violations,
    without_introduced_nulls,
)

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "age": {"type": "integer", "minimum": 0},
        "nick": {"type": ["string", "null"]},
    },
    "required": ["name"],
}


def json_schema(schema: Any = PERSON, **more: Any) -> dict[str, Any]:
    return {
        "type": "json_schema",
        "json_schema": {"name": "person", "schema": schema},
        **more,
    }


# response_format --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response_format", "answer"),
    [
        (None, False),
        ({"type": "text"}, False),
        ({"type": "json_object"}, True),
        (json_schema(), True),
    ],
)
def test_is_json_for_both_json_types(response_format, answer):
    assert is_json(response_format) is answer


@pytest.mark.parametrize(
    "response_format", [None, {"type": "text"}, {"type": "json_object"}]
)
def test_formats_without_a_schema_have_none(response_format):
    assert response_schema(response_format) is None


@pytest.mark.parametrize(
    ("outside", "inside", "strict"),
    [
        ({}, {}, False),
        ({"strict": True}, {}, True),
        ({}, {"strict": True}, True),
        ({"strict": True}, {"strict": True}, True),
        ({"strict": False}, {"strict": None}, False),
        ({"strict": None}, {"strict": True}, True),
    ],
)
def test_strict_is_taken_at_both_levels(outside, inside, strict):
    spec = {"name": "person", "schema": PERSON, "description": "One.", **inside}
    found = response_schema({"type": "json_schema", "json_schema": spec, **outside})
    assert found == ("person", PERSON, strict, "One.")


def test_a_schema_without_a_name_gets_one():
    found = response_schema({"type": "json_schema", "json_schema": {"schema": PERSON}})
    assert found is not None
    assert found.name


@pytest.mark.parametrize(
    ("response_format", "said"),
    [
        ("json", "must be a dict, not str"),
        ({}, "type None; known are text, json_object, json_schema"),
        ({"type": "json"}, "type 'json'"),
        ({"type": "json_schema"}, 'needs a "json_schema"'),
        ({"type": "json_schema", "schema": PERSON}, 'needs a "json_schema"'),
        (json_schema(name="x"), "unknown key 'name'"),
        (json_schema(strict="yes"), "neither True nor False"),
        (
            {"type": "json_schema", "json_schema": {"name": "x"}},
            "must be a JSON Schema",
        ),
        (
            {"type": "json_schema", "json_schema": {"name": 1, "schema": {}}},
            "name must be a text",
        ),
        (
            {"type": "json_schema", "json_schema": {"schema": {}, "description": 1}},
            "description must be a text",
        ),
        (
            {
                "type": "json_schema",
                "json_schema": {"schema": {}, "strict": False},
                "strict": True,
            },
            "both",
        ),
        (json_schema({"type": "strnig"}), "schema.type must be one or a list of null"),
        (
            json_schema({"properties": {"a": {"anyOf": []}}}),
            "schema.properties.a.anyOf must be a list of one or more schemas, not []",
        ),
        (json_schema({"items": [True, {"required": "a"}]}), "items[1].required"),
        (json_schema({"properties": ["a"]}), "a dict of schemas"),
        (json_schema({"dependentRequired": {"a": "b"}}), "a dict of lists"),
        (json_schema({"minLength": -1}), "not negative"),
        (json_schema({"minimum": True}), "must be a number"),
        (json_schema({"multipleOf": 0}), "greater than 0"),
        (json_schema({"not": None}), "a dict, True or False"),
        (json_schema({"items": "string"}), "a schema, or a list of schemas"),
        (json_schema({"$ref": "https://example.com/s"}), "only references into"),
        (json_schema({"$ref": "#/$defs/Nope"}), "points at nothing"),
        (json_schema({"$ref": "#/type", "type": "object"}), "points at no schema"),
    ],
)
def test_a_malformed_format_says_what_is_wrong(response_format, said):
    with pytest.raises(InvalidRequestError) as caught:
        response_schema(response_format)
    assert said in str(caught.value)


# parse_json -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        (" \n[1, 2]\t", [1, 2]),
        ("null", None),
        ('```json\n{"a": "```"}\n```', {"a": "```"}),
        ('\n```JSON \n{"a": 1}\n```\n', {"a": 1}),
        ("```\n3\n```", 3),
    ],
)
def test_json_is_read_with_or_without_a_fence(text, value):
    assert parse_json(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Sure! {}",
        "{} {}",
        '{"a": 1',
        "NaN",
        '{"a": -Infinity}',
        "```",
        "``````",
        "```python\n{}\n```",
        "```json\n{}",
        "[" * 200_000,
        "1" * 10_000,
    ],
)
def test_what_is_not_json_is_a_value_error(text):
    with pytest.raises(ValueError):  # noqa: PT011 - any kind: json's own included
        parse_json(text)


# violations -------------------------------------------------------------------------

# (schema, values that obey, values that don't)
KEYWORDS: list[tuple[Any, list[Any], list[Any]]] = [
    (True, [None, 1], []),
    (False, [], [None, 1]),
    ({"type": "integer"}, [1, 1.0, -3], [True, 1.5, "1", None]),
    ({"type": "number"}, [1, 1.5], [False, "1"]),
    ({"type": ["string", "null"]}, ["", None], [0, []]),
    ({"type": "boolean"}, [True], [0]),
    ({"enum": [1, "a", {"b": [True]}]}, [1.0, "a", {"b": [True]}], [True, {"b": [1]}]),
    ({"const": False}, [False], [0, None]),
    ({"const": 0}, [0, 0.0], [False]),
    ({"properties": {"a": {"type": "null"}}}, [{}, {"a": None}, 3], [{"a": 1}]),
    ({"required": ["a"]}, [{"a": None}, []], [{}]),
    (
        {"properties": {"a": True}, "additionalProperties": False},
        [{}, {"a": 1}],
        [{"b": 1}],
    ),
    (
        {"patternProperties": {"^x": {"type": "string"}}, "additionalProperties": {}},
        [{"x1": "", "y": 1}],
        [{"x1": 1}],
    ),
    (
        {"patternProperties": {"^x": {}}, "additionalProperties": {"type": "null"}},
        [{"x": 1, "y": None}],
        [{"y": 1}],
    ),
    ({"propertyNames": {"maxLength": 1}}, [{"a": 1}], [{"ab": 1}]),
    ({"minProperties": 1, "maxProperties": 2}, [{"a": 1}], [{}, dict.fromkeys("abc")]),
    ({"dependentRequired": {"a": ["b"]}}, [{}, {"a": 1, "b": 1}], [{"a": 1}]),
    (
        {"dependentSchemas": {"a": {"required": ["b"]}}},
        [{"b": 1}, {"a": 1, "b": 1}],
        [{"a": 1}],
    ),
    ({"items": {"type": "integer"}}, [[], [1, 2], {}], [["a"], [1, None]]),
    (
        {"prefixItems": [{"type": "integer"}], "items": {"type": "string"}},
        [[], [1], [1, "a"]],
        [["a"], [1, 2]],
    ),
    ({"prefixItems": [{}], "items": False}, [[], [1]], [[1, 2]]),
    ({"items": [{"type": "null"}]}, [[None, 1], []], [[1]]),
    (
        {"items": [{"type": "null"}], "additionalItems": {"type": "string"}},
        [[None, "a"]],
        [[None, 1]],
    ),
    ({"contains": {"const": 1}}, [[0, 1]], [[], [0]]),
    ({"contains": {"const": 1}, "minContains": 0, "maxContains": 1}, [[]], [[1, 1]]),
    ({"minItems": 1, "maxItems": 2}, [[1], "abc"], [[], [1, 2, 3]]),
    ({"uniqueItems": True}, [[1, True, "1"], [[1], [True]]], [[1, 1.0], [{}, {}]]),
    ({"uniqueItems": False}, [[1, 1]], []),
    ({"minimum": 1, "maximum": 2}, [1, 2, "x", True], [0, 2.1]),
    ({"exclusiveMinimum": 1, "exclusiveMaximum": 2}, [1.5], [1, 2]),
    ({"multipleOf": 3}, [9, 0, "x"], [10, 9.5]),
    ({"multipleOf": 0.1}, [0.3, 1, 1e300], [0.35]),
    (
        {"minLength": 2, "maxLength": 3},
        ["ab", "\U0001f600\U0001f600", 1],
        ["a", "abcd"],
    ),
    ({"pattern": "b+"}, ["abbc", 5], ["ac"]),
    ({"pattern": r"\p{L}"}, ["anything"], []),
    ({"patternProperties": {r"\p{L}": False}}, [{"a": 1}], []),
    ({"anyOf": [{"type": "string"}, {"minimum": 3}]}, ["a", 3], [2]),
    ({"oneOf": [{"type": "number"}, {"minimum": 3}]}, [2, "a"], [3]),
    ({"oneOf": [{"type": "number"}, {"type": "string"}]}, [2], [None]),
    ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, [1], [0, 3]),
    ({"not": {"type": "string"}}, [1], ["a"]),
    (
        {
            "if": {"required": ["a"]},
            "then": {"required": ["b"]},
            "else": {"required": ["c"]},
        },
        [{"a": 1, "b": 1}, {"c": 1}],
        [{"a": 1}, {}],
    ),
    ({"if": {"type": "string"}, "then": {"minLength": 1}}, [1, "a"], [""]),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}, ["x"], [1]),
    (
        {"$ref": "#/$defs/a~1b%25", "$defs": {"a/b%": {"type": "string"}}},
        ["x"],
        [1],
    ),
    ({"allOf": [{"type": "string"}, {"$ref": "#/allOf/0"}]}, ["x"], [1]),
    (
        {"properties": {"next": {"$ref": "#"}}, "required": ["v"]},
        [{"v": 1, "next": {"v": 2}}],
        [{"v": 1, "next": {"v": 2, "next": {}}}],
    ),
    ({"type": "string", "format": "email", "title": "x", "unheardOf": 1}, ["x"], [1]),
]


@pytest.mark.parametrize(("schema", "good", "bad"), KEYWORDS)
def test_keywords_mean_what_json_schema_says(schema, good, bad):
    check_schema(schema)
    for value in good:
        assert violations(value, schema) == []
    for value in bad:
        assert violations(value, schema)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, "$: lacks the property 'name'"),
        ({"name": 5}, "$.name: is not string but 5"),
        ({"name": "x", "age": -1}, "$.age: is less than 0: -1"),
        ({"name": "x", "nick": {}}, "$.nick: is not string or null but {}"),
    ],
)
def test_a_violation_says_where_and_what(value, said):
    assert violations(value, PERSON) == [said]


def test_paths_reach_into_arrays_and_odd_names():
    schema = {"additionalProperties": {"items": {"type": "string"}}}
    assert violations({"a b": ["x", 1]}, schema) == ['$["a b"][1]: is not string but 1']


def test_every_violation_is_listed_and_long_values_are_cut():
    schema = {"items": {"type": "integer"}}
    found = violations(["x" * 500, "y"], schema)
    assert len(found) == 2
    assert len(found[0]) < 130


def test_a_union_names_its_nearest_alternative():
    schema = {"anyOf": [{"type": "string"}, PERSON]}
    assert violations({"name": ""}, schema) == [
        '$: fits none of 2 alternatives (nearest: $: is not string but {"name": ""})'
    ]


def test_a_circular_schema_is_a_violation_not_a_crash():
    schema: dict[str, Any] = {"$ref": "#"}
    assert "circle" in violations(1, schema)[0]


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.0, 1.0, 1.5, -2.5]),
    st.sampled_from(["", "a", "ab", "abc", "x1"]),
)
names = st.sampled_from(["a", "b", "x1"])
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)
    ),
    max_leaves=6,
)
type_names = st.sampled_from(
    ["null", "boolean", "integer", "number", "string", "array", "object"]
)
counts = st.integers(0, 3)


def _with_keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    schemas = st.lists(inner, min_size=1, max_size=3)
    named = st.dictionaries(names, inner, max_size=2)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": type_names
            | st.lists(type_names, min_size=1, max_size=2, unique=True),
            "enum": st.lists(values, min_size=1, max_size=3),
            "const": values,
            "properties": named,
            "required": st.lists(names, max_size=2, unique=True),
            "additionalProperties": inner | st.booleans(),
            "patternProperties": st.dictionaries(
                st.sampled_from(["^x", "[ab]", "1$"]), inner, max_size=2
            ),
            "propertyNames": inner,
            "minProperties": counts,
            "maxProperties": counts,
            "dependentRequired": st.dictionaries(
                names, st.lists(names, max_size=2, unique=True), max_size=2
            ),
            "dependentSchemas": named,
            "items": inner | st.booleans(),
            "prefixItems": schemas,
            "contains": inner,
            "minContains": counts,
            "maxContains": counts,
            "minItems": counts,
            "maxItems": counts,
            "uniqueItems": st.booleans(),
            "minimum": st.integers(-2, 2),
            "maximum": st.integers(-2, 2),
            "exclusiveMinimum": st.integers(-2, 2),
            "exclusiveMaximum": st.integers(-2, 2),
            "multipleOf": st.sampled_from([1, 2, 0.5]),
            "minLength": counts,
            "maxLength": counts,
            "pattern": st.sampled_from(["^a", "b", "[0-9]$"]),
            "anyOf": schemas,
            "oneOf": schemas,
            "allOf": schemas,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "$ref": st.sampled_from(["#/$defs/s", "#/$defs/t"]),
        },
    )


@settings(max_examples=150, deadline=None)
@given(
    value=values,
    schema=st.recursive(_with_keywords(st.just({})), _with_keywords, max_leaves=4),
)
def test_the_validator_agrees_with_the_jsonschema_package(value, schema):
    jsonschema = pytest.importorskip("jsonschema")
    schema = {
        **schema,
        "$defs": {"s": {"type": "string"}, "t": {"items": {"$ref": "#/$defs/s"}}},
    }
    check_schema(schema)
    expected = jsonschema.Draft202012Validator(schema).is_valid(value)
    assert (violations(value, schema) == []) is expected


# strict_schema ----------------------------------------------------------------------

STRICT_KEYWORDS = frozenset(
    {
        *("type", "enum", "const", "title", "description", "default"),
        *("properties", "required", "additionalProperties", "items", "anyOf"),
        *("$ref", "$defs", "definitions", "pattern", "format"),
        *("multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
        *("minItems", "maxItems", "$schema"),
    }
)


def assert_obeys_the_strict_rules(schema: dict[str, Any], *, root: bool = True) -> None:
    assert schema.keys() <= STRICT_KEYWORDS
    if root:
        assert schema["type"] == "object"
        assert "anyOf" not in schema
    if "$ref" in schema:
        assert schema.keys() == {"$ref"}
        return
    assert "type" in schema or "anyOf" in schema
    types = schema.get("type", [])
    if "object" in ([types] if isinstance(types, str) else types):
        assert schema["additionalProperties"] is False
        assert sorted(schema["required"]) == sorted(schema["properties"])
    if "array" in ([types] if isinstance(types, str) else types):
        assert isinstance(schema["items"], dict)
    parts = [*schema.get("properties", {}).values(), *schema.get("anyOf", [])]
    parts += schema.get("$defs", {}).values()
    parts += schema.get("definitions", {}).values()
    parts += [schema["items"]] if "items" in schema else []
    for part in parts:
        assert_obeys_the_strict_rules(part, root=False)


def one(property_schema: Any, **more: Any) -> dict[str, Any]:
    """A schema with the one required property `x`."""
    return {
        "type": "object",
        "properties": {"x": property_schema},
        "required": ["x"],
        **more,
    }


def closed(property_schema: Any, **more: Any) -> dict[str, Any]:
    """`one`, as strict output wants it."""
    return {**one(property_schema), "additionalProperties": False, **more}


STRING = {"type": "string"}
NULL = {"type": "null"}
NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
STRICT_NODE = {
    "type": "object",
    "properties": {"next": {"anyOf": [{"$ref": "#/$defs/Node"}, NULL]}},
    "required": ["next"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        pytest.param(one(STRING), closed(STRING), id="closed"),
        pytest.param(
            {
                "type": "object",
                "properties": {"x": STRING, "y": STRING, "z": NULL},
                "required": ["z", "x"],
            },
            {
                "type": "object",
                "properties": {
                    "x": STRING,
                    "y": {"type": ["string", "null"]},
                    "z": NULL,
                },
                "required": ["z", "x", "y"],
                "additionalProperties": False,
            },
            id="orders stay",
        ),
        pytest.param(one(STRING, additionalProperties=True), closed(STRING), id="open"),
        pytest.param(
            {"properties": {"x": STRING}, "required": ["x"]},
            closed(STRING),
            id="type from properties",
        ),
        pytest.param(
            {"type": "object", "properties": {"x": STRING}},
            closed({"type": ["string", "null"]}),
            id="optional",
        ),
        pytest.param(
            {"type": "object", "properties": {"x": {"type": ["string", "null"]}}},
            closed({"type": ["string", "null"]}),
            id="optional and nullable",
        ),
        pytest.param(
            {"type": "object", "properties": {"x": {"enum": ["a", "b"]}}},
            closed({"type": ["string", "null"], "enum": ["a", "b", None]}),
            id="optional enum",
        ),
        pytest.param(
            {"type": "object", "properties": {"x": {"const": "a", "title": "X"}}},
            closed(
                {"anyOf": [{"type": "string", "const": "a"}, NULL], "title": "X"},
            ),
            id="optional const",
        ),
        pytest.param(
            {"type": "object", "properties": {"x": one(STRING)}},
            closed({"anyOf": [closed(STRING), NULL]}),
            id="optional object",
        ),
        pytest.param(
            {"type": "object", "properties": {"x": {"anyOf": [STRING, one(STRING)]}}},
            closed({"anyOf": [STRING, closed(STRING), NULL]}),
            id="optional union",
        ),
        pytest.param(
            one({"anyOf": [STRING, NULL], "default": None, "title": "X"}),
            closed({"anyOf": [STRING, NULL], "title": "X"}),
            id="null default",
        ),
        pytest.param(
            one({"type": "integer", "default": 3, "minimum": 1}),
            closed({"type": "integer", "default": 3, "minimum": 1}),
            id="default and bounds stay",
        ),
        pytest.param(
            one({"oneOf": [STRING, {"type": "integer"}]}),
            closed({"anyOf": [STRING, {"type": "integer"}]}),
            id="oneOf",
        ),
        pytest.param(
            one({"type": ["object", "null"], "properties": {}}),
            closed(
                {
                    "anyOf": [
                        {
                            "type": "object",
                            "properties": {},
                            "required": [],
                            "additionalProperties": False,
                        },
                        NULL,
                    ]
                }
            ),
            id="object or null",
        ),
        pytest.param(
            one({"type": "array", "items": one(STRING), "minItems": 1}),
            closed({"type": "array", "items": closed(STRING), "minItems": 1}),
            id="array",
        ),
        pytest.param(
            one({"$ref": "#/$defs/E"}, **{"$defs": {"E": STRING, "Unused": True}}),
            closed({"$ref": "#/$defs/E"}, **{"$defs": {"E": STRING}}),
            id="reference stays, unused impossible definitions go",
        ),
        pytest.param(
            one({"$ref": "#/$defs/E", "description": "d"}, **{"$defs": {"E": STRING}}),
            closed({"type": "string", "description": "d"}, **{"$defs": {"E": STRING}}),
            id="reference with a description is unfolded",
        ),
        pytest.param(
            one(
                {"allOf": [{"$ref": "#/$defs/E"}]},
                definitions={"E": STRING},
                **{"$defs": {"E": STRING}},
            ),
            closed(STRING, definitions={"E": STRING}, **{"$defs": {"E": STRING}}),
            id="allOf of one",
        ),
        pytest.param(
            one({"allOf": [one(STRING), {"properties": {"y": STRING}}]}),
            closed(
                {
                    "type": "object",
                    "properties": {"x": STRING, "y": {"type": ["string", "null"]}},
                    "required": ["x", "y"],
                    "additionalProperties": False,
                }
            ),
            id="allOf of several",
        ),
        pytest.param(
            one(
                {
                    "allOf": [
                        {"type": ["integer", "string"], "minimum": 1},
                        {"type": "number", "minimum": 3},
                        True,
                    ]
                }
            ),
            closed({"type": "integer", "minimum": 3}),
            id="allOf narrows",
        ),
        pytest.param(
            one({"type": "string", "anyOf": [{"const": "a"}, {"const": "b"}]}),
            closed(
                {
                    "anyOf": [
                        {"type": "string", "const": "a"},
                        {"type": "string", "const": "b"},
                    ]
                }
            ),
            id="conditions beside anyOf",
        ),
        pytest.param(
            {"$ref": "#/$defs/Node", "$defs": {"Node": NODE}},
            {**STRICT_NODE, "$defs": {"Node": STRICT_NODE}},
            id="recursive root",
        ),
        pytest.param(
            {"type": "object", "properties": {"x": {"$ref": "#"}}},
            closed({"anyOf": [{"$ref": "#"}, NULL]}),
            id="reference to the root",
        ),
        pytest.param(
            {
                "type": "object",
                "properties": {"x": STRING, "y": {"$ref": "#/properties/x"}},
                "required": ["x", "y"],
            },
            {
                "type": "object",
                "properties": {"x": STRING, "y": STRING},
                "required": ["x", "y"],
                "additionalProperties": False,
            },
            id="reference to another place is unfolded",
        ),
        pytest.param(
            one({"type": "string", "format": "date"}, **{"$schema": "x", "$id": "y"}),
            closed({"type": "string", "format": "date"}, **{"$schema": "x"}),
            id="known format",
        ),
        pytest.param(
            {"type": "object", "properties": {"x": STRING, "y": False}},
            closed({"type": ["string", "null"]}),
            id="forbidden property",
        ),
    ],
)
def test_strict_schemas(schema, strict):
    before = deepcopy(schema)
    found = strict_schema(schema)
    assert found == strict
    assert found.get("required") == strict.get("required")
    assert strict_schema(strict) == strict
    assert schema == before
    assert_obeys_the_strict_rules(strict)


@pytest.mark.parametrize(
    ("property_schema", "word"),
    [
        ({"type": "string", "minLength": 3}, '"minLength": 3'),
        ({"type": "string", "format": "uri"}, '"format": "uri"'),
        ({"type": "array", "items": STRING, "uniqueItems": True}, '"uniqueItems"'),
        ({"type": "string", "not": {"const": "a"}}, '"not": {"const": "a"}'),
        ({**one(STRING), "anyOf": [{"required": ["x"]}]}, '"anyOf"'),
        (
            {"type": "array", "prefixItems": [STRING, {"type": "integer"}]},
            '"prefixItems"',
        ),
    ],
)
def test_what_strict_output_cannot_say_is_told_to_the_model(property_schema, word):
    strict = strict_schema(one({**property_schema, "description": "Mine."}))
    assert_obeys_the_strict_rules(strict)
    description = strict["properties"]["x"]["description"]
    assert description.startswith("Mine.\n")
    assert word in description


def test_a_tuple_becomes_an_array_of_its_kinds():
    pair = {"type": "array", "prefixItems": [STRING, {"type": "integer"}, STRING]}
    for schema in (pair, {"type": "array", "items": pair["prefixItems"]}):
        strict = strict_schema(one(schema))["properties"]["x"]
        assert strict["items"] == {"anyOf": [STRING, {"type": "integer"}]}
        assert strict["maxItems"] == 3
    open_end = {**pair, "items": NULL}
    strict = strict_schema(one(open_end))["properties"]["x"]
    assert strict["items"] == {"anyOf": [STRING, {"type": "integer"}, NULL]}
    assert "maxItems" not in strict


def test_an_unused_definition_that_drags_in_an_impossible_one_goes_with_it():
    definitions = {"A": one({"$ref": "#/$defs/B"}), "B": {"type": "array"}, "C": STRING}
    schema = one({"$ref": "#/$defs/C"}, **{"$defs": definitions})
    assert strict_schema(schema)["$defs"] == {"C": STRING}


def test_an_impossible_definition_in_use_is_refused():
    schema = one({"$ref": "#/$defs/B"}, **{"$defs": {"B": {"type": "array"}}})
    with pytest.raises(UnsupportedParameterError, match=r"\$defs\.B must have `items`"):
        strict_schema(schema)


def test_a_described_recursive_reference_ends():
    node = {
        "type": "object",
        "properties": {"next": {"$ref": "#/$defs/Node", "description": "the next"}},
    }
    strict = strict_schema({"$ref": "#/$defs/Node", "$defs": {"Node": node}})
    assert_obeys_the_strict_rules(strict)
    chain = {"next": {"next": {"next": None}}}
    assert violations(chain, strict) == []


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "array", "items": STRING}, "the schema must be an object"),
        ({"anyOf": [one(STRING), one(NULL)]}, "the schema must be an object"),
        ({"type": "object"}, "the schema may have arbitrary keys"),
        (
            one({"type": "object", "additionalProperties": STRING}),
            "the schema.x may have arbitrary keys",
        ),
        (one({"type": "array"}), "the schema.x must have `items`"),
        (one({"type": "array", "items": {}}), "the schema.x must have `items`"),
        (one({"type": "array", "items": False}), "always empty"),
        (one({}), "the schema.x must have a type"),
        (one(True), "the schema.x must have a type"),
        (one({"anyOf": [STRING, {}]}), "the schema.x.anyOf[1] must have a type"),
        (one(STRING, required=["x", "y"]), "requires 'y'"),
        (one({"allOf": [STRING, NULL]}), "two different `type`"),
        (one({"allOf": [STRING, False]}), "allows no value"),
        (one({"allOf": [{"pattern": "a"}, {"pattern": "b"}]}), "different `pattern`"),
        (
            one({"type": "array", "allOf": [{"items": STRING}, {"items": [NULL]}]}),
            "different `items`",
        ),
        (one({"allOf": [{"enum": [1]}, {"enum": [True]}]}), "different `enum`"),
        (
            {
                "$ref": "#/$defs/N",
                "$defs": {"N": {"allOf": [{"$ref": "#/$defs/N"}], "type": "object"}},
            },
            "recursive reference '#/$defs/N'",
        ),
    ],
)
def test_what_strict_output_cannot_express_is_refused_with_its_place(schema, said):
    check_schema(schema)
    with pytest.raises(UnsupportedParameterError) as caught:
        strict_schema(schema)
    assert said in str(caught.value)
    assert caught.value.parameter == "response_format"


# Schemas of the kinds that strict output can say in full, and their values.
expressible = st.recursive(
    st.one_of(
        st.builds(dict, type=st.sampled_from(["string", "integer", "null", "boolean"])),
        st.just({"type": ["number", "null"]}),
        st.builds(lambda v: {"enum": v}, st.lists(scalars, min_size=1, max_size=3)),
        st.builds(lambda v: {"const": v}, scalars),
        st.just({"$ref": "#/$defs/leaf"}),
        st.just({"$ref": "#/$defs/leaf", "description": "a leaf"}),
    ),
    lambda inner: st.one_of(
        st.builds(lambda s: {"type": "array", "items": s}, inner),
        st.builds(lambda s: {"anyOf": s}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda s: {"allOf": [s]}, inner),
        st.builds(
            lambda p, r: {"type": "object", "properties": p, "required": r & p.keys()},
            st.dictionaries(names, inner, max_size=3),
            st.sets(names),
        ),
    ),
    max_leaves=8,
)


def a_value_of(schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "$ref" in schema:
        return a_value_of(structured_schema.resolve(schema["$ref"], root), root)
    if "anyOf" in schema:
        return st.one_of([a_value_of(option, root) for option in schema["anyOf"]])
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    types = schema["type"]
    if types == "object":
        return st.fixed_dictionaries(
            {k: a_value_of(s, root) for k, s in schema["properties"].items()}
        )
    if types == "array":
        return st.lists(a_value_of(schema["items"], root), max_size=3)
    fits = structured_schema.TYPES
    wanted = [types] if isinstance(types, str) else types
    return scalars.filter(lambda v: any(fits[name](v) for name in wanted))


@settings(max_examples=100, deadline=None)
@given(data=st.data(), properties=st.dictionaries(names, expressible, max_size=3))
def test_a_strict_reply_obeys_the_callers_schema(data, properties):
    required = [k for k in data.draw(st.lists(names, unique=True)) if k in properties]
    schema = json.loads(
        json.dumps(
            {
                "type": "object",
                "properties": properties,
                "required": required,
                "$defs": {"leaf": {"type": "object", "properties": {"a": STRING}}},
            },
            default=sorted,
        )
    )
    before = deepcopy(schema)
    strict = strict_schema(schema)
    assert schema == before
    check_schema(strict)
    assert_obeys_the_strict_rules(strict)
    assert strict_schema(strict) == strict
    value = data.draw(a_value_of(strict, strict))
    assert violations(value, strict) == []
    assert violations(without_introduced_nulls(value, schema), schema) == []


# apply ------------------------------------------------------------------------------


def reply(content: str, **more: Any) -> LLMResponse:
    facts = {"finish_reason": "stop", "provider": "openai", "model": "openai:gpt-x"}
    return LLMResponse(content, **{**facts, **more})


CALLS = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


@pytest.mark.parametrize(
    ("content", "response_format", "parsed"),
    [
        ('{"a": 1}', None, None),
        ('{"a": 1}', {"type": "text"}, None),
        ('{"a": 1}', {"type": "json_object"}, {"a": 1}),
        ("no JSON", {"type": "json_object"}, None),
        ('{"name": "Ann"}', json_schema(), {"name": "Ann"}),
        ('{"name": "Ann"}', json_schema(strict=True), {"name": "Ann"}),
        ("no JSON", json_schema(), None),
        ("", json_schema(), None),
        ('{"name": 1}', json_schema(), {"name": 1}),
    ],
)
def test_parsed_holds_the_value_of_a_json_reply(content, response_format, parsed):
    response = reply(content)
    apply(response, response_format)
    assert response.parsed == parsed
    assert response.content == content


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (reply('{"age": "x"}'), "violates the schema: $"),
        (reply("Here you are"), "is not JSON: "),
        (reply(""), "is empty"),
        (reply('{"name": "An', finish_reason="length"), "raise max_tokens"),
    ],
)
def test_a_strict_violation_raises_with_the_reply(response, said):
    with pytest.raises(ProviderResponseError) as caught:
        apply(response, json_schema(strict=True))
    error = caught.value
    assert said in str(error)
    assert error.response is response
    assert error.partial == response.content
    assert (error.provider, error.model) == ("openai", "gpt-x")


def test_strict_json_mode_raises_for_what_is_not_json():
    with pytest.raises(ProviderResponseError):
        apply(reply("no"), {"type": "json_object", "strict": True})


def test_many_violations_are_counted_not_listed():
    schema = {"items": {"type": "integer"}}
    with pytest.raises(ProviderResponseError, match="and 15 more"):
        apply(reply(json.dumps(["x"] * 20)), json_schema(schema, strict=True))


@pytest.mark.parametrize(
    "response",
    [
        reply("", tool_calls=CALLS, finish_reason="tool_calls"),
        reply("Let me look.", tool_calls=CALLS, finish_reason="tool_calls"),
        reply('{"name": 1}', tool_calls=CALLS, finish_reason="tool_calls"),
        reply("", refusal="I can't help with that."),
        reply('{"name": "An', finish_reason="content_filter"),
    ],
)
def test_turns_that_are_no_answer_are_not_held_to_the_schema(response):
    apply(response, json_schema(strict=True))
    assert response.parsed is None


def test_a_valid_answer_beside_tool_calls_is_parsed():
    response = reply('{"name": "Ann"}', tool_calls=CALLS, finish_reason="tool_calls")
    apply(response, json_schema(strict=True))
    assert response.parsed == {"name": "Ann"}


def test_a_complete_reply_at_the_token_limit_is_parsed():
    response = reply('{"name": "Ann"}', finish_reason="length")
    apply(response, json_schema(strict=True))
    assert response.parsed == {"name": "Ann"}


def test_null_for_an_optional_property_is_its_absence():
    response = reply('{"name": "Ann", "age": null, "nick": null}')
    apply(response, json_schema(strict=True))
    assert response.parsed == {"name": "Ann", "nick": None}


def test_null_for_a_required_property_is_a_violation():
    with pytest.raises(ProviderResponseError, match=r"\$\.name: is not string"):
        apply(reply('{"name": null}'), json_schema(strict=True))


@pytest.mark.parametrize(
    ("schema", "value", "pruned"),
    [
        (PERSON, {"age": None, "other": None}, {"other": None}),
        ({"items": PERSON}, [{"age": None}], [{}]),
        (
            {"prefixItems": [PERSON]},
            [{"age": None}, {"age": None}],
            [{}, {"age": None}],
        ),
        ({"items": [PERSON]}, [{"age": None}], [{}]),
        ({"allOf": [PERSON]}, {"age": None}, {}),
        (
            {"oneOf": [STRING, one(STRING), PERSON]},
            {"name": "x", "age": None},
            {"name": "x"},
        ),
        ({"additionalProperties": PERSON}, {"a": {"age": None}}, {"a": {}}),
        (
            {"$ref": "#/$defs/Node", "$defs": {"Node": NODE}},
            {"next": {"next": None}},
            {"next": {}},
        ),
        ({"$ref": "#"}, {"a": None}, {"a": None}),
    ],
)
def test_introduced_nulls_are_found_wherever_they_are(schema, value, pruned):
    before = deepcopy(value)
    assert without_introduced_nulls(value, schema) == pruned
    assert value == before


def test_a_malformed_format_is_the_callers_error_also_here():
    with pytest.raises(InvalidRequestError):
        apply(reply("{}"), {"type": "json_schema"})
