"""Two JSON Schemas -> one that means both: what `allOf` says, without the word."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from llmring_lite.structured_schema import is_equal


def merge(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """A schema of flat keywords that a value obeys if it obeys both.

    Annotations (`title`, `description`, ...) are those of the first.

    Raises:
        ValueError: No value can obey both, or one keyword can't say both arguments;
            names the keyword.
    """
    merged = dict(one)
    for word, argument in other.items():
        if word not in one or is_equal(one[word], argument):
            merged[word] = argument
            continue
        combine = _MERGES.get(word)
        merged[word] = combine(one[word], argument) if combine else None
        if merged[word] is None:
            raise ValueError(f"combines two different `{word}` (by allOf or $ref)")
    return merged


def _first(one: Any, _other: Any) -> Any:
    return one


def _both(one: Any, other: Any) -> Any:
    if isinstance(one, list) or isinstance(other, list):
        return None  # `items` of tuples, in their older form
    return {"allOf": [one, other]}


def _properties(one: Any, other: Any) -> Any:
    merged = {**one, **other}
    for name in one.keys() & other.keys():
        if one[name] != other[name]:
            merged[name] = _both(one[name], other[name])
    return merged


def _types(one: Any, other: Any) -> Any:
    ones = [one] if isinstance(one, str) else one
    others = [other] if isinstance(other, str) else other
    common = [
        name
        for name in dict.fromkeys((*ones, *others))
        if (name in ones or (name == "integer" and "number" in ones))
        and (name in others or (name == "integer" and "number" in others))
    ]
    return common[0] if len(common) == 1 else common or None


def _enums(one: Any, other: Any) -> Any:
    return [v for v in one if any(is_equal(v, w) for w in other)] or None


_MERGES: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    **dict.fromkeys(("title", "description", "default", "examples"), _first),
    **dict.fromkeys(("minimum", "exclusiveMinimum"), max),
    **dict.fromkeys(("minItems", "minLength", "minProperties"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum"), min),
    **dict.fromkeys(("maxItems", "maxLength", "maxProperties"), min),
    **dict.fromkeys(("properties", "patternProperties"), _properties),
    **dict.fromkeys(("items", "additionalProperties", "propertyNames"), _both),
    "uniqueItems": lambda one, other: one or other,
    "required": lambda one, other: list(dict.fromkeys((*one, *other))),
    "not": lambda one, other: {"anyOf": [one, other]},
    "type": _types,
    "enum": _enums,
}
"""Keyword -> what both arguments together mean; None if there is no saying it."""
