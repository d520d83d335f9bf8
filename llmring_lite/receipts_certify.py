"""Certificates of a file of receipts: checkpoints and bundles.

A checkpoint says how far the file had got: kept elsewhere, it lets lines that are
removed at the end be noticed. A bundle is a checkpoint that also sums up the receipts
of a period, for a bill or an audit. Both are one JSON object, sealed like a line of the
file, and signed if the file is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from llmring_lite.exceptions import ReceiptError
from llmring_lite.receipts_line import FORMAT, VERSION, Sealed, parse_line, seal, stamp
from llmring_lite.receipts_read import Period, iter_receipts, summarize
from llmring_lite.receipts_verify import verify


def certify(
    path: str | os.PathLike[str],
    key_path: str | None,
    now: datetime,
    period: Period | None = None,
) -> dict[str, Any]:
    """A checkpoint: how far a file has got. With a period, a bundle.

    Args:
        key_path: The private key that the file is signed with.

    Raises:
        ReceiptError: Something is wrong with the file, or the key is not the file's.
    """
    report = verify(path)
    if report.problem is not None:
        line, reason, message = report.problem
        raise ReceiptError(
            f"nothing is certified about {report.path}: line {line} {reason}: {message}"
        )
    content = {
        "kind": "checkpoint" if period is None else "bundle",
        "format": FORMAT,
        "version": VERSION,
        "file_id": report.file_id,
        "created_at": stamp(now),
        "seq": report.seq,
        "head": report.hash,
        "public_key": report.public_key,
    }
    if period is not None:
        content |= _summary(path, period, report.seq)
    signer = None
    if report.public_key is not None:
        from llmring_lite.receipts_sign import load_signer  # see there

        signer = None if key_path is None else load_signer(key_path)
        if signer is None or signer.public_key != report.public_key:
            raise ReceiptError(
                f"{report.path} is signed with the key {report.public_key}, and only "
                "its private key can certify it: let LLMRING_RECEIPTS_KEY name it"
            )
    return parse_line(seal(content, signer)[0])


def check_bundle(path: str | os.PathLike[str], bundle: Sealed) -> list[str]:
    """The names of what a bundle says otherwise than the file that it is about.

    The file itself has been verified with the bundle as its checkpoint.

    Raises:
        ReceiptError: The file can't be read.
    """
    record = bundle.record
    period = Period(record.get("since"), record.get("until"))
    again = _summary(path, period, record["seq"])
    return [name for name, value in again.items() if record.get(name) != value]


def _summary(
    path: str | os.PathLike[str], period: Period, up_to: int
) -> dict[str, Any]:
    """What a bundle adds to a checkpoint."""
    ends: list[int] = []

    def receipts() -> Iterator[dict[str, Any]]:
        for receipt in iter_receipts(path, period, up_to=up_to):
            ends[1:] = [receipt["seq"]]
            yield receipt

    total, (models, aliases) = summarize(receipts(), ("model",), ("alias",))
    return {
        "since": period.since,
        "until": period.until,
        "first_seq": ends[0] if ends else None,
        "last_seq": ends[-1] if ends else None,
        "totals": total,
        "by_model": models,
        "by_alias": aliases,
    }
