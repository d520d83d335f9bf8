"""A conversation in the words of Gemini's generateContent.

The API knows turns of the roles `user` and `model`, made of parts, and a system
instruction apart (https://ai.google.dev/api/caching#Content). What follows from it:

- All system and developer messages, wherever they stand, become the system
  instruction. Neighbouring messages of one role are one turn, so the results of a
  turn's calls share one `user` turn; they stand in the order of the calls.
- A call's result must be an object: the text of a JSON object is sent as that object,
  any other text as `output` (`error` if the message's metadata say `is_error`).
- Call ids go back as they are, except those that we made because the API gave none:
  then call and result are matched by name and order.
- A turn that this provider wrote gets its thought signatures back, each on the part
  that it came with. Gemini 3 refuses calls without a signature, so calls of another
  provider get the documented filler
  (https://ai.google.dev/gemini-api/docs/thought-signatures).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from llmring_lite.exceptions import InvalidRequestError
from llmring_lite.provider import JSON, Endpoint, own_data
from llmring_lite.provider_google_parts import Place, build_parts
from llmring_lite.provider_google_reply import MADE_ID
from llmring_lite.schemas import LLMRequest, Message

_FILLER: Final = "skip_thought_signature_validator"

_VERSION: Final = re.compile(r"gemini-(?:[a-z]+-)*(\d\d?(?:\.\d+)?)(?!\d)")

_SYSTEM_ROLES: Final = frozenset({"system", "developer"})


def generation(model: str) -> float | None:
    """The version in a Gemini model's name, such as 2.5; None if it has none.

    Names like `gemini-flash-latest` count as 3: the newest is at least that.
    """
    found = _VERSION.search(model)
    if found:
        return float(found[1])
    return 3.0 if "gemini" in model and model.endswith("-latest") else None


class Conversation(NamedTuple):
    """The system instruction's text (`""`: none) and the turns for `contents`."""

    system: str
    contents: list[JSON]


def build_conversation(
    request: LLMRequest, endpoint: Endpoint, api_url: str
) -> Conversation:
    """The request's messages as turns of parts.

    `api_url` is the base URL with its version; files named `files/...` are there.

    Raises:
        InvalidRequestError: A message is malformed, or there is none besides the
            system instruction.
        UnsupportedParameterError: A part that the API can't take; `parameter` is its
            place.
    """
    is_3 = (generation(request.model) or 0) >= 3
    system: list[str] = []
    contents: list[JSON] = []
    names: dict[str, str] = {}
    for index, message in _in_call_order(request.messages):
        place = Place(f"messages[{index}]", endpoint, api_url)
        if message.role in _SYSTEM_ROLES:
            system.append("\n\n".join(_texts(message, place)))
            continue
        role = "user"
        if message.role == "tool":
            parts = _result_parts(message, names, place, nested_files=is_3)
        elif message.role == "assistant":
            role = "model"
            parts = _model_parts(message, names, place, signed=is_3)
        else:
            parts = build_parts(message, place)
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"].extend(parts)
        elif parts:
            contents.append({"role": role, "parts": parts})
    if not contents:
        raise InvalidRequestError(
            "Gemini needs at least one message that is not empty, beside the system "
            "instruction"
        )
    return Conversation("\n\n".join(filter(None, system)), contents)


def _in_call_order(messages: Sequence[Message]) -> Iterator[tuple[int, Message]]:
    """Messages with their index, neighbouring results in the order of the calls."""
    order: dict[str | None, int] = {}
    results: list[tuple[int, int, Message]] = []
    for index, message in enumerate(messages):
        if message.role == "tool":
            rank = order.get(message.tool_call_id, len(order))
            results.append((rank, index, message))
            continue
        yield from _sorted(results)
        results.clear()
        yield index, message
        for call in message.tool_calls or ():
            order[call.get("id")] = len(order)
    yield from _sorted(results)


def _sorted(results: list[tuple[int, int, Message]]) -> Iterator[tuple[int, Message]]:
    for _, index, message in sorted(results, key=lambda result: result[:2]):
        yield index, message


# Turns of the model --------------------------------------------------------------


def _model_parts(
    message: Message, names: dict[str, str], place: Place, *, signed: bool
) -> list[JSON]:
    """Parts of an assistant message; its calls' names are noted in `names`."""
    calls: dict[str, JSON] = {}
    for number, call in enumerate(message.tool_calls or ()):
        part = _call_part(call, f"{place.name}.tool_calls[{number}]")
        call_id = call.get("id") or ""
        names[call_id] = part["functionCall"]["name"]
        # No call may be lost because a server gave two of them one id.
        calls[f"{call_id}#{number}" if call_id in calls else call_id] = part
    data = own_data(message, place.endpoint) or {}
    if data.get("parts"):
        parts = _replayed(data["parts"], message, calls, place)
    else:
        parts = [*build_parts(message, place), *calls.values()]
    if signed:
        made = [part for part in parts if "functionCall" in part]
        # One signature serves the calls of a step; it stands on the first.
        if made and not any("thoughtSignature" in part for part in made):
            made[0]["thoughtSignature"] = _FILLER
    return parts


def _replayed(
    kept: Sequence[JSON], message: Message, calls: dict[str, JSON], place: Place
) -> list[JSON]:
    """The turn that this provider wrote, in its own order.

    Texts and calls are taken from the message, which may have been edited since: then
    its text stands first and has lost its signature, calls that are gone are left
    out, new ones are added.
    """
    content = message.content or ""
    parts: list[JSON] = []
    untouched = sum(item.get("chars", 0) for item in kept) == len(content)
    if not untouched or not isinstance(content, str):
        parts, untouched = build_parts(message, place), False
    position = 0
    for item in kept:
        if "part" in item:
            parts.append(item["part"])
            continue
        part: JSON | None = None
        if "call" in item:
            part = calls.pop(item["call"], None)
        elif untouched:
            part = {"text": content[position : position + item["chars"]]}
            position += item["chars"]
        if part is not None:
            if "thoughtSignature" in item:
                part["thoughtSignature"] = item["thoughtSignature"]
            parts.append(part)
    return [*parts, *calls.values()]


def _call_part(call: Mapping[str, Any], where: str) -> JSON:
    function = call.get("function") or {}
    if call.get("type", "function") != "function" or not function.get("name"):
        raise InvalidRequestError(
            f'{where} must be {{"id", "type": "function", "function": {{"name", '
            '"arguments"}}'
        )
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        arguments = {} if arguments.strip() in ("", "null") else _object(arguments)
    if not isinstance(arguments, Mapping):
        raise InvalidRequestError(
            f"{where} has arguments that are not a JSON object (perhaps the token "
            "limit cut them off); mend them, or leave the call and its result out"
        )
    part: JSON = {"name": function["name"], "args": arguments}
    if call.get("id") and not call["id"].startswith(MADE_ID):
        part["id"] = call["id"]
    return {"functionCall": part}


def _object(text: str) -> JSON | None:
    """The JSON object that a text is; None if it isn't one that can be sent."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} can't be written in JSON")
    return number


# Results of calls ----------------------------------------------------------------


def _result_parts(
    message: Message, names: Mapping[str, str], place: Place, *, nested_files: bool
) -> list[JSON]:
    """The result of a call, and the files that belong to it.

    `nested_files`: since Gemini 3 files are part of the result; before, they stand
    behind it (https://ai.google.dev/gemini-api/docs/function-calling#multimodal).
    """
    call_id = message.tool_call_id or ""
    name = names.get(call_id) or message.name
    if not name:
        raise InvalidRequestError(
            f"{place.name} is the result of the call {call_id!r}, which no message "
            "before it makes; Gemini needs to know the function: keep the assistant "
            "message with the call, or set the result's name"
        )
    parts = build_parts(message, place)
    text = "\n\n".join(part["text"] for part in parts if "text" in part)
    files = [part for part in parts if "text" not in part]
    failed = (message.metadata or {}).get("is_error")
    response: JSON = {"name": name, "response": _object(text)}
    if response["response"] is None or failed:
        response["response"] = {"error" if failed else "output": text}
    if call_id in names and not call_id.startswith(MADE_ID):
        response["id"] = call_id
    if files and nested_files:
        response["parts"], files = files, []
    return [{"functionResponse": response}, *files]


def _texts(message: Message, place: Place) -> list[str]:
    """The texts of a message that can hold nothing else."""
    texts = []
    for number, part in enumerate(build_parts(message, place)):
        if "text" not in part:
            inner = place._replace(name=f"{place.name}.content[{number}]")
            raise inner.unsupported("the system instruction is text only", "file")
        texts.append(part["text"])
    return texts
