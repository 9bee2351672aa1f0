"""What a verification finds, and what others know that the log must agree with."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from enum import IntEnum

from msgspec import Struct

from jarvis_secretsd.domain.audit import SignedHead, VaultHead
from jarvis_secretsd.domain.auditreading import Entry

MAX_FINDINGS = 100
"""A log in ruins needs no longer list; `Report.further` counts the rest."""


class Verdict(IntEnum):
    """What a verification comes to, as the exit status says it."""

    INTACT = 0
    TAMPERED = 1
    INCOMPLETE = 3


class Finding(Struct, frozen=True):
    """What is wrong with a line of a segment; line 0 stands for the log as a whole."""

    segment: str
    line: int
    verdict: Verdict
    fault: str


class Expected(Struct, frozen=True):
    """What others know of the log, as far as it is known.

    `audit` is a number and hash (hex) that were signed once. `kept` are more of these, which were
    kept elsewhere: the log must reach back to them. `vault` is where the vault ends and
    `vault_seqs` are the numbers of its records, each of which has its entry.
    """

    audit: tuple[int, str] | None = None
    kept: tuple[tuple[int, str], ...] = ()
    vault: VaultHead | None = None
    vault_seqs: Collection[int] = ()


class Findings:
    """What was found so far, and the line that is being read."""

    def __init__(self) -> None:
        self.segment, self.line = "", 0
        self.listed: list[Finding] = []
        self.further = 0
        self._verdicts: set[Verdict] = set()

    def turn_to(self, segment: str, line: int = 0) -> None:
        """What is found from here on is about this segment, after this many of its lines."""
        self.segment, self.line = segment, line

    def add(self, verdict: Verdict, fault: str) -> None:
        """Something is wrong with the line that is being read; `fault` completes "this line"."""
        self._verdicts.add(verdict)
        if len(self.listed) < MAX_FINDINGS:
            self.listed.append(Finding(self.segment, self.line, verdict, fault))
        else:
            self.further += 1

    @property
    def verdict(self) -> Verdict:
        """The worst of what was found."""
        for verdict in (Verdict.TAMPERED, Verdict.INCOMPLETE):
            if verdict in self._verdicts:
                return verdict
        return Verdict.INTACT


class Testimony:
    """What the log says about that which others know too."""

    def __init__(self, expected: Expected) -> None:
        self._expected = expected
        self._heads = (*([expected.audit] if expected.audit else ()), *expected.kept)
        self._asked = {seq for seq, _ in self._heads}
        self._signed_there: set[tuple[int, str]] = set()
        self._changes: set[int] = set()
        self._vault_heads: set[str] = set()
        self._missing: list[range] = []

    def hear_entry(self, entry: Entry) -> None:
        """The log has this entry."""
        if self._expected.vault and entry.vault_seq is not None:
            self._changes.add(entry.vault_seq)
            self._vault_heads.add(entry.vault_head or "")

    def hear_signature(self, signed: SignedHead) -> None:
        """The log has, or names, this signature."""
        if signed.seq in self._asked:
            self._signed_there.add((signed.seq, signed.head))
        if self._expected.vault:
            self._vault_heads.add(signed.vault_head)

    def hear_missing(self, entries: range) -> None:
        """The log lacks these entries, which is a finding of its own."""
        self._missing.append(entries)

    def faults(self, first: int, last: int) -> Iterator[tuple[Verdict, str]]:
        """Where the log, of which entries `first` to `last` are signed, and the others differ."""
        for seq, head in self._heads:
            yield from self._audit_faults(first, last, seq, head)
        for seq, _ in self._expected.kept:
            if seq < first:
                yield (
                    Verdict.INCOMPLETE,
                    f"begins at entry {first}; the head kept is of entry {seq}",
                )
        if self._expected.vault:
            yield from self._vault_faults(first, self._expected.vault)

    def _audit_faults(
        self, first: int, last: int, seq: int, head: str
    ) -> Iterator[tuple[Verdict, str]]:
        if seq > last:
            yield Verdict.INCOMPLETE, f"ends at entry {last}; it once went to {seq}"
        elif seq < first or any(seq in entries for entries in self._missing):
            return
        elif (seq, head) not in self._signed_there:
            yield Verdict.TAMPERED, f"has another entry {seq} than the one that was signed once"

    def _vault_faults(self, first: int, vault: VaultHead) -> Iterator[tuple[Verdict, str]]:
        since = 1 if first == 1 else min(self._changes, default=vault.seq + 1)
        missing = sorted(
            seq for seq in self._expected.vault_seqs if seq >= since and seq not in self._changes
        )
        if missing:
            yield (
                Verdict.INCOMPLETE,
                f"has no entry for {len(missing)} changes of the vault, the first is {missing[0]}",
            )
        elif vault.head not in self._vault_heads:
            yield Verdict.INCOMPLETE, f"doesn't know the vault as it ends, at change {vault.seq}"
