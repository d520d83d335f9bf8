"""Conversations in Gemini's form, and its own turns on their way back."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmring_lite.exceptions import InvalidRequestError, UnsupportedParameterError
from llmring_lite.provider import BUILTIN
from llmring_lite.provider_google import WIRE
from llmring_lite.provider_google_contents import generation
from llmring_lite.schemas import LLMRequest, LLMResponse, Message

GOOGLE = BUILTIN["google"]
FILLER = "skip_thought_signature_validator"
OLD, NEW = "gemini-2.5-flash", "gemini-3-flash-preview"


def body(*messages: Any, model: str = OLD) -> dict[str, Any]:
    return WIRE.build_request(LLMRequest(model, list(messages)), GOOGLE).body


def contents(*messages: Any, model: str = OLD) -> list[Any]:
    result: list[Any] = body(*messages, model=model)["contents"]
    return result


def parts(*messages: Any, model: str = OLD) -> list[Any]:
    """The parts of the last turn."""
    result: list[Any] = contents(*messages, model=model)[-1]["parts"]
    return result


def user(*items: Any) -> Message:
    return Message("user", list(items))


def calls(*given_calls: tuple[str, str, str], content: str | None = None) -> Message:
    return Message(
        "assistant",
        content,
        tool_calls=[
            {"id": i, "type": "function", "function": {"name": n, "arguments": a}}
            for i, n, a in given_calls
        ],
    )


def result(call_id: str, content: Any, **more: Any) -> Message:
    return Message("tool", content, tool_call_id=call_id, **more)


def answered(*reply_parts: Any, **envelope: Any) -> LLMResponse:
    """What the call path makes of Gemini's reply."""
    candidate = {"content": {"parts": list(reply_parts)}, "finishReason": "STOP"}
    response = WIRE.parse_response(
        {"candidates": [candidate], **envelope}, LLMRequest("m", ["Hi"])
    )
    if response.provider_data is not None:
        response.provider_data["provider"] = "google"
    return response


@pytest.mark.parametrize(
    ("model", "version"),
    [
        ("gemini-2.5-flash-preview-04-17", 2.5),
        ("models/gemini-3.1-pro-preview", 3.1),
        ("gemini-3-pro", 3.0),
        ("gemini-robotics-er-1.5-preview", 1.5),
        ("gemini-flash-latest", 3.0),
        ("gemini-exp-1206", None),
        ("gemma-3-27b-it", None),
        ("my-tuned-model", None),
    ],
)
def test_generation_of_a_model(model: str, version: float | None) -> None:
    assert generation(model) == version


# Turns ---------------------------------------------------------------------------


def test_all_system_messages_become_one_instruction() -> None:
    sent = body(
        Message("system", "Be brief."),
        Message("user", "Hi"),
        Message("developer", [{"type": "text", "text": "Be kind."}]),
    )
    assert sent["systemInstruction"] == {"parts": [{"text": "Be brief.\n\nBe kind."}]}
    assert sent["contents"] == [{"role": "user", "parts": [{"text": "Hi"}]}]


def test_neighbours_of_one_role_share_a_turn() -> None:
    assert contents(
        "a", "b", Message("assistant", "c"), Message("assistant", "d"), "e"
    ) == [
        {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
        {"role": "model", "parts": [{"text": "c"}, {"text": "d"}]},
        {"role": "user", "parts": [{"text": "e"}]},
    ]


def test_empty_messages_are_left_out() -> None:
    assert contents("a", Message("assistant", ""), Message("assistant"), "b") == [
        {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}
    ]


@pytest.mark.parametrize("message", [Message("system", "x"), Message("user", "")])
def test_a_conversation_without_content_is_refused(message: Message) -> None:
    with pytest.raises(InvalidRequestError, match="at least one message"):
        body(message)


# Parts ---------------------------------------------------------------------------

PNG = "data:image/png;base64,iVBORw0="
API = "https://generativelanguage.googleapis.com/v1beta"

MEDIA = [
    (
        {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0="}},
    ),
    (
        {
            "type": "file",
            "file": {"file_data": "data:application/pdf;name=a.pdf;base64,JVBERi0="},
        },
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}},
    ),
    (
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}},
    ),
    (
        {"type": "image_url", "image_url": {"url": "https://x.example/A.JPG?s=1#f"}},
        {
            "fileData": {
                "fileUri": "https://x.example/A.JPG?s=1#f",
                "mimeType": "image/jpeg",
            }
        },
    ),
    (
        {"type": "image_url", "image_url": "https://x.example/random"},
        {"fileData": {"fileUri": "https://x.example/random"}},
    ),
    (
        {"type": "file", "file": {"file_id": "gs://bucket/a", "filename": "a.pdf"}},
        {"fileData": {"fileUri": "gs://bucket/a", "mimeType": "application/pdf"}},
    ),
    (
        {"type": "file", "file": {"file_id": "files/abc"}},
        {"fileData": {"fileUri": f"{API}/files/abc"}},
    ),
    (
        {"type": "file", "file": {"file_id": f"{API}/files/abc", "filename": "v.mp4"}},
        {"fileData": {"fileUri": f"{API}/files/abc", "mimeType": "video/mp4"}},
    ),
    (
        {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}},
        {"text": "Hi"},
    ),
]


@pytest.mark.parametrize(("part", "sent"), MEDIA)
def test_parts(part: dict[str, Any], sent: dict[str, Any]) -> None:
    assert parts(user(part)) == [sent]


@pytest.mark.parametrize(
    ("detail", "level"),
    [("low", "MEDIA_RESOLUTION_LOW"), ("high", "MEDIA_RESOLUTION_HIGH")],
)
def test_detail_is_the_resolution_since_gemini_3(detail: str, level: str) -> None:
    image = {"type": "image_url", "image_url": {"url": PNG, "detail": detail}}
    [part] = parts(user(image), model=NEW)
    assert part["mediaResolution"] == {"level": level}
    result_parts = parts(calls(("c", "f", "{}")), result("c", [image]), model=NEW)
    assert "mediaResolution" not in repr(result_parts)


def test_detail_auto_is_the_default() -> None:
    image = {"type": "image_url", "image_url": {"url": PNG, "detail": "auto"}}
    assert "mediaResolution" not in repr(parts(user(image), model=NEW))


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        (
            {"type": "image_url", "image_url": {"url": "http://x.example/a"}},
            "image_url",
        ),
        ({"type": "file", "file": {"file_id": "file-abc123"}}, "file"),
    ],
)
def test_a_place_that_gemini_cannot_read_is_named(
    part: dict[str, Any], kind: str
) -> None:
    with pytest.raises(UnsupportedParameterError) as caught:
        parts("Hi", user({"type": "text", "text": "?"}, part))
    assert caught.value.parameter == f"messages[1].content[1] ({kind})"


def test_a_signed_url_is_not_shown_in_an_error() -> None:
    url = "http://x.example/a?signature=s3cret"
    with pytest.raises(UnsupportedParameterError) as caught:
        parts(user({"type": "image_url", "image_url": {"url": url}}))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "video"},
        {},
        {"type": "text"},
        {"type": "image_url", "image_url": {}},
        {"type": "image_url", "image_url": None},
        {"type": "file", "file": {"filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": "data:application/pdf"}},
        {"type": "input_audio", "input_audio": {"data": "x"}},
    ],
)
def test_a_malformed_part_is_named(part: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match=r"messages\[0\]\.content\[0\]"):
        parts(user(part))


def test_a_system_message_holds_text_only() -> None:
    image = {"type": "image_url", "image_url": {"url": PNG}}
    with pytest.raises(UnsupportedParameterError, match=r"messages\[0\]"):
        body(Message("system", [image]), "Hi")


# Calls and results ---------------------------------------------------------------


def test_calls_and_results_of_another_provider_keep_ids_and_order() -> None:
    turns = contents(
        "Weather?",
        calls(("c1", "get", '{"q": "a"}'), ("c2", "get", ""), content="Looking."),
        result("c2", "rain"),
        result("c1", '{"t": 20}'),
        "And?",
    )
    assert turns[1:] == [
        {
            "role": "model",
            "parts": [
                {"text": "Looking."},
                {"functionCall": {"name": "get", "args": {"q": "a"}, "id": "c1"}},
                {"functionCall": {"name": "get", "args": {}, "id": "c2"}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {
                    "functionResponse": {
                        "name": "get",
                        "response": {"t": 20},
                        "id": "c1",
                    }
                },
                {
                    "functionResponse": {
                        "name": "get",
                        "response": {"output": "rain"},
                        "id": "c2",
                    }
                },
                {"text": "And?"},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("content", "response"),
    [
        ('{"a": [1, 2.5, null]}', {"a": [1, 2.5, None]}),
        (" {} ", {}),
        ("20", {"output": "20"}),
        ("1.10", {"output": "1.10"}),
        ("[1]", {"output": "[1]"}),
        ("null", {"output": "null"}),
        ("", {"output": ""}),
        (None, {"output": ""}),
        ("{not JSON", {"output": "{not JSON"}),
        ('{"a": NaN}', {"output": '{"a": NaN}'}),
        ('{"a": 1e999}', {"output": '{"a": 1e999}'}),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, None),
        ([{"type": "text", "text": t} for t in "ab"], {"output": "a\n\nb"}),
    ],
)
def test_a_result_is_an_object(content: Any, response: Any) -> None:
    (part,) = parts("?", calls(("c", "f", "{}")), result("c", content))
    sent = part["functionResponse"]["response"]
    assert sent == (response if response is not None else {"output": content})


def test_a_failed_call_says_so() -> None:
    failed = result("c", "no such city", metadata={"is_error": True})
    (part,) = parts("?", calls(("c", "f", "{}")), failed)
    assert part["functionResponse"]["response"] == {"error": "no such city"}


IMAGE = {"type": "image_url", "image_url": {"url": PNG}}
INLINE = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0="}}


def test_files_of_a_result_are_part_of_it_since_gemini_3() -> None:
    shown = result("c", [{"type": "text", "text": "see"}, IMAGE])
    call = calls(("c", "f", "{}"))
    response = {"name": "f", "response": {"output": "see"}, "id": "c"}
    assert parts("?", call, shown, model=NEW) == [
        {"functionResponse": {**response, "parts": [INLINE]}}
    ]
    assert parts("?", call, shown, model=OLD) == [
        {"functionResponse": response},
        INLINE,
    ]


def test_a_result_may_name_its_function_itself() -> None:
    (part,) = parts(result("c9", "x", name="f"))
    assert part == {"functionResponse": {"name": "f", "response": {"output": "x"}}}


def test_a_result_of_an_unknown_call_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"messages\[1\].*'c9'"):
        body("?", result("c9", "x"))


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [("", {}), ("null", {}), (" ", {}), (None, {}), ({"a": 1}, {"a": 1})],
)
def test_arguments_that_are_no_text_of_an_object(arguments: Any, sent: Any) -> None:
    (part,) = parts("?", calls(("c", "f", arguments)))
    assert part["functionCall"]["args"] == sent


@pytest.mark.parametrize("arguments", ['{"a": "cut o', "[1]", "5", '{"a": NaN}'])
def test_arguments_that_cannot_be_sent_are_named(arguments: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"messages\[1\]\.tool_calls\[0\]"):
        body("?", calls(("c", "f", arguments)))


@pytest.mark.parametrize(
    "call", [{}, {"type": "custom", "custom": {}}, {"function": {"arguments": "{}"}}]
)
def test_a_malformed_call_is_named(call: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match=r"messages\[0\]\.tool_calls\[0\]"):
        body(Message("assistant", tool_calls=[call]))


def test_no_call_is_lost_to_an_id_given_twice() -> None:
    made = parts("?", calls(("c", "f", "{}"), ("c", "g", "{}")))
    assert [part["functionCall"]["name"] for part in made] == ["f", "g"]


# The model's own turns -----------------------------------------------------------


def test_ids_that_we_made_are_not_sent_but_match_call_and_result() -> None:
    response = answered(
        {"functionCall": {"name": "f", "args": {"n": 1}}},
        {"functionCall": {"name": "g"}},
    )
    assert response.tool_calls is not None
    first, second = (call["id"] for call in response.tool_calls)
    turns = contents("?", response.message, result(second, "two"), result(first, "one"))
    assert turns[1]["parts"] == [
        {"functionCall": {"name": "f", "args": {"n": 1}}},
        {"functionCall": {"name": "g", "args": {}}},
    ]
    assert turns[2]["parts"] == [
        {"functionResponse": {"name": "f", "response": {"output": "one"}}},
        {"functionResponse": {"name": "g", "response": {"output": "two"}}},
    ]


def test_ids_of_the_api_go_back() -> None:
    response = answered({"functionCall": {"name": "f", "args": {}, "id": "x1"}})
    turns = contents("?", response.message, result("x1", "one"))
    assert turns[1]["parts"][0]["functionCall"]["id"] == "x1"
    assert turns[2]["parts"][0]["functionResponse"]["id"] == "x1"


TURN = [
    {"text": "Let me "},
    {"text": "see.", "thoughtSignature": "s1"},
    {"executableCode": {"code": "1"}, "thoughtSignature": "s2"},
    {"codeExecutionResult": {"output": "1"}},
    {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "s3"},
    {"functionCall": {"name": "f", "args": {"a": 2}, "id": "x"}},
    {"text": "Done."},
    {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
    {"text": "", "thoughtSignature": "s4"},
]


@pytest.mark.parametrize("model", [OLD, NEW])
def test_a_turn_goes_back_part_by_part_with_its_signatures(model: str) -> None:
    assert parts("?", answered(*TURN).message, model=model) == TURN


def test_thoughts_stay_home_unless_they_are_signed() -> None:
    signed = {"text": "b", "thought": True, "thoughtSignature": "s"}
    response = answered({"text": "a", "thought": True}, signed, {"text": "c"})
    assert parts("?", response.message) == [signed, {"text": "c"}]


def test_a_turn_that_was_stored_as_json_goes_back_alike() -> None:
    message = answered(*TURN).message
    stored = json.loads(json.dumps(message.__dict__))
    assert parts("?", stored) == TURN


def test_an_edited_turn_is_sent_as_it_is_now() -> None:
    message = answered(*TURN).message
    message.content = "Edited."
    assert message.tool_calls is not None
    message.tool_calls = [
        message.tool_calls[0],
        *(calls(("new", "g", "{}")).tool_calls or ()),
    ]
    assert parts("?", message) == [
        {"text": "Edited."},
        TURN[2],
        TURN[3],
        TURN[4],
        TURN[7],
        {"functionCall": {"name": "g", "args": {}, "id": "new"}},
    ]


def test_a_turn_whose_text_became_parts_is_sent_as_it_is_now() -> None:
    message = answered({"text": "ab", "thoughtSignature": "s"}).message
    message.content = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert parts("?", message) == [{"text": "a"}, {"text": "b"}]


def test_what_another_provider_wrote_stays_with_it() -> None:
    message = calls(("c", "f", "{}"), content="Hm.")
    message.provider_data = {"provider": "anthropic", "parts": [{"part": {"x": 1}}]}
    assert parts("?", message) == [
        {"text": "Hm."},
        {"functionCall": {"name": "f", "args": {}, "id": "c"}},
    ]


def test_gemini_3_gets_a_filler_for_the_first_unsigned_call_of_each_step() -> None:
    foreign = calls(("c1", "f", "{}"), ("c2", "f", "{}"))
    older = answered({"functionCall": {"name": "g", "args": {}, "id": "c3"}}).message
    conversation = ["?", foreign, result("c1", "1"), result("c2", "2"), older]
    made = [
        part.get("thoughtSignature")
        for turn in contents(*conversation, model=NEW)
        for part in turn["parts"]
        if "functionCall" in part
    ]
    assert made == [FILLER, None, FILLER]
    assert FILLER not in json.dumps(contents(*conversation, model=OLD))
    assert FILLER not in json.dumps(contents(*conversation, model="gemma-3-27b-it"))


# Any conversation ----------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=5,
)
objects = st.dictionaries(texts, values, max_size=3)
plain = texts.filter(lambda text: not text.lstrip().startswith("{"))
call_steps = st.lists(st.tuples(texts, objects, plain | objects), max_size=3)
steps = st.lists(st.tuples(texts, st.text(max_size=5), call_steps), max_size=4)


@settings(max_examples=60, deadline=None)
@given(steps, st.booleans(), st.sampled_from([OLD, NEW]))
def test_any_conversation_keeps_texts_calls_ids_arguments_and_results(
    conversation: list[Any], shuffled: bool, model: str
) -> None:
    messages: list[Message] = []
    wanted: list[Any] = []
    for number, (question, answer, made) in enumerate(conversation):
        messages.append(Message("user", question))
        wanted.append(("user", question))
        step = [(f"c{number}-{i}", *call) for i, call in enumerate(made)]
        messages.append(
            calls(*((i, n, json.dumps(a)) for i, n, a, _ in step), content=answer)
        )
        wanted += [("model", answer)] if answer else []
        wanted += [("call", i, n, a) for i, n, a, _ in step]
        for i, _, _, outcome in reversed(step) if shuffled else step:
            text = outcome if isinstance(outcome, str) else json.dumps(outcome)
            messages.append(result(i, text))
        wanted += [
            ("result", i, n, r if isinstance(r, dict) else {"output": r})
            for i, n, _, r in step
        ]
    messages.append(Message("user", "?"))
    wanted.append(("user", "?"))
    sent: list[Any] = []
    turns = contents(*messages, model=model)
    for turn in turns:
        for part in turn["parts"]:
            if "text" in part:
                sent.append((turn["role"], part["text"]))
            elif "functionCall" in part:
                call = part["functionCall"]
                sent.append(("call", call["id"], call["name"], call["args"]))
            else:
                call = part["functionResponse"]
                sent.append(("result", call["id"], call["name"], call["response"]))
    assert sent == wanted
    roles = [turn["role"] for turn in turns]
    assert all(a != b for a, b in pairwise(roles))


reply_parts = st.lists(
    st.one_of(
        st.builds(lambda t: {"text": t}, texts),
        st.builds(lambda t, s: {"text": t, "thoughtSignature": s}, st.text(), texts),
        st.builds(
            lambda n, a: {"functionCall": {"name": n, "args": a}}, texts, objects
        ),
        st.builds(lambda c: {"executableCode": {"code": c}}, texts),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(reply_parts)
def test_any_turn_of_gemini_goes_back_as_it_came(made: list[Any]) -> None:
    joined: list[Any] = []
    for part in made:
        if part.keys() == {"text"} and joined and joined[-1].keys() == {"text"}:
            joined[-1] = {"text": joined[-1]["text"] + part["text"]}
        else:
            joined.append(part)
    assert parts("?", answered(*made).message) == joined
