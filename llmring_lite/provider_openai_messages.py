"""Chat Completions, sending: the conversation.

https://platform.openai.com/docs/api-reference/chat/create#chat-create-messages; the
quirks named here are explained in `provider_openai`. A turn that this provider wrote
gets back what `provider_openai_reply` kept of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

from llmring_lite.exceptions import InvalidRequestError
from llmring_lite.provider import JSON, Endpoint, own_data
from llmring_lite.provider_openai_reply import REASONING_TEXT, SENT_BACK, arguments_text
from llmring_lite.schemas import LLMRequest, Message

Part = dict[str, Any]


class _Dialect(NamedTuple):
    """What the mapping of a message depends on besides the message.

    `mark` is the field of a part that asks for prompt caching, None where the server
    caches by itself. `echo`: turns with tool calls must carry `reasoning_content`.
    """

    endpoint: Endpoint
    quirks: frozenset[str]
    mark: str | None
    echo: bool


def build_messages(request: LLMRequest, endpoint: Endpoint) -> list[JSON]:
    """The conversation in the words of the API.

    Raises:
        InvalidRequestError: A message lacks something or has an unknown part.
    """
    quirks = endpoint.quirks
    dialect = _Dialect(
        endpoint,
        quirks,
        mark=_cache_mark(request.model, quirks),
        echo="reasoning_echo" in quirks and _thinks(request),
    )
    return [
        _message(message, f"messages[{number}]", dialect)
        for number, message in enumerate(request.messages)
    ]


def _cache_mark(model: str, quirks: frozenset[str]) -> str | None:
    if "automatic_cache" in quirks:
        return None
    if "openai_cache" not in quirks:
        return "cache_control"
    # From gpt-5.6 on prefixes are matched at breakpoints:
    # https://platform.openai.com/docs/guides/prompt-caching
    version = re.search(r"\bgpt-(\d+)(?:\.(\d+))?", model)
    knows = version and (int(version[1]), int(version[2] or 0)) >= (5, 6)
    return "prompt_cache_breakpoint" if knows else None


def _thinks(request: LLMRequest) -> bool:
    """Whether DeepSeek's thinking mode, the default of its models, is on."""
    thinking = request.extra_params.get("thinking")
    is_off = isinstance(thinking, Mapping) and thinking.get("type") == "disabled"
    return not is_off and request.model != "deepseek-chat"


def _message(message: Message, where: str, dialect: _Dialect) -> JSON:
    role = message.role
    if role == "assistant":
        return _assistant(message, where, dialect)
    if role == "developer" and "system_role" in dialect.quirks:
        role = "system"
    sent: JSON = {"role": role}
    if role == "tool":
        if not message.tool_call_id:
            raise InvalidRequestError(f"{where} has the role tool but no tool_call_id")
        sent["tool_call_id"] = _call_id(message.tool_call_id, dialect)
        sent["content"] = _content(
            _tool_result(message.content), message, where, dialect
        )
    elif message.content is None:
        raise InvalidRequestError(f"{where} has no content")
    else:
        sent["content"] = _content(message.content, message, where, dialect)
    if message.name:
        sent["name"] = message.name
    return sent


def _assistant(message: Message, where: str, dialect: _Dialect) -> JSON:
    own = own_data(message, dialect.endpoint) or {}
    sent: JSON = {"role": "assistant"}
    content = _content(message.content or "", message, where, dialect)
    if "thinking" in own:
        parts = content if isinstance(content, list) else _text_parts(content)
        content = [*own["thinking"], *parts]
    if message.name:
        sent["name"] = message.name
    texts = () if "reasoning_refused" in dialect.quirks else REASONING_TEXT
    for field in (*texts, "reasoning_details", *SENT_BACK):
        if field in own:
            sent[field] = own[field]
    calls = _tool_calls(message, where, own, dialect)
    if calls:
        sent["tool_calls"] = calls
        if dialect.echo:
            sent.setdefault("reasoning_content", "")
    # Some servers refuse an empty text, and some a message without the field.
    replaced = calls or sent.get("refusal")
    sent["content"] = content or (None if replaced else "")
    return sent


# Tool calls and results ----------------------------------------------------------


def _tool_calls(
    message: Message, where: str, own: Mapping[str, Any], dialect: _Dialect
) -> list[JSON]:
    sent = []
    for number, call in enumerate(message.tool_calls or ()):
        function = call.get("function")
        if not call.get("id") or not function or not function.get("name"):
            raise InvalidRequestError(
                f"{where}.tool_calls[{number}] needs an id, and a function with a name"
            )
        sent.append(
            {
                "id": _call_id(call["id"], dialect),
                "type": "function",
                "function": {
                    "name": function["name"],
                    "arguments": arguments_text(function.get("arguments")),
                },
                **own.get("call_extras", {}).get(call["id"], {}),
            }
        )
    return [*sent, *own.get("tool_calls", ())]


_ID_RULES: Final[Mapping[str, tuple[str, int]]] = {
    "tool_ids_of_40": (r".{1,40}", 40),
    "tool_ids_of_9": (r"[a-zA-Z0-9]{9}", 9),
}
"""Quirk -> pattern of the ids that the server takes, and a length for others."""


def _call_id(call_id: str, dialect: _Dialect) -> str:
    """The id of a call and its result, hashed where the server refuses it.

    A conversation that began elsewhere has ids in that provider's form.
    """
    for quirk, (pattern, length) in _ID_RULES.items():
        if quirk in dialect.quirks and not re.fullmatch(pattern, call_id):
            return sha256(call_id.encode()).hexdigest()[:length]
    return call_id


def _tool_result(content: Any) -> Any:
    """A result as text or parts: other values, which a function may return, as JSON."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and content and all(map(_is_part, content)):
        return content
    return "" if content is None else json.dumps(content, ensure_ascii=False)


def _is_part(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("type") in _PARTS


# Content -------------------------------------------------------------------------


def _content(
    content: str | list[Part], message: Message, where: str, dialect: _Dialect
) -> str | list[Part]:
    mark = (message.metadata or {}).get("cache_control") if dialect.mark else None
    if isinstance(content, str):
        if not mark or not content:
            return content
        content = _text_parts(content)
    parts = [
        _part(part, f"{where}.content[{number}]", message.role, dialect)
        for number, part in enumerate(content)
    ]
    if mark and parts:
        _set_mark(parts[-1], mark, message.role, dialect)
    return parts


def _text_parts(text: str) -> list[Part]:
    return [{"type": "text", "text": text}] if text else []


def _part(part: Part, where: str, role: str, dialect: _Dialect) -> Part:
    kind = part.get("type") or ""
    if kind not in _PARTS:
        raise InvalidRequestError(
            f"{where} has the unknown type {kind!r}; known are {', '.join(_PARTS)}"
        )
    if part.get(kind) is None:
        raise InvalidRequestError(
            f'{where} must have the form {{"type": "{kind}", "{kind}": ...}}'
        )
    # Fields beside these are the server's own, and for it to judge.
    sent = {k: v for k, v in part.items() if v is not None and k != "cache_control"}
    adapt = _PARTS[kind]
    if adapt is not None:
        sent = adapt(sent, where, dialect)
    if part.get("cache_control"):
        _set_mark(sent, part["cache_control"], role, dialect)
    return sent


def _set_mark(part: Part, control: Any, role: str, dialect: _Dialect) -> None:
    if dialect.mark == "cache_control":
        part.setdefault("cache_control", control)
    elif dialect.mark and role != "assistant":  # replies can't carry a breakpoint
        part["prompt_cache_breakpoint"] = {"mode": "explicit"}


def _image(part: Part, where: str, dialect: _Dialect) -> Part:
    image = part["image_url"]
    url = {"url": image} if isinstance(image, str) else dict(image)
    return {**part, "image_url": url}


def _file(part: Part, where: str, dialect: _Dialect) -> Part:
    """https://platform.openai.com/docs/guides/pdf-files; for Mistral
    https://docs.mistral.ai/capabilities/document_ai/document_qna/."""
    file = part["file"]
    data, file_id = file.get("file_data"), file.get("file_id")
    if not data and not file_id:
        raise InvalidRequestError(f"{where}.file has neither file_data nor file_id")
    name = file.get("filename")
    if data and not name:
        is_pdf = data.startswith("data:application/pdf")
        name = "document.pdf" if is_pdf else "document"
    if "document_url" not in dialect.quirks:
        return {**part, "file": {**file, "filename": name} if data else dict(file)}
    if not data:
        return {"type": "file", "file_id": file_id}
    return {"type": "document_url", "document_url": data, "document_name": name}


_PARTS: Final[Mapping[str, Callable[[Part, str, _Dialect], Part] | None]] = {
    "text": None,
    "image_url": _image,
    "file": _file,
    "input_audio": None,
    "refusal": None,
    # Of compatible servers: OpenRouter, vLLM, Z.AI; Mistral
    "video_url": None,
    "audio_url": None,
    "document_url": None,
}
"""Part types that are known, and how those are adapted that need it."""
