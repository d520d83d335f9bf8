"""OpenAI's Chat Completions as its server speaks it.

Shapes: https://platform.openai.com/docs/api-reference/chat and
https://platform.openai.com/docs/guides/error-codes. Readable reasoning has the field
that DeepSeek gave it; OpenAI itself sends none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

from llmring_lite.mock_model import MockRefusal
from llmring_lite.mock_reply import (
    CREATED,
    Event,
    Failure,
    MockFormat,
    MockReply,
    MockUsage,
    Prompt,
    Turn,
    check_tool_results,
    fragments,
    retry_headers,
    split_words,
    to_json,
)

_ROLES: Final[Mapping[str, str]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}

# Status -> type and code; a code in the request's options replaces the latter.
_ERRORS: Final[Mapping[int, tuple[str, str | None]]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", None),
    503: ("service_unavailable_error", "server_is_overloaded"),
}
_REASONS: Final[Mapping[str, str]] = {
    "key": "invalid_api_key",
    "model": "model_not_found",
}


def parse_prompt(path: str, body: Mapping[str, Any]) -> Prompt:
    turns = [_turn(message) for message in body["messages"]]
    if not turns:
        raise MockRefusal(400, "messages: at least one message is needed")
    check_tool_results(turns)
    limits = (body.get("max_completion_tokens"), body.get("max_tokens"))
    tools = [
        (tool["function"]["name"], tool["function"].get("parameters", {}))
        for tool in body.get("tools") or ()
        if tool["type"] == "function"
    ]
    choice = body.get("tool_choice")
    return Prompt(
        model=body.get("model") or _deployment(path),
        turns=turns,
        tools=[] if choice == "none" else tools,
        forced=forced_tool(choice),
        schema=_schema(body.get("response_format")),
        max_tokens=next((limit for limit in limits if limit is not None), None),
        stop=as_stop(body.get("stop")),
        stream=bool(body.get("stream")),
    )


def _deployment(path: str) -> str:
    """Azure names the model in the path: `.../deployments/NAME/chat/completions`."""
    _, found, rest = path.partition("/deployments/")
    if not found:
        raise MockRefusal(400, "you must provide a model parameter")
    return unquote(rest.partition("/")[0])


def _turn(message: Mapping[str, Any]) -> Turn:
    role = message["role"]
    if role not in _ROLES:
        raise MockRefusal(
            400, f"messages: unknown role {role!r}; known are {', '.join(_ROLES)}"
        )
    return Turn(
        _ROLES[role],
        text_of(message.get("content")),
        tuple(call["id"] for call in message.get("tool_calls") or ()),
        (message["tool_call_id"],) if role == "tool" else (),
    )


def text_of(content: Any) -> str:
    """The texts of a message's content, a line each; other parts have none."""
    if isinstance(content, str) or content is None:
        return content or ""
    return "\n".join(part["text"] for part in content if "text" in part)


def forced_tool(choice: Any) -> str | None:
    """`Prompt.forced` of OpenAI's tool choice, in Chat Completions or Responses."""
    if choice == "required":
        return ""
    if isinstance(choice, Mapping) and choice.get("type") == "function":
        return str(choice.get("function", choice)["name"])
    return None


def as_stop(value: str | Sequence[str] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


def _schema(response_format: Any) -> Any:
    if not isinstance(response_format, Mapping):
        return None
    return {
        "json_object": {},
        "json_schema": response_format.get("json_schema", {}).get("schema", {}),
    }.get(response_format["type"])


def _envelope(prompt: Prompt, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{prompt.key}",
        "object": kind,
        "created": CREATED,
        "model": prompt.model,
    }


def build_reply(prompt: Prompt, reply: MockReply) -> bytes:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": reply.text if reply.text or not reply.calls else None,
        "refusal": None,
        "annotations": [],
    }
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    if reply.calls:
        message["tool_calls"] = [
            {
                "id": call.id("call_"),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments_text()},
            }
            for call in reply.calls
        ]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": reply.finish_reason,
    }
    body = {
        **_envelope(prompt, "chat.completion"),
        "choices": [choice],
        "usage": _usage(reply.usage),
        "service_tier": "default",
        "system_fingerprint": "fp_mock",
    }
    return f"{to_json(body, indent=2)}\n".encode()


def _usage(usage: MockUsage) -> dict[str, Any]:
    # Cached tokens are part of the prompt's, reasoning part of the completion's.
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def iter_events(prompt: Prompt, reply: MockReply) -> Iterator[Event]:
    options = prompt.body.get("stream_options") or {}
    with_usage = bool(options.get("include_usage"))
    envelope = {
        **_envelope(prompt, "chat.completion.chunk"),
        "service_tier": "default",
        "system_fingerprint": "fp_mock",
    }
    # Every chunk but the last then says so.
    tail = {"usage": None} if with_usage else {}

    def chunk(
        delta: dict[str, Any], tokens: int = 0, finish_reason: str | None = None
    ) -> Event:
        choice = {
            "index": 0,
            "delta": delta,
            "logprobs": None,
            "finish_reason": finish_reason,
        }
        return Event(tokens, _event({**envelope, "choices": [choice], **tail}))

    content = "" if reply.text or not reply.calls else None
    yield chunk({"role": "assistant", "content": content, "refusal": None})
    for piece in split_words(reply.reasoning):
        yield chunk({"reasoning_content": piece}, 1)
    for piece in split_words(reply.text):
        yield chunk({"content": piece}, 1)
    for delta in _call_deltas(reply):
        yield chunk({"tool_calls": [delta]}, 1 if "id" in delta else 0)
    yield chunk({}, finish_reason=reply.finish_reason)
    if with_usage:
        yield Event(
            0, _event({**envelope, "choices": [], "usage": _usage(reply.usage)})
        )
    yield Event(0, b"data: [DONE]\n\n")


def _call_deltas(reply: MockReply) -> Iterator[dict[str, Any]]:
    """Id and name come once, in front; then the arguments in fragments."""
    for index, call in enumerate(reply.calls):
        yield {
            "index": index,
            "id": call.id("call_"),
            "type": "function",
            "function": {"name": call.name, "arguments": ""},
        }
        for piece in fragments(call.arguments_text()):
            yield {"index": index, "function": {"arguments": piece}}


def _event(value: Any) -> bytes:
    return f"data: {to_json(value)}\n\n".encode()


def error_object(failure: Failure) -> dict[str, Any]:
    kind, code = _ERRORS.get(
        failure.status,
        ("server_error" if failure.status >= 500 else "invalid_request_error", None),
    )
    return {
        "message": failure.message,
        "type": kind,
        "param": None,
        "code": failure.code or _REASONS.get(failure.reason) or code,
    }


def build_error(failure: Failure) -> bytes:
    return f"{to_json({'error': error_object(failure)}, indent=2)}\n".encode()


def build_error_event(failure: Failure) -> bytes:
    return _event({"error": error_object(failure)})


def headers(key: str) -> dict[str, str]:
    return {"x-request-id": f"req_{key}", "openai-processing-ms": "1"}


def error_headers(failure: Failure) -> dict[str, str]:
    said = retry_headers(failure)
    if failure.retry_after is not None:
        said["retry-after-ms"] = f"{failure.retry_after * 1000:g}"
    return said


BAD_KEY: Final = (
    401,
    "Incorrect API key provided. You can find your API key at "
    "https://platform.openai.com/account/api-keys.",
)

FORMAT: Final = MockFormat(
    parse_prompt=parse_prompt,
    build_reply=build_reply,
    iter_events=iter_events,
    build_error=build_error,
    build_error_event=build_error_event,
    headers=headers,
    error_headers=error_headers,
    unknown_model=(
        404,
        "The model `{}` does not exist or you do not have access to it.",
    ),
    bad_key=BAD_KEY,
)
