"""Which content is at which provider under what id, and who is uploading it just now.

State is plain data and changed by single dict operations, so there is no lock that a
pickle or a fork would have to do without. What is under way is known by process.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from llmring_lite.deadline import Deadline
from llmring_lite.exceptions import ProviderResponseError, ProviderTimeoutError
from llmring_lite.files_wire import RemoteFile

_MARGIN_S: Final = 60.0
"""A copy that expires within this time isn't relied on."""


class Key(NamedTuple):
    """What a copy is a copy of, and where.

    Attributes:
        provider, base_url: Of the endpoint.
        sha256: Of the content, in hex.
        name: As the provider was told it.
    """

    provider: str
    base_url: str
    sha256: str
    name: str


class Copy(NamedTuple):
    """A file at a provider; `uploaded_at` is in seconds since the epoch."""

    remote: RemoteFile
    uploaded_at: float


class _UnderWay:
    """An upload that one thread makes and others wait for."""

    def __init__(self) -> None:
        self._is_over = False
        self._waiting: list[threading.Event] = []

    def end(self) -> None:
        self._is_over = True
        for event in self._waiting:
            event.set()

    def wait(self, deadline: Deadline) -> None:
        """Until it is over, or the deadline has passed or was cancelled."""
        event = threading.Event()
        self._waiting.append(event)
        if self._is_over:  # and `end` may have missed the event
            return
        deadline.on_cancel(event.set)
        event.wait(deadline.timeout())


class Copies:
    """The copies that a ring knows of, for any number of threads."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._copies: dict[Key, Copy] = {}
        self._under_way: dict[tuple[int, Key], _UnderWay] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_under_way": {}}

    def get(self, key: Key) -> Copy | None:
        """The copy, unless there is none or it (nearly) expired."""
        copy = self._copies.get(key)
        if copy is None or self._expires_within(_MARGIN_S, copy):
            return None
        return copy

    def obtain(
        self,
        key: Key,
        upload: Callable[[], RemoteFile],
        finish: Callable[[RemoteFile], RemoteFile],
        deadline: Deadline,
    ) -> Copy:
        """The copy, made by one thread if there is none.

        Args:
            upload: Makes it.
            finish: Waits until it can be used.
            deadline: Of the call that needs it.

        Raises:
            ProviderTimeoutError: The deadline passed while another thread made it.
            What `upload` and `finish` raise.
        """
        place = (os.getpid(), key)
        while True:
            copy = self.get(key)
            if copy is not None and copy.remote.is_ready:
                return copy
            mine = _UnderWay()
            first = self._under_way.setdefault(place, mine)
            if first is mine:
                try:
                    return self._make(key, upload, finish)
                finally:
                    self._under_way.pop(place, None)
                    mine.end()
            # If the other thread fails, that was its call; this one tries by itself.
            first.wait(deadline)
            if deadline.expired():
                raise ProviderTimeoutError(
                    "the deadline passed while another call uploaded the file "
                    f"{key.name!r}"
                )

    def _make(
        self,
        key: Key,
        upload: Callable[[], RemoteFile],
        finish: Callable[[RemoteFile], RemoteFile],
    ) -> Copy:
        copy = self.get(key)
        if copy is None:
            copy = self._keep(key, Copy(upload(), self._clock()))
        if not copy.remote.is_ready:
            try:
                copy = self._keep(key, copy._replace(remote=finish(copy.remote)))
            except ProviderResponseError:
                self.drop(key)  # the provider could make nothing of it
                raise
        return copy

    def _keep(self, key: Key, copy: Copy) -> Copy:
        for other, known in list(self._copies.items()):
            if self._expires_within(0, known):
                self.drop(other)
        self._copies[key] = copy
        return copy

    def drop(self, key: Key) -> Copy | None:
        """Forget a copy; returns it, unless it has expired."""
        copy = self._copies.pop(key, None)
        return None if copy is None or self._expires_within(0, copy) else copy

    def _expires_within(self, seconds: float, copy: Copy) -> bool:
        expires = copy.remote.expires_at
        return expires is not None and expires <= self._clock() + seconds
