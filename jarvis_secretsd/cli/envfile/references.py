"""References to other variables, and what is filled in for them: only what the file itself set."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from msgspec import Struct

from jarvis_secretsd.cli.envfile.words import Fault
from jarvis_secretsd.values import MAX_VALUE_BYTES

MAX_DEPTH = 20
"""References inside the defaults of references; nobody writes three."""

_SHOWABLE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NAMED = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")


class Reference(Struct, frozen=True):
    """`$NAME` or `${NAME OPERATOR OPERAND}`, the operator one of - :- ? :? + :+ or nothing."""

    name: str
    operator: str = ""
    operand: tuple[str | Reference, ...] = ()


Pieces = tuple[str | Reference, ...]
"""A value before its references are filled in."""


def fill_in(pieces: Pieces, known: Mapping[str, str], *, otherwise: str, doubts: list[str]) -> str:
    """The value, by what the file set before. Raises Fault for what it didn't set.

    `otherwise` tells how the dialect writes a dollar that is meant as one.
    """
    return "".join(_filled(pieces, known, otherwise, doubts))


def _filled(
    pieces: Pieces, known: Mapping[str, str], otherwise: str, doubts: list[str]
) -> Iterator[str]:
    room = MAX_VALUE_BYTES
    for piece in pieces:
        if isinstance(piece, str):
            text = piece
        else:
            text = "".join(
                _filled(_chosen(piece, known, otherwise, doubts), known, otherwise, doubts)
            )
        room -= len(text)
        if room < 0:
            raise Fault(f"a value is at most {MAX_VALUE_BYTES:,} bytes")
        yield text


def _chosen(
    wanted: Reference, known: Mapping[str, str], otherwise: str, doubts: list[str]
) -> Pieces:
    value = known.get(wanted.name)
    is_there = bool(value) if ":" in wanted.operator else value is not None
    match wanted.operator[-1:], is_there:
        case "+", True:
            return wanted.operand
        case "+", False:
            doubts.append(f"{_shown(wanted.name)}; nothing was filled in")
            return ()
        case "-", False:
            doubts.append(f"{_shown(wanted.name)}; the default was filled in")
            return wanted.operand
        case _, True:
            return (value or "",)
        case _:
            raise Fault(f"{_shown(wanted.name)}; set it there, or {otherwise}")


def _shown(name: str) -> str:
    what = name if _SHOWABLE.fullmatch(name) else "a variable that it refers to"
    return f"{what} has no value above this line of the file"


def named_in(text: str, names: Collection[str]) -> Iterator[str]:
    """The doubt about a text that was kept although it names variables of the file."""
    found = [name for name in dict.fromkeys(_NAMED.findall(text)) if name in names]
    if found:
        what = f"the variable{'s' if found[1:] else ''} {', '.join(found)}"
        yield f"its value names {what} of this file; it was read as text, nothing was filled in"
