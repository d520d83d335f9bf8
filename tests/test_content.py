"""Loading message parts: local files, data: URLs, remote images."""

from __future__ import annotations

import os
from base64 import b64encode
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from llmring_lite import content_media
from llmring_lite.content import load
from llmring_lite.exceptions import InvalidRequestError
from llmring_lite.schemas import LLMRequest, Message

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 8
JPEG = b"\xff\xd8\xff\xe0" + b"\0" * 8
GIF = b"GIF89a" + b"\0" * 8
WEBP = b"RIFF\x10\0\0\0WEBPVP8 "
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"
WAV = b"RIFF\x10\0\0\0WAVEfmt "
MP3_TAGGED = b"ID3\x04\0\0\0\0\0\0"
MP3_BARE = b"\xff\xfb\x90\x64\0\0"


def data_url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{b64encode(data).decode()}"


def request(*parts: Any, **fields: Any) -> LLMRequest:
    return LLMRequest("m", [Message("user", list(parts))], **fields)


def loaded(part: Any, **options: Any) -> Any:
    found = load(request(part), **options).messages[0].content
    assert isinstance(found, list)
    assert len(found) == 1
    return found[0]


def refusal(part: Any, **options: Any) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        load(request(part), **options)
    return str(caught.value)


def write(folder: Path, name: str, data: bytes) -> str:
    path = folder / name
    path.write_bytes(data)
    return str(path)


# Nothing to do ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "text",
        None,
        [],
        [{"type": "text", "text": "a"}, {"type": "text", "text": ""}],
        [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}],
        [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}],
        [{"type": "image_url", "image_url": {"url": "HTTP://example.com/a.png"}}],
        [{"type": "image_url", "image_url": {"url": data_url("image/png", PNG)}}],
        [{"type": "image_url", "image_url": {"url": data_url("image/heic", b"x")}}],
        [{"type": "file", "file": {"file_data": data_url("application/pdf", PDF)}}],
        [{"type": "file", "file": {"file_id": "file-1"}}],
        [{"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}}],
        [{"type": "hologram", "anything": 1}],
    ],
)
def test_a_request_with_nothing_to_load_is_returned_itself(content):
    asked = LLMRequest("m", [Message("user", "hi"), Message("assistant", content)])
    assert load(asked) is asked


def test_other_messages_fields_and_the_callers_objects_stay(tmp_path):
    path = write(tmp_path, "a.png", PNG)
    metadata = {"cache_control": {"type": "ephemeral"}}
    plain = Message("system", "Be brief.")
    image = {"type": "image", "path": path}
    mixed = Message("user", [{"type": "text", "text": "x"}, image], metadata=metadata)
    asked = LLMRequest("m", [plain, mixed], temperature=0.5, timeout=3)
    before = deepcopy(asked)

    found = load(asked)

    assert asked == before
    assert asked.messages[1] is mixed
    assert found.messages[0] is plain
    assert found.messages[1].metadata == metadata
    assert found.messages[1].content[0] == {"type": "text", "text": "x"}
    assert found.messages[1].content[1]["type"] == "image_url"
    assert (found.temperature, found.timeout, found.model) == (0.5, 3, "m")


def test_loading_again_has_nothing_to_do(tmp_path):
    path = write(tmp_path, "a.png", PNG)
    once = load(request({"type": "image", "path": path}))
    os.unlink(path)
    assert load(once) is once


# Local files ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "media_type"),
    [
        ("a.png", PNG, "image/png"),
        ("a.jpg", JPEG, "image/jpeg"),
        ("a.gif", GIF, "image/gif"),
        ("a.webp", WEBP, "image/webp"),
        ("misnamed.png", JPEG, "image/jpeg"),
        ("nameless", GIF, "image/gif"),
        ("unknown-bytes.PNG", b"\0not a png", "image/png"),
        ("unknown-bytes.jpeg", b"\0not a jpeg", "image/jpeg"),
    ],
)
def test_an_image_file_becomes_a_data_url_by_its_content(
    tmp_path, name, data, media_type
):
    path = write(tmp_path, name, data)
    expected = {
        "type": "image_url",
        "image_url": {"url": data_url(media_type, data)},
    }
    assert loaded({"type": "image", "path": path}) == expected
    assert loaded({"type": "file", "path": Path(path)}) == expected


def test_detail_and_cache_control_are_kept(tmp_path):
    part = {
        "type": "image",
        "path": write(tmp_path, "a.png", PNG),
        "detail": "low",
        "cache_control": {"type": "ephemeral"},
    }
    found = loaded(part)
    assert found["image_url"]["detail"] == "low"
    assert found["cache_control"] == {"type": "ephemeral"}


@pytest.mark.parametrize("data", [PDF, b"\n" + PDF])
def test_a_pdf_becomes_a_file_part(tmp_path, data):
    path = write(tmp_path, "report.pdf", data)
    assert loaded({"type": "file", "path": path}) == {
        "type": "file",
        "file": {
            "filename": "report.pdf",
            "file_data": data_url("application/pdf", data),
        },
    }
    renamed = loaded({"type": "file", "path": path, "filename": "Q3.pdf"})
    assert renamed["file"]["filename"] == "Q3.pdf"


@pytest.mark.parametrize(
    ("data", "audio_format"), [(WAV, "wav"), (MP3_TAGGED, "mp3"), (MP3_BARE, "mp3")]
)
def test_audio_becomes_input_audio(tmp_path, data, audio_format):
    path = write(tmp_path, "voice", data)
    assert loaded({"type": "file", "path": path}) == {
        "type": "input_audio",
        "input_audio": {"data": b64encode(data).decode(), "format": audio_format},
    }


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("Grüße\n".encode(), "Grüße\n"),
        (b"no newline", "no newline\n"),
        (b"\xef\xbb\xbfafter a BOM", "after a BOM\n"),
        (b"ID3 tags and %PDF-1.7 headers, explained", None),
    ],
)
def test_a_text_file_becomes_text_that_names_the_file(tmp_path, data, text):
    path = write(tmp_path, 'no"tes.md', data)
    inside = text if text is not None else data.decode() + "\n"
    assert loaded({"type": "file", "path": path}) == {
        "type": "text",
        "text": f'<file name="no\'tes.md">\n{inside}</file>',
    }


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, "a.png", PNG)
    assert loaded({"type": "image", "path": "~/a.png"})["type"] == "image_url"


def test_a_file_used_twice_is_read_once(tmp_path, monkeypatch):
    path = write(tmp_path, "a.png", PNG)
    opened = []
    monkeypatch.setattr(
        "builtins.open",
        lambda name, *rest, o=open: (opened.append(name), o(name, *rest))[1],
    )
    part = {"type": "image", "path": path}
    load(LLMRequest("m", [Message("user", [part, part]), Message("user", [part])]))
    assert opened == [path]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.docx", b"PK\x03\x04\0\0", "messages[0].content[0]: a.docx can't be sent"),
        ("latin.txt", b"Gr\xfc\xdfe", "latin.txt can't be sent"),
        ("utf16.txt", "text".encode("utf-16"), "utf16.txt can't be sent"),
        ("empty.png", b"", "is empty"),
    ],
)
def test_files_that_no_api_takes_are_refused(tmp_path, name, data, said):
    path = write(tmp_path, name, data)
    assert said in refusal({"type": "file", "path": path})


@pytest.mark.parametrize("data", [PDF, b"text", WAV])
def test_an_image_part_takes_images_only(tmp_path, data):
    path = write(tmp_path, "a.dat", data)
    said = refusal({"type": "image", "path": path})
    assert "a.dat is no png, jpeg, gif or webp image" in said


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("missing.png", "can't be read: No such file or directory"),
        (".", "is not a regular file"),
        ("/dev/zero", "is not a regular file"),
        ("a\0b", "is no file name"),
        ("", 'needs a "path"'),
        (None, 'needs a "path"'),
        (b"a.png", 'needs a "path"'),
    ],
)
def test_paths_that_cannot_be_read_say_why(path, said):
    assert said in refusal({"type": "image", "path": path})
    assert said in refusal({"type": "file", "path": path})


def test_a_pipe_is_refused_at_once(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert "not a regular file" in refusal({"type": "file", "path": str(path)})


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("image", PNG),
        ("pdf", PDF),
        ("audio", WAV),
        ("text", b"text"),
    ],
)
def test_each_kind_has_its_limit(tmp_path, monkeypatch, kind, data):
    mib = 1024 * 1024
    data = data.ljust(mib, b"x")
    path = write(tmp_path, "a", data)
    limits = dict.fromkeys(content_media.LIMITS, 2 * mib)
    monkeypatch.setattr(content_media, "LIMITS", {**limits, kind: mib})
    loaded({"type": "file", "path": path})
    write(tmp_path, "a", data + b"x")
    said = refusal({"type": "file", "path": path})
    assert f"the {kind} has 1.0 MiB, more than the limit of 1 MiB" in said


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(content_media.LARGEST + 1)
    assert "50 MiB" in refusal({"type": "file", "path": str(path)})


# Parts that hold their data ---------------------------------------------------------


@pytest.mark.parametrize(
    ("media_type", "data", "expected"),
    [
        (
            "image/png",
            PNG,
            {"type": "image_url", "image_url": {"url": data_url("image/png", PNG)}},
        ),
        (
            "audio/mpeg",
            MP3_BARE,
            {
                "type": "input_audio",
                "input_audio": {
                    "data": b64encode(MP3_BARE).decode(),
                    "format": "mp3",
                },
            },
        ),
        (
            "text/csv;charset=utf-8",
            b"a,b",
            {"type": "text", "text": '<file name="x">\na,b\n</file>'},
        ),
        (
            "application/octet-stream",
            PDF,
            {
                "type": "file",
                "file": {
                    "filename": "x",
                    "file_data": data_url("application/pdf", PDF),
                },
            },
        ),
    ],
)
def test_file_data_that_is_no_pdf_becomes_the_part_of_its_kind(
    media_type, data, expected
):
    file = {"filename": "x", "file_data": data_url(media_type, data)}
    assert loaded({"type": "file", "file": file}) == expected


def test_the_misspelt_jpeg_type_is_corrected():
    part = {
        "type": "image_url",
        "image_url": {"url": data_url("image/jpg", JPEG), "detail": "high"},
    }
    before = deepcopy(part)
    assert loaded(part) == {
        "type": "image_url",
        "image_url": {"url": data_url("image/jpeg", JPEG), "detail": "high"},
    }
    assert part == before


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("text", "must be a dict with a type, not str"),
        ({}, 'needs a text "type"'),
        ({"type": ["text"]}, 'needs a text "type"'),
        ({"type": "text"}, 'needs a text "text"'),
        ({"type": "text", "text": 5}, 'needs a text "text"'),
        ({"type": "image"}, 'needs a "path"'),
        ({"type": "image", "source": {}}, "unknown key 'source'"),
        ({"type": "image_url", "image_url": "https://x/y"}, 'needs a dict "image_url"'),
        ({"type": "image_url", "image_url": {}}, 'image_url needs a text "url"'),
        (
            {"type": "image_url", "image_url": {"url": "cat.png"}},
            '{"type": "image", "path": ...}',
        ),
        (
            {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
            "must be an http(s) or data: URL",
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png,xyz"}},
            "is no data: URL in base64",
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:;base64,QUFB"}},
            "names no media type",
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,Q!=="}},
            "is no base64",
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ"}},
            "is no base64",
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}},
            "the data is empty",
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:text/html;base64,QUFB"}},
            "holds text/html, not an image",
        ),
        ({"type": "file"}, 'needs a dict "file"'),
        ({"type": "file", "file": {"filename": "a.pdf"}}, 'needs a text "file_data"'),
        ({"type": "file", "file": {"file_id": 5}}, 'needs a text "file_id"'),
        ({"type": "file", "path": "a", "file": {}}, 'both "path" and "file"'),
        (
            {"type": "file", "file": {"file_data": "JVBERi0="}},
            "such as data:application/pdf;base64",
        ),
        (
            {
                "type": "file",
                "file": {"file_data": data_url("application/zip", b"PK\3\4\0")},
            },
            "a file of type application/zip can't be sent",
        ),
        (
            {
                "type": "file",
                "file": {"file_data": data_url("text/plain", b"Gr\xfc\xdfe")},
            },
            "is not UTF-8 (invalid start byte at byte 2)",
        ),
        ({"type": "input_audio"}, 'needs a dict "input_audio"'),
        (
            {"type": "input_audio", "input_audio": {"data": "UklG"}},
            'needs a text "format"',
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "é", "format": "wav"}},
            "is no base64",
        ),
    ],
)
def test_malformed_parts_say_which_and_what(part, said):
    message = refusal(part)
    assert message.startswith("messages[0].content[0]")
    assert said in message


@pytest.mark.parametrize("content", [5, {"type": "text", "text": "x"}, ("a",)])
def test_content_that_is_no_text_and_no_list_is_refused(content):
    with pytest.raises(InvalidRequestError, match="must be a str or a list of parts"):
        load(LLMRequest("m", [Message("user", content)]))


@pytest.mark.parametrize("part_type", ["image_url", "file", "input_audio"])
def test_data_in_the_request_has_its_limit(monkeypatch, part_type):
    monkeypatch.setattr(
        content_media, "LIMITS", dict.fromkeys(content_media.LIMITS, 10)
    )
    part = {
        "image_url": {"image_url": {"url": data_url("image/png", b"x" * 11)}},
        "file": {"file": {"file_data": data_url("application/pdf", b"x" * 11)}},
        "input_audio": {
            "input_audio": {"data": b64encode(b"x" * 11).decode(), "format": "wav"}
        },
    }[part_type]
    assert "more than the limit" in refusal({"type": part_type, **part})


def test_far_too_much_base64_is_refused_without_decoding(monkeypatch):
    monkeypatch.setattr(content_media, "LARGEST", 10)
    part = {"type": "input_audio", "input_audio": {"data": "!" * 99, "format": "wav"}}
    assert "more than the limit" in refusal(part)


# Remote images ----------------------------------------------------------------------

REMOTE = {
    "type": "image_url",
    "image_url": {"url": "https://x.example/a", "detail": "low"},
}


class Web:
    """Answers every URL the same, and remembers which were asked for."""

    def __init__(self, media_type: str, data: bytes) -> None:
        self.answer = media_type, data
        self.urls: list[str] = []

    def __call__(self, url: str, kind: str) -> tuple[str, bytes]:
        self.urls.append(url)
        return self.answer


@pytest.mark.parametrize(
    ("declared", "data", "media_type"),
    [
        ("image/png", PNG, "image/png"),
        ("image/png", JPEG, "image/jpeg"),
        ("application/octet-stream", GIF, "image/gif"),
        ("Image/HEIC; q=1", b"????", "image/heic"),
    ],
)
def test_remote_images_are_fetched_for_apis_that_take_bytes(declared, data, media_type):
    web = Web(declared, data)
    found = loaded(REMOTE, fetch=web, fetched_parts={"image_url"})
    assert web.urls == ["https://x.example/a"]
    assert found == {
        "type": "image_url",
        "image_url": {"url": data_url(media_type, data), "detail": "low"},
    }
    assert REMOTE["image_url"]["url"] == "https://x.example/a"


def test_a_remote_image_used_twice_is_fetched_once():
    web = Web("image/png", PNG)
    load(request(REMOTE, REMOTE), fetch=web, fetched_parts={"image_url"})
    assert len(web.urls) == 1


def test_remote_images_are_left_alone_for_apis_that_fetch_them():
    web = Web("image/png", PNG)
    asked = request(REMOTE)
    assert load(asked, fetch=web) is asked
    assert load(asked, fetch=web, fetched_parts={"file"}) is asked
    assert web.urls == []


def test_a_remote_page_is_no_image():
    web = Web("text/html", b"<html>")
    said = refusal(REMOTE, fetch=web, fetched_parts={"image_url"})
    assert "https://x.example/a is no image but text/html" in said


def test_a_remote_image_has_the_same_limit(monkeypatch):
    monkeypatch.setattr(
        content_media, "LIMITS", dict.fromkeys(content_media.LIMITS, len(PNG) - 1)
    )
    said = refusal(REMOTE, fetch=Web("image/png", PNG), fetched_parts={"image_url"})
    assert "more than the limit" in said


def test_what_fetch_raises_reaches_the_caller():
    def fetch(url: str, kind: str) -> tuple[str, bytes]:
        raise InvalidRequestError("no such host")

    assert refusal(REMOTE, fetch=fetch, fetched_parts={"image_url"}) == "no such host"


REMOTE_PDF = {"type": "file", "file": {"file_data": "https://x.example/a/b.pdf?k=1"}}


def test_a_remote_pdf_is_fetched_for_apis_that_take_bytes():
    web = Web("application/octet-stream", PDF)
    found = loaded(REMOTE_PDF, fetch=web, fetched_parts={"file"})
    file = {"filename": "b.pdf", "file_data": data_url("application/pdf", PDF)}
    assert found == {"type": "file", "file": file}


def test_a_remote_pdf_is_left_alone_for_apis_that_fetch_it():
    web = Web("application/pdf", PDF)
    asked = request(REMOTE_PDF)
    assert load(asked, fetch=web, fetched_parts={"image_url"}) is asked
    assert web.urls == []


def test_a_remote_page_is_no_pdf():
    web = Web("text/html", b"<html>")
    said = refusal(REMOTE_PDF, fetch=web, fetched_parts={"file"})
    assert "https://x.example/a/b.pdf is no pdf but text/html" in said
