"""The time: the wall clock, and a steadier one that decides what is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

STEP = timedelta(minutes=5)
"""More than a clock is ever slewed by: what goes further ahead at once has jumped."""

CONFIRM_SECS = 60.0
"""How long a jump must last before it is believed: who sets a clock wrong mends it, or a server
that was wrong once is asked again."""


def _wall() -> datetime:
    return datetime.now(UTC)


def _boot_time() -> float:
    """Seconds since boot, suspend included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Clock:
    """The wall clock of this host, and the time by which graces end and secrets fall due.

    A clock that is set back must not revive what has ended, and one that jumps ahead must not end
    anything: `settled` runs on by the time since boot, and follows a jump only when it is still
    there after `confirm_secs`. `floor` is the highest time that an earlier run saw.
    """

    def __init__(
        self,
        floor: datetime = EPOCH,
        *,
        confirm_secs: float = CONFIRM_SECS,
        wall: Callable[[], datetime] = _wall,
        boot_time: Callable[[], float] = _boot_time,
    ) -> None:
        self._wall = wall
        self._boot_time = boot_time
        self._confirm = timedelta(seconds=confirm_secs)
        self._highest = floor
        self._anchor = floor if floor > EPOCH else wall()
        self._anchored_at = boot_time()
        self._jump: tuple[timedelta, datetime] | None = None

    def now(self) -> datetime:
        """The wall clock in UTC; one that was set back goes on where it was.

        A jump that hasn't lasted yet is followed only while it is there: what is dated by it is
        dated as others date it, and what comes after it isn't.
        """
        self._highest = max(self._highest, self.settled())
        return max(self._highest, self._wall())

    def settled(self) -> datetime:
        """The time that decides what is over: it never goes back, and jumps only when sure."""
        passed = timedelta(seconds=self._boot_time() - self._anchored_at)
        steady, wall = self._anchor + passed, self._wall()
        ahead = wall - steady
        if ahead <= STEP or self._is_confirmed(ahead, steady):
            self._jump = None
            if ahead > timedelta():
                self._anchor, self._anchored_at = wall, self._boot_time()
                return wall
        return steady

    def monotonic(self) -> float:
        """Seconds for measuring waits; no step of the wall clock moves it."""
        return time.monotonic()

    @property
    def unconfirmed(self) -> float | None:
        """Seconds until a jump that was seen may be believed; None: there was none."""
        if self._jump is None:
            return None
        steady = self._anchor + timedelta(seconds=self._boot_time() - self._anchored_at)
        return max(0.0, (self._jump[1] + self._confirm - steady).total_seconds())

    def _is_confirmed(self, ahead: timedelta, steady: datetime) -> bool:
        """Is this the jump that was seen before, and has it lasted?"""
        if self._jump is None or abs(ahead - self._jump[0]) > STEP:
            self._jump = ahead, steady
        return steady - self._jump[1] >= self._confirm
