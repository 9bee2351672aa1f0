"""What a peer and a client may be and do, as `whoami` and `can` tell it."""

from __future__ import annotations

from jarvis_secretsd.domain.identity import why_not
from jarvis_secretsd.domain.peer import Peer, Transport
from jarvis_secretsd.domain.policy import Client, Policy
from jarvis_secretsd.messages import Can, Identity, Verdict


def standing_of(policy: Policy, peer: Peer, client: Client | None) -> Identity:
    """Who the kernel says, whom this peer may be, and what the client that it is may do."""
    rights = client.rights() if client is not None else None
    return Identity(
        uid=peer.uid,
        gid=peer.gid,
        pid=peer.pid,
        transport=peer.transport,
        clients=tuple(str(candidate.id) for candidate in policy.candidates(peer)),
        client=str(client.id) if client is not None else None,
        permissions=rights.permissions if rights else {},
        deny=rights.deny if rights else (),
    )


def verdict_on(policy: Policy, operation: Can) -> Verdict:
    """May the client that is asked about do that, and which rule says so?"""
    subject = policy.clients.get(operation.subject)
    if subject is None:
        return Verdict(False, f"clients.{operation.subject}: not in the policy")
    if operation.uid is not None:
        asked = Peer(Transport.UNIX, operation.uid)
        if not subject.binds(asked):
            return Verdict(False, why_not(policy, subject.id, asked))
    decision = policy.decide(subject, operation.permission, operation.name)
    return Verdict(decision.allowed, decision.rule)
