"""Canonical JSON is what RFC 8785 says, and what others make of the same values."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from llmring_lite.receipts_canonical import MAX_INTEGER, canonicalize, join, members

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers(-MAX_INTEGER, MAX_INTEGER) | st.floats(
    allow_nan=False, allow_infinity=False
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=25,
)


@given(VALUES)
def test_it_is_what_another_implementation_makes(value: Any) -> None:
    text = canonicalize(value)
    assert text == rfc8785.dumps(value)
    # 2**53 is a double, but as an integer it is not safe.
    assert canonicalize(json.loads(text, parse_int=float)) == text


# https://www.rfc-editor.org/rfc/rfc8785#appendix-B
@pytest.mark.parametrize(
    ("bits", "text"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555557", "333333333.33333343"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
    ],
)
def test_numbers_look_as_the_standard_shows_them(bits: str, text: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonicalize(number) == text.encode()


@given(st.binary(min_size=8, max_size=8))
@example(bytes.fromhex("3fb999999999999a"))
def test_any_double_looks_as_another_implementation_prints_it(bits: bytes) -> None:
    (number,) = struct.unpack(">d", bits)
    if number - number == 0:
        assert canonicalize(number) == rfc8785.dumps(number)
        assert float(canonicalize(number)) == number
    else:
        with pytest.raises(ValueError, match="no JSON number"):
            canonicalize(number)


def test_members_are_sorted_by_utf16() -> None:
    # https://www.rfc-editor.org/rfc/rfc8785#section-3.2.3
    names = ["\r", "1", "\x80", "ö", "€", "😀", "\ufb33"]
    value = dict.fromkeys(sorted(names), 0)
    assert list(json.loads(canonicalize(value))) == names


def test_strings_escape_only_what_they_must() -> None:
    text = '\x00\x1f"\\/\b\f\n\r\té\x7f\u2028😀'
    assert canonicalize(text).decode() == (
        '"\\u0000\\u001f\\"\\\\/\\b\\f\\n\\r\\té\x7f\u2028😀"'
    )


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "no JSON number"),
        (float("-inf"), "no JSON number"),
        (2**53, "too large"),
        (-(2**53), "too large"),
        ("\ud800", "surrogate"),
        ({"\udc00": 1}, "surrogate"),
    ],
)
def test_what_has_no_one_text_is_refused(value: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        canonicalize([value])


@pytest.mark.parametrize("value", [b"x", {1: 2}, {None: 1}, {1, 2}, object()])
def test_what_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        canonicalize([value])


def test_endless_nesting_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ValueError, match="deep"):
        canonicalize(value)
    with pytest.raises(ValueError, match="deep"):
        members({"a": value})


@given(st.dictionaries(TEXTS, VALUES), st.data())
def test_members_can_be_replaced_and_left_out(
    value: dict[str, Any], data: st.DataObject
) -> None:
    texts = members(value)
    assert join(texts.values()) == canonicalize(value)
    for name in data.draw(st.sets(st.sampled_from(sorted(value)))) if value else ():
        texts |= members({name: "other"})
        value[name] = "other"
    assert join(texts.values()) == canonicalize(value)
    for name in data.draw(st.sets(st.sampled_from(sorted(value)))) if value else ():
        del texts[name], value[name]
    assert join(texts.values()) == canonicalize(value)
