"""`jarvis-secrets run` with a real daemon and real programs: shells, a terminal, signals."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from jarvis_secretsd.client import SecretsClient
from tests.cli.terminal import PROGRAM
from tests.daemon_process import DaemonProcess
from tests.e2e.programs import (
    COUNT,
    LIMIT,
    PYTHON,
    assert_every_signal_arrives,
    assert_has_the_terminal,
    assert_passes_on_what_it_inherits,
    heard,
)
from tests.e2e.tools import needs

HELD = {
    "db-password": "p@$$w0rd${HOME} `id` 'x' \"y\" \\n",
    "app/key.pem": "-----BEGIN\nline two\n-----END\n",
    "greeting": "grüß gott\t",
    "empty": "",
}

VARIABLES = {"DB_PASSWORD": "db-password", "APP_KEY_PEM": "app/key.pem"}
VARIABLES |= {"GREETING": "greeting", "EMPTY": "empty"}


@pytest.fixture
def environ(daemon: DaemonProcess) -> dict[str, str]:
    """An environment of a few variables, in which `run` finds a daemon that holds `HELD`."""
    with SecretsClient(str(daemon.socket_path), client_id="admin") as client:
        for name, text in HELD.items():
            client.put(name, text)
    return {
        "PATH": "/usr/bin:/bin",
        "JARVIS_SECRETS_SOCKET": str(daemon.socket_path),
        "JARVIS_CLIENT_ID": "admin",
    }


def run(environ: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """`jarvis-secrets run` with these arguments and no other environment."""
    command = [*PROGRAM, "run", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, check=False, timeout=LIMIT)


@contextmanager
def talking(environ: Mapping[str, str], script: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python program under `run`, to be spoken with; it has said `ready` first."""
    command = [*PROGRAM, "run", "--", *PYTHON, script]
    with subprocess.Popen(
        command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as process:
        try:
            assert heard(process) == b"ready\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("shell", [pytest.param(s, marks=needs(s)) for s in ("sh", "dash", "bash")])
def test_shells_read_every_byte(environ: dict[str, str], shell: str) -> None:
    """A shell finds each value under its variable as it was put, and passes it on."""
    for variable, name in VARIABLES.items():
        inner = f"{PYTHON[0]} -c 'import os; print(ascii(os.environ[\"{variable}\"]))'"
        outcome = run(environ, "--", shell, "-c", f'printf "%s|" "${variable}"; {inner}')
        shown, _, passed_on = outcome.stdout.rpartition(b"|")
        assert shown.decode() == HELD[name]
        assert ast.literal_eval(passed_on.decode()) == HELD[name]


def test_nothing_else_changes_in_the_environment(environ: dict[str, str]) -> None:
    """What was inherited is inherited, to the byte; nothing of the interpreter's own is added."""
    given = {**environ, "LANG": "C", "KEPT": " x=y ", "RAW": "\udcff\n", "DB_PASSWORD": "old"}
    given["BASH_FUNC_f%%"] = "() { :; }"
    outcome = run(given, "--", "env", "-0")
    assert outcome.stderr == b""
    strings = os.fsdecode(outcome.stdout).split("\0")[:-1]
    expected = {**given, **{variable: HELD[name] for variable, name in VARIABLES.items()}}
    assert sorted(strings) == sorted(f"{name}={value}" for name, value in expected.items())


TWICE = """
import ctypes, sys
def strings(*texts): return (ctypes.c_char_p * (len(texts) + 1))(*[t.encode() for t in texts], None)
environ = strings("TWICE=1", "no sign", "TWICE=2", "DB_PASSWORD=1", "DB_PASSWORD=2", *ENVIRON)
ctypes.CDLL(None).execve(sys.argv[1].encode(), strings(*sys.argv[1:]), environ)
"""


def test_what_stands_twice_in_the_environment_is_one(environ: dict[str, str]) -> None:
    """Of two variables of one name the first holds, as for getenv; a secret replaces both."""
    given = [f"{name}={value}" for name, value in environ.items()]
    command = [*PYTHON, f"ENVIRON = {given!r}{TWICE}", *PROGRAM, "run", "--", "env", "-0"]
    shown = subprocess.check_output(command, env={}, timeout=LIMIT).decode().split("\0")
    assert [each for each in shown if each.startswith("TWICE=")] == ["TWICE=1"]
    assert [each for each in shown if each.startswith("DB_PASSWORD=")] == [
        f"DB_PASSWORD={HELD['db-password']}"
    ]


@pytest.mark.parametrize("shell", [pytest.param(s, marks=needs(s)) for s in ("dash", "bash")])
def test_a_name_that_shells_cant_read_has_a_way_out(
    daemon: DaemonProcess, environ: dict[str, str], shell: str
) -> None:
    """A secret whose variable begins with a digit is remarked, and --as makes it readable."""
    with SecretsClient(str(daemon.socket_path), client_id="admin") as client:
        client.put("1st", "one")
    warned = run(environ, "--only", "1st", "--", shell, "-c", "true")
    assert warned.returncode == 0
    assert b"--as _1ST=1st" in warned.stderr
    mended = run(environ, "--as", "_1ST=1st", "--", shell, "-c", "echo $_1ST")
    assert (mended.stdout, mended.stderr) == (b"one\n", b"")


@pytest.mark.parametrize(
    ("command", "status"),
    [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -9 $$", 137)],
)
def test_a_shell_sees_the_end_of_the_program(
    environ: dict[str, str], command: str, status: int
) -> None:
    """`$?` after `run` is `$?` after the program."""
    script = '"$@"; echo $?'
    wrapped = ("sh", "-c", script, "sh", *PROGRAM, "run", "--", "sh", "-c", command)
    outcome = subprocess.run(wrapped, env=environ, capture_output=True, check=True, timeout=LIMIT)
    assert outcome.stdout == f"{status}\n".encode()


@needs("bash")
def test_a_program_can_be_stopped_and_go_on(environ: dict[str, str]) -> None:
    """It is the shell's own job: Ctrl-Z gives the prompt back, `fg` waits for its end."""
    script = 'set -m; "$@"; echo $?; fg >&2; echo $?'
    inner = (*PROGRAM, "run", "--", "sh", "-c", "kill -TSTP $$; exit 7")
    outcome = subprocess.run(
        ["bash", "-c", script, "bash", *inner],
        env=environ, capture_output=True, check=True, timeout=LIMIT, start_new_session=True,
    )  # fmt: skip
    assert outcome.stdout == b"148\n7\n"


@needs("bash")
def test_a_program_whose_reader_is_gone_ends_as_it_would(environ: dict[str, str]) -> None:
    """SIGPIPE ends it without a word from us."""
    script = '"$@" | head -n 1; echo ${PIPESTATUS[0]}'
    outcome = subprocess.run(
        ["bash", "-c", script, "bash", *PROGRAM, "run", "--", "yes"],
        env=environ, capture_output=True, check=True, timeout=LIMIT,
    )  # fmt: skip
    assert (outcome.stdout, outcome.stderr) == (b"y\n141\n", b"")


def test_every_signal_arrives_as_often_as_it_was_sent(environ: dict[str, str]) -> None:
    """Whoever signals `run` signals the program: each once, the second like the first."""
    with talking(environ, COUNT) as process:
        assert_every_signal_arrives(process)


def test_a_stop_while_it_starts_leaves_nothing_behind(environ: dict[str, str]) -> None:
    """SIGTERM at any moment of the start ends what was started, as a signal does."""
    for delay in (0.0, 0.005, 0.02, 0.05, 0.1, 0.2):
        with subprocess.Popen([*PROGRAM, "run", "--", "sleep", "60"], env=environ) as process:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(delay)
            process.terminate()
            assert process.wait(LIMIT) == -signal.SIGTERM


def test_what_a_process_inherits_passes_through(environ: dict[str, str]) -> None:
    """Signals ignored and blocked, descriptors, umask and priority are those that were given."""
    assert_passes_on_what_it_inherits(environ, *PROGRAM, "run", "--")


@needs("setsid")
def test_the_terminal_is_the_programs(environ: dict[str, str]) -> None:
    """It is in the foreground of the terminal; Ctrl-C reaches it once, and its end is the end."""
    assert_has_the_terminal(environ, *PROGRAM, "run", "--")


def test_who_may_not_read_a_reference_is_told_its_line(
    make_daemon: type[DaemonProcess], tmp_path: os.PathLike[str]
) -> None:
    """The real policy's denial stops the start, whether or not there is such a secret."""
    uid = os.geteuid()
    policy = (
        f'clients:\n  app: {{users: ["{uid}"], allow: [mine]}}\n'
        f'  admin: {{users: ["{uid}"], permissions: [all], allow: ["*"]}}\n'
    )
    running = make_daemon(policy=policy)
    running.start()
    with SecretsClient(str(running.socket_path), client_id="admin") as client:
        client.put("mine", "1")
        client.put("theirs", "2")
    path = os.path.join(tmp_path, "app.env")
    with open(path, "w", encoding="utf-8") as file:
        file.write("MINE=jarvis://mine\nA=jarvis://theirs\nB=jarvis://none\n")
    environ = {"JARVIS_SECRETS_SOCKET": str(running.socket_path), "JARVIS_CLIENT_ID": "app"}
    outcome = run(environ, "--env-file", path, "--", "echo", "started")
    assert (outcome.returncode, outcome.stdout) == (4, b"")
    assert f"{path}:2: theirs: ".encode() in outcome.stderr
    assert f"{path}:3: none: ".encode() in outcome.stderr
    with SecretsClient(str(running.socket_path), client_id="admin") as client:
        client.put("huge", b"x" * 200_000)
    limited = run({**environ, "JARVIS_CLIENT_ID": "admin"}, "--only", "huge", "--", "true")
    assert limited.returncode == 1
    assert b"huge is too large for a variable" in limited.stderr
