"""To be told what changes: a connection of its own, made anew for as long as somebody listens."""

from __future__ import annotations

import time
from threading import Event, Lock
from typing import TYPE_CHECKING

from jarvis_secretsd import messages as m
from jarvis_secretsd.client.connection import Connection
from jarvis_secretsd.client.errors import (
    ConnectionLost,
    DaemonUnavailable,
    DaemonUnreachable,
    NoDaemon,
    SecretsClientError,
    error_of,
)
from jarvis_secretsd.client.picture import Kids, Picture
from jarvis_secretsd.client.questions import FIRST_PAUSE, answers_in, framed

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from jarvis_secretsd.client.access import Access
    from jarvis_secretsd.client.cache import Cache
    from jarvis_secretsd.values import SecretName

SILENCE = 60.0
"""Seconds without a heartbeat, of which there is one every 30 at least, after which a connection
counts as lost."""

LONGEST_PAUSE = 2.0
"""Seconds between two attempts to connect anew: who watches is told late, and nothing else."""


class Watch:
    """What changes, as it happens: the current kid of each secret, None for one that is gone.

    Iterate over it. The first mapping is what is: each of the names (None: no such secret), or all
    that may be read. Each further one is a batch of what has changed since, never a value. While
    the daemon restarts it waits, and then gives what changed meanwhile. Raises AccessDenied where a
    name may not be read, also later, and DaemonUnreachable only before the first mapping.

    What it tells is dropped from the client's `cache`, so that the next `get` asks. `wait` is how
    long a daemon that isn't there is waited for at first; None: as the client does.

    `close` from any thread ends it. It is for one thread to iterate, and not for a forked child.
    """

    def __init__(
        self,
        access: Access,
        names: tuple[SecretName, ...],
        cache: Cache,
        wait: float | None = None,
    ) -> None:
        self._access = access
        self._names = names
        self._cache = cache
        self._picture = Picture()
        self._patience = Patience(access.wait if wait is None else wait)
        self._connection: Connection | None = None
        self._closed = Event()
        self._iterating = Lock()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Kids:
        with self._iterating:
            return self._next()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it; who waits for a change waits no longer."""
        self._closed.set()
        if (connection := self._connection) is not None:
            connection.interrupt()
        if self._iterating.acquire(blocking=False):  # else who waits sees to it
            self._hang_up()
            self._iterating.release()

    def _next(self) -> Kids:
        while not self._closed.is_set():
            is_first = self._picture.seq is None
            try:
                news = self._picture.take(self._listen())
            except SecretsClientError as error:
                self._hang_up()
                if self._closed.is_set():
                    break
                pause = self._patience.after(error, time.monotonic())
                if pause is None:
                    self._closed.set()
                    raise
                self._closed.wait(pause)
            except BaseException:  # a message may be read in part, and lost with who read it
                self._hang_up()
                raise
            else:
                if news is not None:
                    self._cache.take(news, is_first=is_first)
                    return news
        self._hang_up()
        raise StopIteration

    def _listen(self) -> m.Told:
        connection = self._connection or self._connect()
        body = connection.listen(self._patience.silence(self._access.timeout))
        told = told_in(body, self._access)
        self._patience.hear(told)
        return told

    def _connect(self) -> Connection:
        """A connection on which the messages come, from where we are."""
        access = self._access
        self._picture.begin()
        self._patience.begin()
        self._connection = connection = Connection(access.address, access.timeout)
        if self._closed.is_set():  # it was closed while there was no connection to interrupt
            connection.interrupt()
        if access.token is not None:
            connection.check_owner(access.daemon_uid)
        connection.begin(framed(m.Watch(self._names, self._picture.seq), access))
        return connection

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class Patience:
    """How long a watch waits: for a message, and before it connects anew. All times are seconds.

    A daemon that isn't there is waited for as `wait` says until there was one, and then for ever.
    """

    def __init__(self, wait: float) -> None:
        self._wait = wait
        self._until: float | None = None
        self._pause = FIRST_PAUSE
        self._has_heard = False
        self._is_opening = True

    def begin(self) -> None:
        """A connection is made."""
        self._is_opening = True

    def hear(self, told: m.Told) -> None:
        """A message came. One after the opening says that the connection is a good one."""
        if not self._is_opening:
            self._pause = FIRST_PAUSE
        elif told.seq is not None:
            self._is_opening, self._has_heard = False, True

    def silence(self, timeout: float) -> float:
        """How long the next message may take."""
        return timeout if self._is_opening else SILENCE

    def after(self, error: SecretsClientError, now: float) -> float | None:
        """How long to wait after this before the next attempt; None: there is none."""
        if self._has_heard:
            passes = isinstance(error, DaemonUnreachable | DaemonUnavailable)
        else:
            self._until = now + self._wait if self._until is None else self._until
            passes = isinstance(error, NoDaemon | ConnectionLost) and now < self._until
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        return pause if passes else None


def told_in(body: bytes, access: Access) -> m.Told:
    """The message in this frame. Raises SecretsClientError for what is none."""
    (told,) = answers_in((body,), m.Told, access.address)
    if isinstance(told, m.Failure):
        raise error_of(told)
    return told
