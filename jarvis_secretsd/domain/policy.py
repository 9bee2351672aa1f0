"""The policy: which client a peer may be, and what a client may do, each answer with its rule.

A client's rights are a list of grants, which are never multiplied with one another: permissions of
one grant don't reach the patterns of another. A deny line of any grant wins over every allow line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Self

from msgspec import Struct

from jarvis_secretsd.domain.peer import Peer, Transport
from jarvis_secretsd.values import ClientId, Permission, SecretName

ROOT = 0
OVERFLOW_ID = 65534
"""What the kernel shows for an id that has no number in our user namespace (user_namespaces(7))."""

NO_ID = 2**32 - 1
"""`(uid_t) -1`: no id at all (chown(2), setresuid(2))."""

NAMELESS = frozenset({Permission.AUDIT, Permission.ADMIN})
"""Permissions that are about no secret. No pattern narrows them, and no deny line reaches them."""

MEMORY = 16_384
"""Decisions remembered: more than the pairs of program and secret of one host, in about 4 MB."""


class Pattern(Struct, frozen=True):
    """Names as a policy line writes them: `*` is any run of characters, `/` included, also none.

    Nothing else is special. The whole name must match, case and all. `parts` is the text between
    the stars.
    """

    parts: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Self:
        """The pattern that this text writes."""
        return cls(tuple(text.split("*")))

    @property
    def text(self) -> str:
        """The pattern as it was written."""
        return "*".join(self.parts)

    def matches(self, name: str) -> bool:
        """Does the whole of `name` match? Takes time in the length of the name, for any pattern."""
        head, *middle = self.parts
        if not middle:
            return name == head
        tail = middle.pop()
        place, end = len(head), len(name) - len(tail)
        if place > end or not name.startswith(head) or not name.endswith(tail):
            return False
        for part in middle:  # leftmost is best: it leaves the most for the parts that follow
            found = name.find(part, place, end)
            if found < 0:
                return False
            place = found + len(part)
        return True


class Decision(Struct, frozen=True):
    """Yes or no, and the line of the policy that says so."""

    allowed: bool
    rule: str


DEFAULT_DENY = Decision(allowed=False, rule="default-deny")


class Grant(Struct, frozen=True):
    """The lines of one role, or a client's own: these permissions on these names, less the denied.

    `where` is the grant's place in the policy, as `roles.search-keys`.
    """

    where: str
    permissions: frozenset[Permission] = frozenset()
    allow: tuple[Pattern, ...] = ()
    deny: tuple[Pattern, ...] = ()


class TokenRule(StrEnum):
    """What a token does for a client: nothing, stand in for its user, or be needed beside it."""

    REFUSED = "refused"
    ACCEPTED = "accepted"
    REQUIRED = "required"


class OnRotation(StrEnum):
    """What a client's units need when a secret that it may read has another version."""

    RESTART = "restart"
    RELOAD = "reload"


class Credential(Struct, frozen=True):
    """A file of a unit's `LoadCredential=` and the secret that it holds (systemd.exec(5))."""

    file: str
    name: SecretName


class Rights(Struct, frozen=True):
    """What a client may do, as patterns for each permission (none for those without a name)."""

    permissions: Mapping[str, tuple[str, ...]]
    deny: tuple[str, ...]


class Client(Struct, frozen=True, cache_hash=True):
    """A client of the policy: who may be it, and what it may do.

    `uids` and `gids` say who, `units` narrows that. An unbound client is one whose lines name no
    user and no group; its `uids` then hold the daemon's own, or nothing if nobody may be it.
    """

    id: ClientId
    uids: frozenset[int] = frozenset()
    gids: frozenset[int] = frozenset()
    units: frozenset[str] = frozenset()
    bound: bool = True
    token: TokenRule = TokenRule.REFUSED
    grants: tuple[Grant, ...] = ()
    credentials: tuple[Credential, ...] = ()
    on_rotation: OnRotation | None = None

    def binds(self, peer: Peer) -> bool:
        """May this peer be this client, as far as the kernel can tell? Tokens aren't considered.

        systemd, which loads a unit's credentials, may be whatever the unit is listed for.
        """
        if peer.transport is Transport.CREDENTIALS:
            return peer.uid == ROOT and peer.unit in self.units
        if self.units and (peer.transport is not Transport.UNIX or peer.unit not in self.units):
            return False
        return _is_among(peer, self.uids, self.gids)

    def rights(self) -> Rights:
        """All that this client may do, for people to read."""
        patterns = {
            permission.value: [
                pattern.text
                for grant in self.grants
                if permission in grant.permissions and permission not in NAMELESS
                for pattern in grant.allow
            ]
            for permission in Permission
            if any(permission in grant.permissions for grant in self.grants)
        }
        return Rights(
            {permission: tuple(dict.fromkeys(texts)) for permission, texts in patterns.items()},
            tuple(pattern.text for grant in self.grants for pattern in grant.deny),
        )


class Policy:
    """Every client of a policy, never changed once made; a reload makes another.

    `decide(client, permission, name)` is the function of that name below, and remembers what it
    decided. `digest` tells one policy from another. `own_uid` is the daemon's. `units` are all that
    any client lists; where there are none, no peer's unit needs to be known.
    """

    __slots__ = ("_gids", "_uids", "clients", "decide", "digest", "own_uid", "units")

    def __init__(self, clients: Mapping[ClientId, Client], digest: str, own_uid: int) -> None:
        self.clients = clients
        self.digest = digest
        self.own_uid = own_uid
        self.decide: Callable[[Client, Permission, SecretName | None], Decision] = lru_cache(
            MEMORY
        )(decide)
        self._uids = frozenset[int]().union(*(client.uids for client in clients.values()))
        self._gids = frozenset[int]().union(*(client.gids for client in clients.values()))
        self.units = frozenset[str]().union(*(client.units for client in clients.values()))

    def candidates(self, peer: Peer) -> tuple[Client, ...]:
        """The clients that this peer may be, those that need a token besides included."""
        return tuple(client for client in self.clients.values() if client.binds(peer))

    def knows(self, peer: Peer) -> bool:
        """Does any client bind this peer's user or group? Units and tokens aren't considered.

        systemd is known where any client lists units: which one asks in vain is worth an entry.
        """
        if peer.transport is Transport.CREDENTIALS:
            return peer.uid == ROOT and bool(self.units)
        return _is_among(peer, self._uids, self._gids)


def decide(client: Client, permission: Permission, name: SecretName | None) -> Decision:
    """May `client` do this to the secret `name` (None where the permission takes no name)?"""
    if permission in NAMELESS:
        return _decide_nameless(client, permission)
    if name is None:
        return DEFAULT_DENY
    for grant in client.grants:
        for place, pattern in enumerate(grant.deny):
            if pattern.matches(name):
                return Decision(allowed=False, rule=f"{grant.where}.deny[{place}]")
    for grant in client.grants:
        if permission not in grant.permissions:
            continue
        for place, pattern in enumerate(grant.allow):
            if pattern.matches(name):
                return Decision(allowed=True, rule=f"{grant.where}.allow[{place}]")
    return DEFAULT_DENY


def _decide_nameless(client: Client, permission: Permission) -> Decision:
    for grant in client.grants:
        if permission in grant.permissions:
            return Decision(allowed=True, rule=f"{grant.where}.permissions")
    return DEFAULT_DENY


def _is_among(peer: Peer, uids: frozenset[int], gids: frozenset[int]) -> bool:
    if peer.uid is None or peer.uid in (OVERFLOW_ID, NO_ID):
        return False
    if peer.uid in uids:
        return True
    # Root is in many groups of a container's image; it has only what a policy gives it by name.
    if peer.uid == ROOT or peer.transport is not Transport.UNIX:
        return False
    return peer.gid in gids or not gids.isdisjoint(peer.groups)
