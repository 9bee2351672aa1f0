"""`jarvis-secretsd doctor`: what `check` says, and what surrounds the daemon."""

from __future__ import annotations

import os

import click
import msgspec

from jarvis_secretsd.cli import operator
from jarvis_secretsd.cli.operator import DaemonExit, config_option, dev_option
from jarvis_secretsd.cli.output import counted, show
from jarvis_secretsd.daemon.doctor import Diagnosis, Level, examine


@click.command()
@config_option
@dev_option
@click.option("--json", "as_json", is_flag=True, help="Print what was found as one JSON object.")
def doctor(as_json: bool) -> int:
    """Look at the daemon and all that surrounds it, and change nothing.

    What `check` looks at; the running daemon, its limits and its last backup; clock, swap and disk;
    files that lie open; containers that have the socket. Root sees most. Exit status: 0 well,
    warnings or not; 78 when something must be mended.
    """
    source = operator.source()
    if source.dev:
        found = examine(None, os.environ, operator.config())
    else:
        found = examine(source.path, os.environ, None)
    if as_json:
        show(msgspec.json.encode(found).decode())
    else:
        show(*map(str, found.symptoms), _sum(found))
    return DaemonExit.MUST_MEND if found.count(Level.FAULT) else DaemonExit.OK


def _sum(found: Diagnosis) -> str:
    faults, warnings = found.count(Level.FAULT), found.count(Level.WARNING)
    verdict = "must be mended" if faults else "well"
    return f"{verdict}: {counted(faults, 'fault')}, {counted(warnings, 'warning')}"


COMMANDS = (doctor,)
