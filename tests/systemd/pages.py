"""The commands of a page, typed as they stand in it by a person who may use sudo."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tests.fences import fenced
from tests.systemd.host import TREE

ADMIN = "enzo"
"""Whom the pages' policies name."""

LIMIT = 120.0
"""Seconds that the commands of one section may take."""


class Page:
    """A document of the project, by its headings (of the second level)."""

    def __init__(self, name: str) -> None:
        self.text = (TREE / "docs" / name).read_text()
        sections = re.split(r"^## ", self.text, flags=re.MULTILINE)[1:]
        self._sections = {
            heading: rest for heading, _, rest in (s.partition("\n") for s in sections)
        }

    @property
    def headings(self) -> tuple[str, ...]:
        """Every section that has commands, in their order."""
        return tuple(heading for heading in self._sections if self.commands(heading))

    def commands(self, heading: str) -> str:
        """All commands of this section, as they stand there."""
        return "".join(self.blocks(heading, "sh"))

    def blocks(self, heading: str, language: str) -> list[str]:
        """The blocks of this section that are in this language."""
        return fenced(self._sections[heading], language)


def add_admin() -> None:
    """A person who may use sudo without a password."""
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", ADMIN], check=False)
    rule = Path(f"/etc/sudoers.d/{ADMIN}")
    rule.write_text(f"{ADMIN} ALL=(ALL) NOPASSWD: ALL\n")
    rule.chmod(0o440)


def typed(commands: str, answers: Mapping[str, str] | None = None, directory: str = "~") -> str:
    """What a terminal shows while the admin types these commands, each of which must succeed.

    `answers` has what is typed after a prompt. Raises AssertionError with all that was shown.
    """
    script = Path("/tmp/typed.sh")
    script.write_text(f"set -eo pipefail; cd {directory}\n{commands}")
    script.chmod(0o644)
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    command = f'exec sudo --login --user={ADMIN} bash -l "$0" <>"$1" >&0 2>&0'
    process = subprocess.Popen(
        ["/bin/sh", "-c", command, str(script), os.ttyname(theirs)],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "TERM": "xterm", "LANG": "C.UTF-8"},
        start_new_session=True,
    )
    shown = _converse(process, ours, dict(answers or {}))
    os.close(theirs)
    os.close(ours)
    assert process.returncode == 0, f"{commands}\n=> {process.returncode}\n{shown}"
    return shown


def _converse(process: subprocess.Popen[bytes], terminal: int, answers: dict[str, str]) -> str:
    """Answer each prompt once it is shown, until the process has ended."""
    shown, unanswered = "", ""
    deadline = time.monotonic() + LIMIT
    while True:
        is_over = process.poll() is not None
        try:
            new = os.read(terminal, 65536).decode(errors="replace")
        except BlockingIOError:
            if is_over:
                return shown.replace("\r\n", "\n")
            assert time.monotonic() < deadline, f"no end:\n{shown}"
            time.sleep(0.05)
            continue
        shown, unanswered = shown + new, unanswered + new
        for prompt, answer in answers.items():
            if unanswered.endswith(prompt):
                os.write(terminal, f"{answer}\n".encode())
                unanswered = ""
