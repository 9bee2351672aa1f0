"""Two dialects on two listeners mean the same, and HTTP's finer points hold on real sockets."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from tests.daemon_process import DaemonProcess
from tests.e2e.callers import LISTENERS, TRANSPORTS, Caller, Wire, connect, frame, http
from tests.e2e.evidence import assert_intact, entries, entries_of

MakeDaemon = Callable[..., DaemonProcess]

BYTES = "AAEC/w=="
WRONG_KID = "0123456789abcdef"

SCRIPT: tuple[tuple[str, dict[str, Any]], ...] = (
    ("health", {}),
    ("whoami", {}),
    ("get", {"name": "a"}),
    ("put", {"name": "a", "value": "one\x00\n\u00e9\U0001f511 "}),
    ("get", {"name": "a"}),
    ("put", {"name": "a", "value": "one\x00\n\u00e9\U0001f511 "}),
    ("put", {"name": "a", "value": "two", "kind": "static", "rotation_days": 5}),
    ("put", {"name": "a", "value": "three", "expect_kid": WRONG_KID}),
    ("put", {"name": "a", "value": "three", "expect_kid": ""}),
    ("put", {"name": "b/c.d-e", "value": BYTES, "encoding": "base64"}),
    ("get", {"name": "b/c.d-e"}),
    ("put", {"name": "empty", "value": ""}),
    ("get", {"name": "empty"}),
    ("put", {"name": "made", "kind": "password"}),
    ("put", {"name": "made", "kind": "external"}),
    ("put", {"name": "made"}),
    ("put", {"name": "Made", "value": "x"}),
    ("put", {"name": "../etc", "value": "x"}),
    ("put", {"name": 5, "value": "x"}),
    ("put", {"name": "n", "value": 5432}),
    ("put", {"name": "n", "value": True}),
    ("put", {"name": "n", "value": ["x"]}),
    ("put", {"name": "n", "value": "x", "colour": "red"}),
    ("put", {"name": "n", "value": "x", "encoding": "rot13"}),
    ("put", {"name": "n", "value": "?", "encoding": "base64"}),
    ("put", {"name": "n", "value": "x" * (256 * 1024 + 1)}),
    ("put", {"name": "big", "value": "x" * (256 * 1024)}),
    ("get", {"name": "big"}),
    ("get", {"name": "a", "kid": WRONG_KID}),
    ("get", {"name": "a", "kid": "KID"}),
    ("get", {"name": "A"}),
    ("list", {}),
    ("list", {"limit": 1}),
    ("list", {"after": "a", "limit": 2}),
    ("list", {"limit": 0}),
    ("rotate", {"names": ["made", "none", "made"]}),
    ("rotate", {"names": ["none"]}),
    ("rotate", {"names": []}),
    ("rotate", {"names": "made"}),
    ("rotate", {"names": ["made"], "generate": {"kind": "password", "length": 20}}),
    ("delete", {"name": "a"}),
    ("delete", {"name": "a"}),
    ("get", {"name": "a"}),
    ("restore", {"name": "a"}),
    ("restore", {"name": "a"}),
    ("can", {"client": "admin", "permission": "write", "name": "a"}),
    ("can", {"client": "reader", "permission": "write", "name": "a"}),
    ("can", {"client": "reader", "permission": "fly", "name": "a"}),
    ("token_create", {"client": "reader", "ttl_secs": 60}),
    ("token_create", {"client": "admin"}),
    ("token_create", {"client": "nobody"}),
    ("token_list", {}),
    ("token_revoke", {"token_id": "none"}),
    ("audit_head", {}),
    ("reload", {}),
)
"""Each operation, as it succeeds and as it fails."""

POLICY = """\
clients:
  admin:  {users: ["%d"], permissions: [all], allow: ["*"]}
  reader: {users: ["%d"], allow: [made], token: accepted}
"""

VARYING = re.compile(
    r"[A-Za-z0-9+/]{86}==|\b[0-9a-f]{16,64}\b|\d{4}-\d\d-\d\dT[0-9:.]+Z|[A-Za-z0-9_-]{43,64}"
)
"""Kids, hashes, times, generated values, signatures: different each time."""


def plain(found: Any) -> str:
    """A reply or an entry, without what differs from run to run, and without the listener."""
    for key in ("uptime_secs", "transport", "pid", "gid", "seq", "time"):
        found.pop(key, None)
    return VARYING.sub("*", json.dumps(found, sort_keys=True))


def play(daemon: DaemonProcess, way: str) -> tuple[list[str], list[str]]:
    """Play the script: what was answered, and the entries."""
    daemon.start()
    answers, kid = [], ""
    with Caller(daemon, way) as caller:
        for op, fields in SCRIPT:
            real = {key: kid if value == "KID" else value for key, value in fields.items()}
            reply = caller.ask(op, **real)
            if op == "put" and reply.outcome == "ok" and fields["name"] == "a":
                kid = kid or reply.body["kid"]
            body = {key: value for key, value in reply.body.items() if key != "error"}
            shown = {key: value for key, value in body.items() if key not in ("code", "message")}
            answers.append(f"{op} {reply.outcome} {plain(shown if reply.outcome == 'ok' else {})}")
    return answers, [plain(entry) for entry in entries(daemon.audit_path)]


def test_all_four_ways_to_ask_come_to_the_same(make_daemon: MakeDaemon) -> None:
    """Every operation, well and badly asked: the same outcomes, results and audit entries."""
    uid = make_daemon().uid
    played = [play(make_daemon(policy=POLICY % (uid, uid)), way) for way in LISTENERS]
    first_answers, first_entries = played[0]
    for answers, found in played[1:]:
        assert answers == first_answers
        assert found == first_entries
    outcomes = {answer.split()[1] for answer in first_answers}
    assert outcomes == {"ok", "not_found", "conflict", "invalid_request", "too_large"}


@pytest.fixture
def stocked(daemon: DaemonProcess) -> DaemonProcess:
    """A running daemon with the secret `a`."""
    with Caller(daemon) as caller:
        assert caller.ask("put", name="a", value="value of a").outcome == "ok"
    return daemon


@pytest.fixture(params=TRANSPORTS)
def wire(request: pytest.FixtureRequest, stocked: DaemonProcess) -> Any:
    """A connection on each of the listeners in turn."""
    with connect(stocked, request.param) as wire:
        yield wire


@pytest.fixture
def headers(stocked: DaemonProcess) -> tuple[str, str]:
    """What every request of the admin's has."""
    return (f"Host: 127.0.0.1:{stocked.port}", "X-Jarvis-Client: admin")


def test_head_is_get_without_the_body(
    stocked: DaemonProcess, wire: Wire, headers: tuple[str, str]
) -> None:
    """The same status and headers, an entry like any read, and the next response is whole."""
    get, head = (http(f"{method} /secret/a", *headers) for method in ("GET", "HEAD"))
    wire.send(get + head + get + http("HEAD /healthz", *headers) + get)
    first = wire.response()
    second = wire.response(head=True)
    assert (second.status, second.headers) == (first.status, first.headers)
    assert int(second.headers["content-length"]) == len(first.body)
    assert wire.response() == first
    assert wire.response(head=True).status == 200
    assert wire.response() == first
    assert len(entries_of(stocked, op="get", outcome="allowed")) == 4


CHUNKED = (
    b'5\r\n{"nam\r\nB;ext=1\r\ne":"chunky"\r\n',
    b'1\r\n,\r\n0d\r\n"value":"v"  \r\n1\r\n}\r\n0\r\nX-Jarvis-Client: nobody\r\n\r\n',
)
"""A body in chunks, with an extension, sizes in either case, and a trailer that says nothing."""


def test_a_chunked_body_is_a_body(wire: Wire, headers: tuple[str, str]) -> None:
    """However it is cut, and what follows it is the next request."""
    json_type = "Content-Type: application/json"
    put = http("POST /secret", *headers, json_type, "Transfer-Encoding: chunked")
    get = http("GET /secret/chunky", *headers)
    wire.send(put + b"".join(CHUNKED) + get)
    assert wire.response().status == 201
    assert wire.response().json["value"] == "v"
    for byte in put + b"".join(CHUNKED) + get:
        wire.send(bytes([byte]))
    assert wire.response().status == 200
    assert wire.response().json["version"] == 1


def test_an_invitation_is_given_only_to_what_is_wanted(
    stocked: DaemonProcess, wire: Wire, headers: tuple[str, str]
) -> None:
    """`Expect: 100-continue` (RFC 9110, 10.1.1): the body is called for, or refused unseen."""
    body = json.dumps({"name": "expected", "value": "x" * 200_000}).encode()
    more = (
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Expect: 100-continue",
    )
    wire.send(http("POST /secret", *headers, *more))
    assert wire.response().status == 100
    wire.send(body)
    assert wire.response().status == 201
    wire.send(http("POST /elsewhere", *headers, *more))
    assert wire.response().status == 404
    assert wire.rest() == b""
    for refused, status in (
        (http("POST /secret", *headers, *more[:2], "Expect: a-miracle"), 417),
        (http("POST /secret", *headers, more[0], "Content-Length: 1048577", more[2]), 413),
    ):
        with connect(stocked, "unix") as another:
            another.send(refused)
            assert another.response().status == status
            assert another.rest() == b""


def test_old_and_proxied_ways_to_ask_are_understood(
    stocked: DaemonProcess, headers: tuple[str, str]
) -> None:
    """HTTP/1.0 with and without Host and keep-alive, and the absolute form of a target."""
    host = headers[0]
    for transport in TRANSPORTS:
        with connect(stocked, transport) as wire:
            wire.send(http("GET /secret/a", *headers, "Connection: keep-alive", version="1.0"))
            response = wire.response()
            assert (response.status, response.headers["connection"]) == (200, "keep-alive")
            wire.send(http(f"GET http://127.0.0.1:{stocked.port}/healthz", host))
            assert wire.response().status == 200
            wire.send(http("GET /healthz", version="1.0"))
            assert wire.response().status == 200
            assert wire.rest() == b""
        with connect(stocked, transport) as wire:
            wire.send(http("GET /secret/a", *headers, "Connection: close") * 2)
            assert wire.response().status == 200
            assert wire.rest() == b"", "what follows a last request isn't answered"


def test_no_response_is_for_keeping_or_for_other_origins(
    wire: Wire, headers: tuple[str, str]
) -> None:
    """`no-store` on each, and no CORS header, whatever the status."""
    for method, path, status in (
        ("GET", "/secret/a", 200),
        ("GET", "/secret/none", 404),
        ("GET", "/healthz", 200),
        ("OPTIONS", "/secret", 405),
        ("PUT", "/secret/a", 405),
        ("GET", "/none", 404),
        ("GET", "/secrets?colour=red", 400),
    ):
        wire.send(http(f"{method} {path}", *headers))
        response = wire.response()
        assert response.status == status
        assert response.headers["cache-control"] == "no-store"
        assert not any(name.startswith("access-control") for name in response.headers)
        assert ("allow" in response.headers) == (status == 405)


SMUGGLED = json.dumps({"name": "smuggled", "value": "x"}).encode()


def refusals(port: int) -> dict[str, tuple[bytes, int]]:
    """Requests that must be refused and end their connection, each with its status."""
    host, client = f"Host: 127.0.0.1:{port}", "X-Jarvis-Client: admin"
    length = f"Content-Length: {len(SMUGGLED)}"
    kind = "Content-Type: application/json"
    head = "POST /secret HTTP/1.1"

    def raw(*lines: str, end: str = "\r\n") -> bytes:
        return end.join([*lines, "", ""]).encode() + SMUGGLED

    return {
        "no Host": (raw(head, client, kind, length), 400),
        "two Hosts": (raw(head, host, host, client, kind, length), 400),
        "two clients": (raw(head, host, client, "x-jarvis-client: x", kind, length), 400),
        "two clients, other order": (raw(head, host, "x-jarvis-client: x", client, kind), 400),
        "two types": (raw(head, host, client, kind, kind, length), 400),
        "two lengths": (raw(head, host, client, kind, length, "Content-Length: 3"), 400),
        "a signed length": (raw(head, host, client, kind, "Content-Length: +30"), 400),
        "length and chunks": (
            raw(head, host, client, kind, length, "Transfer-Encoding: chunked"),
            400,
        ),
        "an unknown coding": (raw(head, host, client, kind, "Transfer-Encoding: gzip"), 400),
        "chunks in 1.0": (
            raw("POST /secret HTTP/1.0", host, client, kind, "Transfer-Encoding: chunked"),
            400,
        ),
        "bare line feeds": (raw(head, host, client, kind, length, end="\n"), 400),
        "a folded line": (raw(head, host, client, kind, length, "X: a", " b"), 400),
        "a space before a colon": (raw(head, host, "X-Jarvis-Client : admin", kind, length), 400),
        "a NUL in a header": (raw(head, host, client, kind, length, "X: a\0b"), 400),
        "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        "an upgrade": (
            raw(head, host, client, kind, length, "Connection: Upgrade", "Upgrade: websocket"),
            400,
        ),
        "a head without end": (raw(head, host, "X: " + "x" * 17_000), 431),
        "65 headers": (raw(head, host, *["X: x"] * 65), 431),
        "too large a body": (raw(head, host, client, kind, "Content-Length: 1048577"), 413),
        "an address of no kind": (raw("POST secret HTTP/1.1", host, client, kind, length), 400),
    }


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_is_refused_is_never_taken_for_another_request(
    stocked: DaemonProcess, transport: str
) -> None:
    """Neither its body nor what follows is executed: the status, the end, and no trace of it."""
    behind = http(
        "POST /secret",
        f"Host: 127.0.0.1:{stocked.port}",
        "X-Jarvis-Client: admin",
        "Content-Type: application/json",
        body=SMUGGLED,
    )
    for case, (request, status) in refusals(stocked.port).items():
        with connect(stocked, transport) as wire:
            wire.send(request + behind)
            assert wire.response().status == status, case
            assert wire.rest() == b"", case
    with Caller(stocked) as caller:
        assert caller.ask("get", name="smuggled").outcome == "not_found"
    assert_intact(stocked)


FOREIGN_HOSTS = (
    "evil.example",
    "evil.example:{port}",
    "127.0.0.1.evil.example:{port}",
    "localhost.:{port}",
    "LOCALHOST:{port}",
    "127.0.0.1",
    "127.0.0.1:1",
    "127.1:{port}",
    "0.0.0.0:{port}",
    "",
)
PAGES_HEADERS = (
    "Origin: http://evil.example",
    "Origin: null",
    "Origin: http://127.0.0.1:{port}",
    "Referer: http://evil.example/",
    "Sec-Fetch-Site: cross-site",
    "Sec-Fetch-Site: none",
    "Sec-Fetch-Dest: image",
    "sec-fetch-dest: empty",
)
PAGES_BODIES = (
    "application/x-www-form-urlencoded",
    "text/plain",
    "multipart/form-data; boundary=x",
    "text/json",
    "",
)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_nothing_that_a_page_can_send_is_executed(stocked: DaemonProcess, transport: str) -> None:
    """Headers of browsers on both listeners; over TCP only loopback names with our port."""
    host, client = f"Host: 127.0.0.1:{stocked.port}", "X-Jarvis-Client: admin"
    shapes: list[tuple[str, ...]] = [
        (host, header.format(port=stocked.port)) for header in PAGES_HEADERS
    ]
    if transport == "tcp":
        shapes += [(f"Host: {name.format(port=stocked.port)}",) for name in FOREIGN_HOSTS]
    for shape in shapes:
        for request in (
            http("GET /secret/a", *shape, client),
            http("DELETE /secret/a", *shape, client),
            http("GET /healthz", *shape),
            http("POST /secret", *shape, client, "Content-Type: application/json", body=SMUGGLED),
        ):
            with connect(stocked, transport) as wire:
                wire.send(request)
                assert wire.response().status == 403, shape
                assert wire.rest() == b""
    for kind in PAGES_BODIES:
        with connect(stocked, transport) as wire:
            declared = [f"Content-Type: {kind}"] if kind else []
            wire.send(http("POST /secret", host, client, *declared, body=SMUGGLED))
            assert wire.response().status == 400
    with Caller(stocked) as caller:
        assert caller.ask("get", name="smuggled").outcome == "not_found"
        assert caller.ask("get", name="a").outcome == "ok"
    assert len(entries_of(stocked, op="get", outcome="allowed")) == 1


def test_programs_are_not_taken_for_pages(stocked: DaemonProcess) -> None:
    """Node's lone `Sec-Fetch-Mode`, each loopback name, and any Host on the Unix socket pass."""
    client = "X-Jarvis-Client: admin"
    for transport, lines in (
        ("tcp", (f"Host: localhost:{stocked.port}", "Sec-Fetch-Mode: cors")),
        ("tcp", (f"Host: [::1]:{stocked.port}",)),
        ("unix", ("Host: anything.at.all",)),
        ("unix", ("Host:",)),
    ):
        with connect(stocked, transport) as wire:
            wire.send(http("GET /secret/a", *lines, client))
            assert wire.response().status == 200, lines


def test_a_frame_that_is_none_ends_its_connection(stocked: DaemonProcess) -> None:
    """Nothing behind it is read; a well-formed wrong question only gets its error."""
    put = frame({"op": "put", "name": "smuggled", "value": "x", "client": "admin"})
    for broken in (
        b"\0\0\0\0",
        b"\0\x10\0\x01",
        frame(b"not JSON"),
        frame(b"[]"),
        frame(b'"text"'),
        frame(b'{"op":"health"} {}'),
        frame(b'\xef\xbb\xbf{"op":"health"}'),
        frame('{"op":"health"}'.encode("utf-16")),
        frame(b'{"op":"health","id":1.5}'),
        frame(b'{"op":"health","id":"' + b"x" * 65 + b'"}'),
        frame(b'{"op":"get","name":"\xff"}'),
        frame(b"[" * 100_000),
    ):
        for transport in TRANSPORTS:
            with connect(stocked, transport) as wire:
                wire.send(broken + put)
                assert wire.frame()["ok"] is False, broken[:40]
                assert wire.rest() == b"", broken[:40]
    with connect(stocked, "unix") as wire:
        for wrong in ({"op": "fly"}, {}, {"op": "get"}, {"op": "get", "name": "A"}, {"op": 5}):
            wire.send(frame({**wrong, "id": 7}))
            reply = wire.frame()
            assert (reply["id"], reply["error"]["code"]) == (7, "invalid_request")
        wire.send(frame({"op": "get", "name": "smuggled", "client": "admin"}))
        assert wire.frame()["error"]["code"] == "not_found"


@pytest.mark.parametrize("way", LISTENERS)
def test_who_is_refused_over_and_over_fills_no_log(make_daemon: MakeDaemon, way: str) -> None:
    """So many denials a minute get an entry each; what is allowed stays allowed."""
    uid = make_daemon().uid
    policy = f'clients:\n  some: {{users: ["{uid}"], permissions: [read, write], allow: [a]}}\n'
    daemon = make_daemon(policy=policy, settings={"limits": {"refusals_per_minute": 5}})
    daemon.start()
    with Caller(daemon, way, "some") as caller:
        caller.ask("put", name="a", value="value")
        denied = [caller.ask("get", name="b").outcome for _ in range(20)]
        assert denied == ["denied"] * 5 + ["rate_limited"] * 15
        assert caller.ask("get", name="a").outcome == "ok"
    assert len(entries_of(daemon, outcome="denied")) == 5


def test_what_was_turned_away_is_counted(make_daemon: MakeDaemon) -> None:
    """Malformed requests, and connections beyond the limit, are in the metrics."""
    daemon = make_daemon(settings={"limits": {"max_connections_per_uid": 2}})
    daemon.start()
    with connect(daemon, "unix") as wire, connect(daemon, "unix"):
        with connect(daemon, "tcp") as third:
            assert third.rest() == b""
        wire.send(http("GET /secret/A", "Host: x", "X-Jarvis-Client: admin"))
        assert wire.response().status == 400
        wire.send(http("GET /metrics", "Host: x"))
        text = wire.response().body.decode()
    assert 'jarvis_secretsd_refusals_total{reason="malformed"} 1.0' in text
    assert "jarvis_secretsd_turned_away_total 1.0" in text
    assert 'jarvis_secretsd_connections{transport="unix"} 2.0' in text


def test_beyond_the_limit_of_all_peers_wait_for_room(make_daemon: MakeDaemon) -> None:
    """They aren't refused: the kernel holds them, and who leaves makes room."""
    daemon = make_daemon(settings={"server": {"max_connections": 3}})
    daemon.start()
    with ExitStack() as stack:
        held = [stack.enter_context(Caller(daemon)) for _ in range(3)]
        assert [caller.ask("list").outcome for caller in held] == ["ok"] * 3
        waiting = stack.enter_context(Caller(daemon))
        waiting.send("list")
        assert [caller.ask("list").outcome for caller in held] == ["ok"] * 3
        held[0].wire.sock.close()
        assert waiting.receive().outcome == "ok"


@pytest.mark.root
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_one_user_does_not_shut_out_another(make_daemon: MakeDaemon, transport: str) -> None:
    """A stranger with all the connections that it may have, and more, takes none of the others'."""
    daemon = make_daemon(settings={"limits": {"max_connections_per_uid": 8}})
    daemon.start()
    with ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(connect(daemon, transport, uid=4004))
        with Caller(daemon, f"http over {transport}") as caller:
            assert caller.ask("list").outcome == "ok"


@pytest.mark.parametrize("way", ["frames over unix", "http over tcp"])
def test_who_dribbles_runs_out_of_time(make_daemon: MakeDaemon, way: str) -> None:
    """A byte now and then doesn't count as a request: its time runs from its first byte."""
    daemon = make_daemon(settings={"limits": {"request_secs": 1}})
    daemon.start()
    with Caller(daemon, way) as caller, pytest.raises(OSError, match=r"pipe|reset|hung up"):
        started = time.monotonic()
        for byte in caller.request("put", name="slow", value="x" * 200):
            caller.wire.send(bytes([byte]))
            time.sleep(0.1)
            assert caller.wire.is_open() or time.monotonic() - started > 0.9
            assert time.monotonic() - started < 5
        caller.receive()


def test_reloads_under_load_disturb_nobody(stocked: DaemonProcess) -> None:
    """A hundred signals while three readers ask: each question has its answer."""
    stop = threading.Event()
    answers: list[str] = []

    def read(way: str) -> None:
        with Caller(stocked, way) as caller:
            while not stop.is_set():
                answers.append(caller.ask("get", name="a").outcome)

    threads = [threading.Thread(target=read, args=(way,)) for way in LISTENERS[:3]]
    for thread in threads:
        thread.start()
    for _ in range(100):
        stocked.reload()
        time.sleep(0.005)
    stop.set()
    for thread in threads:
        thread.join()
    assert len(answers) > 100
    assert set(answers) == {"ok"}
    assert entries_of(stocked, op="reload", outcome="allowed")
    assert_intact(stocked)


@pytest.mark.parametrize("way", LISTENERS)
def test_a_stop_leaves_no_entry_without_answer_and_no_answer_without_entry(
    stocked: DaemonProcess, way: str
) -> None:
    """Of a flood of requests, those that were begun are answered whole, and no others are done."""
    with Caller(stocked, way) as caller, Caller(stocked, way) as half:
        half.wire.send(half.request("get", name="a")[:-1])
        caller.wire.send(caller.request("get", name="a") * 2000)
        caller.receive()
        pid = stocked.pid
        for _ in range(3):  # asking again changes nothing
            os.kill(pid, signal.SIGTERM)
        answered = 1
        try:
            while caller.receive().outcome == "ok":
                answered += 1
        except ConnectionResetError:
            pass
        assert stocked.wait() == 0
        assert half.wire.rest() == b""
    assert len(entries_of(stocked, op="get")) == answered
    assert_intact(stocked)


def test_what_was_refused_is_summed_up_before_a_stop(daemon: DaemonProcess) -> None:
    """The counts of the running minute aren't lost with the process that held them."""
    for _ in range(7):
        with connect(daemon, "unix") as wire:
            wire.send(frame(b"not JSON"))
            wire.rest()
    assert daemon.stop() == 0
    (summary,) = entries_of(daemon, op="refused")
    assert (summary["uid"], summary["rule"], summary["count"]) == (daemon.uid, "malformed", 7)
    assert_intact(daemon)
