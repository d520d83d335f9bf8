"""Message parts into memory: local files, data: URLs, remote images.

`load` turns what a caller may write into what a mapper expects. It touches the disk
and, through the function handed in, the network; mappers touch neither.

- `{"type": "image", "path"}`, a png, jpeg, gif or webp file, becomes an `image_url`
  part with a data: URL.
- `{"type": "file", "path"}` becomes, as its content says: a PDF a `file` part with
  `filename` and `file_data`; an image an `image_url` part; wav and mp3 `input_audio`;
  UTF-8 text a `text` part, in which the text stands between the lines
  `<file name="NAME">` and `</file>`.
- `{"type": "file", "file": {"file_data": data: URL}}` is checked; what is no PDF
  becomes the part of its kind, as above. A `file_id` passes.
- `image_url` with a data: URL and `input_audio` are checked.
- A remote URL of an image, or of a PDF in `file_data`, is left alone, or fetched for an
  API that takes bytes only.

What a file is, its first bytes say; if they don't, its extension does. An image or
file by path may also have `detail`, `filename` and `cache_control`. Parts of unknown
types are left to the mapper, which says what its API takes.

One image may have 20 MiB, a PDF 50, audio 25, text 5 (`content_media.LIMITS`), before
base64. A provider may allow less, and says so.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple, TypeAlias

from llmring_lite.content_media import (
    LARGEST,
    Kind,
    check_size,
    kind_of,
    media_type_of,
    parse_base64,
    parse_data_url,
    sniff,
    to_base64,
    to_data_url,
    too_large,
)
from llmring_lite.exceptions import InvalidRequestError
from llmring_lite.schemas import LLMRequest, Message

Part: TypeAlias = dict[str, Any]
Fetch: TypeAlias = Callable[[str, Kind], tuple[str, bytes]]

_PATH_KEYS: Final = frozenset({"type", "path", "detail", "filename", "cache_control"})


def load(
    request: LLMRequest,
    *,
    fetch: Fetch | None = None,
    fetched_parts: Collection[str] = (),
) -> LLMRequest:
    """The request with everything that its messages point at in memory.

    Args:
        request: Not changed, nor is anything in it.
        fetch: Gets a remote image or PDF; returns media type and bytes, or raises.
        fetched_parts: Part types (`image_url`, `file`) whose remote URLs must be
            fetched, because the API at hand takes bytes only.

    Each file and URL is read once. Calling it again on what it returned, with other
    `fetched_parts` for another candidate, reads no file again.

    Returns:
        The same object if there was nothing to do.

    Raises:
        InvalidRequestError: A part is malformed, too large, of a kind that no API
            takes, or its file can't be read; says which one, and why.
    """
    for message in request.messages:
        content = message.content
        if content.__class__ is str or content is None or _is_plain(content):
            continue
        break
    else:
        return request
    loader = _Loader(fetch, fetched_parts)
    messages = [
        loader.message(message, f"messages[{index}].content")
        for index, message in enumerate(request.messages)
    ]
    if all(map(_is, messages, request.messages)):
        return request
    return replace(request, messages=messages)


def _is_plain(content: Any) -> bool:
    """Whether it is a list of text parts and nothing else, which is the usual list."""
    return content.__class__ is list and all(
        part.__class__ is dict
        and part.get("type") == "text"
        and part.get("text").__class__ is str
        for part in content
    )


def _is(one: object, other: object) -> bool:
    return one is other


class _Blob(NamedTuple):
    """Bytes and what they are; `name` is the file name, `""` if unknown."""

    media_type: str
    data: bytes
    name: str


class _Loader:
    """Loads the parts of one request, remembering what it has read."""

    def __init__(self, fetch: Fetch | None, fetched_parts: Collection[str]) -> None:
        self._fetch = fetch
        self._fetched_parts = fetched_parts
        self._files: dict[str, bytes] = {}
        self._urls: dict[str, str] = {}

    def message(self, message: Message, where: str) -> Message:
        content: Any = message.content
        if content is None or isinstance(content, str):
            return message
        parts = [self.part(p, f"{where}[{i}]") for i, p in enumerate(content)]
        if all(map(_is, parts, content)):
            return message
        return replace(message, content=parts)

    def part(self, part: Any, where: str) -> Part:
        if not isinstance(part, dict):
            raise InvalidRequestError(
                f"{where} must be a dict with a type, not {type(part).__name__}"
            )
        load_part = _PARTS.get(_text(part, "type", where))
        return part if load_part is None else load_part(self, part, where)

    def text(self, part: Part, where: str) -> Part:
        _text(part, "text", where)
        return part

    def image(self, part: Part, where: str) -> Part:
        blob = self._by_path(part, where)
        if not blob.media_type.startswith("image/"):
            raise InvalidRequestError(
                f"{where}: {blob.name} is no png, jpeg, gif or webp image"
            )
        return _as_part(blob, part, where)

    def file(self, part: Part, where: str) -> Part:
        if "path" in part:
            if "file" in part:
                raise InvalidRequestError(f'{where} has both "path" and "file"')
            return _as_part(self._by_path(part, where), part, where)
        file = _dict(part, "file", where)
        if "file_id" in file:
            _text(file, "file_id", f"{where}.file")
            return part
        url = _text(file, "file_data", where)
        if _is_remote(url):
            if not self._takes_bytes_only("file"):
                return part
            name = url.partition("#")[0].partition("?")[0].rpartition("/")[2]
            data_url = self._fetched(url, "pdf", where)
            file = {"filename": name or "document.pdf", **file, "file_data": data_url}
            return {**part, "file": file}
        media_type, data = parse_data_url(url, where)
        if media_type == "application/pdf":
            check_size(len(data), "pdf", where)
            return part
        name = str(file.get("filename") or "")
        if kind_of(media_type) is None:  # such as application/octet-stream
            media_type = media_type_of(data, name) or media_type
        return _as_part(_Blob(media_type, data, name), part, where)

    def image_url(self, part: Part, where: str) -> Part:
        image = _dict(part, "image_url", where)
        url = _text(image, "url", f"{where}.image_url")
        if url[:5].lower() == "data:":
            media_type, data = parse_data_url(url, where)
            if not media_type.startswith("image/"):
                raise InvalidRequestError(
                    f"{where}: the data: URL holds {media_type}, not an image"
                )
            check_size(len(data), "image", where)
            if media_type != "image/jpg":
                return part
            url = "data:image/jpeg" + url[url.index(";") :]
        elif not _is_remote(url):
            raise InvalidRequestError(
                f"{where}.image_url.url must be an http(s) or data: URL, not "
                f'{url[:40]!r}; a local file goes into {{"type": "image", "path": ...}}'
            )
        elif self._takes_bytes_only("image_url"):
            url = self._fetched(url, "image", where)
        else:
            return part
        return {**part, "image_url": {**image, "url": url}}

    def input_audio(self, part: Part, where: str) -> Part:
        audio = _dict(part, "input_audio", where)
        _text(audio, "format", f"{where}.input_audio")
        data = parse_base64(_text(audio, "data", f"{where}.input_audio"), where)
        check_size(len(data), "audio", where)
        return part

    def _by_path(self, part: Part, where: str) -> _Blob:
        unknown = part.keys() - _PATH_KEYS
        if unknown:
            raise InvalidRequestError(
                f"{where} has the unknown key {min(unknown)!r}; known are "
                + ", ".join(sorted(_PATH_KEYS))
            )
        path = part.get("path")
        if not path or not isinstance(path, (str, os.PathLike)):
            raise InvalidRequestError(f'{where} needs a "path", the name of a file')
        full = os.path.expanduser(os.fsdecode(path))
        if full not in self._files:
            self._files[full] = _read(full, where)
        data = self._files[full]
        name = str(part.get("filename") or os.path.basename(full))
        media_type = media_type_of(data, full)
        if media_type is None:
            raise _no_kind(where, name)
        return _Blob(media_type, data, name)

    def _takes_bytes_only(self, part_type: str) -> bool:
        return self._fetch is not None and part_type in self._fetched_parts

    def _fetched(self, url: str, kind: Kind, where: str) -> str:
        assert self._fetch is not None  # _takes_bytes_only
        if url not in self._urls:
            declared, data = self._fetch(url, kind)
            media_type = sniff(data) or declared.partition(";")[0].strip().lower()
            if not media_type.startswith(_REMOTE_TYPES[kind]):
                shown = url.partition("?")[0]  # the query may hold a token
                what = media_type or "of no type"
                raise InvalidRequestError(f"{where}: {shown} is no {kind} but {what}")
            check_size(len(data), kind, where)
            self._urls[url] = to_data_url(media_type, data)
        return self._urls[url]


_REMOTE_TYPES: Final[Mapping[str, str]] = {"image": "image/", "pdf": "application/pdf"}


def _is_remote(url: str) -> bool:
    return url[:8].lower().startswith(("http://", "https://"))


_PARTS: Final[Mapping[str, Callable[[_Loader, Part, str], Part]]] = {
    "text": _Loader.text,
    "image": _Loader.image,
    "image_url": _Loader.image_url,
    "file": _Loader.file,
    "input_audio": _Loader.input_audio,
}


def _as_part(blob: _Blob, part: Part, where: str) -> Part:
    """The part that carries these bytes to a mapper."""
    known = kind_of(blob.media_type)
    if known is None:
        raise _no_kind(where, f"a file of type {blob.media_type}")
    kind, word = known
    check_size(len(blob.data), kind, where)
    loaded: Part
    if kind == "image":
        image = {"url": to_data_url(word, blob.data)}
        if "detail" in part:
            image["detail"] = part["detail"]
        loaded = {"type": "image_url", "image_url": image}
    elif kind == "pdf":
        file = {"filename": blob.name, "file_data": to_data_url(word, blob.data)}
        loaded = {"type": "file", "file": file}
    elif kind == "audio":
        audio = {"data": to_base64(blob.data), "format": word}
        loaded = {"type": "input_audio", "input_audio": audio}
    else:
        loaded = {"type": "text", "text": _file_text(blob, where)}
    if "cache_control" in part:
        loaded["cache_control"] = part["cache_control"]
    return loaded


def _file_text(blob: _Blob, where: str) -> str:
    try:
        text = blob.data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(
            f"{where}: {blob.name or 'the file'} is not UTF-8 ({error.reason} at byte "
            f"{error.start}); convert it"
        ) from None
    name = blob.name.replace('"', "'") or "file"
    end = "" if text.endswith("\n") else "\n"
    return f'<file name="{name}">\n{text}{end}</file>'


def _no_kind(where: str, what: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{where}: {what} can't be sent: it is no PDF, png, jpeg, gif or webp image, "
        "wav or mp3 audio, or UTF-8 text; convert it to one of these"
    )


def _read(path: str, where: str) -> bytes:
    if "\0" in path:
        raise InvalidRequestError(f"{where}: {path!r} is no file name")
    try:
        status = os.stat(path)
        # A pipe or device may never end; opening one may already wait.
        if not stat.S_ISREG(status.st_mode):
            raise InvalidRequestError(f"{where}: {path!r} is not a regular file")
        if status.st_size > LARGEST:
            raise too_large(status.st_size, LARGEST, where)
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise InvalidRequestError(
            f"{where}: the file {path!r} can't be read: {error.strerror or error}"
        ) from error
    if not data:
        raise InvalidRequestError(f"{where}: the file {path!r} is empty")
    return data


def _dict(part: Part, key: str, where: str) -> dict[str, Any]:
    value = part.get(key)
    if not isinstance(value, dict):
        raise InvalidRequestError(f'{where} needs a dict "{key}"')
    return value


def _text(part: Mapping[str, Any], key: str, where: str) -> str:
    value = part.get(key)
    if not isinstance(value, str):
        raise InvalidRequestError(f'{where} needs a text "{key}"')
    return value
