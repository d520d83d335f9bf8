"""The stream that a caller holds: chunks first, the assembled response after."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, TypeAlias

from llmring_lite.attempt import check_structure, named
from llmring_lite.attempt_stream import OpenStream
from llmring_lite.exceptions import LLMRingError, ProviderError
from llmring_lite.schemas import LLMRequest, LLMResponse, StreamChunk

Watcher: TypeAlias = Callable[
    [LLMResponse | None, LLMRingError | None, Sequence[dict[str, Any]]], None
]
"""(whole reply or None, why it failed or None, attempts)"""


class ChatStream:
    """Iterate for `StreamChunk`s; `.response` is the whole reply afterwards.

    Concatenated deltas equal the response's content. Leaving early: `close()`, or use
    it as a context manager; what arrived until then is in `.text`.

    Raises while iterated:
        ProviderError: The stream broke off. `.partial` holds the text so far; a
            stream that has yielded text is never retried or switched.
    """

    def __init__(
        self,
        stream: OpenStream,
        request: LLMRequest,
        finish: Callable[[LLMResponse], object],
        end: Callable[[BaseException | None], None] = lambda error: None,
        attempts: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Args:
        stream: From an attempt.
        request: What was asked.
        finish: Completes the response: alias, attempts, cost.
        end: Told once that the stream is over, and why if it broke off.
        attempts: As in `LLMResponse`.
        """
        self.attempts = attempts
        self._stream = stream
        self._request = request
        self._finish = finish
        self._end = end
        self._texts: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[dict[str, Any]] = []
        self._response: LLMResponse | None = None
        self._whole: LLMResponse | None = None
        self._watcher: Watcher | None = None
        self._ref = stream.candidate.ref
        self._chunks: Iterator[StreamChunk] = stream.chunks()
        self._is_closed = False

    # No generator of its own: it would refer to this object as this object to it, and
    # a stream that a loop was left from would stay open until the garbage collection.
    def __iter__(self) -> ChatStream:
        return self

    def __next__(self) -> StreamChunk:
        try:
            chunk = next(self._chunks)
            chunk.model = self._ref
            if chunk.delta:
                self._texts.append(chunk.delta)
            if chunk.reasoning:
                self._reasoning.append(chunk.reasoning)
            if chunk.tool_calls:
                self._calls.extend(chunk.tool_calls)
            if chunk.finish_reason is not None:
                self._complete(chunk)
            return chunk
        except BaseException as error:
            if self._is_closed and isinstance(error, ProviderError):
                raise StopIteration from None  # by another thread, at this moment
            if isinstance(error, ProviderError):
                error.partial = error.partial or self.text
            self._stop(error if isinstance(error, LLMRingError) else None)
            raise

    def __enter__(self) -> ChatStream:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # A forgotten stream must not hold its connection until the process ends.
        with contextlib.suppress(AttributeError, OSError):
            self._stream.close()
            self._over(None)

    def close(self) -> None:
        """Hang up: the provider stops writing, and the connection is given up.

        May be called from another thread than the one that iterates, and twice.
        """
        self._is_closed = True
        self._stop(None)

    def _stop(self, error: LLMRingError | None) -> None:
        self._chunks = iter(())
        self._stream.close()
        self._over(error)

    def watch(self, watcher: Watcher) -> None:
        """Have `watcher` told what became of the stream, once, at its end.

        A stream that was left early has neither a whole reply nor an error.
        """
        self._watcher = watcher

    @property
    def text(self) -> str:
        """The text that has arrived so far."""
        return "".join(self._texts)

    @property
    def response(self) -> LLMResponse:
        """The assembled reply.

        Raises:
            RuntimeError: The stream has not been read to its end.
        """
        if self._response is None:
            raise RuntimeError(
                "the response is complete only after the stream has been read to its "
                "end; .text has what arrived so far"
            )
        return self._response

    def _over(self, error: LLMRingError | None) -> None:
        self._end(error)
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher(self._whole, error, self.attempts)

    def _complete(self, last: StreamChunk) -> None:
        candidate = self._stream.candidate
        if last.provider_data is not None:
            last.provider_data["provider"] = candidate.endpoint.name
        response = LLMResponse(
            content=self.text,
            model=self._ref,
            usage=last.usage or {},
            finish_reason=last.finish_reason,
            tool_calls=self._calls or None,
            reasoning="".join(self._reasoning) or None,
            provider=candidate.endpoint.name,
            raw=last.raw,
            refusal=last.refusal,
            provider_data=last.provider_data,
            request_id=self._stream.request_id,
        )
        self._whole = response
        try:
            check_structure(response, self._request)
        except ProviderError as error:
            if isinstance(error.response, LLMResponse):
                self._finish(error.response)  # it is billed all the same
            raise named(error, candidate, None)  # noqa: B904
        self._finish(response)
        if last.usage:
            last.usage = response.usage
        self._response = response
