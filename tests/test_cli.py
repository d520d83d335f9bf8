"""What every command has in common: exit codes, streams, terminals, signals."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmring_lite import cli
from llmring_lite.exceptions import (
    AllModelsFailedError,
    InvalidRequestError,
    LockfileNotFoundError,
    LockfileParseError,
    LockfileValidationError,
    ProviderRateLimitError,
)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package, for processes that start in another folder."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[1]))


RunCLI = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def run_cli(tmp_path: Path) -> RunCLI:
    """Run the real process in an empty folder."""

    def run(*argv: str, **extra: object) -> subprocess.CompletedProcess[bytes]:
        environ = {**os.environ, **extra.pop("env", {})}  # type: ignore[dict-item]
        return subprocess.run(
            [sys.executable, "-m", "llmring_lite", *argv],
            cwd=tmp_path,
            env={name: value for name, value in environ.items() if value is not None},
            capture_output=True,
            timeout=60,
            check=False,
            **extra,  # type: ignore[call-overload]
        )

    return run


@pytest.fixture
def fail_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], int]:
    """Run a command whose work raises, and return the exit code."""

    def run(error: BaseException) -> int:
        def work(_: object) -> int:
            raise error

        monkeypatch.setattr(
            cli, "load_command", lambda name: (cli.ArgumentParser(), work)
        )
        return cli.main(["aliases"])

    return run


# Usage ---------------------------------------------------------------------------


def test_version_goes_to_stdout(run_cli: RunCLI) -> None:
    from llmring_lite import __version__

    done = run_cli("--version")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.split() == [b"llmring-lite", __version__.encode()]


@pytest.mark.parametrize("argv", [["--help"], ["-h"]])
def test_help_lists_every_command(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for name, (_, summary) in cli.COMMANDS.items():
        assert name in out
        assert summary in out


def test_help_of_a_group_lists_its_commands_only(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["lock", "--help"]) == 0
    out = capsys.readouterr().out
    assert "lock init" in out
    assert "quickstart" not in out


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_explains_itself(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*name.split(), "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"usage: llmring-lite {name} ")
    assert err == ""
    # argparse writes its help itself, so it must suit any terminal.
    assert out.isascii()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "usage: llmring-lite"),
        (["lock"], "lock validate"),
        (["alises"], "did you mean aliases"),
        (["lock", "vaildate"], "lock validate"),
        (["xyzzy"], "--help"),
        (["--frobnicate"], "--frobnicate"),
        (["aliases", "--frobnicate"], "--frobnicate"),
        (["aliases", "--prof", "x"], "--prof"),
        (["--lockfile"], "--lockfile"),
        (["bind"], "ALIAS"),
    ],
)
def test_wrong_usage_is_explained_on_stderr_with_exit_2(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err


# Failures ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ProviderRateLimitError("slow down", provider="openai", model="m"), 1),
        (AllModelsFailedError("2 candidates failed"), 1),
        (InvalidRequestError("a message has no role"), 2),
        (LockfileNotFoundError("no such lockfile"), 2),
        (LockfileParseError("line 3: what?"), 2),
        (LockfileValidationError("2 problems"), 2),
        (PermissionError(13, "Permission denied", "secret.txt"), 1),
        (OSError("odd"), 1),
    ],
)
def test_an_error_is_one_message_and_an_exit_code(
    error: Exception,
    code: int,
    fail_with: Callable[[BaseException], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fail_with(error) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("llmring-lite: ")
    assert (error.filename if getattr(error, "filename", None) else str(error)) in err
    assert "Traceback" not in err


def test_an_unforeseen_error_has_no_traceback_and_no_key(
    fail_with: Callable[[BaseException], int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POOL_KEY", "hunter2hunter2")
    assert fail_with(RuntimeError("header hunter2hunter2 refused")) == 1
    err = capsys.readouterr().err
    assert "RuntimeError" in err
    assert "hunter2" not in err
    assert "Traceback" not in err
    assert "LLMRING_DEBUG=1" in err


def test_debug_shows_the_traceback_without_the_key(
    fail_with: Callable[[BaseException], int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LLMRING_DEBUG", "1")
    monkeypatch.setenv("POOL_KEY", "hunter2hunter2")
    assert fail_with(RuntimeError("header hunter2hunter2 refused")) == 1
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert "hunter2" not in err


def test_an_interrupt_exits_130_without_a_traceback(
    fail_with: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail_with(KeyboardInterrupt()) == 130
    assert capsys.readouterr() == ("", "\n")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_in_the_real_process_exits_130(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "llmring_lite", "chat", "-", "--model", "mock:echo"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    # A text longer than a pipe holds: the write returns once the process reads it,
    # so it is past its imports.
    process.stdin.write(b"x" * 200_000)
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == b""
    assert b"Traceback" not in err


# Streams and terminals -----------------------------------------------------------


def test_a_urllib3_that_is_too_old_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, urllib3\n"
            "for kind in urllib3.HTTPResponse.__mro__:\n"
            "    if 'read1' in vars(kind):\n"
            "        del kind.read1\n"
            "from llmring_lite.cli import main\n"
            "sys.exit(main(['chat', 'hi', '--model', 'ollama:m']))",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "needs urllib3 2.2 or newer" in done.stderr
    assert "pip install --upgrade urllib3" in done.stderr
    assert "bug" not in done.stderr


@pytest.fixture
def closed_pipe() -> Iterator[int]:
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
@pytest.mark.parametrize("argv", [["--help"], ["aliases", "--help"], ["providers"]])
def test_a_closed_pipe_is_silent(
    argv: list[str], closed_pipe: int, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "llmring_lite", *argv],
        cwd=tmp_path,
        stdout=closed_pipe,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_a_closed_pipe_on_both_streams_is_silent(
    closed_pipe: int, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "llmring_lite", "xyzzy"],
        cwd=tmp_path,
        stdout=closed_pipe,
        stderr=closed_pipe,
        check=False,
        timeout=60,
    )
    assert done.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_reported(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "llmring_lite", "--help"],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(b"llmring-lite: ")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="POSIX shell")
def test_a_closed_stdout_is_no_crash(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m llmring_lite --help >&-",
        shell=True,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")


class _Terminal(io.TextIOWrapper):
    """A stream with an encoding that may claim to be a terminal."""

    def __init__(self, encoding: str = "utf-8", *, tty: bool = True) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, newline="\n")
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty

    def printed(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "a → b… café ’日"),
        ("ascii", "a -> b... caf\\xe9 '\\u65e5"),
        ("latin-1", "a -> b... café '\\u65e5"),
    ],
)
def test_any_terminal_can_show_any_text(
    encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmring_lite.cli_output import prepare_streams, say

    terminal = _Terminal(encoding)
    monkeypatch.setattr(sys, "stdout", terminal)
    prepare_streams()
    say("a → b… café ’日")
    assert terminal.printed() == shown + "\n"


def test_bytes_that_are_no_text_are_shown_escaped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from llmring_lite.cli_output import prepare_streams, say

    terminal = _Terminal("utf-8")
    monkeypatch.setattr(sys, "stdout", terminal)
    prepare_streams()
    say(os.fsdecode(b"caf\xe9"))
    assert terminal.printed() == "caf\\udce9\n"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_json_stays_json_in_any_terminal(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    from llmring_lite.cli_output import prepare_streams, say_json

    terminal = _Terminal(encoding)
    monkeypatch.setattr(sys, "stdout", terminal)
    prepare_streams()
    say_json({"text": "→ café 日"})
    assert json.loads(terminal.printed()) == {"text": "→ café 日"}


@pytest.mark.parametrize(
    ("tty", "environ", "coloured"),
    [
        (True, {}, True),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
        (False, {}, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(
    tty: bool,
    environ: dict[str, str],
    coloured: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from llmring_lite.cli_output import paint

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    text = paint("text", "bold", _Terminal(tty=tty))
    assert (text != "text") == coloured
    assert "text" in text
