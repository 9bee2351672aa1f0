"""Programs of the system that some tests are about, and that not every machine has."""

from __future__ import annotations

import shutil

import pytest


def needs(*commands: str) -> pytest.MarkDecorator:
    """Leaves a test out, with the reason, where one of these commands isn't installed."""
    missing = [command for command in commands if shutil.which(command) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")
