"""Which secret a unit's credential is, as whom it is read, and who gets none."""

from __future__ import annotations

from msgspec.structs import replace

from jarvis_secretsd.domain.audit import Outcome
from jarvis_secretsd.domain.peer import Peer, Transport
from jarvis_secretsd.domain.policy import Client, Credential, Grant, Pattern, TokenRule
from jarvis_secretsd.domain.witness import Answer
from jarvis_secretsd.messages import Failure, Found, LoadCredential, Put, Request
from jarvis_secretsd.values import ClientId, Permission, SecretName
from tests.domain.world import ADMIN_UID, ALL, World, client, policy_of

WEB = "web.service"
SYSTEMD = Peer(Transport.CREDENTIALS, uid=0, gid=0, pid=7, unit=WEB)


def unit_client(name: str, *patterns: str, units: tuple[str, ...] = (WEB,), **files: str) -> Client:
    """A client that binds no user; `files` are its credentials."""
    grant = Grant(f"clients.{name}", frozenset({Permission.READ}), tuple(map(Pattern.of, patterns)))
    return Client(
        ClientId(name),
        units=frozenset(units),
        bound=False,
        grants=(grant,),
        credentials=tuple(Credential(file, SecretName(secret)) for file, secret in files.items()),
    )


def world(*clients: Client, canaries: tuple[str, ...] = ()) -> World:
    """A host with two secrets."""
    admin = client("admin", ADMIN_UID, "*", permissions=ALL)
    made = World(policy_of(admin, *clients), canaries=canaries)
    for name in ("plain", "tls/key"):
        made.ask(Put(SecretName(name), f"value of {name}"))
    made.acts.clear()
    return made


def load(world: World, file: str, peer: Peer = SYSTEMD, unit: str = WEB) -> Answer:
    """The answer to this unit's LoadCredential=."""
    request = Request(LoadCredential(unit, file))
    return world.service.handle(request, peer, world.vault, world.now, world.fresh)


def value(answer: Answer) -> bytes:
    assert isinstance(answer.reply, Found), answer.reply
    return answer.reply.value.reveal()


def rule(answer: Answer) -> str | None:
    """Why it was denied, as the audit log has it."""
    assert isinstance(answer.reply, Failure)
    assert answer.reply.code == "denied"
    (act,) = answer.acts
    assert act.event.outcome == Outcome.DENIED
    return act.event.rule


def test_a_credential_is_the_secret_of_its_name_or_of_its_line() -> None:
    """A file's line says which; without one the name itself is the secret's."""
    here = world(unit_client("web", "plain", "tls/key", key="tls/key"))
    assert value(load(here, "plain")) == b"value of plain"
    assert value(load(here, "key")) == b"value of tls/key"


def test_a_line_wins_over_a_secret_of_that_name() -> None:
    """What is written down is what is meant."""
    here = world(unit_client("web", "*", plain="tls/key"))
    assert value(load(here, "plain")) == b"value of tls/key"


def test_it_is_audited_like_any_read() -> None:
    """A `get` of the secret by the client, with the unit, and how it was asked."""
    (act,) = load(world(unit_client("web", "tls/key", key="tls/key")), "key").acts
    event = act.event
    assert (event.op, event.name, event.client, event.unit) == ("get", "tls/key", "web", WEB)
    assert (event.transport, event.uid, event.pid) == ("credentials", 0, 7)
    assert (event.outcome, event.rule) == ("allowed", "clients.web.allow[0]")
    assert event.kid


def test_who_has_read_which_version_is_known() -> None:
    """`versions` tells that the client still uses it."""
    here = world(unit_client("web", "plain"))
    load(here, "plain")
    current = here.vault.live(SecretName("plain"))
    assert current is not None
    read = here.service.reads.last(SecretName("plain"), current.current.kid)
    assert read is not None and read.client == "web"


def test_of_a_unit_s_clients_the_first_that_may_read_it_asks() -> None:
    """In the order of the policy; one that has no such secret, or may not read it, is passed by."""
    here = world(
        unit_client("none", "tls/key"),
        unit_client("first", "plain"),
        unit_client("second", "plain"),
    )
    assert load(here, "plain").acts[0].event.client == "first"
    none = load(here, "other")
    assert rule(none) == "default-deny"
    assert none.acts[0].event.client == "none"


def test_users_are_not_asked_for() -> None:
    """A client of a user and a unit, which its programs are, gets its unit's credentials too."""
    here = world(replace(unit_client("web", "plain"), uids=frozenset({5}), bound=True))
    assert value(load(here, "plain")) == b"value of plain"


def test_a_client_of_the_unit_that_needs_a_token_gets_none() -> None:
    """systemd has no token to show."""
    here = world(replace(unit_client("web", "plain"), token=TokenRule.REQUIRED))
    assert rule(load(here, "plain")) == f"credentials: {WEB} is in no client's units"


def test_a_unit_that_no_client_lists_gets_nothing() -> None:
    """And the operator reads the line that would let it."""
    here = world(unit_client("web", "plain", units=("other.service",)))
    assert rule(load(here, "plain")) == f"credentials: {WEB} is in no client's units"
    assert here.denials[0].remedy == (
        f"under clients add `NAME: {{units: [{WEB}], allow: [SECRET]}}`"
    )


def test_a_client_without_units_is_nobody_for_systemd() -> None:
    """Root's own client is not systemd's, nor is one that binds nobody."""
    here = world(
        client("root", 0, "*"), unit_client("bare", "*", units=()), unit_client("web", "x")
    )
    assert rule(load(here, "plain")) == "default-deny"
    assert load(here, "plain").acts[0].event.client == "web"


def test_a_file_that_is_no_secret_s_name_needs_a_line() -> None:
    """The denial says so, and the operator reads the line."""
    here = world(unit_client("web", "*"))
    assert rule(load(here, "TLS Key")) == "clients.web.credentials: no line for TLS Key"
    assert here.denials[0].remedy == "under clients.web add `credentials: {TLS Key: SECRET}`"


def test_only_root_s_systemd_asks_for_a_unit() -> None:
    """A user's manager can call itself any unit; it gets nothing, and grows no log."""
    here = world(replace(unit_client("web", "plain"), uids=frozenset({1000}), bound=True))
    for peer in (replace(SYSTEMD, uid=1000), replace(SYSTEMD, uid=None)):
        answer = load(here, "plain", peer)
        assert isinstance(answer.reply, Failure)
        assert answer.reply.code == "denied"
        assert answer.acts == ()
    assert here.denials[0].rule == "credentials: uid 1000 is not the system's systemd"


def test_the_cgroup_must_be_of_the_unit_that_is_said() -> None:
    """Root in another unit, or in none, doesn't pass for this one."""
    here = world(unit_client("web", "plain"))
    for unit, told in (("other.service", "other.service"), (None, "no unit")):
        why = rule(load(here, "plain", replace(SYSTEMD, unit=unit)))
        assert why == f"credentials: {WEB} was said, the cgroup is of {told}"


def test_no_request_asks_as_systemd() -> None:
    """On another transport it is refused, whoever says it."""
    here = world(unit_client("web", "plain"), client("root", 0, "*"))
    answer = load(here, "plain", replace(SYSTEMD, transport=Transport.UNIX))
    assert rule(answer) == "credentials: asked for by a request"


def test_a_program_of_the_unit_is_not_systemd() -> None:
    """`units` without users lets no program be the client: it is for LoadCredential= alone."""
    here = world(unit_client("web", "plain"))
    (web,) = (each for each in here.service.policy.clients.values() if each.id == "web")
    assert web.binds(SYSTEMD)
    assert not web.binds(replace(SYSTEMD, transport=Transport.UNIX))
    assert not web.binds(replace(SYSTEMD, transport=Transport.TCP))


def test_a_unit_that_loads_a_canary_raises_the_alarm() -> None:
    """By whichever way its value leaves."""
    here = world(unit_client("web", "plain"), canaries=("plain",))
    answer = load(here, "plain")
    assert [touch.name for touch in here.touches] == ["plain"]
    assert answer.acts[0].event.note == "canary"


def test_denials_of_units_are_bounded() -> None:
    """A unit that systemd starts again and again doesn't fill the log."""
    here = world(unit_client("web", "other"))
    codes = [load(here, "plain").reply for _ in range(6)]
    assert [each.code for each in codes if isinstance(each, Failure)] == (
        ["denied"] * 3 + ["rate_limited"] * 3
    )
