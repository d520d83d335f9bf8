"""Checkpoints and bundles: what they say, and who can make them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from receipt_files import START, filled, lines_of, new_file, receipt
from rfc8785 import dumps

from llmring_lite.exceptions import ReceiptError
from llmring_lite.receipts_certify import certify, check_bundle
from llmring_lite.receipts_line import Sealed, unseal
from llmring_lite.receipts_read import Period
from llmring_lite.receipts_sign import make_key
from llmring_lite.receipts_verify import verify

PERIOD = Period("2026-11-01T12:00:02.000000Z", "2026-11-01T12:00:06.000000Z")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "r.jsonl"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    name = tmp_path_factory.mktemp("keys") / "key"
    make_key(name)
    return name


def sealed(record: dict[str, Any]) -> Sealed:
    found = unseal(dumps(record))
    assert found is not None
    return found


def test_a_checkpoint_says_how_far_the_file_had_got(path: Path) -> None:
    last = json.loads(filled(path, 4)[-1])
    record = certify(path, None, START)
    assert {**record, "hash": ""} == {
        "kind": "checkpoint",
        "format": "llmring-lite receipts",
        "version": 1,
        "file_id": "file-0",
        "created_at": "2026-11-01T12:00:00.000000Z",
        "seq": 4,
        "head": last["hash"],
        "public_key": None,
        "hash": "",
    }


@pytest.mark.parametrize("period", [None, Period()])
def test_a_certificate_is_signed_by_the_key_of_the_file(
    path: Path, key: Path, period: Period | None
) -> None:
    filled(path, 3, key)
    record = certify(path, str(key), START, period)
    assert verify(path, checkpoint=sealed(record)).ok
    signature = base64.b64decode(record.pop("signature"))
    del record["hash"]
    public = base64.b64decode(record["public_key"])
    Ed25519PublicKey.from_public_bytes(public).verify(signature, dumps(record))


def test_only_the_key_of_the_file_can_certify_it(
    path: Path, key: Path, tmp_path: Path
) -> None:
    filled(path, 1, key)
    make_key(tmp_path / "other")
    for wrong in (None, str(tmp_path / "other")):
        with pytest.raises(ReceiptError, match="LLMRING_RECEIPTS_KEY"):
            certify(path, wrong, START)


def test_nothing_is_certified_about_a_file_in_which_something_is_wrong(
    path: Path,
) -> None:
    lines = filled(path, 3)
    path.write_bytes(b"".join([lines[0], *lines[2:]]))
    with pytest.raises(ReceiptError, match="line 2 removed"):
        certify(path, None, START)
    with pytest.raises(ReceiptError, match="line 2 removed"):
        certify(path, None, START, PERIOD)


def test_a_bundle_sums_up_its_period(path: Path) -> None:
    file = new_file(path)
    for number in range(10):
        model = "openai:m" if number % 2 else "google:m"
        alias = None if number == 4 else "a"
        cost = f"0.{number}" if number != 5 else None
        file.append(receipt(number, model=model, alias=alias, total_cost=cost))
    bundle = certify(path, None, START, PERIOD)
    assert (bundle["since"], bundle["until"]) == PERIOD
    assert (bundle["first_seq"], bundle["last_seq"]) == (3, 6)
    assert bundle["seq"] == 10
    sums = bundle["totals"]
    assert (sums["calls"], sums["total_cost"], sums["unpriced"]) == (4, "0.9", 1)
    assert sums["prompt_tokens"] == 12 + 13 + 14 + 15
    assert [
        (row["model"], row["calls"], row["total_cost"]) for row in bundle["by_model"]
    ] == [("google:m", 2, "0.6"), ("openai:m", 2, "0.3")]
    assert [(row["alias"], row["calls"]) for row in bundle["by_alias"]] == [
        ("a", 3),
        (None, 1),
    ]


def test_a_bundle_of_nothing_certifies_no_lines(path: Path) -> None:
    filled(path, 2)
    bundle = certify(path, None, START, Period("2030"))
    assert (bundle["first_seq"], bundle["last_seq"]) == (None, None)
    assert bundle["totals"]["calls"] == 0
    assert check_bundle(path, sealed(bundle)) == []


def test_a_bundle_agrees_with_its_file_also_when_that_has_grown(path: Path) -> None:
    filled(path, 5)
    bundle = sealed(certify(path, None, START, Period()))
    filled(path, 3)
    assert verify(path, checkpoint=bundle).ok
    assert check_bundle(path, bundle) == []


@pytest.mark.parametrize(
    "name", ["totals", "by_model", "by_alias", "first_seq", "last_seq"]
)
def test_a_bundle_that_says_otherwise_is_found(path: Path, name: str) -> None:
    filled(path, 5)
    bundle = certify(path, None, START, PERIOD)
    false = Sealed({**bundle, name: "something else"}, b"")
    assert check_bundle(path, false) == [name]


def test_lines_removed_after_a_bundle_are_missed(path: Path) -> None:
    filled(path, 5)
    bundle = sealed(certify(path, None, START, Period()))
    path.write_bytes(b"".join(lines_of(path)[:-1]))
    problem = verify(path, checkpoint=bundle).problem
    assert problem is not None
    assert problem.reason == "truncated"
