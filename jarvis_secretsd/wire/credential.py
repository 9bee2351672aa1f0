"""systemd's LoadCredential= from a socket: the peer's address is the question (systemd.exec(5)).

systemd connects from an abstract address that names the unit and the credential, says no more at
once without a byte, and takes all that comes until the end for the value. The only way to say no is
to say more than it takes: then the unit fails, where nothing at all would be an empty credential.
"""

from __future__ import annotations

import re

from msgspec import Struct

from jarvis_secretsd.errors import MalformedInput
from jarvis_secretsd.messages import Failure, Found, LoadCredential, Reply, Request

MAX_CREDENTIAL = 1024 * 1024
"""What systemd takes, the credential's name included (CREDENTIAL_SIZE_MAX)."""

REFUSAL = bytes(MAX_CREDENTIAL + 1)

_ADDRESS = re.compile(rb"\0[0-9A-Za-z]+/unit/(.*)", re.DOTALL)
_UNIT_AND_FILE = re.compile(r"([ -.0-~]+)/([ -.0-~]+)")


class CredentialExchange(Struct, frozen=True):
    """What the address asks. The reply to it is the value, or the refusal."""

    asked: Request | Failure
    last: bool = True
    stream: None = None

    def render(self, reply: Reply) -> bytes:
        """The value as it was put, to the byte."""
        return reply.value.reveal() if isinstance(reply, Found) else REFUSAL


class CredentialDialect:
    """A peer that said nothing, and had said all by its address."""

    partial = False

    def __init__(self, address: bytes) -> None:
        self._asked = _asked(address)

    def feed(self, data: bytes) -> None:
        """Nothing is fed after the end."""

    def next(self) -> CredentialExchange:
        """The one question."""
        return CredentialExchange(self._asked)


def asks_for_credential(address: bytes) -> bool:
    """Is this the address of a LoadCredential=, right or wrong?"""
    return _ADDRESS.fullmatch(address) is not None


def _asked(address: bytes) -> Request | Failure:
    found = _ADDRESS.fullmatch(address)
    parts = _UNIT_AND_FILE.fullmatch(found[1].decode("latin-1")) if found else None
    if parts is None:
        return Failure(MalformedInput.code, "not the address of a LoadCredential=")
    return Request(LoadCredential(parts[1], parts[2]))
