"""What the operator hears of a request that was denied: who asked for what, and what to write."""

from __future__ import annotations

from msgspec import Struct

from jarvis_secretsd.domain.advice import line_to_allow, line_to_be
from jarvis_secretsd.domain.peer import Peer
from jarvis_secretsd.domain.policy import Client, Decision, Policy
from jarvis_secretsd.domain.witness import Call
from jarvis_secretsd.errors import Denied, SecretsError
from jarvis_secretsd.values import ClientId, Permission, SecretName


class Denial(Struct, frozen=True):
    """A denial as the operator wants to see it. `remedy` is the line of policy to add."""

    peer: Peer
    client: ClientId | None
    op: str
    name: SecretName | None
    rule: str
    remedy: str


def denied(
    decision: Decision, client: Client, permission: Permission, name: SecretName | None
) -> Denied:
    """The error that says what this decision of the policy forbids, and what would allow it."""
    return Denied(rule=decision.rule, remedy=line_to_allow(client, permission, name))


def denial_of(
    policy: Policy,
    call: Call,
    client: Client | None,
    error: SecretsError,
    name: SecretName | None = None,
) -> Denial:
    """The denial that this error is; without a client, nobody could tell who called.

    `name` is what was denied where the operation has many, or chose one itself.
    """
    asked, claim = call.request.operation, client.id if client else call.request.client
    rule, remedy = error.code, ""
    if isinstance(error, Denied):
        rule, remedy = error.rule, error.remedy
    if client is None and not remedy:
        remedy = line_to_be(policy, claim, call.peer)
    named = name or getattr(asked, "name", None) or getattr(asked, "key", None)
    return Denial(call.peer, claim, asked.op, named, rule, remedy)
