"""What is mounted where, as a process sees it (proc_pid_mountinfo(5))."""

from __future__ import annotations

import re
from pathlib import Path

from msgspec import Struct

_ESCAPED = re.compile(r"\\([0-7]{3})")


class Mount(Struct, frozen=True):
    """What of a file system (`root`) is mounted where (`point`); `device` is `MAJOR:MINOR`."""

    device: str
    root: str
    point: str
    is_read_only: bool
    file_system: str


def mounts_of(process: Path) -> tuple[Mount, ...]:
    """What the process of this directory below /proc sees, the last mounted last. Raises OSError.

    Where something is mounted over another, the last is what is seen.
    """
    text = (process / "mountinfo").read_text(errors="surrogateescape")
    return tuple(map(_mount, text.splitlines()))


def _mount(line: str) -> Mount:
    here, _, there = line.partition(" - ")
    _, _, device, root, point, options, *_ = here.split(" ")
    is_read_only = "ro" in options.split(",")
    return Mount(device, _plain(root), _plain(point), is_read_only, there.split(" ")[0])


def _plain(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)
