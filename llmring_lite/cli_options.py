"""Options that several commands share."""

from __future__ import annotations

from argparse import ArgumentParser


class UsageError(Exception):
    """The command line asks for something that makes no sense: exit code 2."""


def add_lockfile_options(parser: ArgumentParser, *names: str) -> None:
    """`--lockfile` (and other `names` for it) and `--profile`."""
    parser.add_argument(
        *(names or ("--lockfile",)),
        dest="lockfile",
        metavar="FILE",
        help="lockfile (default: LLMRING_LOCKFILE_PATH, else ./llmring.lock)",
    )
    parser.add_argument(
        "--profile",
        metavar="NAME",
        help="profile (default: LLMRING_PROFILE, else the lockfile's default_profile)",
    )


def add_json_option(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
