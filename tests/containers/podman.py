"""Podman, and containers that end with the test that started them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from tests.waiting import wait_until

CONFIGURATION = Path(__file__).with_name("containers.conf")

TIME_LIMIT = 120.0
"""Seconds that any one command may take."""

Done = subprocess.CompletedProcess[str]


def environment() -> dict[str, str]:
    """The environment in which podman works on any machine."""
    return {**os.environ, "CONTAINERS_CONF": str(CONFIGURATION)}


def run(*command: str | Path, check: bool = True, **options: Any) -> Done:
    """Run a command to its end; its output is text. Raises AssertionError where it fails."""
    done: Done = subprocess.run(
        [*map(str, command)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIME_LIMIT,
        **options,
    )
    assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stderr}"
    return done


def podman(*arguments: str | Path, check: bool = True, **options: Any) -> Done:
    """Run podman to its end."""
    return run("podman", *arguments, check=check, **options)


class Container:
    """A container that runs in the background."""

    def __init__(self, *arguments: str | Path) -> None:
        self.id = podman("run", "--detach", *arguments).stdout.strip()

    @property
    def logs(self) -> str:
        """What it has printed so far."""
        done = podman("logs", self.id)
        return done.stdout + done.stderr

    def exec(self, *command: str, user: str = "", client: str = "", check: bool = True) -> Done:
        """Run a command in it, as its user or another, and as a client of the daemon."""
        options = [f"--user={user}"] if user else []
        options += [f"--env=JARVIS_CLIENT_ID={client}"] if client else []
        return podman("exec", *options, self.id, *command, check=check)

    def healthy(self) -> bool:
        """What its image's health check says, run now."""
        return podman("healthcheck", "run", self.id, check=False).returncode == 0

    def inspect(self, template: str) -> str:
        """What podman-inspect(1) says."""
        return podman("inspect", "--format", template, self.id).stdout.strip()

    def kill(self, signal: str) -> None:
        """Send its first process a signal."""
        podman("kill", "--signal", signal, self.id)

    def stop(self) -> int:
        """End it as `docker stop` would; the exit status of its first process."""
        podman("stop", self.id)
        return int(self.inspect("{{.State.ExitCode}}"))

    def restart(self) -> None:
        """Stop it and start it again."""
        podman("restart", self.id)

    def remove(self) -> None:
        """Nothing stays of it. What it had mounted may be busy for a moment more."""
        command = ("rm", "--force", "--ignore", "--time=0", self.id)
        wait_until(lambda: podman(*command, check=False).returncode == 0, "it is removed")
