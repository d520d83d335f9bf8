"""A name -> the ordered candidates that may serve it.

`Router` knows the lockfile and the built-in providers; it reads the environment only
for the profile and for which keys are set, both at the time of a call. What a name
means is worked out once and remembered, so that resolving costs the same with ten
aliases and with ten thousand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from llmring_lite import keys
from llmring_lite.exceptions import (
    AliasNotFoundError,
    LLMRingError,
    ProviderAuthenticationError,
    ProviderError,
    ProviderNotFoundError,
)
from llmring_lite.lockfile import AliasBinding, Lockfile
from llmring_lite.provider import BUILTIN, Endpoint
from llmring_lite.records import dataclass

PROFILE_VARIABLE: Final = "LLMRING_PROFILE"
_CACHE_SIZE: Final = 8192

# Two names for one thing; the second is Plano's.
_SYNONYMS: Final = {"primary_and_first_fallback_failed": "any"}


def _canonical(condition: str) -> str:
    return _SYNONYMS.get(condition, condition)


@dataclass(frozen=True)
class Candidate:
    """A model of a provider that may serve a call.

    Attributes:
        ref: `"provider:model"`.
        conditions: As a fallback, used on these failures only; None: see
            `may_follow`.
    """

    endpoint: Endpoint
    model: str
    ref: str
    conditions: frozenset[str] | None = None

    def may_follow(self, error: ProviderError) -> bool:
        """May this candidate be tried after an earlier one failed like that?

        Without conditions on everything but a refused key and a plain 400: there the
        request itself is at fault, and the next provider would be asked for nothing.
        """
        if self.conditions is not None:
            return "any" in self.conditions or not self.conditions.isdisjoint(
                error.conditions
            )
        return bool(error.conditions - {"auth"})


@dataclass(frozen=True)
class Route:
    """What a name means in a profile.

    Attributes:
        name: The alias or `provider:model` that was asked for.
        profile: The profile it was looked up in.
        binding: The alias's binding; None for a direct model.
        candidates: In the lockfile's order, usable or not.
        groups: For each entry of the binding's `models` the candidates it stands
            for; more than one where it is itself an alias.
    """

    name: str
    profile: str
    binding: AliasBinding | None
    candidates: tuple[Candidate, ...]
    groups: tuple[tuple[Candidate, ...], ...]

    @property
    def alias(self) -> str | None:
        return self.name if self.binding is not None else None


class Router:
    """Resolves names against one lockfile."""

    def __init__(self, lockfile: Lockfile, profile: str | None = None) -> None:
        """Args:
        lockfile: The checked lockfile.
        profile: Counts more than `LLMRING_PROFILE` and `default_profile`.
        """
        self.lockfile = lockfile
        self._profile = profile
        self._routes: dict[tuple[str, str], Route] = {}
        self._endpoints: Mapping[str, Endpoint] = {
            **BUILTIN,
            **{name: row.endpoint() for name, row in lockfile.providers.items()},
        }

    def profile(self, profile: str | None = None) -> str:
        """The profile in force: argument, ring, environment, lockfile."""
        return (
            profile
            or self._profile
            or keys.read_env(PROFILE_VARIABLE)
            or self.lockfile.default_profile
        )

    def profile_source(self, profile: str | None = None) -> str:
        """Which of the four decided the profile, in words."""
        if profile:
            return "argument"
        if self._profile:
            return "LLMRing(profile=)"
        if keys.read_env(PROFILE_VARIABLE):
            return PROFILE_VARIABLE
        return "default_profile of the lockfile"

    def endpoint(self, provider: str) -> Endpoint:
        """The endpoint of a provider's name.

        Raises:
            ProviderNotFoundError: Neither built in nor in the lockfile.
        """
        try:
            return self._endpoints[provider]
        except KeyError:
            raise ProviderNotFoundError(
                self._unknown_provider(provider), provider=provider
            ) from None

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        return self._endpoints

    def route(self, name: str, profile: str | None = None) -> Route:
        """What a name means.

        Raises:
            AliasNotFoundError: No such alias in the profile.
            ProviderNotFoundError: The part before the colon is no provider.
            LockfileValidationError: No such profile.
        """
        profile = self.profile(profile)
        try:
            return self._routes[name, profile]
        except KeyError:
            route = self._find(name, profile)
        if len(self._routes) >= _CACHE_SIZE:
            self._routes.clear()
        self._routes[name, profile] = route
        return route

    def resolve(self, name: str, profile: str | None = None) -> Candidate:
        """The first candidate whose provider is usable. Raises as `usable`."""
        route = self.route(name, profile)
        for candidate in route.candidates:
            if keys.has_key(candidate.endpoint):
                return candidate
        raise no_usable_candidate(route)

    def usable(self, name: str, profile: str | None = None) -> list[Candidate]:
        """All candidates whose provider has a key, in order.

        Raises:
            ProviderAuthenticationError: There is none; names the variables to set.
            And what `route` raises.
        """
        route = self.route(name, profile)
        found = [c for c in route.candidates if keys.has_key(c.endpoint)]
        if not found:
            raise no_usable_candidate(route)
        return found

    def has_alias(self, name: str, profile: str | None = None) -> bool:
        """True if the name is an alias of the profile. Never raises."""
        try:
            return self.route(name, profile).binding is not None
        except (LLMRingError, TypeError, AttributeError):
            return False

    def require(
        self,
        names: Iterable[str],
        profile: str | None = None,
        context: str | None = None,
    ) -> None:
        """Raise one ValueError that lists every name that is no alias."""
        profile = self.profile(profile)
        missing: list[str] = []
        for name in names:
            if self.has_alias(name, profile):
                continue
            try:
                self.route(name, profile)
                reason = "a model, not an alias"
            except (LLMRingError, ValueError) as error:
                reason = str(error)
            missing.append(f"  - {name}: {reason}")
        if missing:
            who = f" for {context}" if context else ""
            raise ValueError(
                f"missing required aliases{who} (profile: {profile}):\n"
                + "\n".join(missing)
                + f"\nLockfile path: {self.lockfile_name}"
            )

    def _find(self, name: str, profile: str) -> Route:
        if not isinstance(name, str) or not name:
            raise AliasNotFoundError(
                f"an alias or provider:model must be a non-empty str, not {name!r}"
            )
        provider, colon, model = name.partition(":")
        if colon and provider in self._endpoints:
            if not model:
                raise AliasNotFoundError(
                    f"{name!r} names no model: write {provider}:MODEL", alias=name
                )
            candidate = Candidate(self._endpoints[provider], model, name)
            return Route(name, profile, None, (candidate,), ((candidate,),))
        binding = self.lockfile.get_binding(name, profile)
        if binding is None:
            if colon:
                raise ProviderNotFoundError(
                    self._unknown_provider(provider), provider=provider
                )
            raise AliasNotFoundError(
                self._unknown_alias(name, profile), alias=name, profile=profile
            )
        groups = self._groups(binding, profile)
        candidates = tuple(c for group in groups for c in group)
        return Route(name, profile, binding, candidates, groups)

    def _groups(
        self, binding: AliasBinding, profile: str
    ) -> tuple[tuple[Candidate, ...], ...]:
        """The candidates of each entry; a model that comes twice counts once."""
        seen: set[str] = set()
        groups: list[tuple[Candidate, ...]] = []
        for entry in binding.models:
            is_alias = ":" not in entry or entry.partition(":")[0] not in self.endpoints
            refs = self.lockfile.flatten(entry, profile) if is_alias else (entry,)
            group = []
            for ref in refs:
                if ref not in seen:
                    seen.add(ref)
                    words = binding.conditions.get(ref, binding.conditions.get(entry))
                    group.append(self._candidate(ref, words))
            groups.append(tuple(group))
        return tuple(groups)

    def _candidate(self, ref: str, conditions: Iterable[str] | None) -> Candidate:
        provider, _, model = ref.partition(":")
        words = None if conditions is None else frozenset(map(_canonical, conditions))
        return Candidate(self.endpoint(provider), model, ref, words)

    def _unknown_provider(self, name: str) -> str:
        from difflib import get_close_matches

        near = get_close_matches(name.lower(), self._endpoints, n=2)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        return (
            f"no provider {name!r}{hint} Known are "
            f"{', '.join(sorted(self._endpoints))}; others go into [providers.NAME] "
            f"of {self.lockfile_name}"
        )

    def _unknown_alias(self, name: str, profile: str) -> str:
        text = f"no alias {name!r} in profile {profile!r} of {self.lockfile_name}"
        near = self.lockfile.nearest(name, profile)
        if near:
            text += f"; did you mean {' or '.join(near)}?"
        elsewhere = self.lockfile.profiles_having(name)
        if elsewhere:
            text += f"; profiles that have it: {', '.join(elsewhere)}"
        return (
            f"{text}. Bind it with: llmring-lite bind {name} PROVIDER:MODEL "
            f"--profile {profile}"
        )

    @property
    def lockfile_name(self) -> str:
        return str(self.lockfile.path or "the lockfile")


def no_usable_candidate(route: Route) -> ProviderAuthenticationError:
    """The error for a route none of whose providers has a key."""
    missing: dict[str, str] = {}
    for candidate in route.candidates:
        endpoint = candidate.endpoint
        missing[endpoint.name] = " or ".join(endpoint.api_key_env)
    wanted = "; ".join(f"{name}: set {names}" for name, names in missing.items())
    single = len(route.candidates) == 1
    return ProviderAuthenticationError(
        f"no API key for any candidate of {route.name!r} ({wanted})",
        provider=route.candidates[0].endpoint.name if single else None,
        model=route.candidates[0].model if single else None,
    )
