"""Ollama's own API, `/api/chat`.

https://docs.ollama.com/api/chat
https://github.com/ollama/ollama/blob/main/api/types.go

Streams are lines of JSON; the one with `done` ends them. Arguments of calls are
objects in both directions, and only newer servers give calls an id.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Mapping
from typing import Any, Final

from llmring_lite.exceptions import ProviderResponseError
from llmring_lite.provider import (
    JSON,
    Endpoint,
    HTTPRequest,
    StreamEvent,
    WireFormat,
    make_usage,
)
from llmring_lite.provider_errors import parse_error
from llmring_lite.provider_ollama_messages import message_items
from llmring_lite.provider_parameters import (
    cache_hint,
    extra_body,
    nearest_effort,
    requested_effort,
    stop_sequences,
    without_unsupported,
)
from llmring_lite.provider_parts import unsupported
from llmring_lite.provider_tools import (
    arguments_text,
    finish_reason,
    make_call,
    make_call_id,
    parameters_of,
    read_function,
    read_tool_choice,
)
from llmring_lite.schemas import LLMRequest, LLMResponse, StreamChunk
from llmring_lite.structured import is_json, response_schema

# `load` and `unload` answer a conversation without a user's turn.
_FINISH: Final[Mapping[str, str]] = {
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

# https://docs.ollama.com/capabilities/thinking
_LEVELS: Final = ("low", "medium", "high")


# Request --------------------------------------------------------------------------


def build_request(request: LLMRequest, endpoint: Endpoint) -> HTTPRequest:
    """The request to `/api/chat`.

    Raises:
        UnsupportedParameterError: A forced tool, `parallel_tool_calls=False`, or a
            message with a part or name that the API can't take.
        InvalidRequestError: A message, tool or tool call makes no sense.
    """
    request = without_unsupported(request, endpoint, _unsupported_fields(request))
    cache_hint(request)  # for its errors: the server keeps prompts by itself
    extra = extra_body(request)
    body: JSON = {
        "model": request.model,
        "messages": message_items(request, endpoint),
        "stream": request.stream,  # Left out, it means true.
    }
    if _offers_tools(request):
        body["tools"] = _tools(request)
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


def _offers_tools(request: LLMRequest) -> bool:
    choice = read_tool_choice(request)
    return bool(request.tools) and (choice is None or choice.mode != "none")


def _unsupported_fields(request: LLMRequest) -> dict[str, str]:
    reasons = {}
    choice = read_tool_choice(request)
    if choice is not None and choice.mode not in ("auto", "none"):
        reasons["tool_choice"] = "Ollama can't force a tool call"
    if "gpt-oss" in request.model.lower() and requested_effort(request) == "none":
        for name in ("reasoning_effort", "reasoning_tokens"):
            reasons[name] = f"{request.model} always reasons"
    if not _offers_tools(request):
        return reasons
    if request.parallel_tool_calls is False:
        reasons["parallel_tool_calls"] = "Ollama can't limit the calls of a turn"
    if is_json(request.response_format):
        # https://github.com/ollama/ollama/issues/8155
        reasons["response_format"] = (
            "in Ollama a format keeps the model from calling tools"
        )
    return reasons


def _options(request: LLMRequest) -> JSON:
    options = {
        name: getattr(request, name)
        for name in _OPTIONS
        if getattr(request, name) is not None
    }
    if request.max_tokens is not None:
        options["num_predict"] = request.max_tokens
    if request.stop is not None:
        options["stop"] = stop_sequences(request)
    return options


def _think(request: LLMRequest) -> str | bool | None:
    effort = requested_effort(request)
    if effort is None or effort == "none":
        return None if effort is None else False
    # gpt-oss ignores true and false, which are all that other models take.
    return (
        nearest_effort(effort, _LEVELS) if "gpt-oss" in request.model.lower() else True
    )


def _tools(request: LLMRequest) -> list[JSON]:
    tools = []
    for index, tool in enumerate(request.tools or ()):
        where = f"tools[{index}]"
        function = read_function(tool, where)
        if function is None:
            raise unsupported(where, "Ollama has no tools of its own, only functions")
        if function.get("strict") and not request.extra_params.get("drop_unsupported"):
            raise unsupported(
                f"{where}.function.strict", "Ollama can't enforce schemas"
            )
        sent = {k: v for k, v in function.items() if v is not None and k != "strict"}
        sent["parameters"] = parameters_of(function)
        tools.append({"type": "function", "function": sent})
    return tools


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
        finish_reason=finish_reason(_FINISH, body.get("done_reason"), bool(calls)),
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
        if data.get("error"):
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
                finish_reason=finish_reason(
                    _FINISH, data.get("done_reason"), count > 0
                ),
                usage=_usage(data),
                raw={**data, "message": {"role": message.get("role", "assistant")}},
                provider_data=_carried("".join(thoughts), count > 0),
            )
            return


def _carried(thinking: str | None, has_calls: bool) -> JSON | None:
    """Thinking that led to calls goes back with their results.

    The models' templates leave that of other turns out.
    """
    return {"thinking": thinking} if thinking and has_calls else None


def _calls(message: JSON, data: JSON, request: LLMRequest, start: int) -> list[JSON]:
    calls = []
    for index, call in enumerate(message.get("tool_calls") or (), start):
        function = call["function"]
        call_id = call.get("id") or make_call_id(
            request, data.get("created_at"), index, function["name"]
        )
        arguments = arguments_text(function.get("arguments"))
        calls.append(make_call(call_id, function["name"], arguments))
    return calls


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
    fetched_parts=lambda endpoint: frozenset({"image_url"}),
)
