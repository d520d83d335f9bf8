"""`stats`, `export`, `receipts list`: what the receipts say."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from llmring_lite.cli_options import UsageError, add_json_option
from llmring_lite.cli_output import (
    complain,
    note,
    plural,
    say_json,
    say_table,
    wants_utf8,
)
from llmring_lite.exceptions import ReceiptError
from llmring_lite.receipts_export import WRITERS
from llmring_lite.receipts_line import stamp
from llmring_lite.receipts_place import (
    RECEIPTS_VARIABLE,
    default_receipts,
    find_receipts,
)
from llmring_lite.receipts_read import Period, iter_receipts, parse_period
from llmring_lite.receipts_stats import DIMENSIONS, Totals, in_order, summarize


def add_receipts_option(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--receipts",
        metavar="FILE",
        help=f"receipts (default: {RECEIPTS_VARIABLE}, else those in the state folder)",
    )


def receipts_of(args: Namespace) -> str:
    """The file that `--receipts` names, else the one that a program would write."""
    return args.receipts or find_receipts(None) or default_receipts()


def add_period_options(parser: ArgumentParser) -> None:
    when = "a date, a date with a time (UTC unless it says otherwise), or 7d, 36h, 90m"
    parser.add_argument("--since", metavar="WHEN", help=f"from here on: {when}")
    parser.add_argument(
        "--until", metavar="WHEN", help="up to here; a date includes that day"
    )


def period_of(args: Namespace) -> Period:
    """
    Raises:
        UsageError: An option is no point in time.
    """
    try:
        return parse_period(args.since, args.until, datetime.now(UTC))
    except ValueError as error:
        raise UsageError(str(error)) from None


class Skipped:
    """Counts lines that are no receipts, and says so in the end."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lines: list[int] = []
        self._count = 0

    def __call__(self, line: int) -> None:
        self._count += 1
        self._lines = self._lines or [line]

    def report(self) -> None:
        if self._count:
            complain(
                f"{plural(self._count, 'line')} of {self._path} could not be read, the "
                f"first is line {self._lines[0]}; `receipts verify` tells more",
                kind="warning",
            )


# stats ---------------------------------------------------------------------------


def add_stats_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--by",
        default="model",
        metavar="WORD,...",
        help=f"a row for each: {', '.join(DIMENSIONS)} (default: model)",
    )
    add_period_options(parser)
    add_json_option(parser)
    add_receipts_option(parser)


def run_stats(args: Namespace) -> int:
    by = [word.strip() for word in args.by.split(",") if word.strip()]
    unknown = [word for word in by if word not in DIMENSIONS]
    if unknown:
        raise UsageError(
            f"--by: unknown {unknown[0]!r}; known are {', '.join(DIMENSIONS)}"
        )
    path, period = receipts_of(args), period_of(args)
    skipped = Skipped(path)
    receipts = iter_receipts(path, period, skipped=skipped)
    total, (groups,) = summarize(receipts, by)
    rows = in_order(groups) if by else []
    if args.json:
        say_json(
            {
                "receipts": path,
                "since": period.since,
                "until": period.until,
                "by": by,
                "groups": [
                    {**dict(zip(by, key, strict=True)), **totals.to_dict()}
                    for key, totals in rows
                ],
                "total": total.to_dict(),
            }
        )
    else:
        lines = [
            (*(word or "-" for word in key), *_numbers(totals)) for key, totals in rows
        ]
        names = ("total", *[""] * (len(by) - 1)) if by else ()
        lines.append((*names, *_numbers(total)))
        _say_right_aligned((*by, *_HEADINGS), lines, len(by))
        _note_what_is_not_in_the_cost(total)
    skipped.report()
    return 0


_HEADINGS: Final = (
    *("calls", "errors", "input", "output"),
    *("cost USD", "p50 ms", "p95 ms"),
)


def _numbers(totals: Totals) -> tuple[str, ...]:
    sums = totals.to_dict()
    latencies = (sums["p50_ms"], sums["p95_ms"])
    return (
        f"{sums['calls']:,}",
        f"{sums['errors']:,}",
        f"{sums['prompt_tokens']:,}",
        f"{sums['completion_tokens']:,}",
        sums["total_cost"],
        *("-" if ms is None else f"{ms:,.0f}" for ms in latencies),
    )


def _say_right_aligned(
    headings: Sequence[str], rows: Sequence[Sequence[str]], words: int
) -> None:
    """A table whose columns are numbers, but for the first `words`."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    padded = [
        [*row[:words], *map(str.rjust, row[words:], widths[words:])]
        for row in (headings, *rows)
    ]
    say_table(padded[0], padded[1:])


def _note_what_is_not_in_the_cost(total: Totals) -> None:
    if total.unpriced:
        note(f"The cost of {plural(total.unpriced, 'call')} is not known.")
    if total.unused_cost:
        sums = total.to_dict()
        note(f"Replies that came but were not used cost another {sums['unused_cost']}.")


# export --------------------------------------------------------------------------


def add_export_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--format", choices=tuple(WRITERS), default="json", help="default: json"
    )
    parser.add_argument("--output", metavar="FILE", help="instead of stdout")
    add_period_options(parser)
    add_receipts_option(parser)


def run_export(args: Namespace) -> int:
    path = receipts_of(args)
    skipped = Skipped(path)
    receipts = iter_receipts(path, period_of(args), skipped=skipped)
    write, now = WRITERS[args.format], stamp(datetime.now(UTC))
    if args.output is None:
        write(receipts, sys.stdout, now, not wants_utf8())
    else:
        try:
            with open(args.output, "w", encoding="utf-8", newline="") as file:
                write(receipts, file, now, False)
        except OSError as error:
            raise ReceiptError(f"can't write {args.output}: {error.strerror}") from None
    skipped.report()
    return 0


# receipts list -------------------------------------------------------------------


def add_list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--limit",
        type=int,
        default=20,
        metavar="N",
        help="only the last N (default: 20); 0 for all",
    )
    add_period_options(parser)
    add_json_option(parser)
    add_receipts_option(parser)


def run_list(args: Namespace) -> int:
    if args.limit < 0:
        raise UsageError("--limit must not be negative")
    path = receipts_of(args)
    skipped = Skipped(path)
    found = deque(
        iter_receipts(path, period_of(args), skipped=skipped), args.limit or None
    )
    if args.json:
        say_json(list(found))
    elif found:
        say_table(
            ("line", "time", "alias", "model", "tokens", "cost USD", "ms", "outcome"),
            [_row(receipt) for receipt in found],
        )
    else:
        note(f"no receipts of that time in {path}")
    skipped.report()
    return 0


def _row(receipt: dict[str, Any]) -> tuple[str, ...]:
    tokens, cost = receipt.get("total_tokens"), receipt.get("total_cost")
    return (
        str(receipt["seq"] + 1),
        str(receipt.get("timestamp"))[:19].replace("T", " "),
        str(receipt.get("alias") or "-"),
        str(receipt.get("model") or "-"),
        "-" if tokens is None else str(tokens),
        "-" if cost is None else str(cost),
        str(receipt.get("duration_ms") or "-"),
        str(receipt.get("error_class") or receipt.get("finish_reason") or "left early"),
    )


COMMANDS: Final = {
    "stats": (add_stats_arguments, run_stats),
    "export": (add_export_arguments, run_export),
    "receipts list": (add_list_arguments, run_list),
}
