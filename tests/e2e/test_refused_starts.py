"""Starts that must not be: each says why and what to do, ends with its status, writes nothing."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemon_process import DaemonProcess
from tests.e2e.callers import Caller
from tests.e2e.evidence import assert_intact, contents, entries_of, verify

MUST_MEND, CONTRADICTION, ALREADY_RUNNING = 78, 79, 75

MakeDaemon = Callable[..., DaemonProcess]
Damage = Callable[[Path], object]
"""Does something to a state directory. Beside it lie `older`, the same installation's state before
its last run, and `others`, another installation's."""


@pytest.fixture(scope="module")
def attic() -> Iterator[Path]:
    """The states: `newest`, `older` and `others`."""
    daemon, other = DaemonProcess(), DaemonProcess()
    attic = daemon.directory / "attic"
    try:
        for one, name, secrets in (
            (daemon, "older", ("one", "two")),
            (daemon, "newest", ("three", "four")),
            (other, "others", ("one", "two")),
        ):
            one.start()
            with Caller(one) as caller:
                for secret in secrets:
                    caller.ask("put", name=secret, value=f"value of {secret}")
            one.stop()
            shutil.copytree(one.state, attic / name)
        yield attic
    finally:
        daemon.dispose()
        other.dispose()


@pytest.fixture
def daemon(make_daemon: MakeDaemon, attic: Path) -> DaemonProcess:
    """A stopped daemon with the newest state, and the other states beside it."""
    daemon = make_daemon()
    daemon.state.rmdir()
    shutil.copytree(attic / "newest", daemon.state)
    for name in ("older", "others"):
        shutil.copytree(attic / name, daemon.directory / name)
    return daemon


def bring(source: str, *names: str) -> Damage:
    """Put files of another state in the place of ours."""

    def damage(state: Path) -> None:
        for name in names:
            shutil.copy2(state.parent / source / name, state / name)

    return damage


def lose(*names: str) -> Damage:
    """Delete files."""

    def damage(state: Path) -> None:
        for name in names:
            (state / name).unlink()

    return damage


def cut_to_older(name: str) -> Damage:
    """Cut a file off where it ended before the last run."""
    return lambda state: os.truncate(state / name, (state.parent / "older" / name).stat().st_size)


def cut(name: str, count: int) -> Damage:
    """Take this many bytes off the end."""
    return lambda state: os.truncate(state / name, (state / name).stat().st_size - count)


def flip(name: str, line: int) -> Damage:
    """Change one character in the middle of a line."""

    def damage(state: Path) -> None:
        lines = (state / name).read_bytes().splitlines(keepends=True)
        middle = len(lines[line]) // 2
        found = lines[line][middle]
        changed = b"A" if found != ord("A") else b"B"
        lines[line] = lines[line][:middle] + changed + lines[line][middle + 1 :]
        (state / name).write_bytes(b"".join(lines))

    return damage


VAULT, LOG, HEADS, KEY = "vault.json", "audit.jsonl", "vault.heads", "master.key"
SIGN_KEY = "audit.sign.key"

CONTRADICTIONS: dict[str, tuple[Damage, str]] = {
    "an older vault": (bring("older", VAULT), "older or another vault"),
    "an older vault with its heads": (bring("older", VAULT, HEADS), "older or another vault"),
    "a vault cut at a record": (cut_to_older(VAULT), "older or another vault"),
    "a torn vault that was acknowledged": (cut(VAULT, 9), "older or another vault"),
    "an older log": (bring("older", LOG), r"ended at \d+ before: \d+ entries were cut off"),
    "a log cut at a turn": (cut_to_older(LOG), r"ended at \d+ before: \d+ entries were cut off"),
    "a torn log that was acknowledged": (cut(LOG, 9), r"entries were cut off"),
    "an older log and an older vault": (bring("older", LOG, VAULT), "records were cut off"),
    "no log": (lose(LOG), r"audit log .* is gone"),
    "an empty log": (lambda state: os.truncate(state / LOG, 0), r"audit log .* is gone"),
    "no heads": (lose(HEADS), "heads is missing"),
    "heads of another vault": (bring("others", HEADS), "written for another vault"),
    "another installation's vault with its key": (
        bring("others", VAULT, KEY),
        "written for another vault",
    ),
    "heads that were altered": (flip(HEADS, 0), "was damaged, altered"),
}
"""Vault, log and heads that speak against each other, and what is said."""

ACCEPTED = (
    "an older vault",
    "an older log",
    "an older log and an older vault",
    "no log",
    "no heads",
    "heads that were altered",
)
"""One of each kind of contradiction, for the override."""

UNMENDABLE: dict[str, tuple[Damage, str]] = {
    "no vault": (lose(VAULT), "there is no vault"),
    "no vault and no log": (lose(VAULT, LOG), "there is no vault"),
    "only a key": (lose(VAULT, LOG, HEADS), "there is no vault"),
    "no signing key": (lose(SIGN_KEY), "audit.sign.key, which signs the audit log, is missing"),
    "another signing key": (bring("others", SIGN_KEY), "is signed by the key"),
    "another installation's log with its key": (bring("others", LOG, SIGN_KEY), "is foreign"),
    "no log and no heads": (lose(LOG, HEADS), "is missing with all that could tell"),
    "a record that was altered": (flip(VAULT, 1), "vault.json, line 2"),
    "a header that was altered": (flip(VAULT, 0), "vault.json"),
    "an empty vault": (lambda state: os.truncate(state / VAULT, 0), "has no whole header"),
}
"""What only a backup mends."""

WRONG_KEYS: dict[str, tuple[Damage, str]] = {
    "no key": (lose(KEY), "its master key .*master.key is missing"),
    "another key": (bring("others", KEY), "file"),
    "half a key": (cut(KEY, 16), "32"),
    "a key of zeros": (lambda state: (state / KEY).write_bytes(bytes(32)), "master.key"),
    "another installation's vault": (bring("others", VAULT), "file"),
}
"""No key at hand opens the vault; the message names the key, or the slots that there are."""


def refused(daemon: DaemonProcess) -> tuple[int, str]:
    """Try to start: the exit status, and what it said. Nothing in the state may have changed."""
    before, said = contents(daemon.state), len(daemon.stderr)
    status = daemon.run_to_end()
    assert contents(daemon.state) == before
    assert daemon.stdout == ""
    message = daemon.stderr[said:]
    assert "Traceback" not in message
    assert not daemon.socket_path.exists()
    return status, message


def last_line(message: str) -> str:
    """What a person reads: one line, from us, behind what was logged before."""
    (line,) = [line for line in message.splitlines() if line.startswith("jarvis-secretsd: ")]
    return line


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_a_state_that_contradicts_itself_is_refused(daemon: DaemonProcess, case: str) -> None:
    """One line says what was found, how to mend it, and how to take it as it is."""
    damage, said = CONTRADICTIONS[case]
    damage(daemon.state)
    status, message = refused(daemon)
    assert status == CONTRADICTION
    assert re.search(said, last_line(message)), message
    assert re.search(r"Restore .*; or .* with: jarvis-secretsd .*accept-state", message), message


@pytest.mark.parametrize("case", ACCEPTED)
def test_a_contradiction_can_be_accepted_and_that_is_on_record(
    daemon: DaemonProcess, case: str
) -> None:
    """The override writes an entry that says what was accepted; then the daemon serves again."""
    damage, said = CONTRADICTIONS[case]
    damage(daemon.state)
    assert daemon.run_to_end("accept-state", "--yes") == 0, daemon.stderr
    daemon.start()
    (entry,) = entries_of(daemon, op="state_accepted")
    assert entry["outcome"] == "recorded"
    assert re.search(said, entry["note"])
    with Caller(daemon) as caller:
        assert caller.ask("get", name="one").body["value"] == "value of one"
        assert caller.ask("put", name="after", value="all").outcome == "ok"
    daemon.stop()
    assert verify(daemon).status == 0
    assert verify(daemon, "--from", "1").status == (3 if case == "no log" else 0)


def test_the_override_is_named_as_it_must_be_typed(daemon: DaemonProcess) -> None:
    """The command names our configuration, since without it another vault would be meant."""
    bring("older", VAULT)(daemon.state)
    _, message = refused(daemon)
    command = re.search(r"with: jarvis-secretsd (.*)$", last_line(message))
    assert command
    assert f"--config {daemon.config_path}" in command[1]


def test_a_contradiction_is_not_accepted_without_a_yes(daemon: DaemonProcess) -> None:
    """Where nobody can be asked, the override changes nothing."""
    bring("older", VAULT)(daemon.state)
    before = contents(daemon.state)
    assert daemon.run_to_end("accept-state") == MUST_MEND
    assert contents(daemon.state) == before


@pytest.mark.parametrize("case", UNMENDABLE)
def test_a_state_that_only_a_backup_mends_is_refused(daemon: DaemonProcess, case: str) -> None:
    """The message says what is at fault with which file; there is no override."""
    damage, said = UNMENDABLE[case]
    damage(daemon.state)
    status, message = refused(daemon)
    assert status == CONTRADICTION
    assert re.search(said, last_line(message)), message
    assert "accept-state" not in message


@pytest.mark.parametrize("case", WRONG_KEYS)
def test_a_vault_without_its_key_is_refused(daemon: DaemonProcess, case: str) -> None:
    """No new key is made, and nothing is tried that would lose the old vault."""
    damage, said = WRONG_KEYS[case]
    damage(daemon.state)
    status, message = refused(daemon)
    assert status == MUST_MEND
    assert re.search(said, last_line(message)), message


def test_a_second_daemon_is_refused_and_does_the_first_no_harm(daemon: DaemonProcess) -> None:
    """The lock decides, also while the first can't answer; its socket stays."""
    daemon.start()
    before = contents(daemon.state)
    assert daemon.run_to_end() == ALREADY_RUNNING
    assert "is locked" in last_line(daemon.stderr)
    assert contents(daemon.state) == before
    with Caller(daemon) as caller:
        assert caller.ask("get", name="one").outcome == "ok"


PRIVATE = (VAULT, LOG, HEADS, KEY, SIGN_KEY)


@pytest.mark.parametrize(
    ("name", "mode"), [*zip(PRIVATE, (0o644, 0o640, 0o620, 0o604, 0o700), strict=True)]
)
def test_a_file_that_others_can_touch_is_refused(
    daemon: DaemonProcess, name: str, mode: int
) -> None:
    """The message says the mode and the command, which mends it."""
    (daemon.state / name).chmod(mode)
    status, message = refused(daemon)
    assert status == MUST_MEND
    assert f"has mode {mode:04o}" in message
    remedy = re.search(r"run: chmod 600 (\S+)$", last_line(message))
    assert remedy
    Path(remedy[1]).chmod(0o600)
    daemon.start()


def link(path: Path) -> None:
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))


def hard_link(path: Path) -> None:
    os.link(path, path.with_suffix(".second"))


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir(0o700)


@pytest.mark.parametrize(
    ("name", "exchange"),
    [
        *((name, link) for name in PRIVATE),
        (VAULT, hard_link),
        (LOG, hard_link),
        (KEY, make_fifo),
        (LOG, make_fifo),
        (HEADS, make_directory),
    ],
)
def test_what_is_not_a_file_of_its_own_is_refused(
    daemon: DaemonProcess, name: str, exchange: Damage
) -> None:
    """A link is not followed, a second name is not written through, a FIFO is not waited for."""
    path = daemon.state / name
    exchange(path)
    status, message = refused(daemon)
    assert status == MUST_MEND
    assert str(path) in last_line(message)


def test_a_directory_that_others_can_write_to_is_refused(daemon: DaemonProcess) -> None:
    """Whoever can rename in it can exchange the vault; the command mends it."""
    daemon.state.chmod(0o770)
    status, message = refused(daemon)
    assert (status, f"chmod go-w {daemon.state}" in message) == (MUST_MEND, True)


@pytest.mark.root
@pytest.mark.parametrize("name", [*PRIVATE, "."])
def test_a_file_of_another_owner_is_refused(
    make_daemon: MakeDaemon, attic: Path, name: str
) -> None:
    """Not even root's file is ours, and a directory of another user's is none to keep it in."""
    daemon = make_daemon(uid=1000)
    shutil.copytree(attic / "newest", daemon.state, dirs_exist_ok=True)
    for path in (daemon.state, *daemon.state.iterdir()):
        os.chown(path, 1000, 1000)
    os.chown(daemon.state / name, 4001 if name == "." else 0, -1)
    status, message = refused(daemon)
    assert status == MUST_MEND
    assert str((daemon.state / name).resolve()) in last_line(message)


def test_torn_tails_of_a_crash_are_set_aside_and_on_record(daemon: DaemonProcess) -> None:
    """What nobody was told of doesn't stop a start; it is kept in files of its own."""
    vault, log = b'{"seq":5,"nonce":"abc', b'{"seq":99,"time":"2026-'
    for path, torn in ((daemon.vault_path, vault), (daemon.audit_path, log)):
        with path.open("ab") as file:
            file.write(torn)
    daemon.start()
    (vault_entry,) = entries_of(daemon, op="vault_torn_tail")
    (log_entry,) = entries_of(daemon, op="tail_set_aside")
    assert vault_entry["outcome"] == log_entry["outcome"] == "recorded"
    asides = {path.name: path.read_bytes() for path in daemon.state.glob("*.torn-*")}
    assert sorted(asides.values()) == sorted([vault, log])
    assert all(any(name in entry["note"] for entry in (vault_entry, log_entry)) for name in asides)
    assert_intact(daemon)
    with Caller(daemon) as caller:
        assert caller.ask("get", name="four").body["value"] == "value of four"


POLICIES = {
    "missing": None,
    "empty": "",
    "no YAML": "clients: {",
    "a wrong type": "clients: [admin]\n",
    "default_deny: false": 'default_deny: false\nclients: {a: {users: ["0"], allow: [a]}}\n',
}


@pytest.mark.parametrize("case", POLICIES)
def test_a_policy_that_says_nothing_stops_the_start(daemon: DaemonProcess, case: str) -> None:
    """It is never taken for one that allows; the message names the file."""
    text = POLICIES[case]
    daemon.policy_path.unlink()
    if text is not None:
        daemon.write_policy(text)
    status, message = refused(daemon)
    assert (status, "policy.yaml" in message) == (MUST_MEND, True), message
