"""OpenAI's Responses API, which Azure, xAI, DeepSeek and OpenRouter speak as well.

https://platform.openai.com/docs/api-reference/responses
https://platform.openai.com/docs/api-reference/responses-streaming

The server keeps nothing: `store` is false and reasoning comes encrypted, so that
`response.message` is all that the next turn needs, also for organisations without
data retention, after the 30 days that stored replies last, and on servers that
store nothing. `extra_params={"store": True}` or `"previous_response_id"` ask for
the other way.

Summaries of OpenAI's reasoning come on demand, `extra_params={"reasoning":
{"summary": "auto"}}`, because organisations have to be verified for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llmring_lite.provider import JSON, Endpoint, HTTPRequest, WireFormat
from llmring_lite.provider_openai_models import has_fixed_sampling
from llmring_lite.provider_openai_models import reasons as reasons_by_name
from llmring_lite.provider_openai_responses_input import input_items
from llmring_lite.provider_openai_responses_reply import parse_response, parse_stream
from llmring_lite.provider_parameters import (
    cache_hint,
    extra_body,
    requested_effort,
    without_unsupported,
)
from llmring_lite.provider_tools import has_tools, read_function, read_tool_choice
from llmring_lite.schemas import LLMRequest
from llmring_lite.structured import is_json, response_schema

_SAME_NAME: Final = ("temperature", "top_p")

# Parameters by which a caller puts the state of the conversation on the server.
_STATEFUL: Final = frozenset({"previous_response_id", "conversation", "background"})


def build_request(request: LLMRequest, endpoint: Endpoint) -> HTTPRequest:
    """The request to `/responses`.

    Raises:
        UnsupportedParameterError: The API, or this model, can't take something.
        InvalidRequestError: A message, tool or tool choice makes no sense.
    """
    request = without_unsupported(request, endpoint, _unsupported(request))
    extra = extra_body(request)
    effort = requested_effort(request)
    reasons = _reasons(request.model, effort, endpoint)
    body: JSON = {
        "model": request.model,
        "input": input_items(request, endpoint, with_reasoning=reasons is not False),
    }
    if not _STATEFUL & extra.keys():
        body["store"] = False
    if request.stream:
        body["stream"] = True
    for name in _SAME_NAME:
        value = getattr(request, name)
        if value is not None:
            body[name] = value
    if reasons:
        # Other models refuse it: "Encrypted content is not supported".
        body["include"] = ["reasoning.encrypted_content"]
    if effort is not None and reasons is not False:
        body["reasoning"] = {"effort": effort}
    if request.max_tokens is not None:
        body["max_output_tokens"] = request.max_tokens
    text_format = _text_format(request.response_format)
    if text_format is not None:
        body["text"] = {"format": text_format}
    if request.tools:
        body["tools"] = [_tool(tool, i) for i, tool in enumerate(request.tools)]
    choice = read_tool_choice(request)
    if choice is not None:
        named = {"type": "function", "name": choice.name} if choice.name else None
        body["tool_choice"] = named or choice.given or choice.mode
    if request.parallel_tool_calls is not None and has_tools(request):
        body["parallel_tool_calls"] = request.parallel_tool_calls
    hint = cache_hint(request)
    if hint is not None and hint.key is not None:
        body["prompt_cache_key"] = hint.key
    return HTTPRequest(url=_url(endpoint), body=_merged(body, extra))


def _url(endpoint: Endpoint) -> str:
    base, version = endpoint.base_url, endpoint.api_version
    if version is None:
        return f"{base}/responses"
    # Azure: https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle
    if base.endswith("/openai/v1"):
        # The versionless API knows the dated versions no more.
        dated = version[:1].isdigit()
        return f"{base}/responses" + ("" if dated else f"?api-version={version}")
    if not base.endswith("/openai"):
        base += "/openai"
    return f"{base}/responses?api-version={version}"


def _merged(body: JSON, extra: JSON) -> JSON:
    """`extra` over `body`; `reasoning`, `text` and `include` are completed by it.

    They hold options that a caller may add to ours (`summary`, `verbosity`,
    logprobs). An empty `include` takes ours away.
    """
    merged = {**body, **extra}
    for name in ("reasoning", "text"):
        ours, theirs = body.get(name), extra.get(name)
        if ours and isinstance(theirs, dict):
            merged[name] = {**ours, **theirs}
    if body.get("include") and extra.get("include"):
        merged["include"] = list(dict.fromkeys([*extra["include"], *body["include"]]))
    return merged


def _unsupported(request: LLMRequest) -> dict[str, str]:
    unsupported = {
        "stop": "the Responses API has no stop sequences",
        "seed": "the Responses API has no seed",
    }
    if has_fixed_sampling(request.model):
        for name in ("temperature", "top_p"):
            if getattr(request, name) != 1:
                unsupported[name] = f"{request.model} takes only its default, 1"
    if reasons_by_name(request.model) is False and requested_effort(request) != "none":
        for name in ("reasoning_effort", "reasoning_tokens"):
            unsupported[name] = f"{request.model} doesn't reason"
    return unsupported


def _reasons(model: str, effort: str | None, endpoint: Endpoint) -> bool | None:
    """Whether the model reasons; None where neither name nor request tells."""
    known = reasons_by_name(model)
    on_azure = endpoint.api_version is not None or ".azure.com" in endpoint.base_url
    if known is None and on_azure and effort not in (None, "none"):
        return True
    return known


def _text_format(response_format: Mapping[str, Any] | None) -> JSON | None:
    schema = response_schema(response_format)
    if schema is None:
        return {"type": "json_object"} if is_json(response_format) else None
    return {"type": "json_schema", **schema.for_openai()}


def _tool(tool: JSON, index: int) -> JSON:
    """A function tool flattened; the API's own tools pass as they are."""
    function = read_function(tool, f"tools[{index}]")
    if function is None:
        return tool
    flat = {"type": "function", **function}
    if flat.get("parameters") is None:
        flat["parameters"] = {
            "type": "object",
            "properties": {},
            "required": [],
            "additionalProperties": False,
        }
    # Chat Completions takes a missing `strict` for false, this API for true.
    flat["strict"] = bool(flat.get("strict"))
    return flat


WIRE: Final = WireFormat(
    framing="sse",
    build_request=build_request,
    parse_response=parse_response,
    parse_stream=parse_stream,
)
