"""Reading a file whole, in a dialect, or refusing it with every line that is at fault."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from jarvis_secretsd.cli.envfile import compose, library, literal, shell
from jarvis_secretsd.cli.envfile.decoding import decode
from jarvis_secretsd.cli.envfile.words import (
    VARIABLE,
    Assignment,
    Dialect,
    EnvfileRefused,
    Reading,
    Remark,
    Setting,
)
from jarvis_secretsd.values import SecretValue

MAX_SHOWN_NAME = 64
"""A longer "name" on a bad line is likelier a piece of a value, and isn't shown."""

_SHOWABLE = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_SHOWN_NAME}}}")

_SETTINGS: dict[Dialect, Callable[[str], Iterator[Setting | Remark]]] = {
    Dialect.LITERAL: literal.settings,
    Dialect.COMPOSE: compose.settings,
    Dialect.SHELL: shell.settings,
    Dialect.DOTENV: library.settings,
}

_LINE_ENDS = {
    Dialect.SHELL: "Windows line ends were read as plain ones; bash would keep the CR as text",
    Dialect.COMPOSE: "Windows line ends were read as plain ones; Compose keeps the CR in quotes",
}


def read_envfile(data: bytes, dialect: Dialect = Dialect.LITERAL) -> Reading:
    """What the file says to the dialect's program. Raises EnvfileRefused with every fault found."""
    found = list(_SETTINGS[dialect](decode(data)))
    problems = [each for each in found if isinstance(each, Remark)]
    assignments: list[Assignment] = []
    warnings = list(_line_ends(data, dialect))
    for each in found:
        if isinstance(each, Setting):
            assignment = _assignment(each)
            if isinstance(assignment, Remark):
                problems.append(assignment)
            else:
                assignments.append(assignment)
                warnings += _warnings(each)
    problems += _repeated(assignments)
    if problems:
        raise EnvfileRefused(_sorted(problems))
    return Reading(tuple(assignments), _sorted(warnings))


def _sorted(remarks: Sequence[Remark]) -> tuple[Remark, ...]:
    return tuple(sorted(remarks, key=lambda found: found.line))


def _assignment(found: Setting) -> Assignment | Remark:
    if VARIABLE.fullmatch(found.variable) is None:
        return Remark(found.line, _explain_variable(found.variable))
    try:
        return Assignment(found.variable, SecretValue.from_text(found.text), found.line)
    except ValueError as error:
        return Remark(found.line, str(error))


def _explain_variable(variable: str) -> str:
    if not variable:
        return "there is no name before '='"
    if _SHOWABLE.fullmatch(variable) is None:
        return "what stands before '=' is no variable's name (letters, digits and '_')"
    guess = re.sub(r"[^A-Za-z0-9_]", "_", variable)
    guess = f"_{guess}" if guess[0].isdigit() else guess
    return f"{variable!r} is no variable's name (letters, digits and '_'); did you mean {guess!r}?"


def _warnings(found: Setting) -> Iterator[Remark]:
    for doubt in dict.fromkeys(found.doubts):
        yield Remark(found.line, f"{found.variable}: {doubt}")


def _repeated(assignments: Sequence[Assignment]) -> Iterator[Remark]:
    first: dict[str, Assignment] = {}
    for found in assignments:
        earlier = first.setdefault(found.variable, found)
        if earlier is not found:
            text = f"{found.variable} was already set on line {earlier.line}; keep one of the two"
            yield Remark(found.line, text)


def _line_ends(data: bytes, dialect: Dialect) -> Iterator[Remark]:
    at = data.find(b"\r\n")
    if at >= 0 and dialect in _LINE_ENDS:
        yield Remark(data.count(b"\n", 0, at) + 1, _LINE_ENDS[dialect])
