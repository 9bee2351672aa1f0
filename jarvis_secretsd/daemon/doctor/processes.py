"""Processes of this host as proc(5) shows them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from jarvis_secretsd.daemon.mounts import Mount, mounts_of

PROC = Path("/proc")

_FLOCK = re.compile(r"FLOCK +ADVISORY +WRITE +(\d+) [0-9a-f]+:[0-9a-f]+:(\d+) ")


class Process(Struct, frozen=True):
    """A process, by its directory below /proc. Its properties are read when they are asked for.

    They raise OSError where it is gone, or where only root may look.
    """

    path: Path

    @property
    def pid(self) -> int:
        """Its number."""
        return int(self.path.name)

    @property
    def name(self) -> str:
        """What it calls itself, which it may choose."""
        return (self.path / "comm").read_text(errors="replace").strip()

    @property
    def mount_namespace(self) -> str:
        """The mount namespace it is in."""
        return os.readlink(self.path / "ns/mnt")

    @property
    def uids(self) -> frozenset[int]:
        """Its real, effective, saved and file system uids, as this host counts them."""
        return frozenset(map(int, self.status("Uid").split()))

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """What is mounted where it is."""
        return mounts_of(self.path)

    def status(self, field: str) -> str:
        """A field of its status; empty where there is none."""
        text = (self.path / "status").read_text(errors="replace")
        found = re.search(rf"^{field}:\s*(.*)$", text, re.MULTILINE)
        return found[1] if found else ""

    def limit(self, name: str) -> int | None:
        """A soft limit of its own (getrlimit(2)); None: unlimited."""
        text = (self.path / "limits").read_text()
        found = re.search(rf"^{name} +(\d+|unlimited) ", text, re.MULTILINE)
        return int(found[1]) if found and found[1] != "unlimited" else None


def processes(proc: Path = PROC) -> Iterator[Process]:
    """Every process, by its number."""
    for name in sorted((each for each in os.listdir(proc) if each.isdigit()), key=int):
        yield Process(proc / name)


def holder_of(lock: Path, proc: Path = PROC) -> Process | None:
    """The process that has locked this file, as far as /proc/locks shows."""
    try:
        inode = os.stat(lock).st_ino
        found = _FLOCK.findall((proc / "locks").read_text())
    except OSError:
        return None
    pid = next((pid for pid, locked in found if int(locked) == inode), "0")
    return Process(proc / pid) if int(pid) else None
