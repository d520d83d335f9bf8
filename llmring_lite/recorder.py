"""What is done with every call that ended: a receipt, and usage for a server.

A ring has a recorder only where one of the two is wanted. Whatever goes wrong in here
is a warning, once, and a count; the call never notices. No text of a prompt or a reply
is in a receipt.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from llmring_lite.exceptions import LLMRingError
from llmring_lite.keys import is_on
from llmring_lite.receipts import ReceiptFile, new_id, utc_now
from llmring_lite.receipts_canonical import canonicalize
from llmring_lite.receipts_line import COSTS, TOKENS, stamp
from llmring_lite.receipts_place import HASH_VARIABLE, find_key, find_receipts
from llmring_lite.schemas import LLMRequest, LLMResponse, Message
from llmring_lite.usage_log import API_KEY_VARIABLE, SERVER_VARIABLE, UsageLog

if TYPE_CHECKING:
    from llmring_lite.chat_stream import ChatStream
    from llmring_lite.facts import Facts
    from llmring_lite.lockfile import Lockfile
    from llmring_lite.routing import Route

T = TypeVar("T")

_COST_DECIMALS: Final = 15
"""Costs are counted in units of 1e-15 USD."""

_MAX_WORD: Final = 200
"""Characters of what a provider calls a model or a request."""

log = logging.getLogger("llmring_lite")


def make_recorder(
    *,
    origin: str,
    facts: Facts,
    receipts: str | os.PathLike[str] | bool | None = None,
    hash_content: bool | None = None,
    server_url: str | None = None,
    api_key: str | None = None,
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
    path = find_receipts(receipts)
    url = os.environ.get(SERVER_VARIABLE) if server_url is None else server_url
    if path is None and not url:
        return None
    key = api_key or os.environ.get(API_KEY_VARIABLE)
    if hash_content is None:
        hash_content = is_on(os.environ.get(HASH_VARIABLE))
    return Recorder(
        origin=origin,
        facts=facts,
        file=None if path is None else ReceiptFile(path, find_key()),
        server=UsageLog(url, key) if url else None,
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
        self._tallies: dict[int, Counter[str]] = {}
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
        return self._tally["written"]

    @property
    def failed(self) -> int:
        """Receipts that this process could not write."""
        return self._tally["failed"]

    @property
    def _tally(self) -> Counter[str]:
        return self._tallies.setdefault(os.getpid(), Counter())

    def chat(
        self,
        lockfile: Lockfile,
        route: Route,
        request: LLMRequest,
        chat: Callable[[LLMRequest, Route], LLMResponse],
    ) -> LLMResponse:
        """What `chat` returns or raises, on the record."""
        call = _Call(lockfile, route, request, False, self.clock())
        response = self._ask(call, chat)
        self._end(call, response, None, response.attempts)
        return response

    def stream(
        self,
        lockfile: Lockfile,
        route: Route,
        request: LLMRequest,
        open_stream: Callable[[LLMRequest, Route], ChatStream],
    ) -> ChatStream:
        """What `open_stream` returns or raises; the record is made at its end."""
        call = _Call(lockfile, route, request, True, self.clock())
        stream = self._ask(call, open_stream)
        stream.watch(partial(self._end, call))
        return stream

    def close(self) -> None:
        """Send what is queued, for a few seconds at most, and report losses."""
        if self.server is not None:
            self.server.close()

    def _ask(self, call: _Call, ask: Callable[[LLMRequest, Route], T]) -> T:
        """What `ask` returns; a failure is recorded."""
        try:
            return ask(call.request, call.route)
        except LLMRingError as error:
            response = getattr(error, "response", None)
            # What was withheld of a stream is no reply that could be described.
            known = response if isinstance(response, LLMResponse) else None
            tried: Sequence[dict[str, Any]] = getattr(error, "tries", ())
            self._end(call, known, error, getattr(error, "attempts", tried))
            raise

    def _end(
        self,
        call: _Call,
        response: LLMResponse | None,
        error: LLMRingError | None,
        tried: Sequence[Mapping[str, Any]],
    ) -> None:
        """Write down what became of a call. Raises nothing.

        Args:
            response: The reply, also one that came but can't be used. None: there is
                none, or not all of it.
            error: Why the call failed, None if it didn't.
            tried: Every attempt, as in `LLMResponse.attempts`.
        """
        # While the interpreter takes itself apart, nothing can be written any more.
        if sys.is_finalizing():
            return
        try:
            receipt = self._build(call, response, error, tried)
            if self.server is not None and response is not None and error is None:
                self.server.put(receipt)
            if self.file is not None:
                self.file.append(receipt)
                self._tally["written"] += 1
        except (LLMRingError, OSError, ValueError, TypeError) as failure:
            tally = self._tally
            tally["failed"] += 1
            if tally["failed"] == 1:
                log.warning(
                    "a receipt was not written (further failures are only counted): %s",
                    failure,
                )

    def _build(
        self,
        call: _Call,
        response: LLMResponse | None,
        error: LLMRingError | None,
        tried: Sequence[Mapping[str, Any]],
    ) -> dict[str, Any]:
        usage = {} if response is None else response.usage
        breakdown = usage.get("cost_breakdown") or {}
        model = _model(response, error, tried)
        receipt: dict[str, Any] = {
            "receipt_id": self._make_id(),
            "timestamp": stamp(self._now()),
            "origin": self._origin,
            "alias": call.route.alias,
            "profile": call.route.profile,
            "provider": None if model is None else model.partition(":")[0],
            "model": model,
            "model_answered": _word(_answering_model(response)),
            "request_id": _word(getattr(response or error, "request_id", None)),
            "lock_digest": self._digest_of(call.lockfile),
            "registry_version": self._registry_version(response),
            **{name: usage.get(name) for name in TOKENS},
            **{name: _decimal(breakdown.get(name)) for name in COSTS},
            "cost_status": usage.get("cost_status"),
            "duration_ms": _milliseconds(self.clock() - call.began),
            "attempts": [_attempt(record, error, usage) for record in tried],
            "finish_reason": None if response is None else response.finish_reason,
            "streaming": call.streaming,
            "error_class": None if error is None else type(error).__name__,
        }
        if call.request.metadata:
            is_writable = _canonical(call.request.metadata) is not None
            receipt["metadata"] = call.request.metadata if is_writable else None
        if self._hash_content:
            receipt["prompt_sha256"] = _prompt_digest(call.request.messages)
            receipt["reply_sha256"] = response and _reply_digest(response)
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


class _Call(NamedTuple):
    """A call under way."""

    lockfile: Lockfile
    route: Route
    request: LLMRequest
    streaming: bool
    began: float


def _canonical(value: Any) -> bytes | None:
    """Canonical JSON; None of what can't be written so."""
    try:
        return canonicalize(value)
    except (ValueError, TypeError):
        return None


def _prompt_digest(messages: Iterable[Message]) -> str | None:
    """SHA-256 of a conversation: of its messages in canonical JSON.

    Each is an object with `role` and `content`, and with `name`, `tool_call_id` and
    `tool_calls` where they are set. None if it can't be written as JSON.
    """
    plain = []
    for message in messages:
        item: dict[str, Any] = {"role": message.role, "content": message.content}
        for name in ("name", "tool_call_id", "tool_calls"):
            if getattr(message, name):
                item[name] = getattr(message, name)
        plain.append(item)
    data = _canonical(plain)
    return None if data is None else sha256(data).hexdigest()


def _reply_digest(response: LLMResponse) -> str:
    """SHA-256 of a reply's visible text in UTF-8."""
    return sha256(response.content.encode("utf-8", "surrogatepass")).hexdigest()


def _decimal(dollars: Any) -> str | None:
    """A cost as a decimal string, None if it is unknown."""
    if not isinstance(dollars, (int, float)):
        return None
    return f"{dollars:.{_COST_DECIMALS}f}".rstrip("0").rstrip(".")


def _model(
    response: LLMResponse | None,
    error: LLMRingError | None,
    tried: Sequence[Mapping[str, Any]],
) -> str | None:
    """`provider:model` that answered, or else the one that was asked last."""
    if response is not None:
        return response.model
    answering = [r["model"] for r in tried if r["error"] is None]
    if tried:
        return str(answering[0] if answering else tried[-1]["model"])
    provider, model = getattr(error, "provider", None), getattr(error, "model", None)
    return f"{provider}:{model}" if provider and model else None


def _answering_model(response: LLMResponse | None) -> Any:
    """The provider's own name for the model that answered."""
    raw = None if response is None else response.raw
    if not isinstance(raw, dict):
        return None
    return raw.get("model") or raw.get("modelVersion")  # the latter is Google's


def _word(value: Any) -> str | None:
    """What a provider says, fit for the file whatever it sends."""
    if not isinstance(value, str) or not value:
        return None
    return value[:_MAX_WORD].encode("utf-8", "replace").decode()


def _attempt(
    record: Mapping[str, Any], error: BaseException | None, usage: Mapping[str, Any]
) -> dict[str, Any]:
    """An attempt; with its cost if a reply came that is not the receipt's own."""
    # A stream that broke off had answered before.
    failure = record["error"] or error
    attempt: dict[str, Any] = {
        "model": record["model"],
        "error_class": None if failure is None else _class_name(failure),
        "duration_ms": _milliseconds(record.get("seconds")),
    }
    if "cost" in record and record.get("usage") is not usage:
        attempt["total_cost"] = _decimal(record["cost"])
    if record.get("skipped"):
        attempt["skipped"] = True
    return attempt


def _class_name(error: Any) -> str:
    return error if isinstance(error, str) else type(error).__name__


def _milliseconds(seconds: Any) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
