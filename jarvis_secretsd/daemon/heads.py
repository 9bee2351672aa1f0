"""The heads file: where vault and audit log ended when last seen, vouched for by the data key.

It is what tells a cut of both files' ends from a normal start: whoever cuts them can't write it.
"""

from __future__ import annotations

import os
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Struct

from jarvis_secretsd.daemon import files
from jarvis_secretsd.daemon.files import AnyPath
from jarvis_secretsd.daemon.keys import DataKey, Purpose
from jarvis_secretsd.domain.audit import VaultHead
from jarvis_secretsd.errors import StateRefused

MAX_HEADS_BYTES = 4096
"""Six times what is ever written."""


class Heads(Struct, frozen=True, forbid_unknown_fields=True):
    """The ends of vault and log at `time`, the highest time seen.

    `audit_head` and `audit_public_key` are 64 hex digits, `audit_signature` is the one that signs
    that head, as it stands in the log.
    """

    vault: VaultHead
    log_id: str
    audit_seq: int
    audit_head: str
    audit_signature: str
    audit_public_key: str
    time: datetime


class _HeadsFile(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    format: Literal["jarvis-heads-v1"]
    heads: msgspec.Raw
    mac: str
    next_mac: str = ""


def read_heads(path: AnyPath, data_key: DataKey) -> Heads:
    """The heads, once their MAC was found right.

    Raises FileNotFoundError, UnsafeFile, and StateRefused when this data key didn't write them.
    """
    return parse_heads(files.read_private(path, MAX_HEADS_BYTES), data_key, str(path))


def parse_heads(data: bytes, data_key: DataKey, source: str) -> Heads:
    """As `read_heads`, from what stands in the file. Raises StateRefused."""
    try:
        found = msgspec.json.decode(data, type=_HeadsFile)
        macs = (found.mac, found.next_mac)
        if any(data_key.vouches(Purpose.HEADS, bytes(found.heads), mac) for mac in macs):
            return msgspec.json.decode(found.heads, type=Heads)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    raise StateRefused(
        f"{source} was damaged, altered, or written for another vault. Restore it with the vault "
        "and the audit log that belong to it"
    )


def claimed_time(path: AnyPath) -> datetime | None:
    """The highest time by the file's own word, which anybody could have written there.

    None where there is none, or none that can be read. For who has no key and only looks.
    """
    try:
        # the state's owner, whom root doesn't trust, may have put a FIFO there
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            found = msgspec.json.decode(file.read(MAX_HEADS_BYTES), type=_HeadsFile)
        return msgspec.json.decode(found.heads, type=Heads).time
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def write_heads(
    path: AnyPath, heads: Heads, data_key: DataKey, next_key: DataKey | None = None
) -> None:
    """Put `heads` in the place of what `path` held, durably, all or nothing.

    With a `next_key`, which is about to become the vault's, they hold under either.
    Raises StorageFull, StorageFailed and SyncFailed.
    """
    files.replace_private(path, sealed_heads(heads, data_key, next_key))


def sealed_heads(heads: Heads, data_key: DataKey, next_key: DataKey | None = None) -> bytes:
    """What a heads file holds."""
    raw = msgspec.json.encode(heads)
    sealed = _HeadsFile(
        "jarvis-heads-v1",
        msgspec.Raw(raw),
        data_key.mac(Purpose.HEADS, raw),
        next_key.mac(Purpose.HEADS, raw) if next_key else "",
    )
    return msgspec.json.encode(sealed) + b"\n"
