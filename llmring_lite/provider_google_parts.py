"""A message's content in the words of Gemini: texts, images, files and audio.

The API fetches https URLs and Google's gs:// and Files API URIs itself
(https://ai.google.dev/gemini-api/docs/file-input-methods). It has no counterpart of an
image's `detail`, and caches by itself, so cache marks need nothing.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from llmring_lite.exceptions import InvalidRequestError, UnsupportedParameterError
from llmring_lite.provider import JSON, Endpoint
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


class Place(NamedTuple):
    """Where a part stands, for error messages, and where its files live."""

    name: str
    endpoint: Endpoint
    files_url: str

    def unsupported(self, reason: str, kind: str) -> UnsupportedParameterError:
        return UnsupportedParameterError(
            f"{self.name} ({kind}) can't be sent: {reason}",
            parameter=f"{self.name} ({kind})",
            provider=self.endpoint.name,
        )


def build_parts(message: Message, place: Place) -> list[JSON]:
    """A message's content, without empty texts, which the API refuses."""
    content = message.content or ""
    if isinstance(content, str):
        return [{"text": content}] if content else []
    parts = []
    for number, part in enumerate(content):
        inner = place._replace(name=f"{place.name}.content[{number}]")
        kind = part.get("type")
        convert = _PARTS.get(kind or "")
        if convert is None:
            raise InvalidRequestError(
                f"{inner.name} has the unknown type {kind!r}; known are "
                + ", ".join(_PARTS)
            )
        try:
            made = convert(part, inner)
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidRequestError(
                f"{inner.name} is malformed: a part of type {kind} needs {error}"
            ) from error
        if made.get("text") != "":
            parts.append(made)
    return parts


def _text(part: JSON, place: Place) -> JSON:
    return {"text": part["text"]}


def _image(part: JSON, place: Place) -> JSON:
    image = part["image_url"]
    url = image if isinstance(image, str) else image["url"]
    return _media(url, "", place, "image_url")


def _file(part: JSON, place: Place) -> JSON:
    file = part["file"]
    uri = file.get("file_id") or file["file_data"]
    if uri.startswith("files/"):
        uri = f"{place.files_url}/{uri}"
    return _media(uri, file.get("filename") or "", place, "file")


def _audio(part: JSON, place: Place) -> JSON:
    audio = part["input_audio"]
    return {
        "inlineData": {"mimeType": f"audio/{audio['format']}", "data": audio["data"]}
    }


_PARTS: Final[Mapping[str, Callable[[JSON, Place], JSON]]] = {
    "text": _text,
    "image_url": _image,
    "file": _file,
    "input_audio": _audio,
}


def _media(uri: str, filename: str, place: Place, kind: str) -> JSON:
    """A file: the bytes of a data: URL, or a URI that the API fetches."""
    scheme = uri.partition(":")[0].lower()
    if scheme == "data":
        header, comma, data = uri[5:].partition(",")
        if not comma:
            raise InvalidRequestError(f"{place.name} has a data: URL without a comma")
        mime_type, *options = header.split(";")
        if "base64" not in options:
            data = b64encode(unquote_to_bytes(data)).decode()
        return {"inlineData": {"mimeType": mime_type or "text/plain", "data": data}}
    # The query may hold a signature: not for messages.
    path = uri.partition("#")[0].partition("?")[0]
    if scheme not in ("https", "gs"):
        raise place.unsupported(
            f"Gemini can't fetch {path[:80]!r}; give an https URL, a gs:// URI, the "
            "URI of a file of its Files API, or a data: URL",
            kind,
        )
    file: JSON = {"fileUri": uri}
    guess = _mime_type(filename) or _mime_type(path)
    if guess:
        file["mimeType"] = guess
    return {"fileData": file}


def _mime_type(name: str) -> str | None:
    return _MIME_TYPES.get(name.rpartition(".")[2].lower())
