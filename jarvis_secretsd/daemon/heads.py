"""The heads file: where vault and audit log ended when last seen, vouched for by the data key.

It is what tells a cut of both files' ends from a normal start: whoever cuts them can't write it.
"""

from __future__ import annotations

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


class _HeadsFile(Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal["jarvis-heads-v1"]
    heads: msgspec.Raw
    mac: str


def read_heads(path: AnyPath, data_key: DataKey) -> Heads:
    """The heads, once their MAC was found right.

    Raises FileNotFoundError, UnsafeFile, and StateRefused when this data key didn't write them.
    """
    data = files.read_private(path, MAX_HEADS_BYTES)
    try:
        found = msgspec.json.decode(data, type=_HeadsFile)
        if data_key.vouches(Purpose.HEADS, bytes(found.heads), found.mac):
            return msgspec.json.decode(found.heads, type=Heads)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    raise StateRefused(
        f"{path} was damaged, altered, or written for another vault. Restore it with the vault and "
        "the audit log that belong to it"
    )


def write_heads(path: AnyPath, heads: Heads, data_key: DataKey) -> None:
    """Put `heads` in the place of what `path` held, durably, all or nothing.

    Raises StorageFull, StorageFailed and SyncFailed.
    """
    raw = msgspec.json.encode(heads)
    sealed = _HeadsFile("jarvis-heads-v1", msgspec.Raw(raw), data_key.mac(Purpose.HEADS, raw))
    files.replace_private(path, msgspec.json.encode(sealed) + b"\n")
