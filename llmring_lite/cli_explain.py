"""`explain` and `providers`: what would be used, and why."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import replace
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
from llmring_lite.exceptions import ProviderAuthenticationError
from llmring_lite.lockfile import AliasBinding
from llmring_lite.provider import Endpoint
from llmring_lite.routing import Candidate, Route, Router

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
    candidates = _explain_candidates(route)
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


def _explain_candidates(route: Route) -> list[dict[str, Any]]:
    """Each candidate with its verdict, in the lockfile's order."""
    explained: list[dict[str, Any]] = []
    usable = 0
    for candidate in route.candidates:
        problem = find_problem(candidate.endpoint)
        if not keys.has_key(candidate.endpoint):
            verdict, why = "skipped", str(problem)
        elif problem:
            verdict, why = "fails", problem
        else:
            verdict, why = _role(route.binding, usable), _credential(candidate)
            usable += 1
        explained.append(
            {
                "model": candidate.ref,
                "usable": not problem,
                "verdict": verdict,
                "reason": why,
                "host": host_of(candidate.endpoint),
                **_listed_settings(route.binding, candidate),
            }
        )
    return explained


_ROLES: Final = {
    "race": "raced",
    "split": "shares",
    "weighted": "shares",
    "round_robin": "takes turns",
    "least_connections": "takes turns",
}
"""Strategy -> what a usable candidate does; `fallback` depends on its place."""


def _role(binding: AliasBinding | None, usable_before: int) -> str:
    if binding is not None and binding.strategy in _ROLES:
        return _ROLES[binding.strategy]
    return "fallback" if usable_before else "used"


def _credential(candidate: Candidate) -> str:
    variable = keys.key_variable(candidate.endpoint)
    return f"{variable} is set" if variable else "needs no key"


def _listed_settings(
    binding: AliasBinding | None, candidate: Candidate
) -> dict[str, Any]:
    """Weight and conditions, where the binding itself lists the candidate."""
    if binding is None or candidate.ref not in binding.models:
        return {}
    settings: dict[str, Any] = {}
    if binding.weights is not None:
        settings["weight"] = binding.weights[binding.models.index(candidate.ref)]
    if candidate.ref in binding.conditions:
        settings["conditions"] = list(binding.conditions[candidate.ref])
    return settings


def find_problem(endpoint: Endpoint) -> str | None:
    """Why the endpoint can't be called, None if it can.

    Asks the same functions as a call does; nothing is sent.
    """
    if not keys.has_key(endpoint):
        return f"no key: set {' or '.join(endpoint.api_key_env)}"
    url = keys.base_url(endpoint)
    if not url:
        return f"no address: set {' or '.join(endpoint.base_url_env)}"
    try:
        keys.parse_origin(url)
        keys.lookup(replace(endpoint, base_url=url))
    except ValueError as error:
        return str(error)
    except ProviderAuthenticationError as error:
        return error.message
    return None


def host_of(endpoint: Endpoint) -> str | None:
    """Where the endpoint lives; None if it has no usable address, or needs none."""
    if endpoint.kind == "mock":
        return None
    try:
        origin = keys.parse_origin(keys.base_url(endpoint))
    except ValueError:
        return None
    usual = {"https": 443, "http": 80}[origin.scheme]
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return host if origin.port == usual else f"{host}:{origin.port}"


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
