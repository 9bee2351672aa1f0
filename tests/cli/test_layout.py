"""The help of every command of both programs, in windows of any width."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest

from jarvis_secretsd.cli import daemon, group, layout

WIDTHS = (44, 60, 78)


def _paths(found: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
    """The words that lead to each command, subcommands too."""
    yield path
    if isinstance(found, click.Group):
        context = click.Context(found)
        for name in found.list_commands(context):
            below = found.get_command(context, name)
            assert below is not None
            yield from _paths(below, *path, name)


EVERY = [
    pytest.param(program, path, id=" ".join((name, *path)))
    for name, program in (("jarvis-secrets", group.cli), ("jarvis-secretsd", daemon.cli))
    for path in _paths(program)
]


def _help(
    program: click.Group, path: tuple[str, ...], width: int, monkeypatch: pytest.MonkeyPatch
) -> str:
    """What `--help` shows in a window of this width."""
    monkeypatch.setattr(layout, "help_width", lambda: width)
    context = program.make_context("program", ["--help"], resilient_parsing=True)
    command: click.Command = program
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(context, name)
        assert found is not None
        command = found
        context = command.make_context(name, [], context, resilient_parsing=True)
    return context.get_help()


@pytest.mark.parametrize(("program", "path"), EVERY)
def test_help_fits_every_window_and_says_the_same(
    program: click.Group, path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No line is too wide, no word is cut, and none is left out."""
    narrow, middle, wide = (_help(program, path, width, monkeypatch) for width in WIDTHS)
    for shown, width in zip((narrow, middle, wide), WIDTHS, strict=True):
        assert all(len(line) <= width for line in shown.splitlines())
        assert re.search(r"[a-z]\.\.\.$", shown, re.MULTILINE) is None
    assert narrow.split() == middle.split() == wide.split()


def test_a_long_term_does_not_push_the_others_aside() -> None:
    """Its text begins below it, in the column of all texts."""
    formatter = layout.Formatter(40)
    formatter.write_dl([("--a", "first"), ("--bcd", "second"), ("--very-long-name X", "third")])
    assert formatter.getvalue().splitlines() == [
        "--a    first",
        "--bcd  second",
        "--very-long-name X",
        "       third",
    ]


def test_a_word_that_has_no_room_beside_its_term_stands_below() -> None:
    """So that a path in a description is whole in a narrow window."""
    formatter = layout.Formatter(20)
    formatter.write_dl([("--abc", "in /some/long/path"), ("--d", "x")])
    assert formatter.getvalue().splitlines() == [
        "--abc",
        "    in",
        "    /some/long/path",
        "--d    x",
    ]
