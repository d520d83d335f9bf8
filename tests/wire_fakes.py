"""Small fakes of the five APIs: what they understand of a request, what they answer.

Written from the providers' references, not from the mappers:
https://platform.openai.com/docs/api-reference/chat
https://platform.openai.com/docs/api-reference/responses
https://platform.claude.com/docs/en/api/messages
https://ai.google.dev/api/generate-content
https://docs.ollama.com/api/chat

A conversation is a list of facts, the same for all:

    ("system", text)
    ("user", text)                        neighbouring texts are one, by paragraphs
    ("assistant", text, ((id, name, arguments), ...))
    ("result", id, value)                 of a call; a JSON object, or a text

Ids are None where an API has none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

JSON = dict[str, Any]
Fact = tuple[Any, ...]


class Thought(NamedTuple):
    """Reasoning, and what the provider wants back with it."""

    text: str
    secret: str


class Text(NamedTuple):
    text: str


class Call(NamedTuple):
    """`id` is None for a call of an API that gives none."""

    id: str | None
    name: str
    arguments: JSON
    secret: str


Block = Thought | Text | Call


class Fake(NamedTuple):
    """One API.

    `read`: a request's body -> facts. `reply`: blocks -> the body of an answer.
    `events`: the same as a stream, texts in pieces. `replayed`: a request's body ->
    its last assistant turn in the API's own words, and `kept`: the turn that a reply
    of these blocks must come back as; None if only its facts matter.
    """

    read: Callable[[JSON], list[Fact]]
    reply: Callable[[list[Block]], JSON]
    events: Callable[[list[Block]], Iterator[JSON | str]]
    replayed: Callable[[JSON], Any]
    kept: Callable[[list[Block]], Any]


def facts(blocks: list[Block]) -> Fact:
    """The fact that a reply of these blocks is."""
    calls = tuple((b.id, b.name, b.arguments) for b in _of(Call, blocks))
    return ("assistant", "".join(b.text for b in _of(Text, blocks)), calls)


def reasoning(blocks: list[Block]) -> str:
    return "".join(block.text for block in _of(Thought, blocks))


def _of(kind: Any, blocks: list[Block]) -> list[Any]:
    return [block for block in blocks if isinstance(block, kind)]


def pieces(text: str) -> list[str]:
    """The text in pieces of one, two, three, ... characters."""
    cut: list[str] = []
    while text:
        cut.append(text[: len(cut) + 1])
        text = text[len(cut) :]
    return cut


def joined(found: list[Fact]) -> list[Fact]:
    """Neighbouring texts of a user, and of the system, as one."""
    result: list[Fact] = []
    for fact in found:
        role = fact[0]
        if result and role in ("user", "system") and result[-1][0] == role:
            result[-1] = (role, f"{result[-1][1]}\n\n{fact[1]}")
        else:
            result.append(fact)
    return result


def value_of(text: str) -> Any:
    """A result: the JSON object that a text is, or the text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, dict) else text


def _texts(content: Any) -> list[str]:
    if not content:
        return []
    if isinstance(content, str):
        return [content]
    return [part["text"] for part in content if part.get("text")]


# Chat Completions -----------------------------------------------------------------


def _read_openai(body: JSON) -> list[Fact]:
    found: list[Fact] = []
    for message in body["messages"]:
        role = message["role"]
        if role == "assistant":
            calls = tuple(
                (
                    call["id"],
                    call["function"]["name"],
                    json.loads(call["function"]["arguments"]),
                )
                for call in message.get("tool_calls") or ()
            )
            text = "".join(_texts(message.get("content")))
            found.append(("assistant", text, calls))
        elif role == "tool":
            text = "".join(_texts(message["content"]))
            found.append(("result", message["tool_call_id"], value_of(text)))
        else:
            found += [(role, text) for text in _texts(message["content"])]
    return found


def _openai_message(blocks: list[Block]) -> JSON:
    message: JSON = {"role": "assistant", "content": facts(blocks)[1] or None}
    thoughts = _of(Thought, blocks)
    if thoughts:
        message["reasoning_details"] = [
            {
                "type": "reasoning.text",
                "text": thought.text,
                "signature": thought.secret,
                "index": index,
            }
            for index, thought in enumerate(thoughts)
        ]
        message["reasoning"] = reasoning(blocks)
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
        }
        for call in _of(Call, blocks)
    ]
    if calls:
        message["tool_calls"] = calls
    return message


def _openai_reply(blocks: list[Block]) -> JSON:
    word = "tool_calls" if _of(Call, blocks) else "stop"
    choice = {"index": 0, "message": _openai_message(blocks), "finish_reason": word}
    return {"id": "c", "object": "chat.completion", "model": "m", "choices": [choice]}


def _openai_events(blocks: list[Block]) -> Iterator[JSON | str]:
    message = _openai_message(blocks)
    yield _openai_chunk({"role": "assistant", "content": ""})
    for detail in message.get("reasoning_details") or ():
        rest = {k: v for k, v in detail.items() if k not in ("text", "signature")}
        for piece in pieces(detail["text"]) or [""]:
            delta = {"reasoning": piece, "reasoning_details": [rest | {"text": piece}]}
            yield _openai_chunk(delta)
        signed = rest | {"signature": detail["signature"]}
        yield _openai_chunk({"reasoning_details": [signed]})
    for piece in pieces(message["content"] or ""):
        yield _openai_chunk({"content": piece})
    for index, call in enumerate(message.get("tool_calls") or ()):
        begun = {"name": call["function"]["name"], "arguments": ""}
        head = {**call, "index": index, "function": begun}
        yield _openai_chunk({"tool_calls": [head]})
        for piece in pieces(call["function"]["arguments"]):
            part = {"index": index, "function": {"arguments": piece}}
            yield _openai_chunk({"tool_calls": [part]})
    word = "tool_calls" if "tool_calls" in message else "stop"
    yield _openai_chunk({}, word)
    yield "[DONE]"


def _openai_chunk(delta: JSON, word: str | None = None) -> JSON:
    choice = {"index": 0, "delta": delta, "finish_reason": word}
    return {"object": "chat.completion.chunk", "model": "m", "choices": [choice]}


def _openai_replayed(body: JSON) -> Any:
    turns = [m for m in body["messages"] if m["role"] == "assistant"]
    return _without_reasoning_twice(turns[-1])


def _without_reasoning_twice(message: JSON) -> JSON:
    """`reasoning` is what its details say."""
    return {k: v for k, v in message.items() if k != "reasoning"}


# Responses ------------------------------------------------------------------------


def _read_responses(body: JSON) -> list[Fact]:
    found: list[Fact] = []
    for item in body["input"]:
        kind = item.get("type", "message")
        if kind == "message" and item["role"] == "assistant":
            found.append(("assistant", "".join(_texts(item["content"])), ()))
        elif kind == "message":
            found += [(item["role"], text) for text in _texts(item["content"])]
        elif kind == "function_call":
            arguments = json.loads(item["arguments"])
            call = (item["call_id"], item["name"], arguments)
            found.append(("assistant", "", (call,)))
        elif kind == "function_call_output":
            found.append(("result", item["call_id"], value_of(item["output"])))
    return _one_turn(found)


def _one_turn(found: list[Fact]) -> list[Fact]:
    """Neighbouring items of a reply as one turn."""
    result: list[Fact] = []
    for fact in found:
        if fact[0] == "assistant" and result and result[-1][0] == "assistant":
            _, text, calls = result[-1]
            result[-1] = ("assistant", text + fact[1], (*calls, *fact[2]))
        else:
            result.append(fact)
    return result


def _responses_output(blocks: list[Block]) -> list[JSON]:
    output: list[JSON] = []
    for number, block in enumerate(blocks):
        item: JSON
        if isinstance(block, Thought):
            summary = [{"type": "summary_text", "text": block.text}]
            item = {"type": "reasoning", "id": f"rs_{number}", "summary": summary}
            item["encrypted_content"] = block.secret
        elif isinstance(block, Text):
            part = {"type": "output_text", "text": block.text, "annotations": []}
            item = {"type": "message", "id": f"msg_{number}", "status": "completed"}
            item |= {"role": "assistant", "content": [part]}
        else:
            item = {"type": "function_call", "id": f"fc_{number}", "call_id": block.id}
            item |= {"name": block.name, "arguments": json.dumps(block.arguments)}
            item["status"] = "completed"
        output.append(item)
    return output


def _responses_reply(blocks: list[Block]) -> JSON:
    return {
        "object": "response",
        "status": "completed",
        "model": "m",
        "store": False,
        "output": _responses_output(blocks),
    }


def _responses_events(blocks: list[Block]) -> Iterator[JSON | str]:
    reply = _responses_reply(blocks)
    begun = {**reply, "status": "in_progress", "output": []}
    yield {"type": "response.created", "response": begun}
    for index, item in enumerate(reply["output"]):
        place = {"output_index": index, "item_id": item["id"]}
        empty, part = {}, {}
        if item["type"] == "message":
            kind, text, empty = (
                "output_text",
                item["content"][0]["text"],
                {"content": []},
            )
        elif item["type"] == "reasoning":
            kind, text = "reasoning_summary_text", item["summary"][0]["text"]
            part = {"summary_index": 0}
        else:
            kind, text = "function_call_arguments", item["arguments"]
            empty = {"arguments": ""}
        bare = {**item, **empty}
        yield {"type": "response.output_item.added", **place, "item": bare}
        for piece in pieces(text):
            yield {"type": f"response.{kind}.delta", **place, **part, "delta": piece}
        yield {"type": "response.output_item.done", **place, "item": item}
    yield {"type": "response.completed", "response": reply}


def _responses_replayed(body: JSON) -> Any:
    """The items after the last that the caller wrote before the reply."""
    items = list(body["input"])
    own = ("reasoning", "function_call")

    def is_reply(item: JSON) -> bool:
        return item.get("type") in own or item.get("role") == "assistant"

    while items and not is_reply(items[-1]):
        items.pop()
    turn: list[JSON] = []
    while items and is_reply(items[-1]):
        turn.insert(0, _without_annotations(items.pop()))
    return turn


def _without_annotations(item: JSON) -> JSON:
    if item.get("type") != "message":
        return item
    parts = [
        {k: v for k, v in part.items() if k != "annotations"}
        for part in item["content"]
    ]
    return {**item, "content": parts}


def _responses_kept(blocks: list[Block]) -> Any:
    """All of it if there is reasoning; else text and calls are enough."""
    if not _of(Thought, blocks):
        return None
    return [_without_annotations(item) for item in _responses_output(blocks)]


# Messages -------------------------------------------------------------------------


def _read_anthropic(body: JSON) -> list[Fact]:
    found: list[Fact] = [("system", text) for text in _texts(body.get("system"))]
    previous = ""
    for turn in body["messages"]:
        assert turn["role"] != previous, "roles alternate"
        previous = turn["role"]
        if turn["role"] == "assistant":
            text = "".join(_texts(turn["content"]))
            calls = tuple(
                (block["id"], block["name"], block["input"])
                for block in turn["content"]
                if block["type"] == "tool_use"
            )
            found.append(("assistant", text, calls))
            continue
        kinds = [block["type"] == "tool_result" for block in turn["content"]]
        assert kinds == sorted(kinds, reverse=True), "results come first"
        for block in turn["content"]:
            if block["type"] == "tool_result":
                text = "".join(_texts(block.get("content")))
                found.append(("result", block["tool_use_id"], value_of(text)))
            else:
                found.append(("user", block["text"]))
    return found


def _anthropic_content(blocks: list[Block]) -> list[JSON]:
    content: list[JSON] = []
    for block in blocks:
        if isinstance(block, Thought) and block.text:
            made = {"thinking": block.text, "signature": block.secret}
            content.append({"type": "thinking", **made})
        elif isinstance(block, Thought):
            content.append({"type": "redacted_thinking", "data": block.secret})
        elif isinstance(block, Text):
            content.append({"type": "text", "text": block.text})
        else:
            made = {"id": block.id, "name": block.name, "input": block.arguments}
            content.append({"type": "tool_use", **made})
    return content


def _anthropic_reply(blocks: list[Block]) -> JSON:
    return {
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": _anthropic_content(blocks),
        "stop_reason": "tool_use" if _of(Call, blocks) else "end_turn",
        "stop_sequence": None,
    }


def _anthropic_events(blocks: list[Block]) -> Iterator[JSON | str]:
    reply = _anthropic_reply(blocks)
    yield {"type": "message_start", "message": {**reply, "content": []}}
    yield {"type": "ping"}
    for index, block in enumerate(reply["content"]):
        empty, deltas = _anthropic_deltas(block)
        started = {"index": index, "content_block": {**block, **empty}}
        yield {"type": "content_block_start", **started}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    delta = {"stop_reason": reply["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta}
    yield {"type": "message_stop"}


def _anthropic_deltas(block: JSON) -> tuple[JSON, list[JSON]]:
    """What a block has not yet when it starts, and what brings it."""
    if block["type"] == "text":
        words = pieces(block["text"])
        return {"text": ""}, [{"type": "text_delta", "text": p} for p in words]
    if block["type"] == "thinking":
        words = pieces(block["thinking"])
        deltas = [{"type": "thinking_delta", "thinking": p} for p in words]
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
        return {"thinking": "", "signature": ""}, deltas
    if block["type"] == "tool_use":
        words = ["", *pieces(json.dumps(block["input"]) if block["input"] else "")]
        deltas = [{"type": "input_json_delta", "partial_json": p} for p in words]
        return {"input": {}}, deltas
    return {}, []


def _anthropic_replayed(body: JSON) -> Any:
    return [t for t in body["messages"] if t["role"] == "assistant"][-1]["content"]


# Gemini ---------------------------------------------------------------------------


def _read_google(body: JSON) -> list[Fact]:
    system = (body.get("systemInstruction") or {}).get("parts")
    found: list[Fact] = [("system", text) for text in _texts(system)]
    previous = ""
    for turn in body["contents"]:
        assert turn["role"] != previous, "roles alternate"
        previous = turn["role"]
        if turn["role"] == "model":
            parts = [part for part in turn["parts"] if not part.get("thought")]
            calls = tuple(
                (call.get("id"), call["name"], call["args"])
                for call in (part.get("functionCall") for part in parts)
                if call
            )
            found.append(("assistant", "".join(_texts(parts)), calls))
            continue
        for part in turn["parts"]:
            if "functionResponse" in part:
                result = part["functionResponse"]
                response = result["response"]
                is_text = response.keys() == {"output"}
                value = response["output"] if is_text else response
                found.append(("result", result.get("id"), value))
            else:
                found.append(("user", part["text"]))
    return found


def _google_parts(blocks: list[Block]) -> list[JSON]:
    parts: list[JSON] = []
    for block in blocks:
        if isinstance(block, Thought):
            parts.append({"text": block.text, "thought": True})
        elif isinstance(block, Text):
            parts.append({"text": block.text})
        else:
            call: JSON = {"name": block.name, "args": block.arguments}
            if block.id is not None:
                call["id"] = block.id
            part = {"functionCall": call}
            parts.append(part | {"thoughtSignature": block.secret})
    return parts


def _google_reply(blocks: list[Block]) -> JSON:
    content = {"role": "model", "parts": _google_parts(blocks)}
    candidate = {"index": 0, "content": content, "finishReason": "STOP"}
    return {"candidates": [candidate], "modelVersion": "m", "responseId": "r"}


def _google_events(blocks: list[Block]) -> Iterator[JSON | str]:
    for part in _google_parts(blocks):
        for piece in pieces(part["text"]) if "text" in part else [None]:
            said = part if piece is None else part | {"text": piece}
            content = {"role": "model", "parts": [said]}
            yield {"candidates": [{"content": content}], "responseId": "r"}
    content = {"role": "model", "parts": [{"text": ""}]}
    yield {"candidates": [{"content": content, "finishReason": "STOP"}]}


def _google_replayed(body: JSON) -> Any:
    return [t for t in body["contents"] if t["role"] == "model"][-1]["parts"]


def _google_kept(blocks: list[Block]) -> Any:
    """Thoughts are summaries for people; neighbouring texts are one."""
    kept: list[JSON] = []
    for part in _google_parts([b for b in blocks if not isinstance(b, Thought)]):
        if kept and part.keys() == kept[-1].keys() == {"text"}:
            kept[-1] = {"text": kept[-1]["text"] + part["text"]}
        else:
            kept.append(part)
    return kept


# Ollama ---------------------------------------------------------------------------


def _read_ollama(body: JSON) -> list[Fact]:
    found: list[Fact] = []
    for message in body["messages"]:
        if message["role"] == "assistant":
            calls = tuple(
                (
                    call.get("id"),
                    call["function"]["name"],
                    call["function"]["arguments"],
                )
                for call in message.get("tool_calls") or ()
            )
            found.append(("assistant", message["content"], calls))
        elif message["role"] == "tool":
            value = value_of(message["content"])
            found.append(("result", message.get("tool_call_id"), value))
            assert message["tool_name"]
        else:
            found.append((message["role"], message["content"]))
    return found


def _ollama_message(blocks: list[Block]) -> JSON:
    message: JSON = {"role": "assistant", "content": facts(blocks)[1]}
    if _of(Thought, blocks):
        message["thinking"] = reasoning(blocks)
    calls = []
    for call in _of(Call, blocks):
        made: JSON = {"function": {"name": call.name, "arguments": call.arguments}}
        if call.id is not None:
            made["id"] = call.id
        calls.append(made)
    if calls:
        message["tool_calls"] = calls
    return message


def _ollama_reply(blocks: list[Block]) -> JSON:
    message = _ollama_message(blocks)
    return {"model": "m", "message": message, "done": True, "done_reason": "stop"}


def _ollama_events(blocks: list[Block]) -> Iterator[JSON | str]:
    message = _ollama_message(blocks)
    empty = {"role": "assistant", "content": ""}
    for piece in pieces(message.get("thinking", "")):
        yield {"message": {**empty, "thinking": piece}, "done": False}
    for piece in pieces(message["content"]):
        yield {"message": {**empty, "content": piece}, "done": False}
    for call in message.get("tool_calls") or ():
        yield {"message": {**empty, "tool_calls": [call]}, "done": False}
    yield {"model": "m", "message": empty, "done": True, "done_reason": "stop"}


def _ollama_replayed(body: JSON) -> Any:
    turn = [m for m in body["messages"] if m["role"] == "assistant"][-1]
    return turn.get("thinking", "")


def _ollama_kept(blocks: list[Block]) -> Any:
    """Thinking that led to calls; that of other turns is left out by the models."""
    return reasoning(blocks) if _of(Call, blocks) else ""


FAKES = {
    "openai": Fake(
        _read_openai,
        _openai_reply,
        _openai_events,
        _openai_replayed,
        lambda blocks: _without_reasoning_twice(_openai_message(blocks)),
    ),
    "openai-responses": Fake(
        _read_responses,
        _responses_reply,
        _responses_events,
        _responses_replayed,
        _responses_kept,
    ),
    "anthropic": Fake(
        _read_anthropic,
        _anthropic_reply,
        _anthropic_events,
        _anthropic_replayed,
        # Without thoughts, text and calls are enough.
        lambda blocks: _anthropic_content(blocks) if _of(Thought, blocks) else None,
    ),
    "google": Fake(
        _read_google, _google_reply, _google_events, _google_replayed, _google_kept
    ),
    "ollama": Fake(
        _read_ollama, _ollama_reply, _ollama_events, _ollama_replayed, _ollama_kept
    ),
}
