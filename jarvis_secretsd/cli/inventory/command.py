"""`jarvis-secrets inventory`: what there is to move in, before anything is moved."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator

import click

from jarvis_secretsd.cli.exits import Refused
from jarvis_secretsd.cli.inventory.finding import find
from jarvis_secretsd.cli.inventory.gitrecord import consult
from jarvis_secretsd.cli.inventory.summing import (
    File,
    Inventory,
    Variable,
    secrets_of,
    sum_up,
)
from jarvis_secretsd.cli.inventory.taking import take
from jarvis_secretsd.cli.options import options_without_daemon, settings
from jarvis_secretsd.cli.output import (
    NOTHING,
    counted,
    remark,
    show,
    show_json,
    show_typed,
    table,
)
from jarvis_secretsd.values import suggest_name


@click.command()
@click.argument("directory", metavar="[DIR]", default=".", type=click.Path())
@click.option("--all", "everything", is_flag=True, help="Also what doesn't look like a secret.")
@click.option("--no-git", is_flag=True, help="Don't ask git.")
@options_without_daemon
def inventory(directory: str, everything: bool, no_git: bool) -> None:
    """Find the secrets in the .env and compose files of the project in DIR.

    Which variables look like secrets, which were never filled in, what is the same in several
    places, and what git tracks or ever tracked. Values are never shown. It asks no daemon.
    """
    found = take_stock(directory, with_git=not no_git)
    if settings().json:
        show_json(found)
        return
    _show(found, everything)
    for each in found.remarks:
        remark(str(each))
    _tell_next(found)


def take_stock(directory: str, *, with_git: bool = True) -> Inventory:
    """The inventory of this directory. Raises Refused where it can't be read."""
    try:
        os.close(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except NotADirectoryError:
        raise Refused(f"{directory} is no directory; name the one that it is in") from None
    except OSError as error:
        raise Refused(f"can't read {directory}: {error.strerror}") from None
    found = find(directory)
    taken = take(directory, found)
    asked = directory, tuple(taken.files), found.repositories
    record, silent = consult(*asked) if with_git else (None, ())
    return Inventory(
        directory,
        sum_up(taken.mentions),
        tuple(
            File(path, kind, secrets_of(path, taken.mentions), record.of(path) if record else None)
            for path, kind in taken.files.items()
        ),
        tuple(sorted(record.ever - record.tracked - {*taken.files})) if record else (),
        (*found.notes, *taken.notes, *silent),
    )


def _show(found: Inventory, everything: bool) -> None:
    shown = [one for one in found.variables if everything or one.secret]
    if shown:
        table(("VARIABLE", "LOOKS LIKE", "WHERE", "SERVICES", "NOTE"), map(_row, shown))
    if hidden := len(found.variables) - len(shown):
        show(f"{counted(hidden, 'variable')} more don't look like secrets; --all shows them")
    if found.files:
        show("")
        table(("FILE", "SECRETS", "GIT"), map(_file_row, found.files))


def _row(one: Variable) -> tuple[str, ...]:
    return (
        one.name,
        _looks(one),
        ", ".join(f"{place.path}:{place.line}" for place in one.places),
        ", ".join(one.services) or NOTHING,
        "; ".join(_doubts(one)) or NOTHING,
    )


def _looks(one: Variable) -> str:
    if one.placeholder:
        return "a placeholder"
    return "a secret" if one.secret else "plain"


def _doubts(one: Variable) -> Iterator[str]:
    """What a person should know beside its name."""
    if one.placeholder:
        yield one.placeholder
    elif one.secret and one.secret != "its name":
        yield one.secret
    if one.differs:
        yield "has different values"
    if one.same_as:
        yield f"the same value as {', '.join(one.same_as)}"


def _file_row(file: File) -> tuple[str, ...]:
    return file.path, str(len(file.secrets)), file.git or NOTHING


def _tell_next(found: Inventory) -> None:
    """What to do next, in the order in which to do it."""
    holding = [file for file in found.files if file.secrets]
    for file in holding:
        if file.git in ("tracked", "was tracked"):
            remark(
                f"{file.path}: git keeps its secrets in the history; change each of them at the "
                "far end once programs ask the daemon"
            )
        elif file.git == "untracked":
            remark(f"{file.path}: git doesn't ignore it; add it to .gitignore")
    for path in found.gone:
        remark(f"{path}: it isn't there any more, and git's history still says what it said")
    if holding:
        remark("next, file by file, and then without --dry-run:")
        show_typed(*(command for file in holding for command in _commands(found, file)))
    else:
        remark("nothing here looks like a secret that somebody filled in")


def _commands(found: Inventory, file: File) -> Iterator[str]:
    """What moves the secrets of this file in."""
    place = os.path.normpath(os.path.join(found.directory, file.path))
    path = shlex.quote(f"./{place}" if place.startswith("-") else place)  # it is no option
    if file.kind == "env":
        only = " ".join(f"--only {name}" for name in file.secrets)
        yield f"jarvis-secrets import {path} {only} --dry-run"
        return
    for name in file.secrets:
        called = suggest_name(name) or "NAME"
        yield f"jarvis-secrets put {called}" + (f" --file {path}" if file.kind == "secret" else "")


COMMANDS = (inventory,)
