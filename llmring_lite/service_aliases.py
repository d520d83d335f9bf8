"""What a ring does with names: look them up, bind and unbind them, tell facts."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmring_lite import keys
from llmring_lite.dispatch import Dispatcher
from llmring_lite.exceptions import LockfileValidationError, ModelNotFoundError
from llmring_lite.facts import Facts, fetch
from llmring_lite.lockfile import LOCKFILE_NAME, Lockfile, bundled_path
from llmring_lite.routing import Router

if TYPE_CHECKING:
    from llmring_lite.lockfile_edit import EditResult
    from llmring_lite.registry import RegistryModel
    from llmring_lite.registry_client import Registry


class AliasMethods:
    """The part of `LLMRing` that is about aliases.

    Attributes:
        lockfile: As last read.
        lockfile_path: Where it is.
    """

    lockfile: Lockfile
    lockfile_path: Path
    _dispatcher: Dispatcher
    _facts: Facts
    _profile: str | None
    _router: Router

    def _use(self, path: Path) -> None:
        self.lockfile_path = path
        self.lockfile = Lockfile.load(path)
        self._router = Router(self.lockfile, self._profile)

    @property
    def registry(self) -> Registry:
        """What is known of models; see `registry_client.Registry`."""
        return self._facts.registry

    def resolve_alias(self, alias_or_model: str, profile: str | None = None) -> str:
        """`"provider:model"`: the first candidate whose provider has a key.

        Raises:
            AliasNotFoundError, ProviderNotFoundError: The name means nothing.
            ProviderAuthenticationError: No candidate's provider has a key.
        """
        return self._router.resolve(alias_or_model, profile).ref

    def resolve_candidates(
        self, alias_or_model: str, profile: str | None = None
    ) -> list[str]:
        """All candidates whose provider has a key, in order. Raises as above."""
        return [c.ref for c in self._router.usable(alias_or_model, profile)]

    def explain(
        self, alias_or_model: str, profile: str | None = None
    ) -> list[dict[str, Any]]:
        """What a call would use, and why: one dict a candidate, in order.

        Returns:
            As `explain.explain_candidates`: `model`, `usable`, `verdict`, `reason`,
            `host`, `breaker`, `retry_after`, `weight`, `conditions`.

        Raises:
            AliasNotFoundError, ProviderNotFoundError: The name means nothing.
        """
        from llmring_lite.explain import explain_candidates  # for people, not programs

        route = self._router.route(alias_or_model, profile)
        return explain_candidates(route, self._dispatcher)

    def has_alias(self, alias: str, profile: str | None = None) -> bool:
        """Is it an alias of the profile? Never raises."""
        return self._router.has_alias(alias, profile)

    def require_aliases(
        self,
        names: Iterable[str],
        *,
        profile: str | None = None,
        context: str | None = None,
    ) -> None:
        """Check at start-up that every alias a program needs is bound.

        Raises:
            ValueError: Names the context, every missing alias, and the lockfile.
        """
        self._router.require(names, profile, context)

    def list_aliases(self, profile: str | None = None) -> dict[str, str]:
        """Alias -> its first `provider:model`, in the lockfile's order."""
        name = self._router.profile(profile)
        bindings = self.lockfile.get_profile(name).bindings
        return {alias: self._router.listed(alias, name)[0] for alias in bindings}

    def bind_alias(
        self,
        alias: str,
        models: str | Iterable[str],
        profile: str | None = None,
        **options: Any,
    ) -> None:
        """Bind an alias, in the lockfile on disk, at once.

        Args:
            models: References in order of preference; a str may hold several,
                separated by commas.
            profile: Default: the profile in force.
            options: `strategy`, `weights`, `hedge_after`, `conditions`,
                `parameters`, `constraints`, `guardrails`. What is not given stays.

        A pattern such as `anthropic:*` is resolved now, by the registry's data that
        is here: the cheapest model that satisfies `constraints`, then the newest.

        Without a lockfile of your own, `./llmring.lock` is made.

        Raises:
            LockfileValidationError: The binding is impossible; nothing is written.
            LockfileError: The file can't be written.
            RegistryError: No model matches a pattern and its constraints.
        """
        path = self._writable_path()
        if isinstance(models, str):
            models = models.split(",")
        elif not isinstance(models, Iterable):
            raise LockfileValidationError(
                f"can't bind {alias!r}: models must be a str or several, not "
                f"{type(models).__name__}"
            )
        models = list(models)
        if any("*" in model for model in models if isinstance(model, str)):
            from llmring_lite.registry_select import pin  # few bind, fewer by pattern

            models, options["constraints"] = pin(
                models, options.get("constraints") or {}, self.registry.catalogue
            )
        profile = self._router.profile(profile)
        self._edited(
            lockfile_edit().bind(path, alias, models, profile=profile, **options)
        )

    def unbind_alias(self, alias: str, profile: str | None = None) -> None:
        """Remove an alias from the lockfile on disk, at once.

        Raises:
            AliasNotFoundError: It is not bound in the profile.
        """
        profile = self._router.profile(profile)
        self._edited(
            lockfile_edit().unbind(self._writable_path(), alias, profile=profile)
        )

    def init_lockfile(
        self, path: str | os.PathLike[str] | None = None, force: bool = False
    ) -> Path:
        """Write a lockfile with defaults for the providers whose keys are set.

        The ring uses it from then on. The registry is asked for its newest data on
        these providers, and an Ollama on this machine for its models.

        Raises:
            LockfileError: It exists, and `force` is False.
        """
        from llmring_lite.proposal import write

        target = Path(path) if path is not None else self._writable_path()
        write(target, self.registry, fetch, force=force)
        self._use(target)
        return target

    def clear_alias_cache(self) -> None:
        """Forget resolutions; read the lockfile and the registry's files again."""
        self._facts.clear()
        self._use(self.lockfile_path)

    def get_model_info(
        self, model_or_alias: str, profile: str | None = None
    ) -> RegistryModel:
        """What the registry knows of a model; of an alias, of the one it resolves to.

        Raises:
            ModelNotFoundError: The registry doesn't know it.
            AliasNotFoundError, ProviderNotFoundError: The name means nothing.
        """
        candidates = self._router.route(model_or_alias, profile).candidates
        usable = [c for c in candidates if keys.has_key(c.endpoint)]
        candidate = (usable or candidates)[0]
        model = self._facts.find(candidate.ref)
        if model is None:
            raise ModelNotFoundError(
                f"the registry at {self.registry.url} doesn't know it",
                provider=candidate.endpoint.name,
                model=candidate.model,
            )
        return model

    def _edited(self, result: EditResult) -> None:
        """Go on with the lockfile as it is now, and log what is to be known of it."""
        if result.notices:
            import logging  # most edits have nothing to say

            for notice in result.notices:
                logging.getLogger("llmring_lite").warning("%s: %s", result.path, notice)
        self._use(result.path)

    def _writable_path(self) -> Path:
        """The lockfile to change: never the one inside the package."""
        if self.lockfile_path == bundled_path():
            return Path.cwd() / LOCKFILE_NAME
        return self.lockfile_path


def lockfile_edit() -> Any:
    """The editor, loaded by those who write: most programs only read."""
    from llmring_lite import lockfile_edit as module

    return module
