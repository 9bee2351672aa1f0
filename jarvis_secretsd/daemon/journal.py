"""A durable append-only file of lines. Vault and audit log both rest on it.

An append is whole or it didn't happen. Whoever moves, cuts or exchanges the file under its path
is noticed by `displaced()`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Self

from jarvis_secretsd.daemon import files
from jarvis_secretsd.errors import StateRefused, StorageFull, SyncFailed

MAX_LINE_BYTES = 4 * 1024 * 1024
"""The largest value, sealed and in base64, fits several times; what has no end isn't a line."""

_CHUNK = 256 * 1024


class Journal:
    """An open journal: `path`, and `size`, the bytes that we wrote or found there.

    Who has just written the file says its size: it may have been cut since.
    """

    def __init__(self, path: files.AnyPath, descriptor: int, size: int | None = None) -> None:
        self.path = os.fspath(path)
        self._adopt(descriptor)
        if size is not None:
            self.size = size

    @classmethod
    def open(cls, path: files.AnyPath, *, create: bool = False) -> Self:
        """The journal at this path; `create` makes a new one, 0600, where nothing may be.

        Raises FileNotFoundError, FileExistsError, UnsafeFile, StorageFull, StorageFailed.
        """
        if create:
            files.create_private(path, b"")
        return cls(path, files.open_private(path, os.O_RDWR | os.O_APPEND))

    def append(self, data: bytes) -> None:
        """Add these bytes, all or none. Not durable before `sync()`.

        Raises StorageFull or StorageFailed with nothing left behind, SyncFailed if what was left
        behind can't be taken back.
        """
        try:
            written = os.write(self._descriptor, data)
        except OSError as error:
            self.rewind(self.size)
            raise files.storage_error(self.path, error) from error
        if written != len(data):
            self.rewind(self.size)
            raise StorageFull(f"{self.path}: took {written} of {len(data)} bytes; make room")
        self.size += written

    def sync(self) -> None:
        """Make all that was appended durable. SyncFailed means that nothing is known any more."""
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise SyncFailed(f"{self.path}: sync failed: {_reason(error)}") from error

    def rewind(self, size: int) -> None:
        """Durably take back all after the first `size` bytes. Raises SyncFailed."""
        try:
            # A file that someone else cut must not be filled up with NUL bytes.
            if os.fstat(self._descriptor).st_size > size:
                os.ftruncate(self._descriptor, size)
                os.fdatasync(self._descriptor)
        except OSError as error:
            raise SyncFailed(f"{self.path}: can't take back a write: {_reason(error)}") from error
        self.size = size

    def lines(self) -> Iterator[tuple[int, bytes]]:
        r"""Each line without its `\n`, and the offset where it starts.

        Lines end at `\n` only. A last line without one, which only a crash leaves, is given too: it
        ends at `size`. Raises StateRefused over 4 MiB a line.
        """
        start, rest = 0, b""
        while data := self.read(start + len(rest), _CHUNK):
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield start, line
                start += len(line) + 1
            if len(rest) > MAX_LINE_BYTES:
                raise StateRefused(f"{self.path}: the line at byte {start} has no end")
        if rest:
            yield start, rest

    def lines_backward(self) -> Iterator[bytes]:
        r"""What follows the last `\n`, and then the lines from the last to the first."""
        end, rest = self.size, b""
        while end:
            start = max(0, end - _CHUNK)
            first, *whole = (self.read(start, end - start) + rest).split(b"\n")
            yield from reversed(whole)
            end, rest = start, first
        yield rest

    def read(self, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset` on, never past `size`. Raises StorageFailed."""
        with files.storage_errors(self.path):
            return os.pread(self._descriptor, max(0, min(length, self.size - offset)), offset)

    def tail(self, length: int) -> bytes:
        """The last `length` bytes, or all of them."""
        return self.read(max(0, self.size - length), length)

    def chunks(self, offset: int) -> Iterator[bytes]:
        """All bytes from `offset` to the file's end, past `size` too, where others wrote."""
        with files.storage_errors(self.path):
            while data := os.pread(self._descriptor, _CHUNK, offset):
                yield data
                offset += len(data)

    def displaced(self) -> str | None:
        """What happened to the file under its path, or None: it is there, ours, and as we left it.

        "moved", "deleted", "replaced", "linked" (it has a second name), "truncated" or "grown".
        """
        try:
            there = os.stat(self.path, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return "moved" if os.fstat(self._descriptor).st_nlink else "deleted"
        except OSError as error:
            raise files.storage_error(self.path, error) from error
        if (there.st_ino, there.st_dev) != self._identity:
            return "replaced"
        if there.st_nlink != 1:
            return "linked"
        if there.st_size == self.size:
            return None
        return "truncated" if there.st_size < self.size else "grown"

    def replace(self, chunks: Iterable[bytes]) -> None:
        """Put a new file with these bytes at the path and go on with it; durable on return.

        Raises StorageFull or StorageFailed, and then the old file is untouched, or SyncFailed.
        """
        self.adopt(files.replace_chunks(self.path, chunks))

    def adopt(self, descriptor: int) -> None:
        """Go on with the file that has taken the place of ours."""
        os.close(self._descriptor)
        self._adopt(descriptor)

    def drop_cache(self) -> None:
        """Have the next reads come from the disk: after a failed sync the cache may lie."""
        with files.storage_errors(self.path):
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Close the file. It isn't synced."""
        os.close(self._descriptor)

    def _adopt(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        self._descriptor = descriptor
        self._identity = (found.st_ino, found.st_dev)
        self.size = found.st_size


def _reason(error: OSError) -> str:
    return os.strerror(error.errno or 0)
