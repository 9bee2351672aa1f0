"""Refused requests that get no entry of their own: counted, and summed up a uid and minute.

Strangers must not grow a signed log, nor may a program that is denied in a loop fill the disk.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from enum import StrEnum

from jarvis_secretsd.domain.audit import Event, Outcome

WINDOW = timedelta(minutes=1)

MAX_UIDS = 1024
"""Uids counted apart; further ones share a count, since a user namespace can bring 65,536."""


class Refusal(StrEnum):
    """Why a request got no entry of its own."""

    STRANGER = "stranger"
    MALFORMED = "malformed"
    RATE_LIMITED = "rate_limited"


class Refusals:
    """The counts of the running minute; `per_minute` denials of a uid get entries of their own.

    `totals` are the counts since the start.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._since: datetime | None = None
        self._denied: dict[int | None, int] = {}
        self._counts: dict[tuple[int | None, Refusal], int] = {}
        self.totals: Counter[Refusal] = Counter()

    @property
    def due(self) -> datetime | None:
        """When the next summary is due; None when there is nothing to sum up."""
        return self._since + WINDOW if self._since is not None else None

    def admit(self, uid: int | None, now: datetime) -> bool:
        """Count a denial of a known uid; True while it may still have an entry of its own."""
        self._open_window(now)
        count = self._denied.get(uid, 0) + 1
        if len(self._denied) < MAX_UIDS or uid in self._denied:
            self._denied[uid] = count
        if count <= self._per_minute:
            return True
        self.count(uid, Refusal.RATE_LIMITED, now)
        return False

    def count(self, uid: int | None, why: Refusal, now: datetime) -> bool:
        """Count a request that is only summed up; True for the first of its kind in this minute."""
        self._open_window(now)
        self.totals[why] += 1
        key = (uid, why)
        if key not in self._counts and len(self._counts) >= MAX_UIDS:
            key = (None, why)
        self._counts[key] = self._counts.get(key, 0) + 1
        return self._counts[key] == 1

    def summaries(self, now: datetime) -> tuple[Event, ...]:
        """What the minute brought, once it is over (or the clock was set back); then a new one."""
        if self._since is None or self._since <= now < self._since + WINDOW:
            return ()
        return self.close()

    def close(self) -> tuple[Event, ...]:
        """What the minute has brought so far, and the end of it: for a daemon that stops."""
        events = tuple(
            Event(uid=uid, op="refused", outcome=Outcome.DENIED, rule=why.value, count=count)
            for (uid, why), count in self._counts.items()
        )
        self._since = None
        self._denied.clear()
        self._counts.clear()
        return events

    def _open_window(self, now: datetime) -> None:
        if self._since is None:
            self._since = now
