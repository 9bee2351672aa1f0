"""Who still uses an old version: the last read of each, from the reads themselves."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from jarvis_secretsd.values import Kid


class Read(Struct, frozen=True):
    """A version was given out."""

    at: datetime
    client: str


class Reads:
    """The last read of each version since this process serves. Forget what isn't kept any more."""

    def __init__(self, since: datetime) -> None:
        self.since = since
        self._last: dict[Kid, Read] = {}

    def note(self, kid: Kid, client: str, at: datetime) -> None:
        """It was given to this client."""
        self._last[kid] = Read(at, client)

    def last(self, kid: Kid) -> Read | None:
        """Its last read, if there was one."""
        return self._last.get(kid)

    def forget(self, kid: Kid) -> None:
        """The version is kept no more."""
        self._last.pop(kid, None)
