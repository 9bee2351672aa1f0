"""A page is read from whatever logrotate left, and shows only what a power cut leaves."""

from __future__ import annotations

import gzip
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jarvis_secretsd.daemon import auditshelf
from jarvis_secretsd.daemon.auditlog import AuditLog
from jarvis_secretsd.daemon.auditshelf import read_page
from jarvis_secretsd.daemon.keys import AuditSigner
from jarvis_secretsd.domain.audit import Event, VaultHead
from jarvis_secretsd.errors import Unavailable
from jarvis_secretsd.messages import AuditLog as Asked

NOW = datetime(2026, 11, 25, 9, tzinfo=UTC)
VAULT = VaultHead(0, "c" * 64)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the log is."""
    tmp_path.chmod(0o700)
    return tmp_path / "audit.jsonl"


@pytest.fixture
def log(path: Path) -> AuditLog:
    """A new log."""
    return AuditLog.create(str(path), AuditSigner(bytes(range(32))), NOW, VAULT)


def turn(log: AuditLog, *names: str, synced: bool = True) -> None:
    """A turn of reads."""
    events = [Event(client="backend", op="get", name=name, outcome="allowed") for name in names]
    log.write(NOW, events, VAULT)
    if synced:
        log.sync()


def rotate(log: AuditLog, path: Path, suffix: str) -> Path:
    """Rename the file as logrotate does, compressed if the name says so; the daemon goes on."""
    away = path.with_name(path.name + suffix.removesuffix(".gz"))
    path.rename(away)
    log.reopen(NOW, VAULT)
    if suffix.endswith(".gz"):
        packed = away.with_name(f"{away.name}.gz")
        packed.write_bytes(gzip.compress(away.read_bytes()))
        away.unlink()
        away = packed
    return away


def names(log: AuditLog, asked: Asked = Asked()) -> list[str]:  # noqa: B008  # frozen
    return [entry.name for entry in read_page(log, asked).entries if entry.name]


@pytest.mark.parametrize("suffix", [".1", ".1.gz", "-20261125", "-20261125.gz"])
def test_pages_go_on_into_rotated_files(log: AuditLog, path: Path, suffix: str) -> None:
    """In both directions, compressed or not."""
    turn(log, "a", "b")
    rotate(log, path, suffix)
    turn(log, "c")
    assert names(log) == names(log, Asked(after=0)) == ["a", "b", "c"]
    page = read_page(log, Asked(limit=2))
    assert page.before is not None
    assert names(log, Asked(before=page.before)) == ["a", "b"]


def test_what_is_not_durable_is_not_shown(log: AuditLog) -> None:
    """A turn is there once it is synced, and not before."""
    turn(log, "a")
    turn(log, "b", synced=False)
    assert names(log) == names(log, Asked(after=0)) == ["a"]
    assert read_page(log, Asked()).after == 2
    log.sync()
    assert names(log) == ["a", "b"]


def test_a_file_that_was_moved_and_is_still_ours_is_told_once(log: AuditLog, path: Path) -> None:
    """Between logrotate's rename and the next write the segment has another name."""
    turn(log, "a")
    path.rename(path.with_name("audit.jsonl.1"))
    path.touch(0o600)
    assert names(log) == names(log, Asked(after=0)) == ["a"]


def test_segments_that_are_not_needed_are_not_opened(log: AuditLog, path: Path) -> None:
    """Who follows the log reads its end, though a hundred old files lie there."""
    turn(log, "a")
    rotate(log, path, ".1").write_bytes(b"not a log at all\n")
    turn(log, "b")
    after = read_page(log, Asked(limit=1)).after
    turn(log, "c")
    page = read_page(log, Asked(after=after))
    assert [entry.name for entry in page.entries] == ["c"]
    assert page.unread == ()


@pytest.mark.parametrize(
    "damage", [b"not gzip", gzip.compress(b"x" * 50)[:-9], gzip.compress(b"garbage\n")]
)
def test_what_can_not_be_shown_is_named(log: AuditLog, path: Path, damage: bytes) -> None:
    """The rest is shown all the same."""
    turn(log, "a")
    rotate(log, path, ".2")
    turn(log, "b")
    rotate(log, path, ".1.gz").write_bytes(damage)
    turn(log, "c")
    page = read_page(log, Asked())
    assert [entry.name for entry in page.entries if entry.name] == ["a", "c"]
    assert page.unread == ("audit.jsonl.1.gz",)


def test_what_takes_long_to_unpack_is_named(
    log: AuditLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compressed segment of any size, or one that unpacks to any size, keeps nobody waiting."""
    turn(log, "a")
    rotate(log, path, ".1.gz")
    monkeypatch.setattr(auditshelf, "MAX_UNZIPPED", 100)
    page = read_page(log, Asked())
    assert [entry.op for entry in page.entries] == ["segment_opened"]
    assert page.unread == ("audit.jsonl.1.gz",)


def test_the_log_of_another_vault_is_none_of_it(log: AuditLog, path: Path) -> None:
    """A file of a restored backup that lies there under a rotated name isn't mixed in."""
    other = AuditLog.create(f"{path}.1", AuditSigner(bytes(32)), NOW, VAULT)
    turn(other, "foreign")
    turn(log, "own")
    rotate(log, path, ".2")
    assert names(log) == ["own"]


def test_a_log_whose_first_line_was_overwritten_is_unavailable(log: AuditLog, path: Path) -> None:
    """Nothing is guessed about a file that isn't as we wrote it."""
    turn(log, "a")
    with path.open("r+b") as file:
        file.write(b"#")
    with pytest.raises(Unavailable):
        read_page(log, Asked())


def test_a_page_opens_nothing_that_stays_open(log: AuditLog, path: Path) -> None:
    """A daemon that is asked all day keeps its descriptors."""
    for suffix in (".3.gz", ".2", ".1"):
        turn(log, "a")
        rotate(log, path, suffix)
    before = os.listdir("/proc/self/fd")
    for asked in (Asked(), Asked(after=0), Asked(limit=1), Asked(after=0, limit=1)):
        read_page(log, asked)
    assert os.listdir("/proc/self/fd") == before
