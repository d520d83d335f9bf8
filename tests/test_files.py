"""Registered files: what providers are sent, over real HTTP on loopback.

The servers speak the Files APIs as their references and recordings show them:

- https://platform.openai.com/docs/api-reference/files
- https://platform.claude.com/docs/en/api/files-create
- https://ai.google.dev/api/files
"""

from __future__ import annotations

import base64
import copy
import json
import logging
import multiprocessing
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from loopback import LAST_CHUNK, Loopback, Received, chunk, reply, stream_head

from llmring_lite import (
    InvalidRequestError,
    LLMRequest,
    LLMRing,
    Message,
    ModelNotFoundError,
    ProviderAuthenticationError,
    ProviderError,
    ProviderResponseError,
    ProviderTimeoutError,
    UnsupportedParameterError,
    transport_files,
)
from llmring_lite.files_facts import remote_name
from llmring_lite.files_wire import api_of
from llmring_lite.provider import BUILTIN, Endpoint

SECRET = "sk-do-not-show-me-0123456789"
PDF = b"%PDF-1.4\nhello \xff\x00 world\n%%EOF\n"
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + bytes(13)
MP3 = b"ID3\x03" + bytes(40)
MP4 = b"\x00\x00\x00\x18ftypmp42" + bytes([0xFF, 0xFE]) * 20

OPENAI = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "read"},
            "finish_reason": "stop",
        }
    ],
}
RESPONSES = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "m",
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "read", "annotations": []}],
        }
    ],
}
ANTHROPIC = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "read"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
GOOGLE = {
    "candidates": [
        {
            "content": {"role": "model", "parts": [{"text": "read"}]},
            "finishReason": "STOP",
        }
    ]
}
OLLAMA = {
    "model": "m",
    "message": {"role": "assistant", "content": "read"},
    "done": True,
    "done_reason": "stop",
}


class Upload:
    """What arrived: name, media type and bytes of a file, fields of its form."""

    def __init__(self, request: Received) -> None:
        self.fields: dict[str, str] = {}
        self.name, self.media_type, self.data = "", "", request.body
        kind, _, boundary = request.headers["content-type"].partition("; boundary=")
        if kind != "multipart/form-data":
            return
        parts = request.body.split(b"--" + boundary.encode())
        assert parts[0] == b""
        assert parts[-1] == b"--\r\n"
        for part in parts[1:-1]:
            head, _, body = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            name = lines[0].split('name="')[1].split('"')[0]
            if name == "file":
                self.name = lines[0].split('filename="')[1].removesuffix('"')
                self.media_type = lines[1].removeprefix("Content-Type: ")
                self.data = body.removesuffix(b"\r\n")
            else:
                self.fields[name] = body.removesuffix(b"\r\n").decode()


class Provider:
    """A server that keeps files and answers chats, as one provider does.

    Attributes:
        uploads: What was uploaded, in order.
        files: Remote id -> bytes, of what is there now.
        chats: Bodies of the chats.
        refuse: Gives an answer instead of the usual one, or None.
        states: What Gemini says of a file, in turn; the last one for ever.
        expires: What the answer to an upload says of its end.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.uploads: list[Upload] = []
        self.files: dict[str, bytes] = {}
        self.chats: list[Any] = []
        self.looked_up = 0
        self.refuse: Callable[[Received], bytes | None] = lambda _: None
        self.before_upload: Callable[[], None] = lambda: None
        self.states = ["ACTIVE"]
        self.expires: Any = None
        self.upload_host = ""
        self._lock = threading.Lock()
        self._started: dict[str, str] = {}

    def __call__(self, sock: socket.socket, request: Received, _: int) -> bool:
        refused = self.refuse(request)
        sock.sendall(refused if refused is not None else self._answer(request))
        return True

    def _answer(self, request: Received) -> bytes:
        path = request.path.partition("?")[0]
        if request.method != "POST":
            return self._look_up_or_delete(request.method, path)
        if path.endswith("/files"):
            return self._upload(request)
        if path == "/upload/session":
            with self._lock:
                upload = Upload(request)
                upload.media_type = self._started["type"]
                upload.name = self._started["name"]
                return self._stored(upload)
        body = request.json
        self.chats.append(body)
        for id, ending in self._ids_in(request.body.decode()):
            if id not in self.files:
                return reply({"error": {"message": f"no file {ending}"}}, "404 N")
        return self._chat(body, path)

    def _chat(self, body: Any, path: str) -> bytes:
        if path.endswith("/chat/completions") and body.get("stream"):
            event = {"choices": [{"index": 0, "delta": {"content": "read"}}]}
            end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
            lines = "".join(f"data: {json.dumps(e)}\n\n" for e in (event, end))
            return stream_head() + chunk(lines + "data: [DONE]\n\n") + LAST_CHUNK
        answers = {
            "openai": OPENAI,
            "openai-responses": RESPONSES,
            "anthropic": ANTHROPIC,
            "google": GOOGLE,
            "ollama": OLLAMA,
        }
        return reply(answers[self.kind])

    def _ids_in(self, text: str) -> list[tuple[str, str]]:
        found = []
        for number in range(1, 40):
            id = self._id(number)
            if f'{id}"' in text:
                found.append((id, id))
        return found

    def _id(self, number: int) -> str:
        prefix = {"anthropic": "file_011C", "google": "files/abc"}
        return f"{prefix.get(self.kind, 'file-')}{number:02}"

    def _upload(self, request: Received) -> bytes:
        if self.kind == "google":
            assert request.path == "/upload/v1beta/files"
            assert request.headers["x-goog-upload-protocol"] == "resumable"
            assert request.headers["x-goog-upload-command"] == "start"
            self._started["type"] = request.headers["x-goog-upload-header-content-type"]
            self._started["name"] = request.json["file"]["displayName"]
            self.before_upload()
            host = self.upload_host or f"http://{request.headers['host']}"
            return reply(
                "",
                headers=f"X-Goog-Upload-URL: {host}/upload/session?upload_id=1\r\n"
                "X-Goog-Upload-Status: active\r\n",
            )
        with self._lock:
            return self._stored(Upload(request))

    def _stored(self, upload: Upload) -> bytes:
        self.uploads.append(upload)
        id = self._id(len(self.uploads))
        self.files[id] = upload.data
        if self.kind == "google":
            return reply({"file": self._google_file(id)})
        if self.kind == "anthropic":
            return reply({"type": "file", "id": id, "size_bytes": len(upload.data)})
        file = {"object": "file", "id": id, "status": "processed"}
        return reply({**file, "expires_at": self.expires})

    def _google_file(self, id: str) -> dict[str, Any]:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        file: dict[str, Any] = {"name": id, "uri": f"https://g.example/v1beta/{id}"}
        if self.expires:
            file["expirationTime"] = self.expires
        if state == "FAILED":
            file["error"] = {"code": 3, "message": "The video is broken"}
        return {**file, "state": state}

    def _look_up_or_delete(self, method: str, path: str) -> bytes:
        id = path.rpartition("/")[2]
        id = f"files/{id}" if self.kind == "google" else id
        with self._lock:
            self.looked_up += method == "GET"
            if id not in self.files:
                return reply({"error": {"message": "not there"}}, "404 Not Found")
            if method == "DELETE":
                del self.files[id]
                return reply({"id": id, "deleted": True})
            if self.kind == "google":
                return reply(self._google_file(id))
            return reply({"id": id})


VARIABLES = {
    "openai": ("OPENAI_BASE_URL", "OPENAI_API_KEY", "/v1"),
    "openai-responses": ("OPENAI_BASE_URL", "OPENAI_API_KEY", "/v1"),
    "anthropic": ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", ""),
    "google": ("GOOGLE_GEMINI_BASE_URL", "GEMINI_API_KEY", ""),
    "ollama": ("OLLAMA_BASE_URL", "OLLAMA_API_KEY", ""),
}
KINDS = ["openai", "openai-responses", "anthropic", "google"]
Serve = Callable[..., Any]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Serve:
    """Servers in the place of the built-in providers, while a `with` lasts."""
    monkeypatch.chdir(tmp_path)
    text = 'version = "1.0"\n'

    @contextmanager
    def start(kind: str) -> Iterator[Provider]:
        nonlocal text
        provider = Provider(kind)
        base, key, version = VARIABLES[kind]
        with Loopback(provider) as server:
            monkeypatch.setenv(base, server.url + version)
            monkeypatch.setenv(key, SECRET)
            if kind == "openai-responses":
                text += '[providers.openai]\nkind = "openai-responses"\n'
            Path("llmring.lock").write_text(text)
            provider.server = server  # type: ignore[attr-defined]
            yield provider

    return start


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[LLMRing]:
    """Made when it is first used, after the servers' lockfile has been written."""

    class Late:
        real: LLMRing | None = None

        def __getattr__(self, name: str) -> Any:
            if self.real is None:
                self.real = LLMRing(max_retries=0)
            return getattr(self.real, name)

    late: Any = Late()
    yield late
    late.close()


def model(kind: str) -> str:
    return f"{kind.removesuffix('-responses')}:m"


def write(name: str, data: bytes) -> Path:
    path = Path(name).absolute()
    path.write_bytes(data)
    return path


def part(id: str) -> dict[str, Any]:
    return {"type": "file", "file": {"file_id": id}}


# What each provider is sent --------------------------------------------------------

REFERENCES: dict[str, Callable[[Any], Any]] = {
    "openai": lambda body: body["messages"][0]["content"],
    "openai-responses": lambda body: body["input"][0]["content"],
    "anthropic": lambda body: body["messages"][0]["content"],
    "google": lambda body: body["contents"][0]["parts"],
}
FIRST_PARTS = {
    "openai": {"type": "file", "file": {"file_id": "file-01"}},
    "openai-responses": {"type": "input_file", "file_id": "file-01"},
    "anthropic": {
        "type": "document",
        "source": {"type": "file", "file_id": "file_011C01"},
        "title": "a.pdf",
    },
    "google": {
        "fileData": {
            "fileUri": "https://g.example/v1beta/files/abc01",
            "mimeType": "application/pdf",
        }
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_uploaded_once_and_referred_to(
    kind: str, serve: Serve, ring: LLMRing
) -> None:
    with serve(kind) as provider:
        id = ring.register_file(write("a.pdf", PDF))
        assert not provider.server.requests
        assert ring.chat(model(kind), "What is it?", files=[id]).content == "read"
        content = [part(id), {"type": "text", "text": "What is it?"}]
        ring.chat(model(kind), [{"role": "user", "content": content}])
        (upload,) = provider.uploads
        assert upload.data == PDF
        assert upload.name == "a.pdf"
        assert upload.media_type == "application/pdf"
        first, second = (REFERENCES[kind](body) for body in provider.chats)
    assert first[0] == FIRST_PARTS[kind]
    assert first[1].get("text") == "What is it?"
    assert first == second


def test_what_the_files_apis_ask_for_goes_along(serve: Serve, ring: LLMRing) -> None:
    with serve("openai") as openai, serve("anthropic") as anthropic:
        id = ring.register_file(write("a.pdf", PDF))
        ring.chat("openai:m", "hi", files=[id])
        ring.chat("anthropic:m", "hi", files=[id])
        assert openai.uploads[0].fields == {"purpose": "user_data"}
        request = openai.server.requests[0]
        assert request.path == "/v1/files"
        assert request.headers["authorization"] == f"Bearer {SECRET}"
        request, chat = anthropic.server.requests
        assert request.path == "/v1/files"
        assert request.headers["x-api-key"] == SECRET
        assert request.headers["anthropic-version"] == "2023-06-01"
        beta = "files-api-2025-04-14"
        assert request.headers["anthropic-beta"] == beta
        assert beta in chat.headers["anthropic-beta"]


def test_geminis_bytes_follow_in_one_piece_to_the_address_it_gives(
    serve: Serve, ring: LLMRing
) -> None:
    with serve("google") as provider:
        ring.chat("google:m", "hi", files=[ring.register_file(write("a.mp3", MP3))])
        start, upload, chat = provider.server.requests
    assert start.headers["x-goog-upload-header-content-length"] == str(len(MP3))
    assert upload.path == "/upload/session?upload_id=1"
    assert upload.headers["x-goog-upload-command"] == "upload, finalize"
    assert upload.headers["x-goog-upload-offset"] == "0"
    assert upload.body == MP3
    mime_type = chat.json["contents"][0]["parts"][0]["fileData"]["mimeType"]
    assert start.headers["x-goog-upload-header-content-type"] == mime_type


@pytest.mark.parametrize(
    ("name", "data", "kind", "sent"),
    [
        ("a.png", PNG, "anthropic", {"type": "image"}),
        ("a.txt", b"text", "anthropic", {"type": "document"}),
        ("no suffix", PNG, "anthropic", {"type": "image"}),
    ],
)
def test_anthropic_gets_each_kind_of_file_in_its_block(
    name: str, data: bytes, kind: str, sent: Any, serve: Serve, ring: LLMRing
) -> None:
    with serve(kind) as provider:
        ring.chat(model(kind), "hi", files=[ring.register_file(write(name, data))])
        block = provider.chats[0]["messages"][0]["content"][0]
        assert block["source"] == {"type": "file", "file_id": "file_011C01"}
        assert provider.uploads[0].data == data
    assert block["type"] == sent["type"]


@pytest.mark.parametrize(
    ("name", "data", "mime_type"),
    [
        ("a.png", PNG, "image/png"),
        ("notes.md", b"# Notes", "text/plain"),
        ("clip.MP4", MP4, "video/mp4"),
    ],
)
def test_gemini_is_told_the_type_of_each_file(
    name: str, data: bytes, mime_type: str, serve: Serve, ring: LLMRing
) -> None:
    with serve("google") as provider:
        ring.chat("google:m", "hi", files=[ring.register_file(write(name, data))])
        assert provider.uploads[0].media_type == mime_type
        sent = provider.chats[0]["contents"][0]["parts"][0]["fileData"]
    assert sent["mimeType"] == mime_type


def test_a_stream_has_files_too(serve: Serve, ring: LLMRing) -> None:
    with serve("openai") as provider:
        id = ring.register_file(write("a.pdf", PDF))
        deltas = [c.delta for c in ring.chat_stream("openai:m", "hi", files=[id])]
        assert "".join(deltas) == "read"
        assert len(provider.uploads) == 1


def test_files_come_before_the_text_of_the_last_user_message(
    serve: Serve, ring: LLMRing
) -> None:
    with serve("openai") as provider:
        ids = [
            ring.register_file(write("a.pdf", PDF)),
            ring.register_file(write("b.pdf", PDF + b"b")),
        ]
        request = LLMRequest(
            "openai:m",
            [
                Message("user", "first"),
                Message("assistant", "yes"),
                Message("user", [{"type": "text", "text": "last"}]),
                Message("assistant", "and"),
            ],
            files=ids,
        )
        before = copy.deepcopy(request)
        ring.chat(request)
        assert request == before
        messages = provider.chats[0]["messages"]
    assert messages[0]["content"] == "first"
    ends = [p.get("text") or p["file"]["file_id"] for p in messages[2]["content"]]
    assert ends == ["file-01", "file-02", "last"]


def test_the_name_given_is_what_the_provider_is_told(
    serve: Serve, ring: LLMRing
) -> None:
    with serve("anthropic") as provider:
        path = write("a.pdf", PDF)
        id = ring.register_file(path, name='Contract "final"\r\nX-Evil: 1')
        ring.chat("anthropic:m", "hi", files=[id])
        assert provider.uploads[0].name == "Contract _final___X-Evil_ 1.pdf"
        assert provider.uploads[0].data == PDF


@pytest.mark.parametrize(
    ("name", "media_type", "told"),
    [
        ("a.pdf", "application/pdf", "a.pdf"),
        ("A.PDF", "application/pdf", "A.PDF"),
        ("scan", "application/pdf", "scan.pdf"),
        ("v1.2", "application/pdf", "v1.2.pdf"),
        ("photo.jpeg", "image/jpeg", "photo.jpeg"),
        ("photo.png", "image/jpeg", "photo.png.jpg"),
        ("README", "text/plain", "README"),
        ("été 漢.txt", "text/plain", "été 漢.txt"),
        ("..", "application/pdf", "file.pdf"),
        ("", "text/plain", "file"),
        ("../../etc/passwd", "text/plain", "_.._etc_passwd"),
        ("x" * 900 + ".pdf", "application/pdf", "x" * 200 + ".pdf"),
        ("bad\udcff.txt", "text/plain", "bad?.txt"),
    ],
)
def test_names_are_made_fit_for_every_provider(
    name: str, media_type: str, told: str
) -> None:
    assert remote_name(name, media_type) == told


# Inline where there is no Files API ------------------------------------------------


def test_a_provider_without_a_files_api_gets_the_bytes(
    serve: Serve, ring: LLMRing
) -> None:
    with serve("ollama") as provider:
        id = ring.register_file(write("a.png", PNG))
        ring.chat("ollama:m", "hi", files=[id])
        message = provider.chats[0]["messages"][0]
        assert len(provider.server.requests) == 1
    assert message["images"] == [base64.b64encode(PNG).decode()]


def test_a_compatible_server_gets_a_pdf_inline(
    serve: Serve, ring: LLMRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve("openai") as provider:
        monkeypatch.setenv("GROQ_BASE_URL", provider.server.url)
        monkeypatch.setenv("GROQ_API_KEY", "k")
        id = ring.register_file(write("a.pdf", PDF), name="b.pdf")
        ring.chat("groq:m", "hi", files=[id])
        assert not provider.uploads
        file = provider.chats[0]["messages"][0]["content"][0]["file"]
    assert file["filename"] == "b.pdf"
    assert file["file_data"].endswith(base64.b64encode(PDF).decode())


@pytest.mark.parametrize("kind", ["openai", "openai-responses"])
def test_openai_gets_inline_what_its_messages_cant_refer_to(
    kind: str, serve: Serve, ring: LLMRing
) -> None:
    with serve(kind) as provider:
        ids = [
            ring.register_file(write("a.png", PNG)),
            ring.register_file(write("a.txt", b"some text")),
        ]
        ring.chat(model(kind), "hi", files=ids)
        assert not provider.uploads
        sent = json.dumps(provider.chats[0])
    assert base64.b64encode(PNG).decode() in sent
    assert "some text" in sent


@pytest.mark.parametrize(
    ("name", "data"), [("a.mp4", MP4), ("a.bin", b"\x00\xff\xfe\x01")]
)
@pytest.mark.parametrize("kind", ["openai", "anthropic", "ollama"])
def test_what_a_provider_cant_take_is_an_error_that_names_it(
    kind: str, name: str, data: bytes, serve: Serve, ring: LLMRing
) -> None:
    with serve(kind) as provider:
        id = ring.register_file(write(name, data))
        with pytest.raises(UnsupportedParameterError, match=name) as caught:
            ring.chat(f"{kind}:m", "hi", files=[id])
        assert not provider.server.requests
    assert caught.value.provider == kind


@pytest.mark.parametrize(
    ("kind", "id"),
    [
        ("openai", "file-abc"),
        ("openai-responses", "file-abc"),
        ("anthropic", "file_011CNha8iCJcU1wXNR6q4V8w"),
        ("google", "https://generativelanguage.googleapis.com/v1beta/files/x"),
    ],
)
def test_a_remote_id_is_passed_on(
    kind: str, id: str, serve: Serve, ring: LLMRing
) -> None:
    with serve(kind) as provider:
        ring.chat(model(kind), "hi", files=[id])
        ring.register_file(write("a.pdf", PDF))
        ring.chat(model(kind), "hi", files=[id])
        assert not provider.uploads
        for body in provider.chats:
            assert id in json.dumps(REFERENCES[kind](body)[0])


def test_each_candidate_of_a_fallback_gets_its_own_id(
    serve: Serve, ring: LLMRing
) -> None:
    with serve("openai") as one, serve("anthropic") as two, serve("ollama") as three:
        for provider in (one, two):
            provider.refuse = lambda request: (
                None if request.path.endswith("/files") else reply({}, "503 Busy")
            )
        ring.bind_alias("a", "openai:m, anthropic:m, ollama:m")
        id = ring.register_file(write("a.png", PNG))
        pdf = ring.register_file(write("a.pdf", PDF))
        request = LLMRequest("a", [Message("user", [part(id)])])
        before = copy.deepcopy(request)
        ring.chat(request)
        assert request == before
        assert base64.b64encode(PNG).decode() in three.server.requests[0].body.decode()
        assert [u.data for u in two.uploads] == [PNG]
        assert not one.uploads
        three.refuse = lambda request: reply({}, "503 Busy")
        with pytest.raises(ProviderError):
            ring.chat("a", "hi", files=[pdf])
        assert b"file-01" in one.server.requests[-1].body
        assert b"file_011C02" in two.server.requests[-1].body


# Again when needed -----------------------------------------------------------------


def test_changed_content_is_uploaded_again(serve: Serve, ring: LLMRing) -> None:
    with serve("openai") as provider:
        path = write("a.pdf", PDF)
        id = ring.register_file(path)
        ring.chat("openai:m", "hi", files=[id])
        path.write_bytes(PDF + b"more")
        ring.chat("openai:m", "hi", files=[id])
        assert [u.data for u in provider.uploads] == [PDF, PDF + b"more"]
        assert "file-02" in json.dumps(provider.chats[1])
        entry = ring.list_registered_files()[0]
        assert entry["size"] == len(PDF) + 4
        assert entry["uploads"]["openai"]["id"] == "file-02"
        # The same time and size don't hide a change.
        status = path.stat()
        path.write_bytes(b"x" * status.st_size)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        path.write_bytes(PDF + b"less")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        ring.chat("openai:m", "hi", files=[id])
        assert provider.uploads[-1].data == PDF + b"less"


def test_a_touched_file_is_not_uploaded_again(serve: Serve, ring: LLMRing) -> None:
    with serve("openai") as provider:
        path = write("a.pdf", PDF)
        id = ring.register_file(path)
        ring.chat("openai:m", "hi", files=[id])
        os.utime(path, (1, 1))
        ring.chat("openai:m", "hi", files=[id])
        assert len(provider.uploads) == 1


@pytest.mark.parametrize(
    ("expires", "uploads"),
    [
        ("2020-01-01T00:00:00Z", 2),
        ("2020-01-01T00:00:00.123456789Z", 2),
        ("2999-01-01T00:00:00.5Z", 1),
        (None, 1),
    ],
)
def test_an_expired_copy_is_uploaded_again(
    expires: str | None, uploads: int, serve: Serve, ring: LLMRing
) -> None:
    with serve("google") as provider:
        provider.expires = expires
        id = ring.register_file(write("a.pdf", PDF))
        ring.chat("google:m", "hi", files=[id])
        ring.chat("google:m", "hi", files=[id])
        assert len(provider.uploads) == uploads


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_that_is_gone_is_uploaded_again_within_the_call(
    kind: str, serve: Serve, ring: LLMRing
) -> None:
    with serve(kind) as provider:
        id = ring.register_file(write("a.pdf", PDF))
        ring.chat(model(kind), "hi", files=[id])
        provider.files.clear()
        assert ring.chat(model(kind), "hi", files=[id]).content == "read"
        assert len(provider.uploads) == 2


def test_another_refusal_does_not_upload_again(serve: Serve, ring: LLMRing) -> None:
    with serve("openai") as provider:
        id = ring.register_file(write("a.pdf", PDF))
        ring.chat("openai:m", "hi", files=[id])
        provider.refuse = lambda request: (
            reply({"error": {"message": "The model `m` does not exist"}}, "404 N")
            if request.path.endswith("completions")
            else None
        )
        with pytest.raises(ModelNotFoundError):
            ring.chat("openai:m", "hi", files=[id])
        assert len(provider.uploads) == 1


# Gemini's processing ---------------------------------------------------------------


def test_a_file_is_waited_for_until_it_is_active(serve: Serve, ring: LLMRing) -> None:
    with serve("google") as provider:
        provider.states = ["PROCESSING", "PROCESSING", "ACTIVE"]
        id = ring.register_file(write("a.mp4", MP4))
        assert ring.chat("google:m", "hi", files=[id]).content == "read"
        assert provider.looked_up == 2
        assert len(provider.chats) == 1


def test_a_file_that_is_never_active_is_a_timeout_and_not_uploaded_twice(
    serve: Serve, ring: LLMRing
) -> None:
    with serve("google") as provider:
        provider.states = ["PROCESSING"]
        id = ring.register_file(write("a.mp4", MP4))
        with pytest.raises(ProviderTimeoutError, match=r"a\.mp4"):
            ring.chat("google:m", "hi", files=[id], timeout=0.4)
        assert not provider.chats
        provider.states = ["ACTIVE"]
        ring.chat("google:m", "hi", files=[id])
        assert len(provider.uploads) == 1


def test_a_file_that_cant_be_processed_is_an_error_in_geminis_words(
    serve: Serve, ring: LLMRing
) -> None:
    with serve("google") as provider:
        provider.states = ["PROCESSING", "FAILED"]
        id = ring.register_file(write("a.mp4", MP4))
        with pytest.raises(ProviderResponseError, match="The video is broken"):
            ring.chat("google:m", "hi", files=[id])
        provider.states = ["ACTIVE"]
        ring.chat("google:m", "hi", files=[id])
        assert len(provider.uploads) == 2


@pytest.mark.parametrize(
    "host", ["https://evil.example", "http://127.0.0.1:1", "http://127.0.0.1.evil"]
)
def test_an_upload_address_on_another_host_is_refused(
    host: str, serve: Serve, ring: LLMRing
) -> None:
    with serve("google") as provider:
        provider.upload_host = host
        id = ring.register_file(write("a.pdf", PDF))
        with pytest.raises(ProviderResponseError, match="another host"):
            ring.chat("google:m", "hi", files=[id])


# Errors ----------------------------------------------------------------------------


@pytest.mark.parametrize("make", ["missing", "folder", "empty", "no name"])
def test_what_cant_be_registered_is_named(
    make: str, ring: LLMRing, tmp_path: Path
) -> None:
    path: Any = tmp_path / "it"
    if make == "folder":
        path.mkdir()
    elif make == "empty":
        path.touch()
    elif make == "no name":
        path = "it\0"
    with pytest.raises(InvalidRequestError, match="it"):
        ring.register_file(path)
    assert ring.list_registered_files() == []


@pytest.mark.parametrize("kind", ["openai", "ollama"])
def test_a_vanished_file_is_named_by_its_path(
    kind: str, serve: Serve, ring: LLMRing
) -> None:
    with serve(kind) as provider:
        path = write("gone.png", PNG)
        id = ring.register_file(path)
        path.unlink()
        with pytest.raises(InvalidRequestError, match=str(path)):
            ring.chat(f"{kind}:m", "hi", files=[id])
        assert not provider.server.requests


def test_an_id_that_is_not_registered_is_not_sent_anywhere(
    serve: Serve, ring: LLMRing
) -> None:
    with serve("openai") as provider:
        id = ring.register_file(write("a.pdf", PDF))
        assert ring.deregister_file(id)
        with pytest.raises(InvalidRequestError, match=id):
            ring.chat("openai:m", "hi", files=[id])
        assert not provider.server.requests


@pytest.mark.parametrize("files", ["file-abc", [1], [""], {"a": 1}])
def test_files_must_be_a_list_of_ids(files: Any, ring: LLMRing) -> None:
    with pytest.raises(InvalidRequestError, match="files"):
        ring.chat("mock:echo", "hi", files=files)


def test_files_need_a_user_message(ring: LLMRing) -> None:
    with pytest.raises(InvalidRequestError, match="user message"):
        ring.chat("mock:echo", [Message("system", "be brief")], files=["file-a"])


REFUSALS = [
    ("400 Bad", "Invalid file format", ProviderResponseError),
    ("413 Large", "File too large", ProviderResponseError),
    ("404 No", "no such route", ProviderResponseError),
    ("401 No", f"bad key {SECRET}", ProviderAuthenticationError),
]


@pytest.mark.parametrize(("status", "words", "error"), REFUSALS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_upload_is_an_error_with_file_provider_and_reason(
    kind: str,
    status: str,
    words: str,
    error: type[ProviderError],
    serve: Serve,
    ring: LLMRing,
) -> None:
    with serve(kind) as provider:
        provider.refuse = lambda _: reply({"error": {"message": words}}, status)
        id = ring.register_file(write("a.pdf", PDF))
        with pytest.raises(error, match=words.split(SECRET)[0]) as caught:
            ring.chat(model(kind), "hi", files=[id])
        assert not provider.chats
    assert type(caught.value) is error
    assert "a.pdf" in str(caught.value)
    assert caught.value.provider == model(kind).partition(":")[0]
    assert caught.value.status_code == int(status[:3])
    assert SECRET not in f"{caught.value} {caught.value!r} {vars(caught.value)}"


@pytest.mark.parametrize(
    "answer", [b"{}", b"no json", b"[]", b'{"object": "file", "id": null}', b""]
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_senseless_answer_to_an_upload_is_typed(
    kind: str, answer: bytes, serve: Serve, ring: LLMRing
) -> None:
    with serve(kind) as provider:
        provider.refuse = lambda _: reply(answer)
        id = ring.register_file(write("a.pdf", PDF))
        with pytest.raises(ProviderResponseError, match=r"a\.pdf.*unexpected shape"):
            ring.chat(model(kind), "hi", files=[id])


def test_a_file_that_openai_cant_process_is_an_error_in_its_words(
    serve: Serve, ring: LLMRing
) -> None:
    with serve("openai") as provider:
        answer = {"object": "file", "id": "file-1", "status": "error"}
        provider.refuse = lambda _: reply({**answer, "status_details": "broken PDF"})
        id = ring.register_file(write("a.pdf", PDF))
        with pytest.raises(ProviderResponseError, match="broken PDF"):
            ring.chat("openai:m", "hi", files=[id])


def test_a_redirect_of_an_upload_is_not_followed(serve: Serve, ring: LLMRing) -> None:
    with serve("openai") as provider:
        provider.refuse = lambda _: reply(
            "", "307 Temporary", headers="Location: http://127.0.0.1:1/files\r\n"
        )
        id = ring.register_file(write("a.pdf", PDF))
        with pytest.raises(ProviderResponseError, match="redirect"):
            ring.chat("openai:m", "hi", files=[id])


def test_a_passing_failure_of_an_upload_is_tried_again(
    serve: Serve, tmp_path: Path
) -> None:
    with serve("openai") as provider, LLMRing(retry_base_s=0.01) as patient:
        answers = [reply({"error": {"message": "busy"}}, "503 Busy")]
        provider.refuse = lambda _: answers.pop() if answers else None
        id = patient.register_file(write("a.pdf", PDF))
        response = patient.chat("openai:m", "hi", files=[id])
    assert response.content == "read"
    assert [a["error"] is None for a in response.attempts] == [False, True]


@pytest.mark.parametrize("after", [b"%PDF-", PDF.replace(b"hello", b"HELLO")])
def test_a_file_that_changes_while_it_is_uploaded_is_named(
    after: bytes, serve: Serve, ring: LLMRing
) -> None:
    with serve("google") as provider:
        path = write("a.pdf", PDF)
        id = ring.register_file(path)
        provider.before_upload = lambda: path.write_bytes(after)
        with pytest.raises(InvalidRequestError, match=str(path)):
            ring.chat("google:m", "hi", files=[id])
        assert not provider.chats
        provider.before_upload = lambda: None
        if after.endswith(b"%%EOF\n"):
            ring.chat("google:m", "hi", files=[id])
            assert provider.uploads[-1].data == after


def test_an_upload_keeps_to_the_deadline(
    serve: Serve, ring: LLMRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("large.pdf", b"%PDF-1.4" + bytes(30_000_000))
    with serve("openai"), socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
        id = ring.register_file(path)
        began = time.monotonic()
        with pytest.raises(ProviderTimeoutError, match=r"large\.pdf"):
            ring.chat("openai:m", "hi", files=[id], timeout=0.5)
        assert time.monotonic() - began < 2


# Many at once ----------------------------------------------------------------------


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What each of them returned or raised."""
    results: list[Any] = [None] * count
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        barrier.wait(10)
        try:
            results[number] = work(number)
        except ProviderError as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return results


def slow_upload(request: Received) -> None:
    """Time for the others to come."""
    if "/files" in request.path:
        time.sleep(0.2)


@pytest.mark.parametrize("kind", KINDS)
def test_threads_that_come_together_share_an_upload(
    kind: str, serve: Serve, ring: LLMRing
) -> None:
    with serve(kind) as provider:
        provider.refuse = slow_upload
        id = ring.register_file(write("a.pdf", PDF))
        results = in_threads(8, lambda _: ring.chat(model(kind), "hi", files=[id]))
        assert [r.content for r in results] == ["read"] * 8
        assert len(provider.uploads) == 1


def test_a_failed_upload_fails_the_call_that_made_it_only(
    serve: Serve, ring: LLMRing
) -> None:
    with serve("openai") as provider:
        lock = threading.Lock()
        answers = [reply({"error": {"message": "broken"}}, "500 Oops")]

        def refuse(request: Received) -> bytes | None:
            slow_upload(request)
            with lock:
                return answers.pop() if answers else None

        provider.refuse = refuse
        id = ring.register_file(write("a.pdf", PDF))
        results = in_threads(6, lambda _: ring.chat("openai:m", "hi", files=[id]))
        assert sum(isinstance(r, ProviderError) for r in results) == 1
        assert len(provider.uploads) == 1


def test_waiting_for_anothers_upload_keeps_to_the_own_deadline(
    serve: Serve, ring: LLMRing
) -> None:
    with serve("openai") as provider:
        started, go_on = threading.Event(), threading.Event()

        def refuse(request: Received) -> None:
            if request.path.endswith("/files"):
                started.set()
                go_on.wait(10)

        provider.refuse = refuse
        id = ring.register_file(write("a.pdf", PDF))
        slow = threading.Thread(
            target=lambda: ring.chat("openai:m", "hi", files=[id]), daemon=True
        )
        slow.start()
        assert started.wait(10)
        with pytest.raises(ProviderTimeoutError, match=r"a\.pdf"):
            ring.chat("openai:m", "hi", files=[id], timeout=0.3)
        go_on.set()
        slow.join(10)
        assert len(provider.uploads) == 1


def test_a_race_is_not_held_up_by_the_losers_upload(
    serve: Serve, ring: LLMRing
) -> None:
    with serve("openai") as slow, serve("anthropic"):
        go_on = threading.Event()
        slow.refuse = lambda request: (
            go_on.wait(10) and None if request.path.endswith("/files") else None
        )
        ring.bind_alias("a", "openai:m, anthropic:m", strategy="race")
        id = ring.register_file(write("a.pdf", PDF))
        began = time.monotonic()
        assert ring.chat("a", "hi", files=[id]).model == "anthropic:m"
        assert time.monotonic() - began < 5
        go_on.set()
        assert ring.chat("openai:m", "hi", files=[id]).content == "read"


def test_an_upload_cancelled_halfway_leaves_nothing_behind(
    serve: Serve, ring: LLMRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_won = threading.Event()
    begun = threading.Event()
    read_file = transport_files._Body._read_file

    def read_after_the_race(body: Any, size: int) -> bytes:
        if threading.current_thread().name == "llmring-race-0":
            begun.set()  # the head and the beginning of the form are on their way
            is_won.wait(10)
        return read_file(body, size)

    monkeypatch.setattr(transport_files._Body, "_read_file", read_after_the_race)
    with serve("openai") as provider, serve("anthropic") as winner:
        winner.refuse = lambda _: begun.wait(10) and None
        ring.bind_alias("a", "openai:m, anthropic:m", strategy="race")
        id = ring.register_file(write("a.pdf", PDF))
        assert ring.chat("a", "hi", files=[id]).model == "anthropic:m"
        is_won.set()
        assert ring.chat("openai:m", "hi", files=[id]).content == "read"
        assert [upload.data for upload in provider.uploads] == [PDF]


def test_uploads_stay_known_to_a_pickled_ring(serve: Serve, ring: LLMRing) -> None:
    with serve("openai") as provider:
        id = ring.register_file(write("a.pdf", PDF))
        ring.chat("openai:m", "hi", files=[id])
        with pickle.loads(pickle.dumps(ring.real)) as copied:
            copied.chat("openai:m", "hi", files=[id])
            assert copied.list_registered_files() == ring.list_registered_files()
        assert len(provider.uploads) == 1


def test_uploads_stay_known_in_a_forked_child(serve: Serve, ring: LLMRing) -> None:
    with serve("openai") as provider:
        id = ring.register_file(write("a.pdf", PDF))
        ring.chat("openai:m", "hi", files=[id])
        other = ring.register_file(write("b.pdf", PDF + b"b"))
        ring.close()

        def chat(answers: Any) -> None:
            answers.put(ring.chat("openai:m", "hi", files=[id, other]).content)

        context = multiprocessing.get_context("fork")
        answers = context.Queue()
        child = context.Process(target=chat, args=(answers,))
        child.start()
        assert answers.get(timeout=20) == "read"
        child.join(10)
        assert [u.data for u in provider.uploads] == [PDF, PDF + b"b"]


# Deregistering and listing ---------------------------------------------------------


def test_deregistering_deletes_the_copies_of_all_providers(
    serve: Serve, ring: LLMRing
) -> None:
    with serve("openai") as one, serve("anthropic") as two, serve("google") as three:
        path = write("a.pdf", PDF)
        id = ring.register_file(path)
        for kind in ("openai", "anthropic", "google"):
            ring.chat(f"{kind}:m", "hi", files=[id])
        path.write_bytes(PDF + b"more")
        ring.chat("openai:m", "hi", files=[id])
        assert ring.deregister_file(id) is True
        assert ring.deregister_file(id) is False
        assert ring.list_registered_files() == []
        assert not one.files
        assert not two.files
        assert not three.files
        beta = two.server.requests[-1].headers["anthropic-beta"]
    assert beta == "files-api-2025-04-14"


def test_a_copy_that_another_registration_uses_stays(
    serve: Serve, ring: LLMRing
) -> None:
    with serve("openai") as provider:
        one, two = (ring.register_file(write("a.pdf", PDF)) for _ in range(2))
        ring.chat("openai:m", "hi", files=[one, two])
        assert len(provider.uploads) == 1
        ring.deregister_file(one)
        assert list(provider.files) == ["file-01"]
        ring.chat("openai:m", "hi", files=[two])
        assert len(provider.uploads) == 1
        ring.deregister_file(two)
        assert not provider.files


def test_a_copy_that_cant_be_deleted_is_warned_of(
    serve: Serve, ring: LLMRing, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "llmring_lite")
    with serve("openai") as provider:
        path = write("a.pdf", PDF)
        id = ring.register_file(path)
        ring.chat("openai:m", "hi", files=[id])
        provider.refuse = lambda _: reply({"error": f"no, {SECRET}"}, "500 Oops")
        assert ring.deregister_file(id) is True
    (record,) = caplog.records
    assert str(path) in record.getMessage()
    assert "file-01" in record.getMessage()
    assert SECRET not in record.getMessage()


def test_a_copy_at_a_former_address_is_warned_of(
    serve: Serve,
    ring: LLMRing,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serve("openai"):
        id = ring.register_file(write("a.pdf", PDF))
        ring.chat("openai:m", "hi", files=[id])
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
        assert ring.deregister_file(id) is True
    assert "address" in caplog.records[0].getMessage()


def test_the_list_says_what_is_where(serve: Serve, ring: LLMRing) -> None:
    with serve("google") as provider:
        provider.expires = "2999-01-01T00:00:00Z"
        path = write("a.pdf", PDF)
        id = ring.register_file(str(path), name="Contract")
        (entry,) = ring.list_registered_files()
        assert entry == {
            "id": id,
            "path": str(path),
            "name": "Contract",
            "size": len(PDF),
            "media_type": "application/pdf",
            "sha256": entry["sha256"],
            "uploads": {},
        }
        ring.chat("google:m", "hi", files=[id])
        uploads = ring.list_registered_files()[0]["uploads"]
        json.dumps(uploads)
    assert uploads["google"]["id"] == "https://g.example/v1beta/files/abc01"
    assert uploads["google"]["expires_at"] == "2999-01-01T00:00:00+00:00"
    assert uploads["google"]["uploaded_at"].startswith(time.strftime("%Y-"))


def test_ids_are_unique_and_a_relative_path_stays_the_same_file(
    serve: Serve, ring: LLMRing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve("openai") as provider:
        write("a.pdf", PDF)
        ids = {ring.register_file("a.pdf") for _ in range(50)}
        assert len(ids) == 50
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        ring.chat("openai:m", "hi", files=[ids.pop()])
        assert provider.uploads[0].data == PDF


# Large PDFs of messages ------------------------------------------------------------


def pdf_of(size: int, seed: bytes = b"") -> bytes:
    return b"%PDF-1.4\n" + seed + bytes(size)


def test_pdfs_above_openais_inline_limit_are_uploaded_by_themselves(
    serve: Serve, ring: LLMRing
) -> None:
    large, small = pdf_of(25_000_000), pdf_of(50)
    content = [
        {"type": "file", "path": str(write("large.pdf", large))},
        {"type": "file", "path": str(write("small.pdf", small))},
        {"type": "text", "text": "hi"},
    ]
    messages = [{"role": "user", "content": content}]
    before = copy.deepcopy(messages)
    with serve("openai") as provider:
        provider.expires = time.time() + 86_400
        for _ in range(2):
            ring.chat("openai:m", messages)
        (upload,) = provider.uploads
        assert upload.data == large
        assert upload.name == "large.pdf"
        assert upload.fields == {
            "purpose": "user_data",
            "expires_after[anchor]": "created_at",
            "expires_after[seconds]": "86400",
        }
        parts = provider.chats[1]["messages"][0]["content"]
        assert ring.list_registered_files() == []
    assert messages == before
    assert parts[0] == {"type": "file", "file": {"file_id": "file-01"}}
    assert parts[1]["file"]["file_data"].endswith(base64.b64encode(small).decode())


def test_of_many_pdfs_only_as_many_are_uploaded_as_must_be(
    serve: Serve, ring: LLMRing
) -> None:
    sizes = [9_000_000, 12_000_000, 8_000_000]
    content = [
        {"type": "file", "path": str(write(f"{n}.pdf", pdf_of(size)))}
        for n, size in enumerate(sizes)
    ]
    with serve("openai") as provider:
        ring.chat("openai:m", [{"role": "user", "content": content}])
        assert [upload.name for upload in provider.uploads] == ["1.pdf"]


def test_other_providers_get_a_large_pdf_inline(serve: Serve, ring: LLMRing) -> None:
    with serve("anthropic") as provider:
        path = write("large.pdf", pdf_of(25_000_000))
        part = {"type": "file", "path": str(path)}
        ring.chat("anthropic:m", [{"role": "user", "content": [part]}])
        assert not provider.uploads


# Who has a Files API ---------------------------------------------------------------


def at(base_url: str, kind: str, name: str = "pool") -> Endpoint:
    return Endpoint(name=name, kind=kind, base_url=base_url)


@pytest.mark.parametrize(
    ("endpoint", "has_api"),
    [
        *((BUILTIN[name], True) for name in ("openai", "anthropic", "google")),
        *((BUILTIN[name], False) for name in ("ollama", "groq", "mistral", "mock")),
        (at("https://api.openai.com/v1", "openai-responses"), True),
        (at("https://API.openai.com/v1", "openai"), True),
        (at("https://api.openai.com.evil.example/v1", "openai"), False),
        (at("https://llm.corp.example/v1", "openai"), False),
        # As a lockfile makes them that gives a built-in provider another address.
        (at("https://llm.corp.example/v1", "openai", "openai"), False),
        (at("https://api.anthropic.com", "openai"), False),
        (
            at(
                "https://generativelanguage.googleapis.com/v1/projects/p/locations/l"
                "/publishers/google",
                "google",
            ),
            False,
        ),
    ],
)
def test_who_has_a_files_api(endpoint: Endpoint, has_api: bool) -> None:
    assert (api_of(endpoint) is not None) is has_api


@pytest.mark.parametrize("version", ["", "/v1beta", "/v1alpha"])
def test_geminis_upload_address_stands_before_the_version(
    version: str, serve: Serve, ring: LLMRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve("google") as provider:
        base = f"{provider.server.url}{version}"
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", base)
        provider.refuse = lambda _: reply({}, "400 Bad")
        id = ring.register_file(write("a.pdf", PDF))
        with pytest.raises(ProviderResponseError):
            ring.chat("google:m", "hi", files=[id])
        (request,) = provider.server.requests
    assert request.path == f"/upload{version or '/v1beta'}/files"


def test_a_chat_without_files_loads_nothing_of_them(ring: LLMRing) -> None:
    import subprocess
    import sys

    code = (
        "from llmring_lite import LLMRing\n"
        "LLMRing().chat('mock:echo', [{'role': 'user', 'content':"
        " [{'type': 'text', 'text': 'hi'}]}])\n"
        "import sys; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert "llmring_lite.files" not in done.stdout
