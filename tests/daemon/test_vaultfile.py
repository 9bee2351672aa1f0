"""The vault's file in its ordinary life: append, replay, rewind, compaction, slots."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jarvis_secretsd.daemon.keys import Aead, DataKey, Opener, SlotKind, new_slot
from jarvis_secretsd.daemon.vaultfile import LockedVault, VaultFile
from jarvis_secretsd.daemon.vaultlines import MAX_PAYLOAD_BYTES, MAX_SLOTS
from jarvis_secretsd.domain.audit import VaultHead
from jarvis_secretsd.errors import KeyRefused, StorageFailed, StorageFull, TooLarge, UnsafeFile
from tests.daemon.vaults import CHEAP, NOW, VAULT_ID, master, new_vault, reopened

CANARY = b"canary-9f2c41"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a vault may be made."""
    return tmp_path / "vault.json"


@pytest.mark.parametrize("aead", Aead)
@settings(max_examples=25)
@given(batches=st.lists(st.lists(st.binary(max_size=300), max_size=4), max_size=4))
def test_what_was_appended_is_replayed(aead: Aead, batches: list[list[bytes]]) -> None:
    """Any payloads, in any batches, come back in order, numbered from 1, with the heads given."""
    with TemporaryDirectory() as directory:
        path = Path(directory, "vault.json")
        vault = new_vault(path, aead=aead)
        heads = [head for batch in batches for head in vault.append(batch)]
        again = LockedVault.open(path).unlock(master())
        payloads = [payload for batch in batches for payload in batch]
        assert list(again.replay()) == list(zip(heads, payloads, strict=True))
        assert [head.seq for head in heads] == list(range(1, len(payloads) + 1))
        assert again.head == vault.head and again.torn is None
        vault.close()
        again.close()


def test_a_restart_goes_on_where_it_was(path: Path) -> None:
    """After a replay the vault takes appends as if it had stayed up."""
    new_vault(path, [b"one"]).close()
    vault, _ = reopened(path)
    vault.append([b"two"])
    vault.sync()
    assert reopened(path)[1] == [(1, b"one"), (2, b"two")]


def test_the_file_is_ours_alone_from_birth(path: Path) -> None:
    """Whatever the umask, the vault is 0600, also after a rewrite."""
    before = os.umask(0)
    try:
        vault = new_vault(path, [b"one"])
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        vault.rewrite([(1, b"one")])
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_a_vault_is_never_made_over_another(path: Path) -> None:
    """Creating where a file is fails and leaves it alone."""
    new_vault(path, [b"one"])
    with pytest.raises(FileExistsError):
        new_vault(path)
    assert reopened(path)[1] == [(1, b"one")]


@pytest.mark.parametrize("aead", Aead)
def test_every_line_is_json_and_shows_nothing(path: Path, aead: Aead) -> None:
    """jq can read each line; format and sequence numbers are clear, payloads and keys are not."""
    key = DataKey.generate()
    new_vault(path, [CANARY, b'{"name":"postgres_password"}'], aead=aead, data_key=key)
    header, *records = map(json.loads, path.read_text().splitlines())
    assert header["format"] == "jarvis-vault-v1"
    assert header["aead"] == aead.value and header["vault_id"] == VAULT_ID
    assert [record["seq"] for record in records] == [1, 2]
    assert all(set(record) == {"seq", "nonce", "box"} for record in records)
    written = path.read_bytes()
    for hidden in (CANARY, b"postgres", key.reveal(), key.reveal().hex().encode()):
        assert hidden not in written


def test_the_head_is_the_hash_of_the_last_line(path: Path) -> None:
    """Anyone can compute a head with sha256sum, without a key."""
    vault = new_vault(path)
    header = path.read_bytes().removesuffix(b"\n")
    assert vault.head == VaultHead(0, sha256(header).hexdigest())
    vault.append([b"one", b"two"])
    last = path.read_bytes().splitlines()[-1]
    assert vault.head == VaultHead(2, sha256(last).hexdigest())


def test_a_turn_can_be_taken_back(path: Path) -> None:
    """After a rewind the last append never was, and its numbers are given again."""
    vault = new_vault(path, [b"one"])
    before, size = vault.head, path.stat().st_size
    vault.append([b"two", b"three"])
    vault.rewind()
    assert (vault.head, path.stat().st_size) == (before, size)
    vault.append([b"other two"])
    assert reopened(path)[1] == [(1, b"one"), (2, b"other two")]


def test_only_the_last_append_can_be_taken_back(path: Path) -> None:
    """A second rewind, or one after a rewrite, is a fault of the caller."""
    vault = new_vault(path, [b"one"])
    vault.rewind()
    with pytest.raises(RuntimeError, match="no append"):
        vault.rewind()
    vault.append([b"one"])
    vault.rewrite([(1, b"one")])
    with pytest.raises(RuntimeError, match="no append"):
        vault.rewind()


def test_a_full_disk_changes_nothing_and_retries_use_fresh_nonces(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused append leaves file and head alone, and no attempt shares a nonce with another."""
    vault = new_vault(path, [b"one"])
    before, size = vault.head, path.stat().st_size
    attempts: list[bytes] = []

    def refuse(_: int, data: bytes) -> int:
        attempts.append(data)
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as full:
        full.setattr(os, "write", refuse)
        for _ in range(20):
            with pytest.raises(StorageFull):
                vault.append([b"two"])
    assert (vault.head, path.stat().st_size) == (before, size)
    vault.append([b"two"])
    attempts.append(path.read_bytes().splitlines()[-1])
    assert len({json.loads(attempt)["nonce"] for attempt in attempts}) == 21
    assert reopened(path)[1] == [(1, b"one"), (2, b"two")]


def test_a_payload_that_could_not_be_read_back_is_refused(path: Path) -> None:
    """The largest payload comes back; one byte more is refused before anything is written."""
    vault = new_vault(path, [bytes(MAX_PAYLOAD_BYTES)])
    with pytest.raises(TooLarge):
        vault.append([b"fits", bytes(MAX_PAYLOAD_BYTES + 1)])
    assert reopened(path)[1] == [(1, bytes(MAX_PAYLOAD_BYTES))]


def test_a_vault_takes_no_change_before_it_was_read(path: Path) -> None:
    """Appending or rewriting without a replay to the end is a fault of the caller."""
    new_vault(path, [b"one", b"two"])
    vault = LockedVault.open(path).unlock(master())
    next(vault.replay())
    with pytest.raises(RuntimeError, match="replay"):
        vault.append([b"three"])
    with pytest.raises(RuntimeError, match="replay"):
        vault.rewrite([(1, b"one")])


def test_a_wrong_key_names_the_slots_and_the_right_one_still_opens(path: Path) -> None:
    """A refused key changes nothing: the next one may be right."""
    new_vault(path, [b"one"])
    locked = LockedVault.open(path)
    with pytest.raises(KeyRefused, match=r"the vault has slots: file \(2026-11-25, id .*/wrong"):
        locked.unlock(Opener.from_key(b"\1" * 32, "/wrong"))
    assert [payload for _, payload in locked.unlock(master()).replay()] == [b"one"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o700])
def test_a_vault_that_others_could_touch_is_refused(path: Path, mode: int) -> None:
    """It must be ours alone, and the refusal gives the command that mends it."""
    new_vault(path).close()
    path.chmod(mode)
    with pytest.raises(UnsafeFile, match="chmod 600"):
        LockedVault.open(path)


def test_compaction_keeps_sequence_numbers(path: Path) -> None:
    """What stays keeps its number, and what comes next goes on counting."""
    vault = new_vault(path, [b"1", b"2", b"3", b"4"])
    vault.rewrite([(2, b"2"), (5, b"compacted")], compacted_to=5)
    assert vault.append([b"6"])[0].seq == 6
    again, records = reopened(path)
    assert records == [(2, b"2"), (5, b"compacted"), (6, b"6")]
    assert again.head == vault.head and again.header.compacted_to == 5


def test_a_rewrite_may_read_what_it_replaces(path: Path) -> None:
    """A replay can be the source of its own rewrite, which seals every record anew."""
    vault = new_vault(path, [b"1", b"2", b"3"])
    before = path.read_bytes()
    vault.rewrite((head.seq, payload) for head, payload in vault.replay())
    assert reopened(path)[1] == [(1, b"1"), (2, b"2"), (3, b"3")]
    assert not set(path.read_bytes().splitlines()) & set(before.splitlines())


@pytest.mark.parametrize(
    ("records", "compacted_to"),
    [
        ([(1, b"1")], 1),  # the next append would give number 2 again
        ([(1, b"1"), (3, b"3")], None),  # a hole that no compaction explains
        ([(2, b"2"), (1, b"1"), (2, b"2")], 2),
        ([(1, b"1"), (1, b"1"), (2, b"2")], 2),
        ([(0, b"0"), (2, b"2")], 2),
        ([(1, b"1"), (2, b"2")], 9),  # the record of the compaction itself is missing
        ([], None),
    ],
)
def test_a_rewrite_with_wrong_numbers_changes_nothing(
    path: Path, records: list[tuple[int, bytes]], compacted_to: int | None
) -> None:
    """Numbers rise, have holes only below the compaction, and never start over."""
    vault = new_vault(path, [b"1", b"2"])
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"record|follow"):
        vault.rewrite(records, compacted_to=compacted_to)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]
    vault.append([b"3"])
    assert reopened(path)[1] == [(1, b"1"), (2, b"2"), (3, b"3")]


def test_a_rewrite_that_fails_on_its_way_leaves_the_old_vault(path: Path) -> None:
    """Whatever stops the records from coming, the vault is what it was."""
    vault = new_vault(path, [b"1", b"2"])
    before = path.read_bytes()

    def records() -> Iterator[tuple[int, bytes]]:
        yield 1, b"1"
        raise LookupError

    with pytest.raises(LookupError):
        vault.rewrite(records())
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_what_a_crash_left_of_a_rewrite_is_harmless(path: Path) -> None:
    """A new file that never took the vault's place disturbs neither start nor next rewrite."""
    vault = new_vault(path, [b"1"])
    for name in (".vault.json.00.new", "vault.json.new"):
        (path.parent / name).write_bytes(path.read_bytes()[:-20])
    vault.rewrite([(1, b"1")])
    assert reopened(path)[1] == [(1, b"1")]


def test_a_slot_can_be_added_and_the_records_stay(path: Path) -> None:
    """Openers of all four kinds come to one vault, each opens it, and what is in it stays."""
    raw = Opener.from_key(b"\7" * 32, "credential", SlotKind.CREDENTIAL)
    phrase = Opener.from_passphrase("correct horse")
    code = Opener.from_recovery_code("0123 4567 89AB CDEF GHJK MNPQ RSTV WXYZ DVGN")
    vault = new_vault(path, [b"1", b"2"])
    for opener, kdf in ((raw, None), (phrase, CHEAP), (code, None)):
        slot = new_slot(VAULT_ID, vault.data_key, opener, NOW, kdf)
        records = [(head.seq, payload) for head, payload in vault.replay()]
        vault.rewrite(records, slots=[*vault.header.slots, slot])
    for opener in (master(), raw, phrase, code):
        again = LockedVault.open(path).unlock(opener)
        assert [payload for _, payload in again.replay()] == [b"1", b"2"]


def test_a_vault_has_at_most_sixteen_slots(path: Path) -> None:
    """One more is refused before the file is touched, since it couldn't be read again."""
    vault = new_vault(path, [b"1"])
    slots = vault.header.slots * MAX_SLOTS
    vault.rewrite([(1, b"1")], slots=slots)
    with pytest.raises(ValueError, match="at most 16"):
        vault.rewrite([(1, b"1")], slots=slots * 2)
    assert reopened(path)[1] == [(1, b"1")]


def test_a_rewrite_that_can_not_take_its_place_leaves_the_old_vault(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the rename fails, the vault goes on with the old file, and the new one is gone."""
    vault = new_vault(path, [b"1"])

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "I/O error")

    with monkeypatch.context() as failing:
        failing.setattr(os, "rename", refuse)
        with pytest.raises(StorageFailed):
            vault.rewrite([(1, b"1"), (2, b"2")])
    vault.append([b"other 2"])
    assert reopened(path)[1] == [(1, b"1"), (2, b"other 2")]
    assert list(path.parent.iterdir()) == [path]


def test_a_start_reads_the_disk_and_not_the_cache(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cached pages are dropped before the first byte of the vault is read."""
    new_vault(path, [b"1"])
    calls: list[str] = []
    read = os.pread

    def watched(descriptor: int, length: int, offset: int) -> bytes:
        calls.append("read")
        return read(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", watched)
    monkeypatch.setattr(os, "posix_fadvise", lambda *_: calls.append("drop"))
    reopened(path)
    assert calls.index("drop") == 0 and "read" in calls


@pytest.mark.parametrize("vault_id", ["", "0" * 31, "0" * 33, "G" * 32, "0" * 32 + "\n"])
def test_a_vault_id_is_32_hex_digits(path: Path, vault_id: str) -> None:
    """A vault that couldn't be read again is not made."""
    with pytest.raises(ValueError, match="vault id"):
        VaultFile.create(
            path,
            aead=Aead.AES_256_GCM,
            slots=(),
            data_key=DataKey.generate(),
            vault_id=vault_id,
            now=NOW,
        )
    assert not path.exists()


def test_closing_wipes_the_key(path: Path) -> None:
    """A closed vault holds no data key any more."""
    vault = new_vault(path)
    vault.close()
    assert vault.data_key.reveal() == bytes(32)


def test_files_of_one_vault_share_no_record_key(path: Path) -> None:
    """Each rewrite has a salt of its own, so AES-GCM's bound holds for one file, not for a life."""
    vault: VaultFile = new_vault(path, aead=Aead.AES_256_GCM)
    salts = {vault.header.salt}
    for _ in range(5):
        vault.rewrite([])
        salts.add(vault.header.salt)
    assert len(salts) == 6
