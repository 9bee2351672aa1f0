"""Waiting for what happens in another process or thread."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 30.0
"""Seconds until something counts as not happening, on the slowest of machines."""


def wait_until(happens: Callable[[], object], what: str = "it happens") -> None:
    """Wait for this. Raises AssertionError, which says what never came."""
    deadline = time.monotonic() + PATIENCE
    while not happens():
        assert time.monotonic() < deadline, f"not in {PATIENCE:.0f} s: {what}"
        time.sleep(0.02)
