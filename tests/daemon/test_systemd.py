"""What a service manager hands us and hears from us."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from jarvis_secretsd.daemon.systemd import Bulletin, Notifier, activated_sockets
from jarvis_secretsd.errors import StartRefused

CHILD = """
import os, socket, sys
from jarvis_secretsd.daemon.systemd import activated_sockets
from jarvis_secretsd.errors import StartRefused
handed = [int(each) for each in sys.argv[2:]]
for place, descriptor in enumerate([os.dup(each) for each in handed], start=3):
    os.dup2(descriptor, place)
environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "x", "KEPT": "1"}
environ["LISTEN_FDS"] = sys.argv[1]
try:
    for sock in activated_sockets(environ, os.getpid()):
        print(sock.fileno(), sock.getsockname(), os.get_inheritable(sock.fileno()), sorted(environ))
except StartRefused as error:
    print("refused:", error)
"""
"""Takes the listed descriptors as 3 and up, as a service manager would have left them."""


def child(number: str, *descriptors: int) -> list[str]:
    command = [sys.executable, "-c", CHILD, number, *map(str, descriptors)]
    return subprocess.check_output(command, pass_fds=descriptors, text=True).splitlines()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket that a service manager listens on for notifications."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def notifier(manager: socket.socket) -> Notifier:
    return Notifier.from_environ({"NOTIFY_SOCKET": manager.getsockname()}, 7)


def test_sockets_arrive_in_order_and_stay_with_us(tmp_path: Path) -> None:
    """They are close-on-exec, and no variable about them is left for a child to read."""
    with socket.socket(socket.AF_UNIX) as unix, socket.create_server(("127.0.0.1", 0)) as tcp:
        unix.bind(str(tmp_path / "s"))
        told = child("2", unix.fileno(), tcp.fileno())
        assert told == [
            f"3 {unix.getsockname()} False ['KEPT']",
            f"4 {tcp.getsockname()} False ['KEPT']",
        ]


def test_what_is_no_socket_is_refused(tmp_path: Path) -> None:
    """A regular file, or nothing, where a listener was announced, stops the start."""
    with (tmp_path / "file").open("w") as file:
        assert child("1", file.fileno())[0].startswith("refused: descriptor 3 ")
    assert child("40")[0].startswith("refused: descriptor 3 ")


@pytest.mark.parametrize("number", ["abc", "-1", "1.5", "٣", "65", "99999999999999999999"])
def test_a_number_that_is_none_is_refused(number: str) -> None:
    """Garbage in LISTEN_FDS is told, not guessed at."""
    with pytest.raises(StartRefused, match="LISTEN_FDS="):
        activated_sockets({"LISTEN_PID": "7", "LISTEN_FDS": number}, 7)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_FDS": "2"},
        {"LISTEN_PID": "8", "LISTEN_FDS": "2"},
        {"LISTEN_PID": "7", "LISTEN_FDS": "0"},
        {"LISTEN_PID": "7"},
        {"LISTEN_PID": "8", "LISTEN_FDS": "abc"},
    ],
)
def test_what_is_not_for_us_is_left_alone(environ: dict[str, str]) -> None:
    """Without sockets, or with another process's, we are as if started by hand."""
    assert activated_sockets(environ, 7) == ()
    assert environ == {}


def test_the_manager_hears_how_we_are(manager: socket.socket) -> None:
    """Ready, reloading, stopping, alive, and a line for people, as sd_notify(3) spells them."""
    ours = notifier(manager)
    ours.ready("serving 3 secrets")
    ours.reloading(1_234_567_890)
    ours.stopping()
    ours.alive()
    ours.status("disk full")
    assert [manager.recv(4096) for _ in range(5)] == [
        b"READY=1\nSTATUS=serving 3 secrets",
        b"RELOADING=1\nMONOTONIC_USEC=1234567",
        b"STOPPING=1",
        b"WATCHDOG=1",
        b"STATUS=disk full",
    ]


def test_a_status_is_one_line(manager: socket.socket) -> None:
    """A line break in a message can't say something else to the manager."""
    notifier(manager).status("x\nMAINPID=1")
    assert manager.recv(4096) == b"STATUS=x MAINPID=1"


def test_an_abstract_address_is_reached() -> None:
    """`@name` is a name in the abstract namespace (unix(7))."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0jarvis-notify-test")
        sock.settimeout(5)
        Notifier.from_environ({"NOTIFY_SOCKET": "@jarvis-notify-test"}, 7).alive()
        assert sock.recv(100) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    "address", ["", "/nowhere/at/all", "vsock:2:1", "@jarvis-nobody", "relative"]
)
def test_without_a_manager_nothing_happens(address: str) -> None:
    """A daemon that was started by hand, or whose manager is gone, goes on."""
    Notifier.from_environ({"NOTIFY_SOCKET": address} if address else {}, 7).ready()


def test_a_manager_that_does_not_read_does_not_stop_us(manager: socket.socket) -> None:
    """A full queue loses the message instead of the loop's time."""
    ours = notifier(manager)
    for _ in range(10_000):
        ours.alive()


@pytest.mark.parametrize(
    ("environ", "secs"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdogs_time_is_read(environ: dict[str, str], secs: float | None) -> None:
    """How often the manager wants to hear of us, and only if it means this process."""
    assert Notifier.from_environ(environ, 7).watchdog_secs == secs
    assert environ == {}


class Watched:
    """A bulletin for a manager, at a time that a test sets."""

    def __init__(self, manager: socket.socket, watchdog: str = "") -> None:
        environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": watchdog}
        manager.setblocking(False)
        self._manager = manager
        self.now = 1000.0
        self.line = "serving 0 secrets"
        ours = Notifier.from_environ(environ, 7)
        self.bulletin = Bulletin(ours, lambda: self.now, lambda: self.line)

    def heard(self) -> list[str]:
        """What has come since the last look."""
        said: list[str] = []
        with suppress(BlockingIOError):
            while True:
                said.append(self._manager.recv(4096).decode())
        return said


def test_an_unchanged_line_is_told_once(manager: socket.socket) -> None:
    """Turns in which nothing changes cost no message and no wake-up."""
    us = Watched(manager)
    us.bulletin.ready()
    for us.now in (1000.0, 1001.0, 1002.0):
        us.bulletin.tell()
    assert us.heard() == ["READY=1\nSTATUS=serving 0 secrets"]
    assert us.bulletin.next_at() is None


def test_nothing_is_told_before_we_are_ready(manager: socket.socket) -> None:
    """Chores of the start neither feed the watchdog nor say that anything is served."""
    us = Watched(manager, "1000000")
    us.bulletin.tell()
    assert us.heard() == []


def test_a_line_that_changes_often_is_told_once_a_second(manager: socket.socket) -> None:
    """The last change is told, and the loop is woken for that."""
    us = Watched(manager)
    us.bulletin.ready()
    us.now += 10
    for number in range(5):
        us.line = f"serving {number + 1} secrets"
        us.bulletin.tell()
    assert us.heard()[1:] == ["STATUS=serving 1 secrets"]
    woken = us.bulletin.next_at()
    assert woken == us.now + 1
    us.now = woken
    us.bulletin.tell()
    assert us.heard() == ["STATUS=serving 5 secrets"]
    assert us.bulletin.next_at() is None


def test_the_watchdog_is_fed_twice_in_its_time(manager: socket.socket) -> None:
    """The loop is woken for it, also where nothing else is due, and other turns don't feed it."""
    us = Watched(manager, "10000000")
    us.bulletin.ready()
    us.bulletin.tell()
    us.now += 1
    us.bulletin.tell()
    assert us.heard()[1:] == ["WATCHDOG=1"]
    assert us.bulletin.next_at() == 1005.0
    us.now = 1005.0
    us.bulletin.tell()
    assert us.heard() == ["WATCHDOG=1"]
    assert us.bulletin.next_at() == 1010.0


def test_without_a_manager_the_loop_is_never_woken() -> None:
    """A watchdog's time without an address to tell is nobody's."""
    bulletin = Bulletin(Notifier(None, 1.0), lambda: 0.0, lambda: "fine")
    bulletin.ready()
    bulletin.tell()
    assert bulletin.next_at() is None


def test_a_reload_that_failed_stays_in_the_line_until_one_succeeds(manager: socket.socket) -> None:
    """A manager that waits for the reload hears that it is over either way."""
    us = Watched(manager)
    us.bulletin.ready()
    us.heard()
    us.bulletin.reloading()
    us.bulletin.reloaded("policy.yaml:3: what is this?")
    us.line = "serving 1 secrets"
    us.now += 1
    us.bulletin.tell()
    us.bulletin.reloaded(None)
    fault = "; policy not reloaded: policy.yaml:3: what is this?"
    assert us.heard() == [
        "RELOADING=1\nMONOTONIC_USEC=1000000000",
        f"READY=1\nSTATUS=serving 0 secrets{fault}",
        f"STATUS=serving 1 secrets{fault}",
        "READY=1\nSTATUS=serving 1 secrets",
    ]


def test_what_ends_us_is_told(manager: socket.socket) -> None:
    """The manager shows the reason, cut to what a message may hold, and the failure goes on."""
    with pytest.raises(StartRefused), notifier(manager).told_of_faults():
        raise StartRefused("x" * 5000)
    assert manager.recv(8192) == b"STATUS=ended: " + b"x" * 986
