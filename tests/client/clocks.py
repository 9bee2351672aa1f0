"""The client's clocks, for tests that can't wait five minutes."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

import pytest

from jarvis_secretsd.client import client as module


class Clocks:
    """Both clocks of the client, in the place of `time` and of `datetime`, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monotonic_now = 1000.0
        self.wall_now = datetime.now(UTC)
        monkeypatch.setattr(module, "time", self)
        monkeypatch.setattr(module, "datetime", self)

    def monotonic(self) -> float:
        return self.monotonic_now

    def now(self, _zone: tzinfo) -> datetime:
        return self.wall_now
