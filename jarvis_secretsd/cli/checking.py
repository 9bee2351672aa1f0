"""`jarvis-secretsd check`: every problem at once, each with its remedy."""

from __future__ import annotations

import os

import click
import msgspec

from jarvis_secretsd.cli import operator
from jarvis_secretsd.cli.operator import DaemonExit, config_option, dev_option
from jarvis_secretsd.cli.output import counted, show
from jarvis_secretsd.daemon.inspection import Inspection, inspect, inspect_config


@click.command()
@config_option
@dev_option
@click.option("--json", "as_json", is_flag=True, help="Print what was found as one JSON object.")
def check(as_json: bool) -> int:
    """Check configuration, policy, files and permissions, and change nothing.

    Root checks as the owner of the state directory. Exit status: 0 fine, warnings or not; 78 when
    something must be mended before the daemon can start.
    """
    if operator.source().dev:
        found = inspect_config(operator.config())
    else:
        found = inspect(operator.source().path, os.environ)
    if as_json:
        show(msgspec.json.encode(found).decode())
    else:
        show(*_lines(found))
    return DaemonExit.MUST_MEND if found.errors else DaemonExit.OK


_RUNNING = {
    True: "the daemon is running",
    False: "the daemon is not running",
    None: "whether the daemon is running can't be told without its paths",
}


def _lines(found: Inspection) -> list[str]:
    errors, warnings = counted(len(found.errors), "error"), counted(len(found.warnings), "warning")
    return [
        f"checked as {found.user}; {_RUNNING[found.running]}",
        *(f"error: {text}" for text in found.errors),
        *(f"warning: {text}" for text in found.warnings),
        *(f"note: {text}" for text in found.notes),
        f"{'must be mended' if found.errors else 'fine'}: {errors}, {warnings}",
    ]


COMMANDS = (check,)
