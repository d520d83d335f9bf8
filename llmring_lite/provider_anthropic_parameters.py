"""Sampling, reasoning and tool choice in the words of Anthropic's Messages API.

What a model can't take is reported by `unsupported_reasoning` and
`unsupported_sampling`; what is left after that is put into the API's fields.

- https://platform.claude.com/docs/en/build-with-claude/thinking
- https://platform.claude.com/docs/en/build-with-claude/effort
- https://platform.claude.com/docs/en/agents-and-tools/tool-use/define-tools
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from llmring_lite.provider import JSON
from llmring_lite.provider_anthropic_models import (
    DEFAULT_MAX_TOKENS,
    EFFORT_BUDGETS,
    MIN_BUDGET,
    Traits,
    describe,
    effort_levels,
)
from llmring_lite.provider_parameters import (
    EFFORTS,
    nearest_effort,
    requested_effort,
)
from llmring_lite.provider_tools import is_forced, read_tool_choice
from llmring_lite.schemas import LLMRequest

_NO_SAMPLING: Final = "this model takes no sampling parameters"


# Reasoning --------------------------------------------------------------------------


def thinking_type(request: LLMRequest) -> str | None:
    """Type of the `thinking` that the request is sent with; None if with none."""
    limit, traits = describe(request.model)
    config = request.extra_params.get("thinking", thinking(request, traits, limit))
    return config.get("type") if isinstance(config, Mapping) else None


def _wanted(request: LLMRequest, traits: Traits) -> tuple[int | None, str | None]:
    """Budget and effort in the terms that a model takes; None: it is left to it."""
    tokens, effort = request.reasoning_tokens, request.reasoning_effort
    if "budget" not in traits:
        return None, requested_effort(request)
    return (None if tokens is None or tokens < 0 else tokens), effort


def thinking(request: LLMRequest, traits: Traits, limit: int) -> JSON | None:
    """The `thinking` field; None leaves it to the model's default.

    `limit`: most tokens that the model can write.
    """
    tokens, effort = _wanted(request, traits)
    if tokens:
        return {"type": "enabled", "budget_tokens": tokens}
    if effort == "none" or tokens == 0:
        off = {"off": "disabled", "between": "between_tools"}
        kind = next((off[word] for word in off if word in traits), None)
        return {"type": kind} if kind and "on" in traits else None
    if effort is None:
        return None
    if "adaptive" in traits:
        # Newer models leave the summary out unless it is asked for.
        return {"type": "adaptive", "display": "summarized"}
    most, budget = request.max_tokens or limit, EFFORT_BUDGETS.get(effort)
    if "budget" not in traits or most <= MIN_BUDGET or budget is None:
        return None
    # Half of the reply is left for the answer.
    budget = min(budget, max(MIN_BUDGET, most // 2))
    return {"type": "enabled", "budget_tokens": budget}


def effort(request: LLMRequest, traits: Traits) -> str | None:
    """`output_config.effort`."""
    levels, (_, wanted) = effort_levels(traits), _wanted(request, traits)
    if not levels or wanted in (None, "none"):
        return None
    return nearest_effort(wanted, levels)


def default_max_tokens(thinking: Any, limit: int) -> int:
    """`max_tokens`, which the API requires, for a request that sets none."""
    budget = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else None
    return min(limit, DEFAULT_MAX_TOKENS + (budget or 0))


def unsupported_reasoning(
    request: LLMRequest, traits: Traits, limit: int
) -> dict[str, str]:
    """Field -> why the model can't take what the request sets there."""
    found = {"seed": "the Messages API has no seed"}
    tokens, wanted = _wanted(request, traits)
    problem = _effort_problem(request, traits, wanted)
    if wanted == "none" or tokens == 0:
        always = "on" in traits and not traits & {"off", "between"}
        problem = "this model always thinks" if always else None
    if problem:
        found |= dict.fromkeys(("reasoning_effort", "reasoning_tokens"), problem)
    most = limit if request.max_tokens is None else request.max_tokens
    if tokens and tokens < MIN_BUDGET:
        found["reasoning_tokens"] = (
            f"a thinking budget has at least {MIN_BUDGET} tokens"
        )
    elif tokens and tokens >= most:
        found["reasoning_tokens"] = (
            "a thinking budget must stay below max_tokens, which includes it, and "
            f"that is {most}"
        )
    return found


def _effort_problem(
    request: LLMRequest, traits: Traits, wanted: str | None
) -> str | None:
    levels = effort_levels(traits)
    if wanted is None:
        return None
    if not levels and "budget" not in traits:
        return "this model doesn't think"
    if wanted not in EFFORTS:
        return f"there is no effort {wanted!r}; known are {', '.join(EFFORTS)}"
    if levels or request.reasoning_tokens is not None:
        return None
    if (request.max_tokens or MIN_BUDGET + 1) <= MIN_BUDGET:
        return (
            f"a thinking budget has at least {MIN_BUDGET} tokens, and max_tokens, "
            f"which includes it, is {request.max_tokens}"
        )
    return None


# Sampling and tool choice -------------------------------------------------------------


def sampling(request: LLMRequest, traits: Traits) -> Iterator[tuple[str, float]]:
    """temperature and top_p.

    1 is the default of both, and left out where the field as such is refused.
    """
    temperature, top_p = request.temperature, request.top_p
    if "sampling" not in traits:
        return
    if temperature is not None and not (
        temperature == 1 and top_p is not None and "both" not in traits
    ):
        yield "temperature", temperature
    if top_p is not None and not (
        top_p == 1 and temperature is not None and "both" not in traits
    ):
        yield "top_p", top_p


def unsupported_sampling(
    request: LLMRequest, traits: Traits, thinking: JSON | None
) -> dict[str, str]:
    """Field -> why the model can't take it, with this `thinking`, as set."""
    thinks = thinking is not None and thinking["type"] in ("enabled", "adaptive")
    found = {}
    problem = _temperature_problem(request, traits, thinks)
    if problem:
        found["temperature"] = problem
    problem = _top_p_problem(request, traits, thinks)
    if problem:
        found["top_p"] = problem
    choice = read_tool_choice(request)
    if choice is not None and choice.mode == "own":
        found["tool_choice"] = "it is of a form that the Messages API doesn't know"
    if is_forced(request):
        if "forced" not in traits:
            found["tool_choice"] = (
                "this model can't be made to call a tool; choose 'auto' and say in the "
                "prompt when to call one"
            )
        elif thinking_type(request) == "enabled":
            found["tool_choice"] = (
                "with a thinking budget it can be 'auto' or 'none' only"
            )
    return found


def _temperature_problem(
    request: LLMRequest, traits: Traits, thinks: bool
) -> str | None:
    temperature = request.temperature
    if temperature is None or temperature == 1:
        return None
    if "sampling" not in traits:
        return _NO_SAMPLING
    if not 0 <= temperature <= 1:
        return "in the Messages API it goes from 0 to 1"
    return "a model that thinks takes no other than 1" if thinks else None


def _top_p_problem(request: LLMRequest, traits: Traits, thinks: bool) -> str | None:
    top_p = request.top_p
    if top_p is None or top_p == 1:
        return None
    if "sampling" not in traits:
        return _NO_SAMPLING
    if thinks and top_p < 0.95:
        return "a model that thinks takes none below 0.95"
    if request.temperature not in (None, 1) and "both" not in traits:
        return "this model takes temperature or top_p, not both"
    return None
