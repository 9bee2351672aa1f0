"""`jarvis-secretsd key` and `accept-state`: who opens the vault, and what the log says about it."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys

import pytest

from jarvis_secretsd.cli.operator import DaemonExit
from jarvis_secretsd.daemon import slotwork
from jarvis_secretsd.daemon.auditlog import AuditLog
from jarvis_secretsd.daemon.keys import Opener, SlotKind, new_master_key, new_recovery_code
from jarvis_secretsd.daemon.lock import VaultLock
from jarvis_secretsd.daemon.startup import open_state
from jarvis_secretsd.daemon.vaultlines import MAX_SLOTS
from jarvis_secretsd.errors import ConfigurationError, StorageFailed
from tests.cli.household import NOW, Household, listing, on_terminal, put

SECRETS = {"db/main": b"battery staple", "postgres_password": b"correct horse"}
CODE = re.compile(r"(?:[0-9A-Z]{4}-){8}[0-9A-Z]{4}")
OTHER_UID = 61_001


def piped(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Have the next command find this text on its standard input, which is a pipe."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def entries(house: Household, op: str) -> list[dict[str, object]]:
    """The audit log's entries about this operation."""
    lines = map(json.loads, (house.state / "audit.jsonl").read_text().splitlines())
    return [line for line in lines if line.get("op") == op]


def verifies(house: Household) -> bool:
    """Is the whole log intact, and does it agree with vault and heads?"""
    return house.command("audit", "verify", "--from", "1").status == 0


def test_the_slots_are_listed_with_the_one_in_use(house: Household) -> None:
    """Each slot has its line; the one that the configured key opens says so."""
    header, key, code = house.command("key", "list").lines
    assert header.split() == ["ID", "KIND", "MADE", "USE"]
    assert "as the configuration says" in key
    assert code.split() == [code.split()[0], "recovery", "2026-11-25T09:41:07Z", "-"]


def test_listing_takes_no_lock_and_writes_nothing(house: Household) -> None:
    """The slots can be listed while a daemon has the vault."""
    lock = VaultLock(house.config.paths.lock_path)
    try:
        before = listing(house.home)
        assert house.command("key", "list").status == DaemonExit.OK
        assert listing(house.home) == before
    finally:
        lock.release()


def test_a_key_that_opens_nothing_is_said_beside_the_list(house: Household) -> None:
    """The list comes even when the configured key is another vault's."""
    (house.state / "master.key").write_bytes(new_master_key())
    ended = house.command("key", "list")
    assert len(ended.lines) == 3
    assert "opens none" in ended.err


def test_a_second_key_opens_the_vault_too(house: Household) -> None:
    """`key add file` makes the key file, and both keys open the vault with all that is in it."""
    second = house.home / "second.key"
    assert house.command("key", "add", "file", "--key-file", str(second)).status == DaemonExit.OK
    assert second.stat().st_mode & 0o777 == 0o600
    assert house.secrets(Opener.from_key(second.read_bytes(), "second")) == SECRETS
    assert house.secrets() == SECRETS
    assert house.kinds() == [SlotKind.FILE, SlotKind.RECOVERY, SlotKind.FILE]


def test_a_key_file_that_is_there_is_used_as_it_is(house: Household) -> None:
    """A key that somebody brings isn't overwritten."""
    second, key = house.home / "second.key", new_master_key()
    second.write_bytes(key)
    second.chmod(0o600)
    house.command("key", "add", "file", "--key-file", str(second))
    assert second.read_bytes() == key
    assert house.secrets(Opener.from_key(key, "second")) == SECRETS


def test_a_key_with_a_slot_gets_no_second_one(house: Household) -> None:
    """The key that opens the vault already is refused, and nothing is written."""
    before = (house.state / "vault.json").read_bytes()
    ended = house.command("key", "add", "file")
    assert ended.status == DaemonExit.MUST_MEND
    assert "opens the vault already" in ended.err
    assert (house.state / "vault.json").read_bytes() == before


def test_a_new_slot_is_witnessed(house: Household) -> None:
    """The log has an entry with who did it and the vault's new head, and verifies as a whole."""
    house.command("key", "add", "file", "--key-file", str(house.home / "second.key"))
    (entry,) = entries(house, "key_added")
    assert entry["uid"] == os.getuid()
    assert entry["vault_seq"] == 3
    assert str(entry["note"]).startswith("slot file")
    assert verifies(house)


def test_versions_numbers_and_order_survive_new_slots(house: Household) -> None:
    """Slot after slot, the vault stays one that takes further secrets and more slots."""
    for number in range(3):
        path = house.home / f"{number}.key"
        assert house.command("key", "add", "file", "--key-file", str(path)).status == DaemonExit.OK
        state = open_state(house.config.paths, house.master(), NOW)
        put(state, f"extra/{number}", b"x")
        state.close()
    assert len(house.secrets()) == 5
    assert verifies(house)


def test_there_is_an_end_to_slots(house: Household) -> None:
    """One slot more than a header holds is refused with a reason."""
    paths = house.config.paths
    state = open_state(paths, house.master(), NOW)
    for _ in range(MAX_SLOTS - 2):
        slotwork.add_slot(paths, state, Opener.from_recovery_code(new_recovery_code()), NOW)
    with pytest.raises(ConfigurationError, match=f"{MAX_SLOTS} key slots"):
        slotwork.add_slot(paths, state, Opener.from_recovery_code(new_recovery_code()), NOW)
    state.close()


def test_a_running_daemon_is_not_disturbed(house: Household) -> None:
    """While another process has the vault no key is added, and none is made."""
    lock = VaultLock(house.config.paths.lock_path)
    second = house.home / "second.key"
    try:
        ended = house.command("key", "add", "file", "--key-file", str(second))
    finally:
        lock.release()
    assert ended.status == DaemonExit.ALREADY_RUNNING
    assert not second.exists()


def test_without_a_vault_there_is_nothing_to_add_to(house: Household) -> None:
    """No vault, no slots; and no lock file is left in a directory that a first start will use."""
    shutil.rmtree(house.state)
    house.state.mkdir(mode=0o700)
    for command in (("key", "add", "file"), ("key", "list"), ("accept-state",)):
        ended = house.command(*command)
        assert ended.status == DaemonExit.MUST_MEND
        assert "first start" in ended.err or "is missing" in ended.err
    assert list(house.state.iterdir()) == []


def test_a_credential_gets_a_slot_from_a_file(house: Household) -> None:
    """The key for systemd-creds is made, and the way into the unit is told."""
    path = house.home / "credential.key"
    ended = house.command("key", "add", "credential", "--key-file", str(path))
    assert ended.status == DaemonExit.OK
    assert "systemd-creds encrypt --name=jarvis-master-key" in ended.err
    opener = Opener.from_key(path.read_bytes(), "credential", SlotKind.CREDENTIAL)
    assert house.secrets(opener) == SECRETS


def test_a_credential_of_the_unit_gets_a_slot(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside a unit the credential itself is read."""
    directory, key = house.home / "creds", new_master_key()
    directory.mkdir(mode=0o700)
    (directory / "jarvis-master-key").write_bytes(key)
    (directory / "jarvis-master-key").chmod(0o400)
    assert house.command("key", "add", "credential").status == DaemonExit.MUST_MEND
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
    assert house.command("key", "add", "credential").status == DaemonExit.OK
    assert house.secrets(Opener.from_key(key, "x", SlotKind.CREDENTIAL)) == SECRETS


def test_a_key_that_can_not_be_made_is_told(house: Household) -> None:
    """Where its directory isn't there, that is a message, and no slot is added."""
    ended = house.command("key", "add", "file", "--key-file", str(house.home / "none" / "key"))
    assert ended.status == DaemonExit.MUST_MEND
    assert "can't make" in ended.err
    assert house.kinds() == [SlotKind.FILE, SlotKind.RECOVERY]


def test_a_passphrase_is_typed_twice_and_opens_the_vault(house: Household) -> None:
    """What was typed the same twice, unseen, opens a slot of its own."""
    command = ("--config", str(house.config_path), "key", "add", "passphrase")
    status, screen = on_terminal(*command, typed=["open sesame", "open sesame"])
    assert status == DaemonExit.OK, screen
    assert "sesame" not in screen
    assert house.secrets(Opener.from_passphrase("open sesame")) == SECRETS


def test_passphrases_that_differ_change_nothing(house: Household) -> None:
    """A slip of the hand adds no slot."""
    command = ("--config", str(house.config_path), "key", "add", "passphrase")
    status, _ = on_terminal(*command, typed=["open sesame", "open sesamo"])
    assert status == DaemonExit.MUST_MEND
    assert house.kinds() == [SlotKind.FILE, SlotKind.RECOVERY]


def test_a_passphrase_is_not_read_from_a_pipe(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal a new passphrase is refused."""
    piped(monkeypatch, "open sesame\nopen sesame\n")
    assert house.command("key", "add", "passphrase").status == DaemonExit.MUST_MEND
    assert house.kinds() == [SlotKind.FILE, SlotKind.RECOVERY]


def test_a_recovery_code_is_shown_only_on_a_terminal(house: Household) -> None:
    """Without a terminal no code is made, no slot is added, and nothing like a code is printed."""
    ended = house.command("key", "add", "recovery")
    assert ended.status == DaemonExit.MUST_MEND
    assert CODE.search(ended.out.decode() + ended.err) is None
    assert house.kinds() == [SlotKind.FILE, SlotKind.RECOVERY]


def test_on_a_new_host_the_recovery_code_comes_with_the_vault(house: Household) -> None:
    """Where there is no vault yet, `key add recovery` makes it, as a first start would, once."""
    for file in house.state.iterdir():
        file.unlink()
    command = ("--config", str(house.config_path), "key", "add", "recovery")
    status, screen = on_terminal(*command)
    assert (status, len(CODE.findall(screen))) == (DaemonExit.OK, 1), screen
    assert house.kinds() == [SlotKind.FILE, SlotKind.RECOVERY]
    code = Opener.from_recovery_code(CODE.findall(screen)[0])
    assert house.secrets(code) == house.secrets() == {}
    assert on_terminal(*command)[0] == DaemonExit.OK
    assert house.kinds() == [SlotKind.FILE, SlotKind.RECOVERY, SlotKind.RECOVERY]


def test_a_lost_master_key_is_recovered_with_the_code(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A code shown on a terminal opens the vault when the key is gone, and makes a new key."""
    command = ("--config", str(house.config_path), "key", "add", "recovery")
    status, screen = on_terminal(*command)
    assert status == DaemonExit.OK, screen
    (code,) = CODE.findall(screen)

    (house.state / "master.key").unlink()
    assert house.command("key", "list").err.count("master key") > 0
    piped(monkeypatch, code.lower().replace("-", " ") + "\n")
    ended = house.command("key", "recover")
    assert ended.status == DaemonExit.OK, ended.err
    assert "keep a copy" in ended.err
    assert "slot of the lost key is still there" in ended.err

    assert house.secrets() == SECRETS
    assert len(entries(house, "key_added")) == 2
    assert verifies(house)
    assert house.command("check").status == DaemonExit.OK


def test_a_code_typed_on_a_terminal_recovers_too(house: Household) -> None:
    """It is asked for, and not shown while it is typed."""
    (house.state / "master.key").unlink()
    command = ("key", "recover", "--config", str(house.config_path))
    status, screen = on_terminal(*command, typed=[house.code])
    assert status == DaemonExit.OK, screen
    assert house.code not in screen
    assert house.secrets() == SECRETS


@pytest.mark.parametrize("slip", ["", "0" * 36, "\n", "x" * 5000])
def test_a_wrong_code_makes_no_key(
    house: Household, monkeypatch: pytest.MonkeyPatch, slip: str
) -> None:
    """Whatever isn't the code leaves the vault as it was and no key file behind."""
    (house.state / "master.key").unlink()
    vault = (house.state / "vault.json").read_bytes()
    piped(monkeypatch, slip)
    assert house.command("key", "recover").status == DaemonExit.MUST_MEND
    assert not (house.state / "master.key").exists()
    assert (house.state / "vault.json").read_bytes() == vault


def test_a_code_of_another_vault_opens_nothing(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A valid code that isn't this vault's is refused, with the slots named and the code not."""
    (house.state / "master.key").unlink()
    code = new_recovery_code()
    piped(monkeypatch, code)
    ended = house.command("key", "recover")
    assert ended.status == DaemonExit.MUST_MEND
    assert "recovery (2026-11-25" in ended.err
    assert code not in ended.err


def test_a_key_that_is_there_is_not_replaced(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`key recover` is for a lost key: one that is there stays, opening or not."""
    key = new_master_key()
    (house.state / "master.key").write_bytes(key)
    piped(monkeypatch, house.code)
    assert house.command("key", "recover").status == DaemonExit.MUST_MEND
    assert (house.state / "master.key").read_bytes() == key
    piped(monkeypatch, house.code)
    ended = house.command("key", "add", "file", "--with-recovery-code")
    assert ended.status == DaemonExit.OK, ended.err
    assert house.secrets() == SECRETS


def test_a_crash_between_vault_and_log_loses_neither_slot_nor_entry(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next start opens the rewritten vault and gives the log the entry that it lacks."""

    def crash(*_arguments: object) -> None:
        raise StorageFailed("the machine stopped here")

    second = house.home / "second.key"
    with monkeypatch.context() as patch:
        patch.setattr(AuditLog, "write", crash)
        house.command("key", "add", "file", "--key-file", str(second))
    assert entries(house, "key_added") == []
    assert house.secrets(Opener.from_key(second.read_bytes(), "second")) == SECRETS
    (entry,) = entries(house, "key_added")
    assert entry["recovered"] is True
    assert verifies(house)


def turned_back(house: Household) -> None:
    """Put the vault of an earlier day in the place of today's."""
    vault = house.state / "vault.json"
    old = vault.read_bytes()
    state = open_state(house.config.paths, house.master(), NOW)
    put(state, "new_secret", b"lost")
    state.close()
    vault.write_bytes(old)


def test_a_state_is_accepted_only_with_a_yes(house: Household) -> None:
    """Without a terminal and --yes nothing is accepted, and what it would lose is told."""
    turned_back(house)
    (house.state / "vault.lock").touch(0o600)
    before = listing(house.state)
    ended = house.command("accept-state")
    assert ended.status == DaemonExit.MUST_MEND
    assert "--yes" in ended.err
    assert "is lost" in ended.err
    assert listing(house.state) == before
    assert house.command("accept-state", "--yes").status == DaemonExit.OK
    assert house.secrets() == SECRETS
    (entry,) = entries(house, "state_accepted")
    assert "vault" in str(entry["note"])


def test_a_person_is_asked_before_a_state_is_accepted(house: Household) -> None:
    """On a terminal a no leaves everything as it is, and a yes accepts it."""
    turned_back(house)
    command = ("--config", str(house.config_path), "accept-state")
    assert on_terminal(*command, typed=["n"])[0] == DaemonExit.INTERRUPTED
    assert entries(house, "state_accepted") == []
    status, screen = on_terminal(*command, typed=["y"])
    assert status == DaemonExit.OK, screen
    assert house.secrets() == SECRETS


def test_a_state_without_contradiction_needs_no_acceptance(house: Household) -> None:
    """Nothing is accepted where nothing contradicts, and the log isn't told so."""
    ended = house.command("accept-state", "--yes")
    assert ended.status == DaemonExit.OK
    assert "nothing to accept" in ended.lines[0]
    assert entries(house, "state_accepted") == []


@pytest.mark.root
def test_root_works_as_the_owner_of_the_state(house: Household) -> None:
    """Under sudo no file becomes root's, and the entry says that root did it."""
    for path in (house.state, *house.state.iterdir()):
        os.chown(path, OTHER_UID, OTHER_UID)
    for path in (house.config_path, house.policy_path):
        os.chown(path, 0, OTHER_UID)
    second = house.state / "second.key"
    ended = house.command("key", "add", "file", "--key-file", str(second))
    assert ended.status == DaemonExit.OK, ended.err
    assert {path.stat().st_uid for path in house.state.iterdir()} == {OTHER_UID}
    (entry,) = entries(house, "key_added")
    assert entry["uid"] == 0
