"""`jarvis-secrets export`: a `.env` of what the client may read, whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from jarvis_secretsd import messages as m
from jarvis_secretsd.cli.exporting import HEADER
from jarvis_secretsd.values import SecretValue
from tests.cli.conftest import Tool
from tests.client.fake_daemon import FakeDaemon


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where nothing is yet, in a directory of its own."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / ".env"


def test_an_export_is_an_env_file(fake: FakeDaemon, tool: Tool) -> None:
    """Each secret that may be read is a line by its variable; before them a word about the file."""
    fake.hold(db_pass="it's", b="1")
    fake.store("app/smtp.key", SecretValue(b"x\nLD_PRELOAD=/tmp/e.so"))
    outcome = tool("export")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.decode() == (
        f"{HEADER}APP_SMTP_KEY='x\nLD_PRELOAD=/tmp/e.so'\nB=1\nDB_PASS=\"it's\"\n"
    )


def test_an_export_imports_to_the_same_values(fake: FakeDaemon, tool: Tool) -> None:
    """What was written reads back, and a second import has nothing to do."""
    fake.hold(a="p@$$w0rd${HOME}", b="l1\nl2\n", c="", d=" x ", e='{"k":"\\n"}', f="$2y$10$abc")
    written = tool("export").out
    again = tool("import", "-", stdin=written)
    assert again.lines[-1].startswith("0 created, 0 changed, 6 unchanged")


def test_what_is_exported_can_be_chosen(fake: FakeDaemon, tool: Tool) -> None:
    """Patterns choose by secrets' names, and no other value is asked for."""
    for name in ("app/db", "app/key", "web/db", "web/key"):
        fake.store(name, SecretValue(b"v"))
    outcome = tool("export", "--only", "app/*", "--only", "*/db", "--skip", "*/key", "--json")
    assert json.loads(outcome.out) == {"APP_DB": "v", "WEB_DB": "v"}
    assert [get.name for get in fake.operations(m.Get) if isinstance(get, m.Get)] == [
        "app/db",
        "web/db",
    ]


def test_a_prefix_can_be_left_out(fake: FakeDaemon, tool: Tool) -> None:
    """Only what is below it is exported, by its own name; what was renamed comes along."""
    for name in ("app/db", "apple", "shared/key", "web/db"):
        fake.store(name, SecretValue(name.encode()))
    outcome = tool("export", "--json", "--strip-prefix", "app", "--as", "Key=shared/key")
    assert json.loads(outcome.out) == {"DB": "app/db", "Key": "shared/key"}


@pytest.mark.parametrize(
    "slip",
    [("--only", "B*"), ("--skip", "none"), ("--as", "X=none"), ("--strip-prefix", "a/")],
    ids=lambda slip: slip[0],
)
def test_what_finds_nothing_is_a_slip(
    fake: FakeDaemon, tool: Tool, target: Path, slip: tuple[str, str]
) -> None:
    """A pattern, renaming or prefix without a secret that may be read stops the export."""
    fake.hold(a="1", b="2")
    outcome = tool("export", "--output", str(target), *slip)
    assert (outcome.status, outcome.out) == (3, b"")
    assert "no secret that you may read" in outcome.err
    assert not os.listdir(target.parent)


def test_two_secrets_are_not_one_variable(fake: FakeDaemon, tool: Tool) -> None:
    """A collision names both secrets before a value is asked for; --as and --skip settle it."""
    fake.store("db-pass", SecretValue(b"1"))
    fake.hold(db_pass="2")
    outcome = tool("export")
    assert (outcome.status, outcome.out) == (1, b"")
    assert "db-pass and db_pass would both be DB_PASS" in outcome.err
    assert not fake.operations(m.Get)
    renamed = tool("export", "--json", "--as", "OTHER=db-pass")
    assert json.loads(renamed.out) == {"OTHER": "1", "DB_PASS": "2"}
    assert json.loads(tool("export", "--json", "--skip", "db-*").out) == {"DB_PASS": "2"}


def test_what_no_env_file_can_hold_is_named(fake: FakeDaemon, tool: Tool, target: Path) -> None:
    """Every such secret is named, nothing is written, and --skip leaves them out."""
    fake.hold(a="1")
    fake.store("raw", SecretValue(b"\xff", is_text=False))
    fake.store("nul", SecretValue(b"x\0y"))
    outcome = tool("export", "--output", str(target))
    assert (outcome.status, outcome.out) == (1, b"")
    nul, raw, last = outcome.err.splitlines()
    assert nul.startswith("jarvis-secrets: nul: ") and raw.startswith("jarvis-secrets: raw: ")
    assert last.endswith("nothing was exported; leave out with --skip what can't be")
    assert not os.listdir(target.parent)
    assert tool("export").out == b""
    assert tool("export", "--skip", "raw", "--skip", "nul").status == 0


def test_json_takes_every_text(fake: FakeDaemon, tool: Tool) -> None:
    """One object holds what no `.env` can, but not what is no text."""
    fake.hold(nul="x\0y", cr="a\rb")
    assert json.loads(tool("export", "--json").out) == {"NUL": "x\0y", "CR": "a\rb"}
    fake.store("raw", SecretValue(b"\xff", is_text=False))
    outcome = tool("export", "--json")
    assert (outcome.status, outcome.out) == (1, b"")
    assert "raw: it holds bytes that are not text" in outcome.err


def test_a_read_that_is_denied_stops_all(fake: FakeDaemon, tool: Tool, target: Path) -> None:
    """A secret that is listed but can't be had is named, and nothing is written."""
    fake.hold(a="1", b="2")
    fake.unreadable.add("b")
    outcome = tool("export", "--output", str(target))
    assert (outcome.status, outcome.out) == (4, b"")
    assert "jarvis-secrets: b: " in outcome.err
    assert not os.listdir(target.parent)


def test_a_file_is_its_owners_alone(fake: FakeDaemon, tool: Tool, target: Path) -> None:
    """The file is 0600 whatever the umask, holds what stdout would, and nothing lies beside it."""
    fake.hold(a="s3cr3t")
    before = os.umask(0)
    try:
        outcome = tool("export", "--output", str(target))
    finally:
        os.umask(before)
    assert outcome.lines == [f"wrote 1 variable to {target}, readable for you alone"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.read_bytes() == tool("export").out
    assert os.listdir(target.parent) == [".env"]


def test_nothing_is_written_over(fake: FakeDaemon, tool: Tool, target: Path) -> None:
    """Neither a file nor a link to nowhere is replaced or followed, and nobody is asked."""
    fake.hold(a="1")
    target.symlink_to(target.parent / "elsewhere")
    outcome = tool("export", "--output", str(target))
    assert outcome.status == 1
    assert "is there already" in outcome.err
    assert not fake.asked
    assert os.listdir(target.parent) == [".env"]


def test_what_appears_meanwhile_stays(fake: FakeDaemon, tool: Tool, target: Path) -> None:
    """A file that somebody makes while the daemon is asked is not replaced either."""
    fake.hold(a="1")

    def somebody_writes(request: m.Request) -> m.Reply:
        target.write_text("theirs")
        return fake.obey(request.operation)

    fake.answers.append(somebody_writes)
    outcome = tool("export", "--output", str(target))
    assert outcome.status == 1
    assert "is there already" in outcome.err
    assert target.read_text() == "theirs"
    assert os.listdir(target.parent) == [".env"]


def test_a_full_disk_leaves_nothing(
    fake: FakeDaemon, tool: Tool, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that can't be written to its end isn't there at all."""
    fake.hold(a="1")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    outcome = tool("export", "--output", str(target))
    assert outcome.status == 1
    assert f"can't write {target}: No space left on device" in outcome.err
    assert not os.listdir(target.parent)


def test_a_signal_leaves_nothing(fake: FakeDaemon, socket_path: Path, target: Path) -> None:
    """Who is ended while the file is written takes what there is of it along."""
    fake.hold(a="1")
    hanging = (
        "import os, time; os.fsync = lambda _: (print('ready', flush=True), time.sleep(60));"
        "from jarvis_secretsd.cli.user import main; main()"
    )
    where = ("--socket", str(socket_path))
    command = [sys.executable, "-c", hanging, *where, "export", "--output", str(target)]
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            assert target.stat().st_size > 0
            process.send_signal(number)
            status = process.wait(20)
        assert status == (130 if number is signal.SIGINT else -number)
        assert not os.listdir(target.parent)


def test_a_file_that_others_could_read_is_not_written(
    fake: FakeDaemon, tool: Tool, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file system keeps no modes, as FAT does, nothing is left there."""
    fake.hold(a="1")
    real = os.open

    def modeless(path: str, flags: int, mode: int = 0o777) -> int:
        return real(path, flags, 0o644 if path == str(target) else mode)

    monkeypatch.setattr("os.open", modeless)
    outcome = tool("export", "--output", str(target))
    assert outcome.status == 1
    assert f"{target}: its file system lets others read every file" in outcome.err
    assert not os.listdir(target.parent)


def test_a_directory_that_is_not_there_is_named(fake: FakeDaemon, tool: Tool) -> None:
    """The system's reason stands beside the path that was asked for."""
    fake.hold(a="1")
    outcome = tool("export", "--output", "/nowhere/.env")
    assert "can't write /nowhere/.env: No such file or directory" in outcome.err
    assert tool("export", "--output", "").status == 1


def test_nothing_to_export_is_said(fake: FakeDaemon, tool: Tool) -> None:
    """Who may read nothing gets an empty file and a word about it."""
    outcome = tool("export")
    assert (outcome.status, outcome.out.decode()) == (0, HEADER)
    assert "there is no secret that you may read" in outcome.err
