"""`jarvis-secrets` as a function: a command line in, its status and what it printed out."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jarvis_secretsd.cli.user import run_command
from tests.cli.household import Household, furnished
from tests.cli.outcome import Outcome
from tests.client.conftest import _bare_environment, fake, socket_path

__all__ = ["Outcome", "Tool", "_bare_environment", "fake", "socket_path", "tool"]


Tool = Callable[..., Outcome]


@pytest.fixture
def house(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Household]:
    """A sound household with a vault, which has slots for a key file and a recovery code."""
    with furnished(capfd, monkeypatch) as found:
        yield found


@pytest.fixture
def tool(
    socket_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Tool:
    """Runs a command line against the fake daemon's socket; `stdin` is a pipe."""
    monkeypatch.setenv("JARVIS_SECRETS_SOCKET", str(socket_path))

    def run(*arguments: str, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        status = run_command(list(arguments))
        sys.stderr.flush()
        out, err = capfdbinary.readouterr()
        return Outcome(status, out, err.decode())

    return run
