"""Alias-first LLM routing for synchronous Python.

    from llmring_lite import LLMRing

    with LLMRing() as ring:
        print(ring.chat("summarizer", "Summarise: ...").content)

Names resolve on first use (PEP 562), so that `import llmring_lite` costs next to
nothing: neither `requests` nor a provider is loaded by it.
"""

# `typing` itself would be most of the cost of this import. Type checkers take a
# variable of this name for true, whatever its value.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmring_lite._version import __version__
    from llmring_lite.chat_stream import ChatStream
    from llmring_lite.exceptions import (
        AliasNotFoundError,
        AllModelsFailedError,
        CircuitBreakerError,
        ContentFilterError,
        ContextLengthError,
        CostTrackingError,
        GuardrailError,
        InvalidRequestError,
        LLMRingError,
        LockfileError,
        LockfileNotFoundError,
        LockfileParseError,
        LockfileValidationError,
        ModelNotFoundError,
        ProviderAuthenticationError,
        ProviderConnectionError,
        ProviderError,
        ProviderNotFoundError,
        ProviderOverloadedError,
        ProviderRateLimitError,
        ProviderResponseError,
        ProviderTimeoutError,
        ReceiptError,
        RegistryError,
        RegistryStaleError,
        UnsupportedParameterError,
    )
    from llmring_lite.lockfile import (
        CONDITIONS,
        LOCKFILE_NAME,
        STRATEGIES,
        AliasBinding,
        Lockfile,
        ProfileConfig,
        ProviderConfig,
        bundled_path,
        find_lockfile,
    )
    from llmring_lite.registry import RegistryModel
    from llmring_lite.schemas import LLMRequest, LLMResponse, Message, StreamChunk
    from llmring_lite.service import LLMRing

_HOMES = {
    "_version": "__version__",
    "chat_stream": "ChatStream",
    "exceptions": """
        AliasNotFoundError AllModelsFailedError CircuitBreakerError
        ContentFilterError ContextLengthError CostTrackingError GuardrailError
        InvalidRequestError LLMRingError LockfileError LockfileNotFoundError
        LockfileParseError LockfileValidationError ModelNotFoundError
        ProviderAuthenticationError ProviderConnectionError ProviderError
        ProviderNotFoundError ProviderOverloadedError ProviderRateLimitError
        ProviderResponseError ProviderTimeoutError ReceiptError RegistryError
        RegistryStaleError
        UnsupportedParameterError
        """,
    "lockfile": """
        CONDITIONS LOCKFILE_NAME STRATEGIES AliasBinding Lockfile ProfileConfig
        ProviderConfig bundled_path find_lockfile
        """,
    "registry": "RegistryModel",
    "schemas": "LLMRequest LLMResponse Message StreamChunk",
    "service": "LLMRing",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "CONDITIONS",
    "LOCKFILE_NAME",
    "STRATEGIES",
    "AliasBinding",
    "AliasNotFoundError",
    "AllModelsFailedError",
    "ChatStream",
    "CircuitBreakerError",
    "ContentFilterError",
    "ContextLengthError",
    "CostTrackingError",
    "GuardrailError",
    "InvalidRequestError",
    "LLMRequest",
    "LLMResponse",
    "LLMRing",
    "LLMRingError",
    "Lockfile",
    "LockfileError",
    "LockfileNotFoundError",
    "LockfileParseError",
    "LockfileValidationError",
    "Message",
    "ModelNotFoundError",
    "ProfileConfig",
    "ProviderAuthenticationError",
    "ProviderConfig",
    "ProviderConnectionError",
    "ProviderError",
    "ProviderNotFoundError",
    "ProviderOverloadedError",
    "ProviderRateLimitError",
    "ProviderResponseError",
    "ProviderTimeoutError",
    "ReceiptError",
    "RegistryError",
    "RegistryModel",
    "RegistryStaleError",
    "StreamChunk",
    "UnsupportedParameterError",
    "__version__",
    "bundled_path",
    "find_lockfile",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
