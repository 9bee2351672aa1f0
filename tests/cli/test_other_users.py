"""What other users of the host read when they may not: what is in the way, and nothing else."""

from __future__ import annotations

import grp
import os
import subprocess
from collections.abc import Callable

import pytest

from tests.cli.terminal import PROGRAM
from tests.daemon_process import DaemonProcess
from tests.users import as_user

POLICY = """
clients:
  admin: {users: ["0"], permissions: [all], allow: ["*"]}
  backend: {users: ["1234"], allow: ["db/*"]}
  other: {users: ["1234"], allow: [api_key]}
"""
NAMES = ("db/main", "api_key")

pytestmark = pytest.mark.root("acts as users whom the socket or the policy shuts out")


@pytest.fixture
def shared(make_daemon: Callable[..., DaemonProcess]) -> DaemonProcess:
    """A daemon with two secrets, on a socket for all."""
    daemon = make_daemon(policy=POLICY)
    daemon.start()
    for name in NAMES:
        assert _ask(daemon, 0, "admin", "put", name, "--generate", "password")[0] == 0
    return daemon


def _ask(daemon: DaemonProcess, uid: int, client: str, *command: str) -> tuple[int, str, str]:
    environ = {"PATH": os.environ["PATH"], "JARVIS_SECRETS_SOCKET": str(daemon.socket_path)}
    done = subprocess.run(
        [*PROGRAM, *command],
        env={**environ, **({"JARVIS_CLIENT_ID": client} if client else {})},
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        **as_user(uid),
    )
    return done.returncode, done.stdout, done.stderr


def test_a_denial_says_nothing_of_what_there_is(shared: DaemonProcess) -> None:
    """The same words for what is there and what isn't; the log has the line that would allow it."""
    there = _ask(shared, 1234, "backend", "get", "api_key")
    assert there[:2] == (4, "")
    assert "`jarvis-secrets whoami` shows your rights" in there[2]
    assert _ask(shared, 1234, "backend", "get", "none_such") == there
    assert "under clients.backend add api_key to `allow`" in shared.stderr


def test_who_may_be_several_is_asked_which(shared: DaemonProcess) -> None:
    """Without a client id the message leads to whoami, which names those that are possible."""
    status, _, told = _ask(shared, 1234, "", "get", "db/main")
    assert status == 4
    assert "--client ID" in told and "`jarvis-secrets whoami`" in told
    assert "can be backend or other" in _ask(shared, 1234, "", "whoami")[1]
    assert "may not be admin, but backend or other" in _ask(shared, 1234, "admin", "whoami")[1]
    assert "the policy binds none to you" in _ask(shared, 4321, "", "status")[1]


def test_a_socket_of_a_group_names_the_group(shared: DaemonProcess) -> None:
    """Who isn't in the group of the socket reads its name, and how to join it."""
    group = grp.getgrgid(1)
    os.chown(shared.socket_path, 0, group.gr_gid)
    shared.socket_path.chmod(0o660)
    nobody = 65534  # has a name on every host
    status, _, told = _ask(shared, nobody, "backend", "get", "db/main")
    assert status == 5
    assert f"root:{group.gr_name} 0660" in told
    assert f"usermod -aG {group.gr_name} nobody" in told


def test_a_daemon_that_has_ended_is_told_with_the_way_to_start_one(shared: DaemonProcess) -> None:
    """The address that was tried stands there, and where to read on."""
    shared.stop()
    status, _, told = _ask(shared, 0, "admin", "get", "db/main")
    assert status == 5
    assert str(shared.socket_path) in told
    assert "`jarvis-secrets help getting-started`" in told
