"""Reading receipts: those of a period, one after the other, out of any long file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any, NamedTuple

from llmring_lite.exceptions import ReceiptError
from llmring_lite.receipts_line import MAX_LINE, parse_line, stamp


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
    return _iter_receipts(name, period, up_to, skipped)


def _iter_receipts(
    name: str,
    period: Period | None,
    up_to: int | None,
    skipped: Callable[[int], object],
) -> Iterator[dict[str, Any]]:
    with open(name, "rb") as file:
        number = 0
        while raw := file.readline(MAX_LINE):
            number += 1
            line = parse_line(raw)
            kind, seq = line.get("kind"), line.get("seq")
            if not isinstance(kind, str) or not isinstance(seq, int):
                skipped(number)
            elif (
                kind == "receipt"
                and (up_to is None or seq <= up_to)
                and (period is None or period.holds(line.get("timestamp")))
            ):
                yield line
