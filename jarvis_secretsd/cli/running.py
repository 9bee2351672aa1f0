"""`jarvis-secrets run`: fetch what a program is to get, and become it.

Nothing stays behind to supervise it: an exec keeps signals, exit status and terminal as they are.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from msgspec import Struct

from jarvis_secretsd.cli.choosing import NOT_STARTED, Wanted
from jarvis_secretsd.cli.exits import Exit, Refused, status_of
from jarvis_secretsd.cli.faults import Faulty
from jarvis_secretsd.client import DaemonUnavailable, SecretsClient, SecretsClientError
from jarvis_secretsd.messages import Found, Get
from jarvis_secretsd.values import Kid, SecretName, SecretValue

MAX_ENVIRONMENT = 6 * 1024 * 1024
"""What Linux takes in all, however large a stack may be; a small one allows less (execve(2))."""


class Given(Struct, frozen=True):
    """What a variable is to hold. `kid` is the version of the secret that it is, if it is one."""

    wanted: Wanted
    value: SecretValue
    kid: Kid | None = None


def fetch(client: SecretsClient, wanted: Sequence[Wanted]) -> tuple[Given, ...]:
    """What each variable holds. Raises SecretsClientError for one refusal, Faulty for several."""
    names = list(dict.fromkeys(w.source for w in wanted if isinstance(w.source, SecretName)))
    answers = dict(zip(names, client.ask_all([Get(name) for name in names], Found), strict=True))
    given, refused = [], []
    for found in wanted:
        answer = answers[found.source] if isinstance(found.source, SecretName) else found.source
        match answer:
            case SecretsClientError():
                refused.append((found, answer))
            case Found(value=value, kid=kid):
                given.append(Given(found, value, kid))
            case SecretValue():
                given.append(Given(found, answer))
    _check_had(refused)
    return tuple(given)


def inherited() -> dict[bytes, bytes]:
    """The environment that we were started with.

    Not `os.environb`: in the C locale the interpreter adds LC_CTYPE for itself (PEP 538).
    """
    try:
        started_with = Path("/proc/self/environ").read_bytes()
    except OSError:
        return dict(os.environb)
    pairs = (string.partition(b"=") for string in started_with.split(b"\0"))
    return {name: value for name, sign, value in reversed([*pairs]) if name and sign}


def become(command: tuple[str, ...], variables: Mapping[bytes, bytes]) -> NoReturn:
    """Replace this process by the command, found on the PATH that it gets. Raises Refused."""
    if not command[0]:
        raise Refused("the command is empty", Exit.COMMAND_NOT_FOUND)
    sys.stderr.flush()
    give_signals_back()
    try:
        os.execvpe(command[0], command, variables)  # noqa: S606  # no shell is the point
    except (FileNotFoundError, NotADirectoryError):
        raise _not_found(command[0], variables) from None
    except OSError as error:
        if error.errno == errno.E2BIG:
            raise _too_much(command, variables) from None
        raise Refused(f"{command[0]}: {error.strerror}", Exit.NOT_EXECUTABLE) from None


def give_signals_back() -> None:
    """As they were: an ignored signal stays ignored across an exec, a handled one is forgotten."""
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python does for itself
        signal.signal(ignored, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # from here on none is lost in a handler


def _check_had(refused: Sequence[tuple[Wanted, SecretsClientError]]) -> None:
    for found, error in refused:
        if len(refused) == 1 or isinstance(error, DaemonUnavailable):
            error.add_note(found.place)
            raise error
    if refused:
        faults = [f"{found.place}: {error.message}" for found, error in refused]
        raise Faulty(faults, NOT_STARTED, status_of(refused[0][1]))


def _not_found(command: str, variables: Mapping[bytes, bytes]) -> Refused:
    """A program whose interpreter is missing isn't there to the kernel; to a person it is."""
    path = os.fsdecode(variables.get(b"PATH", os.defpath.encode()))
    if shutil.which(command, path=path):
        return Refused(
            f"{command}: what it asks for was not found: the interpreter of its first line, or the "
            "loader that it was linked for",
            Exit.NOT_EXECUTABLE,
        )
    return Refused(f"{command}: command not found", Exit.COMMAND_NOT_FOUND)


def _too_much(command: Sequence[str], variables: Mapping[bytes, bytes]) -> Refused:
    size = sum(len(name) + len(value) + len("=\0") for name, value in variables.items())
    size += sum(len(os.fsencode(argument)) + len("\0") for argument in command)
    limit = min(os.sysconf("SC_ARG_MAX"), MAX_ENVIRONMENT)
    largest = sorted(variables, key=lambda name: len(variables[name]), reverse=True)[:3]
    return Refused(
        f"all variables and arguments together are {size:,} bytes, and Linux takes {limit:,} "
        "(with a pointer to each); the largest are "
        f"{', '.join(map(os.fsdecode, largest))}; choose with --only"
    )
