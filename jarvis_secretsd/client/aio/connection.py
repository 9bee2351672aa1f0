"""One connection to the daemon that speaks frames, for an event loop. Not for two tasks at once."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Self

from jarvis_secretsd.client.access import Access
from jarvis_secretsd.client.address import UnixAddress
from jarvis_secretsd.client.connection import READ_AHEAD, WINDOW, connect, fault_of, is_over
from jarvis_secretsd.errors import TooLarge
from jarvis_secretsd.wire.frames import Frames


class AsyncConnection:
    """A connected socket. Raises DaemonUnreachable from every method that waits; close it then."""

    def __init__(self, connected: socket.socket, access: Access) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._access = access
        self._frames = Frames()
        address = access.address
        self._is_trusted = isinstance(address, UnixAddress) or not address.is_loopback

    @classmethod
    async def open(cls, access: Access) -> Self:
        """A new connection. Raises DaemonUnreachable."""
        # In a thread: a Unix socket whose backlog is full can only be waited for by blocking.
        return cls(await asyncio.to_thread(connect, access.address, access.timeout), access)

    def is_stale(self) -> bool:
        """Has the daemon hung up, or said what nobody asked for, since the last reply?"""
        return is_over(self._socket)

    async def check_owner(self) -> None:
        """Raises UntrustedDaemon where the port may be a stranger's; see `client.owner`."""
        if not self._is_trusted:
            from jarvis_secretsd.client.owner import check_owner  # noqa: PLC0415  # TCP's alone

            access = self._access
            await asyncio.to_thread(check_owner, self._socket, access.daemon_uid, access.timeout)
            self._is_trusted = True

    async def converse(self, requests: Sequence[bytes]) -> list[bytes]:
        """The bodies of the replies to these frames, in order, each within the timeout."""
        replies: list[bytes] = []
        sent = 0
        while len(replies) < len(requests):
            ahead = requests[sent : len(replies) + WINDOW]
            if ahead:
                await self.begin(b"".join(ahead))
                sent += len(ahead)
            replies.append(await self.listen(self._access.timeout))
        return replies

    async def begin(self, request: bytes) -> None:
        """Ask what one or many messages answer; `listen` gives them."""
        async with self._faults(self._access.timeout):
            # Who refuses a connection may close it before reading; its last word is to be read.
            with suppress(BrokenPipeError, ConnectionResetError):
                await asyncio.get_running_loop().sock_sendall(self._socket, request)

    async def listen(self, secs: float) -> bytes:
        """The body of the next message, which comes within that time."""
        async with self._faults(secs):
            while (body := self._frames.next()) is None:
                data = await asyncio.get_running_loop().sock_recv(self._socket, READ_AHEAD)
                if not data:
                    raise ConnectionResetError
                self._frames.feed(data)
            return body

    def interrupt(self) -> None:
        """Let the task that waits for a message find it lost."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it; the daemon forgets what it hasn't answered."""
        self._socket.close()

    @asynccontextmanager
    async def _faults(self, secs: float) -> AsyncIterator[None]:
        """What takes longer than this, or goes wrong inside, in our words."""
        try:
            async with asyncio.timeout(secs):
                yield
        except (OSError, TooLarge) as fault:
            raise fault_of(fault, self._access.address, secs) from None
