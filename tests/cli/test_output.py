"""What people see: tables and messages that fit their window, colours only where wanted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jarvis_secretsd.cli import drawing
from jarvis_secretsd.cli.output import progress
from tests.cli.conftest import Tool
from tests.cli.terminal import on_terminal, spawn
from tests.client.fake_daemon import FakeDaemon

LONG = "integrations/home_assistant/long_lived_token_of_the_kitchen_tablet"
NAMES = ("db/main", LONG, "postgres_password")


@pytest.fixture
def screen(fake: FakeDaemon, socket_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDaemon:
    """A daemon with short and long names, found by every command of the test."""
    monkeypatch.setenv("JARVIS_SECRETS_SOCKET", str(socket_path))
    for variable in ("NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR"):
        monkeypatch.delenv(variable, raising=False)
    fake.hold(**dict.fromkeys(NAMES, "x"))
    return fake


def _plain(shown: bytes) -> list[str]:
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).splitlines()


@pytest.mark.parametrize("columns", [30, 50, 80, 160])
@pytest.mark.usefixtures("screen")
def test_a_table_fits_the_window_and_loses_nothing(columns: int) -> None:
    """No line is wider than the window but for a name on its own, and every name can be read."""
    status, shown = on_terminal("list", columns=columns)
    assert status == 0
    lines = _plain(shown)
    assert all(len(line) <= columns or line in NAMES for line in lines)
    assert "..." not in shown.decode() and "…" not in shown.decode()
    joined = "".join(line.split("  ")[0].strip() for line in lines)
    assert all(name in joined for name in NAMES)
    assert sum("current" in line for line in lines) == len(NAMES)
    assert sum("2026-11-25" in line for line in lines) == len(NAMES)


@pytest.mark.usefixtures("screen")
def test_a_wide_window_has_a_row_for_each_and_a_narrow_one_a_paragraph() -> None:
    """What a heading would say stands beside its cell where there is no room for columns."""
    wide = _plain(on_terminal("list", columns=160)[1])
    assert wide[0].split() == ["NAME", "KIND", "VERSION", "CREATED", "DUE", "STATE"]
    assert len(wide) == 1 + len(NAMES)
    narrow = _plain(on_terminal("list", columns=50)[1])
    assert narrow[:3] == [
        "db/main",
        "  kind static  version 1  created 2026-11-25",
        "  due never  state current",
    ]


@pytest.mark.usefixtures("screen")
def test_a_narrow_window_breaks_between_words_and_never_in_a_command() -> None:
    """A message fits the window, and what it tells to type can be copied as it stands."""
    shown = _plain(on_terminal("get", "none", columns=40)[1])
    assert shown == [
        "jarvis-secrets: no such secret;",
        "  `jarvis-secrets list` shows what you",
        "  may read",
    ]
    rights = _plain(on_terminal("whoami", "--socket", f"/{'long/' * 20}sock", columns=60)[1])
    assert any("`jarvis-secrets help getting-started`" in line for line in rights)
    assert _plain(on_terminal("delete", "db/main", columns=50)[1]) == [
        "deleted db/main; until 2026-12-02T09:41:00Z",
        "  `jarvis-secrets restore db/main` brings it back",
    ]


def test_a_pipe_gets_whole_rows(screen: FakeDaemon, tool: Tool) -> None:
    """However long the names, a row is a line."""
    assert [line.split()[0] for line in tool("list").lines] == ["NAME", *NAMES]


def test_a_paragraph_has_no_word_about_what_is_left_out(screen: FakeDaemon, tmp_path: Path) -> None:
    """A cell that has nothing to say has a line in columns alone; a long one goes on below."""
    file = tmp_path / ".env"
    file.write_text(f"A=1\n{'B' * 30}=2\n")
    options = ("import", str(file), "--dry-run", "--skip", "A")
    assert _plain(on_terminal(*options, columns=30)[1])[:6] == [
        "B" * 30,
        "  secret",
        f"    {'b' * 30}",
        "  length 1 byte",
        "  would be created",
        "A",
    ]
    assert "  would be left out" in _plain(on_terminal(*options, columns=30)[1])
    assert "A                               -" in on_terminal(*options, columns=100)[1].decode()


@pytest.mark.usefixtures("screen")
def test_wide_characters_count_twice(tmp_path: Path) -> None:
    """A message about a file with a name of such characters fits its window too."""
    file = tmp_path / f"{'長' * 12}.env"
    file.write_text("A='x\n")
    lines = _plain(on_terminal("import", file.name, columns=50, directory=tmp_path)[1])
    assert lines[:2] == [
        f"jarvis-secrets: {'長' * 12}.env:1:",
        "  the quote opened here is never closed",
    ]


def test_a_value_can_not_steer_the_terminal(screen: FakeDaemon) -> None:
    """A person sees what a terminal would obey; text with its lines is shown as it is."""
    screen.hold(steers="a\x1b[2J\r\u202eb", text="é 日本\n\tb")
    status, shown = on_terminal("get", "steers", columns=200)
    assert status == 0
    value, remark = shown.decode().splitlines()
    assert value == r"a\x1b[2J\r\u202eb"
    assert remark.startswith("jarvis-secrets: control characters are shown as escapes")
    assert on_terminal("get", "text") == (0, "é 日本\r\n\tb\r\n".encode())
    assert spawn("get", "steers").stdout == "a\x1b[2J\r\u202eb".encode()
    exported = on_terminal("export", "--only", "text")[1].decode()
    assert "\x1b" not in exported and "TEXT='é 日本\r\n\tb'" in exported


@pytest.mark.usefixtures("screen")
def test_a_dumb_terminal_has_a_window_too() -> None:
    """A table fits what a terminal says of itself, whatever it is called."""
    environ = {"TERM": "dumb", "COLUMNS": "200"}
    assert all(
        len(line) <= 50 or line in NAMES
        for line in _plain(on_terminal("list", columns=50, environ=environ)[1])
    )


@pytest.mark.usefixtures("screen")
@pytest.mark.parametrize("columns", [30, 200])
def test_the_last_word_of_a_failure_is_whose_it_is_in_red(columns: int) -> None:
    """However narrow the window: also where the reason begins on the next line."""
    shown = on_terminal("get", "none", "--socket", f"/{'x' * 60}", columns=columns)[1]
    assert shown.startswith(b"\x1b[31mjarvis-secrets:\x1b[0m")
    assert shown.count(b"jarvis-secrets:") == 1


@pytest.mark.usefixtures("screen")
@pytest.mark.parametrize(
    "environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}]
)
def test_who_wants_no_colours_gets_none(environ: dict[str, str]) -> None:
    """NO_COLOR and a dumb terminal have no escape sequences, whatever is drawn or goes wrong."""
    for command in (("list",), ("get", "none")):
        assert b"\x1b" in on_terminal(*command)[1]
        assert b"\x1b" not in on_terminal(*command, environ=environ)[1]


@pytest.mark.usefixtures("screen")
def test_a_pipe_gets_no_colours() -> None:
    """What isn't a terminal is never coloured, not even where colours are forced."""
    for command in (("list",), ("get", "none")):
        done = spawn(*command, environ={"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "TERM": "xterm"})
        assert b"\x1b" not in done.stdout + done.stderr


def test_progress_is_for_who_waits_at_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bar is drawn once it takes long, on a terminal that can redraw, and never on stdout."""

    def drawn(*, tty: bool, patience: float, term: str = "xterm") -> str:
        monkeypatch.setenv("TERM", term)
        monkeypatch.setattr("sys.stderr.isatty", lambda: tty)
        monkeypatch.setattr(drawing, "PATIENCE", patience)
        with progress("Looking", 2) as advance:
            advance(1)
            advance(1)
        out, err = capsys.readouterr()
        assert out == ""
        return err

    assert "Looking" in drawn(tty=True, patience=0)
    assert drawn(tty=True, patience=60) == ""
    assert drawn(tty=False, patience=0) == ""
    assert drawn(tty=True, patience=0, term="dumb") == ""
