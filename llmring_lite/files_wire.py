"""The Files APIs of the providers, as values: what to send, how to read the answer.

- OpenAI: https://platform.openai.com/docs/api-reference/files/create
- Anthropic: https://platform.claude.com/docs/en/build-with-claude/files
- Gemini: https://ai.google.dev/api/files

An exchange is a generator that yields requests, is sent the answers (2xx only), and
returns what it found out. It does no I/O: whoever drives it has connection, key,
deadline and the file's bytes. For an answer of an unexpected shape it raises
LookupError, TypeError or ValueError.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from urllib.parse import quote

from llmring_lite.exceptions import ProviderResponseError
from llmring_lite.files_facts import SUFFIXES, FileFacts
from llmring_lite.keys import parse_origin
from llmring_lite.provider import BUILTIN, JSON, Endpoint

_ANTHROPIC_HEADERS: Final = {
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "files-api-2025-04-14",
}
_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 5.0


class FileRequest(NamedTuple):
    """A request to a Files API, the credential apart.

    Attributes:
        body: JSON; None: the file, as `form` says, or nothing at all.
        form: Fields of a multipart form, in which the file comes last; None: no form.
        is_file: The body is the file's bytes and nothing else.
        wait_s: Seconds to wait before sending it.
    """

    method: Literal["GET", "POST", "DELETE"]
    url: str
    headers: Mapping[str, str] = {}
    body: JSON | None = None
    form: tuple[tuple[str, str], ...] | None = None
    is_file: bool = False
    wait_s: float = 0.0


class Answer(NamedTuple):
    """A 2xx answer; header names in any case."""

    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class RemoteFile(NamedTuple):
    """A file at a provider.

    Attributes:
        id: What a message refers to it by: an id, for Gemini a URI.
        name: What the Files API calls it.
        expires_at: Seconds since the epoch; None: it stays until it is deleted.
        is_ready: False while the provider still works on it.
    """

    id: str
    name: str
    expires_at: float | None = None
    is_ready: bool = True


Upload: TypeAlias = Generator[FileRequest, Answer, RemoteFile]


class FilesAPI(NamedTuple):
    """How a provider keeps files.

    Attributes:
        kinds: Wire formats whose messages can refer to a file.
        takes: Kinds of files that a message can refer to. Others travel inline.
        upload: The exchange that uploads a file. Its last argument: seconds after
            which the provider may delete it, None for the provider's own habit.
        wait: The exchange that waits until a file can be used; None: that is at once.
        url: The address of a file, for GET and DELETE.
        headers: Sent with every request.
        refer: What stands for a file in a `file` part.
        inline_limit: Largest total of inline PDFs in a request, in characters of
            base64; what is above is to be uploaded. None: no such limit.
    """

    kinds: frozenset[str]
    takes: frozenset[str]
    upload: Callable[[Endpoint, FileFacts, int | None], Upload]
    wait: Callable[[Endpoint, RemoteFile], Upload] | None
    url: Callable[[Endpoint, str], str]
    refer: Callable[[RemoteFile, FileFacts], JSON]
    headers: Mapping[str, str] = {}
    inline_limit: int | None = None


def api_of(endpoint: Endpoint) -> FilesAPI | None:
    """The Files API of an endpoint; None if it has none.

    Built-in providers have one, also at an address that the environment gives them,
    and so has another endpoint that leads to the same host. A compatible server is
    not expected to have one.
    """
    for name, api in _APIS.items():
        if endpoint.kind not in api.kinds or "/publishers/" in endpoint.base_url:
            continue  # the latter is Vertex AI, which has no Files API
        # A lockfile that sets the address empties `base_url_env`.
        if endpoint.name == name and endpoint.base_url_env:
            return api
        own, given = BUILTIN[name].base_url, endpoint.base_url
        if parse_origin(given) == parse_origin(own):
            return api
    return None


def look_up(api: FilesAPI, endpoint: Endpoint, name: str) -> FileRequest:
    """The request that tells whether a file is still there."""
    return FileRequest("GET", api.url(endpoint, name), api.headers)


def delete(api: FilesAPI, endpoint: Endpoint, name: str) -> FileRequest:
    """The request that deletes a file."""
    return FileRequest("DELETE", api.url(endpoint, name), api.headers)


# OpenAI ----------------------------------------------------------------------------


def _openai_url(endpoint: Endpoint, name: str) -> str:
    return f"{endpoint.base_url}/files/{quote(name, safe='')}"


def _openai_upload(
    endpoint: Endpoint, file: FileFacts, lifetime_s: int | None
) -> Upload:
    form = [("purpose", "user_data")]
    if lifetime_s is not None:
        form += [
            ("expires_after[anchor]", "created_at"),
            ("expires_after[seconds]", str(lifetime_s)),
        ]
    answer = yield FileRequest("POST", f"{endpoint.base_url}/files", form=tuple(form))
    return read_openai(answer)


def read_openai(answer: Answer) -> RemoteFile:
    """https://platform.openai.com/docs/api-reference/files/object."""
    body = answer.json()
    _check(body["object"] == "file", "it is no file object")
    if body.get("status") == "error":
        raise ProviderResponseError(
            str(body.get("status_details") or "it can't be processed")
        )
    expires = body.get("expires_at")
    return RemoteFile(
        _text(body["id"]), body["id"], None if expires is None else float(expires)
    )


def _by_id(remote: RemoteFile, file: FileFacts) -> JSON:
    return {"file_id": remote.id}


# Anthropic -------------------------------------------------------------------------


def _anthropic_files(endpoint: Endpoint) -> str:
    return f"{endpoint.base_url.removesuffix('/v1')}/v1/files"


def _anthropic_url(endpoint: Endpoint, name: str) -> str:
    return f"{_anthropic_files(endpoint)}/{quote(name, safe='')}"


def _anthropic_upload(
    endpoint: Endpoint, file: FileFacts, lifetime_s: int | None
) -> Upload:
    answer = yield FileRequest(
        "POST", _anthropic_files(endpoint), _ANTHROPIC_HEADERS, form=()
    )
    return read_anthropic(answer)


def read_anthropic(answer: Answer) -> RemoteFile:
    """https://platform.claude.com/docs/en/api/files-create."""
    body = answer.json()
    _check(body["type"] == "file", "it is no file object")
    return RemoteFile(_text(body["id"]), body["id"])


def _by_id_and_name(remote: RemoteFile, file: FileFacts) -> JSON:
    # By the name an image is told from a document.
    return {"file_id": remote.id, "filename": file.name}


# Gemini ----------------------------------------------------------------------------

# Its own word for it: https://ai.google.dev/gemini-api/docs/audio#supported-formats
_GEMINI_TYPES: Final = {"audio/mpeg": "audio/mp3"}


def _gemini_root(endpoint: Endpoint) -> tuple[str, str]:
    """The address without its version, and the version."""
    root, _, last = endpoint.base_url.rpartition("/")
    if last in ("v1", "v1beta", "v1alpha"):
        return root, last
    return endpoint.base_url, "v1beta"


def _gemini_url(endpoint: Endpoint, name: str) -> str:
    root, version = _gemini_root(endpoint)
    return f"{root}/{version}/{quote(name)}"


def _gemini_upload(
    endpoint: Endpoint, file: FileFacts, lifetime_s: int | None
) -> Upload:
    """The resumable protocol, in one piece."""
    root, version = _gemini_root(endpoint)
    answer = yield FileRequest(
        "POST",
        f"{root}/upload/{version}/files",
        {
            "X-Goog-Upload-Protocol": "resumable",
            "X-Goog-Upload-Command": "start",
            "X-Goog-Upload-Header-Content-Length": str(file.size),
            "X-Goog-Upload-Header-Content-Type": _GEMINI_TYPES.get(
                file.media_type, file.media_type
            ),
        },
        body={"file": {"displayName": file.name}},
    )
    answer = yield FileRequest(
        "POST",
        read_upload_url(answer, endpoint),
        {"X-Goog-Upload-Offset": "0", "X-Goog-Upload-Command": "upload, finalize"},
        is_file=True,
    )
    return read_gemini(answer.json()["file"])


def read_upload_url(answer: Answer, endpoint: Endpoint) -> str:
    """Where the bytes go, which must be the host that the key belongs to."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    url = headers["x-goog-upload-url"]
    if parse_origin(url.partition("?")[0]) != parse_origin(endpoint.base_url):
        raise ProviderResponseError(
            "it is to be sent to another host, which is not done"
        )
    return url


def read_gemini(file: Mapping[str, Any]) -> RemoteFile:
    """https://ai.google.dev/api/files#File."""
    state = file.get("state", "ACTIVE")
    if state == "FAILED":
        reason = file.get("error") or {}
        raise ProviderResponseError(
            str(reason.get("message") or "it can't be processed")
        )
    expires = file.get("expirationTime")
    return RemoteFile(
        _text(file["uri"]),
        _text(file["name"]),
        None if expires is None else datetime.fromisoformat(expires).timestamp(),
        is_ready=state != "PROCESSING",
    )


def _gemini_wait(endpoint: Endpoint, remote: RemoteFile) -> Upload:
    wait_s = _FIRST_WAIT_S
    while not remote.is_ready:
        answer = yield FileRequest(
            "GET", _gemini_url(endpoint, remote.name), wait_s=wait_s
        )
        remote = read_gemini(answer.json())
        wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
    return remote


def _by_uri(remote: RemoteFile, file: FileFacts) -> JSON:
    # From the name's suffix the mapper takes the media type that goes with a URI.
    suffix = SUFFIXES.get(file.media_type, ("txt",))[0]
    return {"file_id": remote.id, "filename": f"file.{suffix}"}


def _check(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise ValueError(otherwise)


def _text(value: Any) -> str:
    _check(isinstance(value, str) and value != "", f"{value!r} is no id")
    return str(value)


_APIS: Final[Mapping[str, FilesAPI]] = {
    "openai": FilesAPI(
        kinds=frozenset({"openai", "openai-responses"}),
        takes=frozenset({"pdf"}),
        upload=_openai_upload,
        wait=None,
        url=_openai_url,
        refer=_by_id,
        # https://platform.openai.com/docs/guides/pdf-files: 32 MB of content in a
        # request in its first version, 50 MB of files since. Whether base64 counts,
        # neither says; the smaller number with base64 is safe.
        inline_limit=32_000_000,
    ),
    "anthropic": FilesAPI(
        kinds=frozenset({"anthropic"}),
        takes=frozenset({"pdf", "image", "text"}),
        upload=_anthropic_upload,
        wait=None,
        url=_anthropic_url,
        refer=_by_id_and_name,
        headers=_ANTHROPIC_HEADERS,
    ),
    "google": FilesAPI(
        kinds=frozenset({"google"}),
        takes=frozenset({"pdf", "image", "audio", "text", "video"}),
        upload=_gemini_upload,
        wait=_gemini_wait,
        url=_gemini_url,
        refer=_by_uri,
    ),
}
"""Built-in provider -> its Files API."""
