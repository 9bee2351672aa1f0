"""Has what is over leave the disk: the vault is written anew, a little in each turn."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice

import structlog
from msgspec import Struct

from jarvis_secretsd.daemon.clock import Clock
from jarvis_secretsd.daemon.commit import Ledger, Turn
from jarvis_secretsd.daemon.config import PathsConfig
from jarvis_secretsd.daemon.rewriting import conclude
from jarvis_secretsd.daemon.startup import State
from jarvis_secretsd.daemon.vaultrewriting import Rewriting
from jarvis_secretsd.domain.audit import Event, Outcome
from jarvis_secretsd.domain.changes import AnyChange, Record, RewriteBegun, encode_record
from jarvis_secretsd.domain.secret import Secret, essence_of
from jarvis_secretsd.domain.vault import Vault
from jarvis_secretsd.domain.witness import Act
from jarvis_secretsd.errors import StorageFailed, StorageFull

DELAY = timedelta(hours=12)
"""A value that is over leaves the disk so long after it, with what else has ended by then."""

SLICE_SECS = 0.004
"""What a turn gives to it while others wait."""

RETRY_SECS = 3600.0

BATCH = 32

log = structlog.get_logger()


class _Work(Struct, frozen=True):
    """What is under way: the new file, what remains to do, and when the first value had ended."""

    rewriting: Rewriting
    steps: Iterator[None]
    dead_since: datetime | None
    records: int


class Compactor:
    """Begins when a value has been over for `DELAY`, works in slices, and ends on record."""

    def __init__(
        self,
        state: State,
        paths: PathsConfig,
        ledger: Ledger,
        clock: Clock,
        *,
        delay: timedelta = DELAY,
    ) -> None:
        self._state = state
        self._paths = paths
        self._ledger = ledger
        self._clock = clock
        self._delay = delay
        self._work: _Work | None = None
        self._not_before = 0.0

    def next_at(self) -> float | None:
        """The monotonic moment at which there is something to do."""
        if self._ledger.trouble is not None:
            return None
        if self._work is not None:
            return 0.0
        dead_since = self._state.vault.dead_since
        if dead_since is None:
            return None
        wait = (dead_since + self._delay - self._clock.settled()).total_seconds()
        return max(self._not_before, self._clock.monotonic() + wait)

    def work(self) -> None:
        """Do a slice of it, if there is anything to do. Raises SyncFailed."""
        due = self.next_at()
        if due is None or due > self._clock.monotonic():
            return
        try:
            if self._work is None:
                self._work = self._begin()
            elif not self._go_on(self._work):
                self._end(self._work)
        except (StorageFull, StorageFailed) as error:
            log.warning("vault not compacted", problem=error.message, remedy="tried in an hour")
            self._give_up()

    def close(self) -> None:
        """Leave nothing half done behind."""
        if self._work is not None:
            self._give_up()

    def _begin(self) -> _Work | None:
        """From a record on, which both files will have, the new one holds what comes as well."""
        turn = Turn(self._state.vault, self._clock.now())
        event = Event(op="vault_compacting", outcome=Outcome.RECORDED)
        turn.witness((Act(event, RewriteBegun()),))
        self._ledger.commit(turn)
        if self._ledger.trouble is not None:
            return None
        vault, vault_file = self._state.vault, self._state.vault_file
        rewriting = vault_file.begin_rewrite(compacted_to=vault_file.head.seq)
        begun = (vault_file.head.seq, encode_record(Record(RewriteBegun(), None)))
        dead_since, vault.dead_since = vault.dead_since, None
        steps = _steps(rewriting, vault.secrets(), vault, self._clock.settled(), begun)
        return _Work(rewriting, steps, dead_since, vault.seq)

    def _go_on(self, work: _Work) -> bool:
        """True while there is more to do."""
        stop = self._clock.monotonic() + SLICE_SECS
        return any(self._clock.monotonic() >= stop for _ in work.steps)

    def _end(self, work: _Work) -> None:
        note = f"the head before was {self._state.vault_file.head.head}"
        event = Event(op="vault_compacted", outcome=Outcome.RECORDED, note=note)
        ended_meanwhile = self._state.vault.dead_since
        entry = conclude(
            self._state,
            self._paths,
            event,
            work.rewriting,
            settled=self._clock.settled(),
            dead_since=ended_meanwhile,
        )
        self._work = None
        self._ledger.log(self._clock.now(), entry)
        log.info("vault compacted", through=work.records)

    def _give_up(self) -> None:
        work, self._work = self._work, None
        self._not_before = self._clock.monotonic() + RETRY_SECS
        if work is not None:
            self._state.vault.dead_since = work.dead_since
            self._state.vault_file.give_up_rewrite(work.rewriting)


def _steps(
    rewriting: Rewriting,
    secrets: list[Secret],
    vault: Vault,
    now: datetime,
    begun: tuple[int, bytes],
) -> Iterator[None]:
    """The work in small pieces: collect what still matters, put it in order, seal and write it."""
    parts: list[tuple[int, AnyChange]] = [*vault.kept_beside_secrets(now)]
    for secret in secrets:
        parts += essence_of(secret)
        yield
    parts.sort(key=lambda part: part[0])
    records = ((seq, encode_record(Record(change, None))) for seq, change in parts)
    while batch := [*islice(records, BATCH)]:
        rewriting.add(batch)
        yield
    rewriting.add((begun,))
