"""A file that is there only once it is whole: for what goes to places that others may own.

Unlike `files`, it doesn't judge the way to the file: whoever calls says where it goes, as with any
copy, and what it holds must be sealed.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import IO

from jarvis_secretsd.daemon import files
from jarvis_secretsd.errors import ConfigurationError


class Draft:
    """A new file, 0600, to be written by `file`. Raises ConfigurationError where it can't be.

    `place` and `discard` must be called as the same user.
    """

    def __init__(self, path: Path, *, replace: bool) -> None:
        self.path = path
        if not replace and os.path.lexists(path):
            raise ConfigurationError((f"{path} is there already; to replace it: --force",))
        self._temporary = files.temporary_name(path.name)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            descriptor = os.open(self._temporary, flags, 0o600, dir_fd=self._directory)
        except OSError as error:
            raise ConfigurationError((f"can't write to {path.parent}: {error.strerror}",)) from None
        self.file: IO[bytes] = os.fdopen(descriptor, "w+b")

    def place(self) -> None:
        """Durably put it at its path; the caller has synced it. Raises StorageFailed."""
        with files.storage_errors(self.path):
            os.rename(
                self._temporary,
                self.path.name,
                src_dir_fd=self._directory,
                dst_dir_fd=self._directory,
            )
            os.fsync(self._directory)

    def close(self) -> None:
        """Close it, and remove it unless it was placed."""
        with suppress(OSError):  # of a disk that is full, which was told
            self.file.close()
        with suppress(OSError):
            os.unlink(self._temporary, dir_fd=self._directory)
        os.close(self._directory)
