"""Those who ask the daemon: any uid, either dialect, either transport, over real sockets."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from tests.daemon_process import Address, DaemonProcess

PATIENCE = 20.0
"""Seconds to wait for a reply on a busy machine, before the daemon counts as hung."""

ROUTES = {
    "health": ("GET", "/healthz"),
    "whoami": ("GET", "/whoami"),
    "get": ("GET", "/secret/{name}"),
    "put": ("POST", "/secret"),
    "list": ("GET", "/secrets"),
    "rotate": ("POST", "/rotate"),
    "delete": ("DELETE", "/secret/{name}"),
    "restore": ("POST", "/restore"),
    "can": ("POST", "/can"),
    "token_create": ("POST", "/tokens/create"),
    "token_list": ("POST", "/tokens/list"),
    "token_revoke": ("POST", "/tokens/revoke"),
    "audit_head": ("GET", "/audit/head"),
    "reload": ("POST", "/reload"),
    "lock": ("POST", "/lock"),
    "unlock": ("POST", "/unlock"),
    "backup": ("POST", "/backup"),
}
"""Method and path of each operation, as docs/wire.md has them."""

SUBJECTS = {"can", "token_create"}
"""Operations whose HTTP body calls their subject `client`, which in a frame is the claim."""

TRANSPORTS = ("unix", "tcp")
DIALECTS = ("frames", "http")
LISTENERS = [f"{dialect} over {transport}" for dialect in DIALECTS for transport in TRANSPORTS]
"""The four ways to ask, as `Caller.by` takes them."""


def ordinary_uid() -> int:
    """A uid that isn't root's: our own, or 1000 where the tests run as root."""
    return os.geteuid() or 1000


@contextmanager
def acting_as(uid: int, groups: Sequence[int] = ()) -> Iterator[None]:
    """Be this user, of the gid of the same number and these groups, for what connects meanwhile.

    Both transports know a peer by the effective ids with which its socket was made and connected.
    """
    if uid == os.geteuid() and not groups:
        yield
        return
    before = os.geteuid(), os.getegid(), os.getgroups()
    os.setgroups(groups)
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(before[0])
        os.setegid(before[1])
        os.setgroups(before[2])


class Response(NamedTuple):
    """An HTTP response; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Reply(NamedTuple):
    """What a request came to: "ok" or an error's code, and the result or the error's members."""

    outcome: str
    body: dict[str, Any]


class Wire:
    """One connection as bytes."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        self.sock = sock
        self._ahead = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def frame(self) -> dict[str, Any]:
        """The next frame's object. Raises ConnectionResetError if the daemon hung up."""
        length = int.from_bytes(self._exactly(4), "big")
        found: dict[str, Any] = json.loads(self._exactly(length))
        return found

    def response(self, *, head: bool = False) -> Response:
        """The next response; `head` says that it answers HEAD and so has no body."""
        while b"\r\n\r\n" not in self._ahead:
            self._more()
        text, _, self._ahead = self._ahead.partition(b"\r\n\r\n")
        first, *lines = text.decode("ascii").split("\r\n")
        headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in lines)}
        length = 0 if head else int(headers.get("content-length", "0"))
        return Response(int(first.split()[1]), headers, self._exactly(length))

    def rest(self) -> bytes:
        """All that comes until the daemon hangs up."""
        found, self._ahead = self._ahead, b""
        try:
            while data := self.sock.recv(65536):
                found += data
        except ConnectionResetError:
            pass
        return found

    def is_open(self) -> bool:
        """Whether the daemon still holds the connection, with nothing to say."""
        self.sock.settimeout(0)
        try:
            return bool(self._ahead or self.sock.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            self.sock.settimeout(PATIENCE)

    def _exactly(self, count: int) -> bytes:
        while len(self._ahead) < count:
            self._more()
        found, self._ahead = self._ahead[:count], self._ahead[count:]
        return found

    def _more(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionResetError("the daemon hung up")
        self._ahead += data


class Caller:
    """A client with a connection of its own. `client` is what it claims to be, None: nothing.

    `way` is one of LISTENERS; `uid` and `groups` are whose the connection is, `source` is the TCP
    address that it comes from.
    """

    def __init__(
        self,
        daemon: DaemonProcess,
        way: str = "frames over unix",
        client: str | None = "admin",
        *,
        uid: int | None = None,
        groups: Sequence[int] = (),
        token: str | None = None,
        source: tuple[str, int] | None = None,
    ) -> None:
        self.client = client
        self.token = token
        self._dialect, _, transport = way.split()
        self._host = f"127.0.0.1:{daemon.port}"
        self.wire = connect(daemon, transport, uid=uid, groups=groups, source=source)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.sock.close()

    def ask(self, op: str, **fields: Any) -> Reply:
        """Ask for one operation and wait for what comes of it."""
        self.send(op, **fields)
        return self.receive()

    def send(self, op: str, **fields: Any) -> None:
        """Ask without waiting."""
        self.wire.send(self.request(op, **fields))

    def receive(self) -> Reply:
        """The next reply."""
        if self._dialect == "frames":
            frame = self.wire.frame()
            if frame["ok"]:
                return Reply("ok", frame["result"])
            return Reply(frame["error"]["code"], frame["error"])
        response = self.wire.response()
        body = response.json
        return Reply("ok" if response.status < 400 else body.get("error") or body["status"], body)

    def request(self, op: str, **fields: Any) -> bytes:
        """The request in this caller's dialect."""
        return self._frame(op, fields) if self._dialect == "frames" else self._http(op, fields)

    def _frame(self, op: str, fields: dict[str, Any]) -> bytes:
        if op in SUBJECTS:
            fields = {"subject" if key == "client" else key: value for key, value in fields.items()}
        if self.client is not None:
            fields = {**fields, "client": self.client}
        if self.token is not None:
            fields = {**fields, "token": self.token}
        return frame({"op": op, **fields})

    def _http(self, op: str, fields: dict[str, Any]) -> bytes:
        method, path = ROUTES[op]
        headers = [f"Host: {self._host}"]
        if self.client is not None:
            headers.append(f"X-Jarvis-Client: {self.client}")
        if self.token is not None:
            headers.append(f"Authorization: Bearer {self.token}")
        if "{name}" in path:
            path = path.format(name=fields.pop("name"))
        if method != "POST":
            query = "&".join(f"{key}={value}" for key, value in fields.items())
            return http(f"{method} {path}{'?' * bool(query)}{query}", *headers)
        headers.append("Content-Type: application/json")
        return http(f"{method} {path}", *headers, body=json.dumps(fields).encode())


def connect(
    daemon: DaemonProcess,
    transport: str,
    *,
    uid: int | None = None,
    groups: Sequence[int] = (),
    source: tuple[str, int] | None = None,
) -> Wire:
    """A connection of this user, over TCP from this address if one is given."""
    address: Address = (
        str(daemon.socket_path) if transport == "unix" else ("127.0.0.1", daemon.port)
    )
    family = socket.AF_UNIX if transport == "unix" else socket.AF_INET
    with acting_as(os.geteuid() if uid is None else uid, groups):
        wire = Wire(socket.socket(family, socket.SOCK_STREAM))
        try:
            if source:
                wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                wire.sock.bind(source)
            wire.sock.connect(address)
        except OSError:
            wire.sock.close()
            raise
    return wire


def frame(body: dict[str, Any] | bytes) -> bytes:
    """A frame around this object, or around bytes that may be none."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return len(data).to_bytes(4, "big") + data


def http(start: str, *headers: str, body: bytes = b"", version: str = "1.1") -> bytes:
    """A request; a body brings its Content-Length."""
    length = [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([f"{start} HTTP/{version}", *headers, *length, "", ""]).encode() + body
