"""To be told what changes, in an event loop."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from jarvis_secretsd import messages as m
from jarvis_secretsd.client.aio.connection import AsyncConnection
from jarvis_secretsd.client.errors import SecretsClientError
from jarvis_secretsd.client.picture import Kids, Picture
from jarvis_secretsd.client.questions import framed
from jarvis_secretsd.client.watching import Patience, told_in

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from jarvis_secretsd.client.access import Access
    from jarvis_secretsd.client.cache import Cache
    from jarvis_secretsd.values import SecretName


class AsyncWatch:
    """What changes, as it happens: as `Watch`, for `async for`.

    A wait that is cancelled loses nothing: the next one goes on from there. `close` ends it, also
    for a task that waits.
    """

    def __init__(
        self,
        access: Access,
        names: tuple[SecretName, ...],
        cache: Cache,
        wait: float | None = None,
    ) -> None:
        self._access = access
        self._names = names
        self._cache = cache
        self._picture = Picture()
        self._patience = Patience(access.wait if wait is None else wait)
        self._connection: AsyncConnection | None = None
        self._closed = asyncio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Kids:
        while not self._closed.is_set():
            is_first = self._picture.seq is None
            try:
                news = self._picture.take(await self._listen())
            except SecretsClientError as error:
                self._hang_up()
                if self._closed.is_set():
                    break
                await self._wait(error)
            except BaseException:  # a message may be read in part, and lost with who read it
                self._hang_up()
                raise
            else:
                if news is not None:
                    self._cache.take(news, is_first=is_first)
                    return news
        self._hang_up()
        raise StopAsyncIteration

    def close(self) -> None:
        """End it; who waits for a change waits no longer."""
        self._closed.set()
        if self._connection is not None:
            self._connection.interrupt()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        self._hang_up()

    async def _listen(self) -> m.Told:
        connection = self._connection or await self._connect()
        body = await connection.listen(self._patience.silence(self._access.timeout))
        told = told_in(body, self._access)
        self._patience.hear(told)
        return told

    async def _connect(self) -> AsyncConnection:
        """A connection on which the messages come, from where we are."""
        access = self._access
        self._picture.begin()
        self._patience.begin()
        self._connection = connection = await AsyncConnection.open(access)
        if self._closed.is_set():  # it was closed while there was no connection to interrupt
            connection.interrupt()
        if access.token is not None:
            await connection.check_owner()
        await connection.begin(framed(m.Watch(self._names, self._picture.seq), access))
        return connection

    async def _wait(self, error: SecretsClientError) -> None:
        """Until the next attempt. Raises the error where there is none."""
        pause = self._patience.after(error, asyncio.get_running_loop().time())
        if pause is None:
            self._closed.set()
            raise error
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closed.wait(), pause)

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
