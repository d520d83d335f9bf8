"""Recorded provider traffic for tests: the records, and where to replay them.

The recordings are not part of this repository. They lie beside a checkout, in
`../shared/wire`, with the server that replays them; where they are absent, the tests
that need them are skipped. The format of a record is described in the README there.
"""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

WIRE = Path(__file__).resolve().parents[1].parent / "shared" / "wire"

Record = dict[str, Any]

KINDS = {
    "openai-chat": "openai",
    "openai-responses": "openai-responses",
    "anthropic-messages": "anthropic",
    "google-generatecontent": "google",
    "ollama-chat": "ollama",
}
"""Wire format of a record, in the words of a lockfile."""

KEY_VARIABLE = "WIRE_TEST_KEY"

needs_recordings = pytest.mark.skipif(
    not WIRE.is_dir(), reason="the recordings are not beside this checkout"
)


def files() -> list[str]:
    """Names of the files with records that say what is expected."""
    names = (path.stem for path in WIRE.glob("*.jsonl"))
    return sorted(name for name in names if name != "files")


@cache
def load(name: str) -> list[Record]:
    """The records of a file."""
    # Not str.splitlines: it cuts at U+2028, which JSON text may hold.
    text = (WIRE / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def every() -> list[Record]:
    """All records that say what is expected."""
    return [record for name in files() for record in load(name)]


def is_stream(record: Record) -> bool:
    """Whether a stream was asked for and came."""
    return bool(record["streaming"]) and record["response"]["status"] == 200


def kind_of(record: Record) -> str:
    return KINDS[record["api"]]


@cache
def replay() -> ModuleType:
    """The module of the replay server, loaded from where it lies."""
    spec = importlib.util.spec_from_file_location(
        "wire_replay_server", WIRE / "replay_server.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lockfile(records: list[Record], server: Any) -> str:
    """A lockfile with one provider a record, named by its id.

    Each leads to the replay server, at the address that answers with the record.
    """
    rows = ['version = "1.0"', 'default_profile = "default"']
    for record in records:
        kind = kind_of(record)
        version = "/v1" if kind.startswith("openai") else ""
        rows += [
            f'[providers."{record["id"]}"]',
            f'kind = "{kind}"',
            f'base_url = "{server.base_url(record["id"])}{version}"',
            f'api_key_env = "{KEY_VARIABLE}"',
        ]
    return "\n".join([*rows, "[profiles.default]", 'name = "default"', ""])
