"""As other users: nobody gets what the policy doesn't give, and nobody passes for another.

The daemon has a uid of its own, its socket is open to everyone, and the policy even binds root, so
that a peer who was taken for root would have everything.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.daemon_process import DaemonProcess
from tests.e2e.callers import LISTENERS, Caller, frame
from tests.e2e.evidence import assert_intact, entries, entries_of
from tests.e2e.tools import FAKETIME
from tests.users import as_user

pytestmark = pytest.mark.root

DAEMON, BACKEND, MCP, STRANGER, MEMBER, OVERFLOW = 4001, 4002, 4003, 4004, 4005, 65534
SEARCHERS = 4200

POLICY = """\
clients:
  admin:   {users: ["4001"], permissions: [all], allow: ["*"]}
  backend: {users: ["4002"], allow: [postgres_password, root_key], deny: ["root_*"]}
  search:  {groups: ["4200"], permissions: [read, write], allow: ["search/*"]}
  mcp:     {users: ["4003"], allow: [brave_api_key], token: required}
  unbound: {allow: [ha_token]}
"""

ROOTS = POLICY + '  roots: {users: ["0"], permissions: [all], allow: ["*"]}\n'
"""The same, where whoever is taken for root has everything."""

SECRETS = ("postgres_password", "root_key", "search/key", "brave_api_key", "ha_token")
CLAIMS = ("admin", "backend", "search", "mcp", "unbound", "no-such-client", None)
LIMITS: Mapping[str, Mapping[str, Any]] = {
    "server": {"allow_unix_socket": True},
    "limits": {"refusals_per_minute": 1_000_000},
}

TRIES = 40
LINGER_ZERO = struct.pack("ii", 1, 0)
"""Closing then sends a reset at once (socket(7), SO_LINGER)."""


class Person(NamedTuple):
    """Who connects."""

    uid: int
    groups: tuple[int, ...] = ()


PEOPLE = {
    "root": Person(0),
    "root, of the group": Person(0, (4001, 4002)),
    "the daemon's user": Person(DAEMON),
    "backend's user": Person(BACKEND),
    "mcp's user": Person(MCP),
    "a member": Person(MEMBER, (SEARCHERS,)),
    "a stranger": Person(STRANGER),
    "the overflow uid": Person(OVERFLOW),
}

Question = tuple[str, dict[str, Any]]

QUESTIONS: dict[str, Question] = {
    **{f"get {name}": ("get", {"name": name}) for name in SECRETS},
    "get nothing": ("get", {"name": "no_such_secret"}),
    "list": ("list", {}),
    "put search": ("put", {"name": "search/new", "value": "new"}),
    "put": ("put", {"name": "scratch", "value": "scratch"}),
    "rotate": ("rotate", {"names": ["scratch"]}),
    "delete": ("delete", {"name": "scratch"}),
    "restore": ("restore", {"name": "scratch"}),
    "token_create": ("token_create", {"client": "mcp"}),
    "token_list": ("token_list", {}),
    "token_revoke": ("token_revoke", {"token_id": "0" * 16}),
    "audit_head": ("audit_head", {}),
    "can": ("can", {"client": "admin", "permission": "read", "name": "root_key"}),
    "reload": ("reload", {}),
}
"""Every operation that needs a right."""

GIVEN: dict[tuple[str, str], set[str]] = {
    ("the daemon's user", "admin"): QUESTIONS.keys() - {"get nothing", "token_revoke"},
    ("the daemon's user", "unbound"): {"get ha_token", "list"},
    ("backend's user", "backend"): {"get postgres_password", "list"},
    ("a member", "search"): {"get search/key", "put search", "list"},
}
"""All that succeeds, by who asks and as which client."""


@pytest.fixture
def house(make_daemon: Callable[..., DaemonProcess]) -> DaemonProcess:
    """The daemon of uid 4001 with its secrets, on both transports."""
    return furnished(make_daemon(uid=DAEMON, policy=POLICY, settings=LIMITS))


@pytest.fixture
def roots_house(make_daemon: Callable[..., DaemonProcess]) -> DaemonProcess:
    """As `house`, and root may do everything in it."""
    return furnished(make_daemon(uid=DAEMON, policy=ROOTS, settings=LIMITS))


def furnished(daemon: DaemonProcess) -> DaemonProcess:
    daemon.start()
    with Caller(daemon, uid=DAEMON) as admin:
        for name in SECRETS:
            assert admin.ask("put", name=name, value=f"value of {name}").outcome == "ok"
    return daemon


@pytest.mark.parametrize("way", LISTENERS)
def test_nobody_gets_what_the_policy_does_not_give(house: DaemonProcess, way: str) -> None:
    """Every user as every client with every operation: only what is in the table succeeds."""
    tried = 0
    for (who, person), claim in product(PEOPLE.items(), CLAIMS):
        given = GIVEN.get((who, claim or ""), set())
        if claim == "search" and "tcp" in way:
            given = set()  # groups aren't known over TCP
        with Caller(house, way, claim, uid=person.uid, groups=person.groups) as caller:
            for question, (op, fields) in QUESTIONS.items():
                reply = caller.ask(op, **fields)
                expected = "ok" if question in given else refusal(who, claim, question)
                assert reply.outcome == expected, (who, claim, question, reply)
                if expected != "ok":
                    assert "value of" not in str(reply.body)
                tried += 1
    assert tried == len(PEOPLE) * len(CLAIMS) * len(QUESTIONS)
    for entry in entries(house.audit_path):
        allowed = entry.get("outcome") == "allowed" and "uid" in entry
        assert not allowed or (entry["uid"], entry["client"]) in {
            (DAEMON, "admin"),
            (DAEMON, "unbound"),
            (BACKEND, "backend"),
            (MEMBER, "search"),
        }
    assert_intact(house)


def refusal(who: str, claim: str | None, question: str) -> str:
    """How what isn't given is refused."""
    if claim is None:
        return "client_required"
    if (who, claim) == ("the daemon's user", "admin"):
        return "not_found"
    return "bad_token" if (who, claim) == ("mcp's user", "mcp") else "denied"


@pytest.mark.parametrize("way", LISTENERS)
def test_a_list_shows_only_what_may_be_read(house: DaemonProcess, way: str) -> None:
    """No name leaks that `get` wouldn't give, to whoever the claim."""
    seen = {
        (person.uid, claim): [one["name"] for one in reply.body["secrets"]]
        for person, claim in product(PEOPLE.values(), CLAIMS)
        if (reply := ask_once(house, way, person, claim, "list")).outcome == "ok"
    }
    expected: dict[tuple[int, str], list[str]] = {
        (DAEMON, "admin"): sorted(SECRETS),
        (DAEMON, "unbound"): ["ha_token"],
        (BACKEND, "backend"): ["postgres_password"],
    }
    if "unix" in way:
        expected[MEMBER, "search"] = ["search/key"]
    assert seen == expected


def ask_once(
    daemon: DaemonProcess, way: str, person: Person, claim: str | None, op: str, **fields: Any
) -> Any:
    with Caller(daemon, way, claim, uid=person.uid, groups=person.groups) as caller:
        return caller.ask(op, **fields)


@pytest.mark.parametrize("way", LISTENERS)
def test_a_token_is_no_use_to_another_user(house: DaemonProcess, way: str) -> None:
    """`token: required` wants the user and the token, and the token of that client."""
    with Caller(house, way, uid=DAEMON) as admin:
        token = admin.ask("token_create", client="mcp").body["token"]
    for who, person in PEOPLE.items():
        for claim in CLAIMS:
            with Caller(house, way, claim, uid=person.uid, token=token) as caller:
                reply = caller.ask("get", name="brave_api_key")
            owner = (who, claim) == ("mcp's user", "mcp")
            assert (reply.outcome == "ok") == owner, (who, claim, reply)


@pytest.mark.parametrize("way", LISTENERS)
@pytest.mark.parametrize("who", PEOPLE)
def test_the_kernel_says_who_it_is(house: DaemonProcess, who: str, way: str) -> None:
    """`whoami` is the uid of whoever connected, and names no client that it may not be."""
    body = ask_once(house, way, PEOPLE[who], "admin", "whoami").body
    assert body["uid"] == PEOPLE[who].uid
    assert body["client"] == ("admin" if who == "the daemon's user" else None)
    clients = {
        client for client in ("admin", "backend", "search", "unbound") if (who, client) in GIVEN
    }
    if who == "mcp's user":
        clients = {"mcp"}
    if "tcp" in way:
        clients -= {"search"}
    assert set(body["clients"]) == clients


@contextmanager
def stopped(daemon: DaemonProcess) -> Iterator[None]:
    """Meanwhile the daemon stands still, and then finds all that happened."""
    os.kill(daemon.pid, signal.SIGSTOP)
    while Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        os.sched_yield()
    try:
        yield
    finally:
        os.kill(daemon.pid, signal.SIGCONT)


def leave_at_once(caller: Caller, ending: str) -> None:
    """Ask for what only root may have, and go."""
    caller.send("get", name="root_key")
    if ending == "reset":
        caller.wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
    if ending == "half-close":
        caller.wire.sock.shutdown(socket.SHUT_WR)
    else:
        caller.wire.sock.close()


def rows_of_root(daemon: DaemonProcess) -> int:
    """Clients' sockets that the kernel shows as root's, since their owners are gone (proc(5))."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{daemon.port:04X}") and row[7] == "0" for row in rows)


@pytest.mark.parametrize("way", ["frames over tcp", "http over tcp"])
def test_who_sends_and_leaves_at_once_is_nobody(roots_house: DaemonProcess, way: str) -> None:
    """The kernel shows uid 0 for a socket that is gone; nobody is taken for root by that."""
    endings = ("close", "reset", "half-close")
    with ExitStack() as stack:
        with stopped(roots_house):
            for ending, _ in product(endings, range(TRIES)):
                caller = Caller(roots_house, way, "roots", uid=STRANGER)
                leave_at_once(stack.enter_context(caller), ending)
            deadline = time.monotonic() + 5
            while rows_of_root(roots_house) < TRIES and time.monotonic() < deadline:
                time.sleep(0.02)
            assert rows_of_root(roots_house) >= TRIES
        for ending, _ in product(endings, range(TRIES)):
            with Caller(roots_house, way, "roots", uid=STRANGER) as caller:
                leave_at_once(caller, ending)
        me = ask_once(roots_house, way, Person(0), "roots", "whoami").body["uid"]
    assert me == 0
    assert not entries_of(roots_house, uid=0)
    assert not entries_of(roots_house, op="get")


@pytest.mark.parametrize("way", ["frames over tcp", "http over tcp"])
def test_a_reset_connection_is_not_taken_for_the_next_user_of_its_port(
    roots_house: DaemonProcess, way: str
) -> None:
    """A stranger asks and resets, root gets the port: root's row doesn't speak for the stranger."""
    for _ in range(TRIES):
        with stopped(roots_house):
            anywhere = ("127.0.0.1", 0)
            with Caller(roots_house, way, "roots", uid=STRANGER, source=anywhere) as stranger:
                source = stranger.wire.sock.getsockname()
                leave_at_once(stranger, "reset")
            with Caller(roots_house, way, "roots", uid=0, source=source) as root:
                assert root.wire.sock.getsockname() == source
                root.send("whoami")
                pending = root.wire.sock.dup()
        with pending:
            root.wire.sock = pending
            pending.settimeout(20)
            assert root.receive().body["uid"] == 0
    assert not entries_of(roots_house, op="get")


def test_strangers_are_summed_up_by_their_true_uid(
    make_daemon: Callable[..., DaemonProcess],
) -> None:
    """One entry a uid and minute, none for each request; who had gone is nobody's, not root's."""
    daemon = make_daemon(uid=DAEMON, policy=POLICY, environment=FAKETIME)
    clock = daemon.directory / "faketime"
    clock.write_text("+0")
    furnished(daemon)
    for _ in range(TRIES):
        assert (
            ask_once(daemon, "http over unix", Person(STRANGER), "admin", "list").outcome
            == "denied"
        )
        with stopped(daemon), Caller(daemon, "http over tcp", uid=STRANGER) as caller:
            leave_at_once(caller, "close")
    clock.write_text("+61")
    assert ask_once(daemon, "http over unix", Person(DAEMON), "admin", "list").outcome == "ok"
    summaries = entries_of(daemon, op="refused")
    counts = {(one.get("uid"), one["rule"]): one["count"] for one in summaries}
    assert counts.pop((STRANGER, "stranger")) == TRIES
    # one that had gone before it was accepted may not have been heard at all
    assert 0 < counts.pop((None, "stranger")) <= TRIES
    assert counts == {}
    assert len(summaries) == 2


PROGRAM = """
import socket, sys
sock = socket.socket(fileno=int(sys.argv[1])) if sys.argv[1].isdigit() else socket.socket(1)
sys.argv[1].isdigit() or sock.connect(sys.argv[1])
sock.sendall(bytes.fromhex(sys.argv[2]))
sys.stdout.buffer.write(sock.recv(65536))
"""
"""Asks through a descriptor that it was given, or at the path of a socket, and prints the reply."""


def run_program(
    where: str | int, op: str, *prefix: str, uid: int, claim: str, **fields: Any
) -> dict[str, Any]:
    """What a program of this user is told."""
    question = frame({"op": op, "client": claim, **fields})
    done = subprocess.run(
        [*prefix, sys.executable, "-c", PROGRAM, str(where), question.hex()],
        capture_output=True,
        check=True,
        cwd="/",
        timeout=20,
        pass_fds=(where,) if isinstance(where, int) else (),
        **as_user(uid),
    )
    reply: dict[str, Any] = json.loads(done.stdout[4:])
    return reply


@pytest.mark.parametrize("way", ["frames over unix", "frames over tcp"])
def test_a_connection_stays_its_makers(house: DaemonProcess, way: str) -> None:
    """Handed to another user it still asks as who connected; that user's rights don't come in."""
    with Caller(house, way, "backend", uid=BACKEND) as theirs:
        descriptor = theirs.wire.sock.fileno()
        theirs.wire.sock.setblocking(True)
        reply = run_program(
            descriptor, "get", uid=STRANGER, claim="backend", name="postgres_password"
        )
        assert reply["result"]["value"] == "value of postgres_password"
    with Caller(house, way, "backend", uid=STRANGER) as strangers:
        descriptor = strangers.wire.sock.fileno()
        strangers.wire.sock.setblocking(True)
        reply = run_program(
            descriptor, "get", uid=BACKEND, claim="backend", name="postgres_password"
        )
        assert reply["error"]["code"] == "denied"


def test_root_of_a_user_namespace_is_who_made_it(roots_house: DaemonProcess) -> None:
    """`unshare -Ur` shows uid 0 inside, and the daemon sees the user outside."""
    socket_path = str(roots_house.socket_path)
    inside = ("unshare", "-Ur")
    whoami = run_program(socket_path, "whoami", *inside, uid=BACKEND, claim="roots")
    assert (whoami["result"]["uid"], whoami["result"]["client"]) == (BACKEND, None)
    refused = run_program(socket_path, "get", *inside, uid=BACKEND, claim="roots", name="root_key")
    assert refused["error"]["code"] == "denied"
    given = run_program(
        socket_path, "get", *inside, uid=BACKEND, claim="backend", name="postgres_password"
    )
    assert given["ok"]


REACH = """
import fcntl, socket, struct, sys
sock = socket.socket()
sock.settimeout(2)
if sys.argv[2:]:
    sock.bind((sys.argv[2], 0))
else:
    fcntl.ioctl(sock, 0x8914, struct.pack("16sH14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
try:
    sock.connect(("127.0.0.1", int(sys.argv[1])))
    print("reached")
except OSError as error:
    print("not reached:", error)
"""
"""Tries to connect to a port of 127.0.0.1, over `lo` or from another address if one is given."""


def reach(*prefix: str, port: int, source: str = "") -> str:
    command = [*prefix, sys.executable, "-c", REACH, str(port), *filter(None, [source])]
    return subprocess.check_output(command, text=True, timeout=20, cwd="/")


def test_another_network_namespace_has_the_socket_and_not_the_port(house: DaemonProcess) -> None:
    """A container on a network of its own: the mounted socket knows its uid, TCP isn't there."""
    assert reach(port=house.port) == "reached\n"
    assert reach("unshare", "-n", port=house.port).startswith("not reached")
    apart = (
        "unshare",
        "-n",
        "setpriv",
        f"--reuid={BACKEND}",
        f"--regid={BACKEND}",
        "--clear-groups",
    )
    path = str(house.socket_path)
    reply = run_program(path, "get", *apart, uid=0, claim="backend", name="postgres_password")
    assert reply["ok"]
    (entry,) = entries_of(house, op="get")
    assert (entry["uid"], entry["transport"]) == (BACKEND, "unix")


@pytest.fixture
def bridged() -> Iterator[tuple[str, str]]:
    """A neighbour whose packets to 127.0.0.1 are routed to us: its namespace and its address.

    Its own `lo` stays down, so that 127.0.0.1 isn't its own.
    """
    name = f"jarvis{os.getpid()}"
    near, far = f"jn{os.getpid()}"[:15], f"jf{os.getpid()}"[:15]
    inside = f"ip netns exec {name}"
    commands = f"""
ip netns add {name}
ip link add {near} type veth peer name {far} netns {name}
ip addr add 10.231.7.1/24 dev {near}
ip link set {near} up
{inside} ip addr add 10.231.7.2/24 dev {far}
{inside} ip link set {far} up
{inside} ip route add 127.0.0.1/32 via 10.231.7.1 dev {far}
"""
    try:
        for command in commands.split("\n"):
            subprocess.run(command.split() or ["true"], check=True)
        Path(f"/proc/sys/net/ipv4/conf/{near}/route_localnet").write_text("1")
        setting = f"echo 1 > /proc/sys/net/ipv4/conf/{far}/route_localnet"
        subprocess.run([*inside.split(), "sh", "-c", setting], check=True)
        yield name, "10.231.7.2"
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)
        subprocess.run(["ip", "link", "del", near], check=False, stderr=subprocess.DEVNULL)


def test_a_neighbour_does_not_reach_loopback(
    house: DaemonProcess, bridged: tuple[str, str]
) -> None:
    """Where route_localnet lets a bridge's packets through, our listener still takes only lo's."""
    namespace, source = bridged
    inside = ("ip", "netns", "exec", namespace)
    with socket.create_server(("127.0.0.1", 0)) as unguarded:
        port = unguarded.getsockname()[1]
        assert reach(*inside, port=port, source=source) == "reached\n"
    assert reach(*inside, port=house.port, source=source).startswith("not reached")
