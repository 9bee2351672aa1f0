"""The time: the wall clock that never goes back, and the monotonic one for waiting."""

from __future__ import annotations

import time
from datetime import UTC, datetime

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock:
    """The wall clock of this host, held at the highest time ever seen.

    A clock that is set back must not revive what has ended; `floor` is what an earlier run saw.
    """

    def __init__(self, floor: datetime = EPOCH) -> None:
        self._highest = floor

    def now(self) -> datetime:
        """The time in UTC, never below one that was given before."""
        self._highest = max(self._highest, datetime.now(UTC))
        return self._highest

    def monotonic(self) -> float:
        """Seconds for measuring waits; no step of the wall clock moves it."""
        return time.monotonic()
