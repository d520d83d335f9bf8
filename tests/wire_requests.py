"""Recorded request bodies -> the requests of this package.

`to_request` is written for bodies in general, not for single records: what a field
means to the provider decides where it goes. An assistant turn of the history is read
by the mapper as the reply that it once was, because that is how an application comes
by it: what the provider needs back is then in `Message.provider_data`.

Fields that the request type has no place for go into `extra_params`, which every
mapper sends as they are. What is then left over raises `Inexpressible`.
"""

from __future__ import annotations

import copy
import json
import re
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

from wire import KINDS, Record

from llmring_lite.lockfile import ProviderConfig
from llmring_lite.provider import BUILTIN, Endpoint, load_wire_format
from llmring_lite.schemas import LLMRequest, Message

JSON = dict[str, Any]


class Inexpressible(Exception):
    """The request type has no place for something; says what."""


def to_request(record: Record) -> LLMRequest:
    """The recorded request, its `model` the provider's bare name.

    Raises:
        Inexpressible: A part of the body has no counterpart.
    """
    body = record["request"]["body"]
    if body is None:
        raise Inexpressible("the request was not recorded")
    endpoint = endpoint_of(record)
    request = _READERS[KINDS[record["api"]]](copy.deepcopy(body), endpoint)
    if not request.model:
        request.model = _model_in(record["request"]["url"])
    if record["api"] == "google-generatecontent":  # the address says it
        request.stream = record["streaming"]
    return request


def endpoint_of(record: Record) -> Endpoint:
    """The endpoint as a user would have it: built in, or in a lockfile.

    Its base URL is what the recorded address has before the part that mappers add.
    """
    kind = KINDS[record["api"]]
    base_url, version = _base_url(record["request"]["url"], kind)
    name = {"azure-openai": "azure", "google-vertex": "google"}.get(
        record["provider"], record["provider"]
    )
    if name in BUILTIN and BUILTIN[name].kind in (kind, "openai"):
        config = ProviderConfig(
            name=name, kind=kind, base_url=base_url, api_version=version
        )
    else:
        config = ProviderConfig(name="compatible", kind=kind, base_url=base_url)
    return config.endpoint()


_ADDED = (
    "/chat/completions",
    "/responses",
    "/v1/messages",
    "/api/chat",
    r"(/v1beta)?/models/[^/]+",
)
"""What mappers add to a base URL; an address ends in one of these."""


def _base_url(url: str, kind: str) -> tuple[str, str | None]:
    parts = urlsplit(url)
    path = re.sub(f"({'|'.join(_ADDED)})$", "", parts.path)
    if not parts.netloc:
        # Only the path was recorded, or a variable stands for what precedes it.
        path = "/" + re.sub("[<>]", "", path).lstrip("/")
    host = parts.netloc or "recorded.example"
    version = re.search(r"\bapi-version=([^&]+)", parts.query)
    return f"{parts.scheme or 'https'}://{host}{path}", version and version[1]


def _model_in(url: str) -> str:
    """The model of an address: Gemini's method, Azure's deployment."""
    found = re.search(r"/(?:models|deployments)/([^/:]+)", urlsplit(url).path)
    if found is None:
        raise Inexpressible("neither body nor address name a model")
    return unquote(found[1])


def _reply(kind: str, body: JSON, endpoint: Endpoint) -> Message:
    """The turn to append, of a reply with this body."""
    asked = LLMRequest("model", [Message("user", "?")])
    response = load_wire_format(kind).parse_response(body, asked)
    if response.provider_data is not None:
        response.provider_data["provider"] = endpoint.name
    return response.message


def _only(item: JSON, what: str, *known: str) -> None:
    """Raise for a field that would be lost."""
    for key, value in item.items():
        if key not in known and value is not None:
            raise Inexpressible(f"{what} has {key!r}")


def _data_url(media_type: str, data: str) -> str:
    return f"data:{media_type};base64,{data}"


def _take(body: JSON, *names: str, **renamed: str) -> dict[str, Any]:
    """Fields that a body has by the same name as a request, or by the one given."""
    found = {name: body.pop(name, None) for name in names}
    for name, theirs in renamed.items():
        found[name] = body.pop(theirs, None)
    return {name: value for name, value in found.items() if value is not None}


# Chat Completions -----------------------------------------------------------------


def _from_openai(body: JSON, endpoint: Endpoint) -> LLMRequest:
    fields = _take(
        body,
        *("temperature", "top_p", "stop", "seed", "parallel_tool_calls", "tools"),
        *("tool_choice", "response_format", "stream", "reasoning_effort"),
    )
    fields |= _take(body, seed="random_seed", max_tokens="max_tokens")
    fields |= _take(body, max_tokens="max_completion_tokens")
    fields |= _take(body, cache="prompt_cache_key")
    reasoning = body.get("reasoning") or {}
    if endpoint.name == "openrouter" and len(reasoning) == 1:
        names = {"effort": "reasoning_effort", "max_tokens": "reasoning_tokens"}
        if reasoning.keys() <= names.keys():
            del body["reasoning"]
            fields |= {names[name]: v for name, v in reasoning.items()}
    messages = [_openai_message(m, endpoint) for m in body.pop("messages")]
    return LLMRequest(
        body.pop("model", None) or "",
        messages,
        extra_params=body,
        **fields,
    )


def _openai_message(message: JSON, endpoint: Endpoint) -> Message:
    role = message["role"]
    if role == "assistant":
        if message.get("prefix"):
            raise Inexpressible("an assistant turn has 'prefix'")
        for call in message.get("tool_calls") or ():
            _only(call, "a tool call", "id", "type", "function", "index", "custom")
        choice = {"message": message, "finish_reason": "stop"}
        return _reply("openai", {"choices": [choice]}, endpoint)
    known = ("role", "content", "name", "tool_call_id", "cache_control")
    _only(message, f"a {role} message", *known)
    control = message.get("cache_control")
    return Message(
        role,
        message["content"],
        name=message.get("name"),
        tool_call_id=message.get("tool_call_id"),
        metadata={"cache_control": control} if control else None,
    )


# Responses API --------------------------------------------------------------------


def _from_responses(body: JSON, endpoint: Endpoint) -> LLMRequest:
    if "input" not in body:
        raise Inexpressible("it has a stored prompt instead of input")
    fields = _take(
        body, "temperature", "top_p", "parallel_tool_calls", "tool_choice", "stream"
    )
    fields |= _take(body, max_tokens="max_output_tokens", cache="prompt_cache_key")
    if (body.get("reasoning") or {}).get("effort"):
        reasoning = dict(body["reasoning"])
        fields["reasoning_effort"] = reasoning.pop("effort")
        body["reasoning"] = reasoning
    text = dict(body.pop("text", None) or {})
    if text.get("format"):
        fields["response_format"] = _nested_format(text.pop("format"))
    if text:
        body["text"] = text
    if fields.get("tool_choice", {}) and isinstance(fields["tool_choice"], dict):
        choice = fields["tool_choice"]
        if choice.get("type") == "function":
            function = {"name": choice["name"]}
            fields["tool_choice"] = {"type": "function", "function": function}
    if body.get("tools"):
        fields["tools"] = [_nested_tool(tool) for tool in body.pop("tools")]
    messages: list[Message] = []
    if body.get("instructions"):
        messages.append(Message("system", body.pop("instructions")))
    items = body.pop("input")
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    messages += _response_messages(items, endpoint, body.get("store", True))
    return LLMRequest(body.pop("model"), messages, extra_params=body, **fields)


def _nested_format(text_format: JSON) -> JSON:
    if text_format["type"] != "json_schema":
        return text_format
    spec = {k: v for k, v in text_format.items() if k != "type" and v is not None}
    return {"type": "json_schema", "json_schema": spec}


def _nested_tool(tool: JSON) -> JSON:
    if tool["type"] != "function":
        return tool
    function = {k: v for k, v in tool.items() if k != "type"}
    return {"type": "function", "function": function}


_WRITTEN_BY_CALLER = ("function_call_output", "custom_tool_call_output")


def _response_messages(
    items: list[JSON], endpoint: Endpoint, stored: bool
) -> list[Message]:
    messages: list[Message] = []
    output: list[JSON] = []

    def end_turn() -> None:
        if output:
            body = {"output": list(output), "store": stored}
            messages.append(_reply("openai-responses", body, endpoint))
            output.clear()

    for item in items:
        kind, role = item.get("type", "message"), item.get("role")
        if kind == "message" and role != "assistant":
            end_turn()
            messages.append(Message(item["role"], _response_parts(item["content"])))
        elif kind == "message" and isinstance(item["content"], str):
            end_turn()
            messages.append(Message("assistant", item["content"]))
        elif kind in _WRITTEN_BY_CALLER:
            end_turn()
            content = _response_parts(item["output"])
            messages.append(Message("tool", content, tool_call_id=item["call_id"]))
        elif kind in ("additional_tools", "tool_search_output"):
            raise Inexpressible(f"the input has an item of type {kind!r}")
        else:
            if output and _begins_turn(item, output[-1]):
                end_turn()
            output.append({"type": kind, **item})
    end_turn()
    return messages


def _begins_turn(item: JSON, last: JSON) -> bool:
    """A reply doesn't go on after its message, except with calls."""
    return last["type"] == "message" and item.get("type") in (None, "message")


def _response_parts(content: Any) -> Any:
    if isinstance(content, str):
        return content
    return [_response_part(part) for part in content]


def _response_part(part: JSON) -> JSON:
    kind = part["type"]
    if kind == "input_text":
        return {"type": "text", "text": part["text"]}
    if kind == "input_image" and part.get("image_url"):
        image = {"url": part["image_url"]}
        if part.get("detail"):
            image["detail"] = part["detail"]
        return {"type": "image_url", "image_url": image}
    if kind == "input_file":
        file = {k: v for k, v in part.items() if k != "type" and v is not None}
        if "file_url" in file:
            file["file_data"] = file.pop("file_url")
        return {"type": "file", "file": file}
    raise Inexpressible(f"a part of type {kind!r} has {sorted(part)}")


# Anthropic ------------------------------------------------------------------------


def _from_anthropic(body: JSON, endpoint: Endpoint) -> LLMRequest:
    fields = _take(
        body, "temperature", "top_p", "max_tokens", "stream", stop="stop_sequences"
    )
    thinking = body.get("thinking") or {}
    if thinking.keys() == {"type", "budget_tokens"}:
        del body["thinking"]
        fields["reasoning_tokens"] = thinking["budget_tokens"]
    config = dict(body.pop("output_config", None) or {})
    wanted = config.pop("format", None) or body.pop("output_format", None)
    if wanted:
        spec = {"name": "response", "schema": wanted["schema"]}
        fields["response_format"] = {"type": "json_schema", "json_schema": spec}
    if config:
        body["output_config"] = config
    if body.get("tools"):
        fields["tools"] = [_anthropic_tool(tool) for tool in body.pop("tools")]
    if body.get("tool_choice"):
        choice = body.pop("tool_choice")
        if choice.get("disable_parallel_tool_use"):
            fields["parallel_tool_calls"] = False
        name = {"name": choice.get("name")}
        fields["tool_choice"] = {
            "any": "required",
            "tool": {"type": "function", "function": name},
        }.get(choice["type"], choice["type"])
    messages: list[Message] = []
    system = body.pop("system", None)
    if system:
        messages.append(Message("system", _anthropic_parts(system)))
    for turn in body.pop("messages"):
        messages += _anthropic_turn(turn, endpoint)
    return LLMRequest(body.pop("model"), messages, extra_params=body, **fields)


def _anthropic_tool(tool: JSON) -> JSON:
    if "input_schema" not in tool:
        return tool
    function = {k: v for k, v in tool.items() if k in ("name", "description")}
    function["parameters"] = tool["input_schema"]
    if tool.get("strict"):
        function["strict"] = True
    known = ("name", "description", "input_schema", "strict", "type")
    rest = {k: v for k, v in tool.items() if k not in known}
    return {"type": "function", "function": function, **rest}


def _anthropic_turn(turn: JSON, endpoint: Endpoint) -> list[Message]:
    role, content = turn["role"], turn["content"]
    if role == "assistant" and isinstance(content, list):
        reply = {"content": content, "model": "", "stop_reason": "end_turn"}
        return [_reply("anthropic", reply, endpoint)]
    if isinstance(content, str) or role == "system":
        return [Message(role, _anthropic_parts(content))]
    messages = [
        _anthropic_result(block) for block in content if block["type"] == "tool_result"
    ]
    rest = [block for block in content if block["type"] != "tool_result"]
    if rest:
        messages.append(Message(role, _anthropic_parts(rest)))
    return messages


def _anthropic_result(block: JSON) -> Message:
    metadata: JSON = {}
    if block.get("is_error"):
        metadata["is_error"] = True
    if block.get("cache_control"):
        metadata["cache_control"] = block["cache_control"]
    return Message(
        "tool",
        _anthropic_parts(block.get("content") or ""),
        tool_call_id=block["tool_use_id"],
        metadata=metadata or None,
    )


def _anthropic_parts(content: Any) -> Any:
    if isinstance(content, str):
        return content
    return [_anthropic_part(block) for block in content]


def _anthropic_part(block: JSON) -> JSON:
    kind = block["type"]
    if kind == "text":
        part: JSON = {"type": "text", "text": block["text"]}
    elif kind in ("image", "document"):
        part = _anthropic_file(block)
    else:
        raise Inexpressible(f"a part of type {kind!r}")
    if block.get("cache_control"):
        part["cache_control"] = block["cache_control"]
    return part


def _anthropic_file(block: JSON) -> JSON:
    source = block["source"]
    if source["type"] == "base64":
        url = _data_url(source["media_type"], source["data"])
    elif source["type"] == "text":
        data = b64encode(source["data"].encode()).decode()
        url = _data_url("text/plain", data)
    elif source["type"] == "url":
        url = source["url"]
    elif source["type"] == "file" and block["type"] == "image":
        file = {"file_id": source["file_id"], "filename": "image.png"}
        return {"type": "file", "file": file}
    elif source["type"] == "file":
        url = ""
    else:
        raise Inexpressible(f"a {block['type']} with a source of {source['type']!r}")
    if block["type"] == "image":
        return {"type": "image_url", "image_url": {"url": url}}
    file = {"file_data": url} if url else {"file_id": source["file_id"]}
    if block.get("title"):
        file["filename"] = block["title"]
    own = {k: block[k] for k in ("citations", "context") if block.get(k)}
    return {"type": "file", "file": file, **own}


# Google ---------------------------------------------------------------------------


def _from_google(body: JSON, endpoint: Endpoint) -> LLMRequest:
    body = camel_case(body)
    config = body.pop("generationConfig", None) or {}
    fields = _take(
        config,
        *("temperature", "seed"),
        top_p="topP",
        max_tokens="maxOutputTokens",
        stop="stopSequences",
    )
    thinking = config.get("thinkingConfig") or {}
    if thinking.get("includeThoughts") and len(thinking) == 2:
        if "thinkingBudget" in thinking:
            fields["reasoning_tokens"] = thinking["thinkingBudget"]
        else:
            fields["reasoning_effort"] = thinking["thinkingLevel"].lower()
        del config["thinkingConfig"]
    if config.get("responseMimeType") == "application/json":
        del config["responseMimeType"]
        fields["response_format"] = {"type": "json_object"}
        schema = config.pop("responseJsonSchema", None)
        if schema is None and "responseSchema" in config:
            schema = json_schema(config.pop("responseSchema"))
        if schema is not None:
            spec = {"name": "response", "schema": schema}
            fields["response_format"] = {"type": "json_schema", "json_schema": spec}
    if config:
        body["generationConfig"] = config
    if body.get("tools"):
        fields["tools"] = _google_tools(body.pop("tools"))
    _read_tool_config(body, fields)
    messages: list[Message] = []
    system = body.pop("systemInstruction", None)
    if system:
        parts = system["parts"]
        parts = [parts] if isinstance(parts, dict) else parts
        text = "\n\n".join(part["text"] for part in parts)
        messages.append(Message("system", text))
    ids: dict[str, list[str]] = {}
    for content in body.pop("contents"):
        messages += _google_turn(content, endpoint, ids)
    return LLMRequest("", messages, extra_params=body, **fields)


def camel_case(value: Any) -> Any:
    """JSON with the names of fields in the spelling of Google's reference.

    proto3's JSON form takes both. What callers name themselves stays as it is.
    """
    if isinstance(value, list):
        return [camel_case(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        camel(key): item if camel(key) in _CALLERS_OWN else camel_case(item)
        for key, item in value.items()
    }


_CALLERS_OWN = frozenset(
    {
        *("args", "response", "parameters", "parametersJsonSchema"),
        *("responseSchema", "responseJsonSchema"),
    }
)


def camel(key: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), key)


def json_schema(schema: Any) -> Any:
    """Google's OpenAPI schema, whose types may be upper case, as JSON Schema."""
    if isinstance(schema, list):
        return [json_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value.lower()
        if key == "type" and isinstance(value, str)
        else {name: json_schema(item) for name, item in value.items()}
        if key == "properties"
        else json_schema(value)
        for key, value in schema.items()
    }


def _google_tools(tools: Any) -> list[JSON]:
    made: list[JSON] = []
    for tool in [tools] if isinstance(tools, dict) else tools:
        for kind, value in tool.items():
            if kind == "functionDeclarations":
                made += [_google_function(declared) for declared in value]
            else:
                made.append({kind: value})
    return made


def _google_function(declared: JSON) -> JSON:
    known = ("name", "description", "parameters", "parametersJsonSchema")
    _only(declared, "a function declaration", *known)
    schema = declared.get("parametersJsonSchema")
    if schema is None and "parameters" in declared:
        schema = json_schema(declared["parameters"])
    function = {k: declared[k] for k in ("name", "description") if k in declared}
    if schema is not None:
        function["parameters"] = schema
    return {"type": "function", "function": function}


def _read_tool_config(body: JSON, fields: JSON) -> None:
    """A tool choice, where it says no more than the request type can."""
    config = body.get("toolConfig") or {}
    calling = config.get("functionCallingConfig") or {}
    names = calling.get("allowedFunctionNames") or []
    mode = (calling.get("mode") or "").upper()
    choices = {"AUTO": "auto", "NONE": "none", "ANY": "required"}
    if mode == "ANY" and len(names) == 1:
        choice: Any = {"type": "function", "function": {"name": names[0]}}
    elif mode in choices and not names:
        choice = choices[mode]
    else:
        return
    fields["tool_choice"] = choice
    rest = {k: v for k, v in config.items() if k != "functionCallingConfig"}
    body["toolConfig"] = rest
    if not rest:
        del body["toolConfig"]


def _google_turn(
    content: JSON, endpoint: Endpoint, ids: dict[str, list[str]]
) -> list[Message]:
    """The messages of a turn.

    `ids`: a function's name -> the ids of its calls that wait for a result; what the
    API gave no id has one that the mapper made.
    """
    if content.get("role") == "model":
        parts = [
            {k: v for k, v in part.items() if not (k == "thought" and v is False)}
            for part in content["parts"]
        ]
        candidate = {"content": {"parts": parts}, "finishReason": "STOP"}
        message = _reply("google", {"candidates": [candidate]}, endpoint)
        for call in message.tool_calls or ():
            ids.setdefault(call["function"]["name"], []).append(call["id"])
        return [message]
    messages: list[Message] = []
    rest: list[JSON] = []
    for part in content["parts"]:
        if "functionResponse" in part:
            messages.append(_google_result(part["functionResponse"], ids))
        else:
            rest.append(_google_part(part))
    if rest:
        messages.append(Message("user", rest))
    return messages


def _google_result(result: JSON, ids: dict[str, list[str]]) -> Message:
    _only(result, "a function response", "id", "name", "response", "parts")
    waiting = ids.get(result["name"]) or []
    call_id = result.get("id") or (waiting[0] if waiting else None)
    if call_id in waiting:
        waiting.remove(call_id)
    content: Any = json.dumps(result["response"], ensure_ascii=False)
    if result.get("parts"):
        files = [_google_part(part) for part in result["parts"]]
        content = [{"type": "text", "text": content}, *files]
    return Message("tool", content, tool_call_id=call_id, name=result["name"])


_EXTENSIONS = {
    "application/pdf": "pdf",
    "image/jpeg": "jpg",
    "image/png": "png",
    "video/mp4": "mp4",
    "text/plain": "txt",
    "text/csv": "csv",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/wav": "wav",
}


def _google_part(part: JSON) -> JSON:
    if "text" in part:
        return {"type": "text", "text": part["text"]}
    if "inlineData" in part:
        data = part["inlineData"]
        url = _data_url(data["mimeType"], data["data"])
        return {"type": "file", "file": {"file_data": url}}
    if "fileData" in part:
        data = part["fileData"]
        file = {"file_id": data["fileUri"]}
        if data.get("mimeType"):
            if data["mimeType"] not in _EXTENSIONS:
                raise Inexpressible(f"a file of type {data['mimeType']}")
            file["filename"] = f"file.{_EXTENSIONS[data['mimeType']]}"
        return {"type": "file", "file": file}
    raise Inexpressible(f"a part with {sorted(part)}")


# Ollama ---------------------------------------------------------------------------


def _from_ollama(body: JSON, endpoint: Endpoint) -> LLMRequest:
    # Left out, `stream` means true.
    fields: JSON = {"stream": body.pop("stream", True)}
    options = body.pop("options", None) or {}
    fields |= _take(
        options, "temperature", "top_p", "seed", "stop", max_tokens="num_predict"
    )
    if body.get("tools"):
        fields["tools"] = body.pop("tools")
    wanted = body.pop("format", None)
    if wanted == "json":
        fields["response_format"] = {"type": "json_object"}
    elif wanted:
        spec = {"name": "response", "schema": wanted}
        fields["response_format"] = {"type": "json_schema", "json_schema": spec}
    think = body.pop("think", None)
    if think is not None:
        efforts = {True: "high", False: "none"}
        fields["reasoning_effort"] = think if isinstance(think, str) else efforts[think]
    messages: list[Message] = []
    for message in body.pop("messages"):
        messages.append(_ollama_message(message, endpoint))
    return LLMRequest(
        body.pop("model"), messages, extra_params=options | body, **fields
    )


def _ollama_message(message: JSON, endpoint: Endpoint) -> Message:
    if message["role"] == "assistant":
        return _reply("ollama", {"message": message, "done": True}, endpoint)
    known = ("role", "content", "images", "tool_name", "tool_call_id")
    _only(message, f"a {message['role']} message", *known)
    content: Any = message["content"]
    if message.get("images"):
        images = [
            {"type": "image_url", "image_url": {"url": _data_url("image/png", data)}}
            for data in message["images"]
        ]
        content = [{"type": "text", "text": content}, *images]
    return Message(
        message["role"],
        content,
        name=message.get("tool_name"),
        tool_call_id=message.get("tool_call_id"),
    )


_READERS: dict[str, Callable[[JSON, Endpoint], LLMRequest]] = {
    "openai": _from_openai,
    "openai-responses": _from_responses,
    "anthropic": _from_anthropic,
    "google": _from_google,
    "ollama": _from_ollama,
}
