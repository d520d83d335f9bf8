"""Structured output on Anthropic's Messages API.

Three ways, the first that a model and a schema allow
(https://platform.claude.com/docs/en/build-with-claude/structured-outputs):

- `native`: `output_config.format`, which constrains the reply to a schema. It knows a
  part of JSON Schema: objects are closed, nothing is recursive, and there is no mode
  for JSON without a schema.
- `tool`: the model is made to call a tool whose arguments are the reply. It takes
  any schema of an object, and for `json_object` an open one. Some models can't be
  made to call a tool, and a forced call is refused with a thinking budget and skips
  adaptive thinking, so that a request which asks for reasoning goes without.
- `prompt`: the system prompt asks for JSON, and the caller checks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from llmring_lite.provider import JSON
from llmring_lite.provider_anthropic_models import describe
from llmring_lite.provider_anthropic_parameters import thinking_type
from llmring_lite.provider_tools import is_forced
from llmring_lite.schemas import LLMRequest
from llmring_lite.structured import is_json, response_schema
from llmring_lite.structured_schema import resolve

TOOL_NAME: Final = "respond_with_structure"

_FORMATS: Final = frozenset(
    {
        "date-time",
        "time",
        "date",
        "duration",
        "email",
        "hostname",
        "uri",
        "ipv4",
        "ipv6",
        "uuid",
    }
)
_KEPT: Final = frozenset(
    {"$schema", "type", "required", "title", "description", "default"}
)
_LITERALS: Final = (str, int, float, type(None))
# Words about the schema that say nothing about a value.
_SILENT: Final = frozenset(
    {
        "$id",
        "$comment",
        "$anchor",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
    }
)
_SHAPES: Final = frozenset({"type", "enum", "const", "anyOf", "$ref"})
_DEFINITIONS: Final = ("$defs", "definitions")


def structure_mode(request: LLMRequest) -> str | None:
    """`native`, `tool` or `prompt`; None if the reply may be any text.

    Raises:
        InvalidRequestError: The response format is malformed.
    """
    if not is_json(request.response_format):
        return None
    if native_format(request) is not None:
        return "native"
    _, traits = describe(request.model)
    wanted = response_schema(request.response_format)
    if (
        "forced" in traits
        and thinking_type(request) not in ("enabled", "adaptive")
        and not is_forced(request)
        and (wanted is None or _input_schema(wanted.schema) is not None)
    ):
        return "tool"
    return "prompt"


def native_format(request: LLMRequest) -> JSON | None:
    """`output_config.format`; None if the model or the schema doesn't allow it."""
    _, traits = describe(request.model)
    wanted = response_schema(request.response_format)
    schema = native_schema(wanted.schema) if wanted and "format" in traits else None
    return schema and {"type": "json_schema", "schema": schema}


def tool_name(request: LLMRequest) -> str:
    """The emulation's tool, named unlike every tool of the request."""
    taken = {(tool.get("function") or tool).get("name") for tool in request.tools or ()}
    name = TOOL_NAME
    while name in taken:
        name += "_"
    return name


def structure_tool(request: LLMRequest) -> JSON:
    """The tool whose arguments are the reply."""
    wanted = response_schema(request.response_format)
    if wanted is None:
        schema: JSON | None = {"type": "object", "additionalProperties": True}
        told = "Give the complete reply as the JSON object that was asked for."
    else:
        schema = _input_schema(wanted.schema)
        told = "Give the complete reply as data that matches the schema."
        if wanted.description:
            told = f"{told} {wanted.description}"
    return {
        "name": tool_name(request),
        "description": told,
        "input_schema": schema,
    }


def structure_prompt(request: LLMRequest) -> str:
    """What the system prompt says where nothing else makes the reply JSON."""
    wanted = response_schema(request.response_format)
    if wanted is None:
        return (
            "Reply with one JSON object and nothing else: no explanation, no code "
            "fence."
        )
    schema = json.dumps(wanted.schema, ensure_ascii=False)
    return (
        "Reply with one JSON value that matches this JSON Schema and nothing else: no "
        f"explanation, no code fence.\n{schema}"
    )


def _input_schema(schema: JSON) -> JSON | None:
    """A schema as a tool's: of type object, plainly; None if it isn't one."""
    if schema.get("type") == "object":
        return schema
    if "type" in schema or schema.keys() & {"anyOf", "oneOf", "allOf"}:
        return None
    target = schema
    if "$ref" in schema:
        found = resolve(schema["$ref"], schema)
        target = found if isinstance(found, dict) else {}
    if target.get("type") == "object" or "properties" in target:
        return {"type": "object", **schema}
    return None


# Schemas for output_config.format and strict tools ------------------------------------


class _Inexpressible(Exception):
    """The API's part of JSON Schema can't say this."""


def native_schema(schema: Mapping[str, Any]) -> JSON | None:
    """A copy of the schema within what the API takes; None if it can't be said so.

    Objects that don't say are closed. Constraints that the API doesn't know move
    into the description, so that the model still reads them; whether the reply keeps
    them is for the caller to check. An object with free keys, an array or a value of
    anything, `allOf`, and recursion have no equivalent.
    """
    try:
        _refuse_recursion(schema, schema, [], set())
        return _convert(schema)
    except _Inexpressible:
        return None


def _refuse_recursion(
    value: Any, root: Mapping[str, Any], path: list[str], done: set[str]
) -> None:
    for ref in _references(value):
        if not ref.startswith(("#/$defs/", "#/definitions/")) or ref in path:
            raise _Inexpressible
        if ref not in done:
            _refuse_recursion(resolve(ref, root), root, [*path, ref], done)
            done.add(ref)


def _references(value: Any) -> Iterator[str]:
    """Every `$ref` in a schema, those in its definitions left aside."""
    if isinstance(value, Mapping):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for key, item in value.items():
            if key not in _DEFINITIONS:
                yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def _convert(schema: Any) -> JSON:
    if not isinstance(schema, Mapping):  # true and false
        raise _Inexpressible
    native: JSON = {
        word: {name: _convert(item) for name, item in schema[word].items()}
        for word in _DEFINITIONS
        if word in schema
    }
    if "$ref" in schema:
        # What stands beside a reference is not read.
        return {**native, "$ref": schema["$ref"]}
    parts = schema.get("allOf")
    if parts is not None:
        # Pydantic wraps a single reference like this.
        if len(parts) != 1 or not isinstance(parts[0], Mapping):
            raise _Inexpressible
        rest = {k: v for k, v in schema.items() if k != "allOf"}
        return _convert({**rest, **parts[0]})
    told: JSON = {}
    for word, value in schema.items():
        if word not in _DEFINITIONS and word not in _SILENT:
            _convert_word(word, value, native, told)
    _close(schema, native)
    if not native.keys() & _SHAPES:
        raise _Inexpressible
    if told:
        text = "Must also obey this JSON Schema: " + json.dumps(told)
        native["description"] = "\n".join(
            filter(None, (native.get("description"), text))
        )
    return native


def _convert_word(word: str, value: Any, native: JSON, told: JSON) -> None:
    """Put a keyword into the native schema, or among what is only told."""
    if word == "properties":
        native[word] = {name: _convert(item) for name, item in value.items()}
    elif word == "items":
        native[word] = _convert(value)
    elif word in ("anyOf", "oneOf"):
        native["anyOf"] = [_convert(option) for option in value]
    elif word == "additionalProperties":
        if value is not False:
            raise _Inexpressible
    elif (
        word in _KEPT
        or (word == "const" and isinstance(value, _LITERALS))
        or (word == "enum" and all(isinstance(item, _LITERALS) for item in value))
        or (word == "format" and value in _FORMATS)
        or (word == "minItems" and value in (0, 1))
    ):
        native[word] = value
    elif word == "patternProperties":
        raise _Inexpressible
    else:
        told[word] = value


def _close(schema: Mapping[str, Any], native: JSON) -> None:
    """An object gets its own properties only."""
    kinds = schema.get("type", ())
    if "properties" not in schema and "object" not in (
        [kinds] if isinstance(kinds, str) else kinds
    ):
        return
    if "properties" not in schema and schema.get("additionalProperties") is not False:
        raise _Inexpressible  # any object at all
    native.setdefault("type", "object")
    native.setdefault("properties", {})
    native["additionalProperties"] = False
