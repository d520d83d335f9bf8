"""A lockfile on the disk: replace it whole, one writer at a time.

`locked` keeps other writers out, those of this process and of others. The lock is on
the folder where the system can lock one: then nothing is left behind, whatever happens
to its holder. `write_atomic` puts a complete file in place of the old one, or nothing;
what a killed writer left is removed by the next.
"""

from __future__ import annotations

import os
import random
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from llmring_lite.exceptions import LockfileError

_PATIENCE_S: Final = 30.0

_PACKAGE_FOLDER: Final = os.path.dirname(os.path.realpath(__file__))


def write_atomic(path: str | os.PathLike[str], text: str) -> None:
    """Replace a file, or make it. To be called with `locked` held.

    Mode and owner stay; of a symbolic link the target is replaced. The file is on the
    disk when this returns.

    Raises:
        LockfileError: It can't be written, or it belongs to this package.
    """
    name = os.fspath(path)
    try:
        _replace(_target(name), text.encode())
    except OSError as error:
        raise _write_error(name, error) from error


@contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Keep other writers of the same file out.

    Not for use twice in one thread: the second would wait for the first.

    Raises:
        LockfileError: The folder can't be locked, or another writer holds the lock
            for half a minute without writing anything.
    """
    name = os.fspath(path)
    with locked_folder(_target(name), name):
        yield


@contextmanager
def locked_folder(
    target: str,
    name: str,
    *,
    patience_s: float | None = None,
    pause_s: float = 0.01,
) -> Iterator[None]:
    """Keep other writers out of the folder of a file.

    Args:
        target: The file's path without symbolic links.
        name: How messages call it.
        patience_s: How long to wait while nobody changes the file. Default: 30.
        pause_s: The longest pause between two tries.

    Raises:
        LockfileError: The folder can't be locked, or patience is at its end.
    """
    if patience_s is None:
        patience_s = _PATIENCE_S
    try:
        handle = _open_lock(target)
    except OSError as error:
        raise _write_error(name, error) from error
    try:
        _acquire(handle, target, name, patience_s, pause_s)
        try:
            yield
        finally:
            # A process forked in the meantime has the handle too: closing ours would
            # not end the lock.
            _unlock(handle)
    finally:
        os.close(handle)


def _target(name: str) -> str:
    """The file behind symbolic links, if it may be written."""
    target = os.path.realpath(name)
    folder = os.path.dirname(target)
    if folder == _PACKAGE_FOLDER:
        raise LockfileError(
            f"{name} belongs to the installed package and stays as it is; use a "
            "lockfile of your own, such as ./llmring.lock",
            path=name,
        )
    if not os.path.isdir(folder):
        raise LockfileError(f"can't write {name}: there is no such folder", path=name)
    if os.path.exists(target):
        if not os.path.isfile(target):
            raise LockfileError(f"can't write {name}: it is not a file", path=name)
        # The folder's permission would do for a replacement, but who takes the file's
        # write permission away doesn't want it replaced, by root neither.
        if not os.stat(target).st_mode & 0o222:
            raise LockfileError(f"can't write {name}: the file is read-only", path=name)
        try:
            os.close(os.open(target, os.O_WRONLY))
        except OSError as error:
            raise LockfileError(
                f"can't write {name}: the file is read-only ({error.strerror})",
                path=name,
            ) from error
    return target


def _write_error(name: str, error: OSError) -> LockfileError:
    folder = os.path.dirname(os.path.realpath(name))
    return LockfileError(
        f"can't write {name}: {error.strerror} (in the folder {folder})", path=name
    )


# Replacing -----------------------------------------------------------------------


def _replace(target: str, data: bytes) -> None:
    _remove_leftovers(target)
    mine = f"{_temporary_prefix(target)}{os.getpid()}-{threading.get_ident()}.tmp"
    old = os.stat(target) if os.path.exists(target) else None
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    # Of a new file the umask decides.
    handle = os.open(mine, flags, 0o600 if old else 0o666)
    try:
        with open(handle, "wb") as file:
            file.write(data)
            if old and sys.platform != "win32":
                with suppress(PermissionError):
                    os.fchown(handle, old.st_uid, old.st_gid)
                os.fchmod(handle, stat.S_IMODE(old.st_mode))
            file.flush()
            os.fsync(handle)
        os.replace(mine, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(mine)
        raise
    _sync_folder(os.path.dirname(target))


def _temporary_prefix(target: str) -> str:
    folder, name = os.path.split(target)
    return os.path.join(folder, f".{name}.")


def _remove_leftovers(target: str) -> None:
    """Temporary files of writers that were killed: the lock says nobody writes now."""
    folder, prefix = os.path.split(_temporary_prefix(target))
    for name in os.listdir(folder):
        if name.startswith(prefix) and name.endswith(".tmp"):
            process, _, thread = name[len(prefix) : -len(".tmp")].partition("-")
            if process.isdecimal() and thread.isdecimal():
                with suppress(OSError):
                    os.unlink(os.path.join(folder, name))


def _sync_folder(folder: str) -> None:
    """The rename itself must survive a power cut."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        # Some file systems can't; the file itself is safe by then.
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


# Locking -------------------------------------------------------------------------


def _acquire(
    handle: int, target: str, name: str, patience_s: float, pause_s: float
) -> None:
    """Take the lock; others may have it as long as they get something done."""
    if _try_lock(handle):
        return
    seen, since = _version(target), time.monotonic()
    while not _try_lock(handle):
        now = time.monotonic()
        version = _version(target)
        if version != seen:
            seen, since = version, now
        if now - since > patience_s:
            raise LockfileError(
                f"can't write {name}: another process has kept its folder locked for "
                f"{patience_s:.0f} seconds",
                path=name,
            )
        time.sleep(random.uniform(pause_s / 10, pause_s))


def _version(target: str) -> tuple[int, int]:
    try:
        facts = os.stat(target)
    except OSError:
        return (0, 0)
    return (facts.st_ino, facts.st_mtime_ns)


if sys.platform == "win32":
    import msvcrt

    def _open_lock(target: str) -> int:
        """A folder can't be locked here. This file goes when nobody has it open."""
        name = f"{_temporary_prefix(target)}lock"
        return os.open(name, os.O_RDWR | os.O_CREAT | os.O_TEMPORARY)

    def _try_lock(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(handle: int) -> None:
        os.lseek(handle, 0, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _open_lock(target: str) -> int:
        handle = os.open(os.path.dirname(target), os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(handle, fcntl.LOCK_UN)
        except BlockingIOError:
            pass
        except OSError:
            # NFS turns flock into a lock that wants a file open for writing. Then a
            # file beside the lockfile has to stay.
            os.close(handle)
            name = f"{_temporary_prefix(target)}lock"
            handle = os.open(name, os.O_RDWR | os.O_CREAT, 0o666)
        except BaseException:
            os.close(handle)
            raise
        return handle

    def _try_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)
