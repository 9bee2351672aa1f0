"""One daemon per vault: a lock on a file that is never renamed, held while the process lives."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from jarvis_secretsd.daemon import files
from jarvis_secretsd.errors import AlreadyRunning


class VaultLock:
    """The exclusive right to write a vault and its log (flock(2)). Raises AlreadyRunning."""

    def __init__(self, path: Path) -> None:
        with suppress(FileExistsError):
            files.create_private(path, b"")
        self._descriptor = files.open_private(path, os.O_RDWR)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise AlreadyRunning(
                f"{path} is locked: a daemon or another command works on this vault. "
                "Stop it first (Ctrl-C where it runs, or `systemctl stop jarvis-secretsd`)"
            ) from None

    def release(self) -> None:
        """Let others have it. The file stays."""
        os.close(self._descriptor)
