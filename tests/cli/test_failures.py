"""How `jarvis-secrets` fails: one line that says what to do, and a status for scripts."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from jarvis_secretsd import messages as m
from jarvis_secretsd.errors import Reason
from tests.cli.conftest import Tool
from tests.cli.terminal import PROGRAM, on_terminal
from tests.client.fake_daemon import FakeDaemon


@pytest.mark.parametrize(
    ("failure", "status", "told"),
    [
        (m.Failure("internal", "a fault of ours"), 1, "a fault of ours"),
        (m.Failure("invalid_request", "kind: none"), 2, "kind: none"),
        (m.Failure("not_found", "no such secret"), 3, "`jarvis-secrets list`"),
        (m.Failure("denied", "the policy says no"), 4, "`jarvis-secrets whoami`"),
        (m.Failure("bad_token", "ended"), 4, "`jarvis-secrets help denied`"),
        (m.Failure("unavailable", "full", Reason.STORAGE_FULL), 6, "repeat it later"),
        (m.Failure("rate_limited", "too many"), 6, "wait a moment"),
        (m.Failure("conflict", "another kid"), 7, "`jarvis-secrets list`"),
    ],
)
def test_every_refusal_has_its_status_and_its_remedy(
    fake: FakeDaemon, tool: Tool, failure: m.Failure, status: int, told: str
) -> None:
    """Scripts branch on the status, people read one line with the daemon's words and what to do."""
    fake.answers.append(lambda _: failure)
    outcome = tool("get", "p")
    assert (outcome.status, outcome.out) == (status, b"")
    assert outcome.err.startswith(f"jarvis-secrets: {failure.message}")
    assert told in outcome.err
    assert outcome.err.count("\n") == 1


def test_who_names_no_client_is_not_told_of_headers(fake: FakeDaemon, tool: Tool) -> None:
    """The daemon's words are for who writes a client; a person is told the option."""
    fake.answers.append(lambda _: m.Failure("client_required", "in the header X-Jarvis-Client"))
    outcome = tool("get", "p")
    assert outcome.status == 4
    assert outcome.err == (
        "jarvis-secrets: which client are you? name it with --client ID or JARVIS_CLIENT_ID; "
        "`jarvis-secrets whoami` lists yours\n"
    )


def test_no_daemon_is_a_status_of_its_own(tool: Tool, socket_path: Path) -> None:
    """Where nothing answers the status is 5 and the socket is named."""
    outcome = tool("get", "p")
    assert outcome.status == 5
    assert str(socket_path) in outcome.err
    assert "`jarvis-secrets help getting-started`" in outcome.err
    assert tool("get", "p", "--url", "http://127.0.0.1:1").status == 5


def test_a_write_without_an_answer_is_to_be_looked_at(fake: FakeDaemon, tool: Tool) -> None:
    """Who doesn't know whether a value was stored is told to look, not to repeat."""
    fake.answers.append(lambda _: None)
    outcome = tool("put", "p", stdin=b"x")
    assert outcome.status == 5
    assert "look what took effect" in outcome.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("get",),
        ("get", "DB_PASS"),
        ("get", "p", "--nonsense"),
        ("nonsense",),
        ("put", "p", "--kind", "nonsense"),
        ("get", "p", "--client", "-x"),
        ("get", "p", "--url", "http://10.0.0.1:8081"),
        ("get", "p", "--socket", "/s", "--url", "http://127.0.0.1:1"),
        ("run",),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    fake: FakeDaemon, tool: Tool, arguments: tuple[str, ...]
) -> None:
    """A wrong command line is one line and status 2, and the daemon isn't asked."""
    outcome = tool(*arguments)
    assert (outcome.status, outcome.out) == (2, b"")
    assert outcome.err.count("\n") == 1
    assert not fake.asked


def test_a_peer_cannot_steer_the_terminal(fake: FakeDaemon, tool: Tool) -> None:
    """Control characters in what the daemon says are not passed on to the screen."""
    fake.answers.append(lambda _: m.Failure("denied", "\x1b[2Jno\nway"))
    assert tool("get", "p").err.startswith("jarvis-secrets: ?[2Jno?way;")


def test_options_are_taken_before_and_after_the_command(fake: FakeDaemon, tool: Tool) -> None:
    """What is said at the command beats what was said before it."""
    tool("--client", "a", "health")
    tool("health", "--client", "b")
    tool("--client", "a", "health", "--client", "b")
    assert [asked.client for asked in fake.asked] == ["a", "b", "b"]


def test_no_traceback_where_stdout_is_full() -> None:
    """A result that can't be written is a failure of one line."""
    with Path("/dev/full").open("wb") as full:
        failed = subprocess.run(
            [*PROGRAM, "--version"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert failed.returncode == 1
    assert failed.stderr == b"jarvis-secrets: can't write the result: No space left on device\n"


@pytest.mark.parametrize("command", ["help", "--help", "whoami", "status", "completion zsh", "ls"])
def test_a_reader_that_leaves_early_is_no_scandal(
    fake: FakeDaemon, socket_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """When the pipe's reader is gone every command ends quietly, as if by SIGPIPE."""
    monkeypatch.setenv("JARVIS_SECRETS_SOCKET", str(socket_path))
    fake.hold(p="x")
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        done = subprocess.run(
            [*PROGRAM, *command.split()], stdout=theirs, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(theirs)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("command", ["get p", "list"])
def test_who_interrupts_a_wait_hears_no_more(
    fake: FakeDaemon, socket_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Ctrl-C while the daemon thinks ends at once with 130 and without a traceback."""
    monkeypatch.setenv("JARVIS_SECRETS_SOCKET", str(socket_path))
    asked, answer = threading.Event(), threading.Event()

    def think(_: m.Request) -> None:
        asked.set()
        answer.wait(20)

    fake.answers.append(think)
    with subprocess.Popen(
        [*PROGRAM, *command.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert asked.wait(20)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    answer.set()
    assert (process.returncode, out, err.strip()) == (130, b"", b"")


def test_who_interrupts_a_prompt_stores_nothing(
    fake: FakeDaemon, socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C and Ctrl-D at the prompt end the command; what was typed goes nowhere."""
    monkeypatch.setenv("JARVIS_SECRETS_SOCKET", str(socket_path))
    for key in (b"\x03", b"\x04"):
        status, screen = on_terminal("put", "p", typed=key)
        assert status == 130
        assert b"Traceback" not in screen
    assert not fake.asked
