"""Lockfiles of packages: where they are found, what counts, what can't be gained."""

from __future__ import annotations

import os
import pickle
import sys
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from package_trees import (
    POISON,
    extending,
    lock,
    make_archive,
    make_metadata,
    make_package,
)

from llmring_lite import (
    AliasNotFoundError,
    LLMRing,
    LLMRingError,
    LockfileError,
    LockfileParseError,
    LockfileValidationError,
    ProviderNotFoundError,
)
from llmring_lite.lockfile import Lockfile
from llmring_lite.packages import Package, Packages
from llmring_lite.routing import Router

SECRET = "sk-very-secret-0123456789"
ECHO = lock({"echo": "mock:echo"})
"""One alias, which answers without any key."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that Python imports from."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture(autouse=True)
def nothing_is_imported(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every import of what isn't loaded already is on record, whoever asks for it."""
    asked: list[str] = []

    class Spy:
        @staticmethod
        def find_spec(name: str, path: Any = None, target: Any = None) -> None:
            asked.append(name)

    monkeypatch.setattr(sys, "meta_path", [Spy, *sys.meta_path])
    yield
    ours = {"llmring_lite", "tomli_w", *sys.stdlib_module_names}
    assert {name.partition(".")[0] for name in asked} <= ours


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., LLMRing]:
    """A ring for a lockfile with that text."""

    def make(text: str, **options: Any) -> LLMRing:
        folder = tmp_path / "app"
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        Path("llmring.lock").write_text(text)
        return LLMRing(**options)

    return make


Ring = Callable[..., LLMRing]


def find(name: str, path: list[Any] | None = None) -> Package:
    return Packages([name], path).get(name)


# Finding: by import name ----------------------------------------------------------


def test_a_package_in_a_folder_of_the_path(site: Path) -> None:
    folder = make_package(site, "libA", ECHO)
    package = find("libA")
    assert package.path == str(folder / "llmring.lock")
    assert package.aliases("default") == {"echo": "default"}


def test_a_package_within_a_package_without_running_the_parent(site: Path) -> None:
    folder = make_package(site, "acme.text", ECHO)
    assert find("acme.text").path == str(folder / "llmring.lock")


def test_a_namespace_that_lies_in_several_folders(
    tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = tmp_path / "second"
    monkeypatch.syspath_prepend(str(second))
    make_package(second, "acme", init=False)
    make_package(second / "acme", "sound", ECHO)
    make_package(site, "acme", init=False)
    make_package(site / "acme", "text", ECHO)
    for name in ("sound", "text"):
        assert find(f"acme.{name}").aliases("default") == {"echo": "default"}


def test_a_namespace_package_may_have_a_lockfile_of_its_own(site: Path) -> None:
    make_package(site, "acme", ECHO, init=False)
    assert find("acme").error is None


@pytest.mark.parametrize("inside", ["", "lib"])
def test_a_package_in_a_zip_archive(
    tmp_path: Path, inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = f"{inside}/" if inside else ""
    archive = make_archive(
        tmp_path / "libs.zip",
        {
            f"{prefix}acme/__init__.py": POISON,
            f"{prefix}acme/text/__init__.py": POISON,
            f"{prefix}acme/text/llmring.lock": ECHO,
        },
    )
    entry = archive / inside if inside else archive
    monkeypatch.syspath_prepend(str(entry))
    package = find("acme.text")
    assert package.path == str(entry / "acme" / "text" / "llmring.lock")
    assert package.aliases("default") == {"echo": "default"}


def test_the_first_package_of_a_name_counts(tmp_path: Path) -> None:
    # The second would never be imported, so its lockfile must not count either.
    make_package(tmp_path / "one", "libA")
    make_package(tmp_path / "two", "libA", ECHO)
    package = find("libA", [str(tmp_path / "one"), str(tmp_path / "two")])
    assert package.lockfile is None
    assert str(tmp_path / "one" / "libA") in str(package.error)


def test_a_regular_package_counts_more_than_a_folder_that_has_its_name(
    tmp_path: Path,
) -> None:
    (tmp_path / "one" / "libA").mkdir(parents=True)
    make_package(tmp_path / "two", "libA", ECHO)
    assert find("libA", [str(tmp_path / "one"), str(tmp_path / "two")]).error is None


def test_a_single_module_has_no_place_for_a_lockfile(site: Path) -> None:
    (site / "libA.py").write_text(POISON)
    (site / "llmring.lock").write_text(ECHO)
    assert "single module" in str(find("libA").error)


def test_a_package_that_is_not_there_is_said_so(site: Path) -> None:
    error = find("nowhere-to-be-found").error
    assert "not installed" in str(error)
    assert "[extends]" in str(error)


def test_a_package_without_a_lockfile_names_its_folder(site: Path) -> None:
    folder = make_package(site, "libA")
    assert f"{folder} has no llmring.lock" in str(find("libA").error)


def test_odd_entries_of_the_path_do_no_harm(tmp_path: Path) -> None:
    make_package(tmp_path, "libA", ECHO)
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK\x03\x04 and then nothing")
    odd = [None, 3, b"/bytes", tmp_path, "a\0b", "/nowhere/at/all", str(broken), ""]
    assert find("libA", [*odd, str(tmp_path)]).error is None


def test_the_current_folder_may_be_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_package(tmp_path / "site", "libA", ECHO)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert find("libA", ["", str(tmp_path / "site")]).error is None


def test_a_loaded_package_that_no_path_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_package(tmp_path / "elsewhere", "frozen_lib", ECHO)
    module = ModuleType("frozen_lib")
    module.__path__ = [str(folder)]
    monkeypatch.setitem(sys.modules, "frozen_lib", module)
    assert find("frozen_lib").path == str(folder / "llmring.lock")


# Finding: by distribution ---------------------------------------------------------


@pytest.mark.parametrize("name", ["my-lib", "My.Lib", "MY_LIB"])
def test_a_distribution_by_any_spelling_of_its_name(site: Path, name: str) -> None:
    make_package(site, "my_lib", ECHO)
    make_metadata(site, "my-lib", ["my_lib/__init__.py", "my_lib/llmring.lock"])
    assert find(name).import_name == "my_lib"


@pytest.mark.parametrize("top_level", ["", "mylib\n"])
def test_a_distribution_that_is_imported_by_another_name(
    site: Path, top_level: str
) -> None:
    make_package(site, "mylib", ECHO)
    record = [] if top_level else ["mylib/llmring.lock", "mylib/sub/llmring.lock"]
    make_metadata(site, "acme-tools", record, top_level)
    assert find("acme-tools").import_name == "mylib"


def test_a_distribution_of_a_namespace_package(site: Path) -> None:
    make_package(site, "acme.text", ECHO, init=False)
    make_metadata(site, "acme-text", ["acme/text/llmring.lock"])
    assert find("acme-text").import_name == "acme.text"


def test_a_distribution_with_several_lockfiles_asks_for_a_choice(site: Path) -> None:
    for name in ("red", "blue"):
        make_package(site, name, ECHO)
    make_metadata(site, "colours", ["red/llmring.lock", "blue/llmring.lock"])
    assert "write one of blue, red instead" in str(find("colours").error)
    assert find("red").error is None


def test_the_package_with_the_name_of_its_distribution_counts(site: Path) -> None:
    for name in ("red", "colours"):
        make_package(site, name, ECHO)
    make_metadata(site, "Colours", ["red/llmring.lock", "colours/llmring.lock"])
    assert find("Colours").import_name == "colours"


def test_paths_of_a_record_are_not_followed(tmp_path: Path, site: Path) -> None:
    outside = make_package(tmp_path, "outside", ECHO)
    make_metadata(
        site,
        "evil-lib",
        ["../outside/llmring.lock", f"{outside}/llmring.lock", "/etc/llmring.lock"],
    )
    assert find("evil-lib").lockfile is None


def test_a_folder_that_nobody_installed_by_its_hyphened_name(site: Path) -> None:
    make_package(site, "my_lib", ECHO)
    assert find("my-lib").import_name == "my_lib"


def test_metadata_that_is_no_text_does_no_harm(site: Path) -> None:
    make_package(site, "my_lib", ECHO)
    folder = make_metadata(site, "my-lib")
    (folder / "RECORD").write_bytes(b"\xff\xfe\x00")
    assert find("my-lib").error is None


# Finding: editable installs -------------------------------------------------------


def editable(site: Path, name: str, pth: str, finder: str = "") -> None:
    """What an editable install of distribution `name` leaves behind."""
    files = {f"_{name}.pth": pth, f"_{name}_finder.py": finder}
    for file, text in files.items():
        (site / file).write_text(text)
    make_metadata(site, name.replace("_", "-"), list(files))


@pytest.mark.parametrize("name", ["my_lib", "my-lib"])
@pytest.mark.parametrize(
    "line",
    [
        "MAPPING: dict[str, str] = {'other': '/nowhere', 'my_lib': %r}",
        'MAPPING = {"my_lib":%r}',
        "NAMESPACES: dict[str, list[str]] = {'my_lib': [%r, '/nowhere']}",
        "F.map_module('my_lib', %r)",
        "F.map_module('my_lib', %r + '/__init__.py')",
    ],
)
def test_the_map_of_an_editable_finder_is_read_and_not_run(
    tmp_path: Path, site: Path, name: str, line: str
) -> None:
    folder = make_package(tmp_path / "src dir", "inner.my_lib", ECHO)
    value = f"{folder}/__init__.py" if "__init__" in line else str(folder)
    line = line.replace(" + '/__init__.py'", "") % value
    editable(site, "my_lib", "import _my_lib_finder; _my_lib_finder.f()", POISON + line)
    assert find(name).path == str(folder / "llmring.lock")


def test_an_editable_package_within_a_mapped_one(tmp_path: Path, site: Path) -> None:
    make_package(tmp_path / "lib", "acme", init=False)
    folder = make_package(tmp_path / "lib" / "acme", "text", ECHO)
    finder = f"MAPPING = {{'acme': {str(tmp_path / 'lib' / 'acme')!r}}}"
    editable(site, "acme_text", "import _acme_text_finder", finder)
    assert find("acme.text").path == str(folder / "llmring.lock")
    assert find("acme-text").path == str(folder / "llmring.lock")


@pytest.mark.parametrize("name", ["inner", "outer-name"])
def test_the_folder_that_a_pth_file_names(
    tmp_path: Path, site: Path, name: str
) -> None:
    # As right after an install, when the running interpreter doesn't know it yet.
    folder = make_package(tmp_path / "src", "inner", ECHO)
    make_package(tmp_path / "src", "tests")
    editable(site, "outer_name", f"# a comment\n\n{tmp_path / 'src'}\n")
    assert find(name).path == str(folder / "llmring.lock")


@pytest.mark.parametrize(
    "finder",
    [
        "MAPPING = {'my_lib': '\\x'}",
        "MAPPING = {'my_lib': 'relative/folder'}",
        "MAPPING = {'my_lib': '/nowhere/at/all'}",
        "'my_lib'" + " " * 100_000,
        "\0",
    ],
)
def test_odd_finder_modules_do_no_harm(site: Path, finder: str) -> None:
    editable(site, "my_lib", "import _my_lib_finder", finder)
    assert "not installed" in str(find("my_lib").error)


# Resolving ------------------------------------------------------------------------


def test_an_alias_of_a_package_works_wherever_an_alias_does(
    site: Path, ring: Ring
) -> None:
    make_package(site, "libA", lock({"echo": ["openai:gpt-5-mini", "mock:echo"]}))
    app = ring(lock({"mine": ["libA:echo"]}, head=extending("libA")))
    for name in ("libA:echo", "mine"):
        assert app.chat(name, "hi").content == "hi"
        assert app.chat(name, "hi").alias == name
        assert "".join(c.delta for c in app.chat_stream(name, "hi there")) == "hi there"
        assert app.resolve_alias(name) == "mock:echo"
        assert app.resolve_candidates(name) == ["mock:echo"]
        assert app.has_alias(name)
    app.require_aliases(["libA:echo", "mine"])


def test_the_binding_of_the_package_applies_as_a_whole(site: Path, ring: Ring) -> None:
    make_package(
        site,
        "libA",
        lock(
            {"a": ["openai:one", "anthropic:two"]},
            tail=(
                'strategy = "race"\nhedge_after = 1.5\nparameters = {temperature = 0.5}'
                '\nconditions = {"anthropic:two" = ["timeout"]}'
                '\nguardrails = {max_latency = "5s"}'
            ),
        ),
    )
    ring(lock(head=extending("libA")))
    route = Router(Lockfile.load("llmring.lock")).route("libA:a")
    assert route.binding is not None
    assert route.binding.strategy == "race"
    assert route.binding.hedge_after == 1.5
    assert route.binding.parameters == {"temperature": 0.5}
    assert route.binding.guardrails == {"max_latency": "5s"}
    assert route.candidates[1].conditions == {"timeout"}


def test_what_the_consumer_binds_counts_first(site: Path, ring: Ring) -> None:
    make_package(site, "libA", lock({"a": "mock:template"}))
    app = ring(lock({"libA:a": "mock:echo"}, head=extending("libA")))
    assert app.resolve_alias("libA:a") == "mock:echo"


def test_an_override_needs_no_package(ring: Ring) -> None:
    app = ring(lock({"libA:a": "mock:echo"}, head=extending("libA")))
    assert app.resolve_alias("libA:a") == "mock:echo"
    app = ring(lock({"libA:a": "mock:echo"}))
    assert app.resolve_alias("libA:a") == "mock:echo"


@pytest.mark.parametrize("extended", ["my-lib", "my_lib"])
@pytest.mark.parametrize("bound", ["my-lib:a", "my_lib:a"])
@pytest.mark.parametrize("asked", ["my-lib:a", "my_lib:a", "My.Lib:a"])
def test_spellings_of_a_package_are_one_name(
    site: Path, ring: Ring, extended: str, bound: str, asked: str
) -> None:
    make_package(site, "my_lib", lock({"a": "mock:template", "b": "mock:template"}))
    app = ring(lock({bound: "mock:echo"}, head=extending(extended)))
    assert app.resolve_alias(asked) == "mock:echo"
    assert app.resolve_alias(asked[:-1] + "b") == "mock:template"


def test_the_import_name_of_an_extended_distribution_will_do(
    site: Path, ring: Ring
) -> None:
    make_package(site, "mylib", lock({"a": "mock:template", "b": "mock:template"}))
    make_metadata(site, "acme-tools", ["mylib/llmring.lock"])
    app = ring(lock({"acme-tools:b": "mock:echo"}, head=extending("acme-tools")))
    assert app.resolve_alias("mylib:a") == "mock:template"
    assert app.resolve_alias("mylib:b") == "mock:echo"


PROFILES = """
default_profile = "main"
[profiles.main]
[[profiles.main.bindings]]
alias = "a"
models = ["mock:main"]
[[profiles.main.bindings]]
alias = "b"
models = ["c"]
[[profiles.main.bindings]]
alias = "c"
models = ["mock:main"]
[profiles.prod]
[[profiles.prod.bindings]]
alias = "a"
models = ["mock:prod"]
[[profiles.prod.bindings]]
alias = "c"
models = ["mock:prod"]
[profiles.other]
[[profiles.other.bindings]]
alias = "only"
models = ["mock:other"]
"""


def test_the_same_profile_of_the_package_and_then_its_default(
    site: Path, ring: Ring
) -> None:
    make_package(site, "libA", PROFILES)
    app = ring(lock(head=extending("libA"), tail="[profiles.prod]"))
    assert app.resolve_alias("libA:a") == "mock:main"
    assert app.resolve_alias("libA:a", profile="prod") == "mock:prod"
    # In its default profile, so with the names of that profile.
    assert app.resolve_alias("libA:b", profile="prod") == "mock:main"
    with pytest.raises(AliasNotFoundError, match="it is in 'other'"):
        app.resolve_alias("libA:only")


def test_a_profile_must_be_one_of_the_consumer_s(site: Path, ring: Ring) -> None:
    make_package(site, "libA", PROFILES)
    app = ring(lock(head=extending("libA")))
    with pytest.raises(LockfileValidationError, match="no profile 'prod'"):
        app.resolve_alias("libA:a", profile="prod")


def test_an_override_counts_in_its_profile_only(site: Path, ring: Ring) -> None:
    make_package(site, "libA", PROFILES)
    app = ring(
        lock({"libA:a": "mock:echo"}, head=extending("libA"), tail="[profiles.prod]")
    )
    assert app.resolve_alias("libA:a") == "mock:echo"
    assert app.resolve_alias("libA:a", profile="prod") == "mock:prod"


def test_names_without_a_colon_stay_in_their_file(site: Path, ring: Ring) -> None:
    make_package(site, "libA", lock({"a": ["drafts"], "drafts": "mock:of-package"}))
    app = ring(
        lock(
            {"drafts": "mock:own", "libA:drafts": "mock:override"},
            head=extending("libA"),
        )
    )
    assert app.resolve_alias("drafts") == "mock:own"
    assert app.resolve_alias("libA:a") == "mock:of-package"
    assert app.resolve_alias("libA:drafts") == "mock:override"
    assert not app.has_alias("a")
    with pytest.raises(AliasNotFoundError, match="extended packages have libA:a"):
        app.chat("a", "hi")


def test_aliases_across_files(site: Path, ring: Ring) -> None:
    make_package(site, "libA", lock({"a": ["b", "mock:1"], "b": ["mock:2", "mock:1"]}))
    make_package(site, "libB", lock({"a": "mock:3"}))
    app = ring(
        lock(
            {
                "all": ["libA:a", "libB:a", "own"],
                "own": ["mock:4", "libB:b"],
                "libB:b": ["libA:b", "mock:5"],
            },
            head=extending("libA", "libB"),
        )
    )
    assert app.resolve_candidates("all") == [f"mock:{n}" for n in (2, 1, 3, 4, 5)]
    assert app.list_aliases() == {
        "all": "mock:2",
        "own": "mock:4",
        "libB:b": "mock:2",
    }


def test_an_override_may_lead_back_in_another_spelling_without_harm(
    site: Path, ring: Ring
) -> None:
    make_package(site, "my_lib", lock({"a": "mock:template"}))
    app = ring(
        lock({"my-lib:a": ["own"], "own": ["my_lib:a"]}, head=extending("my-lib"))
    )
    with pytest.raises(LockfileValidationError, match="leads back to itself"):
        app.resolve_alias("own")
    assert not app.has_alias("my-lib:a")


def test_provider_names_win(site: Path, ring: Ring) -> None:
    make_package(site, "mock", lock({"echo": "openai:gpt-5"}))
    app = ring(lock(head=extending("mock")))
    assert app.resolve_alias("mock:echo") == "mock:echo"
    assert not app.has_alias("mock:echo")


def test_binding_a_package_s_alias_overrides_it(site: Path, ring: Ring) -> None:
    make_package(site, "libA", lock({"a": "mock:template"}))
    app = ring(lock(head=extending("libA")))
    assert app.resolve_alias("libA:a") == "mock:template"
    app.bind_alias("libA:a", "mock:echo")
    assert app.resolve_alias("libA:a") == "mock:echo"
    app.unbind_alias("libA:a")
    assert app.resolve_alias("libA:a") == "mock:template"


def test_a_package_is_read_once_and_again_when_asked(site: Path, ring: Ring) -> None:
    folder = make_package(site, "libA", lock({"a": "mock:old"}))
    app = ring(lock(head=extending("libA", "libB")))
    assert app.resolve_alias("libA:a") == "mock:old"
    assert not app.has_alias("libB:a")
    (folder / "llmring.lock").write_text(lock({"a": "mock:new"}))
    make_package(site, "libB", lock({"a": "mock:new"}))
    assert app.resolve_alias("libA:a") == "mock:old"
    app.clear_alias_cache()
    assert app.resolve_alias("libA:a") == "mock:new"
    assert app.has_alias("libB:a")


def test_a_ring_travels_to_another_process_and_reads_the_packages_there(
    site: Path, ring: Ring
) -> None:
    folder = make_package(site, "libA", lock({"a": "mock:old", "b": "mock:old"}))
    app = ring(lock(head=extending("libA")))
    assert app.resolve_alias("libA:a") == "mock:old"
    data = pickle.dumps(app)
    (folder / "llmring.lock").write_text(lock({"b": "mock:new"}))
    assert pickle.loads(data).resolve_alias("libA:b") == "mock:new"


def test_many_threads_may_ask_first(site: Path, ring: Ring) -> None:
    aliases = {f"a{n}": f"mock:{n}" for n in range(50)}
    make_package(site, "libA", lock(aliases))
    app = ring(lock(head=extending("libA")))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(app.resolve_alias, [f"libA:{a}" for a in aliases] * 4))
    assert found == list(aliases.values()) * 4


# Errors ---------------------------------------------------------------------------


def test_a_package_that_is_not_extended(site: Path, ring: Ring) -> None:
    make_package(site, "libA", ECHO)
    app = ring(lock(head=extending("libB")))
    with pytest.raises(ProviderNotFoundError, match=r"\[extends\]") as caught:
        app.chat("libA:echo", "hi")
    assert 'packages = ["libA"]' in str(caught.value)


def test_a_misspelt_alias_of_a_package(site: Path, ring: Ring) -> None:
    folder = make_package(site, "libA", ECHO)
    app = ring(lock(head=extending("libA")))
    with pytest.raises(AliasNotFoundError, match="did you mean 'libA:echo'") as caught:
        app.chat("libA:ehco", "hi")
    assert str(folder / "llmring.lock") in str(caught.value)
    assert (caught.value.alias, caught.value.profile) == ("libA:ehco", "default")
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "name", ["libA:", "libA:a:b", "libB:a", "a\0b:c", ":", "é:x", "libA:..", "a b:c"]
)
def test_has_alias_never_raises(site: Path, ring: Ring, name: str) -> None:
    make_package(site, "libA", ECHO)
    app = ring(lock(head=extending("libA", "libB")))
    assert app.has_alias(name) is False


def test_require_aliases_says_everything_at_once(site: Path, ring: Ring) -> None:
    make_package(site, "libA", ECHO)
    make_package(site, "libBroken", "version = ")
    app = ring(
        lock({"local": "mock:echo"}, head=extending("libA", "libBroken", "libGone"))
    )
    app.require_aliases(["local", "libA:echo"], context="mylib")
    wanted = ["local", "libA:x", "libBroken:x", "libGone:x", "libZ:x", "zzz", "libA:"]
    with pytest.raises(ValueError, match="for mylib") as caught:
        app.require_aliases([*wanted, "mock:echo"], context="mylib")
    reasons = dict(
        line.removeprefix("  - ").split(": ", 1)
        for line in str(caught.value).splitlines()
        if line.startswith("  - ")
    )
    for name, fact in {
        "libA:x": "available in libA: echo",
        "libBroken:x": "line 1",
        "libGone:x": "not installed",
        "libZ:x": 'packages = ["libZ"]',
        "zzz": "llmring-lite bind zzz",
        "libA:": "libA:ALIAS",
        "mock:echo": "a model, not an alias",
    }.items():
        assert fact in reasons[name]
    assert "local" not in reasons
    assert "Available: local" in str(caught.value)
    assert f"Lockfile path: {Path.cwd() / 'llmring.lock'}" in str(caught.value)


def test_require_aliases_takes_one_name_too(ring: Ring) -> None:
    app = ring(lock({"local": "mock:echo"}))
    app.require_aliases("local")
    with pytest.raises(ValueError, match="- other: "):
        app.require_aliases("other")


BROKEN = {
    "syntax": ("[profiles.default]\nname = ", LockfileParseError, "line 2"),
    "cycle": (lock({"a": "b", "b": "a"}), LockfileValidationError, "b -> a"),
    "provider": (lock({"a": "opnai:x"}), LockfileValidationError, "line 7"),
    "depth": ("x = " + "[" * 500 + "]" * 500, LockfileParseError, "nested"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_lockfile_hurts_its_own_package_only(
    site: Path, ring: Ring, case: str
) -> None:
    text, kind, fact = BROKEN[case]
    folder = make_package(site, "libBad", text)
    make_package(site, "libA", ECHO)
    app = ring(
        lock(
            {"local": "mock:echo", "both": ["libBad:a", "mock:echo"]},
            head=extending("libBad", "libA"),
        )
    )
    for name in ("local", "libA:echo"):
        assert app.chat(name, "hi").content == "hi"
    assert app.list_aliases() == {"local": "mock:echo", "both": "libBad:a"}
    assert not app.has_alias("libBad:a")
    errors = []
    for name in ("libBad:a", "both", "libBad:a"):
        with pytest.raises(kind) as caught:
            app.chat(name, "hi")
        for part in ("'libBad'", str(folder / "llmring.lock"), fact):
            assert part in str(caught.value)
        errors.append(caught.value)
    # One object raised again and again would collect tracebacks.
    assert len({id(error) for error in errors}) == 3


# What a package can't gain --------------------------------------------------------

EVIL_PROVIDERS = """
[providers.openai]
base_url = "https://evil.example/v1"
[providers.evil]
kind = "openai"
base_url = "https://evil.example/v1"
api_key_env = "OPENAI_API_KEY"
verify = false
api_key = "sk-of-somebody"
"""


def test_a_package_moves_no_endpoint(
    site: Path, ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("LLMRING_TRUSTED_HOSTS", "evil.example")
    aliases = {"a": "openai:gpt-5", "b": "evil:x", "c": ["mock:echo", "evil:x"]}
    make_package(site, "libEvil", lock(aliases, head=EVIL_PROVIDERS))
    app = ring(lock(head=extending("libEvil")))
    router = Router(Lockfile.load("llmring.lock"))
    endpoint = router.route("libEvil:a").candidates[0].endpoint
    assert endpoint.base_url == "https://api.openai.com/v1"
    for name in ("libEvil:b", "libEvil:c"):
        with pytest.raises(LockfileValidationError, match="are ignored") as caught:
            app.chat(name, "hi")
        assert "evil:x" in str(caught.value)
        assert f"bind '{name}' in your own lockfile" in str(caught.value)
        assert SECRET not in str(caught.value)
    app.bind_alias("libEvil:b", "mock:echo")
    assert app.chat("libEvil:b", "hi").content == "hi"


def test_a_package_uses_the_endpoints_as_the_consumer_has_them(
    site: Path, ring: Ring
) -> None:
    make_package(site, "libA", lock({"a": "openai:gpt-5"}))
    mine = '\n[providers.openai]\nbase_url = "https://gateway.corp.example/v1"'
    ring(lock(head=extending("libA") + mine))
    route = Router(Lockfile.load("llmring.lock")).route("libA:a")
    assert route.candidates[0].endpoint.base_url == "https://gateway.corp.example/v1"


def test_a_package_knows_no_endpoint_of_the_consumer_s_own(
    site: Path, ring: Ring
) -> None:
    theirs = '[providers.pool]\nkind = "mock"'
    make_package(site, "libA", lock({"a": "pool:x"}, head=theirs))
    make_package(site, "libB", lock({"a": "pool:x"}))
    app = ring(
        lock(
            {"mine": "pool:echo"},
            head=extending("libA", "libB") + '\n[providers.pool]\nkind = "mock"',
        )
    )
    assert app.chat("mine", "hi").content == "hi"
    assert not app.has_alias("libA:a")
    assert not app.has_alias("libB:a")


def test_a_package_brings_no_other_package(site: Path, ring: Ring) -> None:
    make_package(site, "libCore", ECHO)
    make_package(
        site,
        "libA",
        lock(
            {"a": ["libCore:echo"], "libCore:echo2": "mock:x", "b": "mock:echo"},
            head=extending("libCore"),
        ),
    )
    app = ring(lock(head=extending("libA")))
    assert app.has_alias("libA:b")
    for name in ("libA:a", "libCore:echo", "libCore:echo2", "libA:libCore:echo2"):
        assert not app.has_alias(name)
    app = ring(lock(head=extending("libA", "libCore")))
    assert app.has_alias("libCore:echo")
    assert not app.has_alias("libA:a")
    assert not app.has_alias("libCore:echo2")


def test_a_lockfile_of_100_megabytes_is_not_read(site: Path, ring: Ring) -> None:
    folder = make_package(site, "libBig", lock({"a": "mock:echo"}))
    os.truncate(folder / "llmring.lock", 100_000_000)
    app = ring(lock({"local": "mock:echo"}, head=extending("libBig")))
    with pytest.raises(LockfileParseError, match="larger than 16 MiB") as caught:
        app.chat("libBig:a", "hi")
    assert "libBig" in str(caught.value)
    assert app.has_alias("local")


def test_a_bomb_in_a_zip_archive_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "libs.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("libBig/__init__.py", POISON)
        archive.writestr("libBig/llmring.lock", "#" * 100_000_000)
    monkeypatch.syspath_prepend(str(path))
    assert "larger than 16 MiB" in str(find("libBig").error)


def test_a_damaged_zip_archive_is_an_error_that_names_it(tmp_path: Path) -> None:
    files = {"libA/__init__.py": POISON, "libA/llmring.lock": ECHO}
    path = make_archive(tmp_path / "libs.zip", files)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"mock:echo", b"mock:ohce", 1))
    error = find("libA", [str(path)]).error
    assert isinstance(error, LockfileError)
    assert str(path) in str(error)


def test_a_link_out_of_the_package_is_not_followed(
    tmp_path: Path, site: Path, ring: Ring
) -> None:
    outside = tmp_path / "outside.lock"
    outside.write_text(lock({"a": f"mock:{SECRET}"}))
    folder = make_package(site, "libEvil")
    (folder / "llmring.lock").symlink_to(outside)
    app = ring(lock(head=extending("libEvil")))
    with pytest.raises(LockfileError, match="outside the package") as caught:
        app.chat("libEvil:a", "hi")
    assert SECRET not in str(caught.value)


def test_a_link_to_nowhere_and_a_folder_are_no_lockfiles(site: Path) -> None:
    folder = make_package(site, "libA")
    (folder / "llmring.lock").symlink_to(folder / "nowhere")
    assert "not a file" in str(find("libA").error)
    (make_package(site, "libB") / "llmring.lock").mkdir()
    assert "not a file" in str(find("libB").error)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_that_nobody_writes_to_is_not_waited_for(site: Path) -> None:
    os.mkfifo(make_package(site, "libA") / "llmring.lock")
    assert "not a file" in str(find("libA").error)


def test_links_of_an_installer_to_its_store_are_fine(
    tmp_path: Path, site: Path
) -> None:
    store = make_package(tmp_path / "store", "my_lib", ECHO)
    (site / "my_lib").mkdir()
    for name in ("__init__.py", "llmring.lock"):
        (site / "my_lib" / name).symlink_to(store / name)
    assert find("my_lib").error is None
    (site / "linked").symlink_to(make_package(tmp_path / "src", "linked", ECHO))
    assert find("linked").error is None


def test_a_lockfile_in_a_subfolder_that_is_linked_is_fine(site: Path) -> None:
    folder = make_package(site, "libA")
    (folder / "data").mkdir()
    (folder / "data" / "real.lock").write_text(ECHO)
    (folder / "llmring.lock").symlink_to("data/real.lock")
    assert find("libA").error is None


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything"
)
def test_a_lockfile_that_may_not_be_read_is_an_error(site: Path) -> None:
    folder = make_package(site, "libA", ECHO)
    (folder / "llmring.lock").chmod(0)
    assert "can't read" in str(find("libA").error)


@pytest.mark.parametrize(
    "head",
    [
        "providers = 3",
        "providers = []",
        "extends = 3",
        "extends = {packages = 3}",
        'extends = {packages = [3, "a b", ""]}',
        '[providers."Not A Name"]\nkind = 3',
        "[providers]\nx = 3",
    ],
)
def test_tables_that_do_not_count_may_hold_anything(site: Path, head: str) -> None:
    make_package(site, "libA", lock({"a": "mock:echo"}, head=head))
    package = find("libA")
    assert package.error is None
    assert package.ignored in (("providers",), ("extends",), ())


def test_every_error_is_one_of_ours(site: Path, ring: Ring) -> None:
    make_package(site, "libA", lock({"a": "mock:echo"}) + "\x00")
    app = ring(lock(head=extending("libA", "libGone")))
    for name in ("libA:a", "libGone:a", "libX:a", "libA:", "x"):
        with pytest.raises(LLMRingError):
            app.chat(name, "hi")
