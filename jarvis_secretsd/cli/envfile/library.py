"""The dialect `dotenv`: what the library python-dotenv makes of the file, by the library itself.

What it would drop without a word, or fill in from the environment, is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import StringIO
from typing import TYPE_CHECKING

from jarvis_secretsd.cli.envfile.references import Pieces, Reference, fill_in, named_in
from jarvis_secretsd.cli.envfile.scanning import swallowed
from jarvis_secretsd.cli.envfile.words import Fault, Remark, Setting

if TYPE_CHECKING:
    from dotenv.parser import Binding

_OTHERWISE = "read the file with the dialect 'literal': python-dotenv has no other way to say '${'"


def settings(text: str) -> Iterator[Setting | Remark]:
    """Every assignment of the text, and a remark for each line that is refused."""
    from dotenv.parser import parse_stream  # noqa: PLC0415  # only this dialect pays for it

    known: dict[str, str] = {}
    for found in parse_stream(StringIO(text)):
        line = _line(found)
        if found.error:
            yield Remark(line, "python-dotenv can't read what starts here, and would drop it")
        elif found.key is not None:
            try:
                setting = _setting(found.key, found.value, line, known)
            except Fault as fault:
                setting = Setting(found.key, "", line)
                yield Remark(line, str(fault))
            else:
                yield setting
            known[setting.variable] = setting.text


def _line(found: Binding) -> int:
    """Where the assignment stands; the library counts the blank lines before it as its own."""
    written = found.original.string
    return found.original.line + written[: len(written) - len(written.lstrip())].count("\n")


def _setting(key: str, value: str | None, line: int, known: Mapping[str, str]) -> Setting:
    if value is None:
        raise Fault("not NAME=value (there is no '=')")
    pieces = _pieces(value)
    doubts = list(swallowed(value))
    for piece in pieces:
        if isinstance(piece, str):
            doubts += named_in(piece, known)
    text = fill_in(pieces, known, otherwise=_OTHERWISE, doubts=doubts)
    return Setting(key, text, line, tuple(doubts))


def _pieces(value: str) -> Pieces:
    from dotenv.variables import Variable, parse_variables  # noqa: PLC0415  # as above

    pieces: list[str | Reference] = []
    for atom in parse_variables(value):
        if not isinstance(atom, Variable):
            pieces.append(atom.resolve({}))  # plain text, whatever the variables are
        elif atom.default is None:
            pieces.append(Reference(atom.name))
        else:
            pieces.append(Reference(atom.name, "-", (atom.default,)))
    return tuple(pieces)
