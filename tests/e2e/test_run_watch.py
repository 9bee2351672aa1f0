"""`jarvis-secrets run --watch`: a program survives rotation, and else is as if it ran alone."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

from jarvis_secretsd import messages as m
from jarvis_secretsd.client import SecretsClient
from jarvis_secretsd.values import SecretName
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
    on_a_terminal,
    shown_until,
)
from tests.e2e.tools import needs
from tests.waiting import wait_until

WATCH = (*PROGRAM, "run", "--only", "db*", "--watch")

TELL = """
import os, signal, sys
def say(*words): os.write(1, (" ".join(map(str, words)) + "\\n").encode())
def end(number, frame): say("ending"); sys.exit(3)
signal.signal(signal.SIGTERM, end)
say("ready", os.environ.get("DB"), os.environ.get("DB2"))
while True: signal.pause()
"""
"""Says what it has, and when it is asked to end."""

SLOW = TELL.replace('say("ending")', 'say("ending"); os.read(0, 1)')
"""Ends when it has read something."""


@pytest.fixture
def client(daemon: DaemonProcess) -> Iterator[SecretsClient]:
    """The admin, whose daemon holds two secrets of the program and one that isn't."""
    with SecretsClient(str(daemon.socket_path), client_id="admin", cache_ttl=0) as admin:
        for name in ("db", "db2", "other"):
            admin.put(name, "old")
        yield admin


@pytest.fixture
def environ(daemon: DaemonProcess, client: SecretsClient) -> dict[str, str]:
    """An environment of a few variables, in which `run` finds that daemon."""
    return {
        "PATH": "/usr/bin:/bin",
        "JARVIS_SECRETS_SOCKET": str(daemon.socket_path),
        "JARVIS_CLIENT_ID": "admin",
    }


@contextmanager
def watched(
    environ: Mapping[str, str], script: str, *options: str, said: bytes = b"ready old old\n"
) -> Iterator[subprocess.Popen[bytes]]:
    """A Python program under `run --watch`, which has said that it is ready."""
    with subprocess.Popen(
        [*WATCH, *options, "--", *PYTHON, script],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    ) as process:
        try:
            assert heard(process) == said
            yield process
        finally:
            process.kill()


def remarked(process: subprocess.Popen[bytes]) -> str:
    """The next line that `run` has to say."""
    assert process.stderr
    return process.stderr.readline().decode()


def children(pid: int) -> list[int]:
    """The processes whose parent is this one, zombies too; the first stands by."""
    return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())][1:]


def has_ended(pid: int) -> bool:
    """It is gone, or only not reaped yet by whoever has it."""
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    return True


def test_a_changed_secret_starts_the_program_anew(
    environ: dict[str, str], client: SecretsClient
) -> None:
    """The old one is asked to end and has ended before the new one starts, with the new value."""
    with watched(environ, TELL) as process:
        client.put("db", "new")
        assert [heard(process), heard(process)] == [b"ending\n", b"ready new old\n"]
        assert remarked(process) == f"jarvis-secrets: db changed; {PYTHON[0]} is started anew\n"
        assert len(children(process.pid)) == 1
        process.terminate()
        assert heard(process) == b"ending\n"
        assert process.wait(LIMIT) == 3


def test_a_batch_is_one_start(environ: dict[str, str], client: SecretsClient) -> None:
    """Two secrets that are rotated together start it anew once, and other secrets never."""
    with watched(environ, TELL) as process:
        client.put("other", "new")
        client.put("db", "old")  # the value that it has already
        client.ask(m.Rotate((SecretName("db"), SecretName("db2"))), m.Rotated)
        new = f"ready {client.get('db')} {client.get('db2')}\n".encode()
        assert [heard(process), heard(process)] == [b"ending\n", new]
        process.terminate()
        assert heard(process) == b"ending\n"


def test_a_program_that_does_not_end_is_killed(
    environ: dict[str, str], client: SecretsClient
) -> None:
    """After --stop-timeout a program that takes no notice is killed, and the new one starts."""
    stubborn = TELL.replace("sys.exit(3)", "pass")
    with watched(environ, stubborn, "--stop-timeout", "0.2") as process:
        (first,) = children(process.pid)
        client.put("db", "new")
        assert [heard(process), heard(process)] == [b"ending\n", b"ready new old\n"]
        assert has_ended(first)


TOLD = """
import os, signal, sys
def say(*words): os.write(1, (" ".join(map(str, words)) + "\\n").encode())
signal.signal(signal.SIGUSR1, lambda number, frame: say("told"))
say("ready", os.environ.get("DB"), os.environ.get("DB2"))
for line in sys.stdin: say(line.strip(), os.getpid())
"""


@pytest.mark.parametrize("name", ["USR1", "sigusr1"])
def test_a_program_can_be_told_instead(
    environ: dict[str, str], client: SecretsClient, name: str
) -> None:
    """With --on-change SIGNAL the same program goes on, and gets the signal once a batch."""
    with watched(environ, TOLD, "--on-change", name) as process:
        (program,) = children(process.pid)
        client.ask(m.Rotate((SecretName("db"), SecretName("db2"))), m.Rotated)
        assert heard(process) == b"told\n"
        client.put("other", "new")
        client.put("db", "new")
        assert heard(process) == b"told\n"
        assert process.stdin
        process.stdin.write(b"same\n")
        assert heard(process) == f"same {program}\n".encode()
        readers = {each.last_reader for each in _versions(client, "db")}
        assert readers == {"admin", None}  # it was given the first version, and asks by itself


def _versions(client: SecretsClient, name: str) -> tuple[m.VersionInfo, ...]:
    return client.ask(m.Versions(SecretName(name)), m.VersionListing).versions


def test_a_rollback_is_a_change(environ: dict[str, str], client: SecretsClient) -> None:
    """What is current again is what the program gets."""
    client.put("db", "new")
    with watched(environ, TELL, said=b"ready new old\n") as process:
        client.ask(m.Rollback(SecretName("db")), m.Stored)
        assert [heard(process), heard(process)] == [b"ending\n", b"ready old old\n"]


@pytest.mark.parametrize(
    ("command", "status"),
    [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -9 $$", 137)],
)
def test_a_shell_sees_the_end_of_the_program(
    environ: dict[str, str], command: str, status: int
) -> None:
    """`$?` after `run --watch` is `$?` after the program."""
    script = '"$@"; echo $?'
    wrapped = ("sh", "-c", script, "sh", *WATCH, "--", "sh", "-c", command)
    outcome = subprocess.run(wrapped, env=environ, capture_output=True, check=True, timeout=LIMIT)
    assert outcome.stdout == f"{status}\n".encode()
    assert b"jarvis-secrets" not in outcome.stderr


@pytest.mark.parametrize(
    ("command", "status", "why"),
    [("no-such-command", 127, "command not found"), ("/etc/passwd", 126, "Permission denied")],
)
def test_what_cannot_start_is_told(
    environ: dict[str, str], command: str, status: int, why: str
) -> None:
    """As without --watch: 127 or 126, and a line that says why."""
    outcome = subprocess.run(
        [*WATCH, "--", command], env=environ, capture_output=True, check=False, timeout=LIMIT
    )
    assert outcome.returncode == status
    assert outcome.stderr.decode() == f"jarvis-secrets: {command}: {why}\n"


def test_it_ends_by_the_signal_of_the_program_without_a_core(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """Whoever waits sees the signal itself, and no core of us, which hold secrets, is left."""
    outcome = subprocess.run(
        ["sh", "-c", 'ulimit -c unlimited; exec "$@"', "sh", *WATCH, "--", "sh", "-c",
         "ulimit -c 0; kill -QUIT $$"],
        env=environ, cwd=tmp_path, check=False, timeout=LIMIT,
    )  # fmt: skip
    assert outcome.returncode == -signal.SIGQUIT
    assert not [*tmp_path.iterdir()]


def test_every_signal_arrives_as_often_as_it_was_sent(environ: dict[str, str]) -> None:
    """Whoever signals `run` signals the program: each once, the second like the first."""
    with watched(environ, COUNT, said=b"ready\n") as process:
        assert_every_signal_arrives(process)


def test_what_is_sent_to_all_comes_once(environ: dict[str, str]) -> None:
    """A signal to the whole group, or as by systemd to each process of a unit, isn't doubled."""
    with subprocess.Popen(
        [*WATCH, "--", *PYTHON, COUNT],
        env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, process_group=0,
    ) as process:  # fmt: skip
        assert heard(process) == b"ready\n"
        assert process.stdin
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
            os.killpg(process.pid, number)
            assert heard(process) == f"{number.name}\n".encode()
            time.sleep(0.05)
        for pid in _all_of(process.pid):
            os.kill(pid, signal.SIGTERM)
        assert heard(process) == b"SIGTERM\n"
        time.sleep(0.05)
        process.stdin.write(b"done\n")
        assert heard(process) == b"done\n"
        process.kill()


def _all_of(pid: int) -> list[int]:
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def test_an_alarm_that_was_set_before_is_for_the_program(environ: dict[str, str]) -> None:
    """A time limit that survives an exec, as in `perl -e 'alarm 1; exec @ARGV'`, still ends it."""
    alarmed = "import os, signal, sys; signal.setitimer(signal.ITIMER_REAL, 2)"
    with subprocess.Popen(
        [*PYTHON, f"{alarmed}; os.execv(sys.argv[1], sys.argv[1:])", *WATCH, "--", *PYTHON, TELL],
        env=environ, stdout=subprocess.PIPE, bufsize=0,
    ) as process:  # fmt: skip
        assert heard(process) == b"ready old old\n"
        assert process.wait(LIMIT) == -signal.SIGALRM


def test_a_stop_while_it_starts_leaves_nothing_behind(environ: dict[str, str]) -> None:
    """SIGTERM at any moment of the start ends what was started, as a signal does."""
    for delay in (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4):
        with subprocess.Popen([*WATCH, "--", "sleep", "60"], env=environ) as process:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(delay)
            process.terminate()
            assert process.wait(LIMIT) == -signal.SIGTERM


def test_who_ends_it_while_it_is_started_anew_ends_it(
    environ: dict[str, str], client: SecretsClient
) -> None:
    """SIGTERM or Ctrl-C during a stop means what it says: nothing is started again."""
    slow = SLOW.replace("end)", 'end); signal.signal(signal.SIGINT, lambda *_: say("interrupted"))')
    for number, answer in ((signal.SIGTERM, b"ending\n"), (signal.SIGINT, b"interrupted\n")):
        with watched(environ, slow) as process:
            client.put("db", "new")
            assert heard(process) == b"ending\n"
            process.send_signal(number)
            assert heard(process) == answer  # it is passed on as well
            assert process.stdin
            process.stdin.write(b"\n\n")
            assert process.wait(LIMIT) == 3
            assert process.stdout
            assert process.stdout.read() == b""
        client.put("db", "old")


def test_nothing_is_started_again_once_it_was_asked_to_end(
    environ: dict[str, str], client: SecretsClient
) -> None:
    """A change while the program takes its time to end doesn't bring it back."""
    with watched(environ, SLOW) as process:
        process.terminate()
        assert heard(process) == b"ending\n"
        client.put("db", "new")
        client.put("db", "newer")
        assert process.stdin
        process.stdin.write(b"\n")
        assert process.wait(LIMIT) == 3
        assert process.stdout
        assert process.stdout.read() == b""


def test_a_program_that_was_interrupted_has_time_to_end(
    environ: dict[str, str], client: SecretsClient
) -> None:
    """Ctrl-C may have been its end, so a change waits until it is clear that it wasn't."""
    lasting = TELL.replace(
        'say("ready', "signal.signal(signal.SIGINT, lambda *_: say('on'));say(\"ready"
    )
    with watched(environ, lasting, "--stop-timeout", "0.5") as process:
        process.send_signal(signal.SIGINT)
        assert heard(process) == b"on\n"
        before = time.monotonic()
        client.put("db", "new")
        assert [heard(process), heard(process)] == [b"ending\n", b"ready new old\n"]
        assert time.monotonic() - before > 0.4


def test_what_a_process_inherits_passes_through(environ: dict[str, str]) -> None:
    """Signals ignored and blocked, descriptors, umask and priority are those that were given."""
    assert_passes_on_what_it_inherits(environ, *WATCH, "--")


def test_ignored_children_are_not_lost(environ: dict[str, str]) -> None:
    """Where SIGCHLD is ignored the status is known all the same, and the program ignores it too."""
    ignoring = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
    shown = "import signal, sys; sys.exit(signal.getsignal(signal.SIGCHLD) + 5)"
    outcome = subprocess.run(
        [*PYTHON, f"{ignoring}; os.execv(sys.argv[1], sys.argv[1:])", *WATCH, "--",
         *PYTHON, shown],
        env=environ, check=False, timeout=LIMIT,
    )  # fmt: skip
    assert outcome.returncode == 6


@needs("setsid")
def test_the_terminal_is_the_programs(environ: dict[str, str]) -> None:
    """It is in the foreground of the terminal; Ctrl-C reaches it once, and its end is the end."""
    assert_has_the_terminal(environ, *WATCH, "--")


def seen(screen: IO[bytes], text: bytes) -> bytes:
    """What the terminal shows up to this text; a prompt ends no line."""
    shown = b""
    while text not in shown:
        assert select.select([screen], [], [], LIMIT)[0], shown
        shown += screen.read(1024)
    return shown


@needs("setsid", "bash")
def test_ctrl_z_gives_the_prompt_back(environ: dict[str, str], client: SecretsClient) -> None:
    """In a shell Ctrl-Z stops it, `fg` goes on with it, and what changed meanwhile is seen then."""
    with on_a_terminal(environ, "bash", "--norc", "--noprofile", "-i") as (screen, _):
        quoted = " ".join(f"'{word}'" for word in (*WATCH, "--", *PYTHON, TELL))
        screen.write(f"stty -echo\n{quoted}; echo first=$?\n".encode())
        seen(screen, b"ready old old")
        screen.write(b"\x1a")
        assert b"Stopped" in seen(screen, b"first=148")
        client.put("db", "new")
        screen.write(b"fg; echo second=$?\n")
        seen(screen, b"ready new old")
        screen.write(b"\x1a")
        seen(screen, b"second=148")
        screen.write(b"bg >/dev/null; kill -TERM %1; wait %1; echo third=$?\n")
        assert b"ending" in seen(screen, b"third=3")


@needs("setsid")
def test_a_terminal_that_is_gone_ends_it(environ: dict[str, str]) -> None:
    """As leader of its session, `run` alone is told of it, and passes it on."""
    with on_a_terminal(environ, *WATCH, "--", *PYTHON, TELL) as (screen, process):
        shown_until(screen, b"ready")
        (program,) = children(process.pid)
        screen.close()
        assert process.wait(LIMIT) == -signal.SIGHUP
        assert has_ended(program)


def test_a_program_never_outlives_its_supervisor(environ: dict[str, str]) -> None:
    """Where `run` is killed, the kernel kills the program, and what stands by."""
    with watched(environ, TELL) as process:
        _, *others = _all_of(process.pid)
        process.kill()
        process.wait(LIMIT)
        assert len(others) == 2
        wait_until(lambda: all(map(has_ended, others)))


def test_nobody_stays_unburied(environ: dict[str, str]) -> None:
    """Children that were there before `run` began are reaped when they end."""
    script = 'sleep 0.3 & exec "$@"'
    with subprocess.Popen(
        ["sh", "-c", script, "sh", *WATCH, "--", *PYTHON, TELL],
        env=environ, stdout=subprocess.PIPE, bufsize=0,
    ) as process:  # fmt: skip
        assert heard(process) == b"ready old old\n"
        wait_until(lambda: len(children(process.pid)) == 1)
        process.terminate()
        assert process.wait(LIMIT) == 3


def test_without_a_daemon_the_program_goes_on(
    daemon: DaemonProcess, environ: dict[str, str], client: SecretsClient
) -> None:
    """It keeps what it has while the daemon is away, and gets what is new once it is back."""
    with watched(environ, TELL) as process:
        daemon.kill()
        daemon.start()
        client.put("db", "new")
        assert [heard(process), heard(process)] == [b"ending\n", b"ready new old\n"]
        daemon.stop()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.terminate()
        assert process.wait(LIMIT) == 3
        daemon.start()


def test_a_secret_that_is_gone_or_unfit_changes_nothing(
    environ: dict[str, str], client: SecretsClient
) -> None:
    """The program keeps what it has, which is told, and gets the next value that it can have."""
    with watched(environ, TELL) as process:
        client.ask(m.Delete(SecretName("db")), m.Deleted)
        assert "db was deleted; the program keeps what it has" in remarked(process)
        client.ask(m.Restore(SecretName("db")), m.Stored)
        client.put("db", b"a\0b")
        assert "db holds a NUL byte" in remarked(process)
        assert "db changed" in (said := remarked(process))
        assert "keeps what it has" in said
        client.put("db", "new")
        assert [heard(process), heard(process)] == [b"ending\n", b"ready new old\n"]


def test_a_right_that_is_taken_changes_nothing(
    daemon: DaemonProcess, environ: dict[str, str], client: SecretsClient
) -> None:
    """A policy that takes the secret away is told; the program keeps what it has."""
    with watched(environ, TELL) as process:
        daemon.write_policy(daemon.policy_path.read_text().replace('allow: ["*"]', "allow: [none]"))
        daemon.reload()
        assert "can't follow changes, but tries on: the policy does not" in remarked(process)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
        process.terminate()
        assert process.wait(LIMIT) == 3


@pytest.mark.parametrize("action", ["KILL", "STOP", "CHLD", "no", "", "SIG", "9", "RESTART"])
def test_an_action_is_restart_or_a_signal(environ: dict[str, str], action: str) -> None:
    """What would tell a program nothing is refused before anything starts."""
    outcome = subprocess.run(
        [*PROGRAM, "run", "--on-change", action, "--", "echo", "started"],
        env=environ, capture_output=True, check=False, timeout=LIMIT,
    )  # fmt: skip
    assert (outcome.returncode, outcome.stdout) == (2, b"")
    assert b"restart nor a signal like HUP" in outcome.stderr


LISTENING = """
import os, signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(3))
told = [os.environ.get(name) for name in ("LISTEN_PID", "WATCHDOG_PID", "LISTEN_PIDFDID")]
own = ["mine" if each == str(os.getpid()) else each for each in told]
os.write(1, f"{own} {os.environ['LISTEN_FDS']} {os.fstat(3).st_ino}\\n".encode())
while True: signal.pause()
"""


def test_a_program_has_the_sockets_that_were_meant_for_it(
    environ: dict[str, str], client: SecretsClient, tmp_path: Path
) -> None:
    """A service manager names the process that it starts; under `run` that is the program, also
    when it is started anew, and no other process is renamed.
    """
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(str(tmp_path / "s"))
        shell = (
            'export LISTEN_PID=$$ LISTEN_FDS=1 WATCHDOG_PID=1 LISTEN_PIDFDID=5; exec 3<&"$0" "$@"'
        )
        command = ["bash", "-c", shell, str(given.fileno()), *WATCH, "--", *PYTHON, LISTENING]
        with subprocess.Popen(
            command, env=environ, stdout=subprocess.PIPE, pass_fds=[given.fileno()]
        ) as run:
            assert run.stdout is not None
            wanted = f"['mine', '1', None] 1 {os.fstat(given.fileno()).st_ino}\n".encode()
            assert run.stdout.readline() == wanted
            client.put("db", "new")
            assert run.stdout.readline() == wanted
            run.terminate()
