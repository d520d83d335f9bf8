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
from typing import Any, Final, NamedTuple, TypeAlias

from llmring_lite.exceptions import CostTrackingError
from llmring_lite.registry import RegistryModel, without_date

PRICED: Final = "priced"
NO_USAGE: Final = "no_usage"
"""The provider didn't say how many tokens went in and came out."""
UNKNOWN_MODEL: Final = "model_not_in_registry"
NO_PRICE: Final = "no_pricing_in_registry"
"""The registry has the model, but not both its input and its output price."""

_PREFIX: Final = "dollars_per_million_tokens_"
# A price of 1 USD per million tokens is this many units a token.
_UNITS_PER_PRICE: Final = 10**9
_UNITS_PER_USD: Final = 10**15

Find: TypeAlias = Callable[[str, str], RegistryModel | None]
"""(provider, model) -> its facts."""


class Rates(NamedTuple):
    """A model's prices, in units of 1e-15 USD a token.

    Attributes:
        input, output, reasoning: For fresh input, visible output, reasoning.
        cache_read, cache_write_5m, cache_write_1h: For input read from a cache and
            written to one.
        threshold: Above this many input tokens `long` holds; None: never.
        long: The prices of such requests.
    """

    input: int
    output: int
    reasoning: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    threshold: int | None = None
    long: Rates | None = None


def rates_of(model: RegistryModel) -> Rates | None:
    """The prices of a model; None if its input or its output price is unknown."""

    def units(name: str, otherwise: int) -> int:
        """A price: exact to nine decimals of a dollar per million tokens."""
        usd = getattr(model, _PREFIX + name)
        return otherwise if usd is None else round(usd * _UNITS_PER_PRICE)

    given, output = units("input", -1), units("output", -1)
    if given < 0 or output < 0:
        return None
    usual = Rates(
        input=given,
        output=output,
        reasoning=units("output_thinking", output),
        cache_read=units("cache_read", units("cached_input", given)),
        cache_write_5m=units("cache_write_5m", units("cache_write_1h", given)),
        cache_write_1h=units("cache_write_1h", units("cache_write_5m", given)),
    )
    threshold = model.long_context_threshold_tokens
    if threshold is None or model.supports_long_context_pricing is False:
        return usual
    # The prices of caching rise with the input's, that of reasoning with the output's.
    long_input = units("input_long_context", given)
    long_output = units("output_long_context", output)
    long = Rates(
        input=long_input,
        output=long_output,
        reasoning=_scaled(usual.reasoning, long_output, output),
        cache_read=_scaled(usual.cache_read, long_input, given),
        cache_write_5m=_scaled(usual.cache_write_5m, long_input, given),
        cache_write_1h=_scaled(usual.cache_write_1h, long_input, given),
    )
    return usual._replace(threshold=threshold, long=long)


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
    is_long = rates.threshold is not None and prompt > rates.threshold
    if is_long and rates.long is not None:
        rates = rates.long
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


_UNPRICED: Final = dict.fromkeys(("input_cost", "output_cost", "total_cost"))


def find_rates(ref: str, find: Find) -> Rates | str:
    """The prices of `provider:model`, or the `cost_status` that says why not."""
    provider, _, name = ref.partition(":")
    model = find(provider, name)
    if model is None:
        return UNKNOWN_MODEL
    return rates_of(_with_cache_price(model, find)) or NO_PRICE


_PLAIN: Final = (f"{_PREFIX}input", f"{_PREFIX}output")
_CACHED: Final = (f"{_PREFIX}cache_read", f"{_PREFIX}cached_input")


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


def calculate(rates: Rates | str, usage: Mapping[str, Any]) -> dict[str, Any]:
    """What `price` returns, and `cost_status`; costs are None if unknown."""
    if isinstance(rates, str):
        # Without usage a price would not help.
        status = rates if "prompt_tokens" in usage else NO_USAGE
        return {**_UNPRICED, "cost_status": status}
    parts = price(usage, rates)
    if parts is None:
        return {**_UNPRICED, "cost_status": NO_USAGE}
    parts["cost_status"] = PRICED
    return parts


def apply(rates: Rates | str, usage: dict[str, Any]) -> None:
    """Set `cost` (USD, None if unknown), `cost_breakdown`, `cost_status`."""
    parts = calculate(rates, usage)
    status = parts.pop("cost_status")
    usage["cost"] = parts["total_cost"]
    if status == PRICED:
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
