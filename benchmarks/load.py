"""The load generator as Python sees it: compiled when it is needed, each measurement a value."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Literal, NamedTuple

SOURCE = Path(__file__).with_name("load.c")

PATIENCE_SECS = 30.0
"""What a measurement may take beyond its own seconds: the generator ends after 5 by itself."""


class Measured(NamedTuple):
    """One measurement: latencies in microseconds, and the CPU seconds of the generator itself."""

    replies: int
    secs: float
    not_ok: int
    lost: int
    p50: float
    p99: float
    generator_secs: float

    @property
    def rate(self) -> float:
        """Replies per second."""
        return self.replies / self.secs

    @property
    def is_sound(self) -> bool:
        """Every request was answered, and with a success."""
        return self.replies > 0 and not self.not_ok and not self.lost


class Load:
    """The compiled generator. Raises OSError without `cc`, CalledProcessError where it fails."""

    def __init__(self, directory: Path) -> None:
        self._program = directory / "load"
        subprocess.run(["cc", "-O2", "-Wall", "-o", self._program, SOURCE], check=True)

    def measure(
        self,
        socket_path: Path,
        request: bytes,
        *,
        dialect: Literal["frames", "http"] = "frames",
        connections: int,
        secs: float,
    ) -> Measured:
        """Send `request` for so long, one at a time on each connection. Raises CalledProcessError.

        A counter takes the place of the first sixteen `#` in a row.
        """
        done = subprocess.run(
            [self._program, dialect, socket_path, str(connections), str(secs)],
            input=request,
            stdout=subprocess.PIPE,
            check=True,
            timeout=secs + PATIENCE_SECS,
        )
        replies, took, not_ok, lost, p50, p99, generator_secs = done.stdout.split()
        return Measured(
            int(replies),
            float(took),
            int(not_ok),
            int(lost),
            float(p50),
            float(p99),
            float(generator_secs),
        )
