"""Writes the vault anew: the same state in a smaller file, or under other key slots, on record."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import structlog

from jarvis_secretsd.daemon.commit import with_head
from jarvis_secretsd.daemon.config import PathsConfig
from jarvis_secretsd.daemon.heads import write_heads
from jarvis_secretsd.daemon.keys import DataKey, Slot
from jarvis_secretsd.daemon.startup import State
from jarvis_secretsd.daemon.vaultrewriting import Rewriting
from jarvis_secretsd.domain.audit import Event, Outcome
from jarvis_secretsd.domain.changes import Record, Rewritten, encode_record

MIN_DEAD_RECORDS = 1000
"""Fewer records that matter no more aren't worth a new file."""

log = structlog.get_logger()


def rewrite(
    state: State,
    paths: PathsConfig,
    now: datetime,
    event: Event,
    slots: Sequence[Slot] | None = None,
    data_key: DataKey | None = None,
) -> None:
    """Put a new file with what still matters in the vault's place.

    None keeps the key slots, or the data key; a new one is the vault's from then on.

    The last record of the new file says what the head was before and carries the entry `event`, so
    that a crash behind it loses neither. Raises StorageFull, StorageFailed, SyncFailed.
    """
    essence = state.vault.essence(state.time)
    records = [(number, encode_record(Record(change, None))) for number, change in essence]
    rewriting = state.vault_file.begin_rewrite(
        slots=slots, compacted_to=_next_number(state), data_key=data_key
    )
    try:
        rewriting.add(records)
        entry = conclude(state, paths, event, rewriting, settled=state.time)
    except BaseException:
        state.vault_file.give_up_rewrite(rewriting)
        raise
    state.audit.write(now, [entry], state.vault_file.head)
    state.audit.sync()
    write_heads(paths.heads_path, state.heads(state.time), state.vault_file.data_key)


def conclude(
    state: State,
    paths: PathsConfig,
    event: Event,
    rewriting: Rewriting,
    *,
    settled: datetime,
    dead_since: datetime | None = None,
) -> Event:
    """Put the new file, whose records are all there, in the vault's place, on record.

    `settled` is the time that the next start takes up, `dead_since` when the first value ended that
    the new file holds all the same. What is returned is the entry that the log must have before any
    other. Raises StorageFull and StorageFailed, after which the old file stands; SyncFailed.
    """
    vault_file = state.vault_file
    # The heads name the end that the new file's last record names: what lies before it is sealed
    # anew, and the next start couldn't find an older head in it.
    # Where that file has another key they hold under either: a crash may leave them with it.
    rekeyed = rewriting.data_key is not vault_file.data_key
    next_key = rewriting.data_key if rekeyed else None
    write_heads(paths.heads_path, state.heads(settled), vault_file.data_key, next_key)
    rewritten, seq = Rewritten(vault_file.head, dead_since), _next_number(state)
    last = (seq, encode_record(Record(rewritten, event)))
    vault_file.finish_rewrite(rewriting, last)
    state.vault.apply(seq, rewritten)
    return with_head(event, vault_file.head)


def _next_number(state: State) -> int:
    return state.vault_file.head.seq + 1


def compact(state: State, paths: PathsConfig, now: datetime) -> bool:
    """Write the vault anew if most of its records matter no more; True if that was done.

    Values past their grace leave the disk by it. It takes seconds for a large vault, so it is for
    the time before anything is served.
    """
    if state.records < MIN_DEAD_RECORDS:
        return False
    alive = len(state.vault.essence(state.time))
    dead = state.records - alive
    if dead < max(MIN_DEAD_RECORDS, alive):
        return False
    note = (
        f"{state.records} records became {alive}; the head before was {state.vault_file.head.head}"
    )
    event = Event(op="vault_compacted", outcome=Outcome.RECORDED, count=dead, note=note)
    rewrite(state, paths, now, event)
    log.info("vault compacted", records_before=state.records, records_now=alive)
    return True
