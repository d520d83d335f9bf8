"""Which lockfile and which profile a command works on, and why these."""

from __future__ import annotations

import os
from argparse import Namespace

from llmring_lite.cli_output import complain
from llmring_lite.lockfile import Lockfile, bundled_path, find_lockfile


def open_lockfile(args: Namespace) -> Lockfile:
    """The lockfile that `--lockfile` names, else the one that is found.

    Its warnings go to stderr.

    Raises:
        LockfileError: It is missing, or can't be used.
    """
    lockfile = Lockfile.load(find_lockfile(args.lockfile))
    for warning in lockfile.warnings:
        complain(warning, kind="warning")
    return lockfile


def is_bundled(lockfile: Lockfile) -> bool:
    """True if there is no lockfile but the one that comes with the package."""
    return lockfile.path == bundled_path()


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
    if is_bundled(lockfile):
        return "bundled with the package, as nothing else was found"
    return "found in the current folder"
