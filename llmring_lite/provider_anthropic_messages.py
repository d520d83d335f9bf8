"""A conversation in the words of Anthropic's Messages API.

The API knows user and assistant turns made of blocks, and one system prompt apart.
What follows from its rules (https://platform.claude.com/docs/en/api/messages/create):

- Leading system and developer messages become `system`. One that comes later stays
  where it is on models that allow it, after the next user turn as the API demands;
  on all others it is appended to `system`, as the API's documentation advises.
- Neighbouring messages of one role are one turn. The results of a turn's tool calls
  come first in the user turn that follows it.
- Text without a visible character is rejected, so it is left out, and with it a
  message that holds nothing else.
- An assistant turn that this provider wrote goes back block by block as it came:
  thinking blocks are signed, server tool results are encrypted.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import unquote_to_bytes

from llmring_lite.exceptions import InvalidRequestError, UnsupportedParameterError
from llmring_lite.provider import JSON, Endpoint, own_data
from llmring_lite.schemas import LLMRequest, Message

Blocks: TypeAlias = list[JSON]

_SYSTEM_ROLES: Final = frozenset({"system", "developer"})
_IMAGE_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_TEXT_TYPES: Final = frozenset(
    {"application/json", "application/xml", "application/yaml", "application/toml"}
)
_IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".gif", ".webp")
_UNCACHEABLE: Final = frozenset({"thinking", "redacted_thinking"})
_DOCUMENT_KEYS: Final = ("citations", "context", "title")
_ID_CHARACTERS: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
)

_MAX_BREAKPOINTS: Final = 4


class Conversation(NamedTuple):
    """Turns for `messages`, and the blocks of the system prompt."""

    system: Blocks
    turns: list[JSON]


def build_conversation(
    request: LLMRequest, endpoint: Endpoint, *, late_system: bool
) -> Conversation:
    """The request's messages as turns of blocks.

    `late_system` says whether the model takes system messages between turns.

    Raises:
        InvalidRequestError: A message is malformed, or there is none besides the
            system prompt.
        UnsupportedParameterError: A part that the API can't take; `parameter` is its
            place.
    """
    system: Blocks = []
    turns: list[JSON] = []
    waiting: Blocks = []
    for index, message in enumerate(request.messages):
        where = f"messages[{index}]"
        if message.role in _SYSTEM_ROLES:
            blocks = _marked(_text_blocks(message, where, endpoint), message)
            (waiting if turns and late_system else system).extend(blocks)
            continue
        if message.role == "assistant":
            role, blocks = "assistant", _assistant_blocks(message, where, endpoint)
            if blocks and waiting:
                _place_system(turns, waiting, system)
                waiting = []
        else:
            role, blocks = "user", _user_blocks(message, where, endpoint)
        blocks = _marked(blocks, message)
        if blocks and turns and turns[-1]["role"] == role:
            turns[-1]["content"].extend(blocks)
        elif blocks:
            turns.append({"role": role, "content": blocks})
    if waiting:
        _place_system(turns, waiting, system)
    for turn in turns:
        if turn["role"] == "user":
            turn["content"].sort(key=lambda block: block["type"] != "tool_result")
    if not turns:
        raise InvalidRequestError(
            "the Messages API needs at least one user message that is not empty, "
            "beside the system prompt"
        )
    _trim_prefill(turns[-1])
    return Conversation(system, turns)


def _place_system(turns: list[JSON], waiting: Blocks, system: Blocks) -> None:
    """Put late system texts after the user turn that precedes this place.

    The API takes a system message after a user turn only, and only before an
    assistant turn or at the end.
    """
    if turns[-1]["role"] == "user":
        turns.append({"role": "system", "content": waiting})
    else:
        system.extend(waiting)


def _trim_prefill(turn: JSON) -> None:
    """An unfinished assistant turn to be continued must not end in white space."""
    last = turn["content"][-1]
    if turn["role"] == "assistant" and last["type"] == "text":
        turn["content"][-1] = {**last, "text": last["text"].rstrip()}


def _text_blocks(message: Message, where: str, endpoint: Endpoint) -> Blocks:
    """Blocks of a message that may hold nothing but text."""
    blocks = list(_content_blocks(message, where, endpoint))
    for block in blocks:
        if block["type"] != "text":
            raise UnsupportedParameterError(
                f"{where} has role {message.role!r} and can hold text only",
                parameter=where,
                provider=endpoint.name,
            )
    return blocks


def _user_blocks(message: Message, where: str, endpoint: Endpoint) -> Blocks:
    blocks = list(_content_blocks(message, where, endpoint))
    if message.role != "tool":
        return blocks
    if not message.tool_call_id:
        raise InvalidRequestError(
            f"{where} has role 'tool' but no tool_call_id; set it to the id of the "
            "tool call that this is the result of"
        )
    result: JSON = {
        "type": "tool_result",
        "tool_use_id": _wire_id(message.tool_call_id),
    }
    if isinstance(message.content, str) and blocks:
        result["content"] = message.content
    elif blocks:
        result["content"] = blocks
    if (message.metadata or {}).get("is_error"):
        result["is_error"] = True
    return [result]


def _assistant_blocks(message: Message, where: str, endpoint: Endpoint) -> Blocks:
    calls = [
        _tool_use(call, f"{where}.tool_calls[{number}]", endpoint)
        for number, call in enumerate(message.tool_calls or ())
    ]
    data = own_data(message, endpoint)
    if data and "blocks" in data and not isinstance(message.content, list):
        return _replayed(data["blocks"], message.content or "", calls)
    return [*_text_blocks(message, where, endpoint), *calls]


def _replayed(stored: Sequence[JSON], content: str, calls: Blocks) -> Blocks:
    """The turn that the provider wrote, in its own order (see `store_block`).

    Texts and calls are taken from the message, which may have been edited since: a
    text of another length goes to the first text's place, calls that are gone are
    left out, new ones are added.
    """
    by_id = {call["id"]: call for call in calls}
    length = sum(block["length"] for block in stored if "length" in block)
    position, untouched = 0, length == len(content)
    blocks: Blocks = []
    for block in stored:
        if block["type"] == "text":
            piece = content
            if untouched:
                piece = content[position : position + block["length"]]
                position += block["length"]
            content = content if untouched else ""
            if piece.strip():
                extra = {k: v for k, v in block.items() if k != "length"}
                blocks.append(
                    {**(extra if untouched else _plain(piece)), "text": piece}
                )
        elif block["type"] == "tool_use":
            call = by_id.pop(_wire_id(block["id"]), None)
            if call:
                blocks.append({**block, **call})
        else:
            blocks.append(block)
    if not untouched and content.strip():
        blocks.append(_plain(content))
    return [*blocks, *by_id.values()]


def store_block(block: JSON, length: int | None = None) -> JSON:
    """A block of a reply in the form that `provider_data` keeps.

    A text (`length` characters of the reply's content) and a call's input are in the
    message already; everything else about them, citations for one, is kept.
    """
    if length is not None:
        return {**{k: v for k, v in block.items() if k != "text"}, "length": length}
    if block["type"] == "tool_use":
        return {k: v for k, v in block.items() if k != "input"}
    return block


def _plain(text: str) -> JSON:
    return {"type": "text", "text": text}


def _tool_use(call: Mapping[str, Any], where: str, endpoint: Endpoint) -> JSON:
    if call.get("type", "function") != "function":
        raise UnsupportedParameterError(
            f"{where} is of type {call['type']!r}; only functions can be called",
            parameter=where,
            provider=endpoint.name,
        )
    function = call.get("function") or {}
    if not call.get("id") or not function.get("name"):
        raise InvalidRequestError(f"{where} needs an id and a function name")
    return {
        "type": "tool_use",
        "id": _wire_id(call["id"]),
        "name": function["name"],
        "input": _arguments(function.get("arguments"), where),
    }


def _arguments(arguments: Any, where: str) -> JSON:
    if isinstance(arguments, str) and arguments.strip():
        try:
            arguments = json.loads(arguments)
        except ValueError:
            raise InvalidRequestError(
                f"{where} has arguments that are not JSON (perhaps the token limit cut "
                "them off); mend them, or leave the call and its result out"
            ) from None
    if arguments is None or arguments == "":
        return {}
    if not isinstance(arguments, dict):
        raise InvalidRequestError(
            f"{where} has arguments that are not a JSON object but a "
            f"{type(arguments).__name__}"
        )
    return arguments


def _wire_id(call_id: str) -> str:
    """A tool call id in the characters that the API takes.

    Other providers' ids may have dots and colons; call and result are spelt alike.
    """
    if _ID_CHARACTERS.issuperset(call_id):
        return call_id
    return "".join(c if c in _ID_CHARACTERS else f"_{ord(c):x}_" for c in call_id)


# Parts ---------------------------------------------------------------------------


def _content_blocks(message: Message, where: str, endpoint: Endpoint) -> Iterator[JSON]:
    content = message.content
    if content is None or isinstance(content, str):
        if content and content.strip():
            yield _plain(content)
        return
    for number, part in enumerate(content):
        place = f"{where}.content[{number}]"
        block = _part_block(part, place, endpoint)
        if block["type"] == "text" and not block["text"].strip():
            continue
        if part.get("cache_control"):
            block["cache_control"] = part["cache_control"]
        yield block


def _part_block(part: Mapping[str, Any], where: str, endpoint: Endpoint) -> JSON:
    kind = part.get("type")
    if kind == "text":
        return _plain(part["text"])
    if kind == "image_url":
        image = part["image_url"]
        return _url_block(
            image if isinstance(image, str) else image["url"], where, endpoint, "image"
        )
    if kind == "file":
        return _file_block(part, where, endpoint)
    if kind == "input_audio":
        raise UnsupportedParameterError(
            f"{where}: the Messages API takes no audio",
            parameter=f"{where} (input_audio)",
            provider=endpoint.name,
        )
    raise InvalidRequestError(
        f"{where} has the unknown type {kind!r}; known are text, image_url, file, "
        "input_audio"
    )


def _file_block(part: Mapping[str, Any], where: str, endpoint: Endpoint) -> JSON:
    file = part["file"]
    name = file.get("filename")
    if file.get("file_id"):
        image = bool(name) and name.lower().endswith(_IMAGE_SUFFIXES)
        block: JSON = {
            "type": "image" if image else "document",
            "source": {"type": "file", "file_id": file["file_id"]},
        }
    else:
        block = _url_block(file["file_data"], where, endpoint, "document")
    if block["type"] == "document":
        if name:
            block["title"] = name
        block.update({key: part[key] for key in _DOCUMENT_KEYS if key in part})
    return block


def _url_block(url: str, where: str, endpoint: Endpoint, kind: str) -> JSON:
    """A block for an http(s) URL, which the API fetches, or a data: URL."""
    if url[:5].lower() != "data:":
        return {"type": kind, "source": {"type": "url", "url": url}}
    header, comma, data = url[5:].partition(",")
    media_type, *parameters = header.split(";")
    media_type = media_type.strip().lower() or "text/plain"
    is_base64 = any(p.strip().lower() == "base64" for p in parameters)
    if not comma:
        raise InvalidRequestError(f"{where} has a data: URL without a comma")
    if media_type in _IMAGE_TYPES or media_type == "application/pdf":
        if not is_base64:
            data = binascii.b2a_base64(unquote_to_bytes(data), newline=False).decode()
        return {
            "type": "image" if media_type in _IMAGE_TYPES else "document",
            "source": {"type": "base64", "media_type": media_type, "data": data},
        }
    if media_type.startswith("text/") or media_type in _TEXT_TYPES:
        return {
            "type": "document",
            "source": {
                "type": "text",
                "media_type": "text/plain",
                "data": _decoded(data, is_base64, where),
            },
        }
    raise UnsupportedParameterError(
        f"{where}: the Messages API takes JPEG, PNG, GIF and WebP images, PDF and text "
        f"files, not {media_type}",
        parameter=f"{where} ({media_type})",
        provider=endpoint.name,
    )


def _decoded(data: str, is_base64: bool, where: str) -> str:
    try:
        raw = binascii.a2b_base64(data) if is_base64 else unquote_to_bytes(data)
        return raw.decode("utf-8-sig")
    except ValueError:
        raise InvalidRequestError(
            f"{where} holds text that is not base64 of UTF-8"
        ) from None


# Prompt caching ------------------------------------------------------------------


def _marked(blocks: Blocks, message: Message) -> Blocks:
    """The blocks, with the message's own cache breakpoint on the last one."""
    control = (message.metadata or {}).get("cache_control")
    return mark_last(blocks, control) if control else blocks


def mark_last(blocks: Blocks, control: JSON) -> Blocks:
    """The blocks with a breakpoint on the last one that can carry it.

    Nothing is changed if that one has a breakpoint already.
    """
    for index in reversed(range(len(blocks))):
        if blocks[index]["type"] not in _UNCACHEABLE:
            marked = {"cache_control": control, **blocks[index]}
            return [*blocks[:index], marked, *blocks[index + 1 :]]
    return blocks


def add_breakpoints(
    conversation: Conversation, tools: Blocks, control: JSON
) -> tuple[Conversation, Blocks]:
    """Breakpoints at the end of the conversation and of what precedes it.

    The latter is the system prompt, or the tools where there is none. Breakpoints
    that are there already count; the API takes four. The end of the conversation
    comes first if there is room for one only, for its prefix holds the rest.
    """
    system, turns = conversation
    left = _MAX_BREAKPOINTS - count_breakpoints(conversation, tools)
    if left > 0:
        # A closing system message can't serve: automatic caching skips it, too.
        index = next(
            i for i in reversed(range(len(turns))) if turns[i]["role"] != "system"
        )
        before = turns[index]["content"]
        after = mark_last(before, control)
        left -= after != before
        turns = [
            *turns[:index],
            {**turns[index], "content": after},
            *turns[index + 1 :],
        ]
    if left > 0 and system:
        system = mark_last(system, control)
    elif left > 0 and tools:
        tools = [*tools[:-1], {"cache_control": control, **tools[-1]}]
    return Conversation(system, turns), tools


def count_breakpoints(conversation: Conversation, tools: Blocks) -> int:
    """How many breakpoints there are.

    Raises:
        InvalidRequestError: There are more than the API takes.
    """
    blocks = [*tools, *conversation.system]
    for turn in conversation.turns:
        blocks.extend(turn["content"])
        for block in turn["content"]:
            if block["type"] == "tool_result" and isinstance(
                block.get("content"), list
            ):
                blocks.extend(block["content"])
    count = sum("cache_control" in block for block in blocks)
    if count > _MAX_BREAKPOINTS:
        raise InvalidRequestError(
            f"{count} parts of the request have a cache_control; the Messages API "
            f"takes at most {_MAX_BREAKPOINTS}"
        )
    return count
