"""`jarvis-secrets run --watch`: noticing that a secret of the program has changed.

A thread of its own asks the daemon, so that no signal ever waits for an answer. It outlives the
daemon: the program goes on with what it has, until there is somebody to ask again.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from queue import Empty, SimpleQueue
from threading import Thread

from msgspec import Struct

from jarvis_secretsd.cli.exits import explain
from jarvis_secretsd.cli.running import Given
from jarvis_secretsd.client import SecretsClient, SecretsClientError
from jarvis_secretsd.errors import SecretsError
from jarvis_secretsd.values import Kid, SecretName

MAX_WATCHED = 1000
"""Names that one watch may give; of more, everything is watched."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds until the next attempt after one that failed; each pause doubles."""

NUDGE = signal.SIGURG
"""What the main thread gets when there is news: of all signals nobody misses this one."""

Renew = Callable[[], Sequence[Given]]
"""Fetches anew all that the program is given. Raises SecretsClientError, Refused."""


class Changed(Struct, frozen=True):
    """These secrets have new values, and this is all that the program is to get."""

    names: tuple[str, ...]
    given: Sequence[Given]


News = Changed | str
"""What is noticed: a change, or a remark for a person."""


def kids_of(given: Sequence[Given]) -> dict[str, Kid]:
    """Which version the program has of each of its secrets."""
    return {
        each.wanted.source: each.kid
        for each in given
        if isinstance(each.wanted.source, SecretName) and each.kid is not None
    }


def counted_off(names: Sequence[str]) -> str:
    """The names, or the first of many."""
    more = len(names) - 1
    return f"{names[0]} and {more} more" if more > 1 else " and ".join(names)


class Notices:
    """The news, batch by batch, from `begin` on. It signals this process with `NUDGE`.

    Without `renew` no value is fetched: the program only gets to know that it is to ask.
    """

    def __init__(self, client: SecretsClient, given: Sequence[Given], renew: Renew | None) -> None:
        self._client = client
        self._kids = kids_of(given)
        self._renew = renew
        self._news: SimpleQueue[News] = SimpleQueue()
        self._said = ""

    def begin(self) -> None:
        """Watch, in a thread that takes no signal, as long as the process lives."""
        if self._kids:
            Thread(target=self._watch_on, daemon=True).start()

    def take(self) -> Iterator[News]:
        """What was noticed since it was taken last."""
        while True:
            try:
                yield self._news.get_nowait()
            except Empty:
                return

    def _watch_on(self) -> None:
        pause = FIRST_PAUSE
        names = [*self._kids] if len(self._kids) <= MAX_WATCHED else None
        while True:
            try:
                with self._client.watch(names) as watch:
                    for told in watch:
                        self._see({name: told[name] for name in self._kids.keys() & told.keys()})
                        pause, self._said = FIRST_PAUSE, ""
            except (SecretsClientError, SecretsError) as error:
                self._remark(f"can't follow changes, but tries on: {explain(error)}")
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _see(self, told: Mapping[str, str | None]) -> None:
        gone = [name for name, kid in told.items() if kid is None]
        if gone:
            self._remark(f"{counted_off(gone)} was deleted; the program keeps what it has")
        new = {name: Kid(kid) for name, kid in told.items() if kid not in (None, self._kids[name])}
        if not new:
            return
        given = self._renew() if self._renew else ()
        kids = kids_of(given) or {**self._kids, **new}
        names = tuple(name for name, kid in kids.items() if self._kids[name] != kid)
        if names:
            self._kids = kids
            self._tell(Changed(names, given))

    def _remark(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._tell(text)

    def _tell(self, news: News) -> None:
        self._news.put(news)
        os.kill(os.getpid(), NUDGE)
