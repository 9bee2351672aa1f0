"""The benchmarks run to their end, and every request of theirs is answered with success."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
THROUGHPUT, STARTUP = BENCHMARKS / "throughput", BENCHMARKS / "startup"
WATCHERS = BENCHMARKS / "watchers"
SCHEDULE = BENCHMARKS / "schedule"


@pytest.mark.root("needs a C compiler for its load generator")
def test_a_short_run_measures_every_row_and_ends_well() -> None:
    """Every reply of the benchmark is a success, and its table has each row with a rate."""
    assert shutil.which("cc"), "the benchmark compiles its load generator: install gcc, libc6-dev"
    command = (sys.executable, THROUGHPUT, "--seconds", "0.3")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    table = lines[next(at for at, line in enumerate(lines) if line.startswith("server ")) + 1 :]
    servers = [line[:9].strip() for line in table]
    assert servers == ["synced"] * 5 + ["no audit"] * 4 + ["echo"] * 3
    assert all(float(line[33:43].replace(",", "")) > 0 for line in table)


@pytest.mark.root("installs the tree into an environment of its own")
def test_a_short_run_measures_each_start() -> None:
    """Every row has its times; status 1 says that an aim was missed, which a busy machine does."""
    command = (sys.executable, STARTUP, "--runs", "3")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert not done.stderr
    assert ("MISSED" in done.stdout) == (done.returncode == 1)
    rows = [
        line
        for line in done.stdout.splitlines()
        if line.startswith(("python3 ", "jarvis-", "import "))
    ]
    assert len(rows) == 4
    assert all(0 < float(row[47:53]) <= float(row[37:46]) for row in rows)
    assert sum(row.endswith(("ms met", "ms MISSED")) for row in rows) == 2


def test_the_schedule_scans_nothing() -> None:
    """With 100,000 secrets a turn costs what it costs with 100."""
    command = (sys.executable, SCHEDULE, "--runs", "200")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert " 100,000 " in done.stdout


def test_a_short_run_measures_watchers() -> None:
    """Each of them hears what is, and all who are to be told are told within the aim."""
    some = ("--watchers", "60", "--told", "20", "--idle", "0.2", "--rotations", "3")
    done = subprocess.run(
        (sys.executable, WATCHERS, *some), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    rows = done.stdout.splitlines()[-4:]
    assert rows[0].startswith("60 watchers have heard what is")
    assert rows[-1].endswith("ms met")
