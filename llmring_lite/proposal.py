"""A first lockfile: which models for which task, and why.

`lockfile_text` is pure: keys, registry data and the models of a running Ollama are
handed in. `write` finds these out and makes the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

from llmring_lite import keys
from llmring_lite.exceptions import RegistryError
from llmring_lite.lockfile import Lockfile
from llmring_lite.lockfile_edit import create, refuse_existing
from llmring_lite.lockfile_file import format_of
from llmring_lite.provider import BUILTIN
from llmring_lite.registry import Catalogue, RegistryModel, load_snapshot
from llmring_lite.registry_client import Fetch, Registry
from llmring_lite.registry_select import is_offered, successor

_MAX_BYTES: Final = 1024 * 1024


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


class Proposal(NamedTuple):
    """What a first lockfile was made of.

    Attributes:
        providers: Whose keys are set.
        local: What a running Ollama offers, None if none runs.
        unreachable: Why the registry's newest data could not be fetched; then the
            data that is here counted.
    """

    providers: list[str]
    local: LocalModels | None
    unreachable: RegistryError | None


def provider_names() -> list[str]:
    """The providers that `lockfile_text` knows models of."""
    return sorted({_provider(model) for task in _TASKS for model in task.models})


# The text ------------------------------------------------------------------------


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
    known = {name: catalogue_of(name) for name in provider_names() if name in usable}
    catalogues = {name: found for name, found in known.items() if found is not None}
    parts = [_HEAD + _pins(catalogues)]
    for task in _TASKS:
        models = [
            _current(model, catalogues.get(_provider(model)))
            for model in task.models
            if _provider(model) in known
        ]
        if local is not None and len(models) < 2 and task.alias in _LOCAL_TASKS:
            name = local.quickest if task.alias == "fast" else local.best
            models.append(f"ollama:{name}")
        if models:
            parts.append(_binding(task, models, catalogues))
    if local is not None:
        parts.append(
            "# local: a model on this machine; nothing leaves it, and it costs nothing."
            f"\n{_table('local', [f'ollama:{local.best}'])}"
        )
    if len(parts) == 1:
        parts.append(_no_keys())
    return "\n".join([*parts, _EXAMPLE])


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


def _no_keys() -> str:
    variables = "".join(
        f"#   {name}: {' or '.join(BUILTIN[name].api_key_env)}\n"
        for name in provider_names()
    )
    return (
        "# None of these keys was set when this file was made, so it binds nothing.\n"
        "# Set one and run `llmring-lite lock init --force`, or bind by hand:\n"
        f"{variables}"
    )


def _provider(model: str) -> str:
    return model.partition(":")[0]


# The file ------------------------------------------------------------------------


def write(
    path: str | os.PathLike[str],
    registry: Registry,
    fetch: Fetch,
    *,
    force: bool = False,
) -> Proposal:
    """Write a first lockfile for the keys in the environment.

    A name that ends in `.json` gets JSON, which has no place for the comments.

    Args:
        registry: Asked for the newest data of the providers with a key.
        fetch: Asks Ollama.

    Raises:
        LockfileError: It exists and `force` is False, or it can't be written.
    """
    if not force:
        refuse_existing(path)  # before anybody is asked for anything
    usable = [name for name in provider_names() if keys.has_key(BUILTIN[name])]
    unreachable = None
    for provider in usable:
        try:
            registry.fetch(provider)
        except RegistryError as error:
            unreachable = error
            break
    local = ask_ollama(fetch)
    text = lockfile_text(usable, registry.catalogue, local)
    format = format_of(os.fspath(path))
    if format == "json":
        text = Lockfile.loads(text).dumps(format)
    create(path, text, force=force)
    return Proposal(usable, local, unreachable)


def ask_ollama(fetch: Fetch) -> LocalModels | None:
    """The models of a running Ollama that chat; None if there are none.

    https://github.com/ollama/ollama/blob/main/docs/api.md#list-local-models: the one
    that was changed last comes first.
    """
    url = f"{keys.base_url(BUILTIN['ollama'])}/api/tags"
    try:
        data = fetch(url, _MAX_BYTES)
        models = json.loads(data)["models"] if data is not None else []
        found = [
            (str(model["name"]), int(model.get("size") or 0))
            for model in models
            if _chats(model)
        ]
    except (RegistryError, LookupError, TypeError, ValueError, RecursionError):
        return None
    if not found:
        return None
    return LocalModels(found[0][0], min(found, key=lambda item: item[1])[0])


def _chats(model: Mapping[str, Any]) -> bool:
    """Not for embeddings, and of a name that a lockfile can hold as it is."""
    name = str(model["name"])
    family = str((model.get("details") or {}).get("family", ""))
    plain = name.isascii() and name.isprintable() and not set(name) & set("\"\\' ")
    return plain and "embed" not in name and "bert" not in family
