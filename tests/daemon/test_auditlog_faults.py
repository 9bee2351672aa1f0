"""Two things go wrong with the audit log at once, and still no entry is lost or signed twice."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from jarvis_secretsd.daemon import files
from jarvis_secretsd.daemon.auditlog import AuditLog
from jarvis_secretsd.daemon.auditstart import Origin
from jarvis_secretsd.daemon.journal import Journal
from jarvis_secretsd.daemon.keys import AuditSigner, verify_signature
from jarvis_secretsd.daemon.segments import feed, find_segments
from jarvis_secretsd.domain.audit import KnownHead
from jarvis_secretsd.domain.auditfindings import Verdict
from jarvis_secretsd.domain.verification import Report, Verifier
from jarvis_secretsd.errors import StateRefused, StorageFailed, StorageFull
from tests.domain.auditing import NOW, VAULT, event, expect

SIGNER = AuditSigner(bytes(range(32)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the log is."""
    return tmp_path / "audit.jsonl"


@pytest.fixture
def log(path: Path) -> AuditLog:
    """A log with one durable turn."""
    log = AuditLog.create(str(path), SIGNER, NOW, VAULT)
    write(log, "first")
    log.sync()
    return log


def write(log: AuditLog, *names: str) -> None:
    """Add a turn of reads, which isn't synced."""
    log.write(NOW, [event(name) for name in names], VAULT)


def verified(log: AuditLog) -> Report:
    """What all the log's files come to, held against where it says that it ends."""
    check = partial(verify_signature, SIGNER.public_key)
    verifier = Verifier(check, SIGNER.key_id, from_start=True, expected=expect(log.signed_head))
    feed(verifier, [segment.path for segment in find_segments(log.path)])
    return verifier.report()


def count(path: Path, name: str) -> int:
    """How many entries of this name stand at the log's path."""
    return path.read_bytes().count(b'"name":"%b"' % name.encode())


def append(path: Path) -> None:
    """Another program writes to the log."""
    with path.open("ab") as file:
        file.write(b"theirs\n")


def failing(error: int) -> Callable[..., int]:
    """A call that fails."""

    def fail(*_: object, **__: object) -> int:
        raise OSError(error, os.strerror(error))

    return fail


def test_a_turn_that_became_durable_late_is_not_told_as_failed(
    log: AuditLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice another program appends before the sync is seen to be good, then the file is moved."""
    happenings: list[Callable[[Path], object]] = [
        append, append, lambda there: there.rename(f"{there}.1")
    ]  # fmt: skip
    real = Journal.sync

    def meanwhile(journal: Journal) -> None:
        real(journal)
        happenings.pop(0)(path)

    monkeypatch.setattr(Journal, "sync", meanwhile)
    write(log, "second")
    log.sync()
    assert happenings == []
    assert count(path, "second") == 1
    assert verified(log).verdict is Verdict.INTACT


def test_growth_that_finds_no_room_to_be_set_aside_spoils_no_later_turn(
    log: AuditLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another's line lies before our turn and the disk is full: only this turn failed."""
    real = os.write

    def late(descriptor: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", real)
        append(path)
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", late)
    write(log, "second")
    with monkeypatch.context() as patch, pytest.raises(StorageFull):
        patch.setattr(files, "write_all", failing(errno.ENOSPC))
        log.sync()
    write(log, "third")
    log.sync()
    assert (count(path, "second"), count(path, "third")) == (0, 1)
    assert verified(log).verdict is Verdict.INTACT


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_moved_log_without_room_for_another_waits_for_it(
    log: AuditLog, path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """Each try is refused and leaves nothing at the path; the first that can goes on."""
    os.rename(path, f"{path}.1")
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_all", failing(error))
        for _ in range(3):
            with pytest.raises((StorageFull, StorageFailed)):
                write(log, "second")
    assert [one.name for one in path.parent.iterdir()] == ["audit.jsonl.1"]
    write(log, "third")
    log.sync()
    assert verified(log).verdict is Verdict.INTACT


def intruded(path: Path) -> None:
    """The log is rotated, and another's file lies in its place."""
    os.rename(path, f"{path}.1")
    path.write_bytes(b"something else\n")
    path.chmod(0o600)


@pytest.mark.parametrize("step", ["rename", "fsync", "write", "replace"])
def test_a_crash_while_a_segment_is_opened_starts_no_new_chain(
    log: AuditLog, path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Wherever it is interrupted, the next start goes on from the rotated file."""
    intruded(path)
    log_id = log.log_id
    target = (files, "replace_chunks") if step == "replace" else (os, step)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(*target, interrupted)
        write(log, "second")
    log.close()
    known = KnownHead(log_id, log.signed_head)
    again = AuditLog.open(str(path), SIGNER, known)
    assert (again.origin, again.log_id) == (Origin.PREDECESSOR, log_id)
    write(again, "third")
    again.sync()
    assert verified(again).verdict is Verdict.INTACT
    assert any(b"something else" in one.read_bytes() for one in path.parent.iterdir())


def interrupted(*_: object, **__: object) -> int:
    """The process ends here."""
    raise KeyboardInterrupt


def test_opening_a_log_changes_nothing(log: AuditLog, path: Path) -> None:
    """Until the first write, a start that is refused has left every file as it was."""
    write(log, "second")
    log.close()
    os.truncate(path, path.stat().st_size - 5)
    before = {one.name: one.read_bytes() for one in path.parent.iterdir()}
    again = AuditLog.open(str(path), SIGNER)
    assert again.torn is not None
    assert again.contains(again.signed_head.seq, again.signed_head.head)
    again.close()
    assert {one.name: one.read_bytes() for one in path.parent.iterdir()} == before


def test_what_is_known_must_have_been_signed(log: AuditLog, path: Path) -> None:
    """A chain doesn't go on from a head whose signature a verification would refuse."""
    known = KnownHead(log.log_id, log.signed_head)
    log.close()
    path.unlink()
    forged = replace(known, signed=replace(known.signed, vault_head="d" * 64))
    other = replace(known, log_id="0" * 32)
    for one, signer in ((forged, SIGNER), (other, SIGNER), (known, AuditSigner(bytes(32)))):
        with pytest.raises(StateRefused, match="not signed by the key at hand"):
            AuditLog.open(str(path), signer, one)
    assert AuditLog.open(str(path), SIGNER, known).origin is Origin.KNOWN


def test_a_new_segment_that_is_cut_at_once_is_not_gone_on_with(
    log: AuditLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`copytruncate` meets it between its rename and the next look: a segment has its opening."""
    real = files.replace_chunks

    def cut(where: str, chunks: list[bytes]) -> int:
        descriptor = real(where, chunks)
        os.truncate(where, 0)
        return descriptor

    monkeypatch.setattr(files, "replace_chunks", cut)
    path.rename(f"{path}.1")
    write(log, "lost")
    monkeypatch.setattr(files, "replace_chunks", real)
    log.sync()
    write(log, "second")
    log.sync()
    assert path.read_bytes().startswith(b'{"seq":')
    assert b"segment_opened" in path.read_bytes().splitlines()[0]
    assert count(path, "second") == 1
    assert verified(log).verdict is Verdict.INCOMPLETE
