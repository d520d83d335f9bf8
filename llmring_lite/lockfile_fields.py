"""What each key of a lockfile may hold.

A checker takes a value as TOML (or JSON) gave it and returns it in the type that the
values of `lockfile_model` have. It raises `Invalid` with the end of a sentence that
begins with the key: "must be a string, not an integer". Checkers look at one value
only; what depends on other parts of the file is in `lockfile_check`.

Mind Python's two traps: a bool is an int, and a str is a sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, Final, TypeAlias

from llmring_lite.lockfile_model import CONDITIONS, STRATEGIES


class Invalid(Exception):
    """The value can't stand there; the text says why and how to mend it."""

    def __init__(self, text: str, word: str = "", choices: tuple[str, ...] = ()):
        super().__init__(text)
        self.word = word
        self.choices = choices


Checker: TypeAlias = Callable[[Any], Any]

_TYPE_NAMES: Final = {
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "a table",
    type(None): "null",
}


def type_name(value: Any) -> str:
    """A value's type in the words of TOML."""
    return _TYPE_NAMES.get(type(value), "a date or time")


# Simple types --------------------------------------------------------------------


def _of_type(kind: type, name: str) -> Checker:
    def check(value: Any) -> Any:
        if not isinstance(value, kind):
            raise Invalid(f"must be {name}, not {type_name(value)}")
        return value

    return check


boolean: Final = _of_type(bool, "true or false")
table: Final = _of_type(dict, "a table")
array: Final = _of_type(list, "an array")


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise Invalid(f"must be a string, not {type_name(value)}")
    if not value.strip():
        raise Invalid("is empty")
    return value


def texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        words = ", ".join(f'"{word.strip()}"' for word in value.split(","))
        raise Invalid(f"must be an array of strings, not a string: write [{words}]")
    for item in array(value):
        if not isinstance(item, str):
            raise Invalid(f"must be an array of strings, but holds {type_name(item)}")
        if not item.strip():
            raise Invalid("holds an empty string")
    return tuple(value)


def number_from(low: float, high: float | None = None) -> Checker:
    """A number of at least `low` and at most `high`."""

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Invalid(f"must be a number, not {type_name(value)}")
        # TOML's integers have 64 bits; isfinite() can't take much larger ones.
        if abs(value) >= 2**63 or not isfinite(value):
            raise Invalid("must be a finite number of ordinary size")
        if value < low or (high is not None and value > high):
            bound = f"at least {low}" if high is None else f"from {low} to {high}"
            raise Invalid(f"must be {bound}, not {value}")
        return value

    return check


def number_above_zero(value: Any) -> float:
    given: float = number_from(0)(value)
    if not given:
        raise Invalid("must be above zero")
    return given


def integer_from(low: int) -> Checker:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Invalid(f"must be an integer, not {type_name(value)}")
        if not low <= value < 2**63:
            raise Invalid(f"must be an integer of at least {low}")
        return value

    return check


def one_of(*choices: str) -> Checker:
    def check(value: Any) -> str:
        if text(value) not in choices:
            raise Invalid(
                f"is {value!r}, but must be one of {', '.join(choices)}", value, choices
            )
        return str(value)

    return check


def any_value(value: Any) -> Any:
    return value


def timestamp(value: Any) -> Any:
    """A string, or one of TOML's dates: both are found in the wild."""
    if isinstance(value, bool | int | float | list | dict):
        raise Invalid(f"must be a date and time, not {type_name(value)}")
    return value


# Bindings ------------------------------------------------------------------------

NAME_CHARACTERS: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
)


def is_alias_name(name: str) -> bool:
    """True for `alias` and for `package:alias`."""
    package, colon, alias = name.rpartition(":")
    return _is_name(alias) and (not colon or _is_name(package))


def _is_name(name: str) -> bool:
    return bool(name) and NAME_CHARACTERS.issuperset(name)


def alias_name(value: Any) -> str:
    if not is_alias_name(text(value)):
        raise Invalid(
            f"{value!r} is not an alias name: use letters, digits, '.', '-', '_', "
            "or 'package:alias'"
        )
    return str(value)


def models(value: Any) -> tuple[str, ...]:
    names = texts(value)
    if not names:
        raise Invalid("is empty: name at least one model, or remove the binding")
    return names


def weights(value: Any) -> tuple[float, ...]:
    for item in array(value):
        try:
            number_from(0)(item)
        except Invalid as error:
            raise Invalid(f"holds a value that {error}") from None
    total = sum(value)
    # Thirds can't be written exactly.
    if abs(total - 100) > 1e-6:
        raise Invalid(f"must sum to 100, not to {total:g}")
    return tuple(value)


def hedge_after(value: Any) -> float | str:
    if isinstance(value, str):
        try:
            percentile = float(value[1:]) if value[:1] == "p" else -1.0
        except ValueError:
            percentile = -1.0
        if not 0 < percentile < 100:
            raise Invalid(
                f'is {value!r}: use seconds, or a percentile such as "p95" in quotes'
            )
        return value
    seconds: float = number_from(0)(value)
    return seconds


def conditions(value: Any) -> dict[str, tuple[str, ...]]:
    found = {}
    for reference, names in table(value).items():
        try:
            found[reference] = texts(names)
        except Invalid as error:
            raise Invalid(f"of {reference!r} {error}") from None
        for name in found[reference]:
            if name not in CONDITIONS:
                raise Invalid(
                    f"of {reference!r} hold {name!r}, but know only "
                    f"{', '.join(CONDITIONS)}",
                    name,
                    CONDITIONS,
                )
        if not names:
            raise Invalid(
                f"of {reference!r} are empty: name the failures, or leave the entry "
                'out, or write ["any"]'
            )
    return found


def seconds_of(value: Any) -> float | None:
    """Seconds of a duration: a number, or `"5s"`, `"800ms"`, `"2m"`; else None."""
    if isinstance(value, str):
        digits = value.rstrip("ms")
        unit = {"ms": 0.001, "s": 1.0, "m": 60.0}.get(value[len(digits) :])
        if unit is None or not digits.replace(".", "", 1).isdecimal():
            return None
        return float(digits) * unit
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isfinite(value) and value >= 0 else None


def duration(value: Any) -> float | str:
    seconds = seconds_of(value)
    if not seconds:
        raise Invalid('must be a time above zero such as "5s", "800ms" or 5')
    return value if isinstance(value, str) else seconds


def content_filters(value: Any) -> list[dict[str, Any]]:
    for item in array(value):
        if not isinstance(item, dict) or not isinstance(item.get("type"), str):
            raise Invalid('must be an array of tables such as { type = "profanity" }')
    return list(value)


def stop(value: Any) -> Any:
    return value if isinstance(value, str) else list(texts(value))


def text_or_table(value: Any) -> Any:
    return value if isinstance(value, dict) else text(value)


def _set_by_code(value: Any) -> Any:
    raise Invalid("can't be set by a lockfile: it belongs to each call")


PARAMETERS: Final[Mapping[str, Checker]] = {
    "temperature": number_from(0),
    "max_tokens": integer_from(1),
    "top_p": number_from(0, 1),
    "stop": stop,
    "seed": integer_from(-(2**63)),
    "reasoning_tokens": integer_from(0),
    "reasoning_effort": text,
    "response_format": table,
    "tools": array,
    "tool_choice": text_or_table,
    "parallel_tool_calls": boolean,
    "cache": any_value,
    "metadata": table,
    "timeout": number_above_zero,
    "extra_params": table,
    "model": _set_by_code,
    "messages": _set_by_code,
    "stream": _set_by_code,
    "files": _set_by_code,
}
"""Fields of `LLMRequest` that `parameters` may give a default."""

CONSTRAINTS: Final[Mapping[str, Checker]] = {
    "select": text,
    "min_context": integer_from(1),
    "max_cost": number_from(0),
    "needs": texts,
}

GUARDRAILS: Final[Mapping[str, Checker]] = {
    "max_latency": duration,
    "max_cost_per_request": number_from(0),
    "block_categories": texts,
    "content_filters": content_filters,
}

BINDING: Final[Mapping[str, Checker]] = {
    "alias": alias_name,
    "models": models,
    "strategy": one_of(*STRATEGIES),
    "weights": weights,
    "hedge_after": hedge_after,
    "sticky_by": text,
    "conditions": conditions,
    "parameters": table,
    "constraints": table,
    "guardrails": table,
}

NESTED: Final[Mapping[str, Mapping[str, Checker]]] = {
    "parameters": PARAMETERS,
    "constraints": CONSTRAINTS,
    "guardrails": GUARDRAILS,
}
"""Tables of a binding whose keys are checked too."""


# The rest ------------------------------------------------------------------------

PROFILE: Final[Mapping[str, Checker]] = {
    "name": text,
    "bindings": array,
    "registry_versions": table,
}

DOCUMENT: Final[Mapping[str, Checker]] = {
    "version": text,
    "created_at": timestamp,
    "updated_at": timestamp,
    "default_profile": text,
    "extends": table,
    "metadata": table,
    "providers": table,
    "profiles": table,
    "aliases": table,
    "bindings": array,
    "registry_versions": table,
}

EXTENDS: Final[Mapping[str, Checker]] = {"packages": texts}

registry_version: Final = integer_from(0)
"""A version of the registry's data."""


def is_package_name(name: str) -> bool:
    """A name as PEP 508 has it, or dotted: letters, digits, `.`, `-`, `_` inside."""
    return _is_name(name) and name[0] not in ".-" and name[-1] not in ".-"


def plain_package_name(name: str) -> str:
    """One spelling for `My-Lib`, `my_lib` and `my.lib`."""
    return name.lower().replace("_", "-").replace(".", "-")
