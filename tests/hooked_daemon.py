"""A daemon with a hook that is a script of a few lines, and what became of a rotation."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

from tests.daemon_process import DaemonProcess
from tests.e2e.callers import Caller
from tests.waiting import wait_until

PREFIX = "jarvis_secretsd_"

SCRIPT = """\
#!/bin/sh
asked=$(cat)
case $asked in
*'"action":"rotate"'*)
{rotate}
;;
*)
{verify}
;;
esac
"""


def give_hook(
    daemon: DaemonProcess, *, rotate: str = "exit 0", verify: str = "exit 1", timeout_secs: int = 30
) -> Path:
    """Let a script be the hook of `db_*`: these commands, with $asked, what it was told."""
    program = daemon.directory / "hook"
    set_command(daemon, [str(program)], timeout_secs=timeout_secs)
    temporary = daemon.directory / "hook.new"  # one that runs can't be written to
    temporary.write_text(SCRIPT.format(rotate=rotate, verify=verify))
    temporary.chmod(0o755)
    temporary.rename(program)
    return program


def set_command(daemon: DaemonProcess, command: list[str], *, timeout_secs: int = 30) -> None:
    """Configure the hook of `db_*`, for the daemon's next start; it logs all that it can."""
    hook: dict[str, str | int | bool | list[str]] = {
        "pattern": "db_*",
        "command": command,
        "timeout_secs": timeout_secs,
    }
    daemon.configure({"logging": {"level": "trace"}, "[hooks]": hook})


class Watcher:
    """An admin who rotates secrets and looks what comes of it."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self._daemon = daemon

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """The result, or the error's members with its code."""
        with Caller(self._daemon) as caller:
            return caller.ask(op, **fields).body

    def put(self, name: str, value: str) -> str:
        """Put it, and return its kid."""
        return str(self.ask("put", name=name, value=value)["kid"])

    def value(self, name: str, **fields: str) -> str | None:
        """What `get` gives; None: an error."""
        found = self.ask("get", name=name, **fields).get("value")
        return None if found is None else str(found)

    def state(self, name: str) -> str:
        """What `list` says."""
        (listed,) = [each for each in self.ask("list")["secrets"] if each["name"] == name]
        return str(listed["state"])

    def kids(self, name: str) -> dict[str, str]:
        """The kid of each state that a version is in."""
        versions = self.ask("versions", name=name)["versions"]
        return {each["state"]: each["kid"] for each in versions}

    def metric(self, name: str) -> float:
        """This gauge of ours."""
        with urllib.request.urlopen(f"{self._daemon.url}/metrics") as page:
            lines = page.read().decode().splitlines()
        return next(float(each.split()[1]) for each in lines if each.startswith(f"{PREFIX}{name} "))

    def rotate(self, name: str) -> str:
        """Rotate it and wait until that is settled, one way or the other; the state then."""
        answer = self.ask("rotate", names=[name])
        assert answer["pending"] == [name], answer
        return self.settled(name)

    def settled(self, name: str) -> str:
        """Wait until nothing is pending; the state then."""
        wait_until(lambda: self.state(name) != "pending")
        return self.state(name)


def told(path: Path) -> dict[str, Any]:
    """What a hook wrote down of what it was asked."""
    wait_until(lambda: path.exists() and path.read_text().endswith("}"))
    found: dict[str, Any] = json.loads(path.read_text())
    return found
