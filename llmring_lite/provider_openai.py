"""Chat Completions, sending: OpenAI's API and every server that speaks it.

https://platform.openai.com/docs/api-reference/chat/create, with Azure's addresses
(https://learn.microsoft.com/azure/ai-foundry/openai/reference). Where a compatible
server departs from OpenAI, its row in `provider.BUILTIN` says so: `max_tokens_field`,
`stream_options`, and these `quirks`:

- `system_role`: no role `developer`; `system` means the same and is sent instead.
- `automatic_cache`: caches prompts by itself and may refuse a `cache_control` it
  doesn't know: the marker is left out. Other endpoints get it, on the part.
- `random_seed`: `seed` has this name.
- `short_tool_ids`: ids of tool calls have nine letters or digits; others are hashed.
- `document_url`: files have this part instead of `file`.
- `json_object_only`: no JSON schemas; the schema goes into a system message.
- `reasoning_object`: `reasoning: {"effort", "max_tokens"}` for reasoning.
- `reasoning_echo`: assistant turns with tool calls must carry `reasoning_content`,
  be it empty.
"""

from __future__ import annotations

import json
import re
from typing import Final
from urllib.parse import quote

from llmring_lite.exceptions import InvalidRequestError
from llmring_lite.provider import (
    JSON,
    Endpoint,
    HTTPRequest,
    WireFormat,
    extra_body,
    own_data,
    without_unsupported,
)
from llmring_lite.provider_openai_reply import REASONING_TEXT, SENT_BACK, parse_response
from llmring_lite.provider_openai_stream import parse_stream
from llmring_lite.schemas import LLMRequest, Message

# Models are known by name, with the prefixes of fine-tunes and gateways. Deployments
# on Azure are usually named after their model.
_PREFIX: Final = r"(?:ft:|openai/)?"
_REASONING_MODEL: Final = re.compile(
    _PREFIX + r"(?:o\d|gpt-(?:[5-9]|\d\d)|codex-|computer-use)"
)
"""Takes `max_completion_tokens`, which counts reasoning, and no `max_tokens`:
https://platform.openai.com/docs/guides/reasoning"""

_FIXED_SAMPLING: Final = re.compile(
    _PREFIX + r"(?:o\d|gpt-5(?:-mini|-nano|-pro|-codex)?(?:$|-\d|:)|codex-mini)"
)
"""Refuses a temperature and top_p other than 1. Later models take them without
reasoning, which is for the API to judge:
https://platform.openai.com/docs/guides/latest-model#gpt-5-2-parameter-compatibility"""

_NO_STOP: Final = re.compile(_PREFIX + r"(?:o3(?!-mini)|o4-mini)")
"""https://platform.openai.com/docs/api-reference/chat/create#chat-create-stop"""

_SAME_NAME: Final = (
    "temperature",
    "top_p",
    "stop",
    "tools",
    "parallel_tool_calls",
    "reasoning_effort",
)


def build_request(request: LLMRequest, endpoint: Endpoint) -> HTTPRequest:
    """The HTTP request for a call; see `provider` for the contract.

    Raises:
        UnsupportedParameterError: The model or server can't take a parameter.
        InvalidRequestError: A message can't be sent to any server of this kind.
    """
    request = without_unsupported(request, endpoint, _unsupported(request, endpoint))
    body: JSON = {
        "model": request.model,
        "messages": [
            _message(message, f"messages[{i}]", request, endpoint)
            for i, message in enumerate(request.messages)
        ],
    }
    for name in _SAME_NAME:
        value = getattr(request, name)
        if value is not None:
            body[name] = value
    if request.max_tokens is not None:
        body[_max_tokens_field(request, endpoint)] = request.max_tokens
    if request.seed is not None:
        body["random_seed" if "random_seed" in endpoint.quirks else "seed"] = (
            request.seed
        )
    if request.tool_choice is not None:
        body["tool_choice"] = request.tool_choice
    if request.response_format is not None:
        body["response_format"] = request.response_format
    if request.stream:
        body["stream"] = True
        if endpoint.stream_options:
            body["stream_options"] = {"include_usage": True}
    body.update(extra_body(request))
    return HTTPRequest(url=_url(request.model, endpoint), body=body)


def _url(model: str, endpoint: Endpoint) -> str:
    base = endpoint.base_url
    # Azure's v1 API has neither deployments nor versions in its addresses.
    if endpoint.api_version is None or "/openai/v1" in base:
        return f"{base}/chat/completions"
    root = base.removesuffix("/openai")
    return (
        f"{root}/openai/deployments/{quote(model, safe='')}/chat/completions"
        f"?api-version={quote(endpoint.api_version, safe='')}"
    )


def _unsupported(request: LLMRequest, endpoint: Endpoint) -> dict[str, str]:
    """Fields that the model or server can't take, with the reason."""
    reasons: dict[str, str] = {}
    if endpoint.max_tokens_field is None and _FIXED_SAMPLING.match(request.model):
        for name in ("temperature", "top_p"):
            if getattr(request, name) not in (None, 1):
                reasons[name] = f"{request.model} takes only its default, 1"
    if endpoint.max_tokens_field is None and _NO_STOP.match(request.model):
        reasons["stop"] = f"{request.model} takes no stop sequences"
    reasons["reasoning_tokens"] = "the API takes no budget"
    return reasons


def _max_tokens_field(request: LLMRequest, endpoint: Endpoint) -> str:
    if endpoint.max_tokens_field is not None:
        return endpoint.max_tokens_field
    is_reasoning = _REASONING_MODEL.match(request.model)
    return "max_completion_tokens" if is_reasoning else "max_tokens"


# Messages ------------------------------------------------------------------------


def _message(
    message: Message, where: str, request: LLMRequest, endpoint: Endpoint
) -> JSON:
    role = message.role
    if role == "assistant":
        return _assistant(message, where, endpoint)
    if role == "developer" and "system_role" in endpoint.quirks:
        role = "system"
    sent: JSON = {"role": role, "content": message.content}
    if role == "tool":
        if not message.tool_call_id:
            raise InvalidRequestError(f"{where} has the role tool but no tool_call_id")
        sent["tool_call_id"] = message.tool_call_id
        if not isinstance(message.content, (str, list)):
            sent["content"] = json.dumps(message.content, ensure_ascii=False)
    if message.name:
        sent["name"] = message.name
    return sent


def _assistant(message: Message, where: str, endpoint: Endpoint) -> JSON:
    own = own_data(message, endpoint) or {}
    calls = message.tool_calls or []
    sent: JSON = {"role": "assistant", "content": message.content}
    if message.name:
        sent["name"] = message.name
    for name in (*REASONING_TEXT, "reasoning_details", *SENT_BACK):
        if name in own:
            sent[name] = own[name]
    if calls or own.get("tool_calls"):
        sent["content"] = message.content or None
        sent["tool_calls"] = [*calls, *own.get("tool_calls", ())]
    return sent


WIRE: Final = WireFormat(
    framing="sse",
    build_request=build_request,
    parse_response=parse_response,
    parse_stream=parse_stream,
)
