"""Guessing what a person meant who mistyped a word."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

LIKENESS = 0.65
"""How alike two words must be, from 0 to 1: `del` is like `delete`, `frobnicate` not `rotate`."""


def guess(typed: str, known: Iterable[str]) -> str:
    """A hint at the known word that is most like what was typed; empty where none is like it."""
    near = get_close_matches(typed, [*known], 1, LIKENESS)
    return f"; did you mean {near[0]!r}?" if near else ""
