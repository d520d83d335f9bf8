"""The registry's data on this machine: what was fetched, by registry and provider.

Files are replaced whole, so processes that read and write at the same time see one
state or the other. A file that can't be used counts as absent: it is a cache.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

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


class CacheEntry:
    """A file of the cache.

    Attributes:
        path: Where it is.
        url: The registry it came from.
        catalogue: What it says.
        pinned: True for a numbered version, which never changes.
    """

    __slots__ = ("catalogue", "path", "pinned", "url")

    def __init__(self, path: str, url: str, catalogue: Catalogue, pinned: bool) -> None:
        self.path = path
        self.url = url
        self.catalogue = catalogue
        self.pinned = pinned


class Cache:
    """The files of one registry in the cache folder."""

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
        found = _read(self.path(provider, version), provider)
        if found is None or found[1] != self._url:
            return None
        catalogue = found[0]
        if version is not None and catalogue.version != version:
            return None
        return catalogue

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
            "provider": catalogue.provider,
            "fetched_at": catalogue.fetched_at,
            **catalogue.to_compact(),
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
        found = []
        for path in _files(self.folder):
            name = os.path.basename(path)
            provider, _, rest = name.partition(".")
            read = _read(path, provider)
            if read is not None:
                found.append(CacheEntry(path, read[1], read[0], rest != "json"))
        return found

    def clear(self) -> int:
        """Remove every file of the cache, of every registry; returns how many.

        Raises:
            OSError: One of them can't be removed.
        """
        removed = 0
        folders = set()
        for path in list(_files(self.folder, (".json", ".part"))):
            removed += _remove(path)
            folders.add(os.path.dirname(path))
        for folder in (*folders, self.folder):
            try:
                os.rmdir(folder)
            except OSError:  # somebody else's file is in it, or it isn't there
                continue
        return removed


def _files(folder: str, endings: tuple[str, ...] = (".json",)) -> Iterator[str]:
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


def _read(path: str, provider: str) -> tuple[Catalogue, str] | None:
    """A file's catalogue and the registry it came from."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError:
        return None
    # Here, because most often nothing is cached.
    from llmring_lite.registry_parse import parse_compact

    try:
        catalogue, document = parse_compact(data, provider, source=path)
    except RegistryError:
        return None
    url: Any = document.get("url")
    return (catalogue, url) if isinstance(url, str) else None


def _remove(path: str) -> bool:
    try:
        os.remove(path)
    except FileNotFoundError:
        return False
    return True
