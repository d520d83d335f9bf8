"""A registry by its URL: offline, refreshed, cached, and when all goes wrong."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from llmring_lite import RegistryError, RegistryStaleError
from llmring_lite.registry import load_snapshot
from llmring_lite.registry_cache import Cache, cache_folder
from llmring_lite.registry_client import DEFAULT_URL, Registry, age_days, describe
from llmring_lite.registry_refresh import Refreshed, refresh

URL = "https://registry.example/v2"


def document(price: float, version: int | None = 8, name: str = "m") -> str:
    return json.dumps(
        {
            "provider": "openai",
            "version": version,
            "updated_at": "2026-01-02T03:04:05",
            "models": {
                f"openai:{name}": {
                    "model_name": name,
                    "dollars_per_million_tokens_input": price,
                    "dollars_per_million_tokens_output": price,
                }
            },
        }
    )


class Web:
    """A network of a few documents; it notes what is asked for."""

    def __init__(self, **documents: str) -> None:
        self.documents = documents
        self.asked: list[str] = []
        self.error: RegistryError | None = None

    def __call__(self, url: str, max_bytes: int) -> bytes | None:
        self.asked.append(url)
        if self.error is not None:
            raise self.error
        for ending, text in self.documents.items():
            if url.endswith(ending.replace("__", "/") + ".json"):
                return text.encode()
        return None


class Client(Registry):
    def refresh(self, providers: list[str] | None = None) -> list[Refreshed]:
        return refresh(self, providers)


def registry(fetch: Any = None, url: str = URL, now: float = 0.0) -> Client:
    return Client(url, fetch=fetch, clock=lambda: now)


def price_of(reg: Registry, name: str = "m", provider: str = "openai") -> float | None:
    model = reg.find(provider, name)
    return None if model is None else model.dollars_per_million_tokens_input


# The address ---------------------------------------------------------------------


def test_the_address_is_argument_then_variable_then_the_public_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LLMRING_REGISTRY_URL")
    assert Registry().url == DEFAULT_URL == "https://llmring.github.io/registry"
    monkeypatch.setenv("LLMRING_REGISTRY_URL", "https://mine.example/r/")
    assert Registry().url == "https://mine.example/r"
    assert Registry("https://other.example").url == "https://other.example"


# Offline -------------------------------------------------------------------------


def test_offline_nothing_is_fetched() -> None:
    web = Web()
    reg = registry(web)
    assert reg.find("anthropic", "claude-opus-4-1") is not None
    assert reg.find("openai", "no-such-model") is None
    assert reg.find("nobody", "m") is None
    assert reg.find("../../etc", "passwd") is None
    assert reg.providers() == ["anthropic", "google", "openai"]
    assert web.asked == []


def test_what_was_refreshed_counts_for_later_programs() -> None:
    (row,) = registry(Web(openai__models=document(7.0))).refresh(["openai"])
    assert row.after is not None
    later = registry()
    assert price_of(later) == 7.0
    assert later.find("anthropic", "claude-opus-4-1") is not None  # the snapshot's


def test_of_the_public_registry_the_newer_data_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shipped = load_snapshot("openai")
    assert shipped is not None
    assert shipped.version is not None
    older = Web(openai__models=document(7.0, shipped.version - 1))
    registry(older, DEFAULT_URL).refresh(["openai"])
    assert price_of(registry(url=DEFAULT_URL)) is None
    newer = Web(openai__models=document(7.0, shipped.version + 1))
    registry(newer, DEFAULT_URL).refresh(["openai"])
    assert price_of(registry(url=DEFAULT_URL)) == 7.0


def test_registries_do_not_mix() -> None:
    registry(Web(openai__models=document(7.0))).refresh(["openai"])
    assert price_of(registry(url="https://registry.example/v3")) is None
    # Their folders have the same name, for only letters are kept.
    assert price_of(registry(url="https://registry.example_v2")) is None


def test_a_running_program_sees_a_refresh_after_it_forgets() -> None:
    reg = registry()
    assert price_of(reg) is None
    registry(Web(openai__models=document(7.0))).refresh(["openai"])
    assert price_of(reg) is None
    reg.forget()
    assert price_of(reg) == 7.0


def test_it_pickles() -> None:
    reg = Registry(URL, fetch=None)
    assert reg.find("openai", "gpt-4.1") is not None
    again = pickle.loads(pickle.dumps(reg))
    assert again.url == URL
    assert again.find("openai", "gpt-4.1") == reg.find("openai", "gpt-4.1")


# In a folder ---------------------------------------------------------------------


def put(folder: Path, text: str, version: int | None = None) -> None:
    path = folder / "openai" / ("" if version is None else f"v/{version}")
    path.mkdir(parents=True, exist_ok=True)
    (path / "models.json").write_text(text)


def test_a_registry_in_a_folder_is_read_where_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "our prices"
    put(folder, document(3.0))
    url = folder.as_uri()
    assert "%20" in url
    assert price_of(registry(url=url)) == 3.0
    assert registry(url=url).providers() == ["anthropic", "google", "openai"]
    put(folder, document(4.0))
    assert price_of(registry(url=url)) == 4.0
    # What the folder doesn't have comes from elsewhere.
    assert registry(url=url).find("anthropic", "claude-opus-4-1") is not None


def test_a_folder_may_hold_other_providers(tmp_path: Path) -> None:
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "models.json").write_text(
        json.dumps({"models": {"acme:a": {"dollars_per_million_tokens_input": 1}}})
    )
    reg = registry(url=tmp_path.as_uri())
    assert "acme" in reg.providers()
    assert price_of(reg, "a", "acme") == 1.0


def test_a_folder_with_garbage_is_warned_of_and_older_data_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "{}")
    reg = registry(url=tmp_path.as_uri())
    with caplog.at_level(logging.WARNING, "llmring_lite"):
        assert reg.find("openai", "gpt-4.1") is not None
        assert reg.find("openai", "gpt-4o") is not None
    (record,) = caplog.records
    assert "models must be an object" in record.getMessage()
    (row,) = reg.refresh(["openai"])
    assert row.after is None
    assert "models must be an object" in str(row.error)


def test_a_folder_keeps_nothing_in_the_cache(tmp_path: Path) -> None:
    put(tmp_path, document(3.0))
    put(tmp_path, document(2.0, 7), 7)
    reg = registry(url=tmp_path.as_uri())
    assert reg.fetch("openai") is not None
    assert reg.version("openai", 7).models["m"].dollars_per_million_tokens_input == 2.0
    assert reg.cache.entries() == []


@pytest.mark.parametrize(
    "url", ["file://server/share", "file:relative/path", "file://relative/path"]
)
def test_a_file_url_must_name_a_folder_of_this_machine(url: str) -> None:
    with pytest.raises(RegistryError, match="file:///absolute/path"):
        registry(url=url).fetch("openai")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "openai").mkdir()
    os.mkfifo(tmp_path / "openai" / "models.json")
    assert registry(url=tmp_path.as_uri()).fetch("openai") is None


# Refreshing ----------------------------------------------------------------------


def test_a_refresh_asks_for_what_the_manifest_lists() -> None:
    manifest = json.dumps({"providers": {"openai": {}, "acme": {}}})
    web = Web(manifest=manifest, openai__models=document(7.0))
    rows = {row.provider: row for row in registry(web).refresh()}
    assert rows.keys() == {"openai", "acme"}
    assert rows["openai"].after is not None
    assert "nothing on acme" in str(rows["acme"].error)
    assert web.asked == [
        f"{URL}/manifest.json",
        f"{URL}/openai/models.json",
        f"{URL}/acme/models.json",
    ]


@pytest.mark.parametrize("manifest", [None, "garbage"])
def test_a_registry_without_a_usable_manifest_is_one_all_the_same(
    manifest: str | None,
) -> None:
    more = {} if manifest is None else {"manifest": manifest}
    (row,) = registry(Web(openai__models=document(7.0), **more)).refresh()
    assert row.provider == "openai"
    assert row.error is None
    assert row.before is not None  # the snapshot
    assert row.after is not None


@pytest.mark.parametrize(
    "text", ["", "<html>", document(-1.0), document(1.0).replace("openai:m", "x")]
)
def test_data_that_can_not_be_used_leaves_the_old(text: str) -> None:
    web = Web(openai__models=document(7.0))
    reg = registry(web)
    reg.refresh(["openai"])
    web.documents["openai__models"] = text
    (row,) = reg.refresh(["openai"])
    assert row.after is None
    assert isinstance(row.error, RegistryError)
    assert row.before is not None
    assert row.before.models["m"].dollars_per_million_tokens_input == 7.0
    assert price_of(reg) == 7.0
    assert price_of(registry()) == 7.0


def test_a_network_that_is_down_is_not_asked_for_each_provider() -> None:
    web = Web()
    web.error = RegistryError("no route")
    rows = registry(web).refresh()
    assert len(web.asked) == 2  # the manifest, and one more try
    assert {row.provider for row in rows} == {"anthropic", "google", "openai"}
    assert all("no route" in str(row.error) for row in rows)


def test_one_provider_that_fails_does_not_stop_the_others() -> None:
    manifest = json.dumps({"providers": {"anthropic": {}, "google": {}, "openai": {}}})
    web = Web(manifest=manifest, openai__models=document(7.0))
    web.documents["anthropic__models"] = "garbage"
    rows = {row.provider: row for row in registry(web).refresh()}
    assert rows["anthropic"].error is not None
    assert rows["google"].error is not None
    assert rows["openai"].error is None


def test_without_a_network_a_refresh_says_so() -> None:
    rows = registry().refresh(["openai"])
    assert "no network" in str(rows[0].error)


@pytest.mark.parametrize("name", ["../x", "a/b", "", "OpenAI "])
def test_a_provider_of_an_impossible_name_is_not_asked_for(name: str) -> None:
    web = Web()
    with pytest.raises(RegistryError, match="provider's name"):
        registry(web).fetch(name)
    assert web.asked == []


# Versions ------------------------------------------------------------------------


def test_a_version_is_fetched_once() -> None:
    web = Web(openai__v__3__models=document(3.0, 3))
    for _ in range(2):
        assert len(registry(web).version("openai", 3).models) == 1
    assert web.asked == [f"{URL}/openai/v/3/models.json"]


def test_the_current_version_is_not_fetched() -> None:
    web = Web(openai__models=document(7.0))
    reg = registry(web)
    reg.refresh(["openai"])
    web.asked.clear()
    assert reg.version("openai", 8).version == 8
    shipped = load_snapshot("openai")
    assert shipped is not None
    public = registry(web, DEFAULT_URL)
    assert public.version("openai", shipped.version or 0) is shipped
    assert web.asked == []


def test_a_version_that_is_not_there_is_an_error() -> None:
    with pytest.raises(RegistryError, match="no version 99 of openai"):
        registry(Web()).version("openai", 99)


def test_a_version_that_says_it_is_another_is_refused() -> None:
    web = Web(openai__v__3__models=document(3.0, 4))
    with pytest.raises(RegistryError, match="version 4, not 3"):
        registry(web).version("openai", 3)


# The cache -----------------------------------------------------------------------


def test_the_cache_is_where_the_variables_say(tmp_path: Path) -> None:
    mine = {"LLMRING_CACHE_DIR": "/c", "XDG_CACHE_HOME": "/x"}
    assert cache_folder(mine) == os.path.join("/c", "registry")
    xdg = {"XDG_CACHE_HOME": "/x"}
    assert cache_folder(xdg) == os.path.join("/x", "llmring-lite", "registry")
    home = os.path.join(os.path.expanduser("~"), ".cache", "llmring-lite", "registry")
    assert cache_folder({}) == home
    # https://specifications.freedesktop.org/basedir-spec
    assert cache_folder({"XDG_CACHE_HOME": "relative"}) == home


GOOD = {"url": URL, "models": {"openai:m": {"dollars_per_million_tokens_input": 7.0}}}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        *(
            json.dumps(document).encode()
            for document in (
                {},
                {**GOOD, "provider": "google"},
                {**GOOD, "fetched_at": "now"},
                {**GOOD, "url": None},
                {**GOOD, "models": {"openai:m": {"is_active": 1}}},
            )
        ),
    ],
)
def test_a_spoilt_cache_counts_as_empty(content: bytes) -> None:
    reg = registry(Web(openai__models=document(7.0)))
    reg.refresh(["openai"])
    path = Path(reg.cache.path("openai"))
    path.write_text(json.dumps(GOOD))
    assert price_of(registry()) == 7.0
    path.write_bytes(content)
    assert price_of(registry()) is None
    assert registry().find("openai", "gpt-4.1") is not None
    assert registry().cache.entries() == []


def test_a_cache_folder_that_is_a_file_fails_a_refresh_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("LLMRING_CACHE_DIR", str(blocked))
    web = Web(openai__models=document(7.0), openai__v__3__models=document(3.0, 3))
    (row,) = registry(web).refresh(["openai"])
    assert "LLMRING_CACHE_DIR" in str(row.error)
    reg = registry(web)
    with caplog.at_level(logging.WARNING, "llmring_lite"):
        assert reg.fetch("openai") is not None
        assert reg.version("openai", 3).version == 3
    assert price_of(reg) == 7.0
    assert len(caplog.records) == 2


def test_clearing_removes_our_files_and_no_others(tmp_path: Path) -> None:
    web = Web(openai__models=document(7.0), openai__v__3__models=document(3.0, 3))
    reg = registry(web)
    reg.refresh(["openai"])
    reg.version("openai", 3)
    registry(web, "https://other.example").refresh(["openai"])
    assert {entry.pinned for entry in reg.cache.entries()} == {True, False}
    own = Path(reg.cache.path("openai")).parent
    (own / "openai.json.123.part").write_text("left by a killed process")
    (own / "notes.txt").write_text("mine")
    assert reg.cache.clear() == 4
    assert reg.cache.entries() == []
    assert (own / "notes.txt").read_text() == "mine"
    assert list(own.iterdir()) == [own / "notes.txt"]
    assert reg.cache.clear() == 0
    assert price_of(registry()) is None


def _refresh_often(url: str, price: float) -> None:
    for _ in range(50):
        registry(Web(openai__models=document(price)), url).refresh(["openai"])


def test_processes_that_refresh_at_once_leave_a_whole_file() -> None:
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=_refresh_often, args=(URL, price))
        for price in (1.0, 2.0, 3.0)
    ]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        seen.add(price_of(registry()))
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    seen.add(price_of(registry()))
    # Never half a file: that would be a state that nobody wrote.
    assert seen <= {None, 1.0, 2.0, 3.0}
    assert price_of(registry()) in {1.0, 2.0, 3.0}
    own = Path(registry().cache.path("openai")).parent
    assert [path.name for path in own.iterdir()] == ["openai.json"]


def test_threads_that_refresh_at_once_do_not_fail() -> None:
    web = Web(openai__models=document(7.0))

    def refresh_often(_: int) -> set[RegistryError | None]:
        rows = [registry(web).refresh(["openai"]) for _ in range(20)]
        return {row.error for (row,) in rows}

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(refresh_often, range(8))) == [{None}] * 8


def test_the_cache_of_another_registry_in_the_same_folder_is_not_taken() -> None:
    one = Cache(cache_folder(), "https://a/b")
    other = Cache(cache_folder(), "https://a_b")
    assert one.path("openai") == other.path("openai")
    catalogue = registry(Web(openai__models=document(7.0))).fetch("openai")
    assert catalogue is not None
    one.write(catalogue)
    assert one.read("openai") is not None
    assert other.read("openai") is None


# Age -----------------------------------------------------------------------------


DAY = 86_400.0
MADE = 1_767_323_045.0  # 2026-01-02T03:04:05Z


def test_fresh_data_passes_and_old_data_raises() -> None:
    web = Web(openai__models=document(7.0))
    registry(web).refresh(["openai"])
    registry(now=MADE + 10 * DAY).assert_fresh("openai", 10)
    with pytest.raises(RegistryStaleError) as caught:
        registry(now=MADE + 11.5 * DAY).assert_fresh("openai", 10)
    error = caught.value
    assert (error.provider, error.updated_at) == ("openai", "2026-01-02T03:04:05")
    assert error.age_days == pytest.approx(11.5)
    assert "registry refresh" in str(error)
    assert "openai version 8 of 2026-01-02" in str(error)


def test_data_of_unknown_age_is_not_fresh() -> None:
    text = json.dumps({"models": {"openai:m": {}}})
    registry(Web(openai__models=text)).refresh(["openai"])
    with pytest.raises(RegistryStaleError, match="unknown age"):
        registry().assert_fresh("openai", 10_000)


def test_nothing_known_is_no_freshness() -> None:
    with pytest.raises(RegistryError, match="nobody"):
        registry().assert_fresh("nobody", 10_000)


@pytest.mark.parametrize(
    "stamp",
    ["2026-01-02T03:04:05", "2026-01-02T03:04:05Z", "2026-01-02T04:04:05+01:00"],
)
def test_a_time_without_a_zone_is_utc(stamp: str) -> None:
    text = document(7.0).replace("2026-01-02T03:04:05", stamp)
    catalogue = registry(Web(openai__models=text)).fetch("openai")
    assert catalogue is not None
    assert age_days(catalogue, MADE + DAY) == pytest.approx(1.0)


def test_a_catalogue_is_described_by_what_is_known() -> None:
    known = registry(Web(openai__models=document(7.0))).fetch("openai")
    text = json.dumps({"models": {"openai:m": {}}})
    unknown = registry(Web(openai__models=text)).fetch("openai")
    assert known is not None
    assert unknown is not None
    assert describe(known) == "openai version 8 of 2026-01-02"
    assert describe(unknown) == "openai"
