"""What a service manager hands us and wants to hear: sd_listen_fds(3) and sd_notify(3).

Both are environment variables. They are taken out once read, so that no child inherits them.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import MutableMapping
from contextlib import suppress

from jarvis_secretsd.errors import StartRefused

FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START."""

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

    def ready(self, status: str = "") -> None:
        """We serve; also ends what `reloading` began."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self, monotonic_ns: int) -> None:
        """We read the policy anew; `monotonic_ns` is CLOCK_MONOTONIC now."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={monotonic_ns // 1000}")

    def stopping(self) -> None:
        """We finish what is in flight and end."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={text}")

    def alive(self) -> None:
        """Pat the watchdog."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        text = "\n".join(line.replace("\n", " ") for line in lines)
        place = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, suppress(OSError):
            sock.setblocking(False)
            sock.sendto(text.encode(), place)
