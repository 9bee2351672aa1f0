"""The unit of a peer: what counts as one on a cgroup's path, and who is asked about."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from msgspec.structs import replace

from jarvis_secretsd.daemon import units
from jarvis_secretsd.daemon.peers import unix_peer
from jarvis_secretsd.daemon.units import service_on, unit_of
from jarvis_secretsd.domain.peer import Peer

BACKEND = "/system.slice/backend.service"

NO_SUCH_OPTION = 0x7FFF
"""What SO_PEERPIDFD is to Linux below 6.5."""


@contextmanager
def child() -> Iterator[tuple[socket.socket, Peer, int]]:
    """A process that connected to us: our end, who it is, and its pid. It is reaped by the test."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0jarvis-units-{os.getpid()}")
        listener.listen()
        near = socket.socket(socket.AF_UNIX)
        pid = os.fork()
        if not pid:
            near.connect(listener.getsockname())
            near.recv(1)
            os._exit(0)
        with near, listener.accept()[0] as far:
            peer = unix_peer(far)
            assert peer is not None and peer.pid == pid
            yield far, peer, pid


def end(far: socket.socket, pid: int, *, reap: bool) -> None:
    """The process ends; unless it is reaped, it stays as a zombie."""
    far.sendall(b".")
    os.waitid(os.P_PID, pid, os.WEXITED | (0 if reap else os.WNOWAIT))


@pytest.fixture
def everybody_is_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever process has the number now, it is in backend.service."""
    monkeypatch.setattr(units, "_cgroup", lambda _pid: BACKEND)


@pytest.fixture(params=[units.SO_PEERPIDFD, NO_SUCH_OPTION], ids=["6.5", "before"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """A kernel that gives the peer's pidfd, and one that doesn't know how."""
    monkeypatch.setattr(units, "SO_PEERPIDFD", request.param)
    return int(request.param)


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        (BACKEND, "backend.service"),
        ("/system.slice/system-web.slice/web@1.service", "web@1.service"),
        ("/system.slice/system-a.slice/system-a-b.slice/c.service", "c.service"),
        ("/system.slice/backend.service/payload/other.service", "backend.service"),
        ("/system.slice/backend.service/system.slice/other.service", "backend.service"),
        (r"/system.slice/a\x2db.service", r"a\x2db.service"),
        ("/system.slice/_cpu.service", "cpu.service"),
        ("/system.slice/__x.service", "_x.service"),
        ("/", None),
        ("", None),
        ("/system.slice", None),
        ("/system.slice/", None),
        ("/init.scope", None),
        ("/backend.service", None),
        ("/backend.slice/backend.service", None),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/backend.service", None),
        ("/user.slice/user-1000.slice/session-1.scope/system.slice/backend.service", None),
        ("/machine.slice/m.service/payload/system.slice/backend.service", None),
        ("/system.slice/docker-0123.scope/system.slice/backend.service", None),
        ("/system.slice/docker/backend.service", None),
        ("/docker/0123/system.slice/backend.service", None),
        ("/../system.slice/backend.service", None),
        ("/system.slice/../backend.service", None),
        ("/system.slicex/backend.service", None),
        ("system.slice/backend.service", None),
        ("/x/system.slice/backend.service", None),
        ("/system.slice/backend.service (deleted)", None),
        ("/system.slice/backend.services", None),
        ("/system.slice/\udcff.service", None),
    ],
)
def test_a_service_is_the_first_below_system_slice(path: str, unit: str | None) -> None:
    """Only slices may lie before it; what lies behind is its own, whatever it is called."""
    assert service_on(path) == unit


def test_who_is_in_no_service_has_no_unit(kernel: int) -> None:
    """The peer's own cgroup is read: here it is that of these tests."""
    with open("/proc/self/cgroup") as file:
        own = next((line[3:-1] for line in file if line.startswith("0::")), "")
    with child() as (far, peer, pid):
        assert unit_of(far, peer) == service_on(own)
        end(far, pid, reap=True)


@pytest.mark.usefixtures("everybody_is_backend")
def test_a_peer_that_lives_is_known(kernel: int) -> None:
    """On kernels that give its pidfd, and on those where it is opened by the number."""
    with child() as (far, peer, pid):
        assert unit_of(far, peer) == "backend.service"
        end(far, pid, reap=True)


@pytest.mark.usefixtures("everybody_is_backend")
@pytest.mark.parametrize("reap", [True, False], ids=["reaped", "zombie"])
def test_the_number_of_a_dead_peer_says_nothing(kernel: int, reap: bool) -> None:
    """It may be another's by now, as here, where whoever has it is in the unit."""
    with child() as (far, peer, pid):
        end(far, pid, reap=reap)
        assert unit_of(far, peer) is None
        if not reap:
            os.waitpid(pid, 0)


@pytest.mark.usefixtures("everybody_is_backend")
def test_a_peer_that_ends_while_it_is_looked_at_says_nothing(
    kernel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number may have passed on just before the cgroup was read."""
    with child() as (far, peer, pid):

        def late(_pid: int) -> str:
            end(far, pid, reap=True)
            return BACKEND

        monkeypatch.setattr(units, "_cgroup", late)
        assert unit_of(far, peer) is None


@pytest.mark.usefixtures("everybody_is_backend")
def test_before_6_5_the_number_must_be_of_the_peer_s_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that passed on to another user's process is not the peer."""
    monkeypatch.setattr(units, "SO_PEERPIDFD", NO_SUCH_OPTION)
    with child() as (far, peer, pid):
        for other in (replace(peer, uid=(peer.uid or 0) + 1), replace(peer, gid=4711)):
            assert unit_of(far, other) is None
        end(far, pid, reap=True)


@pytest.mark.usefixtures("everybody_is_backend")
def test_a_peer_of_another_pid_namespace_has_no_unit() -> None:
    """It has no number here, so nothing can be read of it."""
    with child() as (far, peer, pid):
        assert unit_of(far, replace(peer, pid=None)) is None
        end(far, pid, reap=True)


def test_without_the_unified_hierarchy_nobody_has_a_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the older hierarchies users may hold parts that nobody meant them to."""
    text = b"5:pids:/system.slice/backend.service\n1:name=systemd:/system.slice/backend.service\n"
    monkeypatch.setattr(units, "_proc", lambda _pid, _name: text)
    assert units._cgroup(1) == ""
    monkeypatch.setattr(units, "_proc", lambda _pid, _name: text + f"0::{BACKEND}\n".encode())
    assert units._cgroup(1) == BACKEND


def test_nothing_is_left_open_of_asking() -> None:
    """Each question closes its pidfd, whatever came of it."""
    with child() as (far, peer, pid):
        before = os.listdir("/proc/self/fd")
        for _ in range(3):
            unit_of(far, peer)
        assert os.listdir("/proc/self/fd") == before
        end(far, pid, reap=True)
