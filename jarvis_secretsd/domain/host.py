"""What the service needs of the daemon around it."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from jarvis_secretsd.domain.peer import Peer
from jarvis_secretsd.domain.policy import Policy
from jarvis_secretsd.messages import AuditHeadStatus, HealthStatus


class Denial(Struct, frozen=True):
    """A denial as the operator wants to see it. `remedy` is the line of policy to add."""

    peer: Peer
    client: str | None
    op: str
    name: str | None
    rule: str
    remedy: str


class Host(Protocol):
    """What a request can ask of the daemon around the domain."""

    def health(self, secrets_count: int) -> HealthStatus:
        """How the daemon is."""

    def audit_head(self) -> AuditHeadStatus:
        """The end of the audit chain as it is on the disk."""

    def read_policy(self) -> Policy:
        """The policy as its file has it now. Raises ConfigurationError, UnsafeFile."""

    def metrics(self) -> bytes:
        """The counters as Prometheus text."""

    def report(self, denial: Denial) -> None:
        """Tell the operator who was denied, and what would allow it."""
