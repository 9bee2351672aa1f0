"""How a command is found: by its name, by a short one, nearly; and nothing is loaded in vain."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jarvis_secretsd import __version__
from jarvis_secretsd.cli.group import ENTRIES, SHORT_NAMES
from tests.cli.conftest import Tool
from tests.cli.terminal import on_terminal
from tests.client.fake_daemon import FakeDaemon


def test_help_has_a_line_for_every_command(tool: Tool) -> None:
    """Each command stands there with what it does, and the short names are told."""
    outcome = tool("--help")
    assert outcome.status == 0
    for name, entry in ENTRIES.items():
        assert f"  {name:10}  {entry.what}" in outcome.lines
    for short, full in SHORT_NAMES.items():
        assert f"{short} is {full}" in outcome.out.decode()
    assert tool("-h") == outcome
    assert tool() == outcome
    assert tool("token").status == 2
    assert "`jarvis-secrets token --help`" in tool("token").err


def test_every_entry_leads_to_its_command() -> None:
    """Where the list says that a command is, one of that name with a help of its own is."""
    for name, entry in ENTRIES.items():
        (command,) = (found for found in entry.room() if found.name == name)
        assert command.help


def test_what_a_command_does_is_whole_in_every_menu() -> None:
    """It fits a line of 60 columns, and fish, which shows nothing behind a comma, shows it too."""
    for entry in ENTRIES.values():
        assert len(entry.what) <= 46
        assert "," not in entry.what


def test_a_narrow_window_shows_each_line_whole() -> None:
    """At 60 columns no command's line is cut or broken."""
    status, shown = on_terminal("--help", columns=60, lines=100)
    assert status == 0
    lines = shown.decode().splitlines()
    assert {f"  {name:10}  {entry.what}" for name, entry in ENTRIES.items()} <= {*lines}
    assert all(len(line) <= 60 and "..." not in line.replace("[ARGS]...", "") for line in lines)


def test_short_names_are_the_commands_themselves(fake: FakeDaemon, tool: Tool) -> None:
    """`ls`, `rm` and `set` do what their full names do."""
    assert tool("set", "p", stdin=b"x").status == 0
    assert tool("ls") == tool("list")
    assert tool("rm", "p").status == 0
    assert not fake.secrets


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lst", "list"),
        ("improt", "import"),
        ("satus", "status"),
        ("del", "delete"),
        ("frobnicate", None),
        ("xyzzy", None),
    ],
)
def test_a_slip_of_the_pen_gets_the_nearest_name(tool: Tool, typed: str, meant: str | None) -> None:
    """An unknown command is a usage error that says which one was probably meant."""
    outcome = tool(typed)
    assert (outcome.status, outcome.out) == (2, b"")
    assert f"there is no command {typed!r}" in outcome.err
    assert ("did you mean" in outcome.err) == (meant is not None)
    assert meant is None or f"did you mean {meant!r}?" in outcome.err


def test_version(tool: Tool) -> None:
    """--version names the program and its version."""
    assert tool("--version").lines == [f"jarvis-secrets, version {__version__}"]


@pytest.mark.parametrize(
    ("command", "unloaded"),
    [
        ("get p", ["click", "rich", "subprocess"]),
        ("get p --json", ["rich", "jarvis_secretsd.cli.transfer", "jarvis_secretsd.cli.launch"]),
        ("list", ["rich", "jarvis_secretsd.cli.transfer", "jarvis_secretsd.cli.launch"]),
    ],
)
def test_a_command_loads_what_it_needs(
    fake: FakeDaemon,
    socket_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    unloaded: list[str],
) -> None:
    """Scripts ask for values by the hundred: what other commands need isn't imported."""
    monkeypatch.setenv("JARVIS_SECRETS_SOCKET", str(socket_path))
    fake.hold(p="s3cret")
    program = (
        "import sys; from jarvis_secretsd.cli.user import run_command;"
        "status = run_command(sys.argv[1:]);"
        "print(*sys.modules, file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *command.split()],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "s3cret" in done.stdout or command == "list"
    assert not set(unloaded) & set(done.stderr.split())
