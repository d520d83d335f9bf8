"""Does a prompt fit into a model?"""

from __future__ import annotations

from typing import Any, Final

from llmring_lite.registry import RegistryModel
from llmring_lite.schemas import LLMRequest

_SMALL_BYTES: Final = 4_000
"""A shorter prompt fits everywhere, and isn't worth counting."""

_BYTES_PER_TOKEN: Final = 4
"""About right for English; code and other languages need more tokens, not fewer."""


def window_tokens(model: RegistryModel) -> int | None:
    """The largest prompt that may fit, in tokens; None if it is unknown.

    Some registries give the window as `max_input_tokens`, others what is left of it
    by the longest reply. A candidate is only left out if its prompt fits by neither.
    """
    if model.max_input_tokens is None:
        return None
    return model.max_input_tokens + (model.max_output_tokens or 0)


def estimate_tokens(request: LLMRequest) -> int | None:
    """About how many tokens the text of a request has; None if it is short.

    A lower bound rather than the mean: images, files and the provider's own words
    count for nothing.
    """
    total = 0
    for message in request.messages:
        content = message.content
        if isinstance(content, str):
            total += _size(content)
        elif content:
            total += sum(_size(part.get("text")) for part in content)
        for call in message.tool_calls or ():
            total += _size(call.get("function", {}).get("arguments"))
    if total < _SMALL_BYTES:
        return None
    return total // _BYTES_PER_TOKEN


def _size(text: Any) -> int:
    """Bytes in UTF-8."""
    if not isinstance(text, str):
        return 0
    # Python knows of a text whether it is ASCII; encoding would copy it.
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
