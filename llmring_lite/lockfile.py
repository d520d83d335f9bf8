"""The lockfile: which models serve an alias, in which profile, with what fallbacks.

`find_lockfile` says which file counts, `Lockfile.load` reads it, `Lockfile.flatten`
turns an alias into references. Nothing here knows keys, prices or the network.

To change a file and keep its comments, use `lockfile_edit`; `Lockfile.save` writes the
whole file anew in the form that llmring 1.4 writes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from llmring_lite.exceptions import (
    AliasNotFoundError,
    LockfileError,
    LockfileValidationError,
)
from llmring_lite.lockfile_check import check
from llmring_lite.lockfile_file import (
    BUNDLED_LOCKFILE,
    LOCKFILE_NAME,
    Format,
    bundled_path,
    find_lockfile,
    format_of,
    parse,
    read_text,
)
from llmring_lite.lockfile_model import (
    CONDITIONS,
    STRATEGIES,
    AliasBinding,
    ProfileConfig,
    expand,
)
from llmring_lite.lockfile_report import (
    LineFinder,
    messages,
    near_words,
    validation_error,
)
from llmring_lite.provider import BUILTIN, Endpoint

# Loaded only for who asks: see `lockfile_file` and `lockfile_providers`.
if TYPE_CHECKING:
    from pathlib import Path

    from llmring_lite.lockfile_providers import ProviderConfig
else:

    def __getattr__(name: str) -> type:
        if name != "ProviderConfig":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from llmring_lite.lockfile_providers import ProviderConfig

        return ProviderConfig


__all__ = [
    "CONDITIONS",
    "LOCKFILE_NAME",
    "STRATEGIES",
    "AliasBinding",
    "Lockfile",
    "ProfileConfig",
    "ProviderConfig",
    "bundled_path",
    "find_lockfile",
]


class Lockfile:
    """A checked lockfile.

    Attributes:
        path: Where it was read from; None if it came from a text.
        version: Of the format.
        default_profile: The profile that counts if nobody names one.
        profiles: Name -> profile.
        providers: Name -> endpoint of the user's own, or changes to a built-in one.
        extends: Packages whose lockfiles are within reach as `package:alias`.
        metadata: Free-form.
        created_at, updated_at: As the file has them, None if it doesn't.
        extra: Top-level keys that are not ours.
    """

    def __init__(
        self,
        *,
        path: str | os.PathLike[str] | None = None,
        version: str = "1.0",
        default_profile: str = "default",
        profiles: dict[str, ProfileConfig] | None = None,
        providers: dict[str, ProviderConfig] | None = None,
        extends: tuple[str, ...] = (),
        metadata: dict[str, Any] | None = None,
        created_at: Any = None,
        updated_at: Any = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self._name = None if path is None else os.fspath(path)
        self.version = version
        self.default_profile = default_profile
        self.profiles = (
            {default_profile: ProfileConfig(name=default_profile)}
            if profiles is None
            else profiles
        )
        self.providers = providers or {}
        self.extends = extends
        self.metadata = metadata or {}
        self.created_at = created_at
        self.updated_at = updated_at
        self.extra = extra or {}
        self._find_line = LineFinder("", "toml")
        self._warnings: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        count = sum(len(profile.bindings) for profile in self.profiles.values())
        where = self._name or "no file"
        return f"<Lockfile {where}: {len(self.profiles)} profiles, {count} bindings>"

    # Reading ---------------------------------------------------------------------

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Lockfile:
        """Read and check a file; JSON if its name ends in `.json`, else TOML.

        Raises:
            LockfileNotFoundError: There is no such file.
            LockfileParseError: It isn't TOML (or JSON), or it is too large.
            LockfileValidationError: It says something impossible.
            LockfileError: It can't be read.
        """
        name = os.fspath(path)
        return cls.loads(read_text(name), path=name, format=format_of(name))

    @classmethod
    def loads(
        cls,
        text: str,
        *,
        path: str | os.PathLike[str] | None = None,
        format: Format = "toml",
    ) -> Lockfile:
        """Check a text; `path` is for messages. Raises as `load` does."""
        name = None if path is None else os.fspath(path)
        document = parse(text, format=format, path=name)
        return cls.from_document(document, text=text, path=path, format=format)

    @classmethod
    def from_document(
        cls,
        document: dict[str, Any],
        *,
        text: str = "",
        path: str | os.PathLike[str] | None = None,
        format: Format = "toml",
    ) -> Lockfile:
        """Check plain data; `text` is what it was read from, for line numbers.

        Raises:
            LockfileValidationError: It says something impossible.
        """
        name = None if path is None else os.fspath(path)
        find_line = LineFinder(text, format)
        found = check(document, find_line)
        if found.problems:
            raise validation_error(messages(found.problems, find_line), name)
        plain = ("version", "default_profile", "metadata", "created_at", "updated_at")
        lockfile = cls(
            path=name,
            profiles=found.profiles,
            providers=found.providers,
            extends=found.extends,
            extra=found.extra,
            **{key: found.values[key] for key in plain if key in found.values},
        )
        lockfile._find_line = find_line
        lockfile._warnings = tuple(found.warnings)
        return lockfile

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd but harmless, such as unknown keys, each with its line."""
        return tuple(messages(self._warnings, self._find_line))

    @property
    def path(self) -> Path | None:
        """Where it was read from; None if it came from a text."""
        if self._name is None:
            return None
        from pathlib import Path

        return Path(self._name)

    @property
    def is_bundled(self) -> bool:
        """True for the file that comes with this package."""
        return self._name == BUNDLED_LOCKFILE

    # Asking ----------------------------------------------------------------------

    def get_profile(self, name: str | None = None) -> ProfileConfig:
        """The profile of that name, or the default profile.

        Raises:
            LockfileValidationError: There is no such profile (it is a ValueError).
        """
        name = name or self.default_profile
        if name in self.profiles:
            return self.profiles[name]
        near = near_words(name, self.profiles)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise LockfileValidationError(
            f"{self._name or 'the lockfile'} has no profile {name!r}, only "
            f"{', '.join(map(repr, self.profiles))}{hint}",
            path=self._name,
        )

    def get_binding(
        self, alias: str, profile: str | None = None
    ) -> AliasBinding | None:
        """The binding of an alias, None if the profile has none."""
        return self.get_profile(profile).bindings.get(alias)

    def has_alias(self, alias: str, profile: str | None = None) -> bool:
        """True if the profile is there and binds the alias."""
        found = self.profiles.get(profile or self.default_profile)
        return found is not None and alias in found.bindings

    def list_aliases(self, profile: str | None = None) -> list[str]:
        """The aliases of a profile, in the file's order."""
        return list(self.get_profile(profile).bindings)

    def flatten(self, alias: str, profile: str | None = None) -> tuple[str, ...]:
        """The `provider:model` and `package:alias` references of an alias, in order.

        Aliases among its models are replaced by their own models, and of equal
        references the first stays. A `provider:model` stands for itself.

        Raises:
            AliasNotFoundError: The profile has no such alias.
            LockfileValidationError: There is no such profile.
        """
        bindings = self.get_profile(profile).bindings
        if alias not in bindings:
            if self.is_model(alias):
                return (alias,)
            raise self.alias_not_found(alias, profile)

        def models_of(name: str) -> tuple[str, ...] | None:
            return bindings[name].models if name in bindings else None

        return expand(alias, models_of)

    def alias_not_found(
        self, alias: str, profile: str | None = None
    ) -> AliasNotFoundError:
        """The error that says which aliases come near and which profiles have it."""
        name = profile or self.default_profile
        text = (
            f"no alias {alias!r} in profile {name!r} of {self._name or 'the lockfile'}"
        )
        others = self.profiles_having(alias)
        near = near_words(alias, self.get_profile(name).bindings)
        if others:
            text += f"; it is in {', '.join(map(repr, others))}"
        elif near:
            text += f"; did you mean {' or '.join(map(repr, near))}?"
        else:
            text += f"; bind it with `llmring-lite bind {alias} provider:model`"
        return AliasNotFoundError(text, alias=alias, profile=name)

    def profiles_having(self, alias: str) -> list[str]:
        """The profiles that bind an alias."""
        return [p.name for p in self.profiles.values() if alias in p.bindings]

    def endpoint(self, provider: str) -> Endpoint | None:
        """The endpoint of a provider, None if it is neither ours nor built in."""
        own = self.providers.get(provider)
        return own.endpoint() if own else BUILTIN.get(provider)

    def is_model(self, name: str) -> bool:
        """True for `provider:model` with a known provider."""
        provider, _, model = name.partition(":")
        return bool(model) and (provider in BUILTIN or provider in self.providers)

    # Writing ---------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The document in the form of llmring 1.4, unknown keys included."""
        document: dict[str, Any] = {"version": self.version}
        for key in ("created_at", "updated_at"):
            if getattr(self, key) is not None:
                document[key] = getattr(self, key)
        document["default_profile"] = self.default_profile
        document.update(self.extra)
        if self.extends:
            document["extends"] = {"packages": list(self.extends)}
        if self.metadata:
            document["metadata"] = dict(self.metadata)
        if self.providers:
            document["providers"] = {n: p.to_dict() for n, p in self.providers.items()}
        document["profiles"] = {n: p.to_dict() for n, p in self.profiles.items()}
        return document

    def dumps(self, format: Format = "toml") -> str:
        """The text of the file; without comments, for they are not read."""
        if format == "json":
            import json  # only lockfiles named .json need it

            return json.dumps(self.to_dict(), indent=2, default=str) + "\n"
        import tomli_w  # writing is rare

        return tomli_w.dumps(self.to_dict())

    def save(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Write the whole file; `lockfile_edit` changes one and keeps its comments.

        Args:
            path: Default: where it was read from. JSON if it ends in `.json`.

        Raises:
            LockfileValidationError: Something impossible was put into this object.
            LockfileError: No path is known, or the file can't be written.
        """
        from pathlib import Path

        from llmring_lite.lockfile_write import locked, write_atomic  # rarely needed

        name = self._name if path is None else os.fspath(path)
        if name is None:
            raise LockfileError("this lockfile was not read from a file: name a path")
        format = format_of(name)
        text = self.dumps(format)
        Lockfile.loads(text, path=name, format=format)
        with locked(name):
            write_atomic(name, text)
        return Path(name)

    def calculate_digest(self) -> str:
        """SHA-256 of what the file says, as hex digits.

        Comments, formatting, order of keys and timestamps don't count.
        """
        import hashlib
        import json

        document = self.to_dict()
        document.pop("created_at", None)
        document.pop("updated_at", None)
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), default=str)
        return hashlib.sha256(text.encode()).hexdigest()
