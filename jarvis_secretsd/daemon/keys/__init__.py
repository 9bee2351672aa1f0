"""Every key of the daemon, and the only home of libsodium and cryptography.

`openers` is what people and hosts bring, `slots` gives the data key for it, `sealing` derives from
that key and seals, `recovery` is the code on paper, `signing` signs tokens and the audit log, and
`selftest` asks the libraries for answers that are known.
"""

from jarvis_secretsd.daemon.keys.openers import (
    Argon2id,
    Blake2b,
    Opener,
    SlotKind,
    new_master_key,
)
from jarvis_secretsd.daemon.keys.recovery import new_recovery_code
from jarvis_secretsd.daemon.keys.sealing import Aead, DataKey, Purpose, SealBroken, Sealer
from jarvis_secretsd.daemon.keys.selftest import self_test
from jarvis_secretsd.daemon.keys.signing import (
    AuditSigner,
    Ed25519,
    key_id,
    public_from_pem,
    public_to_pem,
    verify_signature,
)
from jarvis_secretsd.daemon.keys.slots import Slot, new_slot, open_slots

__all__ = [
    "Aead",
    "Argon2id",
    "AuditSigner",
    "Blake2b",
    "DataKey",
    "Ed25519",
    "Opener",
    "Purpose",
    "SealBroken",
    "Sealer",
    "Slot",
    "SlotKind",
    "key_id",
    "new_master_key",
    "new_recovery_code",
    "new_slot",
    "open_slots",
    "public_from_pem",
    "public_to_pem",
    "self_test",
    "verify_signature",
]
