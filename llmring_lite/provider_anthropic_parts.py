"""Message parts in the words of Anthropic's Messages API.

- https://platform.claude.com/docs/en/build-with-claude/vision
- https://platform.claude.com/docs/en/build-with-claude/pdf-support
- https://platform.claude.com/docs/en/build-with-claude/files

URLs are the API's to fetch. A `file` part may carry the API's own `citations`,
`context` and `title`.
"""

from __future__ import annotations

import binascii
from typing import Final

from llmring_lite.exceptions import InvalidRequestError
from llmring_lite.provider import JSON
from llmring_lite.provider_parts import (
    Converters,
    convert_parts,
    image_url,
    is_data_url,
    refuse,
    split_data_url,
    texts_only,
    unsupported,
)
from llmring_lite.schemas import Message

_IMAGE_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".gif", ".webp")
_TEXT_TYPES: Final = frozenset(
    {"application/json", "application/xml", "application/yaml", "application/toml"}
)
_DOCUMENT_KEYS: Final = ("citations", "context", "title")


def text_block(text: str) -> JSON:
    return {"type": "text", "text": text}


def content_blocks(message: Message, where: str) -> list[JSON]:
    """Blocks of a message's content; text without a visible character is left out.

    Raises:
        InvalidRequestError: A part is malformed, or of no known type.
        UnsupportedParameterError: The API can't take a part, or not in this role.
    """
    content = message.content
    if not isinstance(content, list):
        content = [text_block(content)] if content else []
    blocks = []
    for part, block in zip(content, convert_parts(content, where, _PARTS), strict=True):
        if block["type"] == "text" and not block["text"].strip():
            continue
        if part.get("cache_control"):
            block["cache_control"] = part["cache_control"]
        blocks.append(block)
    return blocks


def text_blocks(message: Message, where: str) -> list[JSON]:
    """As `content_blocks`, for a message that can hold text only."""
    texts_only(message, where, f"a message of role {message.role!r} is text only")
    return content_blocks(message, where)


def _text(part: JSON, place: str) -> JSON:
    return text_block(part["text"])


def _image(part: JSON, place: str) -> JSON:
    return _url_block(image_url(part), place, "image")


def _file(part: JSON, place: str) -> JSON:
    file = part["file"]
    name = file.get("filename")
    if file.get("file_id"):
        image = bool(name) and name.lower().endswith(_IMAGE_SUFFIXES)
        block: JSON = {
            "type": "image" if image else "document",
            "source": {"type": "file", "file_id": file["file_id"]},
        }
    else:
        block = _url_block(file["file_data"], place, "document")
    if block["type"] == "document":
        if name:
            block["title"] = name
        block.update({key: part[key] for key in _DOCUMENT_KEYS if key in part})
    return block


_PARTS: Final[Converters[JSON]] = {
    "text": _text,
    "image_url": _image,
    "file": _file,
    "input_audio": refuse("the Messages API takes no audio"),
}


def _url_block(url: str, place: str, kind: str) -> JSON:
    """A block for an http(s) URL, which the API fetches, or a data: URL."""
    if not is_data_url(url):
        return {"type": kind, "source": {"type": "url", "url": url}}
    media_type, data = split_data_url(url, place)
    if media_type in _IMAGE_TYPES or media_type == "application/pdf":
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
                "data": _decoded(data, place),
            },
        }
    raise unsupported(
        place,
        "the Messages API takes JPEG, PNG, GIF and WebP images, PDF and text files, "
        f"not {media_type}",
    )


def _decoded(data: str, place: str) -> str:
    try:
        return binascii.a2b_base64(data).decode("utf-8-sig")
    except ValueError:
        raise InvalidRequestError(
            f"{place} holds text that is not base64 of UTF-8"
        ) from None
