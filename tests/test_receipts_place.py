"""Where receipts and keys are looked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmring_lite.receipts_place import (
    default_key,
    default_receipts,
    find_key,
    find_receipts,
    state_folder,
)


def test_the_state_folder_is_that_of_the_desktop_specification() -> None:
    assert state_folder({"XDG_STATE_HOME": "/x/state"}) == "/x/state/llmring_lite"
    home = os.path.expanduser("~/.local/state/llmring_lite")
    assert state_folder({}) == home
    # https://specifications.freedesktop.org/basedir-spec/: relative ones are ignored.
    assert state_folder({"XDG_STATE_HOME": "state"}) == home


def test_receipts_and_key_are_in_it() -> None:
    environ = {"XDG_STATE_HOME": "/x"}
    assert default_receipts(environ) == "/x/llmring_lite/receipts.jsonl"
    assert default_key(environ) == "/x/llmring_lite/receipts.key"


@pytest.mark.parametrize("word", ["1", "true", "YES", " on "])
def test_words_for_the_state_folder(word: str) -> None:
    environ = {"XDG_STATE_HOME": "/x", "LLMRING_RECEIPTS": word}
    assert find_receipts(None, environ) == default_receipts(environ)


@pytest.mark.parametrize("word", ["", "0", "False", "no", " off "])
def test_words_for_none(word: str) -> None:
    assert find_receipts(None, {"LLMRING_RECEIPTS": word}) is None
    assert find_receipts(word, {"LLMRING_RECEIPTS": "/x"}) is None


def test_a_key_that_is_named_need_not_be_there(tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    assert find_key(environ) is None
    key = tmp_path / "llmring_lite" / "receipts.key"
    key.parent.mkdir()
    key.touch()
    assert find_key(environ) == str(key)
    named = {**environ, "LLMRING_RECEIPTS_KEY": "/none/key"}
    assert find_key(named) == "/none/key"
