"""A clock that is set wrong under a running daemon ends nothing early and revives nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jarvis_secretsd.client import SecretNotFound, SecretsClient
from jarvis_secretsd.messages import Revoke, Revoked, VersionListing, Versions
from jarvis_secretsd.values import Kid, SecretName
from tests.daemon_process import DaemonProcess
from tests.e2e.evidence import entries_of
from tests.e2e.tools import FAKETIME, needs

NAME = SecretName("db/main")
DAY = 24 * 3600

pytestmark = needs("faketime")


class Host:
    """A daemon whose wall clock is what a file says; the time since boot is the real one."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self.daemon = daemon
        self._file = daemon.directory / "faketime"

    def set_clock(self, seconds: float) -> None:
        """So far from the right time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+.0f}")
        new.rename(self._file)

    def client(self) -> SecretsClient:
        """An admin who caches nothing."""
        return SecretsClient(str(self.daemon.socket_path), client_id="admin", cache_ttl=0)


@pytest.fixture
def host(make_daemon: Callable[..., DaemonProcess]) -> Iterator[Host]:
    """It believes a jump after two seconds."""
    made = make_daemon(
        settings={"rotation": {"confirm_clock_secs": 2}},
        environment=FAKETIME,
    )
    host = Host(made)
    host.set_clock(0)
    made.start()
    yield host


def two_versions(client: SecretsClient) -> tuple[Kid, Kid]:
    """The kid in grace, and the current one."""
    return client.put(NAME, "old").kid, client.put(NAME, "new").kid


def to_1970() -> float:
    """Seconds from now to the epoch's first day."""
    return DAY - datetime.now(UTC).timestamp()


@pytest.mark.parametrize(
    "step",
    [-3600, DAY, 15 * DAY, 12 * 365 * DAY, to_1970()],
    ids=["back", "day", "fortnight", "2038", "1970"],
)
def test_a_step_ends_nothing(host: Host, step: float) -> None:
    """While the clock is wrong, and after it was mended, both versions are served."""
    with host.client() as client:
        old, new = two_versions(client)
        for seconds in (step, 0):
            host.set_clock(seconds)
            for _ in range(5):
                assert client.get(NAME, old) == "old"
                assert client.fetch(NAME).kid == new
                time.sleep(0.1)


def test_a_clock_that_goes_back_revives_nothing(host: Host) -> None:
    """Neither a step nor a start under an older clock brings back what has ended."""
    with host.client() as client:
        old, new = two_versions(client)
        client.ask(Revoke(NAME, old), Revoked)
        for seconds in (-3600, to_1970()):
            host.set_clock(seconds)
            with pytest.raises(SecretNotFound):
                client.get(NAME, old)
        host.daemon.restart()
        with pytest.raises(SecretNotFound):
            client.get(NAME, old)
        assert client.fetch(NAME).kid == new


def test_a_grace_ends_when_its_time_has_really_come(host: Host) -> None:
    """A date that lasts is believed, also by a daemon that nobody asks anything."""
    with host.client() as client:
        old, new = two_versions(client)
        host.set_clock(15 * DAY)
        assert client.get(NAME, old) == "old"
        deadline = time.monotonic() + 15
        while len(client.ask(Versions(NAME), VersionListing).versions) > 1:
            assert time.monotonic() < deadline, "it never ended"
            time.sleep(0.2)
        with pytest.raises(SecretNotFound):
            client.get(NAME, old)
        host.set_clock(0)
        host.daemon.restart()
        with pytest.raises(SecretNotFound):
            client.get(NAME, old)
        assert client.fetch(NAME).kid == new


def test_what_is_over_is_not_on_the_disk_a_day_later(host: Host) -> None:
    """Its record leaves the vault's file, on record; what is there is served as before."""
    vault = host.daemon.directory / "state" / "vault.json"
    with host.client() as client:
        old, new = two_versions(client)
        first, second = records(vault)[:2]
        for days, operation in ((15, "elapse"), (16, "vault_compacted")):
            host.set_clock(days * DAY)
            deadline = time.monotonic() + 20
            while not entries_of(host.daemon, op=operation):
                assert client.fetch(NAME).kid == new
                assert time.monotonic() < deadline, f"no {operation}"
                time.sleep(0.1)
        assert first not in records(vault)
        assert second in records(vault)
        host.daemon.restart()
        assert client.get(NAME) == "new"
        with pytest.raises(SecretNotFound):
            client.get(NAME, old)


def records(vault: Path) -> list[int]:
    """The sequence numbers of the records in the file."""
    _, *lines = vault.read_bytes().splitlines()
    return [json.loads(line)["seq"] for line in lines]
