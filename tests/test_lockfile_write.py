"""Writing: whole or not at all, one writer at a time, and nothing left behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmring_lite import lockfile_write
from llmring_lite.exceptions import LockfileError
from llmring_lite.lockfile import Lockfile, bundled_path
from llmring_lite.lockfile_edit import bind, create, unbind
from llmring_lite.lockfile_write import locked, write_atomic

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
ROOT = Path(__file__).resolve().parents[1]

WRITER = """
import sys
from llmring_lite.lockfile_edit import bind
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for i in range(count):
    alias = f"{name}-{i % 4}"
    result = bind(path, alias, f"mock:{i}")
    # Nobody may have undone what this process did before.
    for k in range(min(i + 1, 4)):
        newest = i - (i - k) % 4
        bound = result.lockfile.get_binding(f"{name}-{k}")
        assert bound.models == (f"mock:{newest}",), (k, newest, bound)
"""


def start(*arguments: str | Path | int, code: str = WRITER) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.is_file())


def test_many_processes_lose_no_binding(tmp_path: Path) -> None:
    path = tmp_path / "llmring.lock"
    writers = [start(path, f"w{n}", 200) for n in range(8)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
    assert [writer.returncode for writer in writers] == [0] * 8
    bindings = Lockfile.load(path).get_profile().bindings
    assert {alias: b.models for alias, b in bindings.items()} == {
        f"w{n}-{i % 4}": (f"mock:{i}",) for n in range(8) for i in range(196, 200)
    }
    assert names(tmp_path) == ["llmring.lock"]


def test_threads_of_one_process_lose_no_binding(tmp_path: Path) -> None:
    path = tmp_path / "llmring.lock"

    def work(name: str) -> None:
        for index in range(10):
            bind(path, f"{name}-{index}", "mock:x")

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Lockfile.load(path).get_profile().bindings) == 60


@posix_only
def test_a_writer_killed_at_any_instant_leaves_a_valid_file(tmp_path: Path) -> None:
    path = tmp_path / "llmring.lock"
    bind(path, "kept", "mock:kept")
    for round_number in range(12):
        writer = start(path, "k", 100_000)
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdout.readline()
        writer.stdin.write("\n")
        writer.stdin.flush()
        time.sleep(0.011 * round_number)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        assert Lockfile.load(path).flatten("kept") == ("mock:kept",)
    # The lock went with its holder, and what it left goes with the next write.
    bind(path, "after", "mock:x")
    assert names(tmp_path) == ["llmring.lock"]


@posix_only
def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "llmring.lock"
    bind(path, "a", "mock:x")
    (tmp_path / ".llmring.lock.123-456.tmp").write_text("half a f")
    (tmp_path / ".llmring.lock.notes.tmp").write_text("the user's own")
    bind(path, "b", "mock:x")
    assert names(tmp_path) == [".llmring.lock.notes.tmp", "llmring.lock"]


def test_a_failing_write_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "llmring.lock"
    bind(path, "a", "mock:x")
    before = path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LockfileError, match="No space left on device"):
        bind(path, "b", "mock:x")
    assert path.read_bytes() == before
    assert names(tmp_path) == ["llmring.lock"]


@posix_only
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_the_mode_is_kept(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "llmring.lock"
    bind(path, "a", "mock:x")
    path.chmod(mode)
    bind(path, "b", "mock:x")
    assert stat.S_IMODE(path.stat().st_mode) == mode


@posix_only
def test_a_new_file_has_the_mode_that_the_umask_says(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        bind(tmp_path / "llmring.lock", "a", "mock:x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "llmring.lock").stat().st_mode) == 0o640


@posix_only
def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    project = tmp_path / "project"
    shared.mkdir()
    project.mkdir()
    target = shared / "models.lock"
    bind(target, "a", "mock:x")
    link = project / "llmring.lock"
    link.symlink_to("../shared/models.lock")
    bind(link, "b", "mock:x")
    unbind(link, "a")
    assert link.is_symlink()
    assert list(Lockfile.load(target).get_profile().bindings) == ["b"]
    assert names(shared) == ["models.lock"]


@contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Root may write everywhere; see what others may."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """A folder that other users can reach."""
    folder = tmp_path / "open"
    folder.mkdir()
    for place in (folder, *folder.parents):
        if place.owner() == "root" and str(place).startswith("/tmp/"):
            place.chmod(0o755)
    return folder


@posix_only
def test_a_read_only_folder_is_a_clear_error(open_folder: Path) -> None:
    path = open_folder / "llmring.lock"
    bind(path, "a", "mock:x")
    before = path.read_bytes()
    path.chmod(0o666)
    open_folder.chmod(0o555)
    try:
        with (
            as_ordinary_user(),
            pytest.raises(LockfileError, match=r"can't write .*Permission denied"),
        ):
            bind(path, "b", "mock:x")
    finally:
        open_folder.chmod(0o755)
    assert path.read_bytes() == before


@posix_only
def test_a_read_only_file_is_not_replaced(open_folder: Path) -> None:
    path = open_folder / "llmring.lock"
    bind(path, "a", "mock:x")
    open_folder.chmod(0o777)
    path.chmod(0o444)
    with (
        as_ordinary_user(),
        pytest.raises(LockfileError, match="the file is read-only"),
    ):
        bind(path, "b", "mock:x")


def test_a_file_that_nobody_may_write_is_not_replaced_by_root(tmp_path: Path) -> None:
    path = tmp_path / "llmring.lock"
    bind(path, "a", "mock:x")
    before = path.read_bytes()
    path.chmod(0o444)
    with pytest.raises(LockfileError, match="the file is read-only"):
        bind(path, "b", "mock:x")
    assert path.read_bytes() == before


def test_the_bundled_file_is_never_written() -> None:
    before = bundled_path().read_bytes()
    with pytest.raises(LockfileError, match="installed package"):
        bind(bundled_path(), "a", "mock:x")
    with pytest.raises(LockfileError, match="installed package"):
        create(bundled_path().with_name("other.lock"), "")
    assert bundled_path().read_bytes() == before
    assert not bundled_path().with_name("other.lock").exists()


def test_a_folder_or_a_missing_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(LockfileError, match="no such folder"):
        bind(tmp_path / "nowhere" / "llmring.lock", "a", "mock:x")
    with pytest.raises(LockfileError, match="not a file"):
        bind(tmp_path, "a", "mock:x")


def test_create_replaces_only_with_force(tmp_path: Path) -> None:
    path = tmp_path / "llmring.lock"
    create(path, 'version = "1.0"\n# mine\n')
    with pytest.raises(LockfileError, match="--force"):
        create(path, "")
    assert path.read_text() == 'version = "1.0"\n# mine\n'
    create(path, "# other\n", force=True)
    assert path.read_text() == "# other\n"


def test_create_writes_no_lockfile_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "llmring.lock"
    for text in ("x = ", "version = 1"):
        with pytest.raises(LockfileError):
            create(path, text)
    assert not path.exists()


def test_a_lock_that_is_never_given_back_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lockfile_write, "_PATIENCE_S", 0.05)
    path = tmp_path / "llmring.lock"
    with (
        locked(path),
        pytest.raises(LockfileError, match="kept its folder locked"),
        locked(path),
    ):
        pass
    with locked(path):
        write_atomic(path, "")


@posix_only
def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "llmring.lock"
    code = """
import os, sys, time
from llmring_lite.lockfile_edit import bind
from llmring_lite.lockfile_write import locked
with locked(sys.argv[1]):
    child = os.fork()
    if not child:
        sys.stdin.read()
        os._exit(0)
bind(sys.argv[1], "a", "mock:x")
print("bound", flush=True)
"""
    process = start(path, code=code)
    assert process.stdout is not None
    assert process.stdout.readline() == "bound\n"
    process.communicate()


@posix_only
def test_where_folders_cannot_be_locked_a_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    real = fcntl.flock

    def like_nfs(handle: int, operation: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(9, "Bad file descriptor")
        real(handle, operation)

    monkeypatch.setattr(fcntl, "flock", like_nfs)
    path = tmp_path / "llmring.lock"
    bind(path, "a", "mock:x")
    bind(path, "b", "mock:x")
    assert len(Lockfile.load(path).get_profile().bindings) == 2
