"""Replies and streams of OpenAI's Responses API.

https://platform.openai.com/docs/api-reference/responses/object
https://platform.openai.com/docs/api-reference/responses-streaming

Text, refusals, reasoning and function calls are read; items of other kinds (server
tools, custom tools) and annotations are in `raw`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, Final

from llmring_lite.exceptions import ProviderResponseError
from llmring_lite.provider import JSON, StreamEvent, make_usage_of_totals
from llmring_lite.provider_errors import parse_error
from llmring_lite.provider_openai_responses_input import carried, without_text
from llmring_lite.provider_tools import arguments_text, make_call
from llmring_lite.schemas import LLMRequest, LLMResponse, StreamChunk

# `incomplete_details.reason`; any other one cut the reply off, too.
_INCOMPLETE: Final[Mapping[str | None, str]] = {
    "max_output_tokens": "length",
    "content_filter": "content_filter",
}

_TEXT_FIELD: Final[Mapping[str, str]] = {"output_text": "text", "refusal": "refusal"}


def parse_response(body: JSON, request: LLMRequest) -> LLMResponse:
    """A reply's text, calls, reasoning and usage.

    Raises:
        ProviderError: The body holds an error, or a response that isn't finished.
    """
    output = body["output"] if not body.get("error") else []
    finish_reason = _finish_reason(body, output)
    return LLMResponse(
        content=_texts(output, "output_text"),
        model=body.get("model") or "",
        usage=_usage(body.get("usage")),
        finish_reason=finish_reason,
        tool_calls=[_call(item) for item in output if _is_call(item)] or None,
        reasoning=_reasoning(output) or None,
        raw=body,
        refusal=_texts(output, "refusal") or None,
        provider_data=carried(output, stored=body.get("store") is True),
    )


def _finish_reason(response: JSON, output: Iterable[JSON]) -> str:
    status = response.get("status") or "completed"
    if response.get("error") or status == "failed":
        raise parse_error({"error": response.get("error") or "the response failed"})
    if status == "incomplete":
        details = response.get("incomplete_details") or {}
        return _INCOMPLETE.get(details.get("reason"), "length")
    if status != "completed":
        raise ProviderResponseError(f"the response is {status}, not completed")
    return "tool_calls" if any(map(_is_call, output)) else "stop"


def _is_call(item: JSON) -> bool:
    return bool(item["type"] == "function_call")


def _call(item: JSON) -> JSON:
    call_id = item.get("call_id") or item["id"]
    return make_call(call_id, item["name"], arguments_text(item.get("arguments")))


def _texts(output: Iterable[JSON], part_type: str) -> str:
    return "".join(
        part[_TEXT_FIELD[part_type]]
        for item in output
        if item["type"] == "message"
        for part in item.get("content") or ()
        if part["type"] == part_type
    )


def _reasoning(output: Iterable[JSON]) -> str:
    """Summaries, and the reasoning itself from servers that show it."""
    return "".join(
        part["text"]
        for item in output
        if item["type"] == "reasoning"
        for part in (*(item.get("summary") or ()), *(item.get("content") or ()))
    )


def _usage(sent: JSON | None) -> dict[str, Any]:
    if not sent:
        return {}
    details = sent.get("input_tokens_details") or {}
    return make_usage_of_totals(
        sent.get("input_tokens"),
        sent.get("output_tokens"),
        sent.get("total_tokens"),
        cache_read=details.get("cached_tokens"),
        cache_write=details.get("cache_write_tokens"),
        reasoning=(sent.get("output_tokens_details") or {}).get("reasoning_tokens"),
    )


# Stream ---------------------------------------------------------------------------


def parse_stream(
    events: Iterable[StreamEvent], request: LLMRequest
) -> Generator[StreamChunk, None, None]:
    """Chunks of a streamed reply; only a terminal event makes the last one.

    In its `raw`, text parts have their length, `chars`, instead of the text.

    Raises:
        ProviderError: An error event, or a response that failed.
    """
    state = _StreamState()
    for event in events:
        if event.data in ("", "[DONE]"):
            continue
        data = json.loads(event.data)
        kind = data.get("type") or event.event
        if kind == "response.output_text.delta":
            delta = data["delta"]
            if delta:
                state.spoken.add(data.get("output_index"))
                yield StreamChunk(delta)
        elif kind in _EVENTS:
            yield from _EVENTS[kind](state, data)
        elif kind in _TERMINAL:
            # Perplexity's last event may hold an error only, or be the response.
            itself = {**data, "status": kind.removeprefix("response.")}
            yield from state.end(data.get("response") or itself)
            return
        elif kind == "error" or data.get("error"):
            raise parse_error(data)


class _StreamState:
    """What the events of one stream have told so far."""

    __slots__ = (
        "items",
        "open_calls",
        "reasoned",
        "reasoning_deltas",
        "refusal",
        "spoken",
        "told",
    )

    def __init__(self) -> None:
        self.spoken: set[Any] = set()  # messages whose text was handed out
        self.reasoning_deltas = False
        self.reasoned = False  # reasoning was handed out
        self.told: set[str] = set()  # ids of the calls handed out
        self.refusal: list[str] = []
        self.items: list[JSON] = []  # finished ones, without their text
        self.open_calls: dict[Any, JSON] = {}  # by their place in the output

    def reasoning_delta(self, data: JSON) -> Iterator[StreamChunk]:
        if data["delta"]:
            self.reasoned = self.reasoning_deltas = True
            yield StreamChunk(reasoning=data["delta"])

    def refusal_delta(self, data: JSON) -> Iterable[StreamChunk]:
        self.refusal.append(data["delta"])
        return ()

    def item_added(self, data: JSON) -> Iterable[StreamChunk]:
        if _is_call(data["item"]):
            self.open_calls[_position(data)] = {
                **data["item"],
                "arguments": [data["item"].get("arguments") or ""],
            }
        return ()

    def arguments_delta(self, data: JSON) -> Iterable[StreamChunk]:
        call = self.open_calls.get(_position(data))
        if call is not None:
            call["arguments"].append(data["delta"])
        return ()

    def arguments_done(self, data: JSON) -> Iterable[StreamChunk]:
        call = self.open_calls.get(_position(data))
        if call is not None and data.get("arguments"):
            call["arguments"] = [data["arguments"]]
        return ()

    def item_done(self, data: JSON) -> Iterator[StreamChunk]:
        item = data["item"]
        self.items.append(without_text(item))
        if _is_call(item):
            begun = self.open_calls.pop(_position(data), None)
            # Some servers give the arguments in the events before only.
            yield self._tell(item if item.get("arguments") else _joined(begun or item))
        elif item["type"] == "message":
            text = _texts([item], "output_text")
            index = data.get("output_index")
            # Either may be without an index; then any text was this one's.
            known = self.spoken if index is None else self.spoken & {index, None}
            if text and not known:
                # A server that sends whole messages.
                self.spoken.add(index)
                yield StreamChunk(text)
        elif item["type"] == "reasoning" and not self.reasoning_deltas:
            reasoning = _reasoning([item])
            if reasoning:
                self.reasoned = True
                yield StreamChunk(reasoning=reasoning)

    def end(self, response: JSON) -> Iterator[StreamChunk]:
        """What no event has told yet, and the last chunk."""
        output = response.get("output") or []
        finish_reason = _finish_reason(response, output)
        text = _texts(output, "output_text")
        if text and not self.spoken:
            yield StreamChunk(text)
        reasoning = "" if self.reasoned else _reasoning(output)
        if reasoning:
            yield StreamChunk(reasoning=reasoning)
        for item in (*filter(_is_call, output), *self._unfinished()):
            if _call(item)["id"] not in self.told:
                yield self._tell(item)
        if finish_reason == "stop" and self.told:
            finish_reason = "tool_calls"
        # A server may leave the items out here; then the events before had them.
        items = [without_text(item) for item in output] or self.items
        yield StreamChunk(
            model=response.get("model") or "",
            finish_reason=finish_reason,
            usage=_usage(response.get("usage")),
            refusal=_texts(items, "refusal") or "".join(self.refusal) or None,
            raw={**response, "output": items},
            provider_data=carried(items, stored=response.get("store") is True),
        )

    def _tell(self, item: JSON) -> StreamChunk:
        call = _call(item)
        self.told.add(call["id"])
        return StreamChunk(tool_calls=[call])

    def _unfinished(self) -> Iterator[JSON]:
        yield from map(_joined, self.open_calls.values())


def _joined(call: JSON) -> JSON:
    """A call whose arguments came in pieces."""
    return {**call, "arguments": "".join(call.get("arguments") or ())}


def _position(data: JSON) -> Any:
    """What tells the items of a stream apart."""
    item = data.get("item") or {}
    return data.get("output_index", data.get("item_id", item.get("id")))


_EVENTS: Final[Mapping[str, Callable[[_StreamState, JSON], Iterable[StreamChunk]]]] = {
    "response.reasoning_summary_text.delta": _StreamState.reasoning_delta,
    "response.reasoning_text.delta": _StreamState.reasoning_delta,
    "response.refusal.delta": _StreamState.refusal_delta,
    "response.output_item.added": _StreamState.item_added,
    "response.function_call_arguments.delta": _StreamState.arguments_delta,
    "response.function_call_arguments.done": _StreamState.arguments_done,
    "response.output_item.done": _StreamState.item_done,
}

_TERMINAL: Final = frozenset(
    {"response.completed", "response.incomplete", "response.failed"}
)
