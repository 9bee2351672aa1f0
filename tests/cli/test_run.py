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
from hypothesis import given
from hypothesis import strategies as st

from jarvis_secretsd.cli.exits import Refused
from jarvis_secretsd.cli.running import MAX_ENVIRONMENT_STRING, check_names, environment, select
from jarvis_secretsd.messages import Found
from jarvis_secretsd.values import NEVER, Kid, SecretName, SecretValue
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


def names(*texts: str) -> tuple[SecretName, ...]:
    """The names that these texts are."""
    return tuple(map(SecretName, texts))


def found(name: str, data: bytes) -> Found:
    """A secret as it is got."""
    return Found(SecretName(name), SecretValue(data, is_text=False), Kid("0" * 16), NEVER, 1)


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
    assert b"LD_PRELOAD of ld_preload" in outcome.stderr
    assert b"HOME of home" in outcome.stderr
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
    assert b"all secrets together" in outcome.stderr


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


def test_a_pattern_that_matches_nothing_is_a_slip() -> None:
    """A misspelt --only stops the start; a pattern is whole and `*` is its only special sign."""
    listed = names("app/db", "app/x/key", "db_pass", "a.b")
    assert select(listed, ()) == listed
    assert select(listed, ("app/*",)) == names("app/db", "app/x/key")
    assert select(listed, ("*pass", "a.b")) == names("db_pass", "a.b")
    for pattern in ("db", "a?b", "[ad]*", "DB_PASS", ""):
        with pytest.raises(Refused, match="no secret that you may read matches"):
            select(listed, (pattern,))


@pytest.mark.parametrize(
    "name",
    [
        "path",
        "home",
        "ld_library_path",
        "pythonpath",
        "bash_env",
        "env",
        "ifs",
        "node_options",
        "perl5opt",
        "perllib",
        "rubyopt",
        "git_ssh_command",
        "jarvis_client_id",
        "jarvis_secrets_url",
    ],
)
def test_variables_that_steer_are_known(name: str) -> None:
    """What makes a shell, a loader or an interpreter run other code is dangerous."""
    with pytest.raises(Refused, match="--allow-dangerous"):
        check_names(names(name), allow_dangerous=False)
    check_names(names(name), allow_dangerous=True)


def test_ordinary_names_are_not_dangerous() -> None:
    """Names that only look alike pass, those of the daemon's own examples among them."""
    ordinary = names("db_path", "home_assistant_token", "old_ld_x", "git_token", "environment")
    check_names(ordinary + names("jarvis_encryption_key", "github_pat"), allow_dangerous=False)


@given(
    inherited=st.dictionaries(st.sampled_from([b"A", b"B", b"C_D"]), st.binary(max_size=5)),
    secrets=st.dictionaries(
        st.sampled_from(["a", "b", "c/d", "e"]),
        st.binary(max_size=5).filter(lambda d: b"\0" not in d),
    ),
)
def test_secrets_win_over_what_was_there(
    inherited: dict[bytes, bytes], secrets: dict[str, bytes]
) -> None:
    """Each secret is its variable's only value, and no other variable changes."""
    made = environment(inherited, [found(name, data) for name, data in secrets.items()])
    expected = {SecretName(name).variable.encode(): data for name, data in secrets.items()}
    assert made == inherited | expected


def test_an_empty_vault_is_pointed_out() -> None:
    """Who may read nothing is told, since the program will miss what it came for."""
    outcome = spawn("run", "--", "true")
    assert outcome.returncode == 0
    assert b"starts without any" in outcome.stderr
    assert os.environ["JARVIS_CLIENT_ID"] == "backend"
