"""Ollama's own API, `/api/chat`.

https://docs.ollama.com/api/chat
https://github.com/ollama/ollama/blob/main/api/types.go

Streams are lines of JSON; the one with `done` ends them. Arguments of calls are
objects in both directions, and only newer servers give calls an id.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Mapping
from hashlib import sha256
from typing import Any, Final

from llmring_lite.exceptions import InvalidRequestError, ProviderResponseError
from llmring_lite.provider import (
    JSON,
    Endpoint,
    HTTPRequest,
    StreamEvent,
    WireFormat,
    extra_body,
    make_usage,
    requested_effort,
    without_unsupported,
)
from llmring_lite.provider_errors import parse_error
from llmring_lite.provider_ollama_messages import message_items
from llmring_lite.schemas import LLMRequest, LLMResponse, StreamChunk
from llmring_lite.structured import is_json, response_schema

# `load` and `unload` answer a conversation without a user's turn.
_FINISH: Final[Mapping[str | None, str]] = {
    "stop": "stop",
    "length": "length",
    "load": "stop",
    "unload": "stop",
}

# Options by the same name:
# https://docs.ollama.com/modelfile#valid-parameters-and-values
_OPTIONS: Final = ("temperature", "top_p", "seed")

# Fields of /api/chat itself; every other extra parameter is an option.
_TOP_LEVEL: Final = frozenset(
    {
        "model",
        "messages",
        "tools",
        "format",
        "options",
        "stream",
        "think",
        "keep_alive",
        "logprobs",
        "top_logprobs",
        "truncate",
        "shift",
    }
)

# gpt-oss takes a level and ignores true and false, other models take true and false:
# https://docs.ollama.com/capabilities/thinking
_LEVELS: Final[Mapping[str, str | bool]] = {
    "none": False,
    "minimal": "low",
    "xhigh": "high",
    "max": "high",
}


# Request --------------------------------------------------------------------------


def build_request(request: LLMRequest, endpoint: Endpoint) -> HTTPRequest:
    """The request to `/api/chat`.

    Raises:
        UnsupportedParameterError: A forced tool, `parallel_tool_calls=False`, or a
            message with a part or name that the API can't take.
        InvalidRequestError: A message, tool or tool call makes no sense.
    """
    request = without_unsupported(request, endpoint, _unsupported_fields(request))
    extra = extra_body(request)
    body: JSON = {
        "model": request.model,
        "messages": message_items(request, endpoint),
        "stream": request.stream,  # Left out, it means true.
    }
    if request.tools and request.tool_choice != "none":
        body["tools"] = [_tool(tool, i) for i, tool in enumerate(request.tools)]
    schema = response_schema(request.response_format)
    if schema is not None:
        body["format"] = schema.schema
    elif is_json(request.response_format):
        body["format"] = "json"
    think = _think(request)
    if think is not None:
        body["think"] = think
    options = {
        **_options(request),
        **{k: v for k, v in extra.items() if k not in _TOP_LEVEL},
        **(extra.get("options") or {}),
    }
    body |= {k: v for k, v in extra.items() if k in _TOP_LEVEL}
    if options:
        body["options"] = options
    return HTTPRequest(url=_url(endpoint), body=body)


def _url(endpoint: Endpoint) -> str:
    base = endpoint.base_url
    for suffix in ("/api", "/v1"):
        # OLLAMA_HOST has neither, but people paste URLs that do.
        base = base.removesuffix(suffix)
    return f"{base}/api/chat"


def _unsupported_fields(request: LLMRequest) -> dict[str, str]:
    unsupported = {}
    if request.tool_choice not in (None, "auto", "none"):
        unsupported["tool_choice"] = "Ollama can't force a tool call"
    if request.parallel_tool_calls is False:
        unsupported["parallel_tool_calls"] = "Ollama can't limit the calls of a turn"
    return unsupported


def _options(request: LLMRequest) -> JSON:
    options = {
        name: getattr(request, name)
        for name in _OPTIONS
        if getattr(request, name) is not None
    }
    if request.max_tokens is not None:
        options["num_predict"] = request.max_tokens
    if request.stop is not None:
        stop = request.stop
        options["stop"] = [stop] if isinstance(stop, str) else list(stop)
    return options


def _think(request: LLMRequest) -> str | bool | None:
    effort = requested_effort(request)
    if effort is None:
        return None
    if "gpt-oss" in request.model.lower():
        return _LEVELS.get(effort, effort)
    return effort != "none"


def _tool(tool: Mapping[str, Any], index: int) -> JSON:
    function = tool.get("function")
    if not isinstance(function, Mapping) or "name" not in function:
        raise InvalidRequestError(
            f"tools[{index}] is not a function tool with a name; Ollama has no others"
        )
    if function.get("parameters") is None:
        function = {**function, "parameters": {"type": "object", "properties": {}}}
    return {"type": "function", "function": dict(function)}


# Reply ----------------------------------------------------------------------------


def parse_response(body: JSON, request: LLMRequest) -> LLMResponse:
    """A reply's text, calls, thinking and usage.

    Raises:
        ProviderError: The body holds an error, or a reply that isn't finished.
    """
    if body.get("error"):
        raise parse_error(body)
    if body.get("done") is False:
        raise ProviderResponseError("the reply is not complete (done is false)")
    message = body["message"]
    calls = _calls(message, body, request, 0)
    thinking = message.get("thinking") or None
    return LLMResponse(
        content=message.get("content") or "",
        model=body.get("model") or "",
        usage=_usage(body),
        finish_reason=_finish_reason(body, bool(calls)),
        tool_calls=calls or None,
        reasoning=thinking,
        raw=body,
        provider_data=_carried(thinking, bool(calls)),
    )


def parse_stream(
    events: Iterable[StreamEvent], request: LLMRequest
) -> Generator[StreamChunk, None, None]:
    """Chunks of a streamed reply; only a line with `done` makes the last one.

    Raises:
        ProviderError: A line holds an error.
    """
    thoughts: list[str] = []
    count = 0  # of calls
    for event in events:
        data = json.loads(event.data)
        if "error" in data:
            raise parse_error(data)
        message = data["message"]
        thinking = message.get("thinking")
        if thinking:
            thoughts.append(thinking)
            yield StreamChunk(reasoning=thinking)
        content = message.get("content")
        if content:
            yield StreamChunk(content)
        if "tool_calls" in message:
            calls = _calls(message, data, request, count)
            count += len(calls)
            for call in calls:
                yield StreamChunk(tool_calls=[call])
        if data.get("done"):
            yield StreamChunk(
                model=data.get("model") or "",
                finish_reason=_finish_reason(data, count > 0),
                usage=_usage(data),
                raw={**data, "message": {"role": message.get("role", "assistant")}},
                provider_data=_carried("".join(thoughts), count > 0),
            )
            return


def _finish_reason(data: JSON, has_calls: bool) -> str:
    reason = _FINISH.get(data.get("done_reason"), "stop")
    return "tool_calls" if has_calls and reason == "stop" else reason


def _carried(thinking: str | None, has_calls: bool) -> JSON | None:
    """Thinking that led to calls goes back with their results.

    The models' templates leave that of other turns out.
    """
    return {"thinking": thinking} if thinking and has_calls else None


def _calls(message: JSON, data: JSON, request: LLMRequest, start: int) -> list[JSON]:
    calls = []
    for index, call in enumerate(message.get("tool_calls") or (), start):
        function = call["function"]
        arguments = function.get("arguments")
        if not isinstance(arguments, str):
            arguments = json.dumps(
                arguments or {}, separators=(",", ":"), ensure_ascii=False
            )
        calls.append(
            {
                "id": call.get("id") or _made_id(data, request, index, function),
                "type": "function",
                "function": {"name": function["name"], "arguments": arguments or "{}"},
            }
        )
    return calls


def _made_id(data: JSON, request: LLMRequest, index: int, function: JSON) -> str:
    """An id for a call without one, that no other call of the conversation has.

    The number of messages tells the turns apart, the index the calls of a turn.
    """
    facts = [data.get("created_at"), len(request.messages), index, function]
    digest = sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return f"call_{digest[:24]}"


def _usage(data: JSON) -> dict[str, Any]:
    """Token counts; `prompt_eval_count` is absent if an older server had all cached.

    It includes `prompt_eval_cached_count`; `eval_count` includes the thinking.
    """
    inputs, cached = data.get("prompt_eval_count"), data.get("prompt_eval_cached_count")
    return make_usage(
        fresh=inputs if inputs is None else max(0, inputs - (cached or 0)),
        cache_read=cached,
        output=data.get("eval_count"),
    )


WIRE: Final = WireFormat(
    framing="ndjson",
    build_request=build_request,
    parse_response=parse_response,
    parse_stream=parse_stream,
    fetched_parts=frozenset({"image_url"}),
)
