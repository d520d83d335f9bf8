"""`lock init`, `bind`, `unbind`: making and changing a lockfile."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import Any, Final

from llmring_lite import lockfile_edit
from llmring_lite.cli_lockfile import open_lockfile, profile_of
from llmring_lite.cli_models import alias_line, resolved_models
from llmring_lite.cli_options import add_lockfile_options
from llmring_lite.cli_output import PROGRAM, complain, note, say
from llmring_lite.lockfile import LOCKFILE_NAME, AliasBinding, Lockfile
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
    from llmring_lite.cli_registry import age_text, open_registry
    from llmring_lite.facts import fetch
    from llmring_lite.proposal import provider_names, write
    from llmring_lite.registry_client import describe

    named = args.lockfile or os.environ.get("LLMRING_LOCKFILE_PATH")
    path = Path(named or LOCKFILE_NAME)
    registry = open_registry()
    made = write(path, registry, fetch, force=args.force)
    say(f"wrote {path}")
    if not made.providers and made.local is None:
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
    if len(made.providers) + (made.local is not None) == 1:
        only = made.providers[0] if made.providers else "ollama"
        note(f"Only {only} can be used: no alias has a fallback.")
    if made.unreachable is not None:
        note(f"The registry's newest data could not be had: {made.unreachable}")
    for provider in made.providers:
        catalogue = registry.catalogue(provider)
        if catalogue is not None:
            note(f"By {describe(catalogue)}, {age_text(catalogue)}.")
    return 0


# bind ----------------------------------------------------------------------------


def add_bind_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("alias", metavar="ALIAS")
    parser.add_argument(
        "models",
        metavar="MODELS",
        type=_items,
        help="provider:model, another alias, or a pattern such as anthropic:* that "
        "is resolved now; several separated by commas, the first is preferred",
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
    rule = parser.add_argument_group("constraints, kept in the lockfile")
    rule.add_argument(
        "--min-context",
        type=_positive,
        metavar="N",
        help="tokens of input that a model must take",
    )
    rule.add_argument(
        "--max-cost",
        type=_dollars,
        metavar="USD",
        help="most that a million input tokens may cost",
    )
    rule.add_argument(
        "--needs",
        metavar="WORD,...",
        help="what it must have, such as vision,tools,json_schema,reasoning",
    )
    add_lockfile_options(parser)


def run_bind(args: Namespace) -> int:
    lockfile = open_lockfile(args)
    profile = profile_of(args, lockfile)
    path = _writable_path(lockfile)
    before = _binding(lockfile, args.alias, profile)
    models, constraints = _choose(args, before)
    result = lockfile_edit.bind(
        path,
        args.alias,
        models,
        profile=profile,
        constraints=constraints,
        strategy=args.strategy,
        weights=args.weights,
        hedge_after=args.hedge_after,
        sticky_by=args.sticky_by,
        conditions=args.conditions and dict(args.conditions),
        parameters=args.parameters and dict(args.parameters),
    )
    if lockfile.is_bundled:
        note(f"No llmring.lock here: made {path}")
    after = result.lockfile.get_profile(profile).bindings[args.alias]
    resolved = resolved_models(result.lockfile, [args.alias], profile)
    say(alias_line(after, resolved[args.alias]))
    _note_change(result, profile, before)
    return 0


def _choose(
    args: Namespace, before: AliasBinding | None
) -> tuple[list[str], dict[str, Any] | None]:
    """The models to bind, and the rule that chose them for the lockfile.

    A rule that chose what was bound until now goes with it.

    Raises:
        RegistryError: No model satisfies the constraints.
        UsageError: A need is no word that we know.
    """
    limits = (args.min_context, args.max_cost, args.needs)
    if limits == (None, None, None) and not any(map(_looks_like_pattern, args.models)):
        stale = before is not None and "select" in before.constraints
        return args.models, {} if stale else None
    # Most bindings name their models, and need no registry.
    from llmring_lite.cli_registry import needs_of, open_registry, say_choices
    from llmring_lite.registry_select import Rule, resolve

    needs = needs_of(args.needs or "")
    rule = Rule(tuple(args.models), args.min_context, args.max_cost, needs)
    choices = resolve(rule, open_registry().catalogue)
    say_choices(choices)
    return [choice.ref for choice in choices], rule.to_constraints()


def _looks_like_pattern(model: str) -> bool:
    return bool(set(model) & set("*?["))


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


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return number


def _dollars(text: str) -> float:
    try:
        number = _number(text)
    except (ValueError, OverflowError):
        number = -1
    if not 0 <= number < 1e9:
        raise ArgumentTypeError(f"{text!r} is not an amount of dollars")
    return number


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
    "bind": (add_bind_arguments, run_bind),
    "unbind": (add_unbind_arguments, run_unbind),
}
