"""The files of one audit log: found, put in order, and read, also where logrotate compressed them.

Nobody needs to trust these files: what they say is signed. So they may belong to anyone.
"""

from __future__ import annotations

import gzip
import os
import re
import stat
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain, groupby
from operator import itemgetter
from typing import IO

from msgspec import Struct

from jarvis_secretsd.daemon import files
from jarvis_secretsd.daemon.journal import Journal
from jarvis_secretsd.domain.audit import MAX_LINE_BYTES, SignedHead
from jarvis_secretsd.domain.auditreading import (
    Broken,
    CheckSignature,
    OpeningEntry,
    is_signature,
    read_opening,
    read_signature,
)
from jarvis_secretsd.domain.verification import MAX_UNSYNCED_TURNS, Verifier, last_signed
from jarvis_secretsd.errors import StateRefused, StorageFailed, UnsafeFile

MAX_TAIL = 64 * 1024 * 1024
"""Where the last whole turn must be found: unsynced turns are bounded far below this."""

_WINDOW = 256 * 1024

_SIBLING = re.compile(r"(\.\d+|-\d[\d-]*|\.aside-[0-9a-f]{16})?(\.gz)?", re.ASCII)
"""logrotate's names, with and without `dateext` and `compress`, and those that we set aside."""

_Lines = IO[bytes] | gzip.GzipFile


class Segment(Struct, frozen=True):
    """A file of the log. `opening` is its first line, None if that can't be read."""

    path: str
    opening: OpeningEntry | None


class End(Struct, frozen=True):
    """The last signature of a segment, and the offset where its line ends."""

    signed: SignedHead
    offset: int


def find_segments(path: str) -> tuple[Segment, ...]:
    """The log's files beside `path`, itself included, in the order of their first entries.

    A rotated file that doesn't open as a segment comes first, so that it isn't passed over; an
    empty one, one that was set aside and is no segment, and a copy of another's beginning (as
    logrotate's `copy` makes it), is left out. Raises StorageFailed.
    """
    directory, name = os.path.split(os.path.abspath(path))
    found = []
    for other in _siblings(directory, name):
        segment = _read_segment(os.path.join(directory, other))
        if segment and (segment.opening or ".aside-" not in other):
            found.append(segment)
    found.sort(key=lambda one: (one.opening.seq if one.opening else 0, one.path))
    return tuple(_without_copies(found))


def survey(path: str) -> tuple[tuple[Segment, ...], tuple[str, ...]]:
    """The segments that can be read, in order, and the names of files that can't.

    For who looks at the log rather than verifies it, and wants what there is.
    """
    directory, name = os.path.split(os.path.abspath(path))
    found, unread = [], []
    for other in _siblings(directory, name):
        try:
            segment = _known_segment(os.path.join(directory, other))
        except (UnsafeFile, StorageFailed):
            unread.append(other)
            continue
        if segment and segment.opening:
            found.append((segment.opening.seq, segment))
        elif segment and ".aside-" not in other:
            unread.append(other)
    return tuple(segment for _, segment in sorted(found, key=itemgetter(0))), tuple(unread)


def feed(verifier: Verifier, paths: Iterable[str]) -> None:
    """Feed the verifier these segments. Raises FileNotFoundError and StorageFailed."""
    for path in paths:
        verifier.open_segment(path)
        for line in read_lines(path):
            if line.endswith(b"\n"):
                verifier.feed(line[:-1])
            else:
                verifier.feed_torn(len(line))


def read_lines(path: str) -> Iterator[bytes]:
    r"""Each line with its `\n`, which a torn last line lacks; of one that is too long, its start.

    Raises FileNotFoundError, and StorageFailed, also for a file that can't be decompressed.
    """
    with files.storage_errors(path), opened(path) as file:
        try:
            while line := file.readline(MAX_LINE_BYTES + 2):
                if len(line) > MAX_LINE_BYTES + 1 and not line.endswith(b"\n"):
                    line = line[:-1] + _rest_of_line(file)
                yield line
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise StorageFailed(f"{path} can't be decompressed: {error}") from error


def end_of(journal: Journal, log_id: str, key_id: str, check: CheckSignature) -> End | None:
    """Where the last signature of this segment ends whose turn is whole; None if it has none.

    Reads backwards. Raises StateRefused if it had to go further than a crash explains.
    """
    window = _WINDOW
    while True:
        data = journal.tail(window)
        start = journal.size - len(data)
        lines = data.split(b"\n")[:-1]
        if start and lines:
            start += len(lines[0]) + 1
            del lines[0]
        if found := last_signed(lines, log_id, key_id, check, whole=start == 0):
            signed, count = found
            return End(signed, start + sum(len(line) + 1 for line in lines[:count]))
        if window >= journal.size:
            return None
        if window >= MAX_TAIL:
            raise StateRefused(
                f"{journal.path} was damaged: no whole signed turn in its last {MAX_TAIL:,} bytes"
            )
        window *= 8


def end_of_lines(path: str, log_id: str, key_id: str, check: CheckSignature) -> SignedHead | None:
    """As `end_of`, for a segment that can only be read forwards."""
    turns: deque[list[bytes]] = deque([[]], maxlen=MAX_UNSYNCED_TURNS + 2)
    dropped = 0
    for line in read_lines(path):
        if not line.endswith(b"\n"):
            break
        turns[-1].append(line[:-1])
        if is_signature(line):
            dropped += len(turns) == turns.maxlen
            turns.append([])
    lines = [line for turn in turns for line in turn]
    found = last_signed(lines, log_id, key_id, check, whole=not dropped)
    return found[0] if found else None


def is_signed_in(path: str, active: Journal | None, seq: int, head: str) -> bool:
    """Does the log sign `head` (hex) as its entry `seq`? Reads back from the end until it can tell.

    `active` is the segment at `path`. Of older ones, only those are read that can hold the entry.
    """
    for line in active.lines_backward() if active else ():
        signed = _signature_in(line)
        if signed and signed.seq <= seq:
            return (signed.seq, signed.head) == (seq, head)
    older = [one for one in find_segments(path) if one.opening and one.opening.seq <= seq + 1]
    for segment in reversed(older[-3:]):
        previous = segment.opening.previous if segment.opening else None
        heads = chain((previous,), map(_signature_in, read_lines(segment.path)))
        if any(one and (one.seq, one.head) == (seq, head) for one in heads):
            return True
    return False


def reach_back_to(path: str, seq: int) -> bool:
    """Can the files that are there still tell how entry `seq` was signed?"""
    first = next((one.opening for one in find_segments(path) if one.opening), None)
    return first is not None and first.seq <= seq + 1


def _signature_in(line: bytes) -> SignedHead | None:
    try:
        return read_signature(line.removesuffix(b"\n")) if is_signature(line) else None
    except Broken:
        return None


def _without_copies(found: Iterable[Segment]) -> Iterator[Segment]:
    """Of segments with the same first line, those whose bytes aren't the start of another's."""
    for opening, group in groupby(found, key=lambda one: one.opening):
        kept: list[Segment] = []
        for one in group:
            if opening and any(_begins(other.path, one.path) for other in kept):
                continue
            if opening:
                kept = [other for other in kept if not _begins(one.path, other.path)]
            kept.append(one)
        yield from kept


def _begins(whole: str, part: str) -> bool:
    """Does one file begin with all of the other?"""
    lines = read_lines(whole)
    return all(next(lines, b"").startswith(line) for line in read_lines(part))


def _siblings(directory: str, name: str) -> list[str]:
    with files.storage_errors(directory):
        return [
            other
            for other in os.listdir(directory)
            if other.startswith(name) and _SIBLING.fullmatch(other[len(name) :])
        ]


def _known_segment(path: str) -> Segment | None:
    """As `_read_segment`, which isn't done again for a file that is as it was."""
    try:
        there = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return _remembered(path, there.st_ino, there.st_size, there.st_mtime_ns)


@lru_cache(maxsize=1024)
def _remembered(path: str, _inode: int, _size: int, _changed: int) -> Segment | None:
    return _read_segment(path)


def _read_segment(path: str) -> Segment | None:
    try:
        there = os.lstat(path)
        if stat.S_ISREG(there.st_mode) and not there.st_size:
            return None  # logrotate's `create` made it, maybe for somebody else to read
        line = next(read_lines(path), b"")
    except FileNotFoundError:  # logrotate renamed it since it was listed
        return None
    except (UnsafeFile, StorageFailed):
        if ".aside-" in path:  # it lay in the log's place, and needn't be a file
            return None
        raise
    try:
        return Segment(path, read_opening(line.removesuffix(b"\n"))) if line else None
    except Broken:
        return Segment(path, None)


@contextmanager
def opened(path: str) -> Iterator[_Lines]:
    """A segment to read, unpacked where it is compressed. Raises StorageFailed, and OSError."""
    with opened_raw(path) as file:
        if path.endswith(".gz"):
            with gzip.GzipFile(fileobj=file) as unzipped:
                yield unzipped
        else:
            yield file


@contextmanager
def opened_raw(path: str) -> Iterator[IO[bytes]]:
    """A segment to read as it is. Raises StorageFailed, and OSError."""
    # O_NONBLOCK: a FIFO must not be waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise StorageFailed(f"{path} is not a regular file")
        yield file


def _rest_of_line(file: _Lines) -> bytes:
    while more := file.readline(MAX_LINE_BYTES):
        if more.endswith(b"\n"):
            return b"\n"
    return b""
