"""`backup`, `restore`, `rekey` and `key remove`: who may open what afterwards, and what is said."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from jarvis_secretsd.cli import operator
from jarvis_secretsd.cli.operator import DaemonExit
from jarvis_secretsd.daemon.keys import Opener, SlotKind, new_master_key
from jarvis_secretsd.errors import KeyRefused
from tests.cli.household import Household, on_terminal
from tests.e2e.evidence import contents

SECRETS = {"db/main": b"battery staple", "postgres_password": b"correct horse"}
CODE = re.compile(r"(?:[0-9A-Z]{4}-){8}[0-9A-Z]{4}")


@pytest.fixture
def file(house: Household) -> str:
    """A backup of it."""
    path = house.home / "a.backup"
    assert house.command("backup", str(path)).status == 0
    return str(path)


def piped(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Have the next command find this text on its standard input, which is a pipe."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def typing(monkeypatch: pytest.MonkeyPatch, *lines: str) -> list[str]:
    """A person at a terminal, who types these when asked, and nothing after that: the questions."""
    answers, asked = [*lines], []

    def ask(question: str) -> str:
        asked.append(question)
        return answers.pop(0) if answers else ""

    monkeypatch.setattr(operator, "is_terminal", lambda: True)
    monkeypatch.setattr(operator, "ask_passphrase", ask)
    return asked


def entries(house: Household, op: str) -> list[dict[str, object]]:
    """The audit log's entries about this operation."""
    lines = map(json.loads, (house.state / "audit.jsonl").read_text().splitlines())
    return [line for line in lines if line.get("op") == op]


def slot_ids(house: Household) -> dict[str, str]:
    """The kinds of the slots with their ids."""
    rows = (row.split() for row in house.command("key", "list").lines[1:])
    return {row[1]: row[0] for row in rows}


def state_of(house: Household) -> Mapping[str, bytes]:
    """All that must not change when something is refused: every file but the lock."""
    files = contents(house.home)
    return {path: data for path, data in files.items() if not path.endswith(".lock")}


def test_a_backup_says_what_it_holds_and_what_it_lacks(house: Household) -> None:
    """Each time: without the master key, which isn't in it, it is nothing."""
    path = house.home / "a.backup"
    ended = house.command("backup", str(path))
    assert ended.status == 0
    assert ended.lines[0] == f"backed up and proven: {path}"
    assert "2 secrets" in ended.out.decode()
    assert f"the master key isn't in it. Without {house.config.paths.master_key_path}" in ended.err


def test_in_a_directory_a_backup_is_named_by_host_and_time(house: Household) -> None:
    """So that a timer needs no name, and no backup replaces another."""
    directory = house.home / "backups"
    directory.mkdir()
    assert house.command("backup", str(directory)).status == 0
    (made,) = directory.iterdir()
    assert re.fullmatch(r"jarvis-\S+-\d{8}T\d{6}Z\.backup", made.name)


def test_configuration_and_policy_are_in_it(house: Household, file: str) -> None:
    """As they are, for a person to put in place."""
    data = Path(file).read_bytes()
    assert house.config_path.read_bytes() in data
    assert house.policy_path.read_bytes() in data


@pytest.mark.parametrize("where", ["nowhere/a.backup", "etc/config.toml/a.backup"])
def test_where_it_cant_be_written_is_said_first(house: Household, where: str) -> None:
    """Nothing is asked, and nothing is on record."""
    before = state_of(house)
    ended = house.command("backup", str(house.home / where))
    assert ended.status == DaemonExit.MUST_MEND
    assert "can't write to" in ended.err
    assert state_of(house) == before


def test_the_recovery_code_opens_a_backup_where_the_key_is_lost(
    house: Household, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typed or piped; and then a new key can be made with it."""
    house.config.paths.master_key_path.unlink()
    assert house.command("restore", "--check", file).status == DaemonExit.MUST_MEND
    piped(monkeypatch, house.code)
    assert house.command("restore", "--check", "--with-recovery-code", file).status == 0
    for path in house.state.iterdir():
        path.unlink()
    piped(monkeypatch, house.code)
    ended = house.command("restore", "--with-recovery-code", file)
    assert ended.status == 0
    assert "key recover" in ended.err
    piped(monkeypatch, house.code)
    assert house.command("key", "recover").status == 0
    assert house.secrets() == SECRETS


def test_a_check_needs_no_configuration_where_a_key_is_named(
    house: Household, file: str, tmp_path: Path
) -> None:
    """A backup can be proven on any machine that has its key."""
    key = tmp_path / "key"
    key.touch(0o600)
    key.write_bytes(house.config.paths.master_key_path.read_bytes())
    nowhere = str(tmp_path / "nowhere.toml")
    ended = house.run("--config", nowhere, "restore", "--check", "--key-file", str(key), file)
    assert ended.status == 0
    assert ended.lines[0] == f"proven: {file}"


def test_a_key_that_opens_nothing_of_it_is_told_its_slots(
    house: Household, file: str, tmp_path: Path
) -> None:
    """The status says that a key is missing, not that the backup is damaged."""
    key = tmp_path / "key"
    key.touch(0o600)
    key.write_bytes(new_master_key())
    ended = house.command("restore", "--check", "--key-file", str(key), file)
    assert ended.status == DaemonExit.MUST_MEND
    assert "the vault has slots: file" in ended.err


def test_a_restore_says_what_it_leaves_to_people(house: Household, file: str) -> None:
    """A policy that isn't there, and how to take it out of the backup."""
    for path in house.state.iterdir():
        if path.name != "master.key":
            path.unlink()
    house.policy_path.unlink()
    ended = house.command("restore", file)
    assert ended.status == 0
    assert f"tar -xOf {file} policy.yaml > {house.policy_path}" in ended.err
    assert "another value at its far end" in ended.err


def test_a_directory_that_isnt_there_is_said_with_its_command(house: Household, file: str) -> None:
    """On a new machine that is the first thing missing."""
    house.state.rename(house.home / "moved")
    ended = house.command("restore", "--key-file", str(house.home / "moved/master.key"), file)
    assert ended.status == DaemonExit.MUST_MEND
    assert "install -d -m 0700" in ended.err


def test_rekey_asks_for_nothing_it_can_find(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal the configured key stays and a new recovery code is shown, this once."""
    typing(monkeypatch)
    ended = house.command("rekey")
    assert ended.status == 0
    assert ended.lines[0] == "rekeyed: 2 secrets sealed anew under a new data key"
    code = CODE.search(ended.err)
    assert code is not None
    assert CODE.search(ended.out.decode()) is None
    assert "rotate those secrets" in ended.err
    assert house.secrets() == SECRETS
    assert house.secrets(Opener.from_recovery_code(code[0])) == SECRETS
    with pytest.raises(KeyRefused):
        house.secrets(Opener.from_recovery_code(house.code))
    (entry,) = entries(house, "rekeyed")
    assert code[0] not in str(entry)
    assert house.command("audit", "verify", "--from", "1").status == 0


def test_rekey_without_a_terminal_loses_no_recovery_code_unasked(house: Household) -> None:
    """It names the slot and the ways out, and changes nothing."""
    before = state_of(house)
    ended = house.command("rekey")
    assert ended.status == DaemonExit.MUST_MEND
    slot = slot_ids(house)["recovery"]
    assert "--keep-recovery-code" in ended.err
    assert f"--drop {slot}" in ended.err
    assert state_of(house) == before


def test_rekey_keeps_a_recovery_code_that_is_brought(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old code goes on opening the vault, and no new one is made."""
    piped(monkeypatch, house.code)
    ended = house.command("rekey", "--keep-recovery-code")
    assert ended.status == 0
    assert CODE.search(ended.err) is None
    assert house.secrets(Opener.from_recovery_code(house.code)) == SECRETS


def test_rekey_ends_a_slot_that_is_named(house: Household) -> None:
    """And says which."""
    slot = slot_ids(house)["recovery"]
    ended = house.command("rekey", "--drop", slot)
    assert ended.status == 0
    assert f"id {slot})" in ended.lines[-1]
    assert house.kinds() == [SlotKind.FILE]
    assert f"id {slot})" in str(entries(house, "rekeyed"))


def test_rekey_carries_a_further_key_and_a_passphrase(
    house: Household, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Those that are brought: a file by its path, a passphrase when it is asked for."""
    further = house.home / "further.key"
    assert house.command("key", "add", "credential", "--key-file", str(further)).status == 0
    typing(monkeypatch, "open sesame", "open sesame")
    assert house.command("key", "add", "passphrase").status == 0
    asked = typing(monkeypatch, "open sesame")
    ended = house.command("rekey", "--key-file", str(further))
    assert ended.status == 0
    assert len(asked) == 1
    assert "Passphrase of the slot passphrase" in asked[0]
    for opener in (
        Opener.from_key(further.read_bytes(), "further"),
        Opener.from_passphrase("open sesame"),
    ):
        assert house.secrets(opener) == SECRETS


def test_rekey_refuses_a_passphrase_that_is_wrong(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would else end the slot of the right one."""
    typing(monkeypatch, "open sesame", "open sesame")
    house.command("key", "add", "passphrase")
    before = state_of(house)
    typing(monkeypatch, "open barley")
    ended = house.command("rekey")
    assert ended.status == DaemonExit.MUST_MEND
    assert "opens no slot" in ended.err
    assert "sesame" not in ended.err and "barley" not in ended.err
    assert state_of(house) == before


def test_a_slot_is_removed_with_the_data_key(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key opens the vault no more, and an old header in the new file's place opens nothing."""
    further = house.home / "further.key"
    house.command("key", "add", "credential", "--key-file", str(further))
    thief = Opener.from_key(further.read_bytes(), "further")
    old = (house.state / "vault.json").read_bytes().splitlines(keepends=True)
    typing(monkeypatch)
    ended = house.command("key", "remove", slot_ids(house)["credential"])
    assert ended.status == 0
    assert house.secrets() == SECRETS
    with pytest.raises(KeyRefused):
        house.secrets(thief)
    new = (house.state / "vault.json").read_bytes().splitlines(keepends=True)
    assert not {*old} & {*new}


def test_the_slot_that_the_configuration_uses_isnt_removed(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon could start no more; the refusal says what to do first."""
    typing(monkeypatch)
    before = state_of(house)
    ended = house.command("key", "remove", slot_ids(house)["file"])
    assert ended.status == DaemonExit.MUST_MEND
    assert "the configuration opens the vault by the slot file" in ended.err
    assert state_of(house) == before


def test_a_stolen_key_is_replaced_and_its_slot_removed(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `key recover` says: a new key with the code, and then the old slot ends."""
    path = house.config.paths.master_key_path
    stolen = Opener.from_key(path.read_bytes(), "stolen")
    old = slot_ids(house)["file"]
    path.rename(house.home / "stolen.key")
    with monkeypatch.context() as patch:
        piped(patch, house.code)
        said = house.command("key", "recover").err
    assert "key remove ID" in said
    typing(monkeypatch)
    assert house.command("key", "remove", old).status == 0
    assert house.secrets() == SECRETS
    with pytest.raises(KeyRefused):
        house.secrets(stolen)


@pytest.mark.parametrize("command", [("key", "remove"), ("rekey", "--drop")])
def test_a_slot_that_there_isnt_is_said_so(
    house: Household, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """A slip of the pen ends nothing."""
    typing(monkeypatch)
    before = state_of(house)
    ended = house.command(*command, "00000000")
    assert ended.status == DaemonExit.MUST_MEND
    assert "there is no slot 00000000" in ended.err
    assert state_of(house) == before


def test_a_key_file_that_opens_nothing_gets_no_slot(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new key is added by `key add`, which says so in the log."""
    other = house.home / "other.key"
    other.touch(0o600)
    other.write_bytes(new_master_key())
    typing(monkeypatch)
    ended = house.command("rekey", "--key-file", str(other))
    assert ended.status == DaemonExit.MUST_MEND
    assert f"{other} opens no slot" in ended.err


def test_a_key_file_that_isnt_there_is_named(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a slot is to stay by it, and where it is to open a backup."""
    typing(monkeypatch)
    for command in (("rekey",), ("restore", str(house.config_path))):
        ended = house.command(*command, "--key-file", "/nowhere.key")
        assert ended.status == DaemonExit.MUST_MEND
        assert "there is no key at /nowhere.key" in ended.err


def test_a_person_sees_the_new_code_on_a_real_terminal(house: Household) -> None:
    """Once, with the words that say what it is."""
    status, screen = on_terminal("--config", str(house.config_path), "rekey")
    assert status == 0
    assert len(CODE.findall(screen)) == 1
    assert "not shown again" in screen.replace("\r\n", " ")
