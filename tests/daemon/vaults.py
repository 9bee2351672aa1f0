"""A small vault to test with: its key, its file, and what it says when it is opened again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from jarvis_secretsd.daemon.keys import Aead, Argon2id, DataKey, Opener, new_slot
from jarvis_secretsd.daemon.vaultfile import LockedVault, VaultFile
from jarvis_secretsd.errors import StartRefused

NOW = datetime(2026, 11, 25, 9, 41, 7, 120394, tzinfo=UTC)
VAULT_ID = "0123456789abcdef0123456789abcdef"
MASTER = bytes(range(32))
CHEAP = Argon2id(bytes(16), ops=2, memory=64 << 20)
"""The least that a slot may cost."""


def master(source: str = "/opt/jarvis/master.key") -> Opener:
    """The master key of every vault here."""
    return Opener.from_key(MASTER, source)


def new_vault(
    path: Path,
    payloads: Sequence[bytes] = (),
    *,
    aead: Aead = Aead.XCHACHA20_POLY1305,
    data_key: DataKey | None = None,
) -> VaultFile:
    """A vault at `path` that the master key opens, with these payloads in one append."""
    key = data_key or DataKey.generate()
    slot = new_slot(VAULT_ID, key, master(), NOW)
    vault = VaultFile.create(
        path, aead=aead, slots=[slot], data_key=key, vault_id=VAULT_ID, now=NOW
    )
    vault.append(payloads)
    return vault


def reopened(path: Path) -> tuple[VaultFile, list[tuple[int, bytes]]]:
    """The vault as a start finds it, with its (sequence number, payload) pairs."""
    locked = LockedVault.open(path)
    try:
        vault = locked.unlock(master())
        return vault, [(head.seq, payload) for head, payload in vault.replay()]
    except StartRefused:
        locked.close()
        raise


def file_with_lines(path: Path, lines: Sequence[bytes]) -> Path:
    """A private file that holds these lines."""
    path.touch(0o600)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path
