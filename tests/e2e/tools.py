"""Programs of the system that some tests are about, and that not every machine has."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

FAKETIME = {
    "LD_PRELOAD": next(map(str, Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), ""),
    "FAKETIME_TIMESTAMP_FILE": "faketime",
    "FAKETIME_NO_CACHE": "1",
    "FAKETIME_DONT_FAKE_MONOTONIC": "1",
}
"""faketime(1): the wall clock is what a file in the daemon's directory says."""


def needs(*commands: str) -> pytest.MarkDecorator:
    """Leaves a test out, with the reason, where one of these commands isn't installed."""
    missing = [command for command in commands if shutil.which(command) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")
