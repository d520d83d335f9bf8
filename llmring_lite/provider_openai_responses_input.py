"""Messages -> the `input` items of OpenAI's Responses API, and what a reply must
carry so that it can become input again.

    input_items(request, endpoint, with_reasoning=...) -> items
    carried(output, stored=...) -> what belongs into `LLMResponse.provider_data`

System and developer messages stay items at their place: `instructions` holds only
one text, and puts it first.

A reply is replayed from two sources. Its text and its calls come from the message
itself; everything else (reasoning, items of server tools, ids, phases, namespaces)
comes from `provider_data`, where text parts leave only their length behind. So a
message that was changed on the way stays as changed, and nothing is kept twice.

https://platform.openai.com/docs/api-reference/responses/create#responses-create-input
https://platform.openai.com/docs/guides/reasoning#keeping-reasoning-items-in-context
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Final

from llmring_lite.provider import JSON, Endpoint, own_data
from llmring_lite.provider_openai_models import knows_breakpoints
from llmring_lite.provider_parts import (
    Converters,
    convert_parts,
    image_url,
    is_data_url,
    refuse,
    refuse_names,
    texts_only,
)
from llmring_lite.provider_tools import answered_call, read_call, with_failure_told
from llmring_lite.schemas import LLMRequest, Message

_CALL_ID_LIMIT: Final = 64
_CALL_FIELDS: Final = frozenset({"call_id", "name", "arguments"})
# What a call says without more meaning; not so its namespace, its caller, `async`.
_PLAIN_CALL: Final = _CALL_FIELDS | {"id", "type", "status"}


def input_items(
    request: LLMRequest, endpoint: Endpoint, *, with_reasoning: bool
) -> list[JSON]:
    """The conversation as input items.

    Without reasoning for models that don't reason: the API refuses it there.

    Raises:
        UnsupportedParameterError: A message holds something the API can't take.
        InvalidRequestError: A message, part or tool call makes no sense.
    """
    refuse_names(request, "the Responses API")
    items: list[JSON] = []
    marks = "openai_cache" in endpoint.quirks and knows_breakpoints(request.model)
    for index, message in enumerate(request.messages):
        where = f"messages[{index}]"
        if message.role == "tool":
            items.append(_tool_result(message, items, where, marks))
        elif message.role == "assistant":
            frames = (own_data(message, endpoint) or {}).get("output") or []
            if not with_reasoning:
                frames = _without(_is_reasoning, frames)
            items += _assistant_items(message, frames, where)
        else:
            content = _input_content(message, where, marks)
            items.append({"role": message.role, "content": content})
    return items


def _tool_result(
    message: Message, before: Iterable[JSON], where: str, marks: bool
) -> JSON:
    call_id = _call_id(answered_call(message, where))
    output = _input_content(with_failure_told(message), where, marks)
    if isinstance(output, list) and all(p.keys() == {"type", "text"} for p in output):
        # Lists came later than text, and only to some servers.
        output = "\n\n".join(part["text"] for part in output)
    # Calls of custom tools are in `raw` and, as whole items, in `provider_data`.
    is_custom = any(
        item.get("type") == "custom_tool_call" and item.get("call_id") == call_id
        for item in before
    )
    kind = "custom_tool_call_output" if is_custom else "function_call_output"
    return {"type": kind, "call_id": call_id, "output": output}


# Parts of user, system and tool messages ------------------------------------------


def _input_content(message: Message, where: str, marks: bool) -> str | list[JSON]:
    """A message's content; `marks` says whether parts may bear breakpoints.

    https://platform.openai.com/docs/guides/prompt-caching
    """
    content = message.content or ""
    mark = marks and (message.metadata or {}).get("cache_control")
    if isinstance(content, str):
        if not mark or not content:
            return content
        content = [{"type": "text", "text": content}]
    parts = list(convert_parts(content, where, _PARTS))
    for given, part in zip(content, parts, strict=True):
        if (marks and given.get("cache_control")) or (mark and part is parts[-1]):
            part["prompt_cache_breakpoint"] = {"mode": "explicit"}
    return parts


def _text(part: JSON, place: str) -> JSON:
    return {"type": "input_text", "text": part["text"]}


def _image(part: JSON, place: str) -> JSON:
    item = {"type": "input_image", "image_url": image_url(part)}
    image = part["image_url"]
    if isinstance(image, dict) and image.get("detail") is not None:
        item["detail"] = image["detail"]
    return item


def _file(part: JSON, place: str) -> JSON:
    file = part["file"]
    if file.get("file_id"):
        return {"type": "input_file", "file_id": file["file_id"]}
    data = file["file_data"]
    if not is_data_url(data):
        return {"type": "input_file", "file_url": data}
    # The API refuses inline data without a name.
    name = file.get("filename") or "document.pdf"
    return {"type": "input_file", "filename": name, "file_data": data}


_PARTS: Final[Converters[JSON]] = {
    "text": _text,
    "image_url": _image,
    "file": _file,
    "input_audio": refuse("the Responses API takes no audio"),
}


# Assistant turns ------------------------------------------------------------------


def _assistant_items(message: Message, frames: list[JSON], where: str) -> list[JSON]:
    texts = texts_only(message, where, "an assistant's turn is text only")
    text = "".join(part["text"] for part in texts)
    calls = []
    for index, given in enumerate(message.tool_calls or ()):
        call = read_call(given, f"{where}.tool_calls[{index}]")
        calls.append(
            {
                "type": "function_call",
                "call_id": _call_id(call.id),
                "name": call.name,
                "arguments": call.arguments,
            }
        )
    items = _refilled(frames, text, calls) if frames else None
    if items is not None:
        return items
    if text or not calls:
        return [{"role": "assistant", "content": text}, *calls]
    return calls


def _call_id(id_: str) -> str:
    """The id, or a stable stand-in for one that is too long.

    Other providers' ids may have any length; call and result get the same one.
    """
    if len(id_) <= _CALL_ID_LIMIT:
        return id_
    return "call_" + hashlib.sha256(id_.encode()).hexdigest()[:40]


# What a reply carries to the next turn --------------------------------------------


def carried(output: Iterable[JSON], *, stored: bool) -> JSON | None:
    """What the next turn needs of a reply's items beyond its text and calls.

    Args:
        output: The items of a reply, whole or as `without_text` leaves them.
        stored: Whether the provider keeps the items, so that an id says it all.

    None if text and calls are enough.
    """
    frames = []
    needed = False
    for item in output:
        if item["type"] == "message":
            frames.append(_message_frame(item))
            kinds = {part["type"] for part in item.get("content") or ()}
            needed |= bool(item.get("phase")) or "refusal" in kinds
        elif item["type"] == "function_call":
            frames.append({k: v for k, v in item.items() if k not in _CALL_FIELDS})
            needed |= any(item[key] for key in item if key not in _PLAIN_CALL)
        else:
            frames.append(item)
            needed |= stored or not _is_lost(item)
    if not needed:
        return None
    return {"output": frames if stored else _without(_is_lost, frames)}


def _is_reasoning(item: JSON) -> bool:
    return bool(item["type"] == "reasoning")


def _is_lost(item: JSON) -> bool:
    """Whether it means nothing to a server that didn't keep it."""
    return _is_reasoning(item) and not (
        item.get("encrypted_content") or item.get("content")
    )


def _without(is_dropped: Callable[[JSON], bool], frames: list[JSON]) -> list[JSON]:
    """The other items, and these without the ids that tie them to their reasoning.

    "Item 'fc_...' was provided without its required 'reasoning' item" is a refusal.
    """
    kept = [frame for frame in frames if not is_dropped(frame)]
    if len(kept) == len(frames):
        return frames
    return [
        {k: v for k, v in frame.items() if k != "id"}
        if frame["type"] in ("message", "function_call")
        else frame
        for frame in kept
    ]


def without_text(item: JSON) -> JSON:
    """An output item in which text parts have their length instead of the text."""
    if item["type"] != "message":
        return item
    parts = [
        {**{k: v for k, v in part.items() if k != "text"}, "chars": _chars(part)}
        if part["type"] == "output_text"
        else part
        for part in item.get("content") or ()
    ]
    return {**item, "content": parts}


def _message_frame(item: JSON) -> JSON:
    parts = [
        {"type": "output_text", "chars": _chars(part)}
        if part["type"] == "output_text"
        else part
        for part in item.get("content") or ()
    ]
    return {**item, "content": parts}


def _chars(part: JSON) -> int:
    return part["chars"] if "chars" in part else len(part["text"])


def _refilled(frames: list[JSON], text: str, calls: list[JSON]) -> list[JSON] | None:
    """The items of a reply with text and calls put back in.

    None if these no longer fit, because the message was edited.
    """
    items, position, waiting = [], 0, iter(calls)
    for frame in frames:
        if frame["type"] == "message":
            parts = []
            for part in frame["content"]:
                if "chars" in part:
                    end = position + part["chars"]
                    part = {"type": "output_text", "text": text[position:end]}
                    position = end
                parts.append(part)
            items.append({**frame, "content": parts})
        elif frame["type"] == "function_call":
            call = next(waiting, None)
            if call is None:
                return None
            items.append({**frame, **call})
        else:
            items.append(frame)
    fits = position == len(text) and next(waiting, None) is None
    return items if fits else None
