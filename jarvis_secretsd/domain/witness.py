"""An answer and its witness: no act without an audit entry, no entry without its rule."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from msgspec import Struct

from jarvis_secretsd.domain.audit import Event, Outcome
from jarvis_secretsd.domain.changes import AnyChange
from jarvis_secretsd.domain.generation import Fresh
from jarvis_secretsd.domain.operations import Done
from jarvis_secretsd.domain.peer import Peer
from jarvis_secretsd.domain.policy import Client, Decision
from jarvis_secretsd.domain.vault import Vault
from jarvis_secretsd.domain.watching import Watching
from jarvis_secretsd.errors import SecretsError, Unavailable
from jarvis_secretsd.messages import Failure, Reply, Request
from jarvis_secretsd.values import ClientId, Kid, SecretName


class Act(Struct, frozen=True):
    """An audit entry, and the change that it witnesses, if there is one."""

    event: Event
    change: AnyChange | None = None


class Answer(Struct, frozen=True):
    """What a request comes to: the reply, and the acts to make durable before it leaves.

    `watching` is the watch that begins with the reply.
    """

    reply: Reply
    acts: tuple[Act, ...] = ()
    watching: Watching | None = None


class Call(Struct, frozen=True):
    """One request and everything it may depend on."""

    request: Request
    peer: Peer
    vault: Vault
    now: datetime
    fresh: Fresh
    settled: datetime


def failure_of(error: SecretsError) -> Failure:
    """What is told of an error: its code, its sentence, and for `unavailable` the reason."""
    reason = error.reason if isinstance(error, Unavailable) else None
    return Failure(error.code, error.message, reason)


def witnessed(
    call: Call,
    client: Client,
    decision: Decision,
    name: SecretName | None,
    act: Callable[[], Done],
) -> Answer:
    """Do what is allowed, and witness it, also when it comes to nothing."""
    try:
        done = act()
    except SecretsError as error:
        event = event_of(
            call, client.id, name, outcome=Outcome.FAILED, rule=decision.rule, note=error.code
        )
        return Answer(failure_of(error), (Act(event),))
    return done_so(call, client, decision, name, done)


def done_so(
    call: Call, client: Client, decision: Decision, name: SecretName | None, done: Done
) -> Answer:
    """What was done, with the entry that witnesses it."""
    event = event_of(
        call,
        client.id,
        name,
        outcome=Outcome.ALLOWED,
        rule=decision.rule,
        kid=done.kid,
        note=done.note,
    )
    return Answer(done.result, (Act(event, done.change),))


def event_of(
    call: Call,
    client: ClientId | None,
    name: SecretName | None,
    *,
    outcome: str,
    rule: str,
    kid: Kid | None = None,
    note: str | None = None,
) -> Event:
    """The audit entry of this request: who, what, which version, and what came of it."""
    peer = call.peer
    return Event(
        uid=peer.uid,
        gid=peer.gid,
        pid=peer.pid,
        transport=peer.transport,
        unit=peer.unit,
        client=_plain(client),
        op=call.request.operation.op,
        name=_plain(name),
        kid=_plain(kid),
        outcome=outcome,
        rule=rule,
        note=note,
    )


def _plain(text: str | None) -> str | None:
    """The text as a plain `str`, which is what encodes fast."""
    return None if text is None else str(text)
