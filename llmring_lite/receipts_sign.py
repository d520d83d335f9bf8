"""Signatures of receipts: Ed25519, by way of the package `cryptography`.

Only who signs or checks a signature needs that package (`pip install
'llmring-lite[receipts]'`), so only they import this module; without the package that
raises ReceiptError.

A private key is a PEM file (PKCS 8, not encrypted) for its owner's eyes only. A public
key is the Base64 of its 32 bytes, a signature that of its 64 bytes:
https://www.rfc-editor.org/rfc/rfc8032.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from binascii import Error as Base64Error

from llmring_lite.exceptions import ReceiptError

try:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )
except ImportError:
    raise ReceiptError(
        "signed receipts need the package cryptography: "
        "pip install 'llmring-lite[receipts]'"
    ) from None


class Signer:
    """Signs with a private key.

    Attributes:
        public_key: The key that the signatures are checked with, in Base64.
    """

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key = _text_of(key.public_key())

    def __repr__(self) -> str:
        return f"<Signer {self.public_key}>"

    def sign(self, data: bytes) -> str:
        """The signature of the data, in Base64."""
        return b64encode(self._key.sign(data)).decode()


class Checker:
    """Checks the signatures of one key."""

    def __init__(self, public_key: str) -> None:
        """`public_key` in Base64.

        Raises:
            ReceiptError: It is no Ed25519 key.
        """
        self.public_key = public_key
        raw = _decoded(public_key, 32)
        if raw is None:
            raise ReceiptError(
                f"{public_key!r} is no public key: expected is the Base64 of the 32 "
                "bytes of an Ed25519 key, as `receipts keygen` prints it"
            )
        self._key = Ed25519PublicKey.from_public_bytes(raw)

    def is_valid(self, signature: object, data: bytes) -> bool:
        """Is it this key's signature of the data?"""
        raw = _decoded(signature, 64)
        if raw is None:
            return False
        try:
            self._key.verify(raw, data)
        except InvalidSignature:
            return False
        return True


def make_key(path: str | os.PathLike[str]) -> Signer:
    """Make a private key and write it to a new file with mode 0600.

    Raises:
        ReceiptError: The file exists or can't be written.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    name = os.fspath(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    folder = os.path.dirname(os.path.abspath(name))
    try:
        if not os.path.isdir(folder):
            os.makedirs(folder, mode=0o700)
        with open(os.open(name, flags, 0o600), "wb") as file:
            file.write(pem)
    except FileExistsError:
        raise ReceiptError(
            f"{name} exists, and a key is never overwritten: what it signed could not "
            "be continued. Name another file, or move this one away"
        ) from None
    except OSError as error:
        raise ReceiptError(f"can't write {name}: {error.strerror}") from error
    return Signer(key)


def load_signer(path: str | os.PathLike[str]) -> Signer:
    """The signer with the private key of a file.

    Raises:
        ReceiptError: The file can't be read or holds no such key.
    """
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            key = serialization.load_pem_private_key(file.read(65536), password=None)
    except OSError as error:
        raise ReceiptError(
            f"can't read the key {name}: {error.strerror}; `llmring-lite receipts "
            "keygen` makes one"
        ) from error
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Their messages may quote from the file.
        raise ReceiptError(
            f"{name} holds no private key in PEM without a password"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ReceiptError(f"the key in {name} is no Ed25519 key")
    return Signer(key)


def parse_public_key(text: str) -> str:
    """A public key in Base64 from Base64, from PEM, or from a file with either.

    Raises:
        ReceiptError: It is none of these.
    """
    if os.path.isfile(text):
        try:
            with open(text, encoding="ascii") as file:
                text = file.read(65536)
        except (OSError, ValueError) as error:
            raise ReceiptError(f"can't read the public key {text}: {error}") from error
    text = text.strip()
    if not text.startswith("-----BEGIN"):
        return Checker(text).public_key
    try:
        key = serialization.load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ReceiptError("the PEM given holds no public Ed25519 key")
    return _text_of(key)


def _text_of(key: Ed25519PublicKey) -> str:
    return b64encode(key.public_bytes_raw()).decode()


def _decoded(text: object, length: int) -> bytes | None:
    """The bytes of a Base64 text, None if it isn't one of that many bytes."""
    if not isinstance(text, str) or not text.isascii():
        return None
    try:
        raw = b64decode(text, validate=True)
    except Base64Error:
        return None
    # The unused bits of the last character could be set in several ways.
    is_exact = len(raw) == length and b64encode(raw).decode() == text
    return raw if is_exact else None
