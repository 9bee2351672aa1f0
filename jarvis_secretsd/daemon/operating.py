"""What an operator does with the state while no daemon serves it, for the audit log."""

from __future__ import annotations

import os

from jarvis_secretsd.domain.audit import Event, Outcome


def by_operator(op: str, note: str | None) -> Event:
    """The entry that says that whoever runs this process did it."""
    return Event(
        op=op,
        outcome=Outcome.ALLOWED,
        uid=os.getuid(),
        gid=os.getgid(),
        pid=os.getpid(),
        note=note,
    )
