"""What the tools print: results to stdout, everything about them to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TextIO

from jarvis_secretsd.messages import Result
from jarvis_secretsd.values import NEVER, SecretValue
from jarvis_secretsd.wire.codec import encode_body

PREFIX = "jarvis-secrets: "
"""Whose word it is, where several programs share a terminal or a log."""

GAP = 2
"""Spaces between two columns."""


def show(*lines: str) -> None:
    """Print lines to stdout."""
    for line in lines:
        print(_fitted(line, sys.stdout))


def show_json(result: Result) -> None:
    """Print the result on one line, as HTTP would give it, with the value that was asked for."""
    print(encode_body(result).decode())


def remark(text: str) -> None:
    """Print a line about what is done to stderr, where no pipe takes it for the result."""
    print(_fitted(PREFIX + text, sys.stderr), file=sys.stderr)


def complain(text: str) -> None:
    """Print why it failed to stderr, as the last line, so that a person sees it at a glance."""
    red, plain = ("\033[31m", "\033[0m") if has_colour(sys.stderr) else ("", "")
    told = _fitted(PREFIX + text, sys.stderr).removeprefix(PREFIX)
    print(f"{red}{PREFIX}{plain}{told}", file=sys.stderr)


def release(value: SecretValue) -> None:
    """Write the value to stdout, byte for byte; a terminal gets a line of its own for it."""
    sys.stdout.flush()
    sys.stdout.buffer.write(value.reveal() + (b"\n" if sys.stdout.isatty() else b""))
    sys.stdout.buffer.flush()


def printable(text: str) -> str:
    """The text without what could steer a terminal: it may come from a peer or a file."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _fitted(text: str, stream: TextIO) -> str:
    """What `printable` makes of it, for a terminal broken between words, but not in a command."""
    line = printable(text)
    if not stream.isatty() or len(line) <= (width := _width(stream)):
        return line
    import re  # noqa: PLC0415  # nothing that a script waits for
    import textwrap  # noqa: PLC0415

    glued = re.sub("`[^`]*`", lambda command: command[0].replace(" ", "\N{NO-BREAK SPACE}"), line)
    broken = textwrap.fill(glued, width, break_long_words=False, break_on_hyphens=False)
    return broken.replace("\N{NO-BREAK SPACE}", " ")


def _width(stream: TextIO) -> int:
    """The columns of a terminal; some don't know, or say 0."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80


def has_colour(stream: TextIO) -> bool:
    """Colours are for terminals, and not for who says so (no-color.org)."""
    return (
        stream.isatty()
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM", "dumb") != "dumb"
    )


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
    if not sys.stderr.isatty():
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
