"""A pattern and constraints -> the model to pin; a deprecated model -> its successor.

Pure: the same catalogue gives the same answer. Cheapest first, by the price of input,
then of output. Of models that cost the same the newest, by version and date in the
name; a preview only after the others, for it may change or vanish.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from typing import Any, Final, NamedTuple, TypeAlias

from llmring_lite.exceptions import RegistryError
from llmring_lite.registry import Catalogue, RegistryModel, without_date

CatalogueOf: TypeAlias = Callable[[str], Catalogue | None]
"""provider -> what is known of its models."""

NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "vision": ("supports_vision",),
    "tools": ("supports_function_calling",),
    "parallel_tools": ("supports_parallel_tool_calls",),
    "json": ("supports_json_mode",),
    "json_schema": ("supports_json_schema",),
    # Anthropic's and Google's models think, OpenAI's are reasoning models.
    "reasoning": ("is_reasoning_model", "supports_thinking"),
    "caching": ("supports_caching",),
    "streaming": ("supports_streaming",),
    "audio": ("supports_audio",),
    "documents": ("supports_documents",),
    "pdf": ("supports_pdf_input",),
    "temperature": ("supports_temperature",),
    "system": ("supports_system_message",),
}
"""What one may need -> facts, one of which must be true. Unknown is not true."""

# Registries list these as active models with prices, too; none of them chats.
_NOT_FOR_CHAT: Final = frozenset(
    {
        *("audio", "dialog", "live", "realtime", "transcribe", "tts", "whisper"),
        *("image", "imagen", "sora", "veo", "robotics"),
        *("babbage", "davinci", "instruct", "embedding", "moderation"),
    }
)
_PREVIEWS: Final = frozenset({"exp", "experimental", "preview"})


class Rule(NamedTuple):
    """How an alias's models were chosen: `constraints` of a binding.

    Attributes:
        select: One entry for each model: a pattern such as `anthropic:*`, or a
            `provider:model` that was named outright.
        min_context: Tokens of input that a model must take.
        max_cost: USD per million input tokens that it may cost.
        needs: Keys of `NEEDS`.
    """

    select: tuple[str, ...]
    min_context: int | None = None
    max_cost: float | None = None
    needs: tuple[str, ...] = ()

    def to_constraints(self) -> dict[str, Any]:
        """The table for the lockfile."""
        table: dict[str, Any] = {"select": ", ".join(self.select)}
        if self.min_context is not None:
            table["min_context"] = self.min_context
        if self.max_cost is not None:
            table["max_cost"] = self.max_cost
        if self.needs:
            table["needs"] = list(self.needs)
        return table


class Choice(NamedTuple):
    """What an entry of `select` stands for.

    Attributes:
        select: The entry.
        ref: What to pin: `provider:model`, or the entry itself if it is no pattern.
        model: What is known of it; None for an alias, or an unknown model.
        runners_up: Other models that would do, best first.
    """

    select: str
    ref: str
    model: RegistryModel | None
    runners_up: tuple[RegistryModel, ...] = ()


def rule_of(constraints: Mapping[str, Any]) -> Rule | None:
    """The rule of a binding's `constraints`; None if they hold none.

    Without `select` nothing can be chosen anew, but what is bound must satisfy it.
    """
    if not any(constraints.get(name) is not None for name in Rule._fields):
        return None
    select = constraints.get("select")
    entries = select.split(",") if isinstance(select, str) else []
    return Rule(
        tuple(entry.strip() for entry in entries if entry.strip()),
        constraints.get("min_context"),
        constraints.get("max_cost"),
        tuple(constraints.get("needs") or ()),
    )


def is_pattern(reference: str) -> bool:
    """Does it stand for any of several models?"""
    return bool(set(reference) & set("*?["))


def check_needs(needs: Iterable[str]) -> None:
    """Raise RegistryError if one of them is no key of `NEEDS`."""
    for need in needs:
        if need not in NEEDS:
            raise RegistryError(
                f"{need!r} is nothing a model can be asked for; known are "
                f"{', '.join(sorted(NEEDS))}"
            )


def resolve(rule: Rule, catalogue_of: CatalogueOf) -> list[Choice]:
    """The models that a rule selects now, one for each entry.

    Raises:
        RegistryError: An entry selects none; says what the nearest ones lack.
    """
    check_needs(rule.needs)
    choices: list[Choice] = []
    for entry in rule.select:
        if not is_pattern(entry):
            choices.append(_named(entry, rule, catalogue_of))
            continue
        fitting, others = _candidates(entry, rule, catalogue_of)
        if not fitting:
            raise RegistryError(_why_none(entry, rule, others))
        taken = {choice.ref for choice in choices}
        free = [model for model in fitting if model.ref not in taken] or fitting
        choices.append(Choice(entry, free[0].ref, free[0], tuple(free[1:])))
    return choices


def pin(
    models: Iterable[str], constraints: Mapping[str, Any], catalogue_of: CatalogueOf
) -> tuple[list[str], dict[str, Any]]:
    """Models with patterns among them -> the models to bind, and `constraints`.

    Raises as `resolve`.
    """
    limits = rule_of({**constraints, "select": ",".join(models)})
    assert limits is not None  # `select` is there
    refs = [choice.ref for choice in resolve(limits, catalogue_of)]
    return refs, {**constraints, **limits.to_constraints()}


def _named(entry: str, rule: Rule, catalogue_of: CatalogueOf) -> Choice:
    """A model that was named outright: what is known of it must satisfy the rule."""
    provider, colon, name = entry.partition(":")
    catalogue = catalogue_of(provider) if colon else None
    model = None if catalogue is None else catalogue.find(name)
    if model is not None and shortcomings(model, rule):
        raise RegistryError(f"{entry} {', '.join(shortcomings(model, rule))}")
    return Choice(entry, entry, model)


def shortcomings(model: RegistryModel, rule: Rule) -> list[str]:
    """Why a model doesn't satisfy a rule, each a clause; empty if it does."""
    found = []
    window, usd = model.max_input_tokens, model.dollars_per_million_tokens_input
    if rule.min_context is not None:
        if window is None:
            found.append("how much input it takes is unknown")
        elif window < rule.min_context:
            found.append(f"takes {window:,} tokens of input, not {rule.min_context:,}")
    if rule.max_cost is not None:
        if usd is None:
            found.append("its price is unknown")
        elif usd > rule.max_cost:
            found.append(
                f"costs ${usd:g} per million input tokens, more than ${rule.max_cost:g}"
            )
    return found + [f"lacks {need}" for need in rule.needs if not has(model, need)]


def has(model: RegistryModel, need: str) -> bool:
    """Is a model known to have what a key of `NEEDS` stands for?"""
    return any(getattr(model, fact) is True for fact in NEEDS.get(need, ()))


def is_offered(model: RegistryModel) -> bool:
    """Can one start to use it: active, not deprecated, no waiting list?"""
    return (
        model.is_active is not False
        and model.deprecated_date is None
        and model.requires_waitlist is not True
    )


def can_chat(model: RegistryModel) -> bool:
    """Is it for text in, text out? (And not for embeddings, speech, pictures.)"""
    if model.api_endpoint == "embeddings":
        return False
    return not _NOT_FOR_CHAT & line_and_version(model.model_name)[0]


def is_preview(model: RegistryModel) -> bool:
    """Does the name say that it is one?"""
    return bool(_PREVIEWS & line_and_version(model.model_name)[0])


def by_price(model: RegistryModel) -> tuple[float, float]:
    """Sorts the cheaper model first; an unknown price last."""
    given = model.dollars_per_million_tokens_input
    output = model.dollars_per_million_tokens_output
    return (inf if given is None else given, inf if output is None else output)


def by_age(model: RegistryModel) -> tuple[tuple[int, ...], str]:
    """Sorts the older model first."""
    name = model.model_name
    undated = without_date(name)
    date = model.release_date or ""
    if undated is not None:
        digits = name[len(undated) :].replace("-", "")
        date = f"{digits[:4]}-{digits[4:6]}-{digits[6:]}"
    return line_and_version(name)[1], date


def line_and_version(name: str) -> tuple[frozenset[str], tuple[int, ...]]:
    """The words of a model's name, and its numbers.

    Models of one line share the words: `claude-3-5-haiku-20241022` and
    `claude-haiku-4-5` have `claude` and `haiku`.
    """
    words, numbers = set(), []
    for token in (without_date(name) or name).lower().replace(".", "-").split("-"):
        digits = "".join(char for char in token if char in "0123456789")
        letters = "".join(char for char in token if char not in "0123456789")
        if digits and not token.startswith("0"):  # -001 counts builds
            numbers.append(int(digits[:9]))
        if letters and letters not in ("latest", "deprecated"):
            words.add(letters)
    return frozenset(words), tuple(numbers)


def _candidates(
    entry: str, rule: Rule, catalogue_of: CatalogueOf
) -> tuple[list[RegistryModel], list[RegistryModel]]:
    """The models of a pattern that satisfy the rule, best first; and the others."""
    provider, _, name = entry.partition(":")
    catalogue = catalogue_of(provider)
    if catalogue is None or not name:
        raise RegistryError(
            f"{entry!r} can't be resolved: the registry knows nothing of a provider "
            f"{provider!r}. Patterns look like anthropic:*"
        )
    from fnmatch import fnmatchcase  # it compiles: only who selects pays

    meant = [m for m in _to_choose(catalogue) if fnmatchcase(m.model_name, name)]
    # Python's sort is stable: the last one counts most.
    meant.sort(key=by_age, reverse=True)
    meant.sort(key=is_preview)
    meant.sort(key=by_price)
    fitting = [model for model in meant if not shortcomings(model, rule)]
    return fitting, [model for model in meant if model not in fitting]


def _to_choose(catalogue: Catalogue) -> list[RegistryModel]:
    """What is offered and chats.

    Some registries list a model a second time as people write it (`GPT-4o`).
    """
    return [
        model
        for name, model in catalogue.models.items()
        if is_offered(model)
        and can_chat(model)
        and (name == name.lower() or name.lower() not in catalogue.models)
    ]


def _why_none(entry: str, rule: Rule, others: Sequence[RegistryModel]) -> str:
    if not others:
        return f"no active model that chats matches {entry!r}"
    others = sorted(others, key=lambda model: len(shortcomings(model, rule)))
    reasons = "; ".join(
        f"{model.ref} {', '.join(shortcomings(model, rule))}" for model in others[:3]
    )
    return f"no model of {entry!r} satisfies the constraints: {reasons}"


# Deprecation ---------------------------------------------------------------------


def deprecation(model: RegistryModel, catalogue: Catalogue) -> str | None:
    """That a model goes away, and what to use instead: the end of a sentence.

    None if it stays.
    """
    date = model.deprecated_date
    if model.is_active is False:
        text = "is no longer active" + (f" (deprecated {date})" if date else "")
    elif date is not None:
        text = f"is deprecated as of {date}"
    else:
        return None
    heir = successor(model, catalogue)
    return f"{text}; use {heir.ref} instead" if heir is not None else text


def successor(model: RegistryModel, catalogue: Catalogue) -> RegistryModel | None:
    """What takes a deprecated model's place.

    The newest of its line that is offered; if there is none, the newest among the
    models nearest in price. None if the provider offers nothing that chats.
    """
    offered = [m for m in _to_choose(catalogue) if m.model_name != model.model_name]
    line = line_and_version(model.model_name)[0]
    same = [m for m in offered if line_and_version(m.model_name)[0] == line]
    if not same and offered:
        distance = min(_distance(model, other) for other in offered)
        same = [m for m in offered if _distance(model, m) == distance]
    return max(same, key=by_age, default=None)


def _distance(one: RegistryModel, other: RegistryModel) -> float:
    """How far apart two prices are, whatever the size."""
    a, b = by_price(one)[0], by_price(other)[0]
    if a == b:
        return 0.0
    return max(a, b) / min(a, b) if min(a, b) > 0 else inf
