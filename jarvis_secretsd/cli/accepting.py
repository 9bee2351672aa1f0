"""`jarvis-secretsd accept-state`: the override of a start that was refused, on record."""

from __future__ import annotations

import sys

import click

from jarvis_secretsd.cli import operator
from jarvis_secretsd.cli.offline import at_the_state, bring, opened
from jarvis_secretsd.cli.operator import config_option, dev_option
from jarvis_secretsd.cli.output import show
from jarvis_secretsd.daemon.config import Config
from jarvis_secretsd.daemon.heads import write_heads
from jarvis_secretsd.daemon.keys import Opener
from jarvis_secretsd.errors import ConfigurationError, StateRefused


@click.command(name="accept-state")
@config_option
@dev_option
@click.option("--yes", is_flag=True, help="Don't ask. Needed where there is no terminal.")
@click.option("--with-recovery-code", is_flag=True, help="Open the vault with the recovery code.")
def accept_state(yes: bool, with_recovery_code: bool) -> None:
    """Take vault, audit log and heads as they are, though they contradict each other.

    What is missing is lost. The audit log will say that the state was accepted, and why that was
    needed.
    """
    with at_the_state() as config:
        opener = bring(config, with_recovery_code=with_recovery_code)
        found = _contradiction(config, opener)
        if found is None:
            show("vault, audit log and heads agree: there is nothing to accept")
            return
        operator.remark(found)
        _confirm(yes=yes)
        with opened(config, lambda: opener, accept=True) as (state, _):
            write_heads(config.paths.heads_path, state.heads(state.time), state.vault_file.data_key)
            end, entry = state.vault_file.head.seq, state.audit.signed_head.seq
    show(f"accepted: the vault ends at record {end}, the audit log at entry {entry}, which says so")


def _contradiction(config: Config, opener: Opener) -> str | None:
    """Why a start is refused, if it is."""
    try:
        with opened(config, lambda: opener):
            return None
    except StateRefused as refusal:
        return refusal.message


def _confirm(*, yes: bool) -> None:
    """Raises ConfigurationError without a yes, click.Abort for a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigurationError(("nothing was accepted; to accept it without a terminal: --yes",))
    click.confirm("Take the state as it is?", abort=True, err=True)
