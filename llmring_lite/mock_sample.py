"""A value that fits a JSON schema, the same one every time."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

_FORMATS: Final[Mapping[str, str]] = {
    "date": "2025-01-01",
    "date-time": "2025-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "mock@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}

_MAX_DEPTH: Final = 6
"""From this depth on, objects have their required properties only: schemas recur."""


def sample(schema: Any) -> Any:
    """A value that fits `schema`, for the keywords that structured output allows.

    Gemini's spelling of types (`STRING`) is understood. A pattern is not obeyed.
    """
    return _sample(schema, schema, 0)


def _sample(schema: Any, root: Any, depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth > 3 * _MAX_DEPTH:
        return None
    if "$ref" in schema:
        return _sample(_resolve(str(schema["$ref"]), root), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    for key in ("enum", "examples"):
        if isinstance(schema.get(key), list) and schema[key]:
            return schema[key][0]
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return _sample(_simplest(schema[key], depth), root, depth + 1)
    if schema.get("allOf"):
        return _sample(_merged(schema["allOf"], root), root, depth + 1)
    make = _SAMPLES.get(_type_of(schema))
    return make(schema, root, depth) if make else None


def _resolve(reference: str, root: Any) -> Any:
    node = root
    for name in reference.removeprefix("#").strip("/").split("/"):
        if name:
            node = node.get(name) if isinstance(node, Mapping) else None
    return node


def _simplest(choices: list[Any], depth: int) -> Any:
    """The first alternative; deep down null, if that is one of them."""
    nulls = [c for c in choices if isinstance(c, Mapping) and c.get("type") == "null"]
    return nulls[0] if nulls and depth >= _MAX_DEPTH else choices[0]


def _merged(parts: list[Any], root: Any) -> dict[str, Any]:
    merged: dict[str, Any] = {"properties": {}, "required": []}
    for part in parts:
        if isinstance(part, Mapping) and "$ref" in part:
            part = _resolve(str(part["$ref"]), root)
        if isinstance(part, Mapping):
            properties = {**merged["properties"], **part.get("properties", {})}
            required = [*merged["required"], *part.get("required", [])]
            merged = {**merged, **part, "properties": properties, "required": required}
    return merged


def _type_of(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((item for item in kind if item != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "null"
    return str(kind).lower()


def _object(schema: Mapping[str, Any], root: Any, depth: int) -> dict[str, Any]:
    required = schema.get("required", ())
    return {
        name: _sample(value, root, depth + 1)
        for name, value in schema.get("properties", {}).items()
        if depth < _MAX_DEPTH or name in required
    }


def _array(schema: Mapping[str, Any], root: Any, depth: int) -> list[Any]:
    least = int(schema.get("minItems", 0))
    most = int(schema.get("maxItems", least or 1))
    count = max(least, 1 if depth < _MAX_DEPTH and most else 0)
    heads = list(schema.get("prefixItems", ()))
    items = [*heads, *[schema.get("items", {})] * (count - len(heads))]
    return [_sample(item, root, depth + 1) for item in items]


def _string(schema: Mapping[str, Any], _root: Any, _depth: int) -> str:
    text = _FORMATS.get(str(schema.get("format")), "text")
    text = text.ljust(int(schema.get("minLength", 0)), "x")
    return text[: int(schema["maxLength"])] if "maxLength" in schema else text


_BOUNDS: Final = {
    "minimum": operator.ge,
    "exclusiveMinimum": operator.gt,
    "maximum": operator.le,
    "exclusiveMaximum": operator.lt,
}


def _number(schema: Mapping[str, Any], _root: Any, _depth: int) -> int | float:
    """Zero if it fits, else a number at or next to a bound, or between them."""
    step = schema.get("multipleOf") or (1 if _type_of(schema) == "integer" else 0)
    bounds = {name: schema[name] for name in _BOUNDS if schema.get(name) is not None}
    tries: list[int | float] = [0, sum(bounds.values()) / max(1, len(bounds))]
    for bound in bounds.values():
        edge = bound // step * step if step else bound
        tries[1:1] = [edge, edge + (step or 1), edge - (step or 1)]
    return next(
        (n for n in tries if all(_BOUNDS[k](n, b) for k, b in bounds.items())), 0
    )


_SAMPLES: Final[Mapping[str, Callable[[Mapping[str, Any], Any, int], Any]]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "number": _number,
    "integer": _number,
    "boolean": lambda _schema, _root, _depth: True,
}
