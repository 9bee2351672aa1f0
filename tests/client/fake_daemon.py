"""A daemon that is a dictionary: frames over a real socket, the wire's own codec, no policy."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from jarvis_secretsd import messages as m
from jarvis_secretsd.values import (
    NEVER,
    BearerToken,
    ClientId,
    Kid,
    Kind,
    SecretName,
    SecretValue,
    State,
)
from jarvis_secretsd.wire.codec import decode_request, encode_reply
from jarvis_secretsd.wire.frames import Frames, pack

Answer = Callable[[m.Request], m.Reply | bytes | None]
"""A test's own answer to a request: raw bytes are sent as they are, None hangs up."""

NOW = datetime(2026, 11, 25, 9, 41, tzinfo=UTC)
PAGE = 2
"""Small, so that a handful of names is several pages."""


class Stall:
    """An answer that is held back: `asked` tells that its question came, `go_on` lets it go."""

    def __init__(self, daemon: FakeDaemon) -> None:
        self.asked, self.go_on = threading.Event(), threading.Event()
        self._daemon = daemon

    def __call__(self, request: m.Request) -> m.Reply:
        answer = self._daemon.obey(request.operation)  # as things were when it was asked
        self.asked.set()
        self.go_on.wait(5)
        return answer


class FakeDaemon:
    """Holds `secrets`, remembers every request in `asked`, and lets `answers` speak first."""

    def __init__(self) -> None:
        self.secrets: dict[str, SecretValue] = {}
        self.versions: dict[str, int] = {}
        self.unreadable: set[str] = set()
        self.unwritable: set[str] = set()
        self.expires_at = NEVER
        self.asked: list[m.Request] = []
        self.connections = 0
        self.answers: list[Answer] = []

    def hold(self, **texts: str) -> None:
        """Store texts under these names, without a request."""
        for name, text in texts.items():
            self.store(name, SecretValue.from_text(text))

    def store(self, name: str, value: SecretValue) -> None:
        """Store a value as a new version."""
        self.secrets[name] = value
        self.versions[name] = self.versions.get(name, 0) + 1

    def operations(self, kind: type[m.Operation]) -> list[m.Operation]:
        """What was asked of this kind, in order."""
        return [request.operation for request in self.asked if type(request.operation) is kind]

    def answer(self, request: m.Request) -> m.Reply | bytes | None:
        """The reply, from a test's `answers` while there are any."""
        self.asked.append(request)
        return self.answers.pop(0)(request) if self.answers else self.obey(request.operation)

    def obey(self, operation: m.AnyOperation) -> m.Reply:
        """What a daemon that allows everything would say."""
        match operation:
            case m.Health():
                return m.HealthStatus("ok", "0", 7, len(self.secrets))
            case m.WhoAmI():
                return m.Identity(1000, 1000, 1, "unix", ("admin",), "admin", {"read": ("*",)})
            case m.Get(name) | m.Delete(name) if name not in self.secrets:
                return m.Failure("not_found", "no such secret")
            case m.Get(name) if name in self.unreadable:
                return m.Failure("denied", "the policy does not allow this")
            case m.Get(name):
                value = self.secrets[name]
                return m.Found(
                    name,
                    value,
                    self.kid(name),
                    self.expires_at,
                    self.versions[name],
                    None if value.is_text else "base64",
                )
            case m.Put():
                return self._put(operation)
            case m.List(after):
                return self._page(after or "")
            case m.Rotate(names):
                for name in names:
                    self.store(name, SecretValue(b"generated"))
                return m.Rotated(names, len(names), (), {})
            case m.Delete(name):
                del self.secrets[name]
                return m.Deleted(name, NOW + timedelta(days=7))
            case m.Restore(name):
                self.store(name, SecretValue(b"restored"))
                return m.Stored(name, self.kid(name), self.versions[name], NEVER)
            case m.Can(name=name):
                allowed = name not in self.unwritable
                return m.Verdict(allowed, "clients.admin.allow[0]" if allowed else "default-deny")
            case m.TokenCreate(subject):
                return m.TokenCreated("t1", BearerToken("tok-tok"), subject, NOW)
            case m.TokenList():
                return m.TokenListing((m.TokenListed("t1", ClientId("mcp"), NOW, NOW, (7,)),))
            case m.TokenRevoke(token_id):
                return m.TokenRevoked(token_id)
        raise AssertionError(f"the fake daemon can't {operation}")

    def kid(self, name: str) -> Kid:
        """The kid of the current version: its number."""
        return Kid(f"{self.versions[name]:016x}")

    def _put(self, put: m.Put) -> m.Reply:
        old = self.kid(put.name) if put.name in self.secrets else ""
        if put.expect_kid is not None and put.expect_kid != old:
            return m.Failure("conflict", "not the version that was expected")
        text = "generated" if put.value is None else put.value
        data = base64.b64decode(text) if put.encoding else text.encode()
        self.store(put.name, SecretValue(data, is_text=not put.encoding))
        kind = m.Stored if old else m.Created
        return kind(put.name, self.kid(put.name), self.versions[put.name], NEVER)

    def _page(self, after: str) -> m.Listing:
        names = sorted(name for name in self.secrets if name > after)
        listed = tuple(
            m.Listed(
                SecretName(name),
                self.kid(name),
                self.versions[name],
                Kind.STATIC,
                NOW,
                NEVER,
                is_expired=False,
                state=State.CURRENT,
            )
            for name in names[:PAGE]
        )
        return m.Listing(listed, listed[-1].name if len(names) > PAGE else None)


@contextmanager
def serving(daemon: FakeDaemon, path: Path) -> Iterator[FakeDaemon]:
    """The daemon on a Unix socket at this path."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with _accepting(daemon, listener):
            yield daemon
    path.unlink()


@contextmanager
def serving_tcp(daemon: FakeDaemon) -> Iterator[tuple[FakeDaemon, str]]:
    """The daemon on a port of its own, with its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener, _accepting(daemon, listener):
        yield daemon, f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def _accepting(daemon: FakeDaemon, listener: socket.socket) -> Iterator[None]:
    open_sockets: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                daemon.connections += 1
                open_sockets.append(connection)
                threads.append(threading.Thread(target=_serve, args=(daemon, connection)))
                threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        acceptor.join()
        for connection in open_sockets:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def _serve(daemon: FakeDaemon, connection: socket.socket) -> None:
    frames = Frames()
    with connection, suppress(OSError):
        while data := connection.recv(65536):
            frames.feed(data)
            while (body := frames.next()) is not None:
                asked = decode_request(body)
                reply = asked.what
                answer = reply if isinstance(reply, m.Failure) else daemon.answer(reply)
                if answer is None:
                    return
                raw = answer if isinstance(answer, bytes) else pack(encode_reply(answer, asked.id))
                connection.sendall(raw)
