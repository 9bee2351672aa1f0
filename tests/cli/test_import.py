"""`jarvis-secrets import`: a file is stored whole or not at all, and then compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jarvis_secretsd import messages as m
from jarvis_secretsd.values import SecretValue
from tests.cli.conftest import Tool
from tests.client.fake_daemon import FakeDaemon


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    """A file of three variables."""
    path = tmp_path / ".env"
    path.write_text("# ours\nBRAVE_API_KEY=BSA-1\nexport DB_URL='pg://u:p@h/d'\nEMPTY=\n")
    return path


def test_an_import_says_what_it_did(fake: FakeDaemon, tool: Tool, env_file: Path) -> None:
    """New names are created, others changed, equal ones left without a new version."""
    fake.hold(brave_api_key="BSA-1", db_url="old")
    outcome = tool("import", str(env_file))
    assert outcome.status == 0
    assert outcome.lines == [
        "created empty",
        "changed db_url",
        "unchanged brave_api_key",
        "1 created, 1 changed, 1 unchanged; every value was read back and is the same",
    ]
    assert outcome.err == f"jarvis-secrets: {env_file}:4: EMPTY: its value is empty\n"
    assert fake.secrets["db_url"] == SecretValue(b"pg://u:p@h/d")
    assert fake.versions == {"brave_api_key": 1, "db_url": 2, "empty": 1}


def test_an_import_can_be_repeated(fake: FakeDaemon, tool: Tool, env_file: Path) -> None:
    """The second run finds all as it should be and writes nothing."""
    tool("import", str(env_file))
    again = tool("import", str(env_file), "--json")
    assert json.loads(again.out) == {
        "created": [],
        "changed": [],
        "unchanged": ["brave_api_key", "db_url", "empty"],
    }
    assert set(fake.versions.values()) == {1}


def test_a_file_that_is_not_sure_is_refused_whole(
    fake: FakeDaemon, tool: Tool, env_file: Path
) -> None:
    """Every bad line is named and the daemon isn't even asked."""
    env_file.write_text("GOOD=1\nset -x\nC=1\nC=2\na-b=3\n")
    outcome = tool("import", str(env_file))
    assert (outcome.status, outcome.out) == (1, b"")
    lines = outcome.err.splitlines()
    assert [line.split(": ")[1] for line in lines[:3]] == [f"{env_file}:{n}" for n in (2, 4, 5)]
    assert lines[3] == f"jarvis-secrets: {env_file} was not imported: 3 of its lines are at fault"
    assert not fake.asked


def test_a_dry_run_shows_names_and_lengths(fake: FakeDaemon, tool: Tool, env_file: Path) -> None:
    """What would be stored is shown by name and length, without a value or a daemon."""
    outcome = tool("import", "--dry-run", str(env_file))
    assert outcome.lines == [
        "brave_api_key  5 bytes",
        "db_url         12 bytes",
        "empty          0 bytes",
    ]
    assert "3 would be imported" in outcome.err
    assert not fake.asked


def test_stdin_can_be_the_file(fake: FakeDaemon, tool: Tool) -> None:
    """`import -` reads the file from a pipe."""
    assert tool("import", "-", stdin=b"A=1\n").status == 0
    assert fake.secrets["a"] == SecretValue(b"1")


def test_a_right_that_is_missing_is_noticed_before_the_first_write(
    fake: FakeDaemon, tool: Tool, env_file: Path
) -> None:
    """Where one name may not be written or compared, none is."""
    fake.unwritable = {"empty", "db_url"}
    outcome = tool("import", str(env_file))
    assert outcome.status == 1
    assert "admin has no right to write db_url, empty" in outcome.err
    fake.hold(db_url="x")
    fake.unreadable = {"db_url"}
    outcome = tool("import", str(env_file))
    assert outcome.status == 4
    assert "db_url can't be read to compare it" in outcome.err
    assert not fake.operations(m.Put)


def test_what_changed_meanwhile_is_not_overwritten(
    fake: FakeDaemon, tool: Tool, env_file: Path
) -> None:
    """A name that someone else writes between look and put keeps their value; the rest is told."""

    def someone_writes(request: m.Request) -> m.Reply:
        reply = fake.obey(request.operation)
        fake.hold(db_url="theirs")
        return reply

    fake.answers += [lambda r: fake.obey(r.operation)] * 2 + [someone_writes]
    outcome = tool("import", str(env_file))
    assert outcome.status == 7
    assert "2 of 3 were stored; db_url" in outcome.err
    assert fake.secrets["db_url"] == SecretValue(b"theirs")


def test_what_reads_back_differently_is_a_failure(
    fake: FakeDaemon, tool: Tool, tmp_path: Path
) -> None:
    """An import that can't see its own value again fails and names it."""
    path = tmp_path / "e"
    path.write_text("A=1\n")

    def pretend(request: m.Request) -> m.Reply:
        reply = fake.obey(request.operation)
        fake.hold(a="2")
        return reply

    obey = [lambda r: fake.obey(r.operation)] * 3
    fake.answers += [*obey, pretend]
    outcome = tool("import", str(path))
    assert outcome.status == 1
    assert "not read back the same: a" in outcome.err


def test_a_file_that_cannot_be_read_is_named(tool: Tool, tmp_path: Path) -> None:
    """A missing file and a directory are one line with the system's reason."""
    assert "No such file" in tool("import", str(tmp_path / "none")).err
    assert "Is a directory" in tool("import", str(tmp_path)).err
