"""Who asks for a canary is told of and on record, whatever came of it; nobody else is."""

from __future__ import annotations

import pytest

from jarvis_secretsd.domain.audit import Outcome
from jarvis_secretsd.messages import AnyOperation, Delete, Get, List, Put, Rotate, Versions
from jarvis_secretsd.values import SecretName
from tests.domain.world import BACKEND_UID, STRANGER_UID, World

CANARY, PLAIN = SecretName("aws_root_key"), SecretName("db/main")


@pytest.fixture
def world() -> World:
    """One canary, and one secret that is used."""
    world = World(canaries=("aws_root_*",))
    for name in (CANARY, PLAIN):
        world.ask(Put(name, "x"))
    world.acts.clear()
    return world


def told(world: World) -> list[tuple[str, str | None, str]]:
    """Name, client and outcome of each touch."""
    return [(touch.name, touch.client, touch.outcome) for touch in world.touches]


def test_a_canary_that_was_read_is_told_and_noted(world: World) -> None:
    """The operator hears who has it, and the audit entry says what it was."""
    world.ask(Get(CANARY))
    assert told(world) == [(CANARY, "admin", "allowed")]
    assert world.touches[0].peer.uid == 1000
    assert [(act.event.outcome, act.event.note) for act in world.acts] == [
        (Outcome.ALLOWED, "canary")
    ]


def test_a_canary_that_was_denied_is_told_and_noted_too(world: World) -> None:
    """Whoever tries has found a name that nothing uses."""
    world.ask(Get(CANARY), BACKEND_UID, "backend")
    assert told(world) == [(CANARY, "backend", "denied")]
    assert [(act.event.outcome, act.event.note) for act in world.acts] == [
        (Outcome.DENIED, "canary")
    ]


@pytest.mark.parametrize("uid", [STRANGER_UID, None])
def test_a_stranger_who_tries_is_told_though_the_log_only_sums_up(
    world: World, uid: int | None
) -> None:
    """A request that gets no entry of its own is an alarm nevertheless."""
    world.ask(Get(CANARY), uid, "backend")
    assert told(world) == [(CANARY, "backend", "denied")]
    assert world.acts == []


def test_no_denial_is_the_one_too_many(world: World) -> None:
    """A burst that is rate-limited doesn't silence the alarm."""
    for _ in range(10):
        world.ask(Get(CANARY), BACKEND_UID, "backend")
    assert len(world.touches) == 10


def test_an_earlier_failure_is_kept_in_the_note(world: World) -> None:
    """A canary that is gone is still one."""
    world.ask(Delete(CANARY))
    world.acts.clear()
    world.ask(Get(CANARY))
    assert told(world) == [(CANARY, "admin", "not_found")]
    assert world.acts[0].event.note == "canary, not_found"


@pytest.mark.parametrize(
    "operation", [Get(PLAIN), List(), Versions(CANARY), Rotate((CANARY,)), Put(CANARY, "y")]
)
def test_what_gives_no_value_of_a_canary_is_no_alarm(world: World, operation: AnyOperation) -> None:
    """Its owner can look after it."""
    world.ask(operation)
    assert world.touches == []
    assert all("canary" not in (act.event.note or "") for act in world.acts)
