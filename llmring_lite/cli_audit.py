"""`lock validate`, `lock bump-registry`, `lock upgrade`: what the registry says."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from itertools import zip_longest
from typing import Any, Final

from llmring_lite import lockfile_edit
from llmring_lite.audit import PROBLEMS, Finding, Report, audit, bound_models, to_dict
from llmring_lite.cli_lockfile import open_lockfile, profile_of
from llmring_lite.cli_options import add_json_option, add_lockfile_options
from llmring_lite.cli_output import (
    PROGRAM,
    complain,
    note,
    paint,
    plural,
    say,
    say_json,
)
from llmring_lite.cli_registry import age_text, open_registry, prices_text
from llmring_lite.exceptions import (
    LockfileError,
    LockfileParseError,
    LockfileValidationError,
    RegistryError,
)
from llmring_lite.lockfile import AliasBinding, Lockfile, find_lockfile
from llmring_lite.registry import Catalogue
from llmring_lite.registry_client import Registry, describe
from llmring_lite.registry_drift import Drift, compare
from llmring_lite.registry_select import Rule, is_pattern, resolve, rule_of

# lock validate -------------------------------------------------------------------


def add_validate_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--strict",
        action="store_true",
        help="fail when a bound model changed since the registry's version was pinned",
    )
    parser.add_argument(
        "--offline",
        action="store_true",
        help="compare with the registry's data that is here",
    )
    add_json_option(parser)
    add_lockfile_options(parser, "--file", "--lockfile")


def run_validate(args: Namespace) -> int:
    path = find_lockfile(args.lockfile)
    report: dict[str, Any] = {"lockfile": str(path), "valid": True}
    report |= {"problems": [], "warnings": [], "findings": [], "drift": []}
    found: Report | None = None
    code = 1
    try:
        lockfile = Lockfile.load(path)
        report["warnings"] = [str(warning) for warning in lockfile.warnings]
        lockfile.get_profile(profile_of(args, lockfile))
        aliases = sum(len(p.bindings) for p in lockfile.profiles.values())
        report |= {"profiles": len(lockfile.profiles), "aliases": aliases}
        found = audit(
            lockfile,
            open_registry(),
            profiles=[args.profile] if args.profile else None,
            online=not args.offline,
        )
        report |= to_dict(found)
        for finding in found.findings:
            kind = "problems" if finding.kind in PROBLEMS else "warnings"
            report[kind].append(_text(finding, report["profiles"]))
    except LockfileValidationError as error:
        report["problems"] = list(error.problems) or [str(error)]
    except LockfileParseError as error:
        if not args.json:
            raise
        report["problems"] = [str(error)]
        code = 2
    report["valid"] = not report["problems"]
    if args.json:
        say_json(report)
    else:
        _say_report(report, found)
    return 0 if report["valid"] and not (args.strict and _drifted(found)) else code


def _text(finding: Finding, profiles: int) -> str:
    if finding.profile is None or profiles < 2:
        return finding.text
    return f"{finding.text} (profile {finding.profile})"


def _drifted(found: Report | None) -> bool:
    """Did a bound model change, or is that unknown?"""
    return found is not None and (
        found.changes > 0
        or any(f.kind == "unchecked" and f.profile and not f.alias for f in found[0])
    )


def _say_report(report: dict[str, Any], found: Report | None) -> None:
    for problem in report["problems"]:
        say(f"{paint('problem', 'red')}: {problem}")
    for warning in report["warnings"]:
        say(f"{paint('warning', 'yellow')}: {warning}")
    if found is not None:
        for profile, drift in found.drift:
            say_drift(drift, f"{profile}: " if report["profiles"] > 1 else "")
    if not report["valid"]:
        say(f"{report['lockfile']}: {plural(len(report['problems']), 'problem')}")
        return
    say(
        f"{report['lockfile']}: valid, {plural(report['aliases'], 'alias')} in "
        f"{plural(report['profiles'], 'profile')}"
    )
    if found is not None and found.checked:
        data = ", ".join(f"{describe(c)} ({age_text(c)})" for c in found.checked)
        note(f"compared with {data}")


def say_drift(drift: Drift, prefix: str = "") -> None:
    """Each change on its line: `openai v5 → v7: gpt-4o input $5.00 → $2.50 ...`."""
    for change in drift.changes:
        say(f"{paint('changed', 'yellow')}: {prefix}{drift.title}: {change}")
    if not drift.changes:
        note(f"{prefix}{drift.title}: nothing changed for the models bound here")


# lock bump-registry --------------------------------------------------------------


def add_bump_arguments(parser: ArgumentParser) -> None:
    add_json_option(parser)
    add_lockfile_options(parser)


def run_bump(args: Namespace) -> int:
    lockfile = open_own_lockfile(args)
    profile = profile_of(args, lockfile)
    config = lockfile.get_profile(profile)
    registry = open_registry()
    bound = bound_models(lockfile, config)
    newest = _newest(registry, [p for p in bound if p in registry.providers()])
    if not newest:
        note(f"no model that a registry knows is bound in profile {profile}")
        return 0
    before = config.registry_versions
    drifts = [
        _drift_since(registry, before[provider], catalogue, bound[provider])
        for provider, catalogue in newest.items()
        if before.get(provider) not in (None, catalogue.version)
    ]
    versions = {p: c.version for p, c in newest.items() if c.version is not None}
    result = lockfile_edit.pin_registry_versions(
        lockfile.path or "", versions, profile=profile
    )
    if args.json:
        after = result.lockfile.get_profile(profile).registry_versions
        rows = [drift.to_dict() for drift in drifts]
        say_json({"profile": profile, "before": before, "after": after, "drift": rows})
        return 0
    for drift in drifts:
        say_drift(drift)
    for provider, catalogue in newest.items():
        say(f"{provider} {_moved(before.get(provider), catalogue)}")
    note(f"pinned in profile {profile} of {result.path}")
    for notice in result.notices:
        complain(notice, kind="note")
    return 0


def _newest(registry: Registry, providers: list[str]) -> dict[str, Catalogue]:
    """The registry's current data, fetched now: all of it, or an error."""
    newest: dict[str, Catalogue] = {}
    for provider in providers:
        try:
            catalogue = registry.fetch(provider)
        except RegistryError as error:
            raise RegistryError(f"nothing was pinned: {error}") from error
        if catalogue is None or catalogue.version is None:
            complain(f"{registry.url} has no numbered data on {provider}", kind="note")
        else:
            newest[provider] = catalogue
    return newest


def _drift_since(
    registry: Registry, pinned: int, catalogue: Catalogue, names: list[str]
) -> Drift:
    try:
        old = registry.version(catalogue.provider, pinned)
    except RegistryError as error:
        complain(f"what changed since is unknown: {error}", kind="warning")
        return Drift(catalogue.provider, pinned, catalogue.version, ())
    return compare(old, catalogue, names)


def _moved(pinned: int | None, catalogue: Catalogue) -> str:
    made = (catalogue.updated_at or "")[:10]
    if pinned is None:
        return f"v{catalogue.version} of {made}, newly pinned"
    if pinned == catalogue.version:
        return f"v{pinned} of {made}, still the newest"
    return f"v{pinned} → v{catalogue.version} of {made}"


# lock upgrade --------------------------------------------------------------------


def add_upgrade_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "aliases",
        metavar="ALIAS",
        nargs="*",
        help="default: all that were bound by a pattern",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only print what would change"
    )
    add_json_option(parser)
    add_lockfile_options(parser)


def run_upgrade(args: Namespace) -> int:
    lockfile = open_own_lockfile(args)
    profile = profile_of(args, lockfile)
    registry = open_registry()
    failed = False
    changes: list[dict[str, Any]] = []
    for binding, rule in _with_rules(lockfile, profile, args.aliases):
        try:
            refs = [choice.ref for choice in resolve(rule, registry.catalogue)]
        except RegistryError as error:
            complain(f"{binding.alias}: {error}")
            failed = True
            continue
        before = list(binding.models)
        if refs == before:
            continue
        changes.append({"alias": binding.alias, "before": before, "after": refs})
        if not args.json:
            say(_upgrade_text(registry, binding, refs))
        if not args.dry_run:
            result = lockfile_edit.bind(
                lockfile.path or "",
                binding.alias,
                refs,
                profile=profile,
                conditions=_carried(binding, refs),
            )
            for notice in result.notices:
                complain(notice, kind="note")
    if args.json:
        say_json(changes)
    if changes:
        count = plural(len(changes), "alias")
        done = "would change" if args.dry_run else "changed"
        note(f"{count} {done} in profile {profile} of {lockfile.path}")
    else:
        note("nothing to upgrade: each rule still selects what is bound")
    return 1 if failed else 0


def _with_rules(
    lockfile: Lockfile, profile: str, aliases: list[str]
) -> list[tuple[AliasBinding, Rule]]:
    """The bindings to resolve anew, and their rules.

    Raises:
        AliasNotFoundError: The profile doesn't bind one of the aliases.
        LockfileError: One of them was not bound by a pattern.
    """
    bindings = lockfile.get_profile(profile).bindings
    found = []
    for alias in dict.fromkeys(aliases or bindings):
        if alias not in bindings:
            raise lockfile.alias_not_found(alias, profile)
        rule = rule_of(bindings[alias].constraints)
        if rule is not None and any(map(is_pattern, rule.select)):
            found.append((bindings[alias], rule))
        elif aliases:
            raise LockfileError(
                f"{alias} was not bound by a pattern, so there is nothing to resolve "
                f"anew; bind it with one: {PROGRAM} bind {alias} 'anthropic:*'",
                path=str(lockfile.path),
            )
    return found


def _carried(binding: AliasBinding, refs: list[str]) -> dict[str, list[str]] | None:
    """The conditions of each model for the one that takes its place."""
    if not binding.conditions:
        return None
    heirs = dict(zip(binding.models, refs, strict=False))
    return {
        heirs.get(ref, ref): list(words) for ref, words in binding.conditions.items()
    }


def _upgrade_text(registry: Registry, binding: AliasBinding, refs: list[str]) -> str:
    def priced(ref: str) -> str:
        provider, _, name = ref.partition(":")
        model = registry.find(provider, name)
        return ref if model is None else f"{ref} ({prices_text(model)})"

    parts = []
    for old, new in zip_longest(binding.models, refs):
        if new is None:
            parts.append(f"without {old}")
        elif old is None:
            parts.append(f"with {priced(new)}")
        elif old != new:
            parts.append(f"{priced(old)} → {priced(new)}")
    return f"{paint(binding.alias, 'bold')}: {', '.join(parts)}"


def open_own_lockfile(args: Namespace) -> Lockfile:
    """The lockfile to change.

    Raises:
        LockfileError: There is none but the one that comes with the package.
    """
    lockfile = open_lockfile(args)
    if lockfile.is_bundled or lockfile.path is None:
        raise LockfileError(
            f"no llmring.lock here: `{PROGRAM} lock init` makes one",
            path=str(lockfile.path),
        )
    return lockfile


COMMANDS: Final = {
    "lock validate": (add_validate_arguments, run_validate),
    "lock bump-registry": (add_bump_arguments, run_bump),
    "lock upgrade": (add_upgrade_arguments, run_upgrade),
}
