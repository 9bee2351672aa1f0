"""A locked daemon: what is held back, and that a restart doesn't unlock it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.daemon_process import DaemonProcess
from tests.e2e.callers import LISTENERS, Caller
from tests.e2e.evidence import assert_intact, entries_of
from tests.e2e.test_watch import Follower


@pytest.fixture
def admin(daemon: DaemonProcess) -> Iterator[Caller]:
    """Who may lock it; it has a secret."""
    with Caller(daemon) as admin:
        admin.ask("put", name="a", value="1")
        yield admin


@pytest.mark.parametrize("way", LISTENERS)
def test_a_locked_daemon_says_why_it_gives_nothing(
    daemon: DaemonProcess, admin: Caller, way: str
) -> None:
    """503 with the reason, for reads and for its health, in every dialect."""
    admin.ask("lock")
    with Caller(daemon, way) as caller:
        reply = caller.ask("get", name="a")
        assert (reply.outcome, reply.body["reason"]) == ("unavailable", "locked")
        health = caller.ask("health")
        assert health.body["status"] == "locked"
        assert health.outcome in {"ok", "locked"}  # a frame has no status of its own
        admin.ask("unlock")
        assert caller.ask("get", name="a").body["value"] == "1"
        assert caller.ask("health").outcome == "ok"


def test_a_restart_doesnt_unlock_it(daemon: DaemonProcess, admin: Caller) -> None:
    """Not even one without a clean stop: it is a record of the vault."""
    admin.ask("lock")
    daemon.kill()
    daemon.start()
    with Caller(daemon) as caller:
        assert caller.ask("get", name="a").outcome == "unavailable"
        assert caller.ask("unlock").body == {"locked": False}
    daemon.restart()
    with Caller(daemon) as caller:
        assert caller.ask("get", name="a").body["value"] == "1"
    assert [entry["op"] for entry in entries_of(daemon, outcome="allowed", client="admin")] == [
        "put",
        "lock",
        "unlock",
        "get",
    ]
    daemon.stop()
    assert_intact(daemon)


@pytest.fixture(params=["frames", "http"])
def way(request: pytest.FixtureRequest) -> str:
    """Each dialect."""
    return str(request.param)


def kids(message: object) -> dict[str, str | None]:
    """What a message tells of secrets."""
    assert isinstance(message, dict)
    found: dict[str, str | None] = message["secrets"]
    return found


def test_who_watches_is_told_afterwards_what_changed_meanwhile(
    daemon: DaemonProcess, admin: Caller, way: str
) -> None:
    """Nothing while it is locked; then all of it in one message, the last state of each."""
    with Follower(daemon, way) as follower:
        before = kids(follower.news())["a"]
        admin.ask("lock")
        admin.ask("put", name="a", value="2")
        newest = admin.ask("put", name="a", value="3").body["kid"]
        admin.ask("put", name="b", value="1")
        admin.ask("delete", name="b")
        assert status_of(admin) == "locked"
        admin.ask("unlock")
        told = kids(follower.news())
        assert told == {"a": newest, "b": None}
        assert newest != before


def status_of(admin: Caller) -> str:
    """How the daemon is; a turn later, whoever was to be told something would have been."""
    return str(admin.ask("health").body["status"])


def test_a_watch_that_begins_under_the_lock_begins_with_the_unlocking(
    daemon: DaemonProcess, admin: Caller, way: str
) -> None:
    """It is no error, so that a program may start; it is told when there is something to fetch."""
    admin.ask("lock")
    with Follower(daemon, way, ["a"]) as follower:
        kid = admin.ask("put", name="a", value="2").body["kid"]
        follower.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            follower.next()
            follower.next()  # the first may be the empty beginning
    with Follower(daemon, way, ["a"]) as follower:
        admin.ask("unlock")
        assert kids(follower.news()) == {"a": kid}
        kid = admin.ask("put", name="a", value="3").body["kid"]
        assert kids(follower.news()) == {"a": kid}


def test_a_locked_daemon_doesnt_spin(daemon: DaemonProcess, admin: Caller, way: str) -> None:
    """What is held back wakes nobody."""
    admin.ask("lock")
    with Follower(daemon, way):
        admin.ask("put", name="a", value="2")
        before = ticks(daemon)
        with Caller(daemon) as patient:
            patient.wire.sock.settimeout(0.5)
            with pytest.raises(TimeoutError):
                patient.wire.frame()
        assert ticks(daemon) - before < 10


def ticks(daemon: DaemonProcess) -> int:
    """The processor time that the daemon has used, in ticks of 10 ms (proc_pid_stat(5))."""
    with open(f"/proc/{daemon.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
