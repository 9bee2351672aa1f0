"""`jarvis-secretsd key`: the keys that open the vault, while no daemon has it open."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path

import click

from jarvis_secretsd.cli import operator
from jarvis_secretsd.cli.accepting import accept_state
from jarvis_secretsd.cli.offline import (
    at_the_state,
    bring,
    bring_key,
    bring_recovery_code,
    founded,
    new_passphrase,
    opened,
)
from jarvis_secretsd.cli.operator import config_option, dev_option
from jarvis_secretsd.cli.output import NOTHING, moment, show, table
from jarvis_secretsd.cli.rekeying import remove
from jarvis_secretsd.cli.usage import Group
from jarvis_secretsd.daemon import files
from jarvis_secretsd.daemon.config import Config
from jarvis_secretsd.daemon.keys import Opener, Slot, SlotKind, new_master_key, new_recovery_code
from jarvis_secretsd.daemon.slotwork import add_slot, slot_of
from jarvis_secretsd.daemon.unlocking import MAX_KEY_BYTES, key_in
from jarvis_secretsd.daemon.vaultfile import LockedVault
from jarvis_secretsd.daemon.vaultlines import Header
from jarvis_secretsd.errors import ConfigurationError, KeyRefused

BACKUP = "keep a copy of it away from this machine: without a key, a backup of the vault is nothing"


@click.group(cls=Group, no_args_is_help=False)
def key() -> None:
    """Look after the keys that open the vault."""


@key.command(name="list")
@config_option
@dev_option
def list_slots() -> None:
    """List the key slots and which of them the configuration uses; also while the daemon runs."""
    with at_the_state() as config:
        header = _header(config)
        used = _used(config, header)
    table(
        ("ID", "KIND", "MADE", "USE"),
        (
            (slot.id, slot.kind, moment(slot.created_at), used.get(slot.id, NOTHING))
            for slot in header.slots
        ),
    )


@key.command()
@config_option
@dev_option
@click.argument("kind", metavar="KIND", type=click.Choice([kind.value for kind in SlotKind]))
@click.option(
    "--key-file",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="The master key of the slot; made if it isn't there [master_key_path].",
)
@click.option(
    "--with-recovery-code", is_flag=True, help="Open the vault with the code, asked or from stdin."
)
def add(kind: str, key_file: Path | None, with_recovery_code: bool) -> None:
    """Add a slot, so that a further key opens the vault.

    KIND is file, credential, passphrase or recovery. A recovery code is shown once, and only on a
    terminal; where there is no vault yet, `recovery` makes it. A passphrase is asked there, twice.
    """
    wanted = SlotKind(kind)
    if wanted is SlotKind.RECOVERY and not operator.is_terminal():
        raise ConfigurationError(
            ("a recovery code is shown on a terminal and nowhere else; run this on one",)
        )
    with at_the_state() as config:
        if wanted is SlotKind.RECOVERY and founded(config):
            show(f"made: {config.paths.vault_path}, with a slot for this code and one for the key")
            return
        key_of = partial(bring, config, with_recovery_code=with_recovery_code)
        with opened(config, key_of) as (state, now):
            code = new_recovery_code()
            slot = add_slot(config.paths, state, _new_opener(wanted, key_file, config, code), now)
    show(f"added: {slot}")
    if wanted is SlotKind.RECOVERY:
        operator.show_recovery_code(code)
    else:
        _tell_use(slot, key_file, config)


@key.command()
@config_option
@dev_option
def recover() -> None:
    """Make a new master key in place of a lost one, with the recovery code (asked, or on stdin)."""
    with at_the_state() as config:
        path = config.paths.master_key_path
        if path.exists() or path.is_symlink():
            raise ConfigurationError(
                (
                    f"{path} is there. If it doesn't open the vault, move it away first; if it "
                    "only lacks a slot: jarvis-secretsd key add file --with-recovery-code",
                )
            )
        with opened(config, bring_recovery_code) as (state, now):
            slot = add_slot(config.paths, state, _key_in(path, SlotKind.FILE), now)
    show(f"made {path} and added: {slot}")
    operator.remark(BACKUP)
    operator.remark(
        "the slot of the lost key is still there: whoever finds that key opens this vault, until "
        f"it is ended: `{operator.program()} key list` shows its ID, `key remove ID` ends it"
    )
    _tell_use(slot, None, config)


def _new_opener(kind: SlotKind, key_file: Path | None, config: Config, code: str) -> Opener:
    match kind:
        case SlotKind.RECOVERY:
            return Opener.from_recovery_code(code)
        case SlotKind.PASSPHRASE:
            return Opener.from_passphrase(new_passphrase())
        case SlotKind.CREDENTIAL if key_file is None:
            return _credential(config.crypto.credential)
        case _:
            return _key_in(key_file or config.paths.master_key_path, kind)


def _key_in(path: Path, kind: SlotKind) -> Opener:
    """The master key in this file, which is made with a new one if it isn't there."""
    try:
        files.create_private(path, new_master_key())
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigurationError((f"can't make {path}: {error.strerror}",)) from None
    else:
        operator.remark(f"made {path}; {BACKUP}")
    return key_in(path, kind)


def _credential(name: str) -> Opener:
    try:
        data = files.read_credential(name, MAX_KEY_BYTES)
    except FileNotFoundError:
        raise ConfigurationError(
            (
                f"the credential {name} isn't at hand outside of its unit; name a key with "
                "--key-file PATH, and give the unit that file with systemd-creds(1)",
            )
        ) from None
    return Opener.from_key(data, f"credential {name}", SlotKind.CREDENTIAL)


def _tell_use(slot: Slot, key_file: Path | None, config: Config) -> None:
    """What to write so that the daemon opens the vault by this slot."""
    if slot.kind is SlotKind.CREDENTIAL and key_file is not None:
        name, path = config.crypto.credential, shlex.quote(str(key_file))
        operator.remark(
            f"give it to the unit: systemd-creds encrypt --name={name} {path} {name}.cred, "
            f"LoadCredentialEncrypted={name}:PATH, and then: shred -u {path}"
        )
    if slot.kind != config.crypto.unlock:
        operator.remark(f'to use it, write in the configuration: [crypto] unlock = "{slot.kind}"')
    elif slot.kind is SlotKind.FILE and key_file not in (None, config.paths.master_key_path):
        operator.remark(f"the configuration's key is still {config.paths.master_key_path}")


def _header(config: Config) -> Header:
    try:
        locked = LockedVault.open(config.paths.vault_path)
    except FileNotFoundError:
        raise ConfigurationError(
            (f"there is no vault at {config.paths.vault_path}; the first start makes one",)
        ) from None
    locked.close()
    return locked.header


def _used(config: Config, header: Header) -> dict[str, str]:
    """What to say beside the slots that the configuration uses, by their ids."""
    if config.crypto.unlock == "passphrase":
        words = "asked for by the configuration"
        return {slot.id: words for slot in header.slots if slot.kind is SlotKind.PASSPHRASE}
    try:
        opener = bring_key(config)
    except KeyRefused as error:
        operator.remark(error.message)
        return {}
    slot = slot_of(header, opener)
    if slot is None:
        operator.remark(f"{opener.source}, which the configuration names, opens none of the slots")
        return {}
    return {slot.id: f"opened by {opener.source}, as the configuration says"}


key.add_command(remove)

COMMANDS = (key, accept_state)
