"""Structured replies: what `response_format` asks for, and whether a reply keeps it.

Mappers ask `response_schema`, `is_json` and `strict_schema` what to send; the call
path hands each finished reply to `apply`, which fills `LLMResponse.parsed`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from llmring_lite.exceptions import InvalidRequestError, ProviderResponseError
from llmring_lite.schemas import LLMResponse
from llmring_lite.structured_check import is_valid, violations
from llmring_lite.structured_schema import Schema, check_schema, item_schemas, resolve
from llmring_lite.structured_strict import strict_schema

__all__ = [
    "ResponseSchema",
    "apply",
    "check_schema",
    "is_json",
    "parse_json",
    "response_schema",
    "strict_schema",
    "violations",
]

_TYPES: Final = ("text", "json_object", "json_schema")
_DEFAULT_NAME: Final = "response"
_SHOWN: Final = 5


class ResponseSchema(NamedTuple):
    """The schema of a `json_schema` response format.

    `name` identifies it for the provider; what is in `schema` is the caller's, not to
    be changed; `strict` makes a reply that violates it an error; `description`
    is for the model.
    """

    name: str
    schema: dict[str, Any]
    strict: bool
    description: str | None = None

    def for_openai(self) -> dict[str, Any]:
        """What OpenAI's APIs are told: if strict, by their rules.

        Raises:
            UnsupportedParameterError: They can't express it (see `strict_schema`).
        """
        told = {
            "name": self.name,
            "schema": strict_schema(self.schema) if self.strict else self.schema,
            "strict": self.strict,
            "description": self.description,
        }
        return {key: value for key, value in told.items() if value is not None}


def is_json(response_format: Mapping[str, Any] | None) -> bool:
    """Whether the reply is to be JSON, with or without a schema.

    Raises:
        InvalidRequestError: The format has no known type.
    """
    return _type(response_format) in ("json_object", "json_schema")


def response_schema(
    response_format: Mapping[str, Any] | None,
) -> ResponseSchema | None:
    """The schema a reply has to obey; None if the format has none.

    `strict` is taken at the top level and inside `json_schema`.

    Raises:
        InvalidRequestError: The format is malformed; says what is wrong in it.
    """
    if response_format is None or _type(response_format) != "json_schema":
        return None
    spec = response_format.get("json_schema")
    if not isinstance(spec, Mapping):
        raise _malformed(
            'of type json_schema needs a "json_schema" that holds "name" and "schema"'
        )
    _check_keys(response_format, ("type", "json_schema", "strict"), "")
    _check_keys(spec, ("name", "schema", "strict", "description"), ".json_schema")
    schema = spec.get("schema")
    if not isinstance(schema, Mapping):
        raise _malformed(".json_schema.schema must be a JSON Schema, a dict")
    name = spec.get("name", _DEFAULT_NAME)
    if not isinstance(name, str) or not name:
        raise _malformed(".json_schema.name must be a text")
    description = spec.get("description")
    if description is not None and not isinstance(description, str):
        raise _malformed(".json_schema.description must be a text")
    check_schema(schema)
    strict = _strict(response_format, spec)
    return ResponseSchema(name, dict(schema), strict, description)


def _type(response_format: Mapping[str, Any] | None) -> str | None:
    if response_format is None:
        return None
    if not isinstance(response_format, Mapping):
        raise _malformed(f"must be a dict, not {type(response_format).__name__}")
    kind = response_format.get("type")
    if kind not in _TYPES:
        raise _malformed(f"has the type {kind!r}; known are {', '.join(_TYPES)}")
    return str(kind)


def _strict(*places: Mapping[str, Any]) -> bool:
    """`strict` of the places that say it, which must agree."""
    said = {place["strict"] for place in places if place.get("strict") is not None}
    for value in said:
        if not isinstance(value, bool):
            raise _malformed(
                f'has a "strict" that is neither True nor False: {value!r}'
            )
    if len(said) > 1:
        raise _malformed('says both "strict": True and False')
    return said == {True}


def _check_keys(given: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in given:
        if key not in known:
            raise _malformed(
                f"{where} has the unknown key {key!r}; known are {', '.join(known)}"
            )


def _malformed(problem: str) -> InvalidRequestError:
    between = "" if problem.startswith(".") else " "
    return InvalidRequestError(f"response_format{between}{problem}")


def parse_json(content: str) -> Any:
    """The JSON value that a reply's text is.

    White space around it and one Markdown code fence (```` ```json ````) are taken
    off; nothing else is repaired or searched for.

    Raises:
        ValueError: It is not JSON, `NaN` and `Infinity` included.
    """
    text = content.strip()
    if text.startswith("```") and text.endswith("```") and len(text) > 6:
        language, _, inside = text[3:-3].partition("\n")
        if language.strip().lower() in ("", "json"):
            text = inside
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON value")


def apply(response: LLMResponse, response_format: Mapping[str, Any] | None) -> None:
    """Fills `response.parsed`, and holds a strict reply to its schema.

    `parsed` is the decoded reply, without nulls that stand for optional properties
    left out (see `without_introduced_nulls`), also where it violates a schema that
    isn't strict. It stays None for a reply that is not JSON.

    Excused from the schema are a turn with tool calls (the answer is still to come),
    a refusal, and a reply that a content filter stopped: `parsed` is set if the text
    obeys the schema all the same, else it stays None and nothing is raised.

    Raises:
        ProviderResponseError: With `strict`, the reply is cut off by the token limit,
            is not JSON, or violates the schema. `.response` is the reply, `.partial`
            its text.
        InvalidRequestError: `response_format` is malformed.
    """
    if response_format is None or not is_json(response_format):
        return
    wanted = response_schema(response_format)
    strict = wanted.strict if wanted else _strict(response_format)
    excused = bool(
        response.tool_calls
        or response.refusal
        or response.finish_reason == "content_filter"
    )
    try:
        value = parse_json(response.content)
    except ValueError as error:
        if strict and not excused:
            raise _violation(response, _why_no_json(response, error)) from None
        return
    value, found = _conform(value, wanted.schema if wanted else True)
    if found and excused:
        return
    if found and strict:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        problem = f"violates the schema: {'; '.join(found[:_SHOWN])}{more}"
        raise _violation(response, problem)
    response.parsed = value


def _conform(value: Any, schema: Schema) -> tuple[Any, list[str]]:
    """The value as the schema means it, and how it violates the schema."""
    found = violations(value, schema)
    if not found:
        return value, found
    pruned = without_introduced_nulls(value, schema)
    still = violations(pruned, schema)
    return (value, found) if still else (pruned, still)


def _why_no_json(response: LLMResponse, error: ValueError) -> str:
    if response.finish_reason == "length":
        return (
            "was cut off by the token limit before its JSON was complete; raise "
            "max_tokens"
        )
    if not response.content.strip():
        return "is empty where JSON was asked for"
    return f"is not JSON: {error}"


def _violation(response: LLMResponse, problem: str) -> ProviderResponseError:
    provider, model = response.provider, response.model
    if provider:
        model = model.removeprefix(f"{provider}:")
    return ProviderResponseError(
        f"the reply {problem}",
        response=response,
        partial=response.content,
        provider=provider,
        model=model or None,
    )


def without_introduced_nulls(value: Any, schema: Schema) -> Any:
    """A copy of a reply without the nulls that only strictness introduced.

    `strict_schema` makes every property required, and an optional one a union with
    null. So a null for a property that the schema neither requires nor lets be null
    means that the property is absent, and is left out.
    """
    try:
        return _prune(value, schema, schema)
    except RecursionError:
        return value


def _prune(value: Any, schema: Schema, root: Schema) -> Any:
    if isinstance(schema, bool) or not isinstance(value, (dict, list)):
        return value
    if "$ref" in schema:
        value = _prune(value, resolve(schema["$ref"], root), root)
    for part in schema.get("allOf", ()):
        value = _prune(value, part, root)
    for option in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        pruned = _prune(value, option, root)
        if is_valid(pruned, option, root):
            value = pruned
            break
    if isinstance(value, list):
        first, rest = item_schemas(schema)
        return [
            _prune(item, first[index] if index < len(first) else rest, root)
            for index, item in enumerate(value)
        ]
    properties = schema.get("properties", {})
    required = schema.get("required", ())
    rest = schema.get("additionalProperties", True)
    return {
        name: _prune(item, properties.get(name, rest), root)
        for name, item in value.items()
        if item is not None
        or name in required
        or name not in properties
        or is_valid(None, properties[name], root)
    }
