"""The values of a call: messages, request, response, stream chunks.

Tools and tool calls have OpenAI's function format on every provider; finish
reasons and token counts have one vocabulary. Whatever a provider says beyond that
is in `LLMResponse.raw`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

from llmring_lite.exceptions import InvalidRequestError


class _Inherit(Enum):
    INHERIT = "inherit"

    def __repr__(self) -> str:
        return "<inherit>"


INHERIT: Final = _Inherit.INHERIT
"""`LLMRequest.timeout` not set: the ring's timeout counts. None means no limit."""

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter"]
Content: TypeAlias = str | list[dict[str, Any]] | None
"""Text, or parts: `text`, `image_url`, `image`, `file`, `input_audio`."""

_PARTS: Final = frozenset({"text", "image_url", "image", "file", "input_audio"})

ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool"})


@dataclass
class Message:
    """One turn of a conversation.

    Attributes:
        role: `system`, `developer`, `user`, `assistant` or `tool`.
        content: A str, or a list of parts (see `Content`); None only for an
            assistant turn that has nothing but tool calls. For `tool` turns any JSON
            value that a function may return; what is no text is sent as JSON text.
        tool_calls: Calls of an assistant turn, in OpenAI's format.
        tool_call_id: For `tool` turns: the call that this is the result of.
        name: For `tool` turns the function's name; else a participant's name.
        metadata: `{"cache_control": {"type": "ephemeral"}}` asks for prompt
            caching up to and including this message; `{"is_error": True}` says that
            the call which this is the result of failed.
        provider_data: What the provider that wrote this turn needs back (thinking
            blocks, thought signatures). Opaque, plain JSON, and sent to no other
            provider.
    """

    role: str
    content: Content = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    metadata: dict[str, Any] | None = None
    provider_data: dict[str, Any] | None = None


_MESSAGE_FIELDS: Final = frozenset(Message.__match_args__)


def as_message(value: Message | Mapping[str, Any] | str) -> Message:
    """A message from a Message, a dict in OpenAI's format, or a user's text.

    Raises:
        InvalidRequestError: It is none of these, or has an unknown role or key.
    """
    if isinstance(value, Message):
        message = value
    elif isinstance(value, str):
        return Message("user", value)
    elif isinstance(value, Mapping):
        # Clients hand back the provider's own dict, null fields included.
        given = {k: v for k, v in value.items() if k in _MESSAGE_FIELDS or v}
        unknown = given.keys() - _MESSAGE_FIELDS
        if unknown:
            raise InvalidRequestError(
                f"a message has the unknown key {min(unknown)!r}; known are "
                + ", ".join(sorted(_MESSAGE_FIELDS))
            )
        if "role" not in given:
            raise InvalidRequestError("a message has no role")
        message = Message(**given)
    else:
        raise InvalidRequestError(
            f"a message must be a Message, a dict or a str, not {type(value).__name__}"
        )
    if message.role not in ROLES:
        raise InvalidRequestError(
            f"unknown message role {message.role!r}; known are "
            + ", ".join(sorted(ROLES))
        )
    content: Any = message.content
    if content is None or isinstance(content, str):
        return message
    if message.role == "tool":
        return _with_text_result(message)
    if not isinstance(content, list):
        raise InvalidRequestError(
            "the content of a message must be a str or a list of parts, not "
            f"{type(content).__name__}"
        )
    return message


def _with_text_result(message: Message) -> Message:
    """The result of a call as text, unless it is a list of parts."""
    content: Any = message.content
    if isinstance(content, list) and any(
        isinstance(part, Mapping) and part.get("type") in _PARTS for part in content
    ):
        return message
    import json  # few results are anything but text

    try:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(
            f"the result of a tool is neither text nor a JSON value ({error})"
        ) from None
    return replace(message, content=text)


def as_messages(
    value: str | Message | Mapping[str, Any] | Iterable[Any] | None,
) -> list[Message]:
    """A conversation from a user's text, one message, or an iterable of them.

    Raises:
        InvalidRequestError: There are none, or one is not a message.
    """
    if isinstance(value, (str, Message, Mapping)):
        return [as_message(value)]
    if value is not None and not isinstance(value, Iterable):
        raise InvalidRequestError(
            "messages must be a str, a message, or several of them, not "
            f"{type(value).__name__}"
        )
    messages = [as_message(item) for item in value or ()]
    if not messages:
        raise InvalidRequestError("a request needs at least one message")
    return messages


@dataclass
class LLMRequest:
    """What to ask, in neutral form; each candidate's payload is built from it.

    Attributes:
        model: An alias, `package:alias`, or `provider:model`.
        messages: A conversation; dicts and a plain str are taken too.
        temperature, top_p, stop, seed: Sampling, as every provider names them.
        max_tokens: Limit of the reply in tokens.
        reasoning_tokens: Budget for reasoning, in tokens.
        reasoning_effort: `none`, `minimal`, `low`, `medium`, `high`, `xhigh` or
            `max`.
        response_format: `{"type": "json_object"}` or `{"type": "json_schema",
            "json_schema": {"name", "schema"}, "strict": bool}`.
        tools: OpenAI's function format.
        tool_choice: `"auto"`, `"none"`, `"required"`, or
            `{"type": "function", "function": {"name": ...}}`.
        parallel_tool_calls: False allows at most one call a turn.
        cache: A hint that the prompt be cached: True, a key that requests with the
            same beginning share, or a dict of `key` and `ttl` (`"5m"`, `"1h"`).
        metadata: Yours; for sticky routing and receipts, sent to no provider.
        timeout: Seconds for one attempt; None for no limit.
        stream: Makes `LLMRing.chat` return a stream.
        extra_params: Sent as they are in the provider's body, except
            `drop_unsupported`, which allows leaving out unsupported parameters.
        files: Ids of files, from `LLMRing.register_file` or from the provider; they
            are put before the text of the last user message.
    """

    model: str
    messages: list[Message] = field(default_factory=list)
    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    reasoning_tokens: int | None = None
    reasoning_effort: str | None = None
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    cache: Any = None
    metadata: dict[str, Any] | None = None
    timeout: float | _Inherit | None = INHERIT
    stream: bool = False
    extra_params: dict[str, Any] = field(default_factory=dict)
    files: list[str] | None = None

    def __post_init__(self) -> None:
        """Raises InvalidRequestError for a value of a type that no provider takes.

        Whether a number is too large is the provider's to say.
        """
        self.messages = as_messages(self.messages)
        if self.extra_params is None:
            self.extra_params = {}
        for name, (types, word) in _TYPES.items():
            value = getattr(self, name)
            if value is not None and (
                not isinstance(value, types) or isinstance(value, bool)
            ):
                raise InvalidRequestError(
                    f"{name} must be {word}, not {type(value).__name__}"
                )
        for tool in self.tools or ():
            if not isinstance(tool, Mapping):
                raise InvalidRequestError(
                    f"tools must be a list of dicts, but holds {type(tool).__name__}"
                )

    @property
    def has_parts(self) -> bool:
        """Is any message more than a text, or are there files beside them?"""
        return bool(self.files) or any(
            message.content.__class__ is list for message in self.messages
        )

    def for_model(self, model: str, defaults: Mapping[str, Any] = {}) -> LLMRequest:
        """A copy for one candidate: bare model name, unset fields from `defaults`.

        Defaults that are no fields of a request go into `extra_params`; those for the
        whole call (see `for_call`) are left alone.
        """
        # dataclasses.replace would check every message again.
        copy = object.__new__(LLMRequest)
        copy.__dict__.update(self.__dict__)
        copy.model = model
        others: dict[str, Any] = {}
        for name, value in defaults.items():
            if name not in _FIELDS:
                others[name] = value
            elif name in _PARAMETERS and getattr(copy, name) is None:
                setattr(copy, name, value)
        named = defaults.get("extra_params")
        if others or named:
            copy.extra_params = {**others, **(named or {}), **copy.extra_params}
        return copy

    def for_call(self, defaults: Mapping[str, Any]) -> LLMRequest:
        """This request with what `defaults` say of a call: its timeout, its metadata.

        They are no parameters of a model.
        """
        given: dict[str, Any] = {}
        if self.timeout is INHERIT and "timeout" in defaults:
            given["timeout"] = defaults["timeout"]
        if self.metadata is None and "metadata" in defaults:
            given["metadata"] = defaults["metadata"]
        return replace(self, **given) if given else self


_NUMBER: Final = (int, float), "a number"
_INTEGER: Final = (int,), "an integer"
_DICT: Final = (Mapping,), "a dict"
_TYPES: Final[Mapping[str, tuple[tuple[type, ...], str]]] = {
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "max_tokens": _INTEGER,
    "seed": _INTEGER,
    "reasoning_tokens": _INTEGER,
    "reasoning_effort": ((str,), "a str"),
    "stop": ((str, list, tuple), "a str or a list of them"),
    "tools": ((list, tuple), "a list"),
    "metadata": _DICT,
    "extra_params": _DICT,
}

_FIELDS: Final = frozenset(LLMRequest.__match_args__)
_PARAMETERS: Final = _FIELDS - {
    "model",
    "messages",
    "stream",
    "extra_params",
    "timeout",
    "metadata",
    "files",
}


@dataclass
class LLMResponse:
    """A complete reply.

    Attributes:
        content: The visible text, `""` if there is none.
        model: `"provider:model"` that answered.
        usage: Token counts and cost; a key is present when its value is known.
            `prompt_tokens` are ALL input tokens, cache reads and writes included;
            `completion_tokens` include `reasoning_tokens`.
        finish_reason: `stop`, `length`, `tool_calls` or `content_filter`.
        tool_calls: `[{"id", "type": "function", "function": {"name",
            "arguments": JSON text}}]`, None if there are none.
        parsed: The Python value of a structured reply.
        reasoning: Readable reasoning text, None if there is none.
        alias: The alias that was asked for, None for a direct model.
        provider: Name of the provider.
        raw: The provider's own reply; of a stream, what its events said besides
            the text.
        attempts: One dict a candidate tried: `model`, `error`, `seconds`, and what
            it used and cost if a reply came: `usage`, `cost`. `skipped` is set where
            nothing was sent because the prompt didn't fit.
        refusal: The model's own words of refusal, where the API keeps them apart.
        provider_data: See `Message.provider_data`.
        request_id: The provider's id of the request, for its support desk.
    """

    content: str
    model: str
    usage: dict[str, Any] = field(default_factory=dict)
    finish_reason: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    parsed: Any = None
    reasoning: str | None = None
    alias: str | None = None
    provider: str | None = None
    raw: Any = None
    attempts: list[dict[str, Any]] = field(default_factory=list)
    refusal: str | None = None
    provider_data: dict[str, Any] | None = None
    request_id: str | None = None

    @property
    def message(self) -> Message:
        """The assistant turn to append before the next request."""
        return Message(
            "assistant",
            self.content,
            tool_calls=self.tool_calls,
            provider_data=self.provider_data,
        )

    @property
    def total_tokens(self) -> int | None:
        """Input and output tokens together, None if the provider didn't say."""
        return self.usage.get("total_tokens")


# Not frozen: a frozen dataclass sets each field through object.__setattr__, which
# doubles the cost of a chunk, and a stream makes thousands.
@dataclass(slots=True)
class StreamChunk:
    """A piece of a reply.

    Attributes:
        delta: New text, `""` if this piece has none.
        model: `"provider:model"`.
        finish_reason, usage: On the last chunk only.
        tool_calls: Complete calls, never fragments.
        reasoning: New reasoning text.
        refusal, raw, provider_data: On the last chunk, as in `LLMResponse`.
    """

    delta: str = ""
    model: str | None = None
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    reasoning: str | None = None
    refusal: str | None = None
    raw: Any = None
    provider_data: dict[str, Any] | None = None

    @property
    def content(self) -> str:
        """The same as `delta`."""
        return self.delta
