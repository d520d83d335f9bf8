"""Recorded uploads and other exchanges with Files APIs, against our side of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from wire import WIRE, Record, needs_recordings

from llmring_lite.exceptions import ProviderResponseError
from llmring_lite.files_facts import FileFacts, multipart
from llmring_lite.files_wire import (
    Answer,
    FileRequest,
    RemoteFile,
    api_of,
    look_up,
    read_anthropic,
    read_gemini,
    read_openai,
    read_upload_url,
)
from llmring_lite.provider import BUILTIN, Endpoint

pytestmark = needs_recordings


def load() -> list[Record]:
    if not WIRE.is_dir():
        return []
    text = (WIRE / "files.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


RECORDS = load()
# Of Gemini only uploads into a file search store are recorded: the same resumable
# protocol, but the file is no file of the Files API.
UPLOADS = [
    r for r in RECORDS if r["request"]["url"].split("?")[0].endswith("/v1/files")
]
STORES = [r for r in RECORDS if "/vector_stores/" in r["request"]["url"]]
RESUMABLE = [r for r in RECORDS if "/upload/" in r["request"]["url"]]

READERS: dict[str, Callable[[Answer], RemoteFile]] = {
    "openai": read_openai,
    "mistral": read_openai,  # the same object
    "anthropic": read_anthropic,
    "google": lambda answer: read_gemini(answer.json()["file"]),
}


def answer_of(record: Record) -> Answer:
    response = record["response"]
    return Answer(response["headers"], response["body_text"].encode())


def named(records: list[Record]) -> Any:
    return pytest.mark.parametrize("record", records, ids=[r["id"] for r in records])


def test_every_record_is_looked_at() -> None:
    assert len(RECORDS) == 19
    assert len(UPLOADS) + len(STORES) + len(RESUMABLE) == 19


@named(UPLOADS)
def test_the_answer_to_an_upload_is_read(record: Record) -> None:
    remote = READERS[record["provider"]](answer_of(record))
    said = json.loads(record["response"]["body_text"])
    assert remote == RemoteFile(said["id"], said["id"], None)


@named(STORES + RESUMABLE)
def test_what_is_no_file_is_not_taken_for_one(record: Record) -> None:
    with pytest.raises((LookupError, TypeError, ValueError)):
        READERS[record["provider"]](answer_of(record))


@named([r for r in RESUMABLE if not r["response"]["body_text"]])
def test_the_address_for_the_bytes_is_read(record: Record) -> None:
    following = [r for r in RESUMABLE if r["cassette"] == record["cassette"]][1]
    url = read_upload_url(answer_of(record), BUILTIN["google"])
    assert url == following["request"]["url"]
    elsewhere = Endpoint(name="g", kind="google", base_url="https://gate.example")
    with pytest.raises(ProviderResponseError, match="another host"):
        read_upload_url(answer_of(record), elsewhere)


def first_request(record: Record, file: FileFacts) -> FileRequest:
    endpoint = BUILTIN[record["provider"]]
    api = api_of(endpoint)
    assert api is not None
    return next(api.upload(endpoint, file, None))


@named([r for r in UPLOADS if r["provider"] != "mistral"])
def test_an_upload_goes_where_the_recorded_one_went(record: Record) -> None:
    request = first_request(record, FileFacts("a.pdf", "application/pdf", 1))
    # What some SDKs append says the same as the header.
    assert request.url == record["request"]["url"].removesuffix("?beta=true")
    recorded = record["request"]["headers"]
    for name in ("anthropic-version", "anthropic-beta"):
        if name in recorded:
            assert request.headers[name] == recorded[name]


def is_form(record: Record) -> bool:
    """Is the recorded body a form in plain text?"""
    return (record["request"]["body_text"] or "").startswith("--")


@named([r for r in UPLOADS if is_form(r)])
def test_a_form_is_written_as_the_recorded_one(record: Record) -> None:
    recorded = record["request"]["body_text"].encode()
    kind = record["request"]["headers"]["content-type"]
    boundary = kind.partition("boundary=")[2]
    head = re.search(
        rb'name="file"; filename="([^"]*)"\r\nContent-Type: ([^\r]*)\r\n\r\n', recorded
    )
    assert head is not None
    purpose = re.search(rb'name="purpose"\r\n\r\n([^\r]*)\r\n', recorded)
    fields = (("purpose", purpose[1].decode()),) if purpose else ()
    end = len(f"\r\n--{boundary}--\r\n")
    data = recorded[head.end() : -end]
    facts = FileFacts(head[1].decode(), head[2].decode(), len(data))
    before, after = multipart(fields, facts, boundary)
    assert before + data + after == recorded
    # Ours has the same fields; OpenAI's purpose is another, as the file is for a chat.
    form = first_request(record, facts).form
    assert form is not None
    assert [name for name, _ in form] == [name for name, _ in fields]


@named(UPLOADS)
def test_an_uploaded_file_can_be_found_again(record: Record) -> None:
    endpoint = BUILTIN[record["provider"]]
    api = api_of(endpoint)
    if api is None:
        assert record["provider"] == "mistral"  # whose chats get files inline
        return
    remote = READERS[record["provider"]](answer_of(record))
    url = record["request"]["url"].removesuffix("?beta=true")
    assert look_up(api, endpoint, remote.name).url == f"{url}/{remote.id}"
