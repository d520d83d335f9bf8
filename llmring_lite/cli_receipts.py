"""`stats`, `export`, `receipts list`: what the receipts say."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TextIO

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
from llmring_lite.receipts_line import stamp
from llmring_lite.receipts_place import (
    RECEIPTS_VARIABLE,
    default_receipts,
    find_receipts,
)
from llmring_lite.receipts_read import (
    DIMENSIONS,
    WRITERS,
    Period,
    iter_receipts,
    parse_period,
    summarize,
)


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


class _Found(NamedTuple):
    path: str
    period: Period
    receipts: Iterator[dict[str, Any]]


@contextmanager
def _reading(args: Namespace) -> Iterator[_Found]:
    """The receipts that are meant; in the end it is said which lines are none."""
    path, period = receipts_of(args), period_of(args)
    skipped: list[int] = []
    yield _Found(path, period, iter_receipts(path, period, skipped=skipped.append))
    if skipped:
        complain(
            f"{plural(len(skipped), 'line')} of {path} could not be read, the first is "
            f"line {skipped[0]}; `receipts verify` tells more",
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
    with _reading(args) as found:
        total, (groups,) = summarize(found.receipts, by)
        if not by:
            groups = []
        if args.json:
            say_json(
                {
                    "receipts": found.path,
                    "since": found.period.since,
                    "until": found.period.until,
                    "by": by,
                    "groups": groups,
                    "total": total,
                }
            )
        else:
            _say_stats(by, groups, total)
    return 0


def _say_stats(
    by: list[str], groups: list[dict[str, Any]], total: dict[str, Any]
) -> None:
    rows = [(*(row[name] or "-" for name in by), *_numbers(row)) for row in groups]
    names = ("total", *[""] * (len(by) - 1)) if by else ()
    rows = [(*by, *_HEADINGS), *rows, (*names, *_numbers(total))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    words = len(by)  # the other columns are numbers, which end below each other
    headings, *lines = [
        [*row[:words], *map(str.rjust, row[words:], widths[words:])] for row in rows
    ]
    say_table(headings, lines)
    if total["unpriced"]:
        note(f"The cost of {plural(total['unpriced'], 'call')} is not known.")
    unused = total["unused_cost"]
    if unused != "0":
        note(f"Replies that came but were not used cost another {unused}.")


_HEADINGS: Final = (
    *("calls", "errors", "input", "output"),
    *("cost USD", "p50 ms", "p95 ms"),
)


def _numbers(sums: dict[str, Any]) -> tuple[str, ...]:
    counts = ("calls", "errors", "prompt_tokens", "completion_tokens")
    latencies = (sums["p50_ms"], sums["p95_ms"])
    return (
        *(f"{sums[name]:,}" for name in counts),
        sums["total_cost"],
        *("-" if ms is None else f"{ms:,.0f}" for ms in latencies),
    )


# export --------------------------------------------------------------------------


def add_export_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--format", choices=tuple(WRITERS), default="json", help="default: json"
    )
    parser.add_argument("--output", metavar="FILE", help="instead of stdout")
    add_period_options(parser)
    add_receipts_option(parser)


def run_export(args: Namespace) -> int:
    write, now = WRITERS[args.format], stamp(datetime.now(UTC))
    with _reading(args) as found:
        if args.output is None:
            write(found.receipts, sys.stdout, now, not wants_utf8())
        else:
            with output_file(args.output) as file:
                write(found.receipts, file, now, False)
    return 0


@contextmanager
def output_file(path: str) -> Iterator[TextIO]:
    """The file of `--output`.

    Raises:
        ReceiptError: It can't be written.
    """
    try:
        with open(path, "w", encoding="utf-8", newline="") as file:
            yield file
    except OSError as error:
        raise ReceiptError(f"can't write {path}: {error.strerror}") from None


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
    with _reading(args) as found:
        last = list(deque(found.receipts, args.limit or None))
        if args.json:
            say_json(last)
        elif last:
            say_table(_COLUMNS, map(_row, last))
        else:
            note(f"no receipts of that time in {found.path}")
    return 0


_COLUMNS: Final = (
    *("line", "time", "alias", "model", "tokens", "cost USD", "ms", "outcome"),
)


def _row(receipt: dict[str, Any]) -> tuple[str, ...]:
    def shown(*names: str) -> str:
        known = [receipt[n] for n in names if receipt.get(n) not in (None, "")]
        return str(known[0]) if known else "-"

    outcome = shown("error_class", "finish_reason")
    return (
        str(receipt["seq"] + 1),
        shown("timestamp")[:19].replace("T", " "),
        *map(shown, ("alias", "model", "total_tokens", "total_cost", "duration_ms")),
        "left early" if outcome == "-" else outcome,
    )


COMMANDS: Final = {
    "stats": (add_stats_arguments, run_stats),
    "export": (add_export_arguments, run_export),
    "receipts list": (add_list_arguments, run_list),
}
