"""A line of receipts: canonical JSON that holds its own hash.

Every line is an object in the form of RFC 8785. Besides what it is about it holds

    kind        `header`, `receipt`, or `mended`
    seq         0 for the header, then one more with each line
    prev        the `hash` of the line before; 64 zeros in the header
    hash        SHA-256, in hex, of the line without `hash` and `signature`
    signature   Ed25519, in Base64, of the same bytes; only in a signed file

The header also holds `format`, `version`, `file_id`, `created_at`, and `public_key`
(null in a file that isn't signed). A line of the kind `mended` says that the writer
before was stopped in the middle of a line: `dropped_bytes`, `dropped_sha256`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from llmring_lite.exceptions import ReceiptError
from llmring_lite.receipts_canonical import MAX_INTEGER, join, members

if TYPE_CHECKING:
    from llmring_lite.receipts_sign import Signer

FORMAT: Final = "llmring-lite receipts"
VERSION: Final = 1
NO_HASH: Final = "0" * 64

TOKENS: Final = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "cache_creation_input_tokens",
    "reasoning_tokens",
)
COSTS: Final = ("input_cost", "output_cost", "total_cost")
FIELDS: Final = (
    *("receipt_id", "timestamp", "origin", "alias", "profile"),
    *("provider", "model", "model_answered", "request_id"),
    *("lock_digest", "registry_version"),
    *TOKENS,
    *COSTS,
    *("cost_status", "duration_ms", "attempts", "finish_reason", "streaming"),
    *("error_class", "metadata", "prompt_sha256", "reply_sha256"),
)
"""What a line of the kind `receipt` says of its call; see docs/receipts.md."""

MAX_LINE: Final = 1 << 20
"""Bytes of the longest line, its end included."""


def stamp(moment: datetime) -> str:
    """A point in time as receipts have it: RFC 3339, UTC, microseconds."""
    text = moment.astimezone(UTC).isoformat(timespec="microseconds")
    return text.removesuffix("+00:00") + "Z"


def parse_line(line: bytes) -> dict[str, Any]:
    """The object of a line; an empty one if it is no object."""
    try:
        value = _decode(line.decode())
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _number(text: str) -> int | float:
    """An integer as it was before it was written: a large one was a float."""
    value = int(text)
    return value if -MAX_INTEGER <= value <= MAX_INTEGER else float(text)


_decode: Final = json.JSONDecoder(parse_int=_number).decode


class Sealed(NamedTuple):
    """A line that holds what its hash was made of.

    Attributes:
        record: All of its members.
        body: The bytes that are hashed and signed.
    """

    record: dict[str, Any]
    body: bytes

    @property
    def seq(self) -> Any:
        return self.record.get("seq")

    @property
    def prev(self) -> Any:
        return self.record.get("prev")

    @property
    def hash(self) -> str:
        return str(self.record["hash"])


def unseal(line: bytes) -> Sealed | None:
    """What `seal` made; None if a byte of it has been changed since."""
    record = parse_line(line)
    try:
        texts = members(record)
        # Otherwise it is spelt in another way, or a member comes twice.
        if join(texts.values()) != line:
            return None
        texts.pop("signature", None)
        texts.pop("hash", None)
        body = join(texts.values())
    except (ValueError, TypeError):
        return None
    if record.get("hash") != sha256(body).hexdigest():
        return None
    return Sealed(record, body)


def seal(content: Mapping[str, Any], signer: Signer | None) -> tuple[bytes, str]:
    """The line (without its end) of a content, and its hash.

    Raises:
        ValueError, TypeError: The content can't be written as canonical JSON.
    """
    # Sorted once, with what is only known later in its place.
    added = dict.fromkeys(("hash",) if signer is None else ("hash", "signature"))
    texts = members({**content, **added})
    body = join([text for name, text in texts.items() if name not in added])
    digest = sha256(body).hexdigest()
    texts["hash"] = f'"hash":"{digest}"'
    if signer is not None:
        texts["signature"] = f'"signature":"{signer.sign(body)}"'
    return join(texts.values()), digest


class Lines:
    """Lines in the making, each chained to the one before."""

    def __init__(self, seq: int, hash: str, signer: Signer | None) -> None:
        self.data = bytearray()
        self.seq = seq
        self.hash = hash
        self._signer = signer

    def add(self, kind: str, content: Mapping[str, Any]) -> None:
        place = {"kind": kind, "seq": self.seq + 1, "prev": self.hash}
        line, self.hash = seal({**content, **place}, self._signer)
        if len(line) >= MAX_LINE:
            raise ReceiptError(
                f"a receipt of {len(line)} bytes is too large: is it the metadata?"
            )
        self.seq += 1
        self.data += line + b"\n"
