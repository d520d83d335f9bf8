"""Chunked bodies are read across the borders of their chunks, and read right."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, IncompleteRead
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmring_lite.deadline import Deadline
from llmring_lite.transport_deadline import Exchange, _TimedResponse, opening

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


@contextmanager
def answering(data: bytes) -> Iterator[tuple[Any, socket.socket]]:
    """A response whose bytes so far are these, and the server's end of the line."""
    client, server = socket.socketpair()
    with client, server:
        server.sendall(data)
        with opening(Exchange(Deadline(5))):
            response = _TimedResponse(client, method="POST")
        response.begin()
        yield response, server
        response.close()


def rest_of(response: Any, size: int = 65536) -> bytes:
    return b"".join(iter(lambda: response.read1(size), b""))


def test_one_read_returns_all_chunks_that_have_arrived() -> None:
    with answering(HEAD + chunked(b"a", b"bc", b"def") + b"5\r\ngh") as (response, _):
        assert response.read1(65536) == b"abcdef"
        assert response.read1(65536) == b"gh"


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_body_cut_at_any_byte_arrives_whole(size: int) -> None:
    body = chunked(b"a", b"\r\n", b"0123456789abcdefg") + END
    expected = b"a\r\n0123456789abcdefg"
    for cut in range(len(body) + 1):
        with answering(HEAD + body[:cut]) as (response, server):
            # Where no byte of the content is there yet, a read would wait for one.
            first = response.read1(size) if cut > 3 else b""
            assert len(first) <= size
            server.sendall(body[cut:])
            assert first + rest_of(response, size) == expected


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=300), max_size=20),
    size=st.integers(min_value=1, max_value=1000),
)
def test_reads_return_no_more_than_asked_for(pieces: list[bytes], size: int) -> None:
    with answering(HEAD + chunked(*pieces) + END) as (response, _):
        reads = list(iter(lambda: response.read1(size), b""))
    assert all(len(read) <= size for read in reads)
    assert b"".join(reads) == b"".join(pieces)


def test_a_read_without_a_size_returns_what_has_arrived() -> None:
    with answering(HEAD + chunked(b"ab", b"cd") + END) as (response, _):
        assert response.read1() == b"abcd"
        assert response.read1() == b""


def test_extensions_capitals_and_trailers_are_understood() -> None:
    body = b"1\r\na\r\nA;x=1\r\n0123456789\r\n0a\r\nabcdefghij\r\n0\r\nX: y\r\n\r\n"
    with answering(HEAD + body) as (response, _):
        assert rest_of(response) == b"a0123456789abcdefghij"


def test_other_ways_to_read_go_on_where_it_stopped() -> None:
    with answering(HEAD + chunked(b"ab", b"cd", b"ef") + END) as (response, _):
        assert response.read1(3) == b"ab"
        assert response.read(1) == b"c"
        assert response.read() == b"def"


@pytest.mark.parametrize("size", [b"zz", b"", b"-5", b"1_"])
def test_a_bad_size_after_good_chunks_is_an_error(size: bytes) -> None:
    with answering(HEAD + chunked(b"ab") + size + b"\r\nxx\r\n") as (response, server):
        server.shutdown(socket.SHUT_WR)
        assert response.read1(100) == b"ab"
        with pytest.raises((HTTPException, ValueError)):
            rest_of(response)


def test_a_body_that_ends_inside_a_chunk_is_an_error() -> None:
    with answering(HEAD + chunked(b"ab") + b"5\r\nxx") as (response, server):
        server.shutdown(socket.SHUT_WR)
        assert response.read1(100) == b"ab"
        assert response.read1(100) == b"xx"
        with pytest.raises(IncompleteRead):
            response.read1(100)


def test_bodies_with_a_length_or_none_are_read_as_ever() -> None:
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd") as (
        response,
        _,
    ):
        assert rest_of(response) == b"abcd"
    with answering(b"HTTP/1.1 200 OK\r\n\r\nabcd") as (response, server):
        server.shutdown(socket.SHUT_WR)
        assert rest_of(response) == b"abcd"
