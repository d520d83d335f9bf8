"""Reading receipts: those of a period, one after the other, out of any long file.

And handing them to other programs, as CSV, JSON or JSON lines. CSV has a column for
each of `FIELDS`, with JSON where a value is a list or an object. JSON and JSON lines
hold the lines as they are, with what is needed to check them.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final, NamedTuple, TextIO

from llmring_lite.exceptions import ReceiptError
from llmring_lite.receipts_line import FIELDS, MAX_LINE, parse_line, stamp


class Period(NamedTuple):
    """A stretch of time.

    Attributes:
        since: The first moment that belongs to it, None if it has no beginning.
        until: The first moment after it, None if it has no end.

    Both in the form of a receipt's timestamp, which sorts as time passes.
    """

    since: str | None = None
    until: str | None = None

    def holds(self, timestamp: Any) -> bool:
        if not isinstance(timestamp, str):
            return False
        return (self.since is None or self.since <= timestamp) and (
            self.until is None or timestamp < self.until
        )


def parse_period(since: str | None, until: str | None, now: datetime) -> Period:
    """A period from what a person writes.

    Args:
        since, until: A date (`2026-11-01`; as an end, that day is part of the period),
            a date with a time (`2026-11-01T12:00`, UTC unless it says otherwise), or
            how long ago (`7d`, `36h`, `90m`, `2w`). None: no limit.

    Raises:
        ValueError: It is none of these.
    """
    return Period(
        None if since is None else stamp(_parse_moment(since, now, timedelta(0))),
        None if until is None else stamp(_parse_moment(until, now, timedelta(days=1))),
    )


_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes"}


def _parse_moment(text: str, now: datetime, day: timedelta) -> datetime:
    """`day` is added to a date without a time."""
    ago = re.fullmatch(r"(\d{1,6})([wdhm])", text.strip())
    try:
        if ago:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        moment = datetime.fromisoformat(text.strip())
        if moment.time() == time() and ":" not in text:
            moment += day
        if moment.tzinfo is None:
            return moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no point in time; write 2026-11-01, 2026-11-01T12:00, or 7d, "
            "36h, 90m for how long ago"
        ) from None


def iter_receipts(
    path: str | os.PathLike[str],
    period: Period | None = None,
    *,
    up_to: int | None = None,
    skipped: Callable[[int], object] = lambda line: None,
) -> Iterator[dict[str, Any]]:
    """The receipts of a file, in its order. Nothing is verified.

    Args:
        period: Only those of it.
        up_to: Only those with this `seq` or a lower one.
        skipped: Told the number of each line that is no line of receipts.

    Raises:
        ReceiptError: The file can't be read.
    """
    name = os.fspath(path)
    try:
        # Now, and not when the first receipt is asked for: nothing is printed yet.
        open(name, "rb").close()
    except FileNotFoundError:
        raise ReceiptError(
            f"no receipts at {name}: they are written once LLMRing(receipts=...) or "
            "LLMRING_RECEIPTS names a file, or says 1 for the state folder"
        ) from None
    except OSError as error:
        raise ReceiptError(f"can't read {name}: {error.strerror}") from error

    def found() -> Iterator[dict[str, Any]]:
        with open(name, "rb") as file:
            lines = iter(lambda: file.readline(MAX_LINE), b"")
            for number, line in enumerate(map(parse_line, lines), start=1):
                kind, seq = line.get("kind"), line.get("seq")
                if not isinstance(kind, str) or not isinstance(seq, int):
                    skipped(number)
                elif (
                    kind == "receipt"
                    and (up_to is None or seq <= up_to)
                    and (period is None or period.holds(line.get("timestamp")))
                ):
                    yield line

    return found()


# For other programs ----------------------------------------------------------------


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
