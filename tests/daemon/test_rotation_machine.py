"""A vault on disk against a plain model, through everything that can happen to a secret."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from jarvis_secretsd.daemon.clock import Clock
from jarvis_secretsd.daemon.commit import Ledger, Turn
from jarvis_secretsd.daemon.compaction import Compactor
from jarvis_secretsd.daemon.config import PathsConfig
from jarvis_secretsd.daemon.heads import write_heads
from jarvis_secretsd.daemon.keys import Aead, Opener
from jarvis_secretsd.daemon.startup import found_state, open_state
from jarvis_secretsd.daemon.timekeeping import Timekeeper
from jarvis_secretsd.domain.insiders import INTERNAL
from jarvis_secretsd.domain.peer import Peer, Transport
from jarvis_secretsd.domain.policy import Pattern
from jarvis_secretsd.domain.rotation import RotationRules
from jarvis_secretsd.errors import StorageFull
from jarvis_secretsd.messages import (
    AnyOperation,
    Delete,
    Failure,
    Found,
    Get,
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
    VersionListing,
    Versions,
)
from jarvis_secretsd.values import ClientId, Kid, SecretName, State
from tests.domain.world import ADMIN_UID, NOW, World

MASTER = bytes(range(32))
GRACE = timedelta(days=14)
PUBLISHED, DUE_AFTER = timedelta(seconds=600), timedelta(days=90)
HOOKED, PLAIN = SecretName("db/main"), SecretName("plain")
TIMED, ENDLESS = SecretName("jwt_signing_key"), SecretName("disk_encryption_key")
NAMES = st.sampled_from([HOOKED, PLAIN, TIMED, ENDLESS])
RULES = RotationRules(hooked=(Pattern.of("db/*"),))


@dataclass
class Version:
    """A version as the model has it."""

    kid: Kid
    value: str
    state: State
    born: datetime
    until: datetime | None = None


@dataclass
class Secret:
    """A secret as the model has it."""

    versions: list[Version] = field(default_factory=list)
    deleted_until: datetime | None = None
    is_endless: bool = False

    def of(self, *states: State) -> list[Version]:
        """The versions in one of these states."""
        return [version for version in self.versions if version.state in states]

    @property
    def is_live(self) -> bool:
        """There for `get`."""
        return bool(self.versions) and self.deleted_until is None

    @property
    def is_settled(self) -> bool:
        """No hook is at work."""
        return not self.of(State.PENDING, State.UNRESOLVED)

    def make_current(self, version: Version, now: datetime) -> None:
        """The current one goes into its grace."""
        for each in self.of(State.CURRENT):
            ends = datetime.max.replace(tzinfo=UTC) if self.is_endless else now + GRACE
            each.state, each.until = State.GRACE, ends
        version.state, version.until = State.CURRENT, None


class Machine(RuleBasedStateMachine):
    """Every operation is asked of the service on disk, and done to the model by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.paths = PathsConfig(
            self.directory / "vault.json",
            self.directory / "master.key",
            self.directory / "audit.jsonl",
        )
        self.model = {HOOKED: Secret(), PLAIN: Secret(), TIMED: Secret()}
        self.model[ENDLESS] = Secret(is_endless=True)
        self.wall, self.boot_time = NOW, 0.0

    @initialize()
    def begin(self) -> None:
        """A first start."""
        self.disk = found_state(self.paths, Aead("xchacha20-poly1305"), [opener()], NOW)
        self.serve()

    def teardown(self) -> None:
        """Nothing is left."""
        if hasattr(self, "disk"):
            self.disk.close()
        shutil.rmtree(self.directory)

    def serve(self) -> None:
        """What the daemon puts around its state."""
        self.clock = Clock(self.disk.time, wall=lambda: self.wall, boot_time=lambda: self.boot_time)
        self.ledger = Ledger(self.disk.vault, self.disk.vault_file, self.disk.audit)
        self.service = World(rules=RULES).service
        self.timekeeper = Timekeeper(self.service, self.ledger, self.clock, self.disk.time)

    def ask(self, operation: AnyOperation, peer: Peer | None = None) -> Reply:
        """One turn with one request."""
        turn = Turn(self.ledger.vault, self.clock.now(), self.clock.settled())
        self.timekeeper.ask(turn)
        request = Request(operation, ClientId("admin"))
        admin = Peer(Transport.UNIX, ADMIN_UID, gid=0, pid=1)
        answer = self.service.handle(
            request, peer or admin, turn.vault, turn.now, os.urandom, turn.settled
        )
        replies: list[Reply] = []
        turn.add(answer, _Recipient(replies))
        self.ledger.commit(turn)
        self.timekeeper.plan(change for change, _ in turn.changes)
        return replies[0]

    def elapse(self) -> None:
        """Let the time do its work, here and in the model."""
        for _ in range(3):
            turn = Turn(self.ledger.vault, self.clock.now(), self.clock.settled())
            self.timekeeper.ask(turn)
            self.ledger.commit(turn)
            self.timekeeper.plan(change for change, _ in turn.changes)
        now = self.clock.settled()
        for name, secret in self.model.items():
            if secret.deleted_until is not None:
                if secret.deleted_until <= now:
                    secret.versions, secret.deleted_until = [], None
            else:
                secret.versions = [
                    each
                    for each in secret.versions
                    if each.state is not State.GRACE or each.until is None or each.until > now
                ]
                self.renew(name, secret, now)

    def renew(self, name: SecretName, secret: Secret, now: datetime) -> None:
        """The clock makes a signing key and puts the one in force that it has published."""
        if name not in (TIMED, HOOKED) or not secret.is_live:
            return
        (current,), published = secret.of(State.CURRENT), secret.of(State.PENDING)
        if name == TIMED and published and published[0].until and published[0].until <= now:
            secret.make_current(published[0], now)
        elif secret.is_settled and current.born + DUE_AFTER <= now:
            was_rolled_back = secret.versions[-1] is not current
            if not was_rolled_back:
                self.learn(name, now, now + PUBLISHED)

    @rule(name=NAMES, value=st.sampled_from(["one", "two"]))
    def put(self, name: SecretName, value: str) -> None:
        """The value that is current already makes no version."""
        reply, secret = self.ask(Put(name, value)), self.model[name]
        if secret.is_live and not secret.is_settled:
            assert code(reply) == "conflict"
            return
        assert isinstance(reply, Stored)
        if not secret.is_live:
            secret.versions, secret.deleted_until = [], None
        elif secret.of(State.CURRENT)[0].value == value:
            assert reply.kid == secret.of(State.CURRENT)[0].kid
            return
        now = self.clock.now()
        secret.versions.append(version := Version(reply.kid, value, State.PENDING, now))
        secret.make_current(version, now)

    @rule(name=NAMES)
    def rotate(self, name: SecretName) -> None:
        """Behind a hook it is pending."""
        reply, secret = self.ask(Rotate((name,))), self.model[name]
        now = self.clock.now()
        if not secret.is_live:
            assert code(reply) == "not_found"
        elif name == TIMED and (published := secret.of(State.PENDING)):
            assert isinstance(reply, Rotated)
            secret.make_current(published[0], now)
        elif not secret.is_settled:
            assert code(reply) == "conflict"
        else:
            assert isinstance(reply, Rotated)
            assert reply.pending == ((name,) if name == HOOKED else ())
            self.learn(name, now)

    def learn(self, name: SecretName, now: datetime, until: datetime | None = None) -> None:
        """Take in the value that was generated, which no model can know."""
        secret, stored = self.model[name], self.disk.vault.secret(name)
        assert stored is not None
        newest = stored.versions[-1]
        assert newest.kid not in [each.kid for each in secret.versions]
        version = Version(newest.kid, newest.value.reveal_text(), State.PENDING, now, until)
        secret.versions.append(version)
        if name != HOOKED and until is None:
            secret.make_current(version, now)

    @rule(outcome=st.sampled_from(["confirm", "drop", "doubt"]))
    def settle(self, outcome: Literal["confirm", "drop", "doubt"]) -> None:
        """The hook's word, where it is awaited."""
        secret = self.model[HOOKED]
        candidates = secret.of(State.PENDING, State.UNRESOLVED) if secret.is_live else []
        kid = candidates[0].kid if candidates else Kid("0" * 16)
        reply = self.ask(Settle(HOOKED, kid, outcome), INTERNAL)
        if not candidates:
            assert code(reply) == "not_found"
        elif outcome == "confirm":
            secret.make_current(candidates[0], self.clock.now())
        elif outcome == "drop":
            secret.versions.remove(candidates[0])
        else:
            candidates[0].state = State.UNRESOLVED
        self.elapse()

    @rule(name=NAMES)
    def rollback(self, name: SecretName) -> None:
        """To the version that was current last."""
        reply, secret = self.ask(Rollback(name)), self.model[name]
        in_grace = secret.of(State.GRACE)
        if not secret.is_live or (secret.is_settled and not in_grace):
            assert code(reply) == "not_found"
        elif not secret.is_settled:
            assert code(reply) == "conflict"
        else:
            assert isinstance(reply, Stored)
            before = max(in_grace, key=lambda each: (each.until, secret.versions.index(each)))
            if name == HOOKED:
                self.learn(name, self.clock.now())
                assert secret.versions[-1].value == before.value
            else:
                secret.make_current(before, self.clock.now())
        self.elapse()

    @rule(name=NAMES, place=st.integers(0, 5))
    def revoke(self, name: SecretName, place: int) -> None:
        """Any but the current one, unless nobody knows which one is live."""
        secret = self.model[name]
        if not secret.is_live:
            return
        version = secret.versions[place % len(secret.versions)]
        reply = self.ask(Revoke(name, version.kid))
        if version.state is State.PENDING:
            assert code(reply) == "not_found"
        elif version.state is not State.CURRENT:
            secret.versions.remove(version)
        elif unresolved := secret.of(State.UNRESOLVED):
            assert isinstance(reply, Revoked)
            secret.versions.remove(version)
            secret.make_current(unresolved[0], self.clock.now())
        else:
            assert code(reply) == "conflict"
        self.elapse()

    @rule(name=NAMES)
    def delete(self, name: SecretName) -> None:
        """Recoverable for as long as a version would be."""
        reply, secret = self.ask(Delete(name)), self.model[name]
        if not secret.is_live:
            assert code(reply) == "not_found"
        elif not secret.is_settled:
            assert code(reply) == "conflict"
        else:
            secret.deleted_until = self.clock.now() + GRACE

    @rule(name=NAMES)
    def restore(self, name: SecretName) -> None:
        """With all its versions; those whose time has come meanwhile end then."""
        reply, secret = self.ask(Restore(name)), self.model[name]
        if secret.is_live:
            assert code(reply) == "conflict"
        elif not secret.versions:
            assert code(reply) == "not_found"
        else:
            secret.deleted_until = None
            self.elapse()

    @rule(days=st.sampled_from([1 / 24, 1, 5, 13, 80]))
    def wait(self, days: float) -> None:
        """Time goes by."""
        self.wall += timedelta(days=days)
        self.boot_time += days * 86_400
        self.elapse()

    @rule(days=st.sampled_from([-400, -1, 1, 12, 4000]), name=NAMES)
    def jump(self, days: int, name: SecretName) -> None:
        """The clock is wrong for half a minute, in which everything is served as before."""
        self.clock.settled()
        right, self.wall = self.wall, self.wall + timedelta(days=days)
        self.boot_time += 30
        self.elapse()
        self.everything_is_as_the_model_says()
        self.wall = right + timedelta(seconds=30)

    @rule(name=NAMES)
    def fill_disk(self, name: SecretName) -> None:
        """Nothing happens, whoever asks; what the time has brought happens later."""
        with patch.object(self.disk.audit, "write", side_effect=StorageFull("full")):
            assert code(self.ask(Put(name, "three"))) == "unavailable"
            assert self.timekeeper.next_at() is None
        self.ledger.probe(self.clock.now())
        self.elapse()

    @rule()
    def compact(self) -> None:
        """What is over leaves the disk, and the next start knows all else."""
        compactor = Compactor(self.disk, self.paths, self.ledger, self.clock, delay=timedelta())
        while (due := compactor.next_at()) is not None and due <= self.clock.monotonic():
            compactor.work()

    @rule(is_killed=st.booleans())
    def start_again(self, is_killed: bool) -> None:
        """A stop keeps the heads; a kill keeps what the last stop kept."""
        if not is_killed:
            heads = self.disk.heads(self.clock.settled())
            write_heads(str(self.paths.heads_path), heads, self.disk.vault_file.data_key)
        self.disk.close()
        self.disk = open_state(self.paths, opener(), self.wall)
        self.serve()
        self.clock.settled()
        self.boot_time += 61  # after this a clock that is ahead of the heads is believed
        self.wall += timedelta(seconds=61)
        self.elapse()

    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        """What is served, by which kid, and in which state each version is."""
        if not hasattr(self, "disk"):
            return
        for name, secret in self.model.items():
            current = secret.of(State.CURRENT)
            reply = self.ask(Get(name))
            if not secret.is_live:
                assert code(reply) == "not_found"
                continue
            assert isinstance(reply, Found)
            assert (reply.kid, reply.value.reveal_text()) == (current[0].kid, current[0].value)
            assert self.listed(name) == [each.kid for each in secret.versions]
            for version in secret.versions:
                found = self.ask(Get(name, version.kid))
                if version.state is State.PENDING:
                    assert code(found) == "not_found"
                else:
                    assert isinstance(found, Found)
                    assert found.value.reveal_text() == version.value

    def listed(self, name: SecretName) -> list[Kid]:
        """The kids that `versions` gives."""
        reply = self.ask(Versions(name))
        assert isinstance(reply, VersionListing)
        states = {each.kid: each.state for each in self.model[name].versions}
        for each in reply.versions:
            assert states.get(each.kid, each.state) == each.state
        return [each.kid for each in reply.versions]


class _Recipient:
    def __init__(self, replies: list[Reply]) -> None:
        self.replies = replies

    def deliver(self, reply: Reply) -> None:
        """The reply has left."""
        self.replies.append(reply)


def opener() -> Opener:
    """The key file's content."""
    return Opener.from_key(MASTER, "master.key")


def code(reply: Reply) -> str:
    """The code of a failure."""
    assert isinstance(reply, Failure), reply
    return reply.code


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
