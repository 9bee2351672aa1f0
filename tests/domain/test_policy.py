"""What the policy decides, against oracles that are written another way."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jarvis_secretsd.domain.peer import Peer, Transport
from jarvis_secretsd.domain.policy import (
    MEMORY,
    NAMELESS,
    Client,
    Decision,
    Grant,
    Pattern,
    Policy,
    decide,
)
from jarvis_secretsd.values import ClientId, Permission, SecretName

READ, WRITE, AUDIT, ADMIN = Permission.READ, Permission.WRITE, Permission.AUDIT, Permission.ADMIN
NAMED = tuple(permission for permission in Permission if permission not in NAMELESS)


def patterns(*texts: str) -> tuple[Pattern, ...]:
    return tuple(Pattern.of(text) for text in texts)


def grant(
    permissions: set[Permission], allow: tuple[str, ...], deny: tuple[str, ...] = ()
) -> Grant:
    return Grant("clients.x", frozenset(permissions), patterns(*allow), patterns(*deny))


def client(*grants: Grant) -> Client:
    return Client(ClientId("x"), grants=grants)


def words(letters: str, longest: int) -> list[str]:
    return ["".join(word) for size in range(longest + 1) for word in product(letters, repeat=size)]


def expected(text: str, name: str) -> bool:
    """The oracle: a pattern as the regular expression that it means."""
    return re.fullmatch(".*".join(map(re.escape, text.split("*"))), name, re.DOTALL) is not None


UNIVERSE = [SecretName(word) for word in words("ab/", 4) if re.fullmatch(r"[ab]+(/[ab]+)*", word)]
TEXTS = st.text("ab/*", min_size=1, max_size=4)
GRANTS = st.builds(
    grant,
    st.sets(st.sampled_from(Permission), max_size=3),
    st.lists(TEXTS, max_size=3).map(tuple),
    st.lists(TEXTS, max_size=1).map(tuple),
)
CLIENTS = st.lists(GRANTS, max_size=3).map(lambda grants: client(*grants))


def test_a_pattern_matches_what_it_means_for_every_short_name() -> None:
    """All patterns up to 4 characters agree with the oracle on all names up to 6."""
    names = words("ab/", 6)
    wrong = [
        (text, name)
        for text in words("ab/*", 4)
        for pattern in [Pattern.of(text)]
        for name in names
        if pattern.matches(name) != expected(text, name)
    ]
    assert wrong == []


@given(st.text("ab*", max_size=12), st.text("ab", max_size=14))
def test_a_pattern_with_many_stars_matches_what_it_means(text: str, name: str) -> None:
    """Longer patterns agree with the oracle too, where greedy choices could go wrong."""
    assert Pattern.of(text).matches(name) == expected(text, name)


def test_no_pattern_makes_matching_slow() -> None:
    """Stars and letters by the hundred answer at once, where a regular expression would not."""
    assert not Pattern.of("*a" * 120 + "*b").matches("a" * 255)


@pytest.mark.parametrize("text", ["", "*", "a*", "*a", "a*b*c", "**", "a[1]?"])
def test_a_pattern_keeps_its_text(text: str) -> None:
    """What was written comes back to the character."""
    assert Pattern.of(text).text == text


@pytest.mark.parametrize(
    ("text", "name", "matches"),
    [
        ("db?", "db1", False),
        ("db?", "db?", True),
        ("db[12]", "db1", False),
        ("a[1]", "a[1]", True),
        ("db_pass", "db_pass ", False),
        ("db_pass", "db_pass\n", False),
        ("db_pass", "db_password", False),
        ("root_*", "ROOT_KEY", False),
        ("secret/foo", "secret/foo000", False),
        ("*", ".hidden", True),
        ("app/*", "app/admin/x/y", True),
        ("*", "a\nb", True),
        (".*", "abc", False),
        ("a.c", "abc", False),
        ("ab*ba", "aba", False),
    ],
)
def test_only_the_star_is_special(text: str, name: str, matches: bool) -> None:
    """No class, no `?`, no case folding, no trimming: the whole name, character by character."""
    assert Pattern.of(text).matches(name) is matches


@pytest.mark.parametrize(
    ("allow", "deny", "name", "decision"),
    [
        (["*"], ["root_*"], "root_key", Decision(False, "clients.x.deny[0]")),
        (["root_key"], ["*"], "root_key", Decision(False, "clients.x.deny[0]")),
        (["app/*"], ["app/admin/*"], "app/admin/x/y", Decision(False, "clients.x.deny[0]")),
        (["app/*"], ["app/admin/*"], "app/adm", Decision(True, "clients.x.allow[0]")),
        (["a", "b", "*"], [], "b", Decision(True, "clients.x.allow[1]")),
        (["db?"], ["db[12]"], "db1", Decision(False, "default-deny")),
        ([], [], "a", Decision(False, "default-deny")),
    ],
)
def test_a_decision_names_its_rule(
    allow: list[str], deny: list[str], name: str, decision: Decision
) -> None:
    """Deny wins over allow, however exact each is, and the line that decided is said."""
    asking = client(grant({READ}, tuple(allow), tuple(deny)))
    assert decide(asking, READ, SecretName(name)) == decision


@given(CLIENTS)
def test_the_readable_names_are_those_of_the_oracle(asking: Client) -> None:
    """What may be read is what some grant with read allows, less what any grant denies."""
    readable = {name for name in UNIVERSE if decide(asking, READ, name).allowed}
    denied = [pattern.text for grant in asking.grants for pattern in grant.deny]
    allowed = [
        pattern.text
        for grant in asking.grants
        if READ in grant.permissions
        for pattern in grant.allow
    ]
    assert readable == {
        name
        for name in UNIVERSE
        if any(expected(text, name) for text in allowed)
        and not any(expected(text, name) for text in denied)
    }


@given(CLIENTS, TEXTS)
def test_deny_wins_wherever_it_stands(asking: Client, text: str) -> None:
    """A deny line in any grant closes its names to every permission, and opens none."""
    more = client(*asking.grants, Grant("roles.r", deny=patterns(text)))
    for name, permission in product(UNIVERSE, NAMED):
        before, after = decide(asking, permission, name), decide(more, permission, name)
        assert after.allowed == (before.allowed and not expected(text, name))


@given(CLIENTS, CLIENTS)
def test_grants_add_up_and_are_not_multiplied(first: Client, second: Client) -> None:
    """Two grants together allow what one of them alone allows, less what the other denies."""
    both = client(*first.grants, *second.grants)
    for name, permission in product(UNIVERSE, NAMED):
        verdicts = [decide(each, permission, name) for each in (first, second)]
        denied = any(".deny[" in verdict.rule for verdict in verdicts)
        alone = any(verdict.allowed for verdict in verdicts)
        assert decide(both, permission, name).allowed == (alone and not denied)


@pytest.mark.parametrize("name", [None, SecretName("a")])
def test_audit_and_admin_take_no_name(name: SecretName | None) -> None:
    """They need no pattern, no pattern gives them, and no deny line reaches them."""
    auditor = client(grant({AUDIT}, (), ("*",)), grant({READ}, ("*",)))
    assert decide(auditor, AUDIT, name) == Decision(True, "clients.x.permissions")
    assert decide(auditor, ADMIN, name) == Decision(False, "default-deny")


@given(CLIENTS, st.sampled_from(NAMED))
def test_what_needs_a_name_is_denied_without_one(asking: Client, permission: Permission) -> None:
    """A right about secrets is a right about a secret."""
    assert decide(asking, permission, None) == Decision(False, "default-deny")


@given(CLIENTS, st.sampled_from(Permission), st.sampled_from([*UNIVERSE, None]))
def test_remembering_changes_no_decision(
    asking: Client, permission: Permission, name: SecretName | None
) -> None:
    """A policy's remembered decision equals the one made anew, also the second time."""
    policy = Policy({asking.id: asking}, "", 1000)
    for _ in range(2):
        assert policy.decide(asking, permission, name) == decide(asking, permission, name)


def test_two_clients_share_no_remembered_decision() -> None:
    """The same question for another client is another question."""
    may, may_not = client(grant({READ}, ("a",))), Client(ClientId("y"))
    policy = Policy({may.id: may, may_not.id: may_not}, "", 1000)
    assert policy.decide(may, READ, SecretName("a")).allowed
    assert not policy.decide(may_not, READ, SecretName("a")).allowed
    assert not policy.decide(may, WRITE, SecretName("a")).allowed


def test_the_memory_of_decisions_is_bounded() -> None:
    """A caller that asks for ever new names makes the daemon forget, not grow."""
    policy = Policy({}, "", 1000)
    asking = client(grant({READ}, ("*",)))
    for number in range(MEMORY + 10):
        policy.decide(asking, READ, SecretName(f"n{number}"))
    remembered = policy.decide.cache_info()  # type: ignore[attr-defined]  # of lru_cache
    assert remembered.currsize == MEMORY


def test_rights_are_told_by_permission() -> None:
    """Patterns of several grants stand together under their permission; audit has none."""
    asking = client(grant({READ, ADMIN}, ("a", "b*"), ("b1",)), grant({READ}, ("c", "a")))
    rights = asking.rights()
    assert dict(rights.permissions) == {"read": ("a", "b*", "c"), "admin": ()}
    assert rights.deny == ("b1",)


def test_a_policy_knows_users_and_groups_it_binds() -> None:
    """A stranger is one whose user and groups no client names, whatever its unit."""
    web = Client(ClientId("web"), uids=frozenset({7}), units=frozenset({"web.service"}))
    ops = Client(ClientId("ops"), gids=frozenset({20}))
    policy = Policy({web.id: web, ops.id: ops}, "", 1000)
    assert policy.knows(Peer(Transport.UNIX, 7))
    assert policy.candidates(Peer(Transport.UNIX, 7)) == ()
    assert policy.candidates(Peer(Transport.UNIX, 7, unit="web.service")) == (web,)
    assert policy.knows(Peer(Transport.UNIX, 8, gid=20))
    assert not policy.knows(Peer(Transport.UNIX, 8, gid=8))
    assert not policy.knows(Peer(Transport.TCP, None))
