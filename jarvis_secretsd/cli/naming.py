"""Which variable is which secret, in both directions.

`FOO_BAR` becomes `foo_bar`, and `foo/bar` becomes `FOO_BAR`. A prefix is what an import puts before
all names and an export takes away; what is renamed by hand is exactly what was said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import click
from msgspec import Struct

from jarvis_secretsd.cli.arguments import parsed_by
from jarvis_secretsd.cli.completing import renamed_secrets
from jarvis_secretsd.cli.envfile.words import VARIABLE
from jarvis_secretsd.cli.exits import Exit, Refused
from jarvis_secretsd.cli.faults import Faulty
from jarvis_secretsd.cli.gathering import Entry
from jarvis_secretsd.cli.guessing import guess
from jarvis_secretsd.values import SecretName, SecretValue

F = TypeVar("F", bound=Callable[..., Any])

Renaming = tuple[str, SecretName]
"""A variable and the secret that it is, as a person said."""


class Wanted(Struct, frozen=True):
    """A secret that is to be, and the variable it comes from."""

    name: SecretName
    value: SecretValue
    variable: str
    places: tuple[str, ...]


def renaming_option(name: str, *, text: str) -> Callable[[F], F]:
    """An option `VAR=NAME`, given as often as needed; the command gets all as `renamed`."""
    return click.option(
        name,
        "renamed",
        multiple=True,
        metavar="VAR=NAME",
        callback=parsed_by(parse_renamings),
        shell_complete=renamed_secrets,
        help=text,
    )


def parse_renamings(texts: Iterable[str]) -> tuple[Renaming, ...]:
    """What each `VAR=NAME` says. Raises ValueError with what is wrong, and a name that would do."""
    renamed: dict[str, SecretName] = {}
    for variable, name in map(_parse_renaming, texts):
        if renamed.setdefault(variable, name) != name:
            raise ValueError(f"{variable} is said to be both {renamed[variable]} and {name}")
    return tuple(renamed.items())


def parse_prefix(text: str | None) -> str:
    """The prefix with its slash: `app` and `app/` are the same. Raises ValueError."""
    return f"{SecretName(text.removesuffix('/'))}/" if text else ""


def name_secrets(
    entries: Sequence[Entry], renamed: Mapping[str, SecretName], prefix: str
) -> tuple[Wanted, ...]:
    """The secrets that these variables become.

    Raises Faulty where a name can't be a secret's, or two variables would be one secret.
    """
    wanted: dict[SecretName, Wanted] = {}
    faults = []
    for entry in entries:
        try:
            name = renamed.get(entry.variable) or SecretName(prefix + entry.variable.lower())
        except ValueError as error:
            faults.append(f"{_at(entry)}: {error}")
            continue
        new = Wanted(name, entry.value, entry.variable, entry.places)
        other = wanted.setdefault(name, new)
        if other is not new:
            faults.append(f"{_at(entry)} and {_at(other)} would both be the secret {name}")
    if faults:
        raise Faulty(
            faults,
            "nothing was imported: choose names with --map VAR=NAME, or leave out with --skip",
        )
    return tuple(wanted.values())


def check_used(renamed: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raises Refused where a renaming is about no `what` at all: that is a slip of the pen."""
    among = set(known)
    unknown = sorted(set(renamed) - among)
    if unknown:
        hint = guess(unknown[0], among) if len(unknown) == 1 else ""
        raise Refused(f"no {what} is called {', '.join(unknown)}{hint}", Exit.NOT_FOUND)


def name_variables(
    names: Iterable[SecretName], renamed: Sequence[Renaming], prefix: str
) -> tuple[Renaming, ...]:
    """The variables that these secrets become; what was renamed by hand has that variable only.

    Raises Faulty where two would share a variable, or a variable isn't one.
    """
    by_hand: dict[SecretName, list[str]] = {}
    for variable, name in renamed:
        by_hand.setdefault(name, []).append(variable)
    pairs = tuple(
        (variable, name)
        for name in names
        for variable in by_hand.get(name) or [SecretName(name.removeprefix(prefix)).variable]
    )
    faults = [*_unusable(pairs)]
    if faults:
        raise Faulty(
            faults,
            "nothing was exported: choose variables with --as VAR=NAME, or leave out with --skip",
        )
    return pairs


def _parse_renaming(text: str) -> Renaming:
    variable, equals, name = text.partition("=")
    if not equals or VARIABLE.fullmatch(variable) is None:
        raise ValueError(f"{text!r} is not VARIABLE=NAME")
    return variable, SecretName(name)


def _at(entry: Entry | Wanted) -> str:
    return f"{entry.places[0]}: {entry.variable}"


def _unusable(pairs: Iterable[Renaming]) -> Iterator[str]:
    first: dict[str, SecretName] = {}
    for variable, name in pairs:
        if VARIABLE.fullmatch(variable) is None:
            yield f"{name} would be the variable {variable}, which no shell takes for one"
        other = first.setdefault(variable, name)
        if other != name:
            yield f"{other} and {name} would both be {variable}"
