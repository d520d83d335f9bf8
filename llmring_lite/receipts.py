"""A file of receipts: one line for each call, each chained to the one before.

It begins with a header and is only ever appended to; `receipts_line` has the form.

Any number of threads and processes may append. Whoever does holds the lock of the
folder, looks at the last line, and writes the next with one call of the system.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import uuid4

from llmring_lite.exceptions import LockfileError, ReceiptError
from llmring_lite.lockfile_write import locked_folder
from llmring_lite.receipts_line import (
    FORMAT,
    NO_HASH,
    VERSION,
    Lines,
    parse_line,
    stamp,
)

if TYPE_CHECKING:
    from llmring_lite.receipts_sign import Signer

# What every header begins with: its members are sorted.
_HEADER_BEGINS: Final = b'{"created_at":"'
_HEADER_SIZE: Final = 65536
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
_PATIENCE_S: Final = 5.0
_PAUSE_S: Final = 0.001

log = logging.getLogger("llmring_lite")


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    return str(uuid4())


class _Place(NamedTuple):
    """Where a file's next line goes.

    Attributes:
        file: Device and inode.
        size: Bytes of the whole lines before it.
        seq, hash: Of the line before it; -1 and zeros if it is the first.
        signer: Who signs it.
    """

    file: tuple[int, int]
    size: int
    seq: int
    hash: str
    signer: Signer | None


class ReceiptFile:
    """A file of receipts to append to.

    One serves any number of threads, pickles, and survives a fork.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        key_path: str | None = None,
        *,
        now: Callable[[], datetime] = utc_now,
        make_id: Callable[[], str] = new_id,
    ) -> None:
        """Args:
        path: The file; it and its folder are made by the first receipt.
        key_path: The private key to sign with; None: a new file isn't signed.
        now, make_id: For the header.
        """
        self.path = os.path.abspath(path)
        self.key_path = key_path
        self.now = now
        self.make_id = make_id
        # By process: a lock that another thread held during a fork stays locked.
        self._writers: dict[int, _Writer] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_writers": {}}

    def append(self, receipt: Mapping[str, Any]) -> None:
        """Append a receipt.

        Called by a destructor that runs while its own thread is appending, it leaves
        the receipt to that append.

        Args:
            receipt: The `FIELDS`, in types of JSON.

        Raises:
            ReceiptError: The file is no receipts file, or can't be continued by us.
            LockfileError: The folder could not be locked.
            OSError: The file can't be read or written.
            ValueError, TypeError: The receipt can't be written as canonical JSON.
        """
        pid = os.getpid()
        writer = self._writers.get(pid)
        if writer is None:
            writer = self._writers.setdefault(pid, _Writer(self))
        writer.append(receipt)


class _Writer:
    """What a process knows of a file that it appends to."""

    def __init__(self, file: ReceiptFile) -> None:
        self._file = file
        self._target = os.path.realpath(file.path)
        self._lock = threading.RLock()
        self._busy = False
        self._pending: deque[Mapping[str, Any]] = deque()
        # Where the line after our last one goes, if nobody else has written since.
        self._place: _Place | None = None
        self._warned = False

    def append(self, receipt: Mapping[str, Any]) -> None:
        self._pending.append(receipt)
        with self._lock:
            if self._busy:
                return
            self._busy = True
            try:
                while self._pending:
                    self._append(self._pending.popleft())
            finally:
                self._busy = False

    def _append(self, receipt: Mapping[str, Any]) -> None:
        try:
            self._locked_append(receipt)
        except LockfileError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            os.makedirs(os.path.dirname(self._target), mode=0o700, exist_ok=True)
            self._locked_append(receipt)

    def _locked_append(self, receipt: Mapping[str, Any]) -> None:
        with locked_folder(
            self._target, self._file.path, patience_s=_PATIENCE_S, pause_s=_PAUSE_S
        ):
            handle = os.open(self._target, _FLAGS, 0o600)
            try:
                self._write(handle, receipt)
            finally:
                os.close(handle)

    def _write(self, handle: int, receipt: Mapping[str, Any]) -> None:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise ReceiptError(f"{self._file.path} is not a file")
        here = ((facts.st_dev, facts.st_ino), facts.st_size)
        place, rest = self._place, b""
        self._place = None  # until the line is written
        if place is None or place[:2] != here:
            place, rest = self._find_place(handle, *here)
        lines = Lines(place.seq, place.hash, place.signer)
        if place.seq < 0:
            header = {
                "format": FORMAT,
                "version": VERSION,
                "file_id": self._file.make_id(),
                "created_at": stamp(self._file.now()),
                "public_key": place.signer and place.signer.public_key,
            }
            lines.add("header", header)
        elif rest:
            mended = {
                "timestamp": stamp(self._file.now()),
                "dropped_bytes": len(rest),
                "dropped_sha256": sha256(rest).hexdigest(),
            }
            lines.add("mended", mended)
        lines.add("receipt", receipt)
        if rest:
            log.warning(
                "%s ended in the middle of a line, which is lost: %d bytes",
                self._file.path,
                len(rest),
            )
            os.ftruncate(handle, place.size)
        _write_all(handle, bytes(lines.data), place.size)
        self._place = place._replace(
            size=place.size + len(lines.data), seq=lines.seq, hash=lines.hash
        )

    # What is there ---------------------------------------------------------------

    def _find_place(
        self, handle: int, file: tuple[int, int], size: int
    ) -> tuple[_Place, bytes]:
        """Where the next line goes, and what is there of one that was cut off."""
        name = self._file.path
        begin, end, _ = _read(handle, 0, min(size, _HEADER_SIZE)).partition(b"\n")
        if not end and _HEADER_BEGINS.startswith(begin[: len(_HEADER_BEGINS)]):
            place = _Place(file, 0, -1, NO_HASH, self._own_signer)
            return place, _read(handle, 0, size)
        header = parse_line(begin)
        if header.get("format") != FORMAT:
            raise ReceiptError(
                f"{name} holds something else than receipts, and stays as it is: name "
                "another file"
            )
        if header.get("version") != VERSION:
            raise ReceiptError(
                f"{name} has version {header.get('version')} of the format; this "
                f"program continues version {VERSION}"
            )
        signer = self._signer_for(header.get("public_key"))
        line, rest = _read_last_line(handle, size)
        last = parse_line(line)
        seq, digest = last.get("seq"), last.get("hash")
        if not isinstance(seq, int) or not isinstance(digest, str):
            raise ReceiptError(
                f"the last line of {name} is no receipt, so none can follow; "
                "`llmring-lite receipts verify` tells more. Move the file away to "
                "begin another"
            )
        return _Place(file, size - len(rest), seq, digest, signer), rest

    @cached_property
    def _own_signer(self) -> Signer | None:
        if self._file.key_path is None:
            return None
        from llmring_lite.receipts_sign import load_signer  # see there

        return load_signer(self._file.key_path)

    def _signer_for(self, public_key: str | None) -> Signer | None:
        """Who signs the lines of a file with that key in its header."""
        name, key_path = self._file.path, self._file.key_path
        if public_key is None:
            if key_path is not None and not self._warned:
                self._warned = True
                log.warning(
                    "%s was begun without a key and stays unsigned: move it away to "
                    "begin a signed one",
                    name,
                )
            return None
        signer = self._own_signer
        if signer is not None and signer.public_key == public_key:
            return signer
        found = f"the key in {key_path} is another one"
        raise ReceiptError(
            f"{name} is signed with the key {public_key}, and "
            f"{'no key was found' if signer is None else found}: let "
            "LLMRING_RECEIPTS_KEY name the right private key, or move the receipts "
            "away to begin others"
        )


def _read(handle: int, start: int, length: int) -> bytes:
    os.lseek(handle, start, os.SEEK_SET)
    data = b""
    while len(data) < length and (more := os.read(handle, length - len(data))):
        data += more
    return data


def _read_last_line(handle: int, size: int) -> tuple[bytes, bytes]:
    """The last whole line of a file that has one, and what stands behind it."""
    block = 4096
    while True:
        start = max(0, size - block)
        data = _read(handle, start, size - start)
        end = data.rfind(b"\n")
        begin = data.rfind(b"\n", 0, max(0, end)) + 1
        if start == 0 or begin > 0:
            return data[begin : max(0, end)], data[end + 1 :]
        block *= 8


def _write_all(handle: int, data: bytes, size: int) -> None:
    """Append, or leave the file at its size: on a full disk, a piece would remain."""
    try:
        written = 0
        while written < len(data):
            written += os.write(handle, data[written:])
    except BaseException:
        with suppress(OSError):
            os.ftruncate(handle, size)
        raise
