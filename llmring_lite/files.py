"""Registered files: one local id for a file, whatever provider reads it.

A file is uploaded when a call first needs it at a provider that has a Files API
(`files_wire`), and again when its content has changed, or when the provider's copy has
expired or is gone. A provider that has none, or can't refer to a file of this kind,
gets the content inline.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple, TypeVar

from llmring_lite import content
from llmring_lite.content_media import parse_data_url
from llmring_lite.deadline import Deadline
from llmring_lite.exceptions import (
    InvalidRequestError,
    ProviderError,
    UnsupportedParameterError,
)
from llmring_lite.files_copies import Copies, Copy, Key
from llmring_lite.files_wire import (
    FileFacts,
    RemoteFile,
    api_of,
    kind_of_file,
    media_type_of_head,
    remote_name,
)
from llmring_lite.provider import Endpoint
from llmring_lite.schemas import LLMRequest, Message

T = TypeVar("T")
Part = dict[str, Any]

PREFIX: Final = "file_local_"
"""Of the ids given here; no provider's id begins like this."""

_READ_SIZE: Final = 1 << 20
_HEAD_SIZE: Final = 1 << 16
_PDF: Final = "application/pdf"

_INLINE_LIFETIME_S: Final = 86_400
"""Nobody will deregister what nobody registered, so its copy expires by itself."""

_DELETE_TIMEOUT_S: Final = 30.0
_MAY_BE_GONE: Final = frozenset({400, 403, 404})


class _State(NamedTuple):
    """A file as it was when it was last looked at.

    `stamp` is size, mtime, ctime and inode: as long as they stay, so does the content.
    """

    stamp: tuple[int, ...]
    sha256: str
    media_type: str

    @property
    def size(self) -> int:
        return self.stamp[0]


class _File:
    """A registered file, and the copies made of it, of earlier content, too."""

    def __init__(self, id: str, path: str, name: str, state: _State) -> None:
        self.id = id
        self.path = path
        self.name = name
        self.state = state
        self.keys: dict[Key, None] = {}


class FileRegistry:
    """The registered files of a ring, and where they have been uploaded.

    Pickles with what it knows of uploads: whoever has the key can use them.
    """

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self.copies = Copies()

    def register(self, path: str | os.PathLike[str], name: str | None = None) -> str:
        """See `LLMRing.register_file`."""
        full = os.path.abspath(os.path.expanduser(os.fsdecode(path)))
        name = name or os.path.basename(full)
        id = PREFIX + os.urandom(12).hex()
        self._files[id] = _File(id, full, name, _look_at(full, None))
        return id

    def entries(self) -> list[dict[str, Any]]:
        """See `LLMRing.list_registered_files`."""
        return [self._entry(file) for file in list(self._files.values())]

    def _entry(self, file: _File) -> dict[str, Any]:
        uploads = {}
        for key in list(file.keys):
            copy = self.copies.get(key)
            if copy is not None and key.sha256 == file.state.sha256:
                uploads[key.provider] = {
                    "id": copy.remote.id,
                    "uploaded_at": _iso(copy.uploaded_at),
                    "expires_at": _iso(copy.remote.expires_at),
                }
        return {
            "id": file.id,
            "path": file.path,
            "name": file.name,
            "size": file.state.size,
            "media_type": file.state.media_type,
            "sha256": file.state.sha256,
            "uploads": uploads,
        }

    def deregister(self, id: str, sender_of: Callable[[str], Any]) -> bool:
        """See `LLMRing.deregister_file`. `sender_of` gives a provider's connections."""
        file = self._files.pop(id, None)
        if file is None:
            return False
        shared = {key for other in list(self._files.values()) for key in other.keys}
        for key in file.keys.keys() - shared:
            copy = self.copies.drop(key)
            if copy is None:
                continue
            try:
                _delete(key, copy, sender_of(key.provider))
            except ProviderError as error:
                import logging  # seldom needed

                logging.getLogger("llmring_lite").warning(
                    "the copy of %s stays at the provider: %s", file.path, error
                )
        return True

    def attempt(
        self,
        request: LLMRequest,
        sender: Any,
        deadline: Deadline,
        attempt: Callable[[LLMRequest], T],
    ) -> T:
        """An attempt at a provider, with the files where the provider can read them.

        Args:
            request: For this provider, its local files in memory; not changed.
            sender: The connections to the provider.
            attempt: Sends a request.

        Raises:
            InvalidRequestError: An id is not registered, or its file can't be read.
            UnsupportedParameterError: The provider can't take a file of this kind.
            ProviderError: An upload, or the attempt, failed.
        """
        call = _Call(self, sender, deadline)
        try:
            return attempt(call.placed(request))
        except ProviderError as error:
            if error.status_code not in _MAY_BE_GONE or not call.forget_gone():
                raise
        return attempt(_Call(self, sender, deadline).placed(request))

    def current(self, id: str, where: str) -> _File:
        """A registered file, its state up to date."""
        file = self._files.get(id)
        if file is None:
            raise InvalidRequestError(
                f"{where}: no file is registered under {id!r} with this ring; was it "
                "deregistered?"
            )
        file.state = _look_at(file.path, file.state)
        return file


class _Call:
    """The files of one attempt at one provider."""

    def __init__(self, registry: FileRegistry, sender: Any, deadline: Deadline) -> None:
        self._registry = registry
        self._sender = sender
        self._endpoint: Endpoint = sender.endpoint
        self._deadline = deadline
        self._api = api_of(self._endpoint)
        self._files: dict[str, _File] = {}
        self._used: dict[Key, Copy] = {}
        self._has_paths = False  # parts of files that go inline

    def placed(self, request: LLMRequest) -> LLMRequest:
        """The request with local ids replaced by what the provider can read."""
        messages = [
            self._message(message, f"messages[{index}].content")
            for index, message in enumerate(request.messages)
        ]
        if self._api is not None and self._api.inline_limit is not None:
            self._upload_large(messages, self._api.inline_limit)
        if not self._files and not self._used:
            return request
        request = replace(request, messages=messages)
        return content.load(request) if self._has_paths else request

    def forget_gone(self) -> bool:
        """Forget copies that the provider doesn't have any more; were there any?"""
        if self._api is None:
            return False
        from llmring_lite.transport_files import is_gone

        gone = [
            key
            for key, copy in self._used.items()
            if is_gone(self._sender, self._api, copy.remote.name, self._deadline)
        ]
        for key in gone:
            self._registry.copies.drop(key)
        return bool(gone)

    def _message(self, message: Message, where: str) -> Message:
        if not isinstance(message.content, list):
            return message
        parts = [
            self._part(part, f"{where}[{index}]")
            for index, part in enumerate(message.content)
        ]
        return replace(message, content=parts)

    def _part(self, part: Part, where: str) -> Part:
        reference = part.get("file") if part.get("type") == "file" else None
        id = reference.get("file_id") if isinstance(reference, dict) else None
        if reference is None or not isinstance(id, str) or not id.startswith(PREFIX):
            return part
        if id not in self._files:
            self._files[id] = self._registry.current(id, where)
        file = self._files[id]
        name = str(reference.get("filename") or file.name)
        kind = kind_of_file(file.state.media_type)
        if self._api is not None and kind in self._api.takes:
            return {**part, "file": self._reference(file, name)}
        if kind is None or kind == "video":
            raise UnsupportedParameterError(
                f"{where}: the file {file.path!r} ({file.state.media_type}) can't be "
                f"sent to {self._endpoint.name}",
                parameter=f"{where} (file)",
                provider=self._endpoint.name,
            )
        self._has_paths = True
        others = {key: value for key, value in part.items() if key != "file"}
        return {**others, "path": file.path, "filename": name}

    def _reference(self, file: _File, name: str) -> Part:
        """What stands for a registered file in a `file` part."""
        from llmring_lite.transport_files import Content

        state = file.state
        facts = FileFacts(
            remote_name(name, state.media_type), state.media_type, state.size
        )
        key = self._key(state.sha256, facts)
        file.keys[key] = None
        return self._uploaded(key, Content(facts, path=file.path), None)

    def _upload_large(self, messages: list[Message], limit: int) -> None:
        """Replace inline PDFs, the largest first, until the others fit."""
        from llmring_lite.transport_files import Content

        inline = [
            (len(part["file"]["file_data"]), index, number)
            for index, message in enumerate(messages)
            if isinstance(message.content, list)
            for number, part in enumerate(message.content)
            if _is_inline_pdf(part)
        ]
        total = sum(size for size, *_ in inline)
        for size, index, number in sorted(inline, reverse=True):
            if total <= limit:
                return
            parts: Any = messages[index].content
            file = parts[number]["file"]
            where = f"messages[{index}].content[{number}]"
            _, data = parse_data_url(file["file_data"], where)
            name = remote_name(str(file.get("filename") or "document"), _PDF)
            facts = FileFacts(name, _PDF, len(data))
            reference = self._uploaded(
                self._key(sha256(data).hexdigest(), facts),
                Content(facts, data=data),
                _INLINE_LIFETIME_S,
            )
            parts[number] = {**parts[number], "file": reference}
            total -= size

    def _key(self, digest: str, facts: FileFacts) -> Key:
        return Key(self._endpoint.name, self._endpoint.base_url, digest, facts.name)

    def _uploaded(self, key: Key, bytes_: Any, lifetime_s: int | None) -> Part:
        """What stands for a file in a `file` part, once it is at the provider."""
        from llmring_lite.transport_files import (
            delete_remote,
            upload,
            wait_until_ready,
        )

        api = self._api
        assert api is not None  # nothing is uploaded without one

        def send() -> RemoteFile:
            remote = upload(self._sender, api, bytes_, lifetime_s, self._deadline)
            if bytes_.sha256 != key.sha256:
                with contextlib.suppress(ProviderError):
                    delete_remote(self._sender, api, remote.name, self._deadline)
                raise bytes_.unreadable("it changed while it was uploaded")
            return remote

        def finish(remote: RemoteFile) -> RemoteFile:
            return wait_until_ready(
                self._sender, api, remote, bytes_.facts, self._deadline
            )

        copy = self._registry.copies.obtain(key, send, finish, self._deadline)
        self._used[key] = copy
        return api.refer(copy.remote, bytes_.facts)


def attach_files(request: LLMRequest) -> LLMRequest:
    """The request with its `files` as parts before the last user message's text.

    Raises:
        InvalidRequestError: `files` is no list of ids, or there is no user message.
    """
    ids: Any = request.files
    if not isinstance(ids, (list, tuple)) or not all(
        isinstance(id, str) and id for id in ids
    ):
        raise InvalidRequestError(
            "files must be a list of ids, as register_file returns them"
        )
    messages = list(request.messages)
    for index in reversed(range(len(messages))):
        if messages[index].role == "user":
            break
    else:
        raise InvalidRequestError("files go with a user message, but there is none")
    parts: list[Part] = [{"type": "file", "file": {"file_id": id}} for id in ids]
    given = messages[index].content
    if isinstance(given, list):
        parts += given
    elif given:
        parts.append({"type": "text", "text": given})
    messages[index] = replace(messages[index], content=parts)
    return replace(request, messages=messages, files=None)


def _delete(key: Key, copy: Copy, sender: Any) -> None:
    from llmring_lite.transport_files import delete_remote

    endpoint: Endpoint = sender.endpoint
    api = api_of(endpoint)
    if api is None or endpoint.base_url != key.base_url:
        raise ProviderError(
            f"{copy.remote.name} is at {key.base_url}, which is not the provider's "
            "address any more",
            provider=key.provider,
        )
    delete_remote(sender, api, copy.remote.name, Deadline(_DELETE_TIMEOUT_S))


def _is_inline_pdf(part: Part) -> bool:
    file = part.get("file") if part.get("type") == "file" else None
    data = file.get("file_data") if isinstance(file, dict) else None
    return isinstance(data, str) and data.startswith(f"data:{_PDF}")


def _look_at(path: str, before: _State | None) -> _State:
    """The state of a file; its content is read only if it may have changed.

    Raises:
        InvalidRequestError: It can't be read, is empty, or is no regular file.
    """
    try:
        status = os.stat(path)
        # A pipe or device may never end; opening one may already wait.
        if not stat.S_ISREG(status.st_mode):
            raise InvalidRequestError(f"{path!r} is not a regular file")
        if not status.st_size:
            raise InvalidRequestError(f"the file {path!r} is empty")
        stamp = (
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_ino,
        )
        if before is not None and before.stamp == stamp:
            return before
        digest = sha256()
        with open(path, "rb") as file:
            head = file.read(_HEAD_SIZE)
            piece = head
            while piece:
                digest.update(piece)
                piece = file.read(_READ_SIZE)
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidRequestError):
            raise
        why = getattr(error, "strerror", None) or error
        raise InvalidRequestError(f"the file {path!r} can't be read: {why}") from error
    return _State(stamp, digest.hexdigest(), media_type_of_head(head, path))


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
