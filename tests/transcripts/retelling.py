"""Telling a transcript again: its commands run, and the file as it would be written now.

A file is a row of steps with a blank line between. A step is `# prose`, a `$ command` whose further
lines begin with `> `, what the command prints, and `? 4` where its exit status isn't 0.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import termios
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

LIMIT = "60"
"""Seconds until the commands of a file count as hung."""

_BETWEEN_STEPS = re.compile(r"\n\n(?=[#$])")
_ASKED = re.compile(r"(?:#.*\n)*\$ (.*(?:\n>(?: .*)?$)*)", re.MULTILINE)
_MARK = "\x1e"
"""Stands after what a command printed, and after its exit status."""


class Printed(NamedTuple):
    """What a command printed, and its exit status."""

    text: str
    status: int


Session = Callable[[Sequence[str]], Sequence[Printed]]
"""Runs commands in order, the later ones with what the earlier ones left."""


def retold(text: str, run: Session) -> str:
    """The file with what its commands print now. Raises ValueError where that is ambiguous."""
    steps = _steps(text)
    printed = run([re.sub(r"\n> ?", "\n", step[1]) for step in steps])
    told = "\n".join(_told(step[0], each) for step, each in zip(steps, printed, strict=True))
    if [step[0] for step in _steps(told)] != [step[0] for step in steps]:
        raise ValueError("what a command prints reads like a step")
    return told


def _told(asked: str, printed: Printed) -> str:
    """One step. As diff does, it says where a last line doesn't end."""
    text = re.sub(r" +$", "", printed.text, flags=re.MULTILINE)
    end = "" if text.endswith("\n") or not text else "\n\\ no newline at the end\n"
    return f"{asked}\n{text}{end}" + (f"? {printed.status}\n" if printed.status else "")


def _steps(text: str) -> list[re.Match[str]]:
    """What each step asks: group 0 is its prose and command, group 1 the command alone."""
    return [_asked(step) for step in _BETWEEN_STEPS.split(text)]


def _asked(step: str) -> re.Match[str]:
    found = _ASKED.match(step)
    if found is None:
        raise ValueError(f"this step has no command: {step!r}")
    return found


class Terminal:
    """One session of a shell in a directory, on a terminal that is wide and without colours.

    Wide, because messages that hold a path of any length would be broken anywhere; tables and help
    keep to 80 columns.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        self._environment = {
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "TERM": "dumb",
            "COLUMNS": "80",
            "LINES": "1000",
            **environment,
        }

    def __call__(self, commands: Sequence[str]) -> Sequence[Printed]:
        """What each command prints, as a person would see it."""
        script = "".join(f"{command}\nprintf '{_MARK}%d{_MARK}' $?\n" for command in commands)
        pieces = self._screen(script).split(_MARK)
        return [*map(Printed, pieces[:-1:2], map(int, pieces[1::2]))]

    def _screen(self, script: str) -> str:
        """All that the script prints."""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (1000, 1000))
        attributes = termios.tcgetattr(theirs)
        attributes[1] &= ~termios.OPOST  # or every line would end in \r\n
        termios.tcsetattr(theirs, termios.TCSANOW, attributes)
        process = subprocess.Popen(
            ["timeout", LIMIT, "sh", "-c", script],
            cwd=self._directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        screen = b"".join(_pieces(ours)).decode()
        if process.wait():
            raise AssertionError(f"the shell ended with {process.returncode} after: {screen}")
        return screen


def _pieces(terminal: int) -> Iterator[bytes]:
    try:
        while piece := os.read(terminal, 65536):
            yield piece
    except OSError:  # EIO: nobody has the other end any more (pty(7))
        pass
    finally:
        os.close(terminal)
