"""Usage to an llmring-server, from a thread in the background.

A call hands its record over and goes on: nothing here makes it wait or fail. The queue
is bounded; what doesn't fit, and what the server won't take after some tries, is
dropped and counted. The first loss is a warning, and closing reports how many there
were.

Fields of a record: `UsageLogRequest` in the package `llmring-server`.
"""

from __future__ import annotations

import atexit
import logging
import os
import random
import time
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from math import inf
from queue import SimpleQueue
from threading import Event, RLock, Thread
from typing import Any, Final, TypeAlias

from llmring_lite.deadline import Deadline
from llmring_lite.exceptions import InvalidRequestError, ProviderError
from llmring_lite.keys import Secret, parse_origin
from llmring_lite.provider import Endpoint, HTTPRequest
from llmring_lite.retry import RetryPolicy

SERVER_VARIABLE: Final = "LLMRING_SERVER_URL"
API_KEY_VARIABLE: Final = "LLMRING_API_KEY"

MAX_QUEUED: Final = 1000
FLUSH_S: Final = 5.0
"""How long `close` waits for what is queued."""

_EXIT_S: Final = 2.0
_STUCK_S: Final = 0.5
_POST_S: Final = 10.0
_LONGEST_WAIT_S: Final = 30.0
_RETRIES: Final = RetryPolicy(max_retries=4, base_s=0.5)

# Lengths of the server's columns; a longer value would make it fail.
_LENGTHS: Final = {
    "model": 255,
    "provider": 50,
    "alias": 128,
    "profile": 64,
    "origin": 255,
    "id_at_origin": 255,
}

Post: TypeAlias = Callable[[Mapping[str, Any], float], None]
"""(record, seconds) -> sent, or a ProviderError."""

_Queue: TypeAlias = SimpleQueue[dict[str, Any] | Event | None]
"""Records; what to set when those before it are done with; None to stop."""

log = logging.getLogger("llmring_lite")


def _checked_url(url: str) -> str:
    """Without a slash at its end."""
    url = url.strip().rstrip("/")
    try:
        origin = parse_origin(url)
    except ValueError as error:
        raise InvalidRequestError(f"server_url: {error}") from None
    if origin.scheme != "https" and not origin.is_loopback:
        raise InvalidRequestError(
            f"server_url: usage and key are not sent to {origin.host} over plain http; "
            "use https"
        )
    return url


def _checked_key(api_key: str | None) -> str | None:
    """As it goes into a header; no message shows it."""
    key = (api_key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise InvalidRequestError(
            "api_key holds characters that an HTTP header can't carry"
        )
    return key or None


def build_record(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """What the server is told of a receipt's call.

    Without a known cost the server works it out by itself; unknown tokens are 0, for
    it wants a number.
    """
    cost = receipt["total_cost"]
    record: dict[str, Any] = {
        "model": receipt["model"].partition(":")[2],
        "provider": receipt["provider"],
        "input_tokens": receipt["prompt_tokens"] or 0,
        "output_tokens": receipt["completion_tokens"] or 0,
        "cached_input_tokens": receipt["cached_tokens"] or 0,
        "alias": receipt["alias"],
        "profile": receipt["profile"],
        "cost": None if cost is None else float(cost),
        "latency_ms": round(receipt["duration_ms"]),
        "origin": receipt["origin"],
        "id_at_origin": receipt["receipt_id"],
        "metadata": {
            name: receipt[name]
            for name in ("model_answered", "finish_reason", "streaming", "cost_status")
            if receipt[name] is not None
        },
    }
    for name, length in _LENGTHS.items():
        if record[name] is not None:
            record[name] = record[name][:length]
    return record


def open_post(url: str, api_key: str | None) -> Post:
    """The connections to a server, as what posts a record over them.

    `POST /api/v1/log` with the header `X-API-Key`, as the package `llmring-server` has
    it in its `routers/usage.py`.

    Args:
        api_key: None sends no credential.
    """
    # In the background, and only where it is wanted: it loads `requests`.
    from llmring_lite.provider_errors import parse_error
    from llmring_lite.transport import Provider

    provider = Provider(
        Endpoint(
            name="llmring-server",
            kind="openai",
            base_url=url,
            auth_header="X-API-Key",
            auth_prefix="",
        )
    )
    key = None if api_key is None else Secret(api_key, API_KEY_VARIABLE)

    def post(record: Mapping[str, Any], timeout_s: float) -> None:
        request = HTTPRequest(url=f"{url}/api/v1/log", body=dict(record))
        reply = provider.send(request, key, Deadline(timeout_s))
        if not 200 <= reply.status < 300:
            body = reply.body.decode("utf-8", "replace")
            if key is not None:
                body = key.redact(body)
            raise parse_error(body[:300], status=reply.status, headers=reply.headers)

    return post


class UsageLog:
    """Sends usage to a server. Serves any number of threads, pickles, forks."""

    def __init__(
        self,
        server_url: str,
        api_key: str | None = None,
        *,
        open_post: Callable[[str, str | None], Post] = open_post,
        max_queued: int = MAX_QUEUED,
        retries: RetryPolicy = _RETRIES,
    ) -> None:
        """Nothing is sent before the first record.

        Raises:
            InvalidRequestError: No API key may be sent to that URL, or the key can't go
                into a header.
        """
        self.server_url = _checked_url(server_url)
        self._api_key = _checked_key(api_key)
        self._options = (open_post, max_queued, retries)
        # By process: a thread doesn't survive a fork, and a lock may survive it locked.
        self._senders: dict[int, _Sender] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_senders": {}}

    def __repr__(self) -> str:
        return f"<UsageLog {self.server_url}>"

    @property
    def sent(self) -> int:
        """Records that the server took from this process."""
        return self._sender().sent

    @property
    def dropped(self) -> int:
        """Records of this process that were lost."""
        return self._sender().dropped

    def put(self, receipt: Mapping[str, Any]) -> None:
        """Hand over the receipt of an answered call; returns at once."""
        self._sender().put(build_record(receipt))

    def flush(self, timeout_s: float = FLUSH_S) -> bool:
        """Wait until what was put is sent or dropped; True if it was all in time."""
        return self._sender().flush(timeout_s)

    def close(self) -> None:
        """`flush`, and report losses. A later record starts anew."""
        sender = self._sender()
        sender.flush(FLUSH_S)
        sender.stop()
        sender.report()

    def _sender(self) -> _Sender:
        pid = os.getpid()
        sender = self._senders.get(pid)
        if sender is None:
            mine = _Sender(self.server_url, self._api_key, *self._options)
            sender = self._senders.setdefault(pid, mine)
            if sender is mine:
                # The thread must not keep a forgotten log alive, nor outlive it.
                weakref.finalize(self, sender.stop).atexit = False
        return sender


class _Sender:
    """The queue of a process, its thread, and what became of the records.

    May be used by a destructor that interrupts another use.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None,
        open_post: Callable[[str, str | None], Post],
        max_queued: int,
        retries: RetryPolicy,
    ) -> None:
        self.pid = os.getpid()
        self.sent = 0
        self.dropped = 0
        self._reported = 0
        self._url = url
        self._open_post = partial(open_post, url, api_key)
        self._max_queued = max_queued
        self._retries = retries
        self._lock = RLock()
        self._hurry = Event()
        self._flush_until = inf
        # What a thread takes records from, until it has been told to stop.
        self._queue: _Queue = SimpleQueue()
        self._is_open = False
        self._thread: Thread | None = None
        _senders.add(self)

    def put(self, record: dict[str, Any]) -> None:
        """Queue a record, or drop it."""
        with self._lock:
            if not self._is_open:
                self._start()
            if self._queue.qsize() < self._max_queued:
                self._queue.put(record)
                return
        self._lose("the queue is full: the server is too slow, or unreachable")

    def _start(self) -> None:
        queue: _Queue = SimpleQueue()
        if not self._is_open:  # a destructor may have been here in the meantime
            self._queue, self._is_open = queue, True
            self._thread = Thread(
                target=self._run, args=(queue,), name="llmring-usage", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """End the thread after what is queued."""
        with self._lock:
            if self._is_open:
                self._is_open = False
                self._queue.put(None)

    def flush(self, timeout_s: float) -> bool:
        """As `UsageLog.flush`. In the meantime nothing is tried twice."""
        if self._thread is None or not self._thread.is_alive():
            return True
        done = Event()
        self._flush_until = time.monotonic() + timeout_s
        self._hurry.set()
        self._queue.put(done)
        if done.wait(timeout_s):
            return True
        # What is left is dropped now, and counted, unless the thread is stuck.
        done.wait(_STUCK_S)
        return False

    def report(self) -> None:
        """Say how many records were lost since the last time."""
        with self._lock:
            lost = self.dropped - self._reported
            self._reported = self.dropped
        if lost:
            log.warning("%d usage records were not delivered to %s", lost, self._url)

    def _lose(self, reason: object) -> None:
        with self._lock:
            self.dropped += 1
            is_first = self.dropped == 1
        if is_first:
            log.warning(
                "a usage record for %s was dropped (further ones are only counted): %s",
                self._url,
                reason,
            )

    def _run(self, queue: _Queue) -> None:
        post: Post | None = None
        while (item := queue.get()) is not None:
            if isinstance(item, Event):
                self._hurry.clear()
                self._flush_until = inf
                item.set()
                continue
            try:
                post = post or self._open_post()
                self._deliver(item, post)
            except Exception as error:  # noqa: BLE001 - the boundary of a thread
                self._lose(f"{type(error).__name__}: {error}")

    def _deliver(self, record: dict[str, Any], post: Post) -> None:
        for tries in count():
            left = min(_POST_S, self._flush_until - time.monotonic())
            if left <= 0:
                self._lose("there was no time left at the end")
                return
            try:
                post(record, left)
            except ProviderError as error:
                wait = self._retries.wait(error, tries, random.random)
                if wait is None or self._hurry.is_set():
                    self._lose(error)
                    return
                self._hurry.wait(min(wait, _LONGEST_WAIT_S))
            else:
                with self._lock:
                    self.sent += 1
                return


_senders: Final[weakref.WeakSet[_Sender]] = weakref.WeakSet()


def _flush_all() -> None:
    """At exit: for rings that nobody closed."""
    for sender in list(_senders):
        if sender.pid == os.getpid():
            sender.flush(_EXIT_S)
            sender.report()


atexit.register(_flush_all)
