"""Who has waited too long, found without looking at everyone."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

Waiter = TypeVar("Waiter")


class Timeouts(Generic[Waiter]):
    """Waiters by the moment since when they wait, oldest first. Moments are monotonic seconds."""

    def __init__(self, secs: float) -> None:
        self._secs = secs
        self._since: OrderedDict[Waiter, float] = OrderedDict()

    def start(self, waiter: Waiter, now: float) -> None:
        """The wait begins, unless it has begun already."""
        self._since.setdefault(waiter, now)

    def restart(self, waiter: Waiter, now: float) -> None:
        """The wait begins anew."""
        self._since[waiter] = now
        self._since.move_to_end(waiter)

    def cancel(self, waiter: Waiter) -> None:
        """The wait is over."""
        self._since.pop(waiter, None)

    def next_at(self) -> float | None:
        """When the next waiter has waited too long."""
        for since in self._since.values():
            return since + self._secs
        return None

    def expired(self, now: float, limit: int | None = None) -> list[Waiter]:
        """Those that have waited too long (`limit` at the most), who are waiters no more."""
        late: list[Waiter] = []
        for waiter, since in self._since.items():
            if now < since + self._secs or len(late) == limit:
                break
            late.append(waiter)
        for waiter in late:
            del self._since[waiter]
        return late
