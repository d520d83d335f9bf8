"""What each Claude model takes, read off its name.

The Messages API is one, but models differ in which of its fields they accept, and a
field that a model doesn't know is answered with a 400. Sources, as of 2026-11:

- thinking modes, sampling, forced tools, output limits:
  https://platform.claude.com/docs/en/build-with-claude/thinking and
  https://platform.claude.com/docs/en/build-with-claude/thinking-troubleshooting
- effort levels: https://platform.claude.com/docs/en/build-with-claude/effort
- structured output:
  https://platform.claude.com/docs/en/build-with-claude/structured-outputs
- system messages inside a conversation:
  https://platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

Traits: TypeAlias = frozenset[str]
"""What a model takes, in these words:

- `sampling`: temperature, or top_p; `both`: the two together.
- `budget`: thinking of type enabled with budget_tokens; `adaptive`: of type adaptive.
- `on`: it thinks unless told otherwise; `off`: type disabled turns that off;
  `between`: type between_tools does.
- `effort`: output_config.effort low, medium and high; `xhigh`, `max`: these, too.
- `forced`: tool_choice any and tool.
- `format`: output_config.format and strict tools.
- `system`: messages of role system after the first user turn.
"""

_OLD: Final = frozenset({"sampling", "both", "forced"})
_EXTENDED: Final = _OLD | {"budget"}
# From Opus 4.1 on, temperature and top_p exclude each other.
_ONE_SAMPLING: Final = _EXTENDED - {"both"}
_V4_5: Final = _ONE_SAMPLING | {"format"}
_V4_6: Final = _V4_5 | {"adaptive", "effort", "max"}
_V4_7: Final = frozenset(
    {"adaptive", "off", "effort", "xhigh", "max", "forced", "format"}
)
_V4_8: Final = _V4_7 | {"system"}
_V5: Final = _V4_8 | {"on"}
_ALWAYS_ON: Final = _V5 - {"off"}
_UNFORCED: Final = _ALWAYS_ON - {"forced"}

_Row: TypeAlias = tuple[tuple[int, int], int, Traits]

# Family -> rows of (version, most output tokens, traits), newest first. A model has
# the row of the newest version that is not above its own, so a release that isn't
# listed yet is taken for its predecessor.
_FAMILIES: Final[Mapping[str, tuple[_Row, ...]]] = {
    "opus": (
        ((5, 5), 128_000, _UNFORCED),
        ((5, 0), 128_000, _V5),
        ((4, 8), 128_000, _V4_8),
        ((4, 7), 128_000, _V4_7),
        ((4, 6), 128_000, _V4_6),
        ((4, 5), 64_000, _V4_5 | {"effort"}),
        ((4, 1), 32_000, _ONE_SAMPLING),
        ((4, 0), 32_000, _EXTENDED),
        ((0, 0), 4_096, _OLD),
    ),
    "sonnet": (
        ((5, 5), 128_000, (_UNFORCED | {"between"}) - {"system"}),
        ((5, 0), 128_000, _V5 - {"system"}),
        ((4, 6), 128_000, _V4_6),
        ((4, 5), 64_000, _V4_5),
        ((3, 7), 64_000, _EXTENDED),
        ((3, 5), 8_192, _OLD),
        ((0, 0), 4_096, _OLD),
    ),
    "haiku": (
        ((5, 5), 128_000, _V5 - {"system"}),
        ((4, 5), 64_000, _V4_5),
        ((3, 5), 8_192, _OLD),
        ((0, 0), 4_096, _OLD),
    ),
    "fable": (
        ((5, 1), 128_000, _UNFORCED),
        ((0, 0), 128_000, _ALWAYS_ON),
    ),
    "mythos": (
        ((5, 1), 128_000, _UNFORCED),
        ((5, 0), 128_000, _ALWAYS_ON),
        # Mythos Preview
        ((0, 0), 128_000, (_UNFORCED | {"budget"}) - {"xhigh", "system"}),
    ),
    # Claude 2 and Instant, named without a family of today.
    "": (((0, 0), 4_096, frozenset({"sampling", "both"})),),
}
_NEWEST: Final = (9, 0)

# Models of other makers behind a Messages API: what all of those servers have.
_FOREIGN: Final[tuple[int, Traits]] = (8_192, _EXTENDED)

DEFAULT_MAX_TOKENS: Final = 16_384
"""The reply's limit where a request sets none, as far as the model allows it.

The API requires one. Thinking counts toward it, so that a smaller one would cut the
replies of models that think unless told otherwise.
"""

EFFORT_BUDGETS: Final[Mapping[str, int]] = {
    "minimal": 1_024,
    "low": 2_048,
    "medium": 8_192,
    "high": 16_384,
    "xhigh": 32_768,
    "max": 32_768,
}
"""Reasoning effort -> thinking budget in tokens, for models that take a budget only.

Above 32k the API's own advice is batch processing.
"""

MIN_BUDGET: Final = 1_024
"""The smallest thinking budget that the API takes."""


def describe(model: str) -> tuple[int, Traits]:
    """Most output tokens, and traits, of a model.

    `model` may be spelt as other platforms do (`anthropic.claude-opus-4-6-v1`,
    `anthropic/claude-sonnet-4.5`, `claude-haiku-4-5@20251001`).
    """
    _, claude, rest = model.lower().partition("claude-")
    if not claude:
        return _FOREIGN
    words = rest.replace(".", "-").replace("@", "-").split("-")
    family = next((word for word in words if word in _FAMILIES), "")
    # Longer numbers are dates: claude-opus-4-20250514 is version 4.0.
    numbers = [int(word) for word in words if word.isdecimal() and len(word) < 3]
    version: tuple[int, ...]
    if family == "mythos" and "preview" in words:
        version = (0, 0)
    elif not family and not (numbers and numbers[0] <= 2):
        # A family that came after this table.
        return _FAMILIES["fable"][0][1:]
    else:
        version = (*numbers[:2], 0, 0)[:2] if numbers else _NEWEST
    return next(
        (limit, traits)
        for since, limit, traits in _FAMILIES[family]
        if since <= version
    )


def effort_levels(traits: Traits) -> tuple[str, ...]:
    """The values of output_config.effort that a model takes, weakest first."""
    if "effort" not in traits:
        return ()
    return ("low", "medium", "high", *(w for w in ("xhigh", "max") if w in traits))
