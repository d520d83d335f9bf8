"""A message's content in the words of Gemini: texts, images, files and audio.

The API fetches https URLs and Google's gs:// and Files API URIs itself
(https://ai.google.dev/gemini-api/docs/file-input-methods). An image's `detail` is the
resolution of its part, which models have since Gemini 3
(https://ai.google.dev/gemini-api/docs/media-resolution).
"""

from __future__ import annotations

from typing import Final

from llmring_lite.content_media import VIDEO_TYPES
from llmring_lite.provider import JSON
from llmring_lite.provider_parts import (
    Converters,
    convert_parts,
    image_url,
    is_data_url,
    split_data_url,
    unsupported,
)
from llmring_lite.schemas import Message

# Not `mimetypes`, which reads the system's tables. Types: the documentation's lists
# of image, document, audio and video formats.
_MIME_TYPES: Final = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "bmp": "image/bmp",
    "heic": "image/heic",
    "heif": "image/heif",
    "pdf": "application/pdf",
    "json": "application/json",
    "txt": "text/plain",
    "md": "text/markdown",
    "html": "text/html",
    "htm": "text/html",
    "css": "text/css",
    "csv": "text/csv",
    "xml": "text/xml",
    "rtf": "text/rtf",
    "wav": "audio/wav",
    "mp3": "audio/mp3",
    "aiff": "audio/aiff",
    "aac": "audio/aac",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "m4a": "audio/m4a",
    **VIDEO_TYPES,
}


_RESOLUTIONS: Final = {"low": "MEDIA_RESOLUTION_LOW", "high": "MEDIA_RESOLUTION_HIGH"}


def build_parts(
    message: Message, where: str, files_url: str, *, resolutions: bool
) -> list[JSON]:
    """A message's content, without empty texts, which the API refuses.

    `files_url` is where files named `files/...` are; `resolutions` says whether a part
    can have one.
    """
    content = message.content or ""
    if isinstance(content, str):
        return [{"text": content}] if content else []
    parts = convert_parts(content, where, _PARTS, files_url, resolutions)
    return [part for part in parts if part.get("text") != ""]


def _text(part: JSON, place: str, files_url: str, resolutions: bool) -> JSON:
    return {"text": part["text"]}


def _image(part: JSON, place: str, files_url: str, resolutions: bool) -> JSON:
    made = _media(image_url(part), "", place)
    image = part["image_url"]
    detail = image.get("detail") if isinstance(image, dict) else None
    if resolutions and detail in _RESOLUTIONS:
        made["mediaResolution"] = {"level": _RESOLUTIONS[detail]}
    return made


def _file(part: JSON, place: str, files_url: str, resolutions: bool) -> JSON:
    file = part["file"]
    uri = file.get("file_id") or file["file_data"]
    if uri.startswith("files/"):
        uri = f"{files_url}/{uri}"
    return _media(uri, file.get("filename") or "", place)


def _audio(part: JSON, place: str, files_url: str, resolutions: bool) -> JSON:
    audio = part["input_audio"]
    return {
        "inlineData": {"mimeType": f"audio/{audio['format']}", "data": audio["data"]}
    }


_PARTS: Final[Converters[JSON]] = {
    "text": _text,
    "image_url": _image,
    "file": _file,
    "input_audio": _audio,
}


def _media(uri: str, filename: str, place: str) -> JSON:
    """A file: the bytes of a data: URL, or a URI that the API fetches."""
    if is_data_url(uri):
        mime_type, data = split_data_url(uri, place)
        return {"inlineData": {"mimeType": mime_type, "data": data}}
    # The query may hold a signature: not for messages.
    path = uri.partition("#")[0].partition("?")[0]
    if not uri.lower().startswith(("https:", "gs:")):
        raise unsupported(
            place,
            f"Gemini can't fetch {path[:80]!r}; give an https URL, a gs:// URI, the "
            "URI of a file of its Files API, or a data: URL",
        )
    file: JSON = {"fileUri": uri}
    guess = _mime_type(filename) or _mime_type(path)
    if guess:
        file["mimeType"] = guess
    return {"fileData": file}


def _mime_type(name: str) -> str | None:
    return _MIME_TYPES.get(name.rpartition(".")[2].lower())
