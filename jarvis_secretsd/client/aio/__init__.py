"""The same client for asyncio. What it raises is in `jarvis_secretsd.client`."""

from __future__ import annotations

from jarvis_secretsd.client.aio.client import AsyncSecretsClient
from jarvis_secretsd.client.aio.watching import AsyncWatch

__all__ = ["AsyncSecretsClient", "AsyncWatch"]
