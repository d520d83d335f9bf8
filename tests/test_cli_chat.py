"""`chat`: the reply on stdout, all else on stderr; and the conversation."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmring_lite.cli import main

LOCKFILE = """
version = "1.0"
default_profile = "default"

[profiles.default]
name = "default"

[[profiles.default.bindings]]
alias = "parrot"
models = ["mock:echo"]
"""

SECOND = """
[[profiles.default.bindings]]
alias = "{}"
models = ["mock:json"]
"""


@pytest.fixture(autouse=True)
def lockfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "llmring.lock"
    path.write_text(LOCKFILE)
    return path


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put text (or bytes) on stdin; `tty` makes it look like a terminal."""

    def feed(text: str | bytes, *, tty: bool = False, encoding: str = "utf-8") -> None:
        data = text.encode() if isinstance(text, str) else text
        stdin = io.TextIOWrapper(io.BytesIO(data), encoding=encoding)
        monkeypatch.setattr(stdin, "isatty", lambda: tty, raising=False)
        monkeypatch.setattr(sys, "stdin", stdin)

    return feed


# One message ---------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--stream"]])
def test_the_reply_is_all_of_stdout(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", "Hello there → you", *options]) == 0
    assert capsys.readouterr() == ("Hello there → you\n", "")


@pytest.mark.parametrize("options", [[], ["--stream"]])
def test_a_reply_that_ends_its_line_gets_no_second_one(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", "line\n", *options]) == 0
    assert capsys.readouterr().out == "line\n"


def test_a_dash_reads_stdin(
    type_in: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    type_in("first line\nsecond line, café")
    assert main(["chat", "-"]) == 0
    assert capsys.readouterr().out == "first line\nsecond line, café\n"


def test_stdin_is_read_as_utf8_even_where_the_terminal_has_none(
    type_in: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    type_in("café", encoding="ascii")
    assert main(["chat", "-"]) == 0
    assert capsys.readouterr().out == "café\n"


def test_bytes_that_are_no_text_do_not_stop_a_message(
    type_in: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    type_in(b"caf\xe9")
    assert main(["chat", "-"]) == 0
    assert capsys.readouterr().out == "caf\ufffd\n"


@pytest.mark.parametrize("message", ["", "  \n"])
def test_an_empty_message_is_refused(
    message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", message]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "empty" in err


def test_empty_stdin_is_refused(
    type_in: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    type_in("")
    assert main(["chat", "-"]) == 2
    assert "empty" in capsys.readouterr().err


# What is sent --------------------------------------------------------------------


class Spy:
    """Records what the library is asked, and asks it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from llmring_lite.service import LLMRing

        self.calls: list[tuple[str, list[Any], dict[str, Any]]] = []
        chat = LLMRing.chat

        def spy(ring: LLMRing, model: str, messages: list[Any], **fields: Any) -> Any:
            self.calls.append((model, list(messages), fields))
            return chat(ring, model, messages, **fields)

        monkeypatch.setattr(LLMRing, "chat", spy)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Spy:
    return Spy(monkeypatch)


def test_sampling_parameters_are_sent_only_when_given(asked: Spy) -> None:
    main(["chat", "hi"])
    main(["chat", "hi", "--temperature", "0", "--max-tokens", "7"])
    assert asked.calls[0][2] == {}
    assert asked.calls[1][2] == {"temperature": 0.0, "max_tokens": 7}


def test_the_system_message_comes_first(asked: Spy) -> None:
    main(["chat", "hi", "--system", "Be brief."])
    turns = [(message.role, message.content) for message in asked.calls[0][1]]
    assert turns == [("system", "Be brief."), ("user", "hi")]


def test_text_files_are_put_before_the_message(asked: Spy, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_bytes("\ufeffEins\r\nZwei ü\n".encode())
    (tmp_path / "two.md").write_text("# Two")
    assert main(["chat", "Compare.", "--file", "one.txt", "--file", "two.md"]) == 0
    (message,) = asked.calls[0][1]
    assert message.content == (
        '<file name="one.txt">\nEins\r\nZwei ü\n</file>\n\n'
        '<file name="two.md">\n# Two\n</file>\n\n'
        "Compare."
    )


def test_images_and_pdfs_travel_as_parts(tmp_path: Path) -> None:
    from llmring_lite.cli_message import build_content

    for name in ("a.PNG", "b.pdf", "notes"):
        (tmp_path / name).write_text("text")
    assert build_content("Look.", ["a.PNG", "notes", "b.pdf"]) == [
        {"type": "image", "path": "a.PNG"},
        {"type": "file", "path": "b.pdf"},
        {"type": "text", "text": '<file name="notes">\ntext\n</file>\n\nLook.'},
    ]


@pytest.mark.parametrize("data", [b"\x00\x01binary", b"\xff\xfe\x00w\x00"])
def test_a_file_that_is_no_text_is_refused(
    data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data.bin").write_bytes(data)
    assert main(["chat", "hi", "--file", "data.bin"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "data.bin" in err


@pytest.mark.parametrize("name", ["nowhere.txt", "nowhere.png"])
def test_a_missing_file_is_reported_before_any_call(
    name: str, asked: Spy, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", "hi", "--file", name]) == 1
    assert name in capsys.readouterr().err
    assert asked.calls == []


@pytest.mark.parametrize(
    "option",
    [
        ["--temperature", "warm"],
        ["--temperature", "nan"],
        ["--max-tokens", "0"],
        ["--max-tokens", "many"],
    ],
)
def test_numbers_that_are_none_are_refused(
    option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", "hi", *option]) == 2
    assert option[0] in capsys.readouterr().err


# Which model ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("others", "chosen"),
    [((), "parrot"), (("fast",), "fast"), (("fast", "default"), "default")],
)
def test_the_model_is_the_only_alias_or_default_or_fast(
    others: tuple[str, ...], chosen: str, lockfile: Path, asked: Spy
) -> None:
    lockfile.write_text(LOCKFILE + "".join(SECOND.format(name) for name in others))
    main(["chat", "hi"])
    assert asked.calls[0][0] == chosen


def test_among_several_aliases_the_model_must_be_named(
    lockfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lockfile.write_text(LOCKFILE + SECOND.format("writer"))
    assert main(["chat", "hi"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "--model" in err
    assert "parrot, writer" in err
    assert main(["chat", "hi", "--model", "parrot"]) == 0


def test_without_a_lockfile_a_model_can_be_named(
    lockfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lockfile.unlink()
    assert main(["chat", "hi"]) == 2
    assert "lock init" in capsys.readouterr().err
    assert main(["chat", "hi", "--model", "mock:echo"]) == 0
    assert capsys.readouterr() == ("hi\n", "")


def test_an_unknown_alias_fails_with_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["chat", "hi", "--model", "parot"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("llmring-lite: ")
    assert "parrot" in err


def test_the_profile_counts(lockfile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = LOCKFILE.replace("profiles.default", "profiles.prod")
    lockfile.write_text(LOCKFILE + text.partition("\n\n")[2].replace("echo", "json"))
    assert main(["chat", "hi", "--profile", "prod", "--verbose"]) == 0
    assert "mock:json" in capsys.readouterr().err


# Output forms --------------------------------------------------------------------


def test_json_is_the_reply_with_its_facts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "hi", "--json"]) == 0
    out, err = capsys.readouterr()
    reply = json.loads(out)
    assert err == ""
    assert reply["content"] == "hi"
    assert reply["model"] == "mock:echo"
    assert reply["alias"] == "parrot"
    assert reply["finish_reason"] == "stop"
    assert reply["usage"]["total_tokens"] > 0
    assert [attempt["model"] for attempt in reply["attempts"]] == ["mock:echo"]


def test_a_json_stream_is_a_line_for_each_chunk(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["chat", "one two three", "--json", "--stream"]) == 0
    chunks = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "".join(chunk["delta"] for chunk in chunks) == "one two three"
    assert chunks[-1]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("options", [[], ["--stream"]])
def test_verbose_tells_model_tokens_cost_and_attempts_on_stderr(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", "hi", "--verbose", *options]) == 0
    out, err = capsys.readouterr()
    assert out == "hi\n"
    assert "model: mock:echo (alias parrot)" in err
    for word in ("tokens: ", "cost: ", "finish reason: stop", "attempt: mock:echo"):
        assert word in err


def test_failover_is_visible_in_verbose(
    lockfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lockfile.write_text(LOCKFILE.replace('"mock:echo"', '"mock:fail-503", "mock:echo"'))
    assert main(["chat", "hi", "--verbose"]) == 0
    out, err = capsys.readouterr()
    assert out == "hi\n"
    *failed, replied = [x for x in err.splitlines() if x.startswith("attempt: ")]
    assert failed
    for line in failed:
        assert "mock:fail-503" in line
        assert "HTTP 503" in line
    assert "mock:echo: replied" in replied


# Failures ------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--stream"], ["--json"]])
def test_a_failed_call_is_one_message_and_exit_1(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", "hi", "--model", "mock:fail-401", *options]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("llmring-lite: ")
    assert "401" in err
    assert "Traceback" not in err


def test_a_stream_that_breaks_off_shows_what_came_and_then_the_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = "one two three four five six seven eight nine ten"
    assert main(["chat", text, "--stream", "--model", "mock:fault-cut"]) == 1
    out, err = capsys.readouterr()
    assert out.endswith("\n")
    assert out != "\n"
    assert text.startswith(out[:-1])
    assert err.startswith("llmring-lite: ")


def test_a_reply_without_a_key_names_the_variable(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["chat", "hi", "--model", "openai:gpt-5-mini"]) == 1
    assert "OPENAI_API_KEY" in capsys.readouterr().err


# Conversation --------------------------------------------------------------------


def test_a_conversation_from_a_pipe_answers_line_by_line(
    type_in: Callable[..., None], asked: Spy, capsys: pytest.CaptureFixture[str]
) -> None:
    type_in("one\n\ntwo\n/reset\nthree\n/exit\nfour\n")
    assert main(["chat", "--system", "Be brief."]) == 0
    out, err = capsys.readouterr()
    assert out == "one\ntwo\nthree\n"
    assert err == ""
    turns = [
        [(message.role, message.content) for message in messages]
        for _, messages, _ in asked.calls
    ]
    system = ("system", "Be brief.")
    assert turns == [
        [system, ("user", "one")],
        [system, ("user", "one"), ("assistant", "one"), ("user", "two")],
        [system, ("user", "three")],
    ]


def test_files_go_with_the_first_turn(
    type_in: Callable[..., None], asked: Spy, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("A")
    type_in("one\ntwo\n")
    assert main(["chat", "--file", "a.txt"]) == 0
    assert asked.calls[0][1][0].content == '<file name="a.txt">\nA\n</file>\n\none'
    assert asked.calls[1][1][-1].content == "two"


def test_a_failed_turn_is_forgotten_and_the_conversation_goes_on(
    type_in: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    type_in("one\ntwo\n")
    assert main(["chat", "--model", "mock:fail-500"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("llmring-lite: ") == 2


def test_a_terminal_gets_a_greeting_and_prompts_but_not_on_stdout(
    type_in: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    type_in("one\n/help\n", tty=True)
    assert main(["chat"]) == 0
    out, err = capsys.readouterr()
    assert out == "one\n"
    assert "parrot" in err
    assert err.count("> ") >= 3
    assert "/reset" in err


def test_an_unknown_command_is_not_sent(
    type_in: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    type_in("/rest\n/etc/hosts is what?\n")
    assert main(["chat"]) == 0
    out, err = capsys.readouterr()
    assert out == "/etc/hosts is what?\n"
    assert "/rest is no command" in err


def test_a_failure_at_the_terminal_is_not_the_exit_code(
    type_in: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    type_in("one\n", tty=True)
    assert main(["chat", "--model", "mock:fail-500"]) == 0
    assert "llmring-lite: " in capsys.readouterr().err


def test_ctrl_c_stops_a_reply_but_not_the_conversation(
    type_in: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from llmring_lite.service import LLMRing

    chat = LLMRing.chat

    def interrupted(ring: LLMRing, model: str, messages: list[Any]) -> Any:
        if messages[-1].content == "one":
            raise KeyboardInterrupt
        assert len(messages) == 1  # the first turn is forgotten
        return chat(ring, model, messages)

    monkeypatch.setattr(LLMRing, "chat", interrupted)
    type_in("one\ntwo\n", tty=True)
    assert main(["chat"]) == 0
    out, err = capsys.readouterr()
    assert out == "two\n"
    assert "stopped" in err


def test_ctrl_c_ends_a_conversation_from_a_pipe(
    type_in: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmring_lite.service import LLMRing

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(LLMRing, "chat", interrupted)
    type_in("one\ntwo\n")
    assert main(["chat"]) == 130


def test_the_conversation_ends_where_stdin_is_closed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["chat"]) == 0
    assert main(["chat", "-"]) == 2
    assert "empty" in capsys.readouterr().err
