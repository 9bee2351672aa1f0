"""Changes to the key slots of a vault: a rewrite of its file, witnessed by the audit log."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime

from jarvis_secretsd.daemon.commit import with_head
from jarvis_secretsd.daemon.config import PathsConfig
from jarvis_secretsd.daemon.heads import write_heads
from jarvis_secretsd.daemon.keys import Opener, Slot, SlotKind, new_slot, open_slots
from jarvis_secretsd.daemon.startup import State
from jarvis_secretsd.daemon.vaultlines import MAX_SLOTS, Header
from jarvis_secretsd.domain.audit import Event, Outcome
from jarvis_secretsd.domain.changes import Record, Rewritten, encode_record
from jarvis_secretsd.errors import ConfigurationError, KeyRefused


def add_slot(paths: PathsConfig, state: State, opener: Opener, now: datetime) -> Slot:
    """Give the vault a durable, witnessed slot that `opener` opens; nothing is released before.

    Raises ConfigurationError if a slot is open to it already or there are too many.
    """
    header = state.vault_file.header
    there = slot_of(header, opener)
    if there is not None:
        raise ConfigurationError((f"{opener.source} opens the vault already, by the slot {there}",))
    if len(header.slots) >= MAX_SLOTS:
        raise ConfigurationError((f"the vault has {MAX_SLOTS} key slots, and no more can be",))
    slot = new_slot(header.vault_id, state.vault_file.data_key, opener, now)
    rewrite_slots(state, (*header.slots, slot), now, "key_added", f"slot {slot}", paths)
    return slot


def slot_of(header: Header, opener: Opener) -> Slot | None:
    """The slot that this key opens. A passphrase isn't tried: each slot would cost a second."""
    if opener.kind is SlotKind.PASSPHRASE:
        return None
    for slot in header.slots:
        try:
            open_slots(header.vault_id, [slot], opener).wipe()
        except KeyRefused:
            continue
        return slot
    return None


def rewrite_slots(
    state: State, slots: Sequence[Slot], now: datetime, op: str, note: str, paths: PathsConfig
) -> None:
    """Write the vault anew with these slots, and an audit entry `op` about it; both durable.

    The last record of the new file says what the head was before and carries the entry, so that a
    crash behind it loses neither. Raises StorageFull, StorageFailed, SyncFailed.
    """
    vault_file = state.vault_file
    # The heads name the end that the new file's last record names: what lies before it is sealed
    # anew, and the next start couldn't find an older head in it.
    write_heads(paths.heads_path, state.heads(now), vault_file.data_key)
    event = Event(
        op=op,
        outcome=Outcome.ALLOWED,
        uid=os.getuid(),
        gid=os.getgid(),
        pid=os.getpid(),
        note=note,
    )
    rewritten = Rewritten(vault_file.head)
    seq = vault_file.head.seq + 1
    records = [
        (number, encode_record(Record(change, None))) for number, change in state.vault.essence(now)
    ]
    records.append((seq, encode_record(Record(rewritten, event))))
    vault_file.rewrite(records, slots=slots, compacted_to=seq)
    state.vault.apply(seq, rewritten)
    state.audit.write(now, [with_head(event, vault_file.head)], vault_file.head)
    state.audit.sync()
    write_heads(paths.heads_path, state.heads(now), vault_file.data_key)
