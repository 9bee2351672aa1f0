"""What several `.env` files say together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from jarvis_secretsd.cli.envfile import (
    MAX_FILE_BYTES,
    Assignment,
    Dialect,
    EnvfileRefused,
    Reading,
    Remark,
    placeholder,
    read_envfile,
)
from jarvis_secretsd.cli.faults import Faulty
from jarvis_secretsd.cli.intake import read_file
from jarvis_secretsd.cli.selection import choose
from jarvis_secretsd.values import SecretValue


class Line(Struct, frozen=True):
    """An assignment, its place as `FILE:LINE`, and whether somebody filled its value in."""

    variable: str
    value: SecretValue
    place: str
    is_filled: bool


class Note(Struct, frozen=True):
    """What a person should look at, and where."""

    place: str
    text: str


class Entry(Struct, frozen=True):
    """A variable, its value, and every place that says so."""

    variable: str
    value: SecretValue
    places: tuple[str, ...]


def read_files(paths: Sequence[str], dialect: Dialect) -> tuple[tuple[Line, ...], tuple[Note, ...]]:
    """Every assignment of the files in order, and what their reader remarks; a file counts once.

    Raises Faulty with every line of every file that can't be read surely, and Refused for a file
    that can't be opened.
    """
    lines: list[Line] = []
    notes: list[Note] = []
    faults: list[str] = []
    for path in _distinct(paths):
        name = "stdin" if path == "-" else path
        try:
            reading = read_envfile(read_file(path, MAX_FILE_BYTES), dialect)
        except EnvfileRefused as refused:
            faults += (f"{_place(name, found)}: {found.text}" for found in refused.problems)
            continue
        lines += _lines(name, reading)
        notes += _notes(name, reading)
    if faults:
        count = "1 line is" if len(faults) == 1 else f"{len(faults)} lines are"
        raise Faulty(faults, f"nothing was imported: {count} at fault")
    return tuple(lines), tuple(notes)


def choose_lines(
    lines: Sequence[Line], only: Sequence[str], skip: Sequence[str]
) -> tuple[Line, ...]:
    """The lines of those variables that the patterns choose. Raises Refused (`selection`)."""
    variables = dict.fromkeys(line.variable for line in lines)
    chosen = frozenset(choose(variables, only, skip, what="variable"))
    return tuple(line for line in lines if line.variable in chosen)


def merge(lines: Sequence[Line]) -> tuple[Entry, ...]:
    """Each variable once. Raises Faulty where two places give one variable two values."""
    entries: dict[str, Entry] = {}
    faults = []
    for line in lines:
        known = entries.get(line.variable, Entry(line.variable, line.value, ()))
        if known.value != line.value:
            faults.append(f"{line.place}: {line.variable} has another value at {known.places[0]}")
        entries[line.variable] = Entry(line.variable, known.value, (*known.places, line.place))
    if faults:
        raise Faulty(
            faults,
            "nothing was imported: the files contradict each other; import each with a --prefix "
            "of its own, or leave the variable out with --skip",
        )
    return tuple(entries.values())


def _distinct(paths: Sequence[str]) -> Iterable[str]:
    """The paths without those that are an earlier one's file again."""
    first: dict[str, str] = {}
    for path in paths:
        first.setdefault("-" if path == "-" else os.path.realpath(path), path)
    return first.values()


def _lines(name: str, reading: Reading) -> Iterator[Line]:
    for found in reading.assignments:
        is_filled = placeholder(found.value) is None
        yield Line(found.variable, found.value, _place(name, found), is_filled)


def _notes(name: str, reading: Reading) -> Iterator[Note]:
    """What the reader says and what nobody seems to have filled in, by line."""
    unfilled = [
        Remark(found.line, f"{found.variable}: {why}")
        for found in reading.assignments
        if (why := _unfilled(found.value))
    ]
    for found in sorted([*reading.warnings, *unfilled], key=lambda found: found.line):
        yield Note(_place(name, found), found.text)


def _unfilled(value: SecretValue) -> str | None:
    if not len(value):
        return "its value is empty"
    reason = placeholder(value)
    return reason and f"its value looks like a placeholder: {reason}"


def _place(name: str, found: Assignment | Remark) -> str:
    return f"{name}:{found.line}"
