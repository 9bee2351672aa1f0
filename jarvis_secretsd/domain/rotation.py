"""What is current, in grace, due: the rules of time, from configuration and a secret's own care."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from jarvis_secretsd.domain.changes import Care
from jarvis_secretsd.domain.policy import Pattern
from jarvis_secretsd.domain.secret import Secret, Version
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
    """The configuration's part: days until due, days of grace, what the clock may rotate.

    `hooked` are the names whose far end a hook changes first, `publish_secs` how long a new signing
    key is published before it signs when the clock made it.
    """

    rotation_days: int = 90
    grace_days: int = 14
    auto: tuple[Pattern, ...] = ()
    hooked: tuple[Pattern, ...] = ()
    publish_secs: int = 600
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

    def grace_ends(self, care: Care, now: datetime, next_care: Care) -> datetime | None:
        """When a version that is superseded now is over; None: time doesn't end it.

        It is kept by `care`, what takes its place by `next_care`. Data encrypted under an old key
        is still out there, whatever kind comes after it.
        """
        if Kind.ENCRYPTION_KEY in (care.kind, next_care.kind):
            return None
        return self.deletion_ends(next_care, now)

    def deletion_ends(self, care: Care, now: datetime) -> datetime:
        """When a secret that is deleted now can be restored no more."""
        return _after(now, self.grace_days if care.grace_days is None else care.grace_days)

    def is_due(self, secret: Secret, now: datetime) -> bool:
        """The current version's time has come."""
        return secret.is_live and self.expires_at(secret.care, secret.current) <= now

    def is_overdue(self, secret: Secret, now: datetime) -> bool:
        """It has been due for longer than an old version of it is kept."""
        if not secret.is_live:
            return False
        return self.deletion_ends(secret.care, self.expires_at(secret.care, secret.current)) <= now

    def has_hook(self, name: SecretName) -> bool:
        """A hook changes the far end before a new version is current."""
        return any(pattern.matches(name) for pattern in self.hooked)

    def clock_may_rotate(self, secret: Secret) -> bool:
        """Nobody is hurt when the clock rotates it: it asked for that, or its users follow.

        What was rolled back is left to people while there is a way forward again: a new version
        did harm.
        """
        if secret.care.kind in (Kind.STATIC, Kind.EXTERNAL) or _is_rolled_back(secret):
            return False
        if secret.care.auto_rotate is not None:
            return secret.care.auto_rotate
        return (
            secret.care.kind is Kind.JWT_SIGNING_KEY
            or self.has_hook(secret.name)
            or any(pattern.matches(secret.name) for pattern in self.auto)
        )

    def in_force_at(self, secret: Secret, now: datetime, *, by_clock: bool) -> datetime | None:
        """When a version that is made now becomes current by itself; None: when its hook says so.

        A signing key that the clock makes is published first, so that verifiers know it in time.
        """
        if self.has_hook(secret.name):
            return None
        if by_clock and secret.care.kind is Kind.JWT_SIGNING_KEY:
            return now + timedelta(seconds=self.publish_secs)
        return now


def state_of(secret: Secret, version: Version, now: datetime) -> State:
    """Where a version is in its life.

    What is past its grace is over, though the record that says so may be still to come.
    """
    if secret.deleted_until is not None:
        return State.DELETED
    return State.EXPIRED if is_over(secret, version, now) else version.state


def is_over(secret: Secret, version: Version, now: datetime) -> bool:
    """The version's grace has ended."""
    return grace_end(secret, (version,)) <= now


def grace_end(secret: Secret, versions: Iterable[Version]) -> datetime:
    """When time ends the first of these versions of it; `NEVER`: it ends none.

    It takes them all at once, since a name may have thousands in grace.
    """
    if secret.care.kind is Kind.ENCRYPTION_KEY:
        return NEVER
    grace = State.GRACE
    ends = [each.until for each in versions if each.until and each.state is grace]
    return min(ends, default=NEVER)


def _is_rolled_back(secret: Secret) -> bool:
    """A version that is newer than the current one is in grace."""
    return bool(secret.versions) and secret.versions[-1].state is State.GRACE


def _after(moment: datetime, days: int) -> datetime:
    try:
        return min(moment + timedelta(days=days), NEVER)
    except OverflowError:
        return NEVER
