"""Canaries: secrets that nothing uses. Whoever asks for one has found what they shouldn't have."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from jarvis_secretsd.domain.peer import Peer
from jarvis_secretsd.domain.policy import Pattern
from jarvis_secretsd.domain.witness import Act, Answer, Call
from jarvis_secretsd.messages import Failure, Get
from jarvis_secretsd.values import SecretName

NOTE = "canary"
"""What the audit entry of such a request says."""


class Touch(Struct, frozen=True):
    """Somebody asked for the value of a canary; `outcome` is "allowed" or the error's code."""

    peer: Peer
    client: str | None
    name: SecretName
    outcome: str

    @property
    def allowed(self) -> bool:
        """They have it."""
        return self.outcome == "allowed"


def touch_of(canaries: Sequence[Pattern], call: Call, answer: Answer) -> Touch | None:
    """What the operator must hear of this request, if it asked for the value of a canary."""
    request, reply = call.request, answer.reply
    if not isinstance(request.operation, Get):
        return None
    name = request.operation.name
    if not any(pattern.matches(name) for pattern in canaries):
        return None
    client = next((act.event.client for act in answer.acts), request.client)
    return Touch(call.peer, client, name, reply.code if isinstance(reply, Failure) else "allowed")


def marked(answer: Answer) -> Answer:
    """The answer, whose audit entries say that it was about a canary."""
    return replace(answer, acts=tuple(map(_marked, answer.acts)))


def _marked(act: Act) -> Act:
    note = ", ".join(filter(None, (NOTE, act.event.note)))
    return replace(act, event=replace(act.event, note=note))
