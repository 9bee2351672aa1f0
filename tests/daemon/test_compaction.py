"""What is over leaves the disk while the daemon serves, and a crash at any point loses nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from jarvis_secretsd.daemon import compaction
from jarvis_secretsd.daemon.clock import Clock
from jarvis_secretsd.daemon.commit import Ledger, Turn
from jarvis_secretsd.daemon.compaction import Compactor
from jarvis_secretsd.daemon.config import PathsConfig
from jarvis_secretsd.daemon.files import sweep
from jarvis_secretsd.daemon.keys import Aead, Opener
from jarvis_secretsd.daemon.startup import State, found_state, open_state
from jarvis_secretsd.domain.audit import Event, Outcome
from jarvis_secretsd.domain.changes import AnyChange, Care, Stepped, VersionPut
from jarvis_secretsd.domain.lifecycle import Step
from jarvis_secretsd.domain.secret import Secret
from jarvis_secretsd.domain.witness import Act
from jarvis_secretsd.errors import StorageFull
from jarvis_secretsd.values import Kid, Kind, SecretName, SecretValue
from tests.domain.world import NOW

MASTER = bytes(range(32))
DAY = timedelta(days=1)


class House:
    """A state on disk, and what serves it."""

    def __init__(self, directory: Path) -> None:
        directory.chmod(0o700)
        self.paths = PathsConfig(
            directory / "vault.json", directory / "master.key", directory / "audit.jsonl"
        )
        self.wall = NOW
        self.monotonic = 0.0

    def found(self) -> State:
        """A first start."""
        return found_state(
            self.paths, Aead("xchacha20-poly1305"), [Opener.from_key(MASTER, "master.key")], NOW
        )

    def open(self) -> State:
        """A later start."""
        sweep(self.paths.vault_path)
        return open_state(self.paths, Opener.from_key(MASTER, "master.key"), NOW)

    def compactor(self, state: State) -> tuple[Ledger, Compactor]:
        """It begins a day after the first value ended."""
        ledger = Ledger(state.vault, state.vault_file, state.audit)
        clock = Clock(NOW, wall=lambda: self.wall, boot_time=lambda: self.monotonic)
        return ledger, Compactor(state, self.paths, ledger, clock, delay=timedelta())

    @property
    def numbers(self) -> list[int]:
        """The sequence numbers in the file."""
        _, *lines = self.paths.vault_path.read_bytes().splitlines()
        return [json.loads(line)["seq"] for line in lines]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A house where every slice is as small as can be."""
    monkeypatch.setattr(compaction, "SLICE_SECS", 0.0)
    monkeypatch.setattr(compaction, "BATCH", 1)
    (tmp_path / "house").mkdir()
    return House(tmp_path / "house")


def change(ledger: Ledger, *changes: AnyChange) -> None:
    """Each in a turn of its own."""
    for each in changes:
        turn = Turn(ledger.vault, NOW)
        turn.witness((Act(Event(op="test", outcome=Outcome.ALLOWED), each),))
        ledger.commit(turn)
        assert ledger.trouble is None


def put(name: str, number: int) -> VersionPut:
    """A new version."""
    value = SecretValue(f"{name} {number}".encode())
    kid = Kid(f"{hash((name, number)) % 16**16:016x}")
    return VersionPut(SecretName(name), kid, number, value, Care(Kind.PASSWORD), NOW, NOW + DAY)


def end(of: VersionPut) -> Stepped:
    """Its grace is over."""
    return Stepped(of.name, of.kid, Step.END, NOW)


def contents(state: State) -> list[Secret]:
    """All that the vault holds."""
    return sorted(state.vault.secrets(), key=lambda secret: secret.name)


def busy(house: House, state: State) -> Iterator[Ledger]:
    """Runs a compaction to its end, and lets others change something before each slice."""
    ledger, compactor = house.compactor(state)
    change(ledger, old := put("a", 1), put("a", 2), put("b", 1), put("c", 1), end(old))
    assert compactor.next_at() is not None
    yield ledger
    for _ in range(100):
        compactor.work()
        yield ledger
        if compactor.next_at() is None:
            return
    pytest.fail("it doesn't end")


def test_what_is_over_leaves_the_disk(house: House) -> None:
    """Its record is gone from the file; all else is there, also after a start."""
    state = house.found()
    for _ in busy(house, state):
        pass
    assert house.numbers == [2, 3, 4, 5, 6, 7]
    before = contents(state)
    state.close()
    again = house.open()
    assert contents(again) == before
    assert again.vault.dead_since is None
    again.close()


def test_it_begins_in_time_for_a_day(house: House) -> None:
    """What is over isn't on the disk a day later: half of it is left for the work, or two tries."""
    state = house.found()
    ledger, _ = house.compactor(state)
    clock = Clock(NOW, wall=lambda: NOW, boot_time=lambda: 0.0)
    compactor = Compactor(state, house.paths, ledger, clock)
    assert compactor.next_at() is None
    change(ledger, old := put("a", 1), put("a", 2), end(old))
    moment = compactor.next_at()
    assert moment is not None
    assert moment - clock.monotonic() <= DAY.total_seconds() / 2
    state.close()


def test_others_change_the_vault_meanwhile(house: House) -> None:
    """What is put while the new file is written is in it, in its order."""
    state = house.found()
    for number, ledger in enumerate(busy(house, state), start=10):
        change(ledger, put("d", number))
    before = contents(state)
    state.close()
    again = house.open()
    assert contents(again) == before
    assert house.numbers == sorted(set(house.numbers))
    again.close()


def test_what_ends_meanwhile_leaves_with_the_next_one(house: House) -> None:
    """The new file holds it still, and knows."""
    state = house.found()
    gone = put("b", 1)
    for turn, ledger in enumerate(busy(house, state)):
        if turn == 3:
            change(ledger, put("b", 2), end(gone))
        if turn > 3 and not [*house.paths.vault_path.parent.glob(".vault.json.*")]:
            break
    assert state.vault.dead_since == NOW
    state.close()
    again = house.open()
    assert again.vault.dead_since == NOW
    again.close()


def test_a_crash_at_any_point_loses_nothing(house: House, tmp_path: Path) -> None:
    """Whatever was done so far, the next start has every secret and accepts both files."""
    state = house.found()
    for step, ledger in enumerate(busy(house, state)):
        change(ledger, put("e", step + 1))
        before = contents(state)
        copy = House(Path(shutil.copytree(house.paths.vault_path.parent, tmp_path / f"c{step}")))
        crashed = copy.open()
        assert contents(crashed) == before
        assert not [*copy.paths.vault_path.parent.glob(".vault.json.*")]
        crashed.close()
    assert step > 8
    state.close()


def test_a_full_disk_leaves_the_old_file_and_a_later_try(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left beside it, the vault takes changes, and what is over isn't forgotten."""
    state = house.found()
    ledger, compactor = house.compactor(state)
    change(ledger, old := put("a", 1), put("a", 2), end(old))
    compactor.work()

    def full(descriptor: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("jarvis_secretsd.daemon.files.write_all", full)
        for _ in range(10):
            compactor.work()
    assert not [*house.paths.vault_path.parent.glob(".vault.json.*")]
    assert state.vault.dead_since == NOW
    next_at = compactor.next_at()
    assert next_at is not None
    assert next_at > 3000
    change(ledger, put("a", 3))
    state.close()
    again = house.open()
    assert len(again.vault.secrets()) == 1
    again.close()


def full(*_: object, **__: object) -> None:
    """What the disk says."""
    raise StorageFull("no space left on device")


@pytest.mark.parametrize(
    "refused", ["rewriting.write_heads", "vaultrewriting.Rewriting.take_place"]
)
def test_a_disk_that_is_full_at_the_end_leaves_the_old_file(
    house: House, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    """It goes on serving, and an hour later all of it is done."""
    state = house.found()
    ledger, compactor = house.compactor(state)
    change(ledger, old := put("a", 1), put("a", 2), end(old))
    compactor.work()
    with monkeypatch.context() as patch:
        patch.setattr(f"jarvis_secretsd.daemon.{refused}", full)
        for _ in range(20):
            compactor.work()
    assert not [*house.paths.vault_path.parent.glob(".vault.json.*")]
    change(ledger, put("a", 3))
    monkeypatch.setattr(compactor, "_not_before", 0.0)
    for _ in range(20):
        compactor.work()
    assert 1 not in house.numbers
    before = contents(state)
    state.close()
    again = house.open()
    assert contents(again) == before
    again.close()


def test_a_log_that_is_full_at_the_end_has_its_entry_later(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new file is in its place; nothing is served until the log says so."""
    state = house.found()
    ledger, compactor = house.compactor(state)
    change(ledger, old := put("a", 1), put("a", 2), end(old))
    compactor.work()
    with monkeypatch.context() as patch:
        patch.setattr(state.audit, "write", full)
        for _ in range(20):
            compactor.work()
        assert ledger.trouble is not None
    ledger.probe(NOW)
    change(ledger, put("a", 3))
    log = house.paths.audit_path.read_text()
    assert log.count('"op":"vault_compacted"') == 1
    assert 1 not in house.numbers
    state.close()
    house.open().close()
    assert '"recovered"' not in house.paths.audit_path.read_text()
