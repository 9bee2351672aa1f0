"""The latest refusals are remembered with their remedy, and nobody can make others forgotten."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jarvis_secretsd.domain.denial import Denial
from jarvis_secretsd.domain.peer import Peer, Transport
from jarvis_secretsd.domain.recent import MAX_OF_UID, MAX_REFUSALS, Recent
from jarvis_secretsd.messages import DenialListing, Denials, Get, List, RefusalListed
from jarvis_secretsd.values import ClientId, SecretName
from jarvis_secretsd.wire.codec import encode_reply
from jarvis_secretsd.wire.frames import MAX_FRAME
from tests.domain.world import (
    BACKEND_UID,
    DEFAULT_POLICY,
    NOW,
    STRANGER_UID,
    World,
    client,
    policy_of,
)

SMTP = SecretName("smtp_password")


@pytest.fixture
def world() -> World:
    """A service on an empty vault."""
    return World()


def denials(world: World) -> tuple[RefusalListed, ...]:
    """What an admin is told."""
    listing = world.ask(Denials())
    assert isinstance(listing, DenialListing)
    return listing.denials


def denial(uid: int | None, name: str = "a") -> Denial:
    """A refusal of this uid."""
    return of(Peer(Transport.UNIX, uid), SecretName(name))


def of(peer: Peer, name: SecretName) -> Denial:
    """A refusal of this peer."""
    return Denial(peer, ClientId("x"), "get", name, "default-deny", "a line")


def test_a_refusal_is_listed_with_the_line_that_would_allow_it(world: World) -> None:
    """Who, as which client, what, by which rule, and what to write."""
    world.ask(Get(SMTP), BACKEND_UID, "backend")
    (told,) = denials(world)
    assert (told.uid, told.client, told.op, told.name) == (BACKEND_UID, "backend", "get", SMTP)
    assert told.rule == "default-deny"
    assert told.remedy == "under clients.backend add smtp_password to `allow`"


def test_the_line_that_is_told_does_allow_it(world: World) -> None:
    """With that line in the policy the same request gets another answer."""
    world.ask(Get(SMTP), BACKEND_UID, "backend")
    assert "add smtp_password to `allow`" in denials(world)[0].remedy
    world.service.policy = policy_of(
        *(each for each in DEFAULT_POLICY.clients.values() if each.id != "backend"),
        client("backend", BACKEND_UID, "smtp_password"),
    )
    world.ask(Get(SMTP), BACKEND_UID, "backend")
    assert len(denials(world)) == 1
    assert denials(world)[0].count == 1


def test_repeats_are_one_with_their_count_and_times(world: World) -> None:
    """Also those that were refused for their number; the latest stands last."""
    for _ in range(5):
        world.ask(Get(SMTP), BACKEND_UID, "backend")
        world.now += timedelta(seconds=1)
    world.ask(List(), STRANGER_UID, "backend")
    world.ask(Get(SMTP), BACKEND_UID, "backend")
    stranger, backend = denials(world)
    assert (backend.count, backend.first, backend.last) == (6, NOW, NOW + timedelta(seconds=5))
    assert (stranger.uid, stranger.count) == (STRANGER_UID, 1)


def test_strangers_and_what_could_not_be_read_are_among_them(world: World) -> None:
    """Neither has an entry of its own in the log, so this is where they are seen."""
    world.ask(List(), STRANGER_UID, None)
    world.service.malformed(Peer(Transport.TCP, None), NOW)
    stranger, malformed = denials(world)
    assert (
        stranger.remedy == f"under clients add `NAME: {{users: [{STRANGER_UID}], allow: [NAME]}}`"
    )
    assert (malformed.op, malformed.rule, malformed.transport) == ("", "malformed", "tcp")
    assert "docs/wire.md" in malformed.remedy


def test_who_says_no_client_is_told_which_it_can_be(world: World) -> None:
    """The policy needs no line then."""
    world.ask(Get(SMTP), BACKEND_UID, None)
    assert "JARVIS_CLIENT_ID): backend" in denials(world)[0].remedy


def test_who_lacks_its_token_needs_no_line_but_that(world: World) -> None:
    """The user is in the policy already."""
    world.ask(Get(SMTP), 1002, "worker")
    (told,) = denials(world)
    assert (told.rule, told.remedy) == (
        "bad_token",
        "give the program a token: `jarvis-secrets token create worker`",
    )


def test_only_who_may_audit_is_told(world: World) -> None:
    """The list holds names of secrets."""
    reply = world.ask(Denials(), BACKEND_UID, "backend")
    assert reply == world.ask(Get(SMTP), BACKEND_UID, "backend")
    assert not isinstance(reply, DenialListing)


def test_one_uid_can_not_push_out_what_others_were_refused() -> None:
    """It has a share, and what it was refused longest ago goes first."""
    recent = Recent(NOW)
    recent.note(denial(7), NOW)
    for number in range(3 * MAX_REFUSALS):
        recent.note(denial(8, f"n{number}"), NOW)
    listed = recent.listing().denials
    assert [each.uid for each in listed].count(7) == 1
    assert [each.name for each in listed if each.uid == 8] == [
        f"n{number}" for number in range(3 * MAX_REFUSALS - MAX_OF_UID, 3 * MAX_REFUSALS)
    ]


def test_the_memory_is_bounded_and_fits_a_frame() -> None:
    """However many uids there are, with names and remedies of any length that there can be."""
    recent = Recent(NOW)
    longest = ClientId("c" * 64), "token_create", SecretName("n" * 255), "r" * 300, "l" * 700
    for uid in range(2 * MAX_REFUSALS):
        recent.note(Denial(Peer(Transport.UNIX, uid), *longest), NOW)
    listing = recent.listing()
    assert len(listing.denials) == MAX_REFUSALS
    assert listing.denials[-1].uid == 2 * MAX_REFUSALS - 1
    assert 2 * len(encode_reply(listing)) < MAX_FRAME


def test_processes_of_one_user_are_one() -> None:
    """A program that is started anew for each request is one line, not a hundred."""
    recent = Recent(NOW)
    for pid in range(100):
        peer = Peer(Transport.UNIX, 7, 7, pid, frozenset({pid}))
        recent.note(of(peer, SecretName("a")), NOW)
    (told,) = recent.listing().denials
    assert told.count == 100
