"""Random conversations, through every mapper and over HTTP, lose nothing on the way.

Each provider is one of the fakes of `wire_fakes`, which reads requests and writes
replies on its own. What it understood of a request must be the conversation; what
the caller is given must be the reply that it wrote; and what a provider wants back
with its turns must come back to it, and reach nobody else.
"""

from __future__ import annotations

import copy
import json
import random
import socket
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loopback import LAST_CHUNK, Loopback, Received, chunk, reply, stream_head
from wire_fakes import FAKES, Block, Call, Fact, Text, Thought, facts, joined, value_of
from wire_fakes import reasoning as reasoning_of

from llmring_lite import LLMRequest, LLMResponse, LLMRing, Message
from llmring_lite.schemas import as_message

KINDS = tuple(FAKES)

MADE_BY_US = "gemini_call_"
"""How ids begin that are never sent: Gemini's calls need none."""


# Conversations --------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_-]{0,20}", fullmatch=True)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=6,
)
arguments = st.dictionaries(texts, values, max_size=4)
results = (
    st.just("")
    | texts
    | st.dictionaries(st.from_regex("k[0-9]{1,3}", fullmatch=True), values).map(
        json.dumps
    )
)


class Script:
    """Draws what happens next, and numbers what must be unique."""

    def __init__(self, data: st.DataObject) -> None:
        self.draw = data.draw
        self._count = 0

    def number(self) -> int:
        self._count += 1
        return self._count

    def secret(self) -> str:
        return f"secret-{self.number()}-"

    def blocks(self, kind: str) -> list[Block]:
        """A reply: thoughts, texts and calls, not all of them thoughts."""
        made: list[Block] = []
        for shape in self.draw(st.lists(st.sampled_from("ttxxc"), max_size=5)):
            if shape == "t":
                thought = self.draw(texts | st.just(""))
                made.append(Thought(thought, self.secret()))
            elif shape == "x":
                made.append(Text(self.draw(texts)))
            else:
                made.append(self.call(kind))
        if all(isinstance(block, Thought) for block in made):
            made.append(Text(self.draw(texts)))
        return made

    def call(self, kind: str) -> Call:
        call_id: str | None = f"call-{self.number()}_{self.draw(names)}"
        if kind in ("google", "ollama") and self.draw(st.booleans()):
            call_id = None
        return Call(call_id, self.draw(names), self.draw(arguments), self.secret())

    def results(self, response: LLMResponse) -> list[Message]:
        """The results of a reply's calls, in any order."""
        calls = self.draw(st.permutations(response.tool_calls or []))
        return [
            Message("tool", self.draw(results), tool_call_id=call["id"])
            for call in calls
        ]

    def users(self) -> list[Message]:
        found = self.draw(st.lists(texts | st.lists(texts, min_size=1), max_size=2))
        return [Message("user", _content(text)) for text in found]


def _content(text: str | list[str]) -> Any:
    if isinstance(text, str):
        return text
    return [{"type": "text", "text": piece} for piece in text]


# The other side of the wire -------------------------------------------------------


class Providers:
    """All five fakes behind one loopback server, told apart by the path."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.streams = False
        self.body: dict[str, Any] = {}

    def answer(self, sock: socket.socket, request: Received, _: int) -> bool:
        kind = request.path.split("/")[1]
        self.body = request.json
        if not self.streams:
            sock.sendall(reply(FAKES[kind].reply(self.blocks)))
            return True
        sse = kind != "ollama"
        events = [_event(event, sse) for event in FAKES[kind].events(self.blocks)]
        data = "".join(events).encode()
        media_type = "text/event-stream" if sse else "application/x-ndjson"
        pieces = (chunk(piece) for piece in _cut(data))
        sock.sendall(stream_head(media_type) + b"".join(pieces) + LAST_CHUNK)
        return True


def _event(event: dict[str, Any] | str, sse: bool) -> str:
    # U+2028 and the like must pass as they are.
    text = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)
    return f"data: {text}\n\n" if sse else f"{text}\n"


def _cut(data: bytes) -> Iterator[bytes]:
    rng = random.Random(len(data))
    while data:
        size = rng.choice((1, 2, 3, 50, 1000))
        yield data[:size]
        data = data[size:]


@pytest.fixture(scope="module")
def providers() -> Providers:
    return Providers()


@pytest.fixture(scope="module")
def ring(
    providers: Providers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LLMRing]:
    """One provider a wire format, named by it."""
    path = tmp_path_factory.mktemp("ring") / "llmring.lock"
    with Loopback(providers.answer) as server:
        rows = [_row(kind, server.url) for kind in KINDS]
        path.write_text("\n".join(['version = "1.0"', *rows]))
        with LLMRing(lockfile_path=path, max_retries=0) as ring:
            yield ring


def _row(kind: str, url: str) -> str:
    version = "/v1" if kind.startswith("openai") else ""
    return (
        f'[providers."at-{kind}"]\nkind = "{kind}"\napi_key_env = []\n'
        f'base_url = "{url}/{kind}{version}"'
    )


# What must hold -------------------------------------------------------------------


def expected(messages: list[Message], kind: str) -> list[Fact]:
    """The conversation as facts, results in the order of their calls."""
    found: list[Fact] = []
    order: list[str] = []
    for role, group in groupby(messages, key=lambda message: message.role):
        if role == "tool":
            by_call = sorted(group, key=lambda m: order.index(m.tool_call_id or ""))
            for result in by_call:
                call_id = _sent(result.tool_call_id or "", kind)
                found.append(("result", call_id, value_of(str(result.content))))
            continue
        for message in group:
            if role == "assistant":
                calls = message.tool_calls or []
                order = [call["id"] for call in calls]
                made = tuple(_call(call, kind) for call in calls)
                found.append(("assistant", message.content, made))
            elif isinstance(message.content, str):
                found.append((role, message.content))
            else:
                found += [(role, part["text"]) for part in message.content or ()]
    return by_id(joined(found))


def by_id(found: list[Fact]) -> list[Fact]:
    """Neighbouring results sorted by id, where all of them have one."""
    ordered: list[Fact] = []
    for role, group in groupby(found, key=lambda fact: fact[0]):
        facts_of_role = list(group)
        if role == "result" and all(fact[1] for fact in facts_of_role):
            facts_of_role.sort(key=lambda fact: fact[1])
        ordered += facts_of_role
    return ordered


def _call(call: dict[str, Any], kind: str) -> tuple[Any, ...]:
    function = call["function"]
    return (
        _sent(call["id"], kind),
        function["name"],
        json.loads(function["arguments"]),
    )


def _sent(call_id: str, kind: str) -> str | None:
    unsent = kind == "google" and call_id.startswith(MADE_BY_US)
    return None if unsent else call_id


def ask(
    ring: LLMRing,
    providers: Providers,
    kind: str,
    messages: list[Message],
    stream: bool,
) -> LLMResponse:
    """Ask a provider, and check that it understood the conversation."""
    providers.streams = stream
    request = LLMRequest(f"at-{kind}:model", list(messages), stream=stream)
    before = copy.deepcopy(request)
    if stream:
        chunks = ring.chat_stream(request)
        for _ in chunks:
            pass
        response = chunks.response
    else:
        response = ring.chat(request)
    assert request == before
    understood = by_id(joined(FAKES[kind].read(providers.body)))
    assert understood == expected(messages, kind)
    return response


def check_reply(response: LLMResponse, blocks: list[Block]) -> None:
    """The caller is given what the provider wrote."""
    _, text, calls = facts(blocks)
    assert response.content == text
    assert (response.reasoning or "") == reasoning_of(blocks)
    found = response.tool_calls or []
    assert len(found) == len(calls)
    for call, (call_id, name, arguments_) in zip(found, calls, strict=True):
        assert call["id"] == call_id or (call_id is None and call["id"])
        assert call["function"]["name"] == name
        assert json.loads(call["function"]["arguments"]) == arguments_
    assert response.finish_reason == ("tool_calls" if calls else "stop")


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_conversations_that_wander_between_providers_lose_nothing(
    data: st.DataObject, ring: LLMRing, providers: Providers
) -> None:
    script = Script(data)
    messages = [
        *(Message("system", text) for text in data.draw(st.lists(texts, max_size=2))),
        *(script.users() or [Message("user", data.draw(texts))]),
    ]
    ids: set[str] = set()
    for _ in range(data.draw(st.integers(1, 4))):
        kind = data.draw(st.sampled_from(KINDS))
        providers.blocks = script.blocks(kind)
        response = ask(ring, providers, kind, messages, data.draw(st.booleans()))
        check_reply(response, providers.blocks)
        new = [call["id"] for call in response.tool_calls or ()]
        assert len({*new}) == len(new)
        assert ids.isdisjoint(new)
        ids.update(new)
        messages.append(response.message)
        messages += script.results(response)
        messages += script.users() or (
            [] if new else [Message("user", data.draw(texts))]
        )


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_turn_goes_back_to_its_provider_as_it_came_and_bare_to_others(
    kind: str, stream: bool, data: st.DataObject, ring: LLMRing, providers: Providers
) -> None:
    script = Script(data)
    messages = [Message("user", "?")]
    providers.blocks = blocks = script.blocks(kind)
    response = ask(ring, providers, kind, messages, stream)
    # As a caller may keep it: in a file.
    turn = as_message(json.loads(json.dumps(vars(response.message))))
    messages += [turn, *script.results(response), Message("user", "And?")]
    fake = FAKES[kind]
    kept = fake.kept(blocks)
    for other in KINDS:
        providers.blocks = [Text("ok")]
        ask(ring, providers, other, messages, stream=False)
        if other != kind:
            assert "secret-" not in json.dumps(providers.body)
        elif kept is not None:
            assert fake.replayed(providers.body) == kept
