"""Where an installed package keeps its files, found without importing anything.

`Finder.find` takes an import name (`acme.text`) or the name of a distribution
(`acme-text`). Neither the package runs, nor a parent of it, nor one of the finders
that editable installs put into `sys.meta_path`: what those know stands in their files,
and is read from there. Searched are, in this order,

1. the folders and zip archives of `sys.path`, as Python's own search does,
2. editable installs: the `.pth` files beside the packages, the folders that they name,
   and the maps in the finder modules that they import,
3. `__path__` of a module that is loaded already, for importers of other kinds.

A distribution's metadata (RECORD, top_level.txt, its `.pth` files) tells the import
names to search for. Paths in it are never followed: they are somebody else's words.

Folders in an archive are written as their path: `/srv/libs.zip/acme/text`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from llmring_lite.exceptions import LockfileError, LockfileNotFoundError
from llmring_lite.lockfile_fields import plain_package_name
from llmring_lite.lockfile_file import LOCKFILE_NAME

if TYPE_CHECKING:
    from importlib.metadata import Distribution

_MOST_TEXT: Final = 2**20
"""Of a `.pth` file or a finder module, in characters. Real ones have a few thousand."""

_DEEPEST: Final = 50
"""Folders within folders of an archive."""

# 'acme': '/src/acme' as setuptools writes it (or a list), and the same with a comma in
# calls of `editables`, which hatchling and pdm use.
_MAPPED: Final = (
    r"""(["'])([^\W\d][\w.]*+)\1\s*+[:,]\s*+(?:\[\s*+)?"""
    r"""("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
)


class Found(NamedTuple):
    """A package that ships a lockfile.

    Attributes:
        import_name: Its dotted name.
        folder: Where its lockfile is.
    """

    import_name: str
    folder: str


class Finder:
    """A search that remembers what it has seen: later changes need a new one."""

    def __init__(self, path: Iterable[object] | None = None) -> None:
        """`path`: what to search; default `sys.path`."""
        self._path = list(dict.fromkeys(_absolute(sys.path if path is None else path)))
        self._listings: dict[str, frozenset[str] | None] = {}
        self._archives: dict[str, dict[str, set[str]]] = {}
        self._editables: tuple[dict[str, str], list[str]] | None = None

    def find(self, name: str) -> Found:
        """The package of an import name, or of a distribution's name.

        Raises:
            LockfileNotFoundError: It isn't there, or has no lockfile.
            LockfileError: The distribution has several packages with a lockfile.
        """
        seen: str | None = None
        for import_name in self._import_names(name):
            for folder in self._folders(import_name):
                if LOCKFILE_NAME in (self._names(folder) or ()):
                    return Found(import_name, folder)
                seen = seen or folder
        if seen:
            reason = f"{seen} has no {LOCKFILE_NAME}"
        elif self._is_module(name):
            reason = "it is a single module, which has no folder for a lockfile"
        else:
            reason = f"it is not installed for {sys.executable or 'this Python'}"
        raise LockfileNotFoundError(
            f"no lockfile of package {name!r}: {reason}; install one that ships it, or "
            "remove the package from [extends]"
        )

    # By import name --------------------------------------------------------------

    def _folders(self, import_name: str) -> Iterator[str]:
        """The folders of a package, those first that an import would take."""
        yield from self._walk(import_name.split("."), self._path)
        mapping, folders = self._find_editables()
        parts = import_name.split(".")
        for length in range(len(parts), 0, -1):
            mapped = mapping.get(".".join(parts[:length]))
            if mapped is not None:
                yield from self._walk(parts[length:], [mapped])
        yield from self._walk(parts, folders)
        # A plain look into a dict: a module may answer questions in its own way.
        module = sys.modules.get(import_name)
        if isinstance(module, type(sys)):
            paths = module.__dict__.get("__path__")
            if isinstance(paths, list | tuple):
                yield from _absolute(paths)

    def _walk(self, parts: Sequence[str], folders: Sequence[str]) -> Sequence[str]:
        for number, part in enumerate(parts):
            # A parent may spread itself over several folders by code of its own, so
            # all that have its name count; of the package itself only the first.
            folders = self._step(part, folders, all_of=number < len(parts) - 1)
        return folders

    def _step(
        self, name: str, folders: Iterable[str], *, all_of: bool = False
    ) -> list[str]:
        """The folders of a name: of a regular package one, else a namespace's."""
        regular: list[str] = []
        portions: list[str] = []
        for folder in folders:
            inside = os.path.join(folder, name)
            names = self._names(folder) or ()
            held = self._names(inside) if name in names else None
            if held is not None and any(n.startswith("__init__.") for n in held):
                regular.append(inside)
            elif f"{name}.py" in names and not all_of:
                return regular[:1]
            elif held is not None:
                portions.append(inside)
            if regular and not all_of:
                return regular
        return [*regular, *portions]

    def _is_module(self, name: str) -> bool:
        *parents, last = name.split(".")
        folders = self._walk(parents, self._path)
        return any(f"{last}.py" in (self._names(folder) or ()) for folder in folders)

    # By distribution -------------------------------------------------------------

    def _import_names(self, name: str) -> Iterator[str]:
        """Import names that a name may mean, the most likely first."""
        if _is_import_name(name):
            yield name
        distribution = self._find_distribution(name)
        if distribution is not None:
            yield from self._names_of(name, distribution)
        plain = plain_package_name(name)
        # For a folder that nobody installed, and for editable namespace packages.
        for guess in (plain.replace("-", "_"), plain.replace("-", ".")):
            if _is_import_name(guess) and guess != name:
                yield guess

    def _find_distribution(self, name: str) -> Distribution | None:
        # 15 ms, and the e-mail parser with it: only for names that don't import.
        from importlib.metadata import DistributionFinder, MetadataPathFinder

        context = DistributionFinder.Context(name=name, path=self._path)
        return next(iter(MetadataPathFinder.find_distributions(context)), None)

    def _names_of(self, name: str, distribution: Distribution) -> list[str]:
        """The import names of a distribution, those with a lockfile first."""
        lines = _metadata(distribution, "RECORD").splitlines()
        record = [line.partition(",")[0] for line in lines]
        inside = f"/{LOCKFILE_NAME}"
        folders = [p.removesuffix(inside) for p in record if p.endswith(inside)]
        shipped = [
            folder.replace("/", ".")
            for folder in folders
            if all(map(str.isidentifier, folder.split("/")))
        ] or self._editable_names(distribution, record)
        depth = min((n.count(".") for n in shipped), default=0)
        outer = sorted(n for n in shipped if n.count(".") == depth)
        plain = plain_package_name(name)
        same = [n for n in outer if plain_package_name(n) == plain]
        if len(outer) > 1 and not same:
            raise LockfileError(
                f"{name!r} has several packages with a lockfile: write one of "
                f"{', '.join(outer)} instead"
            )
        top_level = _metadata(distribution, "top_level.txt").split()
        return [*(same or outer), *filter(str.isidentifier, top_level)]

    def _editable_names(
        self, distribution: Distribution, record: Iterable[str]
    ) -> list[str]:
        """Packages with a lockfile among what a distribution's `.pth` files name."""
        mapping: dict[str, str] = {}
        folders: list[str] = []
        for path in record:
            if path.endswith(".pth") and "/" not in path:
                place: Any = distribution.locate_file(path)
                if isinstance(place, os.PathLike):
                    _read_pth(os.fspath(place), mapping, folders)
        for folder in folders:
            for name in self._names(folder) or ():
                mapping.setdefault(name, os.path.join(folder, name))
        return [
            name
            for name, folder in mapping.items()
            if _is_import_name(name) and LOCKFILE_NAME in (self._names(folder) or ())
        ]

    # Editable installs -----------------------------------------------------------

    def _find_editables(self) -> tuple[dict[str, str], list[str]]:
        """Import name -> folder, and more folders to search."""
        if self._editables is None:
            mapping: dict[str, str] = {}
            folders: list[str] = []
            for folder in self._path:
                for name in sorted(self._names(folder) or ()):
                    if name.endswith(".pth"):
                        _read_pth(os.path.join(folder, name), mapping, folders)
            self._editables = mapping, folders
        return self._editables

    # Folders, on disk and in archives --------------------------------------------

    def _names(self, folder: str) -> frozenset[str] | None:
        """What a folder holds; None if it is no folder."""
        if folder not in self._listings:
            self._listings[folder] = self._list(folder)
        return self._listings[folder]

    def _list(self, folder: str) -> frozenset[str] | None:
        try:
            return frozenset(os.listdir(folder))
        except ValueError:  # a null byte
            return None
        except OSError:
            archive, inner = split_archive(folder)
        if archive is None:
            return None
        if archive not in self._archives:
            self._archives[archive] = _list_archive(archive)
        names = self._archives[archive].get(inner)
        return None if names is None else frozenset(names)


def split_archive(path: str) -> tuple[str | None, str]:
    """The file that a path leads through, if any, and the path inside of it."""
    head, inner = path, ""
    while not os.path.exists(head):
        head, name = os.path.split(head)
        if not name:
            return None, ""
        inner = f"{name}/{inner}" if inner else name
    return (head, inner) if os.path.isfile(head) else (None, "")


def _list_archive(path: str) -> dict[str, set[str]]:
    """Folder -> names in it; nothing if the file is no zip archive."""
    import zipfile  # few programs have one on their path

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return {}
    folders: dict[str, set[str]] = {}
    for name in names:
        folder, below = "", name.strip("/").split("/")
        for part in below[:_DEEPEST]:
            folders.setdefault(folder, set()).add(part)
            folder = f"{folder}/{part}" if folder else part
    return folders


def _absolute(path: Iterable[object]) -> Iterator[str]:
    """The entries of a search path that are paths; "" is the working directory."""
    for entry in path:
        if isinstance(entry, str):
            try:
                yield os.path.abspath(entry)
            except OSError:  # the working directory was deleted
                continue


def _is_import_name(name: str) -> bool:
    return all(map(str.isidentifier, name.split(".")))


def _metadata(distribution: Distribution, name: str) -> str:
    """A file of the metadata; "" if it can't be read."""
    try:
        return distribution.read_text(name) or ""
    except (OSError, ValueError):
        return ""


def _read_pth(path: str, mapping: dict[str, str], folders: list[str]) -> None:
    """Add what a `.pth` file stands for.

    Lines are folders, or begin with `import` and are code
    (https://docs.python.org/3/library/site.html): of that, the map in the module that
    it imports counts.
    """
    site = os.path.dirname(path)
    for line in _read_text(path).splitlines():
        words = line.replace(";", " ").split()
        if line.startswith(("import ", "import\t")):
            if len(words) > 1 and words[1].isidentifier():
                module = os.path.join(site, f"{words[1]}.py")
                mapping.update(_read_map(_read_text(module)))
        elif words and not line.startswith("#"):
            folder = os.path.join(site, line.strip())
            if os.path.isdir(folder):
                folders.append(folder)


def _read_map(text: str) -> Iterator[tuple[str, str]]:
    """Import names and folders that stand beside each other in a finder module."""
    import ast
    import re

    for match in re.finditer(_MAPPED, text):
        try:
            path = ast.literal_eval(match[3])
        except (SyntaxError, ValueError):
            continue
        folder, name = os.path.split(path)
        folder = folder if name.startswith("__init__.") else path
        if os.path.isabs(folder) and os.path.isdir(folder):
            yield match[2], folder


def _read_text(path: str) -> str:
    """The text of a small file; "" if it can't be read."""
    try:
        if not os.path.isfile(path):
            return ""
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_MOST_TEXT)
    except (OSError, ValueError):
        return ""
