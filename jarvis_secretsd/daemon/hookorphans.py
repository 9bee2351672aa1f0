"""What hooks leave behind: those that a killed daemon left running, and children without a parent.

A hook of a daemon that was killed ends before anything is verified: one that finished later would
change the far end when it has been asked already. A process of a hook is known by its environment,
which its children have too.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

MARK = "JARVIS_HOOK"
"""The environment variable of a hook: the path of the vault that it works for."""

_ROUNDS, _PAUSE_SECS = 100, 0.01
"""Killed processes are gone within a moment; one that was just forked is found the next time."""


def end_orphans(vault_path: str) -> int:
    """Kill what is left of this vault's hooks; the number of processes. Who calls this holds its
    lock, so that no other daemon's hooks are among them."""
    ended: set[int] = set()
    for _ in range(_ROUNDS):
        found = set(_killed(f"{MARK}={vault_path}".encode()))
        if not found:
            break
        ended |= found
        time.sleep(_PAUSE_SECS)
    return len(ended)


def reap_inherited() -> None:
    """Take leave of dead children that aren't ours, which the first process of a container gets.

    To be called while no hook runs: it would take away how that one ended.
    """
    if os.getpid() == 1:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _killed(mark: bytes) -> Iterator[int]:
    for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
        with suppress(OSError):  # it is gone, or not ours
            descriptor = os.pidfd_open(pid)
            try:
                if pid != os.getpid() and mark in _environment(pid):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                    yield pid
            finally:
                os.close(descriptor)


def _environment(pid: int) -> list[bytes]:
    with open(f"/proc/{pid}/environ", "rb") as file:
        return file.read().split(b"\0")
