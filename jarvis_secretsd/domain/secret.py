"""One secret and its versions: a fold over what happened to it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from jarvis_secretsd.domain.changes import (
    Care,
    NameSpent,
    SecretChange,
    SecretDeleted,
    SecretKept,
    SecretRestored,
    Stepped,
    VersionKept,
    VersionPending,
    VersionPut,
)
from jarvis_secretsd.domain.lifecycle import Step, after
from jarvis_secretsd.values import Kid, Kind, SecretName, SecretValue, State

_CANDIDATES = (State.PENDING, State.UNRESOLVED)


class Version(Struct, frozen=True):
    """One value of a secret, and where it is in its life.

    `until` is the end of its grace, or the moment at which a pending one comes into force; None:
    there is no such moment. `seq` is the vault's sequence number of the record that brought it,
    `next_care` the care that a pending one brings.
    """

    kid: Kid
    number: int
    value: SecretValue
    created_at: datetime
    seq: int
    state: State = State.CURRENT
    until: datetime | None = None
    next_care: Care | None = None


class Secret(Struct, frozen=True):
    """A name and its versions, oldest first; one of them is current. None once it is spent.

    `deleted_until` is the end of the time in which a deleted secret can be restored, `number` that
    of the newest version that there ever was.
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
        newest = self.versions[-1]
        if newest.state is State.CURRENT:
            return newest
        return next(version for version in self.versions if version.state is State.CURRENT)

    @property
    def candidate(self) -> Version | None:
        """The version that is to become current, and isn't yet: none comes after it till then."""
        newest = self.versions[-1] if self.versions else None
        return newest if newest is not None and newest.state in _CANDIDATES else None

    @property
    def waiting(self) -> Version | None:
        """The version that is to become current when its time comes."""
        candidate = self.candidate
        is_waiting = candidate is not None and candidate.state is State.PENDING and candidate.until
        return candidate if is_waiting else None

    def version(self, kid: Kid) -> Version | None:
        """The version of this kid, whatever its state."""
        return next((version for version in self.versions if version.kid == kid), None)


def fold(before: Secret | None, change: SecretChange, seq: int) -> Secret:
    """The secret after this change, whose record has this sequence number."""
    match change:
        case VersionPut():
            secret = _with_version(before, change, seq)
        case VersionKept():
            secret = _with_kept(before, change, seq)
        case NameSpent(name, number):
            secret = Secret(name, Care(Kind.STATIC), (), number, seq)
        case _ if before is None:
            raise AssertionError("a record changes a secret that no record made")
        case VersionPending():
            secret = _with_candidate(before, change, seq)
        case Stepped():
            secret = _with_step(before, change, seq)
        case SecretDeleted(_, until):
            secret = replace(before, deleted_until=until, seq=seq)
        case SecretRestored():
            secret = replace(before, deleted_until=None, seq=seq)
        case SecretKept(_, number, until):
            secret = replace(before, number=number, deleted_until=until, seq=seq)
        case _:
            assert_never(change)
    return secret


def has_lost(before: Secret, now: Secret) -> bool:
    """A version that was there is no more: the oldest, or one of more than there are now."""
    if len(now.versions) < len(before.versions):
        return True
    return bool(before.versions) and now.versions[0].kid != before.versions[0].kid


def _with_version(before: Secret | None, put: VersionPut, seq: int) -> Secret:
    """The secret after `put`. What was deleted is let go."""
    kept: tuple[Version, ...] = ()
    if before is not None and before.is_live:
        kept = _superseded(before, put.previous_until)
    version = Version(put.kid, put.number, put.value, put.at, seq)
    return Secret(put.name, put.care, (*kept, version), put.number, seq)


def _with_candidate(before: Secret, put: VersionPending, seq: int) -> Secret:
    version = Version(
        put.kid, put.number, put.value, put.at, seq, State.PENDING, put.due, next_care=put.care
    )
    return replace(before, versions=(*before.versions, version), number=put.number, seq=seq)


def _with_step(before: Secret, stepped: Stepped, seq: int) -> Secret:
    """The secret after a version's step: a version that became current takes another's place."""
    version = before.version(stepped.kid)
    state = None if version is None else after(version.state, stepped.step)
    if version is None or state is None:
        raise AssertionError("a record says a step that this version can't take")
    care, versions = before.care, before.versions
    if state is State.CURRENT:
        care, versions = version.next_care or care, _superseded(before, stepped.until)
    next_care = None if state is State.CURRENT else version.next_care
    moved = replace(version, state=state, until=None, next_care=next_care)
    gone = version.kid if state is State.EXPIRED else stepped.revoked
    kept = (moved if each is version else each for each in versions)
    left = tuple(each for each in kept if each.kid != gone)
    return replace(before, care=care, versions=left, seq=seq)


def _superseded(secret: Secret, until: datetime | None) -> tuple[Version, ...]:
    """The versions, the current one in grace. One of many is changed, so the others are copied."""
    current = secret.current
    place = len(secret.versions) - 1
    while secret.versions[place] is not current:
        place -= 1
    over = replace(current, state=after(State.CURRENT, Step.SUPERSEDE), until=until)
    return (*secret.versions[:place], over, *secret.versions[place + 1 :])


def _with_kept(before: Secret | None, kept: VersionKept, seq: int) -> Secret:
    version = Version(
        kept.kid, kept.number, kept.value, kept.at, seq, kept.state, kept.until, kept.next_care
    )
    earlier = before.versions if before is not None else ()
    return Secret(kept.name, kept.care, (*earlier, version), kept.number, seq)


def essence_of(secret: Secret) -> Iterator[tuple[int, SecretChange]]:
    """The changes that give this secret back."""
    if not secret.versions:
        yield secret.seq, NameSpent(secret.name, secret.number)
        return
    for version in secret.versions:
        yield (
            version.seq,
            VersionKept(
                secret.name,
                version.kid,
                version.number,
                version.value,
                secret.care,
                version.created_at,
                version.state,
                version.until,
                version.next_care,
            ),
        )
    if secret.seq != secret.versions[-1].seq:
        yield secret.seq, SecretKept(secret.name, secret.number, secret.deleted_until)
