"""When something is to be done for which secret: a heap of deadlines, so that no turn scans."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from heapq import heappop, heappush

from jarvis_secretsd.domain.rotation import RotationRules, grace_end
from jarvis_secretsd.domain.secret import Secret
from jarvis_secretsd.values import NEVER, Kid, SecretName, State


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
        when = max(when, self._deferred.get(name, when))
        if when == NEVER:
            self._next.pop(name, None)
        elif self._next.get(name) != when:
            self._next[name] = when
            heappush(self._heap, (when, name))

    def tell(self, secret: Secret) -> None:
        """It was told that the secret is due; it isn't planned for that again."""
        self.due[secret.name] = secret.current.kid
        self.plan(secret)

    def defer(self, secret: Secret, until: datetime) -> None:
        """What its deadline asked for failed: it is tried again, but not before then."""
        self._deferred[secret.name] = until
        self.plan(secret)

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

    def _deadlines(self, secret: Secret) -> Iterable[datetime]:
        if secret.deleted_until is not None:
            yield secret.deleted_until
        elif secret.versions:
            yield from filter(None, (grace_end(secret, each) for each in secret.versions))
            candidate = secret.candidate
            if candidate is None:
                yield from self._rotation(secret)
            elif candidate.state is State.PENDING and candidate.until is not None:
                yield candidate.until

    def _rotation(self, secret: Secret) -> Iterable[datetime]:
        due_at = self._rules.expires_at(secret.care, secret.current)
        if self._rules.clock_may_rotate(secret) or secret.name not in self.due:
            yield due_at
