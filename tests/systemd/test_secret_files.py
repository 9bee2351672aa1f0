"""The example unit of `jarvis-secrets files`, on a host with the daemon installed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.host import ETC_UNITS, POLICY, POLICY_TEXT, SERVICE, Host

pytestmark = pytest.mark.systemd("starts units")

UNIT = Path(__file__).parents[2] / "examples/secret-files/jarvis-files-postgres.service"
FILE = Path("/run/jarvis-files/postgres/postgres_password")
READ = Path("/run/read-by-postgres")

CONSUMER = f"""\
[Unit]
Requires={UNIT.name}
After={UNIT.name}
[Service]
Type=oneshot
ExecStart=setpriv --reuid=999 --regid=999 --clear-groups cat {FILE}
StandardOutput=truncate:{READ}
"""


@pytest.fixture
def filed(host: Host) -> Iterator[Host]:
    """The unit and the line of policy in it are installed, and a service that reads the file."""
    (line,) = re.findall(r"^#   (postgres: .*)$", UNIT.read_text(), re.M)
    POLICY.write_text(f"{POLICY_TEXT}  {line}\n")
    host.systemctl("reload", SERVICE)
    shutil.copy(UNIT, ETC_UNITS)
    (ETC_UNITS / "consumer.service").write_text(CONSUMER)
    host.systemctl("daemon-reload")
    host.put("postgres_password", "one")
    yield host
    host.systemctl("stop", UNIT.name)
    for name in (UNIT.name, "consumer.service"):
        (ETC_UNITS / name).unlink()


def consumed(host: Host) -> str:
    """What a service reads that is ordered behind the unit, as the owner of the file."""
    host.systemctl("start", "consumer.service")
    return READ.read_text()


def test_who_is_ordered_behind_the_unit_finds_the_file(filed: Host) -> None:
    """It is there when the unit is ready, and the unit's status says so; it goes with a stop."""
    assert consumed(filed) == "one"
    assert filed.show("StatusText", UNIT.name) == f"{FILE.parent} holds 1 file: postgres_password"
    directory, file = FILE.parent.stat(), FILE.stat()
    assert (directory.st_mode & 0o7777, file.st_uid, file.st_mode & 0o777) == (0o711, 999, 0o400)
    filed.systemctl("stop", UNIT.name)
    assert not FILE.parent.exists()


def test_the_directory_outlives_a_restart(filed: Host) -> None:
    """Whoever has mounted it, or the file, sees no difference; what is new meanwhile arrives."""
    filed.systemctl("start", UNIT.name)
    before = (FILE.parent.stat().st_ino, FILE.stat().st_ino)
    filed.systemctl("restart", UNIT.name)
    assert (FILE.parent.stat().st_ino, FILE.stat().st_ino) == before
    filed.put("postgres_password", "two")
    filed.systemctl("restart", UNIT.name)
    assert consumed(filed) == "two"


def test_it_comes_up_with_a_daemon_that_comes_later(filed: Host) -> None:
    """Through a restart of the daemon nothing changes, and a rotation after it arrives."""
    filed.systemctl("start", UNIT.name)
    filed.systemctl("restart", SERVICE)
    assert FILE.read_text() == "one"
    filed.put("postgres_password", "three")
    filed.until(lambda: FILE.read_text() == "three")


def test_no_other_program_of_root_is_its_client(filed: Host) -> None:
    """The policy names the unit beside the user."""
    said = filed.secrets("get", "postgres_password", client="postgres", ok=False)
    assert "denied" in said or "the policy does not allow this" in said
