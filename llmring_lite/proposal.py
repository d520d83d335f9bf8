"""Write a first lockfile: by the keys that are set, the registry, a running Ollama."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from llmring_lite import keys
from llmring_lite.exceptions import LockfileError, RegistryError
from llmring_lite.lockfile import Lockfile
from llmring_lite.lockfile_edit import create
from llmring_lite.lockfile_file import format_of
from llmring_lite.lockfile_init import LocalModels, lockfile_text, usable_providers
from llmring_lite.provider import BUILTIN
from llmring_lite.registry_client import Fetch, Registry

_MAX_BYTES: Final = 1024 * 1024


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


def write(
    path: str | os.PathLike[str],
    registry: Registry,
    fetch: Fetch,
    *,
    force: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Proposal:
    """Write a first lockfile for the keys in `environ`.

    A name that ends in `.json` gets JSON, which has no place for the comments.

    Args:
        registry: Asked for the newest data of the providers with a key.
        fetch: Asks Ollama.

    Raises:
        LockfileError: It exists and `force` is False, or it can't be written.
    """
    if os.path.exists(path) and not force:
        # Here, too: before anybody is asked for anything.
        raise LockfileError(
            f"{os.fspath(path)} is there already; to replace it, use --force "
            "(force=True)",
            path=os.fspath(path),
        )
    usable = usable_providers(environ)
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
