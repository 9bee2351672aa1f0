"""What the metrics read off the daemon at the moment when somebody asks."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from jarvis_secretsd.daemon.clock import Clock
from jarvis_secretsd.daemon.config import PathsConfig
from jarvis_secretsd.daemon.hooks import Hooks
from jarvis_secretsd.daemon.loop import Loop
from jarvis_secretsd.daemon.metrics import Disk, Now
from jarvis_secretsd.daemon.startup import State
from jarvis_secretsd.daemon.timekeeping import Timekeeper
from jarvis_secretsd.domain.service import Service

FRESH_SECS = 1.0
"""What takes time to find out is found out this often at most: anybody may ask for the metrics."""


class Readings:
    """Reads off what it was given."""

    def __init__(
        self,
        paths: PathsConfig,
        state: State,
        service: Service,
        timekeeper: Timekeeper,
        hooks: Hooks,
        clock: Clock,
    ) -> None:
        self._directories = {"vault": paths.vault_path.parent, "audit": paths.audit_path.parent}
        self._state = state
        self._service = service
        self._timekeeper = timekeeper
        self._hooks = hooks
        self._clock = clock
        self._started_at = time.time()
        self._overdue = 0
        self._disks: Mapping[str, Disk] = {}
        self._fresh_until = 0.0

    def now(self, status: str, loop: Loop | None) -> Now:
        """How everything stands; `status` is `health`'s."""
        if self._fresh_until <= self._clock.monotonic():
            self._fresh_until = self._clock.monotonic() + FRESH_SECS
            self._overdue = self._timekeeper.overdue()
            self._disks = dict(_disks(self._directories))
        vault = self._state.vault
        return Now(
            status=status,
            secrets=vault.live_count,
            due=self._timekeeper.due,
            overdue=self._overdue,
            connections=loop.connection_counts if loop else {},
            refused=self._service.refusals.totals,
            turned_away=loop.turned_away if loop else 0,
            clients=self._service.policy.clients,
            audit_bytes=self._state.audit.written,
            disks=self._disks,
            started_at=self._started_at,
            backup_at=vault.backup[1].at.timestamp() if vault.backup else 0.0,
            unresolved=self._hooks.unresolved,
            watchers=loop.watcher_count if loop else 0,
        )


def _disks(directories: Mapping[str, Path]) -> Mapping[str, Disk]:
    """The disks that can be asked."""
    disks = {}
    for holds, directory in directories.items():
        try:
            found = os.statvfs(directory)
        except OSError:  # nothing is known of it, which shows as a gap
            continue
        disks[holds] = Disk(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)
    return disks
