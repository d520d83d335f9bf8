"""Models as facts: limits, prices, capabilities, status.

The facts come from a registry: one document a provider, each with a version. The
layout and the public instance are at https://llmring.github.io/registry. A snapshot
of it ships with the package, so that everything works offline; it is read when a fact
of one of its providers is asked for, and never before.

- `registry_parse` turns a registry's document into a `Catalogue`, and trusts nothing;
- `registry_client` knows base URLs, the cache and refreshing;
- here are the values, the snapshot, and how a model's name is looked up.

Prices are USD per million tokens, limits are tokens, dates are `YYYY-MM-DD`. None is
unknown, never zero.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, Final, NoReturn

SNAPSHOT_PROVIDERS: Final = ("anthropic", "google", "openai")
"""Whom the snapshot knows: asking about anyone else doesn't read it."""

MAX_BYTES: Final = 8 * 1024 * 1024
"""The largest document that is looked at; the public ones have 150 KB."""


# No dataclass or named tuple: with this many fields either takes 3 ms at import, for
# each program that wants a price.
class RegistryModel:
    """What is known about a model. The names are the registry's own.

    Prices are `dollars_per_million_tokens_*`, in USD; limits in tokens. None is
    unknown. `max_input_tokens` is what a prompt may hold.

    `cached_input` and `cache_read` are two names for the price of input read from a
    cache; `cache_write_5m` and `cache_write_1h` are for input written to one, by
    lifetime. Above `long_context_threshold_tokens` of input the `long_context` prices
    hold for the whole request.
    """

    provider: str
    model_name: str
    # What an instance doesn't know it finds here.
    display_name: str | None = None
    model_aliases: tuple[str, ...] = ()
    dollars_per_million_tokens_input: float | None = None
    dollars_per_million_tokens_output: float | None = None
    dollars_per_million_tokens_cached_input: float | None = None
    dollars_per_million_tokens_cache_read: float | None = None
    dollars_per_million_tokens_cache_write_5m: float | None = None
    dollars_per_million_tokens_cache_write_1h: float | None = None
    dollars_per_million_tokens_output_thinking: float | None = None
    dollars_per_million_tokens_input_long_context: float | None = None
    dollars_per_million_tokens_output_long_context: float | None = None
    long_context_threshold_tokens: int | None = None
    cache_storage_cost_per_million_tokens_per_hour: float | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    min_recommended_reasoning_tokens: int | None = None
    api_endpoint: str | None = None
    model_family: str | None = None
    speed_tier: str | None = None
    intelligence_tier: str | None = None
    release_date: str | None = None
    deprecated_date: str | None = None
    is_active: bool | None = None
    is_reasoning_model: bool | None = None
    requires_waitlist: bool | None = None
    supports_audio: bool | None = None
    supports_caching: bool | None = None
    supports_documents: bool | None = None
    supports_function_calling: bool | None = None
    supports_json_mode: bool | None = None
    supports_json_schema: bool | None = None
    supports_logprobs: bool | None = None
    supports_long_context_pricing: bool | None = None
    supports_multiple_responses: bool | None = None
    supports_parallel_tool_calls: bool | None = None
    supports_pdf_input: bool | None = None
    supports_streaming: bool | None = None
    supports_system_message: bool | None = None
    supports_temperature: bool | None = None
    supports_thinking: bool | None = None
    supports_tool_choice: bool | None = None
    supports_vision: bool | None = None

    def __init__(self, provider: str, model_name: str, **facts: Any) -> None:
        """Args:
        provider, model_name: What stands before and after the colon.
        facts: The other fields; those left out are unknown.
        """
        if not facts.keys() <= _KNOWN:
            raise TypeError(f"unknown fields: {sorted(facts.keys() - _KNOWN)}")
        self.__dict__.update(facts, provider=provider, model_name=model_name)

    def __setattr__(self, name: str, value: object = None) -> NoReturn:
        raise AttributeError("facts can't be changed")

    __delattr__ = __setattr__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RegistryModel):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in FIELDS)

    def __hash__(self) -> int:
        return hash((self.provider, self.model_name))

    def __repr__(self) -> str:
        return f"<RegistryModel {self.ref}>"

    @property
    def ref(self) -> str:
        """`"provider:model"`."""
        return f"{self.provider}:{self.model_name}"

    def replace(self, **facts: Any) -> RegistryModel:
        """A copy with some facts changed."""
        return RegistryModel(**{**self.__dict__, **facts})

    def to_dict(self) -> dict[str, Any]:
        """The known facts by name, and the `ref`."""
        facts = {name: getattr(self, name) for name in FIELDS}
        known = {name: value for name, value in facts.items() if value is not None}
        return {"ref": self.ref, **known, "model_aliases": list(self.model_aliases)}


FIELDS: Final = tuple(RegistryModel.__annotations__)
"""The names of all facts."""

_KNOWN: Final = frozenset(FIELDS)

FLAGS: Final = tuple(
    name for name in FIELDS if name.startswith(("is_", "supports_", "requires_"))
)
"""The fields that are true or false."""


class Catalogue:
    """The models of a provider, as one version of a registry has them.

    Attributes:
        provider: Whose.
        models: Name -> model, in the registry's order.
        version: The registry's number for this state, None if it gave none.
        updated_at: When the registry made it (ISO 8601), None if it didn't say.
        source: Where it was read from: `snapshot`, or a file, or a URL.
        fetched_at: When it came over the network, in seconds since 1970; None if it
            didn't.
    """

    def __init__(
        self,
        provider: str,
        models: Iterable[RegistryModel],
        *,
        version: int | None = None,
        updated_at: str | None = None,
        source: str = "snapshot",
        fetched_at: float | None = None,
    ) -> None:
        self.provider = provider
        self.models = {model.model_name: model for model in models}
        self.version = version
        self.updated_at = updated_at
        self.source = source
        self.fetched_at = fetched_at

    def __repr__(self) -> str:
        return (
            f"<Catalogue {self.provider} v{self.version} ({self.updated_at}), "
            f"{len(self.models)} models from {self.source}>"
        )

    def __iter__(self) -> Iterator[RegistryModel]:
        return iter(self.models.values())

    def find(self, name: str) -> RegistryModel | None:
        """The model of a name, None if there is none.

        A name is looked up as it is, then as an alias or the undated form of a dated
        name (`claude-opus-4-1`; the latest counts); then without its own date
        (`gpt-5.4-2026-03-05` is priced as `gpt-5.4`) or `-latest`. Nothing else is
        guessed: a fine-tuned model costs more than the one it was made of.
        """
        if name in self.models:
            return self.models[name]
        for key in (name, without_date(name), name.removesuffix("-latest")):
            if key is not None:
                found = self.models.get(key) or self._by_other_name.get(key)
                if found is not None:
                    return found
        return None

    @cached_property
    def _by_other_name(self) -> dict[str, RegistryModel]:
        """By alias, where an active model goes first; else by undated name."""
        aliases: dict[str, RegistryModel] = {}
        dated: dict[str, RegistryModel] = {}
        for name, model in self.models.items():
            for alias in model.model_aliases:
                other = aliases.get(alias)
                if other is None or (model.is_active and not other.is_active):
                    aliases[alias] = model
            plain = without_date(name)
            if plain and (plain not in dated or name > dated[plain].model_name):
                dated[plain] = model
        return dated | aliases


def without_date(name: str) -> str | None:
    """The name without the date at its end; None if there is none.

    Dates look like `-20250805` (Anthropic) or `-2025-08-05` (OpenAI).
    """
    if name[-9:-8] == "-" and name[-8:].isdecimal():
        return name[:-9] or None
    tail = name[-11:]
    if tail[:1] == tail[5:6] == tail[8:9] == "-":
        digits = tail.replace("-", "")
        if len(digits) == 8 and digits.isdecimal():
            return name[:-11] or None
    return None


def is_provider_name(name: str) -> bool:
    """Letters, digits, `-`, `_`: it becomes part of URLs and file names."""
    return (
        0 < len(name) <= 64
        and name.isascii()
        and name.replace("-", "").replace("_", "").isalnum()
    )


# The snapshot --------------------------------------------------------------------

_SNAPSHOT: Final = os.path.join(os.path.dirname(__file__), "registry_snapshot.json")
_MEANING: Final = {"1": True, "0": False, "-": None}
_loaded: dict[str, Any] = {}
_catalogues: dict[str, Catalogue] = {}


def _snapshot() -> dict[str, Any]:
    """What `.ci/build_snapshot.py` made: for each provider rows under `columns`.

    What is true or false is one string a model, a character for each of `flags`.
    """
    if not _loaded:
        import json  # only programs that need a fact pay for it

        with open(_SNAPSHOT, encoding="utf-8") as file:
            _loaded.update(json.load(file))
    return _loaded


def snapshot_date() -> str:
    """The day (`YYYY-MM-DD`) of the newest data in the snapshot."""
    return str(_snapshot()["date"])


def load_snapshot(provider: str) -> Catalogue | None:
    """A provider's models as they ship with the package; read once, on first use.

    None if the snapshot doesn't have that provider; then nothing is read.
    """
    if provider not in SNAPSHOT_PROVIDERS:
        return None
    found = _catalogues.get(provider)
    if found is None:
        document = _snapshot()["providers"][provider]
        models = []
        for bits, *row in document["models"]:
            facts = dict(zip(document["columns"], row, strict=False))
            facts.update(zip(document["flags"], map(_MEANING.get, bits), strict=True))
            facts["model_aliases"] = tuple(facts["model_aliases"])
            models.append(RegistryModel(provider, **facts))
        # Threads that come here together make equal catalogues; one of them stays.
        found = _catalogues.setdefault(
            provider,
            Catalogue(
                provider,
                models,
                version=document["version"],
                updated_at=document["updated_at"],
            ),
        )
    return found
