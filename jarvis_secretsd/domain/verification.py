"""Is an audit log what was written? Reads its lines in order, from the start of any segment.

It shares the shapes of lines with the writer, and none of the code that makes them. After a finding
it goes on as if that line were right, so that one change is one finding or two.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from hashlib import sha256

import msgspec
from msgspec import Struct

from jarvis_secretsd.domain.audit import GENESIS, SignedHead
from jarvis_secretsd.domain.auditfindings import Expected, Finding, Findings, Testimony, Verdict
from jarvis_secretsd.domain.auditreading import (
    Broken,
    CheckSignature,
    Entry,
    OpeningEntry,
    is_signature,
    is_signed,
    read_entry,
    read_opening,
    read_signature,
)

MAX_UNSYNCED_TURNS = 1024
"""The writer leaves at most so many unsynced; if the file is taken away, it writes them again."""


class Report(Struct, frozen=True):
    """What was checked: the signed entries `first` to `last`; `repeated` stand in two segments.

    `entries` counts every entry read. `further` counts findings beyond those listed.
    """

    verdict: Verdict
    log_id: str
    key_id: str
    pinned: bool
    segments: int
    entries: int
    first: int
    last: int
    repeated: int
    signed: SignedHead | None
    findings: tuple[Finding, ...]
    further: int


class Verifier:
    """Feed it each segment's lines in order, then ask for the report.

    `check` checks signatures by the key `key_id`; `pinned` says that this key came from elsewhere
    than from beside the log. `from_start` demands the log from its first entry on.
    """

    def __init__(
        self,
        check: CheckSignature,
        key_id: str,
        *,
        pinned: bool = False,
        from_start: bool = False,
        expected: Expected | None = None,
    ) -> None:
        self._check = check
        self._key_id = key_id
        self._pinned = pinned
        self._from_start = from_start
        self._testimony = Testimony(expected or Expected())
        self._findings = Findings()
        self._segments = self._entries = self._repeated = 0
        self._log_id = ""
        self._first = self._seq = 0
        self._prev = self._head = GENESIS.hex()
        self._unsigned = 0
        self._signed: SignedHead | None = None
        self._recent: deque[SignedHead] = deque(maxlen=MAX_UNSYNCED_TURNS + 1)

    def open_segment(self, name: str) -> None:
        """What is fed from here on comes from the segment of this name."""
        self._close_segment()
        self._segments += 1
        self._findings.turn_to(name)

    def resume(self, log_id: str, signed: SignedHead) -> None:
        """Take this signature line as read and right, and go on after it."""
        self._log_id, self._signed, self._seq = log_id, signed, signed.seq
        self._prev = _hash(msgspec.json.encode(signed))
        self._findings.turn_to("after a signature", line=1)

    def feed(self, line: bytes) -> None:
        r"""The next line of the segment, without its `\n`."""
        self._findings.line += 1
        digest = _hash(line)
        try:
            if self._findings.line == 1:
                self._take_opening(read_opening(line), digest)
            elif is_signature(line):
                self._take_signature(read_signature(line))
            else:
                self._take_entry(read_entry(line), digest)
        except Broken as broken:
            self._findings.add(Verdict.TAMPERED, str(broken))
            if not is_signature(line):
                self._count(self._seq + 1, digest)
        self._prev = digest

    def feed_torn(self, size: int) -> None:
        r"""The segment ends with `size` bytes that no `\n` follows."""
        self._findings.line += 1
        self._findings.add(Verdict.INCOMPLETE, f"is torn: {size} bytes without an end")

    def report(self) -> Report:
        """What was found, over all that was fed. Nothing to check is incomplete."""
        self._close_segment()
        self._findings.turn_to("the log")
        last = self._signed.seq if self._signed and self._entries else 0
        if not last:
            self._findings.add(Verdict.INCOMPLETE, "has nothing to check")
        else:
            for verdict, fault in self._testimony.faults(self._first, last):
                self._findings.add(verdict, fault)
        return Report(
            verdict=self._findings.verdict,
            log_id=self._log_id,
            key_id=self._key_id,
            pinned=self._pinned,
            segments=self._segments,
            entries=self._entries,
            first=self._first,
            last=last,
            repeated=self._repeated,
            signed=self._signed,
            findings=tuple(self._findings.listed),
            further=self._findings.further,
        )

    def _take_opening(self, opening: OpeningEntry, digest: str) -> None:
        fault = self._opening_fault(opening)
        if fault:
            self._findings.add(Verdict.TAMPERED, fault)
        elif opening.previous is not None:
            self._join(opening.previous, opening.count or 0)
        self._log_id = self._log_id or opening.log_id
        self._recent.clear()
        self._count(opening.seq, digest)

    def _opening_fault(self, opening: OpeningEntry) -> str | None:
        if self._log_id not in {"", opening.log_id}:
            return f"opens another log, {opening.log_id}"
        if opening.key_id != self._key_id:
            return f"is of the key {opening.key_id}, not of {self._key_id}"
        if (opening.op == "segment_opened") != (opening.previous is not None):
            return f"has the wrong fields for {opening.op}"
        if opening.previous is not None:
            return self._seam_fault(opening, opening.previous)
        is_first = (opening.seq, opening.prev, self._segments) == (1, GENESIS.hex(), 1)
        return None if is_first else "starts the log anew"

    def _seam_fault(self, opening: OpeningEntry, previous: SignedHead) -> str | None:
        signed = is_signed(previous, opening.log_id, self._check)
        if previous.key_id != self._key_id or not signed:
            return "names an end of the segment before whose signature is wrong"
        if (opening.seq, opening.prev) != (previous.seq + 1, _hash(msgspec.json.encode(previous))):
            return "doesn't follow the end of the segment before that it names"
        return None

    def _join(self, previous: SignedHead, again: int) -> None:
        """Hold the segment's opening, which follows `previous`, against what was read so far."""
        self._testimony.hear_signature(previous)
        if self._segments == 1:
            if self._from_start:
                self._miss(range(1, previous.seq + 1))
            return
        last = self._signed.seq if self._signed else 0
        if previous == self._signed:
            return
        if previous.seq > last:
            self._miss(range(last + 1, previous.seq + 1))
        elif previous in self._recent and last - previous.seq <= again:
            self._repeated += last - previous.seq
        else:
            self._findings.add(Verdict.TAMPERED, "doesn't continue the segment before it")

    def _miss(self, entries: range) -> None:
        self._testimony.hear_missing(entries)
        self._findings.add(
            Verdict.INCOMPLETE, f"follows entries {entries[0]} to {entries[-1]}, which are missing"
        )

    def _take_entry(self, entry: Entry, digest: str) -> None:
        due, prev = self._seq + 1, self._prev
        self._count(entry.seq, digest)
        self._testimony.hear_entry(entry)
        if entry.seq != due:
            self._findings.add(Verdict.TAMPERED, f"is entry {entry.seq} where {due} should be")
        elif entry.prev != prev:
            self._findings.add(Verdict.TAMPERED, "doesn't hold the hash of the line before it")

    def _count(self, seq: int, digest: str) -> None:
        self._seq, self._head = seq, digest
        self._first = self._first or seq
        self._entries += 1
        self._unsigned += 1

    def _take_signature(self, signed: SignedHead) -> None:
        fault = self._signature_fault(signed)
        if fault:
            self._findings.add(Verdict.TAMPERED, fault)
        self._unsigned = 0
        self._signed, self._seq = signed, signed.seq
        self._recent.append(signed)
        self._testimony.hear_signature(signed)

    def _signature_fault(self, signed: SignedHead) -> str | None:
        if signed.key_id != self._key_id:
            return f"is a signature by the key {signed.key_id}, not by {self._key_id}"
        if not self._unsigned:
            return "is a signature that signs nothing"
        if (signed.seq, signed.head) != (self._seq, self._head):
            return "is a signature of another entry than the one before it"
        if not is_signed(signed, self._log_id, self._check):
            return "is a signature that is wrong"
        return None

    def _close_segment(self) -> None:
        if self._unsigned:
            self._findings.add(
                Verdict.INCOMPLETE,
                f"ends a segment whose last {self._unsigned} entries aren't signed",
            )
        self._unsigned = 0


def last_signed(
    lines: Sequence[bytes], log_id: str, key_id: str, check: CheckSignature, *, whole: bool
) -> tuple[SignedHead, int] | None:
    """The last signature whose whole turn is among these lines, and the number of lines up to it.

    `lines` end where their segment ends, and `whole` says that they start where it starts. A crash
    can leave a part of a turn, with its signature, so the turn before a signature is read too.
    """
    marks = [place for place, line in enumerate(lines) if is_signature(line)]
    for start, end in reversed(list(zip((None, *marks), marks, strict=False))):
        if start is None and not whole:
            return None
        verifier = Verifier(check, key_id)
        try:
            if start is None:
                verifier.open_segment("the tail")
            else:
                verifier.resume(log_id, read_signature(lines[start]))
        except Broken:
            continue
        for line in lines[0 if start is None else start + 1 : end + 1]:
            verifier.feed(line)
        report = verifier.report()
        if report.verdict is Verdict.INTACT and report.signed is not None:
            return report.signed, end + 1
    return None


def _hash(line: bytes) -> str:
    return sha256(line).hexdigest()
