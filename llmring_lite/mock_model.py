"""How a mock model behaves: its options, checked, and which of them a call has."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from typing import Any, Final, NamedTuple, TypeAlias

from llmring_lite.exceptions import InvalidRequestError
from llmring_lite.mock_faults import FAULTS

FINISH_REASONS: Final = ("stop", "length", "tool_calls", "content_filter")
MODES: Final = ("echo", "json", "tools")
USAGE_KEYS: Final = (
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "cache_creation_input_tokens",
    "reasoning_tokens",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MockModel:
    """How a mock model behaves.

    Attributes:
        mode: What is answered if nothing below says so. `echo`: the last user
            message's text, or the results of the tools that were just called.
            `json`: a value that fits the schema asked for. `tools`: a call of the
            first tool offered; once its result is there, that.
        reply: This text instead.
        tool_calls: These calls, each `{"name", "arguments": {...}, "id"?}`, after
            `reply` if there is one. Once their results are there: `reply`, or what
            the mode says.
        script: One answer a call, in turn: a text, an HTTP status to fail with, or
            a table of options for this call. A call beyond the last is refused.
        reasoning: Readable reasoning in front of the reply.
        finish_reason: Replaces `stop`, `length`, `tool_calls`, `content_filter`.
        usage: Replaces token counts; keys and meaning as in `LLMResponse.usage`.
        latency: Seconds until the first byte of the answer.
        tokens_per_second: Pace of a stream; a reply in one piece takes as long.
        status: Fail with this HTTP status.
        fault: Fail in this way (see `mock_faults.FAULTS`).
        fail_first: Only the first so many calls fail.
        fail_after: Only calls after the first so many fail.
        message, code: What the error says; default by status.
        retry_after: Seconds that the error asks to wait.
        headers: Further headers of the answer.
        cut_at: Part of the body, 0 to 1, in front of a fault inside it.
        drip: Seconds before each byte, for the fault of that name.

    Raises:
        InvalidRequestError: An option can't have that value.
    """

    mode: str = "echo"
    reply: str | None = None
    tool_calls: Sequence[Mapping[str, Any]] = ()
    script: Sequence[str | int | Mapping[str, Any]] = ()
    reasoning: str = ""
    finish_reason: str | None = None
    usage: Mapping[str, int] | None = None
    latency: float = 0.0
    tokens_per_second: float | None = None
    status: int | None = None
    fault: str | None = None
    fail_first: int | None = None
    fail_after: int | None = None
    message: str | None = None
    code: str | None = None
    retry_after: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_at: float = 0.5
    drip: float = 0.01

    def __post_init__(self) -> None:
        for name, (is_right, wanted) in _CHECKS.items():
            value = getattr(self, name)
            may_be_none = _OPTIONS[name].default is None
            if not (is_right(value) or (may_be_none and value is None)):
                raise InvalidRequestError(
                    f"mock option {name} must be {wanted}, not {value!r}"
                )
        if self.fault is not None and self.fault not in FAULTS:
            raise InvalidRequestError(_unknown("fault", self.fault, FAULTS))
        limited = self.fail_first is not None or self.fail_after is not None
        if limited and not self.fails:
            raise InvalidRequestError(
                "mock options fail_first and fail_after need status or fault, which "
                "say how to fail"
            )
        for number, item in enumerate(self.script, 1):
            try:
                self._play(item)
            except InvalidRequestError as error:
                raise InvalidRequestError(
                    f"mock option script, answer {number}: {error}"
                ) from error

    def override(self, options: Mapping[str, Any]) -> MockModel:
        """The same model with other options.

        An option that says what to answer replaces a script.

        Raises:
            InvalidRequestError: No such option, or it can't have that value.
        """
        if not isinstance(options, Mapping):
            raise InvalidRequestError(
                f"mock options must be a table of options, not {options!r}"
            )
        for name in options:
            if name not in _OPTIONS:
                raise InvalidRequestError(_unknown("mock option", name, _OPTIONS))
        if "script" not in options and _ANSWERS & options.keys():
            options = {"script": (), **options}
        return replace(self, **options)

    @property
    def fails(self) -> bool:
        """There is something that calls, or some of them, fail with."""
        return self.status is not None or self.fault is not None

    def for_call(self, number: int) -> MockModel:
        """The options of one call.

        Args:
            number: 1 for the first call with these options.

        Returns:
            Options without script and limits, which have had their effect.

        Raises:
            MockRefusal: The script has come to its end.
        """
        first, after = self.fail_first, self.fail_after
        model = replace(self, script=(), fail_first=None, fail_after=None)
        if self.fails and (
            (first is None and after is None)
            or (first is not None and number <= first)
            or (after is not None and number > after)
        ):
            return model
        model = replace(model, status=None, fault=None)
        if not self.script:
            return model
        # Failed calls play nothing.
        number -= first or 0
        if number > len(self.script):
            raise MockRefusal(
                400,
                f"the script has {len(self.script)} answers, and this is call {number}",
            )
        return model._play(self.script[number - 1])

    def _play(self, item: str | int | Mapping[str, Any]) -> MockModel:
        if isinstance(item, str):
            return self.override({"reply": item})
        if isinstance(item, int):
            return self.override({"status": item})
        if "script" in item:
            raise InvalidRequestError("a script can't hold a script")
        return replace(self, script=()).override(item)


def _unknown(what: str, name: object, known: Mapping[str, Any]) -> str:
    near = get_close_matches(str(name), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {what} {name!r}{hint} Known are {', '.join(sorted(known))}"


def _is_number(value: object) -> bool:
    """A finite number that is not negative."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and 0 <= value < math.inf
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_status(value: Any) -> bool:
    return _is_count(value) and 400 <= value <= 599


def _is_call(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("name"), str)
        and isinstance(value.get("arguments", {}), Mapping)
        and isinstance(value.get("id", ""), str)
        and value.keys() <= {"name", "arguments", "id"}
    )


def _is_list_of(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: (
        isinstance(value, Sequence)
        and not isinstance(value, (str, bytes))
        and all(map(check, value))
    )


def _is_header_table(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(text, str) and text.isprintable() and text.isascii()
        for pair in value.items()
        for text in pair
    )


def _is_usage(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and value.keys() <= set(USAGE_KEYS)
        and all(map(_is_count, value.values()))
    )


_Check: TypeAlias = tuple[Callable[[Any], bool], str]

_TEXT: Final[_Check] = (lambda value: isinstance(value, str), "a text")
_COUNT: Final[_Check] = (_is_count, "a count, 0 or more")
_SECONDS: Final[_Check] = (_is_number, "seconds, 0 or more")

_CHECKS: Final[Mapping[str, _Check]] = {
    "mode": (MODES.__contains__, "one of " + ", ".join(MODES)),
    "reply": _TEXT,
    "tool_calls": (
        _is_list_of(_is_call),
        'a list of {"name": text, "arguments": table, "id": text}, the id optional',
    ),
    "script": (
        _is_list_of(
            lambda value: isinstance(value, (str, Mapping)) or _is_status(value)
        ),
        "a list of texts, HTTP statuses from 400 to 599, and tables of options",
    ),
    "reasoning": _TEXT,
    "finish_reason": (
        FINISH_REASONS.__contains__,
        "one of " + ", ".join(FINISH_REASONS),
    ),
    "usage": (_is_usage, "a table with counts of " + ", ".join(USAGE_KEYS)),
    "latency": _SECONDS,
    "tokens_per_second": (
        lambda value: _is_number(value) and value,
        "a number above 0",
    ),
    "status": (_is_status, "an HTTP status from 400 to 599"),
    "fault": _TEXT,
    "fail_first": _COUNT,
    "fail_after": _COUNT,
    "message": _TEXT,
    "code": _TEXT,
    "retry_after": _SECONDS,
    "headers": (_is_header_table, "a table of printable ASCII texts"),
    "cut_at": (lambda value: _is_number(value) and value <= 1, "a number from 0 to 1"),
    "drip": _SECONDS,
}

_OPTIONS: Final = {option.name: option for option in fields(MockModel)}

# Options that say what is answered. A request that sets one means it.
_ANSWERS: Final = frozenset({"mode", "reply", "tool_calls", "status", "fault"})


class Failure(NamedTuple):
    """An error to answer with.

    Attributes:
        status: HTTP status.
        message: Why.
        reason: `request`, or `model` or `key` if that is what is wrong: providers
            have their own codes for these.
        code, retry_after: As in `MockModel`.
        key: Stands for the call, for ids.
    """

    status: int
    message: str
    reason: str = "request"
    code: str | None = None
    retry_after: float | None = None
    key: str = "0" * 24


class MockRefusal(Exception):
    """The endpoint refuses a request, as the real one would."""

    def __init__(
        self,
        status: int,
        message: str,
        reason: str = "request",
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.failure = Failure(status, message, reason, code)
