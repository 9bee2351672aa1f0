"""Who gets in: how many connections there are in all and of each uid, and when to look for more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

from jarvis_secretsd.daemon.connection import Connection
from jarvis_secretsd.daemon.listeners import Listener, OutOfDescriptors

PAUSE_SECS = 0.1
"""Out of descriptors: look again after this, instead of being woken by the same peer at once."""

MAX_ACCEPTS_A_TURN = 64
"""A burst of new peers leaves room in the turn for those who are here."""


class Watch(Protocol):
    """Wakes the loop when a peer waits at a listener."""

    def watch(self, listener: Listener) -> None:
        """Wake for this listener."""

    def ignore(self, listener: Listener) -> None:
        """Wake for it no more."""


class Reception:
    """Accepts peers while there is room for them, and watches no listener while there is none."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        watch: Watch,
        *,
        max_connections: int,
        max_per_uid: int,
    ) -> None:
        self._listeners = listeners
        self._watch = watch
        self._max_connections = max_connections
        self._max_per_uid = max_per_uid
        self._of_uid: Counter[int | None] = Counter()
        self._count = 0
        self._is_open = False
        self._paused_until: float | None = None
        self.turned_away = 0
        self.open()

    def accept(self, listener: Listener, monotonic: float) -> Iterator[Connection]:
        """The connections that wait at this listener, as far as there is room for them."""
        for _ in range(MAX_ACCEPTS_A_TURN):
            if self._count >= self._max_connections:
                self.close()
                return
            try:
                accepted = listener.accept()
            except OutOfDescriptors:
                self._paused_until = monotonic + PAUSE_SECS
                self.close()
                return
            if accepted is None:
                return
            sock, peer = accepted
            connection = Connection(sock, peer, listener.rules_for(peer))
            is_full = self._of_uid[peer.uid] >= self._max_per_uid
            # turned away, a unit would start with nothing
            if is_full and not (listener.rules.only_credentials or connection.is_of_systemd()):
                self.turned_away += 1
                connection.close()
                continue
            self._count += 1
            self._of_uid[peer.uid] += 1
            yield connection

    def release(self, connection: Connection) -> None:
        """A connection has ended; there is room for another."""
        uid = connection.peer.uid
        self._count -= 1
        self._of_uid[uid] -= 1
        if not self._of_uid[uid]:
            del self._of_uid[uid]
        if not self._is_open and self._paused_until is None:
            self.open()

    def next_at(self) -> float | None:
        """When to look again after a pause."""
        return self._paused_until

    def resume(self, monotonic: float) -> None:
        """Look again, if a pause is over."""
        if self._paused_until is not None and self._paused_until <= monotonic:
            self._paused_until = None
            self.open()

    def open(self) -> None:
        """Watch the listeners."""
        if not self._is_open:
            for listener in self._listeners:
                self._watch.watch(listener)
            self._is_open = True

    def end(self) -> None:
        """Accept nobody ever again: who comes waits in the kernel for the next daemon."""
        self.close()
        self._listeners = ()

    def close(self) -> None:
        """Watch no listener; who comes waits in the kernel."""
        if self._is_open:
            for listener in self._listeners:
                self._watch.ignore(listener)
            self._is_open = False
