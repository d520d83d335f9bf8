"""What is done with every call that ended: a receipt, and usage for a server.

A ring has a recorder only where one of the two is wanted. Whatever goes wrong in here
is a warning, once, and a count; the call never notices.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from llmring_lite.exceptions import LLMRingError
from llmring_lite.receipts import ReceiptFile, new_id, utc_now
from llmring_lite.receipts_line import stamp
from llmring_lite.receipts_place import HASH_VARIABLE, find_key, find_receipts, is_on
from llmring_lite.receipts_record import (
    CallFacts,
    Outcome,
    build_receipt,
    prompt_digest,
    reply_digest,
)
from llmring_lite.schemas import LLMResponse
from llmring_lite.usage_log import API_KEY_VARIABLE, SERVER_VARIABLE, UsageLog

if TYPE_CHECKING:
    from llmring_lite.chat_stream import ChatStream
    from llmring_lite.facts import Facts
    from llmring_lite.lockfile import Lockfile
    from llmring_lite.routing import Route
    from llmring_lite.schemas import LLMRequest

log = logging.getLogger("llmring_lite")


def make_recorder(
    *,
    origin: str,
    facts: Facts,
    receipts: str | os.PathLike[str] | bool | None = None,
    hash_content: bool | None = None,
    server_url: str | None = None,
    api_key: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Recorder | None:
    """The recorder that arguments and environment ask for; None if for none.

    Args:
        origin: The program's name.
        facts: Knows the registry's version.
        receipts: As `receipts_place.find_receipts`.
        hash_content: Put SHA-256 of prompt and reply into receipts. Default:
            `LLMRING_RECEIPTS_HASH_CONTENT`.
        server_url, api_key: Default: `LLMRING_SERVER_URL`, `LLMRING_API_KEY`.

    Raises:
        InvalidRequestError: The URL or the key can't be used.
    """
    path = find_receipts(receipts, environ)
    url = environ.get(SERVER_VARIABLE) if server_url is None else server_url
    if path is None and not url:
        return None
    if hash_content is None:
        hash_content = is_on(environ.get(HASH_VARIABLE))
    return Recorder(
        origin=origin,
        facts=facts,
        file=None if path is None else ReceiptFile(path, find_key(environ)),
        server=UsageLog(url, api_key or environ.get(API_KEY_VARIABLE)) if url else None,
        hash_content=hash_content,
    )


class Recorder:
    """Records calls. Serves any number of threads, pickles, and survives a fork.

    Attributes:
        file: Where receipts go, None if nowhere.
        server: Where usage goes, None if nowhere; counts what is `sent` and `dropped`.
    """

    def __init__(
        self,
        *,
        origin: str,
        facts: Facts,
        file: ReceiptFile | None,
        server: UsageLog | None,
        hash_content: bool = False,
        now: Callable[[], datetime] = utc_now,
        make_id: Callable[[], str] = new_id,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.file = file
        self.server = server
        self._tallies: dict[int, _Tally] = {}
        self._origin = origin
        self._facts = facts
        self._hash_content = hash_content
        self._now = now
        self._make_id = make_id
        self.clock = clock
        self._known_digest: tuple[Lockfile, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tallies": {}, "_known_digest": None}

    @property
    def written(self) -> int:
        """Receipts that this process wrote."""
        return self._tally.written

    @property
    def failed(self) -> int:
        """Receipts that this process could not write."""
        return self._tally.failed

    @property
    def _tally(self) -> _Tally:
        return self._tallies.setdefault(os.getpid(), _Tally())

    def chat(
        self,
        lockfile: Lockfile,
        route: Route,
        request: LLMRequest,
        chat: Callable[[LLMRequest, Route], LLMResponse],
    ) -> LLMResponse:
        """What `chat` returns or raises, on the record."""
        call = _Call(self, lockfile, route, request, streaming=False)
        try:
            response = chat(request, route)
        except LLMRingError as error:
            call.failed(error)
            raise
        call.end(response, None, response.attempts)
        return response

    def stream(
        self,
        lockfile: Lockfile,
        route: Route,
        request: LLMRequest,
        open_stream: Callable[[LLMRequest, Route], ChatStream],
    ) -> ChatStream:
        """What `open_stream` returns or raises; the record is made at its end."""
        call = _Call(self, lockfile, route, request, streaming=True)
        try:
            stream = open_stream(request, route)
        except LLMRingError as error:
            call.failed(error)
            raise
        stream.watch(call.end)
        return stream

    def close(self) -> None:
        """Send what is queued, for a few seconds at most, and report losses."""
        if self.server is not None:
            self.server.close()

    def record(self, call: _Call, outcome: Outcome) -> None:
        """Write down a call that ended. Raises nothing."""
        try:
            receipt = self._build(call, outcome)
            if self.server is not None and outcome.is_answer:
                self.server.put(receipt)
            if self.file is not None:
                self.file.append(receipt)
                self._tally.written += 1
        except (LLMRingError, OSError, ValueError, TypeError) as failure:
            tally = self._tally
            tally.failed += 1
            if tally.failed == 1:
                log.warning(
                    "a receipt was not written (further failures are only counted): %s",
                    failure,
                )

    def _build(self, call: _Call, outcome: Outcome) -> dict[str, Any]:
        request, response = call.request, outcome.response
        facts = CallFacts(
            receipt_id=self._make_id(),
            timestamp=stamp(self._now()),
            origin=self._origin,
            alias=call.route.alias,
            profile=call.route.profile,
            lock_digest=self._digest_of(call.lockfile),
            registry_version=self._registry_version(response),
            duration_s=self.clock() - call.began,
            streaming=call.streaming,
            metadata=request.metadata,
        )
        receipt = build_receipt(facts, outcome)
        if self._hash_content:
            receipt["prompt_sha256"] = prompt_digest(request.messages)
            receipt["reply_sha256"] = response and reply_digest(response)
        return receipt

    def _digest_of(self, lockfile: Lockfile) -> str:
        known = self._known_digest
        if known is None or known[0] is not lockfile:
            known = self._known_digest = (lockfile, lockfile.calculate_digest())
        return known[1]

    def _registry_version(self, response: LLMResponse | None) -> int | None:
        if response is None or response.provider is None:
            return None
        catalogue = self._facts.registry.catalogue(response.provider)
        return None if catalogue is None else catalogue.version


class _Tally:
    """The receipts of a process."""

    written = 0
    failed = 0


class _Call:
    """A call under way."""

    __slots__ = ("_recorder", "began", "lockfile", "request", "route", "streaming")

    def __init__(
        self,
        recorder: Recorder,
        lockfile: Lockfile,
        route: Route,
        request: LLMRequest,
        *,
        streaming: bool,
    ) -> None:
        self._recorder = recorder
        self.lockfile = lockfile
        self.route = route
        self.request = request
        self.streaming = streaming
        self.began = recorder.clock()

    def failed(self, error: LLMRingError) -> None:
        """It was not answered, or not with anything that can be used."""
        response = getattr(error, "response", None)
        # What was withheld of a stream is no reply that could be described.
        known = response if isinstance(response, LLMResponse) else None
        tried: Sequence[dict[str, Any]] = getattr(error, "tries", ())
        self.end(known, error, getattr(error, "attempts", tried))

    def end(
        self,
        response: LLMResponse | None,
        error: LLMRingError | None,
        tried: Sequence[dict[str, Any]],
    ) -> None:
        # While the interpreter takes itself apart, nothing can be written any more.
        if not sys.is_finalizing():
            self._recorder.record(self, Outcome(response, error, tried))
