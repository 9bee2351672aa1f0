"""What holds on real sockets: both dialects on every listener, limits, reload, and the end."""

from __future__ import annotations

import json
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from jarvis_secretsd.messages import Get, Put
from jarvis_secretsd.values import ClientId, SecretName
from jarvis_secretsd.wire.codec import encode_request
from jarvis_secretsd.wire.frames import pack
from tests.daemon_process import DaemonProcess
from tests.waiting import wait_until

ADMIN = ClientId("admin")
GET = pack(encode_request(Get(SecretName("a")), ADMIN, None, 1))
HTTP = "GET /secret/a HTTP/1.1\r\nHost: {host}\r\nX-Jarvis-Client: admin\r\n{more}\r\n"

USER_POLICY = """\
clients:
  admin: {{users: ["{uid}"], permissions: [all], allow: ["*"]}}
"""

MakeDaemon = Callable[..., DaemonProcess]


def policy_for(uid: int) -> str:
    """A policy whose admin is this uid (not a client that binds nobody, which root can't be)."""
    return USER_POLICY.format(uid=uid)


@pytest.fixture
def serving(make_daemon: MakeDaemon) -> DaemonProcess:
    """A daemon with the secret `a`."""
    return with_secret(make_daemon())


def with_secret(daemon: DaemonProcess) -> DaemonProcess:
    """The daemon, started, with the secret `a`, and with no connection left."""
    daemon.start()
    with daemon.connect() as sock:
        sock.sendall(pack(encode_request(Put(SecretName("a"), "v1"), ADMIN, None, 0)))
        sock.shutdown(socket.SHUT_WR)
        assert b'"ok":true' in all_of(sock)
    return daemon


@pytest.fixture(params=["unix", "tcp"])
def dial(request: pytest.FixtureRequest, serving: DaemonProcess) -> Callable[[], socket.socket]:
    """Connects over one of the listeners."""

    def connect() -> socket.socket:
        if request.param == "unix":
            return serving.connect()
        return socket.create_connection(("127.0.0.1", serving.port), 5)

    return connect


def all_of(sock: socket.socket) -> bytes:
    """What the peer says until its end."""
    sock.settimeout(10)
    return b"".join(iter(lambda: sock.recv(65536), b""))


def http(serving: DaemonProcess, more: str = "") -> bytes:
    """A get over HTTP, with further header lines."""
    return HTTP.format(host=f"127.0.0.1:{serving.port}", more=more).encode()


def test_both_dialects_are_spoken_on_every_listener(
    serving: DaemonProcess, dial: Callable[[], socket.socket]
) -> None:
    """The first byte decides, and the answer means the same."""
    with dial() as sock:
        sock.sendall(GET)  # a half-closed TCP peer would be nobody
        framed = json.loads(sock.recv(65536)[4:])
    with dial() as sock:
        sock.sendall(http(serving, "Connection: close\r\n"))
        head, _, body = all_of(sock).partition(b"\r\n\r\n")
    assert framed["ok"]
    assert head.startswith(b"HTTP/1.1 200")
    assert json.loads(body) == framed["result"]


def test_requests_in_flight_are_answered_in_their_order(
    serving: DaemonProcess, dial: Callable[[], socket.socket]
) -> None:
    """A hundred at once, more than one turn takes from a connection."""
    with dial() as sock:
        sock.sendall(http(serving) * 99 + http(serving, "Connection: close\r\n"))
        assert all_of(sock).count(b"HTTP/1.1 200") == 100
    with dial() as sock:
        frames = [pack(encode_request(Get(SecretName("a")), ADMIN, None, i)) for i in range(100)]
        sock.sendall(b"".join(frames))
        stream = sock.makefile("rb")
        ids = [json.loads(stream.read(int.from_bytes(stream.read(4))))["id"] for _ in frames]
    assert ids == list(range(100))


@pytest.mark.parametrize("header", ["Origin: http://evil.example", "Sec-Fetch-Site: cross-site"])
def test_a_browser_gets_nothing(
    serving: DaemonProcess, dial: Callable[[], socket.socket], header: str
) -> None:
    """A page's request is refused on every listener, before anything else."""
    with dial() as sock:
        sock.sendall(http(serving, f"{header}\r\n"))
        answer = all_of(sock)
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"v1" not in answer
    assert b"ccess-control" not in answer.lower()


def test_nonsense_ends_the_connection_and_nothing_else(serving: DaemonProcess) -> None:
    """Bytes of no dialect are answered by the end, and others are served."""
    with serving.connect() as sock, serving.connect() as other:
        sock.sendall(b"\x16\x03\x01\x02\x00")
        assert all_of(sock) == b""
        other.sendall(GET)
        assert b"v1" in other.recv(4096)


def test_a_uid_has_its_share_of_connections(make_daemon: MakeDaemon) -> None:
    """Beyond the limit a connection is closed at once; one that ends makes room."""
    daemon = with_secret(make_daemon(settings={"limits": {"max_connections_per_uid": 3}}))
    with ExitStack() as stack:
        held = [stack.enter_context(daemon.connect()) for _ in range(3)]
        for sock in held:
            sock.sendall(GET)
            assert b"v1" in sock.recv(4096)
        with daemon.connect() as sock:
            assert all_of(sock) == b""
        held[0].shutdown(socket.SHUT_WR)
        assert all_of(held[0]) == b""
        with daemon.connect() as sock:
            sock.sendall(GET)
            assert b"v1" in sock.recv(4096)


def test_who_dawdles_is_dismissed(make_daemon: MakeDaemon) -> None:
    """Half a request has a time limit, and so has an idle connection; who works is kept."""
    limits = {"request_secs": 1, "idle_secs": 2}
    daemon = with_secret(make_daemon(settings={"limits": limits}))
    with daemon.connect() as half, daemon.connect() as idle, daemon.connect() as busy:
        half.sendall(GET[:9])
        started = time.monotonic()
        assert all_of(half) == b""
        assert 0.9 < time.monotonic() - started < 1.9
        busy.sendall(GET)
        assert b"v1" in busy.recv(4096)
        assert all_of(idle) == b""
        busy.sendall(GET)
        assert b"v1" in busy.recv(4096)


def test_who_does_not_read_does_not_hold_up_others(serving: DaemonProcess) -> None:
    """A peer that only sends is read no more once enough waits for it."""
    with serving.connect() as deaf, serving.connect() as other:
        deaf.setblocking(False)
        sent = 0
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            try:
                sent += deaf.send(GET * 200)
            except BlockingIOError:
                break
        else:
            pytest.fail(f"{sent} bytes were taken without an end")
        started = time.monotonic()
        other.sendall(GET)
        assert b"v1" in other.recv(4096)
        assert time.monotonic() - started < 2


def cpu_seconds(pid: int) -> float:
    """User and system time of a process (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@pytest.mark.root("only root sees the descriptors of a process that isn't dumpable")
def test_without_descriptors_it_neither_spins_nor_stops(serving: DaemonProcess) -> None:
    """Peers wait in the kernel, who is here is served, and the log takes entries."""
    with serving.connect() as here:
        here.sendall(GET)
        assert b"v1" in here.recv(4096)
        used = len(list(Path(f"/proc/{serving.pid}/fd").iterdir()))
        resource.prlimit(serving.pid, resource.RLIMIT_NOFILE, (used + 2, used + 2))
        waiting = [serving.connect() for _ in range(20)]
        before = cpu_seconds(serving.pid)
        time.sleep(1)
        assert cpu_seconds(serving.pid) - before < 0.2
        here.sendall(GET)
        assert b"v1" in here.recv(4096)
        for sock in waiting:
            sock.close()
    with serving.connect() as sock:
        sock.sendall(GET)
        assert b"v1" in sock.recv(4096)


def test_five_hundred_idle_connections_are_held_without_waking(serving: DaemonProcess) -> None:
    """Whoever is silent costs nothing."""
    held = [serving.connect() for _ in range(500)]
    time.sleep(1.5)
    before = cpu_seconds(serving.pid)
    time.sleep(1)
    assert cpu_seconds(serving.pid) - before < 0.05
    held[-1].sendall(GET)
    assert b"v1" in held[-1].recv(4096)
    for sock in held:
        sock.close()


def test_a_reload_takes_effect_and_dismisses_who_is_known_no_more(
    make_daemon: MakeDaemon,
) -> None:
    """A broken policy changes nothing; a new one ends the connections of those it leaves out."""
    daemon = with_secret(make_daemon())
    with daemon.connect() as sock:
        daemon.write_policy("clients: {admin: {alow: []}}\n")
        daemon.reload()
        wait_until(lambda: "policy not reloaded" in daemon.stderr)
        sock.sendall(GET)
        assert b"v1" in sock.recv(4096)
        daemon.write_policy(policy_for(4711))
        daemon.reload()
        assert all_of(sock) == b""
    assert b'"op":"reload"' in daemon.audit_path.read_bytes()


def test_a_stop_finishes_what_is_in_flight(serving: DaemonProcess) -> None:
    """What was asked completely is answered, and the end is an orderly one that the log tells."""
    with serving.connect() as sock:
        sock.sendall(GET * 20)
        first = sock.recv(4096)
        assert serving.stop() == 0
        assert (first + all_of(sock)).count(b'"ok":true') == 20
    assert b'"op":"stop"' in serving.audit_path.read_bytes()


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """Room for many connections in this process too."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
