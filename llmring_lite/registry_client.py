"""A registry by its base URL: what is known of its models, offline and online.

Offline, that is always except where a docstring says "network":

1. a registry in a folder (`file://`) is read where it is;
2. what the last refresh fetched is in the cache;
3. the snapshot ships with the package.

The first that has a provider counts; of the public registry's cache and the snapshot
the newer one. The network is used only by the methods that say so, through a function
that is handed in. Data that can't be used is refused, and what was there stays.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from llmring_lite.exceptions import RegistryError, RegistryStaleError
from llmring_lite.registry import (
    MAX_BYTES,
    SNAPSHOT_PROVIDERS,
    Catalogue,
    RegistryModel,
    is_provider_name,
    load_snapshot,
)
from llmring_lite.registry_cache import Cache, cache_folder

DEFAULT_URL: Final = "https://llmring.github.io/registry"
URL_VARIABLE: Final = "LLMRING_REGISTRY_URL"

Fetch: TypeAlias = Callable[[str, int], bytes | None]
"""(URL, largest size in bytes) -> the document, None if there is none.

Raises RegistryError. `transport_registry.fetch` is one.
"""


class Registry:
    """A registry's models. Serves any number of threads, and pickles."""

    def __init__(
        self,
        url: str | None = None,
        *,
        fetch: Fetch | None = None,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is read or sent yet.

        Args:
            url: Base URL: https, http on loopback, or file. Default:
                `LLMRING_REGISTRY_URL`, else the public registry.
            fetch: Reads a URL of the network. None: there is no network.
            clock: Seconds since 1970.
        """
        self.url = (url or environ.get(URL_VARIABLE) or DEFAULT_URL).strip().rstrip("/")
        self.cache = Cache(cache_folder(environ), self.url)
        self._fetch = fetch
        self._clock = clock
        self._known: dict[str, Catalogue | None] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_known": {}}

    def __repr__(self) -> str:
        return f"<Registry {self.url}>"

    # Offline ---------------------------------------------------------------------

    def catalogue(self, provider: str) -> Catalogue | None:
        """What is known of a provider's models; None if nothing is.

        Read once: `forget` makes a long-running program see another's refresh.
        """
        if provider not in self._known:
            self._known[provider] = self._read(provider)
        return self._known[provider]

    def find(self, provider: str, model: str) -> RegistryModel | None:
        """A model by its name, an alias or a dated form; None if it is unknown."""
        catalogue = self.catalogue(provider)
        return None if catalogue is None else catalogue.find(model)

    def forget(self) -> None:
        """Read the files anew when they are asked for again."""
        self._known.clear()

    def providers(self) -> list[str]:
        """Whom anything is known of."""
        names = {*SNAPSHOT_PROVIDERS}
        names |= {
            entry.catalogue.provider
            for entry in self.cache.entries()
            if entry.url == self.url and not entry.pinned
        }
        if self._is_folder:
            names |= _providers_in(file_path(self.url))
        return sorted(names)

    def assert_fresh(self, provider: str, max_age_days: float) -> None:
        """Check that a provider's data isn't old.

        The age counts from the day the registry made the data, not from the day it
        was fetched: a registry that nobody keeps up gives old data every day.

        Raises:
            RegistryStaleError: It is older, or its age is unknown.
            RegistryError: Nothing is known of the provider.
        """
        catalogue = self.catalogue(provider)
        if catalogue is None:
            raise RegistryError(f"nothing is known of the models of {provider!r}")
        age = age_days(catalogue, self._clock())
        if age is None or age > max_age_days:
            how = "of unknown age" if age is None else f"{age:.0f} days old"
            raise RegistryStaleError(
                f"the data of {describe(catalogue)} is {how}; at most "
                f"{max_age_days:g} days were asked for. `llmring-lite registry "
                "refresh` looks for newer data",
                provider=provider,
                updated_at=catalogue.updated_at,
                age_days=age,
            )

    def _read(self, provider: str) -> Catalogue | None:
        if not is_provider_name(provider):
            return None
        if self._is_folder:
            try:
                found = self._load(provider)
            except RegistryError as error:
                _warn(str(error))
            else:
                if found is not None:
                    return found
        cached = self.cache.read(provider)
        shipped = load_snapshot(provider)
        if cached is None or shipped is None:
            return cached or shipped
        is_older = (cached.version or 0) < (shipped.version or 0)
        return shipped if is_older and self.url == DEFAULT_URL else cached

    # Network ---------------------------------------------------------------------

    def fetch(self, provider: str, *, must_keep: bool = False) -> Catalogue | None:
        """A provider's current data, fetched now and kept in the cache (network).

        Args:
            must_keep: A cache that can't be written is an error, not only a warning.

        Returns:
            None if the registry doesn't have the provider.

        Raises:
            RegistryError: It can't be fetched or used; what was known stays known.
        """
        found = self._load(provider)
        if found is not None:
            self._keep(found, must_keep=must_keep)
            self._known[provider] = found
        return found

    def version(self, provider: str, number: int) -> Catalogue:
        """A numbered version of a provider's data (network, unless it is here).

        Raises:
            RegistryError: It can't be fetched or used, or there is no such version.
        """
        here = (
            self.catalogue(provider),
            load_snapshot(provider) if self.url == DEFAULT_URL else None,
            self.cache.read(provider, number),
        )
        for catalogue in here:
            if catalogue is not None and catalogue.version == number:
                return catalogue
        found = self._load(provider, number)
        if found is None:
            raise RegistryError(f"{self.url} has no version {number} of {provider}")
        self._keep(found, pinned=True)
        return found

    def _keep(
        self, catalogue: Catalogue, *, pinned: bool = False, must_keep: bool = False
    ) -> None:
        if self._is_folder:
            return
        try:
            self.cache.write(catalogue, pinned=pinned)
        except OSError as error:
            text = (
                f"the registry's data can't be kept in {self.cache.folder} "
                f"({error.strerror or error}); LLMRING_CACHE_DIR names another folder"
            )
            if must_keep:
                raise RegistryError(text) from error
            _warn(text)

    def _load(self, provider: str, number: int | None = None) -> Catalogue | None:
        if not is_provider_name(provider):
            raise RegistryError(f"{provider!r} can't be a provider's name")
        middle = "" if number is None else f"/v/{number}"
        source = f"{self.url}/{provider}{middle}/models.json"
        data = self.get(source)
        if data is None:
            return None
        from llmring_lite.registry_parse import parse_document

        fetched_at = None if self._is_folder else self._clock()
        return parse_document(
            data, provider, source=source, version=number, fetched_at=fetched_at
        )

    def get(self, source: str) -> bytes | None:
        """The bytes at a URL below the registry's; None if there is nothing (network).

        Raises:
            RegistryError: They can't be read.
        """
        if self._is_folder:
            return _read_file(file_path(source))
        if self._fetch is None:
            raise RegistryError(f"{source} is not here, and no network may be used")
        return self._fetch(source, MAX_BYTES)

    @property
    def _is_folder(self) -> bool:
        return self.url.startswith("file:")


def _warn(text: str) -> None:
    import logging  # most programs have nothing to say

    logging.getLogger("llmring_lite").warning("%s", text)


# A registry in a folder ----------------------------------------------------------


def file_path(url: str) -> str:
    """The path that a `file://` URL names.

    Raises:
        RegistryError: It is on another machine, or no absolute path.
    """
    from urllib.parse import unquote, urlsplit  # most registries are on the network

    parts = urlsplit(url)
    path = unquote(parts.path)
    if os.name == "nt" and path[2:3] == ":":
        path = path.lstrip("/")  # file:///C:/data
    if parts.netloc not in ("", "localhost") or not os.path.isabs(path):
        raise RegistryError(
            f"{url!r} names no folder of this machine: write file:///absolute/path"
        )
    return path


def _providers_in(folder: str) -> set[str]:
    """The providers that a registry in a folder has."""
    try:
        names = os.listdir(folder)
    except OSError:
        return set()
    return {
        name
        for name in names
        if is_provider_name(name)
        and os.path.isfile(os.path.join(folder, name, "models.json"))
    }


def _read_file(path: str) -> bytes | None:
    """A file's beginning, one byte beyond what is taken; None if there is no file."""
    try:
        # Not a pipe or a device, which might never end.
        if not os.path.isfile(path):
            return None
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RegistryError(f"{path} can't be read: {reason}") from error


def age_days(catalogue: Catalogue, now: float) -> float | None:
    """How long ago the registry made the data, in days; None if it didn't say."""
    if catalogue.updated_at is None:
        return None
    from datetime import UTC, datetime  # rarely asked

    made = datetime.fromisoformat(catalogue.updated_at)
    if made.tzinfo is None:
        made = made.replace(tzinfo=UTC)
    return (now - made.timestamp()) / 86_400


def describe(catalogue: Catalogue) -> str:
    """Such as `openai version 7 of 2026-08-18`."""
    version = "" if catalogue.version is None else f" version {catalogue.version}"
    made = "" if catalogue.updated_at is None else f" of {catalogue.updated_at[:10]}"
    return f"{catalogue.provider}{version}{made}"
