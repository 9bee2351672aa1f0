"""The loop: one thread, one selector, and every turn goes one way.

Read what is ready, decode, decide, act, make durable, and then write the replies. Nothing here
waits for a peer, and what one connection gets of a turn is bounded.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

from jarvis_secretsd.daemon.clock import Clock
from jarvis_secretsd.daemon.commit import Ledger, Turn
from jarvis_secretsd.daemon.connection import Connection
from jarvis_secretsd.daemon.listeners import Listener
from jarvis_secretsd.daemon.metrics import DENIALS, OK, Metrics
from jarvis_secretsd.daemon.reception import Reception
from jarvis_secretsd.daemon.signals import Signals
from jarvis_secretsd.daemon.timeouts import Timeouts
from jarvis_secretsd.daemon.watchers import Watchers
from jarvis_secretsd.domain.peer import Transport
from jarvis_secretsd.domain.service import Service
from jarvis_secretsd.domain.witness import Answer
from jarvis_secretsd.messages import Failure, Request

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

LONGEST_SLEEP_SECS = 20 * 24 * 3600.0
"""epoll_wait(2) counts milliseconds in 31 bits, and a secret may be due in 90 days."""

STOP_SECS = 5.0
"""Time for peers to finish their requests and to take their last replies when the daemon stops."""

DRAIN_SECS = 0.25
"""When the daemon stops, each peer has this long to ask what it was just about to ask."""

ABANDON_SECS, ABANDON_TRIES = 1.0, 200
"""Time for systemd to take its refusals when the daemon fails, and how often it is looked after."""


class LoopLimits(Struct, frozen=True):
    """How many connections in all and of one uid, and how long a peer may take, in seconds."""

    max_connections: int
    max_connections_per_uid: int
    idle_secs: float
    request_secs: float
    heartbeat_secs: float


@runtime_checkable
class Source(Protocol):
    """A descriptor of our own, which no peer is behind."""

    def fileno(self) -> int:
        """The descriptor."""

    def ready(self) -> None:
        """It can be read: see to it. What comes of it enters a turn by the housekeeping."""


class Housekeeping(Protocol):
    """What is due beside the requests."""

    def next_at(self) -> float | None:
        """The monotonic moment of the next chore; None when there is none."""

    def open(self, turn: Turn) -> None:
        """Add to the turn what the time has brought, before anybody asks in it."""

    def before_commit(self, turn: Turn) -> None:
        """Add to the turn what belongs at its end."""

    def after_commit(self, turn: Turn) -> None:
        """See to what a finished turn leaves to do; no reply waits for it."""

    def hang_up(self) -> None:
        """SIGHUP came: ask for what it stands for in the next turn."""

    def wind_up(self) -> None:
        """SIGTERM came: the turns that follow are the last."""


class Loop:
    """Serves the listeners until a signal asks it to stop."""

    def __init__(
        self,
        service: Service,
        ledger: Ledger,
        listeners: Sequence[Listener],
        housekeeping: Housekeeping,
        limits: LoopLimits,
        clock: Clock,
        metrics: Metrics,
        signals: Signals,
    ) -> None:
        self._service = service
        self._ledger = ledger
        self._housekeeping = housekeeping
        self._clock = clock
        self._metrics = metrics
        self._signals = signals
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._signals, READ, self._signals)
        self._reception = Reception(
            listeners,
            self,
            max_connections=limits.max_connections,
            max_per_uid=limits.max_connections_per_uid,
        )
        self._connections: set[Connection] = set()
        self._backlog: list[Connection] = []
        self._idle = Timeouts[Connection](limits.idle_secs)
        self._hurried = Timeouts[Connection](limits.request_secs)
        self._watchers = Watchers(service, ledger, limits.heartbeat_secs)
        self._policy = service.policy
        self._is_stopping = False

    @property
    def connection_counts(self) -> Counter[Transport]:
        """Connections that are open now."""
        return Counter(connection.peer.transport for connection in self._connections)

    @property
    def turned_away(self) -> int:
        """Connections that were closed at once, since their uid has its share."""
        return self._reception.turned_away

    @property
    def watcher_count(self) -> int:
        """Connections that are told of changes."""
        return len(self._watchers)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then finish what is in flight. Raises SyncFailed."""
        try:
            while not self._is_stopping:
                self._turn(self._selector.select(self._timeout()))
            self._finish()
        except BaseException:
            self._abandon()
            raise
        finally:
            self._selector.close()

    def watch(self, source: Listener | Source) -> None:
        """Wake when a peer waits at this listener, or this source can be read."""
        self._selector.register(source, READ, source)

    def ignore(self, source: Listener | Source) -> None:
        """Wake for it no more."""
        self._selector.unregister(source)

    def _turn(self, ready: list[tuple[selectors.SelectorKey, int]]) -> None:
        turn = Turn(self._ledger.vault, self._clock.now(), self._clock.settled())
        self._housekeeping.open(turn)
        served, self._backlog = self._backlog, []
        for connection in served:
            self._ask(turn, connection, connection.take())
        for key, mask in ready:
            match key.data:
                case Connection() as connection:
                    self._serve(turn, connection, mask)
                    served.append(connection)
                case Listener() as listener:
                    self._welcome(listener)
                case Signals() as signals:
                    self._heed(signals)
                case Source() as source:
                    source.ready()
        self._housekeeping.before_commit(turn)
        started = self._clock.monotonic()
        self._ledger.commit(turn)
        if turn.acts:
            self._metrics.commit(self._clock.monotonic() - started)
            self._metrics.audit_entries += len(turn.acts)
        for connection in served:
            self._settle(connection)
        for connection in self._watchers.tell(turn, served, self._clock.monotonic()):
            self._settle(connection)
        self._housekeeping.after_commit(turn)
        if self._policy is not self._service.policy:
            self._dismiss_strangers()
        self._drop_late()
        self._reception.resume(self._clock.monotonic())

    def _serve(self, turn: Turn, connection: Connection, mask: int) -> None:
        if not mask & READ:
            return
        try:
            self._ask(turn, connection, connection.receive())
        except OSError:
            self._drop(connection)

    def _ask(self, turn: Turn, connection: Connection, asked: Sequence[Request | Failure]) -> None:
        if asked and self._service.policy.units:
            connection.attest()
        peer = connection.peer
        for request in asked:
            if isinstance(request, Failure):
                self._service.malformed(peer, turn.now)
                turn.add(Answer(request), connection)
            else:
                answer = self._service.handle(
                    request, peer, turn.vault, turn.now, os.urandom, turn.settled
                )
                turn.add(answer, self._watchers.recipient(answer.watching, connection))
                reply = answer.reply
                outcome = reply.code if isinstance(reply, Failure) else OK
                self._metrics.request(request.operation.op, outcome, peer.transport)
                if outcome in DENIALS:
                    who = next((act.event.client for act in answer.acts), request.client)
                    self._metrics.denial(who, self._service.policy.clients)

    def _settle(self, connection: Connection) -> None:
        """Write what is due, and wait for what is next."""
        if connection not in self._connections:
            return
        try:
            connection.flush()
        except OSError:
            self._drop(connection)
            return
        if connection.is_over:
            self._drop(connection)
            return
        now = self._clock.monotonic()
        if connection.is_watching:
            self._idle.cancel(connection)
        else:
            self._idle.restart(connection, now)
        if connection.is_hurried:
            self._hurried.start(connection, now)
        else:
            self._hurried.cancel(connection)
        if connection.has_backlog:
            self._backlog.append(connection)
        self._want(connection, READ * connection.wants_read | WRITE * connection.wants_write)

    def _want(self, connection: Connection, interest: int) -> None:
        if interest == connection.interest:
            return
        if not interest:
            self._selector.unregister(connection)
        elif not connection.interest:
            self._selector.register(connection, interest, connection)
        else:
            self._selector.modify(connection, interest, connection)
        connection.interest = interest

    def _heed(self, signals: Signals) -> None:
        came = signals.read()
        if signal.SIGHUP in came:
            self._housekeeping.hang_up()
        if came & {signal.SIGTERM, signal.SIGINT}:
            self._is_stopping = True

    def _welcome(self, listener: Listener) -> None:
        for connection in self._reception.accept(listener, self._clock.monotonic()):
            self._connections.add(connection)
            self._settle(connection)

    def _timeout(self) -> float | None:
        """Seconds until something is due; None: sleep until a peer comes."""
        if self._backlog:
            return 0.0
        moments = (
            self._idle.next_at(),
            self._hurried.next_at(),
            self._reception.next_at(),
            self._watchers.next_at(),
            self._housekeeping.next_at(),
        )
        due = min((moment for moment in moments if moment is not None), default=None)
        if due is None:
            return None
        return min(max(0.0, due - self._clock.monotonic()), LONGEST_SLEEP_SECS)

    def _drop_late(self) -> None:
        now = self._clock.monotonic()
        for connection in (*self._idle.expired(now), *self._hurried.expired(now)):
            self._drop(connection)

    def _dismiss_strangers(self) -> None:
        """After a reload: who was known and is no more, is let go."""
        before, self._policy = self._policy, self._service.policy
        for connection in tuple(self._connections):
            peer = connection.peer
            if before.knows(peer) and not self._policy.knows(peer):
                connection.dismiss()
                self._settle(connection)

    def _finish(self) -> None:
        """Accept nobody; answer what is asked and on its way, for a bounded time; let all go.

        Who has been answered once more is let go at once, and who asks nothing when it is time.
        """
        self._housekeeping.wind_up()
        self._reception.end()
        for connection in self._connections:
            connection.conclude()
        now = self._clock.monotonic()
        drained, deadline = now + DRAIN_SECS, now + STOP_SECS
        while self._connections and now < deadline:
            is_patient = now < drained
            for connection in self._connections:
                if not connection.is_expected(patient=is_patient):
                    connection.hear_out()
            left, timeout = (drained if is_patient else deadline) - now, self._timeout()
            self._turn(self._selector.select(left if timeout is None else min(left, timeout)))
            now = self._clock.monotonic()
        for connection in tuple(self._connections):
            self._drop(connection)

    def _abandon(self) -> None:
        """We fail: no unit may take that for an empty credential."""
        left: Iterable[Connection] = self._connections
        for _ in range(ABANDON_TRIES):
            left = [connection for connection in left if connection.abandon()]
            if not left:
                break
            time.sleep(ABANDON_SECS / ABANDON_TRIES)

    def _drop(self, connection: Connection) -> None:
        if connection not in self._connections:
            return
        self._want(connection, 0)
        self._connections.discard(connection)
        self._reception.release(connection)
        self._idle.cancel(connection)
        self._hurried.cancel(connection)
        self._watchers.leave(connection)
        connection.close()
