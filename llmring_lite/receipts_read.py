"""What receipts say: those of a period, their sums, and all of them for other programs.

Receipts are read one after the other, out of any long file. Sums are exact, whatever
the order: costs are decimal strings in the receipts, and are added up as decimals.
Percentiles are values that occurred (nearest rank), over the calls that were answered
to their end.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Context, Decimal
from typing import Any, Final, NamedTuple, TextIO

from llmring_lite.exceptions import ReceiptError
from llmring_lite.receipts_line import FIELDS, MAX_LINE, TOKENS, parse_line, stamp


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


# Sums ------------------------------------------------------------------------------

DIMENSIONS: Final = ("alias", "model", "profile", "day", "origin", "provider")
"""What receipts can be grouped by; a day is one of UTC."""

_TOKENS: Final = TOKENS[:3]
# Enough for the exact sum of any costs that `_cost` lets through.
_EXACT: Final = Context(prec=120)
_MAX_COST_TEXT: Final = 50


class Totals:
    """The sums over some receipts."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(("calls", "errors", *_TOKENS), 0)
        self._cost = self._unused_cost = Decimal(0)
        self._unpriced = 0
        self._durations = array("d")

    def add(self, receipt: Mapping[str, Any]) -> None:
        failed = receipt.get("error_class") is not None
        self._counts["calls"] += 1
        self._counts["errors"] += failed
        for name in _TOKENS:
            count = receipt.get(name)
            if count.__class__ is int and count > 0:
                self._counts[name] += count
        cost = _cost(receipt.get("total_cost"))
        if cost is not None:
            self._cost = _EXACT.add(self._cost, cost)
        elif not failed:
            self._unpriced += 1
        for unused in _unused_costs(receipt.get("attempts")):
            self._unused_cost = _EXACT.add(self._unused_cost, unused)
        duration = receipt.get("duration_ms")
        if (
            isinstance(duration, (int, float))
            and not failed
            and receipt.get("finish_reason") is not None
        ):
            self._durations.append(duration)

    def percentiles(self, *shares: float) -> list[float | None]:
        """Milliseconds that this share of the calls did not exceed."""
        ordered = sorted(self._durations)
        count = len(ordered)
        return [
            ordered[max(0, math.ceil(share * count) - 1)] if count else None
            for share in shares
        ]

    def to_dict(self) -> dict[str, Any]:
        """As plain data.

        Returns:
            `calls`, failed ones included; `errors`, how many failed; three sums of
            tokens, where known; `total_cost` of the replies whose cost is known, and
            `unused_cost` of replies that came to attempts but were not used (those of
            losers of a race, or withheld, or against their schema), in USD as decimal
            strings; `unpriced` calls that didn't fail and whose cost is not known;
            `p50_ms`, `p95_ms`, None if there are no calls to take them from.
        """
        p50, p95 = self.percentiles(0.5, 0.95)
        return {
            **self._counts,
            "total_cost": decimal_text(self._cost),
            "unused_cost": decimal_text(self._unused_cost),
            "unpriced": self._unpriced,
            "p50_ms": p50,
            "p95_ms": p95,
        }


def summarize(
    receipts: Iterable[Mapping[str, Any]], *groupings: Sequence[str]
) -> tuple[dict[str, Any], list[list[dict[str, Any]]]]:
    """The sums over all receipts, and for each grouping those of its groups.

    Args:
        groupings: Each a sequence of `DIMENSIONS`; receipts that agree in all of them
            are a group.

    Returns:
        `Totals.to_dict()`, in the groups with the dimensions before it. Groups are
        sorted by their dimensions; those without a name come last.
    """
    total = Totals()
    found: list[dict[tuple[str | None, ...], Totals]] = [{} for _ in groupings]
    for receipt in receipts:
        total.add(receipt)
        for dimensions, groups in zip(groupings, found, strict=True):
            key = tuple(_value(receipt, dimension) for dimension in dimensions)
            if key not in groups:
                groups[key] = Totals()
            groups[key].add(receipt)
    rows = [
        [
            {**dict(zip(dimensions, key, strict=True)), **groups[key].to_dict()}
            for key in sorted(groups, key=lambda key: [(p is None, p) for p in key])
        ]
        for dimensions, groups in zip(groupings, found, strict=True)
    ]
    return total.to_dict(), rows


def decimal_text(value: Decimal) -> str:
    """A decimal without exponent and without zeros at its end."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _value(receipt: Mapping[str, Any], dimension: str) -> str | None:
    if dimension == "day":
        return str(receipt.get("timestamp"))[:10]
    value = receipt.get(dimension)
    return None if value is None else str(value)


def _unused_costs(attempts: Any) -> Iterator[Decimal]:
    for attempt in attempts if isinstance(attempts, list) else ():
        if isinstance(attempt, dict):
            cost = _cost(attempt.get("total_cost"))
            if cost is not None:
                yield cost


def _cost(text: Any) -> Decimal | None:
    """A cost, None if there is none or it is no plain decimal."""
    if not isinstance(text, str) or len(text) > _MAX_COST_TEXT or not text.isascii():
        return None
    return Decimal(text) if text.replace(".", "", 1).isdecimal() else None


# For other programs ----------------------------------------------------------------
#
# CSV has a column for each of `FIELDS`, with JSON where a value is a list or an object.
# JSON and JSON lines hold the lines as they are, with what is needed to check them.


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
