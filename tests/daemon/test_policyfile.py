"""What a policy's text means, whole and cut off."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from jarvis_secretsd.daemon.policyfile import load_policy
from jarvis_secretsd.domain.advice import warnings
from jarvis_secretsd.domain.peer import Peer, Transport
from jarvis_secretsd.domain.policy import OnRotation, Policy, TokenRule
from jarvis_secretsd.errors import ConfigurationError
from jarvis_secretsd.values import ClientId, Permission, SecretName
from tests.daemon.policies import FULL, PLAN, client, load, nowhere, problems

ROOT = Path(__file__).parents[2]


def names_of(*policies: Policy) -> list[SecretName]:
    """Every secret that these policies name."""
    return sorted(
        {
            SecretName(pattern.text)
            for policy in policies
            for each in policy.clients.values()
            for grant in each.grants
            for pattern in grant.allow
            if "*" not in pattern.text
        }
    )


def test_the_first_policy_loads_unchanged() -> None:
    """A policy of before users were bound works for the daemon's own user, and for no other."""
    policy = load(PLAN)
    me, other = Peer(Transport.TCP, 1000), Peer(Transport.UNIX, 1001)
    assert [each.id for each in policy.candidates(me)] == list(policy.clients)
    assert policy.candidates(other) == ()
    admin, backend = policy.clients[ClientId("admin")], policy.clients[ClientId("backend")]
    assert all(policy.decide(admin, each, SecretName("x")).allowed for each in Permission)
    rights = backend.rights().permissions
    assert list(rights) == ["read"]
    assert rights["read"][:2] == ("jwt_signing_key", "postgres_password")
    assert len(warnings(policy)) == len(policy.clients)


def test_every_kind_of_line_is_understood() -> None:
    """Users, groups, units, roles, tokens, credentials and permissions arrive in the policy."""
    policy = load(FULL)
    admin, backend, mcp, web = policy.clients.values()
    assert admin.uids == {1000}
    assert admin.grants[0].permissions == frozenset(Permission)
    assert (backend.uids, backend.gids, backend.units) == (
        frozenset({1001}),
        frozenset(),
        frozenset({"backend.service"}),
    )
    assert (mcp.token, [grant.where for grant in mcp.grants]) == (
        TokenRule.REQUIRED,
        ["roles.search-keys"],
    )
    assert [(each.file, each.name) for each in web.credentials] == [("tls-key", "tls/key")]
    assert not web.bound
    assert (web.on_rotation, backend.on_rotation) == (OnRotation.RESTART, None)
    assert policy.units == {"backend.service", "web.service"}
    assert warnings(policy) == ()


@pytest.mark.parametrize("own_uid", [0, 65534, 2**32 - 1])
def test_a_client_that_binds_nobody_is_nobody_s_where_the_daemon_is_no_user(own_uid: int) -> None:
    """Root's daemon, and one that runs as nobody, give an unbound client to nobody."""
    assert client('allow: ["*"]', own_uid).uids == frozenset()


@pytest.mark.parametrize(
    "line", ["users: [enzo]", "groups: [search]", "units: [a.service]", "token: accepted"]
)
def test_only_an_unbound_client_has_all_rights_by_default(line: str) -> None:
    """A client that others may be must say what it may do with everything."""
    (problem,) = problems(f'clients: {{web: {{{line}, allow: ["*"]}}}}')
    assert "add `permissions: [read]` or `permissions: [all]`" in problem
    assert client(f'{line}, permissions: [read], allow: ["*"]').grants[0].permissions == {"read"}


@pytest.mark.parametrize(
    ("lines", "permissions"),
    [
        ("allow: [a]", {"read"}),
        ('allow: ["*", a]', {"read"}),
        ('allow: ["**"]', {"read"}),
        ('allow: ["*"]', set(Permission)),
        ('allow: ["*"], permissions: [write]', {"write"}),
        ("allow: [a], permissions: [all]", set(Permission)),
        ("allow: [a], permissions: [rotate, audit]", {"rotate", "audit"}),
    ],
)
def test_permissions_are_read_unless_said(lines: str, permissions: set[str]) -> None:
    """Names without permissions may be read, nothing else."""
    assert client(lines).grants[0].permissions == permissions


def test_empty_lists_are_lists() -> None:
    """A client with nothing in its lists is valid and may do nothing."""
    assert client("users: [], groups: [], allow: [], deny: [], permissions: []").grants == ()


def test_a_role_s_deny_binds_its_clients() -> None:
    """A role brings its deny lines along, and they win over the client's own lines."""
    policy = load("roles: {r: {deny: [a]}}\nclients: {web: {roles: [r], allow: [a, b]}}")
    web = policy.clients[ClientId("web")]
    assert policy.decide(web, Permission.READ, SecretName("a")).rule == "roles.r.deny[0]"
    assert policy.decide(web, Permission.READ, SecretName("b")).allowed


def test_scalars_are_the_text_that_was_written() -> None:
    """No Norway problem: names, patterns and clients that look like other types stay text."""
    policy = load(
        'clients: {on: {allow: [yes]}, no: {allow: [a]}, 1000: {allow: [a]}, "007": {allow: [a]}, '
        "null: {allow: [on, 12:30:00, 2024-01-01, ~, 1_000, 0x1f, 1e3]}}"
    )
    assert list(policy.clients) == ["on", "no", "1000", "007", "null"]
    assert policy.clients[ClientId("null")].rights().permissions["read"] == (
        "on", "12:30:00", "2024-01-01", "~", "1_000", "0x1f", "1e3",
    )  # fmt: skip


@pytest.mark.parametrize(("before", "after"), [("\n", "\r\n"), ("default", "\ufeffdefault")])
def test_what_editors_of_other_systems_write_is_read(before: str, after: str) -> None:
    """A byte order mark and CRLF change nothing."""
    assert load(PLAN.replace(before, after)).clients == load(PLAN).clients


def test_a_policy_that_is_cut_off_grants_no_more() -> None:
    """Cut at any byte, the first policy is an error, or allows nothing that it didn't."""
    full = load(PLAN)
    names = names_of(full)
    loaded = 0
    for length in range(len(PLAN)):
        try:
            cut = load(PLAN[:length])
        except ConfigurationError:
            continue
        loaded += 1
        for each, permission, name in product(cut.clients.values(), Permission, names):
            before = full.clients[each.id]
            if full.decide(before, permission, name).allowed:
                continue
            assert not cut.decide(each, permission, name).allowed
    assert 0 < loaded < len(PLAN)


def test_a_policy_that_is_cut_off_keeps_every_client_but_the_last() -> None:
    """Whatever loads of a cut file has all clients as they were, but perhaps its last."""
    text = re.sub(r" {2,}#.*", "", FULL).replace("allow: [tls/key], ", "")
    block = text + "  last:\n    users: [enzo]\n    deny:\n      - a\n    allow:\n      - a*\n"
    full = list(load(block).clients.values())
    for length in range(len(block)):
        try:
            cut = list(load(block[:length]).clients.values())
        except ConfigurationError:
            continue
        assert cut[:-1] == full[: len(cut) - 1]
        assert cut[-1].id == full[len(cut) - 1].id


def test_the_digest_tells_policies_apart() -> None:
    """The same text has the same digest, another text another."""
    assert load(PLAN).digest == load(PLAN).digest != load(PLAN + "# x\n").digest


def test_the_example_is_a_policy() -> None:
    """The file to copy loads on a host that has none of its users."""
    text = (ROOT / "policy.yaml.example").read_bytes()
    policy = load_policy(text, source="x", own_uid=1000, users=nowhere, groups=nowhere)
    assert list(policy.clients) == list(load(PLAN).clients)


def test_the_example_is_right_about_its_users() -> None:
    """With its `users` lines in force, it binds every client and leaves nothing to warn of."""
    text = (ROOT / "policy.yaml.example").read_text().replace("# users:", "users:")
    policy = load_policy(
        text.encode(), source="x", own_uid=0, users=lambda name: 2000 + len(name), groups=nowhere
    )
    assert warnings(policy) == ()
