"""One connection to the daemon that speaks frames (docs/wire.md). Not for two threads at once."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from jarvis_secretsd.client.address import UnixAddress
from jarvis_secretsd.client.errors import ConnectionLost, DaemonUnreachable
from jarvis_secretsd.errors import TooLarge
from jarvis_secretsd.wire.frames import Frames

if TYPE_CHECKING:
    from jarvis_secretsd.client.url import Address

READ_AHEAD = 64 * 1024
"""Bytes asked for at once; most replies are one read."""

WINDOW = 16
"""Requests that may be unanswered: enough to hide the way, few enough that neither end blocks."""


class Connection:
    """Connected when it is made. Raises DaemonUnreachable from every method; close it then."""

    def __init__(self, address: Address, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self._frames = Frames()
        self._is_trusted = isinstance(address, UnixAddress) or not address.is_loopback
        self._socket = connect(address, timeout)

    def is_stale(self) -> bool:
        """Has the daemon hung up, or said what nobody asked for, since the last reply?"""
        return is_over(self._socket)

    def check_owner(self, daemon_uid: int | None) -> None:
        """Raises UntrustedDaemon where the port is neither root's, ours, nor `daemon_uid`'s.

        And NoDaemon where the connection ends before the kernel could say whose it is.
        A Unix socket is as trustworthy as its directory. Of a remote host nobody can tell, and who
        allowed one was told so.
        """
        if not self._is_trusted:
            from jarvis_secretsd.client.owner import check_owner  # noqa: PLC0415  # TCP's alone

            check_owner(self._socket, daemon_uid, self._timeout)
            self._is_trusted = True

    def converse(self, requests: Sequence[bytes]) -> list[bytes]:
        """The bodies of the replies to these frames, in order, each within the timeout."""
        replies: list[bytes] = []
        sent = 0
        with self._faults(self._timeout):
            while len(replies) < len(requests):
                ahead = requests[sent : len(replies) + WINDOW]
                if ahead:
                    self._send(b"".join(ahead))
                    sent += len(ahead)
                replies.append(self._receive(self._timeout))
        return replies

    def begin(self, request: bytes) -> None:
        """Ask what many messages answer; `listen` gives them."""
        with self._faults(self._timeout):
            self._send(request)

    def listen(self, secs: float) -> bytes:
        """The body of the next message, which comes within that time."""
        with self._faults(secs):
            return self._receive(secs)

    def interrupt(self) -> None:
        """End it from another thread: who waits for a message finds it lost."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it; the daemon forgets what it hasn't answered."""
        self._socket.close()

    def _send(self, data: bytes) -> None:
        self._socket.settimeout(self._timeout)
        # Who refuses a connection may close it before reading; its last word is still to be read.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(data)

    def _receive(self, secs: float) -> bytes:
        deadline = time.monotonic() + secs
        while (body := self._frames.next()) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            data = self._socket.recv(READ_AHEAD)
            if not data:
                raise ConnectionResetError
            self._frames.feed(data)
        return body

    @contextmanager
    def _faults(self, secs: float) -> Iterator[None]:
        """What goes wrong inside, in our words."""
        try:
            yield
        except (OSError, TooLarge) as fault:
            raise fault_of(fault, self._address, secs) from None


def fault_of(fault: OSError | TooLarge, address: Address, secs: float) -> DaemonUnreachable:
    """What happened to a connection on which something was asked and nothing came in this time."""
    match fault:
        case TimeoutError():
            return DaemonUnreachable(f"the daemon at {address} gave no answer within {secs:g} s")
        case TooLarge():
            return DaemonUnreachable(f"what answers at {address} is not the daemon")
        case _:
            return ConnectionLost(f"the daemon at {address} ended the connection without an answer")


def is_over(connected: socket.socket) -> bool:
    """Has the other end hung up, or said something that nobody has read? Doesn't wait."""
    connected.settimeout(0)
    try:
        connected.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def connect(address: Address, timeout: float) -> socket.socket:
    """A connected socket; a refusal is tried once more: a daemon that restarts is soon back."""
    try:
        try:
            return _open(address, timeout)
        except ConnectionRefusedError:
            return _open(address, timeout)
    except OSError as error:
        from jarvis_secretsd.client.diagnosis import cannot_connect  # noqa: PLC0415  # on failure

        raise cannot_connect(address, error) from None


def _open(address: Address, timeout: float) -> socket.socket:
    if not isinstance(address, UnixAddress):
        # Nothing here asks a proxy.
        connected = socket.create_connection((address.host, address.port), timeout)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # A non-blocking connect fails at once where the backlog is full; one that blocks waits for
        # as long as a send may (unix(7)).
        wait = struct.pack("ll", int(timeout), int(timeout % 1 * 1_000_000))
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)
        opened.connect(address)
    except BaseException:
        opened.close()
        raise
    return opened
