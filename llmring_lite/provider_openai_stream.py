"""Chat Completions, receiving: streams.

Reads what OpenAI sends (https://platform.openai.com/docs/api-reference/chat-streaming)
and the habits of the servers that imitate it: usage in every event or in one without
choices, tool call fragments without an index or with arguments as an object, content
as a list of chunks, no finish reason or no `[DONE]`, errors in a 200.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator
from typing import Any, Final

from llmring_lite.provider import JSON, StreamEvent
from llmring_lite.provider_errors import parse_error
from llmring_lite.provider_openai_reply import (
    REASONING_TEXT,
    THOUGHTS,
    check_no_error,
    check_not_broken_off,
    parse_usage,
    read_finish,
    split_reasoning,
    split_tool_calls,
    thinking_text,
    typed_chunks,
    unanswered,
)
from llmring_lite.provider_tools import arguments_text
from llmring_lite.schemas import LLMRequest, StreamChunk


def parse_stream(
    events: Iterable[StreamEvent], request: LLMRequest
) -> Generator[StreamChunk, None, None]:
    """Chunks from the events of a 2xx stream; see `provider` for the contract.

    Complete is a stream with a finish reason or with `[DONE]`: some servers leave
    out the one, some the other, and some give a reason after each of several calls.

    Raises:
        ProviderError: An event holds an error, or says that the reply broke off.
    """
    loads = json.loads
    rest = _Rest()
    done = False
    for name, data in events:
        if name == "error":
            raise parse_error(data)
        if data[:6] == "[DONE]":
            done = not rest.is_new  # after nothing at all, it ends no reply
            break
        if not data or data.isspace():
            continue
        payload = loads(data)
        if (
            rest.is_new
            or not payload.get("choices")
            or payload.get("usage")
            or payload.get("error")
        ):
            rest.add_envelope(payload)
        choice = _first_candidate(payload)
        if choice is None:
            continue
        delta = choice.get("delta")
        if delta:
            if len(delta) > 1 or "content" not in delta:
                if rest.is_result(delta):
                    delta = {}
                yield from rest.add_delta(delta)
            content = delta.get("content")
            if content:
                if content.__class__ is str:
                    yield StreamChunk(content)
                else:
                    yield from rest.add_content(content)
        if choice.get("finish_reason"):
            rest.add_envelope(payload)
            rest.choice = choice
            rest.goes_on = False
            check_not_broken_off(choice["finish_reason"], choice, "")
        elif rest.choice and delta:
            rest.goes_on |= any(delta[key] for key in delta if key != "role")
    if done or (rest.choice and not rest.goes_on):
        yield from rest.finish(request)


def _first_candidate(payload: JSON) -> JSON | None:
    """Of several candidates the first one is the reply."""
    choice: JSON
    for choice in payload.get("choices") or ():
        if not choice.get("index"):
            return choice
    return None


class _Rest:
    """What a stream says besides text, gathered until it ends.

    Of what grows with the length of the stream only that is kept which is needed
    whole: tool calls, reasoning that the provider wants back, audio.
    """

    def __init__(self) -> None:
        self.is_new = True
        self.envelope: JSON = {}
        self.choice: JSON = {}  # the one with the finish reason
        self.goes_on = False  # after it
        self.calls = _Calls()
        self.answered: set[str | None] = set()  # by tools that the server runs
        self.results: set[Any] = set()  # places of their messages
        self.usage_id: Any = None
        self.earlier_usage: list[JSON | None] = []  # of what led to these calls
        self.thoughts: list[JSON] = []
        self.pieces: dict[str, list[str]] = {}
        self.details = _Details()
        self.others: JSON = {}

    def add_envelope(self, payload: JSON) -> None:
        """Note all that surrounds the choices; raise if it is an error."""
        check_no_error(payload)
        self.is_new = False
        if payload.get("usage"):
            # Mistral counts what came before the results under an id of its own.
            if self.results and payload.get("id") != self.usage_id:
                self.earlier_usage.append(self.envelope.get("usage"))
            self.usage_id = payload.get("id")
        for key, value in payload.items():
            # OpenAI sends `"usage": null` until the last event.
            if key != "choices" and (value is not None or key not in self.envelope):
                self.envelope[key] = value

    def is_result(self, delta: JSON) -> bool:
        """Whether it is of a tool that the server ran; see `provider_openai_reply`.

        Mistral numbers the messages of such a reply.
        """
        place, role = delta.get("index"), delta.get("role")
        if role == "tool":
            self.results.add(place)
            self.answered.add(delta.get("tool_call_id"))
        elif role:
            self.results.discard(place)
        return place in self.results

    def add_content(self, content: Any) -> Iterator[StreamChunk]:
        """What isn't text; see `provider_openai_reply.split_content`."""
        for chunk in typed_chunks(content):
            if chunk["type"] == "text" and chunk["text"]:
                yield StreamChunk(chunk["text"])
            elif chunk["type"] in THOUGHTS:
                text = thinking_text(chunk)
                if chunk["type"] == "thinking":
                    self._keep_thought(chunk, text)
                if text:
                    yield StreamChunk(reasoning=text)

    def _keep_thought(self, chunk: JSON, text: str) -> None:
        """Pieces are joined up to the one that signs them."""
        if not self.thoughts or self.thoughts[-1].get("signature"):
            self.thoughts.append({"type": "thinking", "thinking": []})
        thought = self.thoughts[-1]
        thought["thinking"].append(text)
        thought |= {k: v for k, v in chunk.items() if k != "thinking" and v is not None}

    def add_delta(self, delta: JSON) -> Iterator[StreamChunk]:
        """All of a delta but its content."""
        reasoning = ""
        for key, value in delta.items():
            if value is None or key in ("content", "role"):
                continue
            if key in REASONING_TEXT and isinstance(value, str):
                if not reasoning:  # under both names a server says the same
                    reasoning = value
                    self._keep(key, value)
            elif key == "tool_calls":
                self.calls.add(value)
            elif key == "function_call" and any(value.values()):
                self.calls.add([{"index": 0, "function": value}])
            elif key == "refusal":
                self._keep(key, value)
            elif key == "reasoning_details":
                self.details.add(value)
            elif key == "audio":
                yield from self._add_audio(value)
            elif isinstance(value, list):
                self.others.setdefault(key, []).extend(value)
            else:
                self.others[key] = value
        if reasoning:
            yield StreamChunk(reasoning=reasoning)

    def _keep(self, key: str, piece: str) -> None:
        self.pieces.setdefault(key, []).append(piece)

    def _add_audio(self, audio: JSON) -> Iterator[StreamChunk]:
        """Spoken replies: base64 pieces, and their transcript as the text."""
        if audio.get("data"):
            self._keep("data", audio["data"])
        others = {k: v for k, v in audio.items() if k not in ("data", "transcript")}
        self.others["audio"] = self.others.get("audio", {}) | others
        if audio.get("transcript"):
            yield StreamChunk(audio["transcript"])

    def finish(self, request: LLMRequest) -> Iterator[StreamChunk]:
        """The tool calls, then the last chunk."""
        joined = {key: "".join(pieces) for key, pieces in self.pieces.items()}
        message = self.others | {
            key: joined[key] for key in (*REASONING_TEXT, "refusal") if key in joined
        }
        message["tool_calls"] = unanswered(self.calls.whole(), self.answered)
        message["reasoning_details"] = self.details.whole()
        calls, kept = split_tool_calls(message, self.envelope, request)
        if calls:
            yield StreamChunk(tool_calls=calls)
        kept |= split_reasoning(message)[1]
        for thought in self.thoughts:
            text = "".join(thought["thinking"])
            thought["thinking"] = [{"type": "text", "text": text}]
        if self.thoughts:
            kept["thinking"] = self.thoughts
        yield StreamChunk(
            model=self.envelope.get("model") or "",
            finish_reason=read_finish(self.choice.get("finish_reason"), bool(calls)),
            usage=self._usage(),
            refusal=joined.get("refusal") or None,
            raw=self._raw(joined),
            provider_data=kept or None,
        )

    def _usage(self) -> JSON:
        # Groq's, before it knew `stream_options`.
        groq = self.envelope.get("x_groq") or {}
        usage = parse_usage(self.envelope.get("usage") or groq.get("usage"))
        for earlier in map(parse_usage, self.earlier_usage):
            usage |= {key: usage.get(key, 0) + earlier[key] for key in earlier}
        return usage

    def _raw(self, joined: dict[str, str]) -> JSON:
        """The reply's envelope, in the form of a reply that isn't streamed."""
        message = dict(self.others)
        if "data" in joined:
            message["audio"] = message["audio"] | {"data": joined["data"]}
        choice = {k: v for k, v in self.choice.items() if k not in ("delta", "message")}
        return self.envelope | {"choices": [choice | {"message": message}]}


class _Calls:
    """Fragments of tool calls -> whole calls, as a reply that isn't streamed has them.

    OpenAI sends id and name in the first fragment of a call, and joins by `index`.
    Others leave out the index, send all calls under index 0, or repeat the name.
    """

    def __init__(self) -> None:
        self._calls: list[JSON] = []
        self._by_index: dict[Any, JSON] = {}

    def add(self, fragments: list[JSON]) -> None:
        for fragment in fragments:
            # Snowflake fills in an empty `custom` beside every `function`.
            kind = "function" if fragment.get("function") else "custom"
            body = fragment.get(kind) or {}
            call = self._call_of(fragment, body.get("name"))
            for key, value in fragment.items():
                if value and key not in ("index", "function", "custom"):
                    call[key] = value
            if kind == "custom" and body:
                call["type"] = kind
            text = body.get("input" if kind == "custom" else "arguments")
            if text:
                is_text = isinstance(text, str)
                call["pieces"].append(text if is_text else arguments_text(text))

    def _call_of(self, fragment: JSON, name: str | None) -> JSON:
        """The call that a fragment belongs to, a new one where it begins one."""
        index = fragment.get("index")
        call = self._by_index.get(index)
        if call is not None and not self._begins_another(call, fragment, name):
            # A name comes whole, or again with every fragment, or in pieces.
            if name and name != call["name"]:
                call["name"] += name
            return call
        call = {"name": name or "", "pieces": []}
        self._calls.append(call)
        self._by_index[index] = call
        return call

    def _begins_another(self, call: JSON, fragment: JSON, name: str | None) -> bool:
        if not name:
            return False
        if fragment.get("id") and call.get("id"):
            return bool(fragment["id"] != call["id"])
        if fragment.get("index") is None:
            return True
        return _is_json("".join(call["pieces"]))

    def whole(self) -> list[JSON]:
        calls = []
        for call in self._calls:
            name, text = call.pop("name"), "".join(call.pop("pieces"))
            if call.get("type") == "custom":
                calls.append(call | {"custom": {"name": name, "input": text}})
            else:
                calls.append(call | {"function": {"name": name, "arguments": text}})
        return calls


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


_DETAIL_TEXT: Final = {"reasoning.text": "text", "reasoning.summary": "summary"}
"""Type of a detail -> the field that comes in pieces."""


class _Details:
    """Fragments of OpenRouter's `reasoning_details` -> the whole ones.

    https://openrouter.ai/docs/use-cases/reasoning-tokens: texts come in pieces and
    their signature after them, under one index; encrypted ones come whole.
    """

    def __init__(self) -> None:
        self._details: list[tuple[JSON, list[str]]] = []
        self._by_key: dict[Any, tuple[JSON, list[str]]] = {}

    def add(self, fragments: list[JSON]) -> None:
        for fragment in fragments:
            kind = fragment.get("type")
            field = _DETAIL_TEXT.get(kind or "")
            if field is None:
                self._details.append((fragment, []))
                continue
            key = (kind, fragment.get("index"))
            if key not in self._by_key:
                self._by_key[key] = ({}, [])
                self._details.append(self._by_key[key])
            detail, pieces = self._by_key[key]
            for name, value in fragment.items():
                if name == field:
                    pieces.append(value or "")
                elif value is not None or name not in detail:
                    detail[name] = value

    def whole(self) -> list[JSON]:
        return [
            detail | {_DETAIL_TEXT[detail["type"]]: "".join(pieces)}
            if pieces
            else detail
            for detail, pieces in self._details
        ]
