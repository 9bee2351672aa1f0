"""The end of a daemon: what was asked is answered, and who asks too late is told so."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from jarvis_secretsd.daemon.loop import DRAIN_SECS, STOP_SECS
from tests.daemon_process import DaemonProcess

HEALTH = b'{"op":"health"}'
FRAME = len(HEALTH).to_bytes(4, "big") + HEALTH
HTTP = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def peer(daemon: DaemonProcess) -> Iterator[socket.socket]:
    """A peer that the daemon has accepted, and that has asked nothing yet."""
    with daemon.connect() as peer:
        settle(daemon)
        yield peer


def settle(daemon: DaemonProcess) -> None:
    """The daemon has seen all that happened so far."""
    with daemon.connect() as other:
        assert ask(other, FRAME).startswith(b"\0")


def ask(peer: socket.socket, request: bytes) -> bytes:
    peer.sendall(request)
    return peer.recv(65536)


@contextmanager
def ending(daemon: DaemonProcess) -> Iterator[None]:
    """The daemon has been told to stop, and has ended when this is over."""
    os.kill(daemon.pid, signal.SIGTERM)
    time.sleep(DRAIN_SECS / 5)
    yield
    assert daemon.wait() == 0


@pytest.mark.parametrize("request_", [FRAME, HTTP])
def test_who_has_just_come_is_answered(
    daemon: DaemonProcess, peer: socket.socket, request_: bytes
) -> None:
    """A peer that connected before the stop, and asks after it, has its answer, then the end."""
    with ending(daemon):
        assert b'"ok"' in ask(peer, request_)
        assert peer.recv(1) == b""


def test_a_request_that_has_begun_is_awaited(daemon: DaemonProcess, peer: socket.socket) -> None:
    """The rest of it may come later than the stop is patient with others."""
    peer.sendall(FRAME[:7])
    settle(daemon)
    with ending(daemon):
        time.sleep(2 * DRAIN_SECS)
        assert b'"ok"' in ask(peer, FRAME[7:])


def test_http_peers_are_told_by_their_last_answer(
    daemon: DaemonProcess, peer: socket.socket
) -> None:
    """The last of several pipelined answers says `Connection: close`, and no earlier one does."""
    assert b"Connection: close" not in ask(peer, HTTP)
    with ending(daemon):
        peer.sendall(HTTP * 3)
        told = b""
        while part := peer.recv(65536):
            told += part
    answers = told.split(b"HTTP/1.1 ")[1:]
    assert [b"\r\nConnection: close\r\n" in each for each in answers] == [False, False, True]


def test_a_unix_peer_knows_that_its_request_was_not_taken(
    daemon: DaemonProcess, peer: socket.socket
) -> None:
    """Once the daemon hears no more, a send fails: even a put may be asked of the next one."""
    ask(peer, FRAME)
    with ending(daemon):
        ask(peer, FRAME)
        assert peer.recv(1) == b""
        with pytest.raises(BrokenPipeError):
            peer.sendall(FRAME)


def test_idle_peers_do_not_hold_up_the_stop(daemon: DaemonProcess) -> None:
    """A hundred peers that ask nothing, and one that watches, cost a stop a moment of patience."""
    idle = [daemon.connect() for _ in range(100)]
    with daemon.connect() as watcher:
        assert b'"ok":true' in ask(watcher, _frame({"op": "watch", "client": "admin"}))
        settle(daemon)
        began = time.monotonic()
        with ending(daemon):
            pass
        assert time.monotonic() - began < DRAIN_SECS + STOP_SECS / 4
    for each in idle:
        assert each.recv(1) == b""
        each.close()


def test_nobody_is_accepted_any_more(daemon: DaemonProcess, peer: socket.socket) -> None:
    """Who connects while the daemon ends isn't taken in by it, also when others have gone."""
    with daemon.connect() as slow:
        slow.sendall(FRAME[:7])
        settle(daemon)
        with ending(daemon), daemon.connect() as late:
            assert b'"ok"' in ask(peer, FRAME)
            assert peer.recv(1) == b""
            late.sendall(FRAME)
            late.settimeout(DRAIN_SECS)
            with pytest.raises(TimeoutError):
                late.recv(1)
            assert b'"ok"' in ask(slow, FRAME[7:])


def _frame(body: dict[str, str]) -> bytes:
    data = json.dumps(body).encode()
    return len(data).to_bytes(4, "big") + data
