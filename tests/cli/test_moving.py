"""Moving in and out against the real daemon: what went in comes out, and goes in again."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jarvis_secretsd.cli.envfile import Dialect, EnvfileRefused, read_envfile
from jarvis_secretsd.client import SecretsClient
from tests.cli.conftest import Outcome, Tool
from tests.cli.terminal import PROGRAM
from tests.daemon_process import DaemonProcess
from tests.e2e.tools import needs

SHIPPED = sorted((Path(__file__).parent / "envfile" / "files").iterdir())

WRITABLE = st.text(
    st.one_of(
        st.sampled_from("$`'\"\\#={}!~*;&| \n\tab0é€"),
        st.characters(codec="utf-8", exclude_characters="\0\r"),
    ),
    max_size=40,
)
"""Any text that a variable can hold and no reader takes for a line's end, odd signs first."""

NASTY = [
    "p@$$w0rd${HOME}",
    "$2y$10$Q9hT7gk1u0Zr",
    "-----BEGIN KEY-----\nMC4CAQ==\n#not a comment\nNOT_A_KEY=inside\n-----END KEY-----\n",
    '{"type":"sa","key":"-----BEGIN\\nAB==\\n-----END\\n"}',
    "C:\\new\\table\\",
    'it\'s "quoted" with `ticks` and $(date)',
    "x\nLD_PRELOAD=/tmp/e.so",
    "  #lead and trail  ",
]
"""What other programs have broken between one `.env` and the next."""

POLICY = """clients:
  admin: {{users: ["{uid}"], permissions: [all], allow: ["*"]}}
  app: {{users: ["{uid}"], permissions: [read, write], allow: ["app/*"], deny: ["app/secret"]}}
"""

Move = Callable[..., Outcome]


@pytest.fixture
def at(tool: Tool) -> Move:
    """Runs a command line against a daemon, as `admin` unless another client is named."""

    def run(daemon: DaemonProcess, *arguments: str, stdin: bytes = b"") -> Outcome:
        where = ("--socket", str(daemon.socket_path), "--client", "admin")
        return tool(*where, *arguments, stdin=stdin)

    return run


def held(daemon: DaemonProcess) -> dict[str, bytes]:
    """Every secret of the daemon with its value."""
    with SecretsClient(str(daemon.socket_path), client_id="admin", cache_ttl=0) as client:
        return {entry.name: client.get_bytes(entry.name) for entry in client.list()}


def sourced(data: bytes, path: Path) -> dict[str, bytes]:
    """The variables that bash has after it has read the file, without those of its own."""
    path.write_bytes(data)
    script = 'set -a; . "$1"; exec env -0'
    command = ["bash", "-c", script, "bash", str(path)]
    found = subprocess.run(
        command, env={"PATH": os.environ["PATH"]}, capture_output=True, check=True
    )
    assert found.stderr == b""
    pairs = (entry.partition(b"=") for entry in found.stdout.split(b"\0") if entry)
    return {name.decode(): value for name, _, value in pairs if name.startswith(b"N")}


def dialect_of(path: Path) -> str:
    """The first dialect that reads the file surely, as a person would try them."""
    for dialect in Dialect:
        try:
            read_envfile(path.read_bytes(), dialect)
        except EnvfileRefused:
            continue
        return dialect.value
    raise AssertionError(f"no dialect reads {path.name}")


def test_files_of_well_known_projects_move_twice(
    make_daemon: Callable[..., DaemonProcess], at: Move
) -> None:
    """Each file, below a prefix of its own, is the same in a second daemon by way of an export."""
    first, second = make_daemon(), make_daemon()
    first.start()
    second.start()
    assert len(SHIPPED) > 10
    for path in SHIPPED:
        prefix = f"{path.stem}/"
        moved = at(first, "import", "--dialect", dialect_of(path), "--prefix", prefix, str(path))
        assert moved.status == 0, moved.err
        written = at(first, "export", "--strip-prefix", prefix)
        assert written.status == 0, written.err
        moved = at(second, "import", "--prefix", prefix, "-", stdin=written.out)
        assert moved.status == 0, moved.err
    assert held(first) == held(second)
    assert len(held(first)) > 100


@needs("bash")
def test_any_text_moves_twice(
    make_daemon: Callable[..., DaemonProcess], at: Move, tmp_path: Path
) -> None:
    """What is stored over the wire is the same after export and import, and for bash."""
    first, second = make_daemon(), make_daemon()
    first.start()
    second.start()
    with SecretsClient(str(first.socket_path), client_id="admin") as client:

        @given(st.lists(WRITABLE, min_size=len(NASTY), max_size=len(NASTY)))
        @example(NASTY)
        @settings(max_examples=10, deadline=None)
        def moves_twice(values: Sequence[str]) -> None:
            for number, value in enumerate(values):
                client.put(f"n{number}", value)
            written = at(first, "export")
            assert written.status == 0, written.err
            moved = at(second, "import", "-", stdin=written.out)
            assert moved.status == 0, moved.err
            expected = {f"n{number}": value.encode() for number, value in enumerate(values)}
            assert held(second) == expected
            assert sourced(written.out, tmp_path / ".env") == {
                name.upper(): value for name, value in expected.items()
            }

        moves_twice()


def test_rights_decide_what_moves(make_daemon: Callable[..., DaemonProcess], at: Move) -> None:
    """An export is what the client may read, and an import without one right writes nothing."""
    daemon = make_daemon(policy=POLICY.format(uid=os.geteuid()))
    daemon.start()
    at(daemon, "import", "-", "--prefix", "app/", stdin=b"A=1\nSECRET=2\n")
    at(daemon, "import", "-", stdin=b"OTHER=3\n")
    assert at(daemon, "export", "--client", "app", "--json").out == b'{"APP_A":"1"}\n'
    arguments = ("import", "--client", "app", "--prefix", "app/", "-")
    refused = at(daemon, *arguments, stdin=b"A=new\nSECRET=new\n")
    assert refused.status == 4
    assert "no right to read (to compare) app/secret" in refused.err
    assert held(daemon) == {"app/a": b"1", "app/secret": b"2", "other": b"3"}
    allowed = at(daemon, *arguments, "--skip", "SECRET", stdin=b"A=new\nSECRET=new\n")
    assert allowed.status == 0
    assert held(daemon)["app/a"] == b"new"


def test_an_import_over_tcp_is_the_same(daemon: DaemonProcess, tool: Tool) -> None:
    """By URL a dry run and an import say what they say over the socket."""
    where = ("--url", daemon.url, "--client", "admin", "import", "-")
    data = b"A=one\nB=two\n"
    assert [row.split()[-1] for row in tool(*where, "--dry-run", stdin=data).lines[1:]] == [
        "created",
        "created",
    ]
    assert tool(*where, stdin=data).lines[:2] == ["created a", "created b"]
    assert held(daemon) == {"a": b"one", "b": b"two"}


def test_hundreds_of_variables_move(daemon: DaemonProcess, at: Move) -> None:
    """A file of many batches is stored, compared and exported in order."""
    data = b"".join(b"N%03d=value-%d\n" % (number, number) for number in range(300))
    assert at(daemon, "import", "-", stdin=data).lines[-1].startswith("300 created, 0 changed")
    assert b"".join(at(daemon, "export").out.splitlines(keepends=True)[1:]) == data


def test_a_daemon_that_is_killed_costs_a_repetition(daemon: DaemonProcess, at: Move) -> None:
    """An import that it ends is a failure, and the next one stores what is missing and no more."""
    data = b"".join(b"N%04d=value-%d\n" % (number, number) for number in range(3000))
    where = ("--socket", str(daemon.socket_path), "--client", "admin")
    with (
        subprocess.Popen(
            [*PROGRAM, *where, "import", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process,
        SecretsClient(str(daemon.socket_path), client_id="admin") as client,
    ):
        assert process.stdin
        process.stdin.write(data)
        process.stdin.close()
        while not client.list():
            assert process.poll() is None
        daemon.kill()
        assert process.stderr
        told = process.stderr.read().decode()
        assert process.wait(20) == 5, told
    assert "repeat the import: what is stored already stays as it is" in told
    daemon.start()
    before = len(held(daemon))
    assert 0 < before < 3000
    last = at(daemon, "import", "-", stdin=data).lines[-1]
    assert last.startswith(f"{3000 - before} created, 0 changed, {before} unchanged; every value")
