"""A JSON Schema validator for replies: does a value obey a schema, and if not, where.

Why our own: the package has two dependencies, and replies need only the keywords
that schemas for language models use. Covered, in the meaning of draft 2020-12
(https://json-schema.org/draft/2020-12/json-schema-validation):

- `type` (a name or a list; a bool is no integer or number, 1.0 is an integer),
  `enum`, `const`, boolean schemas,
- `properties`, `required`, `additionalProperties`, `patternProperties`,
  `propertyNames`, `minProperties`, `maxProperties`, `dependentRequired`,
  `dependentSchemas`,
- `items` (and its older form, a list), `prefixItems`, `additionalItems`, `contains`,
  `minContains`, `maxContains`, `minItems`, `maxItems`, `uniqueItems`,
- `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`, `multipleOf`,
- `minLength`, `maxLength` (in code points), `pattern` (Python's `re`; a pattern that
  only another dialect understands is passed over),
- `anyOf`, `oneOf`, `allOf`, `not`, `if` / `then` / `else`,
- `$ref` to `#` and `#/...`, also to itself.

Everything else is passed over: `format`, annotations, `unevaluated*`, unknown words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from operator import ge, gt, le, lt
from typing import Any, Final, TypeAlias

from llmring_lite.structured_schema import TYPES, Schema, equality_key, resolve


def violations(value: Any, schema: Schema, root: Schema | None = None) -> list[str]:
    """Where and how a JSON value breaks a schema; an empty list if it doesn't.

    Args:
        value: What `json.loads` returns.
        schema: As `check_schema` lets it pass.
        root: Where `$ref` starts from, if `schema` is a part of a larger one.

    Each entry is a path and a clause: `$.items[2].name: is not a string but null`.
    """
    try:
        return list(_check(value, schema, "$", schema if root is None else root))
    except RecursionError:
        return ["$: is nested too deeply, or the schema refers to itself in a circle"]


def is_valid(value: Any, schema: Schema, root: Schema) -> bool:
    """Whether `violations` would be empty; stops at the first one."""
    try:
        return _obeys(value, schema, root)
    except RecursionError:
        return False


def _check(value: Any, schema: Schema, path: str, root: Schema) -> Iterator[str]:
    if isinstance(schema, bool):
        if not schema:
            yield f"{path}: is not allowed here"
        return
    for keyword, argument in schema.items():
        check = _CHECKS.get(keyword)
        if check is not None:
            yield from check(argument, value, schema, path, root)


def _obeys(value: Any, schema: Schema, root: Schema) -> bool:
    return next(_check(value, schema, "$", root), None) is None


# One function a keyword: (its argument, value, the schema around it, path, root). ---

_Check: TypeAlias = Callable[[Any, Any, Mapping[str, Any], str, Schema], Iterator[str]]


def _type(names: Any, value: Any, _s: Any, path: str, _r: Any) -> Iterator[str]:
    names = [names] if isinstance(names, str) else names
    if not any(TYPES[name](value) for name in names):
        yield f"{path}: is not {' or '.join(names)} but {_show(value)}"


def _enum(allowed: Any, value: Any, _s: Any, path: str, _r: Any) -> Iterator[str]:
    key = equality_key(value)
    if not any(equality_key(item) == key for item in allowed):
        yield f"{path}: is not one of {_show(allowed)} but {_show(value)}"


def _const(only: Any, value: Any, _s: Any, path: str, _r: Any) -> Iterator[str]:
    if equality_key(only) != equality_key(value):
        yield f"{path}: is not {_show(only)} but {_show(value)}"


def _properties(
    schemas: Any, value: Any, _s: Any, path: str, root: Schema
) -> Iterator[str]:
    if isinstance(value, dict):
        for name, schema in schemas.items():
            if name in value:
                yield from _check(value[name], schema, _join(path, name), root)


def _pattern_properties(
    schemas: Any, value: Any, _s: Any, path: str, root: Schema
) -> Iterator[str]:
    if isinstance(value, dict):
        for pattern, schema in schemas.items():
            for name, item in value.items():
                if _matches(pattern, name):
                    yield from _check(item, schema, _join(path, name), root)


def _additional_properties(
    rule: Any, value: Any, schema: Mapping[str, Any], path: str, root: Schema
) -> Iterator[str]:
    if isinstance(value, dict):
        named = schema.get("properties", ())
        patterns = schema.get("patternProperties", ())
        for name, item in value.items():
            if name in named or any(_matches(p, name) for p in patterns):
                continue
            if rule is False:
                yield f"{path}: has the unexpected property {name!r}"
            else:
                yield from _check(item, rule, _join(path, name), root)


def _property_names(
    rule: Any, value: Any, _s: Any, path: str, root: Schema
) -> Iterator[str]:
    if isinstance(value, dict):
        for name in value:
            if not _obeys(name, rule, root):
                yield f"{path}: has a property of the forbidden name {name!r}"


def _required(names: Any, value: Any, _s: Any, path: str, _r: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name in names:
            if name not in value:
                yield f"{path}: lacks the property {name!r}"


def _dependent_required(
    groups: Any, value: Any, _s: Any, path: str, _r: Any
) -> Iterator[str]:
    if isinstance(value, dict):
        for name, needed in groups.items():
            for other in needed if name in value else ():
                if other not in value:
                    yield f"{path}: has {name!r} but lacks the property {other!r}"


def _dependent_schemas(
    schemas: Any, value: Any, _s: Any, path: str, root: Schema
) -> Iterator[str]:
    if isinstance(value, dict):
        for name, schema in schemas.items():
            if name in value:
                yield from _check(value, schema, path, root)


def _each(
    items: list[Any], start: int, rule: Schema, path: str, root: Schema
) -> Iterator[str]:
    for index in range(start, len(items)):
        yield from _check(items[index], rule, f"{path}[{index}]", root)


def _prefix_items(
    schemas: Any, value: Any, _s: Any, path: str, root: Schema
) -> Iterator[str]:
    if isinstance(value, list):
        for index, (schema, item) in enumerate(zip(schemas, value, strict=False)):
            yield from _check(item, schema, f"{path}[{index}]", root)


def _items(
    rule: Any, value: Any, schema: Mapping[str, Any], path: str, root: Schema
) -> Iterator[str]:
    if isinstance(rule, list):  # the tuple form up to draft 2019-09
        yield from _prefix_items(rule, value, schema, path, root)
    elif isinstance(value, list):
        yield from _each(value, len(schema.get("prefixItems", ())), rule, path, root)


def _additional_items(
    rule: Any, value: Any, schema: Mapping[str, Any], path: str, root: Schema
) -> Iterator[str]:
    if isinstance(value, list) and isinstance(schema.get("items"), list):
        yield from _each(value, len(schema["items"]), rule, path, root)


def _contains(
    rule: Any, value: Any, schema: Mapping[str, Any], path: str, root: Schema
) -> Iterator[str]:
    if isinstance(value, list):
        count = sum(_obeys(item, rule, root) for item in value)
        least, most = schema.get("minContains", 1), schema.get("maxContains", count)
        if not least <= count <= most:
            yield f"{path}: has {count} of the items that it must contain"


def _unique_items(
    wanted: Any, value: Any, _s: Any, path: str, _r: Any
) -> Iterator[str]:
    if wanted and isinstance(value, list):
        seen = set()
        for index, key in enumerate(map(equality_key, value)):
            if key in seen:
                yield f"{path}[{index}]: repeats an earlier item"
            seen.add(key)


def _pattern(pattern: Any, value: Any, _s: Any, path: str, _r: Any) -> Iterator[str]:
    if isinstance(value, str) and not _matches(pattern, value, unknown=True):
        yield f"{path}: does not match {pattern!r}: {_show(value)}"


def _matches(pattern: str, text: str, *, unknown: bool = False) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return unknown  # ECMA 262 has forms that Python lacks, such as \p{L}


def _is_multiple(value: int | float, step: int | float) -> bool:
    if isinstance(value, int) and isinstance(step, int):
        return value % step == 0
    from fractions import Fraction  # costs 2 ms to import, and few schemas need it

    # Of the decimal digits, as the author of the schema means it: in binary, 0.3 is
    # no multiple of 0.1.
    return (Fraction(repr(value)) / Fraction(repr(step))).denominator == 1


def _limit(
    kind: str,
    measure: Callable[[Any], Any],
    holds: Callable[[Any, Any], bool],
    complaint: str,
) -> _Check:
    """A check that compares a value of that type, measured, with the argument."""
    applies = TYPES[kind]

    def check(limit: Any, value: Any, _s: Any, path: str, _r: Any) -> Iterator[str]:
        if applies(value) and not holds(measure(value), limit):
            yield f"{path}: {complaint} {limit}: {_show(value)}"

    return check


def _itself(value: Any) -> Any:
    return value


def _all_of(
    schemas: Any, value: Any, _s: Any, path: str, root: Schema
) -> Iterator[str]:
    for schema in schemas:
        yield from _check(value, schema, path, root)


def _any_of(
    schemas: Any, value: Any, _s: Any, path: str, root: Schema
) -> Iterator[str]:
    nearest: list[str] | None = None
    for schema in schemas:
        found = list(_check(value, schema, path, root))
        if not found:
            return
        if nearest is None or len(found) < len(nearest):
            nearest = found
    said = nearest[0] if nearest else "there are none"
    yield f"{path}: fits none of {len(schemas)} alternatives (nearest: {said})"


def _one_of(
    schemas: Any, value: Any, schema: Mapping[str, Any], path: str, root: Schema
) -> Iterator[str]:
    count = sum(_obeys(value, option, root) for option in schemas)
    if count > 1:
        yield f"{path}: fits {count} alternatives where only one may fit"
    elif not count:
        yield from _any_of(schemas, value, schema, path, root)


def _not(rule: Any, value: Any, _s: Any, path: str, root: Schema) -> Iterator[str]:
    if _obeys(value, rule, root):
        yield f"{path}: is what the schema's `not` forbids: {_show(value)}"


def _if(
    rule: Any, value: Any, schema: Mapping[str, Any], path: str, root: Schema
) -> Iterator[str]:
    branch = "then" if _obeys(value, rule, root) else "else"
    yield from _check(value, schema.get(branch, True), path, root)


def _ref(ref: Any, value: Any, _s: Any, path: str, root: Schema) -> Iterator[str]:
    yield from _check(value, resolve(ref, root), path, root)


_CHECKS: Final[Mapping[str, _Check]] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "properties": _properties,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "propertyNames": _property_names,
    "required": _required,
    "dependentRequired": _dependent_required,
    "dependentSchemas": _dependent_schemas,
    "minProperties": _limit("object", len, ge, "has fewer properties than"),
    "maxProperties": _limit("object", len, le, "has more properties than"),
    "prefixItems": _prefix_items,
    "items": _items,
    "additionalItems": _additional_items,
    "contains": _contains,
    "minItems": _limit("array", len, ge, "has fewer items than"),
    "maxItems": _limit("array", len, le, "has more items than"),
    "uniqueItems": _unique_items,
    "minLength": _limit("string", len, ge, "is shorter than"),
    "maxLength": _limit("string", len, le, "is longer than"),
    "pattern": _pattern,
    "minimum": _limit("number", _itself, ge, "is less than"),
    "maximum": _limit("number", _itself, le, "is more than"),
    "exclusiveMinimum": _limit("number", _itself, gt, "is not more than"),
    "exclusiveMaximum": _limit("number", _itself, lt, "is not less than"),
    "multipleOf": _limit("number", _itself, _is_multiple, "is no multiple of"),
    "anyOf": _any_of,
    "oneOf": _one_of,
    "allOf": _all_of,
    "not": _not,
    "if": _if,
    "$ref": _ref,
}


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if name.isidentifier() else f"{path}[{json.dumps(name)}]"


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
