"""The helper that runs the real daemon: it starts, ends and fails as the tests rely on."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.daemon_process import DaemonDidNotStart, DaemonProcess

MakeDaemon = Callable[..., DaemonProcess]


def test_a_daemon_can_be_ended_and_started_again(daemon: DaemonProcess) -> None:
    """After a stop or a kill another process serves the same state."""
    first = daemon.pid
    daemon.restart()
    assert daemon.pid != first
    assert daemon.kill() == -signal.SIGKILL
    daemon.start()
    daemon.connect().close()
    assert daemon.stop() == 0


@pytest.mark.parametrize("server", [{"bind_addr": ""}, {"allow_unix_socket": False}])
def test_a_daemon_with_one_listener_is_ready_too(
    make_daemon: MakeDaemon, server: dict[str, str | bool]
) -> None:
    """Only the listeners that the configuration asks for are waited for."""
    daemon = make_daemon(settings={"server": server})
    daemon.start()
    daemon.connect().close()


def test_a_refused_start_says_what_the_daemon_said(make_daemon: MakeDaemon) -> None:
    """The failure carries the exit status and the daemon's own words."""
    with pytest.raises(DaemonDidNotStart, match=r"(?s)exit status 78.*policy\.yaml:1"):
        make_daemon(policy="nonsense").start()


@pytest.mark.root
def test_a_daemon_runs_as_another_user(make_daemon: MakeDaemon) -> None:
    """Its vault belongs to the uid that was asked for."""
    daemon = make_daemon(uid=4242)
    daemon.start()
    assert daemon.vault_path.stat().st_uid == 4242
