"""Chat Completions, sending: OpenAI's API and every server that speaks it.

https://platform.openai.com/docs/api-reference/chat/create, with Azure's addresses
(https://learn.microsoft.com/azure/ai-foundry/openai/reference). Where a server departs
from it, its row in `provider.BUILTIN` says so: `max_tokens_field`, `stream_options`,
and these `quirks`:

- `system_role`: knows no role `developer`; `system` is sent, which means the same.
- `random_seed`: `seed` has this name.
- `tool_ids_of_40`: ids of tool calls have at most 40 characters; others are hashed.
- `tool_ids_of_9`: they have nine letters or digits.
- `files_in_results`: results of tools can hold them; else they follow as a user's.
- `document_url`: files travel in this part instead of `file`.
- `json_object_only`: knows no JSON schemas; a system message tells the schema.
- `json_schema_only`: knows no `json_object`; the schema `{"type": "object"}` says it.
- `reasoning_object`: takes `reasoning: {"effort", "max_tokens"}`.
- `reasoning_refused`: some models refuse `reasoning` in assistant turns.
- `reasoning_echo`: wants `reasoning_content` in assistant turns with tool calls, be it
  empty.
- `openai_cache`: caches by itself; marks become breakpoints for models that know them.
- `automatic_cache`: caches by itself, and may refuse marks and keys.
- `cache_control`: takes Anthropic's `cache_control` for the whole request.
- `grok_conversation`: takes the cache key in the header `x-grok-conv-id`.

An endpoint without any of the last four gets marks on the parts that bear them, for it
may be a gateway, and the key of `LLMRequest.cache` as `prompt_cache_key`
(https://platform.openai.com/docs/guides/prompt-caching). That a prompt be cached is
what most of these servers do unasked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

from llmring_lite.provider import JSON, Endpoint, HTTPRequest, StreamEvent, WireFormat
from llmring_lite.provider_openai_messages import build_messages
from llmring_lite.provider_openai_models import has_fixed_sampling, reasons
from llmring_lite.provider_openai_reply import parse_response
from llmring_lite.provider_parameters import (
    CacheHint,
    cache_hint,
    extra_body,
    requested_effort,
    without_unsupported,
)
from llmring_lite.provider_tools import (
    has_tools,
    parameters_of,
    read_function,
    read_tool_choice,
)
from llmring_lite.schemas import LLMRequest, StreamChunk

_SAME_NAME: Final = ("temperature", "top_p", "stop")

# https://platform.openai.com/docs/api-reference/chat/create#chat-create-stop
_NO_STOP: Final = r"(?:.*/)?(?:ft:)?(?:o3(?!-mini)|o4-mini)"


def build_request(request: LLMRequest, endpoint: Endpoint) -> HTTPRequest:
    """The HTTP request for a call; see `provider` for the contract.

    Raises:
        UnsupportedParameterError: The model or server can't take a parameter.
        InvalidRequestError: The request makes no sense to any server of this kind.
    """
    request = without_unsupported(request, endpoint, _unsupported(request, endpoint))
    body: JSON = {
        "model": request.model,
        "messages": build_messages(request, endpoint),
    }
    for name in _SAME_NAME:
        value = getattr(request, name)
        if value is not None:
            body[name] = value
    if request.seed is not None:
        name = "random_seed" if "random_seed" in endpoint.quirks else "seed"
        body[name] = request.seed
    if request.max_tokens is not None:
        body[_max_tokens_field(request, endpoint)] = request.max_tokens
    body |= _tools(request, endpoint)
    body |= _reasoning(request, endpoint)
    hint = cache_hint(request)
    if hint is not None:
        body |= _cache(hint, endpoint.quirks)
    if request.response_format is not None:
        _add_response_format(body, request.response_format, endpoint)
    extra = extra_body(request)
    if request.stream:
        body["stream"] = True
        if endpoint.stream_options:
            options = extra.get("stream_options") or {}
            extra["stream_options"] = {"include_usage": True, **options}
    return HTTPRequest(
        url=_url(request.model, endpoint),
        body=body | extra,
        headers=_headers(hint, endpoint.quirks),
    )


def _url(model: str, endpoint: Endpoint) -> str:
    base = endpoint.base_url
    # Azure's v1 API has neither deployments nor dated versions in its addresses.
    if endpoint.api_version is None or "/openai/v1" in base:
        return f"{base}/chat/completions"
    # Foundry's inference API takes the model from the body:
    # https://learn.microsoft.com/rest/api/aifoundry/modelinference/
    if "/deployments/" not in base and not base.endswith("/models"):
        base = base.removesuffix("/openai")
        base = f"{base}/openai/deployments/{quote(model, safe='')}"
    version = quote(endpoint.api_version, safe="")
    return f"{base}/chat/completions?api-version={version}"


def _is_openai(endpoint: Endpoint) -> bool:
    """Whether OpenAI's rules about its models hold: not on compatible servers."""
    return endpoint.max_tokens_field is None


def _fetched_parts(endpoint: Endpoint) -> frozenset[str]:
    """OpenAI fetches images, but no documents; Mistral and OpenRouter do."""
    return frozenset({"file"} if _is_openai(endpoint) else ())


def _unsupported(request: LLMRequest, endpoint: Endpoint) -> dict[str, str]:
    """Fields that the model or server can't take, with the reason."""
    model, unsupported = request.model, {}
    # What the request sets comes first: a program that sets none of these needn't
    # compile the patterns.
    if _is_openai(endpoint):
        sampling = [
            name
            for name in ("temperature", "top_p")
            if getattr(request, name) not in (None, 1)
        ]
        if sampling and has_fixed_sampling(model):
            for name in sampling:
                unsupported[name] = f"{model} takes only its default, 1"
        if request.stop is not None and re.match(_NO_STOP, model):
            unsupported["stop"] = f"{model} takes no stop sequences"
        effort = requested_effort(request)
        if effort not in (None, "none") and reasons(model) is False:
            for name in ("reasoning_effort", "reasoning_tokens"):
                unsupported[name] = f"{model} doesn't reason"
    return unsupported


def _max_tokens_field(request: LLMRequest, endpoint: Endpoint) -> str:
    """https://platform.openai.com/docs/guides/reasoning: reasoning models take
    `max_completion_tokens`, which includes reasoning, and refuse `max_tokens`."""
    if endpoint.max_tokens_field is not None:
        return endpoint.max_tokens_field
    known = reasons(request.model)
    if known is None and endpoint.api_version is not None:
        # A deployment on Azure has any name; who asks for effort knows that it reasons.
        known = requested_effort(request) not in (None, "none")
    return "max_completion_tokens" if known else "max_tokens"


def _reasoning(request: LLMRequest, endpoint: Endpoint) -> JSON:
    effort = requested_effort(request)
    if effort is None:
        return {}
    if "reasoning_object" in endpoint.quirks:
        # https://openrouter.ai/docs/use-cases/reasoning-tokens: one of the two
        if request.reasoning_effort is None and request.reasoning_tokens:
            return {"reasoning": {"max_tokens": request.reasoning_tokens}}
        return {"reasoning": {"effort": effort}}
    if effort == "none" and _is_openai(endpoint) and reasons(request.model) is False:
        return {}
    return {"reasoning_effort": effort}


def _tools(request: LLMRequest, endpoint: Endpoint) -> JSON:
    fields: JSON = {}
    if request.tools:  # OpenAI refuses an empty list
        fields["tools"] = [
            _tool(tool, f"tools[{index}]", endpoint)
            for index, tool in enumerate(request.tools)
        ]
    choice = read_tool_choice(request)
    if choice is not None and choice.mode == "function":
        named = {"type": "function", "function": {"name": choice.name}}
        fields["tool_choice"] = named
    elif choice is not None:
        fields["tool_choice"] = choice.given or choice.mode
    if request.parallel_tool_calls is not None and has_tools(request):
        fields["parallel_tool_calls"] = request.parallel_tool_calls
    return fields


def _tool(tool: JSON, where: str, endpoint: Endpoint) -> JSON:
    """The tool as it is; but other servers than OpenAI's (Mistral) want a schema."""
    function = read_function(tool, where)
    if _is_openai(endpoint) or function is None or function.get("parameters"):
        return tool
    return {**tool, "function": {**function, "parameters": parameters_of(function)}}


def _cache(hint: CacheHint, quirks: frozenset[str]) -> JSON:
    fields: JSON = {}
    if "cache_control" in quirks:
        ttl = {"ttl": hint.ttl} if hint.ttl else {}
        fields["cache_control"] = {"type": "ephemeral", **ttl}
    if hint.key is not None and not quirks & {"automatic_cache", "grok_conversation"}:
        fields["prompt_cache_key"] = hint.key
    return fields


def _headers(hint: CacheHint | None, quirks: frozenset[str]) -> dict[str, str]:
    """https://docs.x.ai/developers/advanced-api-usage/prompt-caching"""
    if hint is None or hint.key is None or "grok_conversation" not in quirks:
        return {}
    return {"x-grok-conv-id": hint.key}


# Structured output ---------------------------------------------------------------


def _add_response_format(
    body: JSON, response_format: Mapping[str, Any], endpoint: Endpoint
) -> None:
    """https://platform.openai.com/docs/guides/structured-outputs"""
    # Five modules that most programs never need.
    from llmring_lite.structured import is_json, response_schema

    wanted = response_schema(response_format)
    if wanted is None and not is_json(response_format):
        body["response_format"] = dict(response_format)
    elif "json_object_only" in endpoint.quirks:
        body["response_format"] = {"type": "json_object"}
        if wanted is not None:
            told = json.dumps(wanted.schema, ensure_ascii=False)
            _instruct(body, f"Reply with JSON that obeys this JSON Schema:\n{told}")
    elif wanted is None and "json_schema_only" in endpoint.quirks:
        any_object = {"name": "response", "schema": {"type": "object"}}
        body["response_format"] = {"type": "json_schema", "json_schema": any_object}
    elif wanted is None:
        body["response_format"] = {"type": "json_object"}
    else:
        spec = wanted.for_openai()
        body["response_format"] = {"type": "json_schema", "json_schema": spec}


def _instruct(body: JSON, text: str) -> None:
    """Adds a system message after those at the beginning."""
    messages = body["messages"]
    place = next(
        (i for i, message in enumerate(messages) if message["role"] != "system"),
        len(messages),
    )
    messages.insert(place, {"role": "system", "content": text})


def parse_stream(
    events: Iterable[StreamEvent], request: LLMRequest
) -> Generator[StreamChunk, None, None]:
    """See `provider_openai_stream`, which programs without streams never load."""
    from llmring_lite import provider_openai_stream

    return provider_openai_stream.parse_stream(events, request)


WIRE: Final = WireFormat(
    framing="sse",
    build_request=build_request,
    parse_response=parse_response,
    parse_stream=parse_stream,
    fetched_parts=_fetched_parts,
)
