"""How a command line ended."""

from __future__ import annotations

from typing import NamedTuple


class Outcome(NamedTuple):
    """How a command ended, and what it wrote."""

    status: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines of stdout."""
        return self.out.decode().splitlines()
