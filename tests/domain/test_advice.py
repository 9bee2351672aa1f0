"""The lines that an operator is told to write do what they promise, and no more."""

from __future__ import annotations

import pytest

from jarvis_secretsd.domain.advice import line_to_allow, line_to_be, warnings
from jarvis_secretsd.domain.peer import Peer, Transport
from jarvis_secretsd.domain.policy import (
    Client,
    Credential,
    Grant,
    OnRotation,
    Pattern,
    Policy,
    TokenRule,
)
from jarvis_secretsd.values import ClientId, Permission, SecretName

X = ClientId("x")
READ = frozenset({Permission.READ})


def patterns(*texts: str) -> tuple[Pattern, ...]:
    return tuple(Pattern.of(text) for text in texts)


def policy(client: Client, own_uid: int = 1000) -> Policy:
    return Policy({client.id: client}, "", own_uid)


@pytest.mark.parametrize(
    ("client", "peer", "line"),
    [
        (Client(X, bound=False), Peer(Transport.UNIX, 7), "under clients.x add `users: [7]`"),
        (
            Client(X, uids=frozenset({1})),
            Peer(Transport.TCP, 7),
            "under clients.x add 7 to `users`",
        ),
        (
            Client(ClientId("y")),
            Peer(Transport.UNIX, 7),
            "under clients add `x: {users: [7], allow: [NAME]}`",
        ),
        (
            Client(X, uids=frozenset({7}), units=frozenset({"a.service"})),
            Peer(Transport.UNIX, 7),
            "run the program as one of the units of clients.x, or take `units` out",
        ),
        (
            Client(X),
            Peer(Transport.TCP, None),
            "connect over the Unix socket, or write `token: accepted` under clients.x",
        ),
        (
            Client(X),
            Peer(Transport.UNIX, 65534),
            "run the program under a user of its own: this uid is shared by all unknown users",
        ),
    ],
)
def test_a_peer_that_may_not_be_a_client_lacks_a_line(
    client: Client, peer: Peer, line: str
) -> None:
    """The advice fits what is missing, and never tells to name a user that can't be named."""
    assert line_to_be(policy(client), X, peer) == line


@pytest.mark.parametrize(
    ("grants", "permission", "line"),
    [
        ((), Permission.READ, "under clients.x add `permissions: [read]` and `allow: [a/b]`"),
        (
            (Grant("clients.x", READ, patterns("c")),),
            Permission.READ,
            "under clients.x add a/b to `allow`",
        ),
        (
            (Grant("clients.x", READ, patterns("c")),),
            Permission.WRITE,
            "under roles add `x-write: {permissions: [write], allow: [a/b]}`, "
            "and x-write to `roles` of clients.x",
        ),
        (
            (Grant("roles.r", READ, patterns("*"), patterns("z", "a/*")),),
            Permission.READ,
            "take out roles.r.deny[1]: a deny line wins over every allow line",
        ),
        ((), Permission.ADMIN, "under clients.x add admin to `permissions`"),
    ],
)
def test_a_client_that_may_not_do_something_lacks_a_line(
    grants: tuple[Grant, ...], permission: Permission, line: str
) -> None:
    """The advised line gives the name the asked permission, and no other pair of them."""
    assert line_to_allow(Client(X, grants=grants), permission, SecretName("a/b")) == line


@pytest.mark.parametrize(
    ("client", "own_uid", "warning"),
    [
        (
            Client(X, uids=frozenset({1000}), bound=False),
            1000,
            "clients.x binds no user: only uid 1000, the daemon's own, can be it; add `users:",
        ),
        (
            Client(X, bound=False),
            0,
            "clients.x binds no user: nobody can be it; add `users: [NAME]`",
        ),
        (Client(X, uids=frozenset({0})), 1000, "root is also every root container"),
        (Client(X, uids=frozenset({61184})), 1000, "DynamicUser= hands out anew"),
        (
            Client(X, grants=(Grant("roles.r", frozenset(Permission), patterns("a")),)),
            1000,
            "clients.x: roles.r.permissions: `all` holds audit and admin too",
        ),
        (
            Client(X, grants=(Grant("clients.x", READ),)),
            1000,
            "clients.x.permissions: nothing is allowed without names",
        ),
        (
            Client(X, grants=(Grant("clients.x", READ, patterns("ok"), patterns("db[12]")),)),
            1000,
            "clients.x.deny[0]: 'db[12]' matches no possible name",
        ),
        (
            Client(X, credentials=(Credential("f", SecretName("a")),)),
            1000,
            "f is a, which it may not read",
        ),
        (
            Client(X, credentials=(Credential("f", SecretName("a")),)),
            1000,
            "add `units: [NAME.service]`",
        ),
        (
            Client(X, uids=frozenset({1}), on_rotation=OnRotation.RESTART),
            1000,
            "clients.x.on_rotation: there is no unit to restart; add `units: [...]`",
        ),
        (
            Client(
                X,
                units=frozenset({"x.service"}),
                credentials=(Credential("f", SecretName("a")),),
                on_rotation=OnRotation.RELOAD,
            ),
            1000,
            "clients.x.on_rotation: a reload loads credentials anew only from systemd 260 on",
        ),
        (
            Client(
                X,
                units=frozenset({"x.service"}),
                credentials=(Credential("f", SecretName("a")),),
                token=TokenRule.REQUIRED,
            ),
            1000,
            "clients.x.token: systemd has no token",
        ),
        (
            Client(
                X,
                units=frozenset({"x.service"}),
                credentials=(Credential("f" * 75, SecretName("a")),),
            ),
            1000,
            "have 84 characters together, and systemd has room for 83; write a shorter name",
        ),
        (
            Client(
                X,
                units=frozenset({"x.service"}),
                bound=False,
                grants=(Grant("clients.x", READ, patterns("a" * 75)),),
            ),
            1000,
            "add `credentials: {SHORT: " + "a" * 75 + "}`",
        ),
        (
            Client(
                X,
                units=frozenset({"x.service"}),
                bound=False,
                grants=(Grant("clients.x", READ, patterns("a/b")),),
            ),
            1000,
            "clients.x.allow: no credential is named a/b; add `credentials: {a-b: a/b}`",
        ),
    ],
)
def test_what_probably_is_not_meant_gets_a_warning(
    client: Client, own_uid: int, warning: str
) -> None:
    """Each oddity of a valid policy is told with its place and its remedy."""
    assert any(warning in each for each in warnings(policy(client, own_uid)))


@pytest.mark.parametrize(
    "client",
    [
        Client(X, uids=frozenset({1001}), grants=(Grant("clients.x", READ, patterns("a", "*/k")),)),
        Client(X, uids=frozenset({1000}), bound=False, token=TokenRule.ACCEPTED),
        Client(X, grants=(Grant("clients.x", frozenset(Permission), patterns("*")),)),
        Client(X, grants=(Grant("clients.x", frozenset({Permission.AUDIT})),)),
        Client(
            X,
            units=frozenset({"x.service"}),
            bound=False,
            grants=(Grant("clients.x", READ, patterns("a-*", "*-x", "a/*/b")),),
            credentials=(Credential("f", SecretName("a-b")),),
        ),
        Client(
            X,
            units=frozenset({"x.service"}),
            bound=False,
            grants=(Grant("clients.x", READ, patterns("a" * 74, "a/b")),),
            credentials=(Credential("f" * 74, SecretName("a/b")),),
            on_rotation=OnRotation.RESTART,
        ),
        Client(
            X,
            uids=frozenset({1001}),
            units=frozenset({"x.service"}),
            grants=(Grant("clients.x", READ, patterns("a" * 99, "a/b")),),
            on_rotation=OnRotation.RELOAD,
        ),
    ],
)
def test_what_is_meant_gets_no_warning(client: Client) -> None:
    """A sound client is passed over in silence, so that a warning means something."""
    assert warnings(policy(client)) == ()
