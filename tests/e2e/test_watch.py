"""Watching a real daemon, in both dialects: what is told, to whom, and when it ends."""

from __future__ import annotations

import json
import os
import re
import resource
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPResponse
from typing import Any, Self

import pytest

from jarvis_secretsd import messages as m
from jarvis_secretsd.client import AccessDenied, SecretsClient
from jarvis_secretsd.values import ClientId, Kind, SecretName
from jarvis_secretsd.wire.codec import encode_request
from jarvis_secretsd.wire.frames import pack
from tests.daemon_process import DaemonProcess
from tests.e2e.evidence import entries_of

PATIENCE = 20.0
"""Seconds after which a message won't come any more."""

POLICY = """\
clients:
  admin: {{users: ["{uid}"], permissions: [all], allow: ["*"]}}
  backend: {{users: ["{uid}"], token: {token}, allow: [{allow}]}}
"""

Message = Mapping[str, Any]
MakeDaemon = Callable[..., DaemonProcess]


def policy(allow: str = "a, b", token: str = "refused") -> str:
    """A policy whose backend may read these."""
    return POLICY.format(uid=os.geteuid(), allow=allow, token=token)


class Follower:
    """A watch, read by nothing of ours but a length and JSON, or the standard library's HTTP."""

    def __init__(
        self,
        daemon: DaemonProcess,
        way: str,
        names: Sequence[str] = (),
        *,
        after: int | None = None,
        client: str = "admin",
        token: str | None = None,
    ) -> None:
        self.socket = daemon.connect()
        self.socket.settimeout(PATIENCE)
        self._stream: Any = self.socket.makefile("rb")
        self._response: HTTPResponse | None = None
        if way == "http":
            query = f"?names={','.join(names)}" if names else ""
            headers = {"X-Jarvis-Client": client}
            headers |= {"Last-Event-ID": str(after)} if after is not None else {}
            headers |= {"Authorization": f"Bearer {token}"} if token else {}
            connection = HTTPConnection("localhost")
            connection.sock = self.socket
            connection.request("GET", f"/watch{query}", headers=headers)
            self._response = connection.getresponse()
        else:
            asked = {"op": "watch", "names": names, "after": after, "client": client}
            body = json.dumps({**asked, "token": token, "id": 5}).encode()
            self.socket.sendall(len(body).to_bytes(4, "big") + body)

    def next(self) -> Message:
        """The next message, a heartbeat included. Raises EOFError at the end."""
        return self._framed() if self._response is None else self._event(self._response)

    def news(self) -> Message:
        """The next message that tells something, without its `seq`."""
        deadline = time.monotonic() + PATIENCE
        while not (message := self.next()):
            assert time.monotonic() < deadline, "nothing is told"
        return {key: value for key, value in message.items() if key != "seq"}

    def until_end(self) -> list[Message]:
        """All that is told before the end."""
        told: list[Message] = []
        while True:
            try:
                told.append(self.next())
            except EOFError:
                return told

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
        self._stream.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _framed(self) -> Message:
        length = self._stream.read(4)
        if not length:
            raise EOFError
        reply = json.loads(self._stream.read(int.from_bytes(length, "big")))
        assert reply["id"] == 5
        result: Message = reply["result"] if reply["ok"] else reply["error"]
        return result

    def _event(self, response: HTTPResponse) -> Message:
        if response.status != 200:
            error: Message = json.loads(response.read())
            return {"code": error["error"], "message": error["message"]}
        lines: list[str] = []
        while (line := response.readline().decode()) != "\n":
            if not line:
                assert not lines
                raise EOFError
            lines.append(line.rstrip("\n"))
        if lines == [":"]:
            return {}
        message: Message = json.loads(lines[-1].removeprefix("data: "))
        assert lines[:-1] == ([f"id: {message['seq']}"] if "seq" in message else [])
        return message


@pytest.fixture
def admin(daemon: DaemonProcess) -> Iterator[SecretsClient]:
    """A client that may do everything."""
    with SecretsClient(str(daemon.socket_path), client_id="admin") as client:
        yield client


@pytest.fixture(params=["frames", "http"])
def way(request: pytest.FixtureRequest) -> str:
    """Either dialect."""
    return str(request.param)


def test_what_is_and_then_what_changes(
    daemon: DaemonProcess, admin: SecretsClient, way: str
) -> None:
    """First the whole; then each change, in order, once, and as it is: never a value."""
    kid = admin.put("a", "s3cret-canary").kid
    with Follower(daemon, way) as all_of_it, Follower(daemon, way, ["a", "c"]) as named:
        assert all_of_it.news() == {"secrets": {"a": kid}, "whole": True}
        assert named.news() == {"secrets": {"a": kid, "c": None}, "whole": True}
        kid = admin.put("b", "s3cret-canary").kid
        assert all_of_it.news() == {"secrets": {"b": kid}}
        kid = admin.put("a", "s3cret-canary 2").kid
        admin.put("a", "s3cret-canary 2")  # changes nothing
        admin.call(m.Delete(SecretName("a")))
        admin.call(m.Restore(SecretName("a")))
        for follower in (all_of_it, named):
            assert [follower.news()["secrets"]["a"] for _ in range(3)] == [kid, None, kid]


def test_a_batch_is_one_message(daemon: DaemonProcess, admin: SecretsClient, way: str) -> None:
    """What one `rotate` rotates is told together, with the kids that are current then."""
    for name in ("a", "b", "c"):
        admin.put(name, kind=Kind.PASSWORD)
    with Follower(daemon, way) as follower:
        follower.news()
        admin.call(m.Rotate((SecretName("a"), SecretName("b"), SecretName("c"))))
        assert follower.news() == {"secrets": {each.name: each.kid for each in admin.list()}}


def test_a_watch_goes_on_after_an_interruption(
    daemon: DaemonProcess, admin: SecretsClient, way: str
) -> None:
    """Only what has changed since is told again; from an unknown place, the whole."""
    admin.put("a", "x")
    admin.put("b", "x")
    with Follower(daemon, way) as follower:
        seq = follower.next()["seq"]
    admin.call(m.Delete(SecretName("a")))
    with Follower(daemon, way, after=seq) as follower:
        assert follower.news() == {"secrets": {"a": None}}
    for unknown in (0, 10_000):
        with Follower(daemon, way, after=unknown) as follower:
            assert follower.news()["whole"]


def test_a_restart_ends_the_stream_properly_and_what_came_before_it_is_told_whole(
    daemon: DaemonProcess, admin: SecretsClient, way: str
) -> None:
    """The last chunk comes; and the new daemon, whose policy may be another, doesn't guess."""
    admin.put("a", "x")
    kid = admin.put("b", "x").kid
    with Follower(daemon, way, ["b"]) as follower:
        seq = follower.next()["seq"]
        daemon.restart()
        assert follower.until_end() == []
    with Follower(daemon, way, ["b"], after=seq) as follower:
        assert follower.news() == {"secrets": {"b": kid}, "whole": True}


def test_a_denied_name_denies_the_watch(make_daemon: MakeDaemon, way: str) -> None:
    """With the same words whether or not it exists; one entry in the log says which name."""
    daemon = make_daemon(policy=policy())
    daemon.start()
    with Follower(daemon, way, ["a", "z"], client="backend") as follower:
        before = follower.next()
    with SecretsClient(str(daemon.socket_path), client_id="admin") as admin:
        admin.put("z", "x")
        with Follower(daemon, way, ["a", "z"], client="backend") as follower:
            assert follower.next() == before
    assert before["code"] == "denied"
    denied = [entry for entry in entries_of(daemon) if entry["op"] == "watch"]
    assert [(entry["outcome"], entry["name"]) for entry in denied] == [("denied", "z")] * 2


def test_only_what_may_be_read_is_told(make_daemon: MakeDaemon, way: str) -> None:
    """Neither at first nor later a word about another's secret; the log has the watch alone."""
    daemon = make_daemon(policy=policy())
    daemon.start()
    with SecretsClient(str(daemon.socket_path), client_id="admin") as admin:
        kid = admin.put("a", "x").kid
        admin.put("z", "x")
        with Follower(daemon, way, client="backend") as follower:
            assert follower.news() == {"secrets": {"a": kid}, "whole": True}
            admin.put("z", "y")
            kid = admin.put("b", "y").kid
            assert follower.news() == {"secrets": {"b": kid}}
    watches = [entry for entry in entries_of(daemon) if entry["op"] == "watch"]
    assert [(entry["client"], entry["outcome"]) for entry in watches] == [("backend", "allowed")]


def test_a_reload_that_takes_the_right_ends_the_watch(make_daemon: MakeDaemon, way: str) -> None:
    """It ends without a word more; one whose names are others now is told the whole again."""
    daemon = make_daemon(policy=policy("a, b"))
    daemon.start()
    with SecretsClient(str(daemon.socket_path), client_id="admin") as admin:
        kids = {name: admin.put(name, "x").kid for name in ("a", "b", "c")}
        with (
            Follower(daemon, way, ["b"], client="backend") as named,
            Follower(daemon, way, client="backend") as wide,
            Follower(daemon, way, client="admin") as other,
        ):
            for follower in (named, wide, other):
                follower.news()
            daemon.write_policy(policy("a, c"))
            daemon.reload()
            assert named.until_end() == []
            whole = {name: kids[name] for name in ("a", "c")}
            assert wide.news() == {"secrets": whole, "whole": True}
            kid = admin.put("c", "y").kid
            assert wide.news() == {"secrets": {"c": kid}}
            assert other.news() == {"secrets": {"c": kid}}


def test_the_end_of_a_token_ends_its_watch(make_daemon: MakeDaemon, way: str) -> None:
    """A revoked token hears of no further change."""
    daemon = make_daemon(policy=policy(token="required"))
    daemon.start()
    with SecretsClient(str(daemon.socket_path), client_id="admin") as admin:
        made = admin.ask(m.TokenCreate(ClientId("backend")), m.TokenCreated)
        token = made.token.reveal()
        with Follower(daemon, way, ["a"], client="backend", token=token) as follower:
            follower.news()
            admin.call(m.TokenRevoke(made.token_id))
            admin.put("a", "x")
            assert follower.until_end() == []


def test_a_heartbeat_comes_when_nothing_is_told(make_daemon: MakeDaemon, way: str) -> None:
    """Every `heartbeat_secs`, also past `idle_secs`, which ends who only asks."""
    daemon = make_daemon(settings={"limits": {"heartbeat_secs": 1, "idle_secs": 1}})
    daemon.start()
    with Follower(daemon, way) as follower, daemon.connect() as idle:
        follower.news()
        started = time.monotonic()
        assert follower.next() == follower.next() == {}
        assert 1.8 < time.monotonic() - started < 1.8 + PATIENCE
        assert idle.recv(1) == b""


def test_who_does_not_read_is_dropped_and_harms_nobody(make_daemon: MakeDaemon, way: str) -> None:
    """Its connection ends once too much waits for it; the others are told every change."""
    daemon = make_daemon()
    daemon.start()
    names = [SecretName(f"{number:0250}") for number in range(60)]
    with (
        SecretsClient(str(daemon.socket_path), client_id="admin") as admin,
        Follower(daemon, way) as deaf,
        Follower(daemon, way) as keen,
    ):
        deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        deaf.next()
        keen.next()
        told = Follower.news
        rounds = 0
        while _watchers(daemon) == 2:
            rounds += 1
            assert rounds < 500, "it is never dropped"
            stored = admin.ask_all([m.Put(name, str(rounds)) for name in names], m.Stored)
            current = {each.name: each.kid for each in stored if isinstance(each, m.Stored)}
            heard: dict[str, str] = {}
            while heard != current:
                heard |= told(keen)["secrets"]
        assert rounds > 5
        admin.put("a", "x")
        assert told(keen)["secrets"].keys() == {"a"}
        with pytest.raises((EOFError, ConnectionResetError, json.JSONDecodeError, ValueError)):
            while True:
                deaf.next()


def _watchers(daemon: DaemonProcess) -> int:
    """The gauge, asked from a daemon that has done what was asked before."""
    with daemon.connect() as sock:
        sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        page = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
    found = re.search(r"^jarvis_secretsd_watchers (\d+)", page, re.M)
    assert found
    return int(found[1])


def until_watched_by(daemon: DaemonProcess, count: int) -> None:
    """Wait until the daemon knows of so many watchers."""
    deadline = time.monotonic() + PATIENCE
    while _watchers(daemon) != count:
        assert time.monotonic() < deadline, f"{_watchers(daemon)} are counted"
        time.sleep(0.01)


def test_hundreds_are_told_at_once(daemon: DaemonProcess, admin: SecretsClient) -> None:
    """Of one name in 200 only its watcher hears; of one that all watch, all do."""
    with ExitStack() as stack:
        ways = ("frames", "http")
        own = [
            stack.enter_context(Follower(daemon, ways[number % 2], [f"n{number}"]))
            for number in range(100)
        ]
        wide = [stack.enter_context(Follower(daemon, ways[number % 2])) for number in range(100)]
        for follower in (*own, *wide):
            assert follower.news()["whole"]
        assert _watchers(daemon) == 200
        admin.put("n7", "x")
        kid = admin.put("n8", "x").kid
        assert own[8].news() == {"secrets": {"n8": kid}}
        for follower in wide:
            assert [*follower.news()["secrets"], *follower.news()["secrets"]] == ["n7", "n8"]
        own[9].socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            own[9].socket.recv(1)
    until_watched_by(daemon, 0)


def test_a_large_vault_is_told_in_parts_while_it_changes(
    daemon: DaemonProcess, admin: SecretsClient, way: str
) -> None:
    """A reader that stops in the middle isn't dropped, and at the end knows what is true."""
    names = [SecretName(f"{number:0200}") for number in range(3000)]
    admin.ask_all([m.Put(name, "x") for name in names], m.Stored)
    with Follower(daemon, way) as follower:
        known = dict(follower.next()["secrets"])
        admin.put(names[0], "y")
        admin.call(m.Delete(names[-1]))
        message: Message = {"more": True}
        while message.get("more"):
            message = follower.next()
            known |= message.get("secrets", {})
        assert message["whole"]
        listed = {each.name: each.kid for each in admin.list()}
        while {name: kid for name, kid in known.items() if kid} != listed:
            known |= follower.news()["secrets"]


def test_a_change_that_is_not_durable_is_not_told(
    daemon: DaemonProcess, admin: SecretsClient, way: str
) -> None:
    """While the disk takes nothing there is nothing to tell; afterwards it goes on."""
    admin.put("a", "x")
    with Follower(daemon, way) as follower:
        follower.news()
        limits = resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE)
        size = daemon.audit_path.stat().st_size
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (size, limits[1]))
        assert not isinstance(admin.ask_all([m.Put(SecretName("a"), "y")], m.Stored)[0], m.Stored)
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, limits)
        deadline = time.monotonic() + PATIENCE
        while isinstance(admin.ask_all([m.Put(SecretName("b"), "z")], m.Stored)[0], Exception):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert follower.news()["secrets"].keys() == {"b"}


def test_a_pipelined_request_behind_a_watch_ends_it(daemon: DaemonProcess) -> None:
    """Nobody waits for an answer that can't come."""
    request = pack(encode_request(m.Watch(), ClientId("admin")))
    with daemon.connect() as sock:
        sock.sendall(request + request)
        assert b"".join(iter(lambda: sock.recv(4096), b"")) == b""


def test_over_tcp_it_is_the_same_and_the_end_is_said(daemon: DaemonProcess) -> None:
    """The kernel knows who watches there too; a daemon that stops ends a response in good order."""
    with SecretsClient(url=daemon.url, client_id="admin") as client, client.watch() as watch:
        assert next(watch) == {}
        kid = client.put("a", "x").kid
        assert next(watch) == {"a": kid}
        request = f"GET /watch HTTP/1.1\r\nHost: 127.0.0.1:{daemon.port}\r\nX-Jarvis-Client: admin"
        with socket.create_connection(("127.0.0.1", daemon.port), PATIENCE) as sock:
            sock.sendall(f"{request}\r\n\r\n".encode())
            said = b""
            while b"data:" not in said:
                said += sock.recv(4096)
            daemon.stop()
            said += b"".join(iter(lambda: sock.recv(4096), b""))
        assert said.endswith(b"\n\n\r\n0\r\n\r\n")


def test_who_is_gone_before_the_answer_leaves_nothing_behind(daemon: DaemonProcess) -> None:
    """A watch that is asked for by hundreds who hang up at once is nobody's."""
    for _ in range(300):
        with daemon.connect() as sock:
            sock.sendall(b"GET /watch HTTP/1.0\r\nX-Jarvis-Client: admin\r\n\r\n")
    until_watched_by(daemon, 0)


def test_head_begins_no_watch(daemon: DaemonProcess) -> None:
    """It says what a GET would be answered with, and that is all."""
    with daemon.connect() as sock:
        sock.sendall(b"HEAD /watch HTTP/1.1\r\nHost: x\r\nX-Jarvis-Client: admin\r\n\r\n")
        said = b"".join(iter(lambda: sock.recv(4096), b""))
    assert said.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
    assert said.endswith(b"\r\n\r\n")
    assert _watchers(daemon) == 0


def test_the_client_hears_that_it_may_not(make_daemon: MakeDaemon) -> None:
    """At once, and also when a reload takes the right from a watch that goes on."""
    daemon = make_daemon(policy=policy("a"))
    daemon.start()
    with SecretsClient(str(daemon.socket_path), client_id="backend") as client:
        with client.watch(["z"]) as watch, pytest.raises(AccessDenied):
            next(watch)
        with client.watch(["a"]) as watch:
            assert next(watch) == {"a": None}
            daemon.write_policy(policy("b"))
            daemon.reload()
            with pytest.raises(AccessDenied):
                next(watch)
            with pytest.raises(StopIteration):
                next(watch)
