"""Is a file of receipts what was written, whole and in order?

`verify` reads it once, a line at a time, and stops at the first line that is wrong.
What was done to it is told by these words:

    edited      the line's content is not what was hashed
    removed     lines are missing before it
    reordered   it stands before lines that it should follow
    inserted    it does not belong into this file, or comes a second time
    truncated   the file ends in the middle of a line, or before its checkpoint
    wrong_key   not signed by the key of the file, or by the one that was named

Without a signature anyone may write a whole chain anew; without a checkpoint nobody
knows of lines that were removed at the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from llmring_lite.exceptions import LockfileError, ReceiptError
from llmring_lite.lockfile_write import locked_folder
from llmring_lite.receipts_canonical import canonicalize
from llmring_lite.receipts_line import (
    FORMAT,
    MAX_LINE,
    NO_HASH,
    VERSION,
    Sealed,
    parse_line,
    unseal,
)

if TYPE_CHECKING:
    from llmring_lite.receipts_sign import Checker

_PATIENCE_S: Final = 2.0


class Problem(NamedTuple):
    """The first line that is wrong.

    Attributes:
        line: Counted from 1.
        reason: One of the words above.
        message: A sentence about the line.
    """

    line: int
    reason: str
    message: str


class Report(NamedTuple):
    """What `verify` found.

    Attributes:
        path: The file.
        problem: None if nothing is wrong.
        lines: How many are in order, the header included.
        receipts: How many of them are receipts.
        mended: How many tell of a line that was lost with the process that wrote it.
        file_id, public_key: From the header; None if there is none, or no key.
        seq, hash: Of the last line in order; -1 and zeros if there is none.
    """

    path: str
    problem: Problem | None
    lines: int
    receipts: int
    mended: int
    file_id: str | None
    public_key: str | None
    seq: int
    hash: str

    @property
    def ok(self) -> bool:
        return self.problem is None


def verify(
    path: str | os.PathLike[str],
    *,
    public_key: str | None = None,
    checkpoint: Sealed | None = None,
) -> Report:
    """Check every line of a file. Other processes may append in the meantime.

    Args:
        public_key: In Base64: who must have signed. Default: the file's own key, if
            it has one, which proves only that all lines have the same author.
        checkpoint: From `load_certificate`, a bundle too: what the file must contain.

    Raises:
        ReceiptError: The file can't be read or has a format of the future, the
            checkpoint is of another kind or not signed by the key, or a signature can't
            be checked without `cryptography`.
    """
    name = os.fspath(path)
    if checkpoint is not None and (
        checkpoint.record.get("kind") not in ("checkpoint", "bundle")
        or not isinstance(checkpoint.record.get("seq"), int)
    ):
        raise ReceiptError("what was given as a checkpoint is none")
    try:
        size = _settled_size(name)
        with open(name, "rb") as file:
            lines = _iter_lines(file, size)
            return _Walk(name, lines, public_key, checkpoint).run()
    except OSError as error:
        raise ReceiptError(f"can't read {name}: {error.strerror}") from error


def load_certificate(path: str | os.PathLike[str]) -> Sealed:
    """A checkpoint or bundle from its file, in whatever layout of JSON.

    Raises:
        ReceiptError: It can't be read, or it was changed.
    """
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            record = parse_line(file.read(64 * MAX_LINE))
        sealed = unseal(canonicalize(record))
    except OSError as error:
        raise ReceiptError(f"can't read {name}: {error.strerror}") from error
    except ValueError:
        sealed = None
    if sealed is None:
        raise ReceiptError(f"{name} is no checkpoint or bundle, or has been edited")
    return sealed


def _settled_size(name: str) -> int:
    """The size of the file while nobody is writing a line."""
    target = os.path.realpath(name)
    try:
        with locked_folder(target, name, patience_s=_PATIENCE_S, pause_s=0.001):
            return os.path.getsize(target)
    except LockfileError:  # an auditor may have no right to lock
        return os.path.getsize(target)


class _Walk:
    """One pass over a file."""

    def __init__(
        self,
        path: str,
        lines: Iterator[bytes],
        public_key: str | None,
        checkpoint: Sealed | None,
    ) -> None:
        self.path = path
        self._lines = lines
        self._wanted_key = public_key
        self._checkpoint = checkpoint
        self._header: dict[str, Any] = {}
        self._checker: Checker | None = None
        # Of the last line in order: all of it, and its hash.
        self._last: Sealed | None = None
        self._hash = NO_HASH
        self._count = self._receipts = self._mended = 0

    def run(self) -> Report:
        problem = self._find_problem()
        return Report(
            path=self.path,
            problem=problem,
            lines=self._count,
            receipts=self._receipts,
            mended=self._mended,
            file_id=self._header.get("file_id"),
            public_key=self._header.get("public_key"),
            seq=self._count - 1,
            hash=self._hash,
        )

    def _find_problem(self) -> Problem | None:
        for raw in self._lines:
            problem = self._check(self._count + 1, raw)
            if problem is not None:
                return problem
        if self._count == 0:
            return Problem(1, "truncated", "the file is empty")
        covered = 0 if self._checkpoint is None else self._checkpoint.seq + 1
        if covered <= self._count:
            return None
        return Problem(
            self._count + 1,
            "truncated",
            f"the file ends after line {self._count}, but had {covered} lines "
            "when the checkpoint was made",
        )

    def _check(self, number: int, raw: bytes) -> Problem | None:
        if not raw.endswith(b"\n"):
            if len(raw) < MAX_LINE:
                return Problem(
                    number,
                    "truncated",
                    "the file ends in the middle of this line: it was cut, or its "
                    "writer was stopped (then the next receipt mends it)",
                )
            return Problem(number, "edited", f"longer than {MAX_LINE} bytes")
        line = unseal(raw[:-1])
        if line is None:
            return Problem(number, "edited", "its content is not what was hashed")
        if line.seq != number - 1 or line.prev != self._hash:
            return self._out_of_place(number, line)
        problem = self._check_header(line) if number == 1 else None
        problem = problem or self._check_author(number, line)
        if problem is None:
            self._last, self._hash = line, line.hash
            self._count = number
            self._receipts += line.record.get("kind") == "receipt"
            self._mended += line.record.get("kind") == "mended"
        return problem

    def _check_header(self, line: Sealed) -> Problem | None:
        header = line.record
        if header.get("kind") != "header" or header.get("format") != FORMAT:
            return Problem(1, "edited", "it is not the header of a file of receipts")
        if header.get("version") != VERSION:
            raise ReceiptError(
                f"{self.path} has version {header.get('version')} of the format, this "
                f"program knows version {VERSION}"
            )
        self._header = header
        key = header.get("public_key")
        if self._wanted_key is not None and key != self._wanted_key:
            found = "is not signed" if key is None else f"is signed with the key {key}"
            wanted = f"the file {found}, not with {self._wanted_key}"
            return Problem(1, "wrong_key", wanted)
        if key is not None:
            from llmring_lite.receipts_sign import Checker  # see there

            self._checker = Checker(str(key))
        kept = self._checkpoint
        if kept is None:
            return None
        if not self._is_signed(kept):
            kind = kept.record.get("kind")
            raise ReceiptError(f"the {kind} is not signed by the key {key}")
        if kept.record.get("file_id") != header.get("file_id"):
            other = "this is another file than the checkpoint was made of"
            return Problem(1, "edited", other)
        return None

    def _check_author(self, number: int, line: Sealed) -> Problem | None:
        if not self._is_signed(line):
            if line.record.get("signature") is None:
                return Problem(number, "wrong_key", "it is not signed")
            return Problem(
                number,
                "wrong_key",
                "its signature is not by the key of the file: it was edited and "
                "hashed anew, or another key signed it",
            )
        kept = self._checkpoint
        if (
            kept is not None
            and kept.seq == line.seq
            and kept.record.get("head") != line.hash
        ):
            return Problem(
                number, "edited", "up to here the file is not what the checkpoint saw"
            )
        return None

    def _is_signed(self, sealed: Sealed) -> bool:
        """By the key of the file, if it has one."""
        return self._checker is None or self._checker.is_valid(
            sealed.record.get("signature"), sealed.body
        )

    # What happened? --------------------------------------------------------------

    def _out_of_place(self, number: int, line: Sealed) -> Problem:
        """Why a line, whole in itself, does not follow the one before."""
        seq, wanted = line.seq, number - 1
        if not isinstance(seq, int) or seq < 0:
            return Problem(number, "inserted", "it has no place in a file of receipts")
        if seq > wanted:
            return self._too_early(number, line)
        following = self._next()
        if seq < wanted:
            # Of two lines for one place the file goes on from the right one.
            last = self._last
            is_rival = last and line.prev == last.prev and line.hash != last.hash
            goes_on = following is None or following.prev == line.hash
            return _stranger(number - 1 if is_rival and goes_on else number)
        if following is not None and following.prev == self._hash:
            return _stranger(number)
        if self._last is None or (following and following.prev != line.hash):
            return Problem(number, "edited", "it is chained to another line before it")
        return Problem(
            number - 1, "edited", "the next line is chained to another content of it"
        )

    def _too_early(self, number: int, line: Sealed) -> Problem:
        """Its number has not been reached."""
        wanted = number - 1
        found_wanted = found_again = belongs = False
        while (other := self._next(skip=True)) is not None:
            found_wanted |= other.seq == wanted
            found_again |= other.seq == line.seq
            belongs |= other.hash == line.prev
        if found_wanted and (found_again or not belongs):
            return _stranger(number)
        if found_wanted:
            return Problem(
                number,
                "reordered",
                f"it was line {line.seq + 1}; what was line {number} comes later",
            )
        missing = line.seq - wanted
        lines = "line is" if missing == 1 else "lines are"
        return Problem(number, "removed", f"{missing} {lines} missing before this one")

    def _next(self, skip: bool = False) -> Sealed | None:
        """The next line, None if there is none or (without `skip`) it is edited."""
        for raw in self._lines:
            found = unseal(raw.rstrip(b"\n"))
            if found is not None or not skip:
                return found
        return None


def _stranger(number: int) -> Problem:
    return Problem(
        number, "inserted", "its number belongs to another line of this file"
    )


def _iter_lines(file: IO[bytes], size: int) -> Iterator[bytes]:
    """The lines of the first `size` bytes; a longer one than any receipt in pieces."""
    while size > 0:
        raw = file.readline(min(MAX_LINE, size))
        if not raw:
            return
        size -= len(raw)
        yield raw
