"""What the commands were started with: streams that are closed, unbuffered, or don't block."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from jarvis_secretsd.values import SecretValue
from tests.cli.terminal import PROGRAM
from tests.client.fake_daemon import FakeDaemon

UNBUFFERED = pytest.mark.parametrize("unbuffered", ["", "1"])


@pytest.fixture(autouse=True)
def _find_the_fake(fake: FakeDaemon, socket_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JARVIS_SECRETS_SOCKET", str(socket_path))
    fake.hold(a="s3cret")


def started(
    how: str, *arguments: str, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """The command, started by a shell with these redirections."""
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {how}', "sh", *PROGRAM, *arguments],
        env={**os.environ, **(environ or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=20,
    )


@UNBUFFERED
@pytest.mark.parametrize("command", [("get", "a"), ("list",), ("export",), ("--json", "get", "a")])
@pytest.mark.parametrize("how", [">&-", ">/dev/full", "<&- >&-"])
def test_a_result_that_cannot_be_written_is_a_failure(
    command: tuple[str, ...], how: str, unbuffered: str
) -> None:
    """Neither a closed stdout nor a full disk ends with status 0."""
    outcome = started(how, *command, environ={"PYTHONUNBUFFERED": unbuffered})
    assert outcome.returncode == 1
    assert outcome.stderr.startswith(b"jarvis-secrets: can't write the result: ")
    assert outcome.stderr.count(b"\n") == 1


@UNBUFFERED
@pytest.mark.parametrize("command", [("get", "big"), ("export",), ("--json", "get", "big")])
def test_a_value_is_never_cut_off_in_silence(
    fake: FakeDaemon, tmp_path: Path, command: tuple[str, ...], unbuffered: str
) -> None:
    """A file that takes the beginning of a value and no more is a failure, not a short value."""
    fake.store("big", SecretValue(b"x" * 100_000))
    outcome = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -f 16; exec "$@" >"$0"', tmp_path / "out", *PROGRAM, *command],
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        capture_output=True,
        check=False,
        timeout=20,
    )
    assert (tmp_path / "out").stat().st_size == 16 * 512
    assert outcome.returncode == 1
    assert outcome.stderr == b"jarvis-secrets: can't write the result: File too large\n"


@pytest.mark.parametrize(
    ("command", "status"),
    [(("get", "a"), 0), (("get", "none"), 3), (("import", "/none"), 1), (("get", "A"), 2)],
)
def test_a_closed_stderr_changes_nothing(command: tuple[str, ...], status: int) -> None:
    """The status is the same, and nothing that was for stderr ends in the result."""
    outcome = started("2>&-", *command)
    assert outcome.returncode == status
    assert outcome.stdout == (b"s3cret" if status == 0 else b"")


@pytest.mark.parametrize(
    "command", [("import", "-"), ("put", "new"), ("put", "new", "--file", "-")]
)
def test_a_closed_stdin_is_no_empty_value(fake: FakeDaemon, command: tuple[str, ...]) -> None:
    """What was to come from there is missing, which is told, and nothing is stored."""
    outcome = started("<&-", *command)
    assert outcome.returncode == 1
    assert outcome.stderr == b"jarvis-secrets: can't read stdin: Bad file descriptor\n"
    assert "new" not in fake.secrets


@pytest.mark.parametrize(
    ("how", "open_ones"),
    [("<&-", "1 2"), (">&- <&-", "2"), ("2>&- <&-", "1"), ("<&- >&- 2>&-", "")],
)
def test_what_was_closed_is_closed_for_the_program(
    tmp_path: Path, how: str, open_ones: str
) -> None:
    """`run` gives no descriptor away that it wasn't given, be it a socket's or a stand-in's."""
    script = f"for n in 0 1 2; do [ -e /proc/$$/fd/$n ] && echo $n >>{tmp_path}/told; done"
    (tmp_path / "told").touch()
    started(how, "run", "--only", "a", "--", "sh", "-c", script)
    assert (tmp_path / "told").read_text().split() == open_ones.split()


@pytest.mark.parametrize("command", [("import", "-"), ("put", "a2")])
def test_what_comes_late_is_waited_for(fake: FakeDaemon, command: tuple[str, ...]) -> None:
    """A stdin that somebody made non-blocking is read to its end all the same."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with subprocess.Popen([*PROGRAM, *command], stdin=reading, stdout=subprocess.PIPE) as process:
        os.close(reading)
        os.write(writing, b"A1=one\n")
        time.sleep(0.5)  # until it has read what is there
        os.write(writing, b"A2=two")
        os.close(writing)
        assert process.wait(20) == 0
    assert fake.secrets["a2"].reveal().endswith(b"two")
