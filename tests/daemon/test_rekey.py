"""A new data key: the same vault under it, whatever happens on the way."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from jarvis_secretsd.daemon.keys import Opener, SlotKind, open_slots
from jarvis_secretsd.daemon.rekeying import opened_by, rekey
from jarvis_secretsd.daemon.startup import State
from jarvis_secretsd.daemon.vaultfile import LockedVault
from jarvis_secretsd.domain.auditfindings import Verdict
from jarvis_secretsd.domain.changes import BackedUp, VaultLocked
from jarvis_secretsd.errors import KeyRefused, StateRefused, StorageFull
from jarvis_secretsd.values import SecretName
from tests.daemon.states import (
    Place,
    change,
    failing,
    keep_heads,
    put,
    recovery,
    stills,
    values_in,
)
from tests.domain.world import NOW

SECRETS = {"a": b"2", "b": b"1"}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A state with two secrets, one of which has an older version in grace."""
    place = Place(tmp_path / "place")
    with closing(place.found()) as state:
        for name, value in (("a", "1"), ("b", "1"), ("a", "2")):
            put(state, name, value)
        keep_heads(place, state)
    return place


def rekeyed(place: Place, *openers: Opener) -> None:
    """Open it and rekey it, for these keys or the master key."""
    with closing(place.open()) as state:
        rekey(place.paths, state, openers or (place.opener,), (), NOW)


def data_key(place: Place) -> bytes:
    """The data key that the master key gets from the header."""
    with closing(LockedVault.open(place.paths.vault_path)) as locked:
        return open_slots(locked.header.vault_id, locked.header.slots, place.opener).reveal()


def test_every_record_is_sealed_under_another_key(place: Place) -> None:
    """The same secrets are there; the key and every line of the file are others."""
    before = data_key(place), {*place.paths.vault_path.read_bytes().splitlines()}
    rekeyed(place)
    assert place.secrets() == SECRETS
    assert data_key(place) != before[0]
    assert before[1].isdisjoint(place.paths.vault_path.read_bytes().splitlines())


def test_versions_in_grace_come_along(place: Place) -> None:
    """What could be asked for by its kid before can be so afterwards."""
    with closing(place.open()) as state:
        before = state.vault.secret(SecretName("a"))
    rekeyed(place)
    with closing(place.open()) as state:
        after = state.vault.secret(SecretName("a"))
    assert before is not None and after is not None
    assert [each.value for each in before.versions] == [each.value for each in after.versions]
    assert len(after.versions) == 2


def test_lock_and_last_backup_come_along(place: Place) -> None:
    """A locked vault can't be unlocked by rekeying it."""
    with closing(place.open()) as state:
        change(state, VaultLocked(NOW), BackedUp(NOW))
    rekeyed(place)
    with closing(place.open()) as state:
        assert state.vault.lock is not None
        assert state.vault.backup is not None


def test_the_old_data_key_opens_nothing_of_the_new_file(place: Place, tmp_path: Path) -> None:
    """Whoever had it reads no more; and the old file goes on opening with the old keys."""
    old = place.copied_to(tmp_path / "old")
    with closing(old.open()) as state:
        key = state.vault_file.data_key
        rekeyed(place)
        with (
            closing(LockedVault.open(place.paths.vault_path)) as locked,
            pytest.raises(StateRefused, match="MAC"),
        ):
            locked.unlock_with(key)
    assert old.secrets() == SECRETS


def test_a_key_that_isnt_brought_opens_no_more(tmp_path: Path) -> None:
    """Its slot is gone from the header, and the log says which ended."""
    place, (_, code) = Place(tmp_path / "place"), recovery()
    with closing(place.found(code)) as state:
        put(state, "a", "1")
        ended = opened_by(state.vault_file.header, code)
        rekey(place.paths, state, [place.opener], ended, NOW)
    with pytest.raises(KeyRefused):
        place.open(code)
    assert place.secrets() == {"a": b"1"}
    assert f"ended: {ended[0]}" in place.paths.audit_path.read_text()


def test_each_key_that_is_brought_opens_it(place: Place) -> None:
    """A key that had no slot may be given one by it."""
    _, code = recovery()
    rekeyed(place, place.opener, code)
    assert place.secrets() == place.secrets(code) == SECRETS


def test_a_vault_that_nothing_opens_is_never_made(place: Place) -> None:
    """No opener is a mistake of the caller."""
    with closing(place.open()) as state, pytest.raises(ValueError, match="lost"):
        rekey(place.paths, state, [], (), NOW)
    assert place.secrets() == SECRETS


def test_which_slots_a_key_opens_is_known(tmp_path: Path) -> None:
    """Its own, and no other's."""
    _, code = recovery()
    with closing(Place(tmp_path / "place").found(code)) as state:
        (slot,) = opened_by(state.vault_file.header, code)
    assert slot.kind is SlotKind.RECOVERY


def test_it_goes_on_serving_under_the_new_key(place: Place) -> None:
    """What is put after it, in the same process, is there at the next start, and the log agrees."""
    with closing(place.open()) as state:
        rekey(place.paths, state, [place.opener], (), NOW)
        put(state, "c", "3")
        keep_heads(place, state)
    assert place.secrets() == {**SECRETS, "c": b"3"}
    assert place.verified().report.verdict is Verdict.INTACT


def test_a_crash_at_any_step_leaves_the_old_vault_or_the_new(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was done so far, the next start has every secret, and the log has one entry or none.

    Both kinds are seen, so each step counts.
    """
    old = data_key(place)
    with closing(place.open()) as state, stills(place, tmp_path / "s", monkeypatch) as taken:
        rekey(place.paths, state, [place.opener], (), NOW)
    keys = []
    for still in taken:
        assert still.secrets() == SECRETS
        keys.append(data_key(still))
        entries = still.paths.audit_path.read_text().count('"op":"rekeyed"')
        assert entries == (keys[-1] != old)
        assert still.verified().report.verdict is Verdict.INTACT
        assert not [*still.directory.glob(".*.new")]
    assert len(taken) > 10
    assert keys[0] == old
    assert keys[-1] == data_key(place) != old


def test_a_full_disk_leaves_the_old_vault_or_the_new(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused, nothing is left beside the vault, and the next start has every secret."""
    for nth in range(100):
        one = place.copied_to(tmp_path / f"full{nth}")
        with closing(one.open()) as state:
            if not _is_refused(one, state, nth, monkeypatch):
                break
        assert not [*one.directory.glob(".*.new")]
        assert one.secrets() == SECRETS
    assert nth > 5


def _is_refused(place: Place, state: State, nth: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    with failing(nth, monkeypatch):
        try:
            rekey(place.paths, state, [place.opener], (), NOW)
        except StorageFull:
            assert values_in(state) == SECRETS
            return True
    return False
