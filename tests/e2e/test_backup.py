"""Backup, restore and rekey of a real daemon, by the commands that people type."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import pytest

from jarvis_secretsd.client import SecretsClient
from jarvis_secretsd.messages import Put, Stored
from jarvis_secretsd.values import SecretName
from tests.daemon_process import DaemonProcess
from tests.e2e.callers import Caller
from tests.e2e.evidence import assert_intact, contents, entries_of, verify
from tests.e2e.test_refused_starts import CONTRADICTION, MUST_MEND

MakeDaemon = Callable[..., DaemonProcess]

MANY = 10_000

OWNER, STRANGER = 4001, 4002


def said(daemon: DaemonProcess, *arguments: str, status: int = 0) -> str:
    """What a command says, which must end with this status."""
    before = len(daemon.stdout), len(daemon.stderr)
    assert daemon.run_to_end(*arguments) == status, daemon.stderr
    return daemon.stdout[before[0] :] + daemon.stderr[before[1] :]


def put(daemon: DaemonProcess, **values: str) -> None:
    """Put these."""
    with Caller(daemon) as caller:
        for name, value in values.items():
            assert caller.ask("put", name=name, value=value).outcome == "ok"


def get(daemon: DaemonProcess, name: str) -> str:
    """The value, or what is the matter."""
    with Caller(daemon) as caller:
        reply = caller.ask("get", name=name)
    return str(reply.body["value"]) if reply.outcome == "ok" else reply.outcome


@pytest.fixture
def file(daemon: DaemonProcess) -> str:
    """Where the backup goes."""
    return str(daemon.directory / "the.backup")


def test_a_backup_under_write_load_is_whole(daemon: DaemonProcess, file: str) -> None:
    """With 10,000 secrets and someone who puts without a pause; what was there before is in it."""
    with SecretsClient(str(daemon.socket_path), client_id="admin", timeout=60.0) as client:
        for start in range(0, MANY, 1000):
            puts = [Put(SecretName(f"s{start + each}"), f"value {each}") for each in range(1000)]
            assert all(isinstance(each, Stored) for each in client.ask_all(puts, Stored))
    stop = Event()
    written: list[Stored] = []

    def load() -> None:
        with SecretsClient(str(daemon.socket_path), client_id="admin", timeout=60.0) as client:
            while not stop.is_set():
                written.append(client.put(f"s{len(written) % 7}", f"new {len(written)}"))

    writer = Thread(target=load)
    writer.start()
    try:
        made = said(daemon, "backup", file)
    finally:
        stop.set()
        writer.join()
    assert len(written) > 10
    proof = said(daemon, "restore", "--check", file)
    held = re.search(r"vault: 10,000 secrets, up to record (\d+)", proof)
    assert held is not None
    assert MANY <= int(held[1]) <= MANY + len(written)
    assert re.findall("sha256: .*", made) == re.findall("sha256: .*", proof) != []
    assert_intact(daemon)


def test_the_log_says_of_a_backup_that_and_when_it_was_taken(
    daemon: DaemonProcess, file: str
) -> None:
    """With the digest that the command printed; the metric has its time, also after a restart."""
    digest = re.search("sha256: (.*)", said(daemon, "backup", file))
    assert digest is not None
    first, second = entries_of(daemon, op="backup")
    assert first["note"].startswith("up to entry")
    assert second["note"] == f"taken: sha256 {digest[1]}"
    daemon.restart()
    with daemon.connect() as connection:
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    found = re.search(r"^jarvis_\S*backup\S* (\S+)$", text, re.MULTILINE)
    assert found is not None, text
    assert float(found[1]) > 1.7e9


def test_a_stopped_daemon_is_backed_up_the_same_way(daemon: DaemonProcess, file: str) -> None:
    """By the vault's lock, and as much on record."""
    put(daemon, a="1")
    daemon.stop()
    assert "1 secret," in said(daemon, "backup", file)
    (entry,) = entries_of(daemon, op="backup")
    assert entry["note"].startswith("taken: sha256 ")
    said(daemon, "restore", "--check", file)
    daemon.start()
    assert_intact(daemon)


def test_a_check_touches_nothing(daemon: DaemonProcess, file: str) -> None:
    """Neither the backup nor the state, whether the daemon runs or not."""
    said(daemon, "backup", file)
    daemon.stop()
    before = contents(daemon.directory)
    said(daemon, "restore", "--check", file)
    now = contents(daemon.directory)
    assert {key: now[key] for key in before if key not in {"stdout", "stderr"}} == {
        key: before[key] for key in before if key not in {"stdout", "stderr"}
    }


def test_a_damaged_backup_isnt_restored(daemon: DaemonProcess, file: str) -> None:
    """The check ends with 1 and says so; a restore doesn't begin."""
    put(daemon, a="1")
    said(daemon, "backup", file)
    data = Path(file).read_bytes()
    Path(file).write_bytes(data.replace(b'"nonce":"', b'"nonce":"A', 1))
    assert "the.backup" in said(daemon, "restore", "--check", file, status=1)
    daemon.stop()
    before = contents(daemon.state)
    said(daemon, "restore", "--replace", file, status=1)
    assert contents(daemon.state) == before


def test_a_backup_is_restored_on_another_machine(
    daemon: DaemonProcess, make_daemon: MakeDaemon, file: str
) -> None:
    """All that it needs beside is the master key; the log goes on and verifies from its start."""
    put(daemon, a="1", b="2")
    said(daemon, "backup", file)
    other = make_daemon()
    shutil.copy2(daemon.key_path, other.key_path)
    assert "restored: " in said(other, "restore", file)
    other.start()
    assert (get(other, "a"), get(other, "b")) == ("1", "2")
    (entry,) = entries_of(other, op="restored")
    assert entry["outcome"] == "allowed"
    other.stop()
    assert_intact(other)


def test_a_running_daemons_state_isnt_replaced(daemon: DaemonProcess, file: str) -> None:
    """The lock decides; the daemon goes on."""
    put(daemon, a="1")
    said(daemon, "backup", file)
    assert "Stop it first" in said(daemon, "restore", "--replace", file, status=75)
    assert get(daemon, "a") == "1"


def test_a_state_is_replaced_only_when_that_is_said(daemon: DaemonProcess, file: str) -> None:
    """What would be lost is listed with the command; then the old one is set aside and the log
    tells of it."""
    put(daemon, a="1")
    said(daemon, "backup", file)
    put(daemon, a="2", b="1")
    daemon.stop()
    before = contents(daemon.state)
    refusal = said(daemon, "restore", file, status=MUST_MEND)
    assert contents(daemon.state) == before
    for text in ("made since, and lost: b", "changed since, and turned back: a"):
        assert text in refusal
    command = re.search(r"jarvis-secretsd --config \S+ restore --replace (\S+)", refusal)
    assert command is not None
    assert command[1] == file
    said(daemon, "restore", "--replace", file)
    (aside,) = daemon.state.glob("replaced-*")
    assert (aside / "vault.json").read_bytes() == before["vault.json"]
    daemon.start()
    assert (get(daemon, "a"), get(daemon, "b")) == ("1", "not_found")
    put(daemon, c="1")
    daemon.stop()
    assert_intact(daemon)


def test_an_old_vault_that_is_put_back_by_hand_is_noticed(daemon: DaemonProcess, file: str) -> None:
    """A start is refused until somebody accepts it, and then the log says that."""
    put(daemon, a="1")
    said(daemon, "backup", file)
    put(daemon, a="2")
    daemon.stop()
    taken = subprocess.run(["tar", "-xOf", file, "vault.json"], capture_output=True, check=True)
    daemon.vault_path.write_bytes(taken.stdout)
    assert "older or another vault" in said(daemon, status=CONTRADICTION)
    said(daemon, "accept-state", "--yes")
    daemon.start()
    assert get(daemon, "a") == "1"
    (entry,) = entries_of(daemon, op="state_accepted")
    assert "older or another vault" in entry["note"]
    daemon.stop()
    assert verify(daemon).status == 0


def test_all_of_an_old_state_put_back_by_hand_is_noticed_by_a_witness(
    daemon: DaemonProcess,
) -> None:
    """Vault, log and heads turned back together agree: only who kept a head elsewhere can tell."""
    put(daemon, a="1")
    daemon.stop()
    before = contents(daemon.state)
    daemon.start()
    put(daemon, a="2")
    with Caller(daemon) as caller:
        witnessed = caller.ask("audit_head").body
    daemon.stop()
    for name, data in before.items():
        (daemon.state / name).write_bytes(data)
    daemon.start()
    with Caller(daemon) as caller:
        assert caller.ask("audit_head").body["seq"] < witnessed["seq"]


def test_a_rekeyed_vault_is_served_as_before(daemon: DaemonProcess, file: str) -> None:
    """Under the same master key; an older backup opens with it too, and says what it undoes."""
    put(daemon, a="1")
    said(daemon, "backup", file)
    daemon.stop()
    assert "rekeyed: 1 secret" in said(daemon, "rekey")
    daemon.start()
    assert get(daemon, "a") == "1"
    (entry,) = entries_of(daemon, op="rekeyed")
    assert entry["outcome"] == "allowed"
    daemon.stop()
    assert_intact(daemon)
    assert "was rekeyed since" in said(daemon, "restore", file, status=MUST_MEND)


def test_a_running_daemons_vault_isnt_rekeyed(daemon: DaemonProcess) -> None:
    """It is stopped first."""
    assert "Stop it first" in said(daemon, "rekey", status=75)


@pytest.mark.root("to be the daemon's user, root and a stranger")
def test_root_backs_up_as_the_daemons_user_and_keeps_the_file(make_daemon: MakeDaemon) -> None:
    """No client of the policy is needed; what is written in the state stays the daemon's."""
    daemon = make_daemon(uid=OWNER, policy="clients: {a: {users: ['7'], allow: [x]}}\n")
    daemon.start()
    file = daemon.directory / "by-root"
    command = daemon.command("backup", str(file))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (file.stat().st_uid, file.stat().st_mode & 0o777) == (0, 0o600)
    assert {path.stat().st_uid for path in daemon.state.iterdir()} == {OWNER}
    first, second = entries_of(daemon, op="backup")
    assert first["client"] == second["client"] == "owner"
    assert first["uid"] == OWNER
    daemon.stop()
    done = subprocess.run(
        daemon.command("restore", "--replace", str(file)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {path.stat().st_uid for path in daemon.state.rglob("*")} == {OWNER}
    daemon.start()


@pytest.mark.root("to be a stranger")
def test_a_stranger_backs_up_nothing(make_daemon: MakeDaemon) -> None:
    """Neither by the command, which can't read the files, nor by asking the daemon."""
    daemon = make_daemon(uid=OWNER)
    daemon.start()
    with Caller(daemon, client=None, uid=STRANGER) as caller:
        assert caller.ask("backup").outcome == "client_required"
    with Caller(daemon, client="admin", uid=STRANGER) as caller:
        assert caller.ask("backup").outcome == "denied"
        assert caller.ask("lock").outcome == "denied"
    done = subprocess.run(
        daemon.command("backup", "/tmp/stolen.backup"),
        user=STRANGER,
        group=STRANGER,
        extra_groups=[],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        check=False,
    )
    assert done.returncode != 0
    assert not os.path.exists("/tmp/stolen.backup")
