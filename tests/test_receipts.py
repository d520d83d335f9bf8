"""Appending to a file of receipts: by many, torn, foreign, full, or signed."""

from __future__ import annotations

import gc
import json
import logging
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from receipt_files import filled, lines_of, new_file, receipt, records_of

from llmring_lite.exceptions import LLMRingError, ReceiptError
from llmring_lite.receipts import ReceiptFile
from llmring_lite.receipts_line import parse_line
from llmring_lite.receipts_sign import Signer, load_signer, make_key
from llmring_lite.receipts_verify import verify

PACKAGE = Path(__file__).resolve().parents[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "receipts.jsonl"


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    name = tmp_path_factory.mktemp("keys") / "key"
    make_key(name)
    return name


# The form of the file -------------------------------------------------------------


def test_the_first_line_is_a_header(path: Path) -> None:
    new_file(path).append(receipt())
    header = records_of(path)[0]
    assert header == {
        "kind": "header",
        "format": "llmring-lite receipts",
        "version": 1,
        "file_id": "file-0",
        "created_at": "2026-11-01T12:00:00.000000Z",
        "public_key": None,
        "seq": 0,
        "prev": "0" * 64,
        "hash": header["hash"],
    }


@pytest.mark.parametrize("signed", [False, True])
def test_each_line_is_canonical_and_holds_its_hash_and_the_one_before(
    path: Path, key: Path, signed: bool
) -> None:
    before = "0" * 64
    for number, line in enumerate(filled(path, 5, key if signed else None)):
        record = json.loads(line)
        assert rfc8785.dumps(record) + b"\n" == line
        digest, signature = record.pop("hash"), record.pop("signature", None)
        assert sha256(rfc8785.dumps(record)).hexdigest() == digest
        assert (signature is not None) == signed
        assert (record["seq"], record["prev"]) == (number, before)
        before = digest


def test_a_receipt_says_what_was_handed_in(path: Path) -> None:
    given = receipt(3, metadata={"customer": "é😀", "share": 0.1, "big": 2.0**60})
    new_file(path).append(given)
    _, found = map(parse_line, path.read_bytes().splitlines())
    assert {name: found[name] for name in given} == given
    assert verify(path).ok


def test_the_file_is_for_its_owner_only(path: Path) -> None:
    filled(path, 1)
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_mode_of_a_file_that_is_there_stays(path: Path) -> None:
    path.touch(mode=0o640)
    filled(path, 1)
    assert path.stat().st_mode & 0o777 == 0o640


def test_folders_are_made(tmp_path: Path) -> None:
    filled(tmp_path / "a" / "b" / "receipts.jsonl", 1)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_a_symbolic_link_is_followed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    path.symlink_to(tmp_path / "elsewhere" / "real.jsonl")
    filled(path, 2)
    assert path.is_symlink()
    assert len(lines_of(tmp_path / "elsewhere" / "real.jsonl")) == 3


def test_nothing_is_left_beside_the_file(tmp_path: Path) -> None:
    filled(tmp_path / "folder" / "receipts.jsonl", 3)
    assert os.listdir(tmp_path / "folder") == ["receipts.jsonl"]


def test_a_file_is_continued_by_another_program(path: Path) -> None:
    filled(path, 2)
    filled(path, 2)
    assert [record["seq"] for record in records_of(path)] == [0, 1, 2, 3, 4]
    assert verify(path).ok


def test_a_file_moved_away_is_followed_by_a_new_one(path: Path) -> None:
    file = new_file(path)
    file.append(receipt())
    path.rename(path.with_suffix(".old"))
    file.append(receipt())
    assert [r["file_id"] for r in records_of(path) if r["seq"] == 0] == ["file-1"]
    assert verify(path).ok
    assert verify(path.with_suffix(".old")).ok


def test_a_file_emptied_in_its_place_begins_anew(path: Path) -> None:
    file = new_file(path)
    for _ in range(3):
        file.append(receipt())
    os.truncate(path, 0)
    file.append(receipt())
    file.append(receipt())
    assert verify(path).receipts == 2


def test_long_lines_are_chained_too(path: Path) -> None:
    for size in (10, 5000, 70_000, 5000, 10):
        new_file(path).append(receipt(metadata={"note": "x" * size}))
    assert verify(path).receipts == 5


def test_a_line_that_nobody_could_verify_is_not_written(path: Path) -> None:
    file = new_file(path)
    file.append(receipt())
    with pytest.raises(ReceiptError, match="metadata"):
        file.append(receipt(metadata={"note": "x" * (1 << 20)}))
    with pytest.raises(ValueError, match="no JSON number"):
        file.append(receipt(metadata={"share": float("nan")}))
    file.append(receipt())
    assert verify(path).receipts == 2


# Torn lines -----------------------------------------------------------------------


def test_a_torn_last_line_is_mended_wherever_it_was_cut(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = filled(path, 2)
    whole = b"".join(lines[:-1])
    for cut in range(1, len(lines[-1])):
        torn = lines[-1][:cut]
        path.write_bytes(whole + torn)
        caplog.clear()
        new_file(path).append(receipt(9))
        *_, mended, last = records_of(path)
        assert (mended["kind"], mended["dropped_bytes"]) == ("mended", cut)
        assert mended["dropped_sha256"] == sha256(torn).hexdigest()
        assert last["receipt_id"] == "r-9"
        assert str(path) in caplog.text
        assert f"{cut} bytes" in caplog.text
        report = verify(path)
        assert (report.ok, report.receipts, report.mended) == (True, 2, 1)


def test_a_torn_header_is_written_anew(path: Path) -> None:
    header = filled(path, 1)[0]
    for cut in range(1, len(header)):
        path.write_bytes(header[:cut])
        new_file(path).append(receipt())
        report = verify(path)
        assert (report.ok, report.receipts) == (True, 1)


def test_a_writer_notices_a_line_that_another_one_left_torn(path: Path) -> None:
    file = new_file(path)
    file.append(receipt(0))
    with path.open("ab") as other:
        other.write(b'{"alias":"summ')
    file.append(receipt(1))
    report = verify(path)
    assert (report.ok, report.receipts, report.mended) == (True, 2, 1)


def test_zeros_of_a_power_cut_are_mended(path: Path) -> None:
    filled(path, 2)
    with path.open("ab") as file:
        file.write(b"\0" * 100_000)
    filled(path, 1)
    assert verify(path).receipts == 3


# Files that are something else ----------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"Dear diary,\n",
        b"no line end",
        b'{"format": "other"}\n',
        b"[1]\n",
        b"\n",
        b"\0\0",
        b'{"a":1}\n{"seq":1,"hash":"x"}\n',
    ],
)
def test_another_kind_of_file_stays_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ReceiptError, match="something else"):
        new_file(path).append(receipt())
    assert path.read_bytes() == content


def test_a_format_of_the_future_is_left_to_the_future(path: Path) -> None:
    lines = filled(path, 1)
    path.write_bytes(lines[0].replace(b'"version":1', b'"version":2'))
    with pytest.raises(ReceiptError, match="version 2"):
        new_file(path).append(receipt())


def test_a_damaged_last_line_is_not_continued(path: Path) -> None:
    lines = filled(path, 1)
    path.write_bytes(lines[0] + b"scribble\n")
    with pytest.raises(ReceiptError, match="receipts verify"):
        new_file(path).append(receipt())


def test_a_device_is_no_file() -> None:
    with pytest.raises((ReceiptError, LLMRingError, OSError)):
        ReceiptFile("/dev/null").append(receipt())


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory"):
        ReceiptFile(tmp_path).append(receipt())


FULL_DISK = """
import resource, signal, sys
from llmring_lite.receipts import ReceiptFile
from receipt_files import receipt
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
file = ReceiptFile(sys.argv[1])
file.append(receipt(0))
size = __import__("os").path.getsize(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))
try:
    file.append(receipt(1))
except OSError as error:
    print(type(error).__name__, __import__("os").path.getsize(sys.argv[1]) == size)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
file.append(receipt(2))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of that kind")
def test_a_full_disk_leaves_no_piece_of_a_line(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)],
        env={**os.environ, "PYTHONPATH": f"{PACKAGE}:{PACKAGE / 'tests'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["OSError", "True"]
    assert [r["receipt_id"] for r in records_of(path)[1:]] == ["r-0", "r-2"]
    report = verify(path)
    assert (report.ok, report.mended) == (True, 0)


# Keys -----------------------------------------------------------------------------


def test_the_public_key_travels_in_the_header(path: Path, key: Path) -> None:
    filled(path, 1, key)
    assert records_of(path)[0]["public_key"] == load_signer(key).public_key


def test_a_signed_file_is_continued_with_its_key_only(
    path: Path, key: Path, tmp_path: Path
) -> None:
    before = filled(path, 1, key)
    make_key(tmp_path / "other")
    for wrong in (None, tmp_path / "other"):
        with pytest.raises(ReceiptError, match="LLMRING_RECEIPTS_KEY"):
            new_file(path, wrong).append(receipt())
    assert lines_of(path) == before
    filled(path, 1, key)
    assert verify(path).receipts == 2


def test_an_unsigned_file_stays_unsigned_and_says_so_once(
    path: Path, key: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(path, 1)
    file = new_file(path, key)
    file.append(receipt())
    filled(path, 1)
    file.append(receipt())
    assert caplog.text.count("stays unsigned") == 1
    assert verify(path).receipts == 4


def test_a_key_that_is_missing_fails_the_receipt(path: Path) -> None:
    with pytest.raises(ReceiptError, match="keygen"):
        new_file(path, path.with_suffix(".key")).append(receipt())
    assert not path.exists() or path.read_bytes() == b""


# Threads, forks, destructors ------------------------------------------------------


def test_threads_lose_nothing(path: Path) -> None:
    file = new_file(path)

    def work(worker: int) -> None:
        for number in range(100):
            file.append(receipt(receipt_id=f"{worker}-{number}"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    ids = [record["receipt_id"] for record in records_of(path)[1:]]
    assert len(ids) == len(set(ids)) == 800
    for worker in range(8):
        mine = [name for name in ids if name.startswith(f"{worker}-")]
        assert mine == [f"{worker}-{number}" for number in range(100)]
    assert verify(path).ok


def test_a_destructor_in_the_middle_of_an_append_waits_for_its_turn(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = new_file(path)

    class Forgotten:
        def __del__(self) -> None:
            file.append(receipt(receipt_id="forgotten"))

    holder: list[Any] = [Forgotten()]
    fstat = os.fstat

    def collect(handle: int) -> os.stat_result:
        holder.clear()
        gc.collect()
        return fstat(handle)

    monkeypatch.setattr(os, "fstat", collect)
    file.append(receipt(receipt_id="first"))
    ids = [record["receipt_id"] for record in records_of(path)[1:]]
    assert ids == ["first", "forgotten"]
    assert verify(path).ok


def test_it_pickles(path: Path, key: Path) -> None:
    file = ReceiptFile(path, str(key))
    file.append(receipt())
    pickle.loads(pickle.dumps(file)).append(receipt())
    file.append(receipt())
    assert verify(path).receipts == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_while_another_thread_appends_does_not_hang(path: Path) -> None:
    file = new_file(path)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            file.append(receipt())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        context = multiprocessing.get_context("fork")
        children = [
            context.Process(target=file.append, args=(receipt(receipt_id="child"),))
            for _ in range(10)
        ]
        for child in children:
            child.start()
        for child in children:
            child.join(20)
        assert [child.exitcode for child in children] == [0] * 10
    finally:
        stop.set()
        thread.join()
    ids = [record["receipt_id"] for record in records_of(path)[1:]]
    assert ids.count("child") == 10
    assert verify(path).ok


WRITER = """
import os, sys
from llmring_lite.receipts import ReceiptFile
from receipt_files import receipt
path, name, begin, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
file = ReceiptFile(path, sys.argv[5] or None)
for number in range(begin, begin + count):
    file.append(receipt(receipt_id=f"{name}/{number}"))
    # One call of the system: whole, or not at all.
    os.write(1, b"%d\\n" % number)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize(
    ("signed", "count"), [(False, 500), (True, 150)], ids=["plain", "signed"]
)
def test_processes_that_are_killed_lose_at_most_the_line_they_were_writing(
    path: Path, key: Path, signed: bool, count: int
) -> None:
    """8 processes with `count` receipts each; killed ones are followed by others."""
    environ = {**os.environ, "PYTHONPATH": f"{PACKAGE}:{PACKAGE / 'tests'}"}
    confirmed: set[str] = set()
    unsure: set[str] = set()

    def write(number: int) -> None:
        name, rng = f"w{number}", random.Random(number)
        begin = 0
        deaths = 0
        while begin < count:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-c", WRITER, str(path)),
                    *(name, str(begin), str(count - begin), str(key) if signed else ""),
                ],
                env=environ,
                stdout=subprocess.PIPE,
            )
            assert process.stdout is not None
            with process.stdout:
                if deaths < 4:
                    early = range(rng.randint(0, count // 5))
                    lines = [process.stdout.readline() for _ in early]
                    time.sleep(rng.random() * 0.001)
                    process.kill()
                    deaths += 1
                else:
                    lines = []
                lines += process.stdout.readlines()
            assert process.wait(60) in (0, -signal.SIGKILL)
            confirmed.update(f"{name}/{int(line)}" for line in lines if line)
            begin += sum(map(bool, lines))
            if begin < count:
                # Written or not, nobody was told: its successor leaves it out.
                unsure.add(f"{name}/{begin}")
                begin += 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    report = verify(path)
    assert report.problem is None
    ids = [r["receipt_id"] for r in records_of(path) if r["kind"] == "receipt"]
    assert len(ids) == len(set(ids))
    assert confirmed <= set(ids) <= confirmed | unsure
    assert len(confirmed) == 8 * count - len(unsure)
    assert 8 <= len(unsure) <= 8 * 4


def test_the_lock_of_a_stopped_program_is_not_waited_for_endlessly(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmring_lite import receipts
    from llmring_lite.lockfile_write import locked_folder

    monkeypatch.setattr(receipts, "_PATIENCE_S", 0.05)
    with (
        locked_folder(str(path), str(path)),
        pytest.raises(LLMRingError, match="locked"),
    ):
        new_file(path).append(receipt())


def test_a_signer_shows_no_secret(key: Path) -> None:
    signer = load_signer(key)
    assert isinstance(signer, Signer)
    secret = key.read_text().split("\n")[1]
    assert secret not in repr(signer)


def test_the_log_is_quiet_where_nothing_happens(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        filled(path, 3)
    assert caplog.text == ""
