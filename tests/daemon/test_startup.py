"""Vault, log and heads watch each other: crashes are mended, everything else is refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jarvis_secretsd.daemon import rewriting
from jarvis_secretsd.daemon.commit import Ledger, Turn
from jarvis_secretsd.daemon.config import PathsConfig
from jarvis_secretsd.daemon.heads import write_heads
from jarvis_secretsd.daemon.keys import Aead, Opener
from jarvis_secretsd.daemon.startup import State, found_state, is_first_start, open_state
from jarvis_secretsd.domain.audit import Event, Outcome
from jarvis_secretsd.domain.changes import Care, Stepped, VersionPut
from jarvis_secretsd.domain.lifecycle import Step
from jarvis_secretsd.domain.witness import Act
from jarvis_secretsd.errors import KeyRefused, StateRefused
from jarvis_secretsd.values import Kid, Kind, SecretName, SecretValue

NOW = datetime(2026, 11, 25, 9, tzinfo=UTC)
MASTER = bytes(range(32))
FILES = ("vault.json", "vault.heads", "audit.jsonl")


def opener(key: bytes = MASTER) -> Opener:
    """A key file's content."""
    return Opener.from_key(key, "master.key")


def put(state: State, *names: str) -> None:
    """Commit one put a name, each in a turn of its own."""
    ledger = Ledger(state.vault, state.vault_file, state.audit)
    for name in names:
        turn = Turn(state.vault, NOW)
        value, care = SecretValue(b"value of " + name.encode()), Care(Kind.PASSWORD)
        number = state.vault.seq + 1
        until = NOW + timedelta(days=14)
        change = VersionPut(SecretName(name), Kid(f"{number:016x}"), 1, value, care, NOW, until)
        turn.witness((Act(Event(op="put", outcome=Outcome.ALLOWED, name=name), change),))
        ledger.commit(turn)
        assert ledger.trouble is None


def end_graces(state: State, name: SecretName) -> None:
    """Commit the end of each version in grace."""
    ledger = Ledger(state.vault, state.vault_file, state.audit)
    turn = Turn(state.vault, NOW)
    secret = state.vault.secret(name)
    assert secret is not None
    for version in secret.versions[:-1]:
        change = Stepped(name, version.kid, Step.END, NOW)
        turn.witness((Act(Event(op="elapse", outcome=Outcome.ALLOWED, name=str(name)), change),))
    ledger.commit(turn)


def keep_heads(paths: PathsConfig, state: State) -> None:
    """Write the heads, as the daemon does once a second."""
    write_heads(str(paths.heads_path), state.heads(NOW), state.vault_file.data_key)


@pytest.fixture
def paths(tmp_path: Path) -> PathsConfig:
    """Where the files are."""
    tmp_path.chmod(0o700)
    return PathsConfig(tmp_path / "vault.json", tmp_path / "master.key", tmp_path / "audit.jsonl")


@pytest.fixture
def snapshots(paths: PathsConfig) -> Iterator[list[Path]]:
    """The state after the first start, after `a`, and after `b`, each with heads as of then."""
    base = paths.vault_path.parent
    taken: list[Path] = []

    def snapshot() -> None:
        target = base / f"snapshot{len(taken)}"
        target.mkdir(mode=0o700)
        for name in FILES:
            shutil.copy2(base / name, target / name)
        taken.append(target)

    state = found_state(paths, Aead.XCHACHA20_POLY1305, [opener()], NOW)
    snapshot()
    for name in ("a", "b"):
        put(state, name)
        keep_heads(paths, state)
        snapshot()
    state.close()
    yield taken


def bring_back(paths: PathsConfig, snapshot: Path, *names: str) -> None:
    """Put these files of an earlier day in the place of today's."""
    for name in names:
        shutil.copy2(snapshot / name, paths.vault_path.parent / name)


def contents(paths: PathsConfig) -> list[bytes]:
    """What lies in vault and log."""
    return [paths.vault_path.read_bytes(), paths.audit_path.read_bytes()]


def names(state: State) -> list[str]:
    """The names in the vault."""
    return [str(name) for name in state.vault.names()]


def test_a_restart_equals_having_stayed_up(paths: PathsConfig, snapshots: list[Path]) -> None:
    """What was acknowledged is there again, and no file was changed by looking."""
    before = contents(paths)
    state = open_state(paths, opener(), NOW)
    assert names(state) == ["a", "b"]
    assert contents(paths) == before
    state.close()


def test_a_log_that_lacks_the_last_turn_is_given_it_back(
    paths: PathsConfig, snapshots: list[Path]
) -> None:
    """A crash between vault and log: the entry is written again, and marked."""
    bring_back(paths, snapshots[1], "audit.jsonl", "vault.heads")
    state = open_state(paths, opener(), NOW)
    assert names(state) == ["a", "b"]
    assert b'"name":"b"' in paths.audit_path.read_bytes()
    assert b'"recovered":true' in paths.audit_path.read_bytes()
    state.close()
    open_state(paths, opener(), NOW).close()


@pytest.mark.parametrize(
    ("back", "files", "words"),
    [
        (1, ("vault.json",), "put in its place"),
        (0, ("vault.json",), "put in its place"),
        (1, ("vault.json", "vault.heads"), "put in its place"),
        (1, ("audit.jsonl",), "cut off"),
        (1, ("audit.jsonl", "vault.json"), "cut off"),
    ],
)
def test_what_was_turned_back_is_refused_and_not_touched(
    paths: PathsConfig, snapshots: list[Path], back: int, files: tuple[str, ...], words: str
) -> None:
    """Any one or two of the three from an earlier day: the start says what and how to override."""
    bring_back(paths, snapshots[back], *files)
    before = contents(paths)
    with pytest.raises(StateRefused) as refused:
        open_state(paths, opener(), NOW)
    assert words in refused.value.message
    assert "accept-state" in refused.value.message
    assert contents(paths) == before


def test_all_three_turned_back_together_pass(paths: PathsConfig, snapshots: list[Path]) -> None:
    """Without a witness elsewhere this can't be seen; the documents say so."""
    bring_back(paths, snapshots[1], *FILES)
    state = open_state(paths, opener(), NOW)
    assert names(state) == ["a"]
    state.close()


@pytest.mark.parametrize("gone", ["vault.heads", "audit.jsonl"])
def test_a_missing_part_is_refused(paths: PathsConfig, snapshots: list[Path], gone: str) -> None:
    """Deleting what would tell is no way around it."""
    (paths.vault_path.parent / gone).unlink()
    with pytest.raises(StateRefused):
        open_state(paths, opener(), NOW)


def test_a_missing_vault_is_no_first_start(paths: PathsConfig, snapshots: list[Path]) -> None:
    """A daemon that lost its vault doesn't quietly begin anew."""
    paths.vault_path.unlink()
    with pytest.raises(StateRefused, match="there is no vault"):
        is_first_start(paths, with_key_file=True)


def test_nothing_there_is_a_first_start(paths: PathsConfig) -> None:
    """Only when all are absent."""
    assert is_first_start(paths, with_key_file=True)
    paths.master_key_path.write_bytes(MASTER)
    with pytest.raises(StateRefused):
        is_first_start(paths, with_key_file=True)


def test_a_state_that_contradicts_itself_can_be_accepted_on_record(
    paths: PathsConfig, snapshots: list[Path]
) -> None:
    """The override serves what is there, and the log says what it accepted."""
    bring_back(paths, snapshots[1], "vault.json")
    state = open_state(paths, opener(), NOW, accept=True)
    assert names(state) == ["a"]
    assert b"state_accepted" in paths.audit_path.read_bytes()
    keep_heads(paths, state)
    state.close()
    open_state(paths, opener(), NOW).close()


def test_a_wrong_key_is_refused_with_the_slots(paths: PathsConfig, snapshots: list[Path]) -> None:
    """The message names what would open it."""
    with pytest.raises(KeyRefused, match="slots: file"):
        open_state(paths, opener(bytes(31) + b"x"), NOW)


def test_a_torn_record_is_set_aside_on_record(paths: PathsConfig, snapshots: list[Path]) -> None:
    """A crash in the middle of an append loses what nobody was told."""
    with paths.vault_path.open("ab") as file:
        file.write(b'{"seq":3,"nonce":"AA')
    state = open_state(paths, opener(), NOW)
    assert names(state) == ["a", "b"]
    assert b"vault_torn_tail" in paths.audit_path.read_bytes()
    assert list(paths.vault_path.parent.glob("vault.json.torn-*"))
    put(state, "c")
    state.close()
    state = open_state(paths, opener(), NOW)
    assert names(state) == ["a", "b", "c"]
    state.close()


def test_a_cut_inside_the_vaults_last_record_is_no_torn_tail(
    paths: PathsConfig, snapshots: list[Path]
) -> None:
    """A record that the log knows of wasn't left by a crash."""
    data = paths.vault_path.read_bytes()
    paths.vault_path.write_bytes(data[:-7])
    with pytest.raises(StateRefused):
        open_state(paths, opener(), NOW)
    assert paths.vault_path.read_bytes() == data[:-7]


def test_a_vault_of_dead_records_is_written_anew_on_record(
    paths: PathsConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is past its grace leaves the disk, and the next start knows the head before."""
    monkeypatch.setattr(rewriting, "MIN_DEAD_RECORDS", 3)
    state = found_state(paths, Aead("aes-gcm-256"), [opener()], NOW)
    put(state, *["a"] * 10, "b")
    assert not rewriting.compact(state, paths, NOW + timedelta(days=15))
    end_graces(state, SecretName("a"))
    keep_heads(paths, state)
    state.close()
    size = paths.vault_path.stat().st_size
    state = open_state(paths, opener(), NOW)
    before = state.vault_file.head
    assert rewriting.compact(state, paths, NOW)
    assert paths.vault_path.stat().st_size < size / 2
    assert state.vault_file.head.seq == before.seq + 1
    put(state, "c")
    state.close()
    state = open_state(paths, opener(), NOW)
    assert names(state) == ["a", "b", "c"]
    assert before.head.encode() in paths.audit_path.read_bytes()
    state.close()


def throw_away_old_segments(paths: PathsConfig, state: State) -> None:
    """Rotate the log, go on in a new segment, and delete the old one."""
    rotated = paths.audit_path.rename(f"{paths.audit_path}.1")
    put(state, "c")
    rotated.unlink()


def test_a_log_whose_old_segments_were_thrown_away_may_have_outrun_the_heads(
    paths: PathsConfig, snapshots: list[Path]
) -> None:
    """A crash between a rotation that keeps nothing and the next heads is no contradiction."""
    state = open_state(paths, opener(), NOW)
    put(state, "a")  # the heads don't know this entry
    throw_away_old_segments(paths, state)
    state.close()
    state = open_state(paths, opener(), NOW)
    assert names(state) == ["a", "b", "c"]
    state.close()


@pytest.mark.parametrize("thrown_away", [False, True])
def test_another_history_that_is_longer_is_refused(
    paths: PathsConfig, snapshots: list[Path], *, thrown_away: bool
) -> None:
    """A copy of an earlier day that was served since isn't what the heads know."""
    bring_back(paths, snapshots[1], *FILES)
    state = open_state(paths, opener(), NOW)
    put(state, "x", "y")
    if thrown_away:
        throw_away_old_segments(paths, state)
    state.close()
    bring_back(paths, snapshots[2], "vault.heads")
    with pytest.raises(StateRefused, match=r"record 2 of the vault isn't the one") as refused:
        open_state(paths, opener(), NOW)
    assert ("entry 3 of the audit log isn't" in refused.value.message) is not thrown_away
