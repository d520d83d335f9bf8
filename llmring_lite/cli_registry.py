"""`list`, `info`, `registry refresh`, `cache`: what is known of models."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from typing import Any, Final

from llmring_lite.cli_lockfile import open_lockfile, profile_of
from llmring_lite.cli_options import UsageError, add_json_option, add_lockfile_options
from llmring_lite.cli_output import (
    PROGRAM,
    complain,
    note,
    paint,
    plural,
    say,
    say_json,
    say_table,
)
from llmring_lite.exceptions import RegistryError
from llmring_lite.facts import fetch
from llmring_lite.registry import (
    SNAPSHOT_PROVIDERS,
    Catalogue,
    RegistryModel,
    load_snapshot,
    snapshot_date,
)
from llmring_lite.registry_cache import CacheEntry
from llmring_lite.registry_client import Registry, age_days, describe
from llmring_lite.registry_drift import dollars
from llmring_lite.registry_refresh import Refreshed, refresh
from llmring_lite.registry_select import NEEDS, Choice, check_needs, deprecation, has


def open_registry() -> Registry:
    """The registry that `LLMRING_REGISTRY_URL` names, else the public one."""
    return Registry(fetch=fetch)


def needs_of(text: str) -> tuple[str, ...]:
    """`vision,tools` as words.

    Raises:
        UsageError: One of them is nothing a model can be asked for.
    """
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    try:
        check_needs(words)
    except RegistryError as error:
        raise UsageError(str(error)) from None
    return words


def age_text(catalogue: Catalogue) -> str:
    """Such as `12 days old`."""
    age = age_days(catalogue, time.time())
    return "of unknown age" if age is None else f"{plural(int(max(0, age)), 'day')} old"


def price_text(price: float | None) -> str:
    return "?" if price is None else dollars(price)


def prices_text(model: RegistryModel) -> str:
    """Such as `$1.00 in, $5.00 out`."""
    given = price_text(model.dollars_per_million_tokens_input)
    return f"{given} in, {price_text(model.dollars_per_million_tokens_output)} out"


def tokens_text(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"


def say_choices(choices: Iterable[Choice]) -> None:
    """What each pattern stands for now, and what else would have done."""
    for choice in choices:
        if choice.select == choice.ref or choice.model is None:
            continue
        say(f"{choice.select} → {_priced(choice.model)}")
        shown = choice.runners_up[:3]
        for model in shown:
            say(f"    else {_priced(model)}")
        if len(choice.runners_up) > len(shown):
            note(f"    and {len(choice.runners_up) - len(shown)} more")


def _priced(model: RegistryModel) -> str:
    window = tokens_text(model.max_input_tokens)
    return f"{model.ref} ({prices_text(model)}, {window} tokens of input)"


# list ----------------------------------------------------------------------------


def add_list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--provider", metavar="NAME", help="only this provider's")
    parser.add_argument(
        "--needs",
        default="",
        metavar="WORD,...",
        help=f"only models that have all of these: {', '.join(sorted(NEEDS))}",
    )
    parser.add_argument(
        "--active", action="store_true", help="leave out what is no longer offered"
    )
    parser.add_argument(
        "--refresh", action="store_true", help="fetch the registry's data first"
    )
    add_json_option(parser)


def run_list(args: Namespace) -> int:
    needs = needs_of(args.needs)
    registry = open_registry()
    named = [args.provider] if args.provider else None
    code = 0
    if args.refresh:
        code = report_failures(refresh(registry, named))
    models: list[RegistryModel] = []
    for provider in named or registry.providers():
        catalogue = registry.catalogue(provider)
        if catalogue is None:
            raise RegistryError(
                f"nothing is known of the models of {provider!r}; known are "
                f"{', '.join(registry.providers())}"
            )
        models += catalogue
        note(f"{describe(catalogue)}, {age_text(catalogue)}, from {catalogue.source}")
    models = [
        model
        for model in models
        if all(has(model, need) for need in needs)
        and not (args.active and model.is_active is False)
    ]
    if args.json:
        say_json([model.to_dict() for model in models])
    elif not models:
        note("no model has all of that")
    else:
        say_table(
            ("MODEL", "INPUT", "OUTPUT", "LONGEST INPUT", "HAS", "STATUS"),
            map(_row, models),
        )
        note("Prices are USD per million tokens; ? is unknown.")
    return code


_SHOWN: Final = ("vision", "tools", "json_schema", "reasoning", "caching")


def _row(model: RegistryModel) -> tuple[str, ...]:
    return (
        model.ref,
        price_text(model.dollars_per_million_tokens_input),
        price_text(model.dollars_per_million_tokens_output),
        tokens_text(model.max_input_tokens),
        " ".join(need for need in _SHOWN if has(model, need)) or "-",
        _status(model),
    )


def _status(model: RegistryModel) -> str:
    if model.is_active is False:
        return "inactive"
    if model.deprecated_date is not None:
        return f"deprecated {model.deprecated_date}"
    return "waiting list" if model.requires_waitlist else "active"


# info ----------------------------------------------------------------------------


def add_info_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL_OR_ALIAS", help="provider:model, or an alias"
    )
    add_json_option(parser)
    add_lockfile_options(parser)


def run_info(args: Namespace) -> int:
    from llmring_lite.routing import Router  # `list` needs none

    lockfile = open_lockfile(args)
    profile = profile_of(args, lockfile)
    route = Router(lockfile).route(args.model, profile)
    registry = open_registry()
    facts: list[dict[str, Any]] = []
    unknown = []
    for candidate in route.candidates:
        provider = candidate.endpoint.name
        catalogue = registry.catalogue(provider)
        model = None if catalogue is None else catalogue.find(candidate.model)
        if catalogue is None or model is None:
            unknown.append(candidate.ref)
            continue
        about = {
            "model": candidate.ref,
            **model.to_dict(),
            "registry_version": catalogue.version,
            "registry_updated_at": catalogue.updated_at,
        }
        facts.append(about)
        if not args.json:
            _say_info(candidate.ref, model, catalogue)
    if args.json:
        say_json(facts[0] if route.binding is None and facts else facts)
    for ref in unknown:
        complain(f"the registry doesn't know {ref}")
    return 0 if facts else 1


def _say_info(ref: str, model: RegistryModel, catalogue: Catalogue) -> None:
    prices: dict[str, str] = {}
    for field, name in _PRICES.items():
        usd = getattr(model, f"dollars_per_million_tokens_{field}")
        if usd is not None:
            prices[name] = f"{dollars(usd)} per million tokens"
    threshold = model.long_context_threshold_tokens
    if not model.supports_long_context_pricing:
        threshold = None
    lines = {
        "model": paint(ref, "bold"),
        "is": model.ref if model.ref != ref else None,
        "also called": ", ".join(model.model_aliases),
        "longest input": f"{tokens_text(model.max_input_tokens)} tokens",
        "longest output": f"{tokens_text(model.max_output_tokens)} tokens",
        **prices,
        "long means above": f"{threshold:,}" if threshold else None,
        "has": ", ".join(need for need in sorted(NEEDS) if has(model, need)) or "-",
        "API": model.api_endpoint,
        "released": model.release_date,
        "status": _status(model),
        "": deprecation(model, catalogue),
        "registry": f"{describe(catalogue)}, {age_text(catalogue)}",
    }
    width = max(len(name) for name, text in lines.items() if text)
    for name, text in lines.items():
        if text:
            say(f"{name:{width}}  {text}")


# A cache's price has two names, the second of them the more exact.
_PRICES: Final = {
    "input": "input",
    "output": "output",
    "cached_input": "cached input",
    "cache_read": "cached input",
    "cache_write_5m": "cache write, 5 minutes",
    "cache_write_1h": "cache write, 1 hour",
    "input_long_context": "long input",
    "output_long_context": "long output",
}


# registry refresh ----------------------------------------------------------------


def add_refresh_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "providers",
        metavar="PROVIDER",
        nargs="*",
        help="default: all that the registry lists",
    )
    add_json_option(parser)


def run_refresh(args: Namespace) -> int:
    registry = open_registry()
    rows = refresh(registry, args.providers or None)
    if args.json:
        say_json([_refreshed(row) for row in rows])
    else:
        for row in rows:
            if row.after is not None:
                models = plural(len(row.after.models), "model")
                versus = _versus(row.before, row.after)
                say(f"{describe(row.after)}, {models}, {versus}")
    if not rows:
        raise RegistryError(f"{registry.url} has nothing on any provider")
    return report_failures(rows)


def _versus(before: Catalogue | None, after: Catalogue) -> str:
    if before is None:
        return "new"
    if before.version == after.version:
        return "as before"
    return f"before: version {before.version}"


def _refreshed(row: Refreshed) -> dict[str, Any]:
    return {
        "provider": row.provider,
        "version_before": row.before.version if row.before else None,
        "version": row.after.version if row.after else None,
        "updated_at": row.after.updated_at if row.after else None,
        "models": len(row.after.models) if row.after else None,
        "error": str(row.error) if row.error else None,
    }


def report_failures(rows: list[Refreshed]) -> int:
    """Say what could not be refreshed, and what counts instead; the exit code."""
    failed = [row for row in rows if row.error is not None]
    for row in failed:
        complain(f"{row.provider}: {row.error}")
        if row.before is not None:
            note(f"  kept: {describe(row.before)}, {age_text(row.before)}")
    return 1 if failed else 0


# cache ---------------------------------------------------------------------------


def run_cache_info(args: Namespace) -> int:
    registry = open_registry()
    entries = registry.cache.entries()
    shipped = [c for p in SNAPSHOT_PROVIDERS if (c := load_snapshot(p)) is not None]
    if args.json:
        say_json(
            {
                "folder": registry.cache.folder,
                "registry": registry.url,
                "snapshot": {
                    "date": snapshot_date(),
                    "versions": {c.provider: c.version for c in shipped},
                },
                "entries": [_entry(entry) for entry in entries],
            }
        )
        return 0
    say(f"folder    {registry.cache.folder}")
    say(f"registry  {registry.url}")
    versions = ", ".join(f"{c.provider} version {c.version}" for c in shipped)
    say(f"snapshot  {snapshot_date()}: {versions}")
    for entry in entries:
        kind = "pinned" if entry.pinned else "current"
        say(
            f"{kind:8}  {describe(entry.catalogue)}, "
            f"{plural(len(entry.catalogue.models), 'model')}, from {entry.url}"
        )
    if not entries:
        note(f"nothing is cached; `{PROGRAM} registry refresh` fetches the newest data")
    return 0


def _entry(entry: CacheEntry) -> dict[str, Any]:
    names = ("provider", "version", "updated_at", "fetched_at")
    return {
        "path": entry.path,
        "registry": entry.url,
        **{name: getattr(entry.catalogue, name) for name in names},
        "pinned": entry.pinned,
        "models": len(entry.catalogue.models),
    }


def add_no_arguments(parser: ArgumentParser) -> None:
    """It has none."""


def run_cache_clear(args: Namespace) -> int:
    registry = open_registry()
    count = registry.cache.clear()
    say(f"removed {plural(count, 'file')}")
    note(f"from {registry.cache.folder}")
    return 0


COMMANDS: Final = {
    "list": (add_list_arguments, run_list),
    "info": (add_info_arguments, run_info),
    "registry refresh": (add_refresh_arguments, run_refresh),
    "cache info": (add_json_option, run_cache_info),
    "cache clear": (add_no_arguments, run_cache_clear),
}
