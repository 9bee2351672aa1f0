"""What the tools print: results to stdout, everything about them to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TextIO

import msgspec
from msgspec import Struct

from jarvis_secretsd.messages import Result
from jarvis_secretsd.values import NEVER, SecretValue
from jarvis_secretsd.wire.codec import encode_body

WHO = "jarvis-secrets:"
"""Whose word it is, where several programs share a terminal or a log."""

RED = "31"
BOLD = "1"

GAP = 2
"""Spaces between two columns."""

NOTHING = "-"
"""A cell that has nothing to say; where a row becomes a paragraph, it is left out."""


def show(*lines: str) -> None:
    """Print lines to stdout."""
    for line in lines:
        print(_fitted(line, sys.stdout))


def show_typed(*commands: str) -> None:
    """Print commands that are to be typed, each whole on its line, so that it can be copied."""
    for command in commands:
        print(f"  {printable(command)}")


def show_json(result: Result) -> None:
    """Print the result on one line, as HTTP would give it, with the value that was asked for."""
    print(encode_body(result).decode())


def show_line(record: Struct) -> None:
    """Print a record as JSON, on a line of its own."""
    print(msgspec.json.encode(record).decode())


def remark(text: str, who: str = WHO) -> None:
    """Print a line about what is done to stderr, where no pipe takes it for the result."""
    print(_fitted(f"{who} {text}", sys.stderr), file=sys.stderr)


def complain(text: str, who: str = WHO) -> None:
    """Print why it failed to stderr, as the last line, so that a person sees it at a glance."""
    told = _fitted(f"{who} {text}", sys.stderr).removeprefix(who)
    print(painted(who, RED, sys.stderr) + told, file=sys.stderr)


def release(value: SecretValue) -> None:
    """Write the value to stdout, byte for byte; a terminal gets a line of its own for it."""
    hand_out(value.reveal() + (b"\n" if sys.stdout.isatty() else b""))


def hand_out(data: bytes) -> None:
    """Write these bytes to stdout as they are, but for what would steer a terminal."""
    shown = _escaped(data) if sys.stdout.isatty() else data
    sys.stdout.flush()
    sys.stdout.buffer.write(shown)
    sys.stdout.buffer.flush()
    if shown != data:
        remark("control characters are shown as escapes; a pipe or a file gets them as they are")


def _escaped(data: bytes) -> bytes:
    """The text, and what a terminal wouldn't print as Python writes it: \\x1b, \\r, \\xff."""
    text = data.decode(errors="backslashreplace")
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode()
        for char in text
    ).encode()


def printable(text: str) -> str:
    """The text without what could steer a terminal: it may come from a peer or a file."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _fitted(text: str, stream: TextIO) -> str:
    """What `printable` makes of it; on a terminal broken for its window, with a hanging indent."""
    line = printable(text)
    if not stream.isatty():
        return line
    from jarvis_secretsd.cli.fitting import broken, cells, window  # noqa: PLC0415  # for people

    width = window(stream).columns
    if cells(line) <= width:
        return line
    indent = line[: len(line) - len(line.lstrip())]
    return broken(line, width, indent, f"{indent}  ")


def painted(text: str, style: str, stream: TextIO) -> str:
    """The text in a style (ECMA-48, SGR), where the stream shows colours."""
    return f"\033[{style}m{text}\033[0m" if has_colour(stream) else text


def has_colour(stream: TextIO) -> bool:
    """Colours are for terminals, and not for who says so (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and not _is_dumb()


def _is_dumb() -> bool:
    """The terminal understands nothing but text."""
    return os.environ.get("TERM", "dumb") == "dumb"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under headings: fitted to a terminal, else in columns. Nothing is ever cut."""
    shown = [tuple(map(printable, row)) for row in rows]
    if sys.stdout.isatty():
        from jarvis_secretsd.cli.drawing import draw_table  # noqa: PLC0415  # for people alone

        draw_table(headings, shown)
    else:
        show(*columns([headings, *shown]))


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Gives a function that counts steps up to `total`.

    People see a bar, on the terminal of stderr, once it takes long enough to wonder.
    """
    if not sys.stderr.isatty() or _is_dumb():
        yield lambda _steps: None
        return
    from jarvis_secretsd.cli.drawing import Bar  # noqa: PLC0415  # as above

    bar = Bar(what, total)
    try:
        yield bar.advance
    finally:
        bar.end()


def columns(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """The rows with their cells below one another."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield (" " * GAP).join(cells).rstrip()


def moment(when: datetime) -> str:
    """A time as the daemon writes it (RFC 3339, UTC), to the second; the last one is `never`."""
    return "never" if when == NEVER else f"{when:%Y-%m-%dT%H:%M:%SZ}"


def day(when: datetime) -> str:
    """The day of a time in UTC; the last one is `never`."""
    return "never" if when == NEVER else f"{when:%Y-%m-%d}"


def count_bytes(value: SecretValue) -> str:
    """The length of a value, in words."""
    return counted(len(value), "byte")


def counted(number: int, noun: str) -> str:
    """So many of that, in words."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
