"""Keys and signatures, checked with `cryptography` itself."""

from __future__ import annotations

import base64
import re
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st
from receipt_files import filled, new_file, receipt

from llmring_lite import cli
from llmring_lite.exceptions import ReceiptError
from llmring_lite.receipts_sign import (
    Checker,
    Signer,
    load_signer,
    make_key,
    parse_public_key,
)

# https://www.rfc-editor.org/rfc/rfc8032#section-7.1, test 2
SECRET = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
PUBLIC = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
SIGNATURE = (
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def in_base64(digits: str) -> str:
    return base64.b64encode(bytes.fromhex(digits)).decode()


def test_signatures_are_those_of_the_standard() -> None:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SECRET))
    signer = Signer(key)
    assert signer.public_key == in_base64(PUBLIC)
    assert signer.sign(b"\x72") == in_base64(SIGNATURE)
    assert Checker(in_base64(PUBLIC)).is_valid(in_base64(SIGNATURE), b"\x72")


def test_the_check_in_the_documentation_works(tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[1] / "docs" / "receipts.md"
    (code,) = re.findall(r"```python\n(import base64.*?)```", page.read_text(), re.S)
    names: dict[str, Any] = {}
    exec(code, names)
    public = make_key(tmp_path / "key").public_key
    lines = filled(tmp_path / "r.jsonl", 3, tmp_path / "key")
    for line in lines:
        names["check"](line, public)
        with pytest.raises((AssertionError, InvalidSignature)):
            names["check"](line.replace(b'"seq":', b'"seq":1'), public)


@given(st.binary(), st.binary())
def test_a_signature_is_of_its_data_alone(data: bytes, other: bytes) -> None:
    signer = Signer(ed25519.Ed25519PrivateKey.generate())
    checker = Checker(signer.public_key)
    signature = signer.sign(data)
    assert checker.is_valid(signature, data)
    assert checker.is_valid(signature, other) == (data == other)


@pytest.mark.parametrize(
    "signature",
    [
        *(None, 7, "", "?", "é" * 88, in_base64(SIGNATURE) + "\n"),
        in_base64(SIGNATURE)[:-4],
        in_base64(SIGNATURE).replace("=", ""),
        # The same bytes, with other unused bits in the last character.
        in_base64(SIGNATURE)[:-3] + "B==",
        "-" + in_base64(SIGNATURE)[1:],
    ],
)
def test_what_is_no_signature_is_none(signature: object) -> None:
    assert not Checker(in_base64(PUBLIC)).is_valid(signature, b"\x72")


def test_a_private_key_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state" / "key"
    signer = make_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert load_signer(path).public_key == signer.public_key
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, ed25519.Ed25519PrivateKey)


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key"
    make_key(path)
    before = path.read_bytes()
    with pytest.raises(ReceiptError, match="exists"):
        make_key(path)
    assert path.read_bytes() == before


def test_a_key_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ReceiptError, match="can't write"):
        make_key(tmp_path / "file" / "folder" / "key")


def test_what_is_no_key_is_refused_without_showing_it(tmp_path: Path) -> None:
    path = tmp_path / "key"
    curve = ec.generate_private_key(ec.SECP256R1())
    plain = (
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
    )
    own = ed25519.Ed25519PrivateKey.generate()
    secrets = [
        b"sk-secret-text",
        curve.private_bytes(*plain, serialization.NoEncryption()),
        own.private_bytes(*plain, serialization.BestAvailableEncryption(b"x")),
    ]
    for secret in secrets:
        path.write_bytes(secret)
        with pytest.raises(ReceiptError) as caught:
            load_signer(path)
        assert str(path) in str(caught.value)
        assert "sk-secret" not in str(caught.value)
        assert "MI" not in str(caught.value)


def test_a_missing_key_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ReceiptError, match="receipts keygen"):
        load_signer(tmp_path / "none")


def test_a_public_key_is_read_in_any_form(tmp_path: Path) -> None:
    signer = make_key(tmp_path / "key")
    public = load_signer(tmp_path / "key")._key.public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()
    (tmp_path / "pem").write_text(pem)
    (tmp_path / "base64").write_text(signer.public_key + "\n")
    for given_key in (
        signer.public_key,
        pem,
        str(tmp_path / "pem"),
        str(tmp_path / "base64"),
    ):
        assert parse_public_key(given_key) == signer.public_key


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", in_base64(PUBLIC)[:-4], "-----BEGIN PUBLIC KEY-----\nAAAA"],
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(ReceiptError, match="public"):
        parse_public_key(text)


def test_a_public_key_of_another_kind_is_refused() -> None:
    pem = (
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    with pytest.raises(ReceiptError, match="no public Ed25519 key"):
        parse_public_key(pem.decode())


def test_an_unreadable_public_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe")
    with pytest.raises(ReceiptError, match="can't read"):
        parse_public_key(str(tmp_path / "key"))


@pytest.mark.parametrize("command", ["keygen", "verify", "checkpoint"])
def test_without_the_extra_the_error_names_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    path, key = tmp_path / "r.jsonl", tmp_path / "key"
    make_key(key)
    filled(path, 1, key)
    name = "cryptography.hazmat.primitives.asymmetric.ed25519"
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "llmring_lite.receipts_sign")
    monkeypatch.setenv("LLMRING_RECEIPTS", str(path))
    monkeypatch.setenv("LLMRING_RECEIPTS_KEY", str(key))
    assert cli.main(["receipts", command]) == 1
    assert "pip install 'llmring-lite[receipts]'" in capsys.readouterr().err
    with pytest.raises(ReceiptError, match=r"llmring-lite\[receipts\]"):
        new_file(path, key).append(receipt())
