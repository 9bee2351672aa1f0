"""The data key, what is derived from it, and sealing with either AEAD."""

from __future__ import annotations

import hmac
import os
from enum import StrEnum
from hashlib import blake2b
from typing import Self, assert_never

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

KEY_BYTES = 32
TAG_BYTES = 16


class Aead(StrEnum):
    """How records are sealed, as the vault's header names it."""

    XCHACHA20_POLY1305 = "xchacha20-poly1305"
    AES_256_GCM = "aes-gcm-256"


class Purpose(StrEnum):
    """What a derived key is for: the BLAKE2b personalisation, so no two ever share a key."""

    RECORDS = "jarvis-records"
    HEADER = "jarvis-header"
    HEADS = "jarvis-heads"
    BACKUP = "jarvis-backup"


class SealBroken(Exception):
    """The box was not sealed with this key, nonce and associated data, or was altered since."""


class Sealer:
    """Seals under one key, with a fresh random nonce for each attempt.

    AES-GCM's nonces have 96 bits, which bears 2**32 seals a key; XChaCha20's have 192 and need no
    count (draft-irtf-cfrg-xchacha-03).
    """

    __slots__ = ("_cipher", "_nonce_bytes")

    def __init__(self, aead: Aead, key: bytes) -> None:
        self._cipher: _XChaCha20Poly1305 | AESGCM
        match aead:
            case Aead.XCHACHA20_POLY1305:
                self._cipher, self._nonce_bytes = _XChaCha20Poly1305(key), 24
            case Aead.AES_256_GCM:
                self._cipher, self._nonce_bytes = AESGCM(key), 12
            case _:
                assert_never(aead)

    def seal(self, plain: bytes, aad: bytes) -> tuple[bytes, bytes]:
        """The nonce, and the box that opens only with it and the same `aad`."""
        nonce = os.urandom(self._nonce_bytes)
        return nonce, self._cipher.encrypt(nonce, plain, aad)

    def open(self, nonce: bytes, box: bytes, aad: bytes) -> bytes:
        """What was sealed. Raises SealBroken."""
        if len(nonce) != self._nonce_bytes or len(box) < TAG_BYTES:
            raise SealBroken
        try:
            return self._cipher.decrypt(nonce, box, aad)
        except (CryptoError, InvalidTag):
            raise SealBroken from None

    def __repr__(self) -> str:
        return "Sealer(***)"


class DataKey:
    """The vault's own 32 random bytes, from which every other key of it is derived.

    Prints as stars. Raises ValueError for another length and for a key of zeros.
    """

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES or not any(key):
            raise ValueError(f"a data key is {KEY_BYTES} bytes that aren't all zero")
        self._key = bytearray(key)

    @classmethod
    def generate(cls) -> Self:
        """A new random key."""
        return cls(os.urandom(KEY_BYTES))

    def reveal(self) -> bytes:
        """The key itself, to be wrapped by a slot."""
        return bytes(self._key)

    def sealer(self, aead: Aead, salt: bytes, purpose: Purpose = Purpose.RECORDS) -> Sealer:
        """Seals under a key that belongs to this purpose and `salt` (16 bytes) alone."""
        return Sealer(aead, self._derive(purpose, salt))

    def mac(self, purpose: Purpose, message: bytes) -> str:
        """A keyed BLAKE2b of `message` in 64 hex digits (RFC 7693)."""
        return blake2b(message, digest_size=32, key=self._derive(purpose)).hexdigest()

    def vouches(self, purpose: Purpose, message: bytes, mac: str) -> bool:
        """Is `mac` what this key says of `message`? Compared in constant time."""
        return hmac.compare_digest(self.mac(purpose, message).encode(), mac.encode())

    def wipe(self) -> None:
        """Zero the key as far as Python allows: copies that libraries made stay until reused."""
        self._key[:] = bytes(KEY_BYTES)

    def _derive(self, purpose: Purpose, salt: bytes = b"") -> bytes:
        if not any(self._key):
            raise ValueError("the key was wiped")
        person = purpose.encode()
        return blake2b(digest_size=KEY_BYTES, key=self._key, salt=salt, person=person).digest()

    def __repr__(self) -> str:
        return "DataKey(***)"


class _XChaCha20Poly1305:
    """libsodium's AEAD behind the two methods that `AESGCM` has."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def encrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
        return crypto_aead_xchacha20poly1305_ietf_encrypt(data, aad, nonce, self._key)

    def decrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
        return crypto_aead_xchacha20poly1305_ietf_decrypt(data, aad, nonce, self._key)
