"""Messages -> the `messages` of Ollama's `/api/chat`.

https://docs.ollama.com/api/chat
https://docs.ollama.com/capabilities/tool-calling

A message is one text and a list of images, so text parts are joined as paragraphs.
Cache hints need nothing: the server reuses the longest known prefix by itself.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from llmring_lite.exceptions import InvalidRequestError, UnsupportedParameterError
from llmring_lite.provider import JSON, Endpoint, own_data
from llmring_lite.schemas import LLMRequest, Message

_ROLES: Final[Mapping[str, str]] = {"developer": "system"}


def message_items(request: LLMRequest, endpoint: Endpoint) -> list[JSON]:
    """The conversation as Ollama's messages.

    Raises:
        UnsupportedParameterError: A message holds something the API can't take.
        InvalidRequestError: A message, part or tool call makes no sense.
    """
    droppable = request.extra_params.get("drop_unsupported")
    names: dict[str, str] = {}  # call id -> function
    messages = []
    for index, message in enumerate(request.messages):
        where = f"messages[{index}]"
        if message.name is not None and message.role != "tool" and not droppable:
            raise _unsupported(f"{where}.name", "Ollama has no participant names")
        text, images = _content(message.content, f"{where}.content")
        item: JSON = {"role": _ROLES.get(message.role, message.role), "content": text}
        if images:
            item["images"] = images
        if message.role == "tool":
            item |= _result_of(message, names, where)
        if message.role == "assistant":
            item |= _thought(message, endpoint)
            if message.tool_calls:
                item["tool_calls"] = [
                    _call_item(call, f"{where}.tool_calls[{i}]")
                    for i, call in enumerate(message.tool_calls)
                ]
                names |= {
                    call["id"]: call["function"]["name"]
                    for call in message.tool_calls
                    if call.get("id")
                }
        messages.append(item)
    return messages


def _result_of(message: Message, names: Mapping[str, str], where: str) -> JSON:
    """Which call a result belongs to, in the words of old and new servers."""
    id_ = message.tool_call_id
    name = message.name or names.get(id_ or "")
    if not name and not id_:
        raise InvalidRequestError(
            f"{where} is the result of a tool but has neither tool_call_id nor name"
        )
    result = {"tool_name": name, "tool_call_id": id_}
    return {key: value for key, value in result.items() if value}


def _thought(message: Message, endpoint: Endpoint) -> JSON:
    thinking = (own_data(message, endpoint) or {}).get("thinking")
    return {"thinking": thinking} if isinstance(thinking, str) else {}


def _call_item(call: Mapping[str, Any], where: str) -> JSON:
    try:
        function = call["function"]
        name, text = function["name"], function.get("arguments") or "{}"
    except (KeyError, TypeError) as missing:
        raise InvalidRequestError(f"{where} lacks {missing}") from missing
    try:
        arguments = json.loads(text)
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise InvalidRequestError(
            f"{where}.function.arguments is not the text of a JSON object, which "
            "Ollama needs"
        )
    item: JSON = {
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }
    return {"id": call["id"], **item} if call.get("id") else item


def _content(content: Any, where: str) -> tuple[str, list[str]]:
    """A message's text, and its images in base64."""
    if content is None or isinstance(content, str):
        return content or "", []
    texts: list[str] = []
    images: list[str] = []
    for index, part in enumerate(content):
        place = f"{where}[{index}]"
        try:
            kind, value = _part(part, place)
        except (KeyError, TypeError) as missing:
            raise InvalidRequestError(f"{place} lacks {missing}") from missing
        (texts if kind == "text" else images).append(value)
    return "\n\n".join(texts), images


def _part(part: Mapping[str, Any], where: str) -> tuple[str, str]:
    """`("text", text)` or `("image", base64)`."""
    kind = part.get("type")
    where = f"{where} ({kind})"
    if kind == "text":
        return "text", part["text"]
    if kind == "image_url":
        image = part["image_url"]
        return "image", _base64(
            image if isinstance(image, str) else image["url"], where
        )
    if kind == "file":
        return _file(part["file"], where)
    if kind == "input_audio":
        raise _unsupported(where, "Ollama takes no audio")
    raise InvalidRequestError(
        f"{where} is of an unknown type; known are text, image_url, file, input_audio"
    )


def _file(file: Mapping[str, Any], where: str) -> tuple[str, str]:
    if file.get("file_id"):
        raise _unsupported(where, "Ollama keeps no files")
    mime, data = _data_url(file["file_data"], where)
    if mime.startswith("image/"):
        return "image", b64encode(data).decode()
    if not mime.startswith("text/") and mime != "application/json":
        raise _unsupported(where, f"Ollama takes texts and images, no {mime}")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"{where} is not UTF-8 text: {error}") from error
    name = file.get("filename")
    return "text", f"{name}:\n{text}" if name else text


def _base64(url: str, where: str) -> str:
    return b64encode(_data_url(url, where)[1]).decode()


def _data_url(url: str, where: str) -> tuple[str, bytes]:
    """Media type and bytes of a data: URL (RFC 2397)."""
    head, comma, payload = url.partition(",")
    if not head.startswith("data:") or not comma:
        raise _unsupported(
            where, "Ollama needs the content, as a data: URL, no address"
        )
    mime, *parameters = head[5:].split(";")
    try:
        raw = unquote_to_bytes(payload)
        data = b64decode(raw, validate=True) if "base64" in parameters else raw
    except ValueError as error:
        raise InvalidRequestError(f"{where} is not valid base64: {error}") from error
    return mime.lower() or "text/plain", data


def _unsupported(parameter: str, reason: str) -> UnsupportedParameterError:
    return UnsupportedParameterError(
        f"{parameter} can't be used: {reason}", parameter=parameter
    )
