"""The log's file under the daemon: moved, cut, replaced, torn; nothing is lost without an entry."""

from __future__ import annotations

import base64
import gzip
import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from jarvis_secretsd.daemon import segments
from jarvis_secretsd.daemon.auditlog import AuditLog
from jarvis_secretsd.daemon.auditstart import Origin
from jarvis_secretsd.daemon.keys import AuditSigner, public_to_pem, verify_signature
from jarvis_secretsd.domain.audit import Event, KnownHead, VaultHead
from jarvis_secretsd.domain.auditfindings import Verdict
from jarvis_secretsd.domain.verification import Report, Verifier
from jarvis_secretsd.errors import StateRefused, StorageFull, SyncFailed

NOW = datetime(2026, 11, 25, 9, tzinfo=UTC)
VAULT = VaultHead(0, "c" * 64)
SIGNER = AuditSigner(bytes(range(32)))


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the log is."""
    tmp_path.chmod(0o700)
    return str(tmp_path / "audit.jsonl")


@pytest.fixture
def log(path: str) -> AuditLog:
    """A new log."""
    return AuditLog.create(path, SIGNER, NOW, VAULT)


def read(name: str) -> Event:
    """The entry of a read."""
    return Event(uid=1001, client="backend", op="get", name=name, outcome="allowed")


def turn(log: AuditLog, *names: str) -> None:
    """One durable turn of reads."""
    log.write(NOW, [read(name) for name in names], VAULT)
    log.sync()


def verified(path: str) -> Report:
    """What a verification of the log with all its segments comes to."""
    verifier = Verifier(
        lambda text, signature: verify_signature(SIGNER.public_key, text, signature),
        SIGNER.key_id,
        from_start=True,
    )
    segments.feed(verifier, (segment.path for segment in segments.find_segments(path)))
    return verifier.report()


def everything(path: str) -> bytes:
    """All that lies in the log's files, whatever they are called now."""
    directory = Path(path).parent
    return b"".join(file.read_bytes() for file in sorted(directory.glob("audit.jsonl*")))


def test_what_was_written_verifies(log: AuditLog, path: str) -> None:
    """Turns of several entries are one chain, and the file is ours alone."""
    turn(log, "a", "b")
    turn(log, "c")
    report = verified(path)
    assert (report.verdict, report.first, report.last) == (Verdict.INTACT, 1, 4)
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_restart_continues_the_chain(log: AuditLog, path: str) -> None:
    """The next start reads the tail alone and goes on behind it."""
    turn(log, "a")
    log.close()
    again = AuditLog.open(path, SIGNER)
    assert (again.origin, again.log_id) == (Origin.ACTIVE, log.log_id)
    assert again.contains(2, again.signed_head.head)
    assert not again.contains(2, "0" * 64)
    turn(again, "b")
    assert verified(path).verdict is Verdict.INTACT


def moved(path: str) -> None:
    """As logrotate without `create`."""
    os.rename(path, path + ".1")


def replaced(path: str) -> None:
    """As logrotate with `create 0640`."""
    os.rename(path, path + ".1")
    with open(path, "wb"):
        os.chmod(path, 0o640)


def exchanged(path: str) -> None:
    """Somebody else's file lies in its place."""
    os.rename(path, path + ".1")
    Path(path).write_bytes(b"something else\n")


@pytest.mark.parametrize("happen", [moved, replaced, exchanged])
@pytest.mark.parametrize("between", [False, True], ids=["before a write", "before its sync"])
def test_a_log_that_was_taken_away_goes_on_in_a_segment_of_its_own(
    log: AuditLog, path: str, happen: Callable[[str], None], between: bool
) -> None:
    """Nothing is lost, the new file is ours, and its first entry says what was found."""
    turn(log, "first")
    if between:
        log.write(NOW, [read("second")], VAULT)
        happen(path)
        log.sync()
    else:
        happen(path)
        turn(log, "second")
    turn(log, "third")
    assert verified(path).verdict is Verdict.INTACT
    active = Path(path).read_bytes()
    assert b'"op":"segment_opened"' in active.splitlines()[0]
    assert b'"name":"second"' in active
    assert os.stat(path).st_mode & 0o777 == 0o600
    if happen is exchanged:
        assert b"something else" in everything(path)
        assert b"file_set_aside" in active


def test_a_deleted_log_is_missed_and_what_was_not_synced_is_written_again(
    log: AuditLog, path: str
) -> None:
    """What had been synced is gone with the file; a verification says which entries."""
    turn(log, "first")
    log.write(NOW, [read("second")], VAULT)
    os.unlink(path)
    log.sync()
    assert b'"name":"second"' in Path(path).read_bytes()
    report = verified(path)
    assert report.verdict is Verdict.INCOMPLETE
    assert any("1 to 2" in finding.fault for finding in report.findings)


def test_a_truncated_log_is_missed(log: AuditLog, path: str) -> None:
    """copytruncate: the copy has the past, and a new segment follows it."""
    turn(log, "first")
    shutil.copy(path, path + ".1")
    os.truncate(path, 0)
    turn(log, "second")
    assert verified(path).verdict is Verdict.INTACT


def test_what_another_program_appends_is_set_aside(log: AuditLog, path: str) -> None:
    """Its bytes are kept in a file of their own, and an entry says so."""
    turn(log, "first")
    with open(path, "ab") as file:
        file.write(b"noise\n")
    turn(log, "second")
    assert verified(path).verdict is Verdict.INTACT
    assert b"tail_set_aside" in Path(path).read_bytes()
    assert b"noise" in everything(path)


def test_rotated_and_compressed_segments_are_one_log(log: AuditLog, path: str) -> None:
    """Also where a restart finds no file at the path, the chain goes on behind the newest."""
    turn(log, "first")
    moved(path)
    turn(log, "second")
    with open(path + ".1", "rb") as plain, gzip.open(path + ".2.gz", "wb") as packed:
        packed.write(plain.read())
    os.unlink(path + ".1")
    moved(path)
    log.close()
    again = AuditLog.open(path, SIGNER)
    assert again.origin is Origin.PREDECESSOR
    turn(again, "third")
    report = verified(path)
    assert (report.verdict, report.segments) == (Verdict.INTACT, 3)


def test_a_sighup_after_a_rename_opens_a_new_segment(log: AuditLog, path: str) -> None:
    """logrotate's postrotate: the file is there again at once."""
    turn(log, "first")
    moved(path)
    log.reopen(NOW, VAULT)
    assert Path(path).exists()
    assert verified(path).verdict is Verdict.INTACT


@pytest.mark.parametrize("cut", [1, 7, 200])
def test_a_torn_tail_is_set_aside_at_the_next_start(log: AuditLog, path: str, cut: int) -> None:
    """What follows the last whole turn is kept beside the log, and an entry says so."""
    turn(log, "first")
    log.write(NOW, [read("second")], VAULT)
    log.close()
    os.truncate(path, os.path.getsize(path) - cut)
    again = AuditLog.open(path, SIGNER)
    turn(again, "third")
    assert verified(path).verdict is Verdict.INTACT
    assert b"tail_set_aside" in Path(path).read_bytes()
    assert list(Path(path).parent.glob("audit.jsonl.torn-*"))


def test_a_log_that_is_gone_goes_on_from_the_head_that_is_known(log: AuditLog, path: str) -> None:
    """The caller is told that only the known head is left, and decides."""
    turn(log, "first")
    known = KnownHead(log.log_id, log.signed_head)
    log.close()
    os.unlink(path)
    with pytest.raises(FileNotFoundError):
        AuditLog.open(path, SIGNER)
    assert AuditLog.open(path, SIGNER, known).origin is Origin.KNOWN


def test_a_log_of_another_key_is_refused(log: AuditLog, path: str) -> None:
    """The message says that log and key belong together."""
    log.close()
    with pytest.raises(StateRefused, match="signed by the key"):
        AuditLog.open(path, AuditSigner(bytes(32)))


def test_a_full_disk_leaves_log_and_chain_as_they_were(
    log: AuditLog, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a line is never left, and the next write follows the last one that was whole."""
    turn(log, "first")
    before = Path(path).read_bytes()
    true_write = os.write

    def short_write(descriptor: int, data: bytes) -> int:
        true_write(descriptor, bytes(data)[:40])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(StorageFull):
        patch.setattr(os, "write", short_write)
        log.write(NOW, [read("second")], VAULT)
    assert Path(path).read_bytes() == before
    turn(log, "third")
    assert verified(path).verdict is Verdict.INTACT


def test_a_write_that_is_taken_back_was_never_there(log: AuditLog, path: str) -> None:
    """The turn that follows takes its place in the chain."""
    turn(log, "first")
    log.write(NOW, [read("second")], VAULT)
    log.rewind()
    turn(log, "third")
    assert b"second" not in Path(path).read_bytes()
    assert verified(path).last == 3


def test_a_failed_sync_is_told(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """It isn't tried again: a second sync would succeed over data that is gone (fsync(2))."""

    def failing(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    log.write(NOW, [read("first")], VAULT)
    monkeypatch.setattr(os, "fdatasync", failing)
    with pytest.raises(SyncFailed):
        log.sync()


def test_openssl_can_check_a_signature(log: AuditLog, path: str, tmp_path: Path) -> None:
    """Anyone can, with the public key and the text that the documents give."""
    turn(log, "first")
    line = msgspec.json.decode(Path(path).read_bytes().splitlines()[-1])
    text = (
        f"jarvis-audit-v1\n{log.log_id}\n{line['key_id']}\n{line['seq']}\n"
        f"{line['head']}\n{line['vault_head']}\n"
    )
    (tmp_path / "key.pem").write_bytes(public_to_pem(SIGNER.public_key))
    (tmp_path / "text").write_text(text)
    (tmp_path / "signature").write_bytes(base64.b64decode(line["sig"]))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin"]
    subprocess.run(
        [*command, "-in", "text", "-sigfile", "signature"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
