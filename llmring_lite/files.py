"""Registered files: one local id for a file, whatever provider reads it.

A file is uploaded when a call first needs it at a provider that has a Files API
(`files_wire`), and again when its content has changed, or when the provider's copy has
expired or is gone. A provider that has none, or can't refer to a file of this kind,
gets the content inline.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from llmring_lite.deadline import Deadline
from llmring_lite.exceptions import InvalidRequestError, ProviderError
from llmring_lite.files_call import PREFIX, CallFiles, Part
from llmring_lite.files_copies import Copies, Copy, Key
from llmring_lite.files_local import LocalFile, look_at
from llmring_lite.files_wire import api_of
from llmring_lite.provider import Endpoint
from llmring_lite.schemas import LLMRequest

T = TypeVar("T")

_DELETE_TIMEOUT_S: Final = 30.0
_MAY_BE_GONE: Final = frozenset({400, 403, 404})


class FileRegistry:
    """The registered files of a ring, and where they have been uploaded.

    Pickles with what it knows of uploads: whoever has the key can use them.
    """

    def __init__(self) -> None:
        self._files: dict[str, LocalFile] = {}
        self._copies = Copies()

    def register(self, path: str | os.PathLike[str], name: str | None = None) -> str:
        """See `LLMRing.register_file`."""
        full = os.path.abspath(os.path.expanduser(os.fsdecode(path)))
        name = name or os.path.basename(full)
        id = PREFIX + os.urandom(12).hex()
        self._files[id] = LocalFile(id, full, name, look_at(full, None))
        return id

    def entries(self) -> list[dict[str, Any]]:
        """See `LLMRing.list_registered_files`."""
        return [self._entry(file) for file in list(self._files.values())]

    def _entry(self, file: LocalFile) -> dict[str, Any]:
        uploads = {}
        for key in list(file.keys):
            copy = self._copies.get(key)
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
            copy = self._copies.drop(key)
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

        def files() -> CallFiles:
            return CallFiles(self._current, self._copies, sender, deadline)

        first = files()
        try:
            return attempt(first.placed(request))
        except ProviderError as error:
            if error.status_code not in _MAY_BE_GONE or not first.forget_gone():
                raise
        return attempt(files().placed(request))

    def _current(self, id: str, where: str) -> LocalFile:
        """A registered file, its state up to date."""
        file = self._files.get(id)
        if file is None:
            raise InvalidRequestError(
                f"{where}: no file is registered under {id!r} with this ring; was it "
                "deregistered?"
            )
        file.state = look_at(file.path, file.state)
        return file


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


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
