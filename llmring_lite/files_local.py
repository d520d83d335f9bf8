"""A registered file on disk: what it is, and whether it has changed."""

from __future__ import annotations

import os
import stat
from hashlib import sha256
from typing import Final, NamedTuple

from llmring_lite.exceptions import InvalidRequestError
from llmring_lite.files_copies import Key
from llmring_lite.files_facts import media_type_of_head

_READ_SIZE: Final = 1 << 20
_HEAD_SIZE: Final = 1 << 16


class State(NamedTuple):
    """A file as it was when it was last looked at.

    `stamp` is size, mtime, ctime and inode: as long as they stay, so does the content.
    """

    stamp: tuple[int, ...]
    sha256: str
    media_type: str

    @property
    def size(self) -> int:
        return self.stamp[0]


class LocalFile:
    """A registered file, and the copies made of it, of earlier content, too."""

    def __init__(self, id: str, path: str, name: str, state: State) -> None:
        self.id = id
        self.path = path
        self.name = name
        self.state = state
        self.keys: dict[Key, None] = {}


def look_at(path: str, before: State | None) -> State:
    """The state of a file; its content is read only if it may have changed.

    Raises:
        InvalidRequestError: It can't be read, is empty, or is no regular file.
    """
    try:
        status = os.stat(path)
        # A pipe or device may never end; opening one may already wait.
        if not stat.S_ISREG(status.st_mode):
            raise InvalidRequestError(f"{path!r} is not a regular file")
        if not status.st_size:
            raise InvalidRequestError(f"the file {path!r} is empty")
        stamp = (
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_ino,
        )
        if before is not None and before.stamp == stamp:
            return before
        digest = sha256()
        with open(path, "rb") as file:
            head = file.read(_HEAD_SIZE)
            piece = head
            while piece:
                digest.update(piece)
                piece = file.read(_READ_SIZE)
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidRequestError):
            raise
        why = getattr(error, "strerror", None) or error
        raise InvalidRequestError(f"the file {path!r} can't be read: {why}") from error
    return State(stamp, digest.hexdigest(), media_type_of_head(head, path))
