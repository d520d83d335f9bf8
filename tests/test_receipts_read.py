"""Sums over receipts, periods, and what other programs get."""

from __future__ import annotations

import csv
import io
import json
import random
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from receipt_files import filled, new_file, receipt, records_of

from llmring_lite.exceptions import ReceiptError
from llmring_lite.receipts_line import FIELDS, stamp
from llmring_lite.receipts_read import (
    WRITERS,
    Period,
    Totals,
    decimal_text,
    iter_receipts,
    parse_period,
    summarize,
)

NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)


def totals(*receipts: dict[str, Any]) -> dict[str, Any]:
    return summarize(receipts)[0]


# Sums -----------------------------------------------------------------------------


def test_calls_errors_and_tokens_are_counted() -> None:
    failed = receipt(error_class="ProviderTimeoutError", prompt_tokens=None)
    failed |= {"completion_tokens": None, "total_tokens": None, "total_cost": None}
    sums = totals(receipt(0), receipt(1), failed)
    assert (sums["calls"], sums["errors"], sums["unpriced"]) == (3, 1, 0)
    assert sums["prompt_tokens"] == 10 + 11
    assert sums["completion_tokens"] == 5 + 5
    assert sums["total_tokens"] == 15 + 16


def test_nothing_is_nothing() -> None:
    assert totals() == {
        **dict.fromkeys(("calls", "errors", "unpriced"), 0),
        **dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), 0),
        **dict.fromkeys(("total_cost", "unused_cost"), "0"),
        **dict.fromkeys(("p50_ms", "p95_ms"), None),
    }


COSTS = st.decimals(0, 10**6, places=15, allow_nan=False).map(decimal_text)


@given(st.lists(COSTS))
def test_costs_are_added_exactly(costs: list[str]) -> None:
    sums = totals(*(receipt(total_cost=cost) for cost in costs))
    assert Fraction(sums["total_cost"]) == sum(map(Fraction, costs))
    assert "E" not in sums["total_cost"].upper()


def test_many_small_costs_are_added_exactly() -> None:
    sums = Totals()
    line = receipt(total_cost="0.000000000000001")
    for _ in range(100_000):
        sums.add(line)
    assert sums.to_dict()["total_cost"] == "0.0000000001"


@pytest.mark.parametrize(
    "cost", [None, 1, 0.5, "", ".", "1e9", "-1", "NaN", "1" * 99, "٣", "1.2.3", True]
)
def test_a_cost_that_is_none_is_not_added_but_counted(cost: Any) -> None:
    sums = totals(receipt(total_cost=cost), receipt())
    assert (sums["total_cost"], sums["unpriced"]) == ("0.000015", 1)


def test_replies_that_were_not_used_are_summed_up_apart() -> None:
    attempts = [
        {"model": "a:m", "error_class": "ProviderError", "total_cost": "0.25"},
        {"model": "b:m", "error_class": None},
        {"model": "c:m", "error_class": "ProviderError", "total_cost": None},
    ]
    sums = totals(receipt(attempts=attempts), receipt(attempts="nonsense"))
    assert (sums["total_cost"], sums["unused_cost"]) == ("0.00003", "0.25")


@given(st.lists(st.floats(0, 10**6), min_size=1, max_size=60))
def test_percentiles_are_values_that_occurred(durations: list[float]) -> None:
    sums = Totals()
    for duration in durations:
        sums.add(receipt(duration_ms=duration))
    for share in (0.5, 0.95, 1.0):
        (value,) = sums.percentiles(share)
        assert value in durations
        assert sum(d <= value for d in durations) >= share * len(durations)
        assert sum(d < value for d in durations) < share * len(durations)


def test_the_latency_is_that_of_calls_answered_to_their_end() -> None:
    sums = totals(
        receipt(duration_ms=100),
        receipt(duration_ms=9000, error_class="ProviderError"),
        receipt(duration_ms=5, finish_reason=None),
    )
    assert (sums["p50_ms"], sums["p95_ms"]) == (100, 100)


def test_groups_are_those_that_agree_in_everything_asked_for() -> None:
    receipts = [
        receipt(alias="b", model="x:1"),
        receipt(alias="a", model="x:1"),
        receipt(alias=None, model="x:1"),
        receipt(alias="a", model="x:2", timestamp="2026-11-02T00:00:00.000000Z"),
    ]
    total, (one, two, days) = summarize(
        receipts, ("alias",), ("model", "alias"), ("day",)
    )
    assert total["calls"] == 4
    assert [(row["alias"], row["calls"]) for row in one] == [
        ("a", 2),
        ("b", 1),
        (None, 1),
    ]
    assert [(row["model"], row["alias"]) for row in two] == [
        ("x:1", "a"),
        ("x:1", "b"),
        ("x:1", None),
        ("x:2", "a"),
    ]
    assert [(row["day"], row["calls"]) for row in days] == [
        ("2026-11-01", 3),
        ("2026-11-02", 1),
    ]


@given(st.lists(st.tuples(st.sampled_from("abc"), COSTS), max_size=20))
def test_groups_add_up_to_the_total(calls: list[tuple[str, str]]) -> None:
    receipts = [receipt(alias=alias, total_cost=cost) for alias, cost in calls]
    random.Random(1).shuffle(receipts)
    total, (groups,) = summarize(receipts, ("alias",))
    cost = sum((Fraction(group["total_cost"]) for group in groups), Fraction())
    assert cost == Fraction(total["total_cost"])
    assert sum(group["calls"] for group in groups) == total["calls"]


# Periods --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        ("2026-11-01", "2026-11-01T00:00:00", "2026-11-02T00:00:00"),
        ("2026-11-01T00:00", "2026-11-01T00:00:00", "2026-11-01T00:00:00"),
        ("2026-11-01T12", "2026-11-01T12:00:00", "2026-11-01T12:00:00"),
        ("2026-11-01T12:30:15", "2026-11-01T12:30:15", "2026-11-01T12:30:15"),
        ("2026-11-01T12:30Z", "2026-11-01T12:30:00", "2026-11-01T12:30:00"),
        ("2026-11-01T12:30+02:00", "2026-11-01T10:30:00", "2026-11-01T10:30:00"),
        ("7d", "2026-11-13T15:30:00", "2026-11-13T15:30:00"),
        (" 36h ", "2026-11-19T03:30:00", "2026-11-19T03:30:00"),
        ("90m", "2026-11-20T14:00:00", "2026-11-20T14:00:00"),
        ("2w", "2026-11-06T15:30:00", "2026-11-06T15:30:00"),
    ],
)
def test_points_in_time(text: str, since: str, until: str) -> None:
    assert parse_period(text, None, NOW) == Period(f"{since}.000000Z", None)
    assert parse_period(None, text, NOW) == Period(None, f"{until}.000000Z")


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "7", "d", "2026-13-01", "999999w", "0001-01-01T00:00+14:00"],
)
def test_what_is_no_point_in_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no point in time"):
        parse_period(text, None, NOW)


def test_a_period_has_its_beginning_but_not_its_end() -> None:
    period = parse_period("2026-11-01", "2026-11-01", NOW)
    assert period.holds("2026-11-01T00:00:00.000000Z")
    assert period.holds("2026-11-01T23:59:59.999999Z")
    assert not period.holds("2026-11-02T00:00:00.000000Z")
    assert not period.holds("2026-10-31T23:59:59.999999Z")
    assert not period.holds(None)
    assert Period().holds("2026-11-01T00:00:00.000000Z")


@given(st.datetimes(), st.datetimes(), st.integers(-14, 14))
def test_timestamps_sort_as_time_passes(
    one: datetime, two: datetime, hours: int
) -> None:
    zone = timezone(timedelta(hours=hours))
    try:
        a, b = one.replace(tzinfo=zone), two.replace(tzinfo=UTC)
        assert (stamp(a) < stamp(b)) == (a < b)
    except OverflowError:
        pass


# Reading --------------------------------------------------------------------------


def test_receipts_of_a_period_and_up_to_a_line(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    filled(path, 10)
    period = Period("2026-11-01T12:00:03.000000Z", "2026-11-01T12:00:08.000000Z")
    ids = [r["receipt_id"] for r in iter_receipts(path, period)]
    assert ids == ["r-3", "r-4", "r-5", "r-6", "r-7"]
    assert [r["seq"] for r in iter_receipts(path, period, up_to=5)] == [4, 5]


def test_lines_that_are_no_receipts_are_skipped_and_told(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    lines = filled(path, 3)
    path.write_bytes(
        b"".join([*lines[:2], b"scribble\n", b"[1]\n", *lines[2:], b"{to"])
    )
    skipped: list[int] = []
    receipts = list(iter_receipts(path, skipped=skipped.append))
    assert [r["seq"] for r in receipts] == [1, 2, 3]
    assert skipped == [3, 4, 7]


def test_a_missing_file_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(ReceiptError, match="LLMRING_RECEIPTS"):
        iter_receipts(tmp_path / "none")
    with pytest.raises(ReceiptError, match="can't read"):
        iter_receipts(tmp_path)


# Export ---------------------------------------------------------------------------


def exported(format: str, receipts: list[dict[str, Any]], ascii_only: bool) -> str:
    out = io.StringIO()
    WRITERS[format](receipts, out, "2026-11-20T15:30:00.000000Z", ascii_only)
    return out.getvalue()


@pytest.fixture
def receipts(tmp_path: Path) -> list[dict[str, Any]]:
    path = tmp_path / "r.jsonl"
    file = new_file(path)
    file.append(receipt(0, alias='a,b"c', streaming=True))
    file.append(receipt(1, metadata={"who": "é"}, attempts=[{"model": "a:b"}]))
    return records_of(path)[1:]


@pytest.mark.parametrize("ascii_only", [False, True])
def test_json_holds_the_lines_as_they_are(
    receipts: list[dict[str, Any]], ascii_only: bool
) -> None:
    text = exported("json", receipts, ascii_only)
    assert json.loads(text) == {
        "exported_at": "2026-11-20T15:30:00.000000Z",
        "receipts": receipts,
    }
    assert text.isascii() == ascii_only
    lines = exported("jsonl", receipts, ascii_only)
    assert [json.loads(line) for line in lines.splitlines()] == receipts
    assert json.loads(exported("json", [], ascii_only))["receipts"] == []


def test_csv_has_a_column_for_each_member(receipts: list[dict[str, Any]]) -> None:
    rows = list(csv.DictReader(io.StringIO(exported("csv", receipts, False))))
    assert list(rows[0]) == list(FIELDS)
    assert [row["alias"] for row in rows] == ['a,b"c', "summarizer"]
    assert [row["streaming"] for row in rows] == ["true", "false"]
    assert rows[0]["error_class"] == ""
    assert rows[0]["total_cost"] == "0.000015"
    assert json.loads(rows[1]["metadata"]) == {"who": "é"}
    assert json.loads(rows[1]["attempts"]) == [{"model": "a:b"}]
