"""Chat Completions, receiving: whole replies, and their token counts.

Reads what OpenAI sends (https://platform.openai.com/docs/api-reference/chat/object)
and the habits of the servers that imitate it: reasoning under several names, content
as a list of chunks or missing, arguments as an object, `stop` beside tool calls,
errors in a 200, tools that Mistral runs itself.

What the same provider needs back in the next turn is left in `provider_data`, under
the name of the message's field: `reasoning_content`, `reasoning`,
`reasoning_details`, `thinking` (chunks of the content), `refusal`, `extra_content`,
`tool_calls` that are not of type `function`, and `call_extras`: fields beside the
function of a call, by the call's id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from llmring_lite.exceptions import (
    ProviderError,
    ProviderOverloadedError,
    ProviderResponseError,
)
from llmring_lite.provider import JSON, make_usage_of_totals
from llmring_lite.provider_errors import parse_error
from llmring_lite.provider_tools import (
    arguments_text,
    finish_reason,
    make_call,
    make_call_id,
)
from llmring_lite.schemas import LLMRequest, LLMResponse

_FINISH: Final[Mapping[str, str]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "function_call": "tool_calls",  # OpenAI's `functions`, before `tools`
    "max_tokens": "length",  # OpenAI's `finish_details`; gateways to Claude, Gemini
    "model_length": "length",  # Mistral: the context window is full
    "model_context_window_exceeded": "length",  # Z.AI
    "tool_use": "tool_calls",  # gateways to Claude
    "refusal": "content_filter",  # gateways to Claude
    "sensitive": "content_filter",  # Z.AI
    "safety": "content_filter",  # gateways to Gemini, also the next two
    "recitation": "content_filter",
    "prohibited_content": "content_filter",
}
"""Lower-case words; any other word says that the reply is complete."""

_BROKEN_OFF: Final[Mapping[str, type[ProviderError]]] = {
    # https://api-docs.deepseek.com/api/create-chat-completion
    "insufficient_system_resource": ProviderOverloadedError,
    "error": ProviderResponseError,  # Mistral, OpenRouter
    "network_error": ProviderResponseError,  # Z.AI
    "abort": ProviderResponseError,  # vLLM, SGLang
}
"""Words with which a server says that its reply is no complete one."""

REASONING_TEXT: Final = ("reasoning_content", "reasoning")
"""Names of the same thing: DeepSeek's (xAI, Z.AI, llama.cpp) and OpenRouter's
(Groq, Cerebras, Ollama, vLLM)."""

# `extra_content` is where Google's compatible endpoint puts thought signatures:
# https://ai.google.dev/gemini-api/docs/thought-signatures
SENT_BACK: Final = ("refusal", "extra_content")


def parse_response(body: JSON, request: LLMRequest) -> LLMResponse:
    """A reply from the body of a 2xx answer; see `provider` for the contract.

    Raises:
        ProviderError: The body holds an error, or says that the reply broke off.
    """
    check_no_error(body)
    choice = body["choices"][0]
    word = choice.get("finish_reason") or _finish_details(choice)
    message = _message(choice, word)
    text, thinking, chunks = split_content(message.get("content"))
    audio = message.get("audio") or {}
    text = text or audio.get("transcript") or ""
    check_not_broken_off(word, choice, text)
    calls, kept = split_tool_calls(message, body, request)
    reasoning, fields = split_reasoning(message)
    kept |= fields
    if chunks:
        kept["thinking"] = chunks
    return LLMResponse(
        text,
        body.get("model") or "",
        usage=parse_usage(body.get("usage")),
        finish_reason=read_finish(word, bool(calls)),
        tool_calls=calls or None,
        reasoning=reasoning or thinking or None,
        raw=body,
        refusal=message.get("refusal") or None,
        provider_data=kept or None,
    )


def _message(choice: JSON, word: str | None) -> JSON:
    if choice.get("messages"):
        return _joined(choice["messages"])
    if word == "content_filter":
        # Azure leaves the message out where its filter took all of it.
        return choice.get("message") or {}
    message: JSON = choice["message"]
    return message


def _joined(messages: list[JSON]) -> JSON:
    """One message of the several that Mistral sends if it ran tools itself.

    https://docs.mistral.ai/cookbooks/mistral-connectors-05-connectors-in-completions:
    its calls and their results are among them, and only in `raw`.
    """
    answered = {m.get("tool_call_id") for m in messages if m["role"] == "tool"}
    content: list[JSON] = []
    calls: list[JSON] = []
    for message in messages:
        if message["role"] == "tool":
            continue
        said = message.get("content") or []
        content += [{"type": "text", "text": said}] if isinstance(said, str) else said
        calls += message.get("tool_calls") or ()
    return {"content": content, "tool_calls": unanswered(calls, answered)}


def unanswered(calls: list[JSON], answered: set[str | None]) -> list[JSON]:
    """The calls that are left to the caller."""
    return [call for call in calls if call.get("id") not in answered]


def check_no_error(payload: Any) -> None:
    """Raise what a 2xx answer or an event of its stream reports as an error.

    OpenAI and most others send `error`; FastAPI servers `detail`; vLLM and Mistral
    an object of the kind "error" without a wrapper.
    """
    if not isinstance(payload, dict) or payload.get("error"):
        raise parse_error(payload)
    if (payload.get("x_groq") or {}).get("error"):  # why Groq stopped a stream early
        raise parse_error({"error": payload["x_groq"]["error"]})
    if "choices" not in payload and (
        payload.get("object") == "error" or "detail" in payload or "message" in payload
    ):
        raise parse_error(payload)


def check_not_broken_off(word: str | None, choice: JSON, partial: str) -> None:
    """Raise if the server says that the reply is not complete."""
    if choice.get("error"):  # OpenRouter
        error = parse_error({"error": choice["error"]})
        error.partial = partial
        raise error
    error_class = _BROKEN_OFF.get((word or "").lower())
    if error_class is not None:
        raise error_class(
            f"the provider broke the reply off (finish reason {word!r})",
            code=word,
            partial=partial,
        )


def _finish_details(choice: JSON) -> str | None:
    """The word of OpenAI's first vision models, which sent no `finish_reason`."""
    details = choice.get("finish_details") or {}
    return details.get("type")


def read_finish(word: str | None, has_calls: bool) -> str:
    return finish_reason(_FINISH, (word or "").lower(), has_calls)


# Content and reasoning -----------------------------------------------------------

THOUGHTS: Final = {"thinking": "thinking", "reasoning": "summary"}
"""Type of a chunk that holds reasoning -> its field."""


def split_content(content: Any) -> tuple[str, str, list[JSON]]:
    """Text, reasoning text, and the chunks of reasoning, to be sent back as they are.

    Mistral sends a list of typed chunks when a model reasons or cites:
    https://docs.mistral.ai/capabilities/reasoning/. So does Databricks, whose chunks
    of reasoning need not go back:
    https://docs.databricks.com/aws/en/machine-learning/model-serving/query-reason-models.
    Chunks of other types are in `raw` only.
    """
    if content is None or isinstance(content, str):
        return content or "", "", []
    text, thinking = "", ""
    kept = []
    for chunk in typed_chunks(content):
        if chunk["type"] == "thinking":
            kept.append(chunk)
        if chunk["type"] in THOUGHTS:
            thinking += thinking_text(chunk)
        elif chunk["type"] == "text":
            text += chunk["text"]
    return text, thinking, kept


def typed_chunks(content: Any) -> list[JSON]:
    """A content that is no text as typed chunks.

    Where JSON was asked for, Cloudflare sends the object itself instead of its text.
    """
    if isinstance(content, dict):
        return [{"type": "text", "text": json.dumps(content, ensure_ascii=False)}]
    chunks: list[JSON] = content
    return chunks


def thinking_text(chunk: JSON) -> str:
    inner = chunk[THOUGHTS[chunk["type"]]] or ()
    if isinstance(inner, str):
        return inner
    return "".join(item.get("text") or "" for item in inner)


def split_reasoning(message: JSON) -> tuple[str, JSON]:
    """Reasoning text, and what of the message the provider needs back."""
    kept: JSON = {}
    text = ""
    for name in REASONING_TEXT:
        value = message.get(name)
        if isinstance(value, str) and not text:
            # An empty one counts: DeepSeek wants the field beside tool calls.
            kept = {name: value}
            text = value
    if message.get("reasoning_details"):
        # The same text, with signatures or encrypted:
        # https://openrouter.ai/docs/use-cases/reasoning-tokens
        kept = {"reasoning_details": message["reasoning_details"]}
    for name in SENT_BACK:
        if message.get(name):
            kept[name] = message[name]
    return text, kept


# Tool calls ----------------------------------------------------------------------


def split_tool_calls(
    message: JSON, body: JSON, request: LLMRequest
) -> tuple[list[JSON], JSON]:
    """Function calls in the contract's form, and what of them goes into provider data.

    A `function_call` from before there were tools becomes a tool call.
    """
    sent = message.get("tool_calls") or []
    legacy = message.get("function_call") or {}
    if not sent and legacy.get("name"):
        sent = [{"function": legacy}]
    calls: list[JSON] = []
    custom: list[JSON] = []
    extras: JSON = {}
    for call in sent:
        # Snowflake fills in an empty `custom` beside every `function`.
        function = call.get("function")
        if not function and call.get("type", "function") != "function":
            custom.append(call)
            continue
        name = call["function"]["name"]
        arguments = arguments_text(function.get("arguments"))
        call_id = call.get("id")
        if not call_id or call_id == "null":  # Mistral's older models
            call_id = make_call_id(
                request,
                body.get("id"),
                body.get("created"),
                len(calls),
                name,
                arguments,
            )
        calls.append(make_call(call_id, name, arguments))
        if call.get("extra_content"):
            extras[call_id] = {"extra_content": call["extra_content"]}
    kept = {"tool_calls": custom, "call_extras": extras}
    return calls, {name: value for name, value in kept.items() if value}


# Token counts --------------------------------------------------------------------


def parse_usage(raw: JSON | None) -> dict[str, Any]:
    """Token counts in the contract's terms; `{}` if the server sent none."""
    if not raw:
        return {}
    details = raw.get("prompt_tokens_details") or {}
    read = _first(
        details.get("cached_tokens"),
        raw.get("prompt_cache_hit_tokens"),  # DeepSeek
        raw.get("cached_tokens"),  # Together, Moonshot
        raw.get("num_cached_tokens"),  # Mistral
        raw.get("cache_read_input_tokens"),  # gateways to Claude, also the next
    )
    write = _first(
        details.get("cache_write_tokens"), raw.get("cache_creation_input_tokens")
    )
    reasoning = _first(
        (raw.get("completion_tokens_details") or {}).get("reasoning_tokens"),
        raw.get("reasoning_tokens"),  # Perplexity
    )
    return make_usage_of_totals(
        raw.get("prompt_tokens"),
        raw.get("completion_tokens"),
        raw.get("total_tokens"),
        cache_read=read,
        cache_write=write,
        reasoning=reasoning,
    )


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
