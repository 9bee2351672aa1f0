"""One run of a hook: a child process that nobody waits for."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from typing import Protocol

from msgspec import Struct

from jarvis_secretsd.daemon.files import write_all
from jarvis_secretsd.daemon.hookprotocol import MAX_ANSWER_BYTES, Ending

MAX_OUTPUT_BYTES = 1024 * 1024
"""A hook that prints more than this has run wild, and would keep the loop busy."""

_CHUNK = 64 * 1024
"""What a pipe holds: one turn reads no more of it."""

_KILLED_SECS = 1.0
"""What is killed is gone at once, unless the kernel itself hangs in it."""

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class NotRun(Exception):
    """The program wasn't begun, so it has changed nothing; says why."""


class Port(Struct, frozen=True, eq=False):
    """A descriptor in the loop's selector, and what is to be done when it can be read."""

    descriptor: int
    see: Callable[[], None]

    def fileno(self) -> int:
        """The descriptor."""
        return self.descriptor

    def ready(self) -> None:
        """It can be read."""
        self.see()


class Watcher(Protocol):
    """Tells a port when it can be read: the loop."""

    def watch(self, source: Port) -> None:
        """Tell it from now on."""

    def ignore(self, source: Port) -> None:
        """Tell it no more."""


class HookProcess:
    """A running hook in a session of its own. `done` is called once, when it is over and reaped.

    It inherits no descriptor but its input, which is memory that can't be changed, a pipe for its
    output, and /dev/null. `deadline` is monotonic. Raises NotRun.
    """

    def __init__(
        self,
        command: Sequence[str],
        data: bytes,
        environ: Mapping[str, str],
        deadline: float,
        loop: Watcher,
        done: Callable[[HookProcess, Ending], None],
    ) -> None:
        self._child, self._output = _begun(command, data, environ)
        self.deadline = deadline
        self._loop = loop
        self._done = done
        self._cut = ""
        self._printed = 0
        self._answer = b""
        self._exit = Port(os.pidfd_open(self._child.pid), self._finish)
        self._printing = Port(self._output.fileno(), self._read)
        for port in (self._exit, self._printing):
            loop.watch(port)

    def cut(self, why: str) -> None:
        """Kill it and all that it started in its session."""
        self._cut = self._cut or why
        with suppress(OSError):  # it may have made itself another user's
            os.killpg(self._child.pid, signal.SIGKILL)  # not reaped yet, so the number is its own

    def abandon(self) -> None:
        """Kill it and reap it here and now; `done` isn't called."""
        self.cut("the daemon stopped")
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(_KILLED_SECS)
        self._close()

    def _read(self) -> None:
        """Take a part of what it printed; when it has closed its output it may still go on."""
        if self._take_part() == b"":
            self._loop.ignore(self._printing)
            self._output.close()

    def _take_part(self) -> bytes | None:
        """None: there is nothing to read now."""
        part = None if self._output.closed else self._output.read(_CHUNK)
        if part:
            self._printed += len(part)
            self._answer += part[: MAX_ANSWER_BYTES - len(self._answer)]
            if self._printed > MAX_OUTPUT_BYTES:
                self.cut(f"killed since it printed more than {MAX_OUTPUT_BYTES >> 20} MiB")
        return part

    def _finish(self) -> None:
        """It has ended: what it left behind ends too, or would change things when all is said."""
        cut = self._cut
        self.cut("")
        while self._printed <= MAX_OUTPUT_BYTES and self._take_part():
            pass
        status = self._child.wait()
        self._loop.ignore(self._exit)
        if not self._output.closed:
            self._loop.ignore(self._printing)
        self._close()
        self._done(self, Ending(status, cut, self._printed, self._answer))

    def _close(self) -> None:
        self._output.close()
        os.close(self._exit.descriptor)


def _begun(
    command: Sequence[str], data: bytes, environ: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], FileIO]:
    """The child, and what it prints, which never makes us wait."""
    try:
        with _in_memory(data) as stdin, _pipe() as (output, stdout):
            child = subprocess.Popen(  # noqa: S603 - no shell, and a command of the configuration
                command,
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=environ,
                start_new_session=True,
            )
            return child, output
    except OSError as error:
        raise NotRun(f"couldn't be run: {os.strerror(error.errno or errno.EIO)}") from None


@contextmanager
def _pipe() -> Iterator[tuple[FileIO, int]]:
    """A pipe: the end to read, which stays open if nothing fails, and the other, for the child."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    output = FileIO(reader)
    try:
        os.set_blocking(reader, False)
        yield output, writer
    except BaseException:
        output.close()
        raise
    finally:
        os.close(writer)


@contextmanager
def _in_memory(data: bytes) -> Iterator[int]:
    """A descriptor to read these bytes from: a file that no disk has (memfd_create(2)), sealed."""
    descriptor = os.memfd_create("hook", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        write_all(descriptor, data)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)
