"""`jarvis-secretsd restore`: proves a backup, and puts it in place."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click

from jarvis_secretsd.cli import operator
from jarvis_secretsd.cli.backing import held
from jarvis_secretsd.cli.offline import (
    at_the_state,
    bring,
    bring_key,
    bring_key_in,
    bring_recovery_code,
    opened,
)
from jarvis_secretsd.cli.operator import config_option, dev_option
from jarvis_secretsd.cli.output import show
from jarvis_secretsd.daemon.bundle import POLICY, Bundle
from jarvis_secretsd.daemon.clock import Clock
from jarvis_secretsd.daemon.config import Config
from jarvis_secretsd.daemon.keys import Opener
from jarvis_secretsd.daemon.lock import VaultLock
from jarvis_secretsd.daemon.losses import losses
from jarvis_secretsd.daemon.proving import Proven, prove
from jarvis_secretsd.daemon.restoring import Restored, look, restore
from jarvis_secretsd.errors import ConfigurationError


@click.command(name="restore")
@config_option
@dev_option
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Only prove the backup; nothing is touched.")
@click.option("--replace", is_flag=True, help="Set aside what is there, which is then lost to use.")
@click.option("--with-recovery-code", is_flag=True, help="Open the backup with the code.")
@click.option(
    "--key-file", metavar="PATH", type=click.Path(path_type=Path), help="Open it with this key."
)
def restore_command(
    file: Path, check: bool, replace: bool, with_recovery_code: bool, key_file: Path | None
) -> None:
    """Put a backup in place while no daemon runs, or --check that it could be.

    What is there is never deleted: with --replace it is set aside. Exit status: 0 proven or
    restored, 1 the backup is damaged or forged, 78 its key or a decision of yours is missing.
    """
    key = bring_key_in(key_file) if key_file else None
    with closing(Bundle.open(str(file))) as backup:
        if check:
            _check(backup, key, with_recovery_code=with_recovery_code)
            return
        with at_the_state() as config:
            opener = key or bring(config, with_recovery_code=with_recovery_code)
            proven = prove(backup, opener)
            with _locked(config):
                restored = _restored(config, backup, proven, opener, replace=replace)
            with opened(config, lambda: opener):
                pass  # as a start will: it would be refused here
            _tell(file, config, proven, restored)


def _check(backup: Bundle, key: Opener | None, *, with_recovery_code: bool) -> None:
    if with_recovery_code:
        key = bring_recovery_code()
    if key is None:
        with at_the_state() as config:
            key = bring_key(config)
    show(f"proven: {backup.name}", *held(prove(backup, key)))


@contextmanager
def _locked(config: Config) -> Iterator[None]:
    for directory in {config.paths.vault_path.parent, config.paths.audit_path.parent}:
        if not directory.is_dir():
            made = f"install -d -m 0700 -o USER {shlex.quote(str(directory))}"
            raise ConfigurationError((f"{directory} isn't there; for the daemon's user: {made}",))
    lock = VaultLock(config.paths.lock_path)
    try:
        yield
    finally:
        lock.release()


def _restored(
    config: Config, backup: Bundle, proven: Proven, opener: Opener, *, replace: bool
) -> Restored:
    present = look(config.paths, proven, opener)
    lost = tuple(losses(present, proven))
    if lost and not replace:
        command = f"{operator.program()} restore --replace {shlex.quote(backup.name)}"
        raise ConfigurationError(
            (
                *lost,
                f"Nothing was changed. To set all that aside, and restore: {command}",
            )
        )
    for line in lost:
        operator.remark(line)
    time = present.found.time if present.found else None
    now = Clock(max(filter(None, (time, proven.heads.time)))).now()
    return restore(backup, proven, config.paths, present, now)


def _tell(file: Path, config: Config, proven: Proven, restored: Restored) -> None:
    show(f"restored: {file}", *held(proven))
    show(f"the audit log {'goes' if restored.log_stayed else 'went'} on: entry {restored.entry}")
    for directory in restored.aside:
        show(f"set aside: {directory}")
    for remark in _left_to_do(file, config, proven):
        operator.remark(remark)


def _left_to_do(file: Path, config: Config, proven: Proven) -> Iterator[str]:
    """What a restore leaves to people."""
    key, policy = config.paths.master_key_path, config.security.rbac_policy_path
    if config.crypto.unlock == "file" and not os.path.lexists(key):
        yield f"there is no master key at {key}: bring it, or run: {operator.program()} key recover"
    if POLICY in {part.name for part in proven.manifest.parts} and not os.path.lexists(policy):
        take = f"tar -xOf {shlex.quote(str(file))} {POLICY} > {shlex.quote(str(policy))}"
        yield f"there is no policy at {policy}; the backup has one: {take}"
    if proven.vault.lock:
        yield "the vault is locked, as it was when the backup was taken: jarvis-secrets unlock"
    yield (
        "secrets are as they were then: what was rotated since has another value at its far end; "
        "put or rotate it"
    )


COMMANDS = (restore_command,)
"""The command of this module."""
