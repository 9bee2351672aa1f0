"""A fake daemon on a socket of its own, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jarvis_secretsd.client import SecretsClient
from tests.client.fake_daemon import FakeDaemon, serving


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    """Where the daemon of this test listens."""
    return tmp_path / "secretsd.sock"


@pytest.fixture
def fake(socket_path: Path) -> Iterator[FakeDaemon]:
    """A fake daemon that listens and holds nothing."""
    with serving(FakeDaemon(), socket_path) as running:
        yield running


@pytest.fixture
def client(fake: FakeDaemon, socket_path: Path) -> Iterator[SecretsClient]:
    """A client of the daemon that gives up fast."""
    with SecretsClient(str(socket_path), timeout=2.0) as connected:
        yield connected


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECRETS_SOCKET", "SECRETS_URL", "CLIENT_ID", "SECRETS_TOKEN_FILE"):
        monkeypatch.delenv(f"JARVIS_{name}", raising=False)
