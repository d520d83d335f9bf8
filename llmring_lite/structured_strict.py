"""A JSON Schema -> the same in OpenAI's strict subset, as far as it can be said there.

The rules (https://platform.openai.com/docs/guides/structured-outputs, "Supported
schemas"): the root is an object and no `anyOf`; every object has
`additionalProperties: false` and lists all its properties in `required`; a property
that may be missing is a union with null instead; a `$ref` stands alone; there are no
`allOf`, `oneOf`, `not`, `if`, `dependent*`, and few keywords for strings and arrays.

What the strict schema lets pass, the original lets pass too, with two exceptions:

- null for a property that was optional and not nullable. `structured.apply` reads
  it as what it stands for, the property's absence.
- What a constraint forbids that the subset has no word for (`minLength`,
  `uniqueItems`, `not`, ...). It is told to the model in the description, and counts
  again when `structured.apply` checks the reply against the original.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

from llmring_lite.exceptions import UnsupportedParameterError
from llmring_lite.structured_check import is_valid
from llmring_lite.structured_merge import merge
from llmring_lite.structured_schema import (
    TYPES,
    Schema,
    escape,
    item_schemas,
    resolve,
    unescape,
)


def _words(text: str) -> list[str]:
    return text.split()


_DEFINITIONS: Final = ("$defs", "definitions")

_KEPT: Final = frozenset(
    _words(
        "type enum const title description default pattern multipleOf minimum maximum "
        "exclusiveMinimum exclusiveMaximum minItems maxItems"
    )
)

_FORMATS: Final = frozenset(
    _words("date-time time date duration email hostname ipv4 ipv6 uuid")
)

_TOLD: Final = _words(
    "format minLength maxLength prefixItems contains minContains maxContains "
    "uniqueItems minProperties maxProperties propertyNames patternProperties "
    "dependentRequired dependentSchemas not if then else"
)
"""Constraints without a word in the subset: they move into the description."""

_BELONGS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        _words(
            "properties required additionalProperties patternProperties propertyNames "
            "minProperties maxProperties dependentRequired dependentSchemas"
        ),
        "object",
    ),
    **dict.fromkeys(
        _words(
            "items prefixItems additionalItems contains minContains maxContains "
            "minItems maxItems uniqueItems"
        ),
        "array",
    ),
    **dict.fromkeys(_words("pattern format minLength maxLength"), "string"),
    **dict.fromkeys(
        _words("multipleOf minimum maximum exclusiveMinimum exclusiveMaximum"),
        "number",
    ),
}
"""Keyword -> the type that it says something about."""

_ANNOTATIONS: Final = frozenset({"title", "description", "default", "examples"})
_SHAPES: Final = frozenset(
    _words("type properties items enum const $ref allOf anyOf oneOf")
)
_UNIONS: Final = ("anyOf", "oneOf")


def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy of a schema that obeys the strict rules.

    Properties keep their order, in which the model will write them. Unused definitions
    remain unless they can't be expressed.

    Raises:
        UnsupportedParameterError: Strict output can't express it; the message says
            where and what. Examples: a root that is no object, an object with
            arbitrary keys, an `allOf` whose parts exclude each other.
        InvalidRequestError: A `$ref` can't be followed.
    """
    return _Strict(schema).build()


class _Strict:
    """One conversion: the root to follow references from, and those in use.

    `unfolded`, handed down, are the references replaced by their targets on the way
    from the root: one that comes again is a recursion.
    """

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        self.used: list[str] = []

    def build(self) -> dict[str, Any]:
        where = "the schema"
        root, unfolded = self.flatten(self.root, where, ())
        if _options(root) is not None or "object" not in _types(root):
            raise _refusal(
                where, "must be an object; wrap it in an object with one property"
            )
        strict = self.convert({**root, "type": "object"}, where, unfolded)
        if "$schema" in root:
            strict = {"$schema": root["$schema"], **strict}
        used = list(self.used)
        everything = [
            f"#/{word}/{escape(name)}"
            for word in _DEFINITIONS
            for name in self.root.get(word, {})
        ]
        try:
            return {**strict, **self.definitions(everything)}
        except UnsupportedParameterError:
            self.used = used
            return {**strict, **self.definitions(used)}

    def definitions(self, refs: list[str]) -> dict[str, Any]:
        """These definitions, and those that they refer to, under `$defs`."""
        found: dict[str, Any] = {}
        todo = list(refs)
        for ref in todo:
            _, word, token = ref.split("/")
            name = unescape(token)
            part = self.convert(self.root[word][name], f"{word}.{name}", ())
            found.setdefault(word, {})[name] = part
            # Converting one may bring in others.
            todo += [other for other in self.used if other not in todo]
        return found

    def convert(
        self, schema: Schema, where: str, unfolded: tuple[str, ...]
    ) -> dict[str, Any]:
        if isinstance(schema, bool):
            raise _refusal(where, "must have a type; true and false are none")
        if self.may_stay_reference(schema, unfolded):
            ref: str = schema["$ref"]
            resolve(ref, self.root)
            if ref != "#" and ref not in self.used:
                self.used.append(ref)
            return {"$ref": ref}
        schema, unfolded = self.flatten(schema, where, unfolded)
        options = _options(schema)
        if options is not None:
            return self.union(schema, options, where, unfolded)
        names = _types(schema)
        if not names:
            raise _refusal(where, "must have a type")
        strict = {
            "type": names[0] if len(names) == 1 else names,
            **{k: deepcopy(v) for k, v in schema.items() if k in _KEPT - {"type"}},
        }
        if schema.get("format") in _FORMATS:
            strict["format"] = schema["format"]
        if "object" in names:
            self.close_object(strict, schema, where, unfolded)
        if "array" in names:
            self.fill_array(strict, schema, where, unfolded)
        return _annotate(strict, schema)

    def may_stay_reference(
        self, schema: Mapping[str, Any], unfolded: tuple[str, ...]
    ) -> bool:
        """Whether the API can follow the `$ref`, and it says all there is to say."""
        ref = schema.get("$ref")
        if ref is None or schema.keys() - _ANNOTATIONS - {"$ref"}:
            return False
        # Other places may look different in the strict schema.
        words = ref.split("/")
        if ref != "#" and not (len(words) == 3 and words[1] in _DEFINITIONS):
            return False
        return "description" not in schema or ref in unfolded

    def flatten(
        self, schema: Mapping[str, Any], where: str, unfolded: tuple[str, ...]
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The schema with `$ref` and `allOf` replaced by what they stand for."""
        parts: list[Any] = list(schema.get("allOf", ()))
        if "$ref" in schema:
            ref = schema["$ref"]
            if ref in unfolded:
                raise _refusal(
                    where, f"adds conditions to the recursive reference {ref!r}"
                )
            unfolded = (*unfolded, ref)
            parts.append(resolve(ref, self.root))
        flat = {
            k: v for k, v in schema.items() if k not in ("$ref", "allOf", *_DEFINITIONS)
        }
        for part in parts:
            if part is False:
                raise _refusal(where, "allows no value at all")
            if part is not True:
                more, unfolded = self.flatten(part, where, unfolded)
                try:
                    flat = merge(flat, more)
                except ValueError as error:
                    raise _refusal(where, str(error)) from None
        return flat, unfolded

    def union(
        self,
        schema: Mapping[str, Any],
        options: list[Any],
        where: str,
        unfolded: tuple[str, ...],
    ) -> dict[str, Any]:
        """`anyOf`; conditions that stand beside it move into each alternative."""
        beside = {k: v for k, v in schema.items() if k not in _ANNOTATIONS | {*_UNIONS}}
        strict: dict[str, Any] = {
            "anyOf": [
                self.convert(
                    {"allOf": [beside, option]} if beside else option,
                    f"{where}.anyOf[{index}]",
                    unfolded,
                )
                for index, option in enumerate(options)
            ]
        }
        return _annotate(strict, {k: schema[k] for k in _ANNOTATIONS & schema.keys()})

    def close_object(
        self,
        strict: dict[str, Any],
        schema: Mapping[str, Any],
        where: str,
        unfolded: tuple[str, ...],
    ) -> None:
        given: Mapping[str, Any] = schema.get("properties", {})
        extra = schema.get("additionalProperties")
        if not given and extra is not False and ("properties" not in schema or extra):
            raise _refusal(where, "may have arbitrary keys; name its properties")
        required = schema.get("required", ())
        missing = [name for name in required if given.get(name, False) is False]
        if missing:
            raise _refusal(where, f"requires {missing[0]!r}, which isn't described")
        properties = {}
        for name, part in given.items():
            if part is False:
                continue
            strict_part = self.convert(part, f"{where}.{name}", unfolded)
            if name not in required and not is_valid(None, part, self.root):
                strict_part = _nullable(strict_part)
            properties[name] = strict_part
        strict["properties"] = properties
        strict["required"] = list(dict.fromkeys((*required, *properties)))
        strict["additionalProperties"] = False

    def fill_array(
        self,
        strict: dict[str, Any],
        schema: Mapping[str, Any],
        where: str,
        unfolded: tuple[str, ...],
    ) -> None:
        """`items`: of a tuple, the union of its kinds, as there are no positions."""
        prefix, items = item_schemas(schema)
        if not prefix:
            if items is True or items == {}:
                raise _refusal(where, "must have `items` that say what is in the array")
            if items is False:
                raise _refusal(where, "can't be an array that is always empty")
            strict["items"] = self.convert(items, f"{where}.items", unfolded)
            return
        kinds = [*prefix]
        if isinstance(items, Mapping) and items:
            kinds.append(items)
        else:
            longest = min(len(prefix), schema.get("maxItems", len(prefix)))
            strict["maxItems"] = longest
        options: list[dict[str, Any]] = []
        for index, kind in enumerate(kinds):
            option = self.convert(kind, f"{where}.items[{index}]", unfolded)
            if option not in options:
                options.append(option)
        strict["items"] = options[0] if len(options) == 1 else {"anyOf": options}


def _types(schema: Mapping[str, Any]) -> list[str]:
    """The type names of a schema, from its other keywords where it has none."""
    names = schema.get("type")
    if names is not None:
        return [names] if isinstance(names, str) else list(names)
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values is not None:
        # "integer" comes before "number" in the table, and fits fewer values.
        kinds = [next(n for n, fits in TYPES.items() if fits(v)) for v in values]
        return list(dict.fromkeys(kinds))
    kinds = [_BELONGS[word] for word in schema if word in _BELONGS]
    return kinds[:1]


def _options(schema: Mapping[str, Any]) -> list[Any] | None:
    """The alternatives of a union; None if the schema is none.

    Alternatives that only add conditions to a typed schema, such as
    `anyOf: [{required: [a]}, {required: [b]}]`, make no union.
    """
    for word in _UNIONS:
        if word in schema:
            options = [option for option in schema[word] if option is not False]
            shaped = any(
                option is True or option.keys() & _SHAPES for option in options
            )
            return options if shaped or not _types(schema) else None
    names = _types(schema)
    if len(names) > 1 and {"object", "array"} & {*names} and "enum" not in schema:
        return [
            {
                "type": name,
                **{k: v for k, v in schema.items() if _BELONGS.get(k) == name},
            }
            for name in names
        ]
    return None


def _nullable(strict: dict[str, Any]) -> dict[str, Any]:
    """A strict schema's union with null."""
    if "anyOf" in strict:
        return {**strict, "anyOf": [*strict["anyOf"], {"type": "null"}]}
    names = _types(strict)
    if names and "const" not in strict and not {"object", "array"} & {*names}:
        strict = {**strict, "type": [*names, "null"]}
        if "enum" in strict:
            strict["enum"] = [*strict["enum"], None]
        return strict
    outside = {k: strict[k] for k in _ANNOTATIONS & strict.keys()}
    inside = {k: v for k, v in strict.items() if k not in outside}
    return {"anyOf": [inside, {"type": "null"}], **outside}


def _annotate(strict: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The strict schema with its annotations and what it couldn't say."""
    for word in ("title", "description"):
        if word in schema:
            strict[word] = schema[word]
    # A null default tells nothing, and is what every optional field of Pydantic has.
    if schema.get("default") is not None:
        strict["default"] = deepcopy(schema["default"])
    told = {
        word: schema[word]
        for word in (*_TOLD, *_UNIONS)
        if word in schema and word not in strict
    }
    if told:
        text = "Must also obey this JSON Schema: " + json.dumps(told, sort_keys=True)
        strict["description"] = "\n".join(
            filter(None, (strict.get("description"), text))
        )
    return strict


def _refusal(where: str, problem: str) -> UnsupportedParameterError:
    return UnsupportedParameterError(
        f"response_format can't be strict: {where} {problem}. Change the schema, or "
        'set "strict": False',
        parameter="response_format",
    )
