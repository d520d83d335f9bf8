"""Chat Completions, sending: the conversation.

https://platform.openai.com/docs/api-reference/chat/create#chat-create-messages; the
quirks named here are explained in `provider_openai`. A turn that this provider wrote
gets back what `provider_openai_reply` kept of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

from llmring_lite.exceptions import InvalidRequestError
from llmring_lite.provider import JSON, Endpoint, own_data
from llmring_lite.provider_openai_models import knows_breakpoints
from llmring_lite.provider_openai_reply import REASONING_TEXT, SENT_BACK
from llmring_lite.provider_parts import Converters, convert_parts
from llmring_lite.provider_tools import (
    answered_call,
    make_call,
    read_call,
    with_failure_told,
)
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
    messages: list[JSON] = []
    files: list[Part] = []
    for number, message in enumerate(request.messages):
        if message.role != "tool" and files:
            messages.append({"role": "user", "content": files})
            files = []
        messages.append(_message(message, f"messages[{number}]", dialect))
        if message.role == "tool" and "files_in_results" not in quirks:
            files += _take_files(messages[-1])
    return [*messages, {"role": "user", "content": files}] if files else messages


def _cache_mark(model: str, quirks: frozenset[str]) -> str | None:
    if "automatic_cache" in quirks:
        return None
    if "openai_cache" not in quirks:
        return "cache_control"
    return "prompt_cache_breakpoint" if knows_breakpoints(model) else None


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
        sent["tool_call_id"] = _call_id(answered_call(message, where), dialect)
        message = with_failure_told(message)
    elif message.content is None:
        raise InvalidRequestError(f"{where} has no content")
    sent["content"] = _content(message.content or "", message, where, dialect)
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
    extras = own.get("call_extras", {})
    sent = []
    for number, given in enumerate(message.tool_calls or ()):
        call = read_call(given, f"{where}.tool_calls[{number}]")
        wire = make_call(_call_id(call.id, dialect), call.name, call.arguments)
        sent.append(wire | extras.get(call.id, {}))
    return [*sent, *own.get("tool_calls", ())]


def _take_files(result: JSON) -> list[Part]:
    """Take the files out of a result, for the message behind the results of a turn.

    Results can hold text only, so that theirs follow as a user's:
    https://platform.openai.com/docs/api-reference/chat/create#chat-create-messages
    """
    content = result["content"]
    if isinstance(content, str):
        return []
    files = [part for part in content if part["type"] != "text"]
    if not files:
        return []
    result["content"] = [part for part in content if part["type"] == "text"] or (
        "See the next message."
    )
    told = f"From the result of the call {result['tool_call_id']}:"
    return [{"type": "text", "text": told}, *files]


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


# Content -------------------------------------------------------------------------


def _content(
    content: str | list[Part], message: Message, where: str, dialect: _Dialect
) -> str | list[Part]:
    mark = (message.metadata or {}).get("cache_control") if dialect.mark else None
    if isinstance(content, str):
        if not mark or not content:
            return content
        content = _text_parts(content)
    parts = list(convert_parts(content, where, _PARTS, dialect))
    for given, part in zip(content, parts, strict=True):
        if given.get("cache_control"):
            _set_mark(part, given["cache_control"], message.role, dialect)
    if mark and parts:
        _set_mark(parts[-1], mark, message.role, dialect)
    return parts


def _text_parts(text: str) -> list[Part]:
    return [{"type": "text", "text": text}] if text else []


def _set_mark(part: Part, control: Any, role: str, dialect: _Dialect) -> None:
    if dialect.mark == "cache_control":
        part.setdefault("cache_control", control)
    elif dialect.mark and role != "assistant":  # replies can't carry a breakpoint
        part["prompt_cache_breakpoint"] = {"mode": "explicit"}


def _as_it_is(part: Part, place: str, dialect: _Dialect) -> Part:
    if part[part["type"]] is None:
        raise TypeError("it is empty")
    # Fields beside these are the server's own, and for it to judge.
    return {k: v for k, v in part.items() if v is not None and k != "cache_control"}


def _image(part: Part, place: str, dialect: _Dialect) -> Part:
    image = part["image_url"]
    url = {"url": image} if isinstance(image, str) else dict(image)
    return {**_as_it_is(part, place, dialect), "image_url": url}


def _file(part: Part, place: str, dialect: _Dialect) -> Part:
    """https://platform.openai.com/docs/guides/pdf-files; for Mistral
    https://docs.mistral.ai/capabilities/document_ai/document_qna/."""
    file = part["file"]
    data, file_id = file.get("file_data"), file.get("file_id")
    if not data and not file_id:
        raise InvalidRequestError(f"{place} has neither file_data nor file_id")
    name = file.get("filename")
    if data and not name:
        is_pdf = data.startswith("data:application/pdf")
        name = "document.pdf" if is_pdf else "document"
    if "document_url" not in dialect.quirks:
        file = {**file, "filename": name} if data else dict(file)
        return {**_as_it_is(part, place, dialect), "file": file}
    if not data:
        return {"type": "file", "file_id": file_id}
    return {"type": "document_url", "document_url": data, "document_name": name}


_PARTS: Final[Converters[Part]] = {
    "text": _as_it_is,
    "image_url": _image,
    "file": _file,
    "input_audio": _as_it_is,
    "refusal": _as_it_is,
    # Of compatible servers: OpenRouter, vLLM, Z.AI; Mistral
    "video_url": _as_it_is,
    "audio_url": _as_it_is,
    "document_url": _as_it_is,
}
