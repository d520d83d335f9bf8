"""The one text of a JSON value: RFC 8785, the JSON Canonicalization Scheme.

Whoever hashes or signs a JSON value must get the same bytes as everyone else. So there
is no white space, members are sorted by the UTF-16 code units of their names, strings
escape nothing but what JSON makes them, and numbers look as ECMAScript prints them.

https://www.rfc-editor.org/rfc/rfc8785
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring
from typing import Any, Final

MAX_INTEGER: Final = 2**53 - 1
"""A larger one is not the same number for every reader of JSON (RFC 8785, 3.2.2.3)."""


def canonicalize(value: Any) -> bytes:
    """A value as canonical JSON, in UTF-8.

    Args:
        value: None, bool, int, float, str, and lists, tuples and dicts of these.

    Raises:
        ValueError: It holds NaN, an infinity, an integer beyond `MAX_INTEGER`, a lone
            surrogate, or is nested too deeply.
        TypeError: It holds anything else than the types above, or a name that is no
            str.
    """
    try:
        return _encode(_text(value))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def members(value: Mapping[str, Any]) -> dict[str, str]:
    """The members of an object by name, in order, each as its canonical text.

    For who puts something else in their place or leaves some out, and `join`s the
    rest. Raises as `canonicalize`.
    """
    try:
        return {
            name: f"{encode_basestring(name)}:{_text(value[name])}"
            for name in _sorted(value)
        }
    except RecursionError:
        raise ValueError("nested too deeply") from None


def join(texts: Iterable[str]) -> bytes:
    """An object of `members` that are in order. Raises as `canonicalize`."""
    return _encode(f"{{{','.join(texts)}}}")


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        found = text[error.start]
        raise ValueError(f"the lone surrogate {found!r} is no text") from None


def _text(value: Any) -> str:
    if isinstance(value, str):
        # Escapes what RFC 8785, 3.2.2.2 wants escaped, and spells it in that way.
        return encode_basestring(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, dict):
        return f"{{{','.join(members(value).values())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_text, value))}]"
    raise TypeError(f"{type(value).__name__} is no JSON type")


def _sorted(names: Iterable[Any]) -> list[str]:
    """Names in the order of their UTF-16 code units."""
    try:
        if "".join(names).isascii():
            return sorted(names)
    except TypeError:
        raise TypeError("the name of a member is a str, nothing else") from None
    # Code points sort otherwise where two code units stand for one.
    return sorted(names, key=lambda name: name.encode("utf-16-be", "surrogatepass"))


def _integer(value: int) -> str:
    if not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise ValueError(f"{value} is too large an integer for every reader of JSON")
    return int.__repr__(value)


def _number(value: float) -> str:
    """A float as ECMAScript's Number::toString prints it.

    https://tc39.es/ecma262/#sec-numeric-types-number-tostring: the shortest digits
    that read back as the same number, which Python's repr finds too; then a choice of
    four layouts by where the decimal point is.
    """
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(f"{value} is no JSON number")
    if value == 0:
        return "0"  # -0 as well
    text = float.__repr__(value)
    if "e" not in text:
        # Python begins to write exponents before ECMAScript does.
        return text.removesuffix(".0")
    mantissa, _, exponent = text.removeprefix("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = whole + fraction
    # The number is 0.DIGITS times ten to the power of `point`.
    point = 1 + int(exponent)
    sign = "-" if value < 0 else ""
    if len(digits) <= point <= 21:
        return sign + digits.ljust(point, "0")
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{point - 1:+d}"
