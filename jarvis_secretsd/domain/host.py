"""What the service needs of the daemon around it."""

from __future__ import annotations

from typing import Protocol

from jarvis_secretsd.domain.canary import Touch
from jarvis_secretsd.domain.denial import Denial
from jarvis_secretsd.domain.policy import Policy
from jarvis_secretsd.messages import AuditHeadStatus, AuditLog, AuditPage, HealthStatus


class Host(Protocol):
    """What a request can ask of the daemon around the domain."""

    def health(self, secrets_count: int) -> HealthStatus:
        """How the daemon is."""

    def audit_head(self) -> AuditHeadStatus:
        """The end of the audit chain as it is on the disk."""

    def audit_page(self, asked: AuditLog) -> AuditPage:
        """A page of the audit log as it is on the disk. Raises InvalidRequest, Unavailable."""

    def read_policy(self) -> Policy:
        """The policy as its file has it now. Raises ConfigurationError, UnsafeFile."""

    def metrics(self) -> bytes:
        """The counters as Prometheus text."""

    def report(self, denial: Denial) -> None:
        """Tell the operator who was denied, and what would allow it."""

    def alarm(self, touch: Touch) -> None:
        """Tell the operator who asked for a canary."""
