"""What the time has brought: versions that are over, and secrets that are due."""

from __future__ import annotations

from collections.abc import Callable

from jarvis_secretsd.domain import renewal
from jarvis_secretsd.domain.operations import Done, Setting
from jarvis_secretsd.domain.policy import Client, Decision
from jarvis_secretsd.domain.witness import Act, Answer, Call, done_so
from jarvis_secretsd.messages import Elapse, Elapsed, Failure
from jarvis_secretsd.values import SecretName

CLOCK = Decision(True, "internal")
"""What time brings needs no rule of the policy."""

RotateOne = Callable[[SecretName], Answer]
"""Rotates one secret whose time has come."""


def elapsed(
    call: Call, client: Client, operation: Elapse, setting: Setting, rotate: RotateOne
) -> Answer:
    """What the time has brought for each name; what people must see to is told."""
    acts: list[Act] = []
    due: list[SecretName] = []
    failed: list[SecretName] = []
    for name in operation.names:
        for done in renewal.elapse(name, setting):
            acts += done_so(call, client, CLOCK, name, done).acts
        secret = call.vault.live(name)
        if secret is None or secret.candidate or not setting.rules.is_due(secret, call.settled):
            continue
        if setting.rules.clock_may_rotate(secret):
            if name in operation.deferred or setting.vault.lock is not None:
                continue  # while nobody can fetch a new value, none is forced on them
            answer = rotate(name)
            acts += answer.acts
            if isinstance(answer.reply, Failure):
                failed.append(name)
        elif secret.name not in operation.told:
            told = Done(Elapsed(), kid=secret.current.kid, note="due for rotation")
            acts += done_so(call, client, CLOCK, name, told).acts
            due.append(name)
    return Answer(Elapsed(tuple(due), tuple(failed)), tuple(acts))
