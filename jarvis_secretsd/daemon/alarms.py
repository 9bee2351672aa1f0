"""Tells the operator at once who asked for a canary, and never floods the log with it."""

from __future__ import annotations

import time

import structlog

from jarvis_secretsd.domain.canary import Touch

EVERY_SECS = 1.0
"""A line this often at most: every request has its audit entry, and a program may ask in a loop."""

log = structlog.get_logger()


class Alarms:
    """Logs the touches of canaries. Who was refused doesn't silence the line about who wasn't."""

    def __init__(self) -> None:
        self._missed = {True: 0, False: 0}
        self._quiet_until = {True: 0.0, False: 0.0}

    def ring(self, touch: Touch) -> None:
        """Log it, unless one that came to the same was logged within the last second."""
        now, allowed = time.monotonic(), touch.allowed
        if now < self._quiet_until[allowed]:
            self._missed[allowed] += 1
            return
        log.error(
            "somebody asked for a canary",
            name=touch.name,
            outcome=touch.outcome,
            client=touch.client,
            uid=touch.peer.uid,
            pid=touch.peer.pid,
            transport=touch.peer.transport.value,
            unlogged_before=self._missed[allowed],
        )
        self._quiet_until[allowed], self._missed[allowed] = now + EVERY_SECS, 0
