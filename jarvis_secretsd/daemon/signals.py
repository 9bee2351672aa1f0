"""Signals as readable bytes: a handler does nothing, the loop reads which ones came."""

from __future__ import annotations

import os
import signal
from types import FrameType

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signals:
    """Turns SIGTERM, SIGINT and SIGHUP into bytes on a pipe (signal.set_wakeup_fd)."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in HANDLED:
            signal.signal(number, _nothing)

    def fileno(self) -> int:
        """The descriptor that is readable when a signal came."""
        return self._reader

    def read(self) -> frozenset[int]:
        """The signals that came since the last read."""
        try:
            return frozenset(os.read(self._reader, 4096))
        except BlockingIOError:
            return frozenset()

    def close(self) -> None:
        """Give the signals back to their default."""
        signal.set_wakeup_fd(-1)
        for number in HANDLED:
            signal.signal(number, signal.SIG_DFL)
        os.close(self._reader)
        os.close(self._writer)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """The wake-up descriptor has told the loop already."""
