"""`chat` and `quickstart`."""

from __future__ import annotations

import contextlib
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from math import isfinite
from typing import Final

from llmring_lite.cli_conversation import Conversation, converse
from llmring_lite.cli_message import build_content, mend, read_stdin
from llmring_lite.cli_options import UsageError, add_lockfile_options
from llmring_lite.service import LLMRing

# chat ----------------------------------------------------------------------------


def add_chat_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "message",
        metavar="MESSAGE",
        nargs="?",
        help="what to say; - reads it from stdin; without it a conversation begins",
    )
    parser.add_argument(
        "--model",
        metavar="ALIAS",
        help="alias or provider:model (default: the only alias, else the alias "
        "`default`, else `fast`)",
    )
    parser.add_argument("--system", metavar="TEXT", help="system message")
    parser.add_argument(
        "--stream", action="store_true", help="print the reply while it arrives"
    )
    parser.add_argument(
        "--temperature", type=_finite, metavar="T", help="sent only if given"
    )
    parser.add_argument(
        "--max-tokens",
        type=_positive,
        metavar="N",
        help="limit of the reply, sent only if given",
    )
    parser.add_argument(
        "--file",
        action="append",
        default=[],
        metavar="FILE",
        help="text, image or PDF to send along; may be repeated",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print the reply as JSON; with --stream one line for each chunk",
    )
    parser.add_argument(
        "--verbose",
        action="store_true",
        help="model, tokens, cost and attempts on stderr",
    )
    add_lockfile_options(parser)


def _finite(text: str) -> float:
    with contextlib.suppress(ValueError):
        if isfinite(number := float(text)):
            return number
    raise ArgumentTypeError(f"{text!r} is not a number")


def _positive(text: str) -> int:
    with contextlib.suppress(ValueError):
        if (number := int(text)) > 0:
            return number
    raise ArgumentTypeError(f"{text!r} is not a positive whole number")


def run_chat(args: Namespace) -> int:
    with LLMRing(lockfile_path=args.lockfile, profile=args.profile) as ring:
        conversation = Conversation(ring, args.model or _default_model(ring), args)
        if args.message is None:
            return converse(conversation, args.file)
        text = mend(args.message)
        if text == "-":
            text = read_stdin()
        if not text.strip() and not args.file:
            raise UsageError("the message is empty")
        conversation.ask(build_content(text, args.file))
    return 0


def _default_model(ring: LLMRing) -> str:
    aliases = list(ring.list_aliases())
    if ring.lockfile.is_bundled:
        raise UsageError(
            "no lockfile, so no alias to talk to: make one with `llmring-lite lock "
            "init`, or name a model with --model PROVIDER:MODEL"
        )
    if len(aliases) == 1:
        return aliases[0]
    for name in ("default", "fast"):
        if name in aliases:
            return name
    raise UsageError(
        f"which model? Choose with --model: {', '.join(aliases)}"
        if aliases
        else f"{ring.lockfile_path} binds no alias in this profile: bind one with "
        "`llmring-lite bind ALIAS MODELS`, or name a model with --model PROVIDER:MODEL"
    )


# quickstart ----------------------------------------------------------------------


def add_quickstart_arguments(parser: ArgumentParser) -> None:
    del parser  # it takes none


def run_quickstart(args: Namespace) -> int:
    # A server that no other command needs.
    from llmring_lite import quickstart

    del args
    return quickstart.run(sys.stdout)


COMMANDS: Final = {
    "chat": (add_chat_arguments, run_chat),
    "quickstart": (add_quickstart_arguments, run_quickstart),
}
