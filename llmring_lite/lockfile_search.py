"""Which lockfile counts: the same answer for library and command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from llmring_lite.exceptions import LockfileNotFoundError
from llmring_lite.lockfile_file import INIT_ADVICE

LOCKFILE_NAME: Final = "llmring.lock"

_VARIABLE: Final = "LLMRING_LOCKFILE_PATH"


def bundled_path() -> Path:
    """The lockfile that comes with this package."""
    return Path(__file__).with_name(LOCKFILE_NAME)


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
    folder = Path(cwd) if cwd is not None else _working_directory()
    for given, origin in (
        (explicit and os.fspath(explicit), "lockfile_path"),
        (environ.get(_VARIABLE), _VARIABLE),
    ):
        if given:
            path = folder / given
            if _is_there(path):
                return path
            raise LockfileNotFoundError(
                f"no lockfile at {path} (named by {origin}); {INIT_ADVICE}",
                path=str(path),
            )
    local, bundled = folder / LOCKFILE_NAME, bundled_path()
    for path in (local, bundled):
        if _is_there(path):
            return path
    raise LockfileNotFoundError(
        f"no lockfile: {_VARIABLE} is not set, and neither {local} nor {bundled} is "
        f"there; {INIT_ADVICE}",
        path=str(local),
    )


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:  # deleted under our feet
        return Path()


def _is_there(path: Path) -> bool:
    """A symbolic link to nowhere is an error, a folder is not a lockfile."""
    if not path.exists() and path.is_symlink():
        raise LockfileNotFoundError(
            f"{path} is a symbolic link to a file that is not there", path=str(path)
        )
    return path.exists() and not path.is_dir()
