"""What a start costs: of a program that imports the client, and of `jarvis-secrets get`.

Every row is a process from its start to its end, or an import inside one, against a bare
interpreter in the same run. The program is installed as a user installs it, into an environment of
its own: the finder of an editable install would be part of every start.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.machine import describe
from tests.daemon_process import DaemonProcess

ROOT = Path(__file__).resolve().parents[1]
NAME, VALUE = "postgres_password", b"a password"
GET_AIM, IMPORT_AIM = 80.0, 25.0
"""Milliseconds that are to be kept, as the median."""

IMPORT = """\
import time
start = time.perf_counter()
from jarvis_secretsd.client import SecretsClient, get_secret
print(time.perf_counter() - start)
"""


class Row(NamedTuple):
    """A line of the table, in milliseconds; `aim` is what its median is to stay below."""

    what: str
    times: Sequence[float]
    aim: float | None = None

    @property
    def median(self) -> float:
        """The middle one of its times."""
        return statistics.median(self.times)

    @property
    def is_met(self) -> bool:
        """Does it keep its aim, if it has one?"""
        return self.aim is None or self.median < self.aim


def main() -> int:
    """Measure all, print the table, and give the exit status: 1 where an aim was missed."""
    parser = argparse.ArgumentParser(prog="startup", description="What a start costs here.")
    parser.add_argument("--runs", type=int, default=40, help="of each row")
    runs: int = parser.parse_args().runs
    print(f"$ {shlex.join(sys.argv)}")
    with tempfile.TemporaryDirectory(prefix="jarvis-bench-") as scratch:
        print(describe(Path(scratch)), end="\n\n")
        rows = _measure(_install(Path(scratch) / "env"), runs)
    print(*_table(rows), sep="\n")
    return 0 if all(row.is_met for row in rows) else 1


def _install(environment: Path) -> Path:
    """The directory of the programs of a new environment with the tree installed in it."""
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip = (environment / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check")
    subprocess.run([*pip, "--compile", ROOT], check=True, stderr=subprocess.DEVNULL)
    return environment / "bin"


def _measure(programs: Path, runs: int) -> list[Row]:
    daemon = DaemonProcess()
    daemon.start()
    known = {
        "PATH": os.environ["PATH"],
        "HOME": str(daemon.directory),
        "JARVIS_SECRETS_SOCKET": str(daemon.socket_path),
        "JARVIS_CLIENT_ID": "admin",
    }

    def run(*command: str | Path) -> bytes:
        return subprocess.run(command, env=known, check=True, capture_output=True).stdout

    try:
        put = (programs / "jarvis-secrets", "put", NAME)
        subprocess.run(put, input=VALUE, env=known, check=True, capture_output=True)
        get = (programs / "jarvis-secrets", "get", NAME)
        if run(*get) != VALUE:
            raise SystemExit("startup: get didn't give what was put")
        python = programs / "python"
        return [
            Row("python3 -c pass", _times(lambda: run(python, "-c", "pass"), runs)),
            Row(
                "import of jarvis_secretsd.client",
                [1000 * float(run(python, "-c", IMPORT)) for _ in range(runs)],
                IMPORT_AIM,
            ),
            Row(f"jarvis-secrets get {NAME}", _times(lambda: run(*get), runs), GET_AIM),
            Row("jarvis-secrets list", _times(lambda: run(get[0], "list"), runs)),
        ]
    finally:
        daemon.stop()
        daemon.dispose()


def _times(act: Callable[[], object], runs: int) -> list[float]:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        act()
        times.append(1000 * (time.perf_counter() - start))
    return times


def _table(rows: Sequence[Row]) -> list[str]:
    bare = rows[0].median
    lines = [f"{'':36} {'median ms':>9} {'least':>6} {'/ python':>8}  aim"]
    for row in rows:
        aim = "" if row.aim is None else f"{row.aim:.0f} ms {'met' if row.is_met else 'MISSED'}"
        ratio = row.median / bare
        lines.append(
            f"{row.what:36} {row.median:9.1f} {min(row.times):6.1f} {ratio:8.1f}  {aim}".rstrip()
        )
    return lines
