"""What the figures of a benchmark depend on."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

HERE = Path(__file__).parent


def describe(scratch: Path) -> str:
    """The commit, the machine, and where the state lies. On a tmpfs a sync costs nothing."""
    commit = _said_by("git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=12")
    filesystem = _said_by("stat", "--file-system", "--format=%T", str(scratch))
    load = " ".join(f"{average:.1f}" for average in os.getloadavg())
    return (
        f"commit {commit}, Python {platform.python_version()}, Linux {platform.release()}, "
        f"{os.cpu_count()} CPUs,\nstate on {filesystem}, load average before: {load}"
    )


def _said_by(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
