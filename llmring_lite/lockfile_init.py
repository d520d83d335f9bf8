"""The text of a first lockfile, for the providers whose keys are set."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from llmring_lite.lockfile import Lockfile
from llmring_lite.lockfile_edit import create
from llmring_lite.lockfile_parse import format_of
from llmring_lite.provider import BUILTIN


class _Task(NamedTuple):
    """An alias: what it is for, why these models, and which, best first."""

    alias: str
    purpose: str
    reason: str
    models: tuple[str, ...]


# Names and prices: the public registry (https://llmring.github.io/registry), state of
# August 2026. One model a provider, so that a fallback always has another provider.
_TASKS: Final = (
    _Task(
        "default",
        "everyday work",
        "The middle of each range: capable, 0.75 to 2 USD per million input tokens.",
        (
            "anthropic:claude-sonnet-5",
            "openai:gpt-5.6-terra",
            "google:gemini-3.7-flash",
        ),
    ),
    _Task(
        "fast",
        "short answers, classification, anything done often",
        "The small ones, cheapest first: 0.20 to 1 USD per million input tokens.",
        (
            "openai:gpt-5.6-luna",
            "google:gemini-3.1-flash-lite",
            "anthropic:claude-haiku-4-5-20251001",
        ),
    ),
    _Task(
        "summarizer",
        "long text in, short text out",
        "Input makes most of the price here, so small models.",
        (
            "anthropic:claude-haiku-4-5-20251001",
            "openai:gpt-5.6-luna",
            "google:gemini-3.1-flash-lite",
        ),
    ),
    _Task(
        "deep",
        "hard questions, planning, difficult code",
        "The strongest of each range: slower, 2 to 5 USD per million input tokens.",
        (
            "anthropic:claude-opus-5",
            "openai:gpt-5.6-sol",
            "google:gemini-3.1-pro-preview",
        ),
    ),
    _Task(
        "vision",
        "images, screenshots, scanned pages",
        "All of these take images; cheapest first.",
        (
            "google:gemini-3.7-flash",
            "openai:gpt-5.6-terra",
            "anthropic:claude-sonnet-5",
        ),
    ),
)

_HEAD: Final = """\
# Which model serves which task. Keep this file in git: code names the alias, and a
# change of model is a change here. No keys belong in it.

version = "1.0"
default_profile = "default"

[profiles.default]
name = "default"
"""

_EXAMPLE: Final = """\
# An alias with a fallback and default parameters looks like this:
#
# [[profiles.default.bindings]]
# alias = "summarizer"
# models = ["anthropic:claude-haiku-4-5-20251001", "openai:gpt-5.6-luna"]
# parameters = { max_tokens = 800 }
#
# A model on this machine needs no key:
#
# [[profiles.default.bindings]]
# alias = "local"
# models = ["ollama:llama3.2"]
"""


def provider_names() -> list[str]:
    """The providers that `lockfile_text` knows models of."""
    return sorted({_provider(model) for task in _TASKS for model in task.models})


def lockfile_text(usable: Collection[str]) -> str:
    """A lockfile (TOML) with an alias for each common task.

    Args:
        usable: Names of the providers whose keys are set. Those without a model in
            the table above count for nothing; if none is left the file has no
            bindings, only commented examples and the variables to set.
    """
    parts = [_HEAD]
    for task in _TASKS:
        models = [model for model in task.models if _provider(model) in usable]
        if models:
            parts.append(_binding(task, models))
    if len(parts) == 1:
        parts.append(_no_keys())
    parts.append(_EXAMPLE)
    return "\n".join(parts)


def _binding(task: _Task, models: list[str]) -> str:
    lines = [f"# {task.alias}: {task.purpose}.", f"# {task.reason}"]
    if len(models) == 1:
        missing = [m for m in task.models if m not in models]
        lines.append(
            f"# A fallback from another provider would help, such as {missing[0]}."
        )
    listed = "".join(f'    "{model}",\n' for model in models)
    return "\n".join(
        [
            *lines,
            "[[profiles.default.bindings]]",
            f'alias = "{task.alias}"',
            f"models = [\n{listed}]\n"
            if len(models) > 1
            else f'models = ["{models[0]}"]\n',
        ]
    )


def _no_keys() -> str:
    lines = [
        "# None of these keys was set when this file was made, so it binds nothing.",
        "# Set one and run `llmring-lite lock init --force`, or bind by hand:",
    ]
    for name in provider_names():
        lines.append(f"#   {name}: {' or '.join(BUILTIN[name].api_key_env)}")
    return "\n".join(lines) + "\n"


def _provider(model: str) -> str:
    return model.partition(":")[0]


def usable_providers(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The providers of the table above with a variable that holds a key."""
    return [
        name
        for name in provider_names()
        if any(environ.get(key, "").strip() for key in BUILTIN[name].api_key_env)
    ]


def write(
    path: str | os.PathLike[str],
    *,
    force: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> list[str]:
    """Write a first lockfile for the keys in `environ`; return their providers.

    A name that ends in `.json` gets JSON, which has no place for the comments.

    Raises:
        LockfileError: It exists and `force` is False, or it can't be written.
    """
    usable = usable_providers(environ)
    text = lockfile_text(usable)
    format = format_of(os.fspath(path))
    if format == "json":
        text = Lockfile.loads(text).dumps(format)
    create(path, text, force=force)
    return usable
