"""Which lockfile counts: the same answer for library and command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from llmring_lite.exceptions import LockfileNotFoundError
from llmring_lite.lockfile_file import INIT_ADVICE

# Names are strings in here, and paths only for who asks: `pathlib` and the URL parser
# that it loads are a tenth of what a short command takes.
if TYPE_CHECKING:
    from pathlib import Path

LOCKFILE_NAME: Final = "llmring.lock"

_VARIABLE: Final = "LLMRING_LOCKFILE_PATH"


BUNDLED_LOCKFILE: Final = os.path.join(
    os.path.dirname(os.path.abspath(__file__)), LOCKFILE_NAME
)
"""The lockfile that comes with this package."""


def bundled_path() -> Path:
    """The lockfile that comes with this package."""
    from pathlib import Path

    return Path(BUNDLED_LOCKFILE)


def find_lockfile(
    explicit: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] = os.environ,
    cwd: str | os.PathLike[str] | None = None,
) -> Path:
    """The lockfile that counts, as an absolute path.

    The first of: `explicit`, the variable LLMRING_LOCKFILE_PATH, `llmring.lock` in
    the working directory, the bundled file. Empty strings count as not given.

    Raises:
        LockfileNotFoundError: `explicit` or the variable names a file that is not
            there, or nothing at all is there.
    """
    from pathlib import Path

    return Path(find_lockfile_name(explicit, environ, cwd))


def find_lockfile_name(
    explicit: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] = os.environ,
    cwd: str | os.PathLike[str] | None = None,
) -> str:
    """The same as a string."""
    folder = os.fspath(cwd) if cwd is not None else _working_directory()
    for given, origin in (
        (explicit and os.fspath(explicit), "lockfile_path"),
        (environ.get(_VARIABLE), _VARIABLE),
    ):
        if given:
            name = os.path.join(folder, given)
            if _is_there(name):
                return name
            raise LockfileNotFoundError(
                f"no lockfile at {name} (named by {origin}); {INIT_ADVICE}", path=name
            )
    local = os.path.join(folder, LOCKFILE_NAME)
    for name in (local, BUNDLED_LOCKFILE):
        if _is_there(name):
            return name
    raise LockfileNotFoundError(
        f"no lockfile: {_VARIABLE} is not set, and neither {local} nor "
        f"{BUNDLED_LOCKFILE} is there; {INIT_ADVICE}",
        path=local,
    )


def _working_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # deleted under our feet
        return ""


def _is_there(name: str) -> bool:
    """A symbolic link to nowhere is an error, a folder is not a lockfile."""
    if not os.path.exists(name) and os.path.islink(name):
        raise LockfileNotFoundError(
            f"{name} is a symbolic link to a file that is not there", path=name
        )
    return os.path.exists(name) and not os.path.isdir(name)
