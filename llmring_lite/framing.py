"""Bytes of a stream -> its events: Server-Sent Events and newline-delimited JSON.

Lines are split on the bytes, before decoding: `requests.Response.iter_lines` invents
an empty line when a CRLF is cut in two, and `str.splitlines` cuts at U+2028, which
JSON text may hold. A line is decoded when it is complete, so a character cut in two
by the network does no harm. Bad UTF-8 raises UnicodeDecodeError (a ValueError).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from llmring_lite.provider import StreamEvent

_BOM = b"\xef\xbb\xbf"


def iter_sse(chunks: Iterable[bytes]) -> Iterator[StreamEvent]:
    """Events of an SSE stream, wherever its bytes were cut.

    Follows https://html.spec.whatwg.org/multipage/server-sent-events.html, with one
    exception: an event at the end of the stream counts without its blank line, which
    some servers leave out. `id:` and `retry:` serve reconnecting and are skipped.
    """
    name = ""
    data: bytes | None = None
    for lines in _batches(chunks):
        for line in lines:
            if not line:
                if data is not None:
                    yield StreamEvent(name, data.decode())
                    data = None
                name = ""
                continue
            field, _, value = line.partition(b":")
            if value[:1] == b" ":
                value = value[1:]
            if field == b"data":
                data = value if data is None else data + b"\n" + value
            elif field == b"event":
                name = value.decode()
    if data is not None:
        yield StreamEvent(name, data.decode())


def iter_ndjson(chunks: Iterable[bytes]) -> Iterator[StreamEvent]:
    """One event a line; blank lines, sent as keep-alive, are skipped."""
    for lines in _batches(chunks):
        for line in lines:
            line = line.strip()
            if line:
                yield StreamEvent("", line.decode())


def _batches(chunks: Iterable[bytes]) -> Iterator[list[bytes]]:
    r"""Complete lines without their ends (`\n`, `\r\n` or `\r`), some at a time.

    The rest of the stream counts as a line. A leading byte order mark is dropped.
    """
    pending: list[bytes] = []  # pieces of a line that has not ended
    after_cr = False
    at_start = True
    for chunk in chunks:
        if after_cr and chunk:
            # The other half of a CRLF that was cut in two.
            chunk = chunk.removeprefix(b"\n")
            after_cr = False
        if b"\r" in chunk:
            after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n" not in chunk:
            if chunk:
                pending.append(chunk)
            continue
        lines = chunk.split(b"\n")
        if pending:
            pending.append(lines[0])
            lines[0] = b"".join(pending)
            pending.clear()
        rest = lines.pop()
        if rest:
            pending.append(rest)
        if at_start:
            at_start = False
            lines[0] = lines[0].removeprefix(_BOM)
        yield lines
    if pending:
        rest = b"".join(pending)
        yield [rest.removeprefix(_BOM) if at_start else rest]
