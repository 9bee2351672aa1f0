"""Changes to the key slots of a vault: a rewrite of its file, witnessed by the audit log."""

from __future__ import annotations

from datetime import datetime

from jarvis_secretsd.daemon.config import PathsConfig
from jarvis_secretsd.daemon.keys import Opener, Slot, SlotKind, new_slot, open_slots
from jarvis_secretsd.daemon.operating import by_operator
from jarvis_secretsd.daemon.rewriting import rewrite
from jarvis_secretsd.daemon.startup import State
from jarvis_secretsd.daemon.vaultlines import MAX_SLOTS, Header
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
    event = by_operator("key_added", f"slot {slot}")
    rewrite(state, paths, now, event, (*header.slots, slot))
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
