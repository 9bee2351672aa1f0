"""`jarvis-secretsd rekey` and `key remove`: a new data key, and who may still open the vault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click
from msgspec import Struct

from jarvis_secretsd.cli import operator
from jarvis_secretsd.cli.offline import (
    at_the_state,
    bring,
    bring_key,
    bring_key_in,
    bring_recovery_code,
    opened,
)
from jarvis_secretsd.cli.operator import config_option, dev_option
from jarvis_secretsd.cli.output import counted, show
from jarvis_secretsd.daemon.config import Config
from jarvis_secretsd.daemon.keys import Opener, Slot, SlotKind, new_recovery_code
from jarvis_secretsd.daemon.rekeying import opened_by, rekey
from jarvis_secretsd.daemon.vaultlines import Header
from jarvis_secretsd.errors import ConfigurationError, KeyRefused

UNLEAKED = (
    "what had leaked is still known: rotate those secrets. Older backups, and what the disk may "
    "still hold of the old file, open with the old keys"
)

F = TypeVar("F", bound=Callable[..., Any])


class Wishes(Struct, frozen=True):
    """Whose keys are at hand beside the configured one, and which slots are to end."""

    key_files: tuple[Path, ...] = ()
    with_recovery_code: bool = False
    keep_recovery_code: bool = False
    drop: tuple[str, ...] = ()


def keys_options(command: F) -> F:
    """The options that bring further keys."""
    for option in (
        click.option("--with-recovery-code", is_flag=True, help="Open it with the recovery code."),
        click.option("--keep-recovery-code", is_flag=True, help="Ask for the code; make no new."),
        click.option(
            "--key-file",
            "key_files",
            multiple=True,
            metavar="PATH",
            type=click.Path(path_type=Path),
            help="A further master key whose slot is to stay.",
        ),
    ):
        command = option(command)
    return command


@click.command(name="rekey")
@config_option
@dev_option
@keys_options
@click.option("--drop", multiple=True, metavar="ID", help="Let this slot end (see `key list`).")
def rekey_command(
    key_files: tuple[Path, ...],
    with_recovery_code: bool,
    keep_recovery_code: bool,
    drop: tuple[str, ...],
) -> None:
    """Seal every record anew under a new data key, while no daemon runs.

    A slot stays only if its key is brought: the configured one is, passphrases are asked for, and
    a recovery code is replaced by a new one, shown once on the terminal.
    """
    run_rekey(Wishes(key_files, with_recovery_code, keep_recovery_code, drop))


@click.command(name="remove")
@config_option
@dev_option
@keys_options
@click.argument("slot_id", metavar="ID")
@click.option("--drop", multiple=True, metavar="ID", help="Let this slot end, too.")
def remove(
    slot_id: str,
    key_files: tuple[Path, ...],
    with_recovery_code: bool,
    keep_recovery_code: bool,
    drop: tuple[str, ...],
) -> None:
    """End the slot with this ID (see `key list`), so that its key opens the vault no more.

    The vault gets a new data key with it, since an old copy of its file still has the slot.
    """
    run_rekey(Wishes(key_files, with_recovery_code, keep_recovery_code, (slot_id, *drop)))


def run_rekey(wishes: Wishes) -> None:
    """Rekey, and say what came of it. Raises ConfigurationError before anything is changed."""
    with at_the_state() as config:
        key = bring(config, with_recovery_code=wishes.with_recovery_code)
        with opened(config, lambda: key) as (state, now):
            ring = _Ring(state.vault_file.header, wishes.drop)
            _gather(ring, config, key, wishes)
            slots = rekey(config.paths, state, ring.openers, ring.ended, now)
            count = state.vault.live_count
    show(f"rekeyed: {counted(count, 'secret')} sealed anew under a new data key", "slots:")
    show(*(f"  {slot}" for slot in slots))
    if ring.ended:
        show("ended:", *(f"  {slot}" for slot in ring.ended))
    if ring.code is not None:
        operator.show_recovery_code(ring.code)
        operator.remark("the recovery code from before opens this vault no more")
    operator.remark(UNLEAKED)


class _Ring:
    """The keys that get a slot, what they leave of the old slots, and a recovery code to show."""

    def __init__(self, header: Header, drop: Sequence[str]) -> None:
        known = {slot.id: slot for slot in header.slots}
        if unknown := [each for each in drop if each not in known]:
            raise _refusal(f"there is no slot {unknown[0]}; `jarvis-secretsd key list` shows all")
        self.openers: list[Opener] = []
        self.ended = [known[each] for each in dict.fromkeys(drop)]
        self.left = [slot for slot in header.slots if slot not in self.ended]
        self.code: str | None = None
        self._header = header

    def take(self, opener: Opener) -> Slot | None:
        """Have it open the vault as before. Gives the slot of it that is to end, if it has one."""
        opens = opened_by(self._header, opener)
        if not opens:
            raise _refusal(f"{opener.source} opens no slot; give it one: jarvis-secretsd key add")
        ending = next((slot for slot in self.ended if slot in opens), None)
        if ending is None:
            self.openers.append(opener)
            self.left = [slot for slot in self.left if slot not in opens]
        return ending

    def renew_code(self) -> None:
        """A new recovery code in the place of those that weren't brought."""
        self.code = new_recovery_code()
        self.openers.append(Opener.from_recovery_code(self.code))
        self.left = [slot for slot in self.left if slot.kind is not SlotKind.RECOVERY]


def _gather(ring: _Ring, config: Config, key: Opener, wishes: Wishes) -> None:
    """Bring all keys. Raises ConfigurationError where that would lose a slot unasked."""
    used = _used_key(config) if wishes.with_recovery_code else key
    if used is not None and (ending := ring.take(used)) is not None:
        raise _refusal(
            f"the configuration opens the vault by the slot {ending}. Give it another first: "
            "move its key away, then jarvis-secretsd key recover; or change [crypto] unlock"
        )
    if key is not used:
        ring.take(key)
    for path in wishes.key_files:
        ring.take(bring_key_in(path))
    if wishes.keep_recovery_code and not wishes.with_recovery_code:
        ring.take(bring_recovery_code())
    for slot in ring.left:
        if slot.kind is SlotKind.PASSPHRASE:
            _ask_for(slot, ring)
    if any(slot.kind is SlotKind.RECOVERY for slot in ring.left) and operator.is_terminal():
        ring.renew_code()
    if ring.left:
        raise ConfigurationError(tuple(map(_remedy, ring.left)))
    if not ring.openers:
        raise _refusal("nothing would open the vault any more")


def _used_key(config: Config) -> Opener | None:
    """What the configuration names, if that needn't be asked for and is there."""
    if config.crypto.unlock == "passphrase":
        return None
    with suppress(KeyRefused):
        return bring_key(config)
    return None


def _ask_for(slot: Slot, ring: _Ring) -> None:
    text = operator.ask_passphrase(f"Passphrase of the slot {slot} (none: not at hand): ")
    if text:
        ring.take(Opener.from_passphrase(text))


def _remedy(slot: Slot) -> str:
    """What to do about a slot whose key wasn't brought."""
    match slot.kind:
        case SlotKind.RECOVERY:
            how = "a new code is shown on a terminal: run this on one; or --keep-recovery-code"
        case SlotKind.PASSPHRASE:
            how = "its passphrase is asked for on a terminal: run this on one"
        case _:
            how = "bring its key with --key-file PATH"
    return f"the slot {slot} would be lost: {how}. To let it end: --drop {slot.id}"


def _refusal(text: str) -> ConfigurationError:
    return ConfigurationError((f"{text}. Nothing was changed",))


COMMANDS = (rekey_command,)
"""The commands of this module that stand by themselves; `remove` belongs to `key`."""
