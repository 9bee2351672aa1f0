"""The connections that watch: told what a turn changed once it is durable, and not before.

A change is told to all whom it concerns in the turn that brought it: who writes faster than
watchers can be told waits for them. What a watch begins with may be long; it is told a part at a
time, as its reader takes it. While the vault is locked they are told nothing; then, what changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice

from jarvis_secretsd.daemon.commit import Ledger, Recipient, Turn
from jarvis_secretsd.daemon.connection import Connection
from jarvis_secretsd.daemon.timeouts import Timeouts
from jarvis_secretsd.domain import watching as rules
from jarvis_secretsd.domain.policy import Client
from jarvis_secretsd.domain.service import Service
from jarvis_secretsd.domain.watching import Audience, Beginning, Watching
from jarvis_secretsd.errors import SecretsError
from jarvis_secretsd.messages import Reply, Told
from jarvis_secretsd.values import SecretName

MAX_PARTS_A_TURN = 16
"""Parts of what watches begin with; for each up to a thousand names are looked at."""

MAX_BEATS_A_TURN = 256
"""Thousands that were told in one turn are due for a heartbeat in one turn, too."""


class Watchers:
    """Every watch of the loop. `tell` is called once a turn, when its commit is done."""

    def __init__(self, service: Service, ledger: Ledger, heartbeat_secs: float) -> None:
        self._service = service
        self._ledger = ledger
        self._policy = service.policy
        self._known_since = ledger.vault.seq
        self._told_through: int = ledger.vault.seq
        self._was_locked = self._is_locked
        self._audience = Audience[Connection]()
        self._new: dict[Connection, Watching] = {}
        self._beginnings: dict[Connection, Beginning] = {}
        self._ready: dict[Connection, None] = {}
        self._beats = Timeouts[Connection](heartbeat_secs)

    def __len__(self) -> int:
        return len(self._audience)

    def recipient(self, watching: Watching | None, connection: Connection) -> Recipient:
        """Who takes the reply: the connection; if it asks to watch, that begins with the reply."""
        return connection if watching is None else _Opening(self._new, connection, watching)

    def next_at(self) -> float | None:
        """The monotonic moment at which `tell` has something to do."""
        return 0.0 if self._ready and not self._is_locked else self._beats.next_at()

    @property
    def _is_locked(self) -> bool:
        return self._ledger.vault.lock is not None

    def tell(self, turn: Turn, served: Iterable[Connection], now: float) -> list[Connection]:
        """Tell what is due after this turn. Gives those who have something to be sent now.

        `served` are those with whom the turn had to do, who may have room for more again.
        """
        touched: dict[Connection, None] = {}
        if self._policy is not self._service.policy:
            touched |= self._obey_policy(turn.settled)
        if self._was_locked and not self._is_locked:
            self._begin_again()
        elif turn.is_kept and turn.acts and self._audience and not self._is_locked:
            names = rules.changed_names(change for change, _ in turn.changes)
            touched |= self._tell_changes(names, turn.settled)
        self._begin_new()
        if self._beginnings and not self._is_locked:
            touched |= self._go_on(served)
        touched |= self._beat(turn.settled, now)
        for connection in touched:
            if connection.is_watching:
                self._beats.restart(connection, now)
            if connection in self._beginnings:  # once it is sent what it has, there may be room
                self._ready[connection] = None
        self._was_locked = self._is_locked
        if not self._was_locked:
            self._told_through = self._ledger.vault.seq
        return [*touched]

    def leave(self, connection: Connection) -> None:
        """It is told no more."""
        self._new.pop(connection, None)
        self._audience.leave(connection)
        self._beginnings.pop(connection, None)
        self._ready.pop(connection, None)
        self._beats.cancel(connection)

    def _tell_changes(self, names: Sequence[SecretName], now: datetime) -> dict[Connection, None]:
        touched: dict[Connection, None] = {}
        for connection, told in self._audience.tell(names, self._ledger.vault, self._policy):
            touched[connection] = None
            if self._has_ended(connection, now):
                continue
            if connection in self._beginnings:  # then it is a part of what isn't all told yet
                connection.tell(Told(told.secrets, more=True))
            else:
                connection.tell(told)
        return touched

    def _begin_new(self) -> None:
        for connection, watching in self._new.items():
            self._audience.join(connection, watching)
            self._begin(connection, watching, self._since(watching.operation.after))
        self._new.clear()

    def _begin(self, connection: Connection, watching: Watching, since: int | None) -> None:
        self._beginnings[connection] = Beginning(watching, since)
        self._ready[connection] = None

    def _begin_again(self) -> None:
        """Tell each what changed under the lock; who hadn't been told all begins from the start."""
        for connection, watching in self._audience:
            since = None if connection in self._beginnings else self._told_through
            self._begin(connection, watching, since)

    def _since(self, after: int | None) -> int | None:
        """From where on all can be told that was missed; None: it can't.

        What a watcher may have known before this start, or under another policy, nobody knows.
        """
        if after is not None and self._known_since < after <= self._ledger.vault.seq:
            return after
        return None

    def _go_on(self, served: Iterable[Connection]) -> dict[Connection, None]:
        """The next parts of beginnings, for who has taken the parts before."""
        self._ready |= dict.fromkeys(each for each in served if each in self._beginnings)
        touched: dict[Connection, None] = {}
        for connection in [*islice(self._ready, MAX_PARTS_A_TURN)]:
            del self._ready[connection]
            if connection.wants_write:
                continue
            part = self._beginnings[connection].next(self._ledger.vault, self._policy)
            if not part.more:
                del self._beginnings[connection]
            elif not part.secrets:
                self._ready[connection] = None
                continue
            connection.tell(part)
            touched[connection] = None
        return touched

    def _beat(self, now: datetime, monotonic: float) -> dict[Connection, None]:
        """A sign of life for those who have heard nothing for long."""
        late = self._beats.expired(monotonic, MAX_BEATS_A_TURN)
        for connection in late:
            if not self._has_ended(connection, now):
                connection.tell(Told())
        return dict.fromkeys(late)

    def _obey_policy(self, now: datetime) -> dict[Connection, None]:
        """After a reload: who lost the right is told no more, and others what they may read now."""
        self._policy, self._known_since = self._service.policy, self._ledger.vault.seq
        ended: dict[Connection, None] = {}
        for connection, watching in self._audience:
            client = self._client_of(watching, now)
            if client is None:
                self._end(connection)
                ended[connection] = None
            elif client != watching.client:
                again = Watching(watching.request, watching.peer, client, watching.operation)
                self._audience.join(connection, again)
                self._begin(connection, again, since=None)
        return ended

    def _has_ended(self, connection: Connection, now: datetime) -> bool:
        """Has its token? A token may end at any time; all else that gives a right, by a reload."""
        watching = self._audience.watching(connection)
        if watching is not None and (
            watching.request.token is None or self._client_of(watching, now) is not None
        ):
            return False
        self._end(connection)
        return True

    def _end(self, connection: Connection) -> None:
        self.leave(connection)
        connection.dismiss()

    def _client_of(self, watching: Watching, now: datetime) -> Client | None:
        """Who may go on with this watch, if anybody may."""
        try:
            client = self._service.who(watching.request, watching.peer, self._ledger.vault, now)
            decision, _ = rules.decide(self._policy, client, watching.operation)
        except SecretsError:
            return None
        return client if decision.allowed else None


class _Opening:
    """Who takes the reply to a watch: its connection, which watches from then on."""

    def __init__(
        self, new: dict[Connection, Watching], connection: Connection, watching: Watching
    ) -> None:
        self._new = new
        self._connection = connection
        self._watching = watching

    def deliver(self, reply: Reply) -> None:
        self._connection.deliver(reply)
        if self._connection.is_watching:
            self._new[self._connection] = self._watching
