"""Which systemd service a peer runs in, as its cgroup says (cgroups(7), systemd.slice(5)).

A program can't leave its service's cgroup, and only root can make one that passes for a service of
the system: what users may make lies below a service or a scope that was handed to them.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from typing import Final

from jarvis_secretsd.domain.peer import Peer

SO_PEERPIDFD: Final = 77
"""From asm-generic/socket.h, Linux 6.5; Python 3.11 has no name for it."""

MAX_PROC_BYTES = 64 * 1024
"""Of /proc/PID/cgroup and /proc/PID/status: a path of 4 KiB for each of a dozen hierarchies."""

_UNIFIED = b"0::"
_ROOT = "/system.slice/"


def unit_of(sock: socket.socket, peer: Peer) -> str | None:
    """The service that the peer of this Unix socket runs in; None: none, or it can't be told.

    It is read while a pidfd holds the process that connected, so its number is still its own. Below
    Linux 6.5 the pidfd is opened by that number, and the process must have the peer's user.
    """
    if peer.pid is None:
        return None
    try:
        holder, is_certain = _held(sock, peer.pid)
        try:
            unit = service_on(_cgroup(peer.pid))
            known = is_certain or _ids(peer.pid) == (peer.uid, peer.gid)
            return unit if known and _lives(holder) else None
        finally:
            os.close(holder)
    except (OSError, ValueError):
        return None


def service_on(path: str) -> str | None:
    """The first service on a cgroup's path, if it is below system.slice with only slices between.

    What comes behind it belongs to it, whatever its name.
    """
    if not path.startswith(_ROOT):
        return None
    for step in path.removeprefix(_ROOT).split("/"):
        if step.endswith(".service") and step.isascii():  # as all that systemd makes are
            return step.removeprefix("_")  # before names that the kernel keeps for itself
        if not step.endswith(".slice"):
            return None
    return None


def _held(sock: socket.socket, pid: int) -> tuple[int, bool]:
    """A pidfd, and whether it is certainly that of the process which connected."""
    try:
        return sock.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD), True
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
    return os.pidfd_open(pid), False


def _lives(pidfd: int) -> bool:
    """Has it not ended? One that has may leave its number to another (pidfd_open(2))."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return not poll.poll(0)


def _cgroup(pid: int) -> str:
    """Its path in the unified hierarchy; empty where there is none."""
    for line in _proc(pid, "cgroup").split(b"\n"):
        if line.startswith(_UNIFIED):
            return os.fsdecode(line.removeprefix(_UNIFIED))
    return ""


def _ids(pid: int) -> tuple[int, int]:
    """Its effective uid and gid (proc_pid_status(5))."""
    fields = dict(line.split(b":", 1) for line in _proc(pid, "status").splitlines() if b":" in line)
    return int(fields[b"Uid"].split()[1]), int(fields[b"Gid"].split()[1])


def _proc(pid: int, name: str) -> bytes:
    with open(f"/proc/{pid}/{name}", "rb", buffering=0) as file:
        return file.read(MAX_PROC_BYTES)
