"""Time as a caller: what falls due enters as requests, through the same door as everyone's."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime, timedelta

import structlog

from jarvis_secretsd.daemon.clock import Clock
from jarvis_secretsd.daemon.commit import Ledger, Turn
from jarvis_secretsd.domain.changes import AnyChange
from jarvis_secretsd.domain.insiders import INTERNAL
from jarvis_secretsd.domain.schedule import Schedule
from jarvis_secretsd.domain.service import Service
from jarvis_secretsd.messages import Elapse, Elapsed, Reply, Request
from jarvis_secretsd.values import SecretName

MAX_NAMES_A_TURN = 100
"""Names whose time has come, in one turn: each is a record or two, and others wait."""

RETRY = timedelta(hours=1)
"""After a rotation that failed the clock waits so long before it tries again."""

log = structlog.get_logger()


class Timekeeper:
    """Plans every secret's next deadline, and asks for what it stands for when it comes."""

    def __init__(
        self, service: Service, ledger: Ledger, clock: Clock, told_before: datetime
    ) -> None:
        self._service = service
        self._ledger = ledger
        self._clock = clock
        self._schedule = Schedule(service.rules)
        self._plan_all(told_before)

    @property
    def due(self) -> int:
        """Secrets whose time has come and which people must see to."""
        return len(self._schedule.due)

    def overdue(self) -> int:
        """Secrets that have been due for longer than their grace, whoever is to rotate them."""
        rules, now = self._service.rules, self._clock.settled()
        secrets = map(self._ledger.vault.live, self._schedule.late)
        return sum(rules.is_overdue(secret, now) for secret in secrets if secret is not None)

    def next_at(self) -> float | None:
        """The monotonic moment of the next deadline; while the disk refuses there is none."""
        when = self._schedule.next_at
        if when is None or self._ledger.trouble is not None:
            return None
        wait = (when - self._clock.settled()).total_seconds()
        if self._clock.unconfirmed is not None:
            wait = min(wait, self._clock.unconfirmed)
        return self._clock.monotonic() + max(0.0, wait)

    def ask(self, turn: Turn) -> None:
        """Let the turn begin with what the time has brought."""
        if self._ledger.trouble is not None:
            return
        names = self._schedule.take(turn.settled, MAX_NAMES_A_TURN)
        if names:
            schedule = self._schedule
            told = frozenset(name for name in names if name in schedule.due)
            deferred = frozenset(each for each in names if schedule.is_deferred(each, turn.settled))
            request, now = Request(Elapse(names, told, deferred)), turn.settled
            answer = self._service.handle(request, INTERNAL, turn.vault, now, os.urandom)
            turn.add(answer, _Elapsing(self, names, turn.settled))

    def plan(self, changes: Iterable[AnyChange]) -> None:
        """Take in what a turn has changed."""
        for change in changes:
            name = getattr(change, "name", None)
            if isinstance(name, SecretName):
                self._plan(name)

    def defer(self, name: SecretName) -> None:
        """Its rotation failed: the clock tries it again in an hour."""
        secret = self._ledger.vault.secret(name)
        if secret is not None:
            self._schedule.defer(secret, self._clock.settled() + RETRY)

    def take_in(self, reply: Reply, names: Iterable[SecretName], asked_at: datetime) -> None:
        """What came of a request of ours: what didn't move on is tried again later."""
        came = reply if isinstance(reply, Elapsed) else Elapsed()
        for name in came.failed:
            log.error("not rotated", name=name, remedy=f"jarvis-secrets rotate {name}, to see why")
        for name in came.due:
            secret = self._ledger.vault.secret(name)
            if secret is not None:
                self._schedule.tell(secret)
                log.warning("due for rotation", name=name, remedy=f"jarvis-secrets rotate {name}")
        for name in names:
            self._plan(name)
            if self._schedule.is_late(name, asked_at) and self._ledger.trouble is None:
                self.defer(name)

    def _plan(self, name: SecretName) -> None:
        secret = self._ledger.vault.secret(name)
        if secret is not None:
            self._schedule.plan(secret)

    def _plan_all(self, told_before: datetime) -> None:
        """An earlier run has told of what was due while it served."""
        vault, rules = self._ledger.vault, self._service.rules
        for name in vault.names():
            secret = vault.secret(name)
            if secret is None:
                continue
            if rules.is_due(secret, told_before) and not rules.clock_may_rotate(secret):
                self._schedule.tell(secret)
            else:
                self._schedule.plan(secret)
        if self.due:
            remedy = "`jarvis-secrets list` shows which; rotate them"
            log.warning("due for rotation", count=self.due, remedy=remedy)


class _Elapsing:
    """Who waits for what came of the time: the timekeeper."""

    def __init__(self, keeper: Timekeeper, names: Iterable[SecretName], asked_at: datetime) -> None:
        self._keeper = keeper
        self._names = names
        self._asked_at = asked_at

    def deliver(self, reply: Reply) -> None:
        self._keeper.take_in(reply, self._names, self._asked_at)
