"""`jarvis-secrets lock` and `unlock`: nothing leaves the vault, until somebody says so."""

from __future__ import annotations

import click

from jarvis_secretsd import messages as m
from jarvis_secretsd.cli.options import connect, settings, shared_options
from jarvis_secretsd.cli.output import moment, remark, show, show_json


@click.command()
@shared_options
def lock() -> None:
    """Have the daemon release no secret and sign no token until `unlock`, also after a restart.

    Who watches is told nothing meanwhile, and the clock rotates nothing. Values can still be put
    and rotated. What programs have already, they keep.
    """
    status = _ask(m.Lock())
    if not settings().json and status.since is not None:
        show(f"locked since {moment(status.since)}: nothing is released")
        remark("to release again what the policy allows: jarvis-secrets unlock")


@click.command()
@shared_options
def unlock() -> None:
    """Have the daemon release again what the policy allows."""
    _ask(m.Unlock())
    if not settings().json:
        show("unlocked: what the policy allows is released")


def _ask(operation: m.Lock | m.Unlock) -> m.LockStatus:
    with connect() as client:
        status = client.ask(operation, m.LockStatus)
    if settings().json:
        show_json(status)
    return status


COMMANDS = (lock, unlock)
"""The commands of this module."""
