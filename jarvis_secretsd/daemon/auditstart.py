"""Where an audit log stands when the daemon starts. Only reads: the first write mends."""

from __future__ import annotations

import errno
import os
import stat
from enum import StrEnum
from functools import partial

from msgspec import Struct

from jarvis_secretsd.daemon import files, segments
from jarvis_secretsd.daemon.journal import Journal
from jarvis_secretsd.daemon.keys import verify_signature
from jarvis_secretsd.domain.audit import MAX_LINE_BYTES, KnownHead, SignedHead, Signer
from jarvis_secretsd.domain.auditreading import (
    Broken,
    CheckSignature,
    OpeningEntry,
    is_signed,
    read_opening,
)
from jarvis_secretsd.errors import StateRefused, UnsafeFile


class Origin(StrEnum):
    """What told where the log ends: its file, a rotated one before it, or only the known head."""

    ACTIVE = "active"
    PREDECESSOR = "predecessor"
    KNOWN = "known"


class Torn(Struct, frozen=True):
    """A segment with bytes after its last signature, which ends at the offset `keep`."""

    path: str
    keep: int
    size: int


class Standing(Struct, frozen=True):
    """Where the log ends, and what the first write has to mend.

    `journal` is the file at the log's path; without one, `found` says what is there instead.
    """

    log_id: str
    signed: SignedHead
    origin: Origin
    journal: Journal | None = None
    found: str | None = None
    torn: Torn | None = None


def find_standing(path: str, signer: Signer, known: KnownHead | None) -> Standing:
    """Where the log at `path` stands.

    A file that is missing, empty or not of this log is continued from a rotated file or from
    `known`, whichever is further. Raises FileNotFoundError when there is nothing to continue,
    StateRefused when the log is of another key or damaged, UnsafeFile, StorageFailed.
    """
    active = _look_at(path, signer, known)
    if isinstance(active, Standing):
        return active
    standing = _continued(path, active, signer, known)
    if standing is None and active in {"missing", "empty"}:
        raise FileNotFoundError(errno.ENOENT, "no audit log", path)
    if standing is None:
        raise StateRefused(f"{path} is {active}: it is no audit log of this vault. Move it away")
    return standing


def _look_at(path: str, signer: Signer, known: KnownHead | None) -> Standing | str:
    """The standing that the file itself tells, or a word that says why it doesn't."""
    with files.storage_errors(path):
        try:
            there = os.stat(path, follow_symlinks=False)
        except FileNotFoundError:
            return "missing"
    if stat.S_ISREG(there.st_mode) and there.st_size == 0:
        return "empty"  # logrotate's `create` made it, and it may be anyone's
    journal = Journal.open(path)
    try:
        journal.drop_cache()
        standing = _read_active(journal, signer, known)
    except BaseException:
        journal.close()
        raise
    if isinstance(standing, str):
        journal.close()
    return standing


def _read_active(journal: Journal, signer: Signer, known: KnownHead | None) -> Standing | str:
    opening = _opening_of(journal)
    if opening is None or (known and known.log_id != opening.log_id):
        return "foreign"
    if opening.key_id != signer.key_id:
        raise StateRefused(
            f"{journal.path} is signed by the key {opening.key_id}, and the key at hand is "
            f"{signer.key_id}. Restore the log and its key together"
        )
    end = segments.end_of(journal, opening.log_id, signer.key_id, _checker(signer))
    if end is None:
        return "unsigned"
    torn = _torn(journal, end)
    return Standing(opening.log_id, end.signed, Origin.ACTIVE, journal, torn=torn)


def _continued(path: str, found: str, signer: Signer, known: KnownHead | None) -> Standing | None:
    """The standing that the newest rotated file or the known head tells, whichever is further."""
    newest = _newest(path, signer, known)
    standing = _read_rotated(newest[0], newest[1], found, signer) if newest else None
    if known and (standing is None or known.signed.seq > standing.signed.seq):
        if not is_signed(known.signed, known.log_id, _checker(signer)):
            raise StateRefused(
                f"{path} is {found}, and where it ended was not signed by the key at hand, "
                f"{signer.key_id}. Restore the log and its key together"
            )
        return Standing(known.log_id, known.signed, Origin.KNOWN, None, found)
    return standing


def _newest(path: str, signer: Signer, known: KnownHead | None) -> tuple[str, str] | None:
    """The newest rotated file of this log, and the log's id."""
    for segment in reversed(segments.find_segments(path)):
        opening = segment.opening
        if opening and opening.key_id == signer.key_id and segment.path != os.path.abspath(path):
            if known and known.log_id != opening.log_id:
                continue
            return segment.path, opening.log_id
    return None


def _read_rotated(path: str, log_id: str, found: str, signer: Signer) -> Standing | None:
    check = _checker(signer)
    try:
        journal = None if path.endswith(".gz") else Journal.open(path)
    except UnsafeFile:  # whoever rotated it may have given it away; what it says is signed
        journal = None
    if journal is None:
        signed = segments.end_of_lines(path, log_id, signer.key_id, check)
        return Standing(log_id, signed, Origin.PREDECESSOR, None, found) if signed else None
    try:
        end = segments.end_of(journal, log_id, signer.key_id, check)
        if end is None:
            return None
        torn = _torn(journal, end)
        return Standing(log_id, end.signed, Origin.PREDECESSOR, None, found, torn)
    finally:
        journal.close()


def _torn(journal: Journal, end: segments.End) -> Torn | None:
    left = journal.size - end.offset
    return Torn(journal.path, end.offset, left) if left else None


def _opening_of(journal: Journal) -> OpeningEntry | None:
    line, newline, _ = journal.read(0, MAX_LINE_BYTES + 1).partition(b"\n")
    try:
        return read_opening(line) if newline else None
    except Broken:
        return None


def _checker(signer: Signer) -> CheckSignature:
    return partial(verify_signature, signer.public_key)
