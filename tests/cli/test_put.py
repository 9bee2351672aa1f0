"""`jarvis-secrets put`: a value comes in by a prompt, a pipe or a file, never as an argument."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jarvis_secretsd import messages as m
from jarvis_secretsd.values import MAX_VALUE_BYTES, Kind, SecretName, SecretValue
from tests.cli.conftest import Tool
from tests.cli.terminal import on_terminal
from tests.client.fake_daemon import FakeDaemon

KID = "0000000000000001"


@pytest.mark.parametrize(
    ("stdin", "options", "stored"),
    [
        (b"s3cret\n", (), b"s3cret"),
        (b"s3cret", (), b"s3cret"),
        (b"s3cret\n\n", (), b"s3cret\n"),
        (b"s3cret\r\n", (), b"s3cret\r"),
        (b" x ", (), b" x "),
        (b"s3cret\n", ("--keep-newline",), b"s3cret\n"),
        (b"x" * MAX_VALUE_BYTES + b"\n", (), b"x" * MAX_VALUE_BYTES),
    ],
)
def test_of_a_pipe_one_newline_is_the_end_of_the_line(
    fake: FakeDaemon, tool: Tool, stdin: bytes, options: tuple[str, ...], stored: bytes
) -> None:
    """One final newline of stdin is dropped, unless it is asked to be kept; nothing else is."""
    outcome = tool("put", "p", *options, stdin=stdin)
    assert fake.secrets["p"] == SecretValue(stored)
    assert outcome.status == 0
    assert f"{len(stored):,} bytes" in outcome.lines[0]
    assert b"s3cret" not in outcome.out


def test_a_file_is_taken_as_it_is(fake: FakeDaemon, tool: Tool, tmp_path: Path) -> None:
    """A file's final newline is part of the value, which is said; bytes are stored as bytes."""
    file = tmp_path / "key.pem"
    file.write_bytes(b"-----END-----\n")
    outcome = tool("put", "p", "--file", str(file))
    assert outcome.lines == [f"stored p: 14 bytes with its final newline, version 1, kid {KID}"]
    assert fake.secrets["p"] == SecretValue(b"-----END-----\n")
    file.write_bytes(b"\xff\0")
    assert tool("put", "p", "--file", str(file)).status == 0
    assert fake.secrets["p"] == SecretValue(b"\xff\0", is_text=False)
    tool("put", "p", stdin=b"\0" * MAX_VALUE_BYTES)
    assert fake.secrets["p"] == SecretValue(b"\0" * MAX_VALUE_BYTES, is_text=False)
    tool("put", "p", "--file", "-", stdin=b"a\n")
    assert fake.secrets["p"] == SecretValue(b"a\n")


def test_an_argument_is_never_a_value(fake: FakeDaemon, tool: Tool) -> None:
    """A value on the command line is refused with the way to do it, and isn't repeated."""
    outcome = tool("put", "p", "hunter2")
    assert outcome.status == 2
    assert "pipe it in" in outcome.err
    assert "hunter2" not in outcome.err
    assert not fake.asked


def test_an_empty_value_is_stored_and_pointed_out(fake: FakeDaemon, tool: Tool) -> None:
    """Empty is a value; whoever piped in nothing by mistake is told."""
    outcome = tool("put", "p", stdin=b"")
    assert outcome.status == 0
    assert "the value of p is empty" in outcome.err
    assert fake.secrets["p"] == SecretValue(b"")


@pytest.mark.parametrize("options", [(), ("--file", "-")])
@pytest.mark.parametrize("excess", [1, 2])
def test_a_value_that_is_too_large_is_not_cut(
    fake: FakeDaemon, tool: Tool, options: tuple[str, ...], excess: int
) -> None:
    """What is over the limit is refused with the limit, and nothing is stored."""
    outcome = tool("put", "p", *options, stdin=b"x" * (MAX_VALUE_BYTES + excess))
    assert outcome.status == 1
    assert "262,144 bytes" in outcome.err
    assert not fake.asked


def test_a_generated_value_is_not_ours_to_see(fake: FakeDaemon, tool: Tool) -> None:
    """--kind says what a value is; --generate sends a kind and no value, and prints none."""
    tool("put", "q", "--kind", "api_key", stdin=b"x")
    assert fake.operations(m.Put) == [m.Put(SecretName("q"), "x", kind=Kind.API_KEY)]
    fake.asked.clear()
    outcome = tool("put", "p", "--generate", "password", "--rotation-days", "90", "--auto-rotate")
    assert fake.operations(m.Put) == [
        m.Put(SecretName("p"), kind=Kind.PASSWORD, rotation_days=90, auto_rotate=True)
    ]
    assert outcome.lines == [f"stored p: generated, version 1, kid {KID}"]
    assert tool("put", "p", "--generate", "static").status == 2
    assert tool("put", "p", "--generate", "password", "--file", "x").status == 2


def test_the_version_that_must_be_there(fake: FakeDaemon, tool: Tool) -> None:
    """--expect-kid "" stores only what is new; a conflict has its own status."""
    assert tool("put", "p", "--expect-kid", "", stdin=b"a").status == 0
    outcome = tool("put", "p", "--expect-kid", "", stdin=b"b")
    assert outcome.status == 7
    assert fake.secrets["p"] == SecretValue(b"a")
    assert json.loads(tool("put", "p", "--expect-kid", KID, "--json", stdin=b"b").out) == {
        "name": "p",
        "kid": "0000000000000002",
        "version": 2,
        "expires_at": "9999-12-31T23:59:59Z",
    }


def test_a_prompt_hides_what_is_typed(
    fake: FakeDaemon, socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal the value is asked for twice and never shown."""
    monkeypatch.setenv("JARVIS_SECRETS_SOCKET", str(socket_path))
    status, screen = on_terminal("put", "p", typed="s3cret é\ns3cret é\n".encode())
    assert status == 0
    assert b"s3cret" not in screen
    assert b"stored p: 9 bytes" in screen
    assert fake.secrets["p"] == SecretValue.from_text("s3cret é")


def test_a_file_that_is_not_there_is_named(tool: Tool, tmp_path: Path) -> None:
    """What can't be read is named, with the system's reason."""
    outcome = tool("put", "p", "--file", str(tmp_path / "none"))
    assert outcome.status == 1
    assert outcome.err == f"jarvis-secrets: can't read {tmp_path}/none: No such file or directory\n"
