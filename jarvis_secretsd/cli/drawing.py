"""What people see on a terminal, drawn by rich, which is imported only when something is drawn."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from jarvis_secretsd.cli.fitting import broken, cells, window
from jarvis_secretsd.cli.output import BOLD, GAP, NOTHING, has_colour, painted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

Row = Sequence[str]

LEAST_ROOM = 20
"""Characters that the first cell of a row gets at least; with fewer a row becomes a paragraph."""

PATIENCE = 0.5
"""Seconds that a person waits without being told why."""


def draw_table(headings: Row, rows: Sequence[Row]) -> None:
    """The table where it fits, if need be with its first column folded, else a paragraph a row."""
    console = _console(sys.stdout)
    first, *others = (max(map(cells, column)) for column in zip(headings, *rows, strict=True))
    if min(first, LEAST_ROOM) + sum(others) + GAP * len(others) <= console.width:
        _draw_columns(console, headings, rows)
    else:
        for row in rows:
            print(painted(row[0], BOLD, sys.stdout))
            print(*_paragraph(console.width, headings, row), sep="\n")


def _draw_columns(console: Console, headings: Row, rows: Sequence[Row]) -> None:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawn = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for place, heading in enumerate(headings):
        drawn.add_column(heading, overflow="fold", no_wrap=place > 0)
    for row in rows:
        drawn.add_row(*map(Text, row))
    console.print(drawn)


def _paragraph(width: int, headings: Row, row: Row) -> Iterator[str]:
    """The cells below the first one with their headings, as many on a line as fit."""
    line = ""
    for heading, cell in zip(headings[1:], row[1:], strict=True):
        if cell in ("", NOTHING):
            continue
        said = f"  {heading.lower()} {cell}"
        if line and cells(line) + cells(said) > width:
            yield line
            line = ""
        line += said if cells(said) <= width else broken(said, width, "  ", "    ")
    if line:
        yield line


class Bar:
    """A bar on stderr that appears late and leaves nothing behind."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._since = time.monotonic()
        self._drawn: Progress | None = None

    def advance(self, steps: int) -> None:
        """Count so many steps more."""
        self._done += steps
        if self._drawn is None and time.monotonic() - self._since >= PATIENCE:
            self._drawn = self._begin()
        if self._drawn is not None:
            self._drawn.update(self._drawn.task_ids[0], completed=self._done)

    def end(self) -> None:
        """Take it away."""
        if self._drawn is not None:
            self._drawn.stop()

    def _begin(self) -> Progress:
        from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

        drawn = Progress(
            TextColumn("{task.description}"),
            BarColumn(style="dim", complete_style="green", finished_style="green"),
            TextColumn("{task.completed} of {task.total}"),
            console=_console(sys.stderr),
            transient=True,
        )
        drawn.add_task(self._what, total=self._total)
        drawn.start()
        return drawn


def _console(stream: TextIO) -> Console:
    """For the window as it is: by itself rich takes a dumb terminal for one of 80 columns."""
    from rich.console import Console  # noqa: PLC0415

    size = window(stream)
    return Console(
        file=stream,
        width=size.columns,
        height=size.lines,
        highlight=False,
        color_system="auto" if has_colour(stream) else None,
    )
