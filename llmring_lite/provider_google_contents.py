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

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from llmring_lite.exceptions import InvalidRequestError
from llmring_lite.provider import JSON, Endpoint, own_data
from llmring_lite.provider_google_parts import build_parts
from llmring_lite.provider_google_reply import MADE_ID
from llmring_lite.provider_parts import refuse_names, texts_only
from llmring_lite.provider_tools import (
    answered_call,
    arguments_object,
    has_failed,
    json_object,
    read_call,
)
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
    refuse_names(request, "Gemini")
    is_3 = (generation(request.model) or 0) >= 3
    system: list[str] = []
    contents: list[JSON] = []
    names: dict[str, str] = {}
    for index, message in _in_call_order(request.messages):
        where = f"messages[{index}]"
        if message.role in _SYSTEM_ROLES:
            texts = texts_only(message, where, "the system instruction is text only")
            system.append("\n\n".join(part["text"] for part in texts))
            continue
        role = "user"
        # Files inside of results have none.
        resolutions = is_3 and message.role != "tool"
        parts = build_parts(message, where, api_url, resolutions=resolutions)
        if message.role == "tool":
            parts = _result_parts(message, parts, names, where, nested_files=is_3)
        elif message.role == "assistant":
            role = "model"
            own = (own_data(message, endpoint) or {}).get("parts") or ()
            parts = _model_parts(message, parts, own, names, where)
            if is_3:
                _sign(parts)
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
    message: Message,
    parts: list[JSON],
    own: Sequence[JSON],
    names: dict[str, str],
    where: str,
) -> list[JSON]:
    """Parts of an assistant message; its calls' names are noted in `names`.

    `parts` are its content, `own` is what this provider left to be sent back.
    """
    calls: dict[str, JSON] = {}
    for number, given in enumerate(message.tool_calls or ()):
        place = f"{where}.tool_calls[{number}]"
        call = read_call(given, place)
        names[call.id] = call.name
        wire: JSON = {
            "name": call.name,
            "args": arguments_object(call.arguments, place),
        }
        if not call.id.startswith(MADE_ID):
            wire["id"] = call.id
        # No call may be lost because a server gave two of them one id.
        key = f"{call.id}#{number}" if call.id in calls else call.id
        calls[key] = {"functionCall": wire}
    return _replayed(own, message, parts, calls) if own else [*parts, *calls.values()]


def _sign(parts: Sequence[JSON]) -> None:
    """Give the calls of a step a signature where they have none.

    One serves them all; it stands on the first.
    """
    made = [part for part in parts if "functionCall" in part]
    if made and not any("thoughtSignature" in part for part in made):
        made[0]["thoughtSignature"] = _FILLER


def _replayed(
    kept: Sequence[JSON], message: Message, texts: list[JSON], calls: dict[str, JSON]
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
        parts, untouched = texts, False
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


# Results of calls ----------------------------------------------------------------


def _result_parts(
    message: Message,
    parts: list[JSON],
    names: Mapping[str, str],
    where: str,
    *,
    nested_files: bool,
) -> list[JSON]:
    """The result of a call, and the files that belong to it.

    `nested_files`: since Gemini 3 files are part of the result; before, they stand
    behind it (https://ai.google.dev/gemini-api/docs/function-calling#multimodal).
    """
    call_id = answered_call(message, where, by_name=True)
    name = names.get(call_id) or message.name
    if not name:
        raise InvalidRequestError(
            f"{where} is the result of the call {call_id!r}, which no message before "
            "it makes; Gemini needs to know the function: keep the assistant message "
            "with the call, or set the result's name"
        )
    text = "\n\n".join(part["text"] for part in parts if "text" in part)
    files = [part for part in parts if "text" not in part]
    failed = has_failed(message)
    response: JSON = {"name": name, "response": None if failed else json_object(text)}
    if response["response"] is None:
        response["response"] = {"error" if failed else "output": text}
    if call_id in names and not call_id.startswith(MADE_ID):
        response["id"] = call_id
    if files and nested_files:
        response["parts"], files = files, []
    return [{"functionResponse": response}, *files]
