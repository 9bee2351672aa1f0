"""Taking a backup and proving it: it holds one moment, whole, and nothing in the clear."""

from __future__ import annotations

import gzip
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jarvis_secretsd.daemon import bundle
from jarvis_secretsd.daemon.backup import Sources, witness_backup, write_backup
from jarvis_secretsd.daemon.bundle import Bundle
from jarvis_secretsd.daemon.draft import Draft
from jarvis_secretsd.daemon.keys import Opener
from jarvis_secretsd.daemon.proving import Proven, prove
from jarvis_secretsd.daemon.rewriting import rewrite
from jarvis_secretsd.daemon.startup import State
from jarvis_secretsd.domain.audit import Event, Outcome
from jarvis_secretsd.errors import (
    BackupBroken,
    ConfigurationError,
    KeyRefused,
    StorageFailed,
    StorageFull,
)
from jarvis_secretsd.messages import AuditHeadStatus
from tests.daemon.states import MASTER, Place, failing, keep_heads, put
from tests.domain.world import NOW

SECRETS = {"a": "the value of a", "b": "the value of b"}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Where a state goes."""
    return Place(tmp_path / "place")


@pytest.fixture
def state(place: Place) -> Iterator[State]:
    """A state with two secrets, which a daemon has open."""
    with closing(place.found()) as state:
        for name, value in SECRETS.items():
            put(state, name, value)
        keep_heads(place, state)
        yield state


def take(
    place: Place,
    ask_end: Callable[[], AuditHeadStatus],
    path: Path,
    *,
    older_logs: bool = False,
    replace: bool = False,
) -> Path:
    """Write a backup to this path."""
    sources = Sources(place.config, None, older_logs)
    with closing(Draft(path, replace=replace)) as draft:
        write_backup(draft, sources, place.opener, ask_end, NOW)
        draft.place()
    return path


def proven(path: Path, opener: Opener | None = None) -> Proven:
    """Prove it with the master key."""
    with closing(Bundle.open(str(path))) as backup:
        return prove(backup, opener or Opener.from_key(MASTER, "master.key"))


@pytest.fixture
def taken(place: Place, state: State, tmp_path: Path) -> Path:
    """A backup of it."""
    return take(place, lambda: state.audit.end, tmp_path / "taken")


def names_in(found: Proven) -> dict[str, str]:
    """The secrets that the backup holds."""
    secrets = filter(None, map(found.vault.live, found.vault.names()))
    return {str(each.name): each.current.value.reveal_text() for each in secrets}


def test_a_backup_holds_what_there_was(taken: Path, state: State) -> None:
    """Every secret, the end of the vault, and the whole log."""
    found = proven(taken)
    assert names_in(found) == SECRETS
    assert found.manifest.vault == state.vault_file.head
    assert found.manifest.audit == state.audit.signed_head
    assert (found.report.first, found.report.last) == (1, 3)


def test_what_comes_after_the_moment_isnt_in_it(place: Place, state: State, tmp_path: Path) -> None:
    """The daemon goes on with both files while they are copied."""

    def ask() -> AuditHeadStatus:
        end = state.audit.end
        put(state, "c", "later")
        return end

    found = proven(take(place, ask, tmp_path / "taken"))
    assert names_in(found) == SECRETS
    assert found.report.last == 3


@pytest.mark.parametrize("times", [1, 4])
def test_a_vault_that_is_written_anew_meanwhile_is_tried_again(
    place: Place, state: State, tmp_path: Path, times: int
) -> None:
    """A compaction between question and copy costs another question."""
    asked = []

    def ask() -> AuditHeadStatus:
        end = state.audit.end
        asked.append(end)
        if len(asked) <= times:
            rewrite(state, place.paths, NOW, Event(op="test", outcome=Outcome.RECORDED))
        return end

    assert names_in(proven(take(place, ask, tmp_path / "taken"))) == SECRETS
    assert len(asked) == times + 1


def test_a_vault_that_never_lies_still_is_given_up(
    place: Place, state: State, tmp_path: Path
) -> None:
    """It says so, and nothing is left."""

    def ask() -> AuditHeadStatus:
        end = state.audit.end
        rewrite(state, place.paths, NOW, Event(op="test", outcome=Outcome.RECORDED))
        return end

    with pytest.raises(StorageFailed, match="again and again"):
        take(place, ask, tmp_path / "taken")
    assert [each.name for each in tmp_path.iterdir()] == ["place"]


def test_a_log_that_is_rotated_meanwhile_is_tried_again(
    place: Place, state: State, tmp_path: Path
) -> None:
    """The end is asked for anew, and lies in the new segment."""
    asked = []

    def ask() -> AuditHeadStatus:
        end = state.audit.end
        asked.append(end)
        if len(asked) == 1:
            rotate(place, state)
        return end

    found = proven(take(place, ask, tmp_path / "taken"))
    assert names_in(found) == SECRETS
    assert found.report.first > 1


def rotate(place: Place, state: State, *, compress: bool = False) -> None:
    """As logrotate does."""
    moved = place.directory / "audit.jsonl.1"
    place.paths.audit_path.rename(moved)
    state.audit.reopen(NOW, state.vault_file.head)
    if compress:
        moved.with_name("audit.jsonl.1.gz").write_bytes(gzip.compress(moved.read_bytes()))
        moved.unlink()


@pytest.mark.parametrize("compress", [False, True])
def test_older_segments_come_along_if_they_are_wanted(
    place: Place, state: State, tmp_path: Path, compress: bool
) -> None:
    """With them the log is verified from its first entry on, compressed or not."""
    rotate(place, state, compress=compress)
    put(state, "c", "1")
    without = proven(take(place, lambda: state.audit.end, tmp_path / "without"))
    whole = proven(take(place, lambda: state.audit.end, tmp_path / "whole", older_logs=True))
    assert (without.report.segments, without.report.first) == (1, 4)
    assert (whole.report.segments, whole.report.first) == (2, 1)


def test_nothing_secret_is_in_it_in_the_clear(place: Place, taken: Path) -> None:
    """No value, no name that only the vault knows, no master key and no key that signs."""
    data = taken.read_bytes()
    pem = place.paths.sign_key_path.read_bytes()
    for secret in (*(value.encode() for value in SECRETS.values()), MASTER, pem, b"PRIVATE KEY"):
        assert secret not in data
    assert pem.splitlines()[1] not in data


def test_it_is_ours_alone(taken: Path) -> None:
    """From its first byte on."""
    assert taken.stat().st_mode & 0o777 == 0o600


def test_tar_takes_it_apart(taken: Path, place: Place) -> None:
    """Vault and log in it are the files as they were, for who has nothing but tar."""
    for path in (place.paths.vault_path, place.paths.audit_path):
        command = ["tar", "-xOf", str(taken), path.name]
        assert subprocess.run(command, capture_output=True, check=True).stdout == path.read_bytes()


def test_another_key_opens_nothing_of_it(taken: Path) -> None:
    """The refusal names the slots that there are."""
    with pytest.raises(KeyRefused, match="the vault has slots: file"):
        proven(taken, Opener.from_key(MASTER[::-1], "another"))


def test_every_byte_of_every_part_is_vouched_for(taken: Path, tmp_path: Path) -> None:
    """One that was changed, wherever, is noticed."""
    data, bad = taken.read_bytes(), tmp_path / "bad"
    with tarfile.open(taken) as archive:
        parts = [(each.name, each.offset_data, each.size) for each in archive]
    assert {name for name, _, _ in parts} == {*bundle.NEEDED, bundle.MANIFEST}
    for name, offset, size in parts:
        for place in (*range(0, size - 1, max(1, size // 9)), size - 2):
            at = offset + place
            bad.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            with pytest.raises((BackupBroken, KeyRefused)):
                proven(bad)
                pytest.fail(f"{name}, byte {place}")


def test_a_backup_that_was_cut_off_is_noticed(taken: Path, tmp_path: Path) -> None:
    """At each block of the archive but the empty ones at its end."""
    data, cut = taken.read_bytes(), tmp_path / "cut"
    end = len(data.rstrip(b"\0"))
    for size in (*range(0, end, 512), end - 1):
        cut.write_bytes(data[:size])
        with pytest.raises(BackupBroken):
            proven(cut)


def parts_of(path: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    """The archive's members with their bytes."""
    with tarfile.open(path) as archive:
        return [
            (each, reading.read()) for each in archive if (reading := archive.extractfile(each))
        ]


def tar(path: Path, parts: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    """An archive of these members."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for info, data in parts:
            member = tarfile.TarInfo(info.name)
            member.size, member.type = len(data), info.type
            member.linkname = info.linkname
            with (path.parent / "part").open("w+b") as file:
                file.write(data)
                file.seek(0)
                archive.addfile(member, file)
    return path


def test_a_part_of_another_backup_is_noticed(
    taken: Path, place: Place, state: State, tmp_path: Path
) -> None:
    """Each by itself, though all of it was sealed and signed by the same keys."""
    put(state, "c", "1")
    newer = take(place, lambda: state.audit.end, tmp_path / "newer")
    old, new = parts_of(taken), parts_of(newer)
    for index in range(len(old)):
        mixed = [*old[:index], new[index], *old[index + 1 :]]
        if new[index][1] != old[index][1]:
            with pytest.raises(BackupBroken):
                proven(tar(tmp_path / "mixed", mixed))


def test_what_doesnt_belong_in_it_is_noticed(taken: Path, tmp_path: Path) -> None:
    """A further file, one that is there twice, one that is missing, a link."""
    parts = parts_of(taken)
    further = tarfile.TarInfo("further")
    link = tarfile.TarInfo("audit.sign.pub")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    for bad in (
        [*parts, (further, b"x")],
        [*parts, parts[0]],
        parts[:-1],
        parts[1:],
        [*parts[:4], (link, b""), *parts[5:]],
    ):
        with pytest.raises(BackupBroken):
            proven(tar(tmp_path / "bad", bad))


def header(name: str, kind: bytes, size: bytes) -> bytes:
    """A tar header whose size is these eleven or twelve bytes, with a checksum that fits."""
    info = tarfile.TarInfo(name)
    info.type = kind
    found = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    found[124 : 124 + len(size)] = size
    found[148:156] = b" " * 8
    found[148:156] = b"%06o\0 " % sum(found)
    return bytes(found)


HOLES = b"22 GNU.sparse.map=0,1\n" + b"33 GNU.sparse.size=1099511627776\n"
"""What says (pax) that a file of one byte is 1 TiB of them, for tar to fill in."""


@pytest.mark.parametrize(
    "data",
    [
        header("x", b"x", b"%011o" % len(HOLES)) + HOLES.ljust(512, b"\0"),
        (header("././@LongLink", b"L", b"%011o" % 2) + b"x".ljust(512, b"\0")) * 3000,
        header("././@LongLink", b"L", b"\x80" + b"\x7f" * 11),
        header(f"{bundle.OLDER_LOG}/../../elsewhere", b"0", b"%011o" % 0),
    ],
    ids=["holes", "names of names", "a size beyond all", "a way out"],
)
def test_a_tar_that_was_made_to_harm_is_no_backup(tmp_path: Path, data: bytes) -> None:
    """It costs no memory, leads nowhere, and is refused with the same sentence, whoever made it."""
    end = header("vault.json", b"0", b"%011o" % 1) + b"x".ljust(512, b"\0") + bytes(10240)
    (tmp_path / "file").write_bytes(data + end)
    with pytest.raises(BackupBroken, match="is no backup"):
        Bundle.open(str(tmp_path / "file"))


@pytest.mark.parametrize("data", [b"", b"x", b"\0" * 10240, b"x" * 10240, os.urandom(4096)])
def test_what_is_no_backup_is_refused(tmp_path: Path, data: bytes) -> None:
    """With a sentence."""
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(BackupBroken, match=str(tmp_path)):
        proven(tmp_path / "file")


def test_a_backup_that_isnt_there_is_said_so(tmp_path: Path) -> None:
    """And why."""
    with pytest.raises(BackupBroken, match="No such file"):
        proven(tmp_path / "file")


def test_a_file_that_is_there_isnt_replaced_unasked(
    place: Place, state: State, taken: Path
) -> None:
    """If it is asked for, whoever looks finds the old or the new."""
    before = taken.read_bytes()
    with pytest.raises(ConfigurationError, match="--force"):
        take(place, lambda: state.audit.end, taken)
    assert taken.read_bytes() == before
    put(state, "c", "1")
    take(place, lambda: state.audit.end, taken, replace=True)
    assert "c" in names_in(proven(taken))


def test_a_full_disk_leaves_the_old_backup(
    place: Place, state: State, taken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing beside it; the state isn't touched."""
    before = taken.read_bytes()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(StorageFull):
        patch.setattr(os, "fsync", full)
        take(place, lambda: state.audit.end, taken, replace=True)
    assert taken.read_bytes() == before
    assert {each.name for each in taken.parent.iterdir()} == {"place", "taken"}


def test_vault_and_log_know_when_the_last_backup_was_taken(place: Place, state: State) -> None:
    """Also after a start; the log says which one it was."""
    witness_backup(place.paths, state, "ab" * 32, NOW)
    assert state.vault.backup is not None
    with closing(place.open()) as again:
        assert again.vault.backup == state.vault.backup
    assert f"taken: sha256 {'ab' * 32}" in place.paths.audit_path.read_text()


def test_a_backup_that_couldnt_be_witnessed_wasnt_taken(
    place: Place, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of the last one stays."""
    with failing(0, monkeypatch), pytest.raises(StorageFull):
        witness_backup(place.paths, state, "ab" * 32, NOW)
    assert state.vault.backup is None
