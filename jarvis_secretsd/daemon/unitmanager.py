"""Asks systemd to restart or reload units, as root: systemctl(1)."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from jarvis_secretsd.domain.policy import OnRotation

SYSTEMCTL = "systemctl"

VERBS: Mapping[OnRotation, str] = {
    OnRotation.RESTART: "try-restart",
    OnRotation.RELOAD: "try-reload-or-restart",
}
"""Both leave a unit alone that doesn't run."""

TIMEOUT_SECS = 60.0
"""To take a job into its queue is a moment's work for systemd."""


def ask_systemd(treatment: OnRotation, units: Sequence[str]) -> bool:
    """Have systemd do it, without waiting for that; True if it took it. It says what is wrong.

    systemd makes one job of two for the same unit, unless the first has begun to start it again.
    """
    command = [SYSTEMCTL, "--no-block", "--no-ask-password", VERBS[treatment], "--", *units]
    try:
        done = subprocess.run(command, check=False, timeout=TIMEOUT_SECS)  # noqa: S603 - systemctl, and units that the policy lists
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
