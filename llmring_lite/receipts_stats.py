"""Sums over receipts: calls, errors, tokens, cost, latency. Exact, whatever the order.

Costs are decimal strings in the receipts, and are added up as decimals. Percentiles are
values that occurred (nearest rank), over the calls that were answered to their end.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Context, Decimal
from typing import Any, Final

DIMENSIONS: Final = ("alias", "model", "profile", "day", "origin", "provider")
"""What receipts can be grouped by; a day is one of UTC."""

# Enough for the exact sum of any costs that `_cost` lets through.
_EXACT: Final = Context(prec=120)
_MAX_COST_TEXT: Final = 50


_TOKENS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")


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
