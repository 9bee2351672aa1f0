"""A whole state on disk to do things to, and stills of it: what a crash at each step leaves."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from jarvis_secretsd.daemon.commit import Ledger, Turn
from jarvis_secretsd.daemon.config import Config, PathsConfig, SecurityConfig
from jarvis_secretsd.daemon.files import sweep
from jarvis_secretsd.daemon.heads import write_heads
from jarvis_secretsd.daemon.keys import Aead, Opener, new_recovery_code
from jarvis_secretsd.daemon.startup import State, found_state, open_state
from jarvis_secretsd.daemon.verifying import Checked, Evidence, verify
from jarvis_secretsd.domain.audit import Event, Outcome
from jarvis_secretsd.domain.changes import AnyChange, Care, VersionPut
from jarvis_secretsd.domain.witness import Act
from jarvis_secretsd.values import Kid, Kind, SecretName, SecretValue
from tests.domain.world import NOW

MASTER = bytes(range(32))

CHANGES = ("write", "fsync", "fdatasync", "rename", "unlink", "ftruncate", "mkdir")
"""The calls by which a process changes files, or has them last."""


class Place:
    """A state in a directory of its own, which the master key opens."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        self.directory = directory
        self.paths = PathsConfig(
            directory / "vault.json", directory / "master.key", directory / "audit.jsonl"
        )
        policy = directory / "policy.yaml"
        self.config = Config(paths=self.paths, security=SecurityConfig(rbac_policy_path=policy))

    @property
    def opener(self) -> Opener:
        """The master key."""
        return Opener.from_key(MASTER, "master.key")

    def found(self, *more: Opener) -> State:
        """A first start; the key is in its file."""
        self.paths.master_key_path.touch(0o600)
        self.paths.master_key_path.write_bytes(MASTER)
        aead = Aead.XCHACHA20_POLY1305
        return found_state(self.paths, aead, [self.opener, *more], NOW)

    def open(self, opener: Opener | None = None) -> State:
        """A later start."""
        sweep(self.paths.vault_path)
        sweep(self.paths.heads_path)
        return open_state(self.paths, opener or self.opener, NOW)

    def secrets(self, opener: Opener | None = None) -> dict[str, bytes]:
        """What a start finds, names with values."""
        with closing(self.open(opener)) as state:
            return values_in(state)

    def verified(self) -> Checked:
        """What `audit verify` says."""
        return verify(Evidence(config=self.config), from_start=False)

    def copied_to(self, directory: Path) -> Place:
        """The same in another directory."""
        return Place(Path(shutil.copytree(self.directory, directory)))


def values_in(state: State) -> dict[str, bytes]:
    """What the vault holds, names with values."""
    live = filter(None, map(state.vault.live, state.vault.names()))
    return {str(secret.name): secret.current.value.reveal() for secret in live}


def change(state: State, *changes: AnyChange) -> None:
    """Commit each in a turn of its own."""
    ledger = Ledger(state.vault, state.vault_file, state.audit)
    for each in changes:
        turn = Turn(state.vault, NOW)
        turn.witness((Act(Event(op="test", outcome=Outcome.ALLOWED), each),))
        ledger.commit(turn)
        assert ledger.trouble is None


def put(state: State, name: str, value: str) -> None:
    """Commit a new version of a secret; the one before has grace without an end."""
    secret = state.vault.secret(SecretName(name))
    number = 1 if secret is None else secret.number + 1
    kid, care = Kid(os.urandom(8).hex()), Care(Kind.PASSWORD)
    change(state, VersionPut(SecretName(name), kid, number, SecretValue(value.encode()), care, NOW))


def keep_heads(place: Place, state: State) -> None:
    """Write the heads, as the daemon does once a second."""
    write_heads(place.paths.heads_path, state.heads(NOW), state.vault_file.data_key)


def recovery() -> tuple[str, Opener]:
    """A new recovery code, and as what opens a slot."""
    code = new_recovery_code()
    return code, Opener.from_recovery_code(code)


@contextmanager
def stills(place: Place, into: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Place]]:
    """What is there before each change that is made meanwhile, each in a directory of its own."""
    taken: list[Place] = []
    into.mkdir(exist_ok=True)
    busy = False

    def watched(change: Callable[..., Any]) -> Callable[..., Any]:
        def then(*arguments: Any, **more: Any) -> Any:
            nonlocal busy
            if not busy:
                busy = True
                taken.append(place.copied_to(into / str(len(taken))))
                busy = False
            return change(*arguments, **more)

        return then

    with monkeypatch.context() as patch:
        for name in CHANGES:
            patch.setattr(os, name, watched(getattr(os, name)))
        yield taken


@contextmanager
def failing(
    nth: int, monkeypatch: pytest.MonkeyPatch, number: int = errno.ENOSPC
) -> Iterator[list[str]]:
    """The nth write or rename fails, and each after it. Yields what was called."""
    called: list[str] = []

    def doomed(name: str, change: Callable[..., Any]) -> Callable[..., Any]:
        def then(*arguments: Any, **more: Any) -> Any:
            called.append(name)
            if len(called) > nth:
                raise OSError(number, os.strerror(number))
            return change(*arguments, **more)

        return then

    with monkeypatch.context() as patch:
        for name in ("write", "rename", "mkdir"):
            patch.setattr(os, name, doomed(name, getattr(os, name)))
        yield called
