"""Programs for `run` to start, with and without `--watch`, and what must hold of them in both."""

from __future__ import annotations

import ast
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO

PYTHON = (sys.executable, "-I", "-S", "-c")

LIMIT = 20.0
"""Seconds until a program counts as hung."""

SIGNALS = ("HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "WINCH", "CONT")

COUNT = f"""
import os, signal, sys
def say(number, frame): os.write(1, signal.Signals(number).name.encode() + b"\\n")
for name in {SIGNALS!r}: signal.signal(getattr(signal, "SIG" + name), say)
print("ready", flush=True)
for line in sys.stdin: print(line.strip(), flush=True)
sys.exit(9)
"""

ON_A_TERMINAL = """
import os, signal, sys
def say(number, frame): os.write(1, b"interrupted\\n")
signal.signal(signal.SIGINT, say)
print("ready", [os.isatty(fd) for fd in range(3)], os.tcgetpgrp(0) == os.getpgrp(), flush=True)
print("got", sys.stdin.readline(), flush=True)
sys.exit(9)
"""

_STATE = """
import os
status = open("/proc/self/status").read().splitlines()
print([line for line in status if line.split(":")[0] in ("SigBlk", "SigIgn", "Umask")])
print(sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
             if os.path.exists(f"/proc/self/fd/{fd}")))
print(os.getcwd(), os.getpid() == os.getsid(0), os.getpriority(os.PRIO_PROCESS, 0))
"""

_PREPARE = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)
for number in (signal.SIGPIPE, signal.SIGXFSZ): signal.signal(number, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGCHLD])
os.umask(0o27)
os.nice(1)
os.execv(sys.argv[1], sys.argv[1:])
"""


def heard(process: subprocess.Popen[bytes]) -> bytes:
    """The next line that the program says."""
    assert process.stdout
    assert select.select([process.stdout], [], [], LIMIT)[0]
    return process.stdout.readline()


def shown_until(screen: IO[bytes], text: bytes) -> bytes:
    """What the terminal shows up to the end of the line that has this text."""
    shown = b""
    while text not in shown or not shown.endswith(b"\n"):
        assert select.select([screen], [], [], LIMIT)[0], shown
        shown += screen.read(1024)
    return shown


@contextmanager
def on_a_terminal(
    environ: Mapping[str, str], *command: str
) -> Iterator[tuple[IO[bytes], subprocess.Popen[bytes]]]:
    """A command that leads the session of a terminal; the screen, and its process."""
    ours, theirs = pty.openpty()
    with (
        open(ours, "r+b", buffering=0) as screen,
        subprocess.Popen(
            ["setsid", "--ctty", *command],
            env={**environ, "TERM": "dumb", "PS1": "> "},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        ) as process,
    ):
        os.close(theirs)
        try:
            yield screen, process
        finally:
            process.kill()


def assert_every_signal_arrives(process: subprocess.Popen[bytes]) -> None:
    """What is sent to a process with `COUNT` in it comes once, the second time like the first."""
    for name in SIGNALS * 2:
        number = signal.Signals[f"SIG{name}"]
        process.send_signal(number)
        assert heard(process) == f"{number.name}\n".encode()
    assert process.stdin
    process.stdin.write(b"done\n")
    assert heard(process) == b"done\n"  # and no signal came twice
    process.stdin.close()
    assert process.wait(LIMIT) == 9


def assert_has_the_terminal(environ: Mapping[str, str], *command: str) -> None:
    """A program under this command is in the foreground; Ctrl-C reaches it, once."""
    with on_a_terminal(environ, *command, *PYTHON, ON_A_TERMINAL) as (screen, process):
        assert b"ready [True, True, True] True" in shown_until(screen, b"ready")
        screen.write(b"\x03")
        shown_until(screen, b"interrupted")
        screen.write(b"hello\n")
        assert b"interrupted" not in shown_until(screen, b"got hello")
        assert process.wait(LIMIT) == 9


def assert_passes_on_what_it_inherits(environ: Mapping[str, str], *command: str) -> None:
    """A program under this command has the state of one that is started without it."""
    reading, writing = os.pipe()
    try:
        direct, through = (
            subprocess.run(
                [*PYTHON, _PREPARE, *prefix, *PYTHON, _STATE],
                env=environ,
                pass_fds=(reading,),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=True,
                cwd="/",
                timeout=LIMIT,
            ).stdout
            for prefix in ((), command)
        )
    finally:
        os.close(reading)
        os.close(writing)
    assert b"pipe:" in direct
    assert b"socket:" not in through
    assert _without_numbers(direct) == _without_numbers(through)


def _without_numbers(shown: bytes) -> list[str]:
    """What was printed, without the numbers of the two pipes that each run has of its own."""
    lines = shown.decode().splitlines()
    kinds = [path.partition(":[")[0] for path in ast.literal_eval(lines[1])]
    return [lines[0], *kinds, lines[2]]
