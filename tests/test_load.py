"""64 threads on one ring, 10,000 calls, every fifth request answered by a fault."""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import threading
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from loopback import (
    LAST_CHUNK,
    Loopback,
    Received,
    chunk,
    eventually,
    reply,
    stream_head,
)

from llmring_lite import (
    AllModelsFailedError,
    CircuitBreakerError,
    LLMResponse,
    LLMRing,
    ProviderError,
)
from llmring_lite.breaker import CircuitBreaker
from llmring_lite.dispatch import Dispatcher
from llmring_lite.retry import RetryPolicy

THREADS = 64
CALLS = 10_000
FAULT_SHARE = 0.2

ALIASES = """
[[profiles.default.bindings]]
alias = "single"
models = ["a:single"]
[[profiles.default.bindings]]
alias = "fallback"
models = ["a:f1", "b:f2", "a:f3"]
[[profiles.default.bindings]]
alias = "split"
models = ["a:s1", "b:s2"]
strategy = "split"
weights = [70, 30]
[[profiles.default.bindings]]
alias = "turns"
models = ["a:t1", "b:t2", "a:t3"]
strategy = "round_robin"
[[profiles.default.bindings]]
alias = "least"
models = ["a:l1", "b:l2"]
strategy = "least_connections"
[[profiles.default.bindings]]
alias = "weighted"
models = ["a:w1", "b:w2"]
strategy = "weighted"
weights = [50, 50]
[[profiles.default.bindings]]
alias = "race"
models = ["a:r1", "b:r2"]
strategy = "race"
hedge_after = 0.05
[[profiles.default.bindings]]
alias = "resets"
models = ["a:x1", "b:x2"]
[[profiles.default.bindings]]
alias = "stream"
models = ["a:st1", "b:st2"]
"""
COUNTED = ("fallback", "split", "turns", "least", "weighted")
"""Aliases of which every request is on a record that the caller gets."""


class Faulty:
    """A handler that answers what it was asked, or breaks in one of many ways.

    `served` counts requests by model, `answered` the good answers among them.
    """

    def __init__(self) -> None:
        self.served: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._rng = random.Random(64)

    def __call__(self, sock: socket.socket, request: Received, _: int) -> bool:
        body = request.json
        model = f"{request.path[1]}:{body['model']}"
        kinds = ["503", "500", "429", "404", "cut", "garbage"]
        if "x" in body["model"]:
            kinds = ["reset", "close"]
        with self._lock:
            self.served[model] += 1
            fault = self._rng.random() < FAULT_SHARE
            kind = self._rng.choice(kinds) if fault else "good"
            self.answered[model] += not fault
        text = body["messages"][0]["content"]
        if body.get("stream"):
            return self.stream(sock, kind, text)
        return self.whole(sock, kind, text)

    def whole(self, sock: socket.socket, kind: str, text: str) -> bool:
        if kind == "good":
            sock.sendall(reply(completion(text)))
        elif kind.isdecimal():
            sock.sendall(reply({"error": {"message": "no"}}, f"{kind} No"))
        elif kind == "garbage":
            sock.sendall(reply("<html>oops</html>"))
        elif kind == "cut":
            sock.sendall(reply(completion(text))[:-10])
            return False
        else:
            if kind == "reset":
                linger = struct.pack("ii", 1, 0)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return False
        return True

    def stream(self, sock: socket.socket, kind: str, text: str) -> bool:
        if kind.isdecimal() or kind == "garbage":
            return self.whole(sock, kind, text)
        data = b"".join(chunk(event({"content": letter})) for letter in text)
        sock.sendall(stream_head() + data)
        if kind == "cut":
            return False
        last = chunk(event({}, "stop")) + chunk(b"data: [DONE]\n\n") + LAST_CHUNK
        sock.sendall(last)
        return True


def completion(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


def event(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


class Callers:
    """The threads, and what became of their calls."""

    def __init__(self, ring: LLMRing) -> None:
        self.ring = ring
        self.outcomes: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        """By model, as far as the records that callers get tell."""
        self.good: Counter[str] = Counter()
        self.surprises: list[BaseException] = []
        self._numbers = count()
        self._lock = threading.Lock()
        self._names = ["single", *COUNTED, "race", "resets", "stream"]

    def run(self) -> None:
        threads = [threading.Thread(target=self._work) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)

    def _work(self) -> None:
        while (number := next(self._numbers)) < CALLS and not self.surprises:
            alias = self._names[number % len(self._names)]
            try:
                attempts = self._call(alias, str(number))
                outcome = "replies"
            except ProviderError as error:
                attempts = attempts_of(error)
                outcome = "errors"
            except BaseException as surprise:
                self.surprises.append(surprise)
                raise
            sent = [
                record
                for record in attempts
                if not isinstance(record["error"], CircuitBreakerError)
            ]
            with self._lock:
                self.outcomes[outcome] += 1
                self.outcomes["spared"] += len(attempts) - len(sent)
                self.requests.update(record["model"] for record in sent)
                self.good.update(r["model"] for r in sent if r["error"] is None)

    def _call(self, alias: str, text: str) -> list[dict[str, Any]]:
        """The attempts of a call that got the reply that belongs to it."""
        if alias != "stream":
            response = self.ring.chat(alias, text, timeout=30)
        elif text.endswith("7"):
            with self.ring.chat_stream(alias, text, timeout=30) as stream:
                assert next(stream).delta == text[0]  # and leaves
            return []
        else:
            response = self._whole_stream(alias, text)
        assert response.content == text
        assert response.alias == alias
        assert [r["error"] for r in response.attempts].count(None) == 1
        return response.attempts

    @staticmethod
    def _must_begin(text: str, partial: str) -> None:
        assert text.startswith(partial)

    def _whole_stream(self, alias: str, text: str) -> LLMResponse:
        stream = self.ring.chat_stream(alias, text, timeout=30)
        try:
            deltas = [chunk.delta for chunk in stream]
        except ProviderError as error:
            self._must_begin(text, error.partial)
            raise
        assert "".join(deltas) == text
        return stream.response


def attempts_of(error: ProviderError) -> list[dict[str, Any]]:
    if isinstance(error, AllModelsFailedError):
        return error.attempts
    return [{"model": f"{error.provider}:{error.model}", "error": error}]


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files")
def test_every_call_ends_and_the_counters_add_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = Faulty()
    monkeypatch.setenv("LOAD_KEY", "sk-load")
    with Loopback(handler) as server:
        providers = "".join(
            f'[providers.{name}]\nkind = "openai"\napi_key_env = "LOAD_KEY"\n'
            f'base_url = "{server.url}/{name}"\n'
            for name in "ab"
        )
        lockfile = tmp_path / "llmring.lock"
        lockfile.write_text(f"{providers}[profiles.default]\n{ALIASES}")
        threads, files = threading.active_count(), open_files()
        with LLMRing(lockfile_path=lockfile) as ring:
            # The defaults are for people's patience: seconds, not milliseconds.
            dispatcher = Dispatcher(
                RetryPolicy(max_retries=1, base_s=0.002),
                make_breaker=lambda: CircuitBreaker(reset_s=0.02),
            )
            monkeypatch.setattr(ring, "_dispatcher", dispatcher)
            callers = Callers(ring)
            callers.run()
            assert callers.surprises == []
            check_outcomes(callers.outcomes)
            check_requests(callers, handler)
            in_flight = dispatcher.shared.in_flight
            assert eventually(lambda: all(in_flight.count(m) == 0 for m in MODELS))
        assert eventually(lambda: open_files() <= files, 10)
        # What is left are the server's own threads, which end with their connections.
        assert eventually(lambda: threading.active_count() <= threads, 10)
        assert server.connections < CALLS / 2  # most calls found a connection waiting


def check_outcomes(outcomes: Counter[str]) -> None:
    assert outcomes["replies"] + outcomes["errors"] == CALLS
    assert outcomes["replies"] > CALLS * 0.8
    assert outcomes["errors"] > 0
    assert outcomes["spared"] > 0  # breakers opened, and callers went elsewhere


def check_requests(callers: Callers, handler: Faulty) -> None:
    """Requests that the server counted are those that callers know of."""
    for model in MODELS:
        served, known = handler.served[model], callers.requests[model]
        if model in EXACT:
            assert served == known, model
            assert handler.answered[model] == callers.good[model], model
        elif model in ("a:x1", "b:x2"):
            # A connection that breaks before a byte came is tried again unseen.
            assert known <= served <= 2 * known, model
        else:
            assert served >= callers.good[model], model


EXACT = {
    *("a:f1", "b:f2", "a:f3", "a:s1", "b:s2", "a:t1", "b:t2", "a:t3"),
    *("a:l1", "b:l2", "a:w1", "b:w2"),
}
MODELS = {*EXACT, "a:single", "a:r1", "b:r2", "a:x1", "b:x2", "a:st1", "b:st2"}
