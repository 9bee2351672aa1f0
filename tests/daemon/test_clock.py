"""The clock that decides what is over: no step of the wall clock ends anything, or revives it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jarvis_secretsd.daemon.clock import EPOCH, Clock

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


class Host:
    """A wall clock that anybody can set, and the time since boot, which nobody can."""

    def __init__(self) -> None:
        self.wall = NOON
        self.boot_time = 1000.0

    def clock(self, floor: datetime = EPOCH) -> Clock:
        """A clock of this host."""
        return Clock(
            floor, confirm_secs=60, wall=lambda: self.wall, boot_time=lambda: self.boot_time
        )

    def wait(self, seconds: float) -> None:
        """Both go on."""
        self.wall += timedelta(seconds=seconds)
        self.boot_time += seconds


@pytest.fixture
def host() -> Host:
    """A host at noon."""
    return Host()


def test_an_undisturbed_clock_is_the_wall_clock(host: Host) -> None:
    """Both times are the wall's, and stay it."""
    clock = host.clock()
    for _ in range(3):
        host.wait(86_400)
        assert clock.now() == clock.settled() == host.wall


def test_a_slewed_clock_is_followed(host: Host) -> None:
    """What gains a second an hour is never more than that behind the wall."""
    clock = host.clock()
    for _ in range(1000):
        host.wait(3600)
        host.wall += timedelta(seconds=1)
        assert clock.settled() == host.wall


@pytest.mark.parametrize("back", [timedelta(hours=1), timedelta(days=400), NOON - EPOCH])
def test_a_clock_that_is_set_back_goes_on(host: Host, back: timedelta) -> None:
    """It neither goes back, nor stands still until the wall has caught up."""
    clock = host.clock()
    before = clock.settled()
    host.wall -= back
    assert clock.settled() == clock.now() == before
    host.wait(3600)
    assert clock.settled() == clock.now() == before + timedelta(hours=1)


@pytest.mark.parametrize("ahead", [timedelta(days=1), timedelta(days=365 * 12)])
def test_a_jump_that_is_mended_in_time_was_never_believed(host: Host, ahead: timedelta) -> None:
    """An hour after a wrong server was asked once, nothing is a moment older than it is."""
    clock = host.clock()
    clock.settled()
    host.wall += ahead
    assert clock.settled() == NOON
    host.wait(59)
    assert clock.settled() == NOON + timedelta(seconds=59)
    host.wall -= ahead
    host.wait(3600)
    assert clock.settled() == NOON + timedelta(seconds=3659)


def test_what_comes_after_a_jump_is_dated_right_again(host: Host) -> None:
    """Not as of 2038 until the next start; while the jump lasts, as others date it."""
    clock = host.clock()
    clock.now()
    host.wall += timedelta(days=365 * 12)
    host.wait(10)
    assert clock.now() == host.wall
    host.wall -= timedelta(days=365 * 12)
    host.wait(10)
    assert clock.now() == host.wall == NOON + timedelta(seconds=20)


def test_a_jump_that_lasts_is_believed(host: Host) -> None:
    """A host that had no battery learns the date late; a minute later it counts."""
    clock = host.clock()
    clock.settled()
    host.wall += timedelta(days=21)
    assert clock.settled() == NOON
    assert clock.unconfirmed == 60
    host.wait(61)
    assert clock.settled() == host.wall
    assert clock.unconfirmed is None


def test_a_clock_that_jumps_about_is_not_believed(host: Host) -> None:
    """Two readings that contradict each other confirm nothing."""
    clock = host.clock()
    clock.settled()
    for _ in range(20):
        host.wall += timedelta(days=1)
        host.wait(30)
        assert clock.settled() == NOON + timedelta(seconds=host.boot_time - 1000)


def test_a_start_takes_up_the_time_where_the_last_run_left_it(host: Host) -> None:
    """After three weeks off the date counts a minute later; one before the last run never does."""
    clock = host.clock(floor=NOON - timedelta(days=21))
    assert clock.now() == NOON
    assert clock.settled() == NOON - timedelta(days=21)
    host.wait(60)
    assert clock.settled() == host.wall
    late = host.clock(floor=NOON + timedelta(days=2))
    assert late.now() == late.settled() == NOON + timedelta(days=2)
