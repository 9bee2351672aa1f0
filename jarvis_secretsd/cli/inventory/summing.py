"""The inventory of a project: its variables, its files, what is the same, and what git knows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from jarvis_secretsd.cli.envfile import placeholder
from jarvis_secretsd.cli.inventory.finding import Note
from jarvis_secretsd.cli.inventory.judging import why_secret
from jarvis_secretsd.cli.inventory.taking import Kind, Mention
from jarvis_secretsd.messages import Result


class Place(Struct, frozen=True):
    """Where a variable stands."""

    path: str
    line: int


class Variable(Struct, frozen=True, omit_defaults=True):
    """A variable of the project, wherever it stands; its value isn't here.

    `secret` says why it looks like one, `placeholder` why nobody filled it in. `differs`: it has
    another value at another place. `same_as` are other variables with the same value.
    """

    name: str
    places: tuple[Place, ...]
    services: tuple[str, ...] = ()
    secret: str | None = None
    placeholder: str | None = None
    differs: bool = False
    same_as: tuple[str, ...] = ()


class File(Struct, frozen=True, omit_defaults=True):
    """A file of the project. `git` is `tracked`, `was tracked`, `ignored` or `untracked`.

    `secrets` are the variables in it that look like secrets and are filled in.
    """

    path: str
    kind: Kind
    secrets: tuple[str, ...] = ()
    git: str | None = None


class Inventory(Result, frozen=True):
    """What was found. `gone` are files that git had once, and that aren't there any more."""

    directory: str
    variables: tuple[Variable, ...]
    files: tuple[File, ...]
    gone: tuple[str, ...] = ()
    remarks: tuple[Note, ...] = ()


def sum_up(mentions: Sequence[Mention]) -> tuple[Variable, ...]:
    """Each variable once, those that look like secrets first."""
    by_name: dict[str, list[Mention]] = {}
    for mention in mentions:
        by_name.setdefault(mention.variable, []).append(mention)
    alike = _alike(mentions)
    found = [_variable(name, said, alike) for name, said in sorted(by_name.items())]
    return tuple(sorted(found, key=lambda one: (one.secret is None, one.placeholder is not None)))


def secrets_of(path: str, mentions: Iterable[Mention]) -> tuple[str, ...]:
    """The variables in this file that look like secrets and are filled in."""
    said = (one.variable for one in mentions if one.path == path and _is_live(one))
    return tuple(dict.fromkeys(said))


def _variable(name: str, said: Sequence[Mention], alike: dict[bytes, list[str]]) -> Variable:
    values = {one.value.reveal() for one in said if one.value is not None}
    filled = {one.value.reveal() for one in said if _is_filled(one) and one.value is not None}
    same = (other for value in filled for other in alike.get(value, ()) if other != name)
    unfilled = (placeholder(one.value) for one in said if one.value is not None)
    return Variable(
        name,
        tuple(Place(one.path, one.line) for one in said),
        tuple(dict.fromkeys(service for one in said for service in one.services)),
        next(filter(None, map(_why, said)), None),
        next(unfilled, None) if values and not filled else None,
        len(filled) > 1,
        tuple(dict.fromkeys(same)),
    )


def _alike(mentions: Iterable[Mention]) -> dict[bytes, list[str]]:
    """The variables that have a value, for the values of secrets that are filled in."""
    alike: dict[bytes, list[str]] = {}
    for one in mentions:
        if one.value is not None and _is_live(one):
            names = alike.setdefault(one.value.reveal(), [])
            if one.variable not in names:
                names.append(one.variable)
    return alike


def _why(one: Mention) -> str | None:
    return "declared as a secret" if one.declared else why_secret(one.variable, one.value)


def _is_live(one: Mention) -> bool:
    return _why(one) is not None and _is_filled(one)


def _is_filled(one: Mention) -> bool:
    """A value that couldn't be read counts: somebody wrote something."""
    return one.value is None or placeholder(one.value) is None
