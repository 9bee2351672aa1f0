"""`jarvis-secrets export`: a `.env` of what may be read, which imports to the same values."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from msgspec import Struct, json

from jarvis_secretsd.cli.asking import ask_each
from jarvis_secretsd.cli.ending import ending_late
from jarvis_secretsd.cli.envfile import Unwritable, write_envfile
from jarvis_secretsd.cli.exits import Exit, Refused
from jarvis_secretsd.cli.faults import Faulty
from jarvis_secretsd.cli.naming import Renaming, check_used
from jarvis_secretsd.cli.selection import choose
from jarvis_secretsd.client import SecretsClient, SecretsClientError
from jarvis_secretsd.messages import Found, Get
from jarvis_secretsd.values import SecretName, SecretValue

HEADER = "# Written by `jarvis-secrets export`: these are secrets.\n"


class Given(Struct, frozen=True):
    """A variable, the secret that it is, and the secret's value."""

    variable: str
    name: SecretName
    value: SecretValue


def select(
    listed: Sequence[SecretName],
    only: Sequence[str],
    skip: Sequence[str],
    renamed: Sequence[Renaming],
    prefix: str,
) -> tuple[SecretName, ...]:
    """The secrets that are meant, in their order: those below the prefix that the patterns choose,
    and what was renamed by hand. Raises Refused where one of these finds nothing.
    """
    by_hand = {name for _, name in renamed}
    check_used(by_hand, listed, "secret that you may read")
    below = [name for name in listed if name.startswith(prefix)]
    if prefix and not below:
        raise Refused(f"no secret that you may read is below {prefix}", Exit.NOT_FOUND)
    chosen = {*choose(below, only, skip, what="secret that you may read"), *by_hand}
    return tuple(name for name in listed if name in chosen)


def fetch(client: SecretsClient, pairs: Sequence[Renaming]) -> tuple[Given, ...]:
    """The values of these secrets. Raises the first refusal, with its name as a note."""
    answers = ask_each(client, [Get(name) for _, name in pairs], Found, "Reading")
    return tuple(
        Given(variable, name, _value(name, answer))
        for (variable, name), answer in zip(pairs, answers, strict=True)
    )


def as_envfile(given: Sequence[Given]) -> bytes:
    """The file. Raises Faulty with every secret that no `.env` can hold."""
    names = {one.variable: one.name for one in given}
    try:
        return write_envfile(((one.variable, one.value) for one in given), above=HEADER).encode()
    except Unwritable as unwritable:
        faults = [f"{names[unfit.variable]}: {unfit.reason}" for unfit in unwritable.unfit]
        raise _unexported(faults) from None


def as_json(given: Sequence[Given]) -> bytes:
    """One object of variables and values. Raises Faulty with every secret that isn't text."""
    faults = [
        f"{one.name}: it holds bytes that are not text" for one in given if not one.value.is_text
    ]
    if faults:
        raise _unexported(faults)
    return json.encode({one.variable: one.value.reveal_text() for one in given}) + b"\n"


def check_free(path: str) -> None:
    """Raises Refused where something is there already, be it a link to nowhere."""
    if os.path.lexists(path):
        raise _taken(path)


def write_new(path: str, data: bytes) -> None:
    """A new file with these bytes that only its owner can read; whole, or none at all.

    Raises Refused where something is there already, and where it can't be written so.
    """
    try:
        with ending_late():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with _removed_on_failure(path), open(descriptor, "wb") as file:
                if os.fstat(descriptor).st_mode & 0o077:
                    raise Refused(f"{path}: its file system lets others read every file")
                file.write(data)
                file.flush()
                os.fsync(descriptor)
    except FileExistsError:
        raise _taken(path) from None
    except OSError as error:
        raise Refused(f"can't write {path}: {error.strerror}") from None


@contextmanager
def _removed_on_failure(path: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        os.unlink(path)
        raise


def _taken(path: str) -> Refused:
    return Refused(f"{path} is there already, and nothing is written over it")


def _value(name: SecretName, answer: Found | SecretsClientError) -> SecretValue:
    if isinstance(answer, SecretsClientError):
        answer.add_note(name)
        raise answer
    return answer.value


def _unexported(faults: Sequence[str]) -> Faulty:
    return Faulty(faults, "nothing was exported; leave out with --skip what can't be")
