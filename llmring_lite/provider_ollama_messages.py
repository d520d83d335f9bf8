"""Messages -> the `messages` of Ollama's `/api/chat`.

https://docs.ollama.com/api/chat
https://docs.ollama.com/capabilities/tool-calling

A message is one text and a list of images, so text parts are joined as paragraphs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llmring_lite.provider import JSON, Endpoint, own_data
from llmring_lite.provider_parts import (
    Converters,
    convert_parts,
    image_url,
    is_data_url,
    refuse,
    refuse_names,
    split_data_url,
    unsupported,
)
from llmring_lite.provider_tools import (
    answered_call,
    arguments_object,
    read_call,
    with_failure_told,
)
from llmring_lite.schemas import LLMRequest, Message

_ROLES: Final[Mapping[str, str]] = {"developer": "system"}


def message_items(request: LLMRequest, endpoint: Endpoint) -> list[JSON]:
    """The conversation as Ollama's messages.

    Raises:
        UnsupportedParameterError: A message holds something the API can't take.
        InvalidRequestError: A message, part or tool call makes no sense.
    """
    refuse_names(request, "Ollama")
    names: dict[str, str] = {}  # call id -> function
    messages = []
    for index, message in enumerate(request.messages):
        where = f"messages[{index}]"
        item: JSON = {"role": _ROLES.get(message.role, message.role)}
        if message.role == "tool":
            call_id = answered_call(message, where, by_name=True)
            name = message.name or names.get(call_id)
            item |= {"tool_call_id": call_id} if call_id else {}
            item |= {"tool_name": name} if name else {}
            message = with_failure_told(message)
        item |= _content(message.content, where)
        if message.role == "assistant":
            item |= _thought(message, endpoint)
        if message.tool_calls:
            item["tool_calls"] = []
            for number, given in enumerate(message.tool_calls):
                place = f"{where}.tool_calls[{number}]"
                call = read_call(given, place)
                names[call.id] = call.name
                arguments = arguments_object(call.arguments, place)
                item["tool_calls"].append(
                    {
                        "id": call.id,
                        "type": "function",
                        "function": {"name": call.name, "arguments": arguments},
                    }
                )
        messages.append(item)
    return messages


def _thought(message: Message, endpoint: Endpoint) -> JSON:
    thinking = (own_data(message, endpoint) or {}).get("thinking")
    return {"thinking": thinking} if isinstance(thinking, str) else {}


def _content(content: Any, where: str) -> JSON:
    """A message's text, and its images in base64."""
    if not isinstance(content, list):
        return {"content": content or ""}
    parts = list(convert_parts(content, where, _PARTS))
    item: JSON = {
        "content": "\n\n".join(text for kind, text in parts if kind == "text")
    }
    images = [data for kind, data in parts if kind == "image"]
    return {**item, "images": images} if images else item


def _text(part: JSON, place: str) -> tuple[str, str]:
    return "text", part["text"]


def _image(part: JSON, place: str) -> tuple[str, str]:
    url = image_url(part)
    if not is_data_url(url):
        raise unsupported(place, "Ollama takes no address of an image, only its bytes")
    return "image", split_data_url(url, place)[1]


_PARTS: Final[Converters[tuple[str, str]]] = {
    "text": _text,
    "image_url": _image,
    "file": refuse("Ollama takes texts and images only"),
    "input_audio": refuse("Ollama takes no audio"),
}
"""Part type -> `("text", text)` or `("image", base64)`."""
