"""What the client does for a program while the daemon isn't there."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from jarvis_secretsd import messages as m
from jarvis_secretsd.client import (
    AccessDenied,
    BadRequest,
    DaemonUnavailable,
    DaemonUnreachable,
    SecretNotFound,
    SecretsClient,
)
from jarvis_secretsd.errors import Reason
from tests.client.clocks import Clocks
from tests.client.fake_daemon import FakeDaemon, serving


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    """The client's clocks, which stand still until a test moves them."""
    return Clocks(monkeypatch)


def test_without_a_wait_an_absent_daemon_is_told_at_once(socket_path: Path) -> None:
    """By default nothing waits: a program that starts without its secrets should say so."""
    start = time.monotonic()
    with pytest.raises(DaemonUnreachable):
        SecretsClient(str(socket_path)).get("p")
    assert time.monotonic() - start < 0.5


@contextmanager
def _starting_later(socket_path: Path, seconds: float) -> Iterator[FakeDaemon]:
    daemon, stop = FakeDaemon(), threading.Event()
    daemon.hold(p="x")

    def start() -> None:
        time.sleep(seconds)
        with serving(daemon, socket_path):
            stop.wait(10)

    thread = threading.Thread(target=start)
    thread.start()
    try:
        yield daemon
    finally:
        stop.set()
        thread.join()


def test_a_daemon_that_starts_later_is_waited_for(socket_path: Path) -> None:
    """With `wait` the first question is answered as soon as somebody is there to answer it."""
    client = SecretsClient(str(socket_path), wait=10)
    with _starting_later(socket_path, 0.2):
        start = time.monotonic()
        assert client.get("p") == "x"
        assert 0.1 < time.monotonic() - start < 5
        client.close()


def test_the_environment_may_ask_to_wait(
    socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JARVIS_SECRETS_WAIT does the same for a program that passes nothing."""
    monkeypatch.setenv("JARVIS_SECRETS_WAIT", "10")
    client = SecretsClient(str(socket_path))
    with _starting_later(socket_path, 0.1):
        assert client.get("p") == "x"
        client.close()


@pytest.mark.parametrize("said", ["soon", "-1", "nan", "inf"])
def test_a_wait_that_is_no_time_is_refused(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slip in the variable is told, not taken for no wait."""
    monkeypatch.setenv("JARVIS_SECRETS_WAIT", said)
    with pytest.raises(BadRequest, match="JARVIS_SECRETS_WAIT is a number of seconds"):
        SecretsClient()


def test_a_wait_ends(socket_path: Path) -> None:
    """When its time is over, the error is the one that there was without it."""
    start = time.monotonic()
    with pytest.raises(DaemonUnreachable, match="there is no such socket"):
        SecretsClient(str(socket_path), wait=0.15).get("p")
    assert 0.14 < time.monotonic() - start < 2


def test_a_cached_value_needs_no_daemon_until_it_ages(socket_path: Path, clocks: Clocks) -> None:
    """By default a value serves for its five minutes, and then the outage is told."""
    client = SecretsClient(str(socket_path))
    with serving(FakeDaemon(), socket_path) as fake:
        fake.hold(p="x")
        assert client.get("p") == "x"
    clocks.monotonic_now += 299.9
    assert client.get("p") == "x"
    clocks.monotonic_now += 0.2
    with pytest.raises(DaemonUnreachable):
        client.get("p")
    client.close()


def test_a_stale_value_bridges_an_outage_and_says_so(
    socket_path: Path, clocks: Clocks, caplog: pytest.LogCaptureFixture
) -> None:
    """With `max_stale` an old value serves while nothing answers, is logged, and ends."""
    client = SecretsClient(str(socket_path), cache_ttl=60, max_stale=600)
    with serving(FakeDaemon(), socket_path) as fake:
        fake.hold(p="old-value")
        client.get("p")
    clocks.monotonic_now += 61
    with caplog.at_level(logging.WARNING):
        assert client.get("p") == "old-value"
    assert "giving a stale value of p: " in caplog.text
    assert "old-value" not in caplog.text
    with serving(FakeDaemon(), socket_path) as fake:
        fake.hold(p="new")
        clocks.monotonic_now += 1
        assert client.get("p") == "new"
    clocks.monotonic_now += 60 + 599.9
    assert client.get("p") == "new"
    clocks.monotonic_now += 0.2
    with pytest.raises(DaemonUnreachable):
        client.get("p")
    client.close()


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (m.Failure("not_found", "no such secret"), SecretNotFound),
        (m.Failure("denied", "no"), AccessDenied),
        (m.Failure("unavailable", "locked", Reason.LOCKED), DaemonUnavailable),
    ],
)
def test_a_refusal_is_never_papered_over(
    fake: FakeDaemon,
    socket_path: Path,
    clocks: Clocks,
    failure: m.Failure,
    kind: type[Exception],
) -> None:
    """A daemon that answers no, or that was locked, is believed, however stale a value may be."""
    fake.hold(p="x")
    with SecretsClient(str(socket_path), cache_ttl=60, max_stale=600) as client:
        client.get("p")
        clocks.monotonic_now += 61
        fake.answers.append(lambda _: failure)
        with pytest.raises(kind):
            client.get("p")


@pytest.mark.parametrize("step", [timedelta(hours=-1), timedelta(days=1)])
def test_a_wall_clock_that_steps_changes_nothing(
    fake: FakeDaemon, client: SecretsClient, clocks: Clocks, step: timedelta
) -> None:
    """An hour back or a day on, a value stays fresh for its five minutes and no longer."""
    fake.hold(p="x")
    client.get("p")
    clocks.wall_now += step
    clocks.monotonic_now += 299
    client.get("p")
    assert len(fake.asked) == 1
    clocks.monotonic_now += 2
    client.get("p")
    assert len(fake.asked) == 2


def test_a_value_that_is_overdue_is_asked_for_every_half_minute(
    fake: FakeDaemon, client: SecretsClient, clocks: Clocks
) -> None:
    """Past its `expires_at` a successor may come at any moment, so the cache is short."""
    fake.hold(p="x")
    fake.expires_at = clocks.wall_now - timedelta(days=1)
    client.get("p")
    clocks.monotonic_now += 29
    client.get("p")
    assert len(fake.asked) == 1
    clocks.monotonic_now += 2
    client.get("p")
    assert len(fake.asked) == 2
