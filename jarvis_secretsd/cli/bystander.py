"""Telling a signal that was sent to us from one that was sent to all of us.

A shell's `kill %1` goes to the whole process group, and systemd's stop to every process of a unit.
The program then has it already, and would get it twice if it were passed on: a second SIGTERM can
cut short how a program ends. The kernel doesn't say whether a signal had other
addressees; a process that stands by, to which nobody would send one by itself, can.
"""

from __future__ import annotations

import os
import select
import signal
import struct
import time
from contextlib import suppress
from typing import NoReturn

from jarvis_secretsd.daemon.hardening import end_with

PATIENCE = 0.02
"""Seconds for the same signal to arrive there: systemd sends them one after the other."""

SI_USER = 0
"""The `si_code` of a signal that came by kill(2) (sigaction(2))."""

HEARD = struct.Struct("=iid")
"""A signal, who sent it, and when: seconds of the monotonic clock."""


class Bystander:
    """The process that stands by. It is made while all signals are blocked, and ends with us."""

    def __init__(self) -> None:
        self._reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        parent, pid = os.getpid(), os.fork()
        if pid == 0:
            _stand_by(parent, writer)
        os.close(writer)
        self._process = os.pidfd_open(pid)
        self._heard: list[tuple[int, int, float]] = []

    def has_heard(self, info: signal.struct_siginfo) -> bool:
        """It has got this signal as well, from the same sender, at the same time."""
        now = time.monotonic()
        deadline = now + PATIENCE
        while True:
            self._heard = [each for each in self._heard if each[2] >= now - PATIENCE]
            for each in self._heard:
                if each[:2] == (info.si_signo, info.si_pid):
                    self._heard.remove(each)
                    return True
            left = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self._reader], [], [], left)
            data = os.read(self._reader, 64 * HEARD.size) if ready else b""
            if not data:
                return False
            self._heard += HEARD.iter_unpack(data)

    def end(self) -> None:
        """End it, so that it holds nothing open when we are gone."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, self._process, os.WEXITED)


def _stand_by(parent: int, writer: int) -> NoReturn:
    """In the forked child: tell of each signal that somebody sends."""
    try:
        end_with(parent)
        for name in os.listdir("/proc/self/fd"):
            if int(name) != writer:
                with suppress(OSError):
                    os.close(int(name))
        while True:
            info = signal.sigwaitinfo(signal.valid_signals())
            if info.si_code == SI_USER:
                with suppress(BlockingIOError):
                    os.write(writer, HEARD.pack(info.si_signo, info.si_pid, time.monotonic()))
    finally:
        os._exit(1)
