"""A secret is in its value's reply, sealed in the vault, and nowhere else."""

from __future__ import annotations

import base64
import json
import socket
from pathlib import Path
from urllib.parse import quote

from jarvis_secretsd.messages import Get, Put
from jarvis_secretsd.values import ClientId, SecretName
from jarvis_secretsd.wire.codec import encode_request
from jarvis_secretsd.wire.frames import pack
from tests.daemon_process import DaemonProcess

CANARY = "Zq7-canary+/9f3a=Xy8_canary&Wv6"
NAME, ADMIN = SecretName("canary"), ClientId("admin")


def spellings(canary: str) -> list[bytes]:
    """The canary as it might show: as it is, encoded, reversed, in halves."""
    raw = canary.encode()
    shifted = [base64.b64encode(b"x" * i + raw)[4:-4] for i in range(3)]
    half = len(raw) // 2
    texts = [json.dumps(canary)[1:-1], quote(canary, safe="")]
    return [raw, raw.hex().encode(), raw[::-1], raw[:half], raw[half:], *shifted] + [
        text.encode() for text in texts
    ]


def exchange(daemon: DaemonProcess, data: bytes) -> bytes:
    """Send bytes, and take what comes back until the peer is done."""
    with daemon.connect() as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(5)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def posted(path: str, body: bytes, more: str = "") -> bytes:
    """A POST with this body."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-Jarvis-Client: admin\r\n{more}"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def test_a_value_shows_nowhere_but_where_it_was_asked_for(daemon: DaemonProcess) -> None:
    """Not in logs, audit, files, metrics, process tables, or the answer to any faulty request."""
    assert b'"ok":true' in exchange(daemon, pack(encode_request(Put(NAME, CANARY), ADMIN, None, 1)))
    assert CANARY.encode() in exchange(daemon, pack(encode_request(Get(NAME), ADMIN, None, 1)))
    faulty = {"name": "x", "value": CANARY}
    answers = [
        exchange(daemon, request)
        for request in (
            posted("/secret", json.dumps(faulty).encode()[:-4]),
            posted("/secret", json.dumps({**faulty, "kind": CANARY}).encode()),
            posted("/secret", json.dumps({"name": "x", "value": [CANARY]}).encode()),
            posted("/secret", json.dumps({**faulty, "extra": CANARY}).encode()),
            posted("/secret", json.dumps({**faulty, "encoding": "base64"}).encode()),
            posted("/secret", json.dumps({**faulty, "expect_kid": "0" * 16}).encode()),
            posted("/secret", b"\xff" + CANARY.encode()),
            posted("/secret", CANARY.encode() * 40_000),
            posted("/secret", json.dumps(faulty).encode(), "Origin: http://evil.example\r\n"),
            pack(b'{"op":"put","value":"' + CANARY.encode()),
            pack(json.dumps({"op": "put", "name": 5, "value": CANARY}).encode()),
            pack(json.dumps({"op": CANARY, "value": CANARY}).encode()),
            pack(b'{"op":"list","client":"admin"}'),
            b"GET /metrics HTTP/1.0\r\n\r\n",
        )
    ]
    processes = [Path(f"/proc/{daemon.pid}/cmdline").read_bytes()]
    assert daemon.stop() == 0
    files = [each.read_bytes() for each in daemon.directory.rglob("*") if each.is_file()]
    assert len(files) > 5
    places = [*answers, *processes, *files]
    found = [place[:200] for place in places for each in spellings(CANARY) if each in place]
    assert found == []
