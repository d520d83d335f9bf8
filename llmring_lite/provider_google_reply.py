"""Gemini's replies and streams in neutral form.

A stream is a sequence of whole replies, each with the next parts of the first
candidate's content, so one reader serves both; a complete reply is a stream of one.

Reference: https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable
from typing import Any, Final

from llmring_lite.exceptions import ProviderResponseError
from llmring_lite.provider import JSON, StreamEvent, make_usage
from llmring_lite.provider_errors import parse_error
from llmring_lite.provider_tools import (
    arguments_text,
    finish_reason,
    make_call,
    make_call_id,
)
from llmring_lite.schemas import LLMRequest, LLMResponse, StreamChunk

MADE_ID: Final = "gemini_call_"
"""How the ids begin that we make for calls without one; they are never sent."""

# https://ai.google.dev/api/generate-content#FinishReason; MODEL_ARMOR is Vertex AI's.
# CONTINUATION is a limit of the API's own, ESCALATION a rule that filters requests,
# PUP_LIMITED_DISABLED the prohibited use policy.
_FINISH_REASONS: Final = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "ESCALATION": "content_filter",
    "PUP_LIMITED_DISABLED": "content_filter",
    # An image was expected and words came: the words are the reply.
    "NO_IMAGE": "stop",
}

# Generation broke off. Unless calls came through all the same, what there is must
# not pass for a complete reply.
_FAILURES: Final = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "IMAGE_OTHER",
        "OTHER",
    }
)

_UNFINISHED: Final = (None, "", "FINISH_REASON_UNSPECIFIED")


def parse_response(body: JSON, request: LLMRequest) -> LLMResponse:
    """A complete reply; see `provider` for the contract.

    A blocked prompt is a reply without content whose finish reason is
    `content_filter` and whose `refusal` says why.

    Raises:
        ProviderResponseError: The model broke off, or there is no candidate.
        ProviderError: The body is an error.
    """
    reader = _Reader(request)
    # An error may come as an array of one.
    chunks = [
        chunk
        for reply in (body if isinstance(body, list) else (body,))
        for chunk in reader.read(reply)
    ]
    content = "".join([chunk.delta for chunk in chunks])
    try:
        last = reader.last(complete=True)
    except ProviderResponseError as error:
        error.partial = content
        raise
    if last is None:
        raise ProviderResponseError(
            "the reply has no candidate and gives no reason for it"
        )
    calls = [call for chunk in chunks for call in chunk.tool_calls or ()]
    return LLMResponse(
        content=content,
        model=last.model or "",
        usage=last.usage or {},
        finish_reason=last.finish_reason,
        tool_calls=calls or None,
        reasoning="".join([chunk.reasoning or "" for chunk in chunks]) or None,
        raw=body,
        refusal=last.refusal,
        provider_data=last.provider_data,
    )


def parse_stream(
    events: Iterable[StreamEvent], request: LLMRequest
) -> Generator[StreamChunk, None, None]:
    """The chunks of a stream; see `provider` for the contract.

    An event may also hold an array of replies: that is the whole body of a server
    that was not asked for, or does not know, `alt=sse`.
    """
    reader = _Reader(request)
    read, load = reader.read, json.loads
    for event in events:
        if not event.data:
            continue
        body = load(event.data)
        if type(body) is dict:
            yield from read(body)
        else:
            for reply in body:
                yield from read(reply)
    last = reader.last()
    if last is not None:
        yield last


class _Reader:
    """What must be remembered between the events of one stream."""

    def __init__(self, request: LLMRequest) -> None:
        self._request = request
        self._calls = 0
        self._has_output = False
        self._envelope: JSON = {}
        self._candidate: JSON = {}
        # What the next request must repeat, in order: see `_keep`.
        self._kept: list[JSON] = []
        self._unsigned = 0  # characters of text since the last thing kept

    def read(self, body: JSON) -> list[StreamChunk]:
        """The chunks of a reply or of an event."""
        if body.get("error"):
            raise parse_error(body)
        self._envelope.update(body)
        chunks = []
        for candidate in body.get("candidates") or ():
            # Of several candidates the first is the reply. proto3 omits a zero.
            if candidate.get("index"):
                continue
            self._candidate.update(candidate)
            for part in (candidate.get("content") or {}).get("parts") or ():
                text = part.get("text")
                if text is not None and len(part) == 1:
                    if text:
                        self._has_output = True
                        self._unsigned += len(text)
                        chunks.append(StreamChunk(text))
                else:
                    chunk = self._part(part, text)
                    if chunk is not None:
                        chunks.append(chunk)
        return chunks

    def _part(self, part: JSON, text: str | None) -> StreamChunk | None:
        signature = part.get("thoughtSignature")
        if part.get("functionCall") is not None:
            self._has_output = True
            call = self._call(part["functionCall"])
            self._keep({"call": call["id"]}, signature)
            return StreamChunk(tool_calls=[call])
        if part.get("thought"):
            # A summary for people. The model wants only signatures back.
            if signature:
                self._keep({"part": part})
            return StreamChunk(reasoning=text) if text else None
        if text is None:
            # Executed code, the API's own tools, images: to be sent back as they are.
            self._keep({"part": part})
            return None
        if text:
            self._has_output = True
        if signature:
            # A signature may come with an empty text, at the end of a stream.
            self._keep({"chars": len(text)}, signature)
        else:
            self._unsigned += len(text)
        return StreamChunk(text) if text else None

    def _call(self, call: JSON) -> JSON:
        if call.get("willContinue") or "partialArgs" in call:
            raise ProviderResponseError(
                "arguments came in pieces, which is not supported; leave "
                "streamFunctionCallArguments out of toolConfig"
            )
        arguments = arguments_text(call.get("args"))
        self._calls += 1
        call_id = call.get("id") or make_call_id(
            self._request,
            self._envelope.get("responseId"),
            self._calls,
            call["name"],
            arguments,
            prefix=MADE_ID,
        )
        return make_call(call_id, call["name"], arguments)

    def _keep(self, item: JSON, signature: str | None = None) -> None:
        """Note a part that the next request repeats (see `conversation`).

        Texts and calls stand in the message already, so a text is kept as its length
        and a call as its id.
        """
        if self._unsigned:
            self._kept.append({"chars": self._unsigned})
            self._unsigned = 0
        if signature:
            item["thoughtSignature"] = signature
        self._kept.append(item)

    def _provider_data(self) -> JSON | None:
        kept = self._kept
        if self._unsigned:
            kept = [*kept, {"chars": self._unsigned}]
        # Nothing is needed for what any turn looks like: text first, then calls.
        usual = all(
            "thoughtSignature" not in item
            and "part" not in item
            and not ("chars" in item and number)
            for number, item in enumerate(kept)
        )
        return None if usual else {"parts": kept}

    def last(self, *, complete: bool = False) -> StreamChunk | None:
        """The last chunk; None if the reply isn't finished.

        `complete` says that nothing can be missing, whatever the finish reason.
        """
        word = self._candidate.get("finishReason")
        feedback = self._envelope.get("promptFeedback") or {}
        blocked = feedback.get("blockReason") if not self._candidate else None
        if word in _UNFINISHED and not blocked and not (complete and self._candidate):
            return None
        reason, refusal = self._outcome(word, blocked, feedback)
        self._candidate.pop("content", None)
        return StreamChunk(
            model=self._envelope.get("modelVersion") or "",
            finish_reason=reason,
            usage=_usage(self._envelope.get("usageMetadata"), self._has_output),
            refusal=refusal,
            raw={
                **self._envelope,
                "candidates": [self._candidate] if self._candidate else [],
            },
            provider_data=self._provider_data(),
        )

    def _outcome(
        self, word: str | None, blocked: str | None, feedback: JSON
    ) -> tuple[str, str | None]:
        """Finish reason, and why the reply was withheld if it was."""
        if blocked:
            why = feedback.get("blockReasonMessage")
            return "content_filter", why or f"the prompt was blocked: {blocked}"
        message = self._candidate.get("finishMessage")
        if word in _FAILURES and not self._calls:
            raise ProviderResponseError(
                f"the model broke off: {message or word}", code=word
            )
        reason = finish_reason(_FINISH_REASONS, word, self._calls > 0)
        if reason == "content_filter":
            return reason, message or f"the reply was withheld: {word}"
        return reason, None


def _usage(counts: JSON | None, has_output: bool) -> dict[str, Any] | None:
    """https://ai.google.dev/api/generate-content#UsageMetadata

    promptTokenCount includes cachedContentTokenCount but not
    toolUsePromptTokenCount, which are results of the API's own tools that were fed
    back to the model. candidatesTokenCount does not include thoughtsTokenCount.
    """
    if not counts:
        return None
    prompt = counts.get("promptTokenCount")
    cached = counts.get("cachedContentTokenCount")
    thoughts = counts.get("thoughtsTokenCount")
    output = counts.get("candidatesTokenCount")
    fresh = None
    if prompt is not None:
        used_by_tools = counts.get("toolUsePromptTokenCount") or 0
        fresh = max(prompt - (cached or 0), 0) + used_by_tools
        if output is None:
            # proto3 omits a zero; but some models count no output at all, or none
            # beside thoughts, and then the total is all there is to go by.
            known = prompt + used_by_tools + (thoughts or 0)
            rest = counts.get("totalTokenCount", known) - known
            unknown = rest <= 0 and has_output and not thoughts
            output = None if unknown else max(rest, 0)
    return (
        make_usage(fresh=fresh, cache_read=cached, output=output, reasoning=thoughts)
        or None
    )
