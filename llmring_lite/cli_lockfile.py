"""Which lockfile and which profile a command works on, and why these."""

from __future__ import annotations

import os
from argparse import Namespace

from llmring_lite.cli_output import complain
from llmring_lite.lockfile import Lockfile
from llmring_lite.lockfile_file import find_lockfile_name


def open_lockfile(args: Namespace) -> Lockfile:
    """The lockfile that `--lockfile` names, else the one that is found.

    Its warnings go to stderr.

    Raises:
        LockfileError: It is missing, or can't be used.
    """
    lockfile = Lockfile.load(find_lockfile_name(args.lockfile))
    for warning in lockfile.warnings:
        complain(warning, kind="warning")
    return lockfile


def profile_of(args: Namespace, lockfile: Lockfile) -> str:
    """The profile in force."""
    return profile_and_source(args, lockfile)[0]


def profile_and_source(args: Namespace, lockfile: Lockfile) -> tuple[str, str]:
    """The profile in force, and what decided it."""
    if args.profile:
        return args.profile, "--profile"
    name = os.environ.get("LLMRING_PROFILE")
    if name:
        return name, "LLMRING_PROFILE"
    return lockfile.default_profile, "the lockfile's default_profile"


def lockfile_source(args: Namespace, lockfile: Lockfile) -> str:
    """What decided for this lockfile."""
    if args.lockfile:
        return "--lockfile"
    if os.environ.get("LLMRING_LOCKFILE_PATH"):
        return "LLMRING_LOCKFILE_PATH"
    if lockfile.is_bundled:
        return "bundled with the package, as nothing else was found"
    return "found in the current folder"
