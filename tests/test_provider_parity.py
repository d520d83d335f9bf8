"""The five wire formats agree: each feature of a request is sent, put in other words,
or refused by name, and what makes no sense is refused by all. See `parity`.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import parity
import pytest
from parity import COLUMNS, Cell, Column, Row

from llmring_lite import content
from llmring_lite.exceptions import InvalidRequestError, UnsupportedParameterError
from llmring_lite.provider import HTTPRequest, load_wire_format
from llmring_lite.schemas import LLMRequest

JSON = dict[str, Any]

ROWS = [row for rows in parity.SECTIONS.values() for row in rows]
CELLS = [
    pytest.param(row, column, id=f"{row.name} | {column}")
    for row in ROWS
    for column in COLUMNS
]


def web(url: str, kind: str) -> tuple[str, bytes]:
    """The public web, as far as it is needed here."""
    return {
        "image": ("image/png", parity.PNG_BYTES),
        "pdf": ("application/pdf", parity.PDF_BYTES),
    }[kind]


def build(column: Column, model: str, fields: JSON, **more: Any) -> HTTPRequest:
    """What the call path sends: parts in memory, then the mapper."""
    given = LLMRequest(model, **{"messages": "Hi", **fields, **more})
    before = copy.deepcopy(given)
    wire = load_wire_format(column.endpoint.kind)
    loaded = content.load(
        given, fetch=web, fetched_parts=wire.fetched_parts(column.endpoint)
    )
    http = wire.build_request(loaded, column.endpoint)
    assert given == before, "the request was changed"
    json.dumps(http.body, allow_nan=False)
    return http


def at(body: Any, path: str) -> Any:
    """The value at a dotted path; None if there is none."""
    for step in path.split("."):
        try:
            body = body[int(step)] if isinstance(body, list) else body[step]
        except (LookupError, TypeError):
            return None
    return body


def model_for(row: Row, column: Column) -> str:
    return column.plain_model if row.of_plain_model else column.model


@pytest.mark.parametrize(("row", "name"), CELLS)
def test_each_feature_is_sent_or_refused(row: Row, name: str) -> None:
    column, cell = COLUMNS[name], row.cells[name]
    model = model_for(row, column)
    if cell.word == "raises":
        with pytest.raises(UnsupportedParameterError) as caught:
            build(column, model, row.asked)
        assert caught.value.parameter == cell.parameter
        assert cell.parameter in str(caught.value)
        return
    http = build(column, model, row.asked)
    for path, value in cell.places.items():
        if path == "@url":
            assert value in http.url
        else:
            assert at(http.body, path) == value, path
    if not cell.places:
        plain = build(column, model, row.plain)
        assert (http.url, http.body) == (plain.url, plain.body)


@pytest.mark.parametrize(
    ("row", "name"),
    [c for c in CELLS if c.values[0].cells[c.values[1]].word == "raises"],  # type: ignore[attr-defined]
)
def test_what_is_refused_may_be_dropped_but_for_parts(row: Row, name: str) -> None:
    column = COLUMNS[name]
    model = model_for(row, column)
    drop = {"extra_params": {"drop_unsupported": True}}
    if row.is_part:
        with pytest.raises(UnsupportedParameterError):
            build(column, model, row.asked, **drop)
        return
    dropped = build(column, model, row.asked, **drop)
    assert dropped.body == build(column, model, row.plain).body


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("what", parity.SENSELESS)
def test_what_makes_no_sense_is_refused_by_all(what: str, name: str) -> None:
    column = COLUMNS[name]
    with pytest.raises(InvalidRequestError):
        build(column, column.model, parity.SENSELESS[what])


@pytest.mark.parametrize("name", COLUMNS)
def test_what_is_not_for_providers_is_not_sent(name: str) -> None:
    column = COLUMNS[name]
    plain = build(column, column.model, {})
    fields = {"metadata": {"user": "ann"}, "timeout": 3.0}
    assert build(column, column.model, fields).body == plain.body


def test_each_cell_is_filled() -> None:
    for row in ROWS:
        assert row.cells.keys() == COLUMNS.keys(), row.name
        for cell in row.cells.values():
            assert isinstance(cell, Cell)


def test_each_field_of_a_request_has_a_row() -> None:
    elsewhere = {"model", "messages", "metadata", "timeout", "files"}
    asked = {name for row in parity.PARAMETERS for name in row.asked}
    assert asked == set(LLMRequest.__match_args__) - elsewhere
