"""JSON Schemas as values: their types, their references, and whether one is sound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import quote, unquote

from llmring_lite.exceptions import InvalidRequestError

Schema: TypeAlias = Mapping[str, Any] | bool


def is_number(value: Any) -> bool:
    """Whether it is a JSON number; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# A more special type stands before a more general one.
TYPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: (
        is_number(value) and (isinstance(value, int) or value.is_integer())
    ),
    "number": is_number,
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
"""JSON Schema's type names -> whether a decoded value is one."""


def equality_key(value: Any) -> Any:
    """Something hashable that is equal for equal JSON values, and only for those."""
    if isinstance(value, bool):
        return ("boolean", value)  # True == 1 in Python, but not in JSON
    if isinstance(value, list):
        return ("array", *map(equality_key, value))
    if isinstance(value, Mapping):
        return frozenset((name, equality_key(item)) for name, item in value.items())
    return value


def is_equal(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same; 1 is 1.0, but not true."""
    return bool(equality_key(one) == equality_key(other))


def escape(key: str) -> str:
    """A key as it is written in a `$ref`; `unescape` turned round."""
    return quote(key.replace("~", "~0").replace("/", "~1"))


def unescape(token: str) -> str:
    """A key from its place in a `$ref`: RFC 6901, 3 and 6."""
    # "~1" first, or "~01" would become "/".
    return unquote(token).replace("~1", "/").replace("~0", "~")


def resolve(ref: str, root: Schema) -> Schema:
    """The part of the root schema that a `$ref` points at.

    Raises:
        InvalidRequestError: It points outside, or at nothing.
    """
    if ref != "#" and not ref.startswith("#/"):
        raise InvalidRequestError(
            f"the schema's $ref {ref!r} can't be followed: only references into the "
            'schema itself, such as "#/$defs/item", can'
        )
    target: Any = root
    for token in ref.split("/")[1:]:
        key = unescape(token)
        if isinstance(target, Mapping) and key in target:
            target = target[key]
        elif isinstance(target, list) and key.isdecimal() and int(key) < len(target):
            target = target[int(key)]
        else:
            raise InvalidRequestError(f"the schema's $ref {ref!r} points at nothing")
    if not isinstance(target, (Mapping, bool)):
        raise InvalidRequestError(f"the schema's $ref {ref!r} points at no schema")
    return target


def item_schemas(schema: Mapping[str, Any]) -> tuple[list[Any], Schema]:
    """The schemas of an array's first items, and that of all further ones."""
    prefix, rest = schema.get("prefixItems", []), schema.get("items", True)
    if isinstance(rest, list):  # the tuple form up to draft 2019-09
        prefix, rest = rest, schema.get("additionalItems", True)
    return prefix, rest


# Whether a schema is sound: keyword -> what its argument must be. -------------------


def _is_schema(value: Any) -> bool:
    return isinstance(value, (Mapping, bool))


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_count(value: Any) -> bool:
    return TYPES["integer"](value) and value >= 0


def _is_type(value: Any) -> bool:
    names = [value] if isinstance(value, str) else value
    return _is_texts(names) and bool(names) and all(name in TYPES for name in names)


_ARGUMENTS: Final[tuple[tuple[str, Callable[[Any], bool], str], ...]] = (
    ("type", _is_type, f"one or a list of {', '.join(TYPES)}"),
    ("enum", lambda value: isinstance(value, list), "a list of values"),
    ("$ref pattern", lambda value: isinstance(value, str), "a text"),
    ("required", _is_texts, "a list of property names"),
    (
        "minLength maxLength minItems maxItems minProperties maxProperties "
        "minContains maxContains",
        _is_count,
        "a whole number that is not negative",
    ),
    ("minimum maximum exclusiveMinimum exclusiveMaximum", is_number, "a number"),
    (
        "multipleOf",
        lambda value: is_number(value) and value > 0,
        "a number greater than 0",
    ),
    (
        "properties patternProperties dependentSchemas $defs definitions",
        lambda value: (
            isinstance(value, Mapping) and all(map(_is_schema, value.values()))
        ),
        "a dict of schemas",
    ),
    (
        "dependentRequired",
        lambda value: (
            isinstance(value, Mapping) and all(map(_is_texts, value.values()))
        ),
        "a dict of lists of property names",
    ),
    (
        "anyOf oneOf allOf prefixItems",
        lambda value: (
            isinstance(value, list) and bool(value) and all(map(_is_schema, value))
        ),
        "a list of one or more schemas",
    ),
    (
        "items",
        lambda value: (
            _is_schema(value)
            or (isinstance(value, list) and all(map(_is_schema, value)))
        ),
        "a schema, or a list of schemas",
    ),
    (
        "additionalProperties additionalItems propertyNames contains not if then else",
        _is_schema,
        "a schema: a dict, True or False",
    ),
)

_RULES: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    word: (is_sound, wanted)
    for words, is_sound, wanted in _ARGUMENTS
    for word in words.split()
}

_SUBSCHEMAS: Final = frozenset(
    word for word, (_, wanted) in _RULES.items() if "schema" in wanted
)


def check_schema(schema: Schema) -> None:
    """Raises InvalidRequestError if the validator could not work with the schema.

    Unknown keywords, and patterns that Python's `re` doesn't know, pass.
    """
    todo: list[tuple[str, Any]] = [("schema", schema)]
    while todo:
        where, part = todo.pop()
        if isinstance(part, bool):
            continue
        for word, argument in part.items():
            if word not in _RULES:
                continue
            is_sound, wanted = _RULES[word]
            if not is_sound(argument):
                raise InvalidRequestError(
                    f"in the JSON Schema, {where}.{word} must be {wanted}, not "
                    f"{argument!r:.100}"
                )
            if word == "$ref":
                resolve(argument, schema)
            elif word in _SUBSCHEMAS:
                todo.extend(_parts(f"{where}.{word}", argument))


def _parts(where: str, argument: Any) -> list[tuple[str, Any]]:
    """The schemas in the argument of a keyword that holds schemas."""
    if isinstance(argument, list):
        return [(f"{where}[{i}]", part) for i, part in enumerate(argument)]
    word = where.rpartition(".")[2]
    if word in _NAMED and isinstance(argument, Mapping):
        return [(f"{where}.{name}", part) for name, part in argument.items()]
    return [(where, argument)]


_NAMED: Final = frozenset(
    ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
)
