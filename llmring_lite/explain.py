"""What a call would use, and why: the facts behind `explain`."""

from __future__ import annotations

from typing import Any, Final

from llmring_lite import keys
from llmring_lite.dispatch import Dispatcher
from llmring_lite.exceptions import ProviderAuthenticationError
from llmring_lite.lockfile import AliasBinding
from llmring_lite.provider import Endpoint
from llmring_lite.routing import Candidate, Route


def explain_candidates(route: Route, dispatcher: Dispatcher) -> list[dict[str, Any]]:
    """Each candidate with its verdict, in the lockfile's order.

    Returns:
        Dicts with `model`, `usable`, `verdict` (a word), `reason`, `host`, `breaker`
        (`closed`, `open` or `half-open`, in this process), `retry_after` (seconds
        until an open one is probed), and `weight` and `conditions` where the alias
        has them.
    """
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
                "breaker": dispatcher.breaker(candidate).state,
                "retry_after": dispatcher.breaker(candidate).retry_after(),
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
        keys.lookup(endpoint._replace(base_url=url))
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
