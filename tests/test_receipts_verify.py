"""Whatever is done to a file of receipts is found, named, and in the right line."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from receipt_files import START, filled, new_file, receipt

from llmring_lite.exceptions import ReceiptError
from llmring_lite.receipts_certify import certify
from llmring_lite.receipts_line import Sealed, parse_line, seal, unseal
from llmring_lite.receipts_sign import load_signer, make_key
from llmring_lite.receipts_verify import Report, load_certificate, verify

Lines = list[bytes]
Data = st.DataObject


@cache
def folder() -> Path:
    """Where this module's keys and good files are."""
    name = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, name)
    return Path(name)


@cache
def key(name: str = "key") -> Path:
    make_key(folder() / name)
    return folder() / name


def good_lines(count: int, signed: bool = False, name: str = "a") -> Lines:
    """The lines of a file with `count` receipts; those of another `name` differ."""
    path = folder() / f"{name}-{count}-{signed}.jsonl"
    if path.exists():
        return path.read_bytes().splitlines(keepends=True)
    return filled(path, count, key() if signed else None, prefix=name)


def is_signed(lines: Lines) -> bool:
    return b'"public_key":null' not in lines[0]


def verified(lines: Lines | bytes, **options: Any) -> Report:
    with stored(lines) as path:
        return verify(path, **options)


@contextmanager
def stored(lines: Lines | bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "receipts.jsonl"
        path.write_bytes(lines if isinstance(lines, bytes) else b"".join(lines))
        yield path


def found(report: Report) -> tuple[int, str] | None:
    return report.problem and (report.problem.line, report.problem.reason)


def checkpoint(lines: Lines) -> Sealed:
    with stored(lines) as path:
        record = certify(path, str(key()), START)
        (path.parent / "checkpoint").write_text(json.dumps(record, indent=4))
        return load_certificate(path.parent / "checkpoint")


def forged(line: bytes, key: Path | None = None, **changes: Any) -> bytes:
    """The line with other contents, and everything that seals it made anew."""
    record = json.loads(line)
    for name in ("hash", "signature"):
        record.pop(name, None)
    record.update(changes)
    return seal(record, None if key is None else load_signer(key))[0] + b"\n"


def canonical(record: dict[str, Any]) -> bytes:
    return rfc8785.dumps(record) + b"\n"


COUNTS = st.integers(1, 9)
FILES = st.builds(good_lines, COUNTS, st.booleans())
LONG_FILES = st.builds(good_lines, st.integers(2, 9), st.booleans())
PLAIN_FILES = st.builds(good_lines, COUNTS)
LONG_PLAIN_FILES = st.builds(good_lines, st.integers(2, 9))
SIGNED_FILES = st.builds(good_lines, COUNTS, st.just(True))


@given(FILES)
def test_a_file_as_it_was_written_is_good(lines: Lines) -> None:
    report = verified(lines)
    assert report.ok
    count = len(lines) - 1
    assert (report.lines, report.receipts, report.mended) == (count + 1, count, 0)
    assert report.seq == count
    assert report.hash == json.loads(lines[-1])["hash"]
    assert (report.public_key is not None) == is_signed(lines)
    assert verified(lines, checkpoint=checkpoint(lines)).ok


# Edited ---------------------------------------------------------------------------


@settings(max_examples=300)
@given(FILES, st.data())
def test_any_other_byte_is_found_in_its_line(lines: Lines, data: Data) -> None:
    at = data.draw(st.integers(0, len(lines) - 1))
    place = data.draw(st.integers(0, len(lines[at]) - 2))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != ord("\n")))
    assume(byte != lines[at][place])
    reasons = ("edited", "wrong_key") if is_signed(lines) else ("edited",)
    line = bytearray(lines[at])
    line[place] = byte
    lines[at] = bytes(line)
    # Of a signed line the signature itself is no part of what was hashed.
    assert found(verified(lines)) in [(at + 1, reason) for reason in reasons]


@given(FILES, st.data())
def test_another_value_is_found_in_its_line(lines: Lines, data: Data) -> None:
    at = data.draw(st.integers(0, len(lines) - 1))
    record = json.loads(lines[at])
    name = data.draw(st.sampled_from(sorted(set(record) - {"signature"})))
    value = data.draw(st.none() | st.integers(0, 9) | st.text("ab", max_size=3))
    assume(record[name] != value)
    record[name] = value
    lines[at] = (
        json.dumps(record, separators=(",", ":"), sort_keys=True).encode() + b"\n"
    )
    assert found(verified(lines)) == (at + 1, "edited")


@pytest.mark.parametrize(
    "spell",
    [
        lambda line: line.replace(b'"seq":', b'"seq": '),
        lambda line: line.replace(b'"streaming":false', b'"streaming":0'),
        lambda line: line.replace(b'"seq":1', b'"seq":1.0'),
        lambda line: line.replace(b'"seq":1', b'"seq":1,"seq":1'),
        lambda line: line.replace(b'"kind"', b'"k\\u0069nd"'),
        lambda line: b"\xef\xbb\xbf" + line,
        lambda line: line[:-1] + b"\r\n",
        lambda line: b" " + line,
        lambda line: line.replace(b'"seq":1', b'"seq":NaN'),
        lambda line: line.replace(b'"seq":1', b'"seq":' + b"1" * 5000),
        lambda line: line.replace(b'"seq":1', b'"seq":1e999'),
        lambda line: line.replace(b'"seq":1', b'"seq":"\\ud800"'),
        lambda line: b"[" * 100_000 + b"\n",
    ],
)
def test_another_spelling_of_the_same_is_found(spell: Any) -> None:
    lines = good_lines(3)
    assert spell(lines[1]) != lines[1]
    lines[1] = spell(lines[1])
    assert found(verified(lines)) == (2, "edited")


@given(PLAIN_FILES, st.data())
def test_a_line_edited_and_hashed_anew_is_found_by_the_next(
    lines: Lines, data: Data
) -> None:
    at = data.draw(st.integers(0, len(lines) - 2))
    lines[at] = forged(lines[at], added="x")
    assert found(verified(lines)) == (at + 1, "edited")


@given(SIGNED_FILES, st.data())
def test_a_line_edited_and_hashed_anew_is_found_by_its_signature(
    lines: Lines, data: Data
) -> None:
    at = data.draw(st.integers(0, len(lines) - 1))
    signature = json.loads(lines[at])["signature"]
    texts = json.loads(forged(lines[at], added="x"))
    texts["signature"] = signature
    lines[at] = (
        json.dumps(texts, separators=(",", ":"), sort_keys=True).encode() + b"\n"
    )
    assert found(verified(lines)) == (at + 1, "wrong_key")


def test_a_whole_chain_made_anew_is_found_by_a_checkpoint() -> None:
    lines = good_lines(5)
    kept = checkpoint(lines[:4])
    header = json.loads(lines[0])
    anew = [lines[0]]
    for number, line in enumerate(lines[1:], 1):
        prev = json.loads(anew[-1])["hash"] if number > 1 else header["hash"]
        anew.append(forged(line, prev=prev, total_cost="0"))
    assert verified(anew).ok
    assert found(verified(anew, checkpoint=kept)) == (4, "edited")


# Removed, truncated ---------------------------------------------------------------


@given(LONG_FILES, st.data())
def test_lines_removed_from_beginning_or_middle_are_missed(
    lines: Lines, data: Data
) -> None:
    first = data.draw(st.integers(0, len(lines) - 2))
    last = data.draw(st.integers(first, len(lines) - 2))
    del lines[first : last + 1]
    report = verified(lines)
    assert found(report) == (first + 1, "removed")
    assert report.problem is not None
    assert f"{last - first + 1} line" in report.problem.message


@given(FILES, st.data())
def test_a_cut_inside_a_line_is_found(lines: Lines, data: Data) -> None:
    at = data.draw(st.integers(0, len(lines) - 1))
    size = data.draw(st.integers(1, len(lines[at]) - 1))
    cut = b"".join(lines[:at]) + lines[at][:size]
    assert found(verified(cut)) == (at + 1, "truncated")


@given(FILES, st.data())
def test_lines_removed_at_the_end_are_missed_by_a_checkpoint(
    lines: Lines, data: Data
) -> None:
    covered = data.draw(st.integers(1, len(lines) - 1))
    kept = checkpoint(lines[: covered + 1])
    left = data.draw(st.integers(1, len(lines)))
    report = verified(lines[:left], checkpoint=kept)
    assert verified(lines[:left]).ok
    assert found(report) == (None if left > covered else (left + 1, "truncated"))


def test_an_empty_file_is_truncated() -> None:
    assert found(verified(b"")) == (1, "truncated")


# Reordered, inserted --------------------------------------------------------------


@given(LONG_FILES, st.data())
def test_exchanged_lines_are_found(lines: Lines, data: Data) -> None:
    one = data.draw(st.integers(0, len(lines) - 2))
    two = data.draw(st.integers(one + 1, len(lines) - 1))
    lines[one], lines[two] = lines[two], lines[one]
    assert found(verified(lines)) == (one + 1, "reordered")


@given(LONG_FILES, st.data())
def test_a_line_moved_is_found(lines: Lines, data: Data) -> None:
    origin = data.draw(st.integers(0, len(lines) - 1))
    target = data.draw(st.integers(0, len(lines) - 1).filter(lambda n: n != origin))
    lines.insert(target, lines.pop(origin))
    assert found(verified(lines)) == (min(origin, target) + 1, "reordered")


@given(FILES, st.data())
def test_a_line_that_comes_twice_is_found(lines: Lines, data: Data) -> None:
    origin = data.draw(st.integers(0, len(lines) - 1))
    target = data.draw(st.integers(0, len(lines)))
    lines.insert(target, lines[origin])
    # Beside itself, either of the two is the one too many.
    expected = target + 1 if target != origin else target + 2
    assert found(verified(lines)) == (expected, "inserted")


@given(FILES, st.data())
def test_a_line_of_another_file_is_found(lines: Lines, data: Data) -> None:
    stranger = data.draw(st.sampled_from(good_lines(12, is_signed(lines), "b")))
    target = data.draw(st.integers(0, len(lines) - 1))
    lines.insert(target, stranger)
    assert found(verified(lines)) == (target + 1, "inserted")


@given(LONG_PLAIN_FILES, st.data())
def test_a_forged_line_in_the_middle_is_found(lines: Lines, data: Data) -> None:
    target = data.draw(st.integers(1, len(lines) - 1))
    before = json.loads(lines[target - 1])
    stranger = forged(lines[1], seq=target, prev=before["hash"], receipt_id="forged")
    lines.insert(target, stranger)
    assert found(verified(lines)) == (target + 1, "inserted")


@given(SIGNED_FILES, st.data())
def test_a_forged_line_in_a_signed_file_is_found(lines: Lines, data: Data) -> None:
    target = data.draw(st.integers(1, len(lines)))
    author = data.draw(st.sampled_from([None, key("other")]))
    before = json.loads(lines[target - 1])
    stranger = forged(
        lines[1], author, seq=target, prev=before["hash"], receipt_id="forged"
    )
    lines.insert(target, stranger)
    assert found(verified(lines)) == (target + 1, "wrong_key")


@pytest.mark.parametrize("place", [{"seq": None}, {"seq": -4}, {"seq": "7"}])
def test_a_line_without_a_place_is_found(place: dict[str, Any]) -> None:
    lines = good_lines(3)
    lines.insert(2, forged(lines[2], **place))
    assert found(verified(lines)) == (3, "inserted")


@given(st.binary(max_size=300), st.booleans(), st.data())
def test_noise_is_found(noise: bytes, signed: bool, data: Data) -> None:
    lines = good_lines(4, signed)
    target = data.draw(st.integers(0, 5))
    noise = noise.replace(b"\n", b"") + b"\n"
    report = verified([*lines[:target], noise, *lines[target:]])
    assert found(report) == (target + 1, "edited")


# Keys -----------------------------------------------------------------------------


@given(SIGNED_FILES, st.data())
def test_a_line_signed_by_another_key_is_found(lines: Lines, data: Data) -> None:
    at = data.draw(st.integers(0, len(lines) - 1))
    lines[at] = forged(lines[at], key("other"))
    assert found(verified(lines)) == (at + 1, "wrong_key")


@given(SIGNED_FILES, st.data())
def test_a_missing_signature_is_found(lines: Lines, data: Data) -> None:
    at = data.draw(st.integers(0, len(lines) - 1))
    lines[at] = forged(lines[at])
    assert found(verified(lines)) == (at + 1, "wrong_key")


def test_a_file_signed_by_someone_else_is_found_if_the_key_is_named(
    tmp_path: Path,
) -> None:
    lines = filled(tmp_path / "r.jsonl", 3, key("other"))
    mine = load_signer(key()).public_key
    theirs = load_signer(key("other")).public_key
    assert verified(lines).ok
    assert verified(lines, public_key=theirs).ok
    assert found(verified(lines, public_key=mine)) == (1, "wrong_key")


def test_an_unsigned_file_is_not_signed_by_anyone() -> None:
    lines = good_lines(3)
    mine = load_signer(key()).public_key
    assert found(verified(lines, public_key=mine)) == (1, "wrong_key")


def test_signatures_taken_out_of_a_whole_file_are_found_if_the_key_is_named() -> None:
    lines = good_lines(3, True)
    mine = load_signer(key()).public_key
    anew: list[bytes] = []
    for line in lines:
        prev = json.loads(anew[-1])["hash"] if anew else "0" * 64
        changes = {"public_key": None} if not anew else {}
        anew.append(forged(line, prev=prev, **changes))
    assert verified(anew).ok
    assert found(verified(anew, public_key=mine)) == (1, "wrong_key")


# Checkpoints ----------------------------------------------------------------------


def test_a_checkpoint_of_another_file_does_not_fit() -> None:
    kept = checkpoint(good_lines(3, False, "b"))
    report = verified(good_lines(3), checkpoint=kept)
    assert found(report) == (1, "edited")


def test_a_checkpoint_must_be_signed_by_the_key_of_the_file() -> None:
    lines = good_lines(3, True)
    kept = checkpoint(lines)
    record = json.loads(forged(json.dumps(kept.record).encode(), key("other")))
    with pytest.raises(ReceiptError, match="not signed by the key"):
        verified(lines, checkpoint=sealed(record))


def sealed(record: dict[str, Any]) -> Sealed:
    found_line = unseal(rfc8785.dumps(record))
    assert found_line is not None
    return found_line


def test_an_edited_checkpoint_is_refused(tmp_path: Path) -> None:
    kept = checkpoint(good_lines(3))
    for content in (
        json.dumps({**kept.record, "seq": 1}),
        "{}",
        "nonsense",
        '{"seq": NaN}',
    ):
        (tmp_path / "checkpoint").write_text(content)
        with pytest.raises(ReceiptError, match="edited"):
            load_certificate(tmp_path / "checkpoint")
    with pytest.raises(ReceiptError, match="can't read"):
        load_certificate(tmp_path / "none")


def test_a_receipt_is_no_checkpoint() -> None:
    lines = good_lines(3)
    receipt_line = unseal(lines[1][:-1])
    assert receipt_line is not None
    with pytest.raises(ReceiptError, match="checkpoint"):
        verified(lines, checkpoint=receipt_line)


# Reading --------------------------------------------------------------------------


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ReceiptError, match="can't read"):
        verify(tmp_path / "none")


def test_a_version_of_the_future_is_an_error() -> None:
    lines = good_lines(1)
    with pytest.raises(ReceiptError, match="version 2"):
        verified([forged(lines[0], version=2)])


def test_another_header_is_none() -> None:
    lines = good_lines(1)
    assert found(verified([forged(lines[0], format="other")])) == (1, "edited")


def test_a_line_without_end_is_not_read_into_memory() -> None:
    import tracemalloc

    lines = good_lines(3)
    endless = b"".join(lines) + b"x" * (8 << 20)
    with stored(endless) as path:
        del endless
        tracemalloc.start()
        report = verify(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert found(report) == (5, "edited")
    assert peak < 4 << 20


def test_memory_does_not_grow_with_the_file() -> None:
    import tracemalloc

    peaks = []
    for count in (50, 2000):
        lines = [good_lines(1)[0]]
        for number in range(count):
            prev = parse_line(lines[-1])["hash"]
            place = {"kind": "receipt", "seq": number + 1, "prev": prev}
            lines.append(seal({**receipt(number), **place}, None)[0] + b"\n")
        with stored(lines) as path:
            verify(path)
            tracemalloc.start()
            assert verify(path).receipts == count
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < peaks[0] + 20_000


def test_a_file_can_be_verified_while_it_is_written(tmp_path: Path) -> None:
    import threading

    path = tmp_path / "r.jsonl"
    file = new_file(path)
    file.append(receipt())
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.001):
            file.append(receipt())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        reports = [verify(path)]
        while reports[-1].lines < 100:
            reports.append(verify(path))
    finally:
        stop.set()
        thread.join()
    assert all(report.ok for report in reports)
