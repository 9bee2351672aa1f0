"""What is stored: a fold over records. A start and a live change go through the same `apply`.

An overlay is a vault on top of another: it holds what one turn changed, and either becomes part of
the vault below (`absorb`) once the turn is durable, or is dropped.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from jarvis_secretsd.domain.changes import (
    AnyChange,
    Care,
    NameSpent,
    Rewritten,
    SecretDeleted,
    SecretRestored,
    TokenAdded,
    TokenEnded,
    VersionPut,
)
from jarvis_secretsd.domain.identity import Token
from jarvis_secretsd.values import Kid, Kind, SecretName, SecretValue


class Version(Struct, frozen=True):
    """One value of a secret. `until` is the end of its grace, None while it is current.

    `seq` is the vault's sequence number of the record that brought it.
    """

    kid: Kid
    number: int
    value: SecretValue
    created_at: datetime
    seq: int
    until: datetime | None = None


class Secret(Struct, frozen=True):
    """A name and its versions, oldest first, the last one current; none once it is spent.

    `deleted_until` is the end of the time in which a deleted secret can be restored.
    """

    name: SecretName
    care: Care
    versions: tuple[Version, ...]
    number: int
    seq: int
    deleted_until: datetime | None = None

    @property
    def is_live(self) -> bool:
        """It is there for `get` and `list`."""
        return self.deleted_until is None and bool(self.versions)

    @property
    def current(self) -> Version:
        """The version that `get` gives without a kid; only of a secret that has one."""
        return self.versions[-1]

    def version(self, kid: Kid) -> Version | None:
        """The version of this kid, whatever its state."""
        return next((version for version in self.versions if version.kid == kid), None)


class _HeldToken(Struct, frozen=True):
    seq: int
    token: Token


class Vault:
    """The secrets and tokens that the records so far add up to."""

    def __init__(self, below: Vault | None = None) -> None:
        self._below = below
        self._secrets: dict[SecretName, Secret] = {}
        self._names: list[SecretName] = []
        self._tokens: dict[str, _HeldToken | None] = {}
        self.seq: int = below.seq if below else 0
        self.live_count: int = below.live_count if below else 0

    def secret(self, name: SecretName) -> Secret | None:
        """The secret of this name, deleted and spent ones included."""
        found = self._secrets.get(name)
        if found is None and self._below is not None:
            return self._below.secret(name)
        return found

    def live(self, name: SecretName) -> Secret | None:
        """The secret of this name if it is there for `get`."""
        found = self.secret(name)
        return found if found is not None and found.is_live else None

    def names(self, after: str = "") -> Iterator[SecretName]:
        """All names behind `after` in byte order, deleted and spent ones included."""
        self._names.sort()  # a few new names behind many sorted ones: nearly linear
        own = iter(self._names[bisect_right(self._names, after) :])
        return heapq.merge(self._below.names(after), own) if self._below else own

    def token(self, digest: str) -> Token | None:
        """The token with this digest, if it is known; its expiry is the asker's business."""
        if digest in self._tokens or self._below is None:
            held = self._tokens.get(digest)
            return held.token if held else None
        return self._below.token(digest)

    def tokens(self) -> list[Token]:
        """Every token, oldest first."""
        return [held.token for held in self._held_tokens()]

    def overlay(self) -> Vault:
        """A vault on top of this one that starts equal to it."""
        return Vault(self)

    def absorb(self, overlay: Vault) -> None:
        """Take over what the overlay changed. It must lie directly on this vault."""
        if overlay._below is not self:
            raise AssertionError("an overlay is absorbed by the vault that it lies on")
        self._names += overlay._names
        self._secrets.update(overlay._secrets)
        self._tokens.update(overlay._tokens)
        self.seq, self.live_count = overlay.seq, overlay.live_count

    def apply(self, seq: int, change: AnyChange) -> None:
        """Take in one change, as the record of this sequence number says it."""
        match change:
            case VersionPut():
                self._set(_with_version(self.secret(change.name), change, seq))
            case SecretDeleted(name, until):
                self._set(replace(self._known(name), deleted_until=until, seq=seq))
            case SecretRestored(name):
                self._set(replace(self._known(name), deleted_until=None, seq=seq))
            case NameSpent(name, number):
                self._set(Secret(name, Care(Kind.STATIC), (), number, seq))
            case TokenAdded(token):
                self._tokens[token.digest] = _HeldToken(seq, token)
            case TokenEnded(digest):
                self._tokens[digest] = None
            case Rewritten():
                pass
            case _:
                assert_never(change)
        self.seq = seq

    def essence(self, now: datetime) -> list[tuple[int, AnyChange]]:
        """The changes that still matter, each with its sequence number, in their order.

        Applied to an empty vault they give this one back, without the values whose time is over.
        """
        changes = [part for name in self.names() for part in _essence_of(self._known(name), now)]
        changes += (
            (held.seq, TokenAdded(held.token))
            for held in self._held_tokens()
            if now < held.token.expires_at
        )
        return sorted(changes, key=lambda part: part[0])

    def _known(self, name: SecretName) -> Secret:
        found = self.secret(name)
        if found is None:
            raise AssertionError("a record changes a secret that no record made")
        return found

    def _set(self, secret: Secret) -> None:
        before = self.secret(secret.name)
        if before is None:
            self._names.append(secret.name)
        was_live = before is not None and before.is_live
        self.live_count += secret.is_live - was_live
        self._secrets[secret.name] = secret

    def _held_tokens(self) -> list[_HeldToken]:
        merged = dict(self._below._tokens if self._below else {}) | self._tokens
        return sorted((held for held in merged.values() if held), key=lambda held: held.seq)


def _with_version(before: Secret | None, put: VersionPut, seq: int) -> Secret:
    """The secret after `put`. What was deleted, and what is past its grace, is let go."""
    kept: tuple[Version, ...] = ()
    if before is not None and before.is_live:
        kept = (*before.versions[:-1], replace(before.current, until=put.previous_until))
        oldest = kept[0].until
        if oldest is not None and oldest <= put.at:  # else a put would look at every version
            kept = tuple(_still_kept(kept, put.care, put.at))
    version = Version(put.kid, put.number, put.value, put.at, seq)
    return Secret(put.name, put.care, (*kept, version), put.number, seq)


def _still_kept(versions: Iterable[Version], care: Care, now: datetime) -> Iterator[Version]:
    """The versions that time has not ended. Data encrypted under an old key is still out there."""
    for version in versions:
        if care.kind is Kind.ENCRYPTION_KEY or version.until is None or now < version.until:
            yield version


def _essence_of(secret: Secret, now: datetime) -> Iterator[tuple[int, AnyChange]]:
    if not secret.versions or (secret.deleted_until is not None and secret.deleted_until <= now):
        yield secret.seq, NameSpent(secret.name, secret.number)
        return
    previous_until = None
    for version in _still_kept(secret.versions, secret.care, now):
        yield (
            version.seq,
            VersionPut(
                secret.name,
                version.kid,
                version.number,
                version.value,
                secret.care,
                version.created_at,
                previous_until,
            ),
        )
        previous_until = version.until
    if secret.deleted_until is not None:
        yield secret.seq, SecretDeleted(secret.name, secret.deleted_until)
    elif secret.seq != secret.current.seq:
        yield secret.seq, SecretRestored(secret.name)
