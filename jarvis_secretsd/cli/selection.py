"""Choosing by patterns, written as a policy writes them: `*` is any run of characters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from jarvis_secretsd.cli.exits import Exit, Refused
from jarvis_secretsd.domain.policy import Pattern

T = TypeVar("T", bound=str)


def choose(
    listed: Iterable[T], only: Sequence[str], skip: Sequence[str], *, what: str
) -> tuple[T, ...]:
    """What matches one of `only` (none: everything) and none of `skip`, in its order.

    Raises Refused where a pattern matches no `what` at all: that is a slip of the pen.
    """
    among = tuple(listed)
    wanted, unwanted = _patterns(only, among, what), _patterns(skip, among, what)
    return tuple(
        each
        for each in among
        if (not wanted or _is_any(wanted, each)) and not _is_any(unwanted, each)
    )


def _patterns(texts: Sequence[str], among: Sequence[str], what: str) -> tuple[Pattern, ...]:
    patterns = tuple(map(Pattern.of, texts))
    for pattern in patterns:
        if not any(map(pattern.matches, among)):
            raise Refused(f"no {what} matches {pattern.text!r}", Exit.NOT_FOUND)
    return patterns


def _is_any(patterns: Sequence[Pattern], text: str) -> bool:
    return any(pattern.matches(text) for pattern in patterns)
