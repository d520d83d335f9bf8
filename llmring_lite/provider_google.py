"""Wire format of Google's Gemini: generateContent and streamGenerateContent.

Reference: https://ai.google.dev/api/generate-content; Vertex AI speaks the same.

Reasoning is controlled by a budget of tokens up to Gemini 2.5 and by a level since
Gemini 3 (https://ai.google.dev/gemini-api/docs/thinking). An effort becomes what
Google's own OpenAI-compatible API makes of it
(https://ai.google.dev/gemini-api/docs/openai#thinking):

- 2.5: `reasoning_tokens` is the budget (-1 lets the model decide), and without it
  `reasoning_effort` is 1,024 tokens for `minimal` and `low`, 8,192 for `medium`,
  24,576 for `high` and above. `none`, or 0 tokens, turns reasoning off except on Pro
  models.
- Since 3, `reasoning_effort` is the nearest level, and `none` is an error, for these
  models always think. Without it `reasoning_tokens` is sent as a budget, which newer
  models may refuse.
- Models before 2.5 don't think.

Asking for reasoning also asks for its summary, which becomes `LLMResponse.reasoning`.
`max_tokens` limits thoughts and reply together.

Gemini caches what prompts have in common by itself, so hints need nothing. A cached
content is another thing, a part of the prompt that is elsewhere:
`extra_params={"cachedContent": "cachedContents/..."}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from llmring_lite.provider import JSON, Endpoint, HTTPRequest, WireFormat
from llmring_lite.provider_google_contents import build_conversation, generation
from llmring_lite.provider_google_reply import parse_response, parse_stream
from llmring_lite.provider_parameters import (
    EFFORTS,
    cache_hint,
    extra_body,
    nearest_effort,
    requested_effort,
    stop_sequences,
    without_unsupported,
)
from llmring_lite.provider_parts import unsupported
from llmring_lite.provider_tools import is_forced, read_function, read_tool_choice
from llmring_lite.schemas import LLMRequest
from llmring_lite.structured import is_json, response_schema

_BUDGETS: Final = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}

_MODES: Final = {"auto": "AUTO", "none": "NONE", "required": "ANY", "function": "ANY"}

# Objects of the body to which `extra_params` add instead of replacing them.
_MERGED: Final = ("generationConfig", "toolConfig")


def build_request(request: LLMRequest, endpoint: Endpoint) -> HTTPRequest:
    """The HTTP request for a request; see `provider` for the contract.

    Entries of `tools` without a `type` are sent as they are, which is how Google's own
    tools (`{"googleSearch": {}}`) stand beside functions. `extra_params` go into the
    body's top level; a `generationConfig` and a `toolConfig` there are merged into
    ours.

    Raises:
        UnsupportedParameterError: Gemini, or this model, can't take a parameter.
        InvalidRequestError: A message, tool or choice is malformed.
    """
    request = without_unsupported(request, endpoint, _unsupported(request))
    api_url = _api_url(endpoint.base_url)
    system, contents = build_conversation(request, endpoint, api_url)
    body: JSON = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": [{"text": system}]}
    if request.tools:
        body["tools"] = _tools(request.tools)
    tool_config = _tool_config(request)
    if tool_config:
        body["toolConfig"] = tool_config
    config = _generation_config(request)
    if config:
        body["generationConfig"] = config
    cache_hint(request)  # for its errors: the API caches by itself
    for key, value in extra_body(request).items():
        if key in _MERGED and isinstance(value, Mapping):
            value = {**body.get(key, {}), **value}
        body[key] = value
    method = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
    return HTTPRequest(
        url=f"{api_url}/{_model_path(request.model)}:{method}", body=body
    )


def _api_url(base_url: str) -> str:
    """The base URL with its version, which it may have already.

    A Vertex AI URL ends in `/v1/projects/.../publishers/google`.
    """
    last = base_url.rpartition("/")[2]
    if "/publishers/" in base_url or last in ("v1", "v1beta", "v1alpha", "v1beta1"):
        return base_url
    return f"{base_url}/v1beta"


def _model_path(model: str) -> str:
    kind, slash, name = model.partition("/")
    if not slash or kind not in ("models", "tunedModels"):
        kind, name = "models", model
    return f"{kind}/{quote(name, safe='')}"


def _is_pro(model: str) -> bool:
    return "-pro" in model.lower()


def _levels(model: str) -> tuple[str, ...]:
    """The reasoning efforts that a model knows, weakest first; none: it has none."""
    version = generation(model)
    if version is not None and version < 2.5:
        return ()
    known = tuple(_BUDGETS)
    return known[1:] if _since_3(model) and not _has_minimal(model) else known


def _has_minimal(model: str) -> bool:
    """Of the models since Gemini 3, Flash up to 3.6 and Flash-Lite."""
    if model.endswith("flash-latest"):
        return False
    return not _is_pro(model) and ("lite" in model or (generation(model) or 0) < 3.7)


def _since_3(model: str) -> bool:
    return (generation(model) or 3) >= 3


def _unsupported(request: LLMRequest) -> dict[str, str]:
    """Fields that this model can't take, with the reason."""
    model, effort = request.model, requested_effort(request)
    reasons: dict[str, str] = {}
    if request.tools and request.parallel_tool_calls is False:
        reasons["parallel_tool_calls"] = "Gemini can't be kept from parallel calls"
    choice = read_tool_choice(request)
    if choice is not None and choice.mode == "own":
        reasons["tool_choice"] = "it is of a form that Gemini doesn't know"
    problem = None
    if effort == "none" and _is_pro(model):
        problem = f"{model} can't stop thinking"
    elif effort == "none" and _since_3(model) and request.reasoning_effort:
        problem = f'{model} can\'t stop thinking; "minimal" or "low" is the least'
    elif effort not in (None, "none") and not _levels(model):
        problem = f"{model} doesn't think"
    elif effort is not None and effort not in EFFORTS:
        problem = f"Gemini has no effort {effort!r}; it knows {', '.join(EFFORTS)}"
    if problem:
        reasons |= dict.fromkeys(("reasoning_effort", "reasoning_tokens"), problem)
    if request.tools and not _since_3(model) and is_json(request.response_format):
        reasons["response_format"] = (
            "before Gemini 3 a structured reply can't be had together with tools"
        )
    return reasons


# Tools ---------------------------------------------------------------------------


def _tools(tools: list[JSON]) -> list[JSON]:
    """https://ai.google.dev/api/caching#Tool: functions in one, others as given."""
    functions, others = [], []
    for number, tool in enumerate(tools):
        where = f"tools[{number}]"
        function = read_function(tool, where)
        if function is not None:
            functions.append(_declaration(function))
        elif "type" not in tool:
            others.append(tool)
        else:
            raise unsupported(
                where,
                f"Gemini knows no type {tool['type']!r}; it takes functions, and its "
                'own tools such as {"googleSearch": {}}',
            )
    declared = [{"functionDeclarations": functions}] if functions else []
    return [*declared, *others]


def _declaration(function: Mapping[str, Any]) -> JSON:
    declaration: JSON = {"name": function["name"]}
    if function.get("description"):
        declaration["description"] = function["description"]
    if function.get("parameters"):
        # Not `parameters`, which takes only a subset of OpenAPI.
        declaration["parametersJsonSchema"] = function["parameters"]
    return declaration


def _tool_config(request: LLMRequest) -> JSON | None:
    """https://ai.google.dev/api/caching#FunctionCallingConfig"""
    choice = read_tool_choice(request)
    if choice is None or choice.mode == "auto":
        if any((t.get("function") or {}).get("strict") for t in request.tools or ()):
            # Calls keep their schema under this mode and under ANY only.
            return {"functionCallingConfig": {"mode": "VALIDATED"}}
        if choice is None:
            return None
    config: JSON = {"mode": _MODES[choice.mode]}
    if choice.name:
        config["allowedFunctionNames"] = [choice.name]
    return {"functionCallingConfig": config}


# Parameters ----------------------------------------------------------------------


def _generation_config(request: LLMRequest) -> JSON:
    """https://ai.google.dev/api/generate-content#GenerationConfig"""
    config: JSON = {
        "temperature": request.temperature,
        "topP": request.top_p,
        "maxOutputTokens": request.max_tokens,
        "stopSequences": stop_sequences(request) or None,
        "seed": request.seed,
        "thinkingConfig": _thinking_config(request),
    }
    # A forced call leaves no text to have a format, and is refused beside one.
    if is_json(request.response_format) and not is_forced(request):
        config["responseMimeType"] = "application/json"
        wanted = response_schema(request.response_format)
        if wanted is not None:
            # Not `responseSchema`, which takes only a subset of OpenAPI.
            described = (
                {"description": wanted.description} if wanted.description else {}
            )
            config["responseJsonSchema"] = described | wanted.schema
    return {key: value for key, value in config.items() if value is not None}


def _thinking_config(request: LLMRequest) -> JSON | None:
    effort, tokens = request.reasoning_effort, request.reasoning_tokens
    config: JSON
    if effort is not None and _since_3(request.model):
        config = {"thinkingLevel": nearest_effort(effort, _levels(request.model))}
    elif tokens is not None and _levels(request.model):
        config = {"thinkingBudget": tokens}
    elif effort not in (None, "none"):
        config = {"thinkingBudget": _BUDGETS[nearest_effort(effort, tuple(_BUDGETS))]}
    elif effort == "none" and _levels(request.model):
        config = {"thinkingBudget": 0}
    else:
        return None
    if config.get("thinkingBudget") != 0:
        config["includeThoughts"] = True
    return config


WIRE = WireFormat(
    framing="sse",
    build_request=build_request,
    parse_response=parse_response,
    parse_stream=parse_stream,
)
