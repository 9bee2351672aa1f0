"""Opening a vault that no daemon has open: as whom, with which key, under which lock."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime

from jarvis_secretsd.cli import operator
from jarvis_secretsd.daemon.accounts import account, acting_as
from jarvis_secretsd.daemon.clock import Clock
from jarvis_secretsd.daemon.config import Config
from jarvis_secretsd.daemon.hardening import harden
from jarvis_secretsd.daemon.inspection import whom_to_be
from jarvis_secretsd.daemon.keys import Opener
from jarvis_secretsd.daemon.lock import VaultLock
from jarvis_secretsd.daemon.startup import State, open_state
from jarvis_secretsd.daemon.unlocking import opener_of
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


@contextmanager
def opened(
    config: Config, bring: Callable[[], Opener], *, accept: bool = False
) -> Iterator[tuple[State, datetime]]:
    """The state, ours alone, and the time. `bring` is asked for the key once the lock is held.

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
        state = open_state(paths, bring(), Clock().now(), accept=accept, override=override)
        stack.enter_context(closing(state))
        yield state, Clock(state.time).now()


def bring_key(config: Config) -> Opener:
    """What the configuration names, asked of a person where that is a passphrase."""
    return opener_of(config, operator.ask_passphrase)


def bring_recovery_code(_config: Config) -> Opener:
    """The recovery code, typed unseen or given on stdin. Raises KeyRefused."""
    typed = operator.ask_passphrase("Recovery code: ")
    if typed is None:
        typed = sys.stdin.readline(MAX_TYPED)
    return Opener.from_recovery_code(typed)


def new_passphrase() -> str:
    """A passphrase that was typed the same twice. Raises KeyRefused."""
    first = operator.ask_passphrase("New passphrase of the vault: ")
    if first is None:
        raise KeyRefused("a new passphrase is asked for on a terminal; run this on one")
    if first != operator.ask_passphrase("The same again: "):
        raise KeyRefused("the two passphrases differ; nothing was changed")
    return first
