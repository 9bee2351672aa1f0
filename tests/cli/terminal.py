"""`jarvis-secrets` as a process of its own, also on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path

PROGRAM = (sys.executable, "-c", "from jarvis_secretsd.cli.user import main; main()")


def spawn(
    *arguments: str, environ: Mapping[str, str] | None = None, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """The command in a process; signals and exit status are those of the real thing."""
    return subprocess.run(
        [*PROGRAM, *arguments],
        env={**os.environ, **(environ or {})},
        input=stdin,
        capture_output=True,
        check=False,
        timeout=20,
    )


def on_terminal(
    *arguments: str,
    typed: bytes = b"",
    columns: int = 80,
    lines: int = 24,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> tuple[int, bytes]:
    """The command on a terminal on which `typed` is typed: its status, and the screen."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (lines, columns))
    # Who leads a session and opens a terminal has it for its own: then its keys are signals.
    process = subprocess.Popen(
        ["/bin/sh", "-c", 'exec "$@" <>"$0" >&0 2>&0', os.ttyname(theirs), *PROGRAM, *arguments],
        env={**os.environ, "TERM": "xterm", **(environ or {})},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=directory,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    for line in typed.splitlines(keepends=True):
        while not shown.rstrip().endswith(b":"):  # a hidden prompt throws away what came before it
            shown += os.read(ours, 1024)
        os.write(ours, line)
        shown += b"\0"
    try:
        while data := os.read(ours, 1024):
            shown += data
    except OSError:  # EIO: the other end is closed (Linux, pty(7))
        pass
    finally:
        os.close(ours)
    return process.wait(20), shown.replace(b"\0", b"")
