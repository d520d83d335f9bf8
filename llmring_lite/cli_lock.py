"""`lock init`, `lock validate`, `bind`, `unbind`: making and changing a lockfile."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import Any, Final

from llmring_lite import lockfile_edit
from llmring_lite.cli_lockfile import open_lockfile, profile_of
from llmring_lite.cli_models import alias_line
from llmring_lite.cli_options import (
    UsageError,
    add_json_option,
    add_lockfile_options,
)
from llmring_lite.cli_output import (
    PROGRAM,
    complain,
    note,
    paint,
    plural,
    say,
    say_json,
)
from llmring_lite.exceptions import LockfileParseError, LockfileValidationError
from llmring_lite.lockfile import LOCKFILE_NAME, AliasBinding, Lockfile, find_lockfile
from llmring_lite.lockfile_init import provider_names, write
from llmring_lite.lockfile_model import STRATEGIES
from llmring_lite.provider import BUILTIN

# lock init -----------------------------------------------------------------------


def add_init_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--file",
        "--lockfile",
        dest="lockfile",
        metavar="FILE",
        help="file to write (default: LLMRING_LOCKFILE_PATH, else ./llmring.lock)",
    )
    parser.add_argument(
        "--force", action="store_true", help="overwrite a file that exists"
    )


def run_init(args: Namespace) -> int:
    named = args.lockfile or os.environ.get("LLMRING_LOCKFILE_PATH")
    path = Path(named or LOCKFILE_NAME)
    usable = write(path, force=args.force)
    say(f"wrote {path}")
    if not usable:
        variables = (BUILTIN[name].api_key_env[0] for name in provider_names())
        note(
            f"It binds nothing yet, for no key is set: set {', '.join(variables)} or "
            f"several of them and run `{PROGRAM} lock init --force`, or bind models "
            f"yourself: {PROGRAM} bind fast PROVIDER:MODEL"
        )
        return 0
    lockfile = Lockfile.load(path)
    profile = lockfile.default_profile
    for alias, binding in lockfile.get_profile(profile).bindings.items():
        say(alias_line(binding, lockfile.flatten(alias, profile)))
    if len(usable) == 1:
        note(f"Only {usable[0]} has a key: no alias has a fallback.")
    return 0


# lock validate -------------------------------------------------------------------


def add_validate_arguments(parser: ArgumentParser) -> None:
    add_json_option(parser)
    add_lockfile_options(parser, "--file", "--lockfile")


def run_validate(args: Namespace) -> int:
    path = find_lockfile(args.lockfile)
    report: dict[str, Any] = {"lockfile": str(path), "valid": True}
    report |= {"problems": [], "warnings": []}
    try:
        lockfile = Lockfile.load(path)
        report["warnings"] = [str(warning) for warning in lockfile.warnings]
        lockfile.get_profile(profile_of(args, lockfile))
        aliases = sum(len(p.bindings) for p in lockfile.profiles.values())
        report |= {"profiles": len(lockfile.profiles), "aliases": aliases}
    except LockfileValidationError as error:
        report["valid"] = False
        report["problems"] = list(error.problems) or [str(error)]
    except LockfileParseError as error:
        if not args.json:
            raise
        report["valid"] = False
        report["problems"] = [str(error)]
        say_json(report)
        return 2
    if args.json:
        say_json(report)
    else:
        _say_report(report)
    return 0 if report["valid"] else 1


def _say_report(report: dict[str, Any]) -> None:
    for problem in report["problems"]:
        say(f"{paint('problem', 'red')}: {problem}")
    for warning in report["warnings"]:
        say(f"{paint('warning', 'yellow')}: {warning}")
    if report["valid"]:
        say(
            f"{report['lockfile']}: valid, {plural(report['aliases'], 'alias')} in "
            f"{plural(report['profiles'], 'profile')}"
        )
    else:
        say(f"{report['lockfile']}: {plural(len(report['problems']), 'problem')}")


# bind ----------------------------------------------------------------------------


def add_bind_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("alias", metavar="ALIAS")
    parser.add_argument(
        "models",
        metavar="MODELS",
        type=_items,
        help="provider:model, or another alias; several separated by commas, the "
        "first is preferred",
    )
    parser.add_argument("--strategy", choices=STRATEGIES, help="default: fallback")
    parser.add_argument(
        "--weights",
        type=_weights,
        metavar="N,N,...",
        help="per cent for each model (split, weighted); must sum to 100",
    )
    parser.add_argument(
        "--hedge-after",
        type=_hedge_after,
        metavar="SECONDS",
        help="race: when the next model is started too; or p95",
    )
    parser.add_argument(
        "--condition",
        dest="conditions",
        type=_condition,
        action="append",
        metavar="MODEL=WORD,...",
        help="failures that a fallback is used on, such as rate_limit,timeout",
    )
    parser.add_argument(
        "--sticky-by",
        metavar="FIELD",
        help="request metadata that keeps a caller on the same model",
    )
    parser.add_argument(
        "--param",
        dest="parameters",
        type=_parameter,
        action="append",
        metavar="NAME=VALUE",
        help="default parameter of requests, such as temperature=0.2",
    )
    add_lockfile_options(parser)


def run_bind(args: Namespace) -> int:
    for model in args.models:
        if set(model) & set("*?["):
            raise UsageError(
                f"{model!r} is a pattern; name the models themselves, such as "
                "anthropic:claude-haiku-4-5-20251001"
            )
    lockfile = open_lockfile(args)
    profile = profile_of(args, lockfile)
    path = _writable_path(lockfile)
    result = lockfile_edit.bind(
        path,
        args.alias,
        args.models,
        profile=profile,
        strategy=args.strategy,
        weights=args.weights,
        hedge_after=args.hedge_after,
        sticky_by=args.sticky_by,
        conditions=args.conditions and dict(args.conditions),
        parameters=args.parameters and dict(args.parameters),
    )
    if lockfile.is_bundled:
        note(f"No llmring.lock here: made {path}")
    before = _binding(lockfile, args.alias, profile)
    after = result.lockfile.get_profile(profile).bindings[args.alias]
    say(alias_line(after, result.lockfile.flatten(args.alias, profile)))
    _note_change(result, profile, before)
    return 0


def _writable_path(lockfile: Lockfile) -> Path:
    """The lockfile to change: never the one inside the package."""
    if lockfile.is_bundled or lockfile.path is None:
        return Path.cwd() / LOCKFILE_NAME
    return lockfile.path


def _binding(lockfile: Lockfile, alias: str, profile: str) -> AliasBinding | None:
    config = None if lockfile.is_bundled else lockfile.profiles.get(profile)
    return config.bindings.get(alias) if config is not None else None


def _note_change(
    result: lockfile_edit.EditResult, profile: str, before: AliasBinding | None
) -> None:
    place = f"profile {profile} of {result.path}"
    if before is None:
        note(f"new in {place}")
    elif not result.changed:
        note(f"unchanged in {place}")
    else:
        note(f"changed in {place}; before: {', '.join(before.models)}")
    for notice in result.notices:
        complain(notice, kind="note")


def _items(text: str) -> list[str]:
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise ArgumentTypeError(f"{text!r} has an empty item")
    return items


def _weights(text: str) -> list[float]:
    try:
        return [_number(item) for item in _items(text)]
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a list of numbers") from None


def _number(text: str) -> float:
    """An int where the text is one: `weights = [80, 20]`, not 80.0."""
    number = float(text)
    return int(number) if number.is_integer() else number


def _hedge_after(text: str) -> float | str:
    if text == "p95":
        return text
    try:
        return _number(text)
    except (ValueError, OverflowError):
        raise ArgumentTypeError(f"{text!r} is neither seconds nor p95") from None


def _condition(text: str) -> tuple[str, list[str]]:
    # A model's name may hold an equals sign, a condition never does.
    model, equals, words = text.rpartition("=")
    if not equals or not model:
        raise ArgumentTypeError(f"{text!r} is not MODEL=CONDITION,...")
    return model.strip(), _items(words)


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        # Numbers, true, false, arrays; a bare word is a string.
        return name.strip(), json.loads(value)
    except ValueError:
        return name.strip(), value


# unbind --------------------------------------------------------------------------


def add_unbind_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("alias", metavar="ALIAS")
    add_lockfile_options(parser)


def run_unbind(args: Namespace) -> int:
    lockfile = open_lockfile(args)
    profile = profile_of(args, lockfile)
    result = lockfile_edit.unbind(_writable_path(lockfile), args.alias, profile=profile)
    say(f"removed {args.alias}")
    note(f"from profile {profile} of {result.path}")
    for notice in result.notices:
        complain(notice, kind="note")
    return 0


COMMANDS: Final = {
    "lock init": (add_init_arguments, run_init),
    "lock validate": (add_validate_arguments, run_validate),
    "bind": (add_bind_arguments, run_bind),
    "unbind": (add_unbind_arguments, run_unbind),
}
