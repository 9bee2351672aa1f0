"""Lending a text to a person's editor: where its file lies, and how the editor is run."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from jarvis_secretsd.cli.ending import ending_late, handling
from jarvis_secretsd.cli.exits import Refused

IN_MEMORY = "/dev/shm"  # noqa: S108  # only a fresh directory of our own in it is used
"""A tmpfs on every Linux (shm_overview(7))."""

EDITORS = ("sensible-editor", "vi", "nano")
"""Tried in this order where neither VISUAL nor EDITOR says one."""

KEYS = (signal.SIGINT, signal.SIGQUIT)
"""On the terminal they are the editor's while it runs, as for a shell."""


@contextmanager
def private_directory() -> Iterator[Path]:
    """A directory in memory for us alone, gone afterwards whatever happens, but for SIGKILL.

    An editor's backup and swap files lie in it as well. Raises Refused where there is no memory to
    have it in.
    """
    bases = filter(None, (os.environ.get("XDG_RUNTIME_DIR"), IN_MEMORY))
    base = next((base for base in bases if os.access(base, os.W_OK | os.X_OK)), None)
    if base is None:
        raise Refused(f"neither XDG_RUNTIME_DIR nor {IN_MEMORY} can be written; use `put`")
    with ending_late():
        directory = Path(tempfile.mkdtemp(prefix="jarvis-edit-", dir=base))
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def run_editor(file: Path) -> float:
    """Let a person change the file; seconds that it took. Raises Refused where the editor fails."""
    command, started = [*_editor(), str(file)], monotonic()
    try:
        with handling(KEYS, signal.SIG_IGN):
            status = _wait(os.posix_spawnp(command[0], command, os.environ, setsigdef=KEYS))
    except OSError as error:
        raise Refused(f"can't run the editor {command[0]}: {error.strerror}") from None
    if status != 0:
        how = f"signal {-status}" if status < 0 else f"status {status}"
        raise Refused(f"{command[0]} ended with {how}; nothing was stored")
    return monotonic() - started


def _wait(editor: int) -> int:
    """How the editor ends; if we are to end first, it is to end too."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(editor, 0)[1])
    except KeyboardInterrupt:
        os.kill(editor, signal.SIGTERM)
        os.waitpid(editor, 0)
        raise


def _editor() -> list[str]:
    said = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if said:
        return _words(said)
    found = next(filter(shutil.which, EDITORS), None)
    if found is None:
        raise Refused("no editor was found; name yours in EDITOR")
    return [found]


def _words(said: str) -> list[str]:
    try:
        words = shlex.split(said)
    except ValueError:
        words = []
    if not words:
        raise Refused(f"{said!r} is no command; VISUAL or EDITOR names the editor")
    return words
