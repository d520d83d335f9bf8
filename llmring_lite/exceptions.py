"""Every error this package raises.

    LLMRingError
    ├── InvalidRequestError (ValueError)         you: the arguments can't be sent
    ├── ProviderError                            .provider .model .status_code
    │   │                                        .request_id .retry_after .code
    │   ├── ProviderAuthenticationError          you: no key, or refused (401, 403)
    │   ├── ProviderNotFoundError (ValueError)   you: no provider of that name
    │   ├── UnsupportedParameterError (ValueError)  you: .parameter
    │   ├── ContextLengthError                   you: the prompt is too long
    │   ├── ContentFilterError                   you: refused by a content filter
    │   ├── ModelNotFoundError                   you: the provider has no such model
    │   │   └── AliasNotFoundError (ValueError)  you: the lockfile has no such alias
    │   ├── ProviderRateLimitError               them, passing (429)
    │   ├── ProviderOverloadedError              them, passing (503, 529)
    │   ├── ProviderTimeoutError                 them, passing: the deadline ran out
    │   ├── ProviderConnectionError              them, passing: no reply
    │   ├── ProviderResponseError                them: any other refusal, or a reply
    │   │                                        malformed or cut off: .partial
    │   ├── CircuitBreakerError                  us: the endpoint is being spared
    │   └── AllModelsFailedError                 .attempts
    ├── LockfileError                            .path
    │   ├── LockfileNotFoundError (FileNotFoundError)
    │   ├── LockfileParseError                   .line .column
    │   └── LockfileValidationError (ValueError) .problems
    ├── GuardrailError                           .rule .alias
    ├── RegistryError
    │   └── RegistryStaleError                   .updated_at .age_days
    └── ReceiptError

Facts are attributes; nothing needs to be read out of a message. No message ever
holds an API key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal


class LLMRingError(Exception):
    """Root of every error of this package."""


class InvalidRequestError(LLMRingError, ValueError):
    """The arguments of a call can't be sent to any provider."""


class ProviderError(LLMRingError):
    """A provider could not be used, refused, or failed.

    Attributes:
        message: What happened, in the provider's own words where it gave any.
        provider: Provider name, such as `"openai"`; None before one was chosen.
        model: Model name without the provider; None before one was chosen.
        status_code: HTTP status of the reply, None if there was none.
        request_id: The provider's id of the request, for its support desk.
        retry_after: Seconds the provider asked to wait, None if it didn't say.
        code: The provider's machine-readable error code or type, if any.
        partial: Text that had arrived before the failure, `""` if none.
        should_retry: What the provider's `x-should-retry` header said; False for a
            spent quota; else None.
        conditions: The fallback conditions of a lockfile that this error meets,
            `any` apart.
        response: The complete reply, where one came but can't be used (it breaks a
            strict schema, or a content filter withheld it); else None.
        tries: Of a call that one candidate failed: each try, as in
            `LLMResponse.attempts`, but with the names of the errors' classes.
    """

    conditions: frozenset[str] = frozenset()
    response: Any = None
    tries: Sequence[dict[str, Any]] = ()

    def __init__(
        self,
        message: str = "",
        *,
        provider: str | None = None,
        model: str | None = None,
        status_code: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        code: str | None = None,
        partial: str = "",
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.provider = provider
        self.model = model
        self.status_code = status_code
        self.request_id = request_id
        self.retry_after = retry_after
        self.code = code
        self.partial = partial
        self.should_retry = should_retry

    @property
    def fault(self) -> Literal["caller", "provider"]:
        """Whose: a caller's fault says nothing about the provider's health."""
        return "provider"

    def __str__(self) -> str:
        who = ":".join(word for word in (self.provider, self.model) if word)
        facts = []
        if self.status_code is not None:
            facts.append(f"HTTP {self.status_code}")
        if self.request_id:
            facts.append(f"request {self.request_id}")
        if self.retry_after is not None:
            facts.append(f"retry after {self.retry_after:g} s")
        text = f"{who}: {self.message}" if who else self.message
        return f"{text} ({', '.join(facts)})" if facts else text


class _CallersFault(ProviderError):
    """Base of the errors that another request, or another key, would not meet."""

    @property
    def fault(self) -> Literal["caller", "provider"]:
        return "caller"


class ProviderAuthenticationError(_CallersFault):
    """No key, a key the provider refused (401, 403), or a key it must not get."""

    conditions = frozenset({"auth"})


class ProviderNotFoundError(_CallersFault, ValueError):
    """No provider of that name is built in or in the lockfile."""


class UnsupportedParameterError(_CallersFault, ValueError):
    """The provider can't take a parameter that the request sets.

    `extra_params={"drop_unsupported": True}` leaves such parameters out instead.

    Attributes:
        parameter: Name of the parameter.
    """

    def __init__(self, message: str = "", *, parameter: str = "", **facts: Any) -> None:
        super().__init__(message, **facts)
        self.parameter = parameter


class ContextLengthError(_CallersFault):
    """The prompt, or prompt and reply together, don't fit the model."""

    conditions = frozenset({"context_length"})


class ContentFilterError(_CallersFault):
    """The provider's content filter refused the prompt or the reply."""

    conditions = frozenset({"content_filter"})


class ModelNotFoundError(_CallersFault):
    """The provider has no such model, or the key may not use it."""

    conditions = frozenset({"model_not_found"})


class AliasNotFoundError(ModelNotFoundError, ValueError):
    """No such alias; the message names profile, lockfile and near misses.

    Attributes:
        alias: The name that was asked for.
        profile: The profile it was looked up in, if a lockfile was read.
    """

    def __init__(
        self,
        message: str = "",
        *,
        alias: str = "",
        profile: str | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.alias = alias
        self.profile = profile


class ProviderRateLimitError(ProviderError):
    """Too many requests or tokens, or a spent quota (429)."""

    conditions = frozenset({"rate_limit", "quota_exceeded"})


class ProviderOverloadedError(ProviderError):
    """The provider has no capacity at the moment (503, 529)."""

    conditions = frozenset({"overloaded", "unavailable"})


class ProviderTimeoutError(ProviderError):
    """The deadline ran out before the reply was complete, or a 408."""

    conditions = frozenset({"timeout"})


class ProviderConnectionError(ProviderError):
    """No reply: DNS, refused or reset connection, TLS, proxy."""

    conditions = frozenset({"unavailable"})


class ProviderResponseError(ProviderError):
    """Any other refusal, or a reply that is malformed or was cut off."""

    def __init__(
        self, message: str = "", *, response: Any = None, **facts: Any
    ) -> None:
        super().__init__(message, **facts)
        self.response = response
        if self.fault == "provider":
            self.conditions = frozenset({"unavailable"})

    @property
    def fault(self) -> Literal["caller", "provider"]:
        refused = self.status_code is not None and 400 <= self.status_code < 500
        return "caller" if refused else "provider"


class CircuitBreakerError(ProviderError):
    """The endpoint failed repeatedly and is left alone until `retry_after`."""

    conditions = frozenset({"circuit_open"})


class AllModelsFailedError(ProviderError):
    """Two or more candidates were tried and none replied.

    Attributes:
        attempts: One dict a candidate in the order they were tried: `model`
            (`"provider:model"`), `error` (the exception), `seconds`.
    """

    def __init__(
        self,
        message: str = "",
        *,
        attempts: Sequence[dict[str, Any]] = (),
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.attempts = list(attempts)


class CostTrackingError(LLMRingError):
    """A reply can't be priced although `LLMRING_STRICT_COST` demands it.

    Attributes:
        model: `"provider:model"`.
        cost_status: Why, as in `usage["cost_status"]`.
    """

    def __init__(
        self, message: str = "", *, model: str = "", cost_status: str = ""
    ) -> None:
        super().__init__(message)
        self.model = model
        self.cost_status = cost_status


class LockfileError(LLMRingError):
    """A lockfile can't be found, read, understood or written.

    Attributes:
        path: The file, as a string; None if there is none.
    """

    def __init__(self, message: str = "", *, path: str | None = None) -> None:
        super().__init__(message)
        self.path = path


class LockfileNotFoundError(LockfileError, FileNotFoundError):
    """The lockfile that was asked for is not there."""

    # OSError's own __str__ would print the errno tuple.
    __str__ = Exception.__str__


class LockfileParseError(LockfileError):
    """The file is not TOML (or JSON).

    Attributes:
        line: 1-based line, None where unknown.
        column: 1-based column, None where unknown.
    """

    def __init__(
        self,
        message: str = "",
        *,
        path: str | None = None,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        super().__init__(message, path=path)
        self.line = line
        self.column = column


class LockfileValidationError(LockfileError, ValueError):
    """The file parses but says something impossible.

    Attributes:
        problems: Every problem found, each a sentence with alias, profile, line.
    """

    def __init__(
        self,
        message: str = "",
        *,
        path: str | None = None,
        problems: Sequence[str] = (),
    ) -> None:
        super().__init__(message, path=path)
        self.problems = list(problems)


class GuardrailError(LLMRingError):
    """A guardrail of the lockfile stopped a request or a reply.

    Attributes:
        rule: Name of the guardrail, such as `"max_cost_per_request"`.
        alias: The alias it belongs to.
    """

    def __init__(
        self, message: str = "", *, rule: str = "", alias: str | None = None
    ) -> None:
        super().__init__(message)
        self.rule = rule
        self.alias = alias


class RegistryError(LLMRingError):
    """The model registry can't be reached, or its data can't be used."""


class RegistryStaleError(RegistryError):
    """The registry's data is older than was asked for.

    Attributes:
        provider: Whose data.
        updated_at: When the registry made it (ISO 8601), None if it didn't say.
        age_days: How old it is, None if that is unknown.
    """

    def __init__(
        self,
        message: str = "",
        *,
        provider: str = "",
        updated_at: str | None = None,
        age_days: float | None = None,
    ) -> None:
        super().__init__(message)
        self.provider = provider
        self.updated_at = updated_at
        self.age_days = age_days


class ReceiptError(LLMRingError):
    """A receipts file can't be read, verified or signed."""
