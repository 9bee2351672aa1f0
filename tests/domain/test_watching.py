"""Who is told what: what counts as a change, whom it concerns, and how a watch begins."""

from __future__ import annotations

import pytest

from jarvis_secretsd.domain.changes import AnyChange
from jarvis_secretsd.domain.insiders import INTERNAL
from jarvis_secretsd.domain.policy import Pattern
from jarvis_secretsd.domain.rotation import RotationRules
from jarvis_secretsd.domain.watching import Audience, Beginning, Watching, changed_names
from jarvis_secretsd.messages import (
    MAX_PAGE,
    Delete,
    Failure,
    Put,
    Request,
    Restore,
    Revoke,
    Rollback,
    Rotate,
    Settle,
    Stored,
    Told,
    Watch,
)
from jarvis_secretsd.values import Kid, SecretName
from tests.domain.world import ADMIN_UID, ALL, BACKEND_UID, World, client, policy_of

A, B, ROOT = SecretName("db/a"), SecretName("db/b"), SecretName("db/root")
OTHER = SecretName("other")


def put(world: World, *names: SecretName) -> None:
    """New versions of these."""
    for name in names:
        assert not isinstance(world.ask(Put(name, f"value {world.vault.seq}")), Failure)


def kid(world: World, name: SecretName) -> Kid | None:
    """The version that is current."""
    secret = world.vault.live(name)
    return None if secret is None else secret.current.kid


def watching(
    world: World, *names: SecretName, who: str = "backend", uid: int = BACKEND_UID
) -> Watching:
    """A watch that the policy allows."""
    answer = world.answer(Watch(names), uid, who)
    assert answer.watching is not None, answer.reply
    return answer.watching


def whole(world: World, watch: Watching) -> dict[SecretName, Kid | None]:
    """What a watch begins with, all of its parts together."""
    beginning, secrets = Beginning(watch, since=None), dict[SecretName, Kid | None]()
    while True:
        part = beginning.next(world.vault, world.service.policy)
        secrets |= part.secrets
        if not part.more:
            assert part.whole
            assert part.seq == world.vault.seq
            return secrets


def changes(world: World, since: int = 0) -> list[AnyChange]:
    """What happened to the vault."""
    return [act.change for act in world.acts if act.change is not None][since:]


def told(world: World, audience: Audience[str], *names: SecretName) -> dict[str, Told]:
    """Who is told what of these names; nobody is told twice."""
    messages = audience.tell(names, world.vault, world.service.policy)
    assert len(dict(messages)) == len(messages)
    return dict(messages)


def test_a_watch_begins_with_what_the_client_may_read() -> None:
    """All of it, or the names that were asked for, those that don't exist yet included."""
    world = World()
    put(world, A, ROOT, OTHER)
    assert whole(world, watching(world)) == {A: kid(world, A)}
    assert whole(world, watching(world, A, B)) == {A: kid(world, A), B: None}


def test_a_watch_is_witnessed_once() -> None:
    """One entry, with the rule, and what is watched; nothing more is asked of the log later."""
    world = World()
    for names, name, note in (
        ((), None, "all that it may read"),
        ((A,), A, None),
        ((A, B), None, "2 names"),
    ):
        (act,) = world.answer(Watch(names), BACKEND_UID, "backend").acts
        assert (act.event.op, act.event.outcome) == ("watch", "allowed")
        assert (act.event.name, act.event.note) == (name, note)
        assert str(act.event.rule).startswith("clients.backend")
        assert act.change is None


@pytest.mark.parametrize("names", [(ROOT,), (A, ROOT), (A, OTHER)])
def test_one_name_that_may_not_be_read_is_one_too_many(names: tuple[SecretName, ...]) -> None:
    """Denied, existing or not, with the name in the log; nobody waits for what never comes."""
    world = World()
    denied = world.answer(Watch(names), BACKEND_UID, "backend")
    put(world, *names)
    assert world.ask(Watch(names), BACKEND_UID, "backend") == denied.reply
    assert isinstance(denied.reply, Failure)
    assert denied.reply.code == "denied"
    assert denied.watching is None
    assert denied.acts[0].event.name == names[-1]
    assert world.denials[0].remedy


def test_who_may_read_nothing_may_not_watch_all() -> None:
    """A watch that could never tell anything is refused, as each of its names would be."""
    writer = client("writer", 7, "*", permissions=ALL - {"read"})
    world = World(policy_of(writer))
    reply = world.ask(Watch(), 7, "writer")
    assert isinstance(reply, Failure)
    assert reply.code == "denied"


def test_too_many_names_are_refused() -> None:
    """The whole has to fit one frame."""
    names = tuple(SecretName(f"db/{number}") for number in range(MAX_PAGE + 1))
    reply = World().ask(Watch(names), BACKEND_UID, "backend")
    assert isinstance(reply, Failure)
    assert reply.code == "invalid_request"


def test_a_change_is_told_to_those_whom_it_concerns() -> None:
    """By name, or as a client that may read it; and to nobody else."""
    world = World()
    put(world, A, B, ROOT)
    audience = Audience[str]()
    audience.join("all", watching(world))
    audience.join("a", watching(world, A))
    audience.join("b", watching(world, B))
    audience.join("admin", watching(world, who="admin", uid=ADMIN_UID))
    seq = world.vault.seq
    of_a = Told({A: kid(world, A)}, seq)
    assert told(world, audience, A) == {"all": of_a, "a": of_a, "admin": of_a}
    assert told(world, audience, ROOT).keys() == {"admin"}
    assert told(world, audience) == {}


def test_one_batch_is_one_message() -> None:
    """Whatever changed together is told together, with what is true at its end."""
    world = World()
    put(world, A, B, OTHER)
    world.ask(Delete(B))
    audience = Audience[str]()
    audience.join("all", watching(world))
    audience.join("both", watching(world, B, A))
    both = Told({A: kid(world, A), B: None}, world.vault.seq)
    assert told(world, audience, A, B, OTHER) == {"all": both, "both": both}


def test_who_has_left_is_told_no_more() -> None:
    """And leaves nothing behind that would grow."""
    world = World()
    audience = Audience[str]()
    for _ in range(3):
        audience.join("one", watching(world, A, B))
        audience.join("two", watching(world))
    assert len(audience) == 2
    audience.leave("one")
    audience.leave("two")
    audience.leave("two")
    put(world, A)
    assert told(world, audience, A) == {}
    assert len(audience) == 0
    assert audience._by_name == {}


HOOKED = RotationRules(hooked=(Pattern.of("db/*"),))


def test_what_makes_another_version_current_is_a_change() -> None:
    """Put, rotate, rollback, delete and restore: `get` gives something else afterwards."""
    world = World()
    put(world, A)
    before = len(changes(world))
    for act in (Put(A, "x"), Rotate((A,)), Rollback(A), Delete(A), Restore(A)):
        answer = world.answer(act)
        assert not isinstance(answer.reply, Failure)
        assert changed_names(changes(world, before)) == [A]
        before = len(changes(world))


def test_a_pending_version_is_no_change_before_its_hook_confirms_it() -> None:
    """Nor one in doubt: who is told too early would read the old value, and not ask again."""
    world = World(rules=HOOKED)
    put(world, A)
    for outcome in ("drop", "doubt", "confirm"):
        before = len(changes(world))
        world.ask(Rotate((A,)))
        assert changed_names(changes(world, before)) == []
        secret = world.vault.live(A)
        assert secret is not None
        assert secret.candidate is not None
        settle(world, Settle(A, secret.candidate.kid, outcome))
        assert changed_names(changes(world, before)) == ([A] if outcome == "confirm" else [])
        if outcome == "doubt":
            settle(world, Settle(A, secret.candidate.kid, "drop"))


def settle(world: World, settled: Settle) -> None:
    """The daemon's own word on a pending version."""
    answer = world.service.handle(Request(settled), INTERNAL, world.vault, world.now, world.fresh)
    world.acts += answer.acts
    for act in answer.acts:
        if act.change is not None:
            world.vault.apply(world.vault.seq + 1, act.change)


def test_the_end_of_an_old_version_is_no_change() -> None:
    """What `get` gives is the same as before."""
    world = World()
    put(world, A, A)
    secret = world.vault.live(A)
    assert secret is not None
    before = len(changes(world))
    assert not isinstance(world.ask(Revoke(A, secret.versions[0].kid)), Failure)
    assert len(changes(world)) > before
    assert changed_names(changes(world, before)) == []


def test_to_go_on_is_told_what_has_changed_since() -> None:
    """What was deleted too; what changed before, or may not be read, isn't told again."""
    world = World()
    put(world, A, B)
    since = world.vault.seq
    put(world, ROOT)
    world.ask(Delete(B))
    again = Beginning(watching(world), since).next(world.vault, world.service.policy)
    assert again == Told({B: None}, world.vault.seq)
    named = Beginning(watching(world, A), since).next(world.vault, world.service.policy)
    assert named == Told({}, world.vault.seq)


def test_a_large_vault_is_told_in_parts() -> None:
    """Each part looks at one page of names, and what changes between two parts isn't lost."""
    world = World(policy_of(client("backend", BACKEND_UID, "*", permissions=ALL)))
    names = [SecretName(f"n{number:04}") for number in range(2 * MAX_PAGE + 5)]
    for name in names:
        assert isinstance(world.ask(Put(name, "x"), BACKEND_UID, "backend"), Stored)
    beginning = Beginning(watching(world), since=None)
    first = beginning.next(world.vault, world.service.policy)
    assert first.more
    assert len(first.secrets) == MAX_PAGE
    assert (first.seq, first.whole) == (None, False)
    world.ask(Delete(names[-1]), BACKEND_UID, "backend")
    second, third = (beginning.next(world.vault, world.service.policy) for _ in range(2))
    assert second.more
    assert not third.more
    assert [*first.secrets, *second.secrets, *third.secrets] == names[:-1]
    assert (third.seq, third.whole) == (world.vault.seq, True)


def test_a_large_batch_is_told_in_messages_that_fit_a_frame() -> None:
    """All but the last say that there is more."""
    world = World()
    names = [SecretName(f"db/{number:04}") for number in range(MAX_PAGE + 1)]
    audience = Audience[str]()
    audience.join("all", watching(world))
    first, last = audience.tell(names, world.vault, world.service.policy)
    assert (first[1].more, len(first[1].secrets)) == (True, MAX_PAGE)
    assert (last[1].more, len(last[1].secrets)) == (False, 1)
