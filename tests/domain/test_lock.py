"""A locked vault: nothing is released, whatever the policy says, until it is unlocked."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jarvis_secretsd import messages as m
from jarvis_secretsd.domain.changes import BackedUp, VaultLocked
from jarvis_secretsd.domain.insiders import OWNER
from jarvis_secretsd.domain.peer import Transport
from jarvis_secretsd.domain.vault import Vault
from jarvis_secretsd.errors import Reason
from jarvis_secretsd.messages import AnyOperation, Failure
from jarvis_secretsd.values import Kid, Kind, SecretName
from tests.domain.world import ADMIN_UID, BACKEND_UID, NOW, STRANGER_UID, World, client, policy_of

NAME = SecretName("jwt_signing_key")
DIGEST = "ab" * 32


@pytest.fixture
def world() -> World:
    """A world with a signing key that was rotated once."""
    world = World()
    world.ask(m.Put(NAME, kind=Kind.JWT_SIGNING_KEY))
    return world


def releases(world: World) -> list[AnyOperation]:
    """Every way in which something of a secret's value leaves."""
    secret = world.vault.live(NAME)
    assert secret is not None
    return [m.Get(NAME), m.Get(NAME, Kid(secret.current.kid)), m.SignJwt({"sub": "x"})]


def test_nothing_is_released_while_it_is_locked(world: World) -> None:
    """Neither a value nor a signature, to nobody; the reason is said, and the entry is there."""
    assert all(not isinstance(world.ask(each), Failure) for each in releases(world))
    world.ask(m.Lock())
    for each in releases(world):
        for uid, claim in ((ADMIN_UID, "admin"), (BACKEND_UID, "backend")):
            if isinstance(each, m.SignJwt) and claim == "backend":
                continue
            reply = world.ask(each, uid, claim)
            assert isinstance(reply, Failure)
            assert (reply.code, reply.reason) == ("unavailable", Reason.LOCKED)
            assert (world.acts[-1].event.outcome, world.acts[-1].event.client) == ("failed", claim)


def test_what_was_released_before_is_released_again(world: World) -> None:
    """Unlocking needs nothing but the right to."""
    world.ask(m.Lock())
    world.ask(m.Unlock())
    assert all(not isinstance(world.ask(each), Failure) for each in releases(world))


@pytest.mark.parametrize(
    "operation",
    [
        m.Put(SecretName("new"), "value"),
        m.Rotate((NAME,)),
        m.List(),
        m.Versions(NAME),
        m.Delete(NAME),
        m.Reload(),
        m.Jwks(),
        m.Health(),
        m.AuditHead(),
        m.TokenList(),
    ],
)
def test_what_releases_nothing_goes_on(world: World, operation: AnyOperation) -> None:
    """Who has locked a vault rotates what leaked before unlocking it."""
    world.next_policy = world.service.policy
    world.ask(m.Lock())
    assert not isinstance(world.ask(operation), Failure)


def test_who_may_not_read_learns_nothing_of_the_lock(world: World) -> None:
    """A denial is the same as ever."""
    before = world.ask(m.Get(SecretName("other")), BACKEND_UID, "backend")
    world.ask(m.Lock())
    assert world.ask(m.Get(SecretName("other")), BACKEND_UID, "backend") == before


@pytest.mark.parametrize("operation", [m.Lock(), m.Unlock(), m.Backup(), m.Backup(DIGEST)])
def test_only_an_admin_may(world: World, operation: AnyOperation) -> None:
    """Neither a client without the right nor a stranger, and nothing changes."""
    world.ask(m.Lock())
    seq = world.vault.seq
    for uid, claim in ((BACKEND_UID, "backend"), (STRANGER_UID, "admin"), (STRANGER_UID, None)):
        reply = world.ask(operation, uid, claim)
        assert isinstance(reply, Failure)
        assert reply.code in {"denied", "client_required"}
    assert world.vault.seq == seq


def test_locking_twice_is_locking_once(world: World) -> None:
    """It says since when, and writes nothing; so does unlocking what isn't locked."""
    assert world.ask(m.Lock()) == m.LockStatus(True, NOW)
    seq = world.vault.seq
    world.wait(1)
    assert world.ask(m.Lock()) == m.LockStatus(True, NOW)
    assert world.vault.seq == seq
    world.ask(m.Unlock())
    seq = world.vault.seq
    assert world.ask(m.Unlock()) == m.LockStatus(False)
    assert world.vault.seq == seq


def test_a_lock_holds_within_its_turn(world: World) -> None:
    """Who asks behind it in the same turn gets nothing; if the turn fails, it isn't locked."""
    turn = world.vault.overlay()
    turn.apply(turn.seq + 1, VaultLocked(NOW))
    assert turn.lock is not None
    assert world.vault.lock is None
    world.vault.absorb(turn)
    assert world.vault.lock is not None


def test_a_compaction_keeps_lock_and_last_backup(world: World) -> None:
    """What is written anew is as locked as before; of several backups the last is kept."""
    for operation in (m.Lock(), m.Backup("cd" * 32), m.Backup(DIGEST)):
        world.ask(operation)
    again = Vault()
    essence = world.vault.essence(world.now)
    for seq, change in essence:
        again.apply(seq, change)
    assert (again.lock, again.backup) == (world.vault.lock, world.vault.backup)
    assert sum(isinstance(change, BackedUp) for _, change in essence) == 1


def test_an_unlocked_vault_is_compacted_without_its_lock(world: World) -> None:
    """A lock that was lifted leaves nothing behind."""
    world.ask(m.Lock())
    world.ask(m.Unlock())
    assert not any(isinstance(change, VaultLocked) for _, change in world.vault.essence(world.now))


def test_the_clock_rotates_nothing_while_it_is_locked(world: World) -> None:
    """Nobody could fetch the new value; once it is unlocked, it is rotated."""
    name = SecretName("jwt_signing_key")
    world.ask(m.Put(name, kind=Kind.JWT_SIGNING_KEY, rotation_days=1, auto_rotate=True))
    world.ask(m.Lock())
    world.wait(2)
    assert world.ask(m.Elapse((name,)), None, None, transport=Transport.INTERNAL) == m.Elapsed()
    secret = world.vault.live(name)
    assert secret is not None
    assert secret.candidate is None
    world.ask(m.Unlock())
    world.ask(m.Elapse((name,)), None, None, transport=Transport.INTERNAL)
    again = world.vault.live(name)
    assert again is not None
    assert again.number == secret.number + 1


def test_a_backup_is_given_the_end_and_is_on_record(world: World) -> None:
    """First where log and vault end, then that it was taken; only that moves its time."""
    head = world.ask(m.Backup())
    assert head == world.audit_head()
    assert world.vault.backup is None
    world.wait(1)
    assert world.ask(m.Backup(DIGEST)) == head
    assert world.vault.backup == (world.vault.seq, BackedUp(NOW + timedelta(days=1)))
    assert [act.event.note for act in world.acts[-2:]] == [
        "up to entry 7",
        f"taken: sha256 {DIGEST}",
    ]


@pytest.mark.parametrize("taken", ["", "ab", "AB" * 32, "ab" * 33, "g" * 64, DIGEST + "\n"])
def test_a_digest_that_is_none_isnt_put_on_record(world: World, taken: str) -> None:
    """It goes into the log, so it must be what it says."""
    reply = world.ask(m.Backup(taken))
    assert isinstance(reply, Failure)
    assert reply.code == "invalid_request"
    assert world.vault.backup is None


def owned_by(uid: int) -> World:
    """A daemon of this uid's."""
    policy = policy_of(client("backend", BACKEND_UID, "*"))
    policy = type(policy)(policy.clients, digest=policy.digest, own_uid=uid)
    return World(policy)


@pytest.mark.parametrize("claim", [None, "backend"])
def test_the_daemons_own_user_may_have_a_backup_made(claim: str | None) -> None:
    """He can read the files anyway, so the policy needn't name him; the entry says who he was."""
    world = owned_by(999)
    assert world.ask(m.Backup(), 999, claim) == world.audit_head()
    event = world.acts[-1].event
    assert (event.uid, event.client, event.rule) == (999, OWNER.id, "own_uid.permissions")


def test_the_daemons_own_user_may_nothing_else_by_that() -> None:
    """Neither lock nor unlock, nor anything that a client may."""
    world = owned_by(999)
    for operation in (m.Lock(), m.Unlock(), m.Get(NAME), m.Reload(), m.TokenList()):
        reply = world.ask(operation, 999, "owner")
        assert isinstance(reply, Failure)
        assert reply.code == "denied"


@pytest.mark.parametrize(
    ("own", "uid", "transport"),
    [
        (0, 0, Transport.UNIX),
        (999, 0, Transport.UNIX),
        (999, 999, Transport.TCP),
        (999, 998, Transport.UNIX),
    ],
)
def test_nobody_else_is_taken_for_the_daemons_own_user(
    own: int, uid: int, transport: Transport
) -> None:
    """Root may be anybody in a container, and over TCP a relay may be asking."""
    reply = owned_by(own).ask(m.Backup(), uid, None, transport=transport)
    assert isinstance(reply, Failure)
    assert reply.code == "client_required"
