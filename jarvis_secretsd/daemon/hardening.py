"""Makes the process keep to itself: no core, no ptrace by others, files 0600, no loose tongue."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from types import TracebackType

from jarvis_secretsd.errors import SecretsError, StartRefused

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h, as the next: a signal to get when the parent ends."""

PR_SET_DUMPABLE = 4
"""0 keeps processes of the same user from our memory and environment too."""

MAX_FRAMES = 8
"""Places of a failure that are worth telling, the innermost first."""


def harden(report: Callable[[str], None]) -> None:
    """Do all of it, before any secret is read; `report` gets the `fault` of what nobody catches."""
    os.umask(0o077)
    leave_no_core()
    _hold_tongue(report)


def leave_no_core() -> None:
    """What is in our memory is written nowhere when we end, and read by nobody before."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl("PR_SET_DUMPABLE", PR_SET_DUMPABLE, 0)


def end_with(parent: int) -> None:
    """This process, forked by the main thread of `parent`, is killed when that ends (prctl(2))."""
    _prctl("PR_SET_PDEATHSIG", PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        signal.raise_signal(signal.SIGKILL)


def raise_descriptor_limit() -> int:
    """Take as many descriptors as the hard limit gives; returns how many that are."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def fault(error: BaseException) -> str:
    """What failed and where, as `KeyError at module:12, module:34`, the innermost place first.

    Only a message of our own is told with it: a foreign one may quote what it choked on.
    """
    places: list[str] = []
    traceback = error.__traceback__
    while traceback is not None:
        module = traceback.tb_frame.f_globals.get("__name__", "?")
        places.insert(0, f"{module}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    where = f" at {', '.join(places[:MAX_FRAMES])}" if places else ""
    what = f": {error.message}" if isinstance(error, SecretsError) else ""
    return f"{type(error).__name__}{where}{what}"


def _prctl(name: str, option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise StartRefused(f"the kernel refuses prctl({name}, {value}): {reason}")


def _hold_tongue(report: Callable[[str], None]) -> None:
    """Python's own hooks print foreign messages, which may hold a secret."""

    def uncaught(
        _kind: type[BaseException], error: BaseException, _traceback: TracebackType | None
    ) -> None:
        if not isinstance(error, KeyboardInterrupt):
            report(fault(error))

    def unraisable(args: sys.UnraisableHookArgs) -> None:
        error = args.exc_value or args.exc_type()
        report(f"ignored: {fault(error)}")

    def in_thread(args: threading.ExceptHookArgs) -> None:
        error = args.exc_value or args.exc_type()
        report(f"in a thread: {fault(error)}")

    sys.excepthook = uncaught
    sys.unraisablehook = unraisable
    threading.excepthook = in_thread
