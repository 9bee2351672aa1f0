"""The Python client through what a program lives to see: rotations, restarts, outages, forks."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from jarvis_secretsd import client as package
from jarvis_secretsd import messages as m
from jarvis_secretsd.client import (
    AccessDenied,
    ConnectionLost,
    DaemonUnreachable,
    SecretNotFound,
    SecretsClient,
    get_secret,
)
from jarvis_secretsd.client.errors import NoDaemon
from jarvis_secretsd.values import ClientId, Kind, SecretName
from tests.client.clocks import Clocks
from tests.daemon_process import DaemonProcess
from tests.e2e.evidence import entries_of

CALLERS = 50
PATIENCE = 60.0
"""Seconds that a client waits for a daemon: more than a start takes on the busiest machine."""

TRANSPORTS = ("unix", "tcp")

WITH_TOKEN = """\
clients:
  admin: {{users: ["{uid}"], permissions: [all], allow: ["*"]}}
  backend: {{users: ["{uid}"], allow: [p], token: required}}
"""

NO_MORE = """\
clients:
  admin: {{users: ["{uid}"], allow: [p]}}
"""
"""The policy of a client that may read `p` and nothing else."""

MakeClient = Callable[..., SecretsClient]


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    """The client's clocks, which stand still until a test moves them."""
    return Clocks(monkeypatch)


@pytest.fixture
def make_client(daemon: DaemonProcess) -> Iterator[MakeClient]:
    """Makes clients of the daemon over a transport; each hangs up at the end."""
    made: list[SecretsClient] = []

    def make(transport: str = "unix", **options: float) -> SecretsClient:
        path, url = str(daemon.socket_path), daemon.url
        where = {"socket_path": path} if transport == "unix" else {"url": url}
        made.append(SecretsClient(**where, client_id="admin", **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def client(make_client: MakeClient) -> SecretsClient:
    """A program's client, as it is without a word about it."""
    return make_client()


@pytest.fixture
def admin(make_client: MakeClient) -> SecretsClient:
    """Somebody else, who stores and rotates."""
    return make_client(wait=PATIENCE)


def reads(daemon: DaemonProcess, name: str) -> int:
    """How often the daemon has given this secret away, by its audit log."""
    return len(entries_of(daemon, op="get", name=name, outcome="allowed"))


def rotate(admin: SecretsClient, name: str) -> str:
    """Have the daemon make a new value; what it is."""
    admin.ask(m.Rotate((SecretName(name),)), m.Rotated)
    return admin.fetch(name).value.reveal_text()


def test_a_rotation_is_seen_by_who_forgets(client: SecretsClient, admin: SecretsClient) -> None:
    """The cached value stays until it is forgotten; what was asked of another name stays too."""
    admin.put("p", "first", kind=Kind.PASSWORD)
    admin.put("q", "other")
    assert (client.get("p"), client.get("q")) == ("first", "other")
    new = rotate(admin, "p")
    admin.put("q", "another")
    assert client.get("p") == "first"
    client.forget("p")
    assert client.get("p") == new != "first"
    assert client.get("q") == "other"
    client.forget()
    assert client.get("q") == "another"


def test_a_version_in_grace_can_be_had_by_its_kid(
    client: SecretsClient, admin: SecretsClient
) -> None:
    """Who still needs the old value, to verify what it signed, asks for it."""
    admin.put("p", "first", kind=Kind.PASSWORD, grace_days=1)
    kid = client.fetch("p").kid
    new = rotate(admin, "p")
    assert client.get("p", kid=kid) == "first"
    assert client.get("p") == new


def test_a_rotation_is_seen_after_five_minutes(
    client: SecretsClient, admin: SecretsClient, daemon: DaemonProcess, clocks: Clocks
) -> None:
    """By who does nothing for it; until then the daemon is asked once."""
    admin.put("p", "old")
    assert client.get("p") == "old"
    admin.put("p", "new")
    clocks.monotonic_now += 299.9
    assert client.get("p") == "old"
    assert reads(daemon, "p") == 1
    clocks.monotonic_now += 0.2
    assert client.get("p") == "new"


def test_a_value_does_not_outlive_its_expires_at(
    client: SecretsClient, admin: SecretsClient, clocks: Clocks
) -> None:
    """A minute before it is due it is kept for that minute; once it is, for half a minute."""
    admin.put("p", "1", rotation_days=1)
    due = client.fetch("p").expires_at
    clocks.wall_now = due - timedelta(minutes=1)
    for ahead, kept in ((-60, 60), (3600, 30)):
        clocks.wall_now = due + timedelta(seconds=ahead)
        client.forget()
        client.get("p")
        admin.put("p", changed := f"after {kept}", rotation_days=1)
        clocks.monotonic_now += kept - 0.1
        assert client.get("p") != changed
        clocks.monotonic_now += 0.2
        assert client.get("p") == changed


@pytest.mark.parametrize("step", [timedelta(days=-400), timedelta(days=400)], ids=["back", "on"])
def test_a_wall_clock_that_steps_ages_nothing(
    client: SecretsClient,
    admin: SecretsClient,
    daemon: DaemonProcess,
    clocks: Clocks,
    step: timedelta,
) -> None:
    """What is cached stays so for its five minutes, though `expires_at` seems past or far away."""
    admin.put("p", "x", rotation_days=30)
    client.get("p")
    clocks.wall_now += step
    clocks.monotonic_now += 299.9
    client.get("p")
    assert reads(daemon, "p") == 1
    clocks.monotonic_now += 0.2
    client.get("p")
    assert reads(daemon, "p") == 2


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_daemon_that_was_restarted_is_found_again(
    make_client: MakeClient, daemon: DaemonProcess, transport: str, end: str
) -> None:
    """However it ended, the next question goes to the new one, a put as well."""
    client = make_client(transport, cache_ttl=0)
    client.put("p", "1")
    assert client.get("p") == "1"
    getattr(daemon, end)()
    daemon.start()
    client.put("p", "2")
    getattr(daemon, end)()
    daemon.start()
    assert client.get("p") == "2"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_who_waits_notices_no_restart(
    make_client: MakeClient, daemon: DaemonProcess, transport: str
) -> None:
    """Four threads that read without a pause get every answer, and each its own, meanwhile."""
    client = make_client(transport, cache_ttl=0, wait=PATIENCE)
    for number in range(4):
        client.put(f"n{number}", str(number))
    over = threading.Event()

    def read(number: int) -> int:
        count = 0
        while not over.is_set():
            assert client.get(f"n{number}") == str(number)
            count += 1
        return count

    with ThreadPoolExecutor() as pool:
        counts = [pool.submit(read, number) for number in range(4)]
        try:
            for _ in range(2):
                daemon.restart()
            daemon.kill()
            daemon.start()
        finally:
            over.set()
    assert all(count.result() for count in counts)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_write_across_a_restart_is_stored_or_told(
    make_client: MakeClient, admin: SecretsClient, daemon: DaemonProcess, transport: str
) -> None:
    """Whatever put came back from is there; of all else it was said whether it may be there."""
    client = make_client(transport)
    stored: list[str] = []
    doubtful: list[str] = []
    over = threading.Event()

    def write() -> None:
        for number in range(100_000):
            if over.is_set():
                return
            try:
                client.put(name := f"n{number}", "x")
                stored.append(name)
            except ConnectionLost:
                doubtful.append(name)
            except NoDaemon:
                over.wait(0.01)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(2):
            daemon.restart()
    finally:
        over.set()
        thread.join()
    there = {listed.name for listed in admin.list()}
    assert set(stored) <= there <= {*stored, *doubtful}
    assert len(stored) > len(doubtful)


def test_a_daemon_that_is_gone_is_told_when_the_cache_is_over(
    client: SecretsClient, daemon: DaemonProcess, clocks: Clocks
) -> None:
    """Until then nobody notices."""
    client.put("p", "x")
    client.get("p")
    daemon.stop()
    clocks.monotonic_now += 299.9
    assert client.get("p") == "x"
    clocks.monotonic_now += 0.2
    with pytest.raises(DaemonUnreachable, match=f"{daemon.socket_path}: there is no such socket"):
        client.get("p")


@pytest.mark.parametrize("value", ["old", ""])
def test_an_old_value_bridges_an_outage(
    make_client: MakeClient, daemon: DaemonProcess, clocks: Clocks, value: str
) -> None:
    """With `max_stale`, for that long: after a stop, a crash, and of what answers nothing."""
    client = make_client(max_stale=3600, timeout=0.2)
    client.put("p", value)
    client.get("p")
    daemon.kill()
    clocks.monotonic_now += 301
    assert client.get("p") == value
    with pytest.raises(DaemonUnreachable):
        client.get("never_asked_for")
    daemon.start()
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        clocks.monotonic_now += 2
        assert client.get("p") == value
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    daemon.stop()
    clocks.monotonic_now += 3600
    with pytest.raises(DaemonUnreachable):
        client.get("p")


def test_what_the_daemon_refuses_is_never_bridged(
    make_client: MakeClient, daemon: DaemonProcess, clocks: Clocks
) -> None:
    """A secret that was deleted, and a policy that says no by now, are believed."""
    client = make_client(max_stale=3600)
    for name in ("p", "q"):
        client.put(name, "x")
    for name in ("p", "q"):
        client.get(name)
    clocks.monotonic_now += 301
    with make_client() as admin:
        admin.ask(m.Delete(SecretName("p")), m.Deleted)
        with pytest.raises(SecretNotFound):
            client.get("p")
        daemon.write_policy(NO_MORE.format(uid=os.geteuid()))
        admin.ask(m.Reload(), m.Reloaded)
    with pytest.raises(AccessDenied):
        client.get("q")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_daemon_that_starts_later_is_waited_for(
    make_client: MakeClient, daemon: DaemonProcess, transport: str
) -> None:
    """The first question of a program that starts at boot is answered once there is a daemon."""
    make_client().put("p", "x")
    daemon.stop()
    client = make_client(transport, wait=PATIENCE)
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(client.get, "p")
        threading.Event().wait(0.1)
        assert not asked.done()
        daemon.start()
        assert asked.result(PATIENCE) == "x"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_parent_and_child_get_their_own_answers(
    make_client: MakeClient, daemon: DaemonProcess, transport: str
) -> None:
    """Forked after the first get, both ask at the same time, and neither hears the other's."""
    client = make_client(transport, cache_ttl=0)
    for number in range(20):
        client.put(f"n{number}", f"value {number}")

    def ask_for_all() -> bool:
        return all(client.get(f"n{n}") == f"value {n}" for n in [*range(20)] * 10)

    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if ask_for_all() else 1)
        finally:
            os._exit(2)
    assert ask_for_all()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert reads(daemon, "n0") == 20
    askers = {entry.get("pid") for entry in entries_of(daemon, op="get")}
    assert askers == ({os.getpid(), child} if transport == "unix" else {None})


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_fifty_threads_of_a_cold_name_are_one_read(
    make_client: MakeClient, daemon: DaemonProcess, transport: str
) -> None:
    """Each has the value, and the audit log has one entry."""
    make_client().put("p", "x")
    client = make_client(transport)
    assert at_once(lambda: client.get("p")) == ["x"] * CALLERS
    assert reads(daemon, "p") == 1


def test_fifty_threads_share_the_client_of_get_secret(
    make_daemon: Callable[..., DaemonProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it is the first question of each, and a token has to be read from a file first."""
    daemon = make_daemon(policy=WITH_TOKEN.format(uid=os.geteuid()))
    daemon.start()
    token_file = tmp_path / "token"
    with SecretsClient(str(daemon.socket_path), client_id="admin") as admin:
        made = admin.ask(m.TokenCreate(ClientId("backend")), m.TokenCreated)
        admin.put("p", "x")
    token_file.write_text(made.token.reveal())
    monkeypatch.setenv("JARVIS_SECRETS_SOCKET", str(daemon.socket_path))
    monkeypatch.setenv("JARVIS_CLIENT_ID", "backend")
    monkeypatch.setenv("JARVIS_SECRETS_TOKEN_FILE", str(token_file))
    monkeypatch.setattr(package, "_shared", {})
    assert at_once(lambda: get_secret("p")) == ["x"] * CALLERS
    assert reads(daemon, "p") == 1
    package._hang_up()


def at_once(ask: Callable[[], str]) -> list[str]:
    """What each of fifty threads gets that ask at the same moment."""
    start = threading.Barrier(CALLERS)

    def caller(_: int) -> str:
        start.wait()
        return ask()

    with ThreadPoolExecutor(CALLERS) as pool:
        return [*pool.map(caller, range(CALLERS))]


def test_an_empty_secret_is_a_secret(client: SecretsClient, daemon: DaemonProcess) -> None:
    """It comes back as nothing, and is cached like any other."""
    client.put("p", "")
    assert (client.get("p"), client.get("p"), client.get_bytes("p")) == ("", "", b"")
    assert reads(daemon, "p") == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_no_proxy_is_asked(
    make_client: MakeClient, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the variables say that other programs follow, nobody connects there."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        port = proxy.getsockname()[1]
        for name in ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy"):
            for variable in (name, name.upper()):
                monkeypatch.setenv(variable, f"http://127.0.0.1:{port}")
        client = make_client(transport)
        client.put("p", "x")
        assert client.get("p") == "x"
        with pytest.raises(BlockingIOError):
            proxy.accept()
