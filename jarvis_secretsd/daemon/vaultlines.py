"""What the lines of `vault.json` are: a header, then sealed records, each bound to the one before.

Every line is one JSON object in one spelling (the one that `encode` gives), so a line's hash says
what it means. Pure but for the random nonces and salts.
"""

from __future__ import annotations

import os
import re
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Final, Literal, Self, TypeVar

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from jarvis_secretsd.daemon.keys import Aead, DataKey, Purpose, SealBroken, Slot
from jarvis_secretsd.domain.audit import VaultHead
from jarvis_secretsd.errors import TooLarge

FORMAT: Final = "jarvis-vault-v1"

MAX_SLOTS = 16
"""More than a host has people and places for keys; each passphrase slot may cost a second."""

MAX_PAYLOAD_BYTES = 3_000_000
"""In base64 it stays below the longest line that a journal reads back."""

MAX_SEQ = 2**63 - 1

SALT_BYTES = 16

encode = msgspec.json.Encoder().encode

_T = TypeVar("_T")

_VAULT_ID = re.compile(r"[0-9a-f]{32}")


class BrokenLine(Exception):
    """The line isn't what was written there; the text says what is wrong with it."""


class Header(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The first line. `mac` is over the header without it, under the data key.

    `compacted_to` is the sequence number up to which numbers may be missing. `salt` is new for each
    file and goes into the key of its records, so that no two files share one and AES-GCM's bound on
    seals a key holds for each file by itself. Raises ValueError for a header that can't be.
    """

    format: Literal["jarvis-vault-v1"]
    vault_id: str
    aead: Aead
    created_at: datetime
    compacted_to: Annotated[int, Meta(ge=0, le=MAX_SEQ)]
    salt: bytes
    slots: tuple[Slot, ...]
    mac: str = ""

    def __post_init__(self) -> None:
        if _VAULT_ID.fullmatch(self.vault_id) is None:
            raise ValueError("a vault id is 32 hex digits")
        if len(self.salt) != SALT_BYTES:
            raise ValueError(f"a header's salt is {SALT_BYTES} bytes")
        if len(self.slots) > MAX_SLOTS:
            raise ValueError(f"a vault has at most {MAX_SLOTS} key slots")

    @staticmethod
    def parse(line: bytes) -> Header:
        """The header that stands in `line`, not yet authenticated. Raises BrokenLine."""
        return _decode(line, _headers)

    def renewed(self, slots: tuple[Slot, ...], compacted_to: int) -> Self:
        """The header of the file that takes this one's place, with a salt of its own."""
        salt = new_salt()
        return replace(self, slots=slots, compacted_to=compacted_to, salt=salt, mac="")

    def authenticated(self, data_key: DataKey) -> Self:
        """This header with its MAC."""
        return replace(self, mac=data_key.mac(Purpose.HEADER, self._unsigned()))

    def is_authentic(self, data_key: DataKey) -> bool:
        """Was this header written by a holder of the data key?"""
        return data_key.vouches(Purpose.HEADER, self._unsigned(), self.mac)

    def _unsigned(self) -> bytes:
        return encode(replace(self, mac=""))


def new_salt() -> bytes:
    """A salt for the header of a new file."""
    return os.urandom(SALT_BYTES)


class Record(Struct, frozen=True, forbid_unknown_fields=True):
    """A sealed payload, as it stands in a line."""

    seq: int
    nonce: bytes
    box: bytes


class RecordChain:
    """Seals and opens the records below one header. `start` is the head before the first of them.

    Associated data of a seal: format, vault id, SHA-256 of the header's line, sequence number, and
    SHA-256 of the line before, each followed by a newline.
    """

    __slots__ = ("_binding", "_compacted_to", "_sealer", "start")

    def __init__(self, header: Header, data_key: DataKey) -> None:
        head = sha256(encode(header)).hexdigest()
        self.start = VaultHead(0, head)
        self._binding = f"{FORMAT}\n{header.vault_id}\n{head}\n"
        self._compacted_to = header.compacted_to
        self._sealer = data_key.sealer(header.aead, header.salt)

    def seal(self, after: VaultHead, payload: bytes, seq: int) -> tuple[VaultHead, bytes]:
        """The head that follows `after`, and its line.

        Raises TooLarge, and ValueError if `seq` can't follow.
        """
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise TooLarge(f"a record is at most {MAX_PAYLOAD_BYTES:,} bytes")
        if not self._may_follow(after, seq):
            raise ValueError(f"sequence number {seq} can't follow {after.seq}")
        nonce, box = self._sealer.seal(payload, self._aad(after, seq))
        line = encode(Record(seq, nonce, box))
        return VaultHead(seq, sha256(line).hexdigest()), line

    def open(self, after: VaultHead, line: bytes) -> tuple[VaultHead, bytes]:
        """The head that follows `after`, and what the line holds. Raises BrokenLine."""
        record = _decode(line, _records)
        seq = record.seq
        if not self._may_follow(after, seq):
            raise BrokenLine(f"record {seq} can't follow record {after.seq}")
        try:
            payload = self._sealer.open(record.nonce, record.box, self._aad(after, seq))
        except SealBroken:
            raise BrokenLine(f"the seal of record {seq} doesn't open in this place") from None
        return VaultHead(seq, sha256(line).hexdigest()), payload

    def _may_follow(self, after: VaultHead, seq: int) -> bool:
        return seq == after.seq + 1 or after.seq < seq <= self._compacted_to

    def _aad(self, after: VaultHead, seq: int) -> bytes:
        return f"{self._binding}{seq}\n{after.head}\n".encode()


def record_number(line: bytes) -> int:
    """The sequence number of a record, which stands in the clear. Raises BrokenLine."""
    return _decode(line.removesuffix(b"\n"), _records).seq


_headers = msgspec.json.Decoder(Header)
_records = msgspec.json.Decoder(Record)


def _decode(line: bytes, decoder: msgspec.json.Decoder[_T]) -> _T:
    try:
        found = decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BrokenLine(f"it doesn't decode: {error}") from None
    if encode(found) != line:
        raise BrokenLine("it is spelled otherwise than it was written")
    return found
