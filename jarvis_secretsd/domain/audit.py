"""The audit log's lines: entries in a chain of hashes, and signatures over where it stands.

A line is ASCII JSON. An entry's `prev` is the SHA-256 of the line before it, whatever that was, so
a signature line vouches for all that came before. A turn is the entries of one write and the
signature line that ends them.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Final, Literal, Protocol

import msgspec
from msgspec import Meta, Struct, field

FORMAT: Final = "jarvis-audit-v1"

MAX_LINE_BYTES = 16 * 1024
"""Every field at its longest fits twice; a reader needn't hold more to find a line's end."""

GENESIS = bytes(32)
"""What the first entry of a log has as the hash of the line before it."""

Hex = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
KeyId = Annotated[str, Meta(pattern=r"\A[0-9a-f]{16}\Z")]
LogId = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
Count = Annotated[int, Meta(ge=0)]

_DELETE = b"\x7f"
"""The one ASCII control character that JSON lets stand; a terminal needn't."""


class Outcome(StrEnum):
    """What came of what was asked; `recorded` when nobody asked and the log itself reports."""

    ALLOWED = "allowed"
    DENIED = "denied"
    FAILED = "failed"
    RECORDED = "recorded"


class VaultHead(Struct, frozen=True):
    """Where the vault ends: its last sequence number, and its last line's SHA-256 in hex."""

    seq: int
    head: Hex


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an entry tells, and all that one can: no field has room for a value.

    `vault_seq` and `vault_head` are the vault's head after a change. `count` and `note` are for
    what is summed up or explained. `recovered` marks an entry made again from the vault.
    """

    uid: Count | None = None
    gid: Count | None = None
    pid: Count | None = None
    transport: str | None = None
    unit: str | None = None
    client: str | None = None
    op: str
    name: str | None = None
    kid: str | None = None
    outcome: str
    rule: str | None = None
    vault_seq: Count | None = None
    vault_head: Hex | None = None
    count: Count | None = None
    note: str | None = None
    recovered: bool = False


class SignedHead(Struct, frozen=True, forbid_unknown_fields=True):
    """A signature line: Ed25519 in base64 over the entry `seq`, whose line's SHA-256 is `head`."""

    signature: str = field(name="sig")
    key_id: KeyId
    seq: Count
    head: Hex
    vault_head: Hex

    def line(self) -> bytes:
        r"""The line, without its `\n`."""
        return msgspec.json.encode(self)


class Opening(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first entry of a log, or of a further segment, which can be verified from there on.

    `previous` is where the segment before ended, `found` what had happened to its file, and
    `count` how many of the entries that follow may stand in it too.
    """

    op: Literal["log_created", "segment_opened"]
    format: Literal["jarvis-audit-v1"]
    log_id: LogId
    key_id: KeyId
    previous: SignedHead | None = None
    found: str | None = None
    count: Count | None = None


class Chain(Struct, frozen=True):
    """Where a log stands: the last entry's number, and the SHA-256 of the last line (raw)."""

    log_id: str
    seq: int
    head: bytes

    @classmethod
    def new(cls, log_id: str) -> Chain:
        """The chain of a log without lines; `log_id` is 32 random hex digits."""
        return cls(log_id, 0, GENESIS)

    @classmethod
    def after(cls, log_id: str, signed: SignedHead) -> Chain:
        """The chain that goes on from this signature line."""
        return cls(log_id, signed.seq, sha256(signed.line()).digest())


class KnownHead(Struct, frozen=True):
    """Where the log with this id ended, as was noted elsewhere."""

    log_id: str
    signed: SignedHead


class Signer(Protocol):
    """The audit key: signs (Ed25519, 64 bytes), and is known by its id."""

    @property
    def key_id(self) -> str:
        """The first 16 hex digits of the SHA-256 of the raw public key."""

    @property
    def public_key(self) -> bytes:
        """The raw public key, 32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """The signature of `message`."""


def extend(
    chain: Chain, time: datetime, entries: Sequence[Event | Opening]
) -> tuple[list[bytes], Chain]:
    """The lines of these entries, and the chain after them."""
    stamp = timestamp(time)
    seq, prev = chain.seq, chain.head.hex()
    lines: list[bytes] = []
    for body in _bodies(entries):
        seq += 1
        line = f'{{"seq":{seq},"time":"{stamp}","prev":"{prev}",'.encode() + body[1:]
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"an audit entry of {len(line)} bytes is longer than {MAX_LINE_BYTES}")
        lines.append(line)
        prev = sha256(line).hexdigest()
    return lines, Chain(chain.log_id, seq, bytes.fromhex(prev))


def write_turn(
    chain: Chain,
    time: datetime,
    entries: Sequence[Event | Opening],
    vault: VaultHead,
    signer: Signer,
) -> tuple[bytes, SignedHead]:
    """The bytes of one write, which end with the signature line, and what that line says."""
    lines, chain = extend(chain, time, entries)
    text = signing_text(chain, signer.key_id, vault.head)
    signature = b64encode(signer.sign(text)).decode()
    signed = SignedHead(signature, signer.key_id, chain.seq, chain.head.hex(), vault.head)
    return b"\n".join((*lines, signed.line(), b"")), signed


def signing_text(chain: Chain, key_id: str, vault_head: str) -> bytes:
    """What a signature signs, when the chain's last line is an entry."""
    head = chain.head.hex()
    return f"{FORMAT}\n{chain.log_id}\n{key_id}\n{chain.seq}\n{head}\n{vault_head}\n".encode()


def timestamp(time: datetime) -> str:
    """RFC 3339 in UTC, with microseconds and `Z`. ValueError for a time without a zone."""
    if time.tzinfo is None:
        raise ValueError("an audit entry's time needs its zone")
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


_encode_lines = msgspec.json.Encoder().encode_lines


def _bodies(entries: Sequence[Event | Opening]) -> list[bytes]:
    """Each entry as one JSON object in ASCII. All are encoded at once, since a turn has many."""
    try:
        bodies = _encode_lines(entries)
    except UnicodeEncodeError:  # half a surrogate pair, which os.fsdecode makes of odd bytes
        return [_in_ascii(_repaired(msgspec.to_builtins(entry))) for entry in entries]
    lines = bodies.split(b"\n")[:-1]
    if bodies.isascii() and _DELETE not in bodies:
        return lines
    return [_in_ascii(msgspec.json.decode(line)) for line in lines]


def _in_ascii(fields: object) -> bytes:
    text = json.dumps(fields, ensure_ascii=True, separators=(",", ":"))
    return text.encode().replace(_DELETE, rb"\u007f")


def _repaired(fields: dict[str, object]) -> dict[str, object]:
    return {
        name: value.encode(errors="replace").decode() if isinstance(value, str) else value
        for name, value in fields.items()
    }
