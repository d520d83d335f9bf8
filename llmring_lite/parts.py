"""Message parts of a call: local files once, remote ones where an API takes bytes.

Most conversations are plain text, so what reads files and URLs is loaded only for
those that are not.
"""

from __future__ import annotations

from typing import Final

from llmring_lite.deadline import Deadline
from llmring_lite.schemas import LLMRequest

_FETCH_TIMEOUT_S: Final = 20.0


def load_parts(request: LLMRequest) -> LLMRequest:
    """The request with its local files in memory, and its `files` as parts."""
    from llmring_lite import content

    if request.files:
        from llmring_lite.files import attach_files

        request = attach_files(request)
    return content.load(request)


def has_files(request: LLMRequest) -> bool:
    """Is there a part that stands for a file: an id, or a PDF?"""
    return any(
        part.get("type") == "file"
        for message in request.messages
        if message.content.__class__ is list
        for part in message.content or ()
        if isinstance(part, dict)
    )


def fetch_parts(
    request: LLMRequest, kinds: frozenset[str], deadline: Deadline
) -> LLMRequest:
    """The request with remote parts of these types in memory."""
    from llmring_lite import content
    from llmring_lite.content_media import LIMITS, Kind
    from llmring_lite.transport_fetch import ALLOWED_TYPES, fetch_public

    def fetch(url: str, kind: Kind) -> tuple[str, bytes]:
        return fetch_public(
            url,
            max_bytes=LIMITS[kind],
            deadline=deadline.within(_FETCH_TIMEOUT_S),
            allowed_types=ALLOWED_TYPES[kind],
        )

    return content.load(request, fetch=fetch, fetched_parts=kinds)
