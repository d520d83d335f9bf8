"""`stats`, `export`, `receipts ...` from the command line."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from commands import Run
from receipt_files import filled, lines_of, new_file, receipt

from llmring_lite import LLMRing
from llmring_lite.receipts_line import stamp


@pytest.fixture
def path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where receipts are, by the environment."""
    name = folder / "r.jsonl"
    monkeypatch.setenv("LLMRING_RECEIPTS", str(name))
    return name


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return tmp_path / "home" / "state" / "llmring_lite" / "receipts.key"


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


# Where ----------------------------------------------------------------------------


def test_receipts_are_found_where_a_program_would_write_them(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "home" / "state" / "llmring_lite" / "receipts.jsonl"
    filled(state, 2)
    assert run("stats --json").json["receipts"] == str(state)
    monkeypatch.setenv("LLMRING_RECEIPTS", "1")
    assert run("stats --json").json["receipts"] == str(state)
    filled(tmp_path / "named.jsonl", 1)
    monkeypatch.setenv("LLMRING_RECEIPTS", str(tmp_path / "named.jsonl"))
    assert run("stats --json").json["total"]["calls"] == 1
    assert run("stats --json --receipts", state).json["total"]["calls"] == 2


@pytest.mark.parametrize(
    "command",
    ["stats", "export", "receipts list", "receipts verify", "receipts bundle"],
)
def test_a_missing_file_is_an_error(run: Run, path: Path, command: str) -> None:
    done = run(command, code=1)
    assert done.out == ""
    assert str(path) in done.err


# stats ----------------------------------------------------------------------------


def test_stats_has_a_row_for_each_model_and_a_total(run: Run, path: Path) -> None:
    file = new_file(path)
    for number in range(20):
        file.append(receipt(number, duration_ms=100 * (number + 1)))
    file.append(receipt(0, model="google:m", error_class="ProviderError"))
    done = run("stats")
    assert done.err == ""
    heading, google, openai, total = words(done.out)
    assert heading == [
        *("model", "calls", "errors", "input", "output", "cost"),
        *("USD", "p50", "ms", "p95", "ms"),
    ]
    assert google == ["google:m", "1", "1", "10", "5", "0.000015", "-", "-"]
    assert openai == [
        *("openai:gpt-5-mini", "20", "0", "390", "100"),
        *("0.0003", "1,000", "1,900"),
    ]
    assert total == ["total", "21", "1", "400", "105", "0.000315", "1,000", "1,900"]


def test_stats_by_several_things(run: Run, path: Path) -> None:
    file = new_file(path)
    file.append(receipt(alias="b"))
    file.append(receipt(alias="a", timestamp="2026-11-02T00:00:00.000000Z"))
    file.append(receipt(alias=None))
    rows = words(run("stats --by", "alias, day").out)
    assert [row[:3] for row in rows] == [
        ["alias", "day", "calls"],
        ["a", "2026-11-02", "1"],
        ["b", "2026-11-01", "1"],
        ["-", "2026-11-01", "1"],
        ["total", "3", "0"],
    ]
    groups = run("stats --by alias,day --json").json["groups"]
    assert [(g["alias"], g["day"]) for g in groups] == [
        ("a", "2026-11-02"),
        ("b", "2026-11-01"),
        (None, "2026-11-01"),
    ]
    assert len(words(run("stats --by", "").out)) == 2


def test_stats_of_a_period(run: Run, path: Path) -> None:
    file = new_file(path)
    now = datetime.now(UTC)
    for hours in (1, 5, 100):
        file.append(receipt(timestamp=stamp(now - timedelta(hours=hours))))

    def calls(*options: str) -> int:
        found: int = run("stats --json", *options).json["total"]["calls"]
        return found

    assert calls("--since", "6h") == 2
    assert calls("--until", "6h") == 1
    assert calls("--since", "1w", "--until", "2h") == 2
    assert calls("--since", f"{now + timedelta(days=2):%Y-%m-%d}") == 0


def test_stats_says_what_is_not_in_the_cost(run: Run, path: Path) -> None:
    file = new_file(path)
    unused = [{"model": "a:m", "error_class": "E", "total_cost": "0.5"}]
    file.append(receipt(total_cost=None, attempts=unused))
    done = run("stats")
    assert "The cost of 1 call is not known." in done.err
    assert "another 0.5" in done.err
    total = run("stats --json").json["total"]
    assert (total["unpriced"], total["unused_cost"]) == (1, "0.5")


def test_stats_counts_lines_that_it_cannot_read(run: Run, path: Path) -> None:
    lines = filled(path, 2)
    path.write_bytes(b"".join([*lines, b"scribble\n", b"scribble\n"]))
    done = run("stats --json")
    assert done.json["total"]["calls"] == 2
    assert "2 lines" in done.err
    assert "line 4" in done.err


@pytest.mark.parametrize(
    "options", [("--by", "colour"), ("--since", "soon"), ("--until", "never")]
)
def test_what_makes_no_sense_is_wrong_usage(
    run: Run, path: Path, options: tuple[str, str]
) -> None:
    filled(path, 1)
    done = run("stats", *options, code=2)
    assert done.out == ""
    assert options[1] in done.err


# export, list ---------------------------------------------------------------------


def test_export_to_stdout_and_to_a_file(run: Run, path: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in filled(path, 3)[1:]]
    assert run("export").json["receipts"] == lines
    out = run("export --format jsonl --since 2026-11-01T12:00:01Z").out
    assert [json.loads(line) for line in out.splitlines()] == lines[1:]
    done = run("export --format csv --output", tmp_path / "out.csv")
    assert done.out == ""
    text = (tmp_path / "out.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["receipt_id"] for row in rows] == ["r-0", "r-1", "r-2"]


def test_export_to_where_nothing_can_be_written(run: Run, path: Path) -> None:
    filled(path, 1)
    done = run("export --output /none/out.json", code=1)
    assert done.out == ""
    assert "/none/out.json" in done.err


def test_export_into_a_closed_pipe_is_silent(path: Path) -> None:
    filled(path, 200)
    process = subprocess.Popen(
        [sys.executable, "-m", "llmring_lite", "export", "--format", "jsonl"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.wait(30) == 141


def test_list_shows_the_last_receipts(run: Run, path: Path) -> None:
    filled(path, 30)
    file = new_file(path)
    file.append(receipt(30, error_class="ProviderTimeoutError", alias=None))
    file.append(receipt(31, finish_reason=None, total_tokens=None, total_cost=None))
    heading, *rows = words(run("receipts list").out)
    assert heading[:3] == ["line", "time", "alias"]
    assert len(rows) == 20
    assert [row[0] for row in rows] == [str(number) for number in range(14, 34)]
    assert rows[-2][3] == "-"
    assert rows[-2][-1] == "ProviderTimeoutError"
    assert rows[-1][-2:] == ["left", "early"]
    assert len(words(run("receipts list --limit 0").out)) == 33
    assert len(run("receipts list --limit 3 --json").json) == 3
    run("receipts list --limit -1", code=2)
    assert run("receipts list --since 2999-01-01").out == ""


# keygen, verify -------------------------------------------------------------------


def test_a_key_is_made_and_used(run: Run, path: Path, key: Path) -> None:
    done = run("receipts keygen")
    public = done.out.strip()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert str(key) in done.err
    with LLMRing() as ring:
        ring.chat("mock:echo", "hi")
    run("receipts verify --public-key", public)
    assert run("receipts verify --json").json["public_key"] == public
    again = run("receipts keygen", code=1)
    assert again.out == ""
    assert "never overwritten" in again.err


def test_a_key_in_another_place(
    run: Run, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run("receipts keygen --key", tmp_path / "mine")
    assert "LLMRING_RECEIPTS_KEY" in done.err
    monkeypatch.setenv("LLMRING_RECEIPTS_KEY", str(tmp_path / "other"))
    other = run("receipts keygen")
    assert (tmp_path / "other").exists()
    assert "LLMRING_RECEIPTS_KEY" not in other.err


def test_verify_of_a_good_file(run: Run, path: Path) -> None:
    filled(path, 3)
    done = run("receipts verify")
    assert done.out == f"{path}: 4 lines in order, 3 receipts\n"
    assert "Not signed" in done.err
    assert "--checkpoint" in done.err
    found = run("receipts verify --json").json
    assert (found["ok"], found["problem"], found["receipts"]) == (True, None, 3)


def test_verify_names_the_first_bad_line_and_why(run: Run, path: Path) -> None:
    lines = filled(path, 5)
    lines[2] = lines[2].replace(b'"0.000015"', b'"0.000001"')
    del lines[4]
    path.write_bytes(b"".join(lines))
    done = run("receipts verify", code=1)
    assert done.err == ""
    assert done.out.startswith(f"{path}: line 3: edited: ")
    found = run("receipts verify --json", code=1).json
    assert (found["ok"], found["lines"]) == (False, 2)
    assert (found["problem"]["line"], found["problem"]["reason"]) == (3, "edited")


def test_verify_tells_of_lines_that_were_lost(run: Run, path: Path) -> None:
    filled(path, 2)
    with path.open("ab") as file:
        file.write(b'{"alias":')
    assert "truncated" in run("receipts verify", code=1).out
    filled(path, 1)
    done = run("receipts verify")
    assert "1 line lost" in done.out


def test_verify_with_the_wrong_key(run: Run, path: Path, tmp_path: Path) -> None:
    run("receipts keygen")
    other = run("receipts keygen --key", tmp_path / "other").out.strip()
    with LLMRing() as ring:
        ring.chat("mock:echo", "hi")
    (tmp_path / "other.pub").write_text(other)
    for given in (other, tmp_path / "other.pub"):
        done = run("receipts verify --public-key", given, code=1)
        assert "line 1: wrong key: " in done.out
    assert run("receipts verify --public-key nonsense", code=1).out == ""


# checkpoint, bundle ---------------------------------------------------------------


@pytest.mark.parametrize("signed", [False, True])
def test_a_checkpoint_finds_what_was_removed_at_the_end(
    run: Run, path: Path, key: Path, tmp_path: Path, signed: bool
) -> None:
    if signed:
        run("receipts keygen")
    filled(path, 5, key if signed else None)
    done = run("receipts checkpoint")
    assert ("not signed" in done.err) == (not signed)
    assert ("signature" in done.json) == signed
    kept = tmp_path / "kept.json"
    assert run("receipts checkpoint --output", kept).out == ""
    run("receipts verify --checkpoint", kept)
    path.write_bytes(b"".join(lines_of(path)[:-2]))
    run("receipts verify")
    late = run("receipts verify --checkpoint", kept, code=1)
    assert "line 5: truncated" in late.out
    assert "6 lines" in late.out


def test_a_bundle_certifies_a_period(run: Run, path: Path, tmp_path: Path) -> None:
    filled(path, 10)
    kept = tmp_path / "bundle.json"
    span = ("--since", "2026-11-01T12:00:02", "--until", "2026-11-01T12:00:05")
    run("receipts bundle", *span, "--output", kept)
    bundle = json.loads(kept.read_text())
    assert bundle["totals"]["calls"] == 3
    assert (bundle["first_seq"], bundle["last_seq"]) == (3, 5)
    run("receipts verify --checkpoint", kept)
    kept.write_text(kept.read_text().replace('"calls": 3', '"calls": 2'))
    assert "edited" in run("receipts verify --checkpoint", kept, code=1).err


def test_a_bundle_that_lies_about_its_file_is_found(
    run: Run, path: Path, tmp_path: Path
) -> None:
    from llmring_lite.receipts_line import seal

    filled(path, 4)
    bundle = run("receipts bundle").json
    del bundle["hash"]
    bundle["totals"]["total_cost"] = "100"
    (tmp_path / "false.json").write_bytes(seal(bundle, None)[0])
    done = run("receipts verify --checkpoint", tmp_path / "false.json", code=1)
    assert "otherwise than the file: totals" in done.out
    false = tmp_path / "false.json"
    found = run("receipts verify --json --checkpoint", false, code=1).json
    assert (found["ok"], found["bundle_differs_in"]) == (False, ["totals"])


def test_nothing_is_certified_where_something_is_wrong(run: Run, path: Path) -> None:
    lines = filled(path, 3)
    path.write_bytes(b"".join(lines[1:]))
    for command in ("checkpoint", "bundle"):
        done = run("receipts", command, code=1)
        assert done.out == ""
        assert "line 1 removed" in done.err


def test_a_certificate_that_cannot_be_written(run: Run, path: Path) -> None:
    filled(path, 1)
    done = run("receipts checkpoint --output /none/cp.json", code=1)
    assert "/none/cp.json" in done.err
