"""How a secret gets a new version, and how a version ends: rotate, rollback, revoke, and time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from msgspec.structs import replace

from jarvis_secretsd.domain import generation
from jarvis_secretsd.domain.changes import Care, NameSpent, Stepped, VersionPending
from jarvis_secretsd.domain.lifecycle import Step
from jarvis_secretsd.domain.operations import (
    Done,
    Setting,
    check_settled,
    live,
    new_version,
    served,
)
from jarvis_secretsd.domain.rotation import is_over, state_of
from jarvis_secretsd.domain.secret import Secret, Version
from jarvis_secretsd.domain.usage import Reads
from jarvis_secretsd.domain.witness import Answer
from jarvis_secretsd.errors import Conflict, NotFound
from jarvis_secretsd.messages import (
    Elapsed,
    Failure,
    FailureInfo,
    Generate,
    Revoke,
    Revoked,
    Rollback,
    Rotated,
    Settle,
    Stored,
    VersionInfo,
    VersionListing,
    Versions,
)
from jarvis_secretsd.values import NEVER, Kid, SecretName, SecretValue, State

MAX_ENDED_AT_ONCE = 100
"""Versions of a name that end in one turn: each is a record, and who comes next waits for all."""


def rotate(
    name: SecretName, wish: Generate | None, setting: Setting, *, by_clock: bool = False
) -> Done:
    """A new generated version of the secret's kind, or of the kind that is wished for.

    It is pending where a hook changes the far end first, and where it is a signing key that the
    clock made; one that waits for its time is in force at once when somebody asks. Raises NotFound,
    and Conflict for what is issued elsewhere.
    """
    secret = live(setting.vault, name)
    if wish is None and (waiting := secret.waiting) is not None:
        return _in_force(secret, waiting, setting)
    check_settled(secret)
    care = secret.care
    wished = wish or Generate(care.kind, care.length, care.alphabet)
    value = generation.generate(wished, setting.fresh)
    if wish is not None:
        care = _made_so(care, wish)
    return _renewed(secret, care, value, setting, by_clock=by_clock)


def due(
    setting: Setting, may_rotate: Callable[[SecretName], bool], limit: int
) -> tuple[SecretName, ...]:
    """What is due, may be rotated by the clock, and by who asks; so many at the most."""
    rules = setting.rules
    names = (
        name
        for name in setting.vault.names()
        if (secret := setting.vault.live(name)) is not None
        and secret.candidate is None
        and rules.is_due(secret, setting.settled)
        and rules.clock_may_rotate(secret)
        and may_rotate(name)
    )
    return tuple(islice(names, limit))


def summed_up(answers: Mapping[SecretName, Answer]) -> Answer:
    """One answer for several names: what was rotated, what is pending, and which failed.

    That of a single name which failed is its failure.
    """
    acts = tuple(act for answer in answers.values() for act in answer.acts)
    replies = {name: answer.reply for name, answer in answers.items()}
    failed = {name: reply for name, reply in replies.items() if isinstance(reply, Failure)}
    pending = tuple(
        name for name, reply in replies.items() if isinstance(reply, Stored) and reply.pending
    )
    rotated = tuple(name for name in replies if name not in failed and name not in pending)
    if failed and len(replies) == 1:
        return Answer(next(iter(failed.values())), acts)
    told = {str(name): FailureInfo(reply.code, reply.message) for name, reply in failed.items()}
    return Answer(Rotated(rotated, len(rotated), pending, told), acts)


def versions(operation: Versions, setting: Setting, reads: Reads) -> Done:
    """Where each version is in its life. Raises NotFound."""
    secret = live(setting.vault, operation.name)
    infos = tuple(_described(secret, version, setting, reads) for version in secret.versions)
    return Done(VersionListing(secret.name, infos, reads.since))


def rollback(operation: Rollback, setting: Setting) -> Done:
    """The version in grace with this kid, or the latest, is current again.

    Behind a hook its value becomes a new version, which the far end has to take first. Raises
    NotFound, and Conflict while a rotation isn't settled.
    """
    secret = live(setting.vault, operation.name)
    check_settled(secret)
    version = _to_return_to(secret, operation.kid, setting)
    if setting.rules.has_hook(secret.name):
        return _renewed(secret, secret.care, version.value, setting)
    expires_at = setting.rules.expires_at(secret.care, version)
    back = _step(secret, version, Step.REINSTATE, setting)
    return Done(Stored(secret.name, version.kid, version.number, expires_at), back, version.kid)


def revoke(operation: Revoke, setting: Setting) -> Done:
    """A version is served no more. Of two of which nobody can tell which is live, the other is.

    Raises NotFound, and Conflict for the current version and for one whose hook is at work.
    """
    secret = live(setting.vault, operation.name)
    version, candidate = served(secret, operation.kid, setting), secret.candidate
    if version.state is State.CURRENT:
        if candidate is None or candidate.state is not State.UNRESOLVED:
            raise Conflict(f"{version.kid} is current; rotate {secret.name} first, then revoke it")
        over = Stepped(secret.name, candidate.kid, Step.CONFIRM, setting.now, revoked=version.kid)
        return Done(Revoked(secret.name, version.kid, candidate.kid), over, version.kid)
    revoked = Revoked(secret.name, version.kid, secret.current.kid)
    return Done(revoked, _step(secret, version, Step.REVOKE, setting), version.kid)


def settle(operation: Settle, setting: Setting) -> Done:
    """What its hook says of a pending version becomes true. Raises NotFound when there is none."""
    secret = setting.vault.live(operation.name)
    version = secret.version(operation.kid) if secret is not None else None
    if secret is None or version is None or version is not secret.candidate:
        raise NotFound(f"{operation.name} has no pending version with this kid")
    step = Step(operation.outcome)
    if step is Step.DOUBT and version.state is State.UNRESOLVED:
        step_change = None
    else:
        step_change = _step(secret, version, step, setting)
    expires_at = setting.rules.expires_at(secret.care, version)
    stored = Stored(secret.name, version.kid, version.number, expires_at)
    return Done(stored, step_change, version.kid, note=f"{step}: {operation.note}")


def elapse(name: SecretName, setting: Setting) -> Iterator[Done]:
    """What the time has brought: graces that ended, a deletion past recall, a key in force."""
    secret, now = setting.vault.secret(name), setting.settled
    if secret is None:
        return
    nothing = Elapsed()
    if secret.deleted_until is not None:
        if secret.deleted_until <= now:
            spent = NameSpent(name, secret.number, now)
            yield Done(nothing, spent, note="its deletion is past recall")
        return
    over = (version for version in secret.versions if is_over(secret, version, now))
    for version in islice(over, MAX_ENDED_AT_ONCE):
        ended = _step(secret, version, Step.END, setting)
        yield Done(nothing, ended, version.kid, note="its grace has ended")
    waiting = secret.waiting
    if waiting is not None and waiting.until is not None and waiting.until <= now:
        yield replace(_in_force(secret, waiting, setting), result=nothing)


def _in_force(secret: Secret, waiting: Version, setting: Setting) -> Done:
    """What has waited for its time becomes current."""
    care = waiting.next_care or secret.care
    expires_at = setting.rules.expires_at(care, waiting)
    stored = Stored(secret.name, waiting.kid, waiting.number, expires_at)
    confirmed = _step(secret, waiting, Step.CONFIRM, setting)
    return Done(stored, confirmed, waiting.kid, note="in force")


def _to_return_to(secret: Secret, kid: Kid | None, setting: Setting) -> Version:
    in_grace = [
        version
        for version in secret.versions
        if version.state is State.GRACE and not is_over(secret, version, setting.settled)
    ]
    found = [version for version in in_grace if kid in (None, version.kid)]
    if not found:
        what = "version in grace" if kid is None else "version in grace with this kid"
        raise NotFound(f"{secret.name} has no {what}; `versions` shows those that there are")
    return max(found, key=lambda version: (version.until or NEVER, version.number))


def _step(secret: Secret, version: Version, step: Step, setting: Setting) -> Stepped:
    takes_over = step in (Step.CONFIRM, Step.REINSTATE)
    next_care = version.next_care or secret.care
    until = setting.rules.grace_ends(secret.care, setting.now, next_care) if takes_over else None
    return Stepped(secret.name, version.kid, step, setting.now, until)


def _made_so(care: Care, wish: Generate) -> Care:
    """The care of a secret that is made as wished, from now on."""
    return replace(care, kind=wish.kind, inferred=False, length=wish.length, alphabet=wish.alphabet)


def _renewed(
    secret: Secret, care: Care, value: SecretValue, setting: Setting, *, by_clock: bool = False
) -> Done:
    """A new version of a secret that is there, in force now or pending."""
    in_force_at = setting.rules.in_force_at(secret, setting.now, by_clock=by_clock)
    if in_force_at == setting.now:
        return new_version(secret.name, care, value, setting)
    kid, number, now = generation.new_kid(setting.fresh), secret.number + 1, setting.now
    pending = VersionPending(secret.name, kid, number, value, care, now, in_force_at)
    expires_at = setting.rules.expires_at(care, Version(kid, number, value, now, seq=0))
    return Done(
        Stored(secret.name, kid, number, expires_at, pending=True), pending, kid, note="pending"
    )


def _described(secret: Secret, version: Version, setting: Setting, reads: Reads) -> VersionInfo:
    read = reads.last(secret.name, version.kid)
    return VersionInfo(
        version.kid,
        version.number,
        state_of(secret, version, setting.settled),
        version.created_at,
        version.until,
        read.at if read else None,
        read.client if read else None,
    )
