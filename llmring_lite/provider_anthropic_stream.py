"""Streamed replies of Anthropic's Messages API.

https://platform.claude.com/docs/en/build-with-claude/streaming

`message_start` brings the envelope; each block starts, grows by deltas and stops;
`message_delta` brings the stop reason; `message_stop` alone ends a stream properly.
The last chunk's `raw` is the envelope as a plain reply would have it, with blocks in
the form of `provider_data`: a text's length in place of the text, which has been
handed out, and calls without their input.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator
from typing import Final

from llmring_lite.provider import JSON, StreamEvent
from llmring_lite.provider_anthropic_reply import (
    FINISH_REASONS,
    Block,
    parse_usage,
    provider_data,
    refusal,
    structure_name,
    without_preamble,
)
from llmring_lite.provider_anthropic_structure import structure_mode
from llmring_lite.provider_errors import parse_error
from llmring_lite.provider_tools import arguments_text, finish_reason, make_call
from llmring_lite.schemas import LLMRequest, StreamChunk

_NOT_ENVELOPE: Final = frozenset({"type", "delta", "usage"})


def parse_stream(
    events: Iterable[StreamEvent], request: LLMRequest
) -> Generator[StreamChunk, None, None]:
    """See `provider`."""
    reply = _Reply(request)
    blocks, holds_text = reply.arriving, reply.holds_text
    for name, data in events:
        if name == "error":
            raise parse_error(data)
        # Their data needn't be JSON, nor be there.
        if name == "ping" or not data:
            continue
        payload = json.loads(data)
        kind = payload.get("type") or name
        if kind == "content_block_delta":
            delta = payload["delta"]
            block = blocks[payload["index"]]
            if delta["type"] == "text_delta" and not holds_text:
                text = "" + delta["text"]  # what is no text raises TypeError
                if text:
                    block.length += len(text)
                    yield StreamChunk(text)
            else:
                yield from reply.add_delta(block, delta)
        elif kind == "message_stop":
            yield from reply.finish()
            return
        elif kind in _HANDLERS:
            yield from _HANDLERS[kind](reply, payload)


class _ArrivingBlock(Block):
    """A block whose pieces are still coming."""

    __slots__ = ("pieces",)

    def __init__(self, wire: JSON, name: str | None) -> None:
        super().__init__(dict(wire), name)
        self.pieces: list[str] = []
        """Of the input's JSON, or of thinking, which goes back with its signature."""

    def arguments(self) -> str:
        text = "".join(self.pieces)
        return arguments_text(text if text else self.wire.get("input"))

    def complete(self) -> None:
        """Put the pieces where a reply that isn't streamed has them."""
        if not self.pieces or self.role in ("tool_use", "structure"):
            return
        text = "".join(self.pieces)
        if self.role == "thinking":
            self.wire["thinking"] = text
            return
        try:
            self.wire["input"] = json.loads(text)
        except ValueError:  # cut off by the token limit
            self.wire["input"] = {}


class _Reply:
    """What has to be remembered of a stream: everything but its text."""

    def __init__(self, request: LLMRequest) -> None:
        self.arriving: dict[int, _ArrivingBlock] = {}
        """Index -> block that has started but not stopped."""
        self.holds_text = structure_mode(request) == "tool"
        """Whether text waits: beside a structure it doesn't count."""
        self._structure_name = structure_name(request)
        self._held: list[str] = []
        self._structure: Block | None = None
        self._blocks: list[Block] = []
        self._has_calls = False
        self._envelope: JSON = {}
        self._usage: JSON = {}

    def start_message(self, payload: JSON) -> Iterator[StreamChunk]:
        """Envelope, and blocks that are whole already.

        A turn that a tool's own calls interrupted may begin with their results and the
        next call. Some gateways say it twice; the first counts.
        """
        message = dict(payload["message"])
        if self._envelope:
            return
        self._envelope = message
        self._usage = dict(message.get("usage") or {})
        for index, wire in enumerate(message.get("content") or ()):
            yield from self.start_block({"index": index, "content_block": wire})
            yield from self.stop_block({"index": index})

    def start_block(self, payload: JSON) -> Iterator[StreamChunk]:
        block = _ArrivingBlock(payload["content_block"], self._structure_name)
        self.arriving[payload["index"]] = block
        self._blocks.append(block)
        if block.role == "structure" and self._structure is None:
            self._structure = block
            self._held.clear()
        elif block.role == "fallback":
            # A plain reply names the model that took over from the one that declined.
            to = block.wire.get("to") or {}
            self._envelope["model"] = to.get("model") or self._envelope.get("model")
        # Compatible servers may put the beginning of a text here, or all of it.
        for word in ("text", "thinking"):
            if block.role == word and block.wire.get(word):
                delta = {"type": f"{word}_delta", word: block.wire[word]}
                block.wire[word] = ""
                yield from self.add_delta(block, delta)

    def add_delta(self, block: _ArrivingBlock, delta: JSON) -> Iterator[StreamChunk]:
        """Any delta but a text that goes straight through."""
        kind = delta["type"]
        if kind == "text_delta":
            text = "" + delta["text"]
            block.length += len(text)
            if not self.holds_text:
                yield StreamChunk(text)
            elif self._structure is None:
                self._held.append(text)
        elif kind == "thinking_delta":
            thought = "" + delta["thinking"]
            block.pieces.append(thought)
            if thought:
                yield StreamChunk(reasoning=thought)
        elif kind == "input_json_delta":
            # The first is often empty, and a call without arguments has no other.
            fragment = "" + delta["partial_json"]
            if block is not self._structure:
                block.pieces.append(fragment)
            elif fragment:
                block.length += len(fragment)
                yield StreamChunk(fragment)
        elif kind == "citations_delta":
            known = block.wire.get("citations") or []
            block.wire["citations"] = [*known, delta["citation"]]
        else:
            # signature_delta, compaction_delta: a field of the block, whole.
            block.wire.update({k: v for k, v in delta.items() if k != "type"})

    def stop_block(self, payload: JSON) -> Iterator[StreamChunk]:
        block = self.arriving.pop(payload["index"], None)
        return iter(()) if block is None else self._complete(block)

    def _complete(self, block: _ArrivingBlock) -> Iterator[StreamChunk]:
        block.complete()
        if block.role == "tool_use":
            self._has_calls = True
            call = make_call(block.wire["id"], block.wire["name"], block.arguments())
            yield StreamChunk(tool_calls=[call])
        elif block is self._structure and not block.length:
            text = block.arguments()
            block.length = len(text)
            yield StreamChunk(text)
        block.pieces.clear()

    def change_message(self, payload: JSON) -> Iterator[StreamChunk]:
        """Stop reason and last counts; it may correct those of the start."""
        self._envelope.update(
            {k: v for k, v in payload.items() if k not in _NOT_ENVELOPE}
        )
        self._envelope.update(
            {
                key: value
                for key, value in payload["delta"].items()
                if value is not None or key == "stop_details"
            }
        )
        self._usage.update(
            {k: v for k, v in (payload.get("usage") or {}).items() if v is not None}
        )
        return iter(())

    def fail(self, payload: JSON) -> Iterator[StreamChunk]:
        raise parse_error(payload)

    def finish(self) -> Iterator[StreamChunk]:
        for block in self.arriving.values():
            yield from self._complete(block)
        blocks = self._blocks
        if self._structure is not None:
            blocks = without_preamble(blocks)
        elif held := "".join(self._held):
            yield StreamChunk(held)
        envelope = self._envelope
        envelope["content"] = [block.stored() for block in blocks]
        envelope["usage"] = self._usage or None
        yield StreamChunk(
            model=envelope.get("model") or "",
            finish_reason=finish_reason(
                FINISH_REASONS, envelope.get("stop_reason"), self._has_calls
            ),
            usage=parse_usage(self._usage) or None,
            refusal=refusal(envelope),
            raw=envelope,
            provider_data=provider_data(blocks),
        )


# Event type -> what it does. Others, `ping` among them, count for nothing.
_HANDLERS: Final = {
    "message_start": _Reply.start_message,
    "content_block_start": _Reply.start_block,
    "content_block_stop": _Reply.stop_block,
    "message_delta": _Reply.change_message,
    "error": _Reply.fail,
}
