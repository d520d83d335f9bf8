"""What bytes are: media types by content, kinds of parts, data: URLs, size limits."""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from llmring_lite.exceptions import InvalidRequestError

Kind: TypeAlias = Literal["image", "pdf", "audio", "text"]

_MIB: Final = 1024 * 1024

LIMITS: Final[Mapping[Kind, int]] = {
    "image": 20 * _MIB,
    "pdf": 50 * _MIB,
    "audio": 25 * _MIB,
    "text": 5 * _MIB,
}
"""Largest size of one part in bytes, before base64."""

LARGEST: Final = max(LIMITS.values())

_KINDS: Final[Mapping[str, tuple[Kind, str]]] = {
    "image/png": ("image", "image/png"),
    "image/jpeg": ("image", "image/jpeg"),
    "image/jpg": ("image", "image/jpeg"),  # not registered, but often written
    "image/gif": ("image", "image/gif"),
    "image/webp": ("image", "image/webp"),
    "application/pdf": ("pdf", "application/pdf"),
    "audio/wav": ("audio", "wav"),
    "audio/x-wav": ("audio", "wav"),
    "audio/wave": ("audio", "wav"),
    "audio/mpeg": ("audio", "mp3"),
    "audio/mp3": ("audio", "mp3"),
    "application/json": ("text", "text/plain"),
    "application/xml": ("text", "text/plain"),
    "application/yaml": ("text", "text/plain"),
}
"""Media type -> kind, and what a part says of it: a media type, an audio format."""

_EXTENSIONS: Final[Mapping[str, str]] = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "pdf": "application/pdf",
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
}


# https://ai.google.dev/gemini-api/docs/video-understanding#supported-formats
VIDEO_TYPES: Final[Mapping[str, str]] = {
    "mp4": "video/mp4",
    "mpeg": "video/mpeg",
    "mpg": "video/mpg",
    "mov": "video/quicktime",
    "avi": "video/avi",
    "flv": "video/x-flv",
    "webm": "video/webm",
    "wmv": "video/wmv",
    "3gp": "video/3gpp",
}
"""Extensions of the videos that an API takes, Gemini's."""


def kind_of(media_type: str) -> tuple[Kind, str] | None:
    """The kind of a media type and the word for it in a part; None for another."""
    if media_type.startswith("text/"):
        return "text", media_type
    return _KINDS.get(media_type)


def media_type_of(data: bytes, name: str) -> str | None:
    """What a file is, by its first bytes, else its extension; None if unknown."""
    known = sniff(data) or _EXTENSIONS.get(name.rpartition(".")[2].lower())
    if known:
        return known
    # NUL is valid UTF-8, but in no text.
    if b"\0" in data:
        return None
    try:
        data.decode()
    except UnicodeDecodeError:
        return None
    return "text/plain"


def sniff(data: bytes) -> str | None:
    """The media type by magic bytes (https://mimesniff.spec.whatwg.org/)."""
    head = data[:12]
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head.startswith(b"RIFF"):
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(head[8:12])
    if head.lstrip().startswith(b"%PDF-"):
        return "application/pdf"
    # An ID3 tag with its version, or the sync word of an MPEG layer III frame.
    if head.startswith((b"ID3\2", b"ID3\3", b"ID3\4")) or (
        head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xE6 == 0xE2
    ):
        return "audio/mpeg"
    return None


def check_size(size: int, kind: Kind, where: str) -> None:
    """Raises InvalidRequestError if a part of that kind may not have `size` bytes."""
    if size > LIMITS[kind]:
        raise too_large(size, LIMITS[kind], where, kind)


def too_large(
    size: int, limit: int, where: str, what: str = "file"
) -> InvalidRequestError:
    """The error for `size` bytes where `limit` are allowed."""
    return InvalidRequestError(
        f"{where}: the {what} has {size / _MIB:.1f} MiB, more than the limit of "
        f"{limit // _MIB} MiB"
    )


def to_base64(data: bytes) -> str:
    """Bytes in base64, without line breaks."""
    return b2a_base64(data, newline=False).decode("ascii")


def to_data_url(media_type: str, data: bytes) -> str:
    """A data: URL (RFC 2397)."""
    return f"data:{media_type};base64,{to_base64(data)}"


def parse_data_url(url: str, where: str) -> tuple[str, bytes]:
    """Media type (lower-case, without parameters) and bytes of a base64 data: URL.

    Raises:
        InvalidRequestError: It is none, not in base64, without a media type, empty,
            or far too large; begins with `where`.
    """
    header, comma, payload = url.partition(",")
    words = header.lower().split(";")
    if not comma or not words[0].startswith("data:") or words[-1] != "base64":
        raise InvalidRequestError(
            f"{where}: {url[:40]!r} is no data: URL in base64, such as "
            "data:application/pdf;base64,JVBERi0..."
        )
    media_type = words[0].removeprefix("data:").strip()
    if "/" not in media_type:
        raise InvalidRequestError(f"{where}: the data: URL names no media type")
    return media_type, parse_base64(payload, where)


def parse_base64(payload: str, where: str) -> bytes:
    """The bytes that strict base64 holds. Raises as `parse_data_url` does."""
    size = len(payload) * 3 // 4
    if size > LARGEST + 2:
        raise too_large(size, LARGEST, where)
    try:
        data = a2b_base64(payload, strict_mode=True)
    except (Base64Error, ValueError) as error:
        raise InvalidRequestError(f"{where}: the data is no base64: {error}") from None
    if not data:
        raise InvalidRequestError(f"{where}: the data is empty")
    return data
