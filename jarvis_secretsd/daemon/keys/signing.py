"""Ed25519 signatures: of tokens, and of the audit log with keys in PEM, which openssl can check.

libsodium signs and verifies, since it takes two thirds of the time that cryptography takes.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from nacl.exceptions import CryptoError
from nacl.signing import SigningKey, VerifyKey

from jarvis_secretsd.errors import KeyRefused


class Ed25519:
    """Signatures with keys that somebody else keeps (RFC 8032): 32 bytes in, 32 or 64 out."""

    def public_key(self, seed: bytes) -> bytes:
        """The raw public key of this private one."""
        return bytes(SigningKey(seed).verify_key)

    def sign(self, seed: bytes, message: bytes) -> bytes:
        """The signature of `message`."""
        return SigningKey(seed).sign(message).signature

    def verifies(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """Did the owner of `public_key` sign exactly this message?"""
        return verify_signature(public_key, message, signature)


class AuditSigner:
    """Signs for the audit log with one Ed25519 key (RFC 8032). Prints as stars.

    `public_key` is the raw 32 bytes, `key_id` its name in each signature line.
    """

    __slots__ = ("_key", "key_id", "public_key")

    def __init__(self, seed: bytes) -> None:
        self._key = SigningKey(seed)
        self.public_key = bytes(self._key.verify_key)
        self.key_id = key_id(self.public_key)

    @classmethod
    def generate(cls) -> Self:
        """A signer with a new key."""
        return cls(bytes(SigningKey.generate()))

    @classmethod
    def from_pem(cls, pem: bytes, source: str) -> Self:
        """The signer of a PKCS#8 PEM, as to_pem() and `openssl genpkey` write it.

        Raises KeyRefused with `source` in its message.
        """
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyRefused(
                f"{source} is no unencrypted Ed25519 private key in PEM; restore it from a backup"
            )
        return cls(key.private_bytes_raw())

    def to_pem(self) -> bytes:
        """The private key as PKCS#8 PEM (RFC 8410)."""
        key = Ed25519PrivateKey.from_private_bytes(bytes(self._key))
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of `message`."""
        return self._key.sign(message).signature

    def __repr__(self) -> str:
        return f"AuditSigner(key_id={self.key_id!r}, ***)"


def key_id(public_key: bytes) -> str:
    """The first 16 hex digits of the SHA-256 of a raw public key."""
    return sha256(public_key).hexdigest()[:16]


def public_to_pem(public_key: bytes) -> bytes:
    """A raw public key as SubjectPublicKeyInfo PEM (RFC 8410)."""
    key = Ed25519PublicKey.from_public_bytes(public_key)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def public_from_pem(pem: bytes, source: str) -> bytes:
    """The raw 32 bytes of a public key in PEM. Raises KeyRefused with `source` in its message."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyRefused(f"{source} is not an Ed25519 public key in PEM")
    return key.public_bytes_raw()


def verify_signature(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Did the owner of `public_key` (raw 32 bytes) sign exactly this message?"""
    try:
        VerifyKey(public_key).verify(message, signature)
    except (CryptoError, ValueError, TypeError):
        return False
    return True
