"""The file: which lockfile counts, its text, and the plain data in that.

Nothing is checked here beyond syntax. Library and command line search alike.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeAlias

from llmring_lite.exceptions import (
    LockfileError,
    LockfileNotFoundError,
    LockfileParseError,
)

# Names are strings in here, and paths only for who asks: `pathlib` and the URL parser
# that it loads are a tenth of what a short command takes.
if TYPE_CHECKING:
    from pathlib import Path

Format: TypeAlias = Literal["toml", "json"]

LOCKFILE_NAME: Final = "llmring.lock"

BUNDLED_LOCKFILE: Final = os.path.join(
    os.path.dirname(os.path.abspath(__file__)), LOCKFILE_NAME
)
"""The lockfile that comes with this package."""

INIT_ADVICE: Final = "`llmring-lite lock init` makes one"

MAX_BYTES: Final = 16 * 2**20
"""Larger files are refused unread: 10,000 bindings take about 1 MB."""

BOM: Final = "\ufeff"

_VARIABLE: Final = "LLMRING_LOCKFILE_PATH"
_MAX_DEPTH: Final = 100


# Which file ----------------------------------------------------------------------


def bundled_path() -> Path:
    """The lockfile that comes with this package."""
    from pathlib import Path

    return Path(BUNDLED_LOCKFILE)


def find_lockfile(
    explicit: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
) -> Path:
    """The lockfile that counts, as an absolute path.

    The first of: `explicit`, the variable LLMRING_LOCKFILE_PATH, `llmring.lock` in
    the working directory, the bundled file. Empty strings count as not given.

    Raises:
        LockfileNotFoundError: `explicit` or the variable names a file that is not
            there, or nothing at all is there.
    """
    from pathlib import Path

    return Path(find_lockfile_name(explicit, environ, cwd))


def find_lockfile_name(
    explicit: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
) -> str:
    """The same as a string."""
    folder = os.fspath(cwd) if cwd is not None else _working_directory()
    for given, origin in (
        (explicit and os.fspath(explicit), "lockfile_path"),
        # No default argument: tracebacks with local variables would show all keys.
        ((os.environ if environ is None else environ).get(_VARIABLE), _VARIABLE),
    ):
        if given:
            name = os.path.join(folder, given)
            if _is_there(name):
                return name
            raise LockfileNotFoundError(
                f"no lockfile at {name} (named by {origin}); {INIT_ADVICE}", path=name
            )
    local = os.path.join(folder, LOCKFILE_NAME)
    for name in (local, BUNDLED_LOCKFILE):
        if _is_there(name):
            return name
    raise LockfileNotFoundError(
        f"no lockfile: {_VARIABLE} is not set, and neither {local} nor "
        f"{BUNDLED_LOCKFILE} is there; {INIT_ADVICE}",
        path=local,
    )


def _working_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # deleted under our feet
        return ""


def _is_there(name: str) -> bool:
    """A symbolic link to nowhere is an error, a folder is not a lockfile."""
    if not os.path.exists(name) and os.path.islink(name):
        raise LockfileNotFoundError(
            f"{name} is a symbolic link to a file that is not there", path=name
        )
    return os.path.exists(name) and not os.path.isdir(name)


# Its text ------------------------------------------------------------------------


def format_of(path: str) -> Format:
    """JSON for a name that ends in `.json`, else TOML."""
    return "json" if path.lower().endswith(".json") else "toml"


def read_text(path: str) -> str:
    """The text of a file, line ends and byte order mark untouched.

    Raises:
        LockfileNotFoundError: There is no such file.
        LockfileParseError: It is too large, or not UTF-8.
        LockfileError: It can't be read.
    """
    try:
        with open(path, "rb") as file:
            return decode(file.read(MAX_BYTES + 1), path)
    except FileNotFoundError:
        raise LockfileNotFoundError(
            f"no lockfile at {path}; {INIT_ADVICE}", path=path
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LockfileError(f"can't read {path}: {reason}", path=path) from error


def decode(data: bytes, path: str) -> str:
    """The text in at most `MAX_BYTES` of UTF-8. Raises LockfileParseError."""
    if len(data) > MAX_BYTES:
        raise LockfileParseError(
            f"{path} is larger than {MAX_BYTES // 2**20} MiB", path=path
        )
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        _fail("not UTF-8 text", path, *_place_behind(before))


# Its data ------------------------------------------------------------------------


def parse(
    text: str, *, format: Format = "toml", path: str | None = None
) -> dict[str, Any]:
    """The document as plain data. Raises LockfileParseError."""
    text = text.removeprefix(BOM)
    try:
        data = _parse_json(text, path) if format == "json" else tomllib.loads(text)
    except RecursionError:
        _fail("values are nested too deeply", path)
    except tomllib.TOMLDecodeError as error:
        _fail_toml(str(error), text, path)
    except ValueError as error:
        # Integers beyond sys.get_int_max_str_digits(), impossible dates.
        _fail(str(error), path)
    _check_depth(data, path)
    return data


def _parse_json(text: str, path: str | None) -> dict[str, Any]:
    import json  # only lockfiles named .json need it

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"the key {twice!r} stands twice in one object")
        return table

    def no_constant(word: str) -> NoReturn:
        raise ValueError(f"{word} is not JSON")

    try:
        data = json.loads(text, object_pairs_hook=unique, parse_constant=no_constant)
    except json.JSONDecodeError as error:
        _fail(_lower(error.msg), path, error.lineno, error.colno)
    if not isinstance(data, dict):
        _fail("the document must be a JSON object", path, 1, 1)
    return data


def _check_depth(data: dict[str, Any], path: str | None) -> None:
    """Dotted keys nest without recursion in the parser; later steps do recurse."""
    level: list[Any] = [data]
    for _ in range(_MAX_DEPTH):
        level = [
            item
            for container in level
            for item in (container.values() if type(container) is dict else container)
            if type(item) is dict or type(item) is list
        ]
        if not level:
            return
    _fail(f"values are nested more than {_MAX_DEPTH} levels deep", path)


def _fail_toml(message: str, text: str, path: str | None) -> NoReturn:
    """tomllib puts the place at the end of its message."""
    what, _, place = message.rpartition(" (at ")
    words = place.rstrip(")").replace(",", "").split()
    if words[:1] == ["line"] and len(words) == 4:
        _fail(_lower(what), path, int(words[1]), int(words[3]))
    _fail(_lower(what or message), path, *_place_behind(text))


def _place_behind(text: str) -> tuple[int, int]:
    lines = text.split("\n")
    return len(lines), len(lines[-1]) + 1


def _lower(message: str) -> str:
    """A parser's message as a part of ours."""
    return message[:1].lower() + message[1:]


def _fail(
    message: str,
    path: str | None,
    line: int | None = None,
    column: int | None = None,
) -> NoReturn:
    place = "" if line is None else f", line {line}, column {column}"
    raise LockfileParseError(
        f"{path or 'the lockfile'}{place}: {message}",
        path=path,
        line=line,
        column=column,
    ) from None
