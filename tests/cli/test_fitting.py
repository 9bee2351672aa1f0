"""Breaking text for a window: every word stays, commands whole, and no line is too wide."""

from __future__ import annotations

import os
import pty
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jarvis_secretsd.cli.fitting import broken, cells, widest, window


@given(st.text("ab長 `"), st.integers(1, 30))
def test_nothing_is_lost_and_lines_fit(text: str, width: int) -> None:
    """The words are those of the text in their order; a line is too wide for one word alone."""
    lines = broken(text, width, "", "  ").split("\n")
    assert " ".join(lines).split() == text.split()
    for line in lines:
        assert cells(line) <= width or widest(line.strip()) == cells(line.strip())


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("say `do it now` (`not at all`).", ["say", "  `do it now`", "  (`not at all`)."]),
        ("no (see `x --help`) y", ["no", "  (see `x --help`)", "  y"]),
        ("no dir; run: mkdir -p /a/b", ["no dir;", "  run:", "  mkdir -p /a/b"]),
        ("run: chmod o+x /a, or leave it", ["run:", "  chmod o+x /a,", "  or leave", "  it"]),
    ],
)  # fmt: skip
def test_what_is_to_be_typed_stays_whole(text: str, lines: list[str]) -> None:
    """A command in backticks or after `run:` is on one line, with what adjoins it."""
    assert broken(text, 10, "", "  ").split("\n") == lines


def test_cells() -> None:
    """Wide characters have two, and what stands above another has none."""
    assert [cells(text) for text in ("abc", "日本", "e\u0301", "")] == [3, 4, 1, 0]


def test_a_window_that_knows_no_size_has_80_columns() -> None:
    """Its size is what the terminal says, unless that is nothing; a file is as wide as none."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        assert window(terminal) == (80, 24)
        termios.tcsetwinsize(ours, (7, 44))
        assert window(terminal) == (44, 7)
    os.close(ours)
    with open(os.devnull) as file:
        assert window(file) == (80, 24)
