"""`jarvis-secretsd restart-units`: what jarvis-units.service runs as root after a rotation."""

from __future__ import annotations

import os
import time

import click

from jarvis_secretsd.cli import operator
from jarvis_secretsd.cli.operator import DaemonExit, complain, config_option
from jarvis_secretsd.cli.output import show
from jarvis_secretsd.daemon.app import read_policy
from jarvis_secretsd.daemon.unitmanager import VERBS, ask_systemd
from jarvis_secretsd.daemon.unitqueue import take
from jarvis_secretsd.domain.policy import OnRotation
from jarvis_secretsd.domain.unitrenewal import treatments
from jarvis_secretsd.errors import StartRefused, StorageFailed

SETTLE_SECS = 2.0
"""Secrets that are rotated together make one restart of a unit that has several of them."""

RETRY_SECS = 60.0
"""systemd starts this anew at once while names lie there, and a policy is mended by a person."""


@click.command("restart-units", hidden=True)
@config_option
def restart_units() -> int:
    """Restart or reload the units whose secrets were rotated, as far as the policy says so.

    Which units, the daemon says by files in rotation.units_path; what may be done to them, the
    policy, which must be root's here; while it can't be read they wait. Exit status: 0 done,
    1 systemd refused, 78 the policy can't be read, or it isn't root's.
    """
    time.sleep(SETTLE_SECS)
    config = operator.config()
    try:
        known = treatments(read_policy(config))  # first: what was taken is nowhere else
    except StartRefused as error:
        complain(f"{error.message}; the units wait until the policy can be read")
        time.sleep(RETRY_SECS)
        return DaemonExit.of(error)
    units = _taken(str(config.rotation.units_path))
    for unit in units:
        if unit not in known:
            complain(f"{unit!a}: no client of the policy lists it with on_rotation; left alone")
    status = DaemonExit.OK
    for treatment in OnRotation:
        chosen = [unit for unit in units if known.get(unit) is treatment]
        if chosen:
            show(f"{VERBS[treatment]} {' '.join(chosen)}")
            if not ask_systemd(treatment, chosen):
                complain(f"systemd refused: {VERBS[treatment]} {' '.join(chosen)}")
                status = DaemonExit.FAILURE
    return status


def _taken(directory: str) -> list[str]:
    try:
        return take(directory)
    except OSError as error:
        raise StorageFailed(f"{directory}: {os.strerror(error.errno or 0)}") from None


COMMANDS = (restart_units,)
