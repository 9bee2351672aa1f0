"""`jarvis-secrets edit`: a value goes through an editor, and nothing of it is left or lost."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jarvis_secretsd import messages as m
from jarvis_secretsd.cli import editor
from jarvis_secretsd.values import SecretName, SecretValue
from tests.cli.conftest import Tool
from tests.cli.terminal import PROGRAM
from tests.client.fake_daemon import FakeDaemon

Editor = Callable[[str], None]


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory that the file of an edit lies below."""
    directory = tmp_path / "memory"
    directory.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    return directory


@pytest.fixture
def edit_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: Path) -> Editor:
    """Makes a shell script the editor; `$1` is the file."""
    monkeypatch.delenv("VISUAL", raising=False)

    def use(script: str) -> None:
        program = tmp_path / "editor"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("EDITOR", str(program))

    return use


def test_what_is_saved_is_stored_over_what_was_seen(
    fake: FakeDaemon, tool: Tool, edit_with: Editor, memory: Path
) -> None:
    """The put expects the version that the editor showed, and the file is gone."""
    fake.hold(**{"db/main.pem": "old\nlines\n"})
    edit_with('sed -i s/old/new/ "$1"; touch "$1.swp" "$1~"')
    outcome = tool("edit", "db/main.pem")
    assert outcome.lines == ["stored db/main.pem: 10 bytes, version 2, kid 0000000000000002"]
    assert fake.operations(m.Put) == [
        m.Put(SecretName("db/main.pem"), "new\nlines\n", expect_kid="0000000000000001")
    ]
    assert not [*memory.iterdir()]


def test_the_file_is_for_the_caller_alone(
    fake: FakeDaemon, tool: Tool, edit_with: Editor, tmp_path: Path, memory: Path
) -> None:
    """File and directory have no bits for others, and lie in memory under the secret's own name."""
    fake.hold(**{"db/main.pem": "x"})
    edit_with(f'stat -c "%a %n" "$1" "${{1%/*}}" >{tmp_path}/seen')
    tool("edit", "db/main.pem")
    file, directory = (tmp_path / "seen").read_text().splitlines()
    assert file.startswith(f"600 {memory}/jarvis-edit-")
    assert file.endswith("/main.pem")
    assert directory.startswith("700 ")


@pytest.mark.parametrize(
    ("held", "saved", "stored", "told"),
    [
        ("old", r"new\n", "new", "3 bytes without the editor's final newline,"),
        ("old", r"new\n\n", "new\n", "without the editor's final newline,"),
        ("old", "new", "new", "3 bytes,"),
        (r"old", r"n\r\n", "n\r", "2 bytes without"),
        ("old\n", r"new\n", "new\n", "4 bytes,"),
        ("old\n", "new", "new", "3 bytes,"),
        ("", r"new\n", "new", "3 bytes without"),
    ],
)
def test_a_newline_that_the_editor_added_is_no_part_of_the_value(
    fake: FakeDaemon, tool: Tool, edit_with: Editor, held: str, saved: str, stored: str, told: str
) -> None:
    """Where the value had no final newline, the one of the editor is dropped, and that is told."""
    fake.hold(p=held)
    edit_with(f'printf "{saved}" >"$1"')
    assert told in tool("edit", "p").lines[0]
    assert fake.secrets["p"] == SecretValue.from_text(stored)


@pytest.mark.parametrize("script", [":", 'echo >>"$1"', 'cp "$1" "$1.new"; mv "$1.new" "$1"'])
def test_what_is_the_same_makes_no_version(
    fake: FakeDaemon, tool: Tool, edit_with: Editor, script: str
) -> None:
    """An editor that is left without a change, or only ends the last line, stores nothing."""
    fake.hold(p="s3cret")
    edit_with(script)
    outcome = tool("edit", "p")
    assert (outcome.status, outcome.out) == (0, b"")
    assert outcome.err.startswith("jarvis-secrets: p is unchanged; nothing was stored")
    assert not fake.operations(m.Put)


@pytest.mark.parametrize(("seconds", "told"), [(0.0, True), (1.2, False)])
def test_an_editor_that_does_not_wait_gets_a_hint(
    fake: FakeDaemon, tool: Tool, edit_with: Editor, seconds: float, told: bool
) -> None:
    """Who is back at once and changed nothing has probably left a window open elsewhere."""
    fake.hold(p="s3cret")
    edit_with(f"sleep {seconds}")
    assert ("`code --wait`" in tool("edit", "p").err) is told


def test_a_right_that_is_missing_is_told_before_the_work(
    fake: FakeDaemon, tool: Tool, edit_with: Editor, memory: Path, tmp_path: Path
) -> None:
    """Who may not write a name doesn't get to edit it."""
    fake.hold(p="s3cret")
    fake.unwritable.add("p")
    edit_with(f"touch {tmp_path}/ran")
    outcome = tool("edit", "p")
    assert outcome.status == 4
    assert "you have no right to write p;" in outcome.err
    assert not (tmp_path / "ran").exists()
    assert not [*memory.iterdir()]


def test_a_new_name_starts_empty(fake: FakeDaemon, tool: Tool, edit_with: Editor) -> None:
    """What isn't there yet is created, and only if nobody else did meanwhile."""
    edit_with('test ! -s "$1" && echo fresh >"$1"')
    assert tool("edit", "p").status == 0
    assert fake.operations(m.Put) == [m.Put(SecretName("p"), "fresh", expect_kid="")]


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo new >$1; exit 3", "editor ended with status 3; nothing was stored"),
        ("echo new >$1; kill -9 $$", "editor ended with signal 9; nothing was stored"),
        (": >$1", "saved an empty file; nothing was stored"),
        ("rm $1", "can't read"),
        ("rm -r ${1%/*}", "can't read"),
        ("rm $1; mkdir $1", "Is a directory"),
    ],
)
def test_an_editor_that_fails_stores_nothing(
    fake: FakeDaemon, tool: Tool, edit_with: Editor, memory: Path, script: str, told: str
) -> None:
    """Whatever lies in the file then, the value stays as it is, and the file goes."""
    fake.hold(p="s3cret")
    edit_with(script)
    outcome = tool("edit", "p")
    assert outcome.status == 1
    assert told in outcome.err
    assert not fake.operations(m.Put)
    assert not [*memory.iterdir()]


@pytest.mark.parametrize("said", ["/none/such", "'", "  "])
def test_an_editor_that_is_none_is_told(
    fake: FakeDaemon, tool: Tool, memory: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    """What VISUAL says goes before EDITOR, and is named where it can't be run."""
    fake.hold(p="s3cret")
    monkeypatch.setenv("EDITOR", "true")
    monkeypatch.setenv("VISUAL", said)
    outcome = tool("edit", "p")
    assert outcome.status == 1
    assert said in outcome.err
    assert outcome.err.count("\n") == 1


def test_an_editor_may_have_arguments(
    fake: FakeDaemon, tool: Tool, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`code --wait` and its like are commands as a shell would read them."""
    fake.hold(p="s3cret")
    monkeypatch.setenv("VISUAL", """sed -i -e 's/3/ee ee/'""")
    assert tool("edit", "p").status == 0
    assert fake.secrets["p"] == SecretValue(b"see eecret")


@pytest.mark.parametrize(
    "value", [SecretValue(b"\xff", is_text=False), SecretValue(b"a\0b", is_text=True)]
)
def test_bytes_are_not_for_editors(
    fake: FakeDaemon, tool: Tool, edit_with: Editor, value: SecretValue
) -> None:
    """What an editor could spoil is refused with the commands that do it."""
    fake.store("p", value)
    edit_with("echo new >$1")
    outcome = tool("edit", "p")
    assert outcome.status == 1
    assert "`get p > FILE`" in outcome.err
    assert "`put p --file FILE`" in outcome.err


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (m.Failure("conflict", "not the version"), 7),
        (m.Failure("denied", "the policy does not allow this"), 4),
        (None, 5),
    ],
)
def test_nobodys_work_is_lost(
    fake: FakeDaemon,
    tool: Tool,
    edit_with: Editor,
    memory: Path,
    failure: m.Failure | None,
    status: int,
) -> None:
    """What can't be stored is kept for the caller alone, and the message says where."""
    fake.hold(p="s3cret")
    fake.answers += [*[lambda request: fake.obey(request.operation)] * 3, lambda _: failure]
    edit_with("echo my work >$1")
    outcome = tool("edit", "p")
    assert outcome.status == status
    assert fake.secrets["p"] == SecretValue(b"s3cret")
    (kept,) = memory.glob("*/p")
    assert f"your text is kept in {kept};" in outcome.err
    assert kept.read_text() == "my work\n"
    assert (kept.stat().st_mode & 0o077, kept.parent.stat().st_mode & 0o077) == (0, 0)


@pytest.mark.parametrize(
    ("saved", "told"),
    [
        (r"gr\374n", "not text in UTF-8"),
        (r"u\0t\0f\0", "not text in UTF-8"),
        (r"%0300000d", "at most 262,144 bytes"),
        (r"%0600000d", "larger than 524,288 bytes"),
    ],
)
def test_what_cannot_be_stored_is_kept(
    fake: FakeDaemon, tool: Tool, edit_with: Editor, memory: Path, saved: str, told: str
) -> None:
    """An editor that saves in another encoding, or too much, stores nothing, and loses nothing."""
    fake.hold(p="s3cret")
    edit_with(f'printf "{saved}" >"$1"')
    outcome = tool("edit", "p")
    assert outcome.status in {1, 2}
    assert told in outcome.err
    (kept,) = memory.glob("*/p")
    assert kept.stat().st_size > 3
    assert fake.secrets["p"] == SecretValue(b"s3cret")


def test_without_memory_nothing_is_written(
    fake: FakeDaemon, tool: Tool, edit_with: Editor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no file system in memory, no disk gets the value instead."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/none/such")
    monkeypatch.setattr(editor, "IN_MEMORY", "/none/other")
    edit_with(f"touch {tmp_path}/ran")
    outcome = tool("edit", "p")
    assert outcome.status == 1
    assert "use `put`" in outcome.err
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.usefixtures("edit_with")
def test_a_signal_leaves_nothing_behind(
    fake: FakeDaemon,
    socket_path: Path,
    edit_with: Editor,
    memory: Path,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    """Who ends us ends the editor too, the file is gone, and we die of that signal."""
    fake.hold(p="s3cret")
    edit_with(
        f'echo half >"$1"; echo $$ >{tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; exec sleep 60'
    )
    process = subprocess.Popen(
        [*PROGRAM, "--socket", str(socket_path), "edit", "p"], stderr=subprocess.PIPE
    )
    while not (tmp_path / "pid").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, told = process.communicate(timeout=20)
    assert process.returncode == -number
    assert told == b""
    assert not [*memory.iterdir()]
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
    assert fake.secrets["p"] == SecretValue(b"s3cret")


def test_keys_that_interrupt_are_the_editors(
    fake: FakeDaemon, tool: Tool, edit_with: Editor
) -> None:
    """Ctrl-C in the editor is for the editor to understand; we wait for what it makes of it."""
    fake.hold(p="s3cret")
    edit_with("trap 'echo interrupted >$1' INT; kill -INT $$; kill -INT $PPID; sleep 0.1")
    assert tool("edit", "p").status == 0
    assert fake.secrets["p"] == SecretValue(b"interrupted")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
