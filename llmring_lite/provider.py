"""The contract between the call path and the wire formats, and who is built in.

A wire format is a module `provider_x` with a constant `WIRE`: three pure functions
and the framing of its streams. What goes in and out of them is defined here.

- `build_request(request, endpoint)` takes a request whose `model` is the bare model
  name and whose local files are in memory (parts are `text`, `image_url` and `file`
  with an http(s) or data: URL, `input_audio`), and returns the URL, headers and JSON
  body. It sees no key. It changes nothing it was given.
- `parse_response(body, request)` takes the decoded JSON of a 2xx reply. It returns an
  `LLMResponse` whose `model` is the provider's own word and whose `raw` is `body`.
- `parse_stream(events, request)` takes the events of a 2xx stream and yields chunks:
  text and reasoning as they come; tool calls when complete; last of all one chunk
  with `finish_reason`, `usage` (if there was one), `raw`, `provider_data`. A stream
  that ends without a finish reason was cut off; the caller notices.

A body of an unexpected shape may raise LookupError, TypeError, ValueError or
AttributeError; the caller turns those into `ProviderResponseError`. An error event
in a 2xx reply is raised as what `provider_errors.parse_error` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

# Annotations only: reading a lockfile needs the endpoints but none of these, and five
# dataclasses take as long to make as `argparse` to load.
if TYPE_CHECKING:
    from llmring_lite.schemas import LLMRequest, LLMResponse, Message, StreamChunk

JSON: TypeAlias = dict[str, Any]


class StreamEvent(NamedTuple):
    """One event of a stream.

    `event` is the SSE event name, `""` where there is none; `data` the payload text,
    a whole line for NDJSON.
    """

    event: str
    data: str


class HTTPRequest(NamedTuple):
    """What goes on the wire, the credential apart.

    `headers` need no content type, accept or user agent: the transport adds them.
    """

    url: str
    body: JSON
    headers: Mapping[str, str] = {}


class Endpoint(NamedTuple):
    """Where a provider lives and in which dialect it speaks.

    Attributes:
        name: The provider's name, as in `name:model`.
        kind: Name of the wire format, a key of `WIRE_FORMATS`.
        base_url: Without a trailing slash, in the meaning the kind's own SDK gives
            it: with `/v1` for `openai`, without a version for `anthropic` and
            `google`, the server's root for `ollama`.
        base_url_env: Variables that replace `base_url`; the first one set counts.
        api_key_env: Variables that may hold the key; the first one set counts.
            Empty: the provider needs none.
        key_optional: True if calls without a key make sense.
        auth_header, auth_prefix: How the key travels.
        api_version: Azure's `api-version` query parameter, None elsewhere.
        max_tokens_field: What the server calls the limit of a reply; None lets the
            mapper choose by model.
        stream_options: False if the server rejects OpenAI's `stream_options`.
        quirks: Other departures from OpenAI's API, in the words of
            `provider_openai`.
    """

    name: str
    kind: str
    base_url: str
    base_url_env: tuple[str, ...] = ()
    api_key_env: tuple[str, ...] = ()
    key_optional: bool = False
    auth_header: str = "Authorization"
    auth_prefix: str = "Bearer "
    api_version: str | None = None
    max_tokens_field: str | None = None
    stream_options: bool = True
    quirks: frozenset[str] = frozenset()


class WireFormat(NamedTuple):
    """A provider's dialect: pure functions and the framing of its streams.

    `fetched_parts` names the part types (such as `"image_url"`) whose http(s) URLs
    an endpoint won't fetch by itself: the caller turns them into data: URLs before
    `build_request`.
    """

    framing: Literal["sse", "ndjson"]
    build_request: Callable[[LLMRequest, Endpoint], HTTPRequest]
    parse_response: Callable[[JSON, LLMRequest], LLMResponse]
    parse_stream: Callable[
        [Iterable[StreamEvent], LLMRequest], Generator[StreamChunk, None, None]
    ]
    fetched_parts: Callable[[Endpoint], frozenset[str]] = lambda endpoint: frozenset()


WIRE_FORMATS: Final[Mapping[str, str]] = {
    "openai": "provider_openai",
    "openai-responses": "provider_openai_responses",
    "anthropic": "provider_anthropic",
    "google": "provider_google",
    "ollama": "provider_ollama",
    # OpenAI's format with the mock's options beside it, so that the whole
    # path of a call is exercised by it.
    "mock": "provider_mock",
}
"""Kind -> module of this package. Loaded on first use: an import costs time."""


def load_wire_format(kind: str) -> WireFormat:
    """The wire format of a kind.

    Raises:
        KeyError: There is no such kind.
    """
    module = import_module(f"{__package__}.{WIRE_FORMATS[kind]}")
    wire: WireFormat = module.WIRE
    return wire


def _compatible(
    name: str, base_url: str, key: str, quirks: str = "", **traits: Any
) -> Endpoint:
    """An endpoint that speaks OpenAI's Chat Completions under its own name.

    `quirks` are words in one string. Few of these servers know the role `developer`
    or refuse `max_tokens`.
    """
    return Endpoint(
        name=name,
        kind="openai",
        base_url=base_url,
        base_url_env=(f"{name.upper()}_BASE_URL",),
        api_key_env=(key,),
        max_tokens_field=traits.pop("max_tokens_field", "max_tokens"),
        quirks=frozenset((quirks or "system_role automatic_cache").split()),
        **traits,
    )


BUILTIN: Final[Mapping[str, Endpoint]] = {
    endpoint.name: endpoint
    for endpoint in (
        Endpoint(
            name="openai",
            kind="openai",
            base_url="https://api.openai.com/v1",
            base_url_env=("OPENAI_BASE_URL",),
            api_key_env=("OPENAI_API_KEY",),
            quirks=frozenset({"openai_cache", "tool_ids_of_40"}),
        ),
        Endpoint(
            name="anthropic",
            kind="anthropic",
            base_url="https://api.anthropic.com",
            base_url_env=("ANTHROPIC_BASE_URL",),
            api_key_env=("ANTHROPIC_API_KEY",),
            auth_header="x-api-key",
            auth_prefix="",
        ),
        Endpoint(
            name="google",
            kind="google",
            base_url="https://generativelanguage.googleapis.com",
            base_url_env=("GOOGLE_GEMINI_BASE_URL",),
            api_key_env=("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GEMINI_API_KEY"),
            auth_header="x-goog-api-key",
            auth_prefix="",
        ),
        Endpoint(
            name="ollama",
            kind="ollama",
            base_url="http://127.0.0.1:11434",
            base_url_env=("OLLAMA_BASE_URL", "OLLAMA_HOST"),
            api_key_env=("OLLAMA_API_KEY",),
            key_optional=True,
        ),
        Endpoint(name="mock", kind="mock", base_url="http://mock.invalid/v1"),
        Endpoint(
            name="azure",
            kind="openai",
            # The resource's own address: there is no common host.
            base_url="",
            base_url_env=("AZURE_OPENAI_ENDPOINT",),
            api_key_env=("AZURE_OPENAI_API_KEY",),
            auth_header="api-key",
            auth_prefix="",
            api_version="2024-10-21",
            # Older models and API versions don't know `developer`; the newer ones
            # take `system` for it.
            quirks=frozenset({"openai_cache", "tool_ids_of_40", "system_role"}),
        ),
        _compatible(
            "groq",
            "https://api.groq.com/openai/v1",
            "GROQ_API_KEY",
            "system_role automatic_cache reasoning_refused",
        ),
        _compatible(
            "mistral",
            "https://api.mistral.ai/v1",
            "MISTRAL_API_KEY",
            "system_role automatic_cache random_seed tool_ids_of_9 document_url "
            "files_in_results",
            # It answers unknown fields with 422, and sends usage unasked.
            stream_options=False,
        ),
        _compatible(
            "deepseek",
            "https://api.deepseek.com/v1",
            "DEEPSEEK_API_KEY",
            "system_role automatic_cache json_object_only reasoning_echo",
        ),
        _compatible(
            "openrouter",
            "https://openrouter.ai/api/v1",
            "OPENROUTER_API_KEY",
            "cache_control reasoning_object files_in_results",
        ),
        _compatible("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY"),
        _compatible(
            "fireworks",
            "https://api.fireworks.ai/inference/v1",
            "FIREWORKS_API_KEY",
        ),
        _compatible(
            "xai",
            "https://api.x.ai/v1",
            "XAI_API_KEY",
            "system_role openai_cache grok_conversation",
        ),
        _compatible(
            "cerebras",
            "https://api.cerebras.ai/v1",
            "CEREBRAS_API_KEY",
            max_tokens_field="max_completion_tokens",
        ),
        _compatible(
            "perplexity",
            "https://api.perplexity.ai",
            "PERPLEXITY_API_KEY",
            "system_role automatic_cache json_schema_only",
        ),
        _compatible(
            "lmstudio",
            "http://127.0.0.1:1234/v1",
            "LMSTUDIO_API_KEY",
            "system_role automatic_cache json_schema_only",
            key_optional=True,
        ),
        _compatible(
            "vllm", "http://127.0.0.1:8000/v1", "VLLM_API_KEY", key_optional=True
        ),
    )
}
"""Provider name -> endpoint. A compatible service is one row."""


# Helpers for mappers -------------------------------------------------------------


def own_data(message: Message, endpoint: Endpoint) -> JSON | None:
    """What this provider left in a message to get back; None if another wrote it."""
    data = message.provider_data
    return data if data and data.get("provider") == endpoint.name else None


def make_usage(
    *,
    fresh: int | None = None,
    cache_read: int | None = None,
    cache_write: int | None = None,
    cache_write_5m: int | None = None,
    cache_write_1h: int | None = None,
    output: int | None = None,
    reasoning: int | None = None,
) -> dict[str, Any]:
    """Token usage in the contract's inclusive terms, from disjoint counts.

    Args:
        fresh: Input tokens neither read from nor written to a cache.
        cache_read: Input tokens read from a cache.
        cache_write: Input tokens written to a cache, whatever their lifetime;
            `cache_write_5m` and `cache_write_1h` are parts of it.
        output: Output tokens without reasoning.
        reasoning: Output tokens spent on reasoning.

    None means unknown: its key is left out, and it counts as nothing in a sum. So does
    what is no whole number, for a reply is worth more than its bill.
    """
    fresh, output, reasoning = _count(fresh), _count(output), _count(reasoning)
    cache_read, cache_write = _count(cache_read), _count(cache_write)
    cache_write_5m, cache_write_1h = _count(cache_write_5m), _count(cache_write_1h)
    usage: dict[str, Any] = {}
    if fresh is not None:
        usage["prompt_tokens"] = fresh + (cache_read or 0) + (cache_write or 0)
    if output is not None:
        usage["completion_tokens"] = output + (reasoning or 0)
    if fresh is not None and output is not None:
        usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
    for key, value in (
        ("cached_tokens", cache_read),
        ("cache_creation_input_tokens", cache_write),
        ("cache_creation_5m_tokens", cache_write_5m),
        ("cache_creation_1h_tokens", cache_write_1h),
        ("reasoning_tokens", reasoning),
    ):
        if value is not None:
            usage[key] = value
    return usage


def _count(value: Any) -> int | None:
    if value.__class__ is int or value is None:
        return value
    # JSON has one kind of number: some servers write 12.0.
    is_whole = isinstance(value, float) and value.is_integer()
    return int(value) if is_whole else None


def make_usage_of_totals(
    inputs: int | None,
    outputs: int | None,
    total: int | None,
    *,
    cache_read: int | None = None,
    cache_write: int | None = None,
    reasoning: int | None = None,
) -> dict[str, Any]:
    """Token usage from OpenAI's counts.

    Its input includes what was read from and written to a cache, its output the
    reasoning. Some servers that imitate it leave the reasoning out, as their total
    tells (xAI), or a reasoning beyond the output (Vercel, for Gemini). xAI may report
    more read than there is in the prompt, a prefix that it doesn't bill; both numbers
    stay what it says.
    """
    if outputs is not None and reasoning:
        beside = total == (inputs or 0) + outputs + reasoning
        outputs -= 0 if beside or reasoning > outputs else reasoning
    return make_usage(
        fresh=None
        if inputs is None
        else inputs - (cache_read or 0) - (cache_write or 0),
        cache_read=cache_read,
        cache_write=cache_write,
        output=outputs,
        reasoning=reasoning,
    )
