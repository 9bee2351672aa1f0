"""Where peers connect: the socket's file, the loopback, and sockets that were handed to us."""

from __future__ import annotations

import os
import resource
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace

from jarvis_secretsd.daemon.config import ServerConfig
from jarvis_secretsd.daemon.listeners import Listener, OutOfDescriptors, open_listeners
from jarvis_secretsd.daemon.socketfile import SocketFile
from jarvis_secretsd.domain.peer import Peer, Transport
from jarvis_secretsd.errors import AlreadyRunning, ConfigurationError, StartRefused, UnsafeFile

TCP_ONLY = ServerConfig(bind_addr="127.0.0.1:0", allow_unix_socket=False)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


@pytest.fixture
def listen(stack: ExitStack) -> Callable[..., tuple[Listener, ...]]:
    """`open_listeners`, whose listeners end with the test."""

    def opened(
        server: ServerConfig, *activated: socket.socket, deny_remote: bool = True
    ) -> tuple[Listener, ...]:
        listeners = open_listeners(server, deny_remote=deny_remote, activated=activated)
        for listener in listeners:
            stack.callback(listener.close)
        return listeners

    return opened


Listen = Callable[..., tuple[Listener, ...]]


def on(path: Path) -> ServerConfig:
    return ServerConfig(socket_path=path)


def connect(stack: ExitStack, address: Path | tuple[str, int]) -> socket.socket:
    family = socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET
    near = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
    near.connect(str(address) if isinstance(address, Path) else address)
    return near


def port_of(listener: Listener) -> int:
    assert listener.rules.port
    return listener.rules.port


def bound(stack: ExitStack, path: Path | str, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A Unix socket as a service manager or another program makes it, not listening yet."""
    sock = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
    sock.bind(str(path))
    return sock


def test_both_transports_accept_and_say_who_came(
    listen: Listen, path: Path, stack: ExitStack
) -> None:
    """One accept gives the connection and its peer, ready for a loop that never waits."""
    listeners = listen(replace(on(path), bind_addr="127.0.0.1:0"))
    unix, tcp = listeners
    connect(stack, path)
    connect(stack, ("127.0.0.1", port_of(tcp)))
    for listener, transport in ((unix, Transport.UNIX), (tcp, Transport.TCP)):
        accepted = listener.accept()
        assert accepted
        sock, peer = accepted
        stack.enter_context(sock)
        assert (peer.transport, peer.uid) == (transport, os.geteuid())
        assert not sock.getblocking()
        assert not sock.get_inheritable()
        assert listener.accept() is None


def test_the_rules_of_the_wire_come_with_the_listener(listen: Listen, path: Path) -> None:
    """A request over TCP must name this port or an allowed host; over Unix any Host will do."""
    server = replace(on(path), bind_addr="127.0.0.1:0", allowed_hosts=("host.docker.internal:1",))
    unix, tcp = listen(server)
    assert not unix.rules.is_tcp
    assert tcp.rules.is_tcp
    assert port_of(tcp) == int(str(tcp).rpartition(":")[2])
    assert tcp.rules.allowed_hosts == {"host.docker.internal:1"}
    assert str(unix) == str(path)


def test_small_replies_over_tcp_do_not_wait(listen: Listen, stack: ExitStack) -> None:
    """An accepted connection sends at once (TCP_NODELAY)."""
    (tcp,) = listen(TCP_ONLY)
    connect(stack, ("127.0.0.1", port_of(tcp)))
    accepted = tcp.accept()
    assert accepted
    assert stack.enter_context(accepted[0]).getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_the_mode_is_right_before_anybody_can_connect(
    mode: int, umask: int, path: Path, stack: ExitStack
) -> None:
    """The file has its mode, whatever the umask, while connections are still refused."""
    before = os.umask(umask)
    try:
        file = SocketFile.bind(path, mode, None)
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    stack.callback(file.close)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    with pytest.raises(ConnectionRefusedError):
        connect(stack, path)


def test_the_group_can_be_given(path: Path, stack: ExitStack) -> None:
    """A group by name or by number gets the socket."""
    stack.callback(SocketFile.bind(path, 0o660, str(os.getegid())).close)
    assert path.stat().st_gid == os.getegid()


def test_an_unknown_group_is_told_with_its_remedy(path: Path) -> None:
    """Nothing is made for a group that isn't there."""
    with pytest.raises(ConfigurationError, match="groupadd no-such-group"):
        SocketFile.bind(path, 0o660, "no-such-group")
    assert not path.exists()


def test_a_socket_of_a_crash_is_replaced(listen: Listen, path: Path, stack: ExitStack) -> None:
    """After a kill the next start listens at the same path."""
    bound(stack, path).close()
    listen(on(path))
    connect(stack, path)


@pytest.mark.parametrize("backlog", [0, 1])
def test_a_socket_that_somebody_listens_on_is_left_alone(
    backlog: int, path: Path, stack: ExitStack
) -> None:
    """A daemon that is slow, stopped, or has a full queue is still running."""
    other = bound(stack, path)
    other.listen(backlog)
    for _ in range(backlog + 1):
        connect(stack, path)
    with pytest.raises(AlreadyRunning, match="another process listens there"):
        open_listeners(on(path), deny_remote=True)
    assert other.getsockname() == str(path)
    assert path.is_socket()


def plant_file(path: Path) -> None:
    path.write_text("kept")


def plant_directory(path: Path) -> None:
    path.mkdir()


def plant_link(path: Path) -> None:
    path.symlink_to(path.parent)


def plant_fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("plant", [plant_file, plant_directory, plant_link, plant_fifo])
def test_what_is_not_a_socket_is_left_alone(plant: Callable[[Path], None], path: Path) -> None:
    """The start is refused, and what somebody put there stays."""
    plant(path)
    before = path.lstat()
    with pytest.raises(UnsafeFile, match="is not a socket"):
        open_listeners(on(path), deny_remote=True)
    assert path.lstat() == before


@pytest.mark.root
def test_a_socket_of_another_user_is_left_alone(path: Path, stack: ExitStack) -> None:
    """Only a socket of our own can be one that we left."""
    bound(stack, path).close()
    os.chown(path, 4101, 4101)
    with pytest.raises(UnsafeFile, match="socket of uid 4101"):
        open_listeners(on(path), deny_remote=True)
    assert path.is_socket()


def test_a_directory_that_others_can_write_in_is_refused(tmp_path: Path) -> None:
    """Whoever can write there can put another socket in the place of ours."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(UnsafeFile, match="chmod go-w"):
        open_listeners(on(tmp_path / "open" / "s"), deny_remote=True)


def test_a_missing_directory_is_told_with_the_command_that_makes_it(tmp_path: Path) -> None:
    """The daemon makes no directory outside of its state."""
    with pytest.raises(StartRefused, match=r"run: install -d -m 0755 -o \d+ .*/none"):
        open_listeners(on(tmp_path / "none" / "s"), deny_remote=True)


def test_closing_removes_our_file(path: Path) -> None:
    """A client that comes later learns at once that nobody is there."""
    (listener,) = open_listeners(on(path), deny_remote=True)
    listener.close()
    assert not path.exists()


def test_closing_leaves_anothers_file(path: Path, stack: ExitStack) -> None:
    """The next daemon's socket, put in our place, survives our end."""
    (listener,) = open_listeners(on(path), deny_remote=True)
    path.unlink()
    bound(stack, path)
    listener.close()
    assert path.is_socket()


def test_closing_does_without_the_file(path: Path) -> None:
    """Somebody who removed the file doesn't keep the daemon from ending."""
    (listener,) = open_listeners(on(path), deny_remote=True)
    path.unlink()
    listener.close()


def test_nothing_is_left_of_a_start_that_fails(path: Path, stack: ExitStack) -> None:
    """A taken port takes the Unix socket with it."""
    taken = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    port = taken.getsockname()[1]
    with pytest.raises(StartRefused, match=rf"127.0.0.1:{port}: is taken.*sport = :{port}"):
        open_listeners(replace(on(path), bind_addr=f"127.0.0.1:{port}"), deny_remote=True)
    assert not path.exists()


def test_an_address_of_another_machine_is_told_as_such() -> None:
    """An address that isn't ours is the configuration's fault."""
    server = replace(TCP_ONLY, bind_addr="192.0.2.1:8081")
    with pytest.raises(StartRefused, match="no address of this machine"):
        open_listeners(server, deny_remote=False)


def test_a_port_can_be_taken_again_at_once(listen: Listen, stack: ExitStack) -> None:
    """A restart doesn't wait for the last connections' TIME_WAIT."""
    (first,) = open_listeners(TCP_ONLY, deny_remote=True)
    port = port_of(first)
    near = connect(stack, ("127.0.0.1", port))
    accepted = first.accept()
    assert accepted
    accepted[0].close()
    near.close()
    first.close()
    (second,) = listen(replace(TCP_ONLY, bind_addr=f"127.0.0.1:{port}"))
    assert port_of(second) == port


@pytest.mark.parametrize(("deny_remote", "device"), [(True, b"lo"), (False, b"")])
def test_the_tcp_listener_keeps_to_the_loopback_device(
    deny_remote: bool, device: bytes, listen: Listen
) -> None:
    """A neighbour that is routed to 127.0.0.1 doesn't come in by `lo`."""
    (tcp,) = listen(TCP_ONLY, deny_remote=deny_remote)
    with socket.socket(fileno=os.dup(tcp.fileno())) as sock:
        found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
    assert found.rstrip(b"\0") == device


REMOTE = """
import fcntl, os, socket, struct
from jarvis_secretsd.daemon.config import ServerConfig
from jarvis_secretsd.daemon.listeners import open_listeners
control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
address = struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton("198.51.100.7"))
fcntl.ioctl(control, 0x8916, address)  # SIOCSIFADDR
server = ServerConfig(bind_addr="0.0.0.0:0", allow_unix_socket=False)
for deny in (True, False):
    (listener,) = open_listeners(server, deny_remote=deny)
    for host in ("198.51.100.7", "127.0.0.1"):
        near = socket.create_connection((host, listener.rules.port))
        accepted = listener.accept()
        print(deny, host, accepted and accepted[1].uid, listener.dropped)
    listener.close()
"""
"""Connects from an address that isn't a loopback one, in a network namespace of its own."""


@pytest.mark.root
def test_who_does_not_come_from_the_loopback_is_dropped() -> None:
    """With deny_network_remote a foreign address gets no answer, and without it no uid."""
    told = subprocess.check_output(["unshare", "-n", sys.executable, "-c", REMOTE], text=True)
    assert told.splitlines() == [
        "True 198.51.100.7 None 1",
        "True 127.0.0.1 0 1",
        "False 198.51.100.7 None 0",
        "False 127.0.0.1 0 0",
    ]


def test_a_peer_that_the_kernel_does_not_know_is_dropped(path: Path, stack: ExitStack) -> None:
    """Who can't be told is not spoken with; the next one is."""
    (real,) = open_listeners(on(path), deny_remote=True)
    stack.callback(real.close)
    answers: Iterator[Peer | None] = iter((None, Peer(Transport.UNIX, 1)))
    with socket.socket(fileno=os.dup(real.fileno())) as sock:
        listener = Listener(
            sock, Transport.UNIX, real.rules, lambda _: next(answers), close=sock.close
        )
        first = connect(stack, path)
        assert listener.accept() is None
        assert listener.dropped == 1
        assert first.recv(1) == b""
        connect(stack, path)
        accepted = listener.accept()
        assert accepted
        accepted[0].close()


def test_running_out_of_descriptors_is_told_apart(
    listen: Listen, path: Path, stack: ExitStack
) -> None:
    """The loop learns that it must pause, and the waiting peer is served after that."""
    (listener,) = listen(on(path))
    connect(stack, path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.dup(0)
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe, hard))
    try:
        with pytest.raises(OutOfDescriptors):
            listener.accept()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    accepted = listener.accept()
    assert accepted
    accepted[0].close()


def test_a_peer_that_left_the_queue_is_no_error(listen: Listen, stack: ExitStack) -> None:
    """Who connects and goes is at worst a peer that nobody knows."""
    (tcp,) = listen(TCP_ONLY)
    connect(stack, ("127.0.0.1", port_of(tcp))).close()
    accepted = tcp.accept()
    assert accepted is None or accepted[1].uid is None
    if accepted:
        accepted[0].close()


def test_a_broken_listener_is_not_taken_for_a_quiet_one(path: Path, stack: ExitStack) -> None:
    """An error that isn't about one peer stops the daemon instead of leaving it deaf."""
    (real,) = open_listeners(on(path), deny_remote=True)
    stack.callback(real.close)
    sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    deaf = Listener(sock, Transport.UNIX, real.rules, lambda _: None, close=sock.close)
    with pytest.raises(OSError, match="Invalid argument"):
        deaf.accept()


def test_a_socket_that_was_handed_over_takes_its_transports_place(
    listen: Listen, path: Path, tmp_path: Path, stack: ExitStack
) -> None:
    """The service manager's socket serves, and the configuration's of that transport isn't made."""
    given = bound(stack, tmp_path / "given")
    given.listen()
    server = replace(on(path), bind_addr="127.0.0.1:0")
    transports = {listener.transport: str(listener) for listener in listen(server, given)}
    assert transports.keys() == {Transport.UNIX, Transport.TCP}
    assert transports[Transport.UNIX] == str(tmp_path / "given")
    assert not path.exists()
    connect(stack, tmp_path / "given")


def test_a_socket_that_was_handed_over_keeps_its_file(path: Path, stack: ExitStack) -> None:
    """The service manager holds the path across our restarts."""
    given = bound(stack, path)
    given.listen()
    (listener,) = open_listeners(on(path), deny_remote=True, activated=[given])
    listener.close()
    assert path.is_socket()


def test_a_tcp_socket_that_was_handed_over_keeps_to_loopback_too(
    listen: Listen, stack: ExitStack
) -> None:
    """What the configuration says of remote peers holds for sockets of the service manager."""
    given = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    (listener,) = listen(TCP_ONLY, given)
    assert port_of(listener) == given.getsockname()[1]
    device = given.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
    assert device.rstrip(b"\0") == b"lo"


def test_unfit_sockets_that_were_handed_over_are_refused(path: Path, stack: ExitStack) -> None:
    """Each kind is told by what the kernel says it is, never by its name."""
    silent = bound(stack, path)
    abstract = bound(stack, f"\0jarvis-test-{os.getpid()}")
    abstract.listen()
    datagram = bound(stack, path.with_name("d"), socket.SOCK_DGRAM)
    wide = stack.enter_context(socket.create_server(("0.0.0.0", 0)))
    connected, _ = map(stack.enter_context, socket.socketpair())
    expected = {
        silent: "not a listening stream socket",
        datagram: "not a listening stream socket",
        connected: "not a listening stream socket",
        abstract: "has no path",
        wide: "deny_network_remote",
    }
    for sock, told in expected.items():
        with pytest.raises(StartRefused, match=told):
            open_listeners(on(path), deny_remote=True, activated=[sock])
