"""Where the daemon, which may restart nothing, leaves the names of units that need it.

Each is an empty file in a directory of the daemon's. systemd sees it there (systemd.path(5)), and
root's `jarvis-secretsd restart-units` takes it and asks root's policy what may be done.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

import structlog

MAX_TAKEN = 4096
"""Names taken at once: more than a host has units. What is left is taken the next time."""

log = structlog.get_logger()


class UnitQueue:
    """The directory of names. That it can't be written is logged, and harms nobody who asks."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def leave(self, units: Iterable[str]) -> None:
        """Have these units seen to; one that waits already is left once."""
        for unit in sorted(units):
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                os.close(os.open(os.path.join(self._directory, unit), flags, 0o600))
            except OSError as error:
                log.error(
                    "unit not restarted",
                    unit=unit,
                    directory=self._directory,
                    problem=os.strerror(error.errno or 0),
                    remedy=f"systemctl enable --now jarvis-units.path; systemctl restart {unit}",
                )
            else:
                log.info("unit to be restarted or reloaded", unit=unit)


def take(directory: str) -> list[str]:
    """The names that lie there, which then lie there no more. OSError passes.

    Whoever owns the directory is not trusted: no link is followed, and nothing is opened.
    """
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        names = sorted(os.listdir(opened))[:MAX_TAKEN]
        for name in names:
            with suppress(OSError):  # no file: the daemon hasn't made it
                os.unlink(name, dir_fd=opened)
        return names
    finally:
        os.close(opened)
