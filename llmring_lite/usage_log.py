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

log = logging.getLogger("llmring_lite")


def check_server_url(url: str) -> str:
    """The URL without a slash at its end.

    Raises:
        InvalidRequestError: It is no URL that an API key may be sent to.
    """
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


def check_api_key(api_key: str | None) -> str | None:
    """The key as it goes into a header, None for none.

    Raises:
        InvalidRequestError: It can't go there; the message does not show it.
    """
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
        url: Checked by `check_server_url`.
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
            InvalidRequestError: The URL can't be used.
        """
        self.server_url = check_server_url(server_url)
        self._api_key = check_api_key(api_key)
        self._open_post = open_post
        self._max_queued = max_queued
        self._retries = retries
        # By process: a thread doesn't survive a fork, and a lock may survive it locked.
        self._workers: dict[int, _Worker] = {}
        self._counts: dict[int, _Counts] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_workers": {}, "_counts": {}}

    def __repr__(self) -> str:
        return f"<UsageLog {self.server_url}>"

    @property
    def sent(self) -> int:
        """Records that the server took from this process."""
        return self._own_counts().sent

    @property
    def dropped(self) -> int:
        """Records of this process that were lost."""
        return self._own_counts().dropped

    def _own_counts(self) -> _Counts:
        return self._counts.setdefault(os.getpid(), _Counts(self.server_url))

    def put(self, receipt: Mapping[str, Any]) -> None:
        """Hand over the receipt of an answered call; returns at once."""
        record = build_record(receipt)
        while not self._worker().put(record):
            pass  # closed in this very moment: by another thread, that is

    def flush(self, timeout_s: float = FLUSH_S) -> bool:
        """Wait until what was put is sent or dropped; True if it was all in time."""
        worker = self._workers.get(os.getpid())
        return worker is None or worker.flush(timeout_s)

    def close(self) -> None:
        """`flush`, and report losses. A later record starts anew."""
        worker = self._workers.pop(os.getpid(), None)
        if worker is not None:
            worker.flush(FLUSH_S)
            worker.stop()
            worker.counts.report()

    def _worker(self) -> _Worker:
        pid = os.getpid()
        worker = self._workers.get(pid)
        if worker is None:
            mine = _Worker(
                partial(self._open_post, self.server_url, self._api_key),
                self._max_queued,
                self._retries,
                self._own_counts(),
            )
            worker = self._workers.setdefault(pid, mine)
            if worker is mine:
                worker.start()
                # The thread must not keep a forgotten log alive, nor outlive it.
                weakref.finalize(self, worker.stop).atexit = False
        return worker


class _Counts:
    """What became of the records of a process. May be used by destructors."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = RLock()
        self.sent = 0
        self.dropped = 0
        self._reported = 0

    def took(self) -> None:
        with self._lock:
            self.sent += 1

    def lost(self, reason: object) -> None:
        """Say so of the first one."""
        with self._lock:
            self.dropped += 1
            is_first = self.dropped == 1
        if is_first:
            log.warning(
                "a usage record for %s was dropped (further ones are only counted): %s",
                self._url,
                reason,
            )

    def report(self) -> None:
        """Say how many were lost since the last time."""
        with self._lock:
            lost = self.dropped - self._reported
            self._reported = self.dropped
        if lost:
            log.warning("%d usage records were not delivered to %s", lost, self._url)


class _Worker:
    """The thread of a process, and its queue."""

    def __init__(
        self,
        open_post: Callable[[], Post],
        max_queued: int,
        retries: RetryPolicy,
        counts: _Counts,
    ) -> None:
        self.pid = os.getpid()
        self.counts = counts
        self._open_post = open_post
        self._max_queued = max_queued
        self._retries = retries
        # May be used by a destructor that interrupts another use, like the lock.
        self._queue: SimpleQueue[dict[str, Any] | Event | None] = SimpleQueue()
        self._lock = RLock()
        self._hurry = Event()
        self._flush_until = float("inf")
        self._stopped = False
        self._thread = Thread(target=self._run, name="llmring-usage", daemon=True)

    def start(self) -> None:
        _workers.add(self)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self.pid == os.getpid() and self._thread.is_alive()

    def put(self, record: dict[str, Any]) -> bool:
        """Queue a record, or drop it; False if this worker has been stopped."""
        with self._lock:
            if self._stopped:
                return False
            if self._queue.qsize() < self._max_queued:
                self._queue.put(record)
                return True
        self.counts.lost("the queue is full: the server is too slow, or unreachable")
        return True

    def stop(self) -> None:
        """End the thread after what is queued."""
        with self._lock:
            self._stopped = True
            self._queue.put(None)

    def flush(self, timeout_s: float) -> bool:
        """As `UsageLog.flush`. In the meantime nothing is tried twice."""
        done = Event()
        self._flush_until = time.monotonic() + timeout_s
        self._hurry.set()
        self._queue.put(done)
        if done.wait(timeout_s):
            return True
        # What is left is dropped now, and counted, unless the thread is stuck.
        done.wait(_STUCK_S)
        return False

    def _run(self) -> None:
        post: Post | None = None
        while True:
            item = self._queue.get()
            if item is None:
                return
            if isinstance(item, Event):
                self._hurry.clear()
                self._flush_until = float("inf")
                item.set()
                continue
            try:
                post = post or self._open_post()
                self._deliver(item, post)
            except Exception as error:  # noqa: BLE001 - the boundary of a thread
                self.counts.lost(f"{type(error).__name__}: {error}")

    def _deliver(self, record: dict[str, Any], post: Post) -> None:
        for tries in count():
            left = min(_POST_S, self._flush_until - time.monotonic())
            if left <= 0:
                self.counts.lost("there was no time left at the end")
                return
            try:
                post(record, left)
            except ProviderError as error:
                wait = self._retries.wait(error, tries, random.random)
                if wait is None or self._hurry.is_set():
                    self.counts.lost(error)
                    return
                self._hurry.wait(min(wait, _LONGEST_WAIT_S))
            else:
                self.counts.took()
                return


_workers: Final[weakref.WeakSet[_Worker]] = weakref.WeakSet()


def _flush_all() -> None:
    """At exit: for rings that nobody closed."""
    for worker in list(_workers):
        if worker.is_alive:
            worker.flush(_EXIT_S)
            worker.counts.report()


atexit.register(_flush_all)
