"""Who still uses an old version: the last read of each, from the reads themselves."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from jarvis_secretsd.domain.secret import Secret
from jarvis_secretsd.values import Kid, SecretName


class Read(Struct, frozen=True):
    """A version was given out."""

    at: datetime
    client: str


class Reads:
    """The last read of each version since this process serves; never more than there are versions.

    What isn't kept any more is forgotten.
    """

    def __init__(self, since: datetime) -> None:
        self.since = since
        self._last: dict[SecretName, dict[Kid, Read]] = {}

    def note(self, secret: Secret, kid: Kid, client: str, at: datetime) -> None:
        """This version of the secret was given to this client."""
        last = self._last.setdefault(secret.name, {})
        last[kid] = Read(at, client)
        if len(last) > len(secret.versions):
            kept = (version.kid for version in secret.versions)
            self._last[secret.name] = {kid: last[kid] for kid in kept if kid in last}

    def last(self, name: SecretName, kid: Kid) -> Read | None:
        """The last read of this version, if there was one."""
        return self._last.get(name, {}).get(kid)
