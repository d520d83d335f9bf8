"""Server-Sent Events and NDJSON, wherever the network cuts them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmring_lite.framing import iter_ndjson, iter_sse
from llmring_lite.provider import StreamEvent

# (stream, events) after the rules of
# https://html.spec.whatwg.org/multipage/server-sent-events.html
SSE = {
    "plain": (b"data: a\n\ndata: b\n\n", [("", "a"), ("", "b")]),
    "named": (b"event: x\ndata: a\n\ndata: b\n\n", [("x", "a"), ("", "b")]),
    "crlf": (b"event: x\r\ndata: a\r\n\r\ndata: b\r\n\r\n", [("x", "a"), ("", "b")]),
    "cr": (b"data: a\r\rdata: b\r\r", [("", "a"), ("", "b")]),
    "mixed ends": (b"data: a\r\n\ndata: b\n\r\n", [("", "a"), ("", "b")]),
    "no space": (b"data:a\n\n", [("", "a")]),
    "two spaces keep one": (b"data:  a\n\n", [("", " a")]),
    "several data lines": (b"data: a\ndata: b\ndata:\n\n", [("", "a\nb\n")]),
    "comment": (b": keep-alive\n\ndata: a\n\n:\n\n", [("", "a")]),
    "comment inside": (b"data: a\n: ping\ndata: b\n\n", [("", "a\nb")]),
    "event without data": (b"event: x\n\ndata: a\n\n", [("", "a")]),
    "empty data": (b"data\n\ndata:\n\n", [("", ""), ("", "")]),
    "other fields": (b"id: 1\nretry: 5\nfoo: bar\ndata: a\n\n", [("", "a")]),
    "bom": (b"\xef\xbb\xbfdata: a\n\n", [("", "a")]),
    "no final blank line": (b"data: a\n\ndata: b\n", [("", "a"), ("", "b")]),
    "no final line end": (b"data: a\n\ndata: b", [("", "a"), ("", "b")]),
    "many blank lines": (b"\n\n\ndata: a\n\n\n\n", [("", "a")]),
    "line separators": (
        "data: a\u2028b\u0085c\u2029d\n\n".encode(),
        [("", "a\u2028b\u0085c\u2029d")],
    ),
    "four-byte characters": (
        "data: \U0001f600é漢\n\n".encode(),
        [("", "\U0001f600é漢")],
    ),
    "colon in value": (b"data: a: b\n\n", [("", "a: b")]),
    "empty": (b"", []),
}


def split(stream: bytes, *cuts: int) -> list[bytes]:
    ends = [0, *sorted(cuts), len(stream)]
    return [stream[a:b] for a, b in pairwise(ends)]


@pytest.mark.parametrize(("stream", "events"), SSE.values(), ids=SSE)
def test_sse_events_are_the_same_wherever_the_stream_is_cut(
    stream: bytes, events: list[tuple[str, str]]
) -> None:
    expected = [StreamEvent(*event) for event in events]
    assert list(iter_sse([stream])) == expected
    assert list(iter_sse(bytes([byte]) for byte in stream)) == expected
    for cut in range(len(stream) + 1):
        assert list(iter_sse(split(stream, cut))) == expected


def test_an_event_is_handed_out_as_soon_as_its_blank_line_is_there() -> None:
    arrived: list[bytes] = []

    def chunks():
        for piece in (b"data: a\n", b"\n", b"data: b\r\r", b"rest"):
            arrived.append(piece)
            yield piece

    events = iter_sse(chunks())
    assert next(events).data == "a"
    assert arrived == [b"data: a\n", b"\n"]
    assert next(events).data == "b"
    assert arrived[-1] == b"data: b\r\r"


def test_a_long_line_in_many_pieces_takes_linear_time() -> None:
    pieces = [b"data: ", *[b"x" * 10] * 200_000, b"\n\n"]
    (event,) = iter_sse(pieces)
    assert len(event.data) == 2_000_000


def test_bad_utf8_is_an_error_not_a_replacement() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        list(iter_sse([b"data: \xff\n\n"]))


NDJSON = b'{"a": 1}\r\n\n  \n{"b": "\xe2\x80\xa8\xf0\x9f\x98\x80"}\n{"c": 3}'


def test_ndjson_lines_are_the_same_wherever_the_stream_is_cut() -> None:
    expected = [
        StreamEvent("", '{"a": 1}'),
        StreamEvent("", '{"b": "\u2028\U0001f600"}'),
        StreamEvent("", '{"c": 3}'),
    ]
    for cut in range(len(NDJSON) + 1):
        assert list(iter_ndjson(split(NDJSON, cut))) == expected
    assert list(iter_ndjson(bytes([byte]) for byte in NDJSON)) == expected


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\r\n", codec="utf-8")), max_size=8
    ),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(st.integers(0, 400), max_size=10),
)
def test_any_text_survives_any_cutting(
    texts: list[str], end: str, cuts: list[int]
) -> None:
    stream = "".join(f"data: {text}{end}{end}" for text in texts).encode()
    pieces = split(stream, *(min(cut, len(stream)) for cut in cuts))
    assert [event.data for event in iter_sse(pieces)] == texts
