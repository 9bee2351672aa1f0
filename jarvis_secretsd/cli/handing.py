"""How a program is handed its secrets: as variables, or as files in memory that no name leads to.

The same user, and root, can look into either (proc(5)). But a file isn't where variables turn up:
in a crash report, in a log of the environment, in each program that the program starts anew.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from jarvis_secretsd.cli.choosing import NOT_STARTED
from jarvis_secretsd.cli.exits import Refused
from jarvis_secretsd.cli.faults import Faulty
from jarvis_secretsd.cli.running import Given

MAX_ENVIRONMENT_STRING = 128 * 1024
"""MAX_ARG_STRLEN: what Linux takes for one NAME=VALUE with its final NUL (execve(2))."""

FILE_SUFFIX = "_FILE"
"""What programs that take a file look for: POSTGRES_PASSWORD_FILE."""

FIRST_DESCRIPTOR = 100
"""Out of the way of shells, whose scripts use 0 to 9 and which keep their own from 10 on."""

READABLE = 0o444
"""By whoever got the descriptor: also where the program has become another user meanwhile."""

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

_NOEXEC_SEAL = 0x8
"""MFD_NOEXEC_SEAL, since Linux 6.3: a host may refuse a file in memory that could be executed."""


class Handed(Struct, frozen=True):
    """The variables for a program, and the descriptors that it has to inherit for them."""

    variables: dict[bytes, bytes]
    descriptors: tuple[int, ...] = ()

    def close(self) -> None:
        """Let go of the descriptors here."""
        for descriptor in self.descriptors:
            os.close(descriptor)


Hand = Callable[[Sequence[Given]], Handed]
"""A way to hand them. Raises Faulty, Refused."""


def as_variables(given: Sequence[Given]) -> Handed:
    """Each value is the variable's. Raises Faulty for values that no environment can hold."""
    faults = [fault for each in given for fault in _unfit(each)]
    if faults:
        raise Faulty(faults, NOT_STARTED)
    return Handed(dict(map(_pair, given)))


def as_files(given: Sequence[Given]) -> Handed:
    """Each secret is a file, and the variable its path; what is no secret stays a variable.

    Every open of the path reads from the start, and nobody can change what it holds.
    """
    plain = [each for each in given if each.kid is None]
    variables = as_variables(plain).variables
    descriptors: list[int] = []
    try:
        for each in given:
            if each.kid is not None:
                descriptors.append(_sealed(each.value.reveal()))
                path = f"/proc/self/fd/{descriptors[-1]}"
                variables[each.wanted.variable.encode()] = path.encode()
    except OSError as error:
        Handed({}, tuple(descriptors)).close()
        raise Refused(
            f"can't have a file in memory for each secret: {error.strerror}; choose with --only, "
            "or raise the limit of open files (`ulimit -n`)"
        ) from None
    return Handed(variables, tuple(descriptors))


def _pair(given: Given) -> tuple[bytes, bytes]:
    return given.wanted.variable.encode(), given.value.reveal()


def _unfit(given: Given) -> Iterator[str]:
    length = len(given.wanted.variable) + len(given.value) + len("=\0")
    place = given.wanted.place
    if b"\0" in given.value.reveal():
        yield (
            f"{place} holds a NUL byte, which no variable can; hand over --files, or leave it out "
            "with --skip"
        )
    if length > MAX_ENVIRONMENT_STRING:
        yield (
            f"{place} is too large for a variable: {length:,} bytes with the name, and Linux "
            f"takes {MAX_ENVIRONMENT_STRING:,}; hand over --files, or leave it out with --skip"
        )


def _sealed(data: bytes) -> int:
    """A descriptor, to be inherited, of a file that holds these bytes for good (fcntl(2))."""
    with open(_new_file(), "w+b", buffering=0) as file:
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]
        os.fchmod(file.fileno(), READABLE)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
        file.seek(0)
        return fcntl.fcntl(file, fcntl.F_DUPFD, FIRST_DESCRIPTOR)


def _new_file() -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create("secret", flags | _NOEXEC_SEAL)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.memfd_create("secret", flags)
