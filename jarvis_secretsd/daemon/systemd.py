"""What a service manager hands us and wants to hear: sd_listen_fds(3) and sd_notify(3).

Both are environment variables. They are taken out once read, so that no child inherits them.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress

from jarvis_secretsd.errors import SecretsError, StartRefused

FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START."""

MAX_LINE = 1000
"""Characters of one line: a message of more than 4096 bytes is thrown away whole."""

STATUS_SECS = 1.0
"""The manager's line for people changes at most this often: each change costs it a message."""

MAX_DESCRIPTORS = 64
"""More listeners than any unit of ours has; a larger number is not meant."""


def activated_sockets(environ: MutableMapping[str, str], pid: int) -> tuple[socket.socket, ...]:
    """The sockets that were handed to this process, close-on-exec, in the order of its unit.

    Empty when none were, or when they were meant for another pid. What they are is for the caller
    to look at: names are only a hint. Raises StartRefused.
    """
    owner = environ.pop("LISTEN_PID", "")
    number = environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    environ.pop("LISTEN_PIDFDID", None)
    if not number or owner != str(pid):
        return ()
    if not (number.isascii() and number.isdigit()) or int(number) > MAX_DESCRIPTORS:
        raise StartRefused(f"LISTEN_FDS={number!a} is not a number of sockets; start us by systemd")
    return tuple(_socket(FIRST_DESCRIPTOR + place) for place in range(int(number)))


def _socket(descriptor: int) -> socket.socket:
    try:
        is_socket = stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        is_socket = False
    if not is_socket:
        raise StartRefused(
            f"descriptor {descriptor} was handed over as a listener (LISTEN_FDS) and is no socket"
        )
    os.set_inheritable(descriptor, False)
    return socket.socket(fileno=descriptor)


class Notifier:
    """Tells the service manager how we are; if there is none, or it is deaf, nothing happens."""

    def __init__(self, address: str | None = None, watchdog_secs: float | None = None) -> None:
        self._address = address
        self.watchdog_secs = watchdog_secs

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str], pid: int) -> Notifier:
        """For the manager in NOTIFY_SOCKET, which wants `alive` at least every `watchdog_secs`."""
        address = environ.pop("NOTIFY_SOCKET", "")
        micros = environ.pop("WATCHDOG_USEC", "")
        watched = environ.pop("WATCHDOG_PID", str(pid)) == str(pid)
        is_number = micros.isascii() and micros.isdigit() and int(micros) > 0
        return cls(
            address if address.startswith(("/", "@")) else None,
            int(micros) / 1e6 if watched and is_number else None,
        )

    @property
    def is_heard(self) -> bool:
        """There is a manager to tell."""
        return self._address is not None

    def ready(self, status: str = "") -> None:
        """We serve; also ends what `reloading` began."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self, monotonic_ns: int) -> None:
        """We read the policy anew; `monotonic_ns` is CLOCK_MONOTONIC now."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={monotonic_ns // 1000}")

    def stopping(self) -> None:
        """We finish what is in flight and end."""
        self._send("STOPPING=1")

    @contextmanager
    def told_of_faults(self) -> Iterator[None]:
        """What ends us, from within, is what the manager shows of us when we are gone."""
        try:
            yield
        except SecretsError as error:
            self.status(f"ended: {error.message}")
            raise

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={text}")

    def alive(self) -> None:
        """Pat the watchdog."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        text = "\n".join(line.replace("\n", " ")[:MAX_LINE] for line in lines)
        place = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, suppress(OSError):
            sock.setblocking(False)
            sock.sendto(text.encode(errors="replace"), place)


class Bulletin:
    """What the manager hears while we serve; `line` is how we are now, in one line.

    The loop itself tells it, so that one that hangs falls silent.
    """

    def __init__(
        self, notifier: Notifier, monotonic: Callable[[], float], line: Callable[[], str]
    ) -> None:
        self._notifier = notifier
        self._monotonic = monotonic
        self._line = line
        self._told: str | None = None
        self._fault = ""
        self._may_tell_at = 0.0
        self._is_late = False
        watched = notifier.is_heard and notifier.watchdog_secs
        self._pat_secs = watched / 2 if watched else None
        self._pat_at = monotonic()

    def next_at(self) -> float | None:
        """The monotonic moment of the next word, which the loop must be awake for."""
        pat_at = None if self._pat_secs is None else self._pat_at
        if self._is_late:
            return self._may_tell_at if pat_at is None else min(pat_at, self._may_tell_at)
        return pat_at

    def tell(self) -> None:
        """After a turn, once we are `ready`: pat the watchdog when it is due, say what is new."""
        if not self._notifier.is_heard or self._told is None:
            return
        now = self._monotonic()
        if self._pat_secs is not None and self._pat_at <= now:
            self._pat_at = now + self._pat_secs
            self._notifier.alive()
        line = self._line() + self._fault
        self._is_late = line != self._told
        if self._is_late and self._may_tell_at <= now:
            self._notifier.status(line)
            self._take_note(line, now)

    def ready(self) -> None:
        """Peers can connect; or what `reloading` began is done."""
        line = self._line() + self._fault
        self._notifier.ready(line)
        self._take_note(line, self._monotonic())

    def reloading(self) -> None:
        """The policy is being read anew."""
        self._notifier.reloading(int(self._monotonic() * 1e9))

    def reloaded(self, fault: str | None) -> None:
        """It was read, or there was a fault, and the old one is in force until it is read again."""
        self._fault = f"; policy not reloaded: {fault}" if fault else ""
        self.ready()

    def stopping(self) -> None:
        """We finish what is in flight and end."""
        self._notifier.stopping()

    def _take_note(self, line: str, now: float) -> None:
        self._told, self._may_tell_at, self._is_late = line, now + STATUS_SECS, False
