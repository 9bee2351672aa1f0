"""Fitting text to a window: broken between words, and never inside of what is to be typed."""

from __future__ import annotations

import os
import re
from typing import TextIO
from unicodedata import combining, east_asian_width

_ELSEWHERE = os.terminal_size((80, 24))
"""What is taken where there is no window, or none that knows its size."""

_WORD = re.compile(r"(?<=\brun: )[^,;]+[,;]?|(?:`[^`]*`|\(see (?=`)|\S)+")
"""A command, in backticks or after `run:`, is a word, with what adjoins it."""


def window(stream: TextIO) -> os.terminal_size:
    """The columns and lines of the terminal that the stream leads to."""
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return _ELSEWHERE
    return size if all(size) else _ELSEWHERE


def cells(text: str) -> int:
    """The columns that a terminal gives the text: two for a wide character (UAX #11)."""
    if text.isascii():
        return len(text)
    return sum(
        0 if combining(char) else 2 if east_asian_width(char) in ("W", "F") else 1 for char in text
    )


def widest(text: str) -> int:
    """The columns of its widest word."""
    return max(map(cells, _WORD.findall(text)), default=0)


def broken(text: str, width: int, first: str = "", rest: str = "") -> str:
    """The text on lines of this width that begin with `first`, and the others with `rest`.

    A word that is wider has a line of its own, which the terminal breaks: so it can be copied.
    """
    lines, line, gap = [], first, ""
    for word in _WORD.findall(text):
        if gap and cells(line) + len(gap) + cells(word) > width:
            lines.append(line)
            line, gap = rest, ""
        line += gap + word
        gap = " "
    return "\n".join([*lines, line])
