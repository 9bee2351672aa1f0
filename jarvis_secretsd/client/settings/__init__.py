"""Secrets as a settings source of pydantic-settings (the extra `pydantic`)."""

from __future__ import annotations

from jarvis_secretsd.client.settings.fields import FromSecret
from jarvis_secretsd.client.settings.source import SecretsSettingsSource

__all__ = ["FromSecret", "SecretsSettingsSource"]
