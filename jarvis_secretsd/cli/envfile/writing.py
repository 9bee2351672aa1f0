"""Writing a `.env` file that all readers read alike, as far as there is a form for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from msgspec import Struct

from jarvis_secretsd.cli.envfile.shell import BASH_OWN
from jarvis_secretsd.cli.envfile.words import MAX_FILE_BYTES, VARIABLE
from jarvis_secretsd.errors import InvalidRequest
from jarvis_secretsd.values import SecretValue

_BARE = re.compile(r"[A-Za-z0-9_./:@%+,=-]*")
_NOT_IN_SINGLE = re.compile(r"'|\\\\|\\\Z")
# A '$' that nothing can continue stays alone, since python-dotenv would keep the backslash.
_KEPT_BY_SOME = re.compile(r"`|\$(?![ \t\n/.,:;%+=^&|)\]}~<>\"'\\]|\Z)")
_ESCAPED = re.compile(rf"[\"\\]|{_KEPT_BY_SOME.pattern}")
_BACKSLASHED = r"\\\g<0>"
_NOTE = "# for bash and import: python-dotenv keeps the next value's backslashes before $ and `\n"


class Unfit(Struct, frozen=True):
    """A variable that a `.env` can't hold, and why."""

    variable: str
    reason: str


class Unwritable(InvalidRequest):
    """Something can't be written so that it reads back equal. `unfit` holds every such variable."""

    def __init__(self, unfit: tuple[Unfit, ...]) -> None:
        super().__init__("; ".join(f"{each.variable}: {each.reason}" for each in unfit))
        self.unfit = unfit


def write_envfile(pairs: Iterable[tuple[str, SecretValue]], *, above: str = "") -> str:
    """A line for each pair, from which `literal` and bash read the same values back.

    `above` comes before them. Raises Unwritable, with all that it can't write.
    """
    held = list(pairs)
    unfit = [Unfit(variable, why) for variable, value in held for why in _faults(variable, value)]
    unfit += _repeated([variable for variable, _ in held])
    if unfit:
        raise Unwritable(tuple(unfit))
    text = above + "".join(_lines(variable, value.reveal_text()) for variable, value in held)
    if len(text.encode()) > MAX_FILE_BYTES:
        what = f"with it the file is larger than {MAX_FILE_BYTES:,} bytes, which no import reads"
        raise Unwritable((Unfit(held[-1][0], what),))
    return text


def _lines(variable: str, text: str) -> str:
    """The plainest form that holds the text, after a comment where python-dotenv differs."""
    if _BARE.fullmatch(text):
        return f"{variable}={text}\n"
    if _NOT_IN_SINGLE.search(text) is None:
        return f"{variable}='{text}'\n"
    note = _NOTE if _KEPT_BY_SOME.search(text) else ""
    return f'{note}{variable}="{_ESCAPED.sub(_BACKSLASHED, text)}"\n'


def _faults(variable: str, value: SecretValue) -> Iterator[str]:
    if VARIABLE.fullmatch(variable) is None:
        yield "no variable's name (letters, digits and '_')"
    elif variable in BASH_OWN:
        yield "bash keeps this variable for itself, and would drop the value"
    data = value.reveal()
    if not value.is_text:
        yield "its value is binary, and variables are text"
    elif b"\0" in data:
        yield "its value holds a NUL, which ends a variable"
    elif b"\r" in data:
        yield "its value holds a carriage return, which some readers take for a line's end"


def _repeated(variables: list[str]) -> Iterator[Unfit]:
    seen: set[str] = set()
    for variable in variables:
        if variable in seen:
            yield Unfit(variable, "there are two values for it")
        seen.add(variable)
