"""Exchanges with a Files API: drives what `files_wire` says over a connection.

A file is read while it is sent, so it is never in memory as a whole. The deadline
bounds all of an exchange: the upload, however slowly it is taken, and the time that a
provider then needs to process the file.
"""

from __future__ import annotations

import io
import json
import os
import threading
from hashlib import sha256
from typing import Any, BinaryIO, Final

from llmring_lite.deadline import Deadline
from llmring_lite.exceptions import (
    ContextLengthError,
    InvalidRequestError,
    ModelNotFoundError,
    ProviderError,
    ProviderResponseError,
    ProviderTimeoutError,
)
from llmring_lite.files_facts import FileFacts, multipart
from llmring_lite.files_wire import (
    Answer,
    FileRequest,
    FilesAPI,
    RemoteFile,
    Upload,
    delete,
    look_up,
)
from llmring_lite.keys import Secret, lookup
from llmring_lite.provider_errors import parse_error
from llmring_lite.transport import Provider, Reply

_SHAPE_ERRORS: Final = (LookupError, TypeError, ValueError, AttributeError)
_GONE: Final = frozenset({403, 404})
"""What is said of a deleted file: Gemini answers 403, for it might be another's."""


class Content:
    """The bytes of a file, on disk or in memory.

    Attributes:
        facts: Name, media type and size as the provider is told them.
        sha256: Of the bytes that were sent last, in hex.
    """

    def __init__(
        self, facts: FileFacts, *, path: str | None = None, data: bytes = b""
    ) -> None:
        self.facts = facts
        self.sha256 = ""
        self._path = path
        self._data = data

    def open(self) -> BinaryIO:
        """Raises InvalidRequestError if the file can't be read; names it."""
        if self._path is None:
            return io.BytesIO(self._data)
        try:
            return open(self._path, "rb")
        except OSError as error:
            raise self.unreadable(error.strerror or str(error)) from error

    def unreadable(self, why: str) -> InvalidRequestError:
        return InvalidRequestError(f"the file {self._path!r} can't be read: {why}")


class _Body:
    """A file and what stands around it, read while it is sent."""

    def __init__(
        self, content: Content, file: BinaryIO, prefix: bytes, suffix: bytes
    ) -> None:
        self._content = content
        self._file = file
        self._around = (prefix, suffix)
        self.size = len(prefix) + content.facts.size + len(suffix)
        self.seek(0)

    def seek(self, position: int, /) -> int:
        """Back to the start; that is the only place to go to."""
        self._file.seek(0)
        self._hash = sha256()
        self._left = self._content.facts.size
        self._prefix, self._suffix = self._around
        return position

    def tell(self) -> int:
        return 0

    def read(self, size: int, /) -> bytes:
        if self._prefix:
            piece, self._prefix = self._prefix[:size], self._prefix[size:]
        elif self._left:
            piece = self._read_file(min(size, self._left))
        else:
            piece, self._suffix = self._suffix[:size], self._suffix[size:]
        return piece

    def _read_file(self, size: int) -> bytes:
        try:
            piece = self._file.read(size)
        except OSError as error:
            raise self._content.unreadable(error.strerror or str(error)) from error
        if not piece:
            raise self._content.unreadable("it became shorter while it was uploaded")
        self._left -= len(piece)
        self._hash.update(piece)
        if not self._left:
            self._content.sha256 = self._hash.hexdigest()
        return piece


def upload(
    provider: Provider,
    api: FilesAPI,
    content: Content,
    lifetime_s: int | None,
    deadline: Deadline,
) -> RemoteFile:
    """Upload a file.

    Args:
        lifetime_s: Seconds after which the provider may delete it, where it can be
            told so; None: it stays as long as the provider's habit is.

    Raises:
        ProviderError: It was refused, or not taken in time; names file and provider.
        InvalidRequestError: It can't be read, or changes while it is sent.
    """
    steps = api.upload(provider.endpoint, content.facts, lifetime_s)
    return _drive(provider, steps, content, deadline)


def wait_until_ready(
    provider: Provider,
    api: FilesAPI,
    remote: RemoteFile,
    facts: FileFacts,
    deadline: Deadline,
) -> RemoteFile:
    """Wait for the provider to process a file. Raises as `upload`."""
    if remote.is_ready or api.wait is None:
        return remote
    steps = api.wait(provider.endpoint, remote)
    return _drive(provider, steps, Content(facts), deadline)


def delete_remote(
    provider: Provider, api: FilesAPI, name: str, deadline: Deadline
) -> None:
    """Delete a file at the provider; one that is not there any more is no error.

    Raises:
        ProviderError: It could not be deleted.
    """
    key = lookup(provider.endpoint)
    request = delete(api, provider.endpoint, name)
    reply = _exchange(provider, request, None, key, deadline)
    if reply.status not in _GONE and not 200 <= reply.status < 300:
        raise _named(_refusal(reply), f"{name} could not be deleted", provider, key)


def is_gone(provider: Provider, api: FilesAPI, name: str, deadline: Deadline) -> bool:
    """Is a file not at the provider any more? False, too, if that can't be told."""
    request = look_up(api, provider.endpoint, name)
    try:
        key = lookup(provider.endpoint)
        return _exchange(provider, request, None, key, deadline).status in _GONE
    except ProviderError:
        return False


def _drive(
    provider: Provider, steps: Upload, content: Content, deadline: Deadline
) -> RemoteFile:
    what = f"the file {content.facts.name!r} could not be uploaded"
    key = None
    try:
        key = lookup(provider.endpoint)
        request = next(steps)
        while True:
            _pause(request.wait_s, deadline)
            reply = _exchange(provider, request, content, key, deadline)
            if not 200 <= reply.status < 300:
                raise _refusal(reply)
            try:
                request = steps.send(Answer(reply.headers, reply.body))
            except StopIteration as done:
                remote: RemoteFile = done.value
                return remote
            except _SHAPE_ERRORS as error:
                raise ProviderResponseError(
                    f"the answer has an unexpected shape ({type(error).__name__}: "
                    f"{error})",
                    status_code=reply.status,
                ) from error
    except ProviderError as error:
        raise _named(error, what, provider, key) from error.__cause__


def _pause(seconds: float, deadline: Deadline) -> None:
    if not seconds:
        return
    cancelled = threading.Event()
    deadline.on_cancel(cancelled.set)
    cancelled.wait(min(seconds, max(0.0, deadline.remaining())))
    if deadline.expired():
        raise ProviderTimeoutError("the deadline passed before it was processed")


def _exchange(
    provider: Provider,
    request: FileRequest,
    content: Content | None,
    key: Secret | None,
    deadline: Deadline,
) -> Reply:
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "gzip, deflate",
        **request.headers,
    }

    def send(body: Any) -> Reply:
        stream = provider.exchange(
            request.method, request.url, headers, body, key, deadline
        )
        return Reply(stream.status, stream.headers, stream.read())

    if content is not None and (request.is_file or request.form is not None):
        around, kind = (b"", b""), content.facts.media_type
        if request.form is not None:
            boundary = os.urandom(16).hex()
            around = multipart(request.form, content.facts, boundary)
            kind = f"multipart/form-data; boundary={boundary}"
        with content.open() as file:
            body = _Body(content, file, *around)
            headers |= {"Content-Type": kind, "Content-Length": str(body.size)}
            return send(body)
    if request.body is None:
        return send(None)
    data = json.dumps(request.body).encode()
    headers |= {"Content-Type": "application/json", "Content-Length": str(len(data))}
    return send(data)


def _refusal(reply: Reply) -> ProviderError:
    try:
        answer = json.loads(reply.body)
    except (ValueError, RecursionError):
        answer = reply.body[:300].decode("utf-8", "replace")
    return parse_error(answer, status=reply.status, headers=reply.headers)


def _named(
    error: ProviderError, what: str, provider: Provider, key: Secret | None
) -> ProviderError:
    """The error with file and provider in it, and without the key."""
    message = f"{what}: {error.message}"
    if key is not None:
        message = key.redact(message)
    if isinstance(error, (ContextLengthError, ModelNotFoundError)):
        # What a status says of a prompt, it doesn't say of a file.
        error = ProviderResponseError(
            status_code=error.status_code,
            request_id=error.request_id,
            retry_after=error.retry_after,
            code=error.code,
            should_retry=error.should_retry,
        )
    error.message = message
    error.args = (message,)
    error.provider = provider.endpoint.name
    return error
