"""A new data key for the vault: every record is sealed anew, and only keys that are at hand get in.

Whoever has an old key and an old file, which a backup may be, opens that file as before.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from jarvis_secretsd.daemon.config import PathsConfig
from jarvis_secretsd.daemon.keys import DataKey, Opener, Slot, new_slot, open_slots
from jarvis_secretsd.daemon.operating import by_operator
from jarvis_secretsd.daemon.rewriting import rewrite
from jarvis_secretsd.daemon.startup import State
from jarvis_secretsd.daemon.vaultlines import Header
from jarvis_secretsd.domain.audit import Event
from jarvis_secretsd.errors import KeyRefused


def opened_by(header: Header, opener: Opener) -> tuple[Slot, ...]:
    """The slots that this opens. A passphrase takes a second for each of its kind."""
    return tuple(slot for slot in header.slots if _opens(header, slot, opener))


def rekey(
    paths: PathsConfig,
    state: State,
    openers: Sequence[Opener],
    ended: Sequence[Slot],
    now: datetime,
) -> tuple[Slot, ...]:
    """Put a vault with a new data key, and a slot for each opener, in the place of the old one.

    `ended` are the slots that nothing takes the place of, for the log. A crash leaves the old vault
    or the new one, each with its log and heads. Raises ValueError without openers, and StorageFull,
    StorageFailed, SyncFailed.
    """
    if not openers:
        raise ValueError("a vault without a slot is lost")
    header, data_key = state.vault_file.header, DataKey.generate()
    slots = tuple(new_slot(header.vault_id, data_key, opener, now) for opener in openers)
    rewrite(state, paths, now, _event(slots, ended), slots, data_key)
    return slots


def _opens(header: Header, slot: Slot, opener: Opener) -> bool:
    try:
        open_slots(header.vault_id, [slot], opener).wipe()
    except KeyRefused:
        return False
    return True


def _event(slots: Sequence[Slot], ended: Sequence[Slot]) -> Event:
    note = f"slots: {', '.join(map(str, slots))}"
    if ended:
        note += f"; ended: {', '.join(map(str, ended))}"
    return by_operator("rekeyed", note)
