"""Values that were fetched a moment ago. The clocks are arguments, in seconds."""

from __future__ import annotations

TYPE_CHECKING = False  # see values.py
if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from jarvis_secretsd.client.errors import DaemonUnreachable
    from jarvis_secretsd.messages import Found
    from jarvis_secretsd.values import SecretName, SecretValue

OVERDUE_TTL = 30.0
"""Seconds for a value that is past its `expires_at`: its successor may come at any moment."""

RECHECK = 1.0
"""Seconds that a stale value is given without asking again: a daemon that is down costs each
question its timeout."""

MAX_ENTRIES = 1024
"""More names than any program asks for by itself; a loop over made-up names stays bounded."""


class Cache:
    """Current values by name, none for longer than `ttl` seconds nor past its `expires_at`.

    For `max_stale` seconds after that a value can be given all the same, to who has no better one.
    """

    def __init__(self, ttl: float, max_stale: float = 0.0) -> None:
        self._ttl = ttl
        self._max_stale = max_stale
        self._entries: dict[str, _Entry] = {}
        self.generation = 0

    def find(self, name: SecretName, now: float) -> SecretValue | None:
        """The value, if it is fresh at `now` on the monotonic clock."""
        entry = self._entries.get(name)
        return entry.value if entry is not None and now < entry.until else None

    def find_stale(self, name: SecretName, now: float) -> SecretValue | None:
        """The value, if it isn't stale for too long; it counts as fresh for `RECHECK` seconds."""
        entry = self._entries.get(name)
        if entry is None or now >= entry.end:
            return None
        entry.until = min(now + RECHECK, entry.end)
        return entry.value

    def keep(self, found: Found, now: float, wall: datetime, generation: int) -> None:
        """Remember what was fetched at `now`; `wall` is the same moment on the wall clock.

        What was asked for in an earlier `generation`, before a `forget`, may be old: not kept.
        """
        if generation != self.generation:
            return
        if len(self._entries) >= MAX_ENTRIES:
            self._entries.clear()
        until_due = (found.expires_at - wall).total_seconds()
        until = now + min(self._ttl, until_due if until_due > 0 else OVERDUE_TTL)
        self._entries[found.name] = _Entry(found.value, until, until + self._max_stale)

    def forget(self, name: str | None = None) -> None:
        """Drop one name, or all."""
        self.generation += 1
        if name is None:
            self._entries.clear()
        else:
            self._entries.pop(name, None)

    def take(self, news: Iterable[str], *, is_first: bool) -> None:
        """Drop what a watch says has changed; at first all, which may be older than the watch."""
        if is_first:
            self.forget()
        else:
            for name in news:
                self.forget(name)


class _Entry:
    """A value, fresh before `until` and of use before `end`, both on the monotonic clock."""

    __slots__ = ("end", "until", "value")

    def __init__(self, value: SecretValue, until: float, end: float) -> None:
        self.value = value
        self.until = until
        self.end = end


def tell_stale(name: SecretName, error: DaemonUnreachable) -> None:
    """Say that a value is given which may be an old one."""
    import logging  # noqa: PLC0415  # only who lives through an outage pays for it

    logging.getLogger("jarvis_secretsd.client").warning(
        "giving a stale value of %s: %s", name, error.message
    )
