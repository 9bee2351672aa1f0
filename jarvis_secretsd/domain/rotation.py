"""What is current, in grace, due: the rules of time, from configuration and a secret's own care."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from jarvis_secretsd.domain.changes import Care
from jarvis_secretsd.domain.policy import Pattern
from jarvis_secretsd.domain.vault import Secret, Version
from jarvis_secretsd.values import NEVER, Kind, SecretName, State

MAX_DAYS = 36_500
"""A hundred years: more is a slip of the hand, and would leave the calendar."""

DEFAULT_KINDS: Mapping[Kind, tuple[str, ...]] = {
    Kind.JWT_SIGNING_KEY: ("*jwt*key*", "*jwt*secret*"),
    Kind.ENCRYPTION_KEY: ("*encryption_key*", "*encryption-key*", "*master_key*"),
    Kind.PASSWORD: ("*password*", "*passwd*", "*_pass"),
    Kind.API_KEY: ("*api_key*", "*api-key*", "*apikey*"),
    Kind.TOKEN: ("*token*",),
    Kind.STATIC: ("*_url", "*_uri", "*_host", "*_port", "*_user", "*_username", "*_db", "*_id"),
}
"""Which kind a name speaks of, tried in this order. What matches none is a password."""

_ISSUED_ELSEWHERE = frozenset({Kind.API_KEY, Kind.TOKEN})
_NEVER_DUE = frozenset({Kind.STATIC})


class RotationRules(Struct, frozen=True):
    """The configuration's part: days until due, days of grace, what the clock may rotate."""

    rotation_days: int = 90
    grace_days: int = 14
    auto: tuple[Pattern, ...] = ()
    kinds: tuple[tuple[Pattern, Kind], ...] = tuple(
        (Pattern.of(text), kind) for kind, texts in DEFAULT_KINDS.items() for text in texts
    )

    def inferred_care(self, name: SecretName) -> Care:
        """How to keep a supplied value that came without a kind.

        A key or token of somebody's API was issued elsewhere: a new one can't be made here.
        """
        kind = next((kind for pattern, kind in self.kinds if pattern.matches(name)), Kind.PASSWORD)
        return Care(Kind.EXTERNAL if kind in _ISSUED_ELSEWHERE else kind, inferred=True)

    def expires_at(self, care: Care, version: Version) -> datetime:
        """When this version is due for rotation; `NEVER` for what isn't a secret in itself."""
        if care.kind in _NEVER_DUE:
            return NEVER
        days = self.rotation_days if care.rotation_days is None else care.rotation_days
        return _after(version.created_at, days)

    def grace_ends(self, care: Care, now: datetime) -> datetime:
        """When a version that is superseded now, or a secret that is deleted now, is over."""
        return _after(now, self.grace_days if care.grace_days is None else care.grace_days)

    def is_due(self, secret: Secret, now: datetime) -> bool:
        """The current version's time has come."""
        return secret.is_live and self.expires_at(secret.care, secret.current) <= now

    def clock_may_rotate(self, secret: Secret) -> bool:
        """Nobody is hurt when the clock rotates it: it asked for that, or its users follow."""
        if secret.care.kind in (Kind.STATIC, Kind.EXTERNAL):
            return False
        if secret.care.auto_rotate is not None:
            return secret.care.auto_rotate
        return secret.care.kind is Kind.JWT_SIGNING_KEY or any(
            pattern.matches(secret.name) for pattern in self.auto
        )


def state_of(secret: Secret, version: Version, now: datetime) -> State:
    """Where a version is in its life."""
    if secret.deleted_until is not None:
        return State.DELETED
    if version.until is None:
        return State.CURRENT
    if secret.care.kind is Kind.ENCRYPTION_KEY or now < version.until:
        return State.GRACE
    return State.EXPIRED


def _after(moment: datetime, days: int) -> datetime:
    try:
        return min(moment + timedelta(days=days), NEVER)
    except OverflowError:
        return NEVER
