"""One request, from asking to answer: what is given, what is refused, and what is witnessed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jarvis_secretsd.domain.audit import Outcome
from jarvis_secretsd.domain.changes import VersionPut
from jarvis_secretsd.domain.peer import Peer, Transport
from jarvis_secretsd.domain.service import MAX_ROTATED_AT_ONCE
from jarvis_secretsd.messages import (
    AnyOperation,
    AuditHead,
    AuditHeadStatus,
    AuditLog,
    Can,
    Created,
    Delete,
    Deleted,
    Denials,
    Failure,
    Found,
    Generate,
    Get,
    Health,
    HealthStatus,
    Identity,
    List,
    Listing,
    Metrics,
    MetricsText,
    Put,
    Reload,
    Reloaded,
    Request,
    Restore,
    Rotate,
    Rotated,
    Stored,
    TokenCreate,
    TokenCreated,
    TokenList,
    TokenListing,
    TokenRevoke,
    TokenRevoked,
    Verdict,
    WhoAmI,
)
from jarvis_secretsd.values import (
    MAX_VALUE_BYTES,
    NEVER,
    BearerToken,
    ClientId,
    Kid,
    Kind,
    Permission,
    SecretName,
)

from .world import ADMIN_UID, BACKEND_UID, NOW, STRANGER_UID, World, client, policy_of

DB, KEY = SecretName("db/main"), SecretName("jwt_signing_key")


@pytest.fixture
def world() -> World:
    """An empty vault."""
    return World()


def code_of(reply: object) -> str:
    """The failure's code; anything else is a fault of the test's premise."""
    assert isinstance(reply, Failure), reply
    return reply.code


def stored(world: World, name: SecretName = DB, value: str = "v1") -> Stored:
    """What a put of the admin gives."""
    reply = world.ask(Put(name, value))
    assert isinstance(reply, Stored)
    return reply


def found(world: World, name: SecretName = DB, kid: Kid | None = None) -> Found:
    """What a get of the admin gives."""
    reply = world.ask(Get(name, kid))
    assert isinstance(reply, Found), reply
    return reply


def test_what_was_put_comes_back_with_its_version(world: World) -> None:
    """A client that may read gets the value, its kid, its number and when it is due."""
    made = stored(world)
    assert isinstance(made, Created)
    gotten = found(world)
    assert gotten.value.reveal() == b"v1"
    assert (gotten.kid, gotten.version) == (made.kid, 1)
    assert gotten.expires_at == NOW + timedelta(days=90)
    assert gotten.encoding is None


@pytest.mark.parametrize("value", ["", "\0", "a\nb\n", "  keep  ", "é€😀", "x" * MAX_VALUE_BYTES])
def test_a_value_comes_back_to_the_byte(world: World, value: str) -> None:
    """Nothing is stripped, normalised or cut, and empty is a value."""
    stored(world, value=value)
    assert found(world).value.reveal_text() == value


def test_bytes_come_back_as_base64(world: World) -> None:
    """A value put with an encoding is given with it."""
    assert isinstance(world.ask(Put(DB, "AP8=", encoding="base64")), Created)
    gotten = found(world)
    assert (gotten.value.reveal(), gotten.encoding) == (b"\x00\xff", "base64")


@pytest.mark.parametrize(
    ("put", "code"),
    [
        (Put(DB, "not base64!", encoding="base64"), "invalid_request"),
        (Put(DB, "x" * (MAX_VALUE_BYTES + 1)), "too_large"),
        (Put(DB, "€" * (MAX_VALUE_BYTES // 3 + 1)), "too_large"),
        (Put(DB), "invalid_request"),
        (Put(DB, kind=Kind.EXTERNAL), "invalid_request"),
        (Put(DB, kind=Kind.STATIC), "invalid_request"),
        (Put(DB, kind=Kind.PASSWORD, encoding="base64"), "invalid_request"),
        (Put(DB, "v", rotation_days=-1), "invalid_request"),
        (Put(DB, "v", grace_days=10**9), "invalid_request"),
        (Put(DB, "v", expect_kid="0" * 16), "conflict"),
    ],
)
def test_a_put_that_cannot_be_meant_stores_nothing(world: World, put: Put, code: str) -> None:
    """A refused put leaves no version, and its entry says that it came to nothing."""
    assert code_of(world.ask(put)) == code
    assert world.vault.live(DB) is None
    assert (world.acts[-1].event.outcome, world.acts[-1].event.note) == (Outcome.FAILED, code)


def test_the_old_version_is_readable_by_its_kid_until_its_grace_ends(world: World) -> None:
    """A program that still holds the old kid is served for fourteen days, and not a moment more."""
    first = stored(world)
    world.wait(10)
    second = stored(world, value="v2")
    assert isinstance(second, Stored)
    assert not isinstance(second, Created)
    assert found(world).value.reveal() == b"v2"
    assert found(world, kid=first.kid).value.reveal() == b"v1"
    world.wait(13.999)
    assert found(world, kid=first.kid).version == 1
    world.wait(0.001)
    assert code_of(world.ask(Get(DB, first.kid))) == "not_found"
    assert found(world).version == 2


def test_the_current_version_is_served_past_its_time(world: World) -> None:
    """Due is not ended: the list says so, and the value is still given."""
    stored(world)
    world.wait(400)
    assert found(world).version == 1
    listing = world.ask(List())
    assert isinstance(listing, Listing)
    assert [each.is_expired for each in listing.secrets] == [True]


def test_putting_the_current_value_again_makes_no_version(world: World) -> None:
    """A migration that is run twice changes nothing the second time."""
    first = stored(world)
    again = world.ask(Put(DB, "v1"))
    assert isinstance(again, Stored)
    assert (again.kid, again.version) == (first.kid, 1)
    assert world.acts[-1].change is None


def test_a_client_that_may_not_read_does_not_learn_that_it_guessed_the_value() -> None:
    """For a writer without read, the same value is a version like any other."""
    writer = client("writer", 1005, "*", permissions=frozenset({Permission.WRITE}))
    world = World(policy_of(writer))
    kids = set()
    for _ in range(2):
        reply = world.ask(Put(DB, "v1"), 1005, "writer")
        assert isinstance(reply, Stored)
        kids.add(reply.kid)
    assert len(kids) == 2


def test_a_put_can_insist_on_what_it_replaces(world: World) -> None:
    """Of two writers who saw the same version, the second is told."""
    first = stored(world)
    assert isinstance(world.ask(Put(DB, "v2", expect_kid=first.kid)), Stored)
    assert code_of(world.ask(Put(DB, "v3", expect_kid=first.kid))) == "conflict"
    assert code_of(world.ask(Put(DB, "v3", expect_kid=""))) == "conflict"
    assert isinstance(world.ask(Put(KEY, "k", expect_kid="")), Created)


@pytest.mark.parametrize(
    ("kind", "length"),
    [
        (Kind.PASSWORD, 64),
        (Kind.API_KEY, 32),
        (Kind.TOKEN, 43),
        (Kind.JWT_SIGNING_KEY, 44),
        (Kind.ENCRYPTION_KEY, 44),
    ],
)
def test_a_value_can_be_generated_by_its_kind(world: World, kind: Kind, length: int) -> None:
    """A put with a kind and no value makes one that no client had to think of."""
    assert isinstance(world.ask(Put(DB, kind=kind)), Created)
    assert len(found(world).value.reveal_text()) == length


def test_a_deleted_secret_is_gone_and_can_be_restored(world: World) -> None:
    """Until its grace ends a deletion can be taken back, with the version that was current."""
    made = stored(world)
    gone = world.ask(Delete(DB))
    assert isinstance(gone, Deleted)
    assert gone.restorable_until == NOW + timedelta(days=14)
    assert code_of(world.ask(Get(DB))) == "not_found"
    assert code_of(world.ask(Get(DB, made.kid))) == "not_found"
    assert world.ask(List()) == Listing(())
    back = world.ask(Restore(DB))
    assert isinstance(back, Stored)
    assert (back.kid, found(world).version) == (made.kid, 1)
    assert code_of(world.ask(Restore(DB))) == "conflict"


def test_a_deletion_is_final_when_its_grace_has_ended(world: World) -> None:
    """After the grace nothing restores it, and the version numbers go on."""
    stored(world)
    world.ask(Delete(DB))
    world.wait(14)
    assert code_of(world.ask(Restore(DB))) == "not_found"
    assert isinstance(world.ask(Put(DB, "anew")), Created)
    assert found(world).version == 2


def test_a_name_that_is_put_anew_cannot_be_restored_to_the_old(world: World) -> None:
    """What was deleted is let go when its name gets a new value."""
    old = stored(world)
    world.ask(Delete(DB))
    stored(world, value="anew")
    assert code_of(world.ask(Get(DB, old.kid))) == "not_found"
    assert code_of(world.ask(Restore(DB))) == "conflict"


def test_rotation_by_name_generates_a_value_of_the_kind(world: World) -> None:
    """The new version is current at once, the old one is in grace."""
    old = stored(world, KEY, "b2xk")
    reply = world.ask(Rotate((KEY, KEY)))
    assert reply == Rotated((KEY,), 1, (), {})
    assert found(world, KEY).version == 2
    assert len(found(world, KEY).value.reveal_text()) == 44
    assert found(world, KEY, old.kid).version == 1


def test_what_is_issued_elsewhere_is_not_rotated_here(world: World) -> None:
    """A made-up API key would be an outage; the error says what to do instead."""
    name = SecretName("brave_api_key")
    stored(world, name, "BSA-1")
    reply = world.ask(Rotate((name,)))
    assert code_of(reply) == "conflict"
    assert isinstance(reply, Failure)
    assert "put the value" in reply.message
    assert found(world, name).version == 1


def test_a_rotation_of_several_names_says_which_failed(world: World) -> None:
    """One bad name doesn't keep the others from being rotated."""
    stored(world, KEY)
    reply = world.ask(Rotate((KEY, SecretName("missing"))))
    assert isinstance(reply, Rotated)
    assert reply.rotated == (KEY,)
    assert reply.failed["missing"].code == "not_found"
    assert [act.event.outcome for act in world.acts[-2:]] == [Outcome.ALLOWED, Outcome.FAILED]


def test_a_rotation_without_names_takes_what_is_due_and_harmless(world: World) -> None:
    """The clock's rotation leaves passwords alone: the database wouldn't know."""
    stored(world, KEY)
    stored(world, DB)
    assert world.ask(Rotate()) == Rotated((), 0, (), {})
    world.wait(90)
    assert world.ask(Rotate()) == Rotated((KEY,), 1, (), {})


def test_a_rotation_can_ask_for_length_and_alphabet(world: World) -> None:
    """`generate` says how the new value is made."""
    stored(world)
    wish = Generate(Kind.PASSWORD, length=20, alphabet="0123456789")
    assert isinstance(world.ask(Rotate((DB,), wish)), Rotated)
    assert len(found(world).value.reveal_text()) == 20
    assert found(world).value.reveal_text().isdigit()


def test_a_rotation_takes_a_bounded_number_of_names(world: World) -> None:
    """A turn is made durable as a whole, so one request can't make it endless."""
    names = tuple(SecretName(f"n{i}") for i in range(MAX_ROTATED_AT_ONCE + 1))
    assert code_of(world.ask(Rotate(names))) == "invalid_request"


def test_a_list_is_exactly_what_the_client_may_read(world: World) -> None:
    """No name that `get` would refuse is in it, and none that it would give is missing."""
    for name in ("db/main", "db/root", "jwt_signing_key", "other"):
        stored(world, SecretName(name))
    reply = world.ask(List(), BACKEND_UID, "backend")
    assert isinstance(reply, Listing)
    listed = [each.name for each in reply.secrets]
    readable = [
        name
        for name in world.vault.names()
        if isinstance(world.ask(Get(name), BACKEND_UID, "backend"), Found)
    ]
    assert listed == readable == ["db/main", "jwt_signing_key"]


def test_a_list_can_be_read_in_pages(world: World) -> None:
    """Following `next` gives every name once."""
    names = [f"n{number:02}" for number in range(7)]
    for name in names:
        stored(world, SecretName(name))
    seen, after = [], None
    while True:
        page = world.ask(List(after=after, limit=3))
        assert isinstance(page, Listing)
        seen += [str(each.name) for each in page.secrets]
        after = page.next
        if after is None:
            break
    assert seen == names


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_page_has_a_sensible_size(world: World, limit: int) -> None:
    """A limit out of bounds is an error that names the bounds."""
    assert code_of(world.ask(List(limit=limit))) == "invalid_request"


def test_denied_looks_the_same_whether_or_not_the_secret_exists(world: World) -> None:
    """A refusal tells nothing about what is stored."""
    stored(world, SecretName("hidden"))
    there = world.ask(Get(SecretName("hidden")), BACKEND_UID, "backend")
    absent = world.ask(Get(SecretName("absent")), BACKEND_UID, "backend")
    assert code_of(there) == "denied"
    assert there == absent


OPERATIONS: list[AnyOperation] = [
    Get(DB),
    Put(DB, "v"),
    Put(DB, kind=Kind.PASSWORD),
    List(),
    Rotate((DB,)),
    Delete(DB),
    Restore(DB),
    Can(ClientId("admin"), Permission.READ, DB),
    TokenCreate(ClientId("bridge")),
    TokenList(),
    TokenRevoke("0" * 16),
    AuditHead(),
    AuditLog(),
    Denials(),
    Reload(),
]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("transport", [Transport.UNIX, Transport.TCP])
@pytest.mark.parametrize("uid", [STRANGER_UID, 0, 65534, None])
def test_a_stranger_gets_nothing_whatever_it_claims(
    world: World, operation: AnyOperation, transport: Transport, uid: int | None
) -> None:
    """No operation, on no transport, serves a uid that the policy doesn't name."""
    stored(world)
    before, acts = world.vault.seq, len(world.acts)
    for claim in ("admin", "backend", "bridge", "nobody"):
        assert code_of(world.ask(operation, uid, claim, transport=transport)) == "denied"
    assert code_of(world.ask(operation, uid, None, transport=transport)) == "client_required"
    assert world.vault.seq == before
    assert len(world.acts) == acts, "a stranger must not grow the signed log"


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: type(each).__name__)
def test_every_denial_of_a_known_user_is_witnessed(world: World, operation: AnyOperation) -> None:
    """Who the policy knows, and is refused, has an entry that says by which rule."""
    if isinstance(operation, List):
        return  # a list is never refused: it is empty instead
    reply = world.ask(operation, 1002, "admin")
    assert code_of(reply) == "denied"
    event = world.acts[-1].event
    assert (event.uid, event.client, event.outcome) == (1002, "admin", Outcome.DENIED)
    assert str(event.rule).startswith("clients.admin")


def test_a_denied_loop_does_not_fill_the_log(world: World) -> None:
    """Beyond the limit denials are summed up, an entry a uid and minute; the caller is told."""
    replies = [world.ask(Get(KEY), 1002, "worker") for _ in range(10)]
    assert [code_of(reply) for reply in replies].count("rate_limited") == 7
    assert len(world.acts) == 3
    assert world.service.summaries(world.now) == ()
    world.now += timedelta(minutes=1)
    (summary,) = world.service.summaries(world.now)
    assert (summary.event.uid, summary.event.count) == (1002, 7)
    assert code_of(world.ask(Get(KEY), 1002, "worker")) != "rate_limited"


def test_a_denial_tells_the_operator_which_line_would_allow_it(world: World) -> None:
    """The log names the line of policy; the caller learns none of it."""
    world.ask(Get(SecretName("other")), BACKEND_UID, "backend")
    assert "add other to `allow`" in world.denials[-1].remedy
    world.ask(Get(DB), BACKEND_UID, "admin")
    assert "under clients.admin add 1001 to `users`" in world.denials[-1].remedy


def test_a_stranger_is_told_of_once_a_minute(world: World) -> None:
    """The operator sees at once why a new program gets nothing, and not a line a request."""
    for _ in range(5):
        reply = world.ask(Get(DB), STRANGER_UID, "backend")
        assert "4242" not in str(reply)
    assert len(world.denials) == 1
    assert "add 4242 to `users`" in world.denials[0].remedy


def test_strangers_are_summed_up_by_uid(world: World) -> None:
    """A minute of strangers is one entry each."""
    for uid in (7, 7, 8, None):
        world.ask(Get(DB), uid, "admin")
    world.now += timedelta(minutes=1)
    counted = {act.event.uid: act.event.count for act in world.service.summaries(world.now)}
    assert counted == {7: 2, 8: 1, None: 1}


def test_an_allowed_read_is_witnessed_with_its_rule_and_version(world: World) -> None:
    """The entry says who, what, which version, and which line of the policy let it."""
    made = stored(world)
    world.ask(Get(DB), BACKEND_UID, "backend")
    event = world.acts[-1].event
    assert (event.uid, event.client, event.op, event.name, event.kid) == (
        BACKEND_UID,
        "backend",
        "get",
        DB,
        made.kid,
    )
    assert (event.outcome, event.rule) == (Outcome.ALLOWED, "clients.backend.allow[1]")


def test_a_change_and_its_entry_are_one_act(world: World) -> None:
    """No change goes without an entry."""
    stored(world)
    act = world.acts[-1]
    assert isinstance(act.change, VersionPut)
    assert act.change.kid == act.event.kid


def test_a_claim_may_be_left_out_only_where_it_is_the_only_one() -> None:
    """With the header not required, a Unix peer that can be one client is it; TCP always says."""
    world = World(claim_required=False)
    world.ask(Put(DB, "v"))
    assert isinstance(world.ask(Get(DB), BACKEND_UID, None), Found)
    tcp = world.ask(Get(DB), BACKEND_UID, None, transport=Transport.TCP)
    assert code_of(tcp) == "client_required"


def token_for(world: World, name: str, **more: object) -> BearerToken:
    """A token that the admin makes."""
    reply = world.ask(TokenCreate(ClientId(name), **more))  # type: ignore[arg-type]
    assert isinstance(reply, TokenCreated), reply
    return reply.token


def test_a_required_token_is_needed_beside_the_uid(world: World) -> None:
    """Neither the uid alone nor the token alone is enough."""
    stored(world)
    token = token_for(world, "worker")
    assert code_of(world.ask(Get(DB), 1002, "worker")) == "bad_token"
    assert isinstance(world.ask(Get(DB), 1002, "worker", token), Found)
    assert code_of(world.ask(Get(DB), STRANGER_UID, "worker", token)) == "denied"


def test_an_accepted_token_alone_will_do(world: World) -> None:
    """A bridged container, whom the kernel can't name, is a client by its token."""
    stored(world)
    token = token_for(world, "bridge")
    tcp = Transport.TCP
    assert isinstance(world.ask(Get(DB), None, "bridge", token, tcp), Found)
    assert code_of(world.ask(Get(DB), None, "backend", token, tcp)) == "bad_token"
    assert code_of(world.ask(Get(DB), None, "bridge", BearerToken("x"), tcp)) == "bad_token"


def test_a_token_ends_at_its_time_or_when_it_is_revoked(world: World) -> None:
    """At its expiry, and at once after a revocation, a token is worth nothing."""
    stored(world)
    short, revoked = token_for(world, "bridge", ttl_secs=86_400), token_for(world, "bridge")
    listing = world.ask(TokenList())
    assert isinstance(listing, TokenListing)
    ids = [each.token_id for each in listing.tokens]
    assert isinstance(world.ask(TokenRevoke(ids[1])), TokenRevoked)
    assert code_of(world.ask(Get(DB), None, "bridge", revoked)) == "bad_token"
    assert isinstance(world.ask(Get(DB), None, "bridge", short), Found)
    world.wait(1)
    assert code_of(world.ask(Get(DB), None, "bridge", short)) == "bad_token"


def test_a_clock_that_jumped_ahead_ends_no_token(world: World) -> None:
    """Containers that have nothing but their token are served on while the clock is wrong."""
    stored(world)
    token = token_for(world, "bridge", ttl_secs=86_400)
    request, peer = Request(Get(DB), ClientId("bridge"), token), Peer(Transport.TCP, None)
    ahead = world.now + timedelta(days=400)
    reply = world.service.handle(request, peer, world.vault, ahead, world.fresh, world.now).reply
    assert isinstance(reply, Found)


def test_no_token_is_made_for_a_client_that_takes_none(world: World) -> None:
    """The error names the line of the policy that would take it."""
    reply = world.ask(TokenCreate(ClientId("backend")))
    assert isinstance(reply, Failure)
    assert "token: accepted" in reply.message
    assert code_of(world.ask(TokenCreate(ClientId("absent")))) == "invalid_request"


def test_can_says_what_a_client_may_and_which_rule_says_so(world: World) -> None:
    """An admin asks about anyone, everyone about themselves."""
    ask = Can(ClientId("backend"), Permission.READ, SecretName("db/root"))
    assert world.ask(ask) == Verdict(False, "clients.backend.deny[0]")
    assert world.ask(ask, BACKEND_UID, "backend") == Verdict(False, "clients.backend.deny[0]")
    other = Can(ClientId("admin"), Permission.READ, DB)
    assert code_of(world.ask(other, BACKEND_UID, "backend")) == "denied"
    wrong = world.ask(Can(ClientId("backend"), Permission.READ, DB, uid=STRANGER_UID))
    assert isinstance(wrong, Verdict)
    assert not wrong.allowed
    assert "uid 4242" in wrong.rule


def test_whoami_tells_a_stranger_who_the_kernel_says(world: World) -> None:
    """Everyone may ask who they are, and nobody learns about others by it."""
    reply = world.ask(WhoAmI(), STRANGER_UID, None)
    assert isinstance(reply, Identity)
    assert (reply.uid, reply.clients, reply.client) == (STRANGER_UID, (), None)
    known = world.ask(WhoAmI(), BACKEND_UID, "backend")
    assert isinstance(known, Identity)
    assert known.permissions["read"] == ("jwt_signing_key", "db/*")
    assert known.deny == ("db/root",)


def test_health_and_metrics_need_no_client_and_leave_no_entry(world: World) -> None:
    """Probes come every few seconds and touch no secret."""
    stored(world)
    count = len(world.acts)
    assert world.ask(Health(), None, None) == HealthStatus("ok", "0.1.0", 5, 1)
    assert isinstance(world.ask(Metrics(), None, None), MetricsText)
    assert len(world.acts) == count


def test_a_reload_takes_the_new_policy_or_keeps_the_old(world: World) -> None:
    """A broken file changes nothing and is witnessed; a good one is in force at once."""
    assert code_of(world.ask(Reload())) == "invalid_request"
    assert world.acts[-1].event.outcome == Outcome.FAILED
    assert isinstance(world.ask(List()), Listing)
    world.next_policy = policy_of(client("admin", 7, "*"))
    assert isinstance(world.ask(Reload()), Reloaded)
    assert code_of(world.ask(List(), ADMIN_UID)) == "denied"


def test_the_audit_head_is_for_who_may_audit(world: World) -> None:
    """A witness that keeps the head needs the permission for it."""
    assert isinstance(world.ask(AuditHead()), AuditHeadStatus)
    assert code_of(world.ask(AuditHead(), BACKEND_UID, "backend")) == "denied"


def test_configuration_that_is_no_secret_is_never_due(world: World) -> None:
    """A URL doesn't expire."""
    name = SecretName("home_assistant_url")
    assert stored(world, name, "http://ha.local").expires_at == NEVER
