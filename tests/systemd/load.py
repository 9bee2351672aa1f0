"""Asks the daemon without a pause, in several ways at once, and counts what became of each request.

    python -m tests.systemd.load SOCKET PORT

It ends with its standard input. None of the ways asks twice what was taken, but our own client.
What it prints, as JSON, are the requests of each way that were answered, and the faults of those
that weren't.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pwd import getpwnam

from jarvis_secretsd.client import SecretsClient, SecretsClientError

LIMIT = 20.0
"""Seconds after which a request counts as lost."""

FRAME = b'{"op":"get","name":"web_password","client":"web"}'
FRAMED = len(FRAME).to_bytes(4, "big") + FRAME
HTTP = b"GET /secret/web_password HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nX-Jarvis-Client: web\r\n%s\r\n"

Address = str | tuple[str, int]


class Lost(Exception):
    """A request was sent, or a connection made, and no answer came."""


class Line:
    """A connection that is kept as long as the daemon keeps it, and made anew when it has ended."""

    def __init__(self, address: Address, ask: bytes, *, keep: bool) -> None:
        self._address = address
        self._ask = ask
        self._keep = keep
        self._socket: socket.socket | None = None

    def request(self) -> None:
        """Ask once. Raises Lost, OSError."""
        try:
            ends = self._answer(self._asked()) or not self._keep
        except BaseException:
            self._hang_up()
            raise
        if ends:
            self._hang_up()

    def _asked(self) -> socket.socket:
        """The connection that took our request; one that had been answered may not take it."""
        if self._socket is not None and not _has_ended(self._socket):
            with suppress(BrokenPipeError):
                self._socket.sendall(self._ask)
                return self._socket
        self._hang_up()
        self._socket = _connect(self._address)
        self._socket.sendall(self._ask)
        return self._socket

    def _answer(self, sock: socket.socket) -> bool:
        """Read one answer; True: it is the last."""
        data = b""
        while not (size := _size(data)) or len(data) < size:
            part = sock.recv(65536)
            if not part:
                raise Lost(f"the connection ended after {len(data)} bytes")
            data += part
        if b"hunter2" not in data:
            raise Lost(f"answered {data[:200]!r}")
        return b"\r\nConnection: close\r\n" in data

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _connect(address: Address) -> socket.socket:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.settimeout(LIMIT)
    sock.connect(address)
    return sock


def _has_ended(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return sock.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        sock.settimeout(LIMIT)


def _size(data: bytes) -> int:
    """Bytes of the answer that begins so; 0: that isn't known yet."""
    if data[:1] == b"\0":
        return 4 + int.from_bytes(data[:4], "big") if len(data) >= 4 else 0
    head, end, _ = data.partition(b"\r\n\r\n")
    if not end:
        return 0
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return len(head) + len(end) + int(length)


def ways(path: str, port: int) -> dict[str, Callable[[], object]]:
    """How each way asks once."""
    http, last = HTTP % (port, b""), HTTP % (port, b"Connection: close\r\n")
    tcp = ("127.0.0.1", port)
    client = SecretsClient(path, client_id="web", cache_ttl=0)
    over_tcp = SecretsClient(
        url=f"http://127.0.0.1:{port}",
        daemon_uid=getpwnam("jarvis").pw_uid,
        client_id="web",
        cache_ttl=0,
    )
    return {
        "frames, a connection each": Line(path, FRAMED, keep=False).request,
        "frames, kept": Line(path, FRAMED, keep=True).request,
        "http, a connection each": Line(path, last, keep=False).request,
        "http, kept": Line(path, http, keep=True).request,
        "tcp http, a connection each": Line(tcp, last, keep=False).request,
        "tcp http, kept": Line(tcp, http, keep=True).request,
        "client": lambda: client.get("web_password"),
        "client over tcp": lambda: over_tcp.get("web_password"),
    }


def main(path: str, port: int) -> None:
    """Two threads of each way until nobody listens to us any more; then the counts."""
    is_over = threading.Event()
    answered: Counter[str] = Counter()
    lost: list[str] = []

    def ask(way: str, request: Callable[[], object]) -> None:
        while not is_over.is_set():
            try:
                request()
                answered[way] += 1
            except (OSError, Lost, SecretsClientError) as fault:
                lost.append(f"{way}: {type(fault).__name__}: {fault}")

    threads = [
        threading.Thread(target=ask, args=each)
        for _ in range(2)
        for each in ways(path, port).items()
    ]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    is_over.set()
    for thread in threads:
        thread.join()
    print(json.dumps({"answered": answered, "lost": lost}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
