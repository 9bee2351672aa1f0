"""The segments of the audit log, as a page is read from them: only what is durable."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from itertools import chain

from msgspec.structs import replace

from jarvis_secretsd.daemon import files, segments
from jarvis_secretsd.daemon.auditlog import AuditLog
from jarvis_secretsd.daemon.journal import Journal
from jarvis_secretsd.domain.audit import MAX_LINE_BYTES
from jarvis_secretsd.domain.auditpaging import Part, Text, check, page_back, page_on
from jarvis_secretsd.domain.auditreading import Broken, read_opening
from jarvis_secretsd.errors import Reason, StorageFailed, Unavailable, UnsafeFile
from jarvis_secretsd.messages import AuditLog as Asked
from jarvis_secretsd.messages import AuditPage

MAX_UNZIPPED = 4 * 1024 * 1024
"""What a compressed segment may come to, some ten thousand entries: each page unpacks it anew."""


def read_page(log: AuditLog, asked: Asked) -> AuditPage:
    """The page that is asked for. Raises InvalidRequest, and Unavailable where the disk fails."""
    check(asked)
    try:
        return _page(log, asked)
    except (FileNotFoundError, StorageFailed, UnsafeFile):
        raise Unavailable(Reason.STORAGE_FAILED, "the audit log can't be read now") from None


def _page(log: AuditLog, asked: Asked) -> AuditPage:
    newest, unread = _newest(log), list[str]()
    with closing(_older(log, newest.first, asked, unread)) as older:
        if asked.after is None:
            page = page_back(chain((newest,), older), asked, newest.end)
        else:
            page = page_on(chain(older, (newest,)), asked, asked.after)
    return replace(page, unread=tuple(unread))


def _newest(log: AuditLog) -> Part:
    """The segment that is written to, as far as it is durable."""
    journal, size, seq = log.durable
    if journal is None:
        return Part(seq + 1, seq + 1, _Held(b""))
    line, _, _ = journal.read(0, MAX_LINE_BYTES + 1).partition(b"\n")
    try:
        first = read_opening(line).seq
    except Broken as broken:
        raise StorageFailed(f"{journal.path}: its first line {broken}") from None
    return Part(first, seq + 1, _Durable(journal, size))


def _older(log: AuditLog, end: int, asked: Asked, unread: list[str]) -> Generator[Part]:
    """The rotated segments, each opened in its turn; towards the beginning unless `asked.after`.

    What can't be shown is named in `unread`. Where a segment ends, the one after it has begun:
    what it still holds of later entries was written anew.
    """
    if asked.after is not None and asked.after >= end - 1:
        return
    found, strange = segments.survey(log.path)
    unread += strange
    begun = [
        (segment.opening.seq, segment.path)
        for segment in found
        if segment.opening and segment.opening.log_id == log.log_id and segment.opening.seq < end
    ]
    ends = [*(first for first, _ in begun), end][1:]
    spans = [(first, stop, path) for (first, path), stop in zip(begun, ends, strict=True)]
    for first, stop, path in spans if asked.after is not None else reversed(spans):
        if _is_needed(first, stop, asked):
            with _opened(path) as text:
                if text is None:
                    unread.append(os.path.basename(path))
                else:
                    yield Part(first, stop, text)


def _is_needed(first: int, end: int, asked: Asked) -> bool:
    if asked.after is not None:
        return end > asked.after + 1
    return asked.before is None or first < asked.before


@contextmanager
def _opened(path: str) -> Iterator[Text | None]:
    """The bytes of a segment; None where they can't be read, or unpacked in a bounded time."""
    try:
        with files.storage_errors(path), segments.opened(path) as file:
            if not isinstance(file, gzip.GzipFile):
                yield _File(file.fileno())
                return
            data = file.read(MAX_UNZIPPED + 1)
    except (FileNotFoundError, UnsafeFile, StorageFailed, EOFError, zlib.error):
        yield None
    else:
        yield _Held(data) if len(data) <= MAX_UNZIPPED else None


class _Held:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]


class _File:
    """A file that nobody appends to."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._descriptor, length, offset)


class _Durable:
    """The beginning of a journal, up to what isn't synced yet."""

    def __init__(self, journal: Journal, size: int) -> None:
        self._journal = journal
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        return self._journal.read(offset, max(0, min(length, self.size - offset)))
