"""Opening a vault that no daemon has open: as whom, with which key, under which lock."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from pathlib import Path

from jarvis_secretsd.cli import operator
from jarvis_secretsd.daemon.accounts import account, acting_as
from jarvis_secretsd.daemon.app import new_state
from jarvis_secretsd.daemon.clock import Clock
from jarvis_secretsd.daemon.config import Config
from jarvis_secretsd.daemon.hardening import harden
from jarvis_secretsd.daemon.inspection import whom_to_be
from jarvis_secretsd.daemon.keys import Opener
from jarvis_secretsd.daemon.lock import VaultLock
from jarvis_secretsd.daemon.startup import State, is_first_start, open_state
from jarvis_secretsd.daemon.unlocking import key_in, opener_of
from jarvis_secretsd.errors import ConfigurationError, KeyRefused

MAX_TYPED = 1024
"""Characters of a line from a pipe: no code is longer, with all its spaces."""


@contextmanager
def at_the_state() -> Iterator[Config]:
    """The configuration. Meanwhile root is the owner of the state directory, as the daemon is.

    Nothing else would do: a file that root made there is one that the daemon refuses.
    """
    harden(operator.remark)
    source = operator.source()
    dev = source.dev or not os.path.exists(source.path)
    who = account(os.geteuid()) if dev else whom_to_be(source.path, os.environ)
    with acting_as(who):
        yield operator.config()


def founded(config: Config) -> bool:
    """Make the vault, whose recovery code is shown, as its first start would; no: it is there.

    Raises ConfigurationError, AlreadyRunning, StartRefused.
    """
    paths = config.paths
    if not is_first_start(paths, with_key_file=config.crypto.unlock == "file"):
        return False
    with ExitStack() as stack:
        stack.callback(VaultLock(paths.lock_path).release)
        new_state(config, operator.ask_passphrase, operator.show_recovery_code).close()
    return True


@contextmanager
def opened(
    config: Config, key: Callable[[], Opener], *, accept: bool = False
) -> Iterator[tuple[State, datetime]]:
    """The state, ours alone, and the time. `key` is asked for once the lock is held.

    Raises ConfigurationError, AlreadyRunning, KeyRefused, StateRefused, UnsafeFile.
    """
    paths = config.paths
    if not os.path.lexists(paths.vault_path):
        raise ConfigurationError(
            (f"there is no vault at {paths.vault_path}; the daemon's first start makes one",)
        )
    with ExitStack() as stack:
        stack.callback(VaultLock(paths.lock_path).release)
        override = operator.override()
        state = open_state(paths, key(), Clock().now(), accept=accept, override=override)
        stack.enter_context(closing(state))
        yield state, Clock(state.time).now()


def bring_key(config: Config) -> Opener:
    """What the configuration names, asked of a person where that is a passphrase."""
    return opener_of(config, operator.ask_passphrase)


def bring(config: Config, *, with_recovery_code: bool) -> Opener:
    """The recovery code where that is wished, else what the configuration names."""
    return bring_recovery_code() if with_recovery_code else bring_key(config)


def bring_recovery_code() -> Opener:
    """The recovery code, typed unseen or given on stdin. Raises KeyRefused."""
    typed = operator.ask_passphrase("Recovery code: ")
    if typed is None:
        typed = sys.stdin.readline(MAX_TYPED)
    return Opener.from_recovery_code(typed)


def bring_key_in(path: Path) -> Opener:
    """The key in a file that was named by hand. Raises ConfigurationError if there is none."""
    try:
        return key_in(path)
    except FileNotFoundError:
        raise ConfigurationError((f"there is no key at {path}",)) from None


def new_passphrase() -> str:
    """A passphrase that was typed the same twice. Raises KeyRefused."""
    first = operator.ask_passphrase("New passphrase of the vault: ")
    if first is None:
        raise KeyRefused("a new passphrase is asked for on a terminal; run this on one")
    if first != operator.ask_passphrase("The same again: "):
        raise KeyRefused("the two passphrases differ; nothing was changed")
    return first
