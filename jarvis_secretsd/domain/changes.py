"""What can happen to the vault, and how it is written down.

A `Change` says completely what happened: replaying it needs no configuration and no clock. A
`Record` is a change with the audit entry that witnesses it, so that a log which lost its last lines
in a crash can be given them back.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from jarvis_secretsd.domain.audit import Event, VaultHead
from jarvis_secretsd.domain.identity import Token
from jarvis_secretsd.domain.lifecycle import Step
from jarvis_secretsd.values import ClientId, Kid, Kind, SecretName, SecretValue, State


class Change(Struct, frozen=True, tag_field="type"):
    """Something that happened to what is stored."""


class Care(Struct, frozen=True, omit_defaults=True):
    """How one secret is to be kept; None follows the configuration.

    `inferred` says that nobody named the kind: it was read off the secret's name. `length` and
    `alphabet` say how a value is generated, in characters.
    """

    kind: Kind
    inferred: bool = False
    rotation_days: int | None = None
    grace_days: int | None = None
    auto_rotate: bool | None = None
    length: int | None = None
    alphabet: str | None = None


class VersionPut(Change, frozen=True, tag="put", omit_defaults=True):
    """A new current version.

    `previous_until` is the end of the grace of the one before; None: it has none, or no end.
    """

    name: SecretName
    kid: Kid
    number: int
    value: SecretValue
    care: Care
    at: datetime
    previous_until: datetime | None = None


class VersionPending(Change, frozen=True, tag="pending", omit_defaults=True):
    """A new version that isn't in force yet. It will be at `due`; None: when its hook says so.

    `care` is the secret's from then on.
    """

    name: SecretName
    kid: Kid
    number: int
    value: SecretValue
    care: Care
    at: datetime
    due: datetime | None = None


class Stepped(Change, frozen=True, tag="step", omit_defaults=True):
    """A version took a step in its life.

    `until` is the end of the grace of the version that it takes the place of, if it does; `revoked`
    is that version if it has none.
    """

    name: SecretName
    kid: Kid
    step: Step
    at: datetime
    until: datetime | None = None
    revoked: Kid | None = None


class SecretDeleted(Change, frozen=True, tag="delete"):
    """A secret is gone, and can be restored before `until`."""

    name: SecretName
    until: datetime


class SecretRestored(Change, frozen=True, tag="restore"):
    """A deleted secret is back."""

    name: SecretName


class NameSpent(Change, frozen=True, tag="spent", omit_defaults=True):
    """Nothing is left of a secret, since `at`, but the number that its next version follows."""

    name: SecretName
    number: int
    at: datetime | None = None


class VersionKept(Change, frozen=True, tag="kept", omit_defaults=True):
    """A version as a compaction found it. `next_care` is what a pending one brings."""

    name: SecretName
    kid: Kid
    number: int
    value: SecretValue
    care: Care
    at: datetime
    state: State
    until: datetime | None = None
    next_care: Care | None = None


class SecretKept(Change, frozen=True, tag="secret_kept", omit_defaults=True):
    """What a compaction found of a secret beside its versions."""

    name: SecretName
    number: int
    deleted_until: datetime | None = None


class TokenAdded(Change, frozen=True, tag="token_add"):
    """A token of a client is good from now on."""

    token: Token


class TokenEnded(Change, frozen=True, tag="token_end"):
    """A token is good no more."""

    digest: str


class RewriteBegun(Change, frozen=True, tag="rewriting"):
    """A new file is being written, which will hold what comes after this record as well."""


class Rewritten(Change, frozen=True, tag="rewritten", omit_defaults=True):
    """The file was written anew: the same state, whose head was `before`.

    `dead_since` is when the first value ended that the new file holds all the same.
    """

    before: VaultHead
    dead_since: datetime | None = None


class VaultLocked(Change, frozen=True, tag="locked"):
    """Nothing is released any more."""

    at: datetime


class VaultUnlocked(Change, frozen=True, tag="unlocked"):
    """What may be released is released again."""


class BackedUp(Change, frozen=True, tag="backed_up"):
    """A backup was taken, and proven."""

    at: datetime


SecretChange = (
    VersionPut
    | VersionPending
    | Stepped
    | SecretDeleted
    | SecretRestored
    | NameSpent
    | VersionKept
    | SecretKept
)
"""What happens to one secret, by its name."""

VaultChange = RewriteBegun | Rewritten | VaultLocked | VaultUnlocked | BackedUp
"""What happens to the vault as a whole."""

AnyChange = SecretChange | TokenAdded | TokenEnded | VaultChange


class Record(Struct, frozen=True):
    """A change and the audit entry that witnesses it (None once a compaction has dropped it)."""

    change: AnyChange
    event: Event | None


class _StoredValue(Struct, frozen=True, array_like=True):
    data: bytes
    is_text: bool


def encode_record(record: Record) -> bytes:
    """The record as MessagePack, in which bytes stay bytes; whoever keeps it seals it."""
    return _encoder.encode(record)


def decode_record(payload: bytes) -> Record:
    """The record that `encode_record` wrote. Raises msgspec.DecodeError for anything else."""
    return _decoder.decode(payload)


def _to_msgpack(value: object) -> object:
    if isinstance(value, SecretValue):
        return _StoredValue(value.reveal(), value.is_text)
    if isinstance(value, SecretName | Kid | ClientId):
        return str(value)
    raise NotImplementedError(type(value).__name__)


def _from_msgpack(kind: type, value: Any) -> object:
    if kind is SecretValue:
        data, is_text = value
        return SecretValue(data, is_text=is_text)
    return kind(value)


_encoder = msgspec.msgpack.Encoder(enc_hook=_to_msgpack)
_decoder = msgspec.msgpack.Decoder(Record, dec_hook=_from_msgpack)
