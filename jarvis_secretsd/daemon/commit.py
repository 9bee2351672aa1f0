"""The one place that orders durability: the vault, then the audit log, and only then the replies.

A turn collects what one pass of the loop brought. Its changes lie on an overlay; `Ledger.commit`
makes all of it durable at once, or none: then the overlay is dropped and every reply of the turn is
`unavailable`. Replies are released by the ledger whenever it is done, which today is before
`commit` returns, and nobody may count on that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol

from msgspec.structs import replace

from jarvis_secretsd.domain.audit import Event, Outcome, VaultHead
from jarvis_secretsd.domain.changes import AnyChange, Record, encode_record
from jarvis_secretsd.domain.vault import Vault
from jarvis_secretsd.domain.witness import Act, Answer
from jarvis_secretsd.errors import Reason, StorageFailed, StorageFull, Unavailable
from jarvis_secretsd.messages import Failure, Reply


class Recipient(Protocol):
    """Who waits for a reply."""

    def deliver(self, reply: Reply) -> None:
        """Take the reply; it may leave now."""


class VaultJournal(Protocol):
    """The sealed file of the vault, as far as a commit needs it."""

    head: VaultHead

    def append(self, payloads: Sequence[bytes]) -> list[VaultHead]:
        """Add sealed records. Raises StorageFull, StorageFailed; then none was added."""

    def sync(self) -> None:
        """Make them durable. Raises SyncFailed."""

    def rewind(self) -> None:
        """Take the last append back, durably. Raises SyncFailed."""


class AuditJournal(Protocol):
    """The audit log, as far as a commit needs it."""

    def write(self, now: datetime, events: Sequence[Event], vault: VaultHead) -> None:
        """Add signed entries. Raises StorageFull, StorageFailed; then none was added."""

    def sync(self) -> None:
        """Make them durable. Raises SyncFailed."""


class Turn:
    """What one pass of the loop brought: acts to make durable, and replies that wait for that.

    `vault` is the vault as the requests of this turn see it: with what came before them in it.
    `settled` is the time that decides what is over. `is_kept` says that it has become durable.
    """

    def __init__(self, base: Vault, now: datetime, settled: datetime | None = None) -> None:
        self.now = now
        self.settled = settled or now
        self.vault = base
        self.acts: list[Act] = []
        self.is_kept = False
        self._base = base
        self._replies: list[tuple[Recipient, Reply]] = []

    def add(self, answer: Answer, recipient: Recipient) -> None:
        """Take in an answer; later requests of the turn see what it changed."""
        if answer.acts:
            self.witness(answer.acts)
        self._replies.append((recipient, answer.reply))

    def witness(self, acts: Sequence[Act]) -> None:
        """Take in acts that nobody waits for."""
        for act in acts:
            if act.change is not None:
                if self.vault is self._base:
                    self.vault = self._base.overlay()
                self.vault.apply(self.vault.seq + 1, act.change)
        self.acts.extend(acts)

    @property
    def changes(self) -> Iterator[tuple[AnyChange, Event]]:
        """The changes with their entries, in order."""
        return ((act.change, act.event) for act in self.acts if act.change is not None)

    def keep(self) -> None:
        """It is durable: what it changed becomes the vault, and the replies are released."""
        if self.vault is not self._base:
            self._base.absorb(self.vault)
        self.is_kept = True
        for recipient, reply in self._replies:
            recipient.deliver(reply)

    def drop(self, failure: Failure) -> None:
        """Nothing of it happened: each reply is the failure."""
        for recipient, _ in self._replies:
            recipient.deliver(failure)


class Ledger:
    """Vault and audit log as one: what is in neither hasn't happened.

    `trouble` says why the last commit was refused, None when it wasn't. `synced` False leaves the
    sync to `sync_audit`, which the loop then calls by interval.
    """

    def __init__(
        self, vault: Vault, vault_file: VaultJournal, audit: AuditJournal, *, synced: bool = True
    ) -> None:
        self.vault = vault
        self.trouble: Reason | None = None
        self._vault_file = vault_file
        self._audit = audit
        self._synced = synced
        self._refused = 0
        self._owed: list[Event] = []

    def commit(self, turn: Turn) -> None:
        """Make the turn durable and release its replies. After SyncFailed the process must end.

        The first turn after a trouble has an entry that says how many were refused.
        """
        if turn.acts and self.trouble is not None:
            turn.witness((self._resumption(),))
        self._try(turn)

    def probe(self, now: datetime) -> None:
        """Try, while in trouble, whether the disk takes an entry again; the entry says so."""
        turn = Turn(self.vault, now)
        turn.witness((self._resumption(),))
        self._try(turn)

    def log(self, now: datetime, entry: Event) -> None:
        """Write the entry of a record that the vault has already. Raises SyncFailed.

        What the log refuses is owed to it: nothing happens before it has taken that.
        """
        turn = Turn(self.vault, now)
        turn.witness((Act(entry),))
        self._try(turn)
        if self.trouble is not None:
            self._owed.append(entry)

    def sync_audit(self) -> None:
        """Make durable what interval mode left open. Raises SyncFailed."""
        self._audit.sync()

    def _resumption(self) -> Act:
        return Act(Event(op="resumed", outcome=Outcome.ALLOWED, count=self._refused))

    def _try(self, turn: Turn) -> None:
        try:
            heads = self._append_changes(turn)
        except (StorageFull, StorageFailed) as error:
            self._refuse(turn, error, Reason.STORAGE_FAILED)
            return
        try:
            self._append_entries(turn, heads)
        except (StorageFull, StorageFailed) as error:
            if heads:
                self._vault_file.rewind()
            self._refuse(turn, error, Reason.AUDIT_UNWRITABLE)
            return
        if turn.acts:
            self.trouble, self._refused = None, 0
        turn.keep()

    def _refuse(self, turn: Turn, error: StorageFull | StorageFailed, reason: Reason) -> None:
        self.trouble = Reason.STORAGE_FULL if isinstance(error, StorageFull) else reason
        self._refused += 1
        unavailable = Unavailable(self.trouble)
        turn.drop(Failure(unavailable.code, unavailable.message, self.trouble))

    def _append_changes(self, turn: Turn) -> list[VaultHead]:
        payloads = [encode_record(Record(change, event)) for change, event in turn.changes]
        if not payloads:
            return []
        heads = self._vault_file.append(payloads)
        self._vault_file.sync()
        return heads

    def _append_entries(self, turn: Turn, heads: Sequence[VaultHead]) -> None:
        if not turn.acts:
            return
        remaining = iter(heads)
        events = self._owed + [
            act.event if act.change is None else with_head(act.event, next(remaining))
            for act in turn.acts
        ]
        self._audit.write(turn.now, events, self._vault_file.head)
        if self._synced and any(event.outcome != Outcome.DENIED for event in events):
            self._audit.sync()
        self._owed = []


def with_head(event: Event, head: VaultHead) -> Event:
    """The entry of a change, which names the vault's head after it."""
    return replace(event, vault_seq=head.seq, vault_head=head.head)
