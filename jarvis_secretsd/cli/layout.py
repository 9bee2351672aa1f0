"""How help looks: it fits its window, however narrow; click takes each for 50 columns at least."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from jarvis_secretsd.cli.fitting import broken, widest, window

MAX_WIDTH = 78
"""Characters of a line of prose: longer ones are hard to read, however wide the window."""

BELOW = 4
"""Spaces before a text that has no room but below its term."""

WHOLE = 1000
"""Characters of a command's description, which no list cuts."""


def help_width() -> int:
    """The characters of a line of help, in the window of stdout."""
    return min(window(sys.stdout).columns, MAX_WIDTH)


class Formatter(click.HelpFormatter):
    """Breaks between words; a term that is long beside the others has a line of its own."""

    def __init__(self, width: int) -> None:
        super().__init__(width=width)

    def write_text(self, text: str) -> None:
        """Paragraphs at the indent; those that click marks with a \\b keep their lines."""
        indent = " " * self.current_indent
        paragraphs = []
        for paragraph in text.split("\n\n"):
            lines = paragraph.strip("\n").split("\n")
            kept = lines[1:] if lines[0].strip() == "\b" else [paragraph]
            fitted = (broken(line, self.width, indent, indent) for line in kept)
            paragraphs.append("\n".join(fitted))
        self.write("\n\n".join(paragraphs) + "\n")

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Terms with their texts beside them; below, where most terms or a word are too long."""
        rows = [*rows]
        most = min(col_max, self.width * 3 // 8)
        short = [len(term) for term, _ in rows if len(term) <= most]
        longest = max(short, default=0) if 2 * len(short) >= len(rows) else 0
        indent = " " * self.current_indent
        beside = indent + " " * (longest + col_spacing)
        for term, text in rows:
            has_room = longest and len(beside) + widest(text) <= self.width
            rest = beside if has_room else indent + " " * BELOW
            if has_room and len(term) <= longest:
                begun = (indent + term).ljust(len(rest))
            else:
                self.write(f"{indent}{term}\n")
                begun = rest
            self.write(f"{broken(text, self.width, begun, rest)}\n")


class HelpContext(click.Context):
    """What a command is run in; its help is laid out for the window."""

    def make_formatter(self) -> click.HelpFormatter:
        """One for the window as it is now."""
        return Formatter(help_width())


class FittedGroup(click.Group):
    """Commands whose help, like the group's own, fits the window."""

    context_class = HelpContext

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command of this name."""
        found = super().get_command(context, name)
        return found and in_window(found)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Each with the first sentence of its help, uncut."""
        commands = [(name, self.get_command(context, name)) for name in self.list_commands(context)]
        with formatter.section("Commands"):
            formatter.write_dl([(n, c.get_short_help_str(WHOLE)) for n, c in commands if c])


def in_window(command: click.Command) -> click.Command:
    """The command, with help that fits the window."""
    command.context_class = HelpContext
    return command
