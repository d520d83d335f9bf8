"""`explain` and `providers`: what would be used, and why."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any, Final

from llmring_lite import keys
from llmring_lite.cli_lockfile import (
    lockfile_source,
    open_lockfile,
    profile_and_source,
)
from llmring_lite.cli_models import binding_details
from llmring_lite.cli_options import add_json_option, add_lockfile_options
from llmring_lite.cli_output import complain, paint, say, say_json, say_table
from llmring_lite.dispatch import Dispatcher
from llmring_lite.explain import explain_candidates, find_problem, host_of
from llmring_lite.provider import Endpoint
from llmring_lite.routing import Route, Router

# explain -------------------------------------------------------------------------


def add_explain_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("alias", metavar="ALIAS", help="alias or provider:model")
    add_json_option(parser)
    add_lockfile_options(parser)


def run_explain(args: Namespace) -> int:
    lockfile = open_lockfile(args)
    profile, profile_source = profile_and_source(args, lockfile)
    router = Router(lockfile)
    route = router.route(args.alias, profile)
    candidates = explain_candidates(route, Dispatcher())
    facts = {
        "name": args.alias,
        "lockfile": str(lockfile.path),
        "lockfile_source": lockfile_source(args, lockfile),
        "profile": profile,
        "profile_source": profile_source,
        "package": _package_facts(router, route),
        "binding": route.binding.to_dict() if route.binding is not None else None,
        "candidates": candidates,
    }
    if args.json:
        say_json(facts)
    else:
        _say_explanation(facts, route)
    if any(candidate["usable"] for candidate in candidates):
        return 0
    complain(f"no candidate of {args.alias!r} can be used")
    return 1


def _package_facts(router: Router, route: Route) -> dict[str, Any] | None:
    """Which extended package an alias belongs to, and who binds it."""
    if route.source is not None:
        package = route.source.package
    else:
        name = router.packages.spelled(route.name.partition(":")[0])
        if route.binding is None or ":" not in route.name or name is None:
            return None
        package = router.packages.get(name)
    return {
        "name": package.name,
        "lockfile": package.path,
        "overridden": route.source is None,
        "profile": route.source.profile if route.source else None,
        "from_default_profile": bool(route.source and route.source.from_default),
    }


def _package_lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    package = facts["package"]
    if package is None:
        return []
    text = f"{package['name']} ({package['lockfile'] or 'not found'})"
    if package["overridden"]:
        return [("overrides", text)]
    lines = [("package", text)]
    if package["from_default_profile"]:
        default = f"{package['profile']}, its default: it binds no such alias in "
        lines.append(("", f"profile {default}{facts['profile']}"))
    return lines


def _say_explanation(facts: dict[str, Any], route: Route) -> None:
    kind = "alias" if route.binding is not None else "model"
    lines = [
        (kind, facts["name"]),
        ("lockfile", f"{facts['lockfile']} ({facts['lockfile_source']})"),
        ("profile", f"{facts['profile']} ({facts['profile_source']})"),
    ]
    lines += _package_lines(facts)
    if route.binding is not None:
        resolved = tuple(candidate.ref for candidate in route.candidates)
        lines += binding_details(route.binding, resolved)
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        say(f"{name:{width}}  {text}")
    say("candidates")
    width = max(len(candidate["model"]) for candidate in facts["candidates"])
    for number, candidate in enumerate(facts["candidates"], 1):
        say(f"  {number}. {candidate['model']:{width}}  {_verdict(candidate)}")


def _verdict(candidate: dict[str, Any]) -> str:
    colour = "green" if candidate["usable"] else "yellow"
    text = f"{paint(candidate['verdict'], colour)}: {candidate['reason']}"
    if candidate["usable"] and candidate["host"]:
        text += f", at {candidate['host']}"
    if "weight" in candidate:
        text += f", {candidate['weight']:g} %"
    if "conditions" in candidate:
        text += f", on {', '.join(candidate['conditions'])}"
    if candidate["usable"]:
        text += f", breaker {candidate['breaker']}"
    return text


# providers -----------------------------------------------------------------------


def add_providers_arguments(parser: ArgumentParser) -> None:
    add_json_option(parser)
    add_lockfile_options(parser)


def run_providers(args: Namespace) -> int:
    lockfile = open_lockfile(args)
    rows = [
        _provider_facts(endpoint, name in lockfile.providers)
        for name, endpoint in Router(lockfile).endpoints.items()
    ]
    if args.json:
        say_json(rows)
        return 0
    say_table(
        ("PROVIDER", "KIND", "HOST", "KEY"),
        (
            (str(row["name"]), str(row["kind"]), str(row["host"] or "-"), _key(row))
            for row in rows
        ),
    )
    return 0


def _provider_facts(endpoint: Endpoint, in_lockfile: bool) -> dict[str, Any]:
    problem = find_problem(endpoint)
    return {
        "name": endpoint.name,
        "kind": endpoint.kind,
        "host": host_of(endpoint),
        "source": "lockfile" if in_lockfile else "built in",
        "key_variables": list(endpoint.api_key_env),
        # The variable's name and nothing of its value.
        "key_set": keys.key_variable(endpoint),
        "usable": problem is None,
        "problem": problem,
    }


def _key(row: dict[str, Any]) -> str:
    if row["problem"]:
        return str(row["problem"])
    return f"{row['key_set']} is set" if row["key_set"] else "needs no key"


COMMANDS: Final = {
    "explain": (add_explain_arguments, run_explain),
    "providers": (add_providers_arguments, run_providers),
}
