"""Options that several commands share."""

from __future__ import annotations

from argparse import ArgumentParser


def add_lockfile_options(parser: ArgumentParser) -> None:
    """`--lockfile` and `--profile`, for a command that reads a lockfile."""
    add_lockfile_option(parser, "--lockfile")
    parser.add_argument(
        "--profile",
        metavar="NAME",
        help="profile (default: LLMRING_PROFILE, else the lockfile's default_profile)",
    )


def add_lockfile_option(parser: ArgumentParser, *names: str) -> None:
    parser.add_argument(
        *names,
        dest="lockfile",
        metavar="FILE",
        help="lockfile (default: LLMRING_LOCKFILE_PATH, else ./llmring.lock)",
    )


def add_json_option(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
