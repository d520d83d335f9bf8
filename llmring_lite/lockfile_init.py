"""The text of a first lockfile: which models for which task, and why.

Pure: keys, registry data and the models of a running Ollama are handed in.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple

from llmring_lite.provider import BUILTIN
from llmring_lite.registry import Catalogue, RegistryModel, load_snapshot
from llmring_lite.registry_select import is_offered, successor


class _Task(NamedTuple):
    """An alias: what it is for, why these models, and which, best first."""

    alias: str
    purpose: str
    reason: str
    models: tuple[str, ...]


# State of August 2026. A model that is no longer offered is replaced by its successor,
# and the figures come from the registry. One model a provider, so that a fallback
# always has another provider.
_TASKS: Final = (
    _Task(
        "default",
        "everyday work",
        "The middle of each range: capable, at a moderate price.",
        (
            "anthropic:claude-sonnet-5",
            "openai:gpt-5.6-terra",
            "google:gemini-3.7-flash",
        ),
    ),
    _Task(
        "fast",
        "short answers, classification, anything done often",
        "The quickest of each range, cheapest first.",
        (
            "openai:gpt-5.6-luna",
            "google:gemini-3.1-flash-lite",
            "anthropic:claude-haiku-4-5-20251001",
        ),
    ),
    _Task(
        "summarizer",
        "long text in, short text out",
        "Input makes the price here, so small models, best writer first.",
        (
            "anthropic:claude-haiku-4-5-20251001",
            "openai:gpt-5.6-luna",
            "google:gemini-3.1-flash-lite",
        ),
    ),
    _Task(
        "deep",
        "hard questions, planning, difficult code",
        "The strongest of each range: slower and dearer.",
        (
            "anthropic:claude-opus-5",
            "openai:gpt-5.6-sol",
            "google:gemini-3.1-pro-preview",
        ),
    ),
    _Task(
        "vision",
        "images, screenshots, scanned pages",
        "All of these take images.",
        (
            "google:gemini-3.7-flash",
            "openai:gpt-5.6-terra",
            "anthropic:claude-sonnet-5",
        ),
    ),
)

# What a model on this machine may stand in for.
_LOCAL_TASKS: Final = ("default", "fast", "summarizer")

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


class LocalModels(NamedTuple):
    """What a running Ollama offers.

    Attributes:
        best: For everyday work.
        quickest: The smallest.
    """

    best: str
    quickest: str


def provider_names() -> list[str]:
    """The providers that `lockfile_text` knows models of."""
    return sorted({_provider(model) for task in _TASKS for model in task.models})


def usable_providers(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The providers of the table above with a variable that holds a key."""
    return [
        name
        for name in provider_names()
        if any(environ.get(key, "").strip() for key in BUILTIN[name].api_key_env)
    ]


def lockfile_text(
    usable: Collection[str],
    catalogue_of: Callable[[str], Catalogue | None] = load_snapshot,
    local: LocalModels | None = None,
) -> str:
    """A lockfile (TOML) with an alias for each common task.

    Args:
        usable: Names of the providers whose keys are set. Those without a model in
            the table above count for nothing; if none is left, and no Ollama runs,
            the file has no bindings, only commented examples and the variables to
            set.
        catalogue_of: provider -> what the registry says; its versions are pinned.
        local: What a running Ollama offers.
    """
    usable = [name for name in provider_names() if name in usable]
    catalogues = {
        name: catalogue
        for name in usable
        if (catalogue := catalogue_of(name)) is not None
    }
    parts = [_HEAD + _pins(catalogues)]
    for task in _TASKS:
        models = [
            _current(model, catalogues.get(_provider(model)))
            for model in task.models
            if _provider(model) in usable
        ]
        if local is not None and len(models) < 2 and task.alias in _LOCAL_TASKS:
            name = local.quickest if task.alias == "fast" else local.best
            models.append(f"ollama:{name}")
        if models:
            parts.append(_binding(task, models, catalogues))
    if local is not None:
        parts.append(_local_binding(local))
    if len(parts) == 1:
        parts.append(_no_keys())
    parts.append(_EXAMPLE)
    return "\n".join(parts)


def _pins(catalogues: Mapping[str, Catalogue]) -> str:
    versions = [
        f"{name} = {catalogue.version}"
        for name, catalogue in catalogues.items()
        if catalogue.version is not None
    ]
    if not versions:
        return ""
    return (
        "# The state of the registry these models were chosen by; `llmring-lite lock\n"
        "# validate` tells what changed since.\n"
        f"registry_versions = {{ {', '.join(versions)} }}\n"
    )


def _current(ref: str, catalogue: Catalogue | None) -> str:
    """The model, or what took its place."""
    if catalogue is None:
        return ref
    provider, _, name = ref.partition(":")
    model = catalogue.find(name)
    if model is not None and is_offered(model):
        return ref
    heir = successor(model or RegistryModel(provider, name), catalogue)
    return ref if heir is None else heir.ref


def _binding(
    task: _Task, models: Sequence[str], catalogues: Mapping[str, Catalogue]
) -> str:
    lines = [f"# {task.alias}: {task.purpose}.", f"# {task.reason}"]
    lines += [f"# - {ref}: {_facts(ref, catalogues)}" for ref in models]
    if len(models) == 1:
        missing = [m for m in task.models if _provider(m) != _provider(models[0])]
        lines.append(
            f"# A fallback from another provider would help, such as {missing[0]}."
        )
    return "\n".join([*lines, _table(task.alias, models)])


def _table(alias: str, models: Sequence[str]) -> str:
    if len(models) == 1:
        listed = f'["{models[0]}"]'
    else:
        listed = "[\n" + "".join(f'    "{model}",\n' for model in models) + "]"
    return f'[[profiles.default.bindings]]\nalias = "{alias}"\nmodels = {listed}\n'


def _facts(ref: str, catalogues: Mapping[str, Catalogue]) -> str:
    """Why not: what a model costs and takes."""
    provider, _, name = ref.partition(":")
    if provider == "ollama":
        return "runs on this machine."
    catalogue = catalogues.get(provider)
    model = None if catalogue is None else catalogue.find(name)
    if model is None:
        return "the registry has no facts on it."
    given = model.dollars_per_million_tokens_input
    output = model.dollars_per_million_tokens_output
    facts = []
    if given is not None and output is not None:
        facts.append(f"{given:g} USD in, {output:g} USD out per million tokens")
    if model.max_input_tokens is not None:
        facts.append(f"up to {model.max_input_tokens:,} tokens of input")
    return f"{'; '.join(facts) or 'price unknown'}."


def _local_binding(local: LocalModels) -> str:
    comment = (
        "# local: a model on this machine; nothing leaves it, and it costs nothing."
    )
    return f"{comment}\n{_table('local', [f'ollama:{local.best}'])}"


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
