"""The registry's data on this machine: what was fetched, by registry and provider."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from llmring_lite.exceptions import RegistryError
from llmring_lite.registry import MAX_BYTES, Catalogue

CACHE_VARIABLE: Final = "LLMRING_CACHE_DIR"


def cache_folder(environ: Mapping[str, str] = os.environ) -> str:
    """Where the registry's data is kept: in `LLMRING_CACHE_DIR`, or the XDG folder."""
    own = environ.get(CACHE_VARIABLE)
    if own:
        return os.path.join(os.path.expanduser(own), "registry")
    base = environ.get("XDG_CACHE_HOME", "")
    # https://specifications.freedesktop.org/basedir-spec: relative ones don't count.
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "llmring-lite", "registry")


class CacheEntry(NamedTuple):
    """A file of the cache.

    Attributes:
        path: Where it is.
        url: The registry it came from.
        catalogue: What it says.
        pinned: True for a numbered version, which never changes.
    """

    path: str
    url: str
    catalogue: Catalogue
    pinned: bool


class Cache:
    """What was fetched from one registry, by provider.

    A file holds a document in the registry's own form, with two more members: `url`
    and `fetched_at`. Files are replaced whole, so processes that read and write at the
    same time see one state or the other. One that can't be used counts as absent.
    """

    def __init__(self, folder: str, url: str) -> None:
        """Args:
        folder: See `cache_folder`; made when something is written.
        url: Base URL of the registry.
        """
        self.folder = folder
        self._url = url
        readable = "".join(c if c.isalnum() else "_" for c in url.partition("://")[2])
        # Two URLs of the same letters share a folder; each file names its own.
        self._own = os.path.join(folder, readable[:100].strip("_") or "_")

    def path(self, provider: str, version: int | None = None) -> str:
        pin = "" if version is None else f".v{version}"
        return os.path.join(self._own, f"{provider}{pin}.json")

    def read(self, provider: str, version: int | None = None) -> Catalogue | None:
        """What is kept of a provider; None if nothing is, or nothing usable."""
        entry = _read_entry(self.path(provider, version))
        if entry is None or entry.url != self._url:
            return None
        return entry.catalogue if version in (None, entry.catalogue.version) else None

    def write(self, catalogue: Catalogue, *, pinned: bool = False) -> None:
        """Keep a catalogue.

        Args:
            pinned: Under its version, for ever, instead of as the current state.

        Raises:
            OSError: The folder can't be written.
        """
        import json  # most programs only read

        document = {
            "url": self._url,
            "fetched_at": catalogue.fetched_at,
            "provider": catalogue.provider,
            "version": catalogue.version,
            "updated_at": catalogue.updated_at,
            "models": {model.ref: model.to_dict() for model in catalogue},
        }
        path = self.path(catalogue.provider, catalogue.version if pinned else None)
        os.makedirs(self._own, exist_ok=True)
        # Of this thread alone: two may write the same file at once.
        part = f"{path}.{os.getpid()}-{id(document):x}.part"
        try:
            with open(part, "w", encoding="utf-8") as file:
                json.dump(document, file, separators=(",", ":"), ensure_ascii=False)
            os.replace(part, path)
        finally:
            _remove(part)

    def entries(self) -> list[CacheEntry]:
        """All usable files, of every registry."""
        found = map(_read_entry, _files(self.folder, (".json",)))
        return [entry for entry in found if entry is not None]

    def clear(self) -> int:
        """Remove every file of the cache, of every registry; returns how many.

        Raises:
            OSError: One of them can't be removed.
        """
        paths = list(_files(self.folder, (".json", ".part")))
        removed = sum(map(_remove, paths))
        for folder in (*{os.path.dirname(path) for path in paths}, self.folder):
            try:
                os.rmdir(folder)
            except OSError:  # somebody else's file is in it, or it isn't there
                continue
        return removed


def _files(folder: str, endings: tuple[str, ...]) -> Iterator[str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        own = os.path.join(folder, name)
        if os.path.isdir(own) and not os.path.islink(own):
            for file in sorted(os.listdir(own)):
                if file.endswith(endings):
                    yield os.path.join(own, file)


def _read_entry(path: str) -> CacheEntry | None:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError:
        return None
    # Here, because most often nothing is cached.
    from llmring_lite.registry_parse import decode, parse_document

    provider, _, rest = os.path.basename(path).partition(".")
    try:
        document = decode(data, path)
        fetched_at = document.get("fetched_at")
        catalogue = parse_document(
            document, provider, source=path, fetched_at=fetched_at
        )
    except RegistryError:
        return None
    url = document.get("url")
    if not isinstance(url, str):
        return None
    return CacheEntry(path, url, catalogue, pinned=rest != "json")


def _remove(path: str) -> bool:
    try:
        os.remove(path)
    except FileNotFoundError:
        return False
    return True
