"""The helpers as functions: an action and what is said on stdin, in; status and output, out."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome

Helper = Callable[[Callable[[list[str]], int], str, bytes | str], Outcome]
"""Takes a helper's `run_helper`, an action, and what it reads."""


@pytest.fixture
def ask(
    socket_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Helper:
    """Asks a helper of the fake daemon's socket."""
    monkeypatch.setenv("JARVIS_SECRETS_SOCKET", str(socket_path))

    def run(helper: Callable[[list[str]], int], action: str, said: bytes | str) -> Outcome:
        data = said if isinstance(said, bytes) else said.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        status = helper(action.split())
        sys.stderr.flush()
        out, err = capfdbinary.readouterr()
        return Outcome(status, out, err.decode())

    return run
