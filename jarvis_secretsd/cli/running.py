"""`jarvis-secrets run`: become another program, with secrets in its environment.

Nothing stays behind to supervise it: an exec keeps signals, exit status and terminal as they are.
"""

from __future__ import annotations

import errno
import os
import re
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NoReturn

from jarvis_secretsd.cli.exits import Exit, Refused
from jarvis_secretsd.client import SecretsClient, SecretsClientError
from jarvis_secretsd.messages import Found, Get
from jarvis_secretsd.values import SecretName

MAX_ENVIRONMENT_STRING = 128 * 1024
"""MAX_ARG_STRLEN: what Linux takes for one NAME=VALUE with its final NUL (execve(2))."""

_STEERING = re.compile(
    r"""
    PATH | HOME | SHELL | USER | LOGNAME | PWD | TMPDIR | EDITOR | VISUAL | PAGER
    | LD_.* | GLIBC_TUNABLES | GCONV_PATH | LOCPATH | NLSPATH | MALLOC_.* | HOSTALIASES
    | RES_OPTIONS | OPENSSL_CONF | OPENSSL_MODULES | SSLKEYLOGFILE
    | ENV | IFS | CDPATH | PS4 | PROMPT_COMMAND | SHELLOPTS | BASHOPTS | BASH_ENV | BASH_FUNC_.*
    | PYTHON.* | PERL5?(?:LIB|OPT|DB) | RUBY(?:OPT|LIB) | NODE_OPTIONS | NODE_PATH
    | (?:_JAVA|JAVA_TOOL|JDK_JAVA)_OPTIONS | CLASSPATH
    | GIT_(?:SSH|SSH_COMMAND|ASKPASS|EXTERNAL_DIFF|EXEC_PATH|CONFIG.*)
    | JARVIS_CLIENT_ID | JARVIS_SECRETS_.*
    """,
    re.VERBOSE,
)
"""Variables that decide what code runs, or whom it asks: whoever may write such a secret may
run programs as its reader."""


def select(names: Iterable[SecretName], patterns: Sequence[str]) -> tuple[SecretName, ...]:
    """Those names that match one of the patterns (`*` is any run of characters); no pattern: all.

    Raises Refused where a pattern matches none: a slip of the pen would start a program without.
    """
    listed = tuple(names)
    if not patterns:
        return listed
    wanted = {pattern: _matcher(pattern) for pattern in patterns}
    for pattern, matcher in wanted.items():
        if not any(map(matcher.fullmatch, listed)):
            raise Refused(f"no secret that you may read matches {pattern!r}", Exit.NOT_FOUND)
    return tuple(name for name in listed if any(m.fullmatch(name) for m in wanted.values()))


def check_names(names: Sequence[SecretName], *, allow_dangerous: bool) -> None:
    """Raises Refused where two names share a variable, or a variable steers programs."""
    faults = [*_collisions(names)]
    if not allow_dangerous:
        faults += [
            f"the variable {name.variable} of {name} steers programs; "
            "choose others with --only, or say --allow-dangerous"
            for name in names
            if _STEERING.fullmatch(name.variable)
        ]
    if faults:
        raise Refused("; ".join(faults))


def fetch(client: SecretsClient, names: Sequence[SecretName]) -> tuple[Found, ...]:
    """The secrets of these names. Raises the first refusal, with its name as a note."""
    found = []
    for name, answer in zip(names, client.ask_all([Get(n) for n in names], Found), strict=True):
        if isinstance(answer, SecretsClientError):
            answer.add_note(name)
            raise answer
        found.append(answer)
    return tuple(found)


def environment(inherited: Mapping[bytes, bytes], secrets: Iterable[Found]) -> dict[bytes, bytes]:
    """What the program gets: what we have, with each secret in place of what had its name.

    Raises Refused for a value that no environment can hold.
    """
    given = {found.name.variable.encode(): found.value.reveal() for found in secrets}
    faults = [*_unfit(secrets)]
    if faults:
        raise Refused("; ".join(faults))
    return {**inherited, **given}


def become(command: tuple[str, ...], variables: Mapping[bytes, bytes]) -> NoReturn:
    """Replace this process by the command, found on the PATH that it gets. Raises Refused."""
    # Python ignores these two for itself, and an ignored signal stays ignored across an exec.
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execvpe(command[0], command, variables)  # noqa: S606  # no shell is the point
    except (FileNotFoundError, NotADirectoryError):
        raise Refused(f"{command[0]}: command not found", Exit.COMMAND_NOT_FOUND) from None
    except OSError as error:
        if error.errno == errno.E2BIG:
            raise Refused(
                "all secrets together are larger than an environment may be; choose with --only"
            ) from None
        raise Refused(f"{command[0]}: {error.strerror}", Exit.NOT_EXECUTABLE) from None


def _matcher(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


def _collisions(names: Iterable[SecretName]) -> Iterator[str]:
    first: dict[str, SecretName] = {}
    for name in names:
        earlier = first.setdefault(name.variable, name)
        if earlier is not name:
            yield f"{earlier} and {name} would both be {name.variable}; choose one with --only"


def _unfit(secrets: Iterable[Found]) -> Iterator[str]:
    for found in secrets:
        length = len(found.name.variable) + len(found.value) + len("=\0")
        if b"\0" in found.value.reveal():
            yield f"{found.name} holds a NUL byte, which no variable can; leave it out with --only"
        if length > MAX_ENVIRONMENT_STRING:
            yield (
                f"{found.name} is too large for a variable: {length:,} bytes with its name, and "
                f"Linux takes {MAX_ENVIRONMENT_STRING:,}; leave it out with --only"
            )
