"""Do a unit's credentials fit into what systemd gives to each unit? Only the vault can tell."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing

from jarvis_secretsd.daemon.config import Config
from jarvis_secretsd.daemon.findings import Findings
from jarvis_secretsd.daemon.startup import Replay
from jarvis_secretsd.daemon.unlocking import opener_of
from jarvis_secretsd.daemon.vaultfile import LockedVault
from jarvis_secretsd.domain.policy import Policy
from jarvis_secretsd.domain.unitadvice import MAX_OF_UNIT, credentials_of_units
from jarvis_secretsd.domain.vault import Vault
from jarvis_secretsd.values import MAX_VALUE_BYTES, SecretName


def inspect_credentials(config: Config, policy: Policy, found: Findings) -> None:
    """Warn of units whose credentials are too large together.

    The vault is read only where a unit has so many that they could be.
    """
    crowded = {
        unit: files
        for unit, files in credentials_of_units(policy).items()
        if len(files) * MAX_VALUE_BYTES >= MAX_OF_UNIT
    }
    if not crowded or not os.path.exists(config.paths.vault_path):
        return
    if config.crypto.unlock == "passphrase":
        found.note("whether the credentials of each unit fit together can't be told: vault locked")
        return
    with found.gathering():
        vault = _read(config)
        for unit, files in crowded.items():
            _inspect_unit(unit, files, vault, found)


def _inspect_unit(
    unit: str, files: Mapping[str, SecretName], vault: Vault, found: Findings
) -> None:
    sizes = {
        file: len(file) + len(secret.current.value)
        for file, name in files.items()
        if (secret := vault.live(name)) is not None
    }
    if (size := sum(sizes.values())) > MAX_OF_UNIT:
        found.warn(
            f"the credentials of {unit} have {size:,} bytes together, and systemd takes "
            f"{MAX_OF_UNIT:,}; have the program fetch {max(sizes, key=sizes.__getitem__)} itself, "
            "or make two units of it"
        )


def _read(config: Config) -> Vault:
    """The vault as it is on the disk. Raises KeyRefused, StateRefused, UnsafeFile."""
    opener = opener_of(config, lambda _question: None)
    with closing(LockedVault.open(config.paths.vault_path)) as locked:
        file = locked.unlock(opener)
        try:
            return Replay(file, "", None).vault
        finally:
            file.data_key.wipe()
