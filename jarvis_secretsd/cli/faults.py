"""Refusing with every reason at once: who mends a file wants to go through it once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from jarvis_secretsd.cli.exits import Exit, Refused
from jarvis_secretsd.cli.output import remark


class Faulty(Refused):
    """Several things are at fault: `faults` has a line for each, the message sums them up."""

    def __init__(self, faults: Iterable[str], message: str, status: Exit = Exit.FAILURE) -> None:
        super().__init__(message, status)
        self.faults = tuple(faults)


@contextmanager
def faults_told() -> Iterator[None]:
    """Tell each fault on a line of its own before the message that sums them up."""
    try:
        yield
    except Faulty as faulty:
        for fault in faulty.faults:
            remark(fault)
        raise
