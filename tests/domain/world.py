"""A whole daemon without a kernel, for tests of the domain: a service on a vault in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count

from jarvis_secretsd.daemon.keys import Ed25519
from jarvis_secretsd.domain.canary import Touch
from jarvis_secretsd.domain.denial import Denial
from jarvis_secretsd.domain.jwt import JwtIssuer, JwtRules
from jarvis_secretsd.domain.peer import Peer, Transport
from jarvis_secretsd.domain.policy import (
    Client,
    Grant,
    Pattern,
    Policy,
    TokenRule,
)
from jarvis_secretsd.domain.recent import Recent
from jarvis_secretsd.domain.refusals import Refusals
from jarvis_secretsd.domain.rotation import RotationRules
from jarvis_secretsd.domain.service import Service
from jarvis_secretsd.domain.usage import Reads
from jarvis_secretsd.domain.vault import Vault
from jarvis_secretsd.domain.witness import Act, Answer
from jarvis_secretsd.errors import ConfigurationError
from jarvis_secretsd.messages import (
    AnyOperation,
    AuditHeadStatus,
    AuditLog,
    AuditPage,
    HealthStatus,
    Reply,
    Request,
)
from jarvis_secretsd.values import BearerToken, ClientId, Permission

NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
ADMIN_UID, BACKEND_UID, STRANGER_UID = 1000, 1001, 4242
ALL = frozenset(Permission)


def client(
    name: str,
    uid: int,
    *patterns: str,
    permissions: frozenset[Permission] = frozenset({Permission.READ}),
    deny: Sequence[str] = (),
    token: TokenRule = TokenRule.REFUSED,
) -> Client:
    """A client that binds one uid."""
    grant = Grant(
        f"clients.{name}",
        permissions,
        tuple(map(Pattern.of, patterns)),
        tuple(map(Pattern.of, deny)),
    )
    return Client(ClientId(name), uids=frozenset({uid}), grants=(grant,), token=token)


def policy_of(*clients: Client) -> Policy:
    """A policy of these clients."""
    return Policy({each.id: each for each in clients}, digest="0" * 16, own_uid=ADMIN_UID)


DEFAULT_POLICY = policy_of(
    client("admin", ADMIN_UID, "*", permissions=ALL),
    client("backend", BACKEND_UID, "jwt_signing_key", "db/*", deny=["db/root"]),
    client("worker", 1002, "db/*", token=TokenRule.REQUIRED),
    client("bridge", 1003, "db/*", token=TokenRule.ACCEPTED),
)


class World:
    """A service, its vault, its clock; `ask` runs one request through it and applies its acts."""

    def __init__(
        self,
        policy: Policy = DEFAULT_POLICY,
        rules: RotationRules = RotationRules(),  # noqa: B008  # frozen
        *,
        claim_required: bool = True,
        canaries: Sequence[str] = (),
    ) -> None:
        self.now = NOW
        self.vault = Vault()
        self.acts: list[Act] = []
        self.denials: list[Denial] = []
        self.pages: list[AuditPage] = []
        self.touches: list[Touch] = []
        self.next_policy: Policy | None = None
        self._counter = count(1)
        self.service = Service(
            policy,
            rules,
            self,
            Refusals(per_minute=3),
            Reads(NOW),
            Recent(NOW),
            JwtIssuer(JwtRules(), Ed25519()),
            claim_required=claim_required,
            canaries=tuple(map(Pattern.of, canaries)),
        )

    def ask(
        self,
        operation: AnyOperation,
        uid: int | None = ADMIN_UID,
        claim: str | None = "admin",
        token: BearerToken | None = None,
        transport: Transport = Transport.UNIX,
    ) -> Reply:
        """The reply to one request; what it changes is in the vault afterwards."""
        return self.answer(operation, uid, claim, token, transport).reply

    def answer(
        self,
        operation: AnyOperation,
        uid: int | None = ADMIN_UID,
        claim: str | None = "admin",
        token: BearerToken | None = None,
        transport: Transport = Transport.UNIX,
    ) -> Answer:
        """As `ask`, with the acts."""
        request = Request(operation, ClientId(claim) if claim else None, token)
        peer = Peer(transport, uid, gid=uid, pid=77)
        answer = self.service.handle(request, peer, self.vault, self.now, self.fresh)
        for act in answer.acts:
            self.acts.append(act)
            if act.change is not None:
                self.vault.apply(self.vault.seq + 1, act.change)
        return answer

    def wait(self, days: float) -> None:
        """Let time go by."""
        self.now += timedelta(days=days)

    def fresh(self, size: int) -> bytes:
        """Bytes that don't repeat, and aren't random."""
        seed = next(self._counter)
        return bytes((seed * 37 + place * 101) % 256 for place in range(size - 1)) + bytes(
            [seed % 256]
        )

    def health(self, secrets_count: int) -> HealthStatus:
        """The host says that it is well."""
        return HealthStatus("ok", "0.1.0", 5, secrets_count)

    def audit_head(self) -> AuditHeadStatus:
        """The host's chain."""
        return AuditHeadStatus("log", "key", 7, "0" * 64, "0" * 64, "sig")

    def audit_page(self, asked: AuditLog) -> AuditPage:
        """The host's log: a page that a test lays there, once."""
        return self.pages.pop(0) if self.pages else AuditPage((), asked.after or 0)

    def read_policy(self) -> Policy:
        """The policy file as it is now."""
        if self.next_policy is None:
            raise ConfigurationError(("policy.yaml:1: empty",))
        return self.next_policy

    def report(self, denial: Denial) -> None:
        """The operator's log."""
        self.denials.append(denial)

    def alarm(self, touch: Touch) -> None:
        """The operator's alarm."""
        self.touches.append(touch)

    def metrics(self) -> bytes:
        """The host's counters."""
        return b"# nothing\n"
