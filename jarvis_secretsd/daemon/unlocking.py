"""Where the key comes from that opens the vault: a file, a systemd credential, or a passphrase."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jarvis_secretsd.daemon import files
from jarvis_secretsd.daemon.config import Config
from jarvis_secretsd.daemon.keys import Opener, SlotKind, new_master_key
from jarvis_secretsd.errors import KeyRefused

MAX_KEY_BYTES = 4096
"""A key file holds 32 bytes or 64 digits; more is another file."""

PASSPHRASE_CREDENTIAL = "jarvis-passphrase"
"""The systemd credential that holds a passphrase, for a start without a terminal."""

AskPassphrase = Callable[[str], str | None]
"""Asks a person, and gives None where there is nobody to ask."""


def opener_of(config: Config, ask: AskPassphrase) -> Opener:
    """What `[crypto] unlock` names. Raises KeyRefused, which says where it was looked for."""
    match config.crypto.unlock:
        case "file":
            return _from_file(config)
        case "credential":
            return _from_credential(config.crypto.credential)
        case "passphrase":
            return _from_passphrase(ask)


def new_opener(config: Config, ask: AskPassphrase) -> Opener:
    """As `opener_of`, for a vault that is about to be made: a key file is made with it."""
    if config.crypto.unlock != "file":
        return opener_of(config, ask)
    files.create_private(config.paths.master_key_path, new_master_key())
    return _from_file(config)


def key_in(path: Path, kind: SlotKind = SlotKind.FILE) -> Opener:
    """The key in a file that is ours alone. Raises FileNotFoundError, UnsafeFile, KeyRefused."""
    return Opener.from_key(files.read_private(path, MAX_KEY_BYTES), str(path), kind)


def _from_file(config: Config) -> Opener:
    path = config.paths.master_key_path
    try:
        return key_in(path)
    except FileNotFoundError:
        raise KeyRefused(
            f"there is a vault at {config.paths.vault_path}, and its master key {path} is missing. "
            "Restore the key from a backup, or open the slot of another key: "
            "`jarvis-secretsd key recover` takes the recovery code"
        ) from None


def _from_credential(name: str) -> Opener:
    try:
        data = files.read_credential(name, MAX_KEY_BYTES)
    except FileNotFoundError:
        raise KeyRefused(
            f"the systemd credential {name} isn't there; the unit needs "
            f"`LoadCredentialEncrypted={name}:FILE`"
        ) from None
    return Opener.from_key(data, f"credential {name}", SlotKind.CREDENTIAL)


def _from_passphrase(ask: AskPassphrase) -> Opener:
    try:
        text = files.read_credential(PASSPHRASE_CREDENTIAL, MAX_KEY_BYTES).decode().rstrip("\n")
        return Opener.from_passphrase(text, f"credential {PASSPHRASE_CREDENTIAL}")
    except FileNotFoundError:
        pass
    answer = ask("Passphrase of the vault: ")
    if answer is None:
        raise KeyRefused(
            "the vault is opened by a passphrase, and there is neither a terminal to ask on nor "
            f"the credential {PASSPHRASE_CREDENTIAL}"
        )
    return Opener.from_passphrase(answer)
