"""Hooks without a daemon: on a vault in memory, with a clock and a loop that tests move."""

from __future__ import annotations

import json
import selectors
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from jarvis_secretsd.daemon.clock import Clock
from jarvis_secretsd.daemon.commit import Ledger, Turn
from jarvis_secretsd.daemon.config import HookConfig
from jarvis_secretsd.daemon.hookcheck import program_fault
from jarvis_secretsd.daemon.hookprocess import Port
from jarvis_secretsd.daemon.hookprotocol import Action, Ending, judged, told
from jarvis_secretsd.daemon.hookqueue import MAX_AT_ONCE
from jarvis_secretsd.daemon.hooks import ASK_AGAIN_SECS, Hooks
from jarvis_secretsd.daemon.inspection import inspect
from jarvis_secretsd.domain.audit import Event, VaultHead
from jarvis_secretsd.domain.insiders import INTERNAL
from jarvis_secretsd.domain.peer import Peer, Transport
from jarvis_secretsd.domain.policy import Pattern
from jarvis_secretsd.domain.rotation import RotationRules
from jarvis_secretsd.domain.secret import Secret, Version
from jarvis_secretsd.errors import StorageFull
from jarvis_secretsd.messages import AnyOperation, Elapse, Put, Reply, Request, Rotate
from jarvis_secretsd.values import ClientId, Kid, SecretName, SecretValue, State
from tests.domain.world import ADMIN_UID, NOW, World

NAME = SecretName("db_password")
UNCHANGED, UNKNOWN = 69, 75
ADMIN = Peer(Transport.UNIX, ADMIN_UID)


class Disk:
    """Both journals; while it is `full` it takes nothing."""

    def __init__(self) -> None:
        self.full = False
        self.head = VaultHead(0, "0" * 64)
        self.notes: list[str | None] = []

    def append(self, payloads: Sequence[bytes]) -> list[VaultHead]:
        """The vault's append."""
        if self.full:
            raise StorageFull("full")
        return [self.head for _ in payloads]

    def sync(self) -> None:
        """Nothing to wait for."""

    def rewind(self) -> None:
        """Nothing to take back."""

    def write(self, now: datetime, events: Sequence[Event], vault: VaultHead) -> None:
        """The log's write."""
        self.notes += [event.note for event in events if event.op == "settle"]


class HandClock(Clock):
    """A clock whose waits pass when a test says so."""

    moment = 0.0

    def monotonic(self) -> float:
        """As far as it was moved."""
        return self.moment


class Household:
    """Hooks and what they work on; `turn` is a turn of the loop."""

    def __init__(self, *hooks: HookConfig) -> None:
        self.world = World(rules=RotationRules(hooked=(Pattern.of("db_*"),)))
        self.disk, self.clock = Disk(), HandClock()
        self.ledger = Ledger(self.world.vault, self.disk, self.disk)
        self.deferred: list[SecretName] = []
        self.hooks = Hooks(
            hooks,
            self.world.service,
            self.ledger,
            self.clock,
            self.deferred.append,
            vault_path="/nowhere/vault.json",
        )
        self.ports = selectors.DefaultSelector()
        self.world.ask(Put(NAME, "old"))
        self.hooks.begin(self)

    @property
    def secret(self) -> Secret:
        """The secret that it is about."""
        found = self.world.vault.live(NAME)
        assert found is not None
        return found

    def watch(self, source: Port) -> None:
        """The loop's."""
        self.ports.register(source, selectors.EVENT_READ, source)

    def ignore(self, source: Port) -> None:
        """The loop's."""
        self.ports.unregister(source)

    def turn(self, *operations: AnyOperation) -> None:
        """Ask these, wait for what a hook does next, and do what comes of it."""
        turn, world = Turn(self.world.vault, self.world.now), self.world
        for operation in operations:
            peer = INTERNAL if isinstance(operation, Elapse) else ADMIN
            request = Request(operation, ClientId("admin"))
            turn.add(world.service.handle(request, peer, turn.vault, world.now, world.fresh), self)
        if self.ports.get_map():
            for key, _ in self.ports.select(10):
                key.data.ready()
        self.hooks.ask(turn)
        self.ledger.commit(turn)
        self.hooks.take_in([change for change, _ in turn.changes])
        self.hooks.tend()

    def deliver(self, reply: Reply) -> None:
        """Nobody waits for a reply here."""

    def rotate(self) -> State:
        """Rotate it, and take turns until no hook is at work; the state of the new version."""
        self.turn(Rotate((NAME,)))
        self.finish()
        return State.CURRENT if self.secret.candidate is None else self.secret.candidate.state

    def finish(self) -> None:
        """Take turns until no hook is at work, and nothing is left to say."""
        while self.ports.get_map():
            self.turn()
        self.turn()


def script(path: Path, text: str) -> HookConfig:
    """The hook of `db_*` that is this program."""
    path.write_text(text)
    path.chmod(0o755)
    return HookConfig("db_*", (str(path),))


def test_an_end_is_judged() -> None:
    """Only what a hook says on purpose is believed; everything else is asked, or in doubt."""
    for status, outcome in {0: "confirm", UNCHANGED: "drop", None: "drop"}.items():
        assert judged(Action.ROTATE, Ending(status)) == outcome
    for status in (1, 2, UNKNOWN, 126, 127, -9, -11):
        assert judged(Action.ROTATE, Ending(status)) is None
    new, previous = b'{"live": "new"}\n', b'{"live":"previous","more":1}'
    assert judged(Action.VERIFY, Ending(0, answer=new)) == "confirm"
    assert judged(Action.VERIFY, Ending(0, answer=previous)) == "drop"
    for answer in (b"", b"new", b'{"live": "old"}', b"[]", b"\xff", new + new, b"{}", b'"new"'):
        assert judged(Action.VERIFY, Ending(0, answer=answer)) == "doubt"
    for status in (None, 1, UNCHANGED, UNKNOWN, -9):
        assert judged(Action.VERIFY, Ending(status, answer=new)) == "doubt"


def test_an_end_is_told_in_our_words() -> None:
    """Of what a hook prints only the four reasons are repeated, however it is written."""
    assert str(Ending(69, answer=b'{"reason": "unreachable"}')) == "exit status 69, unreachable"
    assert str(Ending(69, answer=b'{"reason": "hunter2"}')) == "exit status 69"
    assert str(Ending(3, answer=b"hunter2")) == "exit status 3"
    assert str(Ending(-15)) == "signal 15"
    assert str(Ending(-9, cut="killed since its time was over")) == "killed since its time was over"


def test_a_value_that_is_no_text_is_told_as_base64() -> None:
    """Each of the two with its own encoding, and text to the character."""

    def version(value: SecretValue) -> Version:
        return Version(Kid("0" * 16), 1, value, NOW, seq=1)

    text, data = SecretValue.from_text('\u00e9"\\ \0\n'), SecretValue(b"\xff\0", is_text=False)
    said = json.loads(told(Action.ROTATE, NAME, version(data), version(text)))
    assert (said["value"], said["encoding"]) == ("/wA=", "base64")
    assert said["previous_value"] == '\u00e9"\\ \0\n'
    assert "previous_encoding" not in said


def test_the_first_pattern_that_matches_wins(tmp_path: Path) -> None:
    """And only its hook is run."""
    first = script(tmp_path / "first", f"#!/bin/sh\ntouch {tmp_path}/first-ran\n")
    second = script(tmp_path / "second", f"#!/bin/sh\ntouch {tmp_path}/second-ran\n")
    other = HookConfig("web_*", second.command)
    household = Household(other, first, second)
    assert household.rotate() is State.CURRENT
    assert sorted(path.name for path in tmp_path.glob("*-ran")) == ["first-ran"]


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        (None, 0o755, "isn't there"),
        ("#!/bin/sh\n", 0o644, "can't be run by uid"),
        ("#!/bin/sh\n", 0o777, "can be written by others"),
        ("exit 0\n", 0o755, "couldn't be run: Exec format error"),
        ("#!/nowhere/sh\n", 0o755, "couldn't be run: No such file or directory"),
    ],
)
def test_a_hook_that_never_ran_has_changed_nothing(
    tmp_path: Path, text: str | None, mode: int, why: str
) -> None:
    """So the previous version stays, and nobody is left in doubt."""
    hook = HookConfig("db_*", (str(tmp_path / "hook"),))
    if text is not None:
        script(tmp_path / "hook", text)
        (tmp_path / "hook").chmod(mode)
    household = Household(hook)
    assert household.rotate() is State.CURRENT
    assert household.secret.current.value == SecretValue.from_text("old")
    assert household.deferred == [NAME]
    (note,) = household.disk.notes
    assert note is not None
    assert note.startswith("drop: hook: ")
    assert why in note


def test_a_daemon_says_at_its_start_that_a_hook_can_not_be_run() -> None:
    """And goes on: other secrets are served."""
    with capture_logs() as logs:
        Household(HookConfig("db_*", ("/nowhere/hook",)))
    (told_of,) = logs
    assert told_of["log_level"] == "error"
    assert told_of["hook"] == "hooks[0]"
    assert "/nowhere/hook isn't there" in told_of["problem"]


def test_the_clock_rotates_what_has_a_hook(tmp_path: Path) -> None:
    """After ninety days by itself, without anybody's asking and in the same two steps."""
    household = Household(script(tmp_path / "hook", "#!/bin/sh\nexit 0\n"))
    household.world.wait(days=89)
    household.turn(Elapse((NAME,)))
    assert household.secret.candidate is None
    household.world.wait(days=1)
    household.turn(Elapse((NAME,)))
    assert household.secret.candidate is not None
    household.finish()
    assert household.secret.current.value != SecretValue.from_text("old")


def test_the_unresolved_are_asked_every_five_minutes(tmp_path: Path) -> None:
    """Until the hook can tell; meanwhile nothing is written for an answer that says nothing."""
    hook = script(tmp_path / "hook", "#!/bin/sh\nexit 75\n")
    household = Household(hook)
    assert household.rotate() is State.UNRESOLVED
    assert household.deferred == [NAME]
    for _ in range(3):
        assert household.hooks.next_at() == household.clock.moment + ASK_AGAIN_SECS
        household.clock.moment += ASK_AGAIN_SECS
        household.hooks.tend()
        assert household.ports.get_map()
        household.finish()
    assert len(household.disk.notes) == 1
    script(tmp_path / "hook.new", """#!/bin/sh\necho '{"live": "new"}'\n""")
    (tmp_path / "hook.new").rename(tmp_path / "hook")
    household.clock.moment += ASK_AGAIN_SECS
    household.hooks.tend()
    household.finish()
    assert household.secret.candidate is None
    assert household.hooks.unresolved == 0
    assert household.hooks.next_at() is None


def test_what_a_full_disk_did_not_take_is_said_again(tmp_path: Path) -> None:
    """The hook is not run twice, and its word isn't lost."""
    hook = script(tmp_path / "hook", f"#!/bin/sh\necho run >>{tmp_path}/runs\n")
    household = Household(hook)
    household.turn(Rotate((NAME,)))
    household.disk.full = True
    household.finish()
    assert household.secret.candidate is not None
    assert household.hooks.next_at() is None  # nothing wakes the loop for it while nothing works
    household.disk.full = False
    household.ledger.probe(NOW)
    assert household.hooks.next_at() == household.clock.moment
    household.turn()
    assert household.secret.candidate is None
    assert (tmp_path / "runs").read_text() == "run\n"


def test_no_hook_runs_for_what_is_not_on_the_disk(tmp_path: Path) -> None:
    """A turn that was refused has made nothing pending."""
    household = Household(script(tmp_path / "hook", f"#!/bin/sh\ntouch {tmp_path}/ran\n"))
    household.disk.full = True
    assert household.rotate() is State.CURRENT
    assert not (tmp_path / "ran").exists()


def test_a_hook_has_its_time_and_no_more(tmp_path: Path) -> None:
    """The loop is woken when it is over, and only once."""
    household = Household(script(tmp_path / "hook", "#!/bin/sh\nsleep 60\n"))
    household.turn(Rotate((NAME,)))
    assert household.hooks.next_at() == household.clock.moment + 30
    household.clock.moment += 30
    household.hooks.tend()
    assert household.hooks.next_at() is None
    household.turn()
    household.hooks.close()


def test_closing_ends_what_runs_and_begins_nothing(tmp_path: Path) -> None:
    """What waits for its turn isn't begun by the turns of a daemon that stops."""
    hook = script(tmp_path / "hook", f"#!/bin/sh\necho run >>{tmp_path}/runs\nsleep 60\n")
    household = Household(hook)
    names = tuple(SecretName(f"db_{number}") for number in range(MAX_AT_ONCE + 1))
    household.turn(*(Put(name, "old") for name in names))
    household.turn(Rotate(names))
    household.hooks.close()
    household.hooks.tend()
    assert household.hooks.next_at() is None


def test_a_program_that_others_could_exchange_is_not_run(tmp_path: Path) -> None:
    """Itself, a directory on the way, or what a link on the way leads to; links of ours may be."""
    place = tmp_path / "place"
    place.mkdir()
    program = Path(script(place / "hook", "#!/bin/sh\n").command[0])
    link = tmp_path / "link"
    link.symlink_to("place/hook")
    assert program_fault(str(program)) is program_fault(str(link)) is None
    program.chmod(0o775)
    assert str(program_fault(str(link))).endswith(f"; run: chmod go-w {program}")
    program.chmod(0o755)
    place.chmod(0o777)
    assert "a directory that others can write to" in str(program_fault(str(link)))
    assert str(program_fault(str(place))) == f"{place} isn't a file"
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    assert "too many links" in str(program_fault(str(loop)))


def test_check_tells_of_each_hook_that_could_not_be_run(tmp_path: Path) -> None:
    """With its place in the configuration; good ones aren't spoken of."""
    good = script(tmp_path / "good", "#!/bin/sh\n").command[0]
    config = tmp_path / "config.toml"
    hooks = (f"[[hooks]]\npattern='x'\ncommand=['{each}']\n" for each in (good, "/nowhere/hook"))
    config.write_text("".join(hooks))
    config.chmod(0o600)
    found = [text for text in inspect(config, {}).errors if "hook" in text]
    assert found == ["hooks[1].command: /nowhere/hook isn't there; install it, or mend the command"]
