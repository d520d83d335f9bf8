"""Google's Gemini API as its server speaks it.

Shapes: https://ai.google.dev/api/generate-content and
https://ai.google.dev/gemini-api/docs/troubleshooting; errors are those of
https://cloud.google.com/apis/design/errors, the time to wait included, which stands
in the body and in no header.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from llmring_lite.mock_model import Failure, MockRefusal
from llmring_lite.mock_reply import (
    Event,
    MockFormat,
    MockReply,
    Prompt,
    Turn,
    check_tool_results,
    count_words,
    split_words,
    to_json,
)

# A reply with function calls ends in STOP like any other.
_FINISH_REASONS: Final[Mapping[str, str]] = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
}

_ERRORS: Final[Mapping[int, str]] = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

_RPC: Final = "type.googleapis.com/google.rpc"

_BAD_KEY: Final[Mapping[str, Any]] = {
    "@type": f"{_RPC}.ErrorInfo",
    "reason": "API_KEY_INVALID",
    "domain": "googleapis.com",
    "metadata": {"service": "generativelanguage.googleapis.com"},
}

_ROLES: Final = {"user": "user", "function": "user", "model": "assistant"}


def parse_prompt(path: str, body: Mapping[str, Any]) -> Prompt:
    url = urlsplit(path)
    model, _, method = unquote(url.path).rpartition("/")[2].partition(":")
    system = _text(_get(_get(body, "systemInstruction") or {}, "parts") or ())
    turns = [Turn("system", system)] if system else []
    turns.extend(_turn(content) for content in body["contents"])
    if turns[-1].role != "user":
        raise MockRefusal(
            400, "Please ensure that the conversation ends with a user turn"
        )
    check_tool_results(turns)
    config = _get(body, "generationConfig") or {}
    calling = _get(_get(body, "toolConfig") or {}, "functionCallingConfig") or {}
    mode = calling.get("mode", "AUTO")
    names = _get(calling, "allowedFunctionNames") or [""]
    return Prompt(
        model=model,
        turns=turns,
        tools=[] if mode == "NONE" else _tools(body),
        forced=names[0] if mode == "ANY" else None,
        schema=_schema(config),
        max_tokens=_get(config, "maxOutputTokens"),
        stop=tuple(_get(config, "stopSequences") or ()),
        stream=method == "streamGenerateContent",
        sse="sse" in parse_qs(url.query).get("alt", ()),
    )


def _get(fields: Mapping[str, Any], name: str) -> Any:
    """A field, None if absent. Its name may be in snake case: the API is protobuf's
    JSON, which takes both (https://protobuf.dev/programming-guides/json/)."""
    if name in fields:
        return fields[name]
    return fields.get("".join(f"_{c.lower()}" if c.isupper() else c for c in name))


def _turn(content: Mapping[str, Any]) -> Turn:
    role = content.get("role", "user")
    if role not in _ROLES:
        raise MockRefusal(400, "Please use a valid role: user, model.")
    parts = content["parts"]
    # By name: ids are optional, here and there.
    calls, results = (
        tuple(found["name"] for part in parts if (found := _get(part, field)))
        for field in ("functionCall", "functionResponse")
    )
    return Turn(_ROLES[role], _text(parts), calls, results)


def _text(parts: Any) -> str:
    texts = (
        _result_text(result["response"])
        if (result := _get(part, "functionResponse"))
        else part.get("text", "")
        for part in parts
        if not part.get("thought")
    )
    return "\n".join(text for text in texts if text)


def _result_text(response: Mapping[str, Any]) -> str:
    """A result is an object: the text in it, if it is nothing but a wrapping."""
    values = list(response.values())
    wraps = len(values) == 1 and response.keys() <= {"result", "output", "error"}
    return values[0] if wraps and isinstance(values[0], str) else to_json(response)


def _tools(body: Mapping[str, Any]) -> list[tuple[str, Any]]:
    declared = [
        declaration
        for tool in body.get("tools") or ()
        for declaration in _get(tool, "functionDeclarations") or ()
    ]
    return [
        (each["name"], _get(each, "parametersJsonSchema") or each.get("parameters", {}))
        for each in declared
    ]


def _schema(config: Mapping[str, Any]) -> Any:
    if _get(config, "responseMimeType") != "application/json":
        return None
    return _get(config, "responseJsonSchema") or _get(config, "responseSchema") or {}


def _parts(
    prompt: Prompt, reply: MockReply, split: Callable[[str], list[str]]
) -> list[tuple[int, dict[str, Any]]]:
    """The parts, texts in pieces, with the tokens that each brings."""
    parts: list[tuple[int, dict[str, Any]]] = [
        (count_words(piece), {"text": piece, **more})
        for text, more in ((reply.reasoning, {"thought": True}), (reply.text, {}))
        if text
        for piece in split(text)
    ]
    for place, call in enumerate(reply.calls):
        given_id = {"id": call.given_id} if call.given_id else {}
        function = {"name": call.name, "args": call.arguments, **given_id}
        # The first of parallel calls is signed. The key happens to be base64.
        signature = {} if place else {"thoughtSignature": prompt.key}
        parts.append((1, {"functionCall": function, **signature}))
    return parts


def _response(
    prompt: Prompt,
    reply: MockReply,
    parts: list[dict[str, Any]],
    output: int,
    *,
    is_last: bool = True,
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"index": 0}
    if parts:
        candidate["content"] = {"parts": parts, "role": "model"}
    if is_last:
        candidate["finishReason"] = _FINISH_REASONS[reply.finish_reason]
        if reply.finish_reason == "tool_calls":
            candidate["finishMessage"] = "Model generated function call(s)."
    return {
        "candidates": [candidate],
        "usageMetadata": _usage(reply, output),
        "modelVersion": prompt.model,
        "responseId": prompt.key,
    }


def _usage(reply: MockReply, output: int) -> dict[str, Any]:
    # The prompt includes what came from the cache; the candidates' tokens exclude
    # thoughts; a count of zero is left out.
    usage = reply.usage
    counts = {
        "promptTokenCount": usage.prompt,
        "candidatesTokenCount": output,
        "totalTokenCount": usage.prompt + output + usage.reasoning,
        "cachedContentTokenCount": usage.cache_read,
        "thoughtsTokenCount": usage.reasoning,
    }
    details = [{"modality": "TEXT", "tokenCount": usage.prompt}]
    return {
        **{name: number for name, number in counts.items() if number},
        "promptTokensDetails": details,
    }


def build_reply(prompt: Prompt, reply: MockReply) -> dict[str, Any]:
    parts = [part for _, part in _parts(prompt, reply, lambda text: [text])]
    return _response(prompt, reply, parts, reply.usage.output)


def iter_events(prompt: Prompt, reply: MockReply) -> Iterator[Event]:
    """Events with `alt=sse`; else the items of one JSON array."""
    parts = _parts(prompt, reply, split_words) or [(0, {"text": ""})]
    output = 0
    for place, (tokens, part) in enumerate(parts, 1):
        is_last = place == len(parts)
        output = reply.usage.output if is_last else output + tokens
        body = _response(prompt, reply, [part], output, is_last=is_last)
        if prompt.sse:
            yield Event(tokens, _event(body))
        else:
            before, after = "[" if place == 1 else "", "]" if is_last else "\n,\r\n"
            yield Event(tokens, f"{before}{to_json(body)}{after}".encode())


def _event(value: dict[str, Any]) -> bytes:
    return f"data: {to_json(value)}\r\n\r\n".encode()


def build_error(failure: Failure) -> dict[str, Any]:
    status = _ERRORS.get(
        failure.status, "INTERNAL" if failure.status >= 500 else "INVALID_ARGUMENT"
    )
    details: list[Mapping[str, Any]] = []
    if failure.reason == "key":
        details.append(_BAD_KEY)
    if failure.retry_after is not None:
        delay = f"{failure.retry_after:g}s"
        details.append({"@type": f"{_RPC}.RetryInfo", "retryDelay": delay})
    error = {
        "code": failure.status,
        "message": failure.message,
        "status": failure.code or status,
    }
    return {"error": {**error, "details": details} if details else error}


FORMAT: Final = MockFormat(
    parse_prompt=parse_prompt,
    build_reply=build_reply,
    iter_events=iter_events,
    build_error=build_error,
    build_error_event=lambda failure: _event(build_error(failure)),
    unknown_model=(
        404,
        "models/{} is not found for API version v1beta, or is not supported for "
        "generateContent. Call ModelService.ListModels to see the list of available "
        "models and their supported methods.",
    ),
    bad_key=(400, "API key not valid. Please pass a valid API key."),
    headers={"server-timing": "gfet4t7; dur=1"},
    error_headers=lambda _: {},
    content_type="application/json; charset=UTF-8",
    stream_type="text/event-stream",
    broken_event=b'data: {"broken": \r\n\r\n',
)
