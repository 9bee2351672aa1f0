"""The vault's file: an append-only journal of sealed records under a header with key slots.

Payloads are opaque here. One append is one write, whatever the size of the vault; a rewrite makes a
new file beside this one and renames it over, which is how the vault is compacted and gets slots.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from hashlib import sha256

from jarvis_secretsd.daemon import files
from jarvis_secretsd.daemon.files import AnyPath
from jarvis_secretsd.daemon.journal import Journal
from jarvis_secretsd.daemon.keys import Aead, DataKey, Opener, Slot, open_slots
from jarvis_secretsd.daemon.vaultlines import (
    FORMAT,
    BrokenLine,
    Header,
    RecordChain,
    encode,
    new_salt,
)
from jarvis_secretsd.daemon.vaultrewriting import Rewriting
from jarvis_secretsd.domain.audit import VaultHead
from jarvis_secretsd.errors import StateRefused


class LockedVault:
    """A vault whose header was read, and whose records wait for a key."""

    def __init__(self, path: str, journal: Journal, header: Header) -> None:
        self.path = path
        self.header = header
        self._journal = journal

    @classmethod
    def open(cls, path: AnyPath) -> LockedVault:
        """Open carefully and read the header, from the disk and not from the page cache.

        Raises FileNotFoundError, UnsafeFile, and StateRefused without a header that reads.
        """
        journal = Journal.open(path)
        try:
            journal.drop_cache()
            return cls.of(journal)
        except BaseException:
            journal.close()
            raise

    @classmethod
    def of(cls, journal: Journal) -> LockedVault:
        """The vault in this journal. Raises StateRefused without a header that reads."""
        return cls(journal.path, journal, _read_header(journal.path, journal))

    def unlock(self, opener: Opener) -> VaultFile:
        """The vault, opened by one of its key slots.

        Raises KeyRefused, which names the slots, and StateRefused if the header isn't authentic.
        Takes a second where a passphrase is stretched.
        """
        return self.unlock_with(open_slots(self.header.vault_id, self.header.slots, opener))

    def unlock_with(self, data_key: DataKey) -> VaultFile:
        """The vault under a data key that is at hand. Raises StateRefused."""
        if not self.header.is_authentic(data_key):
            raise _refusal(self.path, 1, "the header was altered: its MAC doesn't fit")
        return VaultFile(self.path, self._journal, self.header, data_key)

    def close(self) -> None:
        """Let go of the file, unless it was unlocked: then the vault closes it."""
        self._journal.close()


class VaultFile:
    """An unlocked vault. Replay it to its end, settle `torn`, and it takes appends.

    `head` is where it ends: before the replay is through, and in an empty vault, sequence number 0
    and the hash of the header's line. `torn` is what a crash left after the last whole record.
    """

    def __init__(self, path: str, journal: Journal, header: Header, data_key: DataKey) -> None:
        self.path = path
        self.header = header
        self.data_key = data_key
        self.torn: bytes | None = None
        self._journal = journal
        self._chain = RecordChain(header, data_key)
        self._replayed = False
        self.head = self._chain.start
        self._before: tuple[int, VaultHead] | None = None
        self._rewriting: Rewriting | None = None

    @classmethod
    def create(
        cls,
        path: AnyPath,
        *,
        aead: Aead,
        slots: Sequence[Slot],
        data_key: DataKey,
        vault_id: str,
        now: datetime,
    ) -> VaultFile:
        """A new, empty, durable vault, which owns `data_key` from now on.

        Raises FileExistsError, UnsafeFile, StorageFull and StorageFailed, and ValueError for a
        `vault_id` that isn't 32 hex digits.
        """
        vacant = Header(FORMAT, vault_id, aead, now, 0, new_salt(), tuple(slots))
        header = vacant.authenticated(data_key)
        files.create_private(path, encode(header) + b"\n")
        vault = cls(os.fspath(path), Journal.open(path), header, data_key)
        vault._replayed = True
        return vault

    def replay(self) -> Iterator[tuple[VaultHead, bytes]]:
        """Each record's head and payload, in their order; at the end `head` and `torn` are known.

        A last line that is cut off or doesn't open is torn. Raises StateRefused, which names the
        line, for damage anywhere else.
        """
        head, torn, size = self._chain.start, None, self._journal.size
        lines = enumerate(self._journal.lines(), start=1)
        number, _ = next(lines)
        for number, (offset, line) in lines:
            end = offset + len(line) + 1
            if end > size:
                torn = line
                break
            try:
                head, payload = self._chain.open(head, line)
            except BrokenLine as broken:
                if end < size:
                    raise _refusal(self.path, number, str(broken)) from None
                torn = line + b"\n"
                break
            yield head, payload
        if head.seq < self.header.compacted_to:
            raise _refusal(self.path, number, f"records up to {self.header.compacted_to} were here")
        self.head, self.torn, self._replayed = head, torn, True

    def set_aside_torn_tail(self) -> str:
        """Move the torn tail, durably, into a file beside the vault whose path is returned.

        Only for a caller that knows, from the audit log, that nobody was told of this record.
        """
        if self.torn is None:
            raise RuntimeError("the vault has no torn tail")
        digest = sha256(self.torn).hexdigest()
        path = f"{self.path}.torn-{digest[:16]}"
        files.replace_private(path, self.torn)
        self._journal.rewind(self._journal.size - len(self.torn))
        self.torn = None
        return path

    def append(self, payloads: Sequence[bytes]) -> list[VaultHead]:
        """Seal the payloads and write them with one write; each one's head. Not yet durable.

        Raises StorageFull and StorageFailed, after which nothing of them is there.
        """
        self._must_be_settled()
        head, heads, lines = self.head, [], []
        for payload in payloads:
            head, line = self._chain.seal(head, payload, head.seq + 1)
            heads.append(head)
            lines.append(line + b"\n")
        size = self._journal.size
        self._journal.append(b"".join(lines))
        if self._rewriting is not None:
            numbers = (each.seq for each in heads)
            self._rewriting.appended += zip(numbers, payloads, strict=True)
        self._before, self.head = (size, self.head), head
        return heads

    def sync(self) -> None:
        """Make what was appended durable. Raises SyncFailed, and then the process must end."""
        self._journal.sync()

    def rewind(self) -> None:
        """Durably take back the last append. Raises SyncFailed."""
        if self._before is None:
            raise RuntimeError("there is no append to take back")
        size, head = self._before
        self._journal.rewind(size)
        self.head, self._before = head, None
        if self._rewriting is not None:
            self._rewriting.forget_after(head.seq)

    def begin_rewrite(
        self,
        *,
        slots: Sequence[Slot] | None = None,
        compacted_to: int | None = None,
        data_key: DataKey | None = None,
    ) -> Rewriting:
        """A new file for this vault's records, each sealed anew; it isn't in its place yet.

        What is appended meanwhile goes into both. Numbers may be missing up to `compacted_to`. None
        keeps the slots, `compacted_to`, or data key, that the vault has. Raises StorageFull,
        StorageFailed.
        """
        self._must_be_settled()
        keep = self.header
        header = keep.renewed(
            keep.slots if slots is None else tuple(slots),
            keep.compacted_to if compacted_to is None else compacted_to,
        )
        self._rewriting = Rewriting(self.path, header, data_key or self.data_key)
        return self._rewriting

    def finish_rewrite(self, rewriting: Rewriting, last: tuple[int, bytes] | None = None) -> None:
        """Durably put the new file in the vault's place, after what was appended, and `last`.

        Its last number must be no less than `compacted_to` and than `head`'s, so that no number
        comes twice. Raises StorageFull, StorageFailed and ValueError, after which the old file
        stands; SyncFailed.
        """
        try:
            rewriting.add(rewriting.appended)
            rewriting.add(() if last is None else (last,))
            self._journal.adopt(rewriting.take_place(least_seq=self.head.seq))
        except BaseException:
            self.give_up_rewrite(rewriting)
            raise
        self._rewriting = None
        self.header, self._chain, self.head = rewriting.header, rewriting.chain, rewriting.head
        if rewriting.data_key is not self.data_key:
            self.data_key.wipe()
            self.data_key = rewriting.data_key
        self._before = None

    def give_up_rewrite(self, rewriting: Rewriting) -> None:
        """Remove the new file; the vault is as if it had never been begun.

        One that was given up already, or has taken the vault's place, is left alone.
        """
        if self._rewriting is rewriting:
            self._rewriting = None
            rewriting.give_up()

    def rewrite(
        self,
        records: Iterable[tuple[int, bytes]],
        *,
        slots: Sequence[Slot] | None = None,
        compacted_to: int | None = None,
    ) -> None:
        """All of `begin_rewrite` and `finish_rewrite` at once, for records (number, payload)."""
        rewriting = self.begin_rewrite(slots=slots, compacted_to=compacted_to)
        try:
            rewriting.add(records)
        except BaseException:
            self.give_up_rewrite(rewriting)
            raise
        self.finish_rewrite(rewriting)

    def close(self) -> None:
        """Close the file and wipe the data key."""
        self._journal.close()
        self.data_key.wipe()

    def _must_be_settled(self) -> None:
        if not self._replayed or self.torn is not None:
            raise RuntimeError(
                "the vault takes no change before its replay and torn tail are settled"
            )


def _read_header(path: str, journal: Journal) -> Header:
    for _, line in journal.lines():
        if len(line) == journal.size:
            break
        try:
            return Header.parse(line)
        except BrokenLine as broken:
            raise _refusal(path, 1, str(broken)) from None
    raise StateRefused(
        f"{path} has no whole header. If a first start was interrupted before anything was put, "
        "remove it; otherwise restore it from a backup"
    )


def _refusal(path: str, number: int, fault: str) -> StateRefused:
    return StateRefused(
        f"{path}, line {number}: {fault}. The vault was damaged or altered; nothing was changed. "
        "Restore it from a backup"
    )
