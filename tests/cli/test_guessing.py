"""Guessing what was meant: a hint where a word is near, none where it isn't."""

from __future__ import annotations

import pytest

from jarvis_secretsd.cli.guessing import guess
from tests.cli.conftest import Tool
from tests.client.fake_daemon import FakeDaemon


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("lsit", "; did you mean 'list'?"),
        ("del", "; did you mean 'delete'?"),
        ("frobnicate", ""),
        ("", ""),
    ],
)
def test_only_what_is_near_is_meant(typed: str, hint: str) -> None:
    """A slip of the pen is near to what was meant; another word isn't."""
    assert guess(typed, iter(["list", "delete", "rotate"])) == hint


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "db/mian"),
        ("export", "--as", "X=db/mian"),
        ("run", "--only", "db/mian", "--", "true"),
    ],
)
def test_a_name_that_finds_nothing_gets_the_near_one(
    fake: FakeDaemon, tool: Tool, arguments: tuple[str, ...]
) -> None:
    """Whoever names a secret that isn't there is told the one that may have been meant."""
    fake.hold(**{"db/main": "x"})
    outcome = tool(*arguments)
    assert (outcome.status, outcome.out) == (3, b"")
    assert outcome.err.endswith("; did you mean 'db/main'?\n")
