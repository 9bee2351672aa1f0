"""The audit log's file: signed turns, appended to a file that others may move away at any time.

A turn that was written but not synced when its file was taken away is written again, in a segment
of ours at the log's path. Whatever isn't the log is set aside, and an entry says so.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from hashlib import sha256

from msgspec import Struct

from jarvis_secretsd.daemon import files, segments
from jarvis_secretsd.daemon.auditstart import Origin, Standing, Torn, find_standing
from jarvis_secretsd.daemon.journal import Journal
from jarvis_secretsd.domain.audit import (
    FORMAT,
    Chain,
    Event,
    KnownHead,
    Opening,
    Outcome,
    SignedHead,
    Signer,
    VaultHead,
    write_turn,
)
from jarvis_secretsd.domain.verification import MAX_UNSYNCED_TURNS
from jarvis_secretsd.errors import StorageFailed, StorageFull, UnsafeFile
from jarvis_secretsd.messages import AuditHeadStatus

_ATTEMPTS = 3
"""A program that appends to our log between two checks, three times in a row, won't stop."""


class _Turn(Struct, frozen=True):
    """A write that isn't synced, and where file and chain stood before it."""

    time: datetime
    notes: tuple[Event, ...]
    events: tuple[Event, ...]
    vault: VaultHead
    size: int
    before: SignedHead

    @property
    def entries(self) -> tuple[Event, ...]:
        return self.notes + self.events


class AuditLog:
    """The log at `path`. `signed_head` is where it ends, durable once `sync()` has returned.

    `written` counts the bytes since the start, what was written again too. After `open()`, `origin`
    says what told where it ends, `found` what is at the path if that isn't the log, and `torn` what
    follows the last signature. Nothing is changed before the first write.
    """

    def __init__(self, path: str, signer: Signer, standing: Standing) -> None:
        self.path = path
        self.written = 0
        self.log_id = standing.log_id
        self.signed_head = standing.signed
        self.origin = standing.origin
        self.found = standing.found
        self.torn = standing.torn
        self._signer = signer
        self._journal = standing.journal
        self._turns: list[_Turn] = []
        self._notes: tuple[Event, ...] = ()

    @classmethod
    def create(cls, path: str, signer: Signer, now: datetime, vault: VaultHead) -> AuditLog:
        """A new durable log with its first entry. Raises FileExistsError, StorageFull, ..."""
        log_id = secrets.token_hex(16)
        opening = Opening(op="log_created", format=FORMAT, log_id=log_id, key_id=signer.key_id)
        data, signed = write_turn(Chain.new(log_id), now, (opening,), vault, signer)
        files.create_private(path, data)
        return cls(path, signer, Standing(log_id, signed, Origin.ACTIVE, Journal.open(path)))

    @classmethod
    def open(cls, path: str, signer: Signer, known: KnownHead | None = None) -> AuditLog:
        """The log that is there or was: reads its first line and its tail, and writes nothing.

        Where the file is missing, empty or another's, the log goes on from a rotated file or from
        `known`. Raises FileNotFoundError, StateRefused, UnsafeFile, StorageFailed.
        """
        return cls(path, signer, find_standing(path, signer, known))

    def contains(self, seq: int, head: str) -> bool:
        """Is `head` (hex) signed as entry `seq`, here or in a rotated segment?"""
        return segments.is_signed_in(self.path, self._journal, seq, head)

    def reaches_back_to(self, seq: int) -> bool:
        """Is a segment left that can tell of entry `seq`? Old ones are thrown away in time."""
        return segments.reach_back_to(self.path, seq)

    @property
    def durable(self) -> tuple[Journal | None, int, int]:
        """The open segment, how many bytes of it are durable, and the last entry in these."""
        if self._turns:
            return self._journal, self._turns[0].size, self._turns[0].before.seq
        return self._journal, self._journal.size if self._journal else 0, self.signed_head.seq

    @property
    def end(self) -> AuditHeadStatus:
        """Where it ends, for who asks."""
        at = self.signed_head
        return AuditHeadStatus(self.log_id, at.key_id, at.seq, at.head, at.vault_head, at.signature)

    def write(self, now: datetime, events: Sequence[Event], vault: VaultHead) -> None:
        """Add a turn: these entries and a signature line, in one write.

        Raises StorageFull or StorageFailed with nothing of it left behind, and SyncFailed.
        """
        with _storage_trouble():
            if len(self._turns) >= MAX_UNSYNCED_TURNS:
                self._settle(now, vault)
            self._append(self._ready(now, vault), now, events, vault)

    def sync(self) -> None:
        """Make all turns durable, in a file at the log's path.

        Raises StorageFull or StorageFailed if that needed a new segment which couldn't be made: the
        last write is taken back. SyncFailed means that the process must end.
        """
        if not self._turns:
            return
        last, count = self._turns[-1], len(self._turns)
        try:
            with _storage_trouble():
                self._settle(last.time, last.vault)
        except (StorageFull, StorageFailed):
            if len(self._turns) == count:
                self.rewind()
            raise

    def rewind(self) -> None:
        """Durably take back the last write, which must not be synced yet. Raises SyncFailed."""
        if not self._turns or self._journal is None:
            raise RuntimeError("there is no unsynced write to take back")
        self._journal.rewind(self._turns[-1].size)
        self._forget()

    def reopen(self, now: datetime, vault: VaultHead) -> None:
        """Have our log at the path, mended and durable: after `open()`, and at SIGHUP.

        An entry says what was found. Raises StorageFull, StorageFailed, SyncFailed.
        """
        with _storage_trouble():
            self._append(self._ready(now, vault), now, (), vault)
            self._settle(now, vault)

    def close(self) -> None:
        """Close the file. What isn't synced stays so."""
        if self._journal:
            self._journal.close()

    def _ready(self, now: datetime, vault: VaultHead) -> Journal:
        """The file at the path, which is ours and as we left it, or is so now."""
        if self.torn:
            self._cut_torn(self.torn)
        found = self._journal.displaced() if self._journal else self.found
        if self._journal and found == "grown":
            self._cut_growth(self._journal)
        elif self._journal is None or found:
            return self._open_segment(found or "missing", now, vault)
        return self._journal

    def _settle(self, now: datetime, vault: VaultHead) -> None:
        """Sync, and see that it was our file at the path that was synced."""
        for _ in range(_ATTEMPTS):
            if not self._turns or self._journal is None:
                return
            self._journal.sync()
            if self._journal.displaced() is None:
                self._turns.clear()
                return
            self._ready(now, vault)
        if self._turns:
            raise StorageFailed(f"{self.path}: another program goes on writing to it; stop that")

    def _append(
        self, journal: Journal, now: datetime, events: Sequence[Event], vault: VaultHead
    ) -> None:
        turn = _Turn(now, self._notes, tuple(events), vault, journal.size, self.signed_head)
        if not turn.entries:
            return
        data, signed = self._signed_turn(self.signed_head, now, turn.entries, vault)
        journal.append(data)
        self.written += len(data)
        self._turns.append(turn)
        self.signed_head, self._notes = signed, ()

    def _forget(self) -> _Turn:
        """Go back to before the last write, as far as memory goes."""
        turn = self._turns.pop()
        self.signed_head, self._notes = turn.before, turn.notes + self._notes
        return turn

    def _open_segment(self, found: str, now: datetime, vault: VaultHead) -> Journal:
        """Put a new segment at the path, durable, with all turns that weren't synced."""
        self._clear_path()
        start = self._turns[0].before if self._turns else self.signed_head
        count = sum(len(turn.entries) for turn in self._turns)
        opening = Opening(
            op="segment_opened",
            format=FORMAT,
            log_id=self.log_id,
            key_id=self._signer.key_id,
            previous=start,
            found=found,
            count=count or None,
        )
        data, signed = self._signed_turn(start, now, (opening, *self._notes), vault)
        chunks = [data]
        for turn in self._turns:
            data, signed = self._signed_turn(signed, turn.time, turn.entries, turn.vault)
            chunks.append(data)
        size = sum(map(len, chunks))
        journal = Journal(self.path, files.replace_chunks(self.path, chunks), size)
        self.close()
        self.written += size
        self._journal, self.signed_head = journal, signed
        self._turns, self._notes, self.found = [], (), None
        return journal

    def _signed_turn(
        self,
        after: SignedHead,
        now: datetime,
        entries: Sequence[Event | Opening],
        vault: VaultHead,
    ) -> tuple[bytes, SignedHead]:
        chain = Chain.after(self.log_id, after)
        return write_turn(chain, now, entries, vault, self._signer)

    def _clear_path(self) -> None:
        """Set aside what lies at the path, unless it is nothing or an empty file."""
        with files.opened_parent(self.path) as (directory, name), files.storage_errors(self.path):
            try:
                there = os.stat(name, dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError:
                return
            if stat.S_ISREG(there.st_mode) and there.st_size == 0:
                return
            aside = f"{name}.aside-{secrets.token_hex(8)}"
            os.rename(name, aside, src_dir_fd=directory, dst_dir_fd=directory)
        self._note("file_set_aside", f"what lay in the log's place is now {aside}")

    def _cut_torn(self, torn: Torn) -> None:
        if self._journal and torn.path == self._journal.path:
            self._cut(self._journal, torn.keep)
        else:
            rotated = Journal.open(torn.path)
            try:
                self._cut(rotated, torn.keep)
            finally:
                rotated.close()
        self.torn = None

    def _cut_growth(self, journal: Journal) -> None:
        """Cut off what others appended; our last turn is written again if it lies behind that."""
        line = self.signed_head.line() + b"\n"
        ends_whole = journal.tail(len(line)) == line
        if ends_whole or not self._turns:
            self._cut(journal, journal.size)
        else:
            self._cut(journal, self._turns[-1].size)
            turn = self._forget()
            self._append(journal, turn.time, turn.events, turn.vault)

    def _cut(self, journal: Journal, keep: int) -> None:
        """Move what follows the first `keep` bytes into a file of its own, durably."""
        path = f"{journal.path}.torn-{secrets.token_hex(8)}"
        digest, size = sha256(), 0

        def pieces() -> Iterator[bytes]:
            nonlocal size
            for piece in journal.chunks(keep):
                digest.update(piece)
                size += len(piece)
                yield piece

        os.close(files.replace_chunks(path, pieces()))
        journal.rewind(keep)
        name = os.path.basename(path)
        self._note("tail_set_aside", f"sha256 {digest.hexdigest()}, now in {name}", size)

    def _note(self, op: str, text: str, count: int | None = None) -> None:
        """Have the next turn say what happened to the file."""
        event = Event(op=op, outcome=Outcome.RECORDED, count=count, note=text)
        self._notes = (*self._notes, event)


@contextmanager
def _storage_trouble() -> Iterator[None]:
    """While the daemon runs, a path that can't be used is trouble with the disk, and may pass."""
    try:
        yield
    except UnsafeFile as error:
        raise StorageFailed(error.message) from error
    except (FileNotFoundError, FileExistsError) as error:
        raise StorageFailed(f"{error.filename}: {error.strerror}") from error
