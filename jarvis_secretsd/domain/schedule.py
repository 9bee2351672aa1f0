"""When something is to be done for which secret: a heap of deadlines, so that no turn scans."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from datetime import datetime
from heapq import heapify, heappop, heappush

from jarvis_secretsd.domain.rotation import RotationRules, grace_end
from jarvis_secretsd.domain.secret import Secret
from jarvis_secretsd.values import NEVER, Kid, SecretName, State

MAX_STALE_SHARE = 4
"""Deadlines that are kept for each secret before those that no longer hold are left out."""


class Schedule:
    """The next deadline of each secret: of a version's grace, a deletion, a rotation.

    Whoever changes a secret has it planned anew. `due` are those whose time has come and which the
    clock doesn't rotate: people see to them.
    """

    def __init__(self, rules: RotationRules) -> None:
        self.due: dict[SecretName, Kid] = {}
        self._rules = rules
        self._heap: list[tuple[datetime, SecretName]] = []
        self._next: dict[SecretName, datetime] = {}
        self._deferred: dict[SecretName, datetime] = {}

    @property
    def late(self) -> Set[SecretName]:
        """Those that are due, and those whose rotation by the clock has failed before."""
        return self.due.keys() | self._deferred.keys()

    @property
    def next_at(self) -> datetime | None:
        """The next deadline of all; None: there is none."""
        self._forget_stale()
        return self._heap[0][0] if self._heap else None

    def plan(self, secret: Secret) -> None:
        """Take in how the secret is now."""
        name = secret.name
        if self.due.get(name) not in (None, secret.current.kid if secret.is_live else None):
            del self.due[name]
        when = min(self._deadlines(secret), default=NEVER)
        if when == NEVER:
            self._next.pop(name, None)
        elif self._next.get(name) != when:
            self._next[name] = when
            heappush(self._heap, (when, name))
            self._leave_out_stale()

    def tell(self, secret: Secret) -> None:
        """It was told that the secret is due; it isn't planned for that again."""
        self.due[secret.name] = secret.current.kid
        self.plan(secret)

    def defer(self, secret: Secret, until: datetime) -> None:
        """The clock doesn't rotate it before then: that has just failed."""
        self._deferred[secret.name] = until
        self.plan(secret)

    def is_deferred(self, name: SecretName, now: datetime) -> bool:
        """The clock doesn't rotate it yet."""
        until = self._deferred.get(name)
        return until is not None and now < until

    def is_late(self, name: SecretName, now: datetime) -> bool:
        """It is planned for a moment that has come already."""
        when = self._next.get(name)
        return when is not None and when <= now

    def take(self, now: datetime, limit: int) -> tuple[SecretName, ...]:
        """The names whose deadline has come, `limit` at most; they must be planned anew."""
        return tuple(self._taken(now, limit))

    def _taken(self, now: datetime, limit: int) -> Iterator[SecretName]:
        for _ in range(limit):
            when = self.next_at
            if when is None or when > now:
                return
            _, name = heappop(self._heap)
            del self._next[name]
            yield name

    def _forget_stale(self) -> None:
        while self._heap and self._next.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)

    def _leave_out_stale(self) -> None:
        """A secret that is changed again and again would leave a deadline behind each time."""
        if len(self._heap) > MAX_STALE_SHARE * (len(self._next) + 1):
            self._heap = [(when, name) for name, when in self._next.items()]
            heapify(self._heap)

    def _deadlines(self, secret: Secret) -> Iterable[datetime]:
        if secret.deleted_until is not None:
            yield secret.deleted_until
        elif secret.versions:
            yield grace_end(secret, secret.versions)
            candidate = secret.candidate
            if candidate is None:
                yield from self._rotation(secret)
            elif candidate.state is State.PENDING and candidate.until is not None:
                yield candidate.until

    def _rotation(self, secret: Secret) -> Iterable[datetime]:
        due_at = self._rules.expires_at(secret.care, secret.current)
        if self._rules.clock_may_rotate(secret) or secret.name not in self.due:
            yield max(due_at, self._deferred.get(secret.name, due_at))
