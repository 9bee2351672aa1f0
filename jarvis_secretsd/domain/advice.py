"""What an operator should write: the line that a denial lacks, and what in a policy looks odd."""

from __future__ import annotations

from collections.abc import Iterator

from jarvis_secretsd.domain.peer import Peer, Transport
from jarvis_secretsd.domain.policy import (
    NAMELESS,
    NO_ID,
    OVERFLOW_ID,
    ROOT,
    Client,
    Grant,
    Pattern,
    Policy,
    TokenRule,
    decide,
)
from jarvis_secretsd.domain.unitadvice import unit_warnings
from jarvis_secretsd.values import ClientId, Permission, SecretName

DYNAMIC_UIDS = range(61184, 65520)
"""What systemd hands out for DynamicUser= (systemd.exec(5)): tomorrow it is another program's."""


def line_to_be(policy: Policy, claim: ClientId | None, peer: Peer) -> str:
    """The line that lets this peer be that client, or what else it lacks for that."""
    client = policy.clients.get(claim) if claim else None
    able = ", ".join(found.id for found in policy.candidates(peer))
    if claim is None and able:
        return f"have the program say which client it is (JARVIS_CLIENT_ID): {able}"
    if client is not None and client.binds(peer):
        return _about_its_token(client)
    if peer.uid is None:
        where = f"clients.{claim or 'NAME'}"
        return f"connect over the Unix socket, or write `token: accepted` under {where}"
    if peer.uid in (OVERFLOW_ID, NO_ID):
        return "run the program under a user of its own: this uid is shared by all unknown users"
    if client is None:
        return f"under clients add `{claim or 'NAME'}: {{users: [{peer.uid}], allow: [NAME]}}`"
    return _line_to_bind(client, peer)


def _about_its_token(client: Client) -> str:
    if client.token is TokenRule.REFUSED:
        return f"have the program send no token: clients.{client.id} takes none"
    return f"give the program a token: `jarvis-secrets token create {client.id}`"


def _line_to_bind(client: Client, peer: Peer) -> str:
    where = f"clients.{client.id}"
    if client.units and (peer.transport is not Transport.UNIX or peer.unit not in client.units):
        return f"run the program as one of the units of {where}, or take `units` out"
    if client.uids and client.bound:
        return f"under {where} add {peer.uid} to `users`"
    return f"under {where} add `users: [{peer.uid}]`"


def line_to_allow(client: Client, permission: Permission, name: SecretName | None) -> str:
    """The line that lets this client do that, and nothing more."""
    where = f"clients.{client.id}"
    own = next((grant for grant in client.grants if grant.where == where), Grant(where))
    if permission in NAMELESS:
        return f"under {where} add {permission} to `permissions`"
    if name is None:
        return f"{permission} is asked for a name"
    denied = next(_denials(client, name), None)
    if denied is not None:
        return f"take out {denied}: a deny line wins over every allow line"
    if own.permissions == {permission}:
        return f"under {where} add {name} to `allow`"
    if not own.permissions:
        return f"under {where} add `permissions: [{permission}]` and `allow: [{name}]`"
    # The client's own lines give other permissions, which must not reach this name.
    role = f"{client.id}-{permission}"
    return (
        f"under roles add `{role}: {{permissions: [{permission}], allow: [{name}]}}`, "
        f"and {role} to `roles` of {where}"
    )


def warnings(policy: Policy) -> tuple[str, ...]:
    """What in a valid policy probably isn't meant, each with its remedy."""
    return tuple(
        f"clients.{client.id}{text}"
        for client in policy.clients.values()
        for text in _client_warnings(policy, client)
    )


def _client_warnings(policy: Policy, client: Client) -> Iterator[str]:
    is_for_systemd = client.credentials or client.units
    if not client.bound and client.token is not TokenRule.ACCEPTED and not is_for_systemd:
        who = f"only uid {policy.own_uid}, the daemon's own," if client.uids else "nobody"
        yield f" binds no user: {who} can be it; add `users: [NAME]`"
    if client.bound and ROOT in client.uids:
        yield ".users: root is also every root container without a user namespace; give each a user"
    for uid in sorted(client.uids & frozenset(DYNAMIC_UIDS)):
        yield f".users: uid {uid} is one that DynamicUser= hands out anew; create a lasting user"
    for grant in client.grants:
        yield from _grant_warnings(client, grant)
    yield from unit_warnings(client)
    for credential in client.credentials:
        if not decide(client, Permission.READ, credential.name).allowed:
            yield (
                f".credentials: {credential.file} is {credential.name}, which it may not read; "
                f"{line_to_allow(client, Permission.READ, credential.name)}"
            )


def _grant_warnings(client: Client, grant: Grant) -> Iterator[str]:
    place = grant.where.removeprefix(f"clients.{client.id}")
    prefix = f": {place}" if place else ""
    if grant.permissions == frozenset(Permission) and Pattern.of("*") not in grant.allow:
        yield (
            f"{prefix}.permissions: `all` holds audit and admin too, which `allow` doesn't narrow; "
            "name the permissions that are meant"
        )
    if grant.permissions - NAMELESS and not grant.allow:
        yield f"{prefix}.permissions: nothing is allowed without names; add `allow: [NAME]`"
    for key, patterns in (("allow", grant.allow), ("deny", grant.deny)):
        for index, pattern in enumerate(patterns):
            if not _can_match(pattern):
                yield (
                    f"{prefix}.{key}[{index}]: {pattern.text!r} matches no possible name; "
                    "names are a-z 0-9 _ . - and /, and only * is special"
                )


def _can_match(pattern: Pattern) -> bool:
    try:
        # A letter fits wherever any run of characters would.
        SecretName("a".join(pattern.parts))
    except ValueError:
        return False
    return True


def _denials(client: Client, name: SecretName) -> Iterator[str]:
    for grant in client.grants:
        for index, pattern in enumerate(grant.deny):
            if pattern.matches(name):
                yield f"{grant.where}.deny[{index}]"
