"""Where receipts and their key are, unless someone says otherwise.

`LLMRING_RECEIPTS` names the file, or says `1` for the one in the state folder and `0`
for none. `LLMRING_RECEIPTS_KEY` names the private key; without it the key in the state
folder counts, if there is one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from llmring_lite.keys import SWITCHES

RECEIPTS_VARIABLE: Final = "LLMRING_RECEIPTS"
KEY_VARIABLE: Final = "LLMRING_RECEIPTS_KEY"
HASH_VARIABLE: Final = "LLMRING_RECEIPTS_HASH_CONTENT"


def state_folder(environ: Mapping[str, str] = os.environ) -> str:
    """Our folder for what a program leaves behind.

    https://specifications.freedesktop.org/basedir-spec/: state, not cache (nobody can
    make it again) and not configuration.
    """
    base = environ.get("XDG_STATE_HOME") or ""
    if not os.path.isabs(base):  # then it must be ignored, says the specification
        base = environ.get("LOCALAPPDATA") or os.path.expanduser("~/.local/state")
    return os.path.join(base, "llmring_lite")


def default_receipts(environ: Mapping[str, str] = os.environ) -> str:
    """The receipts file in the state folder."""
    return os.path.join(state_folder(environ), "receipts.jsonl")


def default_key(environ: Mapping[str, str] = os.environ) -> str:
    """Where `receipts keygen` puts the private key, and where it is looked for."""
    given = environ.get(KEY_VARIABLE)
    if given:
        return os.path.abspath(os.path.expanduser(given))
    return os.path.join(state_folder(environ), "receipts.key")


def find_receipts(
    given: str | os.PathLike[str] | bool | None,
    environ: Mapping[str, str] | None = None,
) -> str | None:
    """The file that receipts go to, as an absolute path; None: they are off.

    Args:
        given: A path, True for the state folder, False for none, None to ask the
            environment. `"1"` and `"0"` mean here what they mean there.
    """
    # No default argument: tracebacks with local variables would show all keys.
    if given is None:
        given = (os.environ if environ is None else environ).get(RECEIPTS_VARIABLE, "")
    if not isinstance(given, bool):
        name = os.fspath(given)
        given = SWITCHES.get(name.strip().lower())
        if given is None:
            return os.path.abspath(os.path.expanduser(name))
    if not given:
        return None
    return default_receipts(os.environ if environ is None else environ)


def find_key(environ: Mapping[str, str] = os.environ) -> str | None:
    """The private key that receipts are signed with; None: they are not signed.

    A key that the variable names need not be there: who asks for signatures must not
    get receipts without them.
    """
    path = default_key(environ)
    return path if environ.get(KEY_VARIABLE) or os.path.exists(path) else None
