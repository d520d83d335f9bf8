"""Prompt caching on Anthropic's Messages API: breakpoints on blocks.

https://platform.claude.com/docs/en/build-with-claude/prompt-caching
"""

from __future__ import annotations

from typing import Final, TypeAlias

from llmring_lite.provider import JSON

Blocks: TypeAlias = list[JSON]

_MAX_BREAKPOINTS: Final = 4
_UNCACHEABLE: Final = frozenset({"thinking", "redacted_thinking"})


def mark_last(blocks: Blocks, control: JSON) -> Blocks:
    """The blocks with a breakpoint on the last one that can carry it.

    Nothing is changed if that one has a breakpoint already.
    """
    for index in reversed(range(len(blocks))):
        if blocks[index]["type"] not in _UNCACHEABLE:
            marked = {"cache_control": control, **blocks[index]}
            return [*blocks[:index], marked, *blocks[index + 1 :]]
    return blocks


def add_breakpoints(
    tools: Blocks, system: Blocks, turns: Blocks, control: JSON
) -> tuple[Blocks, Blocks, Blocks]:
    """Breakpoints at the end of the conversation and of what precedes it.

    The latter is the system prompt, or the tools where there is none. Breakpoints
    that are there already count. The end of the conversation comes first if there is
    room for one only, for its prefix holds the rest.
    """
    left = _MAX_BREAKPOINTS - len(_marked(tools, system, turns))
    if left > 0:
        *earlier, last = turns
        marked = mark_last(last["content"], control)
        left -= marked != last["content"]
        turns = [*earlier, {**last, "content": marked}]
    if left > 0 and system:
        system = mark_last(system, control)
    elif left > 0 and tools:
        tools = [*tools[:-1], {"cache_control": control, **tools[-1]}]
    return tools, system, turns


def drop_surplus(tools: Blocks, system: Blocks, turns: Blocks) -> None:
    """Take breakpoints away until there are no more than the API takes.

    The first of the conversation's go first: what they mark is part of what the later
    ones mark.
    """
    marked = _marked(tools, system, turns)
    for block in marked[: max(0, len(marked) - _MAX_BREAKPOINTS)]:
        del block["cache_control"]


def _marked(tools: Blocks, system: Blocks, turns: Blocks) -> Blocks:
    """The blocks with a breakpoint, those of the conversation first."""
    blocks: Blocks = []
    for turn in turns:
        for block in turn["content"]:
            inside = block.get("content") if block["type"] == "tool_result" else None
            blocks += inside if isinstance(inside, list) else []
            blocks.append(block)
    return [block for block in (*blocks, *tools, *system) if "cache_control" in block]
