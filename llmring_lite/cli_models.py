"""`aliases`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from typing import Any, Final

from llmring_lite.cli_lockfile import open_lockfile, profile_of
from llmring_lite.cli_options import add_json_option, add_lockfile_options
from llmring_lite.cli_output import PROGRAM, note, paint, plural, say, say_json
from llmring_lite.lockfile import AliasBinding, Lockfile


def add_aliases_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--verbose",
        action="store_true",
        help="every model, strategy, conditions and parameters",
    )
    add_json_option(parser)
    add_lockfile_options(parser)


def run_aliases(args: Namespace) -> int:
    lockfile = open_lockfile(args)
    if lockfile.is_bundled:
        note(
            "No llmring.lock here: this is the one bundled with the package. "
            f"`{PROGRAM} lock init` makes your own."
        )
    profile = profile_of(args, lockfile)
    bindings = lockfile.get_profile(profile).bindings
    resolved = resolved_models(lockfile, bindings, profile)
    if args.json:
        say_json(
            [
                {**binding.to_dict(), "resolves_to": resolved[alias]}
                for alias, binding in bindings.items()
            ]
        )
        return 0
    if not bindings:
        note(f"no aliases in profile {profile!r} of {lockfile.path}")
    for alias, binding in bindings.items():
        say(alias_line(binding, resolved[alias]))
        if args.verbose:
            _say_details(binding, resolved[alias])
    return 0


def resolved_models(
    lockfile: Lockfile, aliases: Iterable[str], profile: str
) -> dict[str, tuple[str, ...]]:
    """Alias -> its models, with those that extended packages name for it."""
    if not lockfile.extends:
        return {alias: lockfile.flatten(alias, profile) for alias in aliases}
    from llmring_lite.routing import Router  # few lockfiles extend any

    router = Router(lockfile)
    return {alias: router.listed(alias, profile) for alias in aliases}


def alias_line(binding: AliasBinding, models: tuple[str, ...]) -> str:
    """`summarizer → anthropic:claude-haiku-4-5 (+ 2 fallbacks)`."""
    others = len(models) - 1
    if binding.strategy != "fallback":
        more = f" (+ {others} more, {binding.strategy})"
    else:
        more = f" (+ {plural(others, 'fallback')})" if others else ""
    return f"{paint(binding.alias, 'bold')} → {models[0]}{paint(more, 'dim')}"


def _say_details(binding: AliasBinding, resolved: tuple[str, ...]) -> None:
    for name, text in binding_details(binding, resolved):
        say(f"    {name}: {text}")


def binding_details(
    binding: AliasBinding, resolved: tuple[str, ...]
) -> list[tuple[str, str]]:
    """What a binding says besides its alias, as names and texts."""
    details = [("models", ", ".join(binding.models))]
    if resolved != binding.models:
        details.append(("resolves to", ", ".join(resolved)))
    details.append(("strategy", binding.strategy))
    if binding.weights is not None:
        details.append(("weights", ", ".join(f"{w:g}" for w in binding.weights)))
    if binding.hedge_after is not None:
        details.append(("hedge after", _shown(binding.hedge_after)))
    if binding.sticky_by is not None:
        details.append(("sticky by", binding.sticky_by))
    for model, conditions in binding.conditions.items():
        details.append(("condition", f"{model} on {', '.join(conditions)}"))
    for name in ("parameters", "constraints", "guardrails"):
        table = getattr(binding, name)
        if table:
            pairs = (f"{key} = {_shown(value)}" for key, value in table.items())
            details.append((name, ", ".join(pairs)))
    return details


def _shown(value: Any) -> str:
    """A value about as TOML spells it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


COMMANDS: Final = {"aliases": (add_aliases_arguments, run_aliases)}
