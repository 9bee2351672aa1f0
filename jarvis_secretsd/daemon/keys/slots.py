"""Key slots: each wraps the data key of the vault for one opener, so that there can be several."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from jarvis_secretsd.daemon.keys.openers import SALT_BYTES, Argon2id, Blake2b, Kdf, Opener, SlotKind
from jarvis_secretsd.daemon.keys.sealing import Aead, DataKey, SealBroken, Sealer
from jarvis_secretsd.errors import KeyRefused

SLOT_FORMAT = "jarvis-slot-v1"


class Slot(Struct, frozen=True, forbid_unknown_fields=True):
    """The data key, `wrapped` by XChaCha20-Poly1305 under a key that one opener derives.

    Raises ValueError for a salt that isn't 16 bytes and a derivation that doesn't suit the kind.
    """

    id: str
    kind: SlotKind
    created_at: datetime
    kdf: Kdf
    nonce: bytes = b""
    wrapped: bytes = b""

    def __post_init__(self) -> None:
        if len(self.kdf.salt) != SALT_BYTES:
            raise ValueError(f"a slot's salt is {SALT_BYTES} bytes")
        if (self.kind is SlotKind.PASSPHRASE) != isinstance(self.kdf, Argon2id):
            raise ValueError("argon2id belongs to passphrase slots, and only to them")

    def __str__(self) -> str:
        return f"{self.kind} ({self.created_at:%Y-%m-%d}, id {self.id})"


def new_slot(
    vault_id: str, data_key: DataKey, opener: Opener, now: datetime, kdf: Kdf | None = None
) -> Slot:
    """A slot that `opener` opens; `kdf` where a passphrase is to cost something else than usual."""
    salt = os.urandom(SALT_BYTES)
    usual = Argon2id(salt) if opener.kind is SlotKind.PASSPHRASE else Blake2b(salt)
    bare = Slot(os.urandom(4).hex(), opener.kind, now, kdf or usual)
    nonce, wrapped = _wrapper(opener, bare).seal(data_key.reveal(), _binding(vault_id, bare))
    return replace(bare, nonce=nonce, wrapped=wrapped)


def open_slots(vault_id: str, slots: Sequence[Slot], opener: Opener) -> DataKey:
    """The data key, from the first slot that `opener` opens.

    Raises KeyRefused, which names every slot, where the key came from, and what to do.
    """
    for slot in slots:
        if opener.fits(slot.kind):
            binding = _binding(vault_id, slot)
            try:
                return DataKey(_wrapper(opener, slot).open(slot.nonce, slot.wrapped, binding))
            except (SealBroken, ValueError):
                continue
    raise KeyRefused(
        f"the vault has slots: {', '.join(map(str, slots)) or 'none'}; {opener.source} "
        f"({opener.kind}) opened none. Bring the key of one of them from a backup, or the recovery "
        "code; a key of another vault is never the right one"
    )


def _wrapper(opener: Opener, slot: Slot) -> Sealer:
    return Sealer(Aead.XCHACHA20_POLY1305, opener.wrapping_key(slot.kdf))


def _binding(vault_id: str, slot: Slot) -> bytes:
    bound = (SLOT_FORMAT, vault_id, slot.id, slot.kind, slot.created_at, slot.kdf)
    return msgspec.json.encode(bound)
