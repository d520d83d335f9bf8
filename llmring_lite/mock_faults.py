"""Faults of a mock endpoint: a good answer in, the answer that goes wrong out.

`MockAnswer` is what a mock sends, as a value: `mock_server` puts it on a socket,
`provider_mock` hands it to the call path in process. `FAULTS` is the table of what
can go wrong, by name.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

Piece: TypeAlias = tuple[float, bytes]
"""Seconds to wait, then bytes to send at once."""

Ending: TypeAlias = Literal["complete", "stale", "close", "reset", "hang"]
"""What becomes of the connection after the last piece.

complete: The body is finished, and the connection serves the next request.
stale: The same, but the server closes the connection without having said so.
close: Closed (FIN) in the middle of the reply.
reset: Reset (RST) in the middle of the reply.
hang: Silence until the client hangs up.
"""


class MockAnswer(NamedTuple):
    """One HTTP answer.

    Attributes:
        status: 0 if not even a status line is sent.
        headers: Those that say something about the reply; length, framing and
            date are added by whoever sends it.
        body: Whole, or in pieces with the pause before each.
        delay: Seconds until the first byte of the answer.
        framing: How the end of the body is told.
        announced: Length that is promised if it differs from the body's.
        ending: See `Ending`.
    """

    status: int
    headers: dict[str, str] = {}  # noqa: RUF012 - it is changed by nobody
    body: bytes | Iterator[Piece] = b""
    delay: float = 0.0
    framing: Literal["length", "chunked", "close"] = "length"
    announced: int | None = None
    ending: Ending = "complete"

    def pieces(self) -> Iterable[Piece]:
        """The body in pieces. Can be asked for once."""
        if isinstance(self.body, bytes):
            return ((0.0, self.body),) if self.body else ()
        return self.body


class Setting(NamedTuple):
    """What a fault may be told.

    Attributes:
        cut_at: Part of the body, 0 to 1, that comes before the fault.
        drip: Seconds before each byte.
        error: The body of an error answer in the wire format at hand.
        error_event: The same as an event of a stream.
        broken_event: An event that is no JSON.
    """

    cut_at: float
    drip: float
    error: bytes
    error_event: bytes
    broken_event: bytes


def _silent(answer: MockAnswer, ending: Ending) -> MockAnswer:
    return MockAnswer(0, delay=answer.delay, ending=ending)


def _cut(
    answer: MockAnswer, setting: Setting, ending: Ending = "complete"
) -> MockAnswer:
    """The body up to `cut_at`, of which the whole was promised."""
    pieces = list(answer.pieces())
    whole = sum(len(data) for _, data in pieces)
    left, kept = int(whole * setting.cut_at), []
    for delay, data in pieces:
        if left > 0:
            kept.append((delay, data[:left]))
        left -= len(data)
    return answer._replace(body=iter(kept), announced=whole, ending=ending)


def _cut_clean(answer: MockAnswer, setting: Setting, *then: bytes) -> MockAnswer:
    """Part of a body, properly framed; of a stream whole events, and others after."""
    if isinstance(answer.body, bytes):
        kept = answer.body[: int(len(answer.body) * setting.cut_at)]
        return answer._replace(body=kept)
    pieces = list(answer.body)
    pieces[int(len(pieces) * setting.cut_at) :] = [(0.0, event) for event in then]
    return answer._replace(body=iter(pieces))


def _spoilt(
    answer: MockAnswer, setting: Setting, body: bytes, event: bytes
) -> MockAnswer:
    """Another body; in a stream another event after `cut_at` of its own."""
    if isinstance(answer.body, bytes):
        return answer._replace(body=body)
    return _cut_clean(answer, setting, event)


def _in_bytes(answer: MockAnswer, pause: float) -> MockAnswer:
    length = len(answer.body) if isinstance(answer.body, bytes) else None
    body = (
        (pause if start else delay + pause, data[start : start + 1])
        for delay, data in answer.pieces()
        for start in range(len(data))
    )
    return answer._replace(body=body, announced=length)


def _page(answer: MockAnswer, status: int, title: str) -> MockAnswer:
    page = f"<html><head><title>{title}</title></head><body>{title}</body></html>\n"
    headers = {"content-type": "text/html; charset=utf-8"}
    return MockAnswer(status, headers, page.encode(), answer.delay)


def _with_headers(answer: MockAnswer, headers: Mapping[str, str]) -> MockAnswer:
    return answer._replace(headers={**answer.headers, **headers})


def _gzip(answer: MockAnswer) -> MockAnswer:
    """Compressed piece by piece, whatever the client accepts."""

    def body() -> Iterator[Piece]:
        gzip = zlib.compressobj(wbits=31)
        for delay, data in answer.pieces():
            yield delay, gzip.compress(data) + gzip.flush(zlib.Z_SYNC_FLUSH)
        yield 0.0, gzip.flush()

    zipped = answer._replace(body=body(), framing="chunked")
    return _with_headers(zipped, {"content-encoding": "gzip"})


FAULTS: Final[Mapping[str, Callable[[MockAnswer, Setting], MockAnswer]]] = {
    "close": lambda a, _: _silent(a, "close"),
    "reset": lambda a, _: _silent(a, "reset"),
    "hang": lambda a, _: _silent(a, "hang"),
    "cut": lambda a, s: _cut(a, s, "close"),
    "cut-reset": lambda a, s: _cut(a, s, "reset"),
    "cut-hang": lambda a, s: _cut(a, s, "hang"),
    # A stream ends between two events, without its end event.
    "cut-clean": _cut_clean,
    # Only the end of the connection ends the half body.
    "cut-unmarked": lambda a, s: _cut(a, s)._replace(framing="close"),
    "drip": lambda a, s: _in_bytes(a, s.drip),
    "split": lambda a, _: _in_bytes(a, 0.0),
    "late-error": lambda a, s: _spoilt(a, s, s.error, s.error_event),
    "garbage": lambda a, s: _spoilt(a, s, b'{"id": "mock", \xff', s.broken_event),
    "empty": lambda a, _: a._replace(body=b""),
    "html": lambda a, _: _page(a, 502, "502 Bad Gateway"),
    "html-200": lambda a, _: _page(a, 200, "Please sign in"),
    "redirect": lambda a, _: MockAnswer(
        307, {"location": "/redirected"}, delay=a.delay
    ),
    "wrong-type": lambda a, _: _with_headers(a, {"content-type": "text/plain"}),
    "gzip": lambda a, _: _gzip(a),
    "close-delimited": lambda a, _: a._replace(framing="close"),
    "stale": lambda a, _: a._replace(ending="stale"),
}
"""Name -> what it makes of an answer. A model `fault-NAME` has it on every call."""
