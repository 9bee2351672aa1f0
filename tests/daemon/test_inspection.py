"""What `check` rests on: with whose eyes it looks, who could open a socket, what a lock tells."""

from __future__ import annotations

import fcntl
import grp
import itertools
import os
import tempfile
from pathlib import Path

import pytest

from jarvis_secretsd.daemon.accounts import Account, account, account_named, acting_as
from jarvis_secretsd.daemon.config import ServerConfig
from jarvis_secretsd.daemon.findings import Findings
from jarvis_secretsd.daemon.inspection import inspect
from jarvis_secretsd.daemon.lock import VaultLock
from jarvis_secretsd.daemon.reachability import Access, inspect_reach
from jarvis_secretsd.daemon.statecheck import is_running
from jarvis_secretsd.errors import ConfigurationError, UnsafeFile
from tests.daemon.policies import load

STRANGE_UID = 61_010
DAEMON = Account(61_001, 61_001, (61_001,), "61001")


def config_at(path: Path, text: str) -> Path:
    """A configuration with this text."""
    path.write_text(text)
    path.chmod(0o600)
    return path


def warned(server: ServerConfig, policy: str) -> list[str]:
    """What is said about the users of this policy and that socket."""
    found = Findings()
    inspect_reach(server, load(policy), DAEMON, found)
    assert found.errors == []
    return found.warnings


def test_a_failure_is_gathered_and_the_looking_goes_on() -> None:
    """Each problem of a failure is an error of its own, and none is told twice."""
    found = Findings()
    for _ in range(2):
        with found.gathering():
            raise ConfigurationError(("one", "two"))
        with found.gathering():
            raise UnsafeFile("three")
    assert found.errors == ["one", "two", "three"]


def test_what_is_no_failure_of_ours_is_not_swallowed() -> None:
    """A defect of the program ends it."""
    with pytest.raises(ZeroDivisionError), Findings().gathering():
        raise ZeroDivisionError


def test_a_uid_without_a_user_has_its_digits_for_a_name() -> None:
    """Containers have uids that no passwd entry names."""
    assert account(STRANGE_UID) == account_named(str(STRANGE_UID))
    assert str(account(STRANGE_UID)) == str(STRANGE_UID)
    assert account_named("no-such-user") is None


def test_root_by_name_is_uid_0() -> None:
    """A name of the host's becomes its uid, primary group and groups."""
    root = account_named("root")
    assert root is not None
    assert (root.uid, root.gid) == (0, 0)
    assert str(root) == "root (uid 0)"


def test_acting_as_ourselves_changes_nothing() -> None:
    """No right is needed to be who one is."""
    before = os.getresuid(), os.getresgid(), os.getgroups()
    with acting_as(account(os.geteuid())):
        assert (os.getresuid(), os.getresgid(), os.getgroups()) == before


@pytest.mark.root
def test_acting_as_another_ends_with_the_block() -> None:
    """Ids and groups come back, also after a failure, and the real uid was root's all along."""
    before = os.getresuid(), os.getresgid(), os.getgroups()
    with pytest.raises(ZeroDivisionError), acting_as(account(STRANGE_UID)):
        assert (os.getuid(), os.geteuid(), os.getegid()) == (0, STRANGE_UID, STRANGE_UID)
        assert os.getgroups() == [STRANGE_UID]
        raise ZeroDivisionError
    assert (os.getresuid(), os.getresgid(), os.getgroups()) == before


@pytest.mark.root
def test_who_may_open_a_file_is_what_the_kernel_says() -> None:
    """For every class of user and every right, the answer is that of access(2)."""
    people = (
        Account(0, 0, (0,), "root"),
        Account(61_001, 61_001, (61_001,), "owner"),
        Account(61_002, 61_002, (61_002, 61_009), "in the group"),
        Account(61_003, 61_009, (61_009,), "of the group"),
        Account(61_004, 61_004, (61_004,), "other"),
    )
    # Directly in the system's directory, which everyone may enter.
    with tempfile.NamedTemporaryFile() as file:
        os.chown(file.name, 61_001, 61_009)
        for mode, who, right in itertools.product((0o620, 0o062, 0o206, 0), people, (2, 4)):
            os.chmod(file.name, mode)
            with acting_as(who):
                allowed = os.access(file.name, right, effective_ids=True)
            assert Access(61_001, 61_009, mode).lets(who, right) == allowed, (oct(mode), who, right)


def test_a_vault_is_in_use_while_its_lock_is_held(tmp_path: Path) -> None:
    """It is told without locking: the lock can be taken right after, and no file is made."""
    path = tmp_path / "vault.lock"
    assert not is_running(path)
    assert not path.exists()
    lock = VaultLock(path)
    assert is_running(path)
    lock.release()
    assert not is_running(path)


def test_a_lock_on_another_file_is_none_on_ours(tmp_path: Path) -> None:
    """Two vaults of one host don't speak for each other."""
    other = VaultLock(tmp_path / "other.lock")
    VaultLock(tmp_path / "vault.lock").release()
    assert not is_running(tmp_path / "vault.lock")
    other.release()


def test_a_shared_lock_is_no_daemon(tmp_path: Path) -> None:
    """Only an exclusive lock says that a process has the vault."""
    with (tmp_path / "vault.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert not is_running(tmp_path / "vault.lock")


def test_an_unreadable_configuration_leads_nowhere(tmp_path: Path) -> None:
    """What isn't TOML is one error, and nothing is guessed about files."""
    found = inspect(config_at(tmp_path / "config.toml", "[server\n"), {})
    assert len(found.errors) == 1
    assert found.warnings == ()
    assert "not looked at" in found.notes[0]


def test_every_fault_of_a_configuration_is_told(tmp_path: Path) -> None:
    """Faults of several sections come together with those between them."""
    text = '[limits]\nidle_secs = 0\n[logging]\nlevel = "loud"\n[hooks]\n'
    found = inspect(config_at(tmp_path / "config.toml", text), {})
    for told in ("limits.idle_secs", "logging.level", "hooks"):
        assert any(told in text for text in found.errors)


def test_a_user_who_may_connect_is_no_warning(tmp_path: Path) -> None:
    """A socket for everybody on an open way bars nobody."""
    server = ServerConfig(socket_path=Path("/run/secretsd.sock"), socket_mode="0666")
    assert warned(server, "clients: {x: {users: ['61005'], allow: [y]}}") == []


def test_without_a_unix_socket_nobody_is_barred_from_it() -> None:
    """TCP has no modes."""
    server = ServerConfig(bind_addr="127.0.0.1:8081", allow_unix_socket=False, socket_mode="0600")
    assert warned(server, "clients: {x: {users: ['61005'], allow: [y]}}") == []


def test_root_and_the_daemons_own_user_are_never_barred() -> None:
    """Root passes every mode, and the owner has what the owner's bits give."""
    server = ServerConfig(socket_path=Path("/run/secretsd.sock"), socket_mode="0600")
    policy = "clients: {x: {users: [root, '61001'], allow: [y]}}"
    assert warned(server, policy) == []


def test_a_client_that_binds_nobody_is_not_asked_about() -> None:
    """Only users that the policy names can be told from one another."""
    server = ServerConfig(socket_path=Path("/run/secretsd.sock"), socket_mode="0600")
    assert warned(server, "clients: {x: {allow: [y]}}") == []


def test_the_members_of_a_bound_group_are_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client bound by a group stands for those who are in it."""
    search = grp.struct_group(("search", "x", 20, ["daemon"]))
    monkeypatch.setattr(grp, "getgrgid", lambda _gid: search)
    server = ServerConfig(socket_path=Path("/run/secretsd.sock"), socket_mode="0600")
    (only,) = warned(server, "clients: {x: {groups: [search], allow: [y]}}")
    assert "daemon" in only


def test_the_socket_group_of_the_configuration_counts() -> None:
    """Who is in `socket_group` may open a socket that the group may open."""
    server = ServerConfig(
        socket_path=Path("/run/secretsd.sock"), socket_mode="0660", socket_group="61005"
    )
    assert warned(server, "clients: {x: {users: ['61005'], allow: [y]}}") == []
    (only,) = warned(server, "clients: {x: {users: ['61006'], allow: [y]}}")
    assert "61001:61005 0660" in only
