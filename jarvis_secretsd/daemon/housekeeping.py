"""What is due beside the requests: summaries, reloads, heads, the next try after a full disk."""

from __future__ import annotations

import os
from collections.abc import Sequence

import structlog

from jarvis_secretsd.daemon.clock import Clock
from jarvis_secretsd.daemon.commit import Ledger, Turn
from jarvis_secretsd.daemon.compaction import Compactor
from jarvis_secretsd.daemon.heads import write_heads
from jarvis_secretsd.daemon.hooks import Hooks
from jarvis_secretsd.daemon.startup import State
from jarvis_secretsd.daemon.systemd import Bulletin
from jarvis_secretsd.daemon.timekeeping import Timekeeper
from jarvis_secretsd.daemon.unitqueue import UnitQueue
from jarvis_secretsd.domain.insiders import INTERNAL
from jarvis_secretsd.domain.service import Service
from jarvis_secretsd.domain.unitrenewal import stale_units
from jarvis_secretsd.domain.witness import Act
from jarvis_secretsd.errors import SecretsError, StorageFailed, StorageFull, SyncFailed
from jarvis_secretsd.messages import Failure, Reload, Reply, Request

HEADS_SECS = 1.0
"""Heads are written at most this often: a cut of less than this can't be told from a crash."""

PROBE_SECS = 1.0
"""How often a refused commit is tried again while nobody asks."""

log = structlog.get_logger()


class Housekeeper:
    """Brings into each turn what the time asks for, and tidies up after it.

    `heads_path` is where the ends of vault and log are kept; `sync_secs` is the interval of the
    audit log's sync, None when every turn syncs by itself.
    """

    def __init__(
        self,
        service: Service,
        ledger: Ledger,
        state: State,
        timekeeper: Timekeeper,
        hooks: Hooks,
        compactor: Compactor,
        bulletin: Bulletin,
        units: UnitQueue,
        clock: Clock,
        *,
        heads_path: str,
        sync_secs: float | None,
    ) -> None:
        self._service = service
        self._ledger = ledger
        self._state = state
        self._timekeeper = timekeeper
        self._hooks = hooks
        self._compactor = compactor
        self._bulletin = bulletin
        self._units = units
        self._clock = clock
        self._heads_path = heads_path
        self._sync_secs = sync_secs
        self._hung_up = False
        self._heads_at: float | None = None
        self._sync_at: float | None = None
        self._probe_at: float | None = None
        self._written_heads = 0.0

    def next_at(self) -> float | None:
        """The monotonic moment of the next chore."""
        moments = [
            self._heads_at,
            self._sync_at,
            self._probe_at,
            self._summaries_at(),
            self._timekeeper.next_at(),
            self._hooks.next_at(),
            self._compactor.next_at(),
            self._bulletin.next_at(),
        ]
        if self._hung_up:
            moments.append(0.0)
        return min((moment for moment in moments if moment is not None), default=None)

    def hang_up(self) -> None:
        """SIGHUP: the policy is read anew, and the audit log's file is opened anew."""
        self._hung_up = True

    def open(self, turn: Turn) -> None:
        """Add to the turn what the time has brought, before anybody asks in it."""
        self._timekeeper.ask(turn)

    def before_commit(self, turn: Turn) -> None:
        """Add to the turn what belongs at its end."""
        self._hooks.ask(turn)
        summaries = self._service.summaries(turn.now)
        turn.witness(summaries)
        _log_summaries(summaries)
        if self._hung_up:
            self._hung_up = False
            self._bulletin.reloading()
            self._reopen_log(turn)
            request = Request(Reload())
            answer = self._service.handle(request, INTERNAL, turn.vault, turn.now, os.urandom)
            turn.add(answer, _Reloading(self._bulletin))

    def after_commit(self, turn: Turn) -> None:
        """Do the chores that are due, and plan those that this turn made necessary."""
        monotonic = self._clock.monotonic()
        if turn.acts:
            changes = tuple(change for change, _ in turn.changes)
            self._timekeeper.plan(changes)
            self._hooks.take_in(changes)
            if turn.is_kept:
                self._units.leave(stale_units(self._service.policy, changes))
            self._heads_at = self._heads_at or self._written_heads + HEADS_SECS
            if self._sync_secs is not None:
                self._sync_at = self._sync_at or monotonic + self._sync_secs
        self._hooks.tend()
        self._compactor.work()
        self._see_to_trouble(turn, monotonic)
        if self._sync_at is not None and self._sync_at <= monotonic:
            self._sync_at = None
            self._ledger.sync_audit()
        if self._heads_at is not None and self._heads_at <= monotonic:
            self.write_heads()
        self._bulletin.tell()

    def wind_up(self) -> None:
        """Who started us hears that we end."""
        self._bulletin.stopping()

    def write_heads(self) -> None:
        """Keep where vault and log end. On a full disk the older heads stay, which are true too."""
        self._heads_at, self._written_heads = None, self._clock.monotonic()
        try:
            # A denial's entry waits for no sync, and heads that know more than the disk are a cut.
            self._ledger.sync_audit()
            heads = self._state.heads(self._clock.settled())
            write_heads(self._heads_path, heads, self._state.vault_file.data_key)
        except SyncFailed:
            raise
        except SecretsError as error:
            log.warning("heads not written", problem=error.message)

    def _reopen_log(self, turn: Turn) -> None:
        try:
            self._state.audit.reopen(turn.now, self._state.vault_file.head)
        except (StorageFull, StorageFailed) as error:
            log.error("audit log not reopened", problem=error.message)

    def _see_to_trouble(self, turn: Turn, monotonic: float) -> None:
        if self._ledger.trouble is None:
            if self._probe_at is not None:
                log.info("storage takes entries again; serving")
            self._probe_at = None
        elif self._probe_at is None:
            log.error("nothing is served until the disk takes entries", reason=self._ledger.trouble)
            self._probe_at = monotonic + PROBE_SECS
        elif self._probe_at <= monotonic:
            self._probe_at = monotonic + PROBE_SECS
            self._ledger.probe(turn.now)

    def _summaries_at(self) -> float | None:
        due = self._service.refusals.due
        if due is None:
            return None
        wait = (due - self._clock.now()).total_seconds()
        return self._clock.monotonic() + max(0.0, wait)


class _Reloading:
    """Who waits for the reply to a SIGHUP: the log, and the service manager."""

    def __init__(self, bulletin: Bulletin) -> None:
        self._bulletin = bulletin

    def deliver(self, reply: Reply) -> None:
        fault = reply.message if isinstance(reply, Failure) else None
        if fault is not None:
            log.error("policy not reloaded", problem=fault)
        else:
            log.info("policy reloaded")
        self._bulletin.reloaded(fault)


def _log_summaries(summaries: Sequence[Act]) -> None:
    """Log how many requests of a uid were refused without a line of their own."""
    for act in summaries:
        log.warning("refused", uid=act.event.uid, why=act.event.rule, count=act.event.count)
