"""The library that programs import: `get_secret(name)`, or a `SecretsClient` of their own.

It imports neither the command line nor anything that seals, and what speaks with the daemon only
with the first question. What it raises is in `errors`.
"""

from __future__ import annotations

import atexit

from jarvis_secretsd.client.client import SecretsClient
from jarvis_secretsd.client.errors import (
    AccessDenied,
    BadRequest,
    Conflict,
    ConnectionLost,
    DaemonUnavailable,
    DaemonUnreachable,
    InvalidToken,
    SecretNotFound,
    SecretsClientError,
    UntrustedDaemon,
)

__all__ = [
    "AccessDenied",
    "BadRequest",
    "Conflict",
    "ConnectionLost",
    "DaemonUnavailable",
    "DaemonUnreachable",
    "InvalidToken",
    "SecretNotFound",
    "SecretsClient",
    "SecretsClientError",
    "UntrustedDaemon",
    "get_secret",
]


def get_secret(name: str) -> str:
    """The secret as text, from one client for the whole program, as the environment says."""
    return _shared_client().get(name)


def _shared_client() -> SecretsClient:
    # Threads that come first together may each make one, at no cost, and all take the same.
    return _shared.get("client") or _shared.setdefault("client", SecretsClient())


_shared: dict[str, SecretsClient] = {}


@atexit.register
def _hang_up() -> None:
    for client in _shared.values():
        client.close()
