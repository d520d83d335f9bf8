"""A user's message: from the command line, from stdin, from files."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from llmring_lite.cli_options import UsageError

_PART_TYPES: Final[Mapping[str, str]] = {
    ".png": "image",
    ".jpg": "image",
    ".jpeg": "image",
    ".gif": "image",
    ".webp": "image",
    ".pdf": "file",
}
"""Suffix -> the type of part that the library loads by itself. Others are text."""


def build_content(text: str, files: Sequence[str]) -> str | list[dict[str, Any]]:
    """A user turn: text files, then the text; other files as parts before it."""
    parts: list[dict[str, Any]] = []
    documents: list[str] = []
    for name in files:
        kind = _PART_TYPES.get(Path(name).suffix.lower())
        if kind is None:
            documents.append(_document(Path(name)))
        else:
            # Opened here so that a missing file is reported before any call.
            with open(name, "rb"):
                parts.append({"type": kind, "path": name})
    prompt = "\n\n".join([*documents, *([text] if text.strip() else [])])
    if not parts:
        return prompt
    return [*parts, {"type": "text", "text": prompt}] if prompt else parts


def _document(path: Path) -> str:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise UsageError(
            f"{path} can't be sent: it is neither text in UTF-8 nor a file named "
            f"{', '.join(_PART_TYPES)}"
        )
    return f'<file name="{path.name}">\n{text.rstrip()}\n</file>'


def read_stdin() -> str:
    accept_any_bytes()
    return "" if sys.stdin is None else mend(sys.stdin.read())


def accept_any_bytes() -> None:
    """Let reading stdin succeed whatever encoding the terminal claims to have."""
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="surrogateescape")


def mend(text: str) -> str:
    """The text with bytes that the locale couldn't decode read as UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
