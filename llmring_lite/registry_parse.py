"""A registry's document -> a `Catalogue`, with nothing taken on trust.

The document comes from whoever serves the registry's URL. Fields may be null, missing
or new. A known field of a wrong type, an impossible number, a name that would not
survive being printed, or any other shape makes the whole document unusable: prices
decide about money, and half a registry is worse than an older one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, Final, NoReturn, TypeAlias

from llmring_lite.exceptions import RegistryError
from llmring_lite.registry import (
    FIELDS,
    FLAGS,
    MAX_BYTES,
    Catalogue,
    RegistryModel,
    is_provider_name,
)

_Check: TypeAlias = Callable[[Any], Any]

_MAX_MODELS: Final = 10_000
_MAX_NAME: Final = 200
_MAX_PRICE_USD: Final = 1e6
_MAX_TOKENS: Final = 10**12


class _Wrong(Exception):
    """A value can't stand there; the text ends a sentence that begins with it."""


def parse_document(
    data: bytes | str | dict[str, Any],
    provider: str,
    *,
    source: str,
    version: int | None = None,
    fetched_at: float | None = None,
) -> Catalogue:
    """Check a provider's `models.json`.

    Args:
        data: The document: JSON, or what `decode` made of it.
        provider: Whose it must be.
        source: Where it was read from; for messages, too.
        version: The one that was asked for; None: the current one.
        fetched_at: See `Catalogue`.

    Raises:
        RegistryError: It can't be used; says where and why.
    """
    document = data if isinstance(data, dict) else decode(data, source)
    named, models = document.get("provider"), document.get("models")
    try:
        if named is not None and named != provider:
            raise _Wrong(f"it is about {_shown(named)}, not about {provider!r}")
        head = _checked({**document, "fetched_at": fetched_at}, _HEAD)
        found = head.get("version", version)
        if version is not None and found != version:
            raise _Wrong(f"it is version {found}, not {version}")
        if not isinstance(models, dict):
            raise _Wrong(f"models must be an object, not {_type(models)}")
        if len(models) > _MAX_MODELS:
            raise _Wrong(f"models has {len(models)} entries, more than {_MAX_MODELS}")
        return Catalogue(
            provider,
            [_model(provider, key, facts) for key, facts in models.items()],
            version=found,
            updated_at=head.get("updated_at"),
            source=source,
            fetched_at=fetched_at,
        )
    except _Wrong as error:
        raise refusal(source, str(error)) from None


def parse_manifest(data: bytes | str, source: str) -> list[str]:
    """The providers that a registry's `manifest.json` lists.

    Raises:
        RegistryError: It is no manifest.
    """
    providers = decode(data, source).get("providers")
    if not isinstance(providers, dict) or not all(map(is_provider_name, providers)):
        raise refusal(source, "providers must be an object keyed by provider name")
    if len(providers) > 200:
        raise refusal(source, f"providers has {len(providers)} entries")
    return list(providers)


def decode(data: bytes | str, source: str) -> dict[str, Any]:
    """The JSON object of a text.

    Raises:
        RegistryError: It is something else.
    """
    if len(data) > MAX_BYTES:
        raise refusal(source, f"it is larger than {MAX_BYTES} bytes")
    try:
        document = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise refusal(source, f"it is no JSON ({error})") from None
    if not isinstance(document, dict):
        raise refusal(source, f"it must be a JSON object, not {_type(document)}")
    return document


def refusal(source: str, reason: str) -> RegistryError:
    return RegistryError(f"the registry data at {source} can't be used: {reason}")


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a number of JSON")


def _checked(
    facts: Mapping[str, Any], spec: Mapping[str, _Check], place: str = ""
) -> dict[str, Any]:
    """The known fields that are not null."""
    found: dict[str, Any] = {}
    for name, check in spec.items():
        value = facts.get(name)
        if value is not None:
            try:
                found[name] = check(value)
            except _Wrong as error:
                raise _Wrong(f"{name}{place} {error}") from None
    return found


def _model(provider: str, key: str, facts: Any) -> RegistryModel:
    prefix, colon, name = key.partition(":")
    if prefix != provider or not colon:
        raise _Wrong(f"models must be keyed {provider}:MODEL, not {_shown(key)}")
    _checked({"the name": name}, {"the name": _name}, f" in {_shown(key)}")
    if not isinstance(facts, dict):
        raise _Wrong(f"{key} must be an object, not {_type(facts)}")
    checked = _checked(facts, _FIELDS, f" of {key}")
    # The first documents called the limit so.
    window = checked.pop("context_window_tokens", None)
    return RegistryModel(
        provider, **{"max_input_tokens": window, **checked, "model_name": name}
    )


# Checkers: a JSON value that isn't null -> the value of the field ---------------------


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong(f"must be true or false, not {_type(value)}")
    return value


def _number(value: Any) -> float:
    # Mind Python's trap: a bool is an int.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Wrong(f"must be a number, not {_type(value)}")
    if isinstance(value, float) and not isfinite(value):
        raise _Wrong("must be finite")
    if value < 0:
        raise _Wrong(f"must not be negative, but is {value}")
    return value


def _price(value: Any) -> float:
    if _number(value) > _MAX_PRICE_USD:
        raise _Wrong(f"must be at most {_MAX_PRICE_USD:g} USD")
    return float(value)


def _integer(value: Any) -> int:
    number = _number(value)
    if number != int(number) or number > _MAX_TOKENS:
        raise _Wrong(f"must be a whole number of ordinary size, not {value!r}")
    return int(number)


def _limit(value: Any) -> int | None:
    """Zero stands for a limit that nobody looked up."""
    return _integer(value) or None


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise _Wrong(f"must be a string, not {_type(value)}")
    # What is printed in a terminal must not steer it.
    if not value.strip() or len(value) > _MAX_NAME or not value.isprintable():
        raise _Wrong(f"must be 1 to {_MAX_NAME} printable characters")
    return value


def _date(value: Any) -> str:
    text = _name(value)
    is_shaped = len(text) == 10 and text[4] == text[7] == "-"
    if not is_shaped or not text.replace("-", "").isdecimal():
        raise _Wrong(f"must be a date YYYY-MM-DD, not {text!r}")
    return text


def _moment(value: Any) -> str:
    from datetime import datetime  # only a document that is read anew pays for it

    text = _name(value)
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise _Wrong(f"must be a date and time in ISO 8601, not {text!r}") from None
    return text


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _Wrong(f"must be an array, not {_type(value)}")
    if len(value) > _MAX_NAME:
        raise _Wrong(f"has {len(value)} entries, more than {_MAX_NAME}")
    return tuple(map(_name, value))


def _checker_of(name: str) -> _Check:
    if name in FLAGS:
        return _flag
    if name.startswith(("dollars_", "cache_storage_cost")):
        return _price
    if name.endswith("_tokens"):
        return _limit
    return {"model_aliases": _names}.get(name, _date if "_date" in name else _name)


_HEAD: Final = {"version": _integer, "updated_at": _moment, "fetched_at": _number}
_FIELDS: Final = {
    name: _checker_of(name)
    for name in (*FIELDS, "context_window_tokens")
    if name not in ("provider", "model_name")
}


def _type(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    if value is None:
        return "null"
    return names.get(type(value), "a number")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
