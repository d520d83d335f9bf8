"""A conversation on its way to Anthropic: system prompt, turns, parts, replays."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmring_lite.exceptions import InvalidRequestError, UnsupportedParameterError
from llmring_lite.provider import BUILTIN
from llmring_lite.provider_anthropic import WIRE
from llmring_lite.schemas import LLMRequest, Message

ANTHROPIC = BUILTIN["anthropic"]
LATE_SYSTEM = "claude-opus-4-8"
NO_LATE_SYSTEM = "claude-sonnet-5"


def body(*messages: Any, model: str = NO_LATE_SYSTEM) -> dict[str, Any]:
    request = LLMRequest(model=model, messages=list(messages))
    return WIRE.build_request(request, ANTHROPIC).body


def turns(*messages: Any, model: str = NO_LATE_SYSTEM) -> list[tuple[str, Any]]:
    """Role and blocks of each turn; a block that is nothing but text as a str."""
    return [
        (
            turn["role"],
            [b["text"] if b.keys() == {"type", "text"} else b for b in turn["content"]],
        )
        for turn in body(*messages, model=model)["messages"]
    ]


def call(call_id: str, arguments: Any = "{}", name: str = "f") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def tool_use(call_id: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": "f", "input": arguments}


def result(call_id: str, content: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, "content": content}


def user(text: str) -> Message:
    return Message("user", text)


def assistant(text: str | None = None, *calls: dict[str, Any]) -> Message:
    return Message("assistant", text, tool_calls=list(calls) or None)


def system(text: str) -> Message:
    return Message("system", text)


# System prompt -------------------------------------------------------------------


def test_leading_system_messages_are_joined() -> None:
    messages = (system("A"), Message("developer", "B"), system("  "), user("u"))
    sent = body(*messages)
    assert sent["system"] == "A\n\nB"
    assert [turn["role"] for turn in sent["messages"]] == ["user"]


def test_no_system_prompt_no_field() -> None:
    assert "system" not in body(user("u"))
    assert "system" not in body(system(""), user("u"))


@pytest.mark.parametrize(
    ("conversation", "roles"),
    [
        ((user("a"), system("S")), "user system"),
        ((user("a"), assistant("b"), user("c"), system("S")), None),
        # It has to stand behind a user turn.
        (
            (user("a"), assistant("b"), system("S"), user("c")),
            "user assistant user system",
        ),
        (
            (user("a"), system("S"), system("T"), assistant("b"), user("c")),
            "user system assistant user",
        ),
        # ... and not between a call and its result.
        (
            (
                user("a"),
                assistant(None, call("t1")),
                system("S"),
                Message("tool", "r", tool_call_id="t1"),
            ),
            "user assistant user system",
        ),
        ((user("a"), system("S"), user("b")), "user system"),
    ],
)
def test_late_system_message_keeps_its_place(
    conversation: tuple[Message, ...], roles: str | None
) -> None:
    sent = body(system("first"), *conversation, model=LATE_SYSTEM)
    assert sent["system"] == "first"
    roles = roles or "user assistant user system"
    assert [turn["role"] for turn in sent["messages"]] == roles.split()
    (late,) = (turn for turn in sent["messages"] if turn["role"] == "system")
    assert late["content"][0] == {"type": "text", "text": "S"}


@pytest.mark.parametrize(
    ("model", "conversation"),
    [
        (NO_LATE_SYSTEM, (user("a"), assistant("b"), system("S"), user("c"))),
        (NO_LATE_SYSTEM, (user("a"), system("S"))),
        # There is no place for it before or after an assistant turn.
        (LATE_SYSTEM, (user("a"), assistant("b"), system("S"))),
        (LATE_SYSTEM, (user("a"), assistant("b"), system("S"), assistant("c"))),
    ],
)
def test_late_system_message_joins_the_prompt_where_it_has_no_place(
    model: str, conversation: tuple[Message, ...]
) -> None:
    sent = body(system("first"), *conversation, model=model)
    assert sent["system"] == "first\n\nS"
    assert "system" not in [turn["role"] for turn in sent["messages"]]


def test_system_message_holds_text_only() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
    text = {"type": "text", "text": ""}
    with pytest.raises(UnsupportedParameterError) as caught:
        body(Message("system", [text, image]), user("u"))
    assert caught.value.parameter == "messages[0].content[1] (image_url)"


@pytest.mark.parametrize("messages", [(system("S"),), (user(" \n"),), (user(""),)])
def test_conversation_without_a_turn_is_refused(messages: tuple[Message, ...]) -> None:
    with pytest.raises(InvalidRequestError, match="at least one user message"):
        body(*messages)


# Turns ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([user("a")], [("user", ["a"])]),
        ([user("a"), user("b")], [("user", ["a", "b"])]),
        (
            [user("a"), assistant("b"), assistant("c"), user("d")],
            [("user", ["a"]), ("assistant", ["b", "c"]), ("user", ["d"])],
        ),
        # Text without a visible character is rejected by the API.
        (
            [user("a"), assistant(""), user("b"), assistant("\n"), user("c")],
            [("user", ["a", "b", "c"])],
        ),
        (
            [user("a"), assistant("", call("t1")), Message("tool", "r", None, "t1")],
            [
                ("user", ["a"]),
                ("assistant", [tool_use("t1")]),
                ("user", [result("t1", "r")]),
            ],
        ),
        # Results are one turn, and come first in it.
        (
            [
                user("a"),
                assistant("b", call("t1"), call("t2", '{"x": 1}')),
                user("by the way"),
                Message("tool", "one", tool_call_id="t1"),
                Message("tool", "two", tool_call_id="t2"),
                user("c"),
            ],
            [
                ("user", ["a"]),
                ("assistant", ["b", tool_use("t1"), tool_use("t2", x=1)]),
                (
                    "user",
                    [result("t1", "one"), result("t2", "two"), "by the way", "c"],
                ),
            ],
        ),
        # A turn to be continued must not end in white space.
        (
            [user("a"), assistant("The answer is \n")],
            [("user", ["a"]), ("assistant", ["The answer is"])],
        ),
        (
            [user("a"), assistant("b \n"), user("c")],
            [("user", ["a"]), ("assistant", ["b \n"]), ("user", ["c"])],
        ),
    ],
)
def test_turns(messages: list[Message], expected: list[Any]) -> None:
    assert turns(*messages) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (Message("tool", ""), {}),
        (Message("tool", None), {}),
        (Message("tool", "x", metadata={"is_error": False}), {"content": "x"}),
        (
            Message("tool", "x", metadata={"is_error": True}),
            {"content": "x", "is_error": True},
        ),
        (
            Message(
                "tool",
                [
                    {"type": "text", "text": "x"},
                    {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
                ],
            ),
            {
                "content": [
                    {"type": "text", "text": "x"},
                    {
                        "type": "image",
                        "source": {"type": "url", "url": "https://x/y.png"},
                    },
                ]
            },
        ),
    ],
)
def test_tool_result(message: Message, expected: dict[str, Any]) -> None:
    message = replace(message, tool_call_id="t1")
    want = {"type": "tool_result", "tool_use_id": "t1", **expected}
    assert turns(message) == [("user", [want])]


def test_tool_message_without_an_id_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"messages\[1\].*tool_call_id"):
        body(user("a"), Message("tool", "r"))


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ('{"x": {"y": [1, "é"]}}', {"x": {"y": [1, "é"]}}),
        ("{}", {}),
        ("", {}),
        (" ", {}),
        ("null", {}),
        (None, {}),
        ({"x": 1}, {"x": 1}),
    ],
)
def test_arguments_of_a_call(arguments: Any, sent: dict[str, Any]) -> None:
    messages = (user("a"), assistant(None, call("t1", arguments)))
    assert turns(*messages)[1] == ("assistant", [tool_use("t1", **sent)])


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (call("t1", '{"x": "cut o'), "not a JSON object"),
        (call("t1", "[1]"), "not a JSON object"),
        (call("t1", '"x"'), "not a JSON object"),
        (call(""), "must be"),
        ({"id": "t1", "type": "function"}, "must be"),
        ({"id": "t1", "type": "custom", "custom": {"name": "f"}}, "must be"),
    ],
)
def test_broken_call_is_refused_with_its_place(
    broken: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidRequestError, match=problem) as caught:
        body(user("a"), assistant("b", call("t0"), broken))
    assert "messages[1].tool_calls[1]" in str(caught.value)


@pytest.mark.parametrize("call_id", ["functions.f:0", "call|1", "ähm", "a b"])
def test_foreign_ids_are_spelt_in_the_characters_the_api_takes(call_id: str) -> None:
    messages = (
        user("a"),
        assistant(None, call(call_id), call("functions_f_0")),
        Message("tool", "r", tool_call_id=call_id),
    )
    _, (_, calls), (_, results) = turns(*messages)
    sent = calls[0]["id"]
    assert results[0]["tool_use_id"] == sent
    assert all(c.isascii() and (c.isalnum() or c in "_-") for c in sent)
    assert sent != calls[1]["id"]


# Parts ---------------------------------------------------------------------------


def data_url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


def file(data: str, **more: Any) -> dict[str, Any]:
    return {"type": "file", "file": {"file_data": data, **more}}


PDF = base64.b64encode(b"%PDF-1.7").decode()
PNG = base64.b64encode(b"\x89PNG").decode()
PDF_SOURCE = {"type": "base64", "media_type": "application/pdf", "data": PDF}


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (
            image("https://x/y.png"),
            {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
        ),
        (
            {"type": "image_url", "image_url": "https://x/y.png"},
            {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
        ),
        (
            image(f"data:image/png;base64,{PNG}"),
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": PNG},
            },
        ),
        (
            image(f"data:application/pdf;base64,{PDF}"),
            {"type": "document", "source": PDF_SOURCE},
        ),
        (
            file(f"data:application/pdf;base64,{PDF}", filename="a.pdf"),
            {"type": "document", "source": PDF_SOURCE, "title": "a.pdf"},
        ),
        (
            file("https://x/y.pdf"),
            {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}},
        ),
        (
            file(data_url("text/markdown;charset=utf-8", "# é".encode())),
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "# é"},
            },
        ),
        (
            file(data_url("application/json", b'{"a":1}'), filename="a.json"),
            {
                "type": "document",
                "source": {
                    "type": "text",
                    "media_type": "text/plain",
                    "data": '{"a":1}',
                },
                "title": "a.json",
            },
        ),
        (
            file(f"data:image/png;base64,{PNG}", filename="a.png"),
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": PNG},
            },
        ),
        (
            {"type": "file", "file": {"file_id": "file_1"}},
            {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        ),
        (
            {"type": "file", "file": {"file_id": "file_1", "filename": "A.PNG"}},
            {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        ),
        (
            file("https://x/y.pdf") | {"citations": {"enabled": True}, "context": "c"},
            {
                "type": "document",
                "source": {"type": "url", "url": "https://x/y.pdf"},
                "citations": {"enabled": True},
                "context": "c",
            },
        ),
        (
            image("https://x/y.png") | {"cache_control": {"type": "ephemeral"}},
            {
                "type": "image",
                "source": {"type": "url", "url": "https://x/y.png"},
                "cache_control": {"type": "ephemeral"},
            },
        ),
    ],
)
def test_part(part: dict[str, Any], block: dict[str, Any]) -> None:
    text = {"type": "text", "text": "What is this?"}
    empty = {"type": "text", "text": ""}
    assert turns(Message("user", [part, empty, text])) == [
        ("user", [block, "What is this?"])
    ]


@pytest.mark.parametrize(
    ("part", "parameter"),
    [
        (
            {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
            "messages[1].content[1] (input_audio)",
        ),
        (image(f"data:image/bmp;base64,{PNG}"), "messages[1].content[1] (image_url)"),
        (
            file(data_url("application/zip", b"PK")),
            "messages[1].content[1] (file)",
        ),
    ],
)
def test_part_that_the_api_cannot_take(part: dict[str, Any], parameter: str) -> None:
    message = Message("user", [{"type": "text", "text": "x"}, part])
    with pytest.raises(UnsupportedParameterError) as caught:
        body(user("a"), message)
    assert caught.value.parameter == parameter


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ({"type": "video"}, "unknown type 'video'"),
        ({}, "unknown type None"),
        (image("data:image/png"), "data: URL"),
        (image("data:image/png,%89PNG"), "data: URL"),
        (file("data:text/plain;base64,/w=="), "not base64 of UTF-8"),
        (file("data:text/plain;base64,abc"), "not base64 of UTF-8"),
    ],
)
def test_malformed_part(part: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidRequestError, match=problem) as caught:
        body(Message("user", [part]))
    assert "messages[0].content[0]" in str(caught.value)


def test_assistant_turn_takes_no_images() -> None:
    with pytest.raises(UnsupportedParameterError, match="text only"):
        body(user("a"), Message("assistant", [image("https://x/y.png")]))


# Turns that Anthropic wrote ------------------------------------------------------

THINKING = {"type": "thinking", "thinking": "Hm.", "signature": "sig"}
REDACTED = {"type": "redacted_thinking", "data": "xyz"}
SEARCH = {
    "type": "server_tool_use",
    "id": "srvtoolu_1",
    "name": "web_search",
    "input": {"query": "q"},
}
FOUND = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [{"type": "web_search_result", "encrypted_content": "e", "url": "u"}],
}
CITED = [{"type": "web_search_result_location", "encrypted_index": "i", "url": "u"}]

WRITTEN = [
    [THINKING, {"type": "text", "text": "b"}, tool_use("t1", x=1)],
    [THINKING, REDACTED, tool_use("t1", x=1), THINKING],
    [SEARCH, FOUND, {"type": "text", "text": "b", "citations": CITED}],
    [SEARCH, FOUND],
    [
        {"type": "text", "text": "Let me see. "},
        SEARCH,
        FOUND,
        {"type": "text", "text": "It is "},
        {"type": "text", "text": "so", "citations": CITED},
        tool_use("t1") | {"caller": {"type": "code_execution", "tool_id": "s"}},
        tool_use("t2", y=2),
    ],
]


def reply_to(blocks: list[dict[str, Any]]) -> Message:
    """The message that follows from a reply with these blocks."""
    reply = {"model": "m", "content": blocks, "stop_reason": "end_turn"}
    message = WIRE.parse_response(reply, LLMRequest("m", "x")).message
    message = json.loads(json.dumps(message.__dict__))
    if message["provider_data"]:
        message["provider_data"]["provider"] = "anthropic"
    return Message(**message)


@pytest.mark.parametrize("blocks", WRITTEN)
def test_own_turn_goes_back_block_by_block(blocks: list[dict[str, Any]]) -> None:
    sent = body(user("a"), reply_to(blocks), user("c"))
    assert sent["messages"][1] == {"role": "assistant", "content": blocks}


@pytest.mark.parametrize("blocks", WRITTEN)
def test_turn_of_another_provider_goes_without_its_private_blocks(
    blocks: list[dict[str, Any]],
) -> None:
    message = reply_to(blocks)
    assert message.provider_data is not None
    message.provider_data["provider"] = "another"
    messages = body(user("a"), message, user("c"))["messages"]
    public = [b for turn in messages for b in turn["content"]]
    assert {block["type"] for block in public} <= {"text", "tool_use"}
    texts = "".join(block.get("text", "") for block in public)
    assert texts == f"a{message.content}c"


def test_blank_text_of_an_own_turn_is_left_out() -> None:
    blocks = [THINKING, {"type": "text", "text": "\n\n"}, tool_use("t1")]
    sent = body(user("a"), reply_to(blocks), Message("tool", "r", None, "t1"))
    assert sent["messages"][1]["content"] == [THINKING, tool_use("t1")]


def test_own_turn_of_nothing_but_thoughts_is_left_out() -> None:
    sent = turns(user("a"), reply_to([THINKING, REDACTED]), user("c"))
    assert sent == [("user", ["a", "c"])]


@pytest.mark.parametrize(
    ("blocks", "edits", "expected"),
    [
        (
            [THINKING, {"type": "text", "text": "long text", "citations": CITED}],
            {"content": "short"},
            [THINKING, {"type": "text", "text": "short"}],
        ),
        (
            [THINKING, {"type": "text", "text": "b"}, tool_use("t1")],
            {"tool_calls": None},
            [THINKING, {"type": "text", "text": "b"}],
        ),
        (
            [THINKING, tool_use("t1")],
            {"content": "added"},
            [THINKING, {"type": "text", "text": "added"}, tool_use("t1")],
        ),
        (
            [THINKING, {"type": "text", "text": "b"}],
            {"tool_calls": [call("t9")]},
            [THINKING, {"type": "text", "text": "b"}, tool_use("t9")],
        ),
        (
            [THINKING, {"type": "text", "text": "b"}],
            {"content": [{"type": "text", "text": "b"}]},
            [THINKING, {"type": "text", "text": "b"}],
        ),
        ([REDACTED, {"type": "text", "text": "b"}], {"content": ""}, None),
        ([SEARCH, FOUND], {"content": "x"}, [SEARCH, FOUND, "x"]),
    ],
)
def test_edited_own_turn(
    blocks: list[dict[str, Any]], edits: dict[str, Any], expected: list[Any] | None
) -> None:
    message = replace(reply_to(blocks), **edits)
    messages = body(user("a"), message, user("c"))["messages"]
    if expected is None:
        assert len(messages) == 1
        return
    expected = [
        {"type": "text", "text": b} if isinstance(b, str) else b for b in expected
    ]
    assert messages[1]["content"] == expected


def test_paused_turn_can_be_continued() -> None:
    sent = body(user("a"), reply_to([SEARCH, FOUND]))
    assert sent["messages"][-1] == {"role": "assistant", "content": [SEARCH, FOUND]}


# Nothing gets lost ---------------------------------------------------------------

TEXTS = st.text(min_size=1, max_size=20).filter(str.strip)
IDS = st.text(
    st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12
)
ARGUMENTS = st.dictionaries(
    st.text(max_size=5),
    st.none() | st.booleans() | st.integers() | TEXTS | st.lists(TEXTS, max_size=2),
    max_size=3,
)


@st.composite
def exchanges(draw: st.DrawFn) -> list[Message]:
    """A question, an answer that may call tools, and their results."""
    calls = [
        call(call_id, json.dumps(draw(ARGUMENTS)), draw(TEXTS))
        for call_id in draw(st.lists(IDS, max_size=3, unique=True))
    ]
    answer = draw(st.none() | TEXTS) if calls else draw(TEXTS)
    question: Any = draw(TEXTS)
    if draw(st.booleans()):
        question = [{"type": "text", "text": question}]
    messages = [user("q"), Message("user", question), assistant(answer, *calls)]
    for one in calls:
        messages.append(Message("tool", draw(TEXTS), tool_call_id=one["id"]))
    return messages


@given(st.lists(exchanges(), min_size=1, max_size=4), st.sampled_from(["", "S"]))
def test_every_text_call_id_and_argument_arrives(
    conversation: list[list[Message]], prompt: str
) -> None:
    messages = [message for exchange in conversation for message in exchange]
    sent = body(system(prompt), *messages, user("last"))
    roles = [turn["role"] for turn in sent["messages"]]
    assert roles == ["user" if i % 2 == 0 else "assistant" for i in range(len(roles))]
    blocks = [block for turn in sent["messages"] for block in turn["content"]]
    texts, calls, results, ids = [], [], [], {}
    for message in messages:
        if message.role == "tool":
            results.append((message.tool_call_id, message.content))
            continue
        content = message.content
        if content:
            texts.append(content if isinstance(content, str) else content[0]["text"])
        for one in message.tool_calls or ():
            function = one["function"]
            calls.append((one["id"], function["name"], function["arguments"]))
    assert [b["text"] for b in blocks if b["type"] == "text"] == [*texts, "last"]
    sent_calls = [b for b in blocks if b["type"] == "tool_use"]
    sent_results = [b for b in blocks if b["type"] == "tool_result"]
    for (call_id, name, arguments), block in zip(calls, sent_calls, strict=True):
        assert (block["name"], block["input"]) == (name, json.loads(arguments))
        assert ids.setdefault(call_id, block["id"]) == block["id"]
    for (call_id, content), block in zip(results, sent_results, strict=True):
        assert (block["tool_use_id"], block["content"]) == (ids[call_id], content)
    assert len(set(ids.values())) == len(ids)
