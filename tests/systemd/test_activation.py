"""Sockets that somebody else made: found by what they are, and held while the daemon restarts."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.systemd.host import (
    ASK,
    ASK_TCP,
    LIMIT,
    PORT,
    SERVICE,
    SOCKET,
    STATE,
    TCP_SOCKET,
    TREE,
    UNIX_SOCKET,
    Host,
)

pytestmark = pytest.mark.systemd("runs the daemon as a service")

RESTARTS = 8


LOAD = [sys.executable, "-m", "tests.systemd.load", str(SOCKET), str(PORT)]


def test_no_request_is_lost_while_it_restarts(host: Host) -> None:
    """Eight restarts under load: each request of each way is answered, on either socket.

    None of the ways but our client asks twice what a connection has taken. One that has ended, or
    that takes no more, is made anew, as everyone does who keeps one.
    """
    host.systemctl("enable", TCP_SOCKET)
    host.systemctl("restart", SERVICE)
    host.put("web_password", "hunter2")
    pipe = subprocess.PIPE
    with subprocess.Popen(
        LOAD, cwd=TREE, user="web", group="web", stdin=pipe, stdout=pipe, text=True
    ) as load:
        pids = {host.pid}
        for _ in range(RESTARTS):
            time.sleep(0.3)
            host.systemctl("restart", SERVICE)
            pids.add(host.pid)
        found = json.loads(load.communicate(timeout=LIMIT)[0])
    assert len(pids) == 1 + RESTARTS
    assert found["lost"] == []
    assert len(found["answered"]) == 8
    assert min(found["answered"].values()) > RESTARTS, found


@contextmanager
def activated(*options: str, command: tuple[str, ...] = ("jarvis-secretsd",)) -> Iterator[None]:
    """The daemon, started as jarvis by systemd-socket-activate(1) when somebody knocks."""
    with subprocess.Popen(
        ["systemd-socket-activate", *options, *command],
        user="jarvis",
        group="jarvis",
        extra_groups=[],
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)


@pytest.mark.parametrize("names", [(), ("--fdname=api:tcp",), ("--fdname=tcp:api",)])
@pytest.mark.parametrize("order", [("unix", "tcp"), ("tcp", "unix")])
def test_sockets_are_taken_for_what_they_are(
    host: Host, names: tuple[str, ...], order: tuple[str, str]
) -> None:
    """In either order, with names, without, and with wrong ones, both serve by their own rules."""
    host.put("web_password", "w")
    host.systemctl("stop", UNIX_SOCKET)
    places = {"unix": str(SOCKET), "tcp": f"127.0.0.1:{PORT}"}
    with activated(*(f"--listen={places[each]}" for each in order), *names):
        host.until(SOCKET.exists)
        SOCKET.chmod(0o666)
        for over in (ASK, ASK_TCP):
            assert host.secrets("get", "web_password", client="web", user="web", over=over) == "w"
    told = [json.loads(line) for line in (STATE / "audit.jsonl").read_text().splitlines()]
    assert [each["transport"] for each in told if each.get("client") == "web"] == ["unix", "tcp"]
    assert SOCKET.exists(), "it isn't the daemon's to remove"
    SOCKET.unlink()


def test_sockets_of_another_process_are_left_alone(host: Host) -> None:
    """Behind a shell LISTEN_PID is the shell's: the daemon makes sockets of its own, as by hand."""
    host.systemctl("stop", UNIX_SOCKET)
    other = SOCKET.with_name("other.sock")
    with activated(f"--listen={other}", command=("sh", "-c", "jarvis-secretsd; true")):
        host.until(other.exists)
        with socket.socket(socket.AF_UNIX) as knock:
            knock.connect(str(other))
            host.until(SOCKET.exists)
        assert "ok" in host.secrets("status")
    host.until(lambda: not SOCKET.exists())  # it was the daemon's own
    other.unlink()


def test_a_second_daemon_leaves_the_first_alone(host: Host) -> None:
    """Started by hand beside the service it refuses, and the socket stays where it was."""
    place = os.lstat(SOCKET).st_ino
    ended = host.run("jarvis-secretsd", user="jarvis", ok=False)
    assert ended.returncode == 75
    assert "systemctl stop jarvis-secretsd" in ended.stderr
    assert os.lstat(SOCKET).st_ino == place
    assert "ok" in host.secrets("status")


ASK_AGAIN = """
mount --bind /run/jarvis/secretsd.sock "$1/file" && mount --bind /run/jarvis "$1/directory"
while read -r unused; do
  for at in file directory/secretsd.sock; do
    JARVIS_CLIENT_ID=admin JARVIS_SECRETS_SOCKET="$1/$at" jarvis-secrets health >/dev/null 2>&1
    printf '%s ' "$?"
  done
  echo
done
"""
"""In mounts of its own, as a container has them: asks by both whenever it is told to."""


def test_a_mounted_directory_outlives_every_restart(host: Host, tmp_path: Path) -> None:
    """A container that mounts the directory sees each new socket; a mounted file stays the old one.

    A restart of the service makes no new socket, so either will do for that.
    """
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", ASK_AGAIN, "sh", str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as inside:
        assert inside.stdin and inside.stdout
        answers = []
        for unit in (SERVICE, UNIX_SOCKET):
            host.systemctl("restart", unit)
            host.systemctl("start", SERVICE)
            inside.stdin.write("ask\n")
            answers.append(inside.stdout.readline().split())
        inside.stdin.close()
    assert answers[0] == ["0", "0"]
    assert answers[1][0] != "0"
    assert answers[1][1] == "0"


def test_a_directory_in_the_sockets_place_is_told(host: Host) -> None:
    """What Docker leaves where it mounts a file that isn't there is named, and isn't removed."""
    host.systemctl("stop", UNIX_SOCKET)
    SOCKET.mkdir()
    host.systemctl("start", SERVICE, ok=False)
    assert str(SOCKET) in host.journal(UNIX_SOCKET)
    SOCKET.rmdir()
    host.systemctl("start", SERVICE)
    assert "ok" in host.secrets("status")
