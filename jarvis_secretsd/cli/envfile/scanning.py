"""Going through a file once, from assignment to assignment."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from jarvis_secretsd.cli.envfile.words import Fault, Remark, Setting

REST = re.compile(r"(?P<text>[^\n]*)(?:\n|\Z)")
"""What is left of a line."""

BODY = {
    '"': re.compile(r'"(?P<text>(?:[^"\\]++|\\.)*+)"', re.DOTALL),
    "'": re.compile(r"'(?P<text>[^']*+)'"),
}
"""A quoted text by its quote. Only in double quotes does a backslash keep a quote from closing."""

_ODD_SPACE = re.compile(r"\A[^\S \t]|[^\S \t](?:#|\Z)")
_IGNORED = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_NAME = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_]\w*)")
_CLOSING = re.compile(r"(?P<comment>[ \t]*(?:#[^\n]*)?)(?:\n|\Z)")
# Not the last line of base64, whose `=` ends it.
_SWALLOWED = re.compile(r"\n[ \t]*(?:export[ \t]+)?[A-Za-z_]\w*=(?!=*(?:\n|\Z))")


class Cursor:
    """A place in a text, and the number of its line."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.place = 0
        self.line = 1

    @property
    def at_end(self) -> bool:
        """Whether all of the text was taken."""
        return self.place >= len(self._text)

    def peek(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """What the pattern finds here, without taking it."""
        return pattern.match(self._text, self.place)

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Go past what the pattern finds here, if it finds anything."""
        match = self.peek(pattern)
        if match is not None:
            self.place = match.end()
            self.line += match[0].count("\n")
        return match

    def skip_line(self, start: int) -> None:
        """To the next line, unless what was taken since `start` ended with its line's end."""
        if self.place == start or self._text[self.place - 1] != "\n":
            self.take(REST)


Statement = Callable[[Cursor, Mapping[str, str]], Iterator[Setting]]
"""Takes one statement from the cursor, given what was set before it. Raises Fault."""


def scan(text: str, statement: Statement) -> Iterator[Setting | Remark]:
    """Every assignment of the text, and a remark for each statement that can't be read."""
    cursor = Cursor(text)
    known: dict[str, str] = {}
    while not cursor.at_end:
        if cursor.take(_IGNORED):
            continue
        start, line, named = cursor.place, cursor.line, cursor.peek(_NAME)
        try:
            for found in statement(cursor, known):
                known[found.variable] = found.text
                yield found
        except Fault as fault:
            yield Remark(line, str(fault))
            cursor.skip_line(start)
            if named:  # so that what refers to it isn't at fault as well
                known.setdefault(named[1], "")


def quoted(cursor: Cursor, body: re.Pattern[str], doubts: list[str]) -> str:
    """Take a quoted text that is the whole value, and the rest of its line. Raises Fault."""
    opened = cursor.line
    found = cursor.take(body)
    if found is None:
        raise Fault("the quote opened here is never closed")
    after = cursor.take(_CLOSING)
    if after is None:
        where = "" if cursor.line == opened else f" on line {cursor.line}"
        raise Fault(f"text follows the closing {found[0][0]}{where}; quote the value as a whole")
    if after["comment"].startswith("#"):
        doubts.append("the '#' right after the quote was read as a comment's start")
    doubts += swallowed(found["text"])
    return found["text"]


def trimmed(text: str) -> str:
    """A bare text without the blanks at its end. Raises Fault where readers differ about more."""
    if _ODD_SPACE.search(text := text.rstrip(" \t")):
        raise Fault("some readers cut off an unusual space at a value's end; quote the value")
    return text


def swallowed(text: str) -> Iterator[str]:
    """The doubt about a quoted text that seems to go on over the next assignments."""
    if _SWALLOWED.search(text):
        yield "its value holds a line like NAME=value; is a quote missing?"
