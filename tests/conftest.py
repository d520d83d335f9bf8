"""What every test stands on: no network but loopback, no keys, no user's files."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from commands import Run, runner

from llmring_lite.provider import BUILTIN

_connect = socket.socket.connect


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key, base URL, proxy or setting of whoever runs the tests."""
    names = {name for row in BUILTIN.values() for name in row.api_key_env}
    names |= {name for row in BUILTIN.values() for name in row.base_url_env}
    names |= {name for name in os.environ if name.startswith("LLMRING_")}
    names |= {name for name in os.environ if name.lower().endswith("_proxy")}
    names |= {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC", "NO_COLOR"}
    for name in names:
        monkeypatch.delenv(name, raising=False)
    # Nobody listens there: the registry's data is that of the package.
    monkeypatch.setenv("LLMRING_REGISTRY_URL", "http://127.0.0.1:1/registry")
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to anywhere else fails the test instead of leaving the machine."""

    def connect(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else address
        local = isinstance(host, str) and (host.startswith("127.") or host == "::1")
        if self.family in (socket.AF_INET, socket.AF_INET6) and not local:
            raise AssertionError(f"a test tried to connect to {address!r}")
        _connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs commands in `folder`."""
    return runner(capsys)


class Clock:
    """A clock that is turned by hand; sleeping turns it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()
