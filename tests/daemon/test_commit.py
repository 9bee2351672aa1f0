"""The order of durability: vault, log, replies; all of a turn or none of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pytest

from jarvis_secretsd.daemon.commit import Ledger, Turn
from jarvis_secretsd.domain.audit import Event, Outcome, VaultHead
from jarvis_secretsd.domain.changes import Care, VersionPut, decode_record
from jarvis_secretsd.domain.vault import Vault
from jarvis_secretsd.domain.witness import Act, Answer
from jarvis_secretsd.errors import Reason, StorageFailed, StorageFull, SyncFailed
from jarvis_secretsd.messages import Failure, Reply, TokenListing
from jarvis_secretsd.values import Kid, Kind, SecretName, SecretValue
from tests.domain.world import NOW

NAME = SecretName("a")
DONE = TokenListing(())


class Disk:
    """Both journals and a recipient, which write down in which order they were called."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fail: dict[str, Exception] = {}
        self.head = VaultHead(0, "0" * 64)
        self.payloads: list[bytes] = []
        self.events: list[Event] = []
        self.replies: list[Reply] = []
        self._rewind_to = self.head

    def append(self, payloads: Sequence[bytes]) -> list[VaultHead]:
        """The vault's append."""
        self._call("vault append")
        self._rewind_to = self.head
        self.payloads += payloads
        heads = [VaultHead(self.head.seq + i, f"{i:064x}") for i in range(1, len(payloads) + 1)]
        self.head = heads[-1]
        return heads

    def sync(self) -> None:
        """The vault's sync."""
        self._call("vault sync")

    def rewind(self) -> None:
        """The vault's rewind."""
        self._call("vault rewind")
        self.head = self._rewind_to

    def deliver(self, reply: Reply) -> None:
        """The recipient."""
        self._call("reply")
        self.replies.append(reply)

    def _call(self, what: str) -> None:
        self.calls.append(what)
        if what in self.fail:
            raise self.fail[what]


class Log:
    """The audit log of the same disk."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def write(self, now: datetime, events: Sequence[Event], vault: VaultHead) -> None:
        """The log's write."""
        del now, vault
        self._disk._call("log write")
        self._disk.events += events

    def sync(self) -> None:
        """The log's sync."""
        self._disk._call("log sync")


def act(outcome: str = Outcome.ALLOWED, number: int | None = None) -> Act:
    """A read, or (with a number) the put of a version."""
    event = Event(op="get", outcome=outcome)
    if number is None:
        return Act(event)
    value, care = SecretValue(b"v"), Care(Kind.PASSWORD)
    return Act(event, VersionPut(NAME, Kid(f"{number:016x}"), number, value, care, NOW))


def committed(disk: Disk, *acts: Act, synced: bool = True) -> Ledger:
    """One turn of one answer with these acts, committed."""
    ledger = Ledger(Vault(), disk, Log(disk), synced=synced)
    turn = Turn(ledger.vault, NOW)
    turn.add(Answer(DONE, acts), disk)
    ledger.commit(turn)
    return ledger


def test_a_change_is_durable_before_its_entry_and_both_before_the_reply() -> None:
    """Vault, log, reply: a crash at any point leaves nothing that was told and isn't there."""
    disk = Disk()
    ledger = committed(disk, act(number=1))
    assert disk.calls == ["vault append", "vault sync", "log write", "log sync", "reply"]
    assert ledger.vault.live(NAME) is not None


def test_a_read_waits_for_its_entry_alone() -> None:
    """No secret leaves before its entry is durable, and the vault isn't touched."""
    disk = Disk()
    committed(disk, act())
    assert disk.calls == ["log write", "log sync", "reply"]


def test_one_sync_serves_all_that_a_turn_brought() -> None:
    """A hundred reads of one turn cost one sync."""
    disk = Disk()
    ledger = Ledger(Vault(), disk, Log(disk))
    turn = Turn(ledger.vault, NOW)
    for _ in range(100):
        turn.add(Answer(DONE, (act(),)), disk)
    ledger.commit(turn)
    assert disk.calls[:2] == ["log write", "log sync"]
    assert disk.calls.count("log sync") == 1
    assert len(disk.replies) == 100


def test_a_denial_does_not_wait_for_the_sync() -> None:
    """Whoever is refused can't make the disk work."""
    disk = Disk()
    committed(disk, act(Outcome.DENIED))
    assert disk.calls == ["log write", "reply"]


def test_what_leaves_no_entry_touches_no_disk() -> None:
    """Health probes are answered also where the disk is gone."""
    disk = Disk()
    committed(disk)
    assert disk.calls == ["reply"]


def test_the_entry_of_a_record_that_is_there_is_owed_to_the_log() -> None:
    """While the log refuses it nothing happens, and then it is the first that the log takes."""
    disk = Disk()
    ledger = Ledger(Vault(), disk, Log(disk))
    disk.fail["log write"] = StorageFull("full")
    ledger.log(NOW, Event(op="vault_compacted", outcome=Outcome.RECORDED))
    assert ledger.trouble is Reason.STORAGE_FULL
    turn = Turn(ledger.vault, NOW)
    turn.add(Answer(DONE, (act(number=1),)), disk)
    ledger.commit(turn)
    assert ledger.vault.live(NAME) is None
    disk.fail.clear()
    ledger.probe(NOW)
    ledger.probe(NOW)
    assert [event.op for event in disk.events] == ["vault_compacted", "resumed", "resumed"]


def test_by_interval_a_reply_leaves_before_the_sync() -> None:
    """What the setting says that it gives up."""
    disk = Disk()
    ledger = committed(disk, act(), synced=False)
    assert disk.calls == ["log write", "reply"]
    ledger.sync_audit()
    assert disk.calls[-1] == "log sync"


def test_an_entry_of_a_change_names_the_head_after_it() -> None:
    """Log and vault hold on to each other, change by change."""
    disk = Disk()
    committed(disk, act(number=1), act(), act(number=2))
    assert [(event.vault_seq, event.vault_head) for event in disk.events] == [
        (1, f"{1:064x}"),
        (None, None),
        (2, f"{2:064x}"),
    ]


def test_a_record_carries_its_entry() -> None:
    """A log that lost its tail can be given it back from the vault."""
    disk = Disk()
    committed(disk, act(number=1))
    (record,) = map(decode_record, disk.payloads)
    assert record.event == act(number=1).event


@pytest.mark.parametrize(
    ("where", "error", "reason"),
    [
        ("vault append", StorageFull("full"), Reason.STORAGE_FULL),
        ("vault append", StorageFailed("no"), Reason.STORAGE_FAILED),
        ("log write", StorageFull("full"), Reason.STORAGE_FULL),
        ("log write", StorageFailed("no"), Reason.AUDIT_UNWRITABLE),
        ("log sync", StorageFailed("moved, and no room"), Reason.AUDIT_UNWRITABLE),
    ],
)
def test_a_turn_that_cannot_be_made_durable_never_was(
    where: str, error: Exception, reason: Reason
) -> None:
    """Every reply of it is `unavailable` with the reason, and vault and memory are as before."""
    disk = Disk()
    disk.fail[where] = error
    ledger = committed(disk, act(number=1))
    assert disk.replies == [Failure("unavailable", f"not available now: {reason}", reason)]
    assert ledger.trouble == reason
    assert ledger.vault.live(NAME) is None
    assert disk.head.seq == 0 or "vault rewind" not in disk.calls
    assert ("vault rewind" in disk.calls) == where.startswith("log")


def test_service_resumes_when_the_disk_takes_an_entry() -> None:
    """A probe finds that there is room again, and its entry says how many turns were refused."""
    disk = Disk()
    disk.fail["log write"] = StorageFull("full")
    ledger = committed(disk, act())
    ledger.probe(NOW)
    assert ledger.trouble is Reason.STORAGE_FULL
    disk.fail.clear()
    ledger.probe(NOW)
    assert ledger.trouble is None
    assert (disk.events[-1].op, disk.events[-1].count) == ("resumed", 2)


def test_a_turn_that_ends_the_trouble_says_how_many_were_refused() -> None:
    """Also where a request finds out before the probe does."""
    disk = Disk()
    disk.fail["log write"] = StorageFull("full")
    ledger = committed(disk, act())
    disk.fail.clear()
    turn = Turn(ledger.vault, NOW)
    turn.add(Answer(DONE, (act(),)), disk)
    ledger.commit(turn)
    assert [(event.op, event.count) for event in disk.events] == [("get", None), ("resumed", 1)]


@pytest.mark.parametrize("where", ["vault sync", "log sync", "vault rewind"])
def test_a_failed_sync_ends_the_process_and_releases_nothing(where: str) -> None:
    """What the disk holds is unknown then, so nobody is told anything."""
    disk = Disk()
    disk.fail[where] = SyncFailed("EIO")
    if where == "vault rewind":
        disk.fail["log write"] = StorageFull("full")
    with pytest.raises(SyncFailed):
        committed(disk, act(number=1))
    assert disk.replies == []


def test_later_requests_of_a_turn_see_what_earlier_ones_changed() -> None:
    """A put and a get in one write agree, before either is durable."""
    disk = Disk()
    ledger = Ledger(Vault(), disk, Log(disk))
    turn = Turn(ledger.vault, NOW)
    turn.add(Answer(DONE, (act(number=1),)), disk)
    assert turn.vault.live(NAME) is not None
    assert ledger.vault.live(NAME) is None
