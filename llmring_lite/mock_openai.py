"""OpenAI's Chat Completions as its server speaks it, and what its other APIs share.

Shapes: https://platform.openai.com/docs/api-reference/chat and
https://platform.openai.com/docs/guides/error-codes. Readable reasoning has the field
that DeepSeek gave it; OpenAI itself sends none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

from llmring_lite.mock_model import Failure, MockRefusal
from llmring_lite.mock_reply import (
    CREATED,
    Event,
    MockCall,
    MockFormat,
    MockReply,
    Prompt,
    Turn,
    check_tool_results,
    fragments,
    retry_headers,
    split_words,
    sse,
    text_of,
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
    return Prompt(
        model=body.get("model") or _deployment(path),
        turns=turns,
        tools=tools_of(body),
        forced=forced_tool(body.get("tool_choice")),
        schema=schema_of(body.get("response_format")),
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
    role = role_of(message)
    return Turn(
        role,
        text_of(message.get("content")),
        tuple(call["id"] for call in message.get("tool_calls") or ()),
        (message["tool_call_id"],) if role == "tool" else (),
    )


def role_of(message: Mapping[str, Any]) -> str:
    role = message["role"]
    if role not in _ROLES:
        raise MockRefusal(
            400, f"messages: unknown role {role!r}; known are {', '.join(_ROLES)}"
        )
    return _ROLES[role]


def tools_of(body: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """`Prompt.tools`. The Responses API has the fields of a function in the tool."""
    if body.get("tool_choice") == "none":
        return []
    functions = (
        tool.get("function", tool)
        for tool in body.get("tools") or ()
        if tool["type"] == "function"
    )
    return [(each["name"], each.get("parameters", {})) for each in functions]


def forced_tool(choice: Any) -> str | None:
    """`Prompt.forced` of a tool choice."""
    if choice == "required":
        return ""
    if isinstance(choice, Mapping) and choice.get("type") == "function":
        return str(choice.get("function", choice)["name"])
    return None


def schema_of(wanted: Any) -> Any:
    """`Prompt.schema` of a response format."""
    if not isinstance(wanted, Mapping):
        return None
    given = wanted.get("json_schema", wanted).get("schema", {})
    return {"json_object": {}, "json_schema": given}.get(wanted["type"])


def as_stop(value: str | Sequence[str] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


def build_reply(prompt: Prompt, reply: MockReply) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": reply.text or (None if reply.calls else ""),
        "refusal": None,
        "annotations": [],
    }
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    if reply.calls:
        message["tool_calls"] = [_call(c, c.arguments_text()) for c in reply.calls]
    choice = _choice("message", message, reply.finish_reason)
    return _body(prompt, "chat.completion", choice, usage=_usage(reply))


def _body(prompt: Prompt, kind: str, *choices: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{prompt.key}",
        "object": kind,
        "created": CREATED,
        "model": prompt.model,
        "service_tier": "default",
        "system_fingerprint": "fp_mock",
        "choices": choices,
        **more,
    }


def _choice(field: str, said: Any, finish_reason: str | None) -> dict[str, Any]:
    return {"index": 0, field: said, "logprobs": None, "finish_reason": finish_reason}


def _call(call: MockCall, arguments: str) -> dict[str, Any]:
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id("call_"), "type": "function", "function": function}


def _usage(reply: MockReply) -> dict[str, Any]:
    # Cached tokens are part of the prompt's, reasoning part of the completion's.
    usage = reply.usage
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "audio_tokens": 0},
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
    kind = "chat.completion.chunk"
    # Every chunk but the last then says so.
    tail = {"usage": None} if with_usage else {}

    def chunk(
        delta: dict[str, Any], tokens: int = 0, finish_reason: str | None = None
    ) -> Event:
        choice = _choice("delta", delta, finish_reason)
        return Event(tokens, sse(_body(prompt, kind, choice, **tail)))

    content = "" if reply.text or not reply.calls else None
    yield chunk({"role": "assistant", "content": content, "refusal": None})
    for piece in split_words(reply.reasoning):
        yield chunk({"reasoning_content": piece}, 1)
    for piece in split_words(reply.text):
        yield chunk({"content": piece}, 1)
    for index, call in enumerate(reply.calls):
        # Id and name come once, in front; then the arguments in fragments.
        yield chunk({"tool_calls": [{"index": index, **_call(call, "")}]}, 1)
        for piece in fragments(call.arguments_text()):
            delta = {"index": index, "function": {"arguments": piece}}
            yield chunk({"tool_calls": [delta]})
    yield chunk({}, finish_reason=reply.finish_reason)
    if with_usage:
        yield Event(0, sse(_body(prompt, kind, usage=_usage(reply))))
    yield Event(0, b"data: [DONE]\n\n")


def build_error(failure: Failure) -> dict[str, Any]:
    kind, code = _ERRORS.get(
        failure.status,
        ("server_error" if failure.status >= 500 else "invalid_request_error", None),
    )
    error = {
        "message": failure.message,
        "type": kind,
        "param": None,
        "code": failure.code or _REASONS.get(failure.reason) or code,
    }
    return {"error": error}


def _error_headers(failure: Failure) -> dict[str, str]:
    said = retry_headers(failure)
    if failure.retry_after is not None:
        said["retry-after-ms"] = f"{failure.retry_after * 1000:g}"
    return said


FORMAT: Final = MockFormat(
    parse_prompt=parse_prompt,
    build_reply=build_reply,
    iter_events=iter_events,
    build_error=build_error,
    build_error_event=lambda failure: sse(build_error(failure)),
    unknown_model=(
        404,
        "The model `{}` does not exist or you do not have access to it.",
    ),
    bad_key=(
        401,
        "Incorrect API key provided. You can find your API key at "
        "https://platform.openai.com/account/api-keys.",
    ),
    headers={"x-request-id": "req_{}", "openai-processing-ms": "1"},
    error_headers=_error_headers,
)
