"""Usage x price: what a reply cost, exactly.

Prices are kept as integers of 1e-15 USD a token, so that sums are exact; floats are
made at the very end. Unknown is None with a status, never zero.

How providers bill:

- https://platform.claude.com/docs/en/about-claude/pricing: cache writes by lifetime
  (5 minutes unless asked otherwise) and cache reads each have a price. A request whose
  input, cache reads and writes included, exceeds the threshold pays long-context prices
  for all of its tokens, output included, and the caching multipliers apply on top.
- https://ai.google.dev/gemini-api/docs/pricing: the same by "prompts > 200k tokens",
  for input, output and context caching alike; thinking is output.
- https://developers.openai.com/api/docs/pricing: cached input has a price; where the
  table has none ("-") there is no discount. Beyond the threshold of a model the whole
  request is dearer. Reasoning is output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from llmring_lite.exceptions import CostTrackingError
from llmring_lite.registry import RegistryModel, without_date

PRICED: Final = "priced"
NO_USAGE: Final = "no_usage"
"""The provider didn't say how many tokens went in and came out."""
UNKNOWN_MODEL: Final = "model_not_in_registry"
NO_PRICE: Final = "no_pricing_in_registry"
"""The registry has the model, but not both its input and its output price."""

# A price of 1 USD per million tokens is this many units a token.
_UNITS_PER_PRICE: Final = 10**9
_UNITS_PER_USD: Final = 10**15

Find: TypeAlias = Callable[[str, str], RegistryModel | None]
"""(provider, model) -> its facts."""


class Rates:
    """A model's prices, in units of 1e-15 USD a token.

    Attributes:
        input, output, reasoning: For fresh input, visible output, reasoning.
        cache_read, cache_write_5m, cache_write_1h: For input read from a cache and
            written to one.
        threshold: Above this many input tokens `long` holds; None: never.
        long: The prices of such requests.
    """

    __slots__ = (
        "cache_read",
        "cache_write_1h",
        "cache_write_5m",
        "input",
        "long",
        "output",
        "reasoning",
        "threshold",
    )

    def __init__(self, model: RegistryModel) -> None:
        """Raises:
        ValueError: The model has no input or no output price.
        """
        given = _units(model.dollars_per_million_tokens_input)
        output = _units(model.dollars_per_million_tokens_output)
        if given is None or output is None:
            raise ValueError(f"no price of {model.ref} is known")
        self.input = given
        self.output = output
        self.reasoning = _first(
            model.dollars_per_million_tokens_output_thinking, output
        )
        read = model.dollars_per_million_tokens_cache_read
        if read is None:
            read = model.dollars_per_million_tokens_cached_input
        self.cache_read = _first(read, given)
        short = model.dollars_per_million_tokens_cache_write_5m
        long = model.dollars_per_million_tokens_cache_write_1h
        self.cache_write_5m = _first(short, _first(long, given))
        self.cache_write_1h = _first(long, self.cache_write_5m)
        self.threshold: int | None = None
        self.long = self
        if model.supports_long_context_pricing is not False:
            self.threshold = model.long_context_threshold_tokens
            self.long = self._long(
                _first(model.dollars_per_million_tokens_input_long_context, given),
                _first(model.dollars_per_million_tokens_output_long_context, output),
            )

    def _long(self, given: int, output: int) -> Rates:
        """The prices of a long request: those of caching rise with the input's."""
        rates = object.__new__(Rates)
        rates.input = given
        rates.output = output
        rates.reasoning = _scaled(self.reasoning, output, self.output)
        rates.cache_read = _scaled(self.cache_read, given, self.input)
        rates.cache_write_5m = _scaled(self.cache_write_5m, given, self.input)
        rates.cache_write_1h = _scaled(self.cache_write_1h, given, self.input)
        rates.threshold = None
        rates.long = rates
        return rates


def _units(price: float | None) -> int | None:
    """A price as units a token: exact to nine decimals of a dollar per million."""
    return None if price is None else round(price * _UNITS_PER_PRICE)


def _first(price: float | None, otherwise: int) -> int:
    units = _units(price)
    return otherwise if units is None else units


def _scaled(units: int, new: int, old: int) -> int:
    return (units * new + old // 2) // old if old else units


def price(usage: Mapping[str, Any], rates: Rates) -> dict[str, Any] | None:
    """What a reply cost, in USD; None if its usage is unknown.

    Args:
        usage: Token counts in the keys of `LLMResponse.usage`: `prompt_tokens` and
            `completion_tokens` include cached and reasoning tokens.

    Returns:
        `input_cost`, `output_cost`, and their sum `total_cost`. Parts of the input:
        `fresh_input_cost`, `cache_read_cost`, `cache_write_cost_5m`,
        `cache_write_cost_1h`; of the output: `reasoning_cost`. `long_context` says
        whether the prices for long requests applied.
    """
    get = usage.get
    prompt: Any = get("prompt_tokens")
    completion: Any = get("completion_tokens")
    if not _is_count(prompt) or not _is_count(completion):
        return None
    if rates.threshold is not None and prompt > rates.threshold:
        rates = rates.long
        is_long = True
    else:
        is_long = False
    read = _count(get("cached_tokens"))
    long_lived = _count(get("cache_creation_1h_tokens"))
    short_lived = _count(get("cache_creation_5m_tokens"))
    written = _count(get("cache_creation_input_tokens"))
    # What is written without a lifetime lives for the default of five minutes.
    short_lived = max(short_lived, written - long_lived)
    # xAI on Azure may report more tokens read than there are in the prompt.
    fresh = max(0, prompt - read - long_lived - short_lived)
    reasoned = min(_count(get("reasoning_tokens")), completion)

    fresh_cost = fresh * rates.input
    read_cost = read * rates.cache_read
    cost_5m = short_lived * rates.cache_write_5m
    cost_1h = long_lived * rates.cache_write_1h
    reasoning_cost = reasoned * rates.reasoning
    input_cost = fresh_cost + read_cost + cost_5m + cost_1h
    output_cost = (completion - reasoned) * rates.output + reasoning_cost
    return {
        "input_cost": input_cost / _UNITS_PER_USD,
        "output_cost": output_cost / _UNITS_PER_USD,
        "total_cost": (input_cost + output_cost) / _UNITS_PER_USD,
        "fresh_input_cost": fresh_cost / _UNITS_PER_USD,
        "cache_read_cost": read_cost / _UNITS_PER_USD,
        "cache_write_cost_5m": cost_5m / _UNITS_PER_USD,
        "cache_write_cost_1h": cost_1h / _UNITS_PER_USD,
        "reasoning_cost": reasoning_cost / _UNITS_PER_USD,
        "long_context": is_long,
    }


def _is_count(value: Any) -> bool:
    return value.__class__ is int and value >= 0


def _count(value: Any) -> int:
    return value if value.__class__ is int and value > 0 else 0


_UNPRICED: Final[Mapping[str, Any]] = {
    "input_cost": None,
    "output_cost": None,
    "total_cost": None,
}


def find_rates(ref: str, find: Find) -> Rates | str:
    """The prices of `provider:model`, or the `cost_status` that says why not."""
    provider, _, name = ref.partition(":")
    model = find(provider, name)
    if model is None:
        return UNKNOWN_MODEL
    try:
        return Rates(_with_cache_price(model, find))
    except ValueError:
        return NO_PRICE


def _with_cache_price(model: RegistryModel, find: Find) -> RegistryModel:
    """The model with the cache price of its undated self, where it has none.

    Registries know less of dated models. Different input or output prices mean that
    the undated name now stands for another model.
    """
    undated = without_date(model.model_name)
    if undated is None or any(getattr(model, name) is not None for name in _CACHED):
        return model
    other = find(model.provider, undated)
    if other is None or any(
        getattr(model, name) != getattr(other, name) for name in _PLAIN
    ):
        return model
    return model.replace(**{name: getattr(other, name) for name in _CACHED})


_PLAIN: Final = (
    "dollars_per_million_tokens_input",
    "dollars_per_million_tokens_output",
)
_CACHED: Final = (
    "dollars_per_million_tokens_cache_read",
    "dollars_per_million_tokens_cached_input",
)


def quote(
    rates: Rates | str, usage: Mapping[str, Any]
) -> tuple[str, dict[str, Any] | None]:
    """The `cost_status` of a reply, and what `price` says if it is `priced`."""
    if isinstance(rates, str):
        # Without usage a price would not help.
        return (rates if "prompt_tokens" in usage else NO_USAGE), None
    parts = price(usage, rates)
    return (PRICED if parts is not None else NO_USAGE), parts


def calculate(rates: Rates | str, usage: Mapping[str, Any]) -> dict[str, Any]:
    """What `price` returns, and `cost_status`; costs are None if unknown."""
    status, parts = quote(rates, usage)
    return {**(parts if parts is not None else _UNPRICED), "cost_status": status}


def apply(rates: Rates | str, usage: dict[str, Any]) -> None:
    """Set `cost` (USD, None if unknown), `cost_breakdown`, `cost_status`."""
    status, parts = quote(rates, usage)
    if parts is None:
        usage["cost"] = None
    else:
        usage["cost"] = parts["total_cost"]
        usage["cost_breakdown"] = parts
    usage["cost_status"] = status


def check(rates: Rates | str, ref: str) -> None:
    """Strict tracking: a model without a price is not called.

    Raises:
        CostTrackingError: It has none.
    """
    if isinstance(rates, str):
        raise CostTrackingError(
            f"what {ref} costs is not known ({rates}), and strict cost tracking is "
            "on: no request was sent",
            model=ref,
            cost_status=rates,
        )
