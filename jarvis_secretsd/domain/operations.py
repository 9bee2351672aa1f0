"""What each operation does once it is allowed: plans from what is stored, changing nothing.

A `Done` is the result to send, the changes that make it true, and the kid for the audit entry.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from msgspec import Struct

from jarvis_secretsd.domain import generation
from jarvis_secretsd.domain.changes import (
    AnyChange,
    Care,
    SecretDeleted,
    SecretRestored,
    VersionPut,
)
from jarvis_secretsd.domain.generation import Fresh
from jarvis_secretsd.domain.rotation import MAX_DAYS, RotationRules, is_over, state_of
from jarvis_secretsd.domain.secret import Secret, Version
from jarvis_secretsd.domain.vault import Vault
from jarvis_secretsd.errors import Conflict, InvalidRequest, NotFound, TooLarge
from jarvis_secretsd.messages import (
    MAX_PAGE,
    Created,
    Delete,
    Deleted,
    Found,
    Generate,
    Get,
    List,
    Listed,
    Listing,
    Put,
    Restore,
    Result,
    Stored,
)
from jarvis_secretsd.values import (
    MAX_VALUE_BYTES,
    Kid,
    SecretName,
    SecretValue,
    State,
)

Wish = TypeVar("Wish")


class Done(Struct, frozen=True):
    """The result, what changes, and which version it is about. `note` goes into the entry."""

    result: Result
    change: AnyChange | None = None
    kid: Kid | None = None
    note: str | None = None


class Setting(Struct, frozen=True):
    """What an operation works on: the vault of this turn, the rules, the time, and randomness.

    `settled` is the time that decides what is over.
    """

    vault: Vault
    rules: RotationRules
    now: datetime
    fresh: Fresh
    settled: datetime


def get(operation: Get, setting: Setting) -> Done:
    """The current version, or the one with the kid that is asked for.

    Raises NotFound, and Unavailable while the vault is locked.
    """
    setting.vault.insist_on_release()
    secret = live(setting.vault, operation.name)
    version = secret.current if operation.kid is None else served(secret, operation.kid, setting)
    found = Found(
        secret.name,
        version.value,
        version.kid,
        setting.rules.expires_at(secret.care, version),
        version.number,
        None if version.value.is_text else "base64",
    )
    return Done(found, kid=version.kid)


def put(operation: Put, setting: Setting, *, may_read: bool) -> Done:
    """A new version from a supplied or a generated value.

    The value that is already current makes no new version when the client may read it (`may_read`),
    so that repeating a put is harmless and yet tells nobody what they may not know. Raises
    Conflict when `expect_kid` isn't current, InvalidRequest, TooLarge.
    """
    secret = setting.vault.live(operation.name)
    _check_expected(operation, secret)
    if secret is not None:
        check_settled(secret)
    care = _wished_care(operation, secret, setting.rules)
    generation.check(Generate(care.kind, care.length, care.alphabet))
    if operation.value is None:
        value = _generated(operation, care, setting.fresh)
        return new_version(operation.name, care, value, setting)
    value = _supplied(operation)
    unchanged = secret is not None and secret.current.value == value
    if secret and may_read and unchanged and _asks_nothing_new(operation, secret.care):
        current = secret.current
        expires_at = setting.rules.expires_at(secret.care, current)
        stored = Stored(secret.name, current.kid, current.number, expires_at)
        return Done(stored, kid=current.kid, note="unchanged")
    return new_version(operation.name, care, value, setting)


def delete(operation: Delete, setting: Setting) -> Done:
    """The secret is gone, and can be restored until its grace ends.

    Raises NotFound, and Conflict while a rotation isn't settled.
    """
    secret = live(setting.vault, operation.name)
    check_settled(secret)
    until = setting.rules.deletion_ends(secret.care, setting.now)
    return Done(
        Deleted(secret.name, until), SecretDeleted(secret.name, until), kid=secret.current.kid
    )


def restore(operation: Restore, setting: Setting) -> Done:
    """A deleted secret is back with its versions. Raises NotFound, Conflict if it is there."""
    secret = setting.vault.secret(operation.name)
    if secret is not None and secret.is_live:
        raise Conflict(f"{operation.name} isn't deleted")
    if secret is None or secret.deleted_until is None or secret.deleted_until <= setting.settled:
        raise NotFound(f"{operation.name} can't be restored: it is unknown or its grace has ended")
    current = secret.current
    expires_at = setting.rules.expires_at(secret.care, current)
    stored = Stored(secret.name, current.kid, current.number, expires_at)
    return Done(stored, SecretRestored(secret.name), kid=current.kid)


def listing(operation: List, setting: Setting, may_read: Callable[[SecretName], bool]) -> Done:
    """The live secrets for which `may_read` holds. Raises InvalidRequest for a limit below 1."""
    limit = operation.limit
    if limit is not None and not 1 <= limit <= MAX_PAGE:
        raise InvalidRequest(f"limit is {limit}; it can be 1 to {MAX_PAGE}")
    page: list[Listed] = []
    for name in setting.vault.names(operation.after or ""):
        secret = setting.vault.live(name)
        if secret is None or not may_read(name):
            continue
        if len(page) == limit:
            return Done(Listing(tuple(page), next=page[-1].name))
        page.append(_listed(secret, setting.rules, setting.settled))
    return Done(Listing(tuple(page)))


def live(vault: Vault, name: SecretName) -> Secret:
    """The secret of this name. Raises NotFound."""
    secret = vault.live(name)
    if secret is None:
        raise NotFound(f"no secret is named {name}")
    return secret


def served(secret: Secret, kid: Kid, setting: Setting) -> Version:
    """The version with this kid, if it is given out. Raises NotFound."""
    version = secret.version(kid)
    if version is None or is_over(secret, version, setting.settled):
        raise NotFound(f"{secret.name} has no version with this kid, or its grace has ended")
    if version.state is State.PENDING:
        raise NotFound(f"version {version.number} of {secret.name} is pending, and not served yet")
    return version


def check_settled(secret: Secret) -> None:
    """Raises Conflict while a version is pending, or nobody can tell which one is live."""
    candidate = secret.candidate
    if candidate is None:
        return
    if candidate.state is State.UNRESOLVED:
        raise Conflict(
            f"nobody can tell which version of {secret.name} is live; "
            f"revoke {secret.current.kid} or {candidate.kid}, whichever the far end refuses"
        )
    wait = "rotate it, to have that at once" if secret.waiting else "wait until it settles"
    raise Conflict(f"version {candidate.number} of {secret.name} is pending; {wait}")


def _check_expected(operation: Put, secret: Secret | None) -> None:
    expected = operation.expect_kid
    if expected is None:
        return
    if expected == "" and secret is not None:
        raise Conflict(f"{operation.name} exists already")
    if expected != "" and (secret is None or secret.current.kid != expected):
        raise Conflict(f"the current version of {operation.name} isn't the one expected")


def _wished_care(operation: Put, before: Secret | None, rules: RotationRules) -> Care:
    """How to keep it from now on: what isn't said stays, unless it becomes another kind."""
    for field, days in (
        ("rotation_days", operation.rotation_days),
        ("grace_days", operation.grace_days),
    ):
        if days is not None and not 0 <= days <= MAX_DAYS:
            raise InvalidRequest(f"{field} is {days}; it can be 0 to {MAX_DAYS}")
    inferred = rules.inferred_care(operation.name)
    kept = before.care if before is not None else inferred
    kind = operation.kind or (inferred.kind if kept.inferred else kept.kind)
    if kind is not kept.kind:
        kept = Care(kind)
    return Care(
        kind=kind,
        inferred=kept.inferred and operation.kind is None,
        rotation_days=_said(operation.rotation_days, kept.rotation_days),
        grace_days=_said(operation.grace_days, kept.grace_days),
        auto_rotate=_said(operation.auto_rotate, kept.auto_rotate),
        length=_said(operation.length, kept.length),
        alphabet=_said(operation.alphabet, kept.alphabet),
    )


def _said(wish: Wish | None, kept: Wish | None) -> Wish | None:
    return kept if wish is None else wish


def _asks_nothing_new(operation: Put, care: Care) -> bool:
    wishes = (
        (operation.kind, care.kind),
        (operation.rotation_days, care.rotation_days),
        (operation.grace_days, care.grace_days),
        (operation.auto_rotate, care.auto_rotate),
        (operation.length, care.length),
        (operation.alphabet, care.alphabet),
    )
    return all(wish is None or wish == kept for wish, kept in wishes)


def _supplied(operation: Put) -> SecretValue:
    text = operation.value or ""
    try:
        if operation.encoding == "base64":
            data = base64.b64decode(text, validate=True)
        else:
            data = text.encode()
    except (binascii.Error, ValueError):
        raise InvalidRequest("value isn't valid base64") from None
    if len(data) > MAX_VALUE_BYTES:
        raise TooLarge(f"value has {len(data):,} bytes; at most {MAX_VALUE_BYTES:,} are stored")
    return SecretValue(data, is_text=operation.encoding is None)


def _generated(operation: Put, care: Care, fresh: Fresh) -> SecretValue:
    if operation.kind is None:
        raise InvalidRequest("give a value, or a kind of which a value can be generated")
    if not generation.can_generate(operation.kind):
        raise InvalidRequest(f"a value of kind {operation.kind} can't be generated; give the value")
    if operation.encoding is not None:
        raise InvalidRequest("encoding says how the value is written, and there is no value")
    return generation.generate(Generate(care.kind, care.length, care.alphabet), fresh)


def new_version(name: SecretName, care: Care, value: SecretValue, setting: Setting) -> Done:
    """A version that is current at once."""
    rules, now = setting.rules, setting.now
    before = setting.vault.secret(name)
    number = before.number + 1 if before is not None else 1
    replaced = before if before is not None and before.is_live else None
    put = VersionPut(
        name=name,
        kid=generation.new_kid(setting.fresh),
        number=number,
        value=value,
        care=care,
        at=now,
        previous_until=rules.grace_ends(replaced.care, now, care) if replaced else None,
    )
    expires_at = rules.expires_at(care, Version(put.kid, number, value, now, seq=0))
    kind = Stored if replaced else Created
    return Done(kind(name, put.kid, number, expires_at), put, kid=put.kid)


def _listed(secret: Secret, rules: RotationRules, now: datetime) -> Listed:
    version, candidate = secret.current, secret.candidate
    expires_at = rules.expires_at(secret.care, version)
    return Listed(
        name=secret.name,
        kid=version.kid,
        version=version.number,
        kind=secret.care.kind,
        created_at=version.created_at,
        expires_at=expires_at,
        is_expired=expires_at <= now,
        state=State.CURRENT if candidate is None else candidate.state,
        in_grace=sum(state_of(secret, each, now) is State.GRACE for each in secret.versions),
    )
