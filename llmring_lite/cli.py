"""The command line: picks the command, and turns its outcome into an exit code.

    0    done
    1    what was asked for failed, or was found wrong
    2    usage, or a lockfile that is missing or can't be understood
    130  interrupted (Ctrl-C)
    141  the reader of stdout went away (as a shell counts SIGPIPE)

A command is a row here and a pair of functions in its module: one adds its
arguments to a parser, the other does the work and returns the exit code. Only the
module of the chosen command is imported: start-up time is a feature.
"""

from __future__ import annotations

import gc
import os
import sys
from argparse import ArgumentParser, HelpFormatter, Namespace
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Final, TypeAlias

from llmring_lite.cli_options import UsageError
from llmring_lite.cli_output import PROGRAM, complain, note, prepare_streams, say
from llmring_lite.exceptions import (
    InvalidRequestError,
    LLMRingError,
    LockfileNotFoundError,
    LockfileParseError,
    LockfileValidationError,
)

FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141

Command: TypeAlias = tuple[Callable[[ArgumentParser], None], Callable[[Namespace], int]]
"""What a module's `COMMANDS` holds for each of its commands: arguments, work."""

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "quickstart": ("cli_chat", "see it work, without any key"),
    "chat": ("cli_chat", "send a message, or start a conversation"),
    "aliases": ("cli_models", "list the aliases and their models"),
    "explain": ("cli_explain", "show how an alias resolves, and why"),
    "providers": ("cli_explain", "list the providers and which keys are set"),
    "bind": ("cli_lock", "bind an alias to models"),
    "unbind": ("cli_lock", "remove an alias"),
    "lock init": ("cli_lock", "write a lockfile for the keys that are set"),
    "lock validate": ("cli_audit", "check a lockfile and report every problem"),
    "lock check": ("cli_check", "check the lockfiles of extended packages"),
    "lock bump-registry": ("cli_audit", "pin the registry's newest versions"),
    "lock upgrade": ("cli_audit", "let aliases bound by a pattern choose anew"),
    "list": ("cli_registry", "list the models that the registry knows"),
    "info": ("cli_registry", "show what the registry knows of a model"),
    "registry refresh": ("cli_registry", "fetch the registry's newest data"),
    "cache info": ("cli_registry", "show what the registry's cache holds"),
    "cache clear": ("cli_registry", "empty the registry's cache"),
    "stats": ("cli_receipts", "sum up calls, tokens, cost and latency"),
    "export": ("cli_receipts", "write receipts as CSV or JSON"),
    "receipts list": ("cli_receipts", "list the last receipts"),
    "receipts verify": ("cli_receipts_proof", "check that no receipt was changed"),
    "receipts keygen": ("cli_receipts_proof", "make a key to sign receipts with"),
    "receipts checkpoint": ("cli_receipts_proof", "certify how far receipts got"),
    "receipts bundle": ("cli_receipts_proof", "certify the sums of a period"),
}
"""Command -> its module, and what it does in a few words."""

_VALUED: Final = ("--lockfile", "--profile")
"""Options that may also stand before the command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (default: the process's own) and return its exit code."""
    prepare_streams()
    try:
        code = _guarded(list(sys.argv[1:] if argv is None else argv))
        # Here rather than at interpreter exit, where a failure can't be handled.
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return PIPE_CLOSED
    except OSError as error:
        _discard_output()
        complain(_describe_os_error(error))
        _show_traceback()
        return FAILED
    return code


def _guarded(argv: list[str]) -> int:
    """Run a command line; every failure but the system's becomes an exit code."""
    try:
        return _dispatch(argv)
    except SystemExit as stop:  # argparse has printed help (0) or a complaint (2)
        return stop.code if isinstance(stop.code, int) else FAILED
    except KeyboardInterrupt:
        # The terminal has echoed ^C without a line end.
        note("")
        return INTERRUPTED
    except UsageError as error:
        complain(str(error))
        return USAGE
    except LLMRingError as error:
        complain(str(error) or type(error).__name__)
        _show_traceback()
        return _code_of(error)
    except ImportError as error:  # says what to install
        complain(str(error))
        _show_traceback()
        return FAILED
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - the boundary: a message, no traceback
        complain(
            f"internal error: {type(error).__name__}: {_redact(str(error))}\n"
            "This is a bug. LLMRING_DEBUG=1 shows where it happened."
        )
        _show_traceback()
        return FAILED


def _code_of(error: LLMRingError) -> int:
    misused = (
        InvalidRequestError,
        LockfileNotFoundError,
        LockfileParseError,
        LockfileValidationError,
    )
    return USAGE if isinstance(error, misused) else FAILED


def _describe_os_error(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename else reason


def _show_traceback() -> None:
    if os.environ.get("LLMRING_DEBUG", "") not in ("", "0"):
        import traceback  # only whoever debugs pays for it

        note(_redact(traceback.format_exc()).rstrip())


def _redact(text: str) -> str:
    """The text without the value of any variable that looks like a credential.

    Our own errors hold no key; this is for those that we didn't foresee.
    """
    for name, value in os.environ.items():
        value = value.strip()
        if name.endswith(("KEY", "TOKEN", "SECRET", "PASSWORD")) and len(value) >= 6:
            text = text.replace(value, f"[{name}]")
    return text


def _discard_output() -> None:
    """Let the interpreter's last flush of stdout go nowhere instead of failing.

    https://docs.python.org/3/library/signal.html#note-on-sigpipe
    """
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _dispatch(argv: list[str]) -> int:
    words, before, after = _split(argv)
    name = " ".join(words)
    if name in COMMANDS:
        parser, work = load_command(name)
        return work(parser.parse_args([*before, *after]))
    if "--version" in before:
        from llmring_lite._version import __version__

        say(f"{PROGRAM} {__version__}")
        return 0
    if {"-h", "--help"} & set(before) and (not words or _group(name)):
        say(_overview(name))
        return 0
    return _complain_about_usage(name, [*before, *after], words)


def load_command(name: str) -> tuple[ArgumentParser, Callable[[Namespace], int]]:
    """The parser of a command, and the function that does its work."""
    home, summary = COMMANDS[name]
    # Imports make no garbage but many objects: several vain collections while they
    # run, and more when the interpreter ends, which frozen objects are spared. Together
    # a seventh of the time that a short command takes.
    gc.disable()
    try:
        commands: Mapping[str, Command] = import_module(f"llmring_lite.{home}").COMMANDS
    finally:
        gc.freeze()
        gc.enable()
    add_arguments, work = commands[name]
    # No abbreviations: a script's `--pro` would break when another option comes.
    parser = _Parser(
        prog=f"{PROGRAM} {name}",
        description=summary[0].upper() + summary[1:] + ".",
        allow_abbrev=False,
        formatter_class=_Formatter,
    )
    add_arguments(parser)
    return parser, work


class _Parser(ArgumentParser):
    def print_help(self, file: object = None) -> None:
        """To stdout, where argparse's own way would hide a failure to write."""
        say(self.format_help().rstrip())


class _Formatter(HelpFormatter):
    """Asks the terminal for its width without loading `shutil`.

    argparse makes a formatter for each argument it adds, so `shutil` and the
    compression modules that it loads would count for every command (2 ms).
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_terminal_width() - 2)


def _terminal_width() -> int:
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size().columns or 80
    except OSError:  # stdout is closed, or no terminal
        return 80


def _split(argv: list[str]) -> tuple[list[str], list[str], list[str]]:
    """The words of the command, the options before it, and all that follows."""
    words: list[str] = []
    before: list[str] = []
    at = 0
    while at < len(argv):
        if argv[at].startswith("-"):
            step = 2 if argv[at] in _VALUED else 1
            before += argv[at : at + step]
            at += step
            continue
        words.append(argv[at])
        at += 1
        if not _group(" ".join(words)):
            break
    return words, before, argv[at:]


def _group(name: str) -> list[str]:
    """The commands that begin with a word such as `lock`."""
    return [command for command in COMMANDS if command.startswith(f"{name} ")]


def _overview(group: str = "") -> str:
    names = _group(group) if group else list(COMMANDS)
    width = max(map(len, names))
    usage = (
        [f"usage: {PROGRAM} {group} COMMAND ..."]
        if group
        else [
            f"usage: {PROGRAM} [--lockfile FILE] [--profile NAME] COMMAND ...",
            f"       {PROGRAM} --version",
        ]
    )
    lines = [
        *usage,
        "",
        "Alias-first LLM routing: llmring.lock says which model serves which task.",
        "",
        *(f"  {name:{width}}  {COMMANDS[name][1]}" for name in names),
        "",
        f"`{PROGRAM} COMMAND --help` shows the options of a command.",
    ]
    return "\n".join(lines)


def _complain_about_usage(name: str, rest: list[str], words: list[str]) -> int:
    stray = [option for option in rest if option.startswith("-")]
    if not words and not stray:
        note(_overview())
    elif _group(name):
        note(_overview(name))
    elif not words:
        complain(f"unknown option {stray[0]}; `{PROGRAM} --help` lists what there is")
    else:
        from difflib import get_close_matches  # 3 ms that only a misspelling pays

        near = get_close_matches(name, COMMANDS, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else ""
        complain(
            f"unknown command {name!r}; "
            + (hint or f"`{PROGRAM} --help` lists the commands")
        )
    return USAGE
