"""Anthropic's Messages API.

https://platform.claude.com/docs/en/api/messages/create

This module builds requests; see `provider_anthropic_messages` for the conversation,
`provider_anthropic_models` for what each model takes, `provider_anthropic_structure`
for structured output, `provider_anthropic_reply` and `provider_anthropic_stream` for
replies. Where the API has no place for something, or more than one:

- `max_tokens` is required: `DEFAULT_MAX_TOKENS` where the request sets none, on top
  of the thinking budget if there is one, and at most what the model can write.
- Reasoning: `reasoning_tokens` is a thinking budget, `reasoning_effort` an effort
  with adaptive thinking, and each is put in terms of the other for models that only
  take that. `reasoning_effort="none"` and `reasoning_tokens=0` turn thinking off. Its
  summary is asked for.
- `cache` sets breakpoints at the end of the conversation and of the system prompt
  (else of the tools); keys mean nothing.
- A tool may carry the API's own keys (`cache_control`, `eager_input_streaming`,
  `defer_loading`, ...) beside its function. Tools of other types than `function` are
  the provider's own and sent as they are.
- `extra_params["betas"]`, a list, goes into the `anthropic-beta` header.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from llmring_lite.provider import JSON, Endpoint, HTTPRequest, WireFormat
from llmring_lite.provider_anthropic_caching import (
    Blocks,
    add_breakpoints,
    drop_surplus,
)
from llmring_lite.provider_anthropic_messages import build_conversation
from llmring_lite.provider_anthropic_models import Traits, describe
from llmring_lite.provider_anthropic_parameters import (
    default_max_tokens,
    effort,
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
from llmring_lite.provider_parameters import (
    cache_hint,
    extra_body,
    stop_sequences,
    without_unsupported,
)
from llmring_lite.provider_tools import (
    has_tools,
    parameters_of,
    read_function,
    read_tool_choice,
)
from llmring_lite.schemas import LLMRequest

_VERSION: Final = "2023-06-01"
_FILES_BETA: Final = "files-api-2025-04-14"
_TOOL_CHOICES: Final = {"required": "any", "function": "tool"}


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
    drop_surplus(tools, system, turns)
    hint = cache_hint(request)
    if hint is not None:
        control = {"type": "ephemeral"} | ({"ttl": hint.ttl} if hint.ttl else {})
        tools, system, turns = add_breakpoints(tools, system, turns, control)
    body: JSON = {
        "model": request.model,
        "max_tokens": request.max_tokens,
        "messages": turns,
        "system": _system(system),
        "tools": tools,
        "tool_choice": _tool_choice(request, mode),
        "stop_sequences": stop_sequences(request),
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


def _output_config(request: LLMRequest, traits: Traits, mode: str | None) -> JSON:
    config: JSON = {}
    level = effort(request, traits)
    if level:
        config["effort"] = level
    if mode == "native":
        config["format"] = native_format(request)
    return config


# Tools -------------------------------------------------------------------------------


def _tool(tool: JSON, index: int) -> JSON:
    """A function in the API's form; the provider's own tools as they are."""
    function = read_function(tool, f"tools[{index}]")
    if function is None:
        return dict(tool)
    schema = parameters_of(function)
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
    given = read_tool_choice(request)
    choice: JSON | None = None
    if given is not None:
        choice = {"type": _TOOL_CHOICES.get(given.mode, given.mode)}
        choice |= {"name": given.name} if given.name else {}
    if mode == "tool":
        # Beside the caller's own tools the reply may be a call of one of them.
        if request.tools and (given is None or given.mode == "auto"):
            choice = {"type": "any"}
        else:
            choice = {
                "type": "tool",
                "name": structure_tool(request)["name"],
                "disable_parallel_tool_use": True,
            }
    if request.parallel_tool_calls is False and has_tools(request):
        choice = choice or {"type": "auto"}
        if choice["type"] != "none":
            choice["disable_parallel_tool_use"] = True
    return choice


# Files ----------------------------------------------------------------------------


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
