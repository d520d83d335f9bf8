"""Reading lockfiles: which one counts, what it says, what is wrong with it."""

from __future__ import annotations

import json
import pickle
import re
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from llmring_lite.exceptions import (
    AliasNotFoundError,
    LockfileError,
    LockfileNotFoundError,
    LockfileParseError,
    LockfileValidationError,
)
from llmring_lite.lockfile import (
    CONDITIONS,
    LOCKFILE_NAME,
    STRATEGIES,
    Lockfile,
    bundled_path,
    find_lockfile,
)
from llmring_lite.lockfile_fields import (
    BINDING,
    CONSTRAINTS,
    DOCUMENT,
    GUARDRAILS,
    PROFILE,
)
from llmring_lite.lockfile_providers import AUTH_PREFIXES, PROVIDER
from llmring_lite.provider import BUILTIN, WIRE_FORMATS

FULL = """\
version = "1.0"
created_at = "2026-11-20T15:49:01.201187+00:00"
updated_at = 2026-11-20T15:49:01Z
default_profile = "default"

[extends]
packages = ["libA"]

[metadata]
team = "search"

[providers.pool-a]
kind = "openai"
base_url = "https://api-1.example.com/v1/"
api_key_env = "POOL_KEY"

[profiles.default]
name = "default"
registry_versions = { openai = 7 }

[[profiles.default.bindings]]
alias = "summarizer"
models = ["anthropic:claude-haiku-4-5-20251001", "openai:gpt-5-mini", "drafts"]
strategy = "split"
weights = [80, 15, 5]
sticky_by = "user"
conditions = { "openai:gpt-5-mini" = ["rate_limit", "timeout"] }
parameters = { temperature = 0.2, max_tokens = 800, stop = "END" }
constraints = { select = "anthropic:*", min_context = 100000, max_cost = 10.0 }
guardrails = { max_latency = "5s", max_cost_per_request = 0.10, \
block_categories = ["PII"], content_filters = [{ type = "sensitive_data" }] }

[[profiles.default.bindings]]
alias = "drafts"
models = ["pool-a:llama:8b", "libA:writer", "openai:gpt-5-mini"]
strategy = "race"
hedge_after = "p95"

[[profiles.default.bindings]]
alias = "libA:summarizer"
models = ["mock:echo"]

[profiles.prod]
name = "prod"
bindings = []
"""


@pytest.fixture
def full() -> Lockfile:
    return Lockfile.loads(FULL)


def problems(text: str, **how: Any) -> list[str]:
    with pytest.raises(LockfileValidationError) as caught:
        Lockfile.loads(text, **how)
    assert str(caught.value).split("\n  ")[1:] == caught.value.problems
    return caught.value.problems


def problem(text: str, **how: Any) -> str:
    """The only one."""
    (found,) = problems(text, **how)
    return found


def binding(body: str) -> str:
    """A lockfile with one binding; its body begins on line 2."""
    return f"[[profiles.default.bindings]]\n{body}\n"


# What it says --------------------------------------------------------------------


def test_every_part_of_the_format_is_read(full: Lockfile) -> None:
    assert full.warnings == ()
    assert (full.version, full.default_profile) == ("1.0", "default")
    assert full.created_at == "2026-11-20T15:49:01.201187+00:00"
    assert full.updated_at.year == 2026
    assert full.extends == ("libA",)
    assert full.metadata == {"team": "search"}
    assert list(full.profiles) == ["default", "prod"]
    assert full.profiles["default"].registry_versions == {"openai": 7}
    bound = full.get_profile().bindings["summarizer"]
    assert bound.alias == "summarizer"
    assert bound.models[1:] == ("openai:gpt-5-mini", "drafts")
    assert bound.strategy == "split"
    assert bound.weights == (80, 15, 5)
    assert bound.sticky_by == "user"
    assert bound.conditions == {"openai:gpt-5-mini": ("rate_limit", "timeout")}
    assert bound.parameters == {"temperature": 0.2, "max_tokens": 800, "stop": "END"}
    assert bound.constraints["select"] == "anthropic:*"
    assert bound.guardrails["content_filters"] == [{"type": "sensitive_data"}]
    drafts = full.get_profile().bindings["drafts"]
    assert (drafts.strategy, drafts.hedge_after) == ("race", "p95")
    assert drafts.weights is None
    assert full.get_binding("summarizer", "prod") is None


def test_bindings_and_providers_know_their_line(full: Lockfile) -> None:
    lines = FULL.split("\n")
    for alias, bound in full.get_profile().bindings.items():
        assert bound.line is not None
        assert lines[bound.line] == f'alias = "{alias}"'
    assert full.providers["pool-a"].line == lines.index("[providers.pool-a]") + 1


def test_aliases_are_flattened_in_place_and_once(full: Lockfile) -> None:
    assert full.flatten("summarizer") == (
        "anthropic:claude-haiku-4-5-20251001",
        "openai:gpt-5-mini",
        "pool-a:llama:8b",
        "libA:writer",
    )


def test_a_local_override_stands_for_the_packages_alias() -> None:
    lockfile = Lockfile.loads(
        '[extends]\npackages = ["lib-A"]\n'
        '[aliases.default]\na = ["lib_a:x", "lib_a:y"]\n"lib_a:x" = "mock:mine"\n'
    )
    assert lockfile.flatten("a") == ("mock:mine", "lib_a:y")
    assert lockfile.flatten("lib_a:x") == ("mock:mine",)


def test_a_model_stands_for_itself(full: Lockfile) -> None:
    for reference in ("ollama:llama3:8b", "pool-a:x", "openai:gpt-5"):
        assert full.flatten(reference) == (reference,)
        assert full.is_model(reference)
    assert not full.is_model("nosuch:x")
    assert not full.is_model("openai:")
    assert not full.is_model("openai")


def test_a_long_chain_of_aliases_is_flattened() -> None:
    links = [f'a{i} = "a{i + 1}"' for i in range(5000)]
    text = "[aliases.default]\n" + "\n".join(links) + '\na5000 = "mock:end"\n'
    assert Lockfile.loads(text).flatten("a0") == ("mock:end",)


def test_an_alias_that_is_not_there_is_an_error_that_helps(full: Lockfile) -> None:
    with pytest.raises(AliasNotFoundError, match="did you mean 'summarizer'"):
        full.flatten("sumarizer")
    with pytest.raises(AliasNotFoundError, match="it is in 'default'") as caught:
        full.flatten("drafts", "prod")
    assert (caught.value.alias, caught.value.profile) == ("drafts", "prod")
    with pytest.raises(AliasNotFoundError, match="llmring-lite bind zzz"):
        full.flatten("zzz")
    with pytest.raises(AliasNotFoundError, match="did you mean 'drafts'"):
        full.flatten("Draft")
    assert full.profiles_having("drafts") == ["default"]


def test_an_unknown_profile_is_an_error_that_lists_the_profiles(full: Lockfile) -> None:
    asks = (full.get_profile, full.list_aliases, partial(full.flatten, "drafts"))
    for ask in asks:
        with pytest.raises(ValueError, match=r"'prd', only 'default', 'prod'.*'prod'"):
            ask("prd")
    assert full.has_alias("x", "prd") is False
    assert full.has_alias("drafts") is True


def test_an_empty_file_has_an_empty_default_profile() -> None:
    for text in ("", "\n# nothing\n", 'version = "1.0"'):
        assert Lockfile.loads(text).get_profile().bindings == {}
    assert Lockfile.loads("{}", format="json").get_profile("default").bindings == {}


# Older forms ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        binding('alias = "a"\nprovider = "openai"\nmodel = "gpt-4"'),
        '[aliases.default]\na = "openai:gpt-4"',
        '[aliases]\na = "openai:gpt-4"',
        '[[bindings]]\nalias = "a"\nprovider = "openai"\nmodel = "gpt-4"',
        '[[bindings]]\nalias = "a"\nmodel = "openai:gpt-4"',
        '[registry_versions]\nopenai = 3\n[[bindings]]\nalias = "a"\n'
        'models = ["openai:gpt-4"]',
    ],
)
def test_older_forms_are_read(text: str) -> None:
    lockfile = Lockfile.loads(text)
    assert lockfile.warnings == ()
    assert lockfile.flatten("a") == ("openai:gpt-4",)
    pinned = lockfile.get_profile().registry_versions
    assert pinned == ({"openai": 3} if "registry_versions" in text else {})
    again = Lockfile.loads(lockfile.dumps())
    assert again.to_dict() == lockfile.to_dict()


def test_older_forms_go_into_their_profiles() -> None:
    lockfile = Lockfile.loads(
        'default_profile = "dev"\n[aliases.prod]\na = ["mock:p", "b"]\nb = "mock:b"\n'
        '[aliases.empty]\n[[bindings]]\nalias = "a"\nmodels = ["mock:d"]\n'
    )
    assert lockfile.flatten("a", "prod") == ("mock:p", "mock:b")
    assert lockfile.flatten("a") == ("mock:d",)
    assert lockfile.get_profile("empty").bindings == {}


def test_json_as_llmring_writes_it_is_read(full: Lockfile) -> None:
    document = full.to_dict()
    document["updated_at"] = None
    document["profiles"]["default"]["bindings"][1]["constraints"] = None
    lockfile = Lockfile.loads(json.dumps(document, indent=2), format="json")
    assert lockfile.flatten("summarizer") == full.flatten("summarizer")
    bound = lockfile.get_profile().bindings["drafts"]
    assert bound.constraints == {}


# Providers -----------------------------------------------------------------------


def test_an_own_endpoint(full: Lockfile) -> None:
    endpoint = full.providers["pool-a"].endpoint()
    assert endpoint.name == "pool-a"
    assert endpoint.kind == "openai"
    assert endpoint.base_url == "https://api-1.example.com/v1"
    assert endpoint.base_url_env == ()
    assert endpoint.api_key_env == ("POOL_KEY",)
    assert (endpoint.auth_header, endpoint.auth_prefix) == ("Authorization", "Bearer ")
    assert full.endpoint("openai") is BUILTIN["openai"]
    assert full.endpoint("nosuch") is None


def test_an_own_endpoint_has_the_manners_of_its_kind() -> None:
    lockfile = Lockfile.loads(
        '[providers.claude-eu]\nkind = "anthropic"\nbase_url = "https://eu.example"\n'
        'api_key_env = ["A_KEY", "B_KEY"]\n'
        '[providers.box]\nkind = "ollama"\nbase_url = "http://10.0.0.2:11434"\n'
        '[providers.fake]\nkind = "mock"\n'
        '[providers.eu]\nkind = "openai-responses"\nbase_url = "https://[::1]:8/v1"\n'
        'auth_header = "API-Key"\napi_version = "2024-10-21"\nkey_optional = true\n'
        'max_tokens_field = "max_tokens"\nstream_options = false\n'
    )
    claude = lockfile.providers["claude-eu"].endpoint()
    assert (claude.auth_header, claude.auth_prefix) == ("x-api-key", "")
    assert claude.api_key_env == ("A_KEY", "B_KEY")
    assert claude.base_url_env == ()
    box = lockfile.providers["box"].endpoint()
    assert (box.kind, box.api_key_env) == ("ollama", ())
    fake = lockfile.providers["fake"].endpoint()
    assert (fake.kind, fake.base_url) == ("mock", BUILTIN["mock"].base_url)
    eu = lockfile.providers["eu"].endpoint()
    assert (eu.kind, eu.auth_header, eu.auth_prefix) == (
        "openai-responses",
        "api-key",
        "",
    )
    assert (eu.api_version, eu.max_tokens_field) == ("2024-10-21", "max_tokens")
    assert (eu.stream_options, eu.key_optional) == (False, True)


def test_a_built_in_endpoint_can_be_changed() -> None:
    lockfile = Lockfile.loads(
        '[providers.openai]\nkind = "openai-responses"\n'
        '[providers.groq]\nbase_url = "https://proxy.example/groq/"\n'
        '[providers.mistral]\napi_key_env = "TEAM_KEY"\n'
    )
    openai = lockfile.providers["openai"].endpoint()
    assert openai.kind == "openai-responses"
    assert openai.base_url == BUILTIN["openai"].base_url
    assert openai.base_url_env == BUILTIN["openai"].base_url_env
    groq = lockfile.providers["groq"].endpoint()
    assert groq.base_url == "https://proxy.example/groq"
    assert groq.base_url_env == ()
    assert groq.api_key_env == BUILTIN["groq"].api_key_env
    assert groq.max_tokens_field == BUILTIN["groq"].max_tokens_field
    mistral = lockfile.providers["mistral"].endpoint()
    assert mistral.api_key_env == ("TEAM_KEY",)
    assert mistral.base_url == BUILTIN["mistral"].base_url


SECRET = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f'api_key = "{SECRET}"', "api_key_env"),
        (f'apikey = "{SECRET}"', "api_key_env"),
        (f'token = "{SECRET}"', "api_key_env"),
        (f'auth = "Bearer {SECRET}"', "api_key_env"),
        (f'headers = {{ Authorization = "{SECRET}" }}', "headers"),
        ("verify = false", "TLS"),
        ("verify_ssl = false", "TLS"),
        ('ca_cert = "/tmp/x"', "TLS"),
        ('proxy = "http://evil"', "prox"),
        (f'api_key_env = "{SECRET}"', "name of an environment variable"),
        ('api_key_env = "AIzaSyD1234567890abcdefghijklmnopqrstuv"', "capital"),
        ('api_key_env = ["A_KEY", 3]', "integer"),
        ("api_key_env = 3", "integer"),
        ('auth_header = "Cookie"', "Authorization"),
        ('api_version = "x&y=z"', "letters"),
        ('kind = "opnai"', "did you mean 'openai'?"),
        ("stream_options = 1", "true or false"),
        ('max_tokens_field = "limit"', "max_completion_tokens"),
    ],
)
def test_a_provider_carries_no_secret_and_no_switch(line: str, said: str) -> None:
    text = f'[providers.x]\nbase_url = "https://h/v1"\n{line}\n'
    text += "" if "kind" in line else 'kind = "openai"\n'
    found = problem(text)
    assert found.startswith("line 3: provider 'x': ")
    assert said in found
    assert SECRET not in found
    assert "AIza" not in found


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "ftp://host/",
        "HTTPS://host/",
        "api.example.com/v1",
        "https:/host",
        f"https://user:{SECRET}@host/v1",
        "https://host@evil/v1",
        "https://host\\\\@evil/v1",
        "https://evil\\\\.example/",
        "https://ho st/v1",
        "https://host/v1\\n",
        "https://host/\\u0000",
        "https://host/v1?key=x",
        "https://host/v1#x",
        "https://exämple.com/v1",
        "https://host:/v1",
        "https://host:port/v1",
        "https://host:99999/v1",
        "https://:443/v1",
        "https://[::1/v1",
        "https://[]/v1",
        "https://[::1]x/v1",
        "https://[evil]/v1",
        "https://ho%73t/v1",
        "https://host,evil/v1",
    ],
)
def test_a_base_url_is_plain_or_refused(url: str) -> None:
    found = problem(f'[providers.x]\nkind = "openai"\nbase_url = "{url}"\n')
    assert found.startswith("line 3: provider 'x': base_url ")
    assert SECRET not in found


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/v1",
        "http://[::1]:8000",
        "https://My-Host.example.com:443/a/b_c/",
        "http://localhost",
    ],
)
def test_ordinary_base_urls_are_taken(url: str) -> None:
    text = f'[providers.x]\nkind = "openai"\nbase_url = "{url}"\n'
    endpoint = Lockfile.loads(text).providers["x"].endpoint()
    assert endpoint.base_url == url.rstrip("/")


def test_what_a_new_provider_must_say() -> None:
    assert "kind" in problem('[providers.x]\nbase_url = "https://h"')
    assert "base_url is missing" in problem('[providers.x]\nkind = "google"')
    assert "lower-case" in problem('[providers.Big]\nkind = "mock"')
    assert "must be a table" in problem('providers.x = "https://h"')


# What can be wrong ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "line", "said"),
    [
        ('alias = "a"', 1, "models is missing"),
        ('models = ["mock:x"]', 1, "alias is missing"),
        ('alias = ""\nmodels = ["mock:x"]', 2, "alias is empty"),
        ('alias = "a b"\nmodels = ["mock:x"]', 2, "not an alias name"),
        ('alias = "a:b:c"\nmodels = ["mock:x"]', 2, "not an alias name"),
        ('alias = ":a"\nmodels = ["mock:x"]', 2, "not an alias name"),
        ('alias = "é"\nmodels = ["mock:x"]', 2, "not an alias name"),
        ('alias = "openai:a"\nmodels = ["mock:x"]', 1, "provider names win"),
        ('alias = 3\nmodels = ["mock:x"]', 2, "must be a string, not an integer"),
        ('alias = "a"\nmodels = []', 3, "models is empty"),
        ('alias = "a"\nmodels = "mock:x, mock:y"', 3, 'write ["mock:x", "mock:y"]'),
        ('alias = "a"\nmodels = [1]', 3, "holds an integer"),
        ('alias = "a"\nmodels = [""]', 3, "empty string"),
        ('alias = "a"\nmodels = [true]', 3, "holds a boolean"),
        ('alias = "a"\nmodels = ["OpenAI:x"]', 3, "write 'openai:x'"),
        ('alias = "a"\nmodels = ["opnai:x"]', 3, "did you mean 'openai'?"),
        ('alias = "a"\nmodels = ["zzz:x"]', 3, "[providers.zzz]"),
        ('alias = "a"\nmodels = ["openai:"]', 3, "names no model"),
        ('alias = "a"\nmodels = [" openai:x"]', 3, "blanks around it"),
        ('alias = "a"\nmodels = ["openai:x\\u0000"]', 3, "control characters"),
        ('alias = "a"\nmodels = ["gpt-4"]', 3, "'provider:model'"),
        ('alias = "aa"\nmodels = ["AA"]', 3, "did you mean 'aa'?"),
        ('alias = "a"\nmodels = ["a"]', 3, "a -> a"),
        ('alias = "a"\nmodels = ["mock:x"]\nstrategy = "split"', 1, "needs weights"),
    ],
)  # fmt: skip
def test_a_wrong_binding_is_reported_with_its_line(
    body: str, line: int, said: str
) -> None:
    found = problem(binding(body))
    assert found.startswith(f"line {line}: profile 'default', ")
    assert said in found


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ('strategy = "rase"', "'race'"),
        ('strategy = true', "not a boolean"),
        ('weights = [99]', "100, not to 99"),
        ('weights = [150, -50]', "at least 0"),
        ('weights = [50, 50]', "(2 and 1)"),
        ('weights = [true]', "not a boolean"),
        ('weights = "100"', "an array"),
        ('weights = [nan]', "finite"),
        ('hedge_after = -1', "at least 0"),
        ('hedge_after = inf', "finite"),
        ('hedge_after = "p0"', '"p95"'),
        ('hedge_after = "soon"', '"p95"'),
        ('hedge_after = true', "not a boolean"),
        ('conditions = 1', "a table"),
        ('conditions = {"mock:x" = "any"}', 'not a string: write ["any"]'),
        ('conditions = {"mock:x" = ["timeot"]}', "'timeout'"),
        ('conditions = {"mock:x" = []}', "empty"),
        ('conditions = {"mock:y" = ["any"]}', "did you mean 'mock:x'?"),
        ('parameters = {temperature = "1"}', "must be a number"),
        ('parameters = {max_tokens = true}', "must be an integer, not a boolean"),
        ('parameters = {max_tokens = 0}', "1"),
        ('parameters = {top_p = 1.5}', "0 to 1"),
        ('parameters = {stream = true}', "call"),
        ('parameters = {timeout = 0}', "zero"),
        ('constraints = {max_cost = "1"}', "must be a number"),
        ('guardrails = {max_latency = "5"}', '"5s"'),
        ('guardrails = {max_latency = "0s"}', "above zero"),
        ('guardrails = {block_categories = "PII"}', 'write ["PII"]'),
        ('guardrails = {content_filters = ["x"]}', "type ="),
        ('guardrails = {max_latncy = "5s"}', "did you mean 'max_latency'?"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_reported_with_its_line(option: str, said: str) -> None:
    found = problem(binding(f'alias = "a"\nmodels = ["mock:x"]\n{option}'))
    assert found.startswith("line 4: profile 'default', alias 'a': ")
    assert said in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version = 1", "version must be a string, not an integer"),
        ("created_at = 3", "must be a date and time"),
        ('profiles.prd = {}\ndefault_profile = "prod"', "not among the profiles (prd)"),
        ('[extends]\npackages = "libA"', 'write ["libA"]'),
        ('[extends]\npackages = ["../evil"]', "not a package name"),
        ('[extends]\npackages = ["-x"]', "not a package name"),
        ("profiles = 3", "profiles must be a table"),
        ("profiles.default = []", "must be a table"),
        ("profiles.default.bindings = 3", "bindings must be an array"),
        ("profiles.default.bindings = [3]", "a binding must be a table"),
        ("profiles.default.name = 3", "name must be a string"),
        ("profiles.default.registry_versions = {openai = true}", "not a boolean"),
        ('profiles.default.registry_versions = {openai = "7"}', "not a string"),
        ("registry_versions = {openai = -1}", "at least 0"),
        ("metadata = 3", "metadata must be a table"),
        ('aliases.default.a = 3', "must be an array"),
        ("bindings = 3", "bindings must be an array"),
        ('[[bindings]]\nalias = "a"\nprovider = 3\nmodel = "x"', "models is missing"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_reported_with_the_line(text: str, said: str) -> None:
    found = problem(text)
    assert found.startswith(f"line {text.count(chr(10)) + 1}: ") or "models" in said
    assert said in found


def test_all_problems_come_at_once_and_in_order() -> None:
    text = """\
[[profiles.default.bindings]]
alias = "a"
models = ["nosuch:x", "b"]
strategy = "fastest"
[[profiles.default.bindings]]
alias = "b"
models = ["c"]
weights = [1]
[[profiles.default.bindings]]
alias = "c"
models = ["b"]
[[profiles.prod.bindings]]
alias = "c"
models = "x"
[[profiles.prod.bindings]]
alias = "c"
models = ["mock:x"]
"""
    found = problems(text, path="some/llmring.lock")
    assert [problem.split(":")[0] for problem in found] == [
        f"line {line}" for line in (3, 4, 8, 11, 14, 15)
    ]
    for problem, said in zip(
        found,
        ["nosuch", "fastest", "sum to 100", "b -> c -> b", "an array", "(see line 12)"],
        strict=True,
    ):
        assert said in problem
    with pytest.raises(LockfileValidationError, match=r"some/llmring\.lock has 6 prob"):
        Lockfile.loads(text, path="some/llmring.lock")


def test_the_line_of_a_json_problem() -> None:
    document = {"profiles": {"p": {"bindings": [{"alias": "a", "models": "x"}]}}}
    found = problems(json.dumps(document, indent=2), format="json")
    assert found[0].startswith("line 7: profile 'p', alias 'a': models must")


def test_cycles_are_found_wherever_they_are() -> None:
    text = "[aliases.default]\n"
    text += "".join(f'a{i} = "a{i + 1}"\n' for i in range(3000)) + 'a3000 = "a2999"\n'
    text += 'x = ["mock:x", "a0"]\n"lib:y" = ["x", "lib:y"]\n'
    found = problems(text)
    assert len(found) == 2
    assert "a2999 -> a3000 -> a2999" in found[0]
    assert "lib:y -> lib:y" in found[1]


def test_what_is_odd_but_harmless_is_a_warning() -> None:
    lockfile = Lockfile.loads(
        """\
profils = {}
[extends]
packages = ["openai"]
[profiles.default]
name = "other"
[[profiles.default.bindings]]
alias = "a"
models = ["mock:x"]
stratgy = "race"
weights = [100]
hedge_after = 1
constraints = { mincontext = 1 }
parameters = { temprature = 1 }
"""
    )
    warnings = lockfile.warnings
    assert [warning.split(":")[0] for warning in warnings] == [
        f"line {line}" for line in (1, 3, 5, 9, 10, 11, 12, 13)
    ]
    for warning, said in zip(
        warnings,
        ["'profiles'", "provider names win", "'other'", "did you mean 'strategy'?",
         "split and weighted", "race only", "'min_context'", "'temperature'"],
        strict=True,
    ):  # fmt: skip
        assert said in warning
    bound = lockfile.get_profile().bindings["a"]
    assert bound.parameters == {"temprature": 1}


def test_every_strategy_and_condition_of_the_format_is_known() -> None:
    for strategy in STRATEGIES:
        Lockfile.loads(
            binding(
                f'alias = "a"\nmodels = ["mock:x"]\nstrategy = "{strategy}"\n'
                "weights = [100]"
            )
        )
    names = json.dumps(list(CONDITIONS))
    conditions = f'conditions = {{ "mock:x" = {names} }}'
    Lockfile.loads(binding(f'alias = "a"\nmodels = ["mock:x"]\n{conditions}'))


@pytest.mark.parametrize("weights", [[33.3, 33.3, 33.4], [33, 33, 34], [100, 0, 0.0]])
def test_weights_that_sum_to_a_hundred(weights: list[float]) -> None:
    models = '["mock:a", "mock:b", "mock:c"]'
    text = f'alias = "a"\nmodels = {models}\nstrategy = "split"\nweights = {weights}'
    bound = Lockfile.loads(binding(text)).get_profile().bindings["a"]
    assert bound.weights == tuple(weights)


def test_ten_thousand_bindings_are_checked_in_linear_time() -> None:
    def seconds(count: int, models: str) -> float:
        text = "".join(
            f'[[bindings]]\nalias = "a{i}"\nmodels = {models}\n' for i in range(count)
        )
        start = time.perf_counter()
        if "mock" in models:
            assert len(Lockfile.loads(text).get_profile().bindings) == count
        else:
            assert len(problems(text)) == count
        return time.perf_counter() - start

    for models in ('["mock:x"]', '["nosuch:x"]', '["nosuch"]', "[]"):
        small = min(seconds(1000, models) for _ in range(3))
        # Quadratic would be a hundred times, and looking up near misses for each of
        # the mistakes minutes.
        assert seconds(10_000, models) < 40 * small + 1


# What is no lockfile -------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("a = 1\nb = \n", 2, 5),
        ("a = 1\r\nb = \r\n", 2, 5),
        ("\ufeffa = 1\nb = \n", 2, 5),
        ("a = [1,\n2", 2, 2),
        ("a = 1\na = 2\n", 2, 6),
        ('a = "\x00"', 1, 6),
        ("a = 1\nb = tru\n", 2, 5),
    ],
)
def test_broken_toml_is_reported_with_its_place(
    text: str, line: int, column: int
) -> None:
    with pytest.raises(LockfileParseError) as caught:
        Lockfile.loads(text, path="x/llmring.lock")
    assert (caught.value.line, caught.value.column) == (line, column)
    assert f"x/llmring.lock, line {line}, column {column}: " in str(caught.value)
    assert caught.value.path == "x/llmring.lock"


@pytest.mark.parametrize(
    ("text", "line"),
    [("{\n  x}", 2), ("[1]", 1), ("", 1), ('{"a": "\x00"}', 1)],
)
def test_broken_json_is_reported_with_its_place(text: str, line: int) -> None:
    with pytest.raises(LockfileParseError) as caught:
        Lockfile.loads(text, format="json")
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"profiles": {}, "profiles": {}}', "'profiles' stands twice"),
        ('{"x": NaN}', "NaN is not JSON"),
        ('{"x": ' + "9" * 5000 + "}", "digit"),
        ("[" * 100_000, "nested"),
        ('{"x":' * 200 + "1" + "}" * 200, "nested"),
    ],
)
def test_json_that_python_would_let_pass_is_refused(text: str, said: str) -> None:
    with pytest.raises(LockfileParseError, match=said):
        Lockfile.loads(text, format="json")


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 100_000,
        "a = " + "[" * 200 + "]" * 200,
        "a." * 200 + "b = 1",
        "[" + "a." * 5000 + "b]",
        "a = " + "{a=" * 50_000,
    ],
)
def test_deep_nesting_is_a_parse_error(text: str) -> None:
    with pytest.raises(LockfileParseError, match="nested"):
        Lockfile.loads(text)


def test_huge_integers_are_refused() -> None:
    with pytest.raises(LockfileParseError, match="digit"):
        Lockfile.loads("a = " + "9" * 5000)
    text = f'alias = "a"\nmodels = ["mock:x"]\nweights = [{"9" * 400}]'
    assert "ordinary size" in problems(binding(text))[0]


def test_bad_utf_8_is_reported_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "llmring.lock"
    path.write_bytes("# é\n# é".encode() + b"\xff\n")
    with pytest.raises(LockfileParseError, match="not UTF-8") as caught:
        Lockfile.load(path)
    assert (caught.value.line, caught.value.column) == (2, 4)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "llmring.lock"
    with path.open("wb") as file:
        file.truncate(100 * 2**20)
    start = time.perf_counter()
    with pytest.raises(LockfileParseError, match="larger than 16 MiB"):
        Lockfile.load(path)
    assert time.perf_counter() - start < 1


def test_a_file_that_cannot_be_read_is_a_lockfile_error(tmp_path: Path) -> None:
    with pytest.raises(LockfileNotFoundError, match="lock init"):
        Lockfile.load(tmp_path / "llmring.lock")
    with pytest.raises(LockfileError, match="can't read"):
        Lockfile.load(tmp_path)
    with pytest.raises(LockfileError, match="can't read"):
        Lockfile.load("a\0b")


def test_byte_order_mark_and_windows_line_ends_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "llmring.lock"
    path.write_bytes(b"\xef\xbb\xbf" + FULL.replace("\n", "\r\n").encode())
    assert Lockfile.load(path).to_dict() == Lockfile.loads(FULL).to_dict()


# Writing -------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["toml", "json"])
def test_what_is_written_says_the_same(format: Any, full: Lockfile) -> None:
    full.updated_at = "2026-11-20"
    again = Lockfile.loads(full.dumps(format), format=format)
    assert again.to_dict() == full.to_dict()
    assert again.get_profile().bindings == full.get_profile().bindings
    assert again.providers == full.providers


def test_unknown_keys_survive() -> None:
    text = """\
top = 1
[future]
x = [1, { y = 2 }]
[providers.p]
kind = "mock"
region = "eu"
[profiles.default]
note = "n"
[[profiles.default.bindings]]
alias = "a"
models = ["mock:x"]
mine = { z = 1979-05-27 }
"""
    document = Lockfile.loads(Lockfile.loads(text).dumps()).to_dict()
    assert document["top"] == 1
    assert document["future"] == {"x": [1, {"y": 2}]}
    assert document["providers"]["p"]["region"] == "eu"
    assert document["profiles"]["default"]["note"] == "n"
    bound = document["profiles"]["default"]["bindings"][0]
    assert str(bound["mine"]["z"]) == "1979-05-27"


@pytest.mark.parametrize("name", ["llmring.lock", "x.json", "X.JSON"])
def test_save_and_load(name: str, tmp_path: Path, full: Lockfile) -> None:
    full.updated_at = "2026-11-20"
    path = tmp_path / name
    assert full.save(path) == path
    lockfile = Lockfile.load(path)
    assert lockfile.to_dict() == full.to_dict()
    assert lockfile.path == path
    lockfile.metadata["x"] = 1
    lockfile.save()
    assert Lockfile.load(path).metadata["x"] == 1


def test_nothing_impossible_is_saved(tmp_path: Path, full: Lockfile) -> None:
    full.default_profile = "nosuch"
    with pytest.raises(LockfileValidationError):
        full.save(tmp_path / "llmring.lock")
    assert not (tmp_path / "llmring.lock").exists()
    with pytest.raises(LockfileError, match="name a path"):
        full.save()


def test_the_digest_is_that_of_what_the_file_says(full: Lockfile) -> None:
    digest = full.calculate_digest()
    assert len(digest) == 64
    text = FULL.replace("2026-11-20", "2027-01-01").replace("\n\n", "\n# x\n")
    assert Lockfile.loads(text).calculate_digest() == digest
    text = FULL.replace("gpt-5-mini", "gpt-5")
    assert Lockfile.loads(text).calculate_digest() != digest


def test_a_lockfile_travels_to_another_process(full: Lockfile) -> None:
    again = pickle.loads(pickle.dumps(full))
    assert again.to_dict() == full.to_dict()
    bound = again.get_binding("drafts")
    assert bound.line == full.get_profile().bindings["drafts"].line


# Which file ----------------------------------------------------------------------


def test_the_order_of_the_search(tmp_path: Path) -> None:
    explicit, named = tmp_path / "a.lock", tmp_path / "b.lock"
    local = tmp_path / LOCKFILE_NAME
    environ = {"LLMRING_LOCKFILE_PATH": str(named)}
    for path in (explicit, named, local):
        path.write_text("")
    assert find_lockfile(explicit, environ, tmp_path) == explicit
    assert find_lockfile(None, environ, tmp_path) == named
    assert find_lockfile(None, {}, tmp_path) == local
    assert find_lockfile("", {"LLMRING_LOCKFILE_PATH": ""}, tmp_path) == local
    local.unlink()
    assert find_lockfile(None, {}, tmp_path) == bundled_path()


def test_relative_paths_count_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.lock").write_text("")
    assert find_lockfile("sub/x.lock", {}, tmp_path) == tmp_path / "sub" / "x.lock"
    monkeypatch.chdir(tmp_path / "sub")
    assert find_lockfile("x.lock", {}) == tmp_path / "sub" / "x.lock"
    assert find_lockfile("x.lock", {}).is_absolute()


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    (tmp_path / LOCKFILE_NAME).write_text("")
    with pytest.raises(LockfileNotFoundError, match=r"a\.lock.*lockfile_path.*init"):
        find_lockfile("a.lock", {}, tmp_path)
    environ = {"LLMRING_LOCKFILE_PATH": "b.lock"}
    with pytest.raises(FileNotFoundError, match=r"b\.lock.*LLMRING_LOCKFILE_PATH"):
        find_lockfile(None, environ, tmp_path)
    with pytest.raises(LockfileNotFoundError):
        find_lockfile(tmp_path, {}, tmp_path)


def test_a_link_to_nowhere_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / LOCKFILE_NAME).symlink_to("gone.lock")
    with pytest.raises(LockfileNotFoundError, match="symbolic link"):
        find_lockfile(None, {}, tmp_path)


def test_nothing_at_all_is_said_with_what_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = str(tmp_path / "package" / LOCKFILE_NAME)
    monkeypatch.setattr("llmring_lite.lockfile_file.BUNDLED_LOCKFILE", missing)
    with pytest.raises(LockfileNotFoundError) as caught:
        find_lockfile(None, {}, tmp_path)
    for said in ("LLMRING_LOCKFILE_PATH", str(tmp_path / LOCKFILE_NAME), "lock init"):
        assert said in str(caught.value)


def test_a_deleted_working_directory_is_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert find_lockfile(None, {}) == bundled_path()


def test_the_bundled_file_has_the_advisor_and_nothing_else() -> None:
    lockfile = Lockfile.load(bundled_path())
    assert lockfile.is_bundled
    assert lockfile.warnings == ()
    assert list(lockfile.profiles) == ["default"]
    assert lockfile.list_aliases() == ["advisor"]
    providers = {ref.partition(":")[0] for ref in lockfile.flatten("advisor")}
    assert providers == {"anthropic", "openai", "google"}


# docs/lockfile.md ----------------------------------------------------------------

DOCS = Path(__file__).resolve().parents[1] / "docs" / "lockfile.md"


def test_the_docs_name_every_key_and_word() -> None:
    text = DOCS.read_text("utf-8")
    words = {*STRATEGIES, *CONDITIONS, *WIRE_FORMATS, *AUTH_PREFIXES}
    keys = {*BINDING, *CONSTRAINTS, *GUARDRAILS, *PROVIDER, *PROFILE, *DOCUMENT}
    for word in words | keys:
        assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text), word


def test_the_examples_of_the_docs_are_lockfiles() -> None:
    examples = re.findall(r"```toml\n(.*?)```", DOCS.read_text("utf-8"), re.S)
    assert len(examples) >= 3
    for example in examples:
        if "[tool." not in example:  # of a pyproject.toml
            assert Lockfile.loads(example).warnings == ()
