"""Who asks without being a client of the policy: the daemon itself, and whose files it keeps."""

from __future__ import annotations

from jarvis_secretsd.domain.peer import Peer, Transport
from jarvis_secretsd.domain.policy import ROOT, Client, Grant, Pattern, Policy
from jarvis_secretsd.domain.witness import Call
from jarvis_secretsd.messages import Backup
from jarvis_secretsd.values import ClientId, Permission

INTERNAL = Peer(Transport.INTERNAL, uid=None)
"""The daemon's own clock and signals, which ask through the same door as everyone."""

DAEMON = Client(
    ClientId("daemon"),
    grants=(Grant("internal", frozenset(Permission), (Pattern.of("*"),)),),
)

OWNER = Client(
    ClientId("owner"),
    grants=(Grant("own_uid", frozenset({Permission.ADMIN}), ()),),
)


def insider(policy: Policy, call: Call) -> Client | None:
    """What such a peer is, if it is one that calls.

    The daemon's own user may have a backup made, whatever he claims: he can read the files anyway.
    But not root, who may be anybody in a container.
    """
    request, peer = call.request, call.peer
    if peer.transport is Transport.INTERNAL:
        return DAEMON
    asks = isinstance(request.operation, Backup)
    own = peer.transport is Transport.UNIX and peer.uid == policy.own_uid != ROOT
    return OWNER if asks and own else None
