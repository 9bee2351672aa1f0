"""Time as a caller: what falls due happens once, also on a full disk, and nothing spins."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from jarvis_secretsd.daemon.clock import Clock
from jarvis_secretsd.daemon.commit import Ledger, Turn
from jarvis_secretsd.daemon.config import PathsConfig
from jarvis_secretsd.daemon.keys import Aead, Opener
from jarvis_secretsd.daemon.startup import found_state
from jarvis_secretsd.daemon.timekeeping import Timekeeper
from jarvis_secretsd.domain.audit import Event, Outcome
from jarvis_secretsd.domain.changes import Care, VersionPut
from jarvis_secretsd.domain.insiders import INTERNAL
from jarvis_secretsd.domain.peer import Peer, Transport
from jarvis_secretsd.domain.policy import Pattern
from jarvis_secretsd.domain.rotation import RotationRules
from jarvis_secretsd.domain.witness import Act
from jarvis_secretsd.errors import StorageFull
from jarvis_secretsd.messages import (
    AnyOperation,
    Delete,
    Failure,
    Generate,
    Put,
    Reply,
    Request,
    Rotate,
    Settle,
)
from jarvis_secretsd.values import ClientId, Kid, Kind, SecretName, SecretValue, State
from tests.domain.world import ADMIN_UID, NOW, World

DUE, AUTO, KEY = SecretName("due"), SecretName("auto"), SecretName("jwt_signing_key")
HOOKED, BROKEN, GONE = SecretName("db/main"), SecretName("broken"), SecretName("gone")
ADMIN = Peer(Transport.UNIX, ADMIN_UID, gid=0, pid=1)


class House:
    """A state on disk, and the time that works on it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700)
        paths = PathsConfig(
            directory / "vault.json", directory / "master.key", directory / "audit.jsonl"
        )
        opener = Opener.from_key(bytes(range(32)), "master.key")
        self.state = found_state(paths, Aead("xchacha20-poly1305"), [opener], NOW)
        self.boot_time = 0.0
        self.clock = Clock(
            NOW,
            wall=lambda: NOW + timedelta(seconds=self.boot_time),
            boot_time=lambda: self.boot_time,
        )
        self.ledger = Ledger(self.state.vault, self.state.vault_file, self.state.audit)
        rules = RotationRules(hooked=(Pattern.of("db/*"),))
        self.service = World(rules=rules).service
        self.keeper = Timekeeper(self.service, self.ledger, self.clock, NOW)
        self.told: list[Event] = []

    def turn(self, operation: AnyOperation | None = None, peer: Peer = ADMIN) -> list[Reply]:
        """One turn, in which somebody may ask something."""
        turn = Turn(self.ledger.vault, self.clock.now(), self.clock.settled())
        self.keeper.ask(turn)
        replies = _Replies()
        if operation is not None:
            request = Request(operation, ClientId("admin"))
            answer = self.service.handle(
                request, peer, turn.vault, turn.now, os.urandom, turn.settled
            )
            turn.add(answer, replies)
        self._commit(turn)
        return replies

    def brings(self, change: VersionPut) -> None:
        """A record that no request would make."""
        turn = Turn(self.ledger.vault, self.clock.now(), self.clock.settled())
        turn.witness((Act(Event(op="put", outcome=Outcome.ALLOWED), change),))
        self._commit(turn)

    def turns_until_it_sleeps(self) -> int:
        """Turns of a loop that nobody asks anything."""
        for count in range(50):
            moment = self.keeper.next_at()
            if moment is None or moment > self.clock.monotonic():
                return count
            self.turn()
        pytest.fail("it never sleeps")

    def wait(self, days: float = 0, **more: float) -> None:
        """Time goes by."""
        self.boot_time += timedelta(days=days, **more).total_seconds()

    def said(self, name: SecretName) -> list[tuple[str, str | None]]:
        """What the log says of the time's work on this secret, in order."""
        ours = [each for each in self.told if each.name == name and each.client == "daemon"]
        return [(each.op, each.note) for each in ours]

    def _commit(self, turn: Turn) -> None:
        self.ledger.commit(turn)
        self.keeper.plan(change for change, _ in turn.changes)
        if turn.is_kept:
            self.told += [act.event for act in turn.acts]


class _Replies(list[Reply]):
    def deliver(self, reply: Reply) -> None:
        """The reply has left."""
        self.append(reply)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A house without secrets."""
    house = House(tmp_path / "house")
    yield house
    house.state.close()


def full(*_: object) -> None:
    """What the log's disk says."""
    raise StorageFull("no space left on device")


def test_what_a_full_disk_refused_is_neither_lost_nor_told_twice(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is full nothing is tried again and again; then all of it happens at once."""
    for place in range(2):
        house.turn(Put(DUE, f"{place}", rotation_days=14))
    house.turn(Put(AUTO, "x", rotation_days=14, auto_rotate=True))
    house.turn(Put(GONE, "x"))
    house.turn(Delete(GONE))
    house.wait(14)
    with monkeypatch.context() as patch:
        patch.setattr(house.state.audit, "write", full)
        assert house.turns_until_it_sleeps() == 1
        assert isinstance(house.turn(Put(DUE, "2"))[0], Failure)
        assert house.keeper.due == 0
    house.ledger.probe(house.clock.now())
    assert house.turns_until_it_sleeps() == 1
    assert house.said(DUE) == [
        ("elapse", "its grace has ended"),
        ("elapse", "due for rotation"),
    ]
    assert house.said(AUTO) == [("rotate", None)]
    assert house.said(GONE) == [("elapse", "its deletion is past recall")]
    assert house.keeper.due == 1
    assert house.turns_until_it_sleeps() == 0


def test_whatever_secrets_wait_for_the_loop_sleeps(house: House) -> None:
    """Due at once and always, deferred, pending, unresolved, without grace: a turn or two each."""
    for name, operation in {
        DUE: Put(DUE, "x", rotation_days=0),
        AUTO: Put(AUTO, "x", rotation_days=0, grace_days=0, auto_rotate=True),
        KEY: Put(KEY, kind=Kind.JWT_SIGNING_KEY, rotation_days=0, grace_days=0),
        HOOKED: Put(HOOKED, "x", rotation_days=0),
    }.items():
        house.turn(operation)
        assert house.turns_until_it_sleeps() <= 2, name
    candidate = next(each for each in house.state.vault.secrets() if each.name == HOOKED).candidate
    assert candidate is not None
    house.turn(Settle(HOOKED, candidate.kid, "doubt"), INTERNAL)
    assert house.turns_until_it_sleeps() == 0
    states = {each.name: [v.state for v in each.versions] for each in house.state.vault.secrets()}
    assert states[KEY] == [State.CURRENT, State.PENDING]
    assert states[HOOKED] == [State.CURRENT, State.UNRESOLVED]
    for _ in range(24):
        house.wait(hours=1)
        assert house.turns_until_it_sleeps() <= 3
    assert house.keeper.due == 1
    assert house.said(DUE) == [("elapse", "due for rotation")]


def test_what_can_not_be_rotated_is_tried_each_hour_and_told(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    """By hand, the error says why; what a person mends is rotated from then on."""
    care = Care(Kind.PASSWORD, rotation_days=1, auto_rotate=True, length=1)
    house.brings(VersionPut(BROKEN, Kid("0" * 16), 1, SecretValue(b"x"), care, NOW))
    house.wait(1)
    for hour in range(3):
        assert house.turns_until_it_sleeps() == 1
        assert house.said(BROKEN) == [("rotate", "invalid_request")] * (hour + 1)
        assert "not rotated" in capsys.readouterr().out
        house.wait(hours=1)
    house.turn(Rotate((BROKEN,), Generate(Kind.PASSWORD)))
    house.wait(1)
    assert house.turns_until_it_sleeps() == 1
    assert house.said(BROKEN)[-1] == ("rotate", None)


def test_a_start_says_how_many_are_due(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    """Also those that an earlier run has told of, or that a setting has made due since."""
    house.turn(Put(DUE, "x"))
    house.turn(Put(AUTO, "x", auto_rotate=True))
    Timekeeper(house.service, house.ledger, house.clock, NOW + timedelta(days=100))
    said = capsys.readouterr().out
    assert ("due for rotation" in said, "count=1" in said) == (True, True)


def test_a_secret_is_overdue_once_it_was_due_for_its_grace(house: House) -> None:
    """Due comes first; whoever rotates it ends both."""
    house.turn(Put(DUE, "x", rotation_days=14, grace_days=7))
    for days, due, overdue in ((14, 1, 0), (6, 1, 0), (1, 1, 1)):
        house.wait(days)
        house.turn()
        assert (house.keeper.due, house.keeper.overdue()) == (due, overdue)
    house.turn(Put(DUE, "y"))
    assert (house.keeper.due, house.keeper.overdue()) == (0, 0)


def test_what_the_clock_fails_to_rotate_is_overdue_too(house: House) -> None:
    """It isn't counted as people's to do, and doesn't go unnoticed; nor is it after it was gone."""
    for name in (AUTO, GONE):
        house.turn(Put(name, "x", rotation_days=14, grace_days=7, auto_rotate=True))
        house.keeper.defer(name)
    house.turn(Delete(GONE))
    house.wait(21)
    assert (house.keeper.due, house.keeper.overdue()) == (0, 1)
    house.turn()
    assert house.keeper.overdue() == 0
