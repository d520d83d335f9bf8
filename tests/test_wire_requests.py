"""Recorded requests, built again from our dataclasses, say the same.

`wire_requests` turns a recorded body into an `LLMRequest`; a mapper builds a body
from that. Both bodies are rewritten by the rules below, which name everything that is
ignored and why, and must then be equal.
"""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import wire
from wire import Record
from wire_requests import (
    Inexpressible,
    camel,
    camel_case,
    endpoint_of,
    json_schema,
    to_request,
)

from llmring_lite.provider import load_wire_format

pytestmark = wire.needs_recordings

JSON = dict[str, Any]


# What counts as equal -------------------------------------------------------------


def without_defaults(body: JSON) -> JSON:
    config = body.get("generationConfig") or {}
    if config.get("stopSequences") == []:
        del config["stopSequences"]
    for name in ("stream", "tools", "generationConfig", "system"):
        if not body.get(name):
            body.pop(name, None)
    return body


def text_for_one_part(body: JSON) -> JSON:
    """Text parts that say nothing but text are joined, and alone they are a text."""
    for message in _messages(body):
        for place in ("content", "output"):
            if place in message:
                message[place] = _joined(message[place])
        for block in message["content"] if _is_list(message.get("content")) else ():
            if block.get("type") == "tool_result" and "content" in block:
                block["content"] = _joined(block["content"])
    if isinstance(body.get("system"), list):
        # Of the system prompt, blocks are paragraphs.
        body["system"] = _joined(body["system"], "\n\n")
    return body


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _messages(body: JSON) -> list[JSON]:
    items = body.get("messages") or body.get("input") or []
    return items if isinstance(items, list) else []


def _joined(content: Any, between: str = "") -> Any:
    if not isinstance(content, list):
        return content
    joined: list[JSON] = []
    for part in content:
        is_text = part.keys() == {"type", "text"}
        if is_text and joined and joined[-1].keys() == {"type", "text"}:
            text = joined[-1]["text"] + between + part["text"]
            joined[-1] = {**part, "text": text}
        elif part.get("text") != "" or not is_text:
            joined.append(part)
    if len(joined) == 1 and joined[0].keys() == {"type", "text"}:
        return joined[0]["text"]
    return joined


def none_for_no_text(body: JSON) -> JSON:
    for message in _messages(body):
        if not message.get("content"):
            message.pop("content", None)
    return body


def one_name_for_the_limit(body: JSON) -> JSON:
    if "max_completion_tokens" in body:
        body["max_tokens"] = body.pop("max_completion_tokens")
    return body


def usage_in_streams(body: JSON) -> JSON:
    options = body.get("stream_options") or {}
    options.pop("include_usage", None)
    if not options:
        body.pop("stream_options", None)
    return body


def without_remains_of_replies(body: JSON) -> JSON:
    for message in body["messages"]:
        if message["role"] == "assistant":
            for name in ("annotations", "prefix"):
                if not message.get(name):
                    message.pop(name, None)
        for call in message.get("tool_calls") or ():
            call.pop("index", None)
    return body


def reasoning_once(body: JSON) -> JSON:
    for message in body["messages"]:
        if "reasoning_content" in message and "reasoning" in message:
            assert message["reasoning_content"] == message.pop("reasoning")
        if "reasoning_details" in message:
            details = message["reasoning_details"]
            text = "".join(d.get("text") or d.get("summary") or "" for d in details)
            assert message.pop("reasoning", text) == text
    return body


def empty_arguments(body: JSON) -> JSON:
    for message in body["messages"]:
        for call in message.get("tool_calls") or ():
            if call["function"]["arguments"] in ("", "null"):
                call["function"]["arguments"] = "{}"
    return body


def required_for_any(body: JSON) -> JSON:
    if body.get("tool_choice") == "any":
        body["tool_choice"] = "required"
    return body


def named_choice(body: JSON) -> JSON:
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and "function" in choice:
        choice.setdefault("type", "function")
    return body


def image_as_object(body: JSON) -> JSON:
    for message in body["messages"]:
        for part in message["content"] if _is_list(message.get("content")) else ():
            if isinstance(part.get("image_url"), str):
                part["image_url"] = {"url": part["image_url"]}
    return body


def mark_on_the_last_part(body: JSON) -> JSON:
    for message in body["messages"]:
        control = message.pop("cache_control", None)
        if control:
            text = {"type": "text", "text": message["content"]}
            message["content"] = [{**text, "cache_control": control}]
    return body


def model_in_the_address(body: JSON) -> JSON:
    body.pop("model", None)
    return body


def without_marks(body: JSON) -> JSON:
    for message in body["messages"]:
        for part in message["content"] if _is_list(message.get("content")) else ():
            part.pop("cache_control", None)
    return body


def ids_by_order(body: JSON) -> JSON:
    """Ids of calls and results, numbered as they come."""
    numbers: dict[str, str] = {}

    def number(value: str) -> str:
        return numbers.setdefault(value, f"#{len(numbers)}")

    for message in body["messages"]:
        for call in message.get("tool_calls") or ():
            call["id"] = number(call["id"])
        if "tool_call_id" in message:
            message["tool_call_id"] = number(message["tool_call_id"])
    return body


def formats_of_strict_schemas(body: JSON) -> JSON:
    wanted = (body.get("response_format") or {}).get("json_schema") or {}
    if wanted.get("strict"):
        _drop_formats(wanted["schema"])
    return body


def _drop_formats(schema: Any) -> None:
    if isinstance(schema, list):
        for item in schema:
            _drop_formats(item)
    elif isinstance(schema, dict):
        if isinstance(schema.get("format"), str):
            del schema["format"]
        told = "Must also obey this JSON Schema: "
        if str(schema.get("description", "")).startswith(told):
            del schema["description"]
        for item in schema.values():
            _drop_formats(item)


def input_as_items(body: JSON) -> JSON:
    items = body.get("input")
    if isinstance(items, str):
        body["input"] = [{"role": "user", "content": items}]
    if body.get("instructions"):
        first = {"role": "system", "content": body.pop("instructions")}
        body["input"].insert(0, first)
    return body


def without_the_servers_marks(body: JSON) -> JSON:
    """Ids and states of items that stand for themselves."""
    if any(item.get("type") == "reasoning" for item in body["input"]):
        return body
    for item in body["input"]:
        if item.get("type") in (None, "message", "function_call"):
            for name in ("id", "status", "phase"):
                item.pop(name, None)
    return body


def items_without_defaults(body: JSON) -> JSON:
    for item in body["input"]:
        if item.get("type") == "message":
            del item["type"]
        if item.get("type") == "function_call_output":
            item.pop("status", None)
        for part in item["content"] if _is_list(item.get("content")) else ():
            for name in ("annotations", "logprobs"):
                part.pop(name, None)
            if part["type"] in ("input_text", "output_text"):
                part["type"] = "text"
    return body


def stateless(body: JSON) -> JSON:
    body.pop("store", None)
    included = set(body.pop("include", ()))
    included.discard("reasoning.encrypted_content")
    if included:
        body["include"] = sorted(included)
    return body


def strict_is_said(body: JSON) -> JSON:
    for tool in body.get("tools") or ():
        if tool["type"] == "function" and not tool.get("strict"):
            tool["strict"] = False
    text_format = (body.get("text") or {}).get("format") or {}
    if text_format.get("type") == "json_schema":
        text_format.setdefault("strict", False)
    return body


def content_as_blocks(body: JSON) -> JSON:
    for name in ("messages",):
        for message in body[name]:
            if isinstance(message["content"], str):
                text = {"type": "text", "text": message["content"]}
                message["content"] = [text]
    return body


def neighbours_are_one_turn(body: JSON) -> JSON:
    name, inner = (
        ("contents", "parts") if "contents" in body else ("messages", "content")
    )
    turns: list[JSON] = []
    for turn in body[name]:
        if turns and turns[-1]["role"] == turn["role"]:
            turns[-1][inner] += turn[inner]
        else:
            turns.append(turn)
    body[name] = turns
    return body


def anthropic_defaults(body: JSON) -> JSON:
    for turn in body["messages"]:
        for block in turn["content"]:
            if block.get("is_error") is False:
                del block["is_error"]
    for tool in body.get("tools") or ():
        for name in ("description", "strict"):
            if not tool.get(name):
                tool.pop(name, None)
        if "input_schema" in tool:
            tool["input_schema"].setdefault("type", "object")
    choice = body.get("tool_choice") or {}
    if choice.get("disable_parallel_tool_use") is False:
        del choice["disable_parallel_tool_use"]
    return body


def newer_name_of_the_format(body: JSON) -> JSON:
    if "output_format" in body:
        body["output_config"] = {"format": body.pop("output_format")}
    return body


def reference_spelling(body: JSON) -> JSON:
    body = camel_case(body)
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    if "mode" in calling:
        calling["mode"] = calling["mode"].upper()
    thinking = (body.get("generationConfig") or {}).get("thinkingConfig") or {}
    if "thinkingLevel" in thinking:
        thinking["thinkingLevel"] = thinking["thinkingLevel"].lower()
    return body


def texts_joined(body: JSON) -> JSON:
    for turn in body["contents"]:
        parts: list[JSON] = []
        for part in turn["parts"]:
            if parts and part.keys() == parts[-1].keys() == {"text"}:
                parts[-1]["text"] += part["text"]
            elif part != {"text": ""}:
                parts.append(part)
        turn["parts"] = parts
    return body


def one_name_of_mp3(body: JSON) -> JSON:
    for turn in body["contents"]:
        for part in turn["parts"]:
            for media in part.values():
                if isinstance(media, dict) and media.get("mimeType") == "audio/mpeg":
                    media["mimeType"] = "audio/mp3"
    return body


def system_as_text(body: JSON) -> JSON:
    system = body.pop("systemInstruction", None) or {}
    parts = system.get("parts") or []
    parts = [parts] if isinstance(parts, dict) else parts
    text = "\n\n".join(part["text"] for part in parts)
    if text:
        body["systemInstruction"] = text
    return body


def thoughts_that_count(body: JSON) -> JSON:
    for turn in body["contents"]:
        for part in turn["parts"]:
            if part.get("thought") is False:
                del part["thought"]
        turn["parts"] = [
            part
            for part in turn["parts"]
            if not ("text" in part and part.get("thought"))
            or "thoughtSignature" in part
        ]
    return body


def tools_one_by_one(body: JSON) -> JSON:
    tools = body.pop("tools", None) or []
    tools = [tools] if isinstance(tools, dict) else tools
    flat = [{kind: value} for tool in tools for kind, value in tool.items()]
    if flat:
        body["tools"] = sorted(flat, key=lambda tool: sorted(tool))
    return body


def real_json_schema(body: JSON) -> JSON:
    for tool in body.get("tools") or ():
        for declared in tool.get("functionDeclarations") or ():
            if "parameters" in declared:
                schema = json_schema(declared.pop("parameters"))
                declared["parametersJsonSchema"] = schema
            if not declared.get("description"):
                declared.pop("description", None)
    config = body.get("generationConfig") or {}
    if "responseSchema" in config:
        config["responseJsonSchema"] = json_schema(config.pop("responseSchema"))
    return body


def ollama_defaults(body: JSON) -> JSON:
    body.setdefault("stream", True)
    for name in ("format", "options"):
        if not body.get(name):
            body.pop(name, None)
    return body


def made_ids(body: JSON) -> JSON:
    for message in body["messages"]:
        for call in message.get("tool_calls") or ():
            call.pop("id", None)
    return body


class Rule(NamedTuple):
    """A rewriting of both bodies, and why it changes no meaning."""

    rewrite: Callable[[JSON], JSON]
    why: str
    only: str = ""
    """Part of the provider's name, where the rule is not for all."""


_TEXT = Rule(text_for_one_part, "a text and one text part are the same")
_DEFAULTS = Rule(without_defaults, "what is said is the default")

RULES: dict[str, tuple[Rule, ...]] = {
    "openai-chat": (
        _DEFAULTS,
        _TEXT,
        Rule(mark_on_the_last_part, "a mark counts up to the end of its message"),
        Rule(without_marks, "a hint; our row for it knows no marks", "vercel"),
        _TEXT,
        Rule(none_for_no_text, "beside calls, an empty text is none"),
        Rule(one_name_for_the_limit, "the newer name includes reasoning; both hold"),
        Rule(usage_in_streams, "we always ask for usage"),
        Rule(without_remains_of_replies, "fields of replies mean nothing in requests"),
        Rule(reasoning_once, "one text under two names"),
        Rule(empty_arguments, "no arguments are an empty object"),
        Rule(required_for_any, "Mistral's docs: any and required are the same"),
        Rule(named_choice, "it names a function", "huggingface"),
        Rule(image_as_object, "the API takes an address, and an object with it"),
        Rule(model_in_the_address, "a deployment's address names the model", "azure"),
        Rule(ids_by_order, "Mistral takes nine characters; others hashed", "mistral"),
        Rule(formats_of_strict_schemas, "strict mode knows few formats; they are told"),
    ),
    "openai-responses": (
        _DEFAULTS,
        Rule(input_as_items, "text input is a user's; instructions come first"),
        Rule(items_without_defaults, "fields of replies; the type of what has a role"),
        Rule(without_the_servers_marks, "only reasoning ties items to their ids"),
        Rule(stateless, "we keep nothing on the server unless asked to"),
        Rule(strict_is_said, "our tools say nothing for not strict, as in Chat"),
        _TEXT,
        Rule(none_for_no_text, "no text"),
    ),
    "anthropic-messages": (
        _DEFAULTS,
        Rule(content_as_blocks, "a text and one text block are the same"),
        Rule(neighbours_are_one_turn, "the API joins them itself"),
        Rule(anthropic_defaults, "defaults; a schema of inputs is an object's"),
        Rule(newer_name_of_the_format, "the beta's name of output_config.format"),
        _TEXT,
    ),
    "google-generatecontent": (
        Rule(reference_spelling, "proto3 JSON takes both spellings of a name"),
        Rule(system_as_text, "its role means nothing; parts are paragraphs"),
        Rule(thoughts_that_count, "summaries of thoughts are for people"),
        Rule(neighbours_are_one_turn, "results of a turn's calls share a turn"),
        Rule(texts_joined, "neighbouring texts are one, and an empty one is none"),
        Rule(one_name_of_mp3, "two names; Google's list has audio/mp3"),
        Rule(tools_one_by_one, "a tool may hold several kinds, or one each"),
        Rule(real_json_schema, "the older fields hold a part of JSON Schema"),
        _DEFAULTS,
    ),
    "ollama-chat": (
        Rule(ollama_defaults, "defaults; left out, stream is true"),
        Rule(made_ids, "an id that we made for a call without one"),
    ),
}


# The comparison -------------------------------------------------------------------


_CALLERS_OWN = frozenset(
    {
        *("parameters", "inputSchema", "schema", "arguments", "input", "args"),
        *("response", "responseSchema", "responseJsonSchema", "format", "logitBias"),
        "parametersJsonSchema",
    }
)


def without_null(value: Any) -> Any:
    """null is as good as nothing, in what the API defines."""
    if isinstance(value, list):
        return [without_null(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: item
        if camel(key) in _CALLERS_OWN and not isinstance(item, list)
        else without_null(item)
        for key, item in value.items()
        if item is not None
    }


def meaning(body: JSON, record: Record) -> JSON:
    body = without_null(copy.deepcopy(body))
    for rule in RULES[record["api"]]:
        if rule.only in record["provider"]:
            body = rule.rewrite(body)
    return body


def differences(a: Any, b: Any, path: str = "") -> Iterator[str]:
    """Where two JSON values differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted({*a, *b}):
            if key in a and key in b:
                yield from differences(a[key], b[key], f"{path}/{key}")
            else:
                where = "sent too much" if key in b else "missing"
                yield f"{path}/{key}: {where}: {a.get(key, b.get(key))!r:.300}"
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for index, pair in enumerate(zip(a, b, strict=True)):
            yield from differences(*pair, f"{path}/{index}")
    elif a != b or isinstance(a, bool) != isinstance(b, bool):
        yield f"{path}: recorded {a!r:.300}, built {b!r:.300}"


def address(url: str) -> tuple[str, list[str]]:
    """Path and query without what says nothing: keys, an SDK's mark, the framing."""
    parts = urlsplit(url)
    query = [
        item
        for item in parts.query.split("&")
        if item and item.partition("=")[0] not in ("key", "beta", "alt")
    ]
    return re.sub("[<>]", "", parts.path).lstrip("/"), query


@pytest.mark.parametrize("name", wire.files())
def test_requests_built_again_mean_what_was_recorded(name: str) -> None:
    failed = []
    for record in wire.load(name):
        try:
            request = to_request(record)
        except Inexpressible:
            continue
        before = copy.deepcopy(request)
        built = load_wire_format(wire.kind_of(record)).build_request(
            request, endpoint_of(record)
        )
        assert request == before, f"{record['id']}: the mapper changed the request"
        json.dumps(built.body, allow_nan=False)
        recorded = record["request"]["body"]
        found = list(
            differences(meaning(recorded, record), meaning(built.body, record))
        )
        if address(built.url) != address(record["request"]["url"]):
            found.append(f"url: {record['request']['url']} {built.url}")
        if found:
            lines = "\n  ".join(found)
            failed.append(f"{record['id']} ({record['source_repo']})\n  {lines}")
    assert not failed, f"{len(failed)} differ:\n" + "\n".join(failed)


def test_most_requests_can_be_expressed() -> None:
    reasons: Counter[str] = Counter()
    total = 0
    for record in wire.every():
        if record["request"].get("not_recorded"):
            continue
        total += 1
        try:
            to_request(record)
        except Inexpressible as reason:
            reasons[f"{record['api']}: {reason}"] += 1
    share = 1 - reasons.total() / total
    print(f"\n{share:.1%} of {total} recorded requests can be expressed; not:")
    for reason, count in reasons.most_common():
        print(f"  {count:3} {reason}")
    assert share > 0.97
