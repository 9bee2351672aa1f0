"""Complaints about a command line: one line in the program's own words, and where help is."""

from __future__ import annotations

import pytest

from jarvis_secretsd.cli import daemon
from tests.cli.conftest import Tool

COMPLAINTS = {
    "get": "NAME is missing (see `jarvis-secrets get --help`)",
    "run --only x": "COMMAND is missing (see `jarvis-secrets run --help`)",
    "ls --jsno": "there is no option --jsno; did you mean '--json'? (see `jarvis-secrets ls",
    "get p --nonsense": "there is no option --nonsense (see `jarvis-secrets get --help`)",
    "--nonsense": "there is no option --nonsense (see `jarvis-secrets --help`)",
    "put p --generate jwt": "--generate: 'jwt' is not one of 'password', ",
    "can raed p": "PERMISSION: 'raed' is not one of 'read', ",
    "get P": "NAME: not a secret's name: character 1 is 'P'",
    "token crate": "there is no command 'crate'; did you mean 'create'? (see `",
}


@pytest.mark.parametrize("line", COMPLAINTS)
def test_a_usage_error_names_the_word_at_fault(tool: Tool, line: str) -> None:
    """It is told first what is wrong with which word, and then where the right use is explained."""
    outcome = tool(*line.split())
    assert (outcome.status, outcome.out) == (2, b"")
    assert outcome.err.startswith(f"jarvis-secrets: {COMPLAINTS[line]}")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("kye", "there is no command 'kye'; did you mean 'key'? (see `jarvis-secretsd --help`)"),
        (
            "key ad",
            "there is no command 'ad'; did you mean 'add'? (see `jarvis-secretsd key --help`)",
        ),
        ("key add", "KIND is missing (see `jarvis-secretsd key add --help`)"),
        ("key", "Missing command (see `jarvis-secretsd key --help`)"),
    ],
)
def test_the_operators_command_complains_alike(
    capsys: pytest.CaptureFixture[str], line: str, told: str
) -> None:
    """`jarvis-secretsd` uses the same words, and prints no page of help for a slip."""
    assert daemon.run_command(line.split()) == 2
    assert capsys.readouterr() == ("", f"jarvis-secretsd: {told}\n")
