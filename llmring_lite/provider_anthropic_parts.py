"""Message parts in the words of Anthropic's Messages API.

- https://platform.claude.com/docs/en/build-with-claude/vision
- https://platform.claude.com/docs/en/build-with-claude/pdf-support
- https://platform.claude.com/docs/en/build-with-claude/files

URLs are the API's to fetch. An image's `detail` is a hint that it has no place for.
A `file` part may carry the API's own `citations`, `context` and `title`.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote, unquote_to_bytes

from llmring_lite.exceptions import InvalidRequestError, UnsupportedParameterError
from llmring_lite.provider import JSON, Endpoint
from llmring_lite.schemas import Message

_IMAGE_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".gif", ".webp")
_TEXT_TYPES: Final = frozenset(
    {"application/json", "application/xml", "application/yaml", "application/toml"}
)
_DOCUMENT_KEYS: Final = ("citations", "context", "title")


def text_block(text: str) -> JSON:
    return {"type": "text", "text": text}


def content_blocks(
    message: Message, where: str, endpoint: Endpoint, *, text_only: bool = False
) -> Iterator[JSON]:
    """Blocks of a message's content; text without a visible character is left out.

    Raises:
        InvalidRequestError: A part is malformed, or of no known type.
        UnsupportedParameterError: The API can't take a part, or not in this role.
    """
    content = message.content
    if content is None or isinstance(content, str):
        if content and content.strip():
            yield text_block(content)
        return
    for number, part in enumerate(content):
        place = f"{where}.content[{number}]"
        block = _part_block(part, place, endpoint)
        if text_only and block["type"] != "text":
            raise UnsupportedParameterError(
                f"{place}: a message of role {message.role!r} can hold text only",
                parameter=f"{place} ({part['type']})",
                provider=endpoint.name,
            )
        if block["type"] == "text" and not block["text"].strip():
            continue
        if part.get("cache_control"):
            block["cache_control"] = part["cache_control"]
        yield block


def _part_block(part: Mapping[str, Any], where: str, endpoint: Endpoint) -> JSON:
    kind = part.get("type")
    if kind == "text":
        return text_block(part["text"])
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
        if is_base64:
            # The API takes no line breaks in it.
            data = "".join(unquote(data).split())
        else:
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
        raw = (
            binascii.a2b_base64(unquote(data)) if is_base64 else unquote_to_bytes(data)
        )
        return raw.decode("utf-8-sig")
    except ValueError:
        raise InvalidRequestError(
            f"{where} holds text that is not base64 of UTF-8"
        ) from None
