"""The files of an attempt, where the provider at hand can read them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

from llmring_lite import content
from llmring_lite.content_media import parse_data_url
from llmring_lite.deadline import Deadline
from llmring_lite.exceptions import ProviderError, UnsupportedParameterError
from llmring_lite.files_copies import Copies, Copy, Key
from llmring_lite.files_facts import FileFacts, kind_of_file, remote_name
from llmring_lite.files_local import LocalFile
from llmring_lite.files_wire import RemoteFile, api_of
from llmring_lite.provider import Endpoint
from llmring_lite.schemas import LLMRequest, Message

Part = dict[str, Any]

PREFIX: Final = "file_local_"
"""Of the ids of registered files; no provider's id begins like this."""

_PDF: Final = "application/pdf"

_INLINE_LIFETIME_S: Final = 86_400
"""Nobody will deregister what nobody registered, so its copy expires by itself."""


class CallFiles:
    """The files of one attempt at one provider."""

    def __init__(
        self,
        find: Callable[[str, str], LocalFile],
        copies: Copies,
        sender: Any,
        deadline: Deadline,
    ) -> None:
        """Args:
        find: Gives a registered file by its id and the place that names it.
        copies: What is at the providers already.
        sender: The connections to the provider.
        """
        self._find = find
        self._copies = copies
        self._sender = sender
        self._endpoint: Endpoint = sender.endpoint
        self._deadline = deadline
        self._api = api_of(self._endpoint)
        self._files: dict[str, LocalFile] = {}
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
            self._copies.drop(key)
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
            self._files[id] = self._find(id, where)
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

    def _reference(self, file: LocalFile, name: str) -> Part:
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

        copy = self._copies.obtain(key, send, finish, self._deadline)
        self._used[key] = copy
        return api.refer(copy.remote, bytes_.facts)


def _is_inline_pdf(part: Part) -> bool:
    file = part.get("file") if part.get("type") == "file" else None
    data = file.get("file_data") if isinstance(file, dict) else None
    return isinstance(data, str) and data.startswith(f"data:{_PDF}")
