"""Choosing by patterns, written as a policy writes them: `*` is any run of characters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

from jarvis_secretsd.cli.completing import secret_names
from jarvis_secretsd.cli.exits import Exit, Refused
from jarvis_secretsd.cli.guessing import guess
from jarvis_secretsd.domain.policy import Pattern

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T", bound=str)


def selecting_options(command: F) -> F:
    """`--only` and `--skip`: patterns that choose among the secrets that may be read."""
    for name, text in (
        ("--skip", "Not these secrets."),
        ("--only", "These secrets; * is any run."),
    ):
        option = click.option(
            name, multiple=True, metavar="PATTERN", shell_complete=secret_names, help=text
        )
        command = option(command)
    return command


def choose(
    listed: Iterable[T], only: Sequence[str], skip: Sequence[str], *, what: str
) -> tuple[T, ...]:
    """What matches one of `only` (none: everything) and none of `skip`, in its order.

    Raises Refused where a pattern matches no `what` at all: that is a slip of the pen.
    """
    among = tuple(listed)
    for pattern in map(Pattern.of, (*only, *skip)):
        if not any(map(pattern.matches, among)):
            hint = guess(pattern.text, among)
            raise Refused(f"no {what} matches {pattern.text!r}{hint}", Exit.NOT_FOUND)
    return pick(among, only, skip)


def pick(listed: Iterable[T], only: Sequence[str], skip: Sequence[str]) -> tuple[T, ...]:
    """As `choose`, where a pattern may match nothing."""
    wanted, unwanted = tuple(map(Pattern.of, only)), tuple(map(Pattern.of, skip))
    return tuple(
        each
        for each in listed
        if (not wanted or _is_any(wanted, each)) and not _is_any(unwanted, each)
    )


def _is_any(patterns: Sequence[Pattern], text: str) -> bool:
    return any(pattern.matches(text) for pattern in patterns)
