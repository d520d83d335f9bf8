"""Fetch what a registry has now, provider by provider, and keep what can be used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from llmring_lite.exceptions import RegistryError
from llmring_lite.registry import Catalogue
from llmring_lite.registry_client import Registry
from llmring_lite.registry_parse import parse_manifest


class Refreshed(NamedTuple):
    """What became of a provider in a refresh.

    Attributes:
        before: What was known until then, None if nothing was.
        after: What is known now; None if it couldn't be refreshed.
        error: Why not.
    """

    provider: str
    before: Catalogue | None
    after: Catalogue | None
    error: RegistryError | None = None


def refresh(
    registry: Registry, providers: Iterable[str] | None = None
) -> list[Refreshed]:
    """Fetch the current data of some or all providers, and keep it (network).

    What can't be fetched or used stays as it was, and its row says why.

    Args:
        providers: Default: those that the registry's manifest lists, else those that
            anything is known of.
    """
    named = None if providers is None else list(dict.fromkeys(providers))
    listed, unreachable = (named, None) if named else _listed(registry)
    rows: list[Refreshed] = []
    for provider in listed if listed is not None else registry.providers():
        before = registry.catalogue(provider)
        try:
            if unreachable is not None and rows:
                raise unreachable  # twice is enough to wait for it
            after = registry.fetch(provider, must_keep=True)
        except RegistryError as error:
            if unreachable is not None:
                unreachable = error
            rows.append(Refreshed(provider, before, None, error))
            continue
        unreachable = None
        if after is not None:
            rows.append(Refreshed(provider, before, after))
        elif listed is not None:
            missing = RegistryError(f"{registry.url} has nothing on {provider}")
            rows.append(Refreshed(provider, before, None, missing))
    return rows


def _listed(registry: Registry) -> tuple[list[str] | None, RegistryError | None]:
    """The providers of the manifest, None if there is none; why it can't be read.

    A registry without a manifest, or with an odd one, is a registry all the same.
    """
    source = f"{registry.url}/manifest.json"
    try:
        data = registry.get(source)
    except RegistryError as error:
        return None, error
    try:
        return (None if data is None else parse_manifest(data, source)), None
    except RegistryError:
        return None, None
