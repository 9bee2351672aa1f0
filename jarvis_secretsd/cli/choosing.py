"""`jarvis-secrets run`: which variables the program is to get, and from where.

What is asked for by its variable (`--as`, then `--env-file`, of those the last) goes before what is
selected by a secret's name, and a secret that is asked for so doesn't also come by its own name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from jarvis_secretsd.cli.envfile import MAX_FILE_BYTES, Assignment, EnvfileRefused, read_envfile
from jarvis_secretsd.cli.envfile.words import VARIABLE
from jarvis_secretsd.cli.faults import Faulty
from jarvis_secretsd.cli.intake import read_file
from jarvis_secretsd.cli.naming import Renaming
from jarvis_secretsd.cli.output import remark
from jarvis_secretsd.cli.steering import is_steering
from jarvis_secretsd.values import SecretName, SecretValue

NOT_STARTED = "the command was not started"

REFERENCE = "jarvis://"
"""What a value of an env file starts with when the rest is the name of a secret."""


class Wanted(Struct, frozen=True):
    """A variable that the program is to get: a secret's value, or one that the file itself says.

    `place` is what asked for it, for a person to find: a secret's name, an option, a file's line.
    """

    variable: str
    source: SecretName | SecretValue
    place: str


def renamed(pairs: Iterable[Renaming]) -> tuple[Wanted, ...]:
    """What `--as VAR=NAME` asks for."""
    return tuple(Wanted(variable, name, f"--as {variable}={name}") for variable, name in pairs)


def read_lines(path: str) -> tuple[Wanted, ...]:
    """What the lines of an env file (`-` is stdin) ask for; its reader's doubts are remarked.

    Raises Faulty with every line that can't be read, or refers to what is no secret's name.
    """
    shown = "stdin" if path == "-" else path
    try:
        reading = read_envfile(read_file(path, MAX_FILE_BYTES))
    except EnvfileRefused as refused:
        faults = [f"{shown}:{found.line}: {found.text}" for found in refused.problems]
        raise Faulty(faults, NOT_STARTED) from None
    for found in reading.warnings:
        remark(f"{shown}:{found.line}: {found.text}")
    lines = [_line(shown, found) for found in reading.assignments]
    faults = [line for line in lines if isinstance(line, str)]
    if faults:
        raise Faulty(faults, NOT_STARTED)
    return tuple(line for line in lines if isinstance(line, Wanted))


def choose(
    names: Iterable[SecretName], said: Iterable[Wanted], suffix: str = "", *, allow_dangerous: bool
) -> tuple[Wanted, ...]:
    """Every variable that the program gets, each once; of what was `said` the last holds.

    The variable of a secret that comes by its own name ends with `suffix`. Raises Faulty where two
    names share a variable, or a variable steers programs.
    """
    by_variable = {wanted.variable: wanted for wanted in said}
    sources = [wanted.source for wanted in by_variable.values()]
    left = [
        Wanted(variable, name, name)
        for name in names
        if name not in sources and (variable := name.variable + suffix) not in by_variable
    ]
    wanted = (*by_variable.values(), *left)
    faults = [*_collisions(left), *(() if allow_dangerous else _steering(wanted))]
    if faults:
        raise Faulty(faults, NOT_STARTED)
    return wanted


def unreadable(wanted: Iterable[Wanted]) -> Iterator[str]:
    """A remark for each variable that programs can read and shells can't."""
    for found in wanted:
        if VARIABLE.fullmatch(found.variable) is None:
            yield (
                f"{found.place}: shells can't read {found.variable}, which begins with a digit; "
                f"--as _{found.variable}={found.source} gives it a name that they can"
            )


def _line(path: str, found: Assignment) -> Wanted | str:
    """What the line asks for, or what is wrong with it."""
    place = f"{path}:{found.line}"
    text = found.value.reveal_text()
    if REFERENCE not in text.lower():
        return Wanted(found.variable, found.value, place)
    name = text.removeprefix(REFERENCE)
    if REFERENCE in name.lower():
        return f"{place}: {found.variable}: {REFERENCE}NAME must be the whole value"
    try:
        return Wanted(found.variable, SecretName(name), f"{place}: {name}")
    except ValueError as error:
        return f"{place}: {found.variable}: {error}"


def _collisions(wanted: Iterable[Wanted]) -> Iterator[str]:
    first: dict[str, Wanted] = {}
    for found in wanted:
        earlier = first.setdefault(found.variable, found)
        if earlier is not found:
            yield (
                f"{earlier.place} and {found.place} would both be {found.variable}; "
                "choose one with --only, or rename one with --as VAR=NAME"
            )


def _steering(wanted: Iterable[Wanted]) -> Iterator[str]:
    for found in wanted:
        if is_steering(found.variable):
            yield (
                f"{found.place}: the variable {found.variable} steers programs; "
                "leave it out with --skip, or say --allow-dangerous"
            )
