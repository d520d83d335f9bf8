"""What an API is told of a file: its type, a name that it takes, and a form's frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from llmring_lite.content_media import VIDEO_TYPES, kind_of, media_type_of

Kind: TypeAlias = Literal["pdf", "image", "audio", "text", "video"]

SUFFIXES: Final[Mapping[str, tuple[str, ...]]] = {
    "application/pdf": ("pdf",),
    "image/png": ("png",),
    "image/jpeg": ("jpg", "jpeg"),
    "image/gif": ("gif",),
    "image/webp": ("webp",),
    "audio/wav": ("wav",),
    "audio/mpeg": ("mp3",),
    **{media_type: (suffix,) for suffix, media_type in VIDEO_TYPES.items()},
}
_UNKNOWN_TYPE: Final = "application/octet-stream"


class FileFacts(NamedTuple):
    """What an API is told of a file: `size` is in bytes."""

    name: str
    media_type: str
    size: int


def media_type_of_head(head: bytes, name: str) -> str:
    """The media type of a file that begins like this and is called so."""
    # A character of a text may be cut in two where the head ends.
    for end in range(len(head), max(len(head) - 4, 0), -1):
        found = media_type_of(head[:end], name)
        if found:
            return found
    return VIDEO_TYPES.get(name.rpartition(".")[2].lower(), _UNKNOWN_TYPE)


def kind_of_file(media_type: str) -> Kind | None:
    """The kind of a file; None if no API takes it."""
    if media_type.startswith("video/"):
        return "video"
    known = kind_of(media_type)
    return known[0] if known else None


# What Anthropic takes in a name; quotes and line ends would end a form's header.
_FORBIDDEN: Final = dict.fromkeys(map(ord, '<>:"|?*\\/\x7f'), "_") | dict.fromkeys(
    range(32), "_"
)
_LONGEST_NAME: Final = 200


def remote_name(name: str, media_type: str) -> str:
    """A file's name as every API takes it.

    OpenAI judges a file by the suffix of its name, so it gets the right one.
    """
    name = name.translate(_FORBIDDEN).encode("utf-8", "replace").decode().strip(" .")
    suffixes = SUFFIXES.get(media_type, ())
    stem, dot, suffix = name.rpartition(".")
    if suffixes and not (dot and suffix.lower() in suffixes):
        stem, suffix = name, suffixes[0]
    if not stem:
        stem, suffix = name or "file", suffixes[0] if suffixes else ""
    stem = stem[:_LONGEST_NAME]
    return f"{stem}.{suffix[:20]}" if suffix else stem


def multipart(
    fields: tuple[tuple[str, str], ...], file: FileFacts, boundary: str
) -> tuple[bytes, bytes]:
    """What stands before and after the file in a form (RFC 7578)."""
    lines = []
    for name, value in fields:
        lines += [
            f"--{boundary}",
            f'Content-Disposition: form-data; name="{name}"',
            "",
            value,
        ]
    lines += [
        f"--{boundary}",
        f'Content-Disposition: form-data; name="file"; filename="{file.name}"',
        f"Content-Type: {file.media_type}",
        "",
        "",
    ]
    return "\r\n".join(lines).encode(), f"\r\n--{boundary}--\r\n".encode()
