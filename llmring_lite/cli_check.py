"""`lock check`: the lockfiles of extended packages, found and compared."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any, Final

from llmring_lite.cli_lockfile import profile_of
from llmring_lite.cli_options import add_json_option, add_lockfile_options
from llmring_lite.cli_output import paint, plural, say, say_json
from llmring_lite.exceptions import (
    LLMRingError,
    LockfileNotFoundError,
    LockfileParseError,
)
from llmring_lite.lockfile import Lockfile
from llmring_lite.lockfile_file import INIT_ADVICE, find_lockfile_name
from llmring_lite.packages import Package
from llmring_lite.routing import Router


def add_check_arguments(parser: ArgumentParser) -> None:
    add_json_option(parser)
    add_lockfile_options(parser, "--lockfile", "-f")


def run_check(args: Namespace) -> int:
    lockfile = Lockfile.load(find_lockfile_name(args.lockfile))
    if lockfile.is_bundled:
        raise LockfileNotFoundError(
            f"no llmring.lock here, so nothing to check; {INIT_ADVICE}"
        )
    profile = profile_of(args, lockfile)
    lockfile.get_profile(profile)
    router = Router(lockfile)
    report = make_report(router, profile)
    if args.json:
        say_json(report)
    else:
        _say_report(report)
    if any(isinstance(p.error, LockfileParseError) for p in router.packages):
        return 2
    return 0 if report["ok"] else 1


# Finding out ---------------------------------------------------------------------


def make_report(router: Router, profile: str) -> dict[str, Any]:
    """What extends what, as plain data."""
    packages = [_describe(package, router, profile) for package in router.packages]
    first_models = {
        alias: router.listed(alias, profile)[0]
        for alias in router.lockfile.get_profile(profile).bindings
    }
    overrides = {alias: m for alias, m in first_models.items() if ":" in alias}
    local = {alias: m for alias, m in first_models.items() if ":" not in alias}
    problems = list(_dangling_references(router))
    found = sum(package["status"] == "found" for package in packages)
    unusable = any(package["unusable"] for package in packages)
    return {
        "lockfile": router.lockfile_name,
        "profile": profile,
        "ok": found == len(packages) and not problems and not unusable,
        "packages": packages,
        "conflicts": list(_conflicts(packages, local)),
        "overrides": overrides,
        "local_aliases": local,
        "problems": problems,
        "warnings": [
            *router.lockfile.warnings,
            *_same_packages(router),
            *_pointless_overrides(router, profile, overrides),
        ],
        "summary": {
            "packages": len(packages),
            "found": found,
            "extended_aliases": sum(len(package["aliases"]) for package in packages),
            "overrides": len(overrides),
            "local_aliases": len(local),
        },
    }


def _describe(package: Package, router: Router, profile: str) -> dict[str, Any]:
    status = "found"
    if package.error is not None:
        missing = isinstance(package.error, LockfileNotFoundError)
        status = "missing" if missing else "broken"
    unusable: dict[str, str] = {}
    aliases = package.aliases(profile)
    # Where a provider has the name, nothing of the package can be reached.
    for alias in aliases if package.name not in router.endpoints else ():
        try:
            router.route(f"{package.name}:{alias}", profile)
        except LLMRingError as error:
            unusable[alias] = str(error)
    return {
        "name": package.name,
        "status": status,
        "lockfile": package.path,
        "problem": None if package.error is None else str(package.error),
        "aliases": aliases,
        "unusable": unusable,
        "ignored": list(package.ignored),
    }


def _conflicts(
    packages: list[dict[str, Any]], local: dict[str, str]
) -> Iterator[dict[str, Any]]:
    """Aliases that more than one lockfile has."""
    owners: dict[str, list[str]] = {}
    for package in packages:
        for alias in package["aliases"]:
            owners.setdefault(alias, []).append(package["name"])
    for alias, names in sorted(owners.items()):
        if len(names) > 1 or alias in local:
            yield {"alias": alias, "packages": names, "local": alias in local}


def _dangling_references(router: Router) -> Iterator[str]:
    """Models of own bindings that lead to no alias of a package, in any profile."""
    for profile in router.lockfile.profiles.values():
        for binding in profile.bindings.values():
            for model in binding.models:
                prefix, colon, _ = model.partition(":")
                if not colon or prefix in router.endpoints:
                    continue
                try:
                    router.route(model, profile.name)
                except LLMRingError as error:
                    line = f"line {binding.line}: " if binding.line else ""
                    yield (
                        f"{line}profile {profile.name!r}, alias {binding.alias!r}: "
                        f"{error}"
                    )


def _same_packages(router: Router) -> Iterator[str]:
    """Entries of `[extends]` that lead to one and the same lockfile."""
    seen: dict[str, str] = {}
    for package in router.packages:
        if package.path is not None:
            first = seen.setdefault(package.path, package.name)
            if first != package.name:
                yield (
                    f"extends: {first!r} and {package.name!r} are the same package; "
                    "one of them will do"
                )


def _pointless_overrides(
    router: Router, profile: str, overrides: dict[str, str]
) -> Iterator[str]:
    """Own bindings of `package:alias` where there is nothing to override."""
    for name in overrides:
        prefix, _, alias = name.rpartition(":")
        spelled = router.packages.spelled(prefix)
        if spelled is None:
            yield f"{name!r} overrides nothing: {prefix!r} is not in [extends]"
            continue
        package = router.packages.get(spelled)
        if package.error is None and alias not in package.aliases(profile):
            yield f"{name!r} overrides nothing: {package.path} has no {alias!r}"


# Printing ------------------------------------------------------------------------


def _say_report(report: dict[str, Any]) -> None:
    say(f"Checking {report['lockfile']} (profile {report['profile']})")
    if report["packages"]:
        say("\nExtended packages:")
    for package in report["packages"]:
        _say_package(package, report["profile"])
    if report["problems"]:
        say("\nProblems:")
    for problem in report["problems"]:
        say(f"  {paint('✗', 'red')} {problem}")
    if report["warnings"] or report["conflicts"]:
        say("\nWarnings:")
    for conflict in report["conflicts"]:
        _say_conflict(conflict)
    for warning in report["warnings"]:
        say(f"  {paint('⚠', 'yellow')} {warning}")
    for title, key in (("Overrides", "overrides"), ("Local aliases", "local_aliases")):
        if report[key]:
            say(f"\n{title}:")
        for alias, model in report[key].items():
            say(f"  {alias} → {model}")
    _say_summary(report["summary"])


def _say_package(package: dict[str, Any], profile: str) -> None:
    if package["status"] != "found":
        problem = package["problem"].replace("\n", "\n    ")
        say(f"  {paint('✗', 'red')} {package['name']}: {problem}")
        return
    say(f"  {paint('✓', 'green')} {package['name']}: found {package['lockfile']}")
    names = (
        alias if home == profile else f"{alias} (from its profile {home})"
        for alias, home in package["aliases"].items()
    )
    say(f"    Aliases: {', '.join(names) or 'none in this profile'}")
    for why in package["unusable"].values():
        say(f"    {paint('✗', 'red')} {why}")
    if package["ignored"]:
        tables = " and ".join(f"[{name}]" for name in package["ignored"])
        say(
            f"    Ignored: {tables}; a package moves no endpoint or key and brings no "
            "other package"
        )


def _say_conflict(conflict: dict[str, Any]) -> None:
    alias, packages = conflict["alias"], conflict["packages"]
    owners = [*packages, *(["your own lockfile"] if conflict["local"] else [])]
    full = " or ".join(f"{package}:{alias}" for package in packages)
    say(f"  {paint('⚠', 'yellow')} {alias!r} is defined in {' and '.join(owners)}")
    alone = "means your own" if conflict["local"] else "alone means none of them"
    say(f"    Use {full} to disambiguate; {alias!r} {alone}")


def _say_summary(summary: dict[str, int]) -> None:
    packages = "extends no package"
    if summary["packages"]:
        packages = f"{summary['found']}/{summary['packages']} packages OK"
    say(
        f"\nSummary: {packages}, "
        f"{plural(summary['extended_aliases'], 'extended alias')}, "
        f"{plural(summary['overrides'], 'override')}, "
        f"{plural(summary['local_aliases'], 'local alias')}"
    )


COMMANDS: Final = {"lock check": (add_check_arguments, run_check)}
