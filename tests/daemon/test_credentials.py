"""The socket of LoadCredential=, and what whoever asks like systemd gets of a real daemon."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import Mock

import pytest

from jarvis_secretsd.cli import unitrestarts
from jarvis_secretsd.cli.daemon import run_command
from jarvis_secretsd.daemon import connection as connections
from jarvis_secretsd.daemon.config import ServerConfig
from jarvis_secretsd.daemon.connection import Connection
from jarvis_secretsd.daemon.listeners import Listener, open_listeners
from jarvis_secretsd.daemon.peers import unix_peer
from jarvis_secretsd.daemon.reception import Reception
from jarvis_secretsd.daemon.unitqueue import take
from jarvis_secretsd.domain.peer import Peer, Transport
from jarvis_secretsd.messages import Failure, Found, LoadCredential, Request
from jarvis_secretsd.wire.conversation import WireRules
from jarvis_secretsd.wire.credential import REFUSAL
from jarvis_secretsd.wire.frames import pack
from tests.daemon_process import DaemonProcess
from tests.e2e.tools import needs
from tests.waiting import wait_until
from tests.wire.talk import FOUND

MakeDaemon = Callable[..., DaemonProcess]

POLICY = """\
clients:
  admin: {{users: ["{uid}"], permissions: [all], allow: ["*"]}}
  web:
    users: ["{uid}"]
    units: [web.service]
    allow: [plain]
    on_rotation: restart
"""

REQUEST = pack(b'{"op":"get","name":"plain","client":"admin"}')


@pytest.fixture
def daemon(make_daemon: MakeDaemon) -> DaemonProcess:
    """It serves both sockets, each in its directory, holds a secret, and may leave units' names."""
    one = make_daemon(policy=POLICY.format(uid=os.geteuid()))
    for name in ("credentials", "units"):
        (one.directory / name).mkdir(mode=0o700)
    one.configure(
        {
            "server": {"credentials_path": str(credentials_of(one))},
            "rotation": {"units_path": str(one.directory / "units")},
            "limits": {"max_connections_per_uid": 4},
        }
    )
    one.start()
    put(one, "s3cret")
    return one


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def credentials_of(daemon: DaemonProcess) -> Path:
    return daemon.directory / "credentials" / "s"


def put(daemon: DaemonProcess, value: str, name: str = "plain") -> None:
    body = {"op": "put", "name": name, "value": value, "kind": "static", "client": "admin"}
    with daemon.connect() as near:
        near.sendall(pack(json.dumps(body).encode()))
        assert b'"ok":true' in near.recv(4096)


def come(
    path: Path | bytes, unit: str | None = "web.service", file: str = "plain", *, end: bool = True
) -> socket.socket:
    """Connect as systemd does for this unit's credential; None: from no address."""
    near = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    near.settimeout(10)
    if unit is not None:
        near.bind(f"\0{int.from_bytes(os.urandom(8)):x}/unit/{unit}/{file}")
    try:
        near.connect(os.fsdecode(path))
    except OSError:
        near.close()
        raise
    if end:
        near.shutdown(socket.SHUT_WR)
    return near


def everything(near: socket.socket) -> bytes:
    """All that comes until the end."""
    with near:
        return b"".join(iter(lambda: near.recv(65536), b""))


def test_the_socket_is_for_nobody_but_root(daemon: DaemonProcess) -> None:
    """Mode 0600 from birth; it is gone when the daemon stops."""
    assert stat.S_IMODE(credentials_of(daemon).stat().st_mode) == 0o600
    daemon.stop()
    assert not credentials_of(daemon).exists()


@pytest.mark.parametrize("unit", ["web.service", "no.service"])
def test_who_only_calls_itself_a_unit_is_refused(daemon: DaemonProcess, unit: str) -> None:
    """These tests run in no such unit: as any user, root too, they get more than systemd takes."""
    for path in (credentials_of(daemon), daemon.socket_path):
        assert everything(come(path, unit)) == REFUSAL
    wait_until(lambda: daemon.stderr.count("transport=credentials") >= 1)
    entries = [json.loads(line) for line in daemon.audit_path.read_text().splitlines()]
    found = [entry for entry in entries if entry.get("transport") == "credentials"]
    assert {entry["outcome"] for entry in found} <= {"denied"}


@pytest.mark.parametrize("file", ["Not A Name", "tls-key", "x" * 60])
def test_a_name_that_is_no_secret_is_refused(daemon: DaemonProcess, file: str) -> None:
    """As is whatever else can't be answered."""
    assert everything(come(credentials_of(daemon), file=file)) == REFUSAL


def test_only_systemd_is_answered_on_its_socket(daemon: DaemonProcess) -> None:
    """A request ends the connection without a word; who comes and goes isn't sent away empty."""
    with come(credentials_of(daemon), None, end=False) as near:
        near.sendall(REQUEST)
        assert near.recv(1) == b""
    with come(credentials_of(daemon), end=False) as near:
        near.sendall(REQUEST)
        assert near.recv(1) == b""
    assert everything(come(credentials_of(daemon), None)) == REFUSAL


def test_the_main_socket_takes_requests_from_any_address(daemon: DaemonProcess) -> None:
    """A program that bound such an address and speaks is a program; one that is silent ends so."""
    with come(daemon.socket_path, end=False) as near:
        near.sendall(REQUEST)
        assert b"s3cret" in near.recv(4096)
    assert everything(come(daemon.socket_path, None)) == b""


def test_who_takes_the_refusal_slowly_holds_nobody_up(daemon: DaemonProcess) -> None:
    """Others are answered while it waits to be read; who leaves in the middle does no harm."""
    slow, leaving = (come(credentials_of(daemon)) for _ in range(2))
    assert leaving.recv(1000)
    leaving.close()
    with daemon.connect() as near:
        near.sendall(REQUEST)
        assert b"s3cret" in near.recv(4096)
    assert everything(slow) == REFUSAL


def test_other_connections_of_root_leave_room_for_systemd(daemon: DaemonProcess) -> None:
    """Turned away at the door, a unit would start with an empty credential."""
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(daemon.connect())
        for _ in range(6):
            assert everything(come(credentials_of(daemon))) == REFUSAL


def test_a_stop_leaves_nobody_with_an_empty_credential(daemon: DaemonProcess) -> None:
    """Who has connected is answered before the daemon ends, even if it hadn't asked yet."""
    waiting = [come(path, end=False) for path in (credentials_of(daemon), daemon.socket_path)]
    with daemon.connect() as near:  # by its answer the others are accepted too
        near.sendall(REQUEST)
        assert near.recv(4096)
    with ThreadPoolExecutor() as readers:
        answers = readers.map(everything, waiting)
        daemon.stop()
        assert [*answers] == [REFUSAL, REFUSAL]


@needs("strace")
@pytest.mark.root("only root can trace a process that isn't dumpable")
def test_a_disk_that_fails_leaves_nobody_with_an_empty_credential(
    make_daemon: MakeDaemon,
) -> None:
    """The daemon ends at once; who takes its refusal is given a moment, whoever else doesn't."""
    daemon = make_daemon(policy=POLICY.format(uid=os.geteuid()), prefix=("sh", "-c", FAILING, "-"))
    daemon.start()
    daemon.stop()
    (daemon.directory / "fails").touch()
    daemon.start()
    waiting = [come(daemon.socket_path, end=False) for _ in range(3)]
    with daemon.connect() as near, ThreadPoolExecutor() as readers:
        near.sendall(REQUEST)
        assert near.recv(4096)
        answers = readers.map(everything, waiting[1:])
        near.sendall(pack(b'{"op":"put","name":"a","value":"b","client":"admin"}'))
        assert near.recv(4096) == b""
        assert [*answers] == [REFUSAL, REFUSAL]
    waiting[0].close()
    assert daemon.wait() == 1


FAILING = """
if [ -e fails ]; then
  set -- strace -D -f -qq -o /dev/null -P state/vault.json -e inject=fdatasync:error=EIO "$@"
fi
exec "$@"
"""
"""Starts a daemon under strace, once there is the file, whose vault can't be synced."""


@needs("unshare")
@pytest.mark.root("only root has systemd's uid, and makes a pid namespace")
def test_systemd_out_of_sight_is_refused(make_daemon: MakeDaemon) -> None:
    """To a daemon in a pid namespace it is nobody, yet one that must not be sent away empty."""
    inside = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    other = make_daemon(policy=POLICY.format(uid=os.geteuid()), prefix=inside)
    other.configure({"limits": {"max_connections_per_uid": 2}})
    process = subprocess.Popen(other.command(), cwd=other.directory, stderr=subprocess.DEVNULL)
    try:
        wait_until(other.socket_path.exists)
        for _ in range(4):
            assert everything(come(other.socket_path)) == REFUSAL
        for request in (REQUEST, b"GET /healthz HTTP/1.0\r\n\r\n"):
            with come(other.socket_path, end=False) as near:
                near.sendall(request)
                assert near.recv(1) == b""
        assert everything(come(other.socket_path, None)) == b""
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("unit", "gets_in"), [("web.service", True), (None, False)])
def test_root_that_holds_all_its_connections_leaves_room_for_a_unit(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch, unit: str | None, gets_in: bool
) -> None:
    """On the main socket too; root of a container is in no unit, and has its share."""
    monkeypatch.setattr(connections, "unit_of", lambda _sock, _peer: unit)
    address = f"\0jarvis-{os.getpid()}-{time.monotonic_ns()}"
    sock = stack.enter_context(socket.socket(socket.AF_UNIX))
    sock.bind(address)
    sock.listen()
    listener = Listener(
        sock,
        Transport.UNIX,
        WireRules(is_tcp=False),
        lambda _: Peer(Transport.UNIX, 0, 0, 1),
        sock.close,
    )
    reception = Reception([listener], Mock(), max_connections=9, max_per_uid=1)
    came = [come(address.encode(), each, end=False) for each in (None, None, "web.service")]
    for near in came:
        stack.enter_context(near)
    accepted = [*reception.accept(listener, 0.0)]
    for one in accepted:
        stack.callback(one.close)
    assert len(accepted) == 1 + gets_in
    assert reception.turned_away == 2 - gets_in


@pytest.fixture
def far(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Connection]:
    """A connection of who came from an address, in the unit that the kernel is made to say."""

    def accepted(near: Callable[[bytes], socket.socket], unit: str | None) -> Connection:
        monkeypatch.setattr(connections, "unit_of", lambda _sock, _peer: unit)
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(f"\0jarvis-{os.getpid()}-{time.monotonic_ns()}")
        listener.listen()
        stack.enter_context(near(listener.getsockname()))
        sock = stack.enter_context(listener.accept()[0])
        sock.setblocking(False)
        peer = unix_peer(sock)
        assert peer
        return Connection(sock, peer, WireRules(is_tcp=False))

    return accepted


def abstract(near: list[socket.socket], *, end: bool = True) -> Callable[[bytes], socket.socket]:
    """Come as systemd does to an abstract address; our side is left in `near`."""

    def connect(address: bytes) -> socket.socket:
        near.append(come(address, end=end))
        return near[0]

    return connect


Far = Callable[[Callable[[bytes], socket.socket], str | None], Connection]


def test_the_end_of_a_silent_peer_is_its_question(far: Far) -> None:
    """It becomes systemd's, with the unit that the kernel says, and the answer is the value."""
    near: list[socket.socket] = []
    one = far(abstract(near), "web.service")
    assert one.peer.transport is Transport.UNIX
    assert one.receive() == [Request(LoadCredential("web.service", "plain"))]
    assert (one.peer.transport, one.peer.unit) == (Transport.CREDENTIALS, "web.service")
    one.deliver(FOUND)
    one.flush()
    assert isinstance(FOUND, Found)
    assert near[0].recv(100) == FOUND.value.reveal()
    assert near[0].recv(100) == b""
    assert one.is_over


def test_the_unit_is_the_one_of_the_cgroup(far: Far) -> None:
    """Not the one of the address, whose word the domain compares with it."""
    assert (one := far(abstract([]), "other.service")).receive()
    assert one.peer.unit == "other.service"


def test_a_dismissed_peer_is_answered_before_it_ends(far: Far) -> None:
    """Its question stands in its address already, and waits for the next turn."""
    near: list[socket.socket] = []
    one = far(abstract(near, end=False), None)
    one.dismiss()
    assert one.has_backlog
    assert one.take() == [Request(LoadCredential("web.service", "plain"))]
    assert one.peer.transport is Transport.CREDENTIALS
    one.deliver(Failure("unavailable", ""))
    got = b""
    while len(got) < len(REFUSAL):
        one.flush()
        got += near[0].recv(65536)
    assert got == REFUSAL
    one.dismiss()
    assert not one.take()


def test_a_socket_that_is_handed_over_is_known_by_its_path(tmp_path: Path) -> None:
    """It is systemd's and doesn't take the place of the other, whatever order they come in."""
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(str(tmp_path / "c"))
        given.listen()
        server = ServerConfig(socket_path=tmp_path / "s", credentials_path=tmp_path / "c")
        listeners = open_listeners(server, deny_remote=True, activated=[given])
        try:
            assert [
                (str(each), each.transport, each.rules.only_credentials) for each in listeners
            ] == [
                (str(tmp_path / "c"), Transport.CREDENTIALS, True),
                (str(tmp_path / "s"), Transport.UNIX, False),
            ]
        finally:
            for each in listeners:
                each.close()


def names(daemon: DaemonProcess) -> list[str]:
    return os.listdir(daemon.directory / "units")


def test_a_rotation_leaves_the_unit_s_name_once(daemon: DaemonProcess) -> None:
    """An empty file for each unit of a client that asks for it; its first version leaves none."""
    assert names(daemon) == []
    put(daemon, "s3cret 2")
    put(daemon, "s3cret 3")
    wait_until(lambda: names(daemon) == ["web.service"])
    assert (daemon.directory / "units" / "web.service").read_bytes() == b""


def test_without_the_directory_the_log_says_what_to_do(daemon: DaemonProcess) -> None:
    """The put is kept all the same."""
    (daemon.directory / "units").rmdir()
    put(daemon, "s3cret 2")
    wait_until(lambda: "unit not restarted" in daemon.stderr)
    said = next(line for line in daemon.stderr.splitlines() if "unit not restarted" in line)
    assert "unit=web.service" in said
    assert "systemctl restart web.service" in said


SYSTEMCTL = """#!/bin/sh
echo "$@" >>"$0.told"
exit $(cat "$0.status")
"""


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a systemctl that does nothing was told; it ends with the status in the file beside."""
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    program.with_name("systemctl.status").write_text("0")
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setattr(unitrestarts, "SETTLE_SECS", 0.0)
    return program.with_name("systemctl.told")


def restart_units(daemon: DaemonProcess) -> int:
    return run_command(["restart-units", "--config", str(daemon.config_path)])


def test_what_lies_there_is_restarted_and_taken_away(
    daemon: DaemonProcess, told: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One call for all of a kind; what no client lists is named, and isn't touched."""
    daemon.write_policy(
        POLICY.format(uid=os.geteuid()).replace("[web.service]", "[web.service, x.service]")
        + "  soft: {units: [soft.service], allow: [plain], on_rotation: reload}\n"
    )
    for name in ("web.service", "x.service", "soft.service", "ssh.service", "--help"):
        (daemon.directory / "units" / name).touch()
    assert restart_units(daemon) == 0
    assert told.read_text().splitlines() == [
        "--no-block --no-ask-password try-restart -- web.service x.service",
        "--no-block --no-ask-password try-reload-or-restart -- soft.service",
    ]
    assert names(daemon) == []
    complaints = capfd.readouterr().err
    assert re.findall(r"'(\S+)': no client of the policy", complaints) == ["--help", "ssh.service"]


def test_that_systemd_refused_is_an_error(daemon: DaemonProcess, told: Path) -> None:
    """The helper's unit fails, so that somebody sees it."""
    told.with_name("systemctl.status").write_text("1")
    (daemon.directory / "units" / "web.service").touch()
    assert restart_units(daemon) == 1


def test_orders_wait_for_a_policy_that_can_be_read(
    daemon: DaemonProcess, told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon goes on with the old one meanwhile, so the restart must not be lost."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    (daemon.directory / "units" / "web.service").touch()
    daemon.write_policy("clients: [")
    assert restart_units(daemon) == 78
    assert names(daemon) == ["web.service"]
    assert pauses == [0.0, unitrestarts.RETRY_SECS]
    daemon.write_policy(POLICY.format(uid=os.geteuid()))
    assert restart_units(daemon) == 0
    assert "try-restart -- web.service" in told.read_text()


def test_the_owner_of_the_directory_leads_root_nowhere(tmp_path: Path) -> None:
    """A link in its place is not followed; links and directories in it are no way out."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.service").touch()
    queue = tmp_path / "queue"
    queue.symlink_to(outside)
    with pytest.raises(OSError, match="queue"):
        take(str(queue))
    queue.unlink()
    queue.mkdir()
    (queue / "a.service").symlink_to(outside / "kept.service")
    (queue / "d.service").mkdir()
    assert take(str(queue)) == ["a.service", "d.service"]
    assert os.listdir(outside) == ["kept.service"]
