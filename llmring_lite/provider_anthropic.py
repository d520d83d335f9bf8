"""Anthropic's Messages API.

https://platform.claude.com/docs/en/api/messages/create

This module builds requests; see `provider_anthropic_messages` for the conversation,
`provider_anthropic_models` for what each model takes, `provider_anthropic_structure`
for structured output, `provider_anthropic_reply` and `provider_anthropic_stream` for
replies. Where the API has no place for something, or more than one:

- `max_tokens` is required: `DEFAULT_MAX_TOKENS` where the request sets none, on top
  of the thinking budget if there is one, and at most what the model can write.
- Reasoning: `reasoning_tokens` is a thinking budget, `reasoning_effort` an effort
  with adaptive thinking, or a budget on models without that. With both set, a model
  that takes one of the two only gets that one. `reasoning_effort="none"` and
  `reasoning_tokens=0` turn thinking off. Its summary is asked for.
- `cache=True` or `cache={"ttl": "1h"}` sets breakpoints at the end of the
  conversation and of the system prompt (else of the tools).
- A tool may carry the API's own keys (`cache_control`, `eager_input_streaming`,
  `defer_loading`, ...) beside its function. Tools of other types than `function` are
  the provider's own and sent as they are.
- `extra_params["betas"]`, a list, goes into the `anthropic-beta` header.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from llmring_lite.exceptions import InvalidRequestError
from llmring_lite.provider import JSON, Endpoint, HTTPRequest, WireFormat
from llmring_lite.provider_anthropic_caching import (
    Blocks,
    add_breakpoints,
    count_breakpoints,
)
from llmring_lite.provider_anthropic_messages import build_conversation
from llmring_lite.provider_anthropic_models import Traits, describe
from llmring_lite.provider_anthropic_parameters import (
    default_max_tokens,
    effort,
    parse_tool_choice,
    sampling,
    thinking,
    unsupported_reasoning,
    unsupported_sampling,
)
from llmring_lite.provider_anthropic_reply import parse_response
from llmring_lite.provider_anthropic_stream import parse_stream
from llmring_lite.provider_anthropic_structure import (
    native_format,
    native_schema,
    structure_mode,
    structure_prompt,
    structure_tool,
)
from llmring_lite.provider_parameters import extra_body, without_unsupported
from llmring_lite.schemas import LLMRequest

_VERSION: Final = "2023-06-01"
_FILES_BETA: Final = "files-api-2025-04-14"
_CACHE_TTLS: Final = (None, "5m", "1h")


def build_request(request: LLMRequest, endpoint: Endpoint) -> HTTPRequest:
    """See `provider`."""
    limit, traits = describe(request.model)
    request = without_unsupported(
        request, endpoint, unsupported_reasoning(request, traits, limit)
    )
    thought = thinking(request, traits, limit)
    request = without_unsupported(
        request, endpoint, unsupported_sampling(request, traits, thought)
    )
    mode = structure_mode(request)
    system, turns = build_conversation(
        request, endpoint, late_system="system" in traits
    )
    if mode == "prompt":
        system.append({"type": "text", "text": structure_prompt(request)})
    tools = [_tool(tool, index) for index, tool in enumerate(request.tools or ())]
    if mode == "tool":
        tools.append(structure_tool(request))
    tools, system, turns = _with_caching(request, tools, system, turns)
    body: JSON = {
        "model": request.model,
        "max_tokens": request.max_tokens,
        "messages": turns,
        "system": _system(system),
        "tools": tools,
        "tool_choice": _tool_choice(request, mode),
        "stop_sequences": _stop_sequences(request.stop),
        "thinking": thought,
        "output_config": _output_config(request, traits, mode),
        "stream": request.stream or None,
        **dict(sampling(request, traits)),
    }
    body = {
        key: value for key, value in body.items() if value not in (None, "", [], {})
    }
    betas = _merge_extra(body, extra_body(request), limit)
    headers = {"anthropic-version": _VERSION}
    if _has_file_id(turns):
        betas = dict.fromkeys((*betas, _FILES_BETA))
    if betas:
        headers["anthropic-beta"] = ",".join(betas)
    base_url = endpoint.base_url.removesuffix("/v1")
    return HTTPRequest(url=f"{base_url}/v1/messages", headers=headers, body=body)


def _merge_extra(body: JSON, extra: JSON, limit: int) -> Iterable[str]:
    """Put the caller's own fields into the body; returns its beta headers.

    `output_config` is merged, so that a field of it does not undo the others.
    """
    betas = extra.pop("betas", ())
    if isinstance(betas, str):
        betas = betas.split(",")
    if isinstance(extra.get("output_config"), Mapping):
        known = body.get("output_config", {})
        extra["output_config"] = {**known, **extra["output_config"]}
    body.update(extra)
    if "max_tokens" not in body:
        body["max_tokens"] = default_max_tokens(body.get("thinking"), limit)
    return [beta.strip() for beta in betas]


def _system(blocks: Blocks) -> str | Blocks:
    """The system prompt: a text, or its blocks where they say more than text."""
    if all(len(block) == 2 for block in blocks):
        return "\n\n".join(block["text"] for block in blocks)
    return blocks


def _stop_sequences(stop: str | list[str] | None) -> list[str]:
    return [stop] if isinstance(stop, str) else list(stop or ())


def _output_config(request: LLMRequest, traits: Traits, mode: str | None) -> JSON:
    config: JSON = {}
    level = effort(request, traits)
    if level:
        config["effort"] = level
    if mode == "native":
        config["format"] = native_format(request)
    return config


# Tools -------------------------------------------------------------------------------


def _tool(tool: Mapping[str, Any], index: int) -> JSON:
    """A function in the API's form; the provider's own tools as they are."""
    if tool.get("type", "function") != "function":
        return dict(tool)
    function = tool.get("function")
    if not isinstance(function, Mapping) or not function.get("name"):
        raise InvalidRequestError(
            f'tools[{index}] must be {{"type": "function", "function": {{"name", '
            '"description", "parameters"}}'
        )
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    wire: JSON = {k: v for k, v in tool.items() if k not in ("type", "function")}
    wire["name"] = function["name"]
    if function.get("description"):
        wire["description"] = function["description"]
    if function.get("strict"):
        wire["strict"] = True
        # What can't be said in the API's part of JSON Schema is its to refuse.
        schema = native_schema(schema) or schema
    wire["input_schema"] = schema if "type" in schema else {"type": "object", **schema}
    return wire


def _tool_choice(request: LLMRequest, mode: str | None) -> JSON | None:
    choice = parse_tool_choice(request.tool_choice)
    has_tools = bool(request.tools) or "tools" in request.extra_params
    if mode == "tool":
        # Beside the caller's own tools the reply may be a call of one of them.
        if request.tools and (choice is None or choice["type"] == "auto"):
            choice = {"type": "any"}
        else:
            choice = {
                "type": "tool",
                "name": structure_tool(request)["name"],
                "disable_parallel_tool_use": True,
            }
    elif not has_tools:
        if choice and choice["type"] in ("any", "tool"):
            raise InvalidRequestError(
                f"tool_choice {request.tool_choice!r} needs tools, and the request has "
                "none"
            )
        return None
    if request.parallel_tool_calls is False:
        choice = choice or {"type": "auto"}
        if choice["type"] != "none":
            choice["disable_parallel_tool_use"] = True
    return choice


# Caching and files ----------------------------------------------------------------


def _with_caching(
    request: LLMRequest, tools: Blocks, system: Blocks, turns: Blocks
) -> tuple[Blocks, Blocks, Blocks]:
    """Tools, system and turns with the breakpoints that `cache` asks for."""
    cache = request.cache
    if cache is None or cache is False:
        count_breakpoints(tools, system, turns)
        return tools, system, turns
    ttl = cache.get("ttl") if isinstance(cache, Mapping) else None
    if not (cache is True or isinstance(cache, Mapping)) or ttl not in _CACHE_TTLS:
        raise InvalidRequestError(
            f'cache is {cache!r}; it can be True, or {{"ttl": "5m"}} or {{"ttl": "1h"}}'
        )
    control = {"type": "ephemeral"} | ({"ttl": ttl} if ttl else {})
    return add_breakpoints(tools, system, turns, control)


def _has_file_id(turns: Blocks) -> bool:
    """Whether the turns refer to an uploaded file, which is a beta feature."""
    return any(
        (block.get("source") or {}).get("type") == "file"
        for block in _source_blocks(turns)
    )


def _source_blocks(turns: Blocks) -> Iterator[JSON]:
    """Images and documents, those in tool results included."""
    for turn in turns:
        for block in turn["content"]:
            if block["type"] in ("image", "document"):
                yield block
            elif block["type"] == "tool_result" and isinstance(
                block.get("content"), list
            ):
                yield from block["content"]


WIRE: Final = WireFormat(
    framing="sse",
    build_request=build_request,
    parse_response=parse_response,
    parse_stream=parse_stream,
)
