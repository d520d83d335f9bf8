"""Receipts: what one adds to a chat, plain and signed, and how fast they are verified.

The signed rows need the package `cryptography`.

Run: python tests/benchmarks/bench_receipts.py [--runs N] [--lines N]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench_call import repeated
from bench_server import serving
from bench_tools import (
    Row,
    absolute,
    binding,
    compared,
    folder_with_lockfile,
    in_turn,
    lockfile_text,
    print_table,
    run_python,
)

from llmring_lite import LLMRing
from llmring_lite.receipts import ReceiptFile
from llmring_lite.receipts_line import FIELDS, Lines
from llmring_lite.receipts_sign import load_signer, make_key
from llmring_lite.receipts_verify import verify

CALLS = 100
LINES = 20_000

VERIFY = """
import resource, sys
from llmring_lite.receipts_verify import verify
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert verify(sys.argv[1]).ok
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def measure(runs: int, lines: int = LINES) -> list[Row]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        make_key(folder / "key")
        return [
            *_calls(runs, folder),
            *_appends(runs, folder),
            *_verification(folder, lines),
        ]


def _calls(runs: int, scratch: Path) -> list[Row]:
    """A small chat over keep-alive, without receipts, with plain, with signed ones."""
    with serving() as server:
        text = lockfile_text(
            {"bench": server.base_url("small")}, binding("a", "bench:m")
        )
        with folder_with_lockfile(text) as folder:
            lockfile = folder / "llmring.lock"
            rings = {
                "off": LLMRing(lockfile_path=lockfile, receipts=False),
                "plain": LLMRing(lockfile_path=lockfile, receipts=scratch / "p.jsonl"),
                "signed": LLMRing(lockfile_path=lockfile, receipts=scratch / "s.jsonl"),
            }
            assert rings["plain"].recorder is not None
            assert rings["signed"].recorder is not None
            rings["plain"].recorder.file = ReceiptFile(scratch / "p.jsonl")
            rings["signed"].recorder.file = ReceiptFile(
                scratch / "s.jsonl", str(scratch / "key")
            )
            for ring in rings.values():
                ring.chat("a", "What is the capital of France?")
            taken = in_turn(
                {
                    name: repeated(
                        CALLS,
                        lambda ring=ring: ring.chat(  # type: ignore[misc]
                            "a", "What is the capital of France?"
                        ),
                    )
                    for name, ring in rings.items()
                },
                runs,
            )
            for name, ring in rings.items():
                assert name == "off" or ring.recorder.failed == 0  # type: ignore[union-attr]
                ring.close()
    return [
        compared(
            f"chat, {name} receipt / none, {unit}",
            taken[name][which],
            taken["off"][which],
            aim,
            scale=1e6 / CALLS,
            unit="us",
        )
        for name, aim in (("plain", 1.35), ("signed", 1.5))
        for unit, which in (("wall", 0), ("CPU", 1))
    ]


def _appends(runs: int, scratch: Path) -> list[Row]:
    """The file alone: the lock, the line before, sealing, writing."""
    files = {
        "plain": ReceiptFile(scratch / "pa.jsonl"),
        "signed": ReceiptFile(scratch / "sa.jsonl", str(scratch / "key")),
    }
    taken = in_turn(
        {
            name: repeated(CALLS, lambda file=file: file.append(_receipt(0)))  # type: ignore[misc]
            for name, file in files.items()
        },
        runs,
    )
    return [
        absolute(
            f"append a {name} receipt",
            statistics.median(taken[name].wall) / CALLS * 1e6,
            "us",
        )
        for name in files
    ]


def _verification(scratch: Path, lines: int) -> list[Row]:
    rows = []
    for name, count in (("plain", lines), ("signed", lines // 10)):
        path = scratch / f"{name}.jsonl"
        _fill(path, count, scratch / "key" if name == "signed" else None)
        began = time.perf_counter()
        report = verify(path)
        seconds = time.perf_counter() - began
        assert report.ok
        assert report.receipts == count
        rows.append(absolute(f"verify {name} lines", count / seconds, "lines/s"))
    _fill(scratch / "few.jsonl", 100, None)
    few, many = (
        int(run_python(["-c", VERIFY, str(scratch / name)], scratch)[2])
        for name in ("few.jsonl", "plain.jsonl")
    )
    per_kib = 1024 if sys.platform == "darwin" else 1
    rows.append(
        absolute(
            f"memory for {lines:,} lines, beyond 100", (many - few) / per_kib, "KiB"
        )
    )
    return rows


def _fill(path: Path, count: int, key: Path | None) -> None:
    """A file of many receipts, without a look at the disk for each."""
    file = ReceiptFile(path, None if key is None else str(key))
    file.append(_receipt(0))
    last = verify(path)
    lines = Lines(last.seq, last.hash, None if key is None else load_signer(key))
    with path.open("ab") as out:
        for number in range(1, count):
            lines.add("receipt", _receipt(number))
            if len(lines.data) > 1 << 20:
                out.write(lines.data)
                lines.data.clear()
        out.write(lines.data)


def _receipt(number: int) -> dict[str, Any]:
    attempt = {"model": "openai:gpt-5-mini", "error_class": None, "duration_ms": 811.2}
    return dict.fromkeys(FIELDS[:-3]) | {
        "receipt_id": f"af648c0f-9a43-4f13-8c60-{number:012}",
        "timestamp": "2026-11-01T12:00:00.000000Z",
        "origin": "bench",
        "alias": "summarizer",
        "profile": "default",
        "provider": "openai",
        "model": "openai:gpt-5-mini",
        "model_answered": "gpt-5-mini-2025-08-07",
        "request_id": "req_0123456789",
        "lock_digest": "0" * 64,
        "registry_version": 7,
        "prompt_tokens": 1000 + number,
        "completion_tokens": 20,
        "total_tokens": 1020 + number,
        "cached_tokens": 0,
        "reasoning_tokens": 0,
        "input_cost": "0.00025",
        "output_cost": "0.00004",
        "total_cost": "0.00029",
        "cost_status": "priced",
        "duration_ms": 812.345,
        "attempts": [attempt],
        "finish_reason": "stop",
        "streaming": False,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20, help="default: 20")
    parser.add_argument("--lines", type=int, default=LINES, help=f"default: {LINES}")
    arguments = parser.parse_args()
    print_table(measure(arguments.runs, arguments.lines))
