"""A name -> the ordered candidates that may serve it.

`Router` knows the lockfile and the built-in providers; it reads the environment only
for the profile and for which keys are set, both at the time of a call. What a name
means is worked out once and remembered, so that resolving costs the same with ten
aliases and with ten thousand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from llmring_lite import keys
from llmring_lite.exceptions import (
    AliasNotFoundError,
    LLMRingError,
    LockfileValidationError,
    ProviderAuthenticationError,
    ProviderError,
    ProviderNotFoundError,
    ProviderResponseError,
)
from llmring_lite.lockfile import AliasBinding, Lockfile
from llmring_lite.lockfile_model import expand
from llmring_lite.provider import BUILTIN, Endpoint

if TYPE_CHECKING:
    from llmring_lite.packages import PackageAlias, Packages

ENFORCED_GUARDRAILS: Final = frozenset({"max_latency"})
PROFILE_VARIABLE: Final = "LLMRING_PROFILE"
_CACHE_SIZE: Final = 8192
_MOST_NAMES: Final = 20

# Two names for one thing; the second is Plano's.
_SYNONYMS: Final = {"primary_and_first_fallback_failed": "any"}


def _canonical(condition: str) -> str:
    return _SYNONYMS.get(condition, condition)


@dataclass(eq=False, slots=True)
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
        if isinstance(error, ProviderResponseError):
            return error.status_code != 400
        return bool(error.conditions - {"auth"})


@dataclass(eq=False, repr=False, slots=True)
class Route:
    """What a name means in a profile.

    Attributes:
        name: The alias or `provider:model` that was asked for.
        profile: The profile it was looked up in.
        binding: The alias's binding; None for a direct model.
        candidates: In the lockfile's order, usable or not.
        groups: For each entry of the binding's `models` the candidates it stands
            for; more than one where it is itself an alias.
        source: Where the binding stands if an extended package has it; None: in the
            lockfile itself.
    """

    name: str
    profile: str
    binding: AliasBinding | None
    candidates: tuple[Candidate, ...]
    groups: tuple[tuple[Candidate, ...], ...]
    source: PackageAlias | None = None

    @property
    def alias(self) -> str | None:
        return self.name if self.binding is not None else None

    @property
    def defaults(self) -> Mapping[str, Any]:
        """The `parameters` of the binding."""
        return self.binding.parameters if self.binding is not None else {}


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
        self._packages: Packages | None = None

    def profile(self, profile: str | None = None) -> str:
        """The profile in force: argument, ring, environment, lockfile."""
        return (
            profile
            or self._profile
            or keys.read_env(PROFILE_VARIABLE)
            or self.lockfile.default_profile
        )

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

    @property
    def packages(self) -> Packages:
        """The packages that the lockfile extends, read when they are asked for."""
        if self._packages is None:
            # Few lockfiles extend any.
            from llmring_lite.packages import Packages

            self._packages = Packages(self.lockfile.extends)
        return self._packages

    def route(self, name: str, profile: str | None = None) -> Route:
        """What a name means.

        Raises:
            AliasNotFoundError: No such alias in the profile, or in the package.
            ProviderNotFoundError: The part before the colon is neither a provider nor
                an extended package.
            LockfileParseError: Of a package.
            LockfileValidationError: No such profile, or of a package.
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
        for name in [names] if isinstance(names, str) else names:
            if self.has_alias(name, profile):
                continue
            try:
                self.route(name, profile)
                reason = "a model, not an alias"
            except (LLMRingError, ValueError) as error:
                reason = str(error).replace("\n", "\n    ")
            missing.append(f"  - {name}: {reason}")
        if missing:
            who = f" for {context}" if context else ""
            available = ", ".join(self._aliases(profile)) or "none"
            raise ValueError(
                f"missing required aliases{who} (profile: {profile}):\n"
                + "\n".join(missing)
                + f"\nAvailable: {available}\nLockfile path: {self.lockfile_name}\n"
                "Bind what is missing with `llmring-lite bind ALIAS PROVIDER:MODEL`, "
                "or put the package that ships it into [extends] packages."
            )

    def listed(self, alias: str, profile: str) -> tuple[str, ...]:
        """The models of an alias for a list of all.

        What a package has to say is left as it is written where the package is
        missing or broken: the others are still to be listed.
        """
        if self.lockfile.extends:
            try:
                return tuple(c.ref for c in self.route(alias, profile).candidates)
            except LLMRingError:
                pass
        return self.lockfile.flatten(alias, profile)

    def _aliases(self, profile: str) -> list[str]:
        found = self.lockfile.profiles.get(profile)
        return list(found.bindings)[:_MOST_NAMES] if found else []

    # Finding ---------------------------------------------------------------------

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
        source = None
        binding = self._own_binding(name, profile)
        if binding is None:
            source = self._packaged(name, profile)
            binding = source.binding
        self._warn_of_guardrails(binding)
        groups = self._groups(binding, profile, source)
        candidates = tuple(c for group in groups for c in group)
        if not candidates:
            raise LockfileValidationError(
                f"{name!r} leads back to itself in profile {profile!r} of "
                f"{self.lockfile_name}"
            )
        return Route(name, profile, binding, candidates, groups, source)

    def _warn_of_guardrails(self, binding: AliasBinding) -> None:
        """Say once an alias which of its guardrails nobody keeps."""
        idle = sorted(binding.guardrails.keys() - ENFORCED_GUARDRAILS)
        if idle:
            import logging  # a tenth of the start-up of a short command

            logging.getLogger("llmring_lite").warning(
                "alias %r: this version does not enforce the guardrails %s",
                binding.alias,
                ", ".join(idle),
            )

    def _own_binding(self, name: str, profile: str) -> AliasBinding | None:
        """The lockfile's own binding, for `package:alias` in any spelling."""
        binding = self.lockfile.get_binding(name, profile)
        package, colon, alias = name.partition(":")
        if binding is not None or not colon or not self.lockfile.extends:
            return binding
        extended = self.packages.spelled(package)
        for other, binding in self.lockfile.get_profile(profile).bindings.items():
            prefix, _, tail = other.rpartition(":")
            if extended and tail == alias and self.packages.spelled(prefix) == extended:
                return binding
        return None

    def _packaged(self, name: str, profile: str) -> PackageAlias:
        """An alias of an extended package."""
        if ":" not in name:
            raise self._unknown_alias(name, profile)
        found = self.packages.find(name, profile) if self.lockfile.extends else None
        if found is None:
            provider = name.partition(":")[0]
            raise ProviderNotFoundError(
                self._unknown_provider(provider), provider=provider
            )
        return found

    def _groups(
        self, binding: AliasBinding, profile: str, source: PackageAlias | None
    ) -> tuple[tuple[Candidate, ...], ...]:
        """The candidates of each entry; a model that comes twice counts once."""
        seen: set[str] = set()
        groups: list[tuple[Candidate, ...]] = []
        for entry in binding.models:
            group = []
            refs = source.models(entry) if source else self._refs(entry, profile)
            for ref in refs:
                if ref not in seen:
                    seen.add(ref)
                    words = binding.conditions.get(ref, binding.conditions.get(entry))
                    group.append(self._candidate(ref, words))
            groups.append(tuple(group))
        return tuple(groups)

    def _refs(self, entry: str, profile: str) -> tuple[str, ...]:
        """The models that an entry of an own binding stands for."""

        def models_of(name: str) -> Sequence[str] | None:
            provider, colon, _ = name.partition(":")
            if colon and provider in self._endpoints:
                return None
            binding = self._own_binding(name, profile)
            return binding.models if binding else self._packaged(name, profile).models()

        return (entry,) if models_of(entry) is None else expand(entry, models_of)

    def _candidate(self, ref: str, conditions: Iterable[str] | None) -> Candidate:
        provider, _, model = ref.partition(":")
        words = None if conditions is None else frozenset(map(_canonical, conditions))
        return Candidate(self.endpoint(provider), model, ref, words)

    # Errors ----------------------------------------------------------------------

    def _unknown_provider(self, name: str) -> str:
        from difflib import get_close_matches

        near = get_close_matches(
            name.lower(), [*self._endpoints, *self.lockfile.extends], n=2
        )
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        return (
            f"no provider {name!r}{hint}, and no package of that name in [extends] of "
            f"{self.lockfile_name}; providers are "
            f"{', '.join(sorted(self._endpoints))}, others go into [providers.NAME], "
            f'packages into [extends]: packages = ["{name}"]'
        )

    def _unknown_alias(self, name: str, profile: str) -> AliasNotFoundError:
        error = self.lockfile.alias_not_found(name, profile)
        if self.lockfile.extends:
            others = self.packages.having(name, profile)
            if others:
                text = f"{error}; extended packages have {', '.join(others)}"
                return AliasNotFoundError(text, alias=name, profile=profile)
        return error

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
