"""What a service manager hears from a daemon that it has started (sd_notify(3))."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jarvis_secretsd.client import SecretsClient
from tests.daemon_process import DaemonDidNotStart, DaemonProcess

MakeDaemon = Callable[..., DaemonProcess]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Where a service manager listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(10)
        yield sock


@pytest.fixture
def managed(make_daemon: MakeDaemon, manager: socket.socket) -> DaemonProcess:
    """A daemon that such a manager will start, with a watchdog of a second."""
    environment = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "1000000"}
    return make_daemon(environment=environment)


def hear(manager: socket.socket) -> str:
    """The next message that doesn't only feed the watchdog."""
    while (said := manager.recv(4096).decode()) == "WATCHDOG=1":
        pass
    return said


def test_a_life_is_told_in_order(managed: DaemonProcess, manager: socket.socket) -> None:
    """Ready, a change of what is served, a reload from its beginning to its end, and the stop."""
    managed.start()
    assert hear(manager) == "READY=1\nSTATUS=serving 0 secrets"
    with SecretsClient(str(managed.socket_path), client_id="admin") as admin:
        admin.put("a", "1")
    assert hear(manager) == "STATUS=serving 1 secrets"
    before = time.monotonic_ns() // 1000
    managed.reload()
    begun, _, moment = hear(manager).partition("\nMONOTONIC_USEC=")
    assert begun == "RELOADING=1"
    assert before <= int(moment) <= time.monotonic_ns() // 1000
    assert hear(manager) == "READY=1\nSTATUS=serving 1 secrets"
    managed.stop()
    assert hear(manager) == "STOPPING=1"


def test_a_policy_that_cannot_be_read_ends_the_reload_too(
    managed: DaemonProcess, manager: socket.socket
) -> None:
    """Who waits for the reload hears its end, and in which line of the policy it failed."""
    managed.start()
    hear(manager)
    managed.write_policy("clients:\n  admin: 5\n")
    managed.reload()
    assert hear(manager).startswith("RELOADING=1\n")
    said = hear(manager)
    assert said.startswith("READY=1\nSTATUS=serving 0 secrets; policy not reloaded")
    assert "policy.yaml:2" in said
    assert "\n" not in said.removeprefix("READY=1\n")


def test_an_idle_daemon_feeds_its_watchdog_and_a_stopped_one_does_not(
    managed: DaemonProcess, manager: socket.socket
) -> None:
    """Twice in its time without any work, and never from another thread than the loop's."""
    managed.start()
    hear(manager)
    began = time.monotonic()
    assert [manager.recv(100) for _ in range(4)] == [b"WATCHDOG=1"] * 4
    assert 1.0 < time.monotonic() - began < 4.0
    os.kill(managed.pid, signal.SIGSTOP)
    manager.settimeout(1.5)
    with pytest.raises(TimeoutError):
        while True:
            manager.recv(100)
    os.kill(managed.pid, signal.SIGCONT)


def test_a_refused_start_is_told(managed: DaemonProcess, manager: socket.socket) -> None:
    """The manager shows why, without a look into the log."""
    managed.write_policy("clients: {}\nclients: {}\n")
    with pytest.raises(DaemonDidNotStart, match="exit status 78"):
        managed.start()
    assert hear(manager).startswith("STATUS=ended: policy.yaml")
