"""`jarvis-secrets run`: a program gets its secrets, and is then the program itself."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from jarvis_secretsd.cli.handing import MAX_ENVIRONMENT_STRING
from jarvis_secretsd.messages import Get
from jarvis_secretsd.values import SecretValue
from tests.cli.terminal import PROGRAM, spawn
from tests.client.fake_daemon import FakeDaemon

SHOW = (
    sys.executable,
    "-c",
    "import json, os; print(json.dumps({k: v for k, v in os.environ.items()}))",
)


@pytest.fixture(autouse=True)
def _find_the_fake(fake: FakeDaemon, socket_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JARVIS_SECRETS_SOCKET", str(socket_path))
    monkeypatch.setenv("JARVIS_CLIENT_ID", "backend")


def test_a_program_finds_its_secrets(fake: FakeDaemon) -> None:
    """Every name that may be read is a variable, over what was there, and JARVIS_* stay."""
    fake.hold(db_pass="new", smtp_pass="x\ny ", a="1")
    fake.store("app/db.key-1", SecretValue.from_text("é"))
    outcome = spawn("run", "--", *SHOW, environ={"DB_PASS": "old", "KEPT": "yes"})
    got = json.loads(outcome.stdout)
    assert got["DB_PASS"] == "new"
    assert (got["SMTP_PASS"], got["A"], got["APP_DB_KEY_1"]) == ("x\ny ", "1", "é")
    assert (got["KEPT"], got["JARVIS_CLIENT_ID"]) == ("yes", "backend")
    assert outcome.stderr == b""


def test_a_variable_is_there_once(fake: FakeDaemon) -> None:
    """A secret takes the place of the variable of its name, it doesn't stand beside it."""
    fake.hold(db="new")
    outcome = spawn("run", "--", "env", environ={"DB": "old"})
    assert [line for line in outcome.stdout.splitlines() if line.startswith(b"DB=")] == [b"DB=new"]


def test_only_what_was_selected_is_asked_for(fake: FakeDaemon) -> None:
    """--only takes names and patterns; what it leaves out is neither fetched nor in the way."""
    fake.hold(db_pass="1", smtp_pass="2", other="3", path="4")
    fake.unreadable.add("other")
    outcome = spawn("run", "--only", "*_pass", "--only", "db_pass", "--", *SHOW)
    got = json.loads(outcome.stdout)
    assert (got["DB_PASS"], got["SMTP_PASS"]) == ("1", "2")
    assert "OTHER" not in got


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("true",), 0),
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "exit 255"), 255),
        (("sh", "-c", "kill -TERM $$"), -signal.SIGTERM),
        (("sh", "-c", "kill -KILL $$"), -signal.SIGKILL),
        (("no-such-command",), 127),
        (("/no/such/command",), 127),
        (("/etc/passwd",), 126),
        (("/",), 126),
    ],
)
def test_the_end_of_the_program_is_the_end_of_run(command: tuple[str, ...], status: int) -> None:
    """Exit status and signal are the program's own; what can't start is 127 or 126."""
    outcome = spawn("run", "--", *command)
    assert outcome.returncode == status
    assert b"Traceback" not in outcome.stderr
    if status in (126, 127):
        assert outcome.stderr.count(b"\n") == 2  # that there is no secret, and this


def test_run_becomes_the_program(fake: FakeDaemon) -> None:
    """The program has the pid that was started, no descriptor of ours, and sane signals."""
    fake.hold(a="1")
    script = (
        "import os, signal; print(os.getpid(), len(os.listdir('/proc/self/fd')),"
        " open('/proc/self/status').read().split('SigIgn:')[1].split()[0])"
    )
    raw = (sys.executable, "-I", "-c", script)
    with subprocess.Popen([*PROGRAM, "run", "--", *raw], stdout=subprocess.PIPE) as process:
        assert process.stdout
        pid, descriptors, ignored = process.stdout.read().split()
    assert int(pid) == process.pid
    direct = subprocess.check_output(raw).split()
    assert (descriptors, ignored) == (direct[1], direct[2])


def test_a_program_that_expects_sigpipe_gets_it(fake: FakeDaemon) -> None:
    """A signal that Python ignores for itself is not ignored in the program."""
    fake.hold(a="1")
    outcome = spawn("run", "--", "sh", "-c", "kill -PIPE $$; echo alive")
    assert outcome.returncode == -signal.SIGPIPE
    assert outcome.stdout == b""


def test_options_after_the_command_are_its_own(fake: FakeDaemon) -> None:
    """Neither `--` nor an option of ours is taken from the program's arguments."""
    fake.hold(a="1")
    assert spawn("run", "echo", "--only", "x", "--", "--json").stdout == b"--only x -- --json\n"


def test_nothing_starts_where_two_names_are_one_variable(fake: FakeDaemon, tmp_path: Path) -> None:
    """A collision names both secrets, before anything is started; --only settles it."""
    fake.store("db-pass", SecretValue(b"1"))
    fake.hold(db_pass="2")
    started = tmp_path / "started"
    outcome = spawn("run", "--", "touch", str(started))
    assert outcome.returncode == 1
    assert b"db-pass and db_pass would both be DB_PASS" in outcome.stderr
    assert not started.exists()
    assert spawn("run", "--only", "db_pass", "--", "touch", str(started)).returncode == 0


def test_what_steers_programs_needs_a_word(fake: FakeDaemon) -> None:
    """A secret that would be PATH or LD_PRELOAD stops the start, until it is allowed."""
    fake.hold(ld_preload="/tmp/e.so", home="/h")
    outcome = spawn("run", "--", "true")
    assert outcome.returncode == 1
    assert b"ld_preload: the variable LD_PRELOAD steers" in outcome.stderr
    assert b"home: the variable HOME steers" in outcome.stderr
    allowed = spawn("run", "--allow-dangerous", "--only", "home", "--", "sh", "-c", "echo $HOME")
    assert allowed.stdout == b"/h\n"


def test_a_value_that_no_variable_holds_is_named(fake: FakeDaemon) -> None:
    """A NUL byte and a value over the kernel's limit are errors that name the secret."""
    fake.store("n", SecretValue(b"a\0b"))
    fake.store("big", SecretValue(b"x" * MAX_ENVIRONMENT_STRING))
    outcome = spawn("run", "--", "true")
    assert outcome.returncode == 1
    assert b"n holds a NUL byte" in outcome.stderr
    assert b"big is too large for a variable" in outcome.stderr
    assert b"131,072" in outcome.stderr


def test_the_largest_variable_starts(fake: FakeDaemon) -> None:
    """The limit is the kernel's own: a byte less starts, all bytes arrive."""
    fake.hold(a="x" * 131_069)
    assert spawn("run", "--", "sh", "-c", 'echo "${#A}"').stdout == b"131069\n"
    fake.hold(a="x" * 131_070)
    assert spawn("run", "--", "true").returncode == 1


def test_too_much_together_is_not_blamed_on_the_command(fake: FakeDaemon) -> None:
    """Secrets that fit one by one but not together are an error that says so."""
    fake.hold(**{f"n{number}": "x" * 120_000 for number in range(30)})
    outcome = spawn("run", "--", "true")
    assert outcome.returncode == 1
    assert b"together are 3,6" in outcome.stderr
    assert b"the largest are N" in outcome.stderr


def test_a_refusal_names_its_secret(fake: FakeDaemon) -> None:
    """A secret that is listed but can't be had stops the start with its name."""
    fake.hold(a="1", b="2")
    fake.unreadable.add("b")
    outcome = spawn("run", "--", "true")
    assert outcome.returncode == 4
    assert b"jarvis-secrets: b: the policy does not allow this" in outcome.stderr


def test_a_script_without_a_first_line_is_not_executable(tmp_path: Path) -> None:
    """A file that the kernel can't execute is 126 with the kernel's reason."""
    script = tmp_path / "s"
    script.write_text("echo hello\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    outcome = spawn("run", "--", str(script))
    assert outcome.returncode == 126
    assert b"Exec format error" in outcome.stderr


def test_an_empty_vault_is_pointed_out() -> None:
    """Who may read nothing is told, since the program will miss what it came for."""
    outcome = spawn("run", "--", "true")
    assert outcome.returncode == 0
    assert b"starts without any" in outcome.stderr
    assert os.environ["JARVIS_CLIENT_ID"] == "backend"


def test_what_is_said_by_variable_is_all_that_is_asked_for(
    fake: FakeDaemon, tmp_path: Path
) -> None:
    """--as and --env-file give what they name and plain values, and don't even ask for a list."""
    fake.hold(db="x", smtp="y", other="z")
    file = tmp_path / "app.env"
    file.write_text("PGPASSWORD=jarvis://db\nLEVEL=info\nSMTP=jarvis://other\nKEPT=file\n")
    arguments = ("run", "--env-file", str(file), "--as", "SMTP=smtp", "--", *SHOW)
    outcome = spawn(*arguments, environ={"KEPT": "inherited"})
    got = json.loads(outcome.stdout)
    assert (got["PGPASSWORD"], got["LEVEL"], got["SMTP"]) == ("x", "info", "y")
    assert got["KEPT"] == "file"
    assert not {"DB", "OTHER"} & got.keys()
    assert [type(request.operation) for request in fake.asked] == [Get, Get]


def test_patterns_add_to_what_is_said_by_variable(fake: FakeDaemon) -> None:
    """With --as, --only adds secrets by name, and --skip takes some of those away."""
    fake.hold(db="x", smtp="y", other="z")
    outcome = spawn("run", "--as", "PW=db", "--only", "*", "--skip", "o*", "--", *SHOW)
    got = json.loads(outcome.stdout)
    assert (got["PW"], got["SMTP"]) == ("x", "y")
    assert not {"DB", "OTHER"} & got.keys()


def test_an_empty_env_file_gives_nothing(fake: FakeDaemon, tmp_path: Path) -> None:
    """A file that names no secret is not a wish for all of them."""
    fake.hold(db="x")
    (tmp_path / "app.env").write_text("# nothing yet\n")
    outcome = spawn("run", "--env-file", str(tmp_path / "app.env"), "--", *SHOW)
    assert "DB" not in json.loads(outcome.stdout)
    assert outcome.stderr == b""


def test_an_empty_value_is_no_surprise(fake: FakeDaemon, tmp_path: Path) -> None:
    """What an env file leaves empty is given without a word: here it isn't to be stored."""
    (tmp_path / "app.env").write_text("EMPTY=\nQUOTED=''\nHOLDER=changeme\n")
    outcome = spawn("run", "--env-file", str(tmp_path / "app.env"), "--", *SHOW)
    got = json.loads(outcome.stdout)
    assert (got["EMPTY"], got["QUOTED"], got["HOLDER"]) == ("", "", "changeme")
    assert outcome.stderr == b""


@pytest.mark.parametrize("path", ["/no/such.env", "/", "/dev/zero"])
def test_an_env_file_that_cannot_be_read_starts_nothing(path: str) -> None:
    """A file that is missing, none, or without an end is told with its reason."""
    outcome = spawn("run", "--env-file", path, "--", "echo", "started")
    assert (outcome.returncode, outcome.stdout) == (1, b"")
    assert path.encode() in outcome.stderr


def test_an_env_file_may_come_through_a_pipe(fake: FakeDaemon) -> None:
    """`-` is stdin, as everywhere; its faults have a line too."""
    fake.hold(db="x")
    arguments = ("run", "--env-file", "-", "--", "sh", "-c", "echo $PW")
    assert spawn(*arguments, stdin=b"PW=jarvis://db\n").stdout == b"x\n"
    assert b"stdin:1: PW: " in spawn(*arguments, stdin=b"PW=jarvis://D B\n").stderr


def test_a_reference_that_leads_nowhere_is_told_with_its_line(
    fake: FakeDaemon, tmp_path: Path
) -> None:
    """A missing secret and one that is denied stop the start, each with file, line and name."""
    fake.hold(a="1", mine="2", theirs="3")
    fake.unreadable.add("theirs")
    file = tmp_path / "app.env"
    started = tmp_path / "started"
    file.write_text("A=jarvis://a\nB=jarvis://gone\n")
    one = spawn("run", "--env-file", str(file), "--", "touch", str(started))
    assert one.returncode == 3
    assert f"jarvis-secrets: {file}:2: gone: no such secret".encode() in one.stderr
    file.write_text("A=jarvis://a\nB=jarvis://gone\n\nC=jarvis://theirs\n")
    both = spawn("run", "--env-file", str(file), "--as", "D=lost", "--", "touch", str(started))
    assert both.returncode == 3
    assert f"{file}:2: gone: no such secret\n".encode() in both.stderr
    assert f"{file}:4: theirs: the policy does not allow this\n".encode() in both.stderr
    assert b"--as D=lost: no such secret\n" in both.stderr
    assert both.stderr.endswith(b"jarvis-secrets: the command was not started\n")
    assert not started.exists()


def test_a_reference_that_is_overridden_is_not_asked_for(fake: FakeDaemon, tmp_path: Path) -> None:
    """What another file or option replaces may be missing: nobody gets it."""
    fake.hold(a="1")
    (tmp_path / "base.env").write_text("A=jarvis://gone\nB=jarvis://gone\n")
    (tmp_path / "local.env").write_text("B=plain\n")
    files = ("--env-file", str(tmp_path / "base.env"), "--env-file", str(tmp_path / "local.env"))
    outcome = spawn("run", *files, "--as", "A=a", "--", "sh", "-c", 'echo "$A $B"')
    assert outcome.stdout == b"1 plain\n"


@pytest.mark.parametrize("wrong", ["DB", "=db", "1ST=db", "A-B=db", "DB=Db", "DB="])
def test_a_wrong_renaming_is_a_usage_error(wrong: str) -> None:
    """`--as` takes a variable that shells can read, and a secret's name."""
    outcome = spawn("run", "--as", wrong, "--", "true")
    assert outcome.returncode == 2
    assert b"--as" in outcome.stderr


def test_a_plain_value_has_the_limits_of_a_secret(fake: FakeDaemon, tmp_path: Path) -> None:
    """A value of a file that the kernel won't take is told with its line, before the start."""
    (tmp_path / "app.env").write_text(f"A=1\nB={'x' * MAX_ENVIRONMENT_STRING}\n")
    outcome = spawn("run", "--env-file", str(tmp_path / "app.env"), "--", "true")
    assert outcome.returncode == 1
    assert b"app.env:2 is too large for a variable: 131,075 bytes" in outcome.stderr


def test_a_missing_interpreter_is_not_a_missing_command(tmp_path: Path) -> None:
    """A script that is there is 126 with the reason, where the kernel speaks of no such file."""
    script = tmp_path / "s"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    outcome = spawn("run", "--", str(script))
    assert outcome.returncode == 126
    assert b"not found: the interpreter of its first line" in outcome.stderr


def test_a_command_is_found_on_the_path_that_it_gets(fake: FakeDaemon, tmp_path: Path) -> None:
    """PATH may come from a secret or be missing; its empty element is the current directory."""
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho found\n")
    script.chmod(0o755)
    fake.hold(path=f"/none:{tmp_path}:/usr/bin:/bin")
    arguments = ("run", "--allow-dangerous", "--", "script")
    assert spawn(*arguments, environ={"PATH": "/usr/bin:/bin"}).stdout == b"found\n"
    bare = ("env", "-u", "PATH", *PROGRAM, "run", "--skip", "*", "--")
    assert subprocess.check_output([*bare, "echo", "x"], stderr=subprocess.DEVNULL) == b"x\n"
    here = ("run", "--skip", "*", "--", "script")
    environ = {**os.environ, "PATH": ":/usr/bin:/bin"}
    assert subprocess.check_output(
        [*PROGRAM, *here], env=environ, cwd=tmp_path, stderr=subprocess.DEVNULL
    ) == b"found\n"  # fmt: skip


def test_a_file_that_may_not_be_executed_is_no_missing_command(tmp_path: Path) -> None:
    """As for a shell, the first that can't be executed counts where no other is found."""
    (tmp_path / "script").write_text("#!/bin/sh\n")
    outcome = spawn("run", "--", "script", environ={"PATH": f"{tmp_path}:/none"})
    assert outcome.returncode == 126
    assert b"script: Permission denied" in outcome.stderr


def test_an_empty_command_is_told() -> None:
    """`run -- "$COMMAND"` without a COMMAND says what is wrong."""
    outcome = spawn("run", "--", "")
    assert outcome.returncode == 127
    assert b"the command is empty" in outcome.stderr


def test_without_a_daemon_nothing_starts(tmp_path: Path) -> None:
    """Without its daemon a program isn't started without its secrets."""
    outcome = spawn(
        "run", "--as", "A=a", "--", "touch", str(tmp_path / "started"),
        environ={"JARVIS_SECRETS_SOCKET": str(tmp_path / "none.sock")},
    )  # fmt: skip
    assert outcome.returncode == 5
    assert not (tmp_path / "started").exists()
