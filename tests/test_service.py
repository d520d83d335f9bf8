"""LLMRing end to end: what a caller sees, over real HTTP on loopback."""

from __future__ import annotations

import base64
import copy
import gc
import json
import logging
import multiprocessing
import pickle
import socket
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loopback import LAST_CHUNK, Loopback, Received, chunk, reply, serving, stream_head

import llmring_lite
from llmring_lite import (
    AliasNotFoundError,
    AllModelsFailedError,
    ContextLengthError,
    InvalidRequestError,
    LLMRequest,
    LLMRing,
    LLMRingError,
    LockfileNotFoundError,
    LockfileValidationError,
    Message,
    ModelNotFoundError,
    ProviderAuthenticationError,
    ProviderConnectionError,
    ProviderError,
    ProviderNotFoundError,
    ProviderOverloadedError,
    ProviderRateLimitError,
    ProviderResponseError,
    ProviderTimeoutError,
    UnsupportedParameterError,
)

SECRET = "sk-do-not-show-me-0123456789"

# The smallest complete replies, in the form of each provider's reference:
# https://platform.openai.com/docs/api-reference/chat/object
# https://platform.openai.com/docs/api-reference/responses/object
# https://docs.claude.com/en/api/messages
# https://ai.google.dev/api/generate-content
# https://github.com/ollama/ollama/blob/main/docs/api.md
PLAIN: dict[str, Any] = {
    "openai": {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "m-2025",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello é"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
    },
    "openai-responses": {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": "m-2025",
        "error": None,
        "incomplete_details": None,
        "output": [
            {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "status": "completed",
                "content": [
                    {"type": "output_text", "text": "Hello é", "annotations": []}
                ],
            }
        ],
        "usage": {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9},
    },
    "anthropic": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m-2025",
        "content": [{"type": "text", "text": "Hello é"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 2},
    },
    "google": {
        "candidates": [
            {
                "content": {"role": "model", "parts": [{"text": "Hello é"}]},
                "finishReason": "STOP",
                "index": 0,
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 7,
            "candidatesTokenCount": 2,
            "totalTokenCount": 9,
        },
        "modelVersion": "m-2025",
    },
    "ollama": {
        "model": "m-2025",
        "created_at": "2025-01-01T00:00:00Z",
        "message": {"role": "assistant", "content": "Hello é"},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 7,
        "eval_count": 2,
    },
}


def sse(*events: Any) -> bytes:
    out = b""
    for event in events:
        if isinstance(event, dict) and "type" in event:
            out += f"event: {event['type']}\n".encode()
        data = event if isinstance(event, str) else json.dumps(event)
        out += f"data: {data}\n\n".encode()
    return out


def delta(content: str | None, finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "model": "m-2025",
        "choices": [
            {"index": 0, "delta": {"content": content}, "finish_reason": finish}
        ],
    }


OPENAI_USAGE = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "model": "m-2025",
    "choices": [],
    "usage": PLAIN["openai"]["usage"],
}

STREAMED: dict[str, bytes] = {
    "openai": sse(
        delta("Hel"), delta("lo é"), delta(None, "stop"), OPENAI_USAGE, "[DONE]"
    ),
    "openai-responses": sse(
        {"type": "response.created", "response": {"id": "resp_1", "output": []}},
        {
            "type": "response.output_text.delta",
            "item_id": "msg_1",
            "output_index": 0,
            "content_index": 0,
            "delta": "Hel",
        },
        {
            "type": "response.output_text.delta",
            "item_id": "msg_1",
            "output_index": 0,
            "content_index": 0,
            "delta": "lo é",
        },
        {"type": "response.completed", "response": PLAIN["openai-responses"]},
    ),
    "anthropic": sse(
        {
            "type": "message_start",
            "message": {
                **PLAIN["anthropic"],
                "content": [],
                "stop_reason": None,
                "usage": {"input_tokens": 7, "output_tokens": 1},
            },
        },
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": ""},
        },
        {"type": "ping"},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "Hel"},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "lo é"},
        },
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 2},
        },
        {"type": "message_stop"},
    ),
    "google": sse(
        {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hel"}]}}]},
        {
            **PLAIN["google"],
            "candidates": [
                {
                    "content": {"role": "model", "parts": [{"text": "lo é"}]},
                    "finishReason": "STOP",
                }
            ],
        },
    ),
    "ollama": b"".join(
        json.dumps(line).encode() + b"\n"
        for line in (
            {"message": {"role": "assistant", "content": "Hel"}, "done": False},
            {"message": {"role": "assistant", "content": "lo é"}, "done": False},
            {
                **PLAIN["ollama"],
                "message": {"role": "assistant", "content": ""},
            },
        )
    ),
}

PATHS = {
    "openai": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "google": "/v1beta/models/m:generateContent",
    "ollama": "/api/chat",
}
STREAM_PATHS = {**PATHS, "google": "/v1beta/models/m:streamGenerateContent?alt=sse"}
KINDS = list(PLAIN)

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes the `llmring.lock` of the working directory."""
    monkeypatch.chdir(tmp_path)

    def to_file(text: str) -> Path:
        path = tmp_path / "llmring.lock"
        path.write_text(f'version = "1.0"\n{text}', encoding="utf-8")
        return path

    return to_file


def endpoint(name: str, url: str, kind: str = "openai", key: str = "") -> str:
    base = f"{url}/v1" if kind.startswith("openai") else url
    key_line = f'api_key_env = "{key}"\n' if key else ""
    return f'[providers.{name}]\nkind = "{kind}"\nbase_url = "{base}"\n{key_line}'


def binding(alias: str, *models: str, profile: str = "default", more: str = "") -> str:
    return (
        f"[[profiles.{profile}.bindings]]\n"
        f'alias = "{alias}"\nmodels = {json.dumps(models)}\n{more}\n'
    )


PROFILE = '[profiles.default]\nname = "default"\n'


# Every wire format ----------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_chat_on_every_wire_format(
    kind: str, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", SECRET)
    with serving(reply(PLAIN[kind])) as server:
        write(
            endpoint("a", server.url, kind, "A_KEY")
            + PROFILE
            + binding("summarizer", "a:m")
        )
        with LLMRing() as ring:
            response = ring.chat("summarizer", "Say hello", max_tokens=100)
        (request,) = server.requests
    assert response.content == "Hello é"
    assert response.model == "a:m"
    assert (response.alias, response.provider) == ("summarizer", "a")
    assert response.finish_reason == "stop"
    assert response.usage["prompt_tokens"] == 7
    assert response.usage["completion_tokens"] == 2
    assert response.usage["total_tokens"] == 9
    assert response.raw == PLAIN[kind]
    assert response.message.role == "assistant"
    assert request.path == PATHS[kind]
    assert "Say hello" in request.body.decode()
    assert SECRET in "".join(request.headers.values())
    assert SECRET not in request.path
    assert request.json.get("model", "m") == "m"


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_on_every_wire_format(kind: str, write: Write) -> None:
    body = STREAMED[kind]
    pieces = [chunk(body[i : i + 5]) for i in range(0, len(body), 5)]
    media = "application/x-ndjson" if kind == "ollama" else "text/event-stream"
    answer = stream_head(media) + b"".join(pieces) + LAST_CHUNK
    with serving(answer) as server:
        write(endpoint("a", server.url, kind) + PROFILE + binding("s", "a:m"))
        with LLMRing() as ring:
            with ring.chat_stream("s", "Say hello", max_tokens=100) as stream:
                chunks = list(stream)
            again = list(ring.chat("s", "Say hello", max_tokens=100, stream=True))
        assert server.requests[0].path == STREAM_PATHS[kind]
        assert server.connections == 1
    assert "".join(c.delta for c in chunks) == "Hello é"
    assert [c.delta for c in chunks if c.delta] == ["Hel", "lo é"]
    assert [c.content for c in again] == [c.delta for c in chunks]
    assert {c.model for c in chunks} == {"a:m"}
    *early, last = chunks
    assert all(c.usage is None and c.finish_reason is None for c in early)
    assert last.finish_reason == "stop"
    response = stream.response
    assert response.content == "Hello é"
    assert response.usage["prompt_tokens"] == 7
    assert response.usage["completion_tokens"] == 2
    assert last.usage == response.usage
    assert (response.alias, response.model) == ("s", "a:m")


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_cut_anywhere_is_an_error_with_the_text_so_far(
    kind: str, write: Write
) -> None:
    body = STREAMED[kind]
    ends_at = body.rindex(b"\n", 0, len(body) - 2)  # before the last event's line
    cuts = range(0, ends_at, 23)
    media = "application/x-ndjson" if kind == "ollama" else "text/event-stream"
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {media}\r\n\r\n".encode()

    def handler(sock: socket.socket, _: Received, number: int) -> None:
        sock.sendall(head + body[: cuts[number - 1]])

    with Loopback(handler) as server:
        write(endpoint("a", server.url, kind))
        with LLMRing() as ring:
            for cut in cuts:
                if kind == "openai" and b'"stop"' in body[:cut].rpartition(b"\n\n")[0]:
                    break  # complete: nothing but the usage is missing
                texts: list[str] = []
                with pytest.raises(ProviderResponseError) as caught:
                    texts.extend(
                        piece.delta
                        for piece in ring.chat_stream("a:m", "hi", max_tokens=100)
                    )
                assert "Hello é".startswith(caught.value.partial)
                assert "".join(texts) in ("", caught.value.partial)
                assert caught.value.provider == "a"


# Requests -------------------------------------------------------------------------


@pytest.fixture
def ring_to(write: Write, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A ring with the alias `a` on a server that gives these answers."""
    rings: list[LLMRing] = []

    def make(server: Loopback, more: str = "", **options: Any) -> LLMRing:
        write(endpoint("p", server.url) + PROFILE + binding("a", "p:m", more=more))
        rings.append(LLMRing(**options))
        return rings[-1]

    yield make
    for ring in rings:
        ring.close()


OK = reply(PLAIN["openai"])


@pytest.mark.parametrize(
    "messages",
    [
        "hi",
        Message("user", "hi"),
        {"role": "user", "content": "hi"},
        [Message(role="user", content="hi")],
        [{"role": "user", "content": "hi"}],
        iter([{"role": "user", "content": "hi"}]),
    ],
    ids=["str", "Message", "dict", "Messages", "dicts", "iterator"],
)
def test_messages_come_in_many_forms(ring_to: Any, messages: Any) -> None:
    with serving(OK) as server:
        ring_to(server).chat("a", messages)
        assert server.requests[0].json["messages"] == [
            {"role": "user", "content": "hi"}
        ]


def test_a_request_object_is_taken_and_left_as_it_was(ring_to: Any) -> None:
    request = LLMRequest(
        model="a",
        messages=[{"role": "user", "content": "hi"}],  # type: ignore[list-item]
        temperature=0.5,
        extra_params={"logit_bias": {"1": 2}},
    )
    before = copy.deepcopy(request)
    with serving(OK) as server:
        ring = ring_to(server, "parameters = { temperature = 0.1, top_k = 3 }")
        ring.chat(request)
        ring.chat(request, temperature=0.9)
        ring.chat(request, "other")
        first, second, third = (r.json for r in server.requests)
    assert request == before
    assert first["temperature"] == 0.5
    assert first["logit_bias"] == {"1": 2}
    assert second["temperature"] == 0.9
    assert third["messages"] == [{"role": "user", "content": "other"}]


def test_parameters_of_the_binding_are_defaults(ring_to: Any) -> None:
    with serving(OK) as server:
        ring = ring_to(
            server, "parameters = { temperature = 0.2, max_tokens = 80, top_k = 3 }"
        )
        ring.chat("a", "hi")
        ring.chat("a", "hi", temperature=0.0, extra_params={"top_k": 4})
        first, second = (r.json for r in server.requests)
    assert (first["temperature"], first["top_k"]) == (0.2, 3)
    assert 80 in (first.get("max_tokens"), first.get("max_completion_tokens"))
    assert (second["temperature"], second["top_k"]) == (0.0, 4)


def test_parameters_may_set_extra_params_and_a_call_adds_to_them(ring_to: Any) -> None:
    with serving(OK) as server:
        ring = ring_to(
            server,
            "parameters = { top_p = 0.5, top_k = 3, extra_params = "
            "{ drop_unsupported = true, min_p = 0.1, top_k = 5 } }",
        )
        ring.chat("a", "hi", extra_params={"min_p": 0.2})
        body = server.requests[0].json
    assert (body["top_p"], body["top_k"], body["min_p"]) == (0.5, 5, 0.2)
    assert body.keys().isdisjoint({"extra_params", "drop_unsupported"})


@pytest.mark.parametrize("stream", [False, True])
def test_parameters_may_set_the_timeout_which_a_call_overrides(
    ring_to: Any, stream: bool
) -> None:
    def slow(sock: socket.socket, _: Received, number: int) -> bool:
        if number == 1:
            sock.recv(1)  # until the client gives up
        else:
            sock.sendall(OK)
        return True

    with Loopback(slow) as server:
        ring = ring_to(server, "parameters = { timeout = 0.2 }", max_retries=0)
        with pytest.raises(ProviderTimeoutError):
            ring.chat("a", "hi", stream=stream)
        ring.chat("a", "hi", timeout=30)
        assert [set(r.json) & {"timeout"} for r in server.requests] == [set(), set()]


def test_parameters_may_set_metadata(write: Write, tmp_path: Path) -> None:
    receipts = tmp_path / "receipts.jsonl"
    write(
        PROFILE
        + binding("a", "mock:echo", more='parameters = { metadata = { team = "x" } }')
    )
    with LLMRing(receipts=receipts) as ring:
        ring.chat("a", "hi")
        ring.chat("a", "hi", metadata={"team": "y"})
    lines = [json.loads(line) for line in receipts.read_text().splitlines()]
    assert [line["metadata"] for line in lines if "metadata" in line] == [
        {"team": "x"},
        {"team": "y"},
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((None,), "message"),
        (([],), "message"),
        (([{"content": "x"}],), "role"),
        (([{"role": "robot", "content": "x"}],), "robot"),
        (([{"role": "user", "content": "x", "contnt": 1}],), "contnt"),
        (([3],), "int"),
        ((3,), "int"),
        (([Message("user", 3)],), "int"),  # type: ignore[arg-type]
    ],
)
def test_impossible_messages_are_the_callers_error(
    ring_to: Any, arguments: tuple[Any, ...], says: str
) -> None:
    with serving(OK) as server:
        with pytest.raises(InvalidRequestError, match=says):
            ring_to(server).chat("a", *arguments)
        assert server.connections == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "hot"),
        ("top_p", True),
        ("max_tokens", 1.5),
        ("max_tokens", False),
        ("seed", "1"),
        ("stop", 5),
        ("reasoning_effort", 3),
        ("tools", {"type": "function"}),
        ("tools", [5]),
        ("metadata", "x"),
        ("extra_params", ["x"]),
    ],
)
def test_a_value_of_the_wrong_type_is_the_callers_error(
    ring_to: Any, name: str, value: Any
) -> None:
    with serving(OK) as server:
        with pytest.raises(InvalidRequestError, match=f"^{name} must be"):
            ring_to(server).chat("a", "hi", **{name: value})
        assert server.connections == 0


def test_values_that_say_nothing_are_taken(ring_to: Any) -> None:
    with serving(OK) as server:
        request = LLMRequest(model="a", messages="hi")  # type: ignore[arg-type]
        for name in ("extra_params", "metadata", "tools", "stop"):
            ring_to(server).chat(request, **{name: None})
        assert len({r.body for r in server.requests}) == 1


def test_messages_may_be_added_to_a_request(ring_to: Any) -> None:
    with serving(OK) as server:
        ring = ring_to(server)
        request = LLMRequest(model="a", messages=[Message("user", "1")])
        ring.chat(request)
        request.messages += [{"role": "assistant", "content": "2"}, "3"]  # type: ignore
        ring.chat(request)
        assert [m["content"] for m in server.requests[1].json["messages"]] == [
            *("1", "2", "3")
        ]
        request.messages.append({"role": "robot", "content": "4"})  # type: ignore
        with pytest.raises(InvalidRequestError, match="robot"):
            ring.chat(request)


def test_an_unsupported_parameter_is_an_error_unless_dropping_is_asked_for(
    write: Write,
) -> None:
    with serving(reply(PLAIN["anthropic"])) as server:
        write(endpoint("c", server.url, "anthropic"))
        with LLMRing() as ring:
            with pytest.raises(UnsupportedParameterError) as caught:
                ring.chat("c:m", "hi", seed=1)
            assert caught.value.parameter == "seed"
            assert "drop_unsupported" in str(caught.value)
            assert server.connections == 0
            ring.chat("c:m", "hi", seed=1, extra_params={"drop_unsupported": True})
            body = server.requests[0].json
    assert "seed" not in body
    assert "drop_unsupported" not in body


# Errors ---------------------------------------------------------------------------


def failure(message: str, status: str, headers: str = "", **facts: Any) -> bytes:
    return reply({"error": {"message": message, **facts}}, status, headers)


ERRORS: dict[str, tuple[bytes, type[ProviderError]]] = {
    "401": (failure("Bad key", "401 U", type="x"), ProviderAuthenticationError),
    "403": (failure("Not yours", "403 F"), ProviderAuthenticationError),
    "404": (
        failure("The model `m` does not exist", "404 N", code="model_not_found"),
        ModelNotFoundError,
    ),
    "400": (failure("Bad thing", "400 B"), ProviderResponseError),
    "too long": (
        failure("Too long", "400 B", code="context_length_exceeded"),
        ContextLengthError,
    ),
    "408": (failure("Slow", "408 T"), ProviderTimeoutError),
    "429": (failure("Slow down", "429 T"), ProviderRateLimitError),
    "500": (failure("Oops", "500 I"), ProviderResponseError),
    "502": (reply("<html>Bad gateway</html>", "502 B"), ProviderResponseError),
    "503": (failure("Busy", "503 S"), ProviderOverloadedError),
    "529": (failure("Overloaded", "529 O"), ProviderOverloadedError),
    "no JSON": (reply("<html>hello</html>"), ProviderResponseError),
    "empty": (reply(""), ProviderResponseError),
    "other shape": (reply({"hello": "world"}), ProviderResponseError),
    "a list": (reply([]), ProviderResponseError),
    "null": (reply("null"), ProviderResponseError),
    "a number": (reply("5"), ProviderResponseError),
    "deep": (reply("[" * 100_000), ProviderResponseError),
    "error in a 200": (failure("Inside", "200 OK"), ProviderResponseError),
}


@pytest.mark.parametrize(("answer", "error_class"), ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("stream", [False, True])
def test_what_a_provider_answers_becomes_a_typed_error(
    ring_to: Any, answer: bytes, error_class: type[ProviderError], stream: bool
) -> None:
    with serving(answer) as server:
        ring = ring_to(server, max_retries=0)
        with pytest.raises(error_class) as caught:
            ring.chat("a", "hi", stream=stream)
    error = caught.value
    assert type(error) is error_class
    assert (error.provider, error.model) == ("p", "m")
    if b"200 OK" not in answer[:20]:
        assert error.status_code == int(answer[9:12])
    assert str(error).startswith("p:m: ")


def test_an_error_carries_the_providers_words_and_ids(ring_to: Any) -> None:
    headers = "x-request-id: req_7\r\nretry-after: 20\r\n"
    with (
        serving(failure("Slow down, é", "429 T", headers)) as server,
        pytest.raises(ProviderRateLimitError) as caught,
    ):
        ring_to(server, max_retries=0).chat("a", "hi")
    error = caught.value
    assert (error.request_id, error.retry_after) == ("req_7", 20.0)
    for fact in ("Slow down, é", "req_7", "429", "20"):
        assert fact in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert again.retry_after == 20.0


def test_a_late_error_event_raises_its_class_with_the_text_so_far(
    ring_to: Any,
) -> None:
    events = sse(delta("Hel"), {"error": {"message": "Overloaded", "code": 503}})
    answer = stream_head() + chunk(events) + LAST_CHUNK
    with serving(answer) as server:
        stream = ring_to(server).chat_stream("a", "hi")
        assert next(stream).delta == "Hel"
        with pytest.raises(ProviderOverloadedError) as caught:
            next(stream)
    assert caught.value.partial == "Hel"
    assert stream.text == "Hel"
    with pytest.raises(RuntimeError, match="end"):
        _ = stream.response


# No key is ever shown -------------------------------------------------------------


def echoing_key(sock: socket.socket, request: Received, _: int) -> bool:
    """A server that repeats the key it refuses."""
    key = request.headers["authorization"].removeprefix("Bearer ")
    sock.sendall(failure(f"Incorrect API key provided: {key}", "401 U"))
    return True


def echoing_in_a_reply(sock: socket.socket, request: Received, _: int) -> bool:
    """A gateway that reports the refused key with status 200."""
    key = request.headers["authorization"].removeprefix("Bearer ")
    body = {"error": {"message": f"Incorrect API key provided: {key}"}}
    streamed = request.json.get("stream")
    sock.sendall(reply(sse(body) if streamed else json.dumps(body).encode()))
    return True


def garbled(sock: socket.socket, request: Received, _: int) -> bool:
    sock.sendall(b"garbage\r\n\r\n")
    return False


FAULTS = {"echo": echoing_key, "echo with 200": echoing_in_a_reply, "garbage": garbled}


def frames_of(error: BaseException) -> str:
    """What a traceback with local variables shows, of requests' frames, too."""
    shown = []
    seen: BaseException | None = error
    while seen is not None:
        for frame, _ in traceback.walk_tb(seen.__traceback__):
            if frame.f_code.co_filename != __file__:
                shown += [f"{k}={v!r}" for k, v in frame.f_locals.items()]
        seen = seen.__cause__ or seen.__context__
    return "\n".join(shown)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", [*FAULTS, "refused"])
def test_no_error_log_repr_or_frame_shows_the_key(
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    stream: bool,
    fault: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("A_KEY", SECRET)
    with Loopback(FAULTS.get(fault, garbled)) as server:
        url = server.url if fault != "refused" else "http://127.0.0.1:1"
        write(endpoint("a", url, key="A_KEY"))
        with LLMRing(api_key=SECRET, max_retries=0) as ring:
            with pytest.raises(ProviderError) as caught:
                ring.chat("a:m", "hi", stream=stream)
            provider = ring.get_provider("a")
            shown = [repr(ring), repr(provider), repr(vars(provider))]
    error = caught.value
    shown += [str(error), repr(error), repr(vars(error)), frames_of(error)]
    shown += [record.getMessage() for record in caplog.records]
    shown_with_key = [
        line for text in shown for line in text.splitlines() if SECRET in line
    ]
    assert shown_with_key == []


@pytest.mark.parametrize(
    "impossible",
    [
        {"lockfile_path": "nowhere.lock"},
        {"timeout": -1},
        {"server_url": "http://far.example"},
        {"server_url": "http://far.example", "api_key": None},
        {"api_key": f"{SECRET}\n{SECRET}", "server_url": "https://far.example"},
        {"receipts": 5},
    ],
)
def test_no_frame_of_a_ring_that_cannot_be_made_shows_a_key(
    write: Write, monkeypatch: pytest.MonkeyPatch, impossible: dict[str, Any]
) -> None:
    for variable in ("OPENAI_API_KEY", "LLMRING_API_KEY"):
        monkeypatch.setenv(variable, SECRET)
    with pytest.raises((LLMRingError, TypeError)) as caught:
        LLMRing(**{"api_key": SECRET, **impossible})
    shown = frames_of(caught.value)
    assert "LLMRing(lockfile_path=None)" in shown
    assert SECRET not in shown


@pytest.mark.parametrize("variable", ["LLMRING_LOCKFILE_PATH", "LLMRING_SERVER_URL"])
def test_no_frame_shows_the_environment(
    write: Write, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "nowhere")
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with pytest.raises(LLMRingError) as caught:
        LLMRing()
    assert SECRET not in frames_of(caught.value)


def test_a_key_of_a_cloned_lockfile_goes_nowhere(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    write(
        '[providers.openai]\nkind = "openai"\n'
        'base_url = "https://evil.example/v1"\napi_key_env = "OPENAI_API_KEY"\n'
    )
    with LLMRing() as ring, pytest.raises(ProviderAuthenticationError) as caught:
        ring.chat("openai:gpt-4o", "hi")
    for fact in ("OPENAI_API_KEY", "evil.example", "LLMRING_TRUSTED_HOSTS"):
        assert fact in str(caught.value)


def test_a_key_set_after_construction_counts(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(OK) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        write("")
        with LLMRing() as ring:
            with pytest.raises(ProviderAuthenticationError, match="OPENAI_API_KEY"):
                ring.chat("openai:gpt-4o", "hi")
            monkeypatch.setenv("OPENAI_API_KEY", SECRET)
            assert ring.chat("openai:gpt-4o", "hi").content == "Hello é"


# Fallback -------------------------------------------------------------------------


def test_the_next_candidate_answers_when_the_first_fails(write: Write) -> None:
    with serving(failure("Busy", "503 S")) as bad, serving(OK) as good:
        write(
            endpoint("bad", bad.url)
            + endpoint("good", good.url)
            + PROFILE
            + binding("a", "bad:m", "good:n")
        )
        with LLMRing(max_retries=0) as ring:
            response = ring.chat("a", "hi")
        assert good.requests[0].json["model"] == "n"
    assert response.model == "good:n"
    first, second = response.attempts
    assert first["model"] == "bad:m"
    assert isinstance(first["error"], ProviderOverloadedError)
    assert second["model"] == "good:n"
    assert second["error"] is None


class Unending:
    """Sends one delta, then waits for the client to hang up."""

    def __init__(self) -> None:
        self.is_left = threading.Event()

    def __call__(self, sock: socket.socket, *_: Any) -> None:
        sock.sendall(stream_head() + chunk(sse(delta("Hel"))))
        sock.settimeout(10)
        if sock.recv(1) == b"":
            self.is_left.set()


def test_leaving_a_loop_hangs_up_at_once(ring_to: Any) -> None:
    handler = Unending()
    gc.disable()
    try:
        with Loopback(handler) as server:
            ring = ring_to(server)
            for piece in ring.chat_stream("a", "hi"):
                assert piece.delta == "Hel"
                break
            assert handler.is_left.wait(5)
    finally:
        gc.enable()


def test_a_stream_may_be_closed_while_another_thread_waits_for_it(ring_to: Any) -> None:
    handler = Unending()
    with Loopback(handler) as server:
        stream = ring_to(server).chat_stream("a", "hi")
        got: list[Any] = []
        waiting = threading.Event()

        def read() -> None:
            try:
                got.append(next(stream).delta)
                waiting.set()
                got.extend(stream)
            except BaseException as error:  # noqa: BLE001 - looked at by the test
                got.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        assert waiting.wait(5)
        stream.close()
        stream.close()
        thread.join(5)
        assert not thread.is_alive()
        assert handler.is_left.wait(5)
    assert got == [stream.text] == ["Hel"]


def test_a_stream_changes_candidates_until_its_first_chunk(write: Write) -> None:
    dead = stream_head() + chunk(b": nothing\n\n") + LAST_CHUNK
    good_answer = stream_head() + chunk(STREAMED["openai"]) + LAST_CHUNK
    with serving(dead) as bad, serving(good_answer) as good:
        write(
            endpoint("bad", bad.url)
            + endpoint("good", good.url)
            + PROFILE
            + binding("a", "bad:m", "good:n")
        )
        with LLMRing() as ring:
            stream = ring.chat_stream("a", "hi")
            assert "".join(c.delta for c in stream) == "Hello é"
    assert stream.response.model == "good:n"
    assert len(stream.response.attempts) == 2


def test_when_all_fail_every_attempt_is_listed(write: Write) -> None:
    with (
        serving(failure("Busy", "503 S")) as one,
        serving(failure("Slow down", "429 T")) as two,
    ):
        write(
            endpoint("one", one.url)
            + endpoint("two", two.url)
            + PROFILE
            + binding("a", "one:m", "two:n")
        )
        with (
            LLMRing(max_retries=0) as ring,
            pytest.raises(AllModelsFailedError) as caught,
        ):
            ring.chat("a", "hi")
    error = caught.value
    assert [record["model"] for record in error.attempts] == ["one:m", "two:n"]
    assert isinstance(error.__cause__, ProviderRateLimitError)
    for fact in ("one:m", "Busy", "two:n", "Slow down"):
        assert fact in str(error)


@pytest.mark.parametrize(
    "answer", [failure("Bad key", "401 U"), failure("Bad thing", "400 B")]
)
def test_a_refused_key_and_a_plain_400_do_not_fall_back(
    write: Write, answer: bytes
) -> None:
    with serving(answer) as bad, serving(OK) as good:
        write(
            endpoint("bad", bad.url)
            + endpoint("good", good.url)
            + PROFILE
            + binding("a", "bad:m", "good:n")
        )
        with LLMRing() as ring, pytest.raises(ProviderError) as caught:
            ring.chat("a", "hi")
        assert not isinstance(caught.value, AllModelsFailedError)
        assert good.connections == 0


def test_a_direct_model_has_no_fallback(write: Write) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    write(endpoint("a", f"http://127.0.0.1:{port}"))
    with LLMRing(max_retries=0) as ring, pytest.raises(ProviderConnectionError):
        ring.chat("a:m", "hi")


# Resolution -----------------------------------------------------------------------


LOCKFILE = (
    PROFILE
    + binding("fast", "openai:gpt-5-mini", "mock:echo")
    + binding("deep", "anthropic:claude-opus-4-8")
    + binding("chain", "deep", "fast", "mock:echo")
    + '[profiles.prod]\nname = "prod"\n'
    + binding("fast", "mock:echo", profile="prod")
)


def test_candidates_without_a_key_are_skipped(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(LOCKFILE)
    ring = LLMRing()
    assert ring.resolve_alias("fast") == "mock:echo"
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    assert ring.resolve_alias("fast") == "openai:gpt-5-mini"
    assert ring.resolve_candidates("chain") == ["openai:gpt-5-mini", "mock:echo"]
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)
    assert ring.resolve_candidates("chain") == [
        "anthropic:claude-opus-4-8",
        "openai:gpt-5-mini",
        "mock:echo",
    ]


def test_without_any_key_the_variables_are_named(write: Write) -> None:
    write(PROFILE + binding("x", "openai:a", "google:b"))
    ring = LLMRing()
    for call in (ring.resolve_alias, ring.resolve_candidates):
        with pytest.raises(ProviderAuthenticationError) as caught:
            call("x")
        for name in ("OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
            assert name in str(caught.value)
    assert ring.has_alias("x")


@pytest.mark.parametrize(
    ("argument", "of_ring", "environment", "expected"),
    [
        ("prod", None, None, "mock:echo"),
        ("prod", "default", "default", "mock:echo"),
        (None, "prod", "default", "mock:echo"),
        (None, None, "prod", "mock:echo"),
        (None, None, None, "openai:gpt-5-mini"),
        ("default", "prod", "prod", "openai:gpt-5-mini"),
        (None, "default", "prod", "openai:gpt-5-mini"),
    ],
)
def test_precedence_of_profiles(
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    argument: str | None,
    of_ring: str | None,
    environment: str | None,
    expected: str,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    if environment:
        monkeypatch.setenv("LLMRING_PROFILE", environment)
    write(LOCKFILE)
    ring = LLMRing(profile=of_ring)
    assert ring.resolve_alias("fast", profile=argument) == expected
    if expected == "mock:echo":
        assert ring.chat("fast", "hello", profile=argument).content == "hello"


def test_an_alias_of_another_profile_is_an_error_that_says_so(write: Write) -> None:
    path = write(LOCKFILE)
    with pytest.raises(AliasNotFoundError) as caught:
        LLMRing(profile="prod").chat("deep", "hi")
    for fact in ("'deep'", "'prod'", "default", str(path)):
        assert fact in str(caught.value)


def test_a_misspelt_alias_gets_its_nearest_match(write: Write) -> None:
    write(LOCKFILE)
    with pytest.raises(AliasNotFoundError, match="did you mean 'fast'") as caught:
        LLMRing().chat("fsat", "hi")
    assert caught.value.alias == "fsat"
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, ModelNotFoundError)


def test_an_unknown_profile_lists_the_profiles(write: Write) -> None:
    write(LOCKFILE)
    with pytest.raises(ValueError, match="prod") as caught:
        LLMRing(profile="prd").chat("fast", "hi")
    assert "default" in str(caught.value)
    assert not LLMRing(profile="prd").has_alias("fast")


def test_an_unknown_provider_lists_the_providers(write: Write) -> None:
    write("")
    with pytest.raises(ProviderNotFoundError, match="openai") as caught:
        LLMRing().chat("opneai:gpt-4o", "hi")
    assert isinstance(caught.value, ValueError)


def test_a_direct_model_needs_no_lockfile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ring = LLMRing()
    assert ring.chat("mock:echo", "hi").content == "hi"
    assert ring.resolve_alias("ollama:llama3:8b") == "ollama:llama3:8b"
    assert list(tmp_path.glob("*.lock")) == []


@pytest.mark.parametrize("name", ["", "x:", "openai:", ":m", "a b", None, 3, "é"])
def test_has_alias_never_raises(write: Write, name: Any) -> None:
    write(LOCKFILE)
    assert LLMRing().has_alias(name) is False


def test_explain_tells_who_is_used_and_how_the_breakers_are(write: Write) -> None:
    with serving(failure("Busy", "503 S")) as bad:
        write(
            endpoint("bad", bad.url)
            + PROFILE
            + binding("a", "openai:gpt", "bad:m", "mock:echo")
        )
        with LLMRing(max_retries=0) as ring:
            for _ in range(3):
                ring.chat("a", "hi")
            skipped, failing, spare = ring.explain("a")
    assert (skipped["usable"], skipped["verdict"]) == (False, "skipped")
    assert "OPENAI_API_KEY" in skipped["reason"]
    assert (failing["model"], failing["breaker"]) == ("bad:m", "open")
    assert 0 < failing["retry_after"] <= 10
    assert (spare["verdict"], spare["breaker"]) == ("fallback", "closed")


def test_require_aliases_lists_everything_at_once(write: Write) -> None:
    path = write(LOCKFILE)
    ring = LLMRing()
    ring.require_aliases(["fast", "deep"])
    with pytest.raises(ValueError, match="my-lib") as caught:
        ring.require_aliases(["fast", "nope", "neither"], context="my-lib")
    for fact in ("nope", "neither", str(path), "default"):
        assert fact in str(caught.value)
    assert "- fast" not in str(caught.value)


def test_list_aliases_gives_the_primary_of_each(write: Write) -> None:
    write(LOCKFILE)
    assert LLMRing().list_aliases() == {
        "fast": "openai:gpt-5-mini",
        "deep": "anthropic:claude-opus-4-8",
        "chain": "anthropic:claude-opus-4-8",
    }
    assert LLMRing().list_aliases(profile="prod") == {"fast": "mock:echo"}


# Changing the lockfile ------------------------------------------------------------


def test_bind_and_unbind_write_the_file_at_once(write: Write) -> None:
    path = write(f"# keep me\n{LOCKFILE}")
    ring = LLMRing()
    ring.bind_alias("new", "mock:echo, openai:gpt-4o")
    assert ring.resolve_alias("new") == "mock:echo"
    assert LLMRing().list_aliases()["new"] == "mock:echo"
    ring.bind_alias("new", ["openai:gpt-4o"], profile="prod")
    assert ring.list_aliases("prod")["new"] == "openai:gpt-4o"
    ring.unbind_alias("new")
    assert not ring.has_alias("new")
    assert LLMRing().has_alias("new", profile="prod")
    assert "# keep me" in path.read_text(encoding="utf-8")
    with pytest.raises(AliasNotFoundError):
        ring.unbind_alias("new")


def test_what_is_to_be_known_of_a_binding_is_logged(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    write(LOCKFILE)
    LLMRing().bind_alias("x", "mock:echo", profile="prd")
    assert "the profile 'prd' is new" in caplog.text


def test_binding_without_a_lockfile_makes_one_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bundled = Path(llmring_lite.__file__).with_name("llmring.lock")
    before = bundled.read_bytes()
    ring = LLMRing()
    ring.bind_alias("x", "mock:echo")
    assert bundled.read_bytes() == before
    assert ring.lockfile_path == tmp_path / "llmring.lock"
    assert LLMRing().resolve_alias("x") == "mock:echo"


def test_an_impossible_binding_is_refused_and_nothing_written(write: Write) -> None:
    path = write(LOCKFILE)
    before = path.read_bytes()
    for models in ("nowhere:m", "unbound-alias", [], [None], None, 5):
        with pytest.raises(LockfileValidationError, match="can't bind 'x'"):
            LLMRing().bind_alias("x", models)  # type: ignore[arg-type]
    assert path.read_bytes() == before


def test_clear_alias_cache_reads_the_file_again(write: Write) -> None:
    write(PROFILE + binding("x", "mock:one"))
    ring = LLMRing()
    assert ring.resolve_alias("x") == "mock:one"
    write(PROFILE + binding("x", "mock:two"))
    assert ring.resolve_alias("x") == "mock:one"
    ring.clear_alias_cache()
    assert ring.resolve_alias("x") == "mock:two"


def test_init_lockfile_makes_a_file_and_uses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    ring = LLMRing()
    path = ring.init_lockfile()
    assert path == tmp_path / "llmring.lock"
    assert ring.list_aliases()
    before = path.read_bytes()
    with pytest.raises(llmring_lite.LockfileError, match="force"):
        ring.init_lockfile()
    assert path.read_bytes() == before
    ring.init_lockfile(force=True)


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_a_lockfile_that_was_asked_for_must_exist(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "missing.lock"
    if how == "environment":
        monkeypatch.setenv("LLMRING_LOCKFILE_PATH", str(missing))
    with pytest.raises(LockfileNotFoundError, match="lock init") as caught:
        LLMRing(lockfile_path=missing if how == "argument" else None)
    assert str(missing) in str(caught.value)
    assert isinstance(caught.value, FileNotFoundError)


# Timeouts -------------------------------------------------------------------------


def hang(sock: socket.socket, *_: Any) -> None:
    sock.recv(1)


@pytest.mark.parametrize(
    ("of_ring", "environment", "of_request"),
    [(0.3, None, "inherit"), (30.0, "60", 0.3), (None, None, 0.3), ("-", "0.3", "-")],
)
def test_precedence_of_timeouts(
    ring_to: Any,
    monkeypatch: pytest.MonkeyPatch,
    of_ring: Any,
    environment: str | None,
    of_request: Any,
) -> None:
    if environment:
        monkeypatch.setenv("LLMRING_PROVIDER_TIMEOUT_S", environment)
    options = {} if of_ring == "-" else {"timeout": of_ring}
    fields = {"timeout": of_request} if isinstance(of_request, float) else {}
    with Loopback(hang) as server:
        ring = ring_to(server, **options)
        started = time.monotonic()
        with pytest.raises(ProviderTimeoutError):
            ring.chat("a", "hi", **fields)
        assert time.monotonic() - started < 3


@pytest.mark.parametrize("value", [0, -1, True, "5", float("nan")])
def test_an_impossible_timeout_is_refused(ring_to: Any, value: Any) -> None:
    with serving(OK) as server, pytest.raises(InvalidRequestError, match="timeout"):
        ring_to(server).chat("a", "hi", timeout=value)


@pytest.mark.parametrize("value", [1e12, 1e300, float("inf")])
def test_a_timeout_may_be_longer_than_sockets_can_wait(
    ring_to: Any, value: float
) -> None:
    with serving(OK) as server:
        assert ring_to(server).chat("a", "hi", timeout=value).content == "Hello é"


@pytest.mark.parametrize("text", ["none", "OFF", " 30 "])
def test_the_environment_may_lift_the_timeout(
    ring_to: Any, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("LLMRING_PROVIDER_TIMEOUT_S", text)
    with serving(OK) as server:
        assert ring_to(server).chat("a", "hi").content == "Hello é"


def test_a_senseless_timeout_of_the_environment_is_named(
    ring_to: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMRING_PROVIDER_TIMEOUT_S", "soon")
    named = "LLMRING_PROVIDER_TIMEOUT_S is 'soon'"
    with serving(OK) as server, pytest.raises(InvalidRequestError, match=named):
        ring_to(server).chat("a", "hi")


def test_guardrails_that_nobody_keeps_are_warned_of_once(
    ring_to: Any, caplog: pytest.LogCaptureFixture
) -> None:
    guardrails = '{ max_latency = "5s", block_categories = ["PII"] }'
    with serving(OK) as server:
        ring = ring_to(server, f"guardrails = {guardrails}")
        for _ in range(3):
            ring.chat("a", "hi")
    (record,) = caplog.records
    assert "block_categories" in record.getMessage()
    assert "max_latency" not in record.getMessage()


# Threads and processes ------------------------------------------------------------


def test_one_ring_serves_many_threads(ring_to: Any) -> None:
    with serving(OK) as server:
        ring = ring_to(server)
        barrier = threading.Barrier(32)
        contents: list[str] = []

        def work() -> None:
            barrier.wait()
            for _ in range(5):
                contents.append(ring.chat("a", "hi").content)

        threads = [threading.Thread(target=work) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert contents == ["Hello é"] * 160
        assert server.connections <= 32


def test_a_ring_pickles(ring_to: Any) -> None:
    with serving(OK) as server:
        ring = ring_to(server, profile="default", timeout=5.0)
        ring.chat("a", "hi")
        with pickle.loads(pickle.dumps(ring)) as other:
            assert other.chat("a", "hi").content == "Hello é"
        assert server.connections == 2


def test_a_pickled_ring_still_asks_the_environment_for_the_timeout(
    ring_to: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Loopback(hang) as server:
        ring = pickle.loads(pickle.dumps(ring_to(server)))
        monkeypatch.setenv("LLMRING_PROVIDER_TIMEOUT_S", "0.3")
        with pytest.raises(ProviderTimeoutError):
            ring.chat("a", "hi")


def _chat_in_child(ring: LLMRing, results: Any) -> None:
    results.put(ring.chat("a", "hi").content)
    ring.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_ring_survives_a_fork(ring_to: Any) -> None:
    context = multiprocessing.get_context("fork")
    with serving(OK) as server:
        ring = ring_to(server)
        ring.chat("a", "hi")
        results = context.Queue()
        child = context.Process(target=_chat_in_child, args=(ring, results))
        child.start()
        assert results.get(timeout=20) == "Hello é"
        child.join(20)
        ring.chat("a", "hi")
        assert server.connections == 2


# Providers ------------------------------------------------------------------------


def test_get_provider_gives_a_session_that_carries_the_key(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", SECRET)
    with serving(reply({"data": []})) as server:
        write(endpoint("a", server.url, key="A_KEY"))
        with LLMRing() as ring:
            session = ring.get_provider("a").session
            assert session.get(f"{server.url}/v1/models").json() == {"data": []}
            assert ring.get_provider("a").client is session
        assert server.requests[0].headers["authorization"] == f"Bearer {SECRET}"
    with pytest.raises(ProviderNotFoundError, match="nobody"):
        LLMRing().get_provider("nobody")


def test_base_urls_come_from_the_environment(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("")
    with serving(reply(PLAIN["ollama"])) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url.removeprefix("http://"))
        with LLMRing() as ring:
            assert ring.chat("ollama:m", "hi").content == "Hello é"


def test_azure_needs_its_address(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", SECRET)
    write("")
    with LLMRing() as ring:
        with pytest.raises(ProviderNotFoundError, match="AZURE_OPENAI_ENDPOINT"):
            ring.chat("azure:my-deployment", "hi")
        with serving(OK) as server:
            monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.url)
            ring.chat("azure:my-deployment", "hi")
            (request,) = server.requests
    assert request.path.startswith(
        "/openai/deployments/my-deployment/chat/completions?api-version="
    )
    assert request.headers["api-key"] == SECRET


# Parts ----------------------------------------------------------------------------

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + bytes(13)


def test_local_files_are_read_once_and_sent_inline(
    write: Write, tmp_path: Path
) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(PNG)
    notes = tmp_path / "notes.txt"
    notes.write_text("remember é", encoding="utf-8")
    parts = [
        {"type": "text", "text": "Look:"},
        {"type": "image", "path": str(image)},
        {"type": "file", "path": str(notes)},
    ]
    before = copy.deepcopy(parts)
    with serving(failure("Busy", "503 S")) as bad, serving(OK) as good:
        write(
            endpoint("bad", bad.url, "anthropic")
            + endpoint("good", good.url)
            + PROFILE
            + binding("a", "bad:m", "good:n")
        )
        with LLMRing(max_retries=0) as ring:
            ring.chat("a", [{"role": "user", "content": parts}])
        encoded = base64.b64encode(PNG).decode()
        for server in (bad, good):
            sent = server.requests[0].body.decode()
            assert encoded in sent
            assert "remember é" in sent
            assert "notes.txt" in sent
    assert parts == before


def test_a_missing_file_is_named_before_anything_is_sent(ring_to: Any) -> None:
    with serving(OK) as server:
        part = {"type": "image", "path": "/nowhere/a.png"}
        with pytest.raises(InvalidRequestError, match=r"/nowhere/a\.png"):
            ring_to(server).chat("a", [{"role": "user", "content": [part]}])
        assert server.connections == 0


def test_a_private_address_is_not_fetched_for_a_provider_that_wants_bytes(
    write: Write,
) -> None:
    with serving(reply(PLAIN["ollama"])) as server, serving(reply(PNG)) as private:
        write(endpoint("o", server.url, "ollama"))
        url = private.url.replace("http:", "https:") + "/secret.png"
        part = {"type": "image_url", "image_url": {"url": url}}
        with LLMRing() as ring, pytest.raises(InvalidRequestError, match="127"):
            ring.chat("o:m", [{"role": "user", "content": [part]}])
        assert private.connections == 0
        assert server.connections == 0
