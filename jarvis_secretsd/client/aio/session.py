"""Asking the daemon from an event loop, over one connection that is made when needed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from jarvis_secretsd import messages as m
from jarvis_secretsd.client.access import Access
from jarvis_secretsd.client.aio.connection import AsyncConnection
from jarvis_secretsd.client.errors import (
    ConnectionLost,
    DaemonUnreachable,
    NoDaemon,
    SecretsClientError,
    error_of,
)
from jarvis_secretsd.client.questions import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    answers_in,
    framed,
    is_confidential,
    is_repeatable,
)

R = TypeVar("R", bound=m.Result)
T = TypeVar("T")


class AsyncSession:
    """One connection's questions, one at a time, for the tasks of one event loop.

    `changed` is called after each question that may have changed something.
    """

    def __init__(self, access: Access, changed: Callable[[], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self._access = access
        self._changed = changed
        self._connection: AsyncConnection | None = None
        self._lock = asyncio.Lock()

    async def ask(self, operation: m.Operation, result: type[R]) -> R:
        """What one operation gives. Raises SecretsClientError."""
        (reply,) = await self._exchange((operation,), result)
        if isinstance(reply, m.Failure):
            raise error_of(reply)
        return reply

    async def ask_all(
        self, operations: Sequence[m.Operation], result: type[R]
    ) -> tuple[R | SecretsClientError, ...]:
        """What each operation gives, in order; a refusal stands in its place."""
        replies = await self._exchange(operations, result)
        return tuple(
            error_of(reply) if isinstance(reply, m.Failure) else reply for reply in replies
        )

    def hang_up(self) -> None:
        """End the connection. The next question makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    async def _exchange(
        self, operations: Sequence[m.Operation], result: type[R]
    ) -> tuple[R | m.Failure, ...]:
        requests = [framed(operation, self._access) for operation in operations]
        repeatable = all(map(is_repeatable, operations))
        is_secret = any(is_confidential(operation, self._access) for operation in operations)

        async def converse() -> Sequence[bytes]:
            return await self._converse(requests, is_secret)

        async with self._lock:
            try:
                bodies = await converse()
            except ConnectionLost:
                if not repeatable:
                    raise
                # A daemon that ends takes connections that it doesn't answer any more.
                bodies = await self._patiently(converse, ConnectionLost)
            finally:
                if not repeatable:
                    self._changed()
            try:
                return answers_in(bodies, result, self._access.address)
            except DaemonUnreachable:
                self.hang_up()
                raise

    async def _converse(self, requests: Sequence[bytes], is_secret: bool) -> Sequence[bytes]:
        try:
            connection = await self._patiently(lambda: self._connected(is_secret), NoDaemon)
            return await connection.converse(requests)
        except BaseException:  # an answer may still come, and would be taken for the next one's
            self.hang_up()
            raise

    async def _connected(self, is_secret: bool) -> AsyncConnection:
        if self._connection is None or self._connection.is_stale():
            self.hang_up()
            self._connection = await AsyncConnection.open(self._access)
        if is_secret:
            await self._connection.check_owner()
        return self._connection

    async def _patiently(
        self, act: Callable[[], Awaitable[T]], passing: type[DaemonUnreachable]
    ) -> T:
        """What `act` gives; while it fails in this way, it is tried again until `wait` is over."""
        deadline = self.loop.time() + self._access.wait
        pause = FIRST_PAUSE
        while True:
            try:
                return await act()
            except passing:
                left = deadline - self.loop.time()
                if left <= 0:
                    raise
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)
