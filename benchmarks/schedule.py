"""What the schedule costs: nothing is scanned in a turn, however many secrets there are.

For each number of secrets: to plan them all at a start, to ask in a turn in which nothing is due,
to plan one that changed, and a turn in which a hundred are due at once.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from benchmarks.machine import describe
from jarvis_secretsd.domain.changes import Care, VersionPut
from jarvis_secretsd.domain.rotation import RotationRules
from jarvis_secretsd.domain.schedule import Schedule
from jarvis_secretsd.domain.vault import Vault
from jarvis_secretsd.values import Kid, Kind, SecretName, SecretValue
from tests.domain.world import NOW

SIZES = (100, 10_000, 100_000)
AT_ONCE = 100
_HEAD = f"{'secrets':>8} {'start ms':>9} {'idle turn us':>13} {'change us':>10} {'100 due us':>11}"
AIM = 3.0
"""How much dearer a turn may be with the most secrets than with the fewest."""


def main() -> int:
    """Measure all, print the table, and give the exit status: 1 where the aim was missed."""
    parser = argparse.ArgumentParser(prog="schedule", description="What the schedule costs here.")
    parser.add_argument("--runs", type=int, default=2000, help="of each turn")
    runs: int = parser.parse_args().runs
    print(f"$ {shlex.join(sys.argv)}")
    print(describe(Path(tempfile.gettempdir())), end="\n\n")
    print(_HEAD)
    rows = [measure(size, runs) for size in SIZES]
    for size, (start, *turns) in zip(SIZES, rows, strict=True):
        idle, change, due = (1e6 * seconds for seconds in turns)
        print(f"{size:8,} {1e3 * start:9.1f} {idle:13.2f} {change:10.2f} {due:11.1f}")
    ratio = max(rows[-1][1] / rows[0][1], rows[-1][2] / rows[0][2])
    print(f"\na turn with the most / with the fewest: {ratio:.1f}, aim {AIM:.0f}")
    return 0 if ratio < AIM else 1


def measure(size: int, runs: int) -> tuple[float, float, float, float]:
    """Seconds: all planned; a turn with nothing due; one planned anew; a turn with 100 due."""
    vault = Vault()
    for number in range(size):
        vault.apply(number + 1, put(number))
    schedule = Schedule(RotationRules())
    started = time.perf_counter()
    for secret in vault.secrets():
        schedule.plan(secret)
    start = time.perf_counter() - started
    changed = vault.secret(SecretName("s0"))
    assert changed is not None
    idle = median(lambda: schedule.take(NOW, AT_ONCE), runs)
    change = median(lambda: schedule.plan(changed), runs)
    later = NOW + timedelta(days=200)
    due = median(lambda: schedule.take(later, AT_ONCE), max(1, min(runs, size // AT_ONCE)))
    return start, idle, change, due


def put(number: int) -> VersionPut:
    """A secret that is due some day of the next half year."""
    name = SecretName(f"s{number}")
    care = Care(Kind.PASSWORD, rotation_days=1 + number % 180, auto_rotate=True)
    return VersionPut(name, Kid(f"{number:016x}"), 1, SecretValue(os.urandom(8)), care, NOW)


def median(act: Callable[[], object], runs: int) -> float:
    """Of its times, in seconds."""
    times: Sequence[float] = [_timed(act) for _ in range(runs)]
    return statistics.median(times)


def _timed(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started
