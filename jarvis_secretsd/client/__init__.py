"""The library that programs import: `get_secret(name)`, or a `SecretsClient` of their own.

It imports neither the command line nor anything that seals, and what speaks with the daemon only
with the first question. What it raises is in `errors`.
"""

from __future__ import annotations

import atexit
import functools

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


@functools.cache
def _shared_client() -> SecretsClient:
    client = SecretsClient()
    atexit.register(client.close)
    return client
