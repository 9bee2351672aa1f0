"""Policies and a host's users for the tests of the policy file."""

from __future__ import annotations

import pytest

from jarvis_secretsd.daemon.policyfile import load_policy
from jarvis_secretsd.domain.policy import Client, Policy
from jarvis_secretsd.errors import ConfigurationError
from jarvis_secretsd.values import ClientId

USERS = {
    "root": 0,
    "enzo": 1000,
    "jarvis-backend": 1001,
    "jarvis-mcp": 1002,
    "prometheus": 1003,
    "nobody": 65534,
    "overflow": 65534,
}
GROUPS = {"search": 20, "nogroup": 65534}

PLAN = """\
default_deny: true

clients:
  # Admin client - full access for management
  admin:
    allow: ["*"]
    deny: []

  # Rust backend - core application secrets
  backend:
    allow:
      - jwt_signing_key
      - postgres_password
      - jarvis_encryption_key
      - home_assistant_token
    deny: []

  # Python services - specific API keys
  python-services:
    allow:
      - brave_api_key
      - tavily_api_key
      - duckduckgo_api_key
      - postgres_password
    deny: []

  # Database service - only database credentials
  postgres:
    allow:
      - postgres_password
    deny: []

  # Home Assistant integration
  ha-client:
    allow:
      - home_assistant_token
    deny: []

  # MCP services - API keys for external services
  mcp:
    allow:
      - brave_api_key
      - tavily_api_key
      - browserbase_api_key
    deny: []
"""

FULL = """\
default_deny: true
roles:
  search-keys: {permissions: [read], allow: [brave_api_key, tavily_api_key]}
clients:
  admin:   {users: [enzo], permissions: [all], allow: ["*"]}
  backend: {users: [jarvis-backend], groups: [], units: [backend.service],
            allow: [jwt_signing_key, postgres_password], deny: []}
  mcp:     {users: [jarvis-mcp], roles: [search-keys], token: required}
  web:     {units: [web.service], allow: [tls/key], credentials: {tls-key: tls/key},
            on_rotation: restart}  # no user
"""


def load(text: str | bytes, own_uid: int = 1000) -> Policy:
    data = text.encode() if isinstance(text, str) else text
    return load_policy(
        data, source="policy.yaml", own_uid=own_uid, users=USERS.get, groups=GROUPS.get
    )


def nowhere(name: str) -> int | None:
    """The look-up of a host that has no users at all."""
    return None


def problems(text: str | bytes) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as refusal:
        load(text)
    return refusal.value.problems


def client(text: str, own_uid: int = 1000) -> Client:
    """The client `web` of a policy that has these lines in it."""
    return load(f"clients: {{web: {{{text}}}}}", own_uid).clients[ClientId("web")]
