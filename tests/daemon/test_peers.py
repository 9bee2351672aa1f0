"""Who the kernel says is there: on Unix sockets, on loopback TCP, and when it can't be told."""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jarvis_secretsd.daemon import peers
from jarvis_secretsd.daemon.peers import SockDiag, is_loopback, unix_peer
from jarvis_secretsd.domain.peer import Peer, Transport
from jarvis_secretsd.wire import sockdiag

PYTHON = "/usr/bin/python3"
"""Every user can run it; the scripts below need the standard library only."""

ALICE, BOB = 4101, 4102

LINGER_ZERO = struct.pack("ii", 1, 0)
"""Closing then sends a reset at once (socket(7), SO_LINGER)."""

CLIENT = """
import socket, struct, sys
family, address, source, ending = eval(sys.argv[1])
client = socket.socket(family, socket.SOCK_STREAM)
if source:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    client.bind(source)
client.connect(address)
client.sendall(b"GET / HTTP/1.1\\r\\n\\r\\n")
if ending == "close":
    client.close()
if ending == "reset":
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
if ending == "hand over":
    socket.send_fds(socket.socket(fileno=0), [b"x"], [client.fileno()])
print("done", flush=True)
sys.stdin.read() if ending == "stay" else None
"""


@contextmanager
def client(
    listener: socket.socket,
    *,
    uid: int,
    source: tuple[str, int] | None = None,
    ending: str = "stay",
    groups: tuple[int, ...] = (),
    stdin: int = subprocess.PIPE,
) -> Iterator[None]:
    """A process of this uid that connected to the listener, sent something, and did `ending`."""
    argument = repr((int(listener.family), listener.getsockname(), source, ending))
    process = subprocess.Popen(
        [PYTHON, "-c", CLIENT, argument],
        stdin=stdin,
        stdout=subprocess.PIPE,
        cwd="/",
        user=uid,
        group=uid,
        extra_groups=groups,
    )
    with process:
        try:
            assert process.stdout and process.stdout.readline() == b"done\n"
            if ending != "stay":
                process.wait(10)
            yield
        finally:
            process.kill()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def tcp(stack: ExitStack) -> socket.socket:
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    listener.settimeout(10)
    return listener


@pytest.fixture
def unix(stack: ExitStack) -> socket.socket:
    listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    listener.settimeout(10)
    listener.bind(f"\0jarvis-test-{os.getpid()}")  # no directory that other users must reach
    listener.listen()
    return listener


@pytest.fixture
def diag(stack: ExitStack, tcp: socket.socket) -> SockDiag:
    found = SockDiag(tcp)
    stack.callback(found.close)
    return found


def accept(listener: socket.socket, stack: ExitStack) -> socket.socket:
    return stack.enter_context(listener.accept()[0])


def patched(row: bytes, place: int, data: bytes) -> bytes:
    return row[:place] + data + row[place + len(data) :]


KERNEL, SOMEBODY = (0, 0), (4711, 0)
ROW = struct.pack("=H", sockdiag.SOCK_DIAG_BY_FAMILY)
NLMSG_ERROR = struct.pack("=H", 2)


Packet = tuple[bytes, tuple[int, int]]
Forge = Callable[[bytes], list[Packet]]
"""From the kernel's true packet to those that shall arrive, each with its sender."""


class Netlink:
    """A netlink socket that answers each question with these packets, made from the true one."""

    def __init__(
        self, true: socket.socket, forge: Forge, before: Callable[[bytes], object] = len
    ) -> None:
        self._true = true
        self._forge = forge
        self._before = before
        self.answered = False
        self._packets: list[Packet] = []

    def send(self, question: bytes) -> int:
        self._before(question)
        self._true.send(question)
        true = self._true.recv(4096)
        self.answered = true[4:6] == ROW
        self._packets = self._forge(true)
        return len(question)

    def recvfrom(self, _size: int) -> Packet:
        if not self._packets:
            raise BlockingIOError
        return self._packets.pop(0)

    def close(self) -> None:
        self._true.close()


ELSEWHERE = """
import fcntl, socket, struct, sys
from jarvis_secretsd.daemon.peers import SockDiag
listener, far = (socket.socket(fileno=int(each)) for each in sys.argv[1:])
server, client = socket.socket(), socket.socket()
fcntl.ioctl(server, 0x8914, struct.pack("16sH14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
for each in (server, client):
    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
try:
    server.bind(far.getsockname())
    server.listen()
    client.bind(far.getpeername())
    client.connect(far.getsockname())
except OSError:
    pass  # not elsewhere: the true ones are here
print(SockDiag(listener).peer(far).uid)
"""
"""Makes a connection with the same ends where it runs, and asks who is the peer of `far`."""


class Answers:
    """A socket whose options answer as told: bytes, or an errno."""

    def __init__(self, credentials: bytes | int, groups: bytes | int = b"") -> None:
        self._answers = {socket.SO_PEERCRED: credentials, peers.SO_PEERGROUPS: groups}

    def getsockopt(self, _level: int, option: int, _size: int) -> bytes:
        answer = self._answers[option]
        if isinstance(answer, int):
            raise OSError(answer, os.strerror(answer))
        return answer


def peer_of(credentials: bytes | int, groups: bytes | int = b"") -> Peer | None:
    return unix_peer(cast(socket.socket, Answers(credentials, groups)))


def ucred(pid: int, uid: int, gid: int) -> bytes:
    return struct.pack("iII", pid, uid, gid)


def test_a_unix_peer_is_who_connected(unix: socket.socket, stack: ExitStack) -> None:
    """Uid, gid, pid and groups are those of the process at the other end."""
    near = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    near.connect(unix.getsockname())
    assert unix_peer(accept(unix, stack)) == Peer(
        Transport.UNIX, os.geteuid(), os.getegid(), os.getpid(), frozenset(os.getgroups())
    )


@pytest.mark.parametrize(
    "credentials",
    [
        errno.ENOTCONN,
        b"",
        bytes(4),
        ucred(0, 0, 0),
        ucred(0, 0, 5),
        ucred(9, 2**32 - 1, 5),
        ucred(9, 5, 2**32 - 1),
        ucred(-1, 5, 5),
        ucred(0, 2**32 - 1, 2**32 - 1),
    ],
)
def test_an_error_or_an_empty_answer_is_nobody(credentials: bytes | int) -> None:
    """A buffer that the kernel didn't fill isn't root, and a missing uid isn't one."""
    assert peer_of(credentials) is None


def test_a_failed_question_about_groups_is_nobody() -> None:
    """A peer that we know by half isn't known."""
    assert peer_of(ucred(9, 5, 5), errno.EIO) is None
    assert peer_of(ucred(9, 5, 5), b"\1\0\0") is None


@pytest.mark.parametrize("error", [errno.ERANGE, errno.ENODATA])
def test_groups_that_cannot_be_had_are_no_groups(error: int) -> None:
    """A peer in more groups than can be asked for has the rights of its uid, and no others."""
    assert peer_of(ucred(9, 5, 6), error) == Peer(Transport.UNIX, 5, 6, 9)


def test_a_peer_of_another_pid_namespace_has_no_pid() -> None:
    """A container that mounts the socket is its uid, though its pid can't be seen."""
    assert peer_of(ucred(0, 5, 6)) == Peer(Transport.UNIX, 5, 6, None)


@given(st.binary(max_size=16), st.binary(max_size=12))
def test_no_answer_makes_root_of_nobody(credentials: bytes, groups: bytes) -> None:
    """Root needs a whole answer that says uid 0 and a pid."""
    peer = peer_of(credentials, groups)
    if peer is not None and peer.uid == 0:
        assert peer.pid
        assert credentials[4:8] == bytes(4)


def test_a_tcp_socket_has_no_unix_peer(tcp: socket.socket, stack: ExitStack) -> None:
    """The kernel answers SO_PEERCRED for TCP too, with uid -1; that is nobody."""
    stack.enter_context(socket.create_connection(tcp.getsockname()))
    assert unix_peer(accept(tcp, stack)) is None


LOOPBACK = [
    (socket.AF_INET, "127.0.0.1", socket.AF_INET, "127.0.0.1"),
    (socket.AF_INET, "127.3.2.1", socket.AF_INET, "127.3.2.1"),
    (socket.AF_INET6, "::1", socket.AF_INET6, "::1"),
    (socket.AF_INET6, "::", socket.AF_INET6, "::1"),
    (socket.AF_INET6, "::", socket.AF_INET, "127.0.0.1"),
    (socket.AF_INET6, "::", socket.AF_INET6, "::ffff:127.0.0.1"),
]


@pytest.mark.parametrize(("family", "here", "client_family", "there"), LOOPBACK)
def test_a_loopback_peer_is_who_made_its_socket(
    family: int, here: str, client_family: int, there: str, stack: ExitStack
) -> None:
    """IPv4, IPv6, and IPv4 in IPv6 clothes at either end: its row is found."""
    listener = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind((here, 0))
    listener.listen()
    near = stack.enter_context(socket.socket(client_family, socket.SOCK_STREAM))
    near.connect((there, listener.getsockname()[1]))
    diag = SockDiag(listener)
    stack.callback(diag.close)
    assert diag.peer(accept(listener, stack)) == Peer(Transport.TCP, os.geteuid())


def test_many_questions_get_their_own_answers(
    tcp: socket.socket, diag: SockDiag, stack: ExitStack
) -> None:
    """The netlink socket stays in step, also after questions that have no answer."""
    for number in range(50):
        near = stack.enter_context(socket.create_connection(tcp.getsockname()))
        far = accept(tcp, stack)
        if number % 2:
            near.close()
        assert diag.peer(far).uid == (None if number % 2 else os.geteuid())


def test_a_half_closed_peer_is_unattested(
    tcp: socket.socket, diag: SockDiag, stack: ExitStack
) -> None:
    """A connection that is no longer established names nobody, even while its row has a uid."""
    near = stack.enter_context(socket.create_connection(tcp.getsockname()))
    near.shutdown(socket.SHUT_WR)
    assert diag.peer(accept(tcp, stack)) == Peer(Transport.TCP, None)


def test_a_reset_connection_is_not_taken_for_the_next_of_its_port(
    tcp: socket.socket, diag: SockDiag, stack: ExitStack
) -> None:
    """The row of the port's next user is established, so our own end has to be too."""
    first = socket.create_connection(tcp.getsockname())
    source = first.getsockname()
    first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
    first.close()
    second = stack.enter_context(socket.socket())
    second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    second.bind(source)
    second.connect(tcp.getsockname())
    assert diag.peer(accept(tcp, stack)).uid is None
    assert diag.peer(accept(tcp, stack)).uid == os.geteuid()


def test_a_connection_that_is_reset_while_we_ask_is_unattested(
    tcp: socket.socket, stack: ExitStack
) -> None:
    """The peer was there before the question, and another has its port when the kernel answers."""
    found = [asked_while_another_comes(tcp, stack) for _ in range(5)]
    assert any(found), "the row of the port's next user was found"


def asked_while_another_comes(tcp: socket.socket, stack: ExitStack) -> bool:
    """Ask about a peer that is exchanged meanwhile: nobody, whether or not a row was found."""
    diag = SockDiag(tcp)
    stack.callback(diag.close)
    first = socket.create_connection(tcp.getsockname())
    first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
    source, far = first.getsockname(), accept(tcp, stack)

    def another_comes(_question: bytes) -> None:
        first.close()
        second = stack.enter_context(socket.socket())
        second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        second.bind(source)
        second.connect(tcp.getsockname())

    forged = Netlink(diag._netlink, lambda row: [(row, KERNEL)], before=another_comes)
    diag._netlink = cast(socket.socket, forged)
    assert diag.peer(far).uid is None
    accept(tcp, stack)
    return bool(forged.answered)


def test_a_socket_that_is_gone_is_unattested(
    tcp: socket.socket, diag: SockDiag, stack: ExitStack
) -> None:
    """Errors on the way to an answer are no answer."""
    stack.enter_context(socket.create_connection(tcp.getsockname()))
    far = accept(tcp, stack)
    far.close()
    assert diag.peer(far).uid is None
    assert diag.peer(tcp).uid is None


FORGERIES: dict[str, Forge] = {
    "nothing": lambda row: [],
    "an error": lambda row: [(patched(row, 4, NLMSG_ERROR), KERNEL)],
    "another question's answer": lambda row: [(patched(row, 8, b"\xff\xff"), KERNEL)],
    "another process's answer": lambda row: [(row, SOMEBODY)],
    "half a row": lambda row: [(row[:40], KERNEL)],
    "half a header": lambda row: [(row[:10], KERNEL)],
    "a listening row": lambda row: [(patched(row, 17, b"\x0a"), KERNEL)],
    "a closing row": lambda row: [(patched(row, 17, b"\x05"), KERNEL)],
    "another port": lambda row: [(patched(row, 20, b"\0\1"), KERNEL)],
    "another address": lambda row: [(patched(row, 24, b"\x7f\0\0\2"), KERNEL)],
    "no uid": lambda row: [(patched(row, 16 + 64, b"\xff" * 4), KERNEL)],
    "no inode": lambda row: [(patched(row, 16 + 68, bytes(4)), KERNEL)],
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_only_a_whole_and_fitting_answer_names_a_uid(
    forgery: str, tcp: socket.socket, diag: SockDiag, stack: ExitStack
) -> None:
    """An answer with anything amiss leaves the peer unattested, and never root."""
    stack.enter_context(socket.create_connection(tcp.getsockname()))
    far = accept(tcp, stack)
    true = diag._netlink
    diag._netlink = cast(socket.socket, Netlink(true, lambda row: [(row, KERNEL)]))
    assert diag.peer(far).uid == os.geteuid()
    diag._netlink = cast(socket.socket, Netlink(true, FORGERIES[forgery]))
    assert diag.peer(far).uid is None


def test_an_answer_to_an_older_question_is_passed_over(
    tcp: socket.socket, diag: SockDiag, stack: ExitStack
) -> None:
    """What is left in the queue isn't taken for this peer's row."""
    stack.enter_context(socket.create_connection(tcp.getsockname()))

    def with_a_stale_one(row: bytes) -> list[Packet]:
        of_another = patched(row, 16 + 64, b"\x63\0\0\0")
        return [(patched(of_another, 8, b"\xff\xff"), KERNEL), (row, KERNEL)]

    diag._netlink = cast(socket.socket, Netlink(diag._netlink, with_a_stale_one))
    assert diag.peer(accept(tcp, stack)).uid == os.geteuid()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("128.0.0.1", False),
        ("10.0.0.1", False),
        ("::", False),
        ("::ffff:10.0.0.1", False),
        ("fe80::1%lo", False),
    ],
)
def test_loopback_is_told_by_the_address(host: str, expected: bool) -> None:
    """Only 127.0.0.0/8 and ::1 can't come from another machine."""
    assert is_loopback(host) is expected


@pytest.mark.root
def test_another_users_uid_is_seen_on_both_transports(
    tcp: socket.socket, unix: socket.socket, diag: SockDiag, stack: ExitStack
) -> None:
    """Neither needs a token to know who connects."""
    with client(tcp, uid=ALICE), client(unix, uid=BOB):
        assert diag.peer(accept(tcp, stack)) == Peer(Transport.TCP, ALICE)
        peer = unix_peer(accept(unix, stack))
        assert peer is not None
        assert (peer.uid, peer.gid, peer.groups) == (BOB, BOB, frozenset())


@pytest.mark.root
def test_supplementary_groups_are_seen(unix: socket.socket, stack: ExitStack) -> None:
    """A policy can bind a group that isn't the peer's first."""
    with client(unix, uid=ALICE, groups=(4200, 4300)):
        peer = unix_peer(accept(unix, stack))
        assert peer is not None
        assert peer.groups == {4200, 4300}


@pytest.mark.root
def test_more_groups_than_can_be_asked_for_leave_the_uid(
    unix: socket.socket, stack: ExitStack
) -> None:
    """A user of 300 groups can still be bound by name."""
    with client(unix, uid=ALICE, groups=tuple(range(5000, 5300))):
        peer = unix_peer(accept(unix, stack))
        assert peer is not None
        assert (peer.uid, peer.groups) == (ALICE, frozenset())


@pytest.mark.root
@pytest.mark.parametrize("ending", ["close", "reset"])
def test_a_client_that_sends_and_leaves_is_unattested(
    ending: str, tcp: socket.socket, diag: SockDiag, stack: ExitStack
) -> None:
    """Its row says uid 0 by then, or is gone; it is nobody, and above all not root."""
    with client(tcp, uid=ALICE, ending=ending):
        assert diag.peer(accept(tcp, stack)).uid is None


@pytest.mark.root
def test_a_reset_connection_is_not_taken_for_another_user(
    tcp: socket.socket, diag: SockDiag, stack: ExitStack
) -> None:
    """Alice's request waits while Bob gets her port: it is nobody's, and his is his."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        source = probe.getsockname()
    with (
        client(tcp, uid=ALICE, source=source, ending="reset"),
        client(tcp, uid=BOB, source=source),
    ):
        alices, bobs = accept(tcp, stack), accept(tcp, stack)
        assert alices.getsockname() == bobs.getsockname()
        assert diag.peer(alices).uid is None
        assert diag.peer(bobs).uid == BOB


@pytest.mark.root
@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_a_connection_that_was_handed_over_is_still_the_connectors(
    transport: str, tcp: socket.socket, unix: socket.socket, diag: SockDiag, stack: ExitStack
) -> None:
    """Identity is taken when the connection is made, wherever its descriptor goes later."""
    listener = tcp if transport == "tcp" else unix
    ours, theirs = socket.socketpair()
    stack.enter_context(ours)
    with theirs, client(listener, uid=ALICE, ending="hand over", stdin=theirs.fileno()):
        _, (handed,), *_ = socket.recv_fds(ours, 1, 1)
        stack.callback(os.close, handed)
        far = accept(listener, stack)
        peer = diag.peer(far) if transport == "tcp" else unix_peer(far)
        assert peer is not None
        assert peer.uid == ALICE


@pytest.mark.root
def test_a_listener_of_another_network_namespace_has_unattested_peers(
    tcp: socket.socket, stack: ExitStack
) -> None:
    """A row with the same four-tuple that we can see is another connection's."""
    near = stack.enter_context(socket.create_connection(tcp.getsockname()))
    far = accept(tcp, stack)
    arguments = [sys.executable, "-c", ELSEWHERE, str(tcp.fileno()), str(far.fileno())]
    descriptors = (tcp.fileno(), far.fileno())
    assert near.getsockname() == far.getpeername()
    here = subprocess.check_output(arguments, pass_fds=descriptors)
    elsewhere = subprocess.check_output(["unshare", "-n", *arguments], pass_fds=descriptors)
    assert (here, elsewhere) == (b"0\n", b"None\n")
