"""A conversation at the command line: ask, show the reply, remember, go on."""

from __future__ import annotations

import contextlib
import json
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any, Final, TextIO

from llmring_lite.cli_message import accept_any_bytes, build_content, mend
from llmring_lite.cli_options import UsageError
from llmring_lite.cli_output import complain, note, say_json, wants_utf8
from llmring_lite.exceptions import LLMRingError
from llmring_lite.schemas import LLMResponse, Message, StreamChunk
from llmring_lite.service import LLMRing


class Conversation:
    """The turns so far, and how a reply is asked for and shown."""

    def __init__(self, ring: LLMRing, model: str, args: Namespace) -> None:
        self.model = model
        self.stream: bool = args.stream
        self._ring = ring
        self._json: bool = args.json
        self._verbose: bool = args.verbose
        self._fields = {
            name: value
            for name in ("temperature", "max_tokens")
            if (value := getattr(args, name)) is not None
        }
        self._system = [Message("system", mend(args.system))] if args.system else []
        self._turns: list[Message] = []

    def reset(self) -> None:
        self._turns = []

    def ask(self, content: str | list[dict[str, Any]]) -> None:
        """Send a user turn, show the reply, and remember both."""
        turns = [*self._turns, Message("user", content)]
        messages = [*self._system, *turns]
        response = self._streamed(messages) if self.stream else self._whole(messages)
        self._turns = [*turns, response.message]
        _remark(response)
        if self._verbose:
            _report(response)

    def _whole(self, messages: list[Message]) -> LLMResponse:
        response: LLMResponse = self._ring.chat(self.model, messages, **self._fields)
        if self._json:
            say_json(_response_facts(response))
        else:
            _write(response.content)
            _end_line(response.content)
        return response

    def _streamed(self, messages: list[Message]) -> LLMResponse:
        written = ""
        with self._ring.chat_stream(self.model, messages, **self._fields) as stream:
            try:
                for chunk in stream:
                    if self._json:
                        _write(_json_line(_chunk_facts(chunk)))
                    elif chunk.delta:
                        _write(chunk.delta)
                        written = chunk.delta
            finally:
                # Also when it broke off: the complaint begins a line of its own.
                if written:
                    _end_line(written)
            return stream.response


def _write(text: str) -> None:
    """Text at once, for a reader who watches it arrive."""
    if sys.stdout is not None:
        sys.stdout.write(text)
        sys.stdout.flush()


def _end_line(text: str) -> None:
    if not text.endswith("\n"):
        _write("\n")


def _json_line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=not wants_utf8(), default=str) + "\n"


def _response_facts(response: LLMResponse) -> dict[str, Any]:
    return {
        "content": response.content,
        "model": response.model,
        "alias": response.alias,
        "finish_reason": response.finish_reason,
        "usage": response.usage,
        "tool_calls": response.tool_calls,
        "reasoning": response.reasoning,
        "refusal": response.refusal,
        "attempts": response.attempts,
    }


def _chunk_facts(chunk: StreamChunk) -> dict[str, Any]:
    facts = {
        "delta": chunk.delta,
        "model": chunk.model,
        "reasoning": chunk.reasoning,
        "tool_calls": chunk.tool_calls,
        "refusal": chunk.refusal,
        "finish_reason": chunk.finish_reason,
        "usage": chunk.usage,
    }
    return {k: v for k, v in facts.items() if v is not None}


_REMARKS: Final[Mapping[str, str]] = {
    "length": "the reply was cut off at its limit of tokens; see --max-tokens",
    "content_filter": "the provider's content filter stopped the reply",
}


def _remark(response: LLMResponse) -> None:
    """What a reader should know about a reply that isn't simply complete."""
    if response.refusal:
        complain(f"the model refused: {response.refusal}", kind="note")
        return
    remark = _REMARKS.get(response.finish_reason or "")
    if remark:
        complain(remark, kind="note")


def _report(response: LLMResponse) -> None:
    """Model, tokens, cost and attempts on stderr."""
    usage = response.usage
    alias = f" (alias {response.alias})" if response.alias else ""
    note(f"model: {response.model}{alias}")
    counts = {
        "input": usage.get("prompt_tokens"),
        "of it cached": usage.get("cached_tokens") or None,
        "output": usage.get("completion_tokens"),
        "of it reasoning": usage.get("reasoning_tokens") or None,
    }
    known = [f"{count} {word}" for word, count in counts.items() if count is not None]
    note(f"tokens: {', '.join(known) or 'unknown'}")
    cost = usage.get("cost")
    reason = usage.get("cost_status")
    if cost is not None:
        note(f"cost: ${cost:.6f}")
    else:
        note(f"cost: unknown ({reason})" if reason else "cost: unknown")
    note(f"finish reason: {response.finish_reason}")
    for attempt in response.attempts:
        outcome = attempt.get("error") or "replied"
        seconds = attempt.get("seconds")
        took = f" after {seconds:.2f} s" if seconds is not None else ""
        note(f"attempt: {attempt['model']}: {outcome}{took}")


# Turn by turn --------------------------------------------------------------------


_HELP: Final = (
    "/exit or Ctrl-D ends, /reset forgets what was said, Ctrl-C stops a reply."
)


def converse(conversation: Conversation, files: Sequence[str]) -> int:
    """Turn by turn, until the input ends. The files go with the first turn.

    A failed turn is reported and forgotten. With someone at the terminal that is all;
    from a pipe the exit code tells.
    """
    interactive = _is_terminal(sys.stdin)
    accept_any_bytes()
    if interactive:
        conversation.stream = conversation.stream or _is_terminal(sys.stdout)
        with contextlib.suppress(ImportError):  # absent on Windows
            import readline  # noqa: F401 - gives input() editing and a history
        note(f"Talking to {conversation.model}. {_HELP}")
    failed = False
    pending = list(files)
    while (line := _read_line(interactive)) is not None:
        command = line.strip()
        if command in ("/exit", "/quit"):
            break
        if command == "/reset":
            conversation.reset()
            pending = list(files)
        elif command == "/help":
            note(_HELP)
        elif command[:1] == "/" and command[1:].isalpha():
            note(f"{command} is no command. {_HELP}")
        elif command and not _ask(conversation, line, pending, interactive):
            failed = True
        elif command:
            pending = []
    return 1 if failed and not interactive else 0


def _ask(
    conversation: Conversation, line: str, files: list[str], interactive: bool
) -> bool:
    """One turn; False if it failed."""
    try:
        conversation.ask(build_content(line, files))
    except (LLMRingError, UsageError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        complain(str(error))
        return False
    except KeyboardInterrupt:
        if not interactive:
            raise
        note("\n(stopped; this turn is forgotten)")
        return False
    return True


def _read_line(interactive: bool) -> str | None:
    """The next line of stdin, None at its end. Ctrl-C at the prompt passes through."""
    if sys.stdin is None:
        return None
    if interactive and _is_terminal(sys.stdout):
        try:
            return mend(input("> "))
        except EOFError:
            note("")
            return None
    if interactive:
        # input() would write the prompt to stdout, into the result.
        sys.stderr.write("> ")
        sys.stderr.flush()
    line = sys.stdin.readline()
    return mend(line.rstrip("\r\n")) if line else None


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()
