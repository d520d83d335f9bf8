"""Mock models: replies without network, the same every time, for tests and demos.

A model is a name: one of those below, or one that was given options (`MockModel`).

    echo            the last user message's text, exactly
    json            a value that fits the schema asked for
    tools           calls the first tool offered, then tells its result
    slow            echo after a second, at ten tokens a second
    slow-SECONDS    echo after so many seconds
    fail-STATUS     fails with that HTTP status
    fault-NAME      has a fault (see `mock_faults.FAULTS`) on every call

Options come from Python or, as `"mock": {...}`, in the body of a request. What is
answered is in `mock_reply`; here it becomes an HTTP answer in any of the five wire
formats, sent by `mock_server` over a socket or by `provider_mock` in process.
"""

from __future__ import annotations

import json
import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from hashlib import blake2b
from importlib import import_module
from typing import Any, Final, TypeAlias

from llmring_lite.exceptions import InvalidRequestError
from llmring_lite.mock_faults import FAULTS, MockAnswer, Setting
from llmring_lite.mock_model import Failure, MockModel, MockRefusal
from llmring_lite.mock_reply import MockFormat, Prompt, make_reply

__all__ = ["Mock", "MockAnswer", "MockModel", "named_model"]

FORMATS: Final[Mapping[str, str]] = {
    "openai": "mock_openai",
    "openai-responses": "mock_responses",
    "anthropic": "mock_anthropic",
    "google": "mock_google",
    "ollama": "mock_ollama",
    "mock": "mock_openai",
}
"""Wire format -> the module that speaks it on the server's side."""

MODELS: Final[Mapping[str, MockModel]] = {
    "echo": MockModel(),
    "json": MockModel(mode="json"),
    "tools": MockModel(mode="tools"),
    "slow": MockModel(latency=1.0, tokens_per_second=10.0),
}
"""Models that are there without being set up."""

_FAMILIES: Final = ("fail-", "fault-", "slow-")

_MESSAGES: Final[Mapping[int, str]] = {
    401: "This key is not valid",
    403: "This key may not do that",
    404: "The requested resource was not found",
    408: "The request took too long",
    413: "The request is too large",
    429: "Rate limit reached, please try again later",
    500: "The server had an error while processing the request",
    503: "The server is overloaded, please try again later",
    529: "Overloaded",
}

# What reading a request of an unexpected shape raises.
_MALFORMED: Final = (LookupError, TypeError, ValueError, AttributeError, RecursionError)

FaultEntry: TypeAlias = str | int | Mapping[str, Any] | None
"""A fault's name, an HTTP status, a table of options, or None for a good answer."""


def load_format(wire: str) -> MockFormat:
    """The server's side of a wire format. Raises KeyError if there is no such."""
    module = import_module(f"{__package__}.{FORMATS[wire]}")
    found: MockFormat = module.FORMAT
    return found


def named_model(name: str) -> MockModel | None:
    """The model that a name stands for by itself, None if it stands for none."""
    if name in MODELS:
        return MODELS[name]
    family, _, rest = name.partition("-")
    try:
        if family == "fail":
            return MockModel(status=int(rest))
        if family == "fault":
            return MockModel(fault=rest)
        if family == "slow":
            return MockModel(latency=float(rest))
    except ValueError:  # no number, or an InvalidRequestError
        pass
    return None


class Mock:
    """Mock models behind an endpoint. May be used by any number of threads.

    Attributes:
        models: Name -> options. May be changed at any time.
        default: Answers for names that are not known otherwise; None refuses them.
        api_key: What requests must carry, None if that doesn't matter.
        faults: What goes wrong with the next requests, one entry each, whatever the
            model. Entries that make a call fail leave scripts and `fail_first`
            alone.
    """

    def __init__(
        self,
        models: Mapping[str, MockModel] | None = None,
        *,
        default: MockModel | None = None,
        api_key: str | None = None,
        faults: Iterable[FaultEntry] = (),
    ) -> None:
        self.models = dict(models or {})
        self.default = default
        self.api_key = api_key
        self.faults = deque(faults)
        for entry in self.faults:
            _with_fault(MockModel(), entry)
        self._calls: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """Names of the models that can be listed."""
        return [*self.models, *(name for name in MODELS if name not in self.models)]

    def answer(
        self, wire: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> MockAnswer:
        """The answer to a POST.

        Args:
            wire: Key of `FORMATS`.
            path: With the query.
            headers: Names in lower case.
            body: As it came.

        Every bad request gets an answer, in the provider's own shape.
        """
        format_ = load_format(wire)
        with self._lock:
            entry = self.faults.popleft() if self.faults else None
        key = _digest(path.encode() + body)
        try:
            self._check_key(format_, headers)
            prompt = _parse(format_, path, body)
            model, number = self._call_options(format_, prompt, entry)
            prompt.key = _digest(f"{key}{number}".encode())
            return _answer(format_, prompt, model)
        except MockRefusal as refusal:
            failure = refusal.failure
        except InvalidRequestError as error:
            failure = Failure(400, str(error))
        except _MALFORMED as error:
            what = f"{type(error).__name__}: {error}"
            failure = Failure(400, f"the request is malformed ({what})")
        return _refusal(format_, failure._replace(key=key))

    def _check_key(self, format_: MockFormat, headers: Mapping[str, str]) -> None:
        given = {
            headers.get(name, "").removeprefix("Bearer ")
            for name in ("authorization", "x-api-key", "api-key", "x-goog-api-key")
        }
        if self.api_key is not None and self.api_key not in given:
            raise MockRefusal(*format_.bad_key, reason="key")

    def _call_options(
        self, format_: MockFormat, prompt: Prompt, entry: FaultEntry
    ) -> tuple[MockModel, int]:
        """The options of this call, and its number."""
        model = self._model(format_, prompt.model).override(prompt.options)
        faulty = _with_fault(model, entry)
        fails = entry is not None and faulty.fails
        counted = (prompt.model, json.dumps(prompt.options, sort_keys=True))
        with self._lock:
            self._calls[counted] += not fails
            number = self._calls[counted]
        if fails:
            return replace(faulty, script=(), fail_first=None, fail_after=None), number
        return faulty.for_call(number), number

    def _model(self, format_: MockFormat, name: str) -> MockModel:
        found = self.models.get(name) or named_model(name)
        if found is None and not name.startswith(_FAMILIES):
            found = self.default
        if found is not None:
            return found
        status, message = format_.unknown_model
        near = get_close_matches(name, self.names(), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise MockRefusal(status, message.format(name) + hint, reason="model")


def _with_fault(model: MockModel, entry: FaultEntry) -> MockModel:
    if isinstance(entry, str):
        return model.override({"fault": entry})
    if isinstance(entry, int):
        return model.override({"status": entry})
    return model.override(entry or {})


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=12).hexdigest()


def _parse(format_: MockFormat, path: str, body: bytes) -> Prompt:
    request = json.loads(body)
    prompt = format_.parse_prompt(path, request)
    prompt.check()
    prompt.options = request.get("mock") or {}
    prompt.body = request
    return prompt


def _answer(format_: MockFormat, prompt: Prompt, model: MockModel) -> MockAnswer:
    status = model.status or 500
    failure = Failure(
        status,
        model.message or _MESSAGES.get(status, f"The mock answers with {status}"),
        code=model.code,
        retry_after=model.retry_after,
        key=prompt.key,
    )
    if model.status is None:
        answer = _success(format_, prompt, model)
    else:
        answer = _refusal(format_, failure)
    headers = {**answer.headers, **model.headers}
    answer = answer._replace(headers=headers, delay=answer.delay + model.latency)
    if model.fault is None:
        return answer
    setting = Setting(
        model.cut_at,
        model.drip,
        format_.encode(format_.build_error(failure)),
        format_.build_error_event(failure),
        format_.broken_event,
    )
    return FAULTS[model.fault](answer, setting)


def _success(format_: MockFormat, prompt: Prompt, model: MockModel) -> MockAnswer:
    reply = make_reply(prompt, model)
    pause = 1 / model.tokens_per_second if model.tokens_per_second else 0.0
    answer = MockAnswer(200, _headers(format_, prompt.key))
    if not prompt.stream:
        body = format_.encode(format_.build_reply(prompt, reply))
        return answer._replace(body=body, delay=pause * reply.usage.completion)
    if prompt.sse:
        answer.headers["content-type"] = format_.stream_type
    events = format_.iter_events(prompt, reply)
    return answer._replace(
        body=((tokens * pause, data) for tokens, data in events), framing="chunked"
    )


def _refusal(format_: MockFormat, failure: Failure) -> MockAnswer:
    return MockAnswer(
        failure.status,
        {**_headers(format_, failure.key), **format_.error_headers(failure)},
        format_.encode(format_.build_error(failure)),
    )


def _headers(format_: MockFormat, key: str) -> dict[str, str]:
    told = {name: text.format(key) for name, text in format_.headers.items()}
    return {"content-type": format_.content_type, **told}
