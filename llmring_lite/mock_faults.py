"""Faults of a mock endpoint: a good answer in, the answer that goes wrong out.

`MockAnswer` is what a mock sends, as a value: `mock_server` puts it on a socket,
`provider_mock` hands it to the call path in process. `FAULTS` is the table of what
can go wrong, by name.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
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


@dataclass(frozen=True, slots=True, kw_only=True)
class MockAnswer:
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
    headers: dict[str, str] = field(default_factory=dict)
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


def _nothing(ending: Ending) -> Callable[[MockAnswer, Setting], MockAnswer]:
    return lambda answer, _: MockAnswer(status=0, delay=answer.delay, ending=ending)


def _cut(
    ending: Ending, *, unmarked: bool = False
) -> Callable[[MockAnswer, Setting], MockAnswer]:
    """The body up to `cut_at`; with `unmarked` it ends where the connection does."""

    def apply(answer: MockAnswer, setting: Setting) -> MockAnswer:
        pieces = list(answer.pieces())
        whole = sum(len(data) for _, data in pieces)
        kept = iter(list(_first_bytes(pieces, int(whole * setting.cut_at))))
        if unmarked:
            return replace(answer, body=kept, framing="close", ending=ending)
        return replace(answer, body=kept, announced=whole, ending=ending)

    return apply


def _cut_clean(answer: MockAnswer, setting: Setting) -> MockAnswer:
    if isinstance(answer.body, bytes):
        return replace(
            answer, body=answer.body[: int(len(answer.body) * setting.cut_at)]
        )
    pieces = list(answer.pieces())
    return replace(answer, body=iter(pieces[: int(len(pieces) * setting.cut_at)]))


def _first_bytes(pieces: Iterable[Piece], count: int) -> Iterator[Piece]:
    for delay, data in pieces:
        if count <= 0:
            return
        yield delay, data[:count]
        count -= len(data)


def _in_bytes(
    seconds: Callable[[Setting], float],
) -> Callable[[MockAnswer, Setting], MockAnswer]:
    def apply(answer: MockAnswer, setting: Setting) -> MockAnswer:
        pause = seconds(setting)
        length = len(answer.body) if isinstance(answer.body, bytes) else None
        body = (
            (delay + pause if start == 0 else pause, data[start : start + 1])
            for delay, data in answer.pieces()
            for start in range(len(data))
        )
        return replace(answer, body=body, announced=length)

    return apply


def _interrupted(answer: MockAnswer, setting: Setting, last: bytes) -> MockAnswer:
    """A stream with another event after `cut_at` of its own, then a proper end."""
    pieces = list(answer.pieces())
    kept = pieces[: int(len(pieces) * setting.cut_at)]
    return replace(answer, body=iter([*kept, (0.0, last)]))


def _late_error(answer: MockAnswer, setting: Setting) -> MockAnswer:
    if isinstance(answer.body, bytes):
        return replace(answer, body=setting.error)
    return _interrupted(answer, setting, setting.error_event)


def _garbage(answer: MockAnswer, setting: Setting) -> MockAnswer:
    if isinstance(answer.body, bytes):
        return replace(answer, body=b'{"id": "mock", \xff')
    return _interrupted(answer, setting, setting.broken_event)


def _html(status: int, title: str) -> Callable[[MockAnswer, Setting], MockAnswer]:
    page = f"<html><head><title>{title}</title></head><body>{title}</body></html>\n"
    return lambda answer, _: MockAnswer(
        status=status,
        headers={"content-type": "text/html; charset=utf-8"},
        body=page.encode(),
        delay=answer.delay,
    )


def _redirect(answer: MockAnswer, _: Setting) -> MockAnswer:
    return MockAnswer(
        status=307, headers={"location": "/redirected"}, delay=answer.delay
    )


def _gzip(answer: MockAnswer, _: Setting) -> MockAnswer:
    """Compressed piece by piece, whatever the client accepts."""

    def body() -> Iterator[Piece]:
        gzip = zlib.compressobj(wbits=31)
        for delay, data in answer.pieces():
            yield delay, gzip.compress(data) + gzip.flush(zlib.Z_SYNC_FLUSH)
        yield 0.0, gzip.flush()

    headers = {**answer.headers, "content-encoding": "gzip"}
    framing: Literal["chunked", "close"] = (
        "close" if answer.framing == "close" else "chunked"
    )
    return replace(answer, headers=headers, body=body(), framing=framing)


class Fault(NamedTuple):
    """What happens, in words, and the function that makes it happen."""

    description: str
    apply: Callable[[MockAnswer, Setting], MockAnswer]


FAULTS: Final[dict[str, Fault]] = {
    "close": Fault("closed without a byte of a reply", _nothing("close")),
    "reset": Fault("reset (RST) without a byte of a reply", _nothing("reset")),
    "hang": Fault("silence instead of a reply", _nothing("hang")),
    "cut": Fault("closed in the middle of the body", _cut("close")),
    "cut-reset": Fault("reset in the middle of the body", _cut("reset")),
    "cut-hang": Fault("silence in the middle of the body", _cut("hang")),
    "cut-clean": Fault(
        "half a body, though properly framed; a stream ends between two events, "
        "without its end event",
        _cut_clean,
    ),
    "cut-unmarked": Fault(
        "half a body, where only the end of the connection ends it",
        _cut("complete", unmarked=True),
    ),
    "drip": Fault("a byte at a time, slowly", _in_bytes(lambda s: s.drip)),
    "split": Fault("a byte at a time, at full speed", _in_bytes(lambda _: 0.0)),
    "late-error": Fault(
        "status 200, and an error in the body or in the middle of the stream",
        _late_error,
    ),
    "garbage": Fault("status 200, and a body or event that is no JSON", _garbage),
    "empty": Fault("status 200 without a body", lambda a, _: replace(a, body=b"")),
    "html": Fault("a proxy's error page, status 502", _html(502, "502 Bad Gateway")),
    "html-200": Fault("a login page, status 200", _html(200, "Please sign in")),
    "redirect": Fault("a redirect (307) to another path", _redirect),
    "wrong-type": Fault(
        "a good reply that calls itself text/plain",
        lambda a, _: replace(a, headers={**a.headers, "content-type": "text/plain"}),
    ),
    "gzip": Fault("a good reply, compressed though nobody asked", _gzip),
    "close-delimited": Fault(
        "a good reply that ends where the connection does",
        lambda a, _: replace(a, framing="close"),
    ),
    "stale": Fault(
        "a good reply on a connection that is closed afterwards without notice",
        lambda a, _: replace(a, ending="stale"),
    ),
}
"""Name -> fault. A model `fault-NAME` has the fault on every call."""
