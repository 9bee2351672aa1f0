"""A thread that watches, so that what changes is asked anew at once."""

from __future__ import annotations

import logging
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from jarvis_secretsd.client.errors import SecretsClientError

if TYPE_CHECKING:
    from jarvis_secretsd.client.access import Access
    from jarvis_secretsd.client.cache import Cache
    from jarvis_secretsd.client.watching import Watch

FOR_EVER = float("inf")
"""Seconds to wait for a daemon that isn't there: the thread has nothing else to do."""

RETRY = 30.0
"""Seconds after which a watch that was refused is tried again; until then values age as always."""


class Freshness:
    """Drops from the cache what has changed, from `start` to `close`, any number of times.

    Without it, or while the daemon refuses it, nothing is wrong: the cache's own times hold.
    """

    def __init__(self, access: Access, cache: Cache) -> None:
        self._access = access
        self._cache = cache
        self._lock = Lock()
        self._watching: _Watching | None = None

    def start(self) -> None:
        """Begin, if it hasn't begun; doesn't wait."""
        if self._watching is None:
            with self._lock:
                if self._watching is None:
                    self._watching = _Watching(self._access, self._cache)

    def close(self) -> None:
        """End it; doesn't wait either."""
        with self._lock:
            watching, self._watching = self._watching, None
        if watching is not None:
            watching.close()


class _Watching:
    """One thread, and the watch that it listens to."""

    def __init__(self, access: Access, cache: Cache) -> None:
        self._access = access
        self._cache = cache
        self._closed = Event()
        self._watch: Watch | None = None
        # A daemon: who ends doesn't wait for a change that may never come.
        Thread(target=self._run, name="jarvis-keep-fresh", daemon=True).start()

    def close(self) -> None:
        self._closed.set()
        if (watch := self._watch) is not None:
            watch.close()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._listen()
            except SecretsClientError as error:
                tell_refused(error)
            self._closed.wait(RETRY)

    def _listen(self) -> None:
        from jarvis_secretsd.client.watching import Watch  # noqa: PLC0415  # after the first question

        self._watch = watch = Watch(self._access, (), self._cache, FOR_EVER)
        if self._closed.is_set():
            return
        for _ in watch:  # which drops from the cache what it tells
            pass


def tell_refused(error: SecretsClientError) -> None:
    """Say why the cache isn't kept fresh for now."""
    logging.getLogger("jarvis_secretsd.client").warning(
        "the cache is not kept fresh: %s", error.message
    )
