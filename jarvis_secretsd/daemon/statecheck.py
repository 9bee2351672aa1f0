"""The files of the daemon: are they there, ours, safe, and do they belong together?"""

from __future__ import annotations

import os
import re
import shlex
from contextlib import closing, suppress
from pathlib import Path

from jarvis_secretsd.daemon import files, segments
from jarvis_secretsd.daemon.config import Config, PathsConfig
from jarvis_secretsd.daemon.findings import Findings
from jarvis_secretsd.daemon.heads import read_heads
from jarvis_secretsd.daemon.keys import AuditSigner, SlotKind, public_from_pem
from jarvis_secretsd.daemon.startup import MAX_KEY_BYTES, is_first_start
from jarvis_secretsd.daemon.unlocking import opener_of
from jarvis_secretsd.daemon.vaultfile import LockedVault
from jarvis_secretsd.errors import SecretsError

_FLOCK = re.compile(r"FLOCK +ADVISORY +WRITE +\d+ [0-9a-f]+:[0-9a-f]+:(\d+) ")
"""A line of proc_locks(5). Only the inode is compared: some file systems show another device."""


def is_running(lock: Path) -> bool:
    """Does a process have this vault, as far as /proc/locks shows? Takes no lock."""
    try:
        inode = os.stat(lock).st_ino
        with open("/proc/locks", encoding="ascii") as locks:
            return any(int(found[1]) == inode for found in map(_FLOCK.search, locks) if found)
    except OSError:
        return False


def inspect_state(config: Config, found: Findings) -> None:
    """Each file and its directory; the vault's header and its key; the log's key and the heads."""
    paths, by_file = config.paths, config.crypto.unlock == "file"
    reached = _inspect_directories(paths, found)
    if by_file and paths.master_key_path.parent == paths.vault_path.parent:
        found.warn(
            f"{paths.master_key_path} lies beside the vault: whoever takes the disk or a backup of "
            "it has both. Set crypto.unlock to credential or passphrase, or keep the key elsewhere"
        )
    if not reached:
        return
    with found.gathering():
        if is_first_start(paths, with_key_file=by_file):
            found.note("nothing of a vault is there: the first start will make it")
            return
        _inspect_files(paths, found)
        _inspect_vault(config, found)
        _inspect_signing_key(paths, found)


def _inspect_directories(paths: PathsConfig, found: Findings) -> bool:
    """Say what is wrong with the directories; true if the files in them can be looked at."""
    before = len(found.errors)
    places = {path.parent: path for path in (paths.vault_path, paths.audit_path)}
    for path in places.values():
        with found.gathering():
            _inspect_directory(path, found)
    key = paths.master_key_path
    if key.parent not in places and not os.path.lexists(key.parent):
        found.error(f"{key}: its directory isn't there; {_make(key.parent)}")
    return len(found.errors) == before


def _inspect_directory(path: Path, found: Findings) -> None:
    try:
        with files.opened_parent(path) as (directory, _):
            owner = os.fstat(directory).st_uid
            may = os.access(".", os.R_OK | os.W_OK | os.X_OK, dir_fd=directory, effective_ids=True)
    except FileNotFoundError:
        found.error(f"{path.parent} isn't there; {_make(path.parent)}")
        return
    own, quoted = os.geteuid(), shlex.quote(str(path.parent))
    if owner != own:
        found.error(
            f"{path.parent} belongs to uid {owner}, not to uid {own}, who runs this; run: "
            f"chown {own} {quoted}, or check as that user"
        )
    elif not may:
        found.error(f"{path.parent}: uid {own} can't write there; run: chmod u+rwx {quoted}")


def _make(directory: Path) -> str:
    return f"run: install -d -m 0700 -o {os.geteuid()} {shlex.quote(str(directory))}"


def _inspect_files(paths: PathsConfig, found: Findings) -> None:
    """What must lie beside a vault. The vault, its key and the signing key are read by others."""
    for path, remedy in (
        (
            paths.heads_path,
            "restore it with the vault and the log, or see: jarvis-secretsd accept-state",
        ),
        (paths.audit_path, "restore it, with the vault that belongs to it, from a backup"),
    ):
        with found.gathering():
            try:
                os.close(files.open_private(path))
            except FileNotFoundError:
                if path == paths.audit_path and segments.find_segments(str(path)):
                    found.note(f"{path} was rotated; the next start goes on in a new file")
                else:
                    found.error(f"{path} is missing; {remedy}")
    with found.gathering(), suppress(FileNotFoundError):  # the next start makes a missing lock
        os.close(files.open_private(paths.lock_path))


def _inspect_vault(config: Config, found: Findings) -> None:
    path = config.paths.vault_path
    with found.gathering(), closing(LockedVault.open(path)) as locked:
        if not any(slot.kind is SlotKind.RECOVERY for slot in locked.header.slots):
            found.warn(
                f"{path} has no recovery code: a lost key would lose every secret; stop the daemon "
                "and run: jarvis-secretsd key add recovery"
            )
        if config.crypto.unlock == "passphrase":
            found.note(f"{path} is opened by a passphrase, which was not asked for")
        else:
            _inspect_heads(config, locked)


def _inspect_heads(config: Config, locked: LockedVault) -> None:
    """Open the vault with the configured key, and the heads with the vault's."""
    vault = locked.unlock(opener_of(config, lambda _question: None))
    try:
        read_heads(config.paths.heads_path, vault.data_key)
    except FileNotFoundError:
        pass  # said where the files were looked at
    finally:
        vault.data_key.wipe()


def _inspect_signing_key(paths: PathsConfig, found: Findings) -> None:
    key, public = paths.sign_key_path, paths.sign_pub_path
    derive = f"openssl pkey -in {shlex.quote(str(key))} -pubout -out {shlex.quote(str(public))}"
    with found.gathering():
        try:
            signer = AuditSigner.from_pem(files.read_private(key, MAX_KEY_BYTES), str(key))
        except FileNotFoundError:
            found.error(f"{key}, which signs the audit log, is missing; restore it from a backup")
            return
        try:
            raw = public_from_pem(files.read_trusted(public, MAX_KEY_BYTES), str(public))
        except FileNotFoundError:
            found.error(f"{public} is missing; run: {derive}")
        except SecretsError as error:
            found.error(f"{error.message}; make it anew: {derive}")
        else:
            if raw != signer.public_key:
                found.error(
                    f"{public} is not the public half of {key}: one of them was exchanged. If "
                    f"the log verifies with the key's own, make it anew: {derive}"
                )
