"""LLMRing: the composition, and the path of a call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

from llmring_lite import attempt, cost, keys
from llmring_lite.deadline import (
    DEFAULT_TIMEOUT,
    Deadline,
    check_timeout,
    parse_timeout,
)
from llmring_lite.dispatch import Dispatcher
from llmring_lite.dispatch_call import Answer, Call, note_usage
from llmring_lite.exceptions import LLMRingError, ProviderResponseError
from llmring_lite.facts import Facts, estimate_tokens
from llmring_lite.lockfile import find_lockfile
from llmring_lite.lockfile_fields import seconds_of
from llmring_lite.parts import fetch_parts, has_files, load_parts
from llmring_lite.provider import WireFormat
from llmring_lite.retry import RetryPolicy
from llmring_lite.routing import Candidate, Route
from llmring_lite.schemas import (
    INHERIT,
    LLMRequest,
    LLMResponse,
    Message,
    as_messages,
)
from llmring_lite.senders import Senders
from llmring_lite.service_aliases import AliasMethods
from llmring_lite.service_files import FileMethods

if TYPE_CHECKING:
    from llmring_lite.chat_stream import ChatStream
    from llmring_lite.recorder import Recorder

T = TypeVar("T")
Messages = str | Message | Iterable[Message | Mapping[str, Any]] | None

TIMEOUT_VARIABLE: Final = "LLMRING_PROVIDER_TIMEOUT_S"
STRICT_COST_VARIABLE: Final = "LLMRING_STRICT_COST"


class LLMRing(AliasMethods, FileMethods):
    """Routes chats to models by the aliases of a lockfile.

    One ring serves any number of threads, pickles (connections stay behind), and
    survives a fork. It is a context manager; `close()` gives up its connections.
    """

    def __init__(
        self,
        origin: str = "llmring_lite",
        registry_url: str | None = None,
        lockfile_path: str | os.PathLike[str] | None = None,
        *,
        profile: str | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        max_retries: int = 2,
        retry_base_s: float = 0.5,
        receipts: str | os.PathLike[str] | bool | None = None,
        receipts_hash_content: bool | None = None,
        server_url: str | None = None,
        api_key: str | None = None,
    ) -> None:
        """Find and check the lockfile; nothing is sent anywhere yet.

        Args:
            origin: Names this program in receipts.
            registry_url: Where model facts are refreshed from.
            lockfile_path: Must exist. Default: `LLMRING_LOCKFILE_PATH` (must exist),
                `./llmring.lock`, the one bundled with the package.
            profile: Counts more than `LLMRING_PROFILE` and the file's default.
            timeout: Seconds for one attempt, body included; None for no limit.
                Default: `LLMRING_PROVIDER_TIMEOUT_S`, else 60.
            max_retries: How often one candidate is tried again after a passing
                failure.
            retry_base_s: Bound of the first random wait, in seconds; it doubles.
            receipts: The file that a receipt of each call goes to; True for the one
                in the state folder, False for none. Default: `LLMRING_RECEIPTS`.
            receipts_hash_content: Put SHA-256 of prompt and reply into receipts.
                Default: `LLMRING_RECEIPTS_HASH_CONTENT`.
            server_url, api_key: The llmring-server that is told what calls used.
                Default: `LLMRING_SERVER_URL`, `LLMRING_API_KEY`.

        Raises:
            LockfileNotFoundError: The file asked for is not there.
            LockfileParseError, LockfileValidationError: It can't be used.
        """
        self.origin = origin
        self.registry_url = registry_url
        self.receipts = receipts
        self.server_url = server_url
        self._profile = profile
        self._dispatcher = Dispatcher(
            RetryPolicy(max_retries=max_retries, base_s=retry_base_s)
        )
        self._senders = Senders()
        self._facts = Facts(registry_url)
        try:
            self.recorder = _recorder(
                receipts,
                server_url,
                origin=origin,
                facts=self._facts,
                hash_content=receipts_hash_content,
                api_key=api_key,
            )
        finally:
            del api_key  # tracebacks with local variables would show it
        self._timeout = check_timeout(timeout)
        self._use(find_lockfile(lockfile_path))

    def __repr__(self) -> str:
        # Also of a ring whose lockfile can't be used, for a traceback with variables.
        path = getattr(self, "lockfile_path", None)
        return f"LLMRing(lockfile_path={None if path is None else str(path)!r})"

    def __enter__(self) -> LLMRing:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections, and send what is left for the server (5 seconds).

        A later call opens new ones.
        """
        self._senders.close()
        if self.recorder is not None:
            self.recorder.close()

    # Chat ------------------------------------------------------------------------

    @overload
    def chat(
        self,
        model_or_request: str | LLMRequest,
        messages: Messages = None,
        *,
        profile: str | None = None,
        stream: Literal[False] = False,
        **request_fields: Any,
    ) -> LLMResponse: ...

    @overload
    def chat(
        self,
        model_or_request: str | LLMRequest,
        messages: Messages = None,
        *,
        profile: str | None = None,
        stream: Literal[True],
        **request_fields: Any,
    ) -> ChatStream: ...

    def chat(
        self,
        model_or_request: str | LLMRequest,
        messages: Messages = None,
        *,
        profile: str | None = None,
        stream: bool = False,
        **request_fields: Any,
    ) -> LLMResponse | ChatStream:
        """Ask the model that an alias stands for.

        Args:
            model_or_request: An alias, `provider:model`, or a whole LLMRequest.
            messages: A str is one user message; else a conversation.
            profile: For this call only.
            stream: Return what `chat_stream` returns.
            request_fields: Fields of LLMRequest, such as `temperature`.

        Raises:
            AliasNotFoundError: No such alias in the profile.
            ProviderError: One candidate was tried; its own error.
            AllModelsFailedError: Two or more were tried, and none replied.
            InvalidRequestError: The request makes no sense for any provider.
        """
        request = _as_request(model_or_request, messages, stream, request_fields)
        if request.stream:
            return self._stream(request, profile)
        route = self._router.route(request.model, profile)
        request = request.for_call(route.defaults)
        if self.recorder is None:
            return self._ask(request, route)
        return self.recorder.chat(self.lockfile, route, request, self._ask)

    def _ask(self, request: LLMRequest, route: Route) -> LLMResponse:
        answer = self._dispatch(
            route, request, self._complete, _forget, attempt.is_filtered
        )
        answer.lease.end()
        return self._finish(answer.value, route, answer.attempts)

    def chat_stream(
        self,
        model_or_request: str | LLMRequest,
        messages: Messages = None,
        *,
        profile: str | None = None,
        **request_fields: Any,
    ) -> ChatStream:
        """As `chat`, but the reply is iterated as it is written.

        Returns when the first chunk has arrived: until then candidates may change.
        """
        request = _as_request(model_or_request, messages, True, request_fields)
        return self._stream(request, profile)

    def chat_with_alias(
        self, alias: str, messages: Messages, **kwargs: Any
    ) -> LLMResponse | ChatStream:
        """The same as `chat`."""
        reply: LLMResponse | ChatStream = self.chat(alias, messages, **kwargs)
        return reply

    def _stream(self, request: LLMRequest, profile: str | None) -> ChatStream:
        route = self._router.route(request.model, profile)
        request = request.for_call(route.defaults)
        if self.recorder is None:
            return self._open(request, route)
        return self.recorder.stream(self.lockfile, route, request, self._open)

    def _open(self, request: LLMRequest, route: Route) -> ChatStream:
        # Four modules that programs without streams never need.
        from llmring_lite.attempt_stream import OpenStream, open_stream
        from llmring_lite.chat_stream import ChatStream

        answer = self._dispatch(
            route,
            request,
            open_stream,
            OpenStream.close,
            OpenStream.is_filtered,
        )
        return ChatStream(
            answer.value,
            request,
            finish=lambda reply: self._finish_stream(reply, route, answer.attempts),
            end=answer.lease.end,
            attempts=answer.attempts,
        )

    def _dispatch(
        self,
        route: Route,
        request: LLMRequest,
        attempt_: Callable[
            [attempt.Sender, WireFormat, Candidate, LLMRequest, Deadline], T
        ],
        discard: Callable[[T], None],
        is_filtered: Callable[[T], bool],
    ) -> Answer[T]:
        """Have a candidate answer: the policies of the alias around the attempt."""
        binding = route.binding
        defaults = route.defaults
        limit = binding.guardrails.get("max_latency") if binding is not None else None
        has_parts = request.has_parts
        loaded = load_parts(request) if has_parts else request
        with_files = has_parts and has_files(loaded)
        strict = keys.is_on(keys.read_env(STRICT_COST_VARIABLE))

        def try_one(candidate: Candidate, deadline: Deadline) -> T:
            # Before the call: it warns of a model that goes away.
            facts = self._facts.of(candidate.ref)
            if strict:
                cost.check(facts.rates, candidate.ref)
            sender, wire = self._senders.get(candidate, facts.api_endpoint)
            neutral = loaded.for_model(candidate.model, defaults)
            fetched = wire.fetched_parts(candidate.endpoint) if has_parts else None
            if fetched:
                neutral = fetch_parts(neutral, fetched, deadline)
            if not with_files:
                return attempt_(sender, wire, candidate, neutral, deadline)
            return self._files.attempt(
                neutral,
                sender,
                deadline,
                lambda placed: attempt_(sender, wire, candidate, placed, deadline),
            )

        return self._dispatcher.run(
            Call(
                route=route,
                attempt=try_one,
                discard=discard,
                is_filtered=is_filtered,
                timeout=self._timeout_of(request),
                deadline=Deadline(seconds_of(limit)),
                metadata=request.metadata or {},
                prompt_tokens=(
                    estimate_tokens(request) if len(route.candidates) > 1 else None
                ),
                window_of=lambda candidate: self._facts.of(candidate.ref).window,
            )
        )

    def _complete(
        self,
        sender: attempt.Sender,
        wire: WireFormat,
        candidate: Candidate,
        request: LLMRequest,
        deadline: Deadline,
    ) -> LLMResponse:
        """An attempt with its price, whatever will become of the reply."""
        rates = self._facts.of(candidate.ref).rates
        try:
            response = attempt.complete(sender, wire, candidate, request, deadline)
        except ProviderResponseError as error:
            # A reply that broke its promises is billed like any other.
            if isinstance(error.response, LLMResponse):
                cost.apply(rates, error.response.usage)
            raise
        cost.apply(rates, response.usage)
        return response

    def _timeout_of(self, request: LLMRequest) -> float | None:
        if request.timeout is not INHERIT:
            return check_timeout(request.timeout)
        if isinstance(self._timeout, type(DEFAULT_TIMEOUT)):
            return parse_timeout(TIMEOUT_VARIABLE, keys.read_env(TIMEOUT_VARIABLE))
        return self._timeout

    def _finish(
        self, response: LLMResponse, route: Route, attempts: list[dict[str, Any]]
    ) -> LLMResponse:
        response.alias = route.alias
        response.attempts = attempts
        return response

    def _finish_stream(
        self, response: LLMResponse, route: Route, attempts: list[dict[str, Any]]
    ) -> LLMResponse:
        cost.apply(self._facts.of(response.model).rates, response.usage)
        for record in attempts:
            if record["error"] is None and record["model"] == response.model:
                note_usage(record, response.usage)
        return self._finish(response, route, attempts)

    # Cost --------------------------------------------------------------

    def calculate_cost(self, response: LLMResponse) -> dict[str, Any]:
        """What a reply cost, in USD.

        Returns:
            `input_cost`, `output_cost`, `total_cost`, finer parts as `cost.price` has
            them, and `cost_status`: `priced`, or why the costs are None.
        """
        return cost.calculate(self._facts.of(response.model).rates, response.usage)

    # Providers -------------------------------------------------------------------

    def get_provider(self, name: str) -> Any:
        """The provider; its `.session` is the live `requests.Session` for raw calls.

        Raises:
            ProviderNotFoundError: No provider of that name.
        """
        return self._senders.of(self._router.endpoint(name))


def _forget(response: LLMResponse) -> None:
    """A complete reply holds nothing that must be given back."""


def _recorder(
    receipts: str | os.PathLike[str] | bool | None,
    server_url: str | None,
    **options: Any,
) -> Recorder | None:
    """What records the calls; None, and nothing is loaded, if nobody asks for it."""
    asked = receipts or keys.read_env("LLMRING_RECEIPTS")
    if not (asked or server_url or keys.read_env("LLMRING_SERVER_URL")):
        return None
    from llmring_lite.recorder import make_recorder

    try:
        return make_recorder(receipts=receipts, server_url=server_url, **options)
    except (LLMRingError, TypeError) as error:
        del options
        raise error.with_traceback(None) from None  # the frames hold its key


def _as_request(
    model_or_request: str | LLMRequest,
    messages: Messages,
    stream: bool,
    fields: dict[str, Any],
) -> LLMRequest:
    if not isinstance(model_or_request, LLMRequest):
        return LLMRequest(
            model_or_request, as_messages(messages), stream=stream, **fields
        )
    if messages is not None:
        fields["messages"] = as_messages(messages)
    if stream:
        fields["stream"] = True
    # Anew in any case: its lists may have been added to since it was checked.
    return replace(model_or_request, **fields)
