"""The programs in examples/ still do what their first lines say."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.daemon_process import DaemonProcess
from tests.docs.clients_page import environment, put

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_http_over_the_socket(daemon: DaemonProcess) -> None:
    """The standard library alone gets a text, and says why it gets nothing else."""

    def ask(name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-I", EXAMPLES / "http_over_unix_socket.py", name],
            env=environment(daemon, "admin"),
            capture_output=True,
            text=True,
            check=False,
        )

    put(daemon, "db/main", "p\u00e9 ss")
    put(daemon, "tls/key", b"\xff")
    assert (ask("db/main").stdout, ask("db/main").stderr) == ("p\u00e9 ss\n", "")
    for name, words in (("none", "no secret is named none"), ("tls/key", "not text")):
        done = ask(name)
        assert done.stdout == ""
        assert words in done.stderr
        assert done.returncode == 1


def test_the_first_five_minutes() -> None:
    """Every step succeeds, the secret comes by every way, and no file is left behind."""
    with tempfile.TemporaryDirectory(prefix="jarvis-") as scratch:
        done = subprocess.run(
            [str(EXAMPLES / "first-five-minutes"), "--once"],
            env=os.environ | {"TMPDIR": scratch},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert os.listdir(scratch) == []
    assert done.stdout.count("correct horse battery staple") == 3
    assert "my password has 28 characters" in done.stdout
