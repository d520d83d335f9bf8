"""`lock validate`, `lock bump-registry`, `lock upgrade`, and `bind` by a rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import Run
from loopback import reply, serving

from llmring_lite import LLMRing, RegistryError
from llmring_lite.lockfile import AliasBinding, Lockfile

Publish = Callable[..., None]


def facts(given: float, **more: Any) -> dict[str, Any]:
    return {
        "is_active": True,
        "dollars_per_million_tokens_input": given,
        "dollars_per_million_tokens_output": given * 4,
        "max_input_tokens": 200_000,
        **more,
    }


@pytest.fixture
def publish(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Puts a version of openai's models into a registry in a folder."""
    root = folder / "registry"
    monkeypatch.setenv("LLMRING_REGISTRY_URL", root.as_uri())

    def put(version: int, **models: dict[str, Any]) -> None:
        text = json.dumps(
            {
                "provider": "openai",
                "version": version,
                "updated_at": "2026-01-02T03:04:05",
                "models": {
                    f"openai:{n.replace('_', '-')}": m for n, m in models.items()
                },
            }
        )
        for path in (root / "openai", root / "openai" / "v" / str(version)):
            path.mkdir(parents=True, exist_ok=True)
            (path / "models.json").write_text(text)

    return put


def write(*models: str, pins: str = "", more: str = "") -> Path:
    path = Path("llmring.lock")
    path.write_text(
        'version = "1.0"\n[profiles.default]\nname = "default"\n'
        f"{pins}\n"
        "# ours\n[[profiles.default.bindings]]\n"
        f'alias = "smart"\nmodels = {json.dumps(models)}\n{more}\n'
    )
    return path


def binding(alias: str = "smart") -> AliasBinding:
    found = Lockfile.load("llmring.lock").get_binding(alias)
    assert found is not None
    return found


# lock validate: models ------------------------------------------------------------


def test_a_good_file_is_valid(publish: Publish, run: Run) -> None:
    publish(7, gpt_a=facts(1.0))
    write("openai:gpt-a", pins="registry_versions = { openai = 7 }")
    out, err = run("lock validate --strict")
    assert out.strip().endswith("valid, 1 alias in 1 profile")
    assert "compared with openai version 7 of 2026-01-02" in err


def test_an_unknown_model_is_a_problem(publish: Publish, run: Run) -> None:
    publish(7, gpt_a=facts(1.0))
    write("openai:gpt-a", "openai:gpt-aa")
    out = run("lock validate", code=1).out
    assert "smart: openai:gpt-aa is not in the registry; did you mean gpt-a?" in out
    assert "1 problem" in out


@pytest.mark.parametrize(
    "model", ["mock:echo", "ollama:llama3.2", "groq:whatever", "openai:ft:gpt-a:acme"]
)
def test_what_no_registry_can_know_is_no_problem(
    model: str, publish: Publish, run: Run
) -> None:
    publish(7, gpt_a=facts(1.0))
    write(model)
    run("lock validate")


def test_a_provider_at_another_address_is_its_own_business(
    publish: Publish, run: Run
) -> None:
    publish(7, gpt_a=facts(1.0))
    path = write("openai:house-model")
    base = '[providers.openai]\nbase_url = "https://proxy.example/v1"\n'
    path.write_text(path.read_text() + base)
    run("lock validate")


def test_a_provider_of_ones_own_may_have_a_registry_of_ones_own(
    publish: Publish, run: Run
) -> None:
    publish(7, gpt_a=facts(1.0))
    Path("registry/acme").mkdir()
    text = json.dumps({"models": {"acme:one": facts(1.0)}})
    Path("registry/acme/models.json").write_text(text)
    path = write("acme:one", "acme:two")
    base = '[providers.acme]\nkind = "openai"\nbase_url = "https://acme.example/v1"\n'
    path.write_text(path.read_text() + base)
    out = run("lock validate", code=1).out
    assert "acme:two is not in the registry" in out
    assert "acme:one" not in out


def test_a_deprecated_model_is_a_warning_with_its_successor(
    publish: Publish, run: Run
) -> None:
    publish(7, gpt_1=facts(1.0, is_active=False), gpt_2=facts(1.0))
    write("openai:gpt-1")
    out = run("lock validate").out
    assert out.count("gpt-1 is no longer active; use openai:gpt-2 instead") == 1


def test_a_model_without_a_price_is_a_warning(publish: Publish, run: Run) -> None:
    publish(7, gpt_a=facts(1.0, dollars_per_million_tokens_output=None))
    write("openai:gpt-a")
    assert "warning: smart: openai:gpt-a has no price" in run("lock validate").out


# lock validate: rules --------------------------------------------------------------

RULE = 'constraints = { select = "openai:*", min_context = 100000, max_cost = 2.0 }'


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"max_input_tokens": 50_000}, "takes 50,000 tokens of input, not 100,000"),
        ({"dollars_per_million_tokens_input": 3.0}, "costs $3 per million"),
        ({"is_active": False}, "is no longer active"),
    ],
)
def test_a_broken_rule_is_a_problem(
    change: dict[str, Any],
    reason: str,
    publish: Publish,
    run: Run,
) -> None:
    publish(7, gpt_a=facts(1.0, **change), gpt_b=facts(1.5))
    write("openai:gpt-a", more=RULE)
    assert reason in run("lock validate", code=1).out
    report = run("lock validate --json", code=1).json
    assert "broken_rule" in {finding["kind"] for finding in report["findings"]}


def test_a_rule_that_nothing_satisfies_is_a_problem(publish: Publish, run: Run) -> None:
    publish(7, gpt_a=facts(9.0))
    write("openai:gpt-a", more=RULE)
    assert "no model of 'openai:*' satisfies" in run("lock validate", code=1).out


def test_a_better_model_is_worth_knowing(publish: Publish, run: Run) -> None:
    publish(7, gpt_a=facts(1.0), gpt_b=facts(0.5))
    write("openai:gpt-a", more=RULE)
    out = run("lock validate").out
    assert "openai:* now means openai:gpt-b rather than openai:gpt-a" in out
    assert "lock upgrade smart" in out


def test_constraints_by_hand_are_checked(publish: Publish, run: Run) -> None:
    publish(7, gpt_a=facts(3.0))
    write("openai:gpt-a", more="constraints = { max_cost = 2.0 }")
    assert "no longer satisfies its rule: costs $3" in run("lock validate", code=1).out


def test_a_need_that_nobody_knows_is_a_problem(publish: Publish, run: Run) -> None:
    publish(7, gpt_a=facts(1.0))
    write("openai:gpt-a", more='constraints = { needs = ["sight"] }')
    assert "'sight'" in run("lock validate", code=1).out


# lock validate: drift ---------------------------------------------------------------


def drifted(publish: Publish) -> None:
    publish(5, gpt_4o=facts(5.0), other=facts(1.0))
    publish(7, gpt_4o=facts(2.5, dollars_per_million_tokens_output=20.0))
    write("openai:gpt-4o", pins="registry_versions = { openai = 5 }")


def test_drift_is_reported(publish: Publish, run: Run) -> None:
    drifted(publish)
    out = run("lock validate").out
    assert "openai v5 → v7: gpt-4o input $5.00 → $2.50 per million" in out
    assert "other" not in out  # nobody binds it
    run("lock validate --strict", code=1)
    report = run("lock validate --json").json
    assert report["valid"] is True
    (drift,) = report["drift"]
    assert (drift["profile"], drift["before"], drift["after"]) == ("default", 5, 7)
    (change,) = drift["changes"]
    assert change["field"] == "dollars_per_million_tokens_input"
    assert (change["before"], change["after"]) == (5.0, 2.5)
    assert report["registry"]["openai"]["version"] == 7


def test_a_newer_version_that_changes_nothing_here_is_no_drift(
    publish: Publish, run: Run
) -> None:
    publish(5, gpt_a=facts(1.0), other=facts(1.0))
    publish(7, gpt_a=facts(1.0), other=facts(2.0))
    write("openai:gpt-a", pins="registry_versions = { openai = 5 }")
    assert "nothing changed" in run("lock validate --strict").err


@pytest.mark.parametrize(
    ("pinned", "reason"), [(3, "no version 3"), (9, "only version 7 is known")]
)
def test_drift_that_can_not_be_worked_out_is_said(
    pinned: int, reason: str, publish: Publish, run: Run
) -> None:
    publish(7, gpt_a=facts(1.0))
    write("openai:gpt-a", pins=f"registry_versions = {{ openai = {pinned} }}")
    assert reason in run("lock validate").out
    run("lock validate --strict", code=1)


def test_each_profile_has_its_own_pins(publish: Publish, run: Run) -> None:
    drifted(publish)
    path = Path("llmring.lock")
    path.write_text(
        path.read_text()
        + '\n[profiles.prod]\nname = "prod"\nregistry_versions = { openai = 7 }\n'
        '[[profiles.prod.bindings]]\nalias = "smart"\nmodels = ["openai:gone"]\n'
    )
    out = run("lock validate --profile default").out
    assert "default: openai v5 → v7" in out
    out = run("lock validate --strict --profile prod", code=1).out
    assert "openai:gone is not in the registry" in out
    assert "(profile prod)" in out
    assert "v5" not in out


# lock validate: without a registry ------------------------------------------------


def test_without_a_registry_the_data_here_counts_and_that_is_said(run: Run) -> None:
    write("openai:gpt-4.1")
    out, err = run("lock validate")
    assert "can't be read" in out
    assert "compared with openai version 7 of 2026-08-18" in err
    assert "days old" in err


def test_offline_asks_nobody(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write("openai:gpt-4.1", "openai:gpt-9")
    with serving(reply(b"{}")) as server:
        monkeypatch.setenv("LLMRING_REGISTRY_URL", server.url)
        out = run("lock validate --offline", code=1).out
        assert server.requests == []
    assert "openai:gpt-9 is not in the registry" in out


def test_a_lockfile_of_local_models_asks_nobody(
    monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    write("ollama:llama3.2", "mock:echo")
    with serving(reply(b"{}")) as server:
        monkeypatch.setenv("LLMRING_REGISTRY_URL", server.url)
        run("lock validate")
        assert server.requests == []


def test_garbage_from_the_registry_is_not_taken(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("openai:gpt-4.1")
    with serving(reply(b'{"models": {"openai:gpt-4.1": 3}}')) as server:
        monkeypatch.setenv("LLMRING_REGISTRY_URL", server.url)
        assert "can't be used" in run("lock validate").out


# lock bump-registry ---------------------------------------------------------------


def test_bump_pins_the_newest_and_prints_what_changed(
    publish: Publish, run: Run
) -> None:
    drifted(publish)
    out = run("lock bump-registry").out
    assert "openai v5 → v7: gpt-4o input $5.00 → $2.50 per million" in out
    assert "openai v5 → v7 of 2026-01-02" in out
    text = Path("llmring.lock").read_text()
    assert "registry_versions = { openai = 7 }" in text
    assert "# ours" in text
    run("lock validate --strict")
    assert "still the newest" in run("lock bump-registry").out


def test_bump_pins_for_the_first_time(publish: Publish, run: Run) -> None:
    publish(7, gpt_a=facts(1.0))
    write("openai:gpt-a", "mock:echo")
    report = run("lock bump-registry --json").json
    assert report == {
        "profile": "default",
        "before": {},
        "after": {"openai": 7},
        "drift": [],
    }
    profile = Lockfile.load("llmring.lock").get_profile()
    assert profile.registry_versions == {"openai": 7}


def test_bump_without_a_registry_pins_nothing_and_fails(run: Run) -> None:
    path = write("openai:gpt-4.1", "anthropic:claude-opus-5")
    before = path.read_bytes()
    assert "nothing was pinned" in run("lock bump-registry", code=1).err
    assert path.read_bytes() == before


def test_bump_of_an_unknown_past_pins_all_the_same(publish: Publish, run: Run) -> None:
    publish(7, gpt_a=facts(1.0))
    write("openai:gpt-a", pins="registry_versions = { openai = 2 }")
    assert "unknown" in run("lock bump-registry").err
    assert Lockfile.load("llmring.lock").get_profile().registry_versions == {
        "openai": 7
    }


def test_bump_needs_a_lockfile_of_ones_own(run: Run) -> None:
    assert "lock init" in run("lock bump-registry", code=1).err


def test_bump_with_nothing_to_pin_says_so(run: Run) -> None:
    write("mock:echo")
    assert "no model" in run("lock bump-registry").err


# bind by a rule --------------------------------------------------------------------


def test_bind_pins_the_model_and_keeps_the_rule(publish: Publish, run: Run) -> None:
    publish(
        7,
        gpt_a=facts(1.0, supports_vision=True),
        gpt_b=facts(0.5),
        gpt_c=facts(2.0, supports_vision=True),
    )
    limits = "--min-context 100000 --max-cost 10.0 --needs vision"
    out = run(f"bind smart openai:* {limits}").out
    assert "openai:* → openai:gpt-a ($1.00 in, $4.00 out, 200,000" in out
    assert "else openai:gpt-c ($2.00 in" in out
    assert "smart → openai:gpt-a" in out
    assert binding().models == ("openai:gpt-a",)
    assert binding().constraints == {
        "select": "openai:*",
        "min_context": 100_000,
        "max_cost": 10,
        "needs": ("vision",),
    }
    run("lock validate")


def test_bind_by_several_patterns_and_names(publish: Publish, run: Run) -> None:
    publish(7, gpt_a=facts(1.0), gpt_b=facts(0.5))
    run("bind smart openai:*,openai:*,mock:echo")
    assert binding().models == ("openai:gpt-b", "openai:gpt-a", "mock:echo")
    assert binding().constraints == {"select": "openai:*, openai:*, mock:echo"}


def test_bind_of_a_named_model_that_breaks_the_limits_is_refused(
    publish: Publish, run: Run
) -> None:
    publish(7, gpt_a=facts(3.0))
    assert "costs $3" in run("bind smart openai:gpt-a --max-cost 2", code=1).err
    assert not Path("llmring.lock").exists()


def test_bind_that_nothing_satisfies_writes_nothing(publish: Publish, run: Run) -> None:
    publish(7, gpt_a=facts(3.0))
    assert (
        "openai:gpt-a costs $3" in run("bind smart openai:* --max-cost 2", code=1).err
    )
    assert not Path("llmring.lock").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--min-context", "0"],
        ["--min-context", "many"],
        ["--max-cost", "-1"],
        ["--max-cost", "nan"],
        ["--max-cost", "inf"],
        ["--max-cost", "cheap"],
        ["--needs", "sight"],
    ],
)
def test_limits_that_make_no_sense_are_misuse(options: list[str], run: Run) -> None:
    assert options[1] in run("bind smart", "openai:*", *options, code=2).err
    assert not Path("llmring.lock").exists()


def test_binding_by_name_forgets_the_rule(publish: Publish, run: Run) -> None:
    publish(7, gpt_a=facts(1.0))
    run("bind smart openai:*")
    run("bind smart mock:echo")
    assert binding().constraints == {}


def test_the_ring_binds_by_patterns_too(publish: Publish) -> None:
    publish(7, gpt_a=facts(1.0), gpt_b=facts(0.5, max_input_tokens=5))
    with LLMRing() as ring:
        ring.bind_alias("smart", "openai:*", constraints={"min_context": 1000})
        assert ring.list_aliases() == {"smart": "openai:gpt-a"}
        with pytest.raises(RegistryError):
            ring.bind_alias("smart", ["openai:x*"])
    assert binding().constraints == {"select": "openai:*", "min_context": 1000}


# lock upgrade ---------------------------------------------------------------------


def bound_by_rule(publish: Publish, run: Run) -> None:
    publish(7, gpt_a=facts(1.0))
    run("bind smart openai:*,mock:echo --max-cost 2")
    run("bind other openai:gpt-a")
    publish(8, gpt_a=facts(1.0), gpt_b=facts(0.5))


def test_upgrade_binds_what_the_rule_selects_now(publish: Publish, run: Run) -> None:
    bound_by_rule(publish, run)
    out, err = run("lock upgrade --dry-run")
    line = "smart: openai:gpt-a ($1.00 in, $4.00 out) → openai:gpt-b ($0.50 in, $2.00"
    assert line in out
    assert "would change" in err
    assert binding().models == ("openai:gpt-a", "mock:echo")
    assert line in run("lock upgrade").out
    assert binding().models == ("openai:gpt-b", "mock:echo")
    assert binding().constraints["max_cost"] == 2
    assert binding("other").models == ("openai:gpt-a",)
    assert "nothing to upgrade" in run("lock upgrade").err


def test_upgrade_as_json(publish: Publish, run: Run) -> None:
    bound_by_rule(publish, run)
    assert json.loads(run("lock upgrade smart --json").out) == [
        {
            "alias": "smart",
            "before": ["openai:gpt-a", "mock:echo"],
            "after": ["openai:gpt-b", "mock:echo"],
        }
    ]


def test_upgrade_carries_conditions_over(publish: Publish, run: Run) -> None:
    bound_by_rule(publish, run)
    publish(9, gpt_a=facts(1.0))
    options = "--max-cost 2 --condition openai:gpt-a=timeout"
    run(f"bind smart mock:echo,openai:* {options}")
    publish(10, gpt_a=facts(1.0), gpt_b=facts(0.5))
    run("lock upgrade")
    assert binding().models == ("mock:echo", "openai:gpt-b")
    assert binding().conditions == {"openai:gpt-b": ("timeout",)}


@pytest.mark.parametrize(
    ("alias", "said"), [("other", "not bound by a pattern"), ("smrt", "smart")]
)
def test_upgrade_of_what_has_no_rule_fails(
    alias: str, said: str, publish: Publish, run: Run
) -> None:
    bound_by_rule(publish, run)
    assert said in run("lock upgrade", alias, code=1).err


def test_upgrade_goes_on_after_a_rule_that_nothing_satisfies(
    publish: Publish, run: Run
) -> None:
    bound_by_rule(publish, run)
    run("bind tiny openai:* --max-cost 0.5")
    run("bind third openai:gpt-b*")
    publish(9, gpt_a=facts(1.0), gpt_b2=facts(0.9))
    out, err = run("lock upgrade", code=1)
    assert "tiny: no model of 'openai:*'" in err
    assert "third: openai:gpt-b → openai:gpt-b2" in out
    assert binding("tiny").models == ("openai:gpt-b",)
    assert binding("third").models == ("openai:gpt-b2",)
