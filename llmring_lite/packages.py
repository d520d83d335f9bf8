"""Lockfiles that ship with packages, read for an application that extends them.

A package's lockfile is somebody else's text. It chooses among the built-in providers
and nothing more: its `[providers]` and `[extends]` are ignored, names without a colon
mean its own aliases, and endpoint and key are the application's affair. It is read as
data; `packages_find` finds it without importing anything.

`Packages` serves one application's lockfile and remembers what it has read. What is
wrong with one package is kept with it and hurts only who asks for its aliases.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from llmring_lite.exceptions import (
    AliasNotFoundError,
    LockfileError,
    LockfileNotFoundError,
    LockfileValidationError,
)
from llmring_lite.lockfile import LOCKFILE_NAME, AliasBinding, Lockfile
from llmring_lite.lockfile_fields import is_package_name, plain_package_name
from llmring_lite.lockfile_file import MAX_BYTES, decode, parse, read_text
from llmring_lite.lockfile_providers import is_provider_name
from llmring_lite.lockfile_report import near_words
from llmring_lite.packages_find import Finder, split_archive
from llmring_lite.provider import BUILTIN

IGNORED: Final = ("extends", "providers")
"""Tables of a package's lockfile that don't count."""

_MOST_NAMES: Final = 20


class Package(NamedTuple):
    """An extended package.

    Attributes:
        name: As `[extends]` has it.
        import_name: Of the Python package; None if it was not found.
        path: Its lockfile; None if there is none.
        lockfile: What that says; None if it can't be used.
        error: Why its aliases can't be used; None if they can.
        ignored: Those of `IGNORED` that its lockfile has.
    """

    name: str
    import_name: str | None = None
    path: str | None = None
    lockfile: Lockfile | None = None
    error: LockfileError | None = None
    ignored: tuple[str, ...] = ()

    def aliases(self, profile: str) -> dict[str, str]:
        """Alias -> profile of its binding: this one, else the package's default."""
        if self.lockfile is None:
            return {}
        found: dict[str, str] = {}
        for name in (profile, self.lockfile.default_profile):
            if name in self.lockfile.profiles:
                for alias in self.lockfile.profiles[name].bindings:
                    # With a colon: the package's own wishes about other packages.
                    if ":" not in alias:
                        found.setdefault(alias, name)
        return found


class PackageAlias(NamedTuple):
    """An alias of a package, as a profile of the application sees it.

    Attributes:
        package: Whose it is.
        binding: What the package's lockfile says.
        profile: The package's profile that has the binding.
        wanted: The profile that was asked for.
    """

    package: Package
    binding: AliasBinding
    profile: str
    wanted: str

    @property
    def from_default(self) -> bool:
        """True if the package has no such alias in the profile that was asked for."""
        return self.profile != self.wanted

    def models(self, entry: str | None = None) -> tuple[str, ...]:
        """The models of built-in providers that an entry (default: all) stands for.

        Raises:
            LockfileValidationError: The package relies on a provider or a package
                that only its own lockfile defines.
        """
        lockfile = self.package.lockfile
        assert lockfile is not None
        name = entry or self.binding.alias
        references: tuple[str, ...] = (name,)
        if lockfile.has_alias(name, self.profile):
            references = lockfile.flatten(name, self.profile)
        for reference in references:
            provider, _, model = reference.partition(":")
            if not model or provider not in BUILTIN:
                self._refuse(reference)
        return references

    def _refuse(self, reference: str) -> None:
        name = f"{self.package.name}:{self.binding.alias}"
        line = self.binding.line
        place = f"{self.package.path}, line {line}" if line else self.package.path
        problem = (
            f"{name!r} leads to {reference!r} ({place}), and [providers] and [extends] "
            f"of a package are ignored; bind {name!r} in your own lockfile to models "
            "of your choice"
        )
        raise LockfileValidationError(
            problem, path=self.package.path, problems=[problem]
        )


class Packages:
    """The packages that a lockfile extends; read on first use, each once."""

    def __init__(
        self, names: Iterable[str], path: Iterable[object] | None = None
    ) -> None:
        """Args:
        names: `[extends] packages`.
        path: Where to look for them; default `sys.path`.
        """
        self.names = tuple(dict.fromkeys(names))
        self._path = path
        self._finder: Finder | None = None
        self._read: dict[str, Package] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Another process may have other packages.
        return {**self.__dict__, "_finder": None, "_read": {}}

    def get(self, name: str) -> Package:
        """One of the packages; what is wrong with it is in `.error`."""
        package = self._read.get(name)
        if package is None:
            self._finder = finder = self._finder or Finder(self._path)
            package = self._read.setdefault(name, read_package(name, finder))
        return package

    def __iter__(self) -> Iterator[Package]:
        return (self.get(name) for name in self.names)

    def spelled(self, name: str) -> str | None:
        """The spelling in `[extends]` of a package, None if it is not extended.

        `my_lib` and `my-lib` are one; so are a distribution and its import name.
        """
        if name in self.names:
            return name
        plain = plain_package_name(name)
        for other in self.names:
            if plain_package_name(other) == plain:
                return other
        for package in self:
            if package.import_name == name:
                return package.name
        return None

    def find(self, reference: str, profile: str) -> PackageAlias | None:
        """The alias that `package:alias` means; None if no such package is extended.

        Raises:
            AliasNotFoundError: The package is missing, or has no such alias.
            LockfileParseError, LockfileValidationError: Its lockfile is broken.
        """
        prefix, _, alias = reference.partition(":")
        name = self.spelled(prefix)
        if name is None:
            return None
        package = self.get(name)
        error = package.error
        if isinstance(error, LockfileNotFoundError):
            raise AliasNotFoundError(
                f"no alias {reference!r}: {error}", alias=reference, profile=profile
            )
        if error is not None:
            raise _again(error)
        assert package.lockfile is not None
        if not alias:
            raise AliasNotFoundError(
                f"{reference!r} names no alias: write {name}:ALIAS", alias=reference
            )
        home = package.aliases(profile).get(alias)
        if home is None:
            raise self._not_found(package, alias, reference, profile)
        binding = package.lockfile.profiles[home].bindings[alias]
        return PackageAlias(package, binding, home, profile)

    def having(self, alias: str, profile: str) -> list[str]:
        """`package:alias` of every package that has the alias."""
        return [f"{p.name}:{alias}" for p in self if alias in p.aliases(profile)]

    def _not_found(
        self, package: Package, alias: str, reference: str, profile: str
    ) -> AliasNotFoundError:
        aliases = package.aliases(profile)
        near = near_words(alias, aliases)
        text = f"no alias {reference!r} in profile {profile!r} of {package.path}"
        assert package.lockfile is not None
        elsewhere = package.lockfile.profiles_having(alias)
        if elsewhere:
            text += f"; it is in {', '.join(map(repr, elsewhere))}"
        elif near:
            text += f"; did you mean {f'{package.name}:{near[0]}'!r}?"
        available = ", ".join(list(aliases)[:_MOST_NAMES]) or "none"
        if len(aliases) > _MOST_NAMES:
            available += f" and {len(aliases) - _MOST_NAMES} more"
        text += f"; available in {package.name}: {available}"
        return AliasNotFoundError(text, alias=reference, profile=profile)


# Reading -------------------------------------------------------------------------


def read_package(name: str, finder: Finder) -> Package:
    """Find and check a package's lockfile. What goes wrong is in `.error`."""
    try:
        found = finder.find(name)
    except LockfileError as error:
        return Package(name, error=error)
    path = os.path.join(found.folder, LOCKFILE_NAME)
    package = Package(name, found.import_name, path)
    try:
        text = _read(found.folder, path)
        document = parse(text, path=path)
        return package._replace(
            lockfile=_check(document, text, path),
            ignored=tuple(key for key in IGNORED if document.get(key)),
        )
    except LockfileError as error:
        return package._replace(error=_again(error, f"package {name!r}: "))


def _check(document: dict[str, Any], text: str, path: str) -> Lockfile:
    """The document as a lockfile.

    Of the tables that don't count the names stay, so that a reference to them is a
    matter of the alias that has it and not a mistake that spoils the file.
    """
    providers, extends = document.get("providers"), document.get("extends")
    names = extends.get("packages") if isinstance(extends, dict) else None
    lockfile = Lockfile.from_document(
        {
            **document,
            "providers": {
                key: {"kind": "mock"}
                for key in (providers if isinstance(providers, dict) else ())
                if key not in BUILTIN and is_provider_name(key)
            },
            "extends": {
                "packages": [
                    key
                    for key in (names if isinstance(names, list) else ())
                    if isinstance(key, str) and is_package_name(key)
                ]
            },
        },
        text=text,
        path=path,
    )
    lockfile.providers, lockfile.extends = {}, ()
    return lockfile


def _read(folder: str, path: str) -> str:
    """The text of a package's lockfile, if it is a file of the package."""
    if not os.path.lexists(path):
        return _read_archived(path)
    if not os.path.isfile(path):
        raise LockfileError(f"{path} is not a file", path=path)
    real = os.path.realpath(path)
    # Some installers put links to a store in the place of every file, the package's
    # __init__ included: then the store is where the package really is.
    homes = [os.path.realpath(folder)]
    if os.path.isfile(init := os.path.join(folder, "__init__.py")):
        homes.append(os.path.dirname(os.path.realpath(init)))
    if not any(real.startswith(os.path.join(home, "")) for home in homes):
        raise LockfileError(
            f"{path} is a link to a file outside the package, which is not read",
            path=path,
        )
    return read_text(path)


def _read_archived(path: str) -> str:
    import zipfile
    import zlib

    archive, inner = split_archive(path)
    try:
        with zipfile.ZipFile(archive or path) as file, file.open(inner) as member:
            # The size that an archive claims for a file may be a lie.
            data = member.read(MAX_BYTES + 1)
    except (
        OSError,
        EOFError,
        KeyError,
        ValueError,
        RuntimeError,  # encrypted; also NotImplementedError: a compression
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise LockfileError(f"can't read {path}: {error}", path=path) from error
    return decode(data, path)


def _again(error: LockfileError, prefix: str = "") -> LockfileError:
    """The error as a new object: the old one collects the traceback of every raise."""
    new = type(error)(prefix + str(error))
    new.__dict__.update(error.__dict__)
    return new
