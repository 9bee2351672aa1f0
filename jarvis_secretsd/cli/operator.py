"""What the operator's commands share: the configuration, the exit statuses, the terminal."""

from __future__ import annotations

import getpass
import os
import shlex
import sys
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

import click
from msgspec import Struct
from msgspec.structs import replace

from jarvis_secretsd.cli import output
from jarvis_secretsd.cli.fitting import broken, window
from jarvis_secretsd.cli.layout import MAX_WIDTH
from jarvis_secretsd.daemon.config import Config
from jarvis_secretsd.daemon.configfile import load_config
from jarvis_secretsd.daemon.devmode import dev_config
from jarvis_secretsd.errors import (
    AlreadyRunning,
    ConfigurationError,
    SecretsError,
    StartRefused,
    StateRefused,
)

WHO = "jarvis-secretsd:"

DEFAULT_CONFIG = Path("/etc/jarvis-secretsd/config.toml")

F = TypeVar("F", bound=Callable[..., Any])


class DaemonExit(IntEnum):
    """The exit statuses of `jarvis-secretsd`, with sysexits.h's numbers where it has one.

    A service manager must not restart on MUST_MEND and CONTRADICTION: nothing gets better by it.
    """

    OK = 0
    FAILURE = 1
    USAGE = 2
    ALREADY_RUNNING = 75
    MUST_MEND = 78
    CONTRADICTION = 79
    INTERRUPTED = 130

    @classmethod
    def of(cls, error: SecretsError) -> DaemonExit:
        """The status that this failure ends with."""
        match error:
            case StateRefused():
                return cls.CONTRADICTION
            case AlreadyRunning():
                return cls.ALREADY_RUNNING
            case StartRefused():
                return cls.MUST_MEND
            case _:
                return cls.FAILURE


def config_option(command: F) -> F:
    """`--config FILE`, taken before a command's name and after it."""
    return click.option(
        "--config",
        "path",
        metavar="FILE",
        type=click.Path(path_type=Path, resolve_path=False),
        expose_value=False,
        callback=_remember,
        help=f"The configuration [{DEFAULT_CONFIG}].",
    )(command)


def dev_option(command: F) -> F:
    """`--dev`: the configuration of a daemon for the current user."""
    return click.option(
        "--dev",
        is_flag=True,
        expose_value=False,
        callback=_remember,
        help="Instead of a configuration: a daemon for the current user, and for nobody else.",
    )(command)


class Source(Struct, frozen=True):
    """Where the configuration comes from: a file, or what `--dev` stands for."""

    path: Path = DEFAULT_CONFIG
    dev: bool = False


def source() -> Source:
    """Where the configuration of this command comes from."""
    found = click.get_current_context().find_root().obj
    return found if isinstance(found, Source) else Source()


def config() -> Config:
    """The configuration of this command. Raises ConfigurationError, UnsafeFile."""
    if source().dev:
        return dev_config(os.environ, os.geteuid()).config
    path = source().path
    try:
        return load_config(path, os.environ)
    except FileNotFoundError:
        raise ConfigurationError(
            (
                f"there is no configuration at {path}; name one with --config FILE, write one with "
                "`jarvis-secretsd init`, or try `jarvis-secretsd --dev`",
            )
        ) from None


def program() -> str:
    """This program with what chooses the configuration, as it must be typed before a command."""
    chosen = source()
    if chosen.dev:
        return "jarvis-secretsd --dev"
    if chosen.path == DEFAULT_CONFIG:
        return "jarvis-secretsd"
    return f"jarvis-secretsd --config {shlex.quote(str(chosen.path))}"


def override() -> str:
    """The command that takes a state that contradicts itself, as it must be typed."""
    return f"{program()} accept-state"


def ask_passphrase(question: str) -> str | None:
    """What a person types, unseen; None where there is no terminal."""
    if not sys.stdin.isatty():
        return None
    return getpass.getpass(question)


def show_recovery_code(code: str) -> None:
    """Show a recovery code on the terminal, and nowhere else."""
    explained = (
        "The recovery code of this vault. It opens the vault when the master key is lost. "
        "Write it down and keep it away from this machine; it is not shown again:"
    )
    width = min(window(sys.stderr).columns, MAX_WIDTH)
    sys.stderr.write(f"\n{broken(explained, width)}\n\n{code}\n\n")
    sys.stderr.flush()


def is_terminal() -> bool:
    """A person is there to read a recovery code."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def remark(text: str) -> None:
    """Print what is said about a command to stderr, each of its lines as a line of its own."""
    for line in text.splitlines():
        output.remark(line, WHO)


def complain(text: str) -> None:
    """Print why a command failed to stderr, each of its lines as a line of its own."""
    for line in text.splitlines():
        output.complain(line, WHO)


def _remember(context: click.Context, option: click.Parameter, said: Path | bool | None) -> None:
    if said:
        root = context.find_root()
        known = root.obj if isinstance(root.obj, Source) else Source()
        root.obj = replace(known, **{str(option.name): said})
