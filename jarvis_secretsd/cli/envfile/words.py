"""The words of this package: dialects, what a file was read as, and what is wrong with it."""

from __future__ import annotations

import re
from enum import StrEnum

from msgspec import Struct

from jarvis_secretsd.errors import InvalidRequest
from jarvis_secretsd.values import SecretValue

MAX_FILE_BYTES = 4 * 1024 * 1024
"""Sixteen of the largest values; no `.env` that people write comes near."""

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""What every reader and every shell takes for a variable's name."""


class Dialect(StrEnum):
    """Whose reading of the file is meant."""

    LITERAL = "literal"
    """What all readers agree on; nothing is filled in."""
    COMPOSE = "compose"
    """Docker Compose v2, for `.env` and `env_file:`."""
    SHELL = "shell"
    """bash, as `set -a; . FILE`."""
    DOTENV = "dotenv"
    """The library python-dotenv."""


class Remark(Struct, frozen=True):
    """What is to be said about a line, counted from 1 as an editor does."""

    line: int
    text: str


class Setting(Struct, frozen=True):
    """What a dialect makes of one assignment, and where its writer may have meant another thing."""

    variable: str
    text: str
    line: int
    doubts: tuple[str, ...] = ()


class Assignment(Struct, frozen=True):
    """One variable of the file and its value."""

    variable: str
    value: SecretValue
    line: int


class Reading(Struct, frozen=True):
    """A file that was read surely: the assignments in order, and what a person should look at."""

    assignments: tuple[Assignment, ...]
    warnings: tuple[Remark, ...]


class EnvfileRefused(InvalidRequest):
    """The file can't be read surely. `problems` holds every line that is at fault."""

    def __init__(self, problems: tuple[Remark, ...]) -> None:
        super().__init__("; ".join(f"line {found.line}: {found.text}" for found in problems))
        self.problems = problems


class Fault(Exception):
    """Why one assignment can't be read; the file's other lines still can be looked at."""
