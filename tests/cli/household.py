"""A configuration, policy and vault as the operator's commands find them, in a directory."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jarvis_secretsd.cli import offline
from jarvis_secretsd.cli.daemon import run_command
from jarvis_secretsd.daemon.commit import with_head
from jarvis_secretsd.daemon.config import Config
from jarvis_secretsd.daemon.configfile import load_config
from jarvis_secretsd.daemon.keys import Aead, Opener, SlotKind, new_master_key, new_recovery_code
from jarvis_secretsd.daemon.startup import State, found_state, open_state
from jarvis_secretsd.domain.audit import Event, Outcome
from jarvis_secretsd.domain.changes import Care, Record, VersionPut, encode_record
from jarvis_secretsd.values import Kid, Kind, SecretName, SecretValue
from tests.cli.outcome import Outcome as Ended

NOW = datetime(2026, 11, 25, 9, 41, 7, tzinfo=UTC)
PROGRAM = (sys.executable, "-c", "from jarvis_secretsd.cli.daemon import main; main()")


class Household:
    """What `init` made below `home`; `found()` adds a vault with two secrets, as a first start."""

    def __init__(self, home: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self.config_path = home / "etc" / "config.toml"
        self.policy_path = home / "etc" / "policy.yaml"
        self.state = home / "state"
        self.socket = home / "run" / "secretsd.sock"
        self.code = new_recovery_code()
        self._capfd = capfd

    @property
    def config(self) -> Config:
        """The configuration as it is now."""
        return load_config(self.config_path, {})

    @property
    def init_options(self) -> tuple[str, ...]:
        """Where `init` is to put everything."""
        config = ("--config", str(self.config_path))
        return (*config, "--state", str(self.state), "--socket", str(self.socket))

    def run(self, *arguments: str) -> Ended:
        """Run `jarvis-secretsd` with these arguments."""
        self._capfd.readouterr()
        status = run_command(list(arguments))
        sys.stdout.flush()
        out, err = self._capfd.readouterr()
        return Ended(status, out.encode(), err)

    def init(self, *more: str) -> Ended:
        """Run `init`."""
        return self.run("init", *self.init_options, *more)

    def command(self, *arguments: str) -> Ended:
        """Run a command with this configuration."""
        return self.run("--config", str(self.config_path), *arguments)

    def found(self, *more: Opener, recovery: bool = True) -> None:
        """Make the vault, with a slot for the master key and the recovery code, and two secrets."""
        paths = self.config.paths
        paths.master_key_path.write_bytes(new_master_key())
        paths.master_key_path.chmod(0o600)
        code = [Opener.from_recovery_code(self.code)] if recovery else []
        openers = [self.master(), *code, *more]
        state = found_state(paths, Aead.XCHACHA20_POLY1305, openers, NOW)
        put(state, "postgres_password", b"correct horse")
        put(state, "db/main", b"battery staple")
        state.close()

    def master(self) -> Opener:
        """The key at the configuration's path."""
        path = self.config.paths.master_key_path
        return Opener.from_key(path.read_bytes(), str(path))

    def secrets(self, opener: Opener | None = None) -> dict[str, bytes]:
        """What the vault holds when a start opens it with this key, or the configuration's."""
        state = open_state(self.config.paths, opener or self.master(), NOW)
        try:
            found = [state.vault.live(name) for name in state.vault.names()]
            return {str(one.name): one.current.value.reveal() for one in found if one is not None}
        finally:
            state.close()

    def edit(self, path: Path, old: str, new: str) -> None:
        """Change a text in a file of ours."""
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def kinds(self) -> list[SlotKind]:
        """The kinds of the vault's slots."""
        rows = self.command("key", "list").lines[1:]
        return [SlotKind(row.split()[1]) for row in rows]


def put(state: State, name: str, value: bytes) -> None:
    """Put a secret as a turn of the loop does: vault, then audit log."""
    change = VersionPut(
        SecretName(name),
        Kid(os.urandom(8).hex()),
        1,
        SecretValue(value),
        Care(Kind.PASSWORD),
        NOW,
    )
    event = Event(op="put", name=name, outcome=Outcome.ALLOWED)
    (head,) = state.vault_file.append([encode_record(Record(change, event))])
    state.vault_file.sync()
    state.vault.apply(head.seq, change)
    state.audit.write(NOW, [with_head(event, head)], head)
    state.audit.sync()


def new_household(
    home: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Household:
    """A household without files; whoever runs the tests is nobody's sudo."""
    for variable in ("SUDO_UID", "SUDO_USER", "CREDENTIALS_DIRECTORY", "RUST_LOG"):
        monkeypatch.delenv(variable, raising=False)
    # It changes the whole process, which here is that of all tests.
    monkeypatch.setattr(offline, "harden", lambda _report: None)
    return Household(home, capfd)


def listing(root: Path) -> Sequence[tuple[str, int, int, int, bytes]]:
    """Every file below a directory with its mode, owner, time of change, and content."""
    return [
        (
            str(path),
            (found := path.lstat()).st_mode,
            found.st_uid,
            found.st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(root.rglob("*"))
    ]


def on_terminal(*arguments: str, typed: Sequence[str] = ()) -> tuple[int, str]:
    """The command on a terminal, each line typed once it is asked for: status, and the screen."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    shown, answers = b"", list(typed)
    try:
        while data := os.read(ours, 1024):
            shown += data
            if answers and shown.endswith(b": "):  # a newline after it belongs to the answer
                os.write(ours, answers.pop(0).encode() + b"\n")
    except OSError:  # EIO: the other end is closed (pty(7))
        pass
    finally:
        os.close(ours)
    return process.wait(20), shown.decode()


@contextmanager
def furnished(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Household]:
    """A sound household with a vault, in a directory that every user may enter."""
    home = Path(tempfile.mkdtemp(prefix="jarvis-"))
    home.chmod(0o755)
    found = new_household(home, capfd, monkeypatch)
    found.init()
    found.found()
    try:
        yield found
    finally:
        shutil.rmtree(home)
