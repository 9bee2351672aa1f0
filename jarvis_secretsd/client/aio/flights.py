"""One question for all tasks that have it at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Hashable
from typing import Any

from jarvis_secretsd.values import SecretValue


class AsyncFlights:
    """Who asks what is being asked for already waits for that answer. For one event loop."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Task[SecretValue]] = {}

    async def share(self, key: Hashable, fetch: Coroutine[Any, Any, SecretValue]) -> SecretValue:
        """What `fetch` gives or raises, run once for all who come with this key meanwhile.

        Whoever is cancelled leaves the others their answer.
        """
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(fetch)
            task.add_done_callback(lambda landed: self._land(key, landed))
        else:
            fetch.close()
        return await asyncio.shield(task)

    def _land(self, key: Hashable, task: asyncio.Task[SecretValue]) -> None:
        del self._under_way[key]
        if not task.cancelled():
            task.exception()  # seen, also if all who asked were cancelled
