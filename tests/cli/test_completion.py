"""`jarvis-secrets completion`: what the Tab key finds, in the real shells."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import time
from pathlib import Path

import pytest

from jarvis_secretsd import messages as m
from jarvis_secretsd.cli import completing
from jarvis_secretsd.values import Kid, Kind, SecretName, State
from tests.cli.terminal import PROGRAM
from tests.client.fake_daemon import NOW, FakeDaemon
from tests.e2e.tools import needs

NAMES = ("db/main", "db/replica", "postgres_password")


@pytest.fixture(autouse=True)
def _shell(
    tmp_path: Path, socket_path: Path, fake: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `jarvis-secrets` on the PATH that finds the fake daemon, and a home of its own."""
    program = tmp_path / "bin" / "jarvis-secrets"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nexec {PROGRAM[0]} {PROGRAM[1]} '{PROGRAM[2]}' \"$@\"\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("JARVIS_SECRETS_SOCKET", str(socket_path))
    monkeypatch.chdir(tmp_path)
    fake.hold(**dict.fromkeys(NAMES, "x"))


def _found(*words: str) -> list[str]:
    """What the program gives a shell for the last of these words."""
    done = subprocess.run(
        ["jarvis-secrets"],
        env={
            **os.environ,
            "_JARVIS_SECRETS_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(("jarvis-secrets", *words)),
            "COMP_CWORD": str(len(words)),
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.split()]


def _typed(shell: list[str], setting_up: str, line: str, wanted: str) -> str:
    """The screen of an interactive shell in which `line` is typed, once `wanted` stands there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        shell,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "dumb", "PS1": "> "},
        start_new_session=True,
    )
    os.close(theirs)
    try:
        _read_until(ours, "> ", setting_up)
        _read_until(ours, "ready", line)
        return _read_until(ours, wanted, "")
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _read_until(terminal: int, wanted: str, then: str) -> str:
    os.set_blocking(terminal, False)
    shown, deadline = "", time.monotonic() + 20
    while wanted not in shown:
        assert time.monotonic() < deadline, shown
        try:
            shown += os.read(terminal, 4096).decode(errors="replace")
        except BlockingIOError:
            time.sleep(0.01)
    os.write(terminal, then.encode())
    return shown


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("",), ["get", "put", "edit", "list"]),
        (("ro",), ["rotate"]),
        (("get", ""), [*NAMES]),
        (("get", "db/"), ["db/main", "db/replica"]),
        (("rotate", "db/main", "db/"), ["db/replica"]),
        (("edit", "po"), ["postgres_password"]),
        (("rm", "po"), ["postgres_password"]),
        (("can", "re"), ["read"]),
        (("can", "read", "po"), ["postgres_password"]),
        (("put", "x", "--generate", "pass"), ["password"]),
        (("put", "x", "--gen"), ["--generate"]),
        (("get", "--client", ""), ["admin"]),
        (("token", "create", ""), ["admin"]),
        (("token", ""), ["create", "list", "revoke"]),
        (("audit", ""), ["head", "log"]),
        (("audit", "log", "--name", "db/"), ["db/main", "db/replica"]),
        (("token", "revoke", ""), ["t1"]),
        (("rollback", "po"), ["postgres_password"]),
        (("run", "--only", "po"), ["postgres_password"]),
        # as bash takes words apart, and as it does where COMP_WORDBREAKS has no `=`
        (("run", "--as", "PW", "=", "po"), ["postgres_password"]),
        (("run", "--as", "PW", "="), [*NAMES]),
        (("run", "--as", "A", "=", "x", "--as", "PW", "=", "po"), ["postgres_password"]),
        (("run", "--as", "PW=po"), ["PW=postgres_password"]),
        (("export", "--as", "PW", "=", "db/r"), ["db/replica"]),
        (("import", "--map", "PW", "=", "db/r"), ["db/replica"]),
        (("get", "--client", "=", "ad"), ["admin"]),
        (("help", "exit"), ["exit-status"]),
        (("help", "rot"), ["rotation", "rotate"]),
        (("completion", ""), ["bash", "zsh", "fish"]),
    ],
)
def test_the_tab_key_finds(words: tuple[str, ...], found: list[str]) -> None:
    """Commands, options, kinds, names, clients and topics, each where it belongs."""
    assert _found(*words)[: len(found)] == found


def test_generated_kinds_are_those_that_can_be() -> None:
    """What the daemon can't make isn't offered."""
    offered = _found("put", "x", "--generate", "")
    assert set(offered) == set(Kind) - {Kind.STATIC, Kind.EXTERNAL}


@pytest.mark.parametrize(
    ("words", "states"),
    [
        (("get", "db/main", "--kid", ""), ["current", "grace", "unresolved"]),
        (("rollback", "db/main", "--kid", ""), ["grace"]),
        (("revoke", "db/main", ""), ["grace", "unresolved"]),
    ],
)
def test_kids_are_those_of_the_name(
    fake: FakeDaemon, words: tuple[str, ...], states: list[str]
) -> None:
    """A kid is completed where the name stands already, and only where its version will do."""
    kids = {state: Kid(f"{number:016x}") for number, state in enumerate(State)}
    name = SecretName("db/main")
    versions = tuple(m.VersionInfo(kid, 1, state, NOW) for state, kid in kids.items())
    fake.answers.append(lambda _: m.VersionListing(name, versions, NOW))
    assert set(_found(*words)) == {kids[State(state)] for state in states}
    assert fake.operations(m.Versions) == [m.Versions(name)]


def test_files_are_left_to_the_shell() -> None:
    """For a file the shell is told that one is wanted."""
    done = subprocess.run(
        ["jarvis-secrets"],
        env={
            **os.environ,
            "_JARVIS_SECRETS_COMPLETE": "bash_complete",
            "COMP_WORDS": "jarvis-secrets put x --file ke",
            "COMP_CWORD": "4",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "file,ke\n"


def test_the_options_on_the_line_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A --socket that stands there already says which daemon is asked."""
    socket = os.environ["JARVIS_SECRETS_SOCKET"]
    monkeypatch.setenv("JARVIS_SECRETS_SOCKET", "/none/such")
    assert _found("get", "") == []
    assert _found("--socket", socket, "get", "") == [*NAMES]
    assert _found("get", "--socket", socket, "") == [*NAMES]


def test_a_daemon_that_says_no_is_silence(fake: FakeDaemon) -> None:
    """Denied, unreachable, or a client id that can't be: no names, and no word about it."""
    fake.answers.append(lambda _: m.Failure("denied", "no"))
    assert _found("get", "") == []
    assert _found("--client", "-x", "get", "") == []
    assert _found("--url", "http://10.0.0.1", "get", "") == []


def test_a_daemon_that_hangs_is_not_waited_for_long(fake: FakeDaemon) -> None:
    """After a second the Tab key is given back, without names."""

    def hang(_: m.Request) -> None:
        time.sleep(3 * completing.PATIENCE)

    fake.answers.append(hang)
    before = time.monotonic()
    assert _found("get", "") == []
    assert time.monotonic() - before < 2.5 * completing.PATIENCE


def test_bash_completes_on_a_terminal(fake: FakeDaemon) -> None:
    """The script that is printed makes Tab complete a command, and a name with its slash."""
    _check_shell(
        ["bash", "--norc", "--noprofile", "-i"],
        'eval "$(jarvis-secrets completion bash)"; echo rea""dy\n',
    )


@needs("zsh")
def test_zsh_completes_on_a_terminal(fake: FakeDaemon) -> None:
    """As in bash, below compinit."""
    _check_shell(
        ["zsh", "-f", "-i"],
        "unsetopt zle_bracketed_paste; autoload -Uz compinit; compinit -u; "
        'eval "$(jarvis-secrets completion zsh)"; echo rea""dy\n',
    )


def _check_shell(shell: list[str], setting_up: str) -> None:
    shown = _typed(shell, setting_up, "jarvis-secrets get pos\t", "postgres_password")
    assert re.search(r"get postgres_password ", shown)
    shown = _typed(shell, setting_up, "jarvis-secrets get db/\t\t", "db/replica")
    assert "db/main" in shown
    shown = _typed(shell, setting_up, "jarvis-secrets run --as PW=pos\t", "postgres_password")
    assert re.search(r"--as PW=postgres_password ", shown)


@needs("fish")
def test_fish_completes() -> None:
    """fish would show names with their slash, and commands with their help."""
    script = "jarvis-secrets completion fish | source; complete -C 'jarvis-secrets {}'"

    def shown(line: str) -> list[str]:
        done = subprocess.run(
            ["fish", "--no-config", "-c", script.format(line)],
            capture_output=True, text=True, check=True, timeout=20,
        )  # fmt: skip
        assert done.stderr == ""
        return done.stdout.splitlines()

    assert [line.split("\t")[0] for line in shown("get db/")] == ["db/main", "db/replica"]
    assert shown("run --as PW=db/r") == ["PW=db/replica"]
    assert any(line.startswith("rotate\tgive secrets") for line in shown("ro"))
