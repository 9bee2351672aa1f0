"""A vault's new file, made beside the old one in pieces, so that the old one can go on serving."""

from __future__ import annotations

import os
from collections.abc import Iterable

from jarvis_secretsd.daemon import files
from jarvis_secretsd.daemon.keys import DataKey
from jarvis_secretsd.daemon.vaultlines import Header, RecordChain, encode

SYNC_BYTES = 1024 * 1024
"""Synced at once: a disk takes this in milliseconds, and at the end little is left to wait for."""

WRITE_BYTES = 256 * 1024


class Rewriting:
    """`head` is where the new file ends; `appended` waits for what the old file took meanwhile.

    It is sealed, and its header is authenticated, under `data_key`.
    """

    def __init__(self, path: str, header: Header, data_key: DataKey) -> None:
        self.data_key = data_key
        self.header = header.authenticated(data_key)
        self.chain = RecordChain(self.header, data_key)
        self.head = self.chain.start
        self.appended: list[tuple[int, bytes]] = []
        self._path = path
        first = encode(self.header) + b"\n"
        self._descriptor, self._temporary = files.begin_private(path, (first,))
        self._unsynced = 0

    def add(self, records: Iterable[tuple[int, bytes]]) -> None:
        """Seal and write these records (number, payload). Raises StorageFull, StorageFailed."""
        lines, size = [], 0
        for seq, payload in records:
            self.head, line = self.chain.seal(self.head, payload, seq)
            lines.append(line + b"\n")
            size += len(line)
            if size >= WRITE_BYTES:
                self._write(b"".join(lines))
                lines, size = [], 0
        self._write(b"".join(lines))

    def forget_after(self, seq: int) -> None:
        """The old file took back all behind this number."""
        self.appended = [each for each in self.appended if each[0] <= seq]

    def take_place(self, least_seq: int) -> int:
        """The descriptor of the new file, durably in the old one's place.

        Raises ValueError if it ends before this number or before the header's `compacted_to`, and
        StorageFull, StorageFailed; then the old file stands. SyncFailed: nothing is known.
        """
        least_seq = max(least_seq, self.header.compacted_to)
        if self.head.seq < least_seq:
            raise ValueError(f"the last record is {self.head.seq}, before {least_seq}")
        with files.storage_errors(self._path):
            os.fsync(self._descriptor)
        files.take_place(self._path, self._temporary)
        return self._descriptor

    def give_up(self) -> None:
        """Remove the new file."""
        files.give_up(self._path, self._descriptor, self._temporary)

    def _write(self, data: bytes) -> None:
        with files.storage_errors(self._path):
            files.write_all(self._descriptor, data)
            self._unsynced += len(data)
            if self._unsynced >= SYNC_BYTES:
                os.fdatasync(self._descriptor)
                self._unsynced = 0
