"""Packages that ship a lockfile, as folders and archives of a search path."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

# Whoever imports it fails the test.
POISON = "raise AssertionError(f'{__name__} was imported')\n"


def lock(
    aliases: Mapping[str, str | Sequence[str]] | None = None,
    *,
    profile: str = "default",
    head: str = "",
    tail: str = "",
) -> str:
    """A lockfile that binds aliases in one profile."""
    lines = ['version = "1.0"', head, f"[profiles.{profile}]", f'name = "{profile}"']
    for alias, models in (aliases or {}).items():
        names = [models] if isinstance(models, str) else models
        array = ", ".join(f'"{name}"' for name in names)
        lines += [
            f"[[profiles.{profile}.bindings]]",
            f'alias = "{alias}"',
            f"models = [{array}]",
        ]
    return "\n".join([*lines, tail, ""])


def extending(*packages: str) -> str:
    """The head of a lockfile that extends packages."""
    names = ", ".join(f'"{package}"' for package in packages)
    return f"[extends]\npackages = [{names}]"


def make_package(
    site: Path, name: str, text: str | None = None, *, init: bool = True
) -> Path:
    """A dotted package that must not be imported; returns its folder."""
    folder = site
    for part in name.split("."):
        folder = folder / part
        folder.mkdir(parents=True, exist_ok=True)
        if init:
            (folder / "__init__.py").write_text(POISON)
    if text is not None:
        (folder / "llmring.lock").write_text(text)
    return folder


def make_metadata(
    site: Path, distribution: str, record: Sequence[str] = (), top_level: str = ""
) -> Path:
    """What an installer leaves beside the packages of a distribution."""
    folder = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
    )
    if record:
        lines = [f"{path},sha256=x,1\n" for path in record]
        (folder / "RECORD").write_text("".join(lines))
    if top_level:
        (folder / "top_level.txt").write_text(top_level)
    return folder


def make_archive(path: Path, files: Mapping[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path
