"""The quickstart shows what it says, and leaves nothing behind."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from llmring_lite import quickstart


@pytest.fixture
def shown(monkeypatch, tmp_path):
    """What it wrote, run in an empty folder with an empty folder for its files."""
    here, temporary = tmp_path / "here", tmp_path / "temporary"
    here.mkdir()
    temporary.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    threads = set(threading.enumerate())
    out = io.StringIO()
    assert quickstart.run(out) == 0
    assert list(here.iterdir()) == []
    assert list(temporary.iterdir()) == []
    assert not any(Path(os.environ["HOME"]).rglob("*"))
    assert set(threading.enumerate()) <= threads
    return out.getvalue()


def test_it_shows_binding_chat_stream_and_failover(shown):
    steps = [shown.index(f"\n{number}. ") for number in (2, 3, 4)]
    assert steps == sorted(steps)
    binding, chat, stream, failover = (
        shown[start:end]
        for start, end in zip(
            [0, *steps], [*steps, shown.index("Next steps")], strict=True
        )
    )
    assert '| models = ["demo-a:small", "demo-b:large"]' in binding
    assert "answered by demo-a:small" in chat
    assert "ended with 'stop'" in stream
    assert "demo-a:small: " in failover
    assert "HTTP 503" in failover
    assert "demo-b:large: answered" in failover


def test_it_tells_the_next_steps_in_plain_ascii(shown):
    assert "lock init" in shown
    assert "OPENAI_API_KEY" in shown
    assert shown.isascii()
    assert max(map(len, shown.splitlines())) < 160


def test_settings_of_the_environment_do_not_disturb_it(monkeypatch, tmp_path):
    receipts = tmp_path / "receipts.jsonl"
    monkeypatch.setenv("LLMRING_PROFILE", "prod")
    monkeypatch.setenv("LLMRING_LOCKFILE_PATH", str(tmp_path / "missing.lock"))
    monkeypatch.setenv("LLMRING_RECEIPTS", str(receipts))
    monkeypatch.setenv("LLMRING_PROVIDER_TIMEOUT_S", "0.000001")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    out = io.StringIO()
    assert quickstart.run(out) == 0
    assert "demo-b:large: answered" in out.getvalue()
    assert "sk-test" not in out.getvalue()
    assert not receipts.exists()


def test_it_is_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "llmring_lite", "quickstart"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[1],
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Next steps" in done.stdout
