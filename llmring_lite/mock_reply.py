"""What a mock model answers to a prompt, whatever the wire format.

    Prompt (what was asked) + MockModel (options of a call) -> MockReply

A pure function: the same call gets the same reply, ids included.

Tokens are words, separated by white space. A prompt has the words of all its texts
(system, user, assistant, tool results), and one for each tool call in it;
definitions of tools and schemas count nothing. A reply has its words, and one for
each tool call.

`MockFormat` is what a wire format has to offer on the server's side.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from llmring_lite.mock_model import Failure, MockModel, MockRefusal
from llmring_lite.mock_sample import sample

CREATED: Final = 1735689600
"""The time of every reply, 2025-01-01T00:00:00Z: a mock has no clock."""


class Turn(NamedTuple):
    """A turn of a conversation.

    Attributes:
        role: `system`, `user`, `assistant` or `tool`; a `user` turn with results
            has to hold them all.
        text: All its texts, tool results included, a line each.
        calls: Ids of the tool calls that it makes.
        results: Ids of the tool calls whose results it holds.
    """

    role: str
    text: str
    calls: tuple[str, ...] = ()
    results: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Prompt:
    """What a request asks, taken from its wire format.

    Attributes:
        model: Name of the model.
        turns: The conversation.
        tools: Name and schema of each tool offered that the client runs.
        forced: Name of the tool that must be called; `""` for any.
        schema: What a JSON reply must fit; `{}` for any JSON; None for text.
        max_tokens, stop: Where to cut the reply.
        stream: Whether to stream it.
        sse: False for a stream without events, which Gemini has.
        options: Mock options of this request alone.
        body: The request as it came.
        key: 24 hexadecimal digits that stand for this call, for ids.
    """

    model: str
    turns: list[Turn]
    tools: list[tuple[str, Any]] = field(default_factory=list)
    forced: str | None = None
    schema: Any = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    stream: bool = False
    sse: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""

    def check(self) -> None:
        """Refuse what a request may hold but no prompt can be.

        Raises:
            TypeError, ValueError: Something has the wrong type or is negative.
        """
        texts: list[Any] = [self.model, self.forced or "", *self.stop]
        texts += [name for name, _ in self.tools]
        for turn in self.turns:
            texts += [turn.role, turn.text, *turn.calls, *turn.results]
        for text in texts:
            if not isinstance(text, str):
                raise TypeError(f"{to_json(text)} is where a text should be")
        if not isinstance(self.max_tokens, int | None):
            raise TypeError("the limit of the reply must be an integer")
        if self.max_tokens is not None and self.max_tokens < 0:
            raise ValueError("the limit of the reply must not be negative")

    def is_after_tools(self) -> bool:
        """The last turn holds tool results."""
        return bool(self.turns) and (
            self.turns[-1].role == "tool" or bool(self.turns[-1].results)
        )

    def last_text(self) -> str:
        """The last user turn's text, or that of the tool results at the end."""
        texts: list[str] = []
        for turn in reversed(self.turns):
            if turn.role == "tool":
                texts.insert(0, turn.text)
            elif texts:
                break
            elif turn.role == "user":
                return turn.text
        return "\n".join(texts)


class MockCall(NamedTuple):
    """A tool call of a reply.

    Attributes:
        key: 25 or more characters that no other call of the conversation has.
        given_id: The id that the options gave it, if any.
    """

    key: str
    given_id: str | None
    name: str
    arguments: Mapping[str, Any]

    def id(self, prefix: str) -> str:
        """The id; one that was not given begins as the provider's do."""
        return self.given_id or prefix + self.key

    def arguments_text(self) -> str:
        return to_json(self.arguments)


class MockUsage(NamedTuple):
    """Token counts, none of which includes another."""

    fresh: int
    cache_read: int
    cache_write: int
    output: int
    reasoning: int

    @property
    def prompt(self) -> int:
        return self.fresh + self.cache_read + self.cache_write

    @property
    def completion(self) -> int:
        return self.output + self.reasoning


class MockReply(NamedTuple):
    """What the model says. `stop_sequence` is the one that ended it."""

    text: str
    reasoning: str
    calls: list[MockCall]
    finish_reason: str
    stop_sequence: str | None
    usage: MockUsage


def make_reply(prompt: Prompt, model: MockModel) -> MockReply:
    """The reply of a model, by the options of one call (`MockModel.for_call`).

    Raises:
        MockRefusal: A tool must be called that is not offered.
    """
    calls = _calls(prompt, model)
    text = _text(prompt, model, has_calls=bool(calls))
    stopped_by = None
    for sequence in prompt.stop:
        place = text.find(sequence)
        if place >= 0:
            text, stopped_by = text[:place], sequence
    finish_reason = "tool_calls" if calls else "stop"
    cut = text if prompt.max_tokens is None else first_words(text, prompt.max_tokens)
    if len(cut) < len(text):
        text, finish_reason, stopped_by = cut, "length", None
    return MockReply(
        text=text,
        reasoning=model.reasoning,
        calls=calls,
        finish_reason=model.finish_reason or finish_reason,
        stop_sequence=stopped_by,
        usage=_usage(prompt, model, text, len(calls)),
    )


def _calls(prompt: Prompt, model: MockModel) -> list[MockCall]:
    wanted: Sequence[Mapping[str, Any]] = ()
    if model.tool_calls and not prompt.is_after_tools():
        wanted = model.tool_calls
    elif prompt.forced is not None:
        name, schema = _forced_tool(prompt)
        # A tool is also how a JSON reply is asked of an API that has no other way.
        given = _json_object(model.reply)
        arguments = sample(schema) if given is None else given
        wanted = [{"name": name, "arguments": arguments}]
    elif model.mode == "tools" and prompt.tools and not prompt.is_after_tools():
        name, schema = prompt.tools[0]
        wanted = [{"name": name, "arguments": sample(schema)}]
    return [
        MockCall(f"{prompt.key}{n}", c.get("id"), c["name"], c.get("arguments") or {})
        for n, c in enumerate(wanted)
    ]


def _forced_tool(prompt: Prompt) -> tuple[str, Any]:
    for name, schema in prompt.tools:
        if prompt.forced in ("", name):
            return name, schema
    raise MockRefusal(
        400, f"tool choice: the tool {prompt.forced!r} is not among the tools"
    )


def _json_object(text: str | None) -> dict[str, Any] | None:
    try:
        value = json.loads(text or "")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _text(prompt: Prompt, model: MockModel, *, has_calls: bool) -> str:
    if has_calls:
        return (model.reply or "") if model.tool_calls else ""
    if model.reply is not None:
        return model.reply
    if model.mode == "json" and not prompt.is_after_tools():
        if prompt.schema:
            return to_json(sample(prompt.schema))
        return to_json({"echo": prompt.last_text()})
    return prompt.last_text()


def _usage(prompt: Prompt, model: MockModel, text: str, calls: int) -> MockUsage:
    given = model.usage or {}
    counted = sum(count_words(turn.text) + len(turn.calls) for turn in prompt.turns)
    read = given.get("cached_tokens", 0)
    write = given.get("cache_creation_input_tokens", 0)
    reasoning = given.get("reasoning_tokens", count_words(model.reasoning))
    total_in = given.get("prompt_tokens", counted)
    total_out = given.get("completion_tokens", count_words(text) + calls + reasoning)
    return MockUsage(
        fresh=max(0, total_in - read - write),
        cache_read=read,
        cache_write=write,
        output=max(0, total_out - reasoning),
        reasoning=reasoning,
    )


def check_tool_results(turns: Sequence[Turn]) -> None:
    """Refuse a conversation in which calls and results don't match.

    Raises:
        MockRefusal: A result answers no call of the turn before, or a call has no
            result where it should.
    """
    open_calls: list[str] = []
    for turn in turns:
        for call in turn.results:
            if call not in open_calls:
                raise MockRefusal(
                    400, f"tool result {call!r} answers no call of the turn before it"
                )
            open_calls.remove(call)
        if open_calls and turn.role != "tool":
            break
        open_calls.extend(turn.calls)
    if open_calls:
        raise MockRefusal(
            400, f"the tool call {open_calls[0]!r} has no result right after it"
        )


def count_words(text: str) -> int:
    """The tokens of a text."""
    return len(text.split())


def first_words(text: str, count: int) -> str:
    """The text up to the end of its `count`-th word."""
    pieces = split_words(text)
    return text if len(pieces) <= count else "".join(pieces[:count])


def split_words(text: str) -> list[str]:
    """The text in pieces of a word each, with the white space in front of it.

    White space at the end goes with the last word. Joined they are the text.
    """
    return re.findall(r"\s*\S+(?:\s+\Z)?|\s+", text)


def fragments(text: str, size: int = 8) -> list[str]:
    """A tool call's arguments as they come in a stream."""
    return [text[start : start + size] for start in range(0, len(text), size)]


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON in UTF-8 as it is, escaped only where that is impossible."""
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent, separators=separators)
    return text


def text_of(content: Any) -> str:
    """The texts of a message's parts, those in tool results included, a line each."""
    if isinstance(content, str) or content is None:
        return content or ""
    texts = (
        text_of(part.get("content"))
        if part.get("type") == "tool_result"
        else part.get("text", "")
        for part in content
    )
    return "\n".join(text for text in texts if text)


class Event(NamedTuple):
    """An event of a stream, and how many tokens come with it."""

    tokens: int
    data: bytes


def sse(value: Mapping[str, Any]) -> bytes:
    """A server-sent event, named by its type if it has one."""
    name = f"event: {value['type']}\n" if "type" in value else ""
    return f"{name}data: {to_json(value)}\n\n".encode()


def retry_headers(failure: Failure) -> dict[str, str]:
    """The header that tells how long to wait, if the error does."""
    if failure.retry_after is None:
        return {}
    return {"retry-after": f"{failure.retry_after:g}"}


class MockFormat(NamedTuple):
    """A wire format from the server's side: pure functions and constants.

    Attributes:
        parse_prompt: Path with query, and decoded body of a request.
        build_reply: The reply in one piece.
        iter_events: The reply as a stream.
        build_error: The body of an error answer.
        build_error_event: The same as an event in a stream.
        unknown_model: Status and message for a model that isn't there, `{}` in
            place of its name.
        bad_key: The same for a missing or wrong key.
        headers: Of any answer, `{}` in place of the call's key.
        error_headers: Further ones of an error answer.
        content_type, stream_type: Of an answer in one piece, and of a stream.
        indent: Of the JSON of an answer in one piece.
        broken_event: An event that is no JSON.
    """

    parse_prompt: Callable[[str, Mapping[str, Any]], Prompt]
    build_reply: Callable[[Prompt, MockReply], dict[str, Any]]
    iter_events: Callable[[Prompt, MockReply], Iterator[Event]]
    build_error: Callable[[Failure], dict[str, Any]]
    build_error_event: Callable[[Failure], bytes]
    unknown_model: tuple[int, str]
    bad_key: tuple[int, str]
    headers: Mapping[str, str] = {}
    error_headers: Callable[[Failure], dict[str, str]] = retry_headers
    content_type: str = "application/json"
    stream_type: str = "text/event-stream; charset=utf-8"
    indent: int | None = 2
    broken_event: bytes = b'data: {"broken": \n\n'

    def encode(self, value: Any) -> bytes:
        """An answer in one piece."""
        text = to_json(value, self.indent)
        return (f"{text}\n" if self.indent else text).encode()
