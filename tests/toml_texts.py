"""Hypothesis strategies for TOML texts as people (and worse) write them."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

# Texts that look like something else to whoever reads by lines or by brackets.
TRICKY = (
    "[[profiles.default.bindings]]",
    'alias = "a"',
    "# no comment",
    "]",
    "}",
    "[",
    "{",
    ",",
    "=",
    "'",
    "é",
    "\U0001f600",
    "x.y",
    " ",
    "",
)

_words = st.lists(st.sampled_from(TRICKY), max_size=3).map("".join)


def basic_string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def literal_string(text: str) -> str:
    return f"'{text}'" if "'" not in text else basic_string(text)


def multi_line_basic(text: str) -> str:
    return f'"""\n{text}\n \\"" \\\n   [a]\n"q"" """""'


def multi_line_literal(text: str) -> str:
    text = text.replace("'", "")
    return f"'''{text}\n'' [b]\n' {text} '''''"


strings: st.SearchStrategy[str] = st.builds(
    lambda make, text: make(text),
    st.sampled_from(
        [basic_string, literal_string, multi_line_basic, multi_line_literal]
    ),
    _words,
)

scalars = st.one_of(
    strings,
    st.sampled_from(
        [
            "0",
            "-17",
            "1_000",
            "0xdead_beef",
            "3.14",
            "-2e-3",
            "inf",
            "-nan",
            "true",
            "false",
            "1979-05-27T07:32:00Z",
            "1979-05-27 07:32:00.5",
            "1979-05-27",
            "07:32:00",
            r'"\u00e9 \t \" \\ \U0001F600"',
        ]
    ),
)
blanks = st.sampled_from(["", " ", "\t", "  "])
comments = st.builds("# {}".format, _words)
gaps = st.one_of(
    blanks, st.just("\n"), st.builds("  {}\n  ".format, comments), st.just("\n\n\t")
)


def key_forms(name: str) -> st.SearchStrategy[str]:
    """A key that contains `name`, bare or quoted in the ways that there are."""
    return st.sampled_from(
        [
            name,
            f'"{name}"',
            f"'{name}'",
            f'"{name} [x] = # . \\" \\u00e9"',
            f"'{name}.\\'",
        ]
    )


@st.composite
def inline_arrays(draw: Callable[..., Any], inner: st.SearchStrategy[str]) -> str:
    items = draw(st.lists(inner, max_size=4))
    text = "["
    for index, item in enumerate(items):
        text += draw(gaps) + item + draw(gaps)
        if index + 1 < len(items) or draw(st.booleans()):
            text += ","
    return text + draw(gaps) + "]"


@st.composite
def inline_tables(draw: Callable[..., Any], inner: st.SearchStrategy[str]) -> str:
    pairs = []
    for index, value in enumerate(draw(st.lists(inner, max_size=3))):
        key = draw(key_forms(f"k{index}"))
        if draw(st.booleans()):
            key += draw(blanks) + "." + draw(blanks) + draw(key_forms("sub"))
        pairs.append(draw(blanks) + key + draw(blanks) + "=" + draw(blanks) + value)
    return "{" + (draw(blanks) + ",").join(pairs) + draw(blanks) + "}"


values = st.recursive(
    scalars,
    lambda inner: st.one_of(inline_arrays(inner), inline_tables(inner)),
    max_leaves=8,
)


@st.composite
def noise(draw: Callable[..., Any], prefix: str, max_size: int = 4) -> str:
    """Pairs, comments and blank lines that may stand in any table; whole lines."""
    text = ""
    for index in range(draw(st.integers(0, max_size))):
        kind = draw(st.sampled_from(["pair", "pair", "comment", "blank"]))
        indent = draw(blanks)
        if kind == "comment":
            text += indent + draw(comments)
        elif kind == "pair":
            key = draw(key_forms(f"{prefix}{index}"))
            if draw(st.booleans()):
                key += draw(blanks) + "." + draw(blanks) + draw(key_forms("deep"))
            text += indent + key + draw(blanks) + "=" + draw(blanks) + draw(values)
            text += draw(st.one_of(blanks, st.builds(" {}".format, comments)))
        else:
            text += indent
        text += "\n"
    return text


@st.composite
def documents(draw: Callable[..., Any]) -> str:
    """A whole TOML text with tables, sub-tables and arrays of tables."""
    text = draw(noise("top"))
    arrays: list[str] = []
    for index in range(draw(st.integers(0, 5))):
        name = draw(key_forms(f"t{index}"))
        kind = draw(st.sampled_from(["table", "array", "again", "inside"]))
        if kind in ("again", "inside") and not arrays:
            kind = "array"
        if kind == "array":
            arrays.append(name)
        elif kind == "again":
            name = draw(st.sampled_from(arrays))
            kind = "array"
        elif kind == "inside":
            name = draw(st.sampled_from(arrays)) + draw(blanks) + "." + name
            kind = "table"
        left, right = ("[[", "]]") if kind == "array" else ("[", "]")
        header = left + draw(blanks) + name + draw(blanks) + right
        text += draw(blanks) + header + draw(st.sampled_from(["", " # [x]"])) + "\n"
        text += draw(noise(f"p{index}_"))
    if draw(st.booleans()):
        text = text.removesuffix("\n")
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    tomllib.loads(text)  # a generator that writes no TOML tests nothing
    return text


def sorted_deep(value: Any) -> Any:
    """Tables with their keys in order, for a comparison that takes nan for nan."""
    if isinstance(value, dict):
        return {key: sorted_deep(value[key]) for key in sorted(value)}
    return [*map(sorted_deep, value)] if isinstance(value, list) else value
