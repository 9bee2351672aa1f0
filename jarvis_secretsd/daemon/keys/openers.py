"""What opens a slot (a master key, a passphrase, a recovery code), and the key it derives."""

from __future__ import annotations

import os
import unicodedata
from binascii import a2b_base64
from enum import StrEnum
from hashlib import blake2b
from typing import Self, assert_never

from msgspec import Struct
from nacl.bindings import crypto_pwhash_alg, crypto_pwhash_ALG_ARGON2ID13
from nacl.exceptions import RuntimeError as OutOfMemory

from jarvis_secretsd.daemon.keys.recovery import parse_recovery_code
from jarvis_secretsd.daemon.keys.sealing import KEY_BYTES
from jarvis_secretsd.errors import KeyRefused

SALT_BYTES = 16

MIN_MEMORY, MAX_MEMORY = 64 << 20, 1 << 30
"""Bytes of argon2id: at least libsodium's interactive cost, so that no one can weaken a slot; at
most what a small host can spare, since another may have written the file they stand in."""

MIN_OPS, MAX_OPS = 2, 16
"""Passes of argon2id, bounded for the same two reasons."""

MAX_PASSPHRASE_BYTES = 1024
"""Longer than anyone types, shorter than a file that was piped in by mistake."""


class SlotKind(StrEnum):
    """What opens a slot."""

    FILE = "file"
    CREDENTIAL = "credential"
    PASSPHRASE = "passphrase"
    RECOVERY = "recovery"


class Blake2b(Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="blake2b"):
    """A fast derivation, for what has at least 160 random bits."""

    salt: bytes


class Argon2id(Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", tag="argon2id"):
    """A slow derivation, for what a person chose: `ops` passes over `memory` bytes (RFC 9106).

    Raises ValueError out of bounds. The usual cost is libsodium's moderate one: a second.
    """

    salt: bytes
    ops: int = 3
    memory: int = 256 << 20

    def __post_init__(self) -> None:
        if not (MIN_OPS <= self.ops <= MAX_OPS and MIN_MEMORY <= self.memory <= MAX_MEMORY):
            raise ValueError(
                f"argon2id of {self.ops} passes over {self.memory} bytes is out of bounds: "
                f"{MIN_OPS} to {MAX_OPS} passes, {MIN_MEMORY} to {MAX_MEMORY} bytes"
            )


Kdf = Blake2b | Argon2id


class Opener:
    """What someone brings to open a slot, and where it came from. Prints as stars."""

    __slots__ = ("_secret", "kind", "source")

    def __init__(self, kind: SlotKind, secret: bytes, source: str) -> None:
        self.kind = kind
        self.source = source
        self._secret = bytearray(secret)

    @classmethod
    def from_key(cls, data: bytes, source: str, kind: SlotKind = SlotKind.FILE) -> Self:
        """A master key as it stands in a file or credential. Raises KeyRefused."""
        return cls(kind, parse_master_key(data, source), source)

    @classmethod
    def from_passphrase(cls, text: str, source: str = "the passphrase") -> Self:
        """A passphrase, in NFC as RFC 8265 asks, since keyboards differ. Raises KeyRefused."""
        secret = unicodedata.normalize("NFC", text).encode(errors="surrogateescape")
        if not 0 < len(secret) <= MAX_PASSPHRASE_BYTES:
            raise KeyRefused(f"{source} is empty or longer than {MAX_PASSPHRASE_BYTES} bytes")
        return cls(SlotKind.PASSPHRASE, secret, source)

    @classmethod
    def from_recovery_code(cls, text: str, source: str = "the recovery code") -> Self:
        """A recovery code as a person typed it. Raises KeyRefused."""
        return cls(SlotKind.RECOVERY, parse_recovery_code(text), source)

    def fits(self, kind: SlotKind) -> bool:
        """May this open slots of that kind? A master key may move between file and credential."""
        master = (SlotKind.FILE, SlotKind.CREDENTIAL)
        return kind is self.kind or (kind in master and self.kind in master)

    def wrapping_key(self, kdf: Kdf) -> bytes:
        """The 32 bytes that wrap the data key. argon2id takes its time, and holds no lock in it.

        Raises KeyRefused when the system hasn't the memory that argon2id needs.
        """
        match kdf:
            case Blake2b():
                return blake2b(
                    digest_size=KEY_BYTES, key=self._secret, salt=kdf.salt, person=b"jarvis-slot"
                ).digest()
            case Argon2id():
                return _stretch(bytes(self._secret), kdf)
            case _:
                assert_never(kdf)

    def wipe(self) -> None:
        """Zero the secret as far as Python allows."""
        self._secret[:] = bytes(len(self._secret))

    def __repr__(self) -> str:
        return f"Opener({self.kind}, ***)"


def new_master_key() -> bytes:
    """What a new key file holds: 32 random bytes."""
    return os.urandom(KEY_BYTES)


def parse_master_key(data: bytes, source: str) -> bytes:
    """The 32 bytes of a master key that is raw, or hex or base64 text with or without its newline.

    Raises KeyRefused with `source` in its message, never with what was read.
    """
    key = data if len(data) == KEY_BYTES else _key_from_text(data.strip())
    if key is None:
        raise KeyRefused(
            f"{source} holds {len(data)} bytes that are no master key: {KEY_BYTES} raw bytes, "
            "64 hex digits or 44 characters of base64; restore it from a backup"
        )
    if not any(key):
        raise KeyRefused(f"{source} holds only zeros, which is no key; restore it from a backup")
    return key


def _key_from_text(text: bytes) -> bytes | None:
    try:
        key = (
            bytes.fromhex(text.decode()) if len(text) == 64 else a2b_base64(text, strict_mode=True)
        )
    except ValueError:
        return None
    return key if len(key) == KEY_BYTES else None


def _stretch(passphrase: bytes, kdf: Argon2id) -> bytes:
    try:
        return crypto_pwhash_alg(
            KEY_BYTES, passphrase, kdf.salt, kdf.ops, kdf.memory, crypto_pwhash_ALG_ARGON2ID13
        )
    except OutOfMemory:
        raise KeyRefused(
            f"the key of a passphrase takes {kdf.memory >> 20} MiB of memory to derive, which the "
            "system didn't give; raise the memory limit of the service"
        ) from None
