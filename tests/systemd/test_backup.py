"""The timer's backup under a real systemd: unattended, as the daemon's user, hardened."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.systemd.host import CONFIG, STATE, Host

pytestmark = pytest.mark.systemd("installs the units")

BACKUP, TIMER = "jarvis-backup.service", "jarvis-backup.timer"
PLACE = Path("/var/lib/jarvis-backups")


def backups() -> set[Path]:
    """What lies where the unit puts them."""
    return {*PLACE.glob("jarvis-*.backup")}


def test_the_unit_takes_a_backup_of_the_running_daemon(host: Host) -> None:
    """It is proven, jarvis's alone, and on record; the daemon goes on."""
    host.put("web_password", "hunter2")
    pid, before = host.pid, backups()
    host.systemctl("start", BACKUP)
    (made,) = backups() - before
    assert (made.owner(), made.stat().st_mode & 0o777) == ("jarvis", 0o600)
    assert host.pid == pid
    assert '"taken: sha256 ' in (STATE / "audit.jsonl").read_text()
    ended = host.run("jarvis-secretsd", "--config", str(CONFIG), "restore", "--check", str(made))
    assert "1 secret," in ended.stdout


def test_the_unit_takes_a_backup_where_the_daemon_is_stopped(host: Host) -> None:
    """By the vault's lock, which it leaves as it was."""
    host.put("web_password", "hunter2")
    host.systemctl("stop", "jarvis-secretsd.service", "jarvis-secretsd.socket")
    before = backups()
    host.systemctl("start", BACKUP)
    assert len(backups() - before) == 1
    host.systemctl("start", "jarvis-secretsd.socket", "jarvis-secretsd.service")
    assert host.secrets("get", "web_password").strip() == "hunter2"


def test_old_backups_are_thrown_away_once_there_is_a_new_one(host: Host) -> None:
    """After 30 days, and nothing else that lies there."""
    host.systemctl("start", BACKUP)
    for made in PLACE.glob("*.backup"):
        made.unlink()  # a second one in the same second would have its name
    for name in ("jarvis-old.backup", "keep.me"):
        (PLACE / name).touch()
        host.run("touch", "-d", "31 days ago", str(PLACE / name))
    host.systemctl("start", BACKUP)
    assert not (PLACE / "jarvis-old.backup").exists()
    assert (PLACE / "keep.me").exists()


def test_the_timer_can_be_enabled(host: Host) -> None:
    """And knows when it is due."""
    host.systemctl("enable", "--now", TIMER)
    assert host.show("NextElapseUSecRealtime", TIMER)
    host.systemctl("disable", "--now", TIMER)


def test_the_unit_may_little(host: Host) -> None:
    """By systemd's own measure, as the daemon's."""
    said = host.run("systemd-analyze", "security", BACKUP).stdout
    level = float(said.rsplit("exposure level for " + BACKUP + ": ", 1)[1].split()[0])
    assert level <= 1.5, said
