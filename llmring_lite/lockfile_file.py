"""The bytes of a lockfile, read whole."""

from __future__ import annotations

from typing import Final

from llmring_lite.exceptions import LockfileError, LockfileNotFoundError
from llmring_lite.lockfile_parse import MAX_BYTES, decode

INIT_ADVICE: Final = "`llmring-lite lock init` makes one"


def read_text(path: str) -> str:
    """The text of a file, line ends and byte order mark untouched.

    Raises:
        LockfileNotFoundError: There is no such file.
        LockfileParseError: It is too large, or not UTF-8.
        LockfileError: It can't be read.
    """
    try:
        with open(path, "rb") as file:
            return decode(file.read(MAX_BYTES + 1), path)
    except FileNotFoundError:
        raise LockfileNotFoundError(
            f"no lockfile at {path}; {INIT_ADVICE}", path=path
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LockfileError(f"can't read {path}: {reason}", path=path) from error
