"""A conversation in the words of Anthropic's Messages API.

The API knows user and assistant turns made of blocks, and one system prompt apart.
What follows from its rules (https://platform.claude.com/docs/en/api/messages/create):

- Leading system and developer messages become `system`. One that comes later stays
  where it is on models that allow it, after the next user turn as the API demands;
  on all others it is appended to `system`, as the API's documentation advises.
- Neighbouring messages of one role are one turn. The results of a turn's tool calls
  come first in the user turn that follows it.
- Text without a visible character is rejected, so it is left out, and with it a
  message that holds nothing else.
- An assistant turn that this provider wrote goes back block by block as it came:
  thinking blocks are signed, server tool results are encrypted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from llmring_lite.exceptions import InvalidRequestError
from llmring_lite.provider import JSON, Endpoint, own_data
from llmring_lite.provider_anthropic_caching import Blocks, mark_last
from llmring_lite.provider_anthropic_parts import (
    content_blocks,
    text_block,
    text_blocks,
)
from llmring_lite.provider_parts import refuse_names
from llmring_lite.provider_tools import (
    answered_call,
    arguments_object,
    has_failed,
    read_call,
)
from llmring_lite.schemas import LLMRequest, Message

_SYSTEM_ROLES: Final = frozenset({"system", "developer"})
_THINKING: Final = frozenset({"thinking", "redacted_thinking"})
_ID_CHARACTERS: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
)


class Conversation(NamedTuple):
    """Turns for `messages`, and the blocks of the system prompt."""

    system: Blocks
    turns: list[JSON]


def build_conversation(
    request: LLMRequest, endpoint: Endpoint, *, late_system: bool
) -> Conversation:
    """The request's messages as turns of blocks.

    `late_system` says whether the model takes system messages between turns.

    Raises:
        InvalidRequestError: A message is malformed, or there is none besides the
            system prompt.
        UnsupportedParameterError: A part that the API can't take; `parameter` is its
            place.
    """
    refuse_names(request, "the Messages API")
    system: Blocks = []
    turns: list[JSON] = []
    waiting: Blocks = []
    for index, message in enumerate(request.messages):
        where = f"messages[{index}]"
        if message.role in _SYSTEM_ROLES:
            blocks = _marked(text_blocks(message, where), message)
            (waiting if turns and late_system else system).extend(blocks)
            continue
        if message.role == "assistant":
            role, blocks = "assistant", _assistant_blocks(message, where, endpoint)
            if blocks and waiting:
                _place_system(turns, waiting, system)
                waiting = []
        else:
            role, blocks = "user", _user_blocks(message, where)
        blocks = _marked(blocks, message)
        if blocks and turns and turns[-1]["role"] == role:
            turns[-1]["content"].extend(blocks)
        elif blocks:
            turns.append({"role": role, "content": blocks})
    if waiting:
        _place_system(turns, waiting, system)
    for turn in turns:
        if turn["role"] == "user":
            turn["content"].sort(key=lambda block: block["type"] != "tool_result")
    if not turns:
        raise InvalidRequestError(
            "the Messages API needs at least one user message that is not empty, "
            "beside the system prompt"
        )
    _trim_prefill(turns[-1])
    return Conversation(system, turns)


def _place_system(turns: list[JSON], waiting: Blocks, system: Blocks) -> None:
    """Put late system texts after the user turn that precedes this place.

    The API takes a system message after a user turn only, and only before an
    assistant turn or at the end.
    """
    if turns[-1]["role"] == "user":
        turns.append({"role": "system", "content": waiting})
    else:
        system.extend(waiting)


def _trim_prefill(turn: JSON) -> None:
    """An unfinished assistant turn to be continued must not end in white space."""
    last = turn["content"][-1]
    if turn["role"] == "assistant" and last["type"] == "text":
        turn["content"][-1] = {**last, "text": last["text"].rstrip()}


def _user_blocks(message: Message, where: str) -> Blocks:
    blocks = content_blocks(message, where)
    if message.role != "tool":
        return blocks
    call_id = answered_call(message, where)
    result: JSON = {"type": "tool_result", "tool_use_id": _wire_id(call_id)}
    if isinstance(message.content, str) and blocks:
        result["content"] = message.content
    elif blocks:
        result["content"] = blocks
    if has_failed(message):
        result["is_error"] = True
    return [result]


def _assistant_blocks(message: Message, where: str, endpoint: Endpoint) -> Blocks:
    texts = text_blocks(message, where)
    calls = [
        _tool_use(call, f"{where}.tool_calls[{number}]")
        for number, call in enumerate(message.tool_calls or ())
    ]
    data = own_data(message, endpoint)
    if not data or "blocks" not in data:
        return [*texts, *calls]
    content = message.content
    if not isinstance(content, str):
        content = "".join(block["text"] for block in texts)
    blocks = _replayed(data["blocks"], content, calls)
    # The token limit may have left nothing but thoughts, which is no turn.
    return [] if all(block["type"] in _THINKING for block in blocks) else blocks


def _replayed(stored: Sequence[JSON], content: str, calls: Blocks) -> Blocks:
    """The turn that the provider wrote, in its own order (see `store_block`).

    Texts and calls are the message's, which may have been edited since: a text that
    is not as long as it was takes the first one's place, calls that are gone are left
    out, new ones are added.
    """
    by_id = {call["id"]: call for call in calls}
    is_edited = sum(block.get("length", 0) for block in stored) != len(content)
    blocks: Blocks = []
    for block in stored:
        if block["type"] == "text":
            length = len(content) if is_edited else block["length"]
            text, content = content[:length], content[length:]
            if text.strip():
                rest = {} if is_edited else {**block}
                rest.pop("length", None)
                blocks.append({**rest, **text_block(text)})
        elif block["type"] == "tool_use":
            if content.strip() and is_edited:
                # There was no text before; it can't stand behind a call.
                blocks.append(text_block(content))
                content = ""
            call = by_id.pop(_wire_id(block["id"]), None)
            if call:
                blocks.append({**block, **call})
        else:
            blocks.append(block)
    if content.strip():
        blocks.append(text_block(content))
    return [*blocks, *by_id.values()]


def store_block(block: JSON, length: int | None = None) -> JSON:
    """A block of a reply in the form that `provider_data` keeps.

    A text (`length` characters of the reply's content) and a call's input are in the
    message already; everything else about them, citations for one, is kept.
    """
    if length is not None:
        return {**{k: v for k, v in block.items() if k != "text"}, "length": length}
    if block["type"] == "tool_use":
        return {k: v for k, v in block.items() if k != "input"}
    return block


def _tool_use(given: Any, where: str) -> JSON:
    call = read_call(given, where)
    return {
        "type": "tool_use",
        "id": _wire_id(call.id),
        "name": call.name,
        "input": arguments_object(call.arguments, where),
    }


def _wire_id(call_id: str) -> str:
    """A tool call id in the characters that the API takes.

    Other providers' ids may have dots and colons; call and result are spelt alike.
    """
    if _ID_CHARACTERS.issuperset(call_id):
        return call_id
    return "".join(c if c in _ID_CHARACTERS else f"_{ord(c):x}_" for c in call_id)


def _marked(blocks: Blocks, message: Message) -> Blocks:
    """The blocks, with the message's own cache breakpoint on the last one."""
    control = (message.metadata or {}).get("cache_control")
    return mark_last(blocks, control) if control else blocks
