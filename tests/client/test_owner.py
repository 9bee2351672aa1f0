"""Whose the other end of a TCP connection is, as far as one user can try it."""

from __future__ import annotations

import os
import pwd
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from jarvis_secretsd.client import BadRequest, SecretsClient, UntrustedDaemon
from jarvis_secretsd.client import owner as module
from jarvis_secretsd.client.errors import NoDaemon
from jarvis_secretsd.client.owner import check_owner, uid_from
from tests.client.fake_daemon import FakeDaemon, serving_tcp


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes, at the end, what a test opens."""
    with ExitStack() as opened:
        yield opened


def _connected(stack: ExitStack, host: str = "127.0.0.1") -> tuple[socket.socket, socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = stack.enter_context(socket.create_server((host, 0), family=family))
    return stack.enter_context(socket.create_connection(listener.getsockname()[:2])), listener


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1"])
def test_our_own_listener_is_trusted(stack: ExitStack, host: str) -> None:
    """A connection that a process of the caller accepted may be told everything."""
    connected, listener = _connected(stack, host)
    stack.enter_context(listener.accept()[0])
    check_owner(connected, None, 1.0)


def test_a_connection_is_nobodys_until_it_is_accepted(stack: ExitStack) -> None:
    """Whoever is slow to accept is waited for, and who never does isn't trusted."""
    connected, listener = _connected(stack)
    with pytest.raises(UntrustedDaemon, match="doesn't say whose"):
        check_owner(connected, None, 0.05)
    timer = threading.Timer(0.1, lambda: stack.enter_context(listener.accept()[0]))
    timer.start()
    start = time.monotonic()
    check_owner(connected, None, 5.0)
    assert time.monotonic() - start < 4
    timer.join()


def test_a_connection_that_ended_is_nobodys(stack: ExitStack) -> None:
    """An end that was closed names no uid, above all not root's; to wait for one is no use."""
    connected, listener = _connected(stack)
    listener.accept()[0].close()
    start = time.monotonic()
    with pytest.raises(NoDaemon, match="before anything was sent"):
        check_owner(connected, None, 5.0)
    assert time.monotonic() - start < 4


def test_a_connection_that_was_reset_is_nobodys(stack: ExitStack) -> None:
    """A listener that ends while it is waited for is told from a port that somebody else holds."""
    connected, listener = _connected(stack)
    timer = threading.Timer(0.05, listener.close)
    timer.start()
    with pytest.raises(NoDaemon, match="before anything was sent"):
        check_owner(connected, None, 5.0)
    timer.join()
    with pytest.raises(NoDaemon, match="before anything was sent"):
        check_owner(connected, None, 5.0)


def test_only_the_named_user_is_let_in(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside root and the caller it is the one uid that was named, and the error says how."""
    connected, listener = _connected(stack)
    stack.enter_context(listener.accept()[0])
    monkeypatch.setattr(module, "_owner", lambda *_: 4004)
    check_owner(connected, 4004, 1.0)
    for named in (None, 4005):
        with pytest.raises(UntrustedDaemon, match="set JARVIS_SECRETS_UID=4004"):
            check_owner(connected, named, 1.0)


def test_a_kernel_that_does_not_say_leaves_no_owner(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a sandbox keeps the question from the kernel, nothing is sent."""
    connected, listener = _connected(stack)
    stack.enter_context(listener.accept()[0])

    def forbidden(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(module, "_ask", forbidden)
    with pytest.raises(UntrustedDaemon, match="use the Unix socket"):
        check_owner(connected, None, 0.05)


def test_a_user_is_named_by_digits_or_by_name() -> None:
    """Both are the same uid; what is neither is told so."""
    me = pwd.getpwuid(0)
    assert uid_from("0") == uid_from(me.pw_name) == 0
    assert uid_from("4001") == 4001
    for text in ("no-such-user", "-1", "", "1.0", "١"):
        with pytest.raises(ValueError, match="neither a uid nor a user"):
            uid_from(text)


def test_a_slip_in_the_variable_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A JARVIS_SECRETS_UID that names nobody stops the client before it sends anything."""
    monkeypatch.setenv("JARVIS_SECRETS_UID", "no-such-user")
    with pytest.raises(BadRequest, match="JARVIS_SECRETS_UID: 'no-such-user' is neither"):
        SecretsClient()


def test_the_owner_is_looked_up_once_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many puts over one connection cost one look, and a get costs none."""
    looks: list[int | None] = []
    real = check_owner

    def counted(connected: socket.socket, uid: int | None, timeout: float) -> None:
        looks.append(uid)
        real(connected, uid, timeout)

    monkeypatch.setattr(module, "check_owner", counted)
    with serving_tcp(FakeDaemon()) as (fake, url), SecretsClient(url=url) as client:
        fake.hold(q="x")
        client.get("q")
        assert looks == []
        client.put("p", "1")
        client.put("p", "2")
        assert looks == [None]
    with serving_tcp(FakeDaemon()) as (fake, url):
        fake.hold(q="x")
        with SecretsClient(url=url, token="t", daemon_uid=os.geteuid()) as client:
            client.get("q")
            assert looks == [None, os.geteuid()]
