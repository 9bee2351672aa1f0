"""Values that were fetched a moment ago. Pure: the clocks are arguments."""

from __future__ import annotations

from datetime import datetime

from jarvis_secretsd.messages import Found
from jarvis_secretsd.values import SecretName, SecretValue

OVERDUE_TTL = 30.0
"""Seconds for a value that is past its `expires_at`: its successor may come at any moment."""

MAX_ENTRIES = 1024
"""More names than any program asks for by itself; a loop over made-up names stays bounded."""


class Cache:
    """Current values by name, none for longer than `ttl` seconds nor past its `expires_at`."""

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._entries: dict[SecretName, tuple[SecretValue, float]] = {}

    def find(self, name: SecretName, now: float) -> SecretValue | None:
        """The value, if it is fresh at `now` on the monotonic clock."""
        value, until = self._entries.get(name, (None, 0.0))
        return value if now < until else None

    def keep(self, found: Found, now: float, wall: datetime) -> None:
        """Remember what was fetched at `now`; `wall` is the same moment on the wall clock."""
        if len(self._entries) >= MAX_ENTRIES:
            self._entries.clear()
        until_due = (found.expires_at - wall).total_seconds()
        lifetime = min(self._ttl, until_due if until_due > 0 else OVERDUE_TTL)
        self._entries[found.name] = (found.value, now + lifetime)

    def forget(self, name: SecretName | None = None) -> None:
        """Drop one name, or all."""
        if name is None:
            self._entries.clear()
        else:
            self._entries.pop(name, None)
