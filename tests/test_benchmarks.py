"""The benchmark runs to its end, and every request of it is answered with success."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

THROUGHPUT = Path(__file__).resolve().parents[1] / "benchmarks" / "throughput"


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
