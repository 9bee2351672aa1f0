"""Putting a backup in place: on nothing, over something, and after a crash on the way."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from jarvis_secretsd.daemon.bundle import Bundle
from jarvis_secretsd.daemon.keys import Opener
from jarvis_secretsd.daemon.losses import losses
from jarvis_secretsd.daemon.proving import prove
from jarvis_secretsd.daemon.rekeying import rekey
from jarvis_secretsd.daemon.restoring import Present, Restored, look, restore
from jarvis_secretsd.domain.auditfindings import Verdict
from jarvis_secretsd.domain.changes import SecretDeleted, VaultLocked
from jarvis_secretsd.errors import StateRefused, StorageFull
from jarvis_secretsd.values import SecretName
from tests.daemon.states import Place, change, failing, keep_heads, put, recovery, stills
from tests.daemon.test_backup import rotate, take
from tests.domain.world import NOW
from tests.e2e.evidence import entries

OLD = {"a": b"1", "b": b"1"}
NEW = {"a": b"2", "c": b"1"}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A state that has gone on since its backup: one was changed, one made, one deleted."""
    place = Place(tmp_path / "place")
    with closing(place.found()) as state:
        put(state, "a", "1")
        put(state, "b", "1")
        take(place, lambda: state.audit.end, tmp_path / "backup")
        put(state, "a", "2")
        put(state, "c", "1")
        change(state, SecretDeleted(SecretName("b"), NOW))
        keep_heads(place, state)
    return place


@pytest.fixture
def backup(place: Place, tmp_path: Path) -> Path:
    """The backup of it."""
    return tmp_path / "backup"


@pytest.fixture
def bare(tmp_path: Path) -> Place:
    """A new machine: nothing is there."""
    return Place(tmp_path / "bare")


def restored(place: Place, backup: Path, opener: Opener | None = None) -> Restored:
    """Restore it there, whatever is there."""
    with closing(Bundle.open(str(backup))) as bundle:
        proven = prove(bundle, opener or place.opener)
        present = look(place.paths, proven, opener or place.opener)
        return restore(bundle, proven, place.paths, present, NOW)


def seen(place: Place, backup: Path) -> tuple[Present, Sequence[str]]:
    """What is there, and what a restore would lose of it."""
    with closing(Bundle.open(str(backup))) as bundle:
        proven = prove(bundle, place.opener)
        present = look(place.paths, proven, place.opener)
        return present, [*losses(present, proven)]


def assert_sound(place: Place) -> None:
    """A start finds the backup's secrets; the log is intact and tells of the restore."""
    assert place.secrets() == OLD
    assert place.verified().report.verdict is Verdict.INTACT
    (*_, told) = (entry for entry in entries(place.paths.audit_path) if entry["op"] == "restored")
    assert "sha256" in told["note"]


def test_on_nothing_everything_is_put_in_place(bare: Place, backup: Path) -> None:
    """The log goes on where the backup's ended: its next entry says so."""
    assert seen(bare, backup) == (Present((), trouble="there is no vault among them"), [])
    came = restored(bare, backup)
    assert (came.aside, came.log_stayed) == ((), False)
    assert_sound(bare)
    assert [entry["op"] for entry in entries(bare.paths.audit_path)][3:] == ["restored"]


def test_its_files_are_as_safe_as_those_of_a_first_start(bare: Place, backup: Path) -> None:
    """Each 0600, but for the public key."""
    restored(bare, backup)
    modes = {path.name: path.stat().st_mode & 0o777 for path in bare.directory.iterdir()}
    assert modes.pop("audit.sign.pub") == 0o644
    assert {*modes.values()} == {0o600}


def test_what_would_be_lost_is_said(place: Place, backup: Path) -> None:
    """Records, and the names of what was made, changed and deleted since."""
    before = contents(place)
    _, lost = seen(place, backup)
    assert lost[1:] == [
        "the vault has 3 records more, up to 5; they would be lost",
        "made since, and lost: c",
        "changed since, and turned back: a",
        "deleted since, and back: b",
    ]
    assert contents(place) == before


def test_a_loss_of_no_secret_is_said(bare: Place, tmp_path: Path) -> None:
    """Records that are about no secret, as those of a lock or a backup, frighten nobody."""
    with closing(bare.found()) as state:
        put(state, "a", "1")
        take(bare, lambda: state.audit.end, tmp_path / "fresh")
        change(state, VaultLocked(NOW))
        keep_heads(bare, state)
    lost = seen(bare, tmp_path / "fresh")[1]
    assert lost[1:3] == [
        "the vault has 1 record more, up to 2; it would be lost",
        "no secret was made, changed or deleted since",
    ]


def test_that_a_lock_or_a_new_key_would_be_undone_is_said(place: Place, backup: Path) -> None:
    """Both are protections that an old vault hasn't."""
    with closing(place.open()) as state:
        change(state, VaultLocked(NOW))
        rekey(place.paths, state, [place.opener], (), NOW)
    text = "\n".join(seen(place, backup)[1])
    assert "the vault is locked, and would be not locked" in text
    assert "was rekeyed since" in text


def test_over_a_state_nothing_is_deleted(place: Place, backup: Path) -> None:
    """What was there lies in a directory of its own, and is a state by itself again."""
    before = contents(place)
    came = restored(place, backup)
    assert_sound(place)
    (aside,) = came.aside
    assert (aside / "vault.json").read_bytes() == before["vault.json"]
    assert (aside / "vault.heads").read_bytes() == before["vault.heads"]


def test_a_newer_log_goes_on(place: Place, backup: Path) -> None:
    """Its entries stay, and the next one says what came, and what it came in the place of."""
    before = entries(place.paths.audit_path)
    assert restored(place, backup).log_stayed
    after = entries(place.paths.audit_path)
    assert after[: len(before)] == before
    assert after[len(before)]["op"] == "restored"
    assert "it had ended at record 5" in after[len(before)]["note"]
    with closing(place.open()) as state:
        put(state, "d", "1")
        keep_heads(place, state)
    assert place.verified().report.verdict is Verdict.INTACT


def test_a_newer_log_that_was_rotated_since_goes_on(place: Place, backup: Path) -> None:
    """The backup's end stands in an older segment of it."""
    with closing(place.open()) as state:
        rotate(place, state)
        put(state, "d", "1")
        keep_heads(place, state)
    assert restored(place, backup).log_stayed
    assert_sound(place)


def test_the_log_of_another_vault_is_set_aside(place: Place, backup: Path, tmp_path: Path) -> None:
    """With its keys and all its segments, and the backup's takes its place."""
    other = Place(tmp_path / "other")
    with closing(other.found()) as state:
        rotate(other, state)
        put(state, "x", "1")
        keep_heads(other, state)
    assert "another one than the backup's, with 1 secret" in seen(other, backup)[1][1]
    before = contents(other)
    came = restored(other, backup)
    assert not came.log_stayed
    assert_sound(other)
    aside = {path.name: path.read_bytes() for path in came.aside[0].iterdir()}
    assert {**aside, "master.key": before["master.key"]} == before


def test_an_older_log_is_set_aside(place: Place, backup: Path, tmp_path: Path) -> None:
    """One that was turned back to before the backup doesn't go on."""
    log = place.paths.audit_path
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:2]))
    assert not restored(place, backup).log_stayed
    assert_sound(place)


@pytest.mark.parametrize("lost", ["vault.json", "audit.jsonl", "vault.heads", "audit.sign.key"])
def test_whatever_was_lost_is_there_again(place: Place, backup: Path, lost: str) -> None:
    """A state of which a part is missing is one that a backup mends."""
    (place.directory / lost).unlink()
    restored(place, backup)
    assert_sound(place)


def test_a_vault_that_doesnt_open_is_set_aside(place: Place, backup: Path) -> None:
    """What would be lost can't be told; why, can."""
    place.paths.vault_path.write_bytes(b"{}\n" + place.paths.vault_path.read_bytes())
    assert "doesn't open: " in seen(place, backup)[1][1]
    restored(place, backup)
    assert_sound(place)


def test_older_segments_are_put_in_place(place: Place, bare: Place, tmp_path: Path) -> None:
    """A backup that has them gives the whole log back."""
    with closing(place.open()) as state:
        rotate(place, state, compress=True)
        take(place, lambda: state.audit.end, tmp_path / "whole", older_logs=True)
    restored(bare, tmp_path / "whole")
    report = bare.verified().report
    assert (report.verdict, report.first, report.segments) == (Verdict.INTACT, 1, 2)


def test_a_recovery_code_restores_what_a_lost_key_had(tmp_path: Path, bare: Place) -> None:
    """Any key of a slot will do."""
    place, (_, code) = Place(tmp_path / "lost"), recovery()
    with closing(place.found(code)) as state:
        put(state, "a", "1")
        take(place, lambda: state.audit.end, tmp_path / "coded")
    restored(bare, tmp_path / "coded", code)
    assert bare.secrets(code) == {"a": b"1"}


def contents(place: Place) -> dict[str, bytes]:
    """Each file with its bytes."""
    return {path.name: path.read_bytes() for path in place.directory.iterdir()}


def all_bytes(place: Place) -> set[bytes]:
    """What any file below holds."""
    return {path.read_bytes() for path in place.directory.rglob("*") if path.is_file()}


def test_a_crash_at_any_step_leaves_what_was_or_no_vault_or_the_backup(
    place: Place, backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is served that isn't one of the two whole; and the restore can be repeated."""
    vault = place.paths.vault_path.read_bytes()
    with stills(place, tmp_path / "stills", monkeypatch) as taken:
        restored(place, backup)
    came = [_came_of(still, vault) for still in taken]
    assert came[0] == "new"
    assert came[-1] == "old"
    assert "no vault" in came
    for still in taken:
        restored(still, backup)
        assert_sound(still)
        assert vault in all_bytes(still)


def _came_of(still: Place, vault: bytes) -> str:
    """What a start finds. The vault that was there must be somewhere."""
    assert vault in all_bytes(still)
    if not still.paths.vault_path.exists():
        return "no vault"
    copy = still.copied_to(still.directory.with_name(f"{still.directory.name}-started"))
    assert copy.verified().report.verdict is Verdict.INTACT
    found = copy.secrets()
    assert found in (OLD, NEW)
    return "old" if found == OLD else "new"


def test_a_crash_on_a_new_machine_leaves_no_vault_or_the_backup(
    bare: Place, backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half of it is never taken for a first start, and never served."""
    with stills(bare, tmp_path / "stills", monkeypatch) as taken:
        restored(bare, backup)
    assert len(taken) > 20
    for still in taken:
        restored(still, backup)
        assert_sound(still)


def test_a_full_disk_at_any_write_can_be_made_good(
    place: Place, backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so; with room again, the same command does it."""
    for nth in range(100):
        one = place.copied_to(tmp_path / f"full{nth}")
        if not _is_refused(one, backup, nth, monkeypatch):
            break
        assert place.paths.vault_path.read_bytes() in all_bytes(one)
        restored(one, backup)
        assert_sound(one)
    assert nth >= 8


def _is_refused(place: Place, backup: Path, nth: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    with failing(nth, monkeypatch):
        try:
            restored(place, backup)
        except StorageFull:
            return True
    return False


def test_an_old_vault_put_back_by_hand_is_noticed(place: Place, backup: Path) -> None:
    """Without the command, a start refuses what the log has never seen the end of."""
    with closing(Bundle.open(str(backup))) as bundle:
        place.paths.vault_path.write_bytes(bundle.read("vault.json"))
    with pytest.raises(StateRefused, match="3 records were cut off"):
        place.open()
