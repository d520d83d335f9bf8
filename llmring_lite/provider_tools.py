"""Tools, their calls and results, as every wire format reads and writes them.

A request gives them in OpenAI's format, and a reply's calls are given back in it; a
mapper puts what these functions return into the words of its API.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from math import isfinite
from typing import Any, Final, NamedTuple

from llmring_lite.exceptions import InvalidRequestError
from llmring_lite.provider import JSON
from llmring_lite.schemas import LLMRequest, Message

_MODES: Final = ("auto", "none", "required")
_SYNONYMS: Final = {"any": "required"}  # Anthropic's and Mistral's word


class ToolChoice(NamedTuple):
    """How free the model is to call tools.

    Attributes:
        mode: `auto`, `none`, `required`, `function`, or `own`.
        name: Of the function to call.
        given: What an API's own form says, such as OpenAI's `allowed_tools`.
    """

    mode: str
    name: str = ""
    given: Mapping[str, Any] = {}

    @property
    def is_forced(self) -> bool:
        """Whether the model has to call a tool."""
        return self.mode in ("required", "function")


def read_tool_choice(request: LLMRequest) -> ToolChoice | None:
    """The request's `tool_choice`; None if there is nothing to choose.

    Raises:
        InvalidRequestError: It is none that is known, or forces a call although there
            are no tools.
    """
    choice = _choice(request.tool_choice)
    if choice is None or choice.mode == "own":
        return choice
    if has_tools(request):
        return choice
    if choice.is_forced:
        raise InvalidRequestError(
            f"tool_choice {request.tool_choice!r} needs tools, and the request has none"
        )
    return None


def is_forced(request: LLMRequest) -> bool:
    """Whether the model has to call a tool of the request's."""
    choice = read_tool_choice(request)
    return choice is not None and choice.is_forced


def has_tools(request: LLMRequest) -> bool:
    """Whether there are tools, an API's own in `extra_params` included."""
    return bool(request.tools) or "tools" in request.extra_params


def _choice(given: Any) -> ToolChoice | None:
    if given is None:
        return None
    if isinstance(given, str):
        mode = _SYNONYMS.get(given, given)
        if mode in _MODES:
            return ToolChoice(mode)
    elif isinstance(given, Mapping) and given.get("type", "function") == "function":
        function = given.get("function", given)  # Responses API: no object inside
        name = function.get("name") if isinstance(function, Mapping) else None
        if isinstance(name, str) and name:
            return ToolChoice("function", name)
    elif isinstance(given, Mapping):
        return ToolChoice("own", given=given)
    raise InvalidRequestError(
        f"unknown tool_choice {given!r}; known are {', '.join(_MODES)} and "
        '{"type": "function", "function": {"name": ...}}'
    )


def read_function(tool: Mapping[str, Any], where: str) -> Mapping[str, Any] | None:
    """The function that a tool is; None for a tool of a provider's own.

    Raises:
        InvalidRequestError: It is a function without a name, or nothing.
    """
    kind = tool.get("type")
    if tool and (kind not in (None, "function") or not {"type", "function"} & {*tool}):
        return None
    function = tool.get("function")
    if not isinstance(function, Mapping) or not function.get("name"):
        raise InvalidRequestError(
            f'{where} must be {{"type": "function", "function": {{"name", '
            '"description", "parameters"}}'
        )
    return function


def parameters_of(function: Mapping[str, Any]) -> Mapping[str, Any]:
    """A function's schema, for an API that wants one of functions without any, too."""
    return function.get("parameters") or {"type": "object", "properties": {}}


# Calls ----------------------------------------------------------------------------


class Call(NamedTuple):
    """A call of an assistant turn; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


def read_call(call: Any, where: str) -> Call:
    """A call that a message holds.

    Raises:
        InvalidRequestError: It lacks id or name, or is of another type.
    """
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not call.get("id"):
        function = {}
    if not function.get("name"):
        raise InvalidRequestError(
            f'{where} must be {{"id", "type": "function", "function": {{"name", '
            '"arguments"}}'
        )
    arguments = arguments_text(function.get("arguments"))
    return Call(call["id"], function["name"], arguments)


def arguments_object(arguments: str, where: str) -> JSON:
    """A call's arguments for an API that takes an object.

    Raises:
        InvalidRequestError: They are not the text of one.
    """
    value = json_object(arguments)
    if value is None:
        raise InvalidRequestError(
            f"{where} has arguments that are not a JSON object (perhaps the token "
            "limit cut them off); mend them, or leave the call and its result out"
        )
    return value


def json_object(text: str) -> JSON | None:
    """The JSON object that a text is; None if it isn't one that can be sent."""
    try:
        value = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text} can't be written in JSON")
    return number


def arguments_text(sent: Any) -> str:
    """Arguments as JSON text: the sender's own if it is text, `{}` for none."""
    if isinstance(sent, str):
        return "{}" if sent.strip() in ("", "null") else sent
    if sent is None:
        return "{}"
    return json.dumps(sent, ensure_ascii=False, separators=(",", ":"))


def make_call(call_id: str, name: str, arguments: str) -> JSON:
    """A call of a reply, in OpenAI's format."""
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def make_call_id(request: LLMRequest, *facts: Any, prefix: str = "call_") -> str:
    """An id for a call that came without one, the same whenever it is parsed again.

    `facts` tell the calls of a reply apart; the number of messages so far tells those
    of different turns apart that ask for the same.
    """
    known = repr((len(request.messages), *facts))
    return prefix + sha256(known.encode()).hexdigest()[:24]


def finish_reason(known: Mapping[str, str], word: str | None, has_calls: bool) -> str:
    """The contract's word for an API's own; any that isn't known is `stop`.

    Of a reply with calls it is `tool_calls`, unless it was cut off or filtered: many
    servers say "stop", or nothing, beside calls.
    """
    reason = known.get(word or "", "stop")
    return "tool_calls" if has_calls and reason == "stop" else reason


# Results --------------------------------------------------------------------------


def answered_call(message: Message, where: str, *, by_name: bool = False) -> str:
    """The id of the call that a message of role `tool` is the result of.

    `by_name`: the API knows results by the function's name as well, so that the id may
    be missing (`""`) beside one.

    Raises:
        InvalidRequestError: It doesn't say.
    """
    if not message.tool_call_id and not (by_name and message.name):
        raise InvalidRequestError(
            f"{where} has the role tool but no tool_call_id; set it to the id of the "
            "call that this is the result of"
        )
    return message.tool_call_id or ""


def has_failed(message: Message) -> bool:
    """Whether a result's metadata say that the call failed: `{"is_error": True}`."""
    return bool((message.metadata or {}).get("is_error"))


def with_failure_told(message: Message) -> Message:
    """The result, for an API without a flag for failed calls: its text says it."""
    if not has_failed(message):
        return message
    content = message.content
    if isinstance(content, list):
        return replace(message, content=[{"type": "text", "text": "Error:"}, *content])
    return replace(message, content=f"Error: {content or 'the call failed'}")
