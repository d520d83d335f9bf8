"""Files of receipts for tests: clocks and ids of a test's own, lines taken apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from llmring_lite.receipts import ReceiptFile
from llmring_lite.receipts_line import FIELDS

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


def ticking(start: datetime = START) -> Callable[[], datetime]:
    """A clock that moves on by a second with each look."""
    seconds = iter(range(10**9))
    return lambda: start + timedelta(seconds=next(seconds))


def counting(prefix: str = "id") -> Callable[[], str]:
    numbers = iter(range(10**9))
    return lambda: f"{prefix}-{next(numbers)}"


def receipt(number: int = 0, **changes: Any) -> dict[str, Any]:
    """What a call could have left behind."""
    plain: dict[str, Any] = dict.fromkeys(FIELDS[:-3])
    plain |= {
        "receipt_id": f"r-{number}",
        "timestamp": f"2026-11-01T12:00:{number % 60:02}.000000Z",
        "origin": "tests",
        "alias": "summarizer",
        "profile": "default",
        "provider": "openai",
        "model": "openai:gpt-5-mini",
        "prompt_tokens": 10 + number,
        "completion_tokens": 5,
        "total_tokens": 15 + number,
        "total_cost": "0.000015",
        "cost_status": "priced",
        "duration_ms": 800.5 + number,
        "attempts": [],
        "finish_reason": "stop",
        "streaming": False,
    }
    return plain | changes


def new_file(path: Path, key: Path | None = None, prefix: str = "file") -> ReceiptFile:
    return ReceiptFile(
        path,
        None if key is None else str(key),
        now=ticking(),
        make_id=counting(prefix),
    )


def filled(
    path: Path, count: int, key: Path | None = None, prefix: str = "file"
) -> list[bytes]:
    """A file of `count` receipts, as its lines with their ends."""
    file = new_file(path, key, prefix)
    for number in range(count):
        file.append(receipt(number))
    return lines_of(path)


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def records_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines_of(path)]
