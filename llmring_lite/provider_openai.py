"""Chat Completions, sending: OpenAI's API and every server that speaks it.

https://platform.openai.com/docs/api-reference/chat/create, with Azure's addresses
(https://learn.microsoft.com/azure/ai-foundry/openai/reference). Where a server departs
from it, its row in `provider.BUILTIN` says so: `max_tokens_field`, `stream_options`,
and these `quirks`:

- `system_role`: knows no role `developer`; `system` is sent, which means the same.
- `random_seed`: `seed` has this name.
- `tool_ids_of_40`: ids of tool calls have at most 40 characters; others are hashed.
- `tool_ids_of_9`: they have nine letters or digits.
- `document_url`: files travel in this part instead of `file`.
- `json_object_only`: knows no JSON schemas; a system message tells the schema.
- `json_schema_only`: knows no `json_object`; the schema `{"type": "object"}` says it.
- `reasoning_object`: takes `reasoning: {"effort", "max_tokens"}`.
- `reasoning_refused`: some models refuse `reasoning` in assistant turns.
- `reasoning_echo`: wants `reasoning_content` in assistant turns with tool calls, be it
  empty.
- `openai_cache`: caches by itself; marks become breakpoints for models that know them.
- `automatic_cache`: caches by itself, and may refuse marks and keys: marks are left
  out, a key is an error.
- `cache_control`: takes Anthropic's `cache_control` for the whole request.
- `grok_conversation`: takes the cache key in the header `x-grok-conv-id`.

An endpoint without any of the last four gets marks on the parts that bear them, for it
may be a gateway, and the key as `prompt_cache_key`.

`LLMRequest.cache` is a key (a str), or a dict of `key`, `retention` (`"24h"`), and for
newer models `mode` and `ttl` (https://platform.openai.com/docs/guides/prompt-caching).
True, or a dict with only a `ttl`, asks for what most of these servers do unasked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from llmring_lite.exceptions import InvalidRequestError
from llmring_lite.provider import JSON, Endpoint, HTTPRequest, WireFormat
from llmring_lite.provider_openai_messages import build_messages
from llmring_lite.provider_openai_models import has_fixed_sampling, reasons
from llmring_lite.provider_openai_reply import parse_response
from llmring_lite.provider_openai_stream import parse_stream
from llmring_lite.provider_parameters import (
    extra_body,
    requested_effort,
    without_unsupported,
)
from llmring_lite.schemas import LLMRequest

_SAME_NAME: Final = ("temperature", "top_p", "stop", "parallel_tool_calls")

_TOOL_CHOICES: Final = ("auto", "none", "required")

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
    if request.tools:  # OpenAI refuses an empty list
        body["tools"] = request.tools
    if request.tool_choice is not None:
        body["tool_choice"] = _tool_choice(request.tool_choice)
    body |= _reasoning(request, endpoint)
    body |= _cache(request.cache, endpoint)
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
        headers=_headers(request.cache, endpoint),
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
    if "automatic_cache" in endpoint.quirks and _cache_options(request.cache):
        unsupported["cache"] = f"{endpoint.name} has no cache keys, and caches unasked"
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


def _tool_choice(choice: Any) -> Any:
    if isinstance(choice, Mapping):
        return dict(choice)
    if choice == "any":  # Mistral's and Anthropic's word
        return "required"
    if choice not in _TOOL_CHOICES:
        raise InvalidRequestError(
            f"unknown tool_choice {choice!r}; known are {', '.join(_TOOL_CHOICES)} and "
            '{"type": "function", "function": {"name": ...}}'
        )
    return choice


# Prompt caching ------------------------------------------------------------------


def _cache_options(cache: Any) -> dict[str, Any]:
    """Key, retention, mode and ttl, if `cache` says more than that it is wanted."""
    if isinstance(cache, str):
        return {"key": cache}
    if isinstance(cache, Mapping):
        return dict(cache) if cache.keys() - {"ttl", "type"} else {}
    if cache is None or isinstance(cache, bool):
        return {}
    raise InvalidRequestError(
        f"cache is {cache!r}; it can be True, a key, or a dict of key, retention, "
        "mode, ttl"
    )


def _cache(cache: Any, endpoint: Endpoint) -> JSON:
    options = _cache_options(cache)
    fields: JSON = {}
    if "cache_control" in endpoint.quirks and cache:
        ttl = (
            {"ttl": cache["ttl"]}
            if isinstance(cache, Mapping) and "ttl" in cache
            else {}
        )
        fields["cache_control"] = {"type": "ephemeral", **ttl}
    if "key" in options and "grok_conversation" not in endpoint.quirks:
        fields["prompt_cache_key"] = options["key"]
    if "retention" in options:
        fields["prompt_cache_retention"] = options["retention"]
    if "mode" in options:
        fields["prompt_cache_options"] = {
            name: options[name] for name in ("mode", "ttl") if name in options
        }
    return fields


def _headers(cache: Any, endpoint: Endpoint) -> dict[str, str]:
    """https://docs.x.ai/developers/advanced-api-usage/prompt-caching"""
    key = _cache_options(cache).get("key")
    if key is None or "grok_conversation" not in endpoint.quirks:
        return {}
    return {"x-grok-conv-id": key}


# Structured output ---------------------------------------------------------------


def _add_response_format(
    body: JSON, response_format: Mapping[str, Any], endpoint: Endpoint
) -> None:
    """https://platform.openai.com/docs/guides/structured-outputs"""
    # Five modules that most programs never need.
    from llmring_lite.structured import is_json, response_schema, strict_schema

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
        schema = strict_schema(wanted.schema) if wanted.strict else wanted.schema
        spec: JSON = {"name": wanted.name, "schema": schema, "strict": wanted.strict}
        if wanted.description is not None:
            spec["description"] = wanted.description
        body["response_format"] = {"type": "json_schema", "json_schema": spec}


def _instruct(body: JSON, text: str) -> None:
    """Adds a system message after those at the beginning."""
    messages = body["messages"]
    place = next(
        (i for i, message in enumerate(messages) if message["role"] != "system"),
        len(messages),
    )
    messages.insert(place, {"role": "system", "content": text})


WIRE: Final = WireFormat(
    framing="sse",
    build_request=build_request,
    parse_response=parse_response,
    parse_stream=parse_stream,
)
