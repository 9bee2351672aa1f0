"""docs/operations.md, from the installation to the stop, as an administrator types it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from tests.systemd.host import ETC_UNITS, SERVICE, STATE, TREE, UNIX_SOCKET, Host, is_installed
from tests.systemd.pages import Page, add_admin, typed

pytestmark = pytest.mark.systemd("installs the daemon and two consumers on a host of its own")

PAGE = Page("operations.md")
UNITS = ("web.service", "backend.service")


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A host that never had the daemon, while the page is worked through from top to bottom."""
    host = Host()
    if is_installed():
        host.reset()
        host.run("make", "-C", str(TREE), "uninstall")
    host.run("/usr/sbin/userdel", "web", ok=None)
    add_admin()
    host.since = time.time()
    yield host
    host.systemctl("disable", "--now", *UNITS, ok=None)
    for unit in UNITS:
        (ETC_UNITS / unit).unlink(missing_ok=True)
    host.systemctl("daemon-reload")


def said(host: Host, unit: str) -> list[str]:
    """What a unit's own program wrote, line by line."""
    written = ("--output=cat", f"--since=@{host.since:.6f}", f"_SYSTEMD_UNIT={unit}")
    return host.run("journalctl", *written).stdout.splitlines()


def test_installed_in_the_order_of_the_page(host: Host) -> None:
    """`make install` and four more commands, and the daemon serves; the recovery code was shown."""
    shown = typed(PAGE.commands("Install with systemd"), directory=str(TREE))
    assert re.search(r"(?:[0-9A-Z]{4}-){8}[0-9A-Z]{4}", shown), shown
    assert host.show("ActiveState") == "active"
    assert (STATE / "vault.json").stat().st_uid == STATE.stat().st_uid != 0


def test_two_services_get_what_is_theirs(host: Host) -> None:
    """One by LoadCredential= and one by `run`, as different users, each on record."""
    shown = typed(PAGE.commands("Two services that get secrets"))
    host.until(lambda: said(host, "backend.service") == [str(len("correct horse"))])
    host.until(lambda: len(said(host, "web.service")) == 1)
    assert "web_password" in shown and "postgres_password" in shown, shown
    assert "allowed" in shown


def test_a_rotated_secret_restarts_the_service_that_loads_it(host: Host) -> None:
    """The unit that says on_rotation is started anew, and the other one isn't."""
    before = host.show("MainPID", "web.service"), host.show("MainPID", "backend.service")
    typed("export JARVIS_CLIENT_ID=admin; jarvis-secrets rotate web_password")
    host.until(lambda: host.show("MainPID", "web.service") not in (before[0], "0"))
    assert host.show("MainPID", "backend.service") == before[1]


def test_stopped_it_keeps_the_socket_and_what_it_has(host: Host) -> None:
    """After `systemctl stop` the next caller has the daemon started, and gets the secret."""
    host.systemctl("stop", SERVICE)
    assert "Result=success" in host.systemctl("show", SERVICE)
    assert host.show("ActiveState", UNIX_SOCKET) == "active"
    shown = typed("export JARVIS_CLIENT_ID=admin; jarvis-secrets get postgres_password")
    assert "correct horse" in shown
    assert host.run("jarvis-secretsd", "audit", "verify", "--from", "1").returncode == 0


@pytest.mark.parametrize("heading", ["Backups", "Log rotation", "Monitoring", "Upgrade"])
def test_the_commands_of_this_section_work(host: Host, heading: str) -> None:
    """They are typed as they stand there, and each succeeds."""
    assert typed(PAGE.commands(heading), directory=str(TREE))
    assert host.show("ActiveState") == "active"


def test_uninstalled_it_leaves_the_secrets(host: Host) -> None:
    """The last section takes away what `make install` brought, and no secret."""
    typed(PAGE.commands("Uninstall"), directory=str(TREE))
    assert (STATE / "vault.json").exists()
    assert host.run("systemctl", "cat", SERVICE, ok=False).returncode
