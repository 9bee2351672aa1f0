"""The life of a version, as who asks for it sees it: pending, current, in grace, over."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from jarvis_secretsd.domain.insiders import INTERNAL
from jarvis_secretsd.domain.lifecycle import LIFE, Step, after
from jarvis_secretsd.domain.policy import Pattern
from jarvis_secretsd.domain.rotation import RotationRules
from jarvis_secretsd.domain.schedule import Schedule
from jarvis_secretsd.messages import (
    Delete,
    Elapse,
    Elapsed,
    Failure,
    Found,
    Generate,
    Get,
    List,
    Listing,
    Put,
    Reply,
    Request,
    Restore,
    Revoke,
    Revoked,
    Rollback,
    Rotate,
    Rotated,
    Settle,
    Stored,
    VersionInfo,
    VersionListing,
    Versions,
)
from jarvis_secretsd.values import Kid, Kind, SecretName, State

from .world import ADMIN_UID, BACKEND_UID, World

NAME = SecretName("db/main")
KEY = SecretName("jwt_signing_key")
HOOKED = RotationRules(hooked=(Pattern.of("db/*"),))


@pytest.fixture
def world() -> World:
    """A world with two versions of a password."""
    return with_versions(World())


@pytest.fixture
def hooked() -> World:
    """The same, where a hook changes the far end first."""
    return with_versions(World(rules=HOOKED))


def with_versions(world: World) -> World:
    """`one` is in grace, `two` is current."""
    for value in ("one", "two"):
        assert isinstance(world.ask(Put(NAME, value)), Stored)
        world.wait(1)
    return world


def elapse(world: World, *names: SecretName, told: frozenset[SecretName] = frozenset()) -> Elapsed:
    """The daemon's own question, with what it changes taken in."""
    reply = internal(world, Elapse(names or (NAME,), told))
    assert isinstance(reply, Elapsed)
    return reply


def internal(world: World, operation: Elapse | Settle) -> Reply:
    """What only the daemon itself asks."""
    answer = world.service.handle(Request(operation), INTERNAL, world.vault, world.now, world.fresh)
    for act in answer.acts:
        world.acts.append(act)
        if act.change is not None:
            world.vault.apply(world.vault.seq + 1, act.change)
    return answer.reply


def versions(world: World, name: SecretName = NAME) -> list[VersionInfo]:
    """What `versions` says, oldest first."""
    reply = world.ask(Versions(name))
    assert isinstance(reply, VersionListing)
    return list(reply.versions)


def states(world: World, name: SecretName = NAME) -> list[State]:
    """Only their states."""
    return [each.state for each in versions(world, name)]


def value(world: World, kid: Kid | None = None, name: SecretName = NAME) -> str:
    """The value that `get` gives, or the code of its refusal."""
    reply = world.ask(Get(name, kid))
    return reply.value.reveal_text() if isinstance(reply, Found) else code(reply)


def code(reply: Reply) -> str:
    """The code of a failure."""
    assert isinstance(reply, Failure), reply
    return reply.code


def rotated(world: World, *names: SecretName, wish: Generate | None = None) -> Rotated:
    """What `rotate` did."""
    reply = world.ask(Rotate(names or (NAME,), wish))
    assert isinstance(reply, Rotated)
    return reply


def test_every_state_is_in_the_table_and_every_step_leads_out_of_one() -> None:
    """A version can't be where the table has no row for it, and no step is without effect."""
    assert {*LIFE} == {*State} - {State.DELETED}
    assert {step for steps in LIFE.values() for step in steps} == {*Step}
    assert all(state in LIFE for steps in LIFE.values() for state in steps.values())
    assert all(after(state, step) is None for state in (State.EXPIRED,) for step in Step)


def test_the_page_draws_the_table() -> None:
    """The drawing has an arrow for each entry of the table, and no other."""
    page = (Path(__file__).parents[2] / "docs/rotation.md").read_text()
    drawn = set(re.findall(r"^    (\w+) --> (\w+): (\w+)$", page, re.MULTILINE))
    table = {
        (str(state), str(to), str(step)) for state, row in LIFE.items() for step, to in row.items()
    }
    assert drawn == table


def test_versions_says_who_still_uses_the_old_one(world: World) -> None:
    """The reads themselves tell it: when, and which client."""
    old, new = versions(world)
    assert (old.last_read, new.last_read) == (None, None)
    world.ask(Get(NAME, old.kid), BACKEND_UID, "backend")
    world.wait(1)
    world.ask(Get(NAME), ADMIN_UID, "admin")
    old, new = versions(world)
    assert (old.last_reader, new.last_reader) == ("backend", "admin")
    assert old.last_read is not None
    assert new.last_read is not None
    assert old.last_read < new.last_read


def test_a_list_counts_the_versions_in_grace(world: World) -> None:
    """Whichever one is current, until their graces have ended."""

    def in_grace() -> int:
        listing = world.ask(List())
        assert isinstance(listing, Listing)
        return listing.secrets[0].in_grace

    assert in_grace() == 1
    world.ask(Rollback(NAME))
    assert in_grace() == 1
    world.wait(14)
    assert in_grace() == 0


def test_a_refused_read_is_no_read(world: World) -> None:
    """Who was denied doesn't use it."""
    world.ask(Get(NAME), 1002, "worker")
    assert [each.last_reader for each in versions(world)] == [None, None]


def test_no_more_reads_are_remembered_than_there_are_versions() -> None:
    """A secret that is rotated for years fills no memory: who read what is gone is forgotten."""
    world = World()
    kids = []
    for _ in range(50):
        stored = world.ask(Put(NAME, kind=Kind.PASSWORD, grace_days=0))
        assert isinstance(stored, Stored)
        kids.append(stored.kid)
        world.ask(Get(NAME))
        elapse(world)
    last = [world.service.reads.last(NAME, kid) for kid in kids]
    assert last[-1] is not None
    assert sum(each is not None for each in last) <= 2


def test_a_version_is_over_when_its_grace_ends(world: World) -> None:
    """From that moment its kid is unknown, before and after the record that says so."""
    old = versions(world)[0]
    assert old.until is not None
    world.now = old.until
    assert value(world, old.kid) == "not_found"
    elapse(world)
    assert states(world) == [State.CURRENT]
    assert value(world, old.kid) == "not_found"
    assert world.vault.dead_since == old.until


def test_a_clock_that_jumped_ends_nothing(world: World) -> None:
    """The time that decides is the settled one, whatever the wall says."""
    old = versions(world)[0]
    settled = world.now
    world.wait(365 * 12)
    request = Request(Elapse((NAME,)))
    answer = world.service.handle(request, INTERNAL, world.vault, world.now, world.fresh, settled)
    assert answer.acts == ()
    got = world.service.handle(
        Request(Get(NAME, old.kid)),
        INTERNAL,
        world.vault,
        world.now,
        world.fresh,
        settled,
    )
    assert isinstance(got.reply, Found)


def test_an_encryption_key_outlives_its_grace_and_ends_when_it_is_revoked() -> None:
    """Data is encrypted under it still; only a person knows when that is over."""
    world = World()
    name = SecretName("jarvis_encryption_key")
    for _ in range(2):
        world.ask(Put(name, kind=Kind.ENCRYPTION_KEY))
    world.wait(4000)
    elapse(world, name)
    old = versions(world, name)[0]
    assert old.state is State.GRACE
    current = versions(world, name)[-1]
    assert world.ask(Revoke(name, old.kid)) == Revoked(name, old.kid, current.kid)
    assert states(world, name) == [State.CURRENT]


@pytest.mark.parametrize("is_hooked", [False, True])
@pytest.mark.parametrize(
    "operation",
    [
        Put(NAME, "of another kind", kind=Kind.PASSWORD),
        Put(NAME, "of the same kind, which isn't said"),
        Rotate((NAME,), Generate(Kind.PASSWORD)),
    ],
)
def test_an_encryption_key_outlives_what_takes_its_place(
    operation: Put | Rotate, is_hooked: bool
) -> None:
    """Also something of another kind: what was encrypted under it stays encrypted."""
    world = World(rules=HOOKED if is_hooked else RotationRules())
    world.ask(Put(NAME, kind=Kind.ENCRYPTION_KEY))
    (old,) = versions(world)
    world.ask(operation)
    if (newest := versions(world)[-1]).state is State.PENDING:
        internal(world, Settle(NAME, newest.kid, "confirm"))
    for _ in range(2):
        world.ask(Put(NAME, "later", kind=Kind.PASSWORD))
        world.wait(4000)
        elapse(world)
    assert len(value(world, old.kid)) == 44
    world.ask(Revoke(NAME, old.kid))
    assert value(world, old.kid) == "not_found"


def test_an_encryption_key_that_the_far_end_refuses_can_be_revoked(hooked: World) -> None:
    """It is current when its successor is unresolved, and is gone at once all the same."""
    hooked.ask(Put(NAME, kind=Kind.ENCRYPTION_KEY))
    rotated(hooked)
    current, pending = versions(hooked)[-2:]
    internal(hooked, Settle(NAME, pending.kid, "doubt"))
    assert hooked.ask(Revoke(NAME, current.kid)) == Revoked(NAME, current.kid, pending.kid)
    assert value(hooked, current.kid) == "not_found"
    assert value(hooked) == value(hooked, pending.kid)


def test_a_rollback_makes_the_previous_version_current_again(world: World) -> None:
    """With its own kid, and what it replaces is in grace, to be returned to."""
    old, new = versions(world)
    world.ask(Rollback(NAME))
    assert value(world) == "one"
    assert states(world) == [State.CURRENT, State.GRACE]
    assert value(world, new.kid) == "two"
    world.ask(Rollback(NAME, new.kid))
    assert (value(world), value(world, old.kid)) == ("two", "one")
    world.ask(Put(NAME, "three"))
    assert [each.version for each in versions(world)] == [1, 2, 3]


def test_a_rollback_needs_a_version_in_grace(world: World) -> None:
    """To the current one, to one that is over, or to none there is no way back."""
    old, new = versions(world)
    assert code(world.ask(Rollback(NAME, new.kid))) == "not_found"
    world.ask(Revoke(NAME, old.kid))
    assert code(world.ask(Rollback(NAME))) == "not_found"
    assert code(world.ask(Rollback(SecretName("db/none")))) == "not_found"


def test_a_revoked_version_is_served_no_more(world: World) -> None:
    """At once, and the current one only after another took its place."""
    old, new = versions(world)
    assert code(world.ask(Revoke(NAME, new.kid))) == "conflict"
    world.ask(Revoke(NAME, old.kid))
    assert value(world, old.kid) == "not_found"
    assert value(world) == "two"
    assert code(world.ask(Revoke(NAME, old.kid))) == "not_found"


def test_behind_a_hook_a_rotation_is_pending_and_nothing_changes(hooked: World) -> None:
    """The value that is served is the last one that the far end confirmed."""
    assert rotated(hooked).pending == (NAME,)
    pending = versions(hooked)[-1]
    assert pending.state is State.PENDING
    assert value(hooked) == "two"
    assert value(hooked, pending.kid) == "not_found"
    listing = hooked.ask(List())
    assert isinstance(listing, Listing)
    assert [entry.state for entry in listing.secrets] == [State.PENDING]


@pytest.mark.parametrize(
    "operation", [Rotate((NAME,)), Put(NAME, "x"), Delete(NAME), Rollback(NAME)]
)
def test_nothing_else_happens_to_a_secret_whose_hook_is_at_work(
    hooked: World, operation: Rotate | Put | Delete | Rollback
) -> None:
    """Two changes at once could leave the far end with neither."""
    rotated(hooked)
    assert code(hooked.ask(operation)) == "conflict"
    assert states(hooked)[-1] is State.PENDING


def test_what_the_hook_confirms_is_current(hooked: World) -> None:
    """And the version before it is in grace."""
    rotated(hooked)
    pending = versions(hooked)[-1]
    internal(hooked, Settle(NAME, pending.kid, "confirm"))
    assert states(hooked) == [State.GRACE, State.GRACE, State.CURRENT]
    assert versions(hooked)[-1].kid == pending.kid
    assert len(value(hooked)) == 64


def test_what_the_hook_refuses_never_was(hooked: World) -> None:
    """The old value is current, its number isn't given twice."""
    rotated(hooked)
    pending = versions(hooked)[-1]
    internal(hooked, Settle(NAME, pending.kid, "drop", "exit status 1"))
    assert states(hooked) == [State.GRACE, State.CURRENT]
    assert value(hooked) == "two"
    assert code(internal(hooked, Settle(NAME, pending.kid, "confirm"))) == "not_found"
    rotated(hooked)
    assert versions(hooked)[-1].version == 4


def test_while_nobody_can_tell_both_are_readable(hooked: World) -> None:
    """By their kids; without one it is still the last that was confirmed."""
    rotated(hooked)
    pending = versions(hooked)[-1]
    internal(hooked, Settle(NAME, pending.kid, "doubt", "the server is down"))
    internal(hooked, Settle(NAME, pending.kid, "doubt", "still down"))
    assert states(hooked)[1:] == [State.CURRENT, State.UNRESOLVED]
    assert value(hooked) == "two"
    assert len(value(hooked, pending.kid)) == 64


@pytest.mark.parametrize("revoked_is_new", [True, False])
def test_who_knows_which_one_is_live_revokes_the_other(hooked: World, revoked_is_new: bool) -> None:
    """That settles it without the hook."""
    rotated(hooked)
    current, pending = versions(hooked)[1:]
    internal(hooked, Settle(NAME, pending.kid, "doubt"))
    gone, left = (pending, current) if revoked_is_new else (current, pending)
    reply = hooked.ask(Revoke(NAME, gone.kid))
    assert reply == Revoked(NAME, gone.kid, left.kid)
    elapse(hooked)
    assert value(hooked, gone.kid) == "not_found"
    assert value(hooked) == value(hooked, left.kid) != "not_found"
    assert [each.kid for each in versions(hooked) if each.state is State.CURRENT] == [left.kid]


def test_behind_a_hook_a_rollback_is_a_rotation_to_the_old_value(hooked: World) -> None:
    """The far end has to take it first, under a kid of its own."""
    reply = hooked.ask(Rollback(NAME))
    assert isinstance(reply, Stored)
    assert reply.pending
    internal(hooked, Settle(NAME, reply.kid, "confirm"))
    assert value(hooked) == "one"


def test_the_clock_publishes_a_signing_key_before_it_signs() -> None:
    """Made by a person it signs at once."""
    world = World()
    world.ask(Put(KEY, kind=Kind.JWT_SIGNING_KEY))
    first = versions(world, KEY)[0]
    assert rotated(world, KEY).rotated == (KEY,)
    world.wait(91)
    elapse(world, KEY)
    pending = versions(world, KEY)[-1]
    assert pending.state is State.PENDING
    assert pending.until is not None
    assert (pending.until - world.now).total_seconds() == 600
    elapse(world, KEY)
    assert versions(world, KEY)[-1].state is State.PENDING
    world.now = pending.until
    elapse(world, KEY)
    assert versions(world, KEY)[-1].state is State.CURRENT
    assert first.kid not in [each.kid for each in versions(world, KEY)]


def test_a_person_needs_not_wait_for_a_key_that_is_published() -> None:
    """One that leaked is replaced at once, by the one that verifiers know already."""
    world = World()
    world.ask(Put(KEY, kind=Kind.JWT_SIGNING_KEY))
    world.wait(91)
    elapse(world, KEY)
    leaked, published = versions(world, KEY)
    assert "rotate it" in str(world.ask(Put(KEY, "x")))
    assert world.ask(Rotate()) == Rotated((), 0, (), {})
    assert code(world.ask(Rotate((KEY,), Generate(Kind.JWT_SIGNING_KEY)))) == "conflict"
    assert rotated(world, KEY).rotated == (KEY,)
    assert [each.state for each in versions(world, KEY)] == [State.GRACE, State.CURRENT]
    assert versions(world, KEY)[-1].kid == published.kid
    world.ask(Revoke(KEY, leaked.kid))
    assert states(world, KEY) == [State.CURRENT]


def test_thousands_of_versions_end_in_many_turns(world: World) -> None:
    """Each is a record, and nobody is answered before all records of a turn are durable."""
    for place in range(250):
        world.ask(Put(NAME, f"{place}"))
    world.wait(15)
    counts = []
    for _ in range(4):
        before = len(world.acts)
        elapse(world, told=frozenset({NAME}))
        counts.append(len(world.acts) - before)
    assert counts == [100, 100, 51, 0]
    assert states(world) == [State.CURRENT]


def test_all_that_falls_on_one_moment_happens() -> None:
    """A grace ends, a new version is made, and another name's deletion is past recall."""
    world, gone = World(), SecretName("gone")
    world.ask(Put(NAME, "1", rotation_days=14, auto_rotate=True))
    world.ask(Put(NAME, "2"))
    world.ask(Put(gone, "x"))
    world.ask(Delete(gone))
    world.wait(14)
    elapse(world, NAME, gone)
    assert [each.version for each in versions(world)] == [2, 3]
    assert value(world) not in ("1", "2")
    spent = world.vault.secret(gone)
    assert spent is not None
    assert spent.versions == ()


def test_the_clock_overwrites_no_password(world: World) -> None:
    """It is due, which is said once, and is served as before."""
    world.wait(120)
    assert elapse(world).due == (NAME,)
    assert elapse(world, told=frozenset({NAME})).due == ()
    assert value(world) == "two"
    listing = world.ask(List())
    assert isinstance(listing, Listing)
    assert listing.secrets[0].is_expired


def test_the_clock_rotates_what_asked_for_it(world: World) -> None:
    """By `auto_rotate` at put."""
    name = SecretName("internal")
    world.ask(Put(name, "x", auto_rotate=True))
    world.wait(90)
    elapse(world, name)
    assert value(world, name=name) != "x"


def test_the_clock_leaves_alone_what_was_rolled_back() -> None:
    """A new version did harm: people see to it, until the way forward has ended with its grace."""
    world = World()
    world.ask(Put(NAME, "x", auto_rotate=True))
    world.wait(90)
    elapse(world)
    world.ask(Rollback(NAME))
    assert elapse(world).due == (NAME,)
    assert world.ask(Rotate()) == Rotated((), 0, (), {})
    assert value(world) == "x"
    world.wait(14)
    elapse(world)
    elapse(world)
    assert value(world) != "x"


def test_what_a_put_does_not_say_stays_as_it_was() -> None:
    """A new value of an external secret doesn't make it one that the clock may overwrite."""
    world = World(rules=RotationRules(auto=(Pattern.of("*"),)))
    world.ask(Put(NAME, "1", kind=Kind.EXTERNAL, rotation_days=30, grace_days=3))
    world.ask(Put(NAME, "2"))
    world.wait(30)
    assert elapse(world).due == (NAME,)
    assert [each.version for each in versions(world)] == [2]
    assert value(world) == "2"


def test_another_kind_is_kept_as_that_kind_is() -> None:
    """The old kind's alphabet would fit no key; a length is kept for the value made now, too."""
    world = World()
    world.ask(Put(NAME, kind=Kind.PASSWORD, length=8, alphabet="0123456789", rotation_days=1))
    world.ask(Put(NAME, kind=Kind.PASSWORD, rotation_days=2))
    assert re.fullmatch(r"[0-9]{8}", value(world))
    world.ask(Put(NAME, kind=Kind.JWT_SIGNING_KEY))
    assert len(value(world)) == 44
    world.wait(2)
    assert elapse(world).due == ()


def test_a_deletion_that_is_past_recall_leaves_only_the_number(world: World) -> None:
    """Its values are let go by a record, and the next put goes on counting."""
    world.ask(Delete(NAME))
    world.wait(15)
    elapse(world)
    secret = world.vault.secret(NAME)
    assert secret is not None
    assert secret.versions == ()
    assert code(world.ask(Restore(NAME))) == "not_found"
    reply = world.ask(Put(NAME, "anew"))
    assert isinstance(reply, Stored)
    assert reply.version == 3


def test_length_and_alphabet_are_kept_for_the_next_rotation() -> None:
    """A door code stays a door code."""
    world, name = World(), SecretName("door/code")
    world.ask(Put(name, kind=Kind.PASSWORD, length=8, alphabet="0123456789"))
    first = value(world, name=name)
    rotated(world, name)
    second = value(world, name=name)
    assert first != second
    assert all(re.fullmatch(r"[0-9]{8}", each) for each in (first, second))
    rotated(world, name, wish=Generate(Kind.PASSWORD, 12))
    rotated(world, name)
    assert len(value(world, name=name)) == 12


def test_an_external_secret_says_what_to_do_instead() -> None:
    """Its issuer makes it; here it is put."""
    world, name = World(), SecretName("brave_api_key")
    world.ask(Put(name, "BSA-1"))
    reply = world.ask(Rotate((name,)))
    assert isinstance(reply, Failure)
    assert "put the value that its issuer gave you" in reply.message


def test_of_several_names_each_has_its_own_error(world: World) -> None:
    """Also when all failed; one that was asked for alone is answered by its error."""
    missing = SecretName("missing")
    world.ask(Put(SecretName("theirs"), "x", kind=Kind.EXTERNAL))
    failed = rotated(world, missing, SecretName("theirs")).failed
    assert {name: each.code for name, each in failed.items()} == {
        "missing": "not_found",
        "theirs": "conflict",
    }
    assert code(world.ask(Rotate((missing, missing)))) == "not_found"


@pytest.mark.parametrize("operation", [Elapse((NAME,)), Settle(NAME, Kid("0" * 16), "drop")])
def test_what_the_daemon_asks_itself_nobody_else_does(operation: Elapse | Settle) -> None:
    """It has no place on the wire; a client that could say it would be refused."""
    world = with_versions(World())
    assert code(world.ask(operation)) == "denied"


def test_a_schedule_names_only_what_is_due() -> None:
    """Each name once, in the order of the deadlines, and again only when it is planned anew."""
    world = World()
    for index in range(5):
        world.ask(Put(SecretName(f"s{index}"), "x", rotation_days=10 - index, auto_rotate=True))
    schedule = Schedule(world.service.rules)
    for name in world.vault.names():
        secret = world.vault.secret(name)
        assert secret is not None
        schedule.plan(secret)
        schedule.plan(secret)
    assert schedule.take(world.now, 10) == ()
    assert schedule.next_at is not None
    assert (schedule.next_at - world.now).days == 6
    world.wait(8)
    assert schedule.take(world.now, 2) == ("s4", "s3")
    assert schedule.take(world.now, 10) == ("s2",)
    assert schedule.take(world.now, 10) == ()


def planned(schedule: Schedule, world: World, name: SecretName = NAME) -> None:
    """Plan it as it is now."""
    secret = world.vault.secret(name)
    assert secret is not None
    schedule.plan(secret)


def test_a_schedule_does_not_grow_with_the_changes_of_a_secret() -> None:
    """A program that puts and deletes all day long leaves no deadline behind for each."""
    world = World()
    schedule = Schedule(world.service.rules)
    for place in range(1000):
        world.ask(Put(NAME, f"{place}"))
        planned(schedule, world)
        world.ask(Delete(NAME))
        planned(schedule, world)
        world.wait(1 / 1000)
    assert len(schedule._heap) < 20
    assert schedule.next_at is not None
    assert (schedule.next_at - world.now).days == 13


def test_a_rotation_that_failed_delays_no_end(world: World) -> None:
    """The clock tries again in an hour; a grace that ends before is over in time."""
    old = versions(world)[0]
    schedule = Schedule(RotationRules(auto=(Pattern.of("*"),)))
    secret = world.vault.secret(NAME)
    assert (secret, old.until) != (None, None)
    assert secret is not None
    schedule.defer(secret, world.now + timedelta(days=200))
    assert schedule.next_at == old.until
    world.now = secret.current.created_at + timedelta(days=15)
    elapse(world)
    planned(schedule, world)
    assert schedule.take(world.now + timedelta(days=100), 10) == ()
