"""`jarvis-secrets get`: a value leaves exactly as it was stored."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from jarvis_secretsd.values import SecretValue
from tests.cli.conftest import Tool
from tests.cli.terminal import PROGRAM, on_terminal
from tests.client.fake_daemon import FakeDaemon


@pytest.mark.parametrize(
    "data", [b"", b"s3cret", b"s3cret\n", b" x ", b"\0\xff\r\n", b"x" * 200_000]
)
def test_a_pipe_gets_the_bytes_and_nothing_else(fake: FakeDaemon, tool: Tool, data: bytes) -> None:
    """What goes into a pipe is the stored value, byte for byte."""
    fake.store("p", SecretValue(data, is_text=False))
    assert tool("get", "p") == (0, data, "")


def test_a_terminal_gets_a_line(
    fake: FakeDaemon, socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal the prompt doesn't stick to the value."""
    monkeypatch.setenv("JARVIS_SECRETS_SOCKET", str(socket_path))
    fake.hold(p="s3cret")
    assert on_terminal("get", "p") == (0, b"s3cret\r\n")


def test_a_version_is_asked_for_by_its_kid(fake: FakeDaemon, tool: Tool) -> None:
    """--kid goes to the daemon; what can't be a kid is a usage error."""
    fake.hold(p="x")
    assert tool("get", "p", "--kid", "00000000000000aa").status == 0
    assert getattr(fake.asked[-1].operation, "kid", None) == "00000000000000aa"
    outcome = tool("get", "p", "--kid", "aa")
    assert outcome.status == 2
    assert "16 lower-case hex digits" in outcome.err


def test_json_says_all_about_it(fake: FakeDaemon, tool: Tool) -> None:
    """--json prints what HTTP would give, before the command or after it."""
    fake.hold(p="x")
    told = json.loads(tool("get", "p", "--json").out)
    assert told["value"] == "x"
    assert told["expires_at"] == "9999-12-31T23:59:59Z"
    assert json.loads(tool("--json", "get", "p").out) == told


def test_a_reader_that_leaves_early_is_no_scandal(
    fake: FakeDaemon, socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the pipe's reader is gone the command ends quietly, as if by SIGPIPE."""
    monkeypatch.setenv("JARVIS_SECRETS_SOCKET", str(socket_path))
    fake.hold(p="x" * 200_000)
    for command in ("get p", "list"):
        with subprocess.Popen(
            [*PROGRAM, *command.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.close()
            assert process.stderr is not None
            assert process.stderr.read() == b""
        assert process.returncode == 141
