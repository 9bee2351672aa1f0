"""Who is asking: what the kernel says, what the caller claims, and what a token proves.

A claim only chooses among the clients that the policy lets the peer be. It never adds a right.
"""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from msgspec import Struct

from jarvis_secretsd.domain.peer import Peer, Transport
from jarvis_secretsd.domain.policy import Client, Policy, TokenRule
from jarvis_secretsd.errors import BadToken, ClientRequired, Denied
from jarvis_secretsd.values import ClientId

__all__ = ["Peer", "Token", "Transport", "identify", "why_not"]


class Token(Struct, frozen=True):
    """A client's token as it is stored.

    `digest` is its SHA-256 in hex, `uids` are those who may use it (none: anyone).
    """

    token_id: str
    digest: str
    client: ClientId
    created_at: datetime
    expires_at: datetime
    uids: tuple[int, ...] = ()

    def proves(self, client: ClientId, peer: Peer, now: datetime) -> bool:
        """Does it show that `peer` may be `client`? From `expires_at` on it doesn't."""
        return (
            self.client == client
            and now < self.expires_at
            and (not self.uids or peer.uid in self.uids)
        )


def identify(
    policy: Policy,
    peer: Peer,
    claim: ClientId | None,
    token: Token | None,
    *,
    presented: bool,
    now: datetime,
    claim_required: bool,
) -> Client:
    """The client that is asking.

    `presented` says that a token was sent, `token` which of the stored ones it was found to be.
    Raises ClientRequired where it can't be told without a claim, BadToken where a token is missing
    or at fault, Denied for a client that this peer may not be, whether it is in the policy or not.
    """
    claimed = _only_candidate(policy, peer, claim_required).id if claim is None else claim
    client = policy.clients.get(claimed)
    rule = TokenRule.REFUSED if client is None else client.token
    bound = client is not None and client.binds(peer)
    proven = (
        token is not None
        and presented
        and rule is not TokenRule.REFUSED
        and token.proves(claimed, peer, now)
    )
    if client is not None and _admits(rule, bound=bound, proven=proven, presented=presented):
        return client
    if (presented and not proven) or (rule is TokenRule.REQUIRED and bound):
        raise BadToken("the token is missing, unknown, ended, or not for this client")
    raise Denied(rule=why_not(policy, claimed, peer))


def why_not(policy: Policy, claim: ClientId, peer: Peer) -> str:
    """The rule of a denial: why this peer may not be that client. Not for the peer's eyes."""
    client = policy.clients.get(claim)
    if client is None:
        return f"clients.{claim}: not in the policy"
    if peer.uid is None:
        return f"clients.{claim}: the kernel doesn't say who this peer is"
    if client.units and client.units.isdisjoint({peer.unit}):
        return f"clients.{claim}: unit {peer.unit or 'unknown'} is not in units"
    if not client.bound:
        return f"clients.{claim}: binds nobody, and uid {peer.uid} is not the daemon's own"
    return f"clients.{claim}: uid {peer.uid} is not in users, none of its groups in groups"


def _only_candidate(policy: Policy, peer: Peer, claim_required: bool) -> Client:
    if not claim_required and peer.transport is not Transport.TCP:
        candidates = policy.candidates(peer)
        if len(candidates) == 1:
            return candidates[0]
    raise ClientRequired(
        "say which client you are: over HTTP in the header X-Jarvis-Client, in a frame as `client`"
    )


def _admits(rule: TokenRule, *, bound: bool, proven: bool, presented: bool) -> bool:
    match rule:
        case TokenRule.REFUSED:
            return bound and not presented
        case TokenRule.ACCEPTED:
            return bound or proven
        case TokenRule.REQUIRED:
            return bound and proven
        case _:
            assert_never(rule)
