"""Receipts for other programs: CSV, JSON, JSON lines. One after the other, any number.

CSV has a column for each of `FIELDS`, with JSON where a value is a list or an object.
JSON and JSON lines hold the lines as they are, with what is needed to check them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TextIO

from llmring_lite.receipts_line import FIELDS


def write_csv(
    receipts: Iterable[Mapping[str, Any]], file: TextIO, _: str, ascii_only: bool
) -> None:
    """A heading, and a line for each receipt; unknown values are empty."""
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(FIELDS)
    for receipt in receipts:
        rows.writerow(_cell(receipt.get(name), ascii_only) for name in FIELDS)


def write_json(
    receipts: Iterable[Mapping[str, Any]],
    file: TextIO,
    exported_at: str,
    ascii_only: bool,
) -> None:
    """One object: `exported_at`, and `receipts`."""
    file.write(f'{{"exported_at": {json.dumps(exported_at)}, "receipts": [')
    separator = "\n"
    for receipt in receipts:
        file.write(separator + _json(receipt, ascii_only))
        separator = ",\n"
    file.write("\n]}\n")


def write_jsonl(
    receipts: Iterable[Mapping[str, Any]], file: TextIO, _: str, ascii_only: bool
) -> None:
    """A line of JSON for each receipt."""
    for receipt in receipts:
        file.write(_json(receipt, ascii_only) + "\n")


Writer = Callable[[Iterable[Mapping[str, Any]], TextIO, str, bool], None]
"""(receipts, file, time of the export, pure ASCII?)"""

WRITERS: Final[Mapping[str, Writer]] = {
    "csv": write_csv,
    "json": write_json,
    "jsonl": write_jsonl,
}


def _cell(value: Any, ascii_only: bool) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _json(value, ascii_only) if isinstance(value, (dict, list)) else value


def _json(value: Any, ascii_only: bool) -> str:
    return json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":"))
