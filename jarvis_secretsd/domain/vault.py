"""What is stored: a fold over records. A start and a live change go through the same `apply`.

An overlay is a vault on top of another: it holds what one turn changed, and either becomes part of
the vault below (`absorb`) once the turn is durable, or is dropped.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterator
from datetime import datetime

from msgspec import Struct

from jarvis_secretsd.domain.changes import (
    AnyChange,
    BackedUp,
    RewriteBegun,
    Rewritten,
    SecretChange,
    TokenAdded,
    TokenEnded,
    VaultLocked,
    VaultUnlocked,
)
from jarvis_secretsd.domain.identity import Token
from jarvis_secretsd.domain.secret import Secret, essence_of, fold, has_lost
from jarvis_secretsd.errors import Reason, Unavailable
from jarvis_secretsd.values import Kind, SecretName


class _HeldToken(Struct, frozen=True):
    seq: int
    token: Token


class Vault:
    """The secrets and tokens that the records so far add up to.

    `dead_since` is when the first value ended that the file still holds, None if it holds none.
    `lock` is what locked it, while it is locked, and `backup` its last backup, each with the number
    of its record.
    """

    def __init__(self, below: Vault | None = None) -> None:
        self._below = below
        self._secrets: dict[SecretName, Secret] = {}
        self._names: list[SecretName] = []
        self._tokens: dict[str, _HeldToken | None] = {}
        self._signing: set[SecretName] = set()
        self.seq: int = below.seq if below else 0
        self.live_count: int = below.live_count if below else 0
        self.dead_since: datetime | None = below.dead_since if below else None
        self.lock: tuple[int, VaultLocked] | None = below.lock if below else None
        self.backup: tuple[int, BackedUp] | None = below.backup if below else None

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

    def signing_keys(self) -> list[Secret]:
        """The live secrets of kind jwt_signing_key, by name; none of the others is looked at."""
        names = self._signing | (self._below._signing if self._below else set())
        found = filter(None, map(self.live, sorted(names)))
        return [secret for secret in found if secret.care.kind is Kind.JWT_SIGNING_KEY]

    def token(self, digest: str) -> Token | None:
        """The token with this digest, if it is known; its expiry is the asker's business."""
        if digest in self._tokens or self._below is None:
            held = self._tokens.get(digest)
            return held.token if held else None
        return self._below.token(digest)

    def tokens(self) -> list[Token]:
        """Every token, oldest first."""
        return [held.token for held in self._held_tokens()]

    def insist_on_release(self) -> None:
        """Raises Unavailable while nothing may be released."""
        if self.lock is not None:
            raise Unavailable(
                Reason.LOCKED, "the vault is locked; an admin unlocks it: `jarvis-secrets unlock`"
            )

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
        self._signing |= overlay._signing
        self.seq, self.live_count = overlay.seq, overlay.live_count
        self.dead_since = overlay.dead_since
        self.lock, self.backup = overlay.lock, overlay.backup

    def apply(self, seq: int, change: AnyChange) -> None:
        """Take in one change, as the record of this sequence number says it."""
        match change:
            case TokenAdded(token):
                self._tokens[token.digest] = _HeldToken(seq, token)
            case TokenEnded(digest):
                self._tokens[digest] = None
            case VaultLocked():
                self.lock = (seq, change)
            case VaultUnlocked():
                self.lock = None
            case BackedUp():
                self.backup = (seq, change)
            case RewriteBegun():
                pass
            case Rewritten(_, dead_since):
                self.dead_since = dead_since
            case _:
                self._take(change, seq)
        self.seq = seq

    def secrets(self) -> list[Secret]:
        """Every secret as it is now, in no order; quickly, for work that takes its time over it."""
        merged = dict(self._below._secrets if self._below else {}) | self._secrets
        return [*merged.values()]

    def essence(self, now: datetime) -> list[tuple[int, AnyChange]]:
        """The changes that still matter, each with its sequence number, in their order.

        Applied to an empty vault they give this one back, without the values whose life is over and
        without the tokens that have ended by `now`.
        """
        changes: list[tuple[int, AnyChange]]
        changes = [part for name in self.names() for part in essence_of(self._known(name))]
        changes += self.kept_beside_secrets(now)
        return sorted(changes, key=lambda part: part[0])

    def kept_beside_secrets(self, now: datetime) -> Iterator[tuple[int, AnyChange]]:
        """The changes that give back the tokens that haven't ended by `now`, lock and backup."""
        yield from filter(None, (self.lock, self.backup))
        for held in self._held_tokens():
            if now < held.token.expires_at:
                yield held.seq, TokenAdded(held.token)

    def _take(self, change: SecretChange, seq: int) -> None:
        before = self.secret(change.name)
        secret = fold(before, change, seq)
        if before is None:
            self._names.append(secret.name)
        if secret.care.kind is Kind.JWT_SIGNING_KEY:
            self._signing.add(secret.name)
        was_live = before is not None and before.is_live
        self.live_count += secret.is_live - was_live
        if before is not None and has_lost(before, secret):
            self.dead_since = self.dead_since or getattr(change, "at", None)
        self._secrets[secret.name] = secret

    def _known(self, name: SecretName) -> Secret:
        found = self.secret(name)
        if found is None:
            raise AssertionError("a name of this vault has no secret")
        return found

    def _held_tokens(self) -> list[_HeldToken]:
        merged = dict(self._below._tokens if self._below else {}) | self._tokens
        return sorted((held for held in merged.values() if held), key=lambda held: held.seq)
