"""What the registry decides about a call: its price, its API, whether it fits."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import responses
from loopback import LAST_CHUNK, Loopback, Received, chunk, reply, serving, stream_head

from llmring_lite import (
    AllModelsFailedError,
    ContextLengthError,
    CostTrackingError,
    LLMResponse,
    LLMRing,
    Message,
    ModelNotFoundError,
    ProviderError,
    ProviderResponseError,
    RegistryModel,
)
from llmring_lite.dispatch import _loser
from llmring_lite.facts import estimate_tokens, window_tokens
from llmring_lite.schemas import LLMRequest

pytestmark = pytest.mark.usefixtures("folder")


def bind(*models: str, more: str = "") -> None:
    Path("llmring.lock").write_text(
        'version = "1.0"\n[profiles.default]\nname = "default"\n'
        f'[[profiles.default.bindings]]\nalias = "a"\nmodels = {json.dumps(models)}\n'
        f"{more}\n"
    )


def openai_reply(content: str = "hi", **usage: Any) -> dict[str, Any]:
    return {
        "id": "x",
        "object": "chat.completion",
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content},
                "finish_reason": "stop",
            }
        ],
        "usage": usage or {"prompt_tokens": 1000, "completion_tokens": 100},
    }


@pytest.fixture
def openai(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """The provider `openai`, on loopback."""
    with serving(reply(openai_reply())) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        yield server


# Cost of a call, from each provider's own words -----------------------------------

ANTHROPIC_USAGE = {
    "input_tokens": 105,
    "cache_read_input_tokens": 7123,
    "cache_creation_input_tokens": 7345,
    "cache_creation": {
        "ephemeral_5m_input_tokens": 345,
        "ephemeral_1h_input_tokens": 7000,
    },
    "output_tokens": 6039,
}

# Provider, model, its reply, the bill in millionths of a dollar.
CALLS: list[tuple[str, str, str, dict[str, Any], float]] = [
    (
        "OPENAI",
        "/v1",
        "openai:gpt-4.1",
        openai_reply(
            prompt_tokens=1000,
            completion_tokens=10,
            total_tokens=1010,
            prompt_tokens_details={"cached_tokens": 900},
        ),
        100 * 2 + 900 * 0.5 + 10 * 8,
    ),
    (
        "OPENAI",
        "/v1",
        "openai:o4-mini",
        openai_reply(
            prompt_tokens=100,
            completion_tokens=1100,
            completion_tokens_details={"reasoning_tokens": 1000},
        ),
        100 * 1.1 + 1100 * 4.4,
    ),
    (
        "ANTHROPIC",
        "",
        "anthropic:claude-sonnet-4-5",
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5-20250929",
            "content": [{"type": "text", "text": "hi"}],
            "stop_reason": "end_turn",
            "usage": ANTHROPIC_USAGE,
        },
        105 * 3 + 7123 * 0.3 + 345 * 3.75 + 7000 * 6 + 6039 * 15,
    ),
    (
        "GEMINI",
        "",
        "google:gemini-2.5-pro",
        {
            "candidates": [
                {
                    "content": {"role": "model", "parts": [{"text": "hi"}]},
                    "finishReason": "STOP",
                }
            ],
            "usageMetadata": {
                "promptTokenCount": 300_000,
                "cachedContentTokenCount": 100_000,
                "candidatesTokenCount": 400,
                "thoughtsTokenCount": 600,
                "totalTokenCount": 301_000,
            },
        },
        200_000 * 2.5 + 100_000 * 0.25 + 1000 * 15,
    ),
]


@pytest.mark.parametrize(
    ("name", "path", "ref", "body", "bill"), CALLS, ids=[c[2] for c in CALLS]
)
def test_a_reply_says_what_it_cost(
    name: str,
    path: str,
    ref: str,
    body: dict[str, Any],
    bill: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving(reply(body)) as server:
        base = "GOOGLE_GEMINI" if name == "GEMINI" else name
        monkeypatch.setenv(f"{name}_API_KEY", "k")
        monkeypatch.setenv(f"{base}_BASE_URL", server.url + path)
        with LLMRing() as ring:
            response = ring.chat(ref, "hello")
            assert ring.calculate_cost(response) == {
                **response.usage["cost_breakdown"],
                "cost_status": "priced",
            }
    usage = response.usage
    assert usage["cost"] == pytest.approx(bill / 1e6, rel=1e-12)
    assert usage["cost_status"] == "priced"
    assert usage["cost_breakdown"]["total_cost"] == usage["cost"]
    (record,) = response.attempts
    assert record["cost"] == usage["cost"]
    assert record["usage"] is usage


def stream_of(*events: dict[str, Any]) -> bytes:
    lines = b"".join(f"data: {json.dumps(e)}\n\n".encode() for e in events)
    return stream_head() + chunk(lines + b"data: [DONE]\n\n") + LAST_CHUNK


def delta(content: str, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return {"id": "x", "model": "m", "choices": [choice], **more}


def test_a_stream_is_priced_like_a_reply(openai: Loopback) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100}
    end = {"id": "x", "model": "m", "choices": [], "usage": usage}
    openai.handler = lambda sock, *_: sock.sendall(
        stream_of(delta("hi"), delta("", "stop"), end)
    )
    with LLMRing() as ring:
        stream = ring.chat_stream("openai:gpt-4.1", "hello")
        last = list(stream)[-1]
        response = stream.response
    assert last.usage is not None
    assert last.usage["cost"] == response.usage["cost"] == pytest.approx(0.0028)
    assert last.usage["cost_status"] == "priced"
    assert response.attempts[0]["cost"] == response.usage["cost"]


def test_a_stream_without_usage_costs_nobody_knows_what(openai: Loopback) -> None:
    openai.handler = lambda sock, *_: sock.sendall(stream_of(delta("hi", "stop")))
    with LLMRing() as ring:
        stream = ring.chat_stream("openai:gpt-4.1", "hello")
        last = list(stream)[-1]
    assert not last.usage
    assert stream.response.usage == {"cost": None, "cost_status": "no_usage"}


def test_a_model_of_no_registry_has_no_cost(openai: Loopback) -> None:
    with LLMRing() as ring:
        response = ring.chat("openai:gpt-9", "hello")
        assert response.usage["cost"] is None
        assert response.usage["cost_status"] == "model_not_in_registry"
        assert "cost_breakdown" not in response.usage
        bill = ring.calculate_cost(response)
    assert bill["total_cost"] is None
    assert bill["cost_status"] == "model_not_in_registry"


def test_a_cost_can_be_worked_out_later() -> None:
    response = LLMResponse(
        "hi",
        "anthropic:claude-haiku-4-5",
        usage={"prompt_tokens": 1000, "completion_tokens": 100},
    )
    bill = LLMRing().calculate_cost(response)
    assert bill["total_cost"] == 0.0015
    assert bill["input_cost"] == 0.001
    assert bill["output_cost"] == 0.0005
    assert response.usage == {"prompt_tokens": 1000, "completion_tokens": 100}


def test_own_prices_are_used(
    folder: Path, openai: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "r" / "openai").mkdir(parents=True)
    path = folder / "r" / "openai" / "models.json"
    facts = {
        "dollars_per_million_tokens_input": 1,
        "dollars_per_million_tokens_output": 10,
    }
    path.write_text(json.dumps({"models": {"openai:house-model": facts}}))
    url = (folder / "r").as_uri()
    with LLMRing(registry_url=url) as ring:
        assert ring.chat("openai:house-model", "hi").usage["cost"] == 0.002
        facts["dollars_per_million_tokens_input"] = 2
        path.write_text(json.dumps({"models": {"openai:house-model": facts}}))
        assert ring.chat("openai:house-model", "hi").usage["cost"] == 0.002
        ring.clear_alias_cache()
        assert ring.chat("openai:house-model", "hi").usage["cost"] == 0.003
    monkeypatch.setenv("LLMRING_REGISTRY_URL", url)
    with LLMRing() as ring:
        assert ring.chat("openai:house-model", "hi").usage["cost"] == 0.003


@pytest.mark.parametrize(
    "url", ["file:relative", "file://elsewhere/x", "file:///not/there", "ftp://x", "?"]
)
def test_a_registry_that_can_not_be_used_does_not_stop_a_chat(
    url: str, openai: Loopback
) -> None:
    with LLMRing(registry_url=url) as ring:
        assert ring.chat("openai:gpt-4.1", "hi").usage["cost"] == 0.0028


def test_a_racer_that_answered_too_late_is_on_the_bill(openai: Loopback) -> None:
    bind("openai:gpt-4.1", "openai:gpt-4o", more='strategy = "race"')
    with LLMRing() as ring:
        route = ring._router.route("a")
    usage = {"cost": 0.5}
    late = {"model": "openai:gpt-4o", "error": None, "usage": usage, "cost": 0.5}
    (record,) = _loser(route.candidates[1], [late], 1.0)
    assert isinstance(record["error"], ProviderError)
    assert (record["usage"], record["cost"]) == (usage, 0.5)
    (record,) = _loser(route.candidates[1], [], 1.0)
    assert "cost" not in record


def test_a_chat_never_asks_the_registry(
    openai: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(reply(b"{}")) as registry:
        monkeypatch.setenv("LLMRING_REGISTRY_URL", registry.url)
        with LLMRing() as ring:
            ring.chat("openai:gpt-4.1", "hi")
            ring.chat("openai:gpt-9", "hi")
            ring.get_model_info("openai:gpt-4.1")
        assert registry.requests == []


def test_a_ring_that_travelled_still_knows_prices(openai: Loopback) -> None:
    with LLMRing() as ring:
        ring.chat("openai:gpt-4.1", "hi")
        again = pickle.loads(pickle.dumps(ring))
    with again:
        assert again.chat("openai:gpt-4.1", "hi").usage["cost"] == 0.0028


def test_threads_that_begin_together_agree_on_the_price(openai: Loopback) -> None:
    with LLMRing() as ring, ThreadPoolExecutor(16) as pool:
        chats = [pool.submit(ring.chat, "openai:gpt-4.1", "hi") for _ in range(16)]
        costs = [chat.result().usage["cost"] for chat in chats]
    assert costs == [0.0028] * 16


# Strict --------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["1", "true", "YES", "on"])
@pytest.mark.parametrize("stream", [False, True])
def test_strict_tracking_sends_nothing_to_a_model_without_a_price(
    word: str, stream: bool, openai: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMRING_STRICT_COST", word)
    with LLMRing() as ring, pytest.raises(CostTrackingError) as caught:
        ring.chat("openai:gpt-9", "hi", stream=stream)
    assert caught.value.model == "openai:gpt-9"
    assert caught.value.cost_status == "model_not_in_registry"
    assert openai.requests == []


@pytest.mark.parametrize("word", ["", "0", "false", "no"])
def test_strict_tracking_can_be_off(
    word: str, openai: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMRING_STRICT_COST", word)
    with LLMRing() as ring:
        assert ring.chat("openai:gpt-9", "hi").usage["cost"] is None


def test_strict_tracking_lets_priced_models_pass(
    openai: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMRING_STRICT_COST", "1")
    with LLMRing() as ring:
        assert ring.chat("openai:gpt-4.1", "hi").usage["cost"] == 0.0028


# Attempts that were billed --------------------------------------------------------


def test_a_filtered_reply_that_another_replaced_is_on_the_bill(
    openai: Loopback,
) -> None:
    filtered = openai_reply("")
    filtered["choices"][0]["finish_reason"] = "content_filter"
    answers = {"gpt-4.1": filtered, "gpt-4o": openai_reply("fine")}

    def answer(sock: Any, request: Received, _: int) -> bool:
        sock.sendall(reply(answers[request.json["model"]]))
        return True

    openai.handler = answer
    bind("openai:gpt-4.1", "openai:gpt-4o")
    with LLMRing() as ring:
        response = ring.chat("a", "hi")
    assert response.content == "fine"
    first, second = response.attempts
    assert first["cost"] == 0.0028
    assert first["usage"]["prompt_tokens"] == 1000
    assert second["cost"] == response.usage["cost"] == 0.0035


SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "n",
        "schema": {
            "type": "object",
            "required": ["x"],
            "properties": {"x": {"type": "string"}},
        },
    },
    "strict": True,
}


def test_a_reply_that_breaks_its_schema_is_on_the_bill(openai: Loopback) -> None:
    bind("openai:gpt-4.1", "openai:gpt-4o")
    openai.handler = lambda sock, *_: sock.sendall(reply(openai_reply("{}")))
    with LLMRing(max_retries=0) as ring, pytest.raises(AllModelsFailedError) as caught:
        ring.chat("a", "hi", response_format=SCHEMA)
    assert [record["cost"] for record in caught.value.attempts] == [0.0028, 0.0035]


def test_a_stream_that_breaks_its_schema_is_priced(openai: Loopback) -> None:
    end = {"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 100}}
    openai.handler = lambda sock, *_: sock.sendall(
        stream_of(delta("{}", "stop"), {"id": "x", "model": "m", **end})
    )
    with LLMRing() as ring, pytest.raises(ProviderResponseError) as caught:
        list(ring.chat_stream("openai:gpt-4.1", "hi", response_format=SCHEMA))
    assert caught.value.response.usage["cost"] == 0.0028


def test_a_refused_request_costs_nothing_and_says_nothing(openai: Loopback) -> None:
    bind("openai:gpt-4.1", "openai:gpt-4o")
    openai.handler = lambda sock, request, _: sock.sendall(
        reply({"error": {"message": "busy"}}, "503 Busy")
        if request.json["model"] == "gpt-4.1"
        else reply(openai_reply())
    )
    with LLMRing(max_retries=0) as ring:
        response = ring.chat("a", "hi")
    failed, answered = response.attempts
    assert "cost" not in failed
    assert answered["cost"] == 0.0035


# Which API -----------------------------------------------------------------------

RESPONSES_REPLY = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "m",
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "hi", "annotations": []}],
        }
    ],
    "usage": {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9},
}


@pytest.mark.parametrize(
    ("model", "path", "body"),
    [
        ("gpt-5.2-chat-latest", "responses", RESPONSES_REPLY),  # the registry's word
        ("gpt-5-pro", "responses", RESPONSES_REPLY),  # OpenAI's own
        ("gpt-5.1-codex", "responses", RESPONSES_REPLY),
        ("o3-deep-research-2025-06-26", "responses", RESPONSES_REPLY),
        ("gpt-4.1", "chat/completions", openai_reply()),
        ("o3-mini", "chat/completions", openai_reply()),
        ("gpt-9", "chat/completions", openai_reply()),
    ],
)
@responses.activate
def test_openai_is_asked_by_the_api_that_serves_the_model(
    model: str, path: str, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    responses.post(f"https://api.openai.com/v1/{path}", json=body)
    with LLMRing() as ring:
        assert ring.chat(f"openai:{model}", "hi").content == "hi"


def test_another_address_is_asked_by_chat_completions(openai: Loopback) -> None:
    with LLMRing() as ring:
        ring.chat("openai:gpt-5-pro", "hi")
    assert openai.requests[0].path == "/v1/chat/completions"


# Does it fit ---------------------------------------------------------------------


def test_a_model_that_a_prompt_does_not_fit_is_skipped(openai: Loopback) -> None:
    bind("openai:gpt-4o-mini", "openai:gpt-4.1-2025-04-14")
    with LLMRing() as ring:
        response = ring.chat("a", "word " * 160_000)
        short = ring.chat("a", "word " * 1000)
    assert response.model == "openai:gpt-4.1-2025-04-14"
    assert [r.json["model"] for r in openai.requests] == [
        "gpt-4.1-2025-04-14",
        "gpt-4o-mini",
    ]
    skipped, answered = response.attempts
    assert skipped["model"] == "openai:gpt-4o-mini"
    assert skipped["skipped"] is True
    assert isinstance(skipped["error"], ContextLengthError)
    assert "200,000 tokens" in str(skipped["error"])
    assert "144,000 fit" in str(skipped["error"])
    assert answered["error"] is None
    assert [record["error"] for record in short.attempts] == [None]


def test_skipping_holds_for_streams_and_races(openai: Loopback) -> None:
    bind(
        *("openai:gpt-4o-mini", "openai:gpt-4.1-2025-04-14"),
        more='strategy = "race"\nhedge_after = 0',
    )
    with LLMRing() as ring:
        response = ring.chat("a", "word " * 160_000)
        assert response.model == "openai:gpt-4.1-2025-04-14"
        assert response.attempts[0]["skipped"] is True
        openai.handler = lambda sock, *_: sock.sendall(stream_of(delta("hi", "stop")))
        stream = ring.chat_stream("a", "word " * 160_000)
        list(stream)
    assert stream.response.model == "openai:gpt-4.1-2025-04-14"


@pytest.mark.parametrize(
    ("models", "more"),
    [
        # Nobody after it has the room.
        (("openai:gpt-4.1-2025-04-14", "openai:gpt-4o-mini"), ""),
        (("openai:gpt-4o-mini", "openai:gpt-4o"), ""),
        # Nobody knows how much the other takes.
        (("openai:gpt-4o-mini", "openai:gpt-9"), ""),
        # The other is for outages only.
        (
            ("openai:gpt-4o-mini", "openai:gpt-4.1-2025-04-14"),
            'conditions = { "openai:gpt-4.1-2025-04-14" = ["timeout"] }',
        ),
        (("openai:gpt-4o-mini",), ""),
    ],
)
def test_nobody_is_skipped_without_somebody_who_can(
    models: tuple[str, ...], more: str, openai: Loopback
) -> None:
    bind(*models, more=more)
    with LLMRing() as ring:
        response = ring.chat("a", "word " * 160_000)
    assert response.model == models[0]
    assert len(response.attempts) == 1


def test_a_skipped_candidate_does_not_count_as_tried(openai: Loopback) -> None:
    bind("openai:gpt-4o-mini", "openai:gpt-4.1-2025-04-14")
    openai.handler = lambda sock, *_: sock.sendall(
        reply({"error": {"message": "busy"}}, "400 Bad")
    )
    with LLMRing(max_retries=0) as ring, pytest.raises(ProviderResponseError) as caught:
        ring.chat("a", "word " * 160_000)
    assert caught.value.model == "gpt-4.1-2025-04-14"


PICTURE = {"type": "image_url", "image_url": {"url": "https://x/y"}}
CALL = {
    "id": "1",
    "type": "function",
    "function": {"name": "f", "arguments": "x" * 4000},
}


@pytest.mark.parametrize(
    ("messages", "tokens"),
    [
        ([Message("user", "x" * 3999)], None),
        ([Message("user", "x" * 4000)], 1000),
        ([Message("user", "x" * 2000)] * 4, 2000),
        ([Message("user", "é" * 4000)], 2000),
        ([Message("user", "語" * 4000)], 3000),
        ([Message("user", "\ud800" * 8000)], 2000),
        ([Message("user", [{"type": "text", "text": "x" * 4000}, PICTURE])], 1000),
        ([Message("assistant", "", tool_calls=[CALL])], 1000),
    ],
)
def test_the_length_of_a_prompt_is_estimated(
    messages: list[Message], tokens: int | None
) -> None:
    assert estimate_tokens(LLMRequest("m", messages)) == tokens


def test_a_window_is_input_and_output_together() -> None:
    assert window_tokens(RegistryModel("p", "m")) is None
    assert window_tokens(RegistryModel("p", "m", max_input_tokens=5)) == 5
    both = RegistryModel("p", "m", max_input_tokens=5, max_output_tokens=3)
    assert window_tokens(both) == 8


# Deprecated ----------------------------------------------------------------------


def test_a_deprecated_model_is_warned_of_once_with_its_successor(
    openai: Loopback, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "llmring_lite"), LLMRing() as ring:
        for _ in range(3):
            ring.chat("openai:o1-mini", "hi")
        ring.clear_alias_cache()
        ring.chat("openai:o1-mini", "hi")
        ring.chat("openai:gpt-4.1", "hi")
    (record,) = caplog.records
    assert "openai:o1-mini is no longer active" in record.getMessage()
    assert "use openai:o4-mini" in record.getMessage()


# Facts ---------------------------------------------------------------------------


def test_the_facts_of_a_model_or_an_alias(monkeypatch: pytest.MonkeyPatch) -> None:
    bind("anthropic:claude-haiku-4-5", "openai:gpt-4.1")
    with LLMRing() as ring:
        direct = ring.get_model_info("anthropic:claude-opus-4-1")
        assert isinstance(direct, RegistryModel)
        assert direct.model_name == "claude-opus-4-1-20250805"
        assert direct.dollars_per_million_tokens_output == 75
        # Without any key it is the first one, with a key the one that would answer.
        assert ring.get_model_info("a").model_name == "claude-haiku-4-5-20251001"
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        assert ring.get_model_info("a").model_name == "gpt-4.1"
        assert ring.get_model_info("a").supports_vision is True


@pytest.mark.parametrize("name", ["openai:gpt-9", "mock:echo"])
def test_facts_that_nobody_has_are_an_error(name: str) -> None:
    with LLMRing() as ring, pytest.raises(ModelNotFoundError) as caught:
        ring.get_model_info(name)
    assert f"{caught.value.provider}:{caught.value.model}" == name


def test_the_registry_is_within_reach() -> None:
    ring = LLMRing(registry_url="https://registry.example")
    assert ring.registry.url == "https://registry.example"
    assert ring.registry is ring.registry
