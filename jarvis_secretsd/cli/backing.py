"""`jarvis-secretsd backup`: from a running daemon or a stopped one, and proven at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

from jarvis_secretsd import messages as m
from jarvis_secretsd.cli import operator
from jarvis_secretsd.cli.exits import explain
from jarvis_secretsd.cli.offline import at_the_state, bring, opened
from jarvis_secretsd.cli.operator import config_option, dev_option
from jarvis_secretsd.cli.output import counted, moment, show
from jarvis_secretsd.client import DaemonUnreachable, SecretsClient, SecretsClientError
from jarvis_secretsd.daemon.backup import Sources, witness_backup, write_backup
from jarvis_secretsd.daemon.bundle import Bundle
from jarvis_secretsd.daemon.config import Config
from jarvis_secretsd.daemon.draft import Draft
from jarvis_secretsd.daemon.keys import Opener
from jarvis_secretsd.daemon.proving import Proven, prove
from jarvis_secretsd.domain.policy import ROOT
from jarvis_secretsd.errors import AlreadyRunning, ConfigurationError

TIMEOUT = 30.0
"""Seconds that the daemon may take over an answer: a backup is taken while others work it hard."""

Ask = Callable[[str | None], m.AuditHeadStatus]
"""Asks where the log ends; with a digest, has it said that this backup was taken."""


@click.command(name="backup")
@config_option
@dev_option
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.option("--older-logs", is_flag=True, help="With all rotated segments of the audit log.")
@click.option("--with-recovery-code", is_flag=True, help="Open the vault with the code.")
@click.option("--client", metavar="ID", help="Whom to be to the daemon [its own user].")
def backup_command(
    file: Path, force: bool, older_logs: bool, with_recovery_code: bool, client: str | None
) -> None:
    """Back up vault, audit log and their keys, sealed, in one file; the daemon may run.

    FILE may be a directory: the file in it is named by host and time. What was written is opened
    and verified before it is in its place. The master key isn't in it.
    """
    with closing(Draft(_target(file), replace=force)) as draft:
        with at_the_state() as config:
            opener = bring(config, with_recovery_code=with_recovery_code)
            path = None if operator.source().dev else operator.source().path
            sources = Sources(config, path, older_logs)
            with _asking(config, opener, client) as ask:
                write_backup(draft, sources, opener, lambda: ask(None), datetime.now(UTC))
            proven = prove(Bundle(draft.file, str(draft.path)), opener)
        draft.place()
    with at_the_state() as config, _asking(config, opener, client) as ask:
        ask(proven.digest)
    show(f"backed up and proven: {draft.path}", *held(proven))
    operator.remark(
        f"the master key isn't in it. Without {_key(config)}, or another key of a slot, it opens "
        "for nobody: keep that elsewhere"
    )


def held(proven: Proven) -> tuple[str, ...]:
    """What a backup holds, a line for each thing."""
    manifest, report = proven.manifest, proven.report
    locked = "; locked" if proven.vault.lock else ""
    return (
        f"taken: {moment(manifest.time)} on {manifest.host}, by version {manifest.program}",
        f"sha256: {proven.digest}",
        f"vault: {counted(proven.vault.live_count, 'secret')}, up to record {manifest.vault.seq}, "
        f"id {manifest.vault_id}{locked}",
        f"audit log: entries {report.first} to {report.last} of log {manifest.log_id}, intact",
        f"key slots: {', '.join(map(str, proven.header.slots))}",
    )


def _target(file: Path) -> Path:
    if file.is_dir():
        return file / f"jarvis-{os.uname().nodename}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.backup"
    return file


def _key(config: Config) -> str:
    if config.crypto.unlock == "file":
        return str(config.paths.master_key_path)
    return f"the {config.crypto.unlock}"


@contextmanager
def _asking(config: Config, opener: Opener, client: str | None) -> Iterator[Ask]:
    """Who answers for the vault: we, if we can have it, or the daemon that has it."""
    with ExitStack() as stack:
        try:
            state, now = stack.enter_context(opened(config, lambda: opener))
        except AlreadyRunning as busy:
            yield _of_daemon(stack, config, client, busy)
            return

        def ask(taken: str | None) -> m.AuditHeadStatus:
            if taken is not None:
                witness_backup(config.paths, state, taken, now)
            return state.audit.end

        yield ask


def _of_daemon(stack: ExitStack, config: Config, client: str | None, busy: AlreadyRunning) -> Ask:
    path, tcp = config.server.unix_path, config.server.tcp
    socket = None if path is None else str(path)
    url = f"http://{tcp}" if socket is None and tcp is not None else None

    def connect(claim: str | None) -> SecretsClient:
        made = SecretsClient(socket, url, claim, timeout=TIMEOUT, wait=0.0, cache_ttl=0.0)
        return stack.enter_context(made)

    def ask(taken: str | None) -> m.AuditHeadStatus:
        try:
            daemon = connect(client)
            if client is None and os.geteuid() == ROOT:
                daemon = connect(_only_client(daemon))
            return daemon.ask(m.Backup(taken), m.AuditHeadStatus)
        except DaemonUnreachable as error:
            raise AlreadyRunning(f"{busy.message}; no daemon answers: {explain(error)}") from None
        except SecretsClientError as error:
            raise ConfigurationError((f"{_REFUSED}: {explain(error)}",)) from None

    return ask


def _only_client(daemon: SecretsClient) -> str | None:
    """Whom root may be. A daemon's own user needs no client, but root's is none of its own."""
    clients = daemon.ask(m.WhoAmI(), m.Identity).clients
    return clients[0] if len(clients) == 1 else None


_REFUSED = (
    "the daemon gives its vault's end to its own user, or to a client that may `admin`, which "
    "--client names"
)


COMMANDS = (backup_command,)
"""The command of this module."""
