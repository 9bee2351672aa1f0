"""A secret is in its value's reply, sealed in the vault, and nowhere else.

Canaries are put wherever a secret can be, also where it doesn't belong; then everything that the
daemon wrote, logged, answered or shows of itself is searched for them.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.daemon_process import DaemonProcess
from tests.e2e.callers import LISTENERS, TRANSPORTS, Caller, connect, frame, http
from tests.e2e.evidence import contents, verify
from tests.e2e.test_disk_full import file_limit

POLICY = """\
clients:
  admin:  {users: ["%(uid)d"], permissions: [all], allow: ["*"]}
  reader: {users: ["%(uid)d"], allow: [shared], token: accepted}
"""


@pytest.fixture(params=[True, False], ids=["json", "text"])
def daemon(
    request: pytest.FixtureRequest, make_daemon: Callable[..., DaemonProcess]
) -> DaemonProcess:
    """A daemon that logs all it ever logs."""
    settings = {"logging": {"json": request.param, "level": "trace"}}
    daemon = make_daemon(settings=settings, environment={"RUST_LOG": "trace"})
    daemon.write_policy(POLICY % {"uid": daemon.uid})
    daemon.start()
    return daemon


def new_canary() -> str:
    """What no other text holds, with characters that encodings change."""
    return f"Zq7/{secrets.token_hex(12)}+=&\u00e9"


def spellings(canary: str) -> Iterator[bytes]:
    """The canary as it might show: as it is, encoded, reversed, in halves."""
    raw = canary.encode()
    yield from (raw, raw[::-1], raw[: len(raw) // 2], raw[len(raw) // 2 :])
    yield from (raw.hex().encode(), raw.hex().upper().encode(), repr(raw)[2:-1].encode())
    yield from (quote(canary, safe="").encode(), json.dumps(canary)[1:-1].encode())
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(b"x" * shift + raw)[4:-4]


def exposed(daemon: DaemonProcess) -> dict[str, bytes]:
    """All that is to be seen of the daemon and of what it keeps, by where it is seen."""
    seen: dict[str, bytes] = {}
    for transport in TRANSPORTS:
        with connect(daemon, transport) as wire:
            for path in ("metrics", "healthz", "whoami"):
                wire.send(http(f"GET /{path}", f"Host: 127.0.0.1:{daemon.port}"))
                seen[f"{path} over {transport}"] = wire.response().body
    with Caller(daemon, "http over unix") as caller:
        for op in ("list", "token_list", "audit_head"):
            seen[op] = json.dumps(caller.ask(op).body).encode()
    for name in ("cmdline", "environ", "comm", "status", "maps"):
        with suppress(PermissionError):  # what can't be read shows nothing
            seen[f"/proc: {name}"] = Path(f"/proc/{daemon.pid}/{name}").read_bytes()
    seen["audit verify"] = verify(daemon).text.encode()
    daemon.kill()
    return {**seen, **contents(daemon.directory)}


def assert_unseen(canaries: dict[str, str], seen: dict[str, bytes]) -> None:
    """None of the canaries, in any spelling, is anywhere in there."""
    assert {"stderr", "state/vault.json", "state/audit.jsonl", "policy.yaml"} <= seen.keys()
    found = {
        (what, where)
        for what, canary in canaries.items()
        for spelling in spellings(canary)
        for where, data in seen.items()
        if spelling in data
    }
    assert found == set()


def test_what_is_kept_shows_only_to_who_may_read_it(daemon: DaemonProcess) -> None:
    """Values of every kind and age, and tokens: nowhere but in the replies that they belong to."""
    kept = {f"put in {way}": new_canary() for way in LISTENERS}
    for way, canary in zip(LISTENERS, kept.values(), strict=True):
        with Caller(daemon, way) as caller:
            name = way.replace(" ", "-")
            assert caller.ask("put", name=name, value=canary).outcome == "ok"
            assert caller.ask("get", name=name).body["value"] == canary
    with Caller(daemon) as caller:
        for what in ("older", "newer"):
            kept[what] = new_canary()
            caller.ask("put", name="a", value=kept[what])
        kept["bytes"] = new_canary()
        encoded = base64.b64encode(kept["bytes"].encode()).decode()
        assert caller.ask("put", name="b", value=encoded, encoding="base64").outcome == "ok"
        kept["deleted"] = new_canary()
        caller.ask("put", name="c", value=kept["deleted"])
        caller.ask("delete", name="c")
        caller.ask("put", name="shared", kind="password")
        kept["generated"] = caller.ask("get", name="shared").body["value"]
        caller.ask("rotate", names=["shared"])
        kept["rotated"] = caller.ask("get", name="shared").body["value"]
        kept["token"] = caller.ask("token_create", client="reader").body["token"]
    with Caller(daemon, client="reader", token=kept["token"]) as reader:
        assert reader.ask("get", name="shared").body["value"] == kept["rotated"]
    with Caller(daemon, client="reader") as reader:
        others = [reader.ask("get", name=name) for name in ("a", "b", "c", "none")]
        others += [reader.ask("list"), reader.ask("rotate", names=["a"])]
    assert_unseen(kept, {**exposed(daemon), "replies": str(others).encode()})


def misplaced(canary: str) -> list[tuple[bytes, bytes]]:
    """The canary in requests that come to nothing: as a frame's body, and as an HTTP request."""
    valid: dict[str, Any] = {"name": "x", "value": canary}
    bodies = [
        json.dumps(valid).encode()[:-4],
        json.dumps(valid).encode() + b"}",
        *(
            json.dumps({**valid, **wrong}).encode()
            for wrong in (
                {"kind": canary},
                {"value": [canary]},
                {"value": {canary: canary}},
                {"extra": canary},
                {"encoding": "base64"},
                {"encoding": canary},
                {"expect_kid": canary},
                {"expect_kid": "0" * 16},
                {"rotation_days": canary},
                {"rotation_days": -1},
                {"name": 5},
                {"name": None},
                {"value": canary * 10_000},
            )
        ),
        b"\xff" + canary.encode(),
        json.dumps(canary).encode(),
        canary.encode(),
        canary.encode() * 30_000,
    ]
    kind = "Content-Type: application/json"
    return [(body, http("POST /secret", kind, "{more}", body=body)) for body in bodies]


def framed(body: bytes) -> bytes:
    """The body of an HTTP request as a frame: an object gets its envelope, all else is left."""
    return frame(b'{"op":"put","client":"admin",' + body[1:] if body[:1] == b"{" else body)


def test_what_is_put_in_the_wrong_place_is_not_told_to_anybody(daemon: DaemonProcess) -> None:
    """Malformed, too large, of a wrong type, denied, unavailable: nothing repeats what was sent."""
    canary = new_canary()
    host, client = f"Host: 127.0.0.1:{daemon.port}", "X-Jarvis-Client: admin"
    token = f"Authorization: Bearer {quote(canary)}"
    replies: list[bytes] = []

    def say(data: bytes) -> None:
        for transport in TRANSPORTS:
            with connect(daemon, transport) as wire:
                wire.send(data)
                with suppress(OSError):
                    replies.append(
                        str(wire.frame()).encode() if data[0] == 0 else wire.response().body
                    )

    for way in LISTENERS:
        with Caller(daemon, way) as caller:  # who misspells a member is told its name
            assert caller.ask("put", name="x", **{canary: "x"}).outcome == "invalid_request"
    for body, request in misplaced(canary):
        say(framed(body))
        for more in (f"{host}\r\n{client}", f"{host}\r\nOrigin: http://x\r\n{client}", client):
            say(request.replace(b"{more}", more.encode()))
    for request in (
        http(f"GET /secret/a?kid={quote(canary)}", host, client),
        http(f"GET /secrets?limit={quote(canary)}", host, client),
        http("GET /secret/a", host, client, token),
        http("GET /secret/a", host, client, token.replace("Bearer", "Basic")),
        http("GET /secret/a", host, client, f"Cookie: {quote(canary)}"),
        frame({"op": "get", "name": "a", "client": "reader", "token": canary}),
        frame({"op": canary, "client": "admin"}),
        canary.encode() * 40,
        b"\x16" + canary.encode(),
    ):
        say(request)
    for way in LISTENERS:
        for client_id in ("reader", "nobody"):
            with Caller(daemon, way, client_id) as caller:
                reply = caller.ask("put", name="x", value=canary)
                assert reply.outcome == "denied"
                replies.append(str(reply).encode())
        with Caller(daemon, way) as caller:
            with file_limit(daemon, daemon.audit_path.stat().st_size):
                reply = caller.ask("put", name="x", value=canary)
            assert reply.outcome == "unavailable"
            replies.append(str(reply).encode())
    assert len(replies) > 150
    assert_unseen({"misplaced": canary}, {**exposed(daemon), "replies": b"\n".join(replies)})
