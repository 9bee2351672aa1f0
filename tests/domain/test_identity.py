"""Who may be which client: by user, by group, by unit, by token, and never by claim."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jarvis_secretsd.domain.identity import Peer, Token, Transport, identify, why_not
from jarvis_secretsd.domain.policy import Client, Policy, TokenRule
from jarvis_secretsd.errors import BadToken, ClientRequired, Denied
from jarvis_secretsd.values import ClientId

NOW = datetime(2026, 11, 25, 9, 41, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)
BACKEND, WEB, OPS, MCP, BRIDGE = map(ClientId, ("backend", "web", "ops", "mcp", "bridge"))
CLIENTS = (
    Client(BACKEND, uids=frozenset({1001})),
    Client(WEB, uids=frozenset({1002}), units=frozenset({"web.service"})),
    Client(OPS, uids=frozenset({0}), gids=frozenset({20})),
    Client(MCP, uids=frozenset({1001, 1003}), token=TokenRule.REQUIRED),
    Client(BRIDGE, uids=frozenset({1004}), token=TokenRule.ACCEPTED),
)
POLICY = Policy({client.id: client for client in CLIENTS}, "digest", 1000)


def unix(uid: int | None, *groups: int, unit: str | None = None) -> Peer:
    return Peer(Transport.UNIX, uid, uid, 99, frozenset(groups), unit)


def tcp(uid: int | None) -> Peer:
    return Peer(Transport.TCP, uid)


def token_of(client: str, *uids: int, expires_at: datetime = NOW + MOMENT) -> Token:
    return Token("t1", "00" * 32, ClientId(client), NOW - MOMENT, expires_at, uids)


def who(
    peer: Peer,
    claim: str | None,
    token: Token | None = None,
    *,
    presented: bool | None = None,
    claim_required: bool = True,
    policy: Policy = POLICY,
) -> str:
    """The id of the client that was identified, or the code of the refusal."""
    try:
        return identify(
            policy,
            peer,
            None if claim is None else ClientId(claim),
            token,
            presented=token is not None if presented is None else presented,
            now=NOW,
            claim_required=claim_required,
        ).id
    except (BadToken, ClientRequired, Denied) as refusal:
        return refusal.code


def refusal(peer: Peer, claim: str) -> Denied:
    """How a peer without a token is denied this client."""
    with pytest.raises(Denied) as denial:
        identify(POLICY, peer, ClientId(claim), None, presented=False, now=NOW, claim_required=True)
    return denial.value


@pytest.mark.parametrize(
    ("peer", "claim", "outcome"),
    [
        (unix(1001), "backend", "backend"),
        (tcp(1001), "backend", "backend"),
        (unix(1002), "backend", "denied"),
        (unix(None), "backend", "denied"),
        (tcp(None), "backend", "denied"),
        (unix(1001), "BACKEND", "denied"),
        (unix(1001), "back_end", "denied"),
        (unix(1001), "ghost", "denied"),
        (unix(1002, unit="web.service"), "web", "web"),
        (unix(1002, unit="web@1.service"), "web", "denied"),
        (unix(1002), "web", "denied"),
        (unix(1009, unit="web.service"), "web", "denied"),
        (Peer(Transport.TCP, 1002, unit="web.service"), "web", "denied"),
        (unix(1009, 7, 20), "ops", "ops"),
        (Peer(Transport.UNIX, 1009, gid=20), "ops", "ops"),
        (Peer(Transport.TCP, 1009, gid=20, groups=frozenset({20})), "ops", "denied"),
        (Peer(Transport.UNIX, None, gid=20, groups=frozenset({20})), "ops", "denied"),
        (unix(0), "ops", "ops"),
        (unix(0), "backend", "denied"),
    ],
)
def test_the_claim_chooses_among_what_the_kernel_says(peer: Peer, claim: str, outcome: str) -> None:
    """User, group (Unix socket only) and unit decide; nobody is anybody by saying so."""
    assert who(peer, claim) == outcome


def test_root_is_in_no_group() -> None:
    """Being in a listed group isn't being named: root has only what says root."""
    client = Client(OPS, gids=frozenset({0, 20}))
    policy = Policy({OPS: client}, "", 1000)
    assert who(unix(0, 0, 20), "ops", policy=policy) == "denied"
    assert not policy.knows(unix(0, 0, 20))


@pytest.mark.parametrize("uid", [65534, 2**32 - 1, -1, -2])
def test_a_user_without_a_number_is_no_client(uid: int) -> None:
    """What the kernel shows for unmapped or absent users binds nothing, not even by group."""
    client = Client(OPS, uids=frozenset({65534, 2**32 - 1, 1000}), gids=frozenset({20}))
    groups = () if uid < 0 else (20,)
    assert who(unix(uid, *groups), "ops", policy=Policy({OPS: client}, "", 1000)) == "denied"


@pytest.mark.parametrize(
    ("peer", "claim", "token", "outcome"),
    [
        # refused, the default: a token is never ignored, however good
        (unix(1001), "backend", token_of("backend"), "bad_token"),
        (tcp(None), "backend", token_of("backend"), "bad_token"),
        # accepted: the user is enough, and so is the token
        (unix(1004), "bridge", None, "bridge"),
        (unix(1004), "bridge", token_of("bridge", expires_at=NOW), "bridge"),
        (tcp(None), "bridge", token_of("bridge"), "bridge"),
        (unix(1009), "bridge", token_of("bridge"), "bridge"),
        (unix(1009), "bridge", None, "denied"),
        (tcp(None), "bridge", token_of("mcp"), "bad_token"),
        (tcp(None), "bridge", token_of("bridge", expires_at=NOW), "bad_token"),
        (tcp(None), "bridge", token_of("bridge", 1004), "bad_token"),
        (unix(1009), "bridge", token_of("bridge", 1004), "bad_token"),
        (unix(1009), "bridge", token_of("bridge", 1004, 1009), "bridge"),
        # required: both
        (unix(1003), "mcp", token_of("mcp"), "mcp"),
        (tcp(1003), "mcp", token_of("mcp", 1003), "mcp"),
        (unix(1003), "mcp", None, "bad_token"),
        (unix(1003), "mcp", token_of("mcp", expires_at=NOW), "bad_token"),
        (unix(1003), "mcp", token_of("mcp", 1001), "bad_token"),
        (unix(1003), "mcp", token_of("bridge"), "bad_token"),
        (unix(1009), "mcp", token_of("mcp"), "denied"),
        (tcp(None), "mcp", token_of("mcp"), "denied"),
        (unix(1009), "mcp", None, "denied"),
        # a token for a client that the policy no longer has
        (unix(1001), "ghost", token_of("ghost"), "bad_token"),
    ],
)
def test_a_token_does_what_its_client_says(
    peer: Peer, claim: str, token: Token | None, outcome: str
) -> None:
    """Refused, accepted, required; against tokens that are good, ended, another's, or a uid's."""
    assert who(peer, claim, token) == outcome


@pytest.mark.parametrize("claim", ["backend", "mcp", "bridge", "ghost"])
def test_an_unknown_token_tells_nothing_about_clients(claim: str) -> None:
    """A stranger with a made-up token gets the same answer for every client, real or not."""
    assert who(unix(1009), claim, presented=True) == "bad_token"


@pytest.mark.parametrize(
    ("peer", "claim_required", "outcome"),
    [
        (unix(1004), False, "bridge"),
        (unix(1004), True, "client_required"),
        (tcp(1004), False, "client_required"),
        (unix(1001), False, "client_required"),
        (unix(1009), False, "client_required"),
        (unix(1003), False, "bad_token"),
    ],
)
def test_the_claim_may_be_left_out_only_where_it_is_certain(
    peer: Peer, claim_required: bool, outcome: str
) -> None:
    """Only on the Unix socket, only if so configured, only by a peer that has one client."""
    assert who(peer, None, claim_required=claim_required) == outcome


def test_refusals_say_the_same_to_everyone() -> None:
    """A denial's message is the same for all; why is in the rule, which the caller never sees."""
    refusals = [
        refusal(peer, claim)
        for peer in (unix(1009), unix(None), tcp(1009))
        for claim in ("backend", "web", "ghost")
    ]
    assert len({each.message for each in refusals}) == 1
    assert (
        refusals[0].rule
        == "clients.backend: uid 1009 is not in users, none of its groups in groups"
    )
    assert refusals[2].rule == "clients.ghost: not in the policy"


def test_a_missing_claim_is_answered_without_names_of_clients() -> None:
    """Who may be several clients isn't told which by the error."""
    with pytest.raises(ClientRequired) as missing:
        identify(POLICY, unix(1001), None, None, presented=False, now=NOW, claim_required=False)
    assert not any(client.id in missing.value.message for client in CLIENTS)


def test_a_denial_for_an_unbound_client_says_so() -> None:
    """The operator of a policy without users reads what is missing."""
    unbound = Client(BACKEND, uids=frozenset({1000}), bound=False)
    policy = Policy({BACKEND: unbound}, "", 1000)
    assert who(unix(1000), "backend", policy=policy) == "backend"
    assert why_not(policy, BACKEND, unix(1001)).startswith("clients.backend: binds nobody")


IDS = st.integers(0, 4) | st.sampled_from([65534, 2**32 - 1])
SOME = st.frozensets(IDS, max_size=2)
UNITS = st.none() | st.sampled_from(["a.service", "b.service"])
PEERS = st.builds(
    Peer,
    st.sampled_from([Transport.UNIX, Transport.TCP]),
    st.none() | IDS,
    gid=st.none() | IDS,
    groups=SOME,
    unit=UNITS,
)
POLICIES = st.lists(
    st.builds(
        Client,
        st.sampled_from(["a", "b", "c"]).map(ClientId),
        uids=SOME,
        gids=SOME,
        units=st.sampled_from([frozenset(), frozenset({"a.service"})]),
        token=st.sampled_from(TokenRule),
    ),
    max_size=3,
).map(lambda clients: Policy({client.id: client for client in clients}, "", 1000))


@given(POLICIES, PEERS, st.sampled_from(["a", "b", "c", "d"]))
def test_a_claim_never_adds_a_right(policy: Policy, peer: Peer, claim: str) -> None:
    """Whatever is claimed, without a token a peer becomes only what the policy says it may be."""
    outcome = who(peer, claim, policy=policy)
    candidates = {client.id for client in policy.candidates(peer)}
    assert outcome in candidates | {"denied", "bad_token"}
    if candidates:
        assert policy.knows(peer)


@given(POLICIES, PEERS)
def test_without_a_claim_a_peer_is_what_it_would_have_to_claim(policy: Policy, peer: Peer) -> None:
    """Leaving the claim out gives nothing that saying it wouldn't."""
    outcome = who(peer, None, policy=policy, claim_required=False)
    if outcome in policy.clients:
        assert who(peer, outcome, policy=policy) == outcome
        assert [client.id for client in policy.candidates(peer)] == [outcome]


@given(POLICIES, PEERS, st.sampled_from(["a", "b", "c"]), st.booleans())
def test_a_bad_token_never_adds_a_right(
    policy: Policy, peer: Peer, claim: str, is_known: bool
) -> None:
    """Who gets in with an ended or unknown token would have got in without it."""
    bad = token_of(claim, expires_at=NOW) if is_known else None
    if who(peer, claim, bad, presented=True, policy=policy) == claim:
        assert who(peer, claim, policy=policy) == claim
